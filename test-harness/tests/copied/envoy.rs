//! What a real Envoy says about a file, started with nothing but its judgement: the filter and its policy are loaded as well.

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

/// A folder with what files name beside themselves, and their texts with that in it.
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
        text.replace("/etc/envoy/callgate.wasm", MODULE.to_str().unwrap())
            .replace("/etc/envoy/tls", folder)
            .replace("/etc/envoy", folder)
    }

    fn judged(&self, configuration: &str) -> Checked {
        let file = self.0.path().join("envoy.yaml");
        fs::write(&file, configuration).unwrap();
        let environment = vec![("CALLGATE_TABLES_KEY".to_owned(), "of thirty-two bytes or more, as asked".to_owned())];
        let options = Options { environment, ..Options::default() };
        Envoy::validate(&file, self.0.path(), &options).map_err(|wrong| format!("{wrong:#}"))
    }
}

/// A file that Envoy is started with.
pub(super) fn bootstrap(_: &Path, text: &str) -> Checked {
    let beside = Beside::new();
    beside.judged(&beside.placed(text))
}

/// A file of listeners, in the place from which they are discovered.
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

/// A file with the filter, in the place from which it is discovered.
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

/// The shipped configuration with this filter in the place of the gate, and with these fields of the connection manager.
fn with_filter(beside: &Beside, filter: Value, manager: &Value) -> Checked {
    let mut bootstrap = shipped("envoy/envoy.yaml");
    bootstrap["node"] = json!({ "id": "test", "cluster": "test" });
    let own = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = own["http_filters"].as_array_mut().unwrap();
    *filters.iter_mut().find(|filter| filter["name"] == "callgate").unwrap() = filter;
    own.as_object_mut().unwrap().extend(manager.as_object().unwrap().clone());
    beside.judged(&bootstrap.to_string())
}

/// What the patches of an `EnvoyFilter` come to: the filter, with a module from a file as Istio's agent would write it there; the place
/// in which it is discovered; and the fields of the connection manager.
pub(super) fn patches(patches: &[Value]) -> Checked {
    let [extension, place, manager] = patches else { return Err("there are not three patches".to_owned()) };
    let value = |patch: &Value| patch["patch"]["value"].clone();
    let beside = Beside::new();
    // As it stands, the module in a registry included. No Envoy can fetch it, and one that could reads the rest first.
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
