//! Lets a real Envoy validate a file, without serving. It loads the filter and its policy as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_harness::build::{self, Flavor};
use test_harness::envoy::{Envoy, Options};
use test_harness::paths;

use super::{Checked, value};

static MODULE: LazyLock<PathBuf> = LazyLock::new(|| build::filter(Flavor::Release).unwrap());
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| build::envoy_module(Flavor::Release).unwrap());

/// The dynamic module in the shipped files.
const SHIPPED_LIBRARY: &str = concat!("/etc/envoy/libcallgate-", env!("CARGO_PKG_VERSION"), ".so");

/// A folder with the files that the checked files refer to.
struct Beside(TempDir);

impl Beside {
    fn new() -> Self {
        let beside = Self(tempfile::tempdir().unwrap());
        let own = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
        let certificate = own.cert.pem();
        for (name, text) in [
            ("server.crt", certificate.as_str()),
            ("server.key", &own.signing_key.serialize_pem()),
            ("clients-ca.crt", &certificate),
            ("lds-listeners.yaml", "resources: []\n"),
            ("ecds-callgate.yaml", "resources: []\n"),
        ] {
            fs::write(beside.0.path().join(name), text).unwrap();
        }
        beside
    }

    fn placed(&self, text: &str) -> String {
        let folder = self.0.path().to_str().unwrap();
        let text = if text.contains(SHIPPED_LIBRARY) {
            text.replace(SHIPPED_LIBRARY, LIBRARY.to_str().unwrap())
        } else {
            text.replace("/etc/envoy/callgate.wasm", MODULE.to_str().unwrap())
        };
        text.replace("/etc/envoy/tls", folder).replace("/etc/envoy", folder)
    }

    fn judged(&self, configuration: &str) -> Checked {
        let file = self.0.path().join("envoy.yaml");
        fs::write(&file, configuration).unwrap();
        let environment = vec![("CALLGATE_TABLES_KEY".to_owned(), "of thirty-two bytes or more, as asked".to_owned())];
        let options = Options { environment, ..Options::default() };
        Envoy::validate(&file, self.0.path(), &options).map_err(|wrong| format!("{wrong:#}"))
    }
}

/// Checks a file that Envoy starts with.
pub(super) fn bootstrap(_: &Path, text: &str) -> Checked {
    let beside = Beside::new();
    beside.judged(&beside.placed(text))
}

/// Checks a file of listeners at the path from which Envoy discovers them.
pub(super) fn listeners(file: &Path, text: &str) -> Checked {
    let beside = Beside::new();
    let mut bootstrap = shipped("envoy/lds.yaml");
    bootstrap.as_object_mut().unwrap().remove("dynamic_resources");
    let mut listeners = value(file, &beside.placed(text))?["resources"].clone();
    for listener in listeners.as_array_mut().into_iter().flatten() {
        let kind = listener.as_object_mut().and_then(|listener| listener.remove("@type"));
        if kind != Some(json!("type.googleapis.com/envoy.config.listener.v3.Listener")) {
            return Err(format!("{kind:?} is no listener"));
        }
    }
    bootstrap["static_resources"]["listeners"] = listeners;
    beside.judged(&bootstrap.to_string())
}

/// Checks a file with the filter at the path from which Envoy discovers it.
pub(super) fn discovered(file: &Path, text: &str) -> Checked {
    let beside = Beside::new();
    let resource = value(file, &beside.placed(text))?["resources"][0].clone();
    let mut fields = resource.as_object().cloned().unwrap_or_default();
    let kind = fields.remove("@type");
    if kind != Some(json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig")) {
        return Err(format!("{kind:?} is no discovered filter"));
    }
    with_filter(&beside, Value::Object(fields), &json!({}))
}

/// Checks the shipped configuration with this filter instead of the gate, and with these fields of the connection manager.
fn with_filter(beside: &Beside, filter: Value, manager: &Value) -> Checked {
    let mut bootstrap = shipped("envoy/envoy.yaml");
    bootstrap["node"] = json!({ "id": "test", "cluster": "test" });
    let own = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = own["http_filters"].as_array_mut().unwrap();
    *filters.iter_mut().find(|filter| filter["name"] == "callgate").unwrap() = filter;
    own.as_object_mut().unwrap().extend(manager.as_object().unwrap().clone());
    beside.judged(&bootstrap.to_string())
}

/// Checks the result of an `EnvoyFilter`'s patches: the filter, with a module from a file as Istio's agent would configure it; the
/// discovery of the filter; and the fields of the connection manager.
pub(super) fn patches(patches: &[Value]) -> Checked {
    let [extension, place, manager] = patches else { return Err("there are not three patches".to_owned()) };
    let value = |patch: &Value| patch["patch"]["value"].clone();
    let beside = Beside::new();
    // First unchanged, with the module in a registry. No Envoy can fetch it here, but Envoy reports unknown fields first.
    let remote = with_filter(&beside, value(extension), &value(manager)["typed_config"]);
    if let Some(unknown) =
        remote.err().filter(|wrong| wrong.contains("unknown fields") || wrong.contains("no such field"))
    {
        return Err(unknown);
    }
    let mut local = value(extension);
    local["typed_config"]["config"]["vm_config"]["code"] = json!({ "local": { "filename": &*MODULE } });
    with_filter(&beside, local, &value(manager)["typed_config"])?;
    let mut discovered = value(place);
    let source = discovered.pointer_mut("/config_discovery/config_source").and_then(Value::as_object_mut);
    let source = source.ok_or("the filter is not discovered")?;
    source.remove("ads").ok_or("the filter is not discovered from Istio")?;
    let file = beside.0.path().join("ecds-callgate.yaml");
    source.insert("path_config_source".to_owned(), json!({ "path": file }));
    with_filter(&beside, discovered, &json!({}))
}

fn shipped(file: &str) -> Value {
    let path = paths::root().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("/etc/envoy/callgate.wasm", MODULE.to_str().unwrap());
    value(&path, &text).unwrap()
}
