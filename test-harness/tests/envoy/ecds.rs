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
    /// The configuration with the gate in its listener.
    base: Bootstrap,
    /// How many configurations were accepted.
    taken: u64,
}

impl OverEcds {
    /// Starts a gate with this policy and with a change to the configuration of its filter.
    pub(crate) fn start(policy: &Value, change: impl FnOnce(&mut Bootstrap), options: &Options) -> Self {
        Self::start_with(policy, |_| (), change, options)
    }

    /// Starts it with another change, to the rest of the configuration.
    pub(crate) fn start_with(
        policy: &Value,
        prepare: impl FnOnce(&mut Bootstrap),
        change: impl FnOnce(&mut Bootstrap),
        options: &Options,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut base = None;
        let discovered = |bootstrap: &mut Bootstrap| {
            prepare(bootstrap);
            base = Some(bootstrap.clone());
            change(bootstrap);
            let filter = bootstrap.filter().unwrap().clone();
            discover(folder.path(), &filter);
            let path = folder.path().join("gate.json");
            let source = json!({ "path_config_source": { "path": path }, "resource_api_version": "V3" });
            let discovery = json!({ "config_source": source, "type_urls": [filter["@type"]] });
            let filter = json!({ "name": "callgate", "config_discovery": discovery });
            *bootstrap = bootstrap.with_filters(vec![filter]).unwrap().dynamic();
        };
        let gate = Gate::start_with(policy, discovered, options);
        Self { gate, folder, base: base.unwrap(), taken: 1 }
    }

    /// Writes another configuration of the filter, and does not wait for Envoy to read it.
    pub(crate) fn write(&self, policy: &Value, change: impl FnOnce(&mut Bootstrap)) {
        let mut next = self.base.with_policy(&policy.to_string()).unwrap();
        change(&mut next);
        discover(self.folder.path(), next.filter().unwrap());
    }

    /// Offers another configuration of the filter, and waits until Envoy accepts or rejects it.
    pub(crate) fn offer(&mut self, policy: &Value, change: impl FnOnce(&mut Bootstrap), counter: &str, at_least: u64) {
        self.write(policy, change);
        until(counter, || counted(&self.gate, counter) >= at_least);
    }

    /// Replaces the configuration of the filter, and waits until Envoy accepts it. Every earlier update must have been accepted as well.
    pub(crate) fn replace(&mut self, policy: &Value, change: impl FnOnce(&mut Bootstrap)) {
        self.taken += 1;
        self.offer(policy, change, "callgate.update_success", self.taken);
    }
}

/// Writes a configuration to the file that Envoy watches for the filter `callgate`.
fn discover(folder: &Path, filter: &Value) {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "callgate",
        "typed_config": filter,
    });
    let new = folder.join("gate.new");
    fs::write(&new, json!({ "resources": [resource] }).to_string()).unwrap();
    fs::rename(new, folder.join("gate.json")).unwrap();
}
