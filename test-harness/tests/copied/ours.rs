//! Checks files in the project's own formats with its own readers, Prometheus rules with the parser of their expressions, and a kind
//! without published types with a transcription of its reference.

use std::fs;
use std::path::Path;

use callgate::identity::crypto::PublicJwk;
use callgate_kit::mint::SigningKey;
use callgate_kit::policy::not_needed;
use callgate_kit::{corpus, document, records};
use serde::Deserialize;
use serde_json::{Map, Value};
use test_harness::observability;

use super::{Checked, compiles, crds, value};
use crate::envoy::mcp::pin;

pub(super) fn policy(file: &Path, text: &str) -> Checked {
    let read = document::parse(file.to_str().unwrap(), text.as_bytes()).map_err(|wrong| wrong.to_string())?;
    callgate_kit::policy::compile(read, &not_needed).map(drop).map_err(|wrong| wrong.to_string())
}

/// Cases refer to files next to them, so they are loaded in a copy of their folder.
pub(super) fn cases(file: &Path, text: &str) -> Checked {
    let copy = tempfile::tempdir().unwrap();
    copied(file.parent().unwrap(), copy.path());
    let file = copy.path().join(file.file_name().unwrap());
    fs::write(&file, text).unwrap();
    corpus::load(file).map(drop).map_err(|wrong| wrong.to_string())
}

fn copied(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copied(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(super) fn key(_: &Path, text: &str) -> Checked {
    let jwk = serde_json::from_str(text).map_err(|error| error.to_string())?;
    SigningKey::from_jwk(&jwk).map(drop).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

/// Checks that every key of a published set can verify signatures.
pub(super) fn key_set(_: &Path, text: &str) -> Checked {
    let set: KeySet = serde_json::from_str(text).map_err(|error| error.to_string())?;
    set.keys.iter().try_for_each(|jwk| PublicJwk::read(jwk).map(drop).map_err(|error| error.to_string()))
}

/// Checks that the policy next to an answer to `tools/list` pins definitions in it.
pub(super) fn tools(file: &Path, text: &str) -> Checked {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let listed: Vec<_> = answer["result"]["tools"].as_array().into_iter().flatten().map(pin).collect();
    let policy = document::read(file.with_file_name("policy.yaml")).map_err(|wrong| wrong.to_string())?;
    let tools = policy.value()["endpoints"][0]["rpc"]["tools"].as_array().ok_or("the policy has no tools")?;
    let pins: Vec<_> = tools.iter().filter_map(|tool| tool["pin"].as_array()).flatten().collect();
    match pins.iter().find(|pin| pin.as_str().is_none_or(|pin| !listed.iter().any(|one| one == pin))) {
        None if pins.is_empty() => Err("the policy pins nothing".to_owned()),
        None => Ok(()),
        Some(pin) => Err(format!("no definition has the pin {pin}")),
    }
}

pub(super) fn record(_: &Path, text: &str) -> Checked {
    let record = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let faults = records::faults(&record);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasts: Option<String>,
    labels: Value,
    annotations: Value,
}

pub(super) fn alerts(file: &Path, text: &str) -> Checked {
    let rules: Rules = serde_json::from_value(value(file, text)?).map_err(|error| error.to_string())?;
    rules
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .try_for_each(|rule| promql_parser::parser::parse(&rule.expr).map(drop))
}

/// Checks only the syntax. Another test runs a gateway and checks that it exposes the metrics.
pub(super) fn dashboard(file: &Path, text: &str) -> Checked {
    let panels = observability::of_dashboard(&value(file, text)?).map_err(|error| error.to_string())?;
    panels.iter().try_for_each(|panel| panel.names().map(drop)).map_err(|error| error.to_string())
}

/// An `EnvoyExtensionPolicy` as its reference defines it, limited to the fields that the project uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct ExtensionPolicy {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Spec {
    target_refs: Vec<TargetRef>,
    wasm: Vec<Wasm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct TargetRef {
    group: String,
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Wasm {
    name: String,
    #[serde(rename = "rootID")]
    root_id: String,
    code: Code,
    config: Value,
    fail_open: bool,
    env: Env,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Code {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Image {
    url: String,
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Env {
    host_keys: Vec<String>,
}

pub(super) fn extension_policy(file: &Path, text: &str) -> Checked {
    let resource = value(file, text)?;
    crds::check(&resource)?;
    let read: ExtensionPolicy = serde_json::from_value(resource).map_err(|error| error.to_string())?;
    if (read.api_version.as_str(), read.kind.as_str()) != ("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy") {
        return Err("this is no EnvoyExtensionPolicy".to_owned());
    }
    for wasm in &read.spec.wasm {
        if wasm.fail_open || wasm.code.kind != "Image" {
            return Err("it fails open, or has no image".to_owned());
        }
        compiles(&wasm.config)?;
    }
    Ok(())
}
