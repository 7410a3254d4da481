//! A gate whose filter Envoy reads from a file that it watches (ECDS). Unlike an update of the listener, an update of the filter applies to
//! open connections, and ends the previous configuration at once unless one of its streams is open.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::Gate;
use crate::envoy::limits::counted;
use crate::envoy::operating::until;

/// A gate whose filter Envoy reads from a file that it watches (ECDS).
pub(crate) struct OverEcds {
    pub(crate) gate: Gate,
    folder: TempDir,
    plugin: Value,
    /// How many configurations were accepted.
    taken: u64,
}

impl OverEcds {
    const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

    /// Starts a gate with this policy and with a change to its plugin configuration.
    pub(crate) fn start(policy: &Value, change: impl FnOnce(&mut Value), options: &Options) -> Self {
        Self::start_with(policy, |_| (), change, options)
    }

    /// Starts it with another change, to the rest of the configuration.
    pub(crate) fn start_with(
        policy: &Value,
        prepare: impl FnOnce(&mut Bootstrap),
        change: impl FnOnce(&mut Value),
        options: &Options,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut plugin = Value::Null;
        let discovered = |bootstrap: &mut Bootstrap| {
            prepare(bootstrap);
            plugin = bootstrap.gate().unwrap().clone();
            change(&mut plugin);
            discover(folder.path(), &plugin);
            let path = folder.path().join("gate.json");
            let source = json!({ "path_config_source": { "path": path }, "resource_api_version": "V3" });
            let discovery = json!({ "config_source": source, "type_urls": [Self::WASM] });
            let filter = json!({ "name": "callgate", "config_discovery": discovery });
            *bootstrap = bootstrap.with_filters(vec![filter]).unwrap().dynamic();
        };
        let gate = Gate::start_with(policy, discovered, options);
        Self { gate, folder, plugin, taken: 1 }
    }

    /// Writes another plugin configuration, and does not wait for Envoy to read it.
    pub(crate) fn write(&self, policy: &Value, change: impl FnOnce(&mut Value)) {
        let mut plugin = self.plugin.clone();
        plugin["configuration"]["value"] = json!(policy.to_string());
        change(&mut plugin);
        discover(self.folder.path(), &plugin);
    }

    /// Offers another plugin configuration, and waits until Envoy accepts or rejects it.
    pub(crate) fn offer(&mut self, policy: &Value, change: impl FnOnce(&mut Value), counter: &str, at_least: u64) {
        self.write(policy, change);
        until(counter, || counted(&self.gate, counter) >= at_least);
    }

    /// Replaces the plugin configuration, and waits until Envoy accepts it. Every earlier update must have been accepted as well.
    pub(crate) fn replace(&mut self, policy: &Value, change: impl FnOnce(&mut Value)) {
        self.taken += 1;
        self.offer(policy, change, "callgate.update_success", self.taken);
    }
}

/// Writes a plugin configuration to the file that Envoy watches for the filter `callgate`.
fn discover(folder: &Path, plugin: &Value) {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "callgate",
        "typed_config": { "@type": OverEcds::WASM, "config": plugin },
    });
    let new = folder.join("gate.new");
    fs::write(&new, json!({ "resources": [resource] }).to_string()).unwrap();
    fs::rename(new, folder.join("gate.json")).unwrap();
}
