//! Checks Istio resources with the types that the project kube-custom-resources-rs generates from Istio's definitions. A field that a type
//! does not have is lost in a round trip through it.

use std::path::Path;

use kcr_extensions_istio_io::v1alpha1::wasmplugins::WasmPlugin;
use kcr_networking_istio_io::v1alpha3::envoyfilters::EnvoyFilter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Checked, compiles, crds, envoy, value};

/// Checks that a round trip loses nothing.
fn round_trip<T: DeserializeOwned + Serialize>(resource: &Value) -> Checked {
    let typed: T = serde_json::from_value(resource.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    match lost(resource, &back) {
        None => Ok(()),
        Some(place) => Err(format!("`{place}` is unknown to Istio")),
    }
}

/// Returns the first place in which two values differ.
fn lost(written: &Value, back: &Value) -> Option<String> {
    match (written, back) {
        (Value::Object(written), Value::Object(back)) => written
            .iter()
            .find_map(|(name, field)| Some(format!("/{name}{}", lost(field, back.get(name).unwrap_or(&Value::Null))?))),
        (Value::Array(written), Value::Array(back)) if written.len() == back.len() => written
            .iter()
            .zip(back)
            .enumerate()
            .find_map(|(index, (written, back))| Some(format!("/{index}{}", lost(written, back)?))),
        _ => (written != back).then(String::new),
    }
}

pub(super) fn wasm_plugin(file: &Path, text: &str) -> Checked {
    let resource = value(file, text)?;
    crds::check(&resource)?;
    round_trip::<WasmPlugin>(&resource)?;
    compiles(&resource["spec"]["pluginConfig"])
}

/// Checks the resource as a `WasmPlugin`, which has the same fields, some of them one level higher. No types were found for the kind
/// itself; `crds` checks its definition, if it is available.
pub(super) fn traffic_extension(file: &Path, text: &str) -> Checked {
    let mut resource = value(file, text)?;
    crds::check(&resource)?;
    let spec = resource["spec"].as_object_mut().ok_or("there is no `spec`")?;
    let wasm = spec.remove("wasm").ok_or("there is no `wasm`")?;
    spec.extend(wasm.as_object().cloned().unwrap_or_default());
    if resource["kind"] != "TrafficExtension" {
        return Err("this is no TrafficExtension".to_owned());
    }
    resource["kind"] = json!("WasmPlugin");
    round_trip::<WasmPlugin>(&resource)?;
    compiles(&resource["spec"]["pluginConfig"])
}

/// Checks the resource as Istio's kind of the same name, which has its fields except Higress's own. No types were found for those; they are
/// in Higress's own definition.
pub(super) fn higress_plugin(file: &Path, text: &str) -> Checked {
    let mut resource = value(file, text)?;
    crds::check(&resource)?;
    let spec = resource["spec"].as_object_mut().ok_or("there is no `spec`")?;
    let policy = spec.remove("defaultConfig").ok_or("there is no `defaultConfig`")?;
    if spec.remove("defaultConfigDisable") != Some(json!(false)) {
        return Err("`defaultConfigDisable` is not there, or true".to_owned());
    }
    if resource["apiVersion"] != "extensions.higress.io/v1alpha1" {
        return Err("this is no resource of Higress".to_owned());
    }
    resource["apiVersion"] = json!("extensions.istio.io/v1alpha1");
    round_trip::<WasmPlugin>(&resource)?;
    compiles(&policy)
}

pub(super) fn envoy_filter(file: &Path, text: &str) -> Checked {
    let resource = value(file, text)?;
    crds::check(&resource)?;
    round_trip::<EnvoyFilter>(&resource)?;
    let patches = resource["spec"]["configPatches"].as_array().ok_or("there are no patches")?;
    envoy::patches(patches)
}
