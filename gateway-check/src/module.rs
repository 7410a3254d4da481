//! Checks the gate as a dynamic module: a library that Envoy loads into its own process.

use serde_json::Value;

use super::Check;
use super::finding::Code;
use super::gate::{Adapter, Gate};
use super::policy::{self, Facts};
use super::view::View;

/// The end of the type of a filter that runs a dynamic module.
pub(super) const FILTER: &str = ".dynamic_modules.v3.DynamicModuleFilter";

/// The values of `gateway` whose policies the module can run.
pub(super) const GATEWAYS: &[&str] = &["envoy-module"];

/// What gates without a visible library have in common. Two of them are compared.
const LIBRARY: &str = "callgate";

/// Returns whether a filter that runs a dynamic module is meant to be the gate, by its policy or otherwise by its names.
pub(super) fn is_gate(name: Option<&str>, filter: &View<'_>) -> bool {
    let configured = filter.get("filter_config").is_some_and(|configuration| {
        let (_, content) = configuration.open();
        is_configuration(content.value) || content.get("value").is_some_and(|value| is_configuration(value.value))
    });
    let names = [
        name,
        filter.text("filter_name"),
        filter.text("dynamic_module_config.name"),
        filter.text("dynamic_module_config.module.local.filename"),
    ];
    configured || names.into_iter().flatten().any(|text| text.contains("callgate"))
}

/// Returns the name by which Envoy finds the library of a file in its search path: `callgate` for `/etc/envoy/libcallgate.so`.
fn library_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".so").unwrap_or(name);
    name.strip_prefix("lib").unwrap_or(name)
}

/// Returns whether a value is meant to configure the gate: a policy, or a policy with the variables that it may read.
pub(super) fn is_configuration(value: &Value) -> bool {
    let contains = |value: &Value| value.get("policy").is_some_and(policy::is_policy);
    let text = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    policy::is_policy(value) || contains(value) || text.as_ref().is_some_and(contains)
}

impl<'a> Check<'a> {
    /// Checks the filter that runs the gate as a dynamic module.
    pub(super) fn module(&mut self, filter: &View<'a>) -> Gate<'a> {
        let facts = self.module_configuration(filter);
        let library = filter.get("dynamic_module_config").unwrap_or_else(|| filter.clone());
        if let Some(remote) = library.path("module.remote") {
            self.remote_module(&remote, "copy the file to the machine, and write `local: { filename: ... }`");
        }
        self.stays_loaded(&library, "do_not_close", "do_not_close: true");
        // All configurations of one library have the same counters, whether they name the library or its file.
        let file = library.text("module.local.filename").map(library_name);
        let shares = file.or_else(|| library.text("name")).unwrap_or(LIBRARY);
        let gate = Gate { view: filter.clone(), adapter: Adapter::Module, vm_id: Some(shares), facts };
        self.gates.push(gate.clone());
        gate
    }

    fn module_configuration(&mut self, filter: &View<'a>) -> Option<Facts> {
        let Some(configuration) = filter.get("filter_config") else {
            let message = "this gate has no policy; write the output of `callgate render --for envoy-module`";
            self.add(Code::PolicyWrong, filter, message);
            return None;
        };
        let (name, content) = configuration.open();
        let value = content.get("value").unwrap_or_else(|| content.clone());
        if name != "google.protobuf.StringValue" || !value.value.is_string() {
            let message = "only the text of a `google.protobuf.StringValue` reaches the module unchanged; write the policy as \
                           one, in JSON";
            self.add(Code::ConfigurationNotText, &configuration, message);
            return None;
        }
        self.module_policy(&value)
    }

    /// Compiles the policy in a configuration of the module, and reports secrets that it cannot read.
    fn module_policy(&mut self, configuration: &View<'a>) -> Option<Facts> {
        let text = policy::text(configuration.value);
        let read = serde_json::from_str::<Value>(&text).unwrap_or_default();
        let facts = match read.get("policy") {
            Some(policy) => self.policy_text(configuration, &policy.to_string(), GATEWAYS),
            None => self.policy_text(configuration, &text, GATEWAYS),
        }?;
        let passed: Vec<&str> =
            read.get("environment").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for secret in facts.secrets.iter().filter(|secret| !passed.contains(&secret.as_str())) {
            let message = format!(
                "the policy reads a secret from `{secret}`; write the policy as `policy`, and the variable in the list `environment` \
                 next to it"
            );
            self.add(Code::SecretNotPassed, configuration, message);
        }
        Some(facts)
    }

    /// Reports a module that the proxy downloads.
    pub(super) fn remote_module(&mut self, remote: &View<'a>, instead: &str) {
        let message =
            format!("if Envoy cannot download the module, it forwards every request without the gate; {instead}");
        self.add(Code::FailOpen, remote, message);
    }

    /// Checks that the proxy never unloads the module. `field` is in the settings of the library.
    pub(super) fn stays_loaded(&mut self, library: &View<'a>, field: &str, instead: &str) {
        if !library.affirms(field) {
            let place = library.get(field).unwrap_or_else(|| library.clone());
            let message = format!(
                "Envoy unloads the module with the last listener that uses it, and loses all limits and accepted signatures; \
                 write `{instead}`"
            );
            self.add(Code::ModuleUnloaded, &place, message);
        }
    }

    /// Checks an entry of `dynamicModule` in Envoy Gateway's extension policy.
    pub(super) fn module_extension(&mut self, entry: &View<'a>) {
        let facts = match entry.get("config") {
            Some(config) => self.module_policy(&config),
            None => {
                self.add(Code::PolicyWrong, entry, "this gate has no policy; write it as `config`");
                None
            }
        };
        let gate = Gate { view: entry.clone(), adapter: Adapter::Module, vm_id: None, facts };
        self.certificate_of_extension(&gate);
        self.gates.push(gate);
    }
}
