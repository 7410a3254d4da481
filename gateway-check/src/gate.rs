//! Checks the gate in Envoy's configuration: the Wasm filter and its virtual machine.

use super::Check;
use super::finding::Code;
use super::module;
use super::policy::{self, Facts};
use super::view::View;
use callgate_kit::capabilities;

/// How the gate runs in the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adapter {
    /// A dynamic module of Envoy.
    Module,
    /// A Wasm filter.
    Wasm,
}

/// A gate in the configuration.
#[derive(Debug, Clone)]
pub(super) struct Gate<'a> {
    pub(super) view: View<'a>,
    pub(super) adapter: Adapter,
    /// The name that gates with the same counters have in common: the `vm_id` of a Wasm filter, or the library of a module.
    pub(super) vm_id: Option<&'a str>,
    pub(super) facts: Option<Facts>,
}

/// The end of the type of a Wasm filter.
pub(super) const WASM: &str = ".wasm.v3.Wasm";

/// The values of `gateway` whose policies a plain Envoy can run.
const ENVOY: &[&str] = &["envoy", "istio", "envoy-gateway", "higress", "portable"];

/// Returns whether a Wasm filter is meant to be the gate, by its policy or otherwise by its names.
pub(super) fn is_gate(name: Option<&str>, wasm: &View<'_>) -> bool {
    let Some(config) = wasm.get("config") else { return false };
    let named = |text: Option<&str>| text.is_some_and(|text| text.contains("callgate"));
    let configured = config.get("configuration").is_some_and(|configuration| {
        let (_, content) = configuration.open();
        policy::is_policy(content.value) || content.get("value").is_some_and(|value| policy::is_policy(value.value))
    });
    let names = [name, config.text("name"), config.text("root_id"), config.text("vm_config.code.local.filename")];
    configured || names.into_iter().any(named)
}

/// Returns whether another filter contains the gate.
pub(super) fn contains_gate(filter: &View<'_>) -> bool {
    filter.find(&[WASM]).iter().any(|wasm| is_gate(None, wasm))
        || filter.find(&[module::FILTER]).iter().any(|filter| module::is_gate(None, filter))
}

impl<'a> Check<'a> {
    /// Checks the configuration of a filter if the filter is the gate, as a Wasm filter or as a dynamic module.
    pub(super) fn checked_gate(&mut self, name: Option<&str>, config: &View<'a>) -> Option<Gate<'a>> {
        let (type_name, content) = config.open();
        if type_name.ends_with(WASM) && is_gate(name, &content) {
            Some(self.gate(&content))
        } else if type_name.ends_with(module::FILTER) && module::is_gate(name, &content) {
            Some(self.module(&content))
        } else {
            None
        }
    }

    /// Checks the Wasm filter that is the gate.
    pub(super) fn gate(&mut self, wasm: &View<'a>) -> Gate<'a> {
        let config = wasm.get("config").unwrap_or_else(|| wasm.clone());
        let facts = self.configuration(&config);
        self.failure_policy(&config);
        self.machine(&config, facts.as_ref());
        self.capabilities(&config, facts.as_ref());
        if let Some(facts) = &facts {
            let holds = facts.body.is_some() && facts.gateway == "envoy";
            if holds && !config.affirms("allow_on_headers_stop_iteration") {
                let message = "this policy holds signed requests until their body is checked, but Envoy does not deliver the \
                               body while the headers are held; write `allow_on_headers_stop_iteration: true`";
                self.add(Code::BodyNeverComes, &config, message);
            }
        }
        let vm_id = Some(config.text("vm_config.vm_id").unwrap_or_default());
        let gate = Gate { view: config.clone(), adapter: Adapter::Wasm, vm_id, facts };
        self.gates.push(gate.clone());
        gate
    }

    fn configuration(&mut self, config: &View<'a>) -> Option<Facts> {
        let Some(configuration) = config.get("configuration") else {
            self.add(
                Code::PolicyWrong,
                config,
                "this gate has no policy; write the output of `callgate render --for envoy`",
            );
            return None;
        };
        let (name, content) = configuration.open();
        let value = content.get("value").unwrap_or_else(|| content.clone());
        if name != "google.protobuf.StringValue" || !value.value.is_string() {
            let message =
                "only a `google.protobuf.StringValue` reaches the filter as text; write the policy as one, in JSON";
            self.add(Code::ConfigurationNotText, &configuration, message);
            return None;
        }
        self.policy(&value, ENVOY)
    }

    fn failure_policy(&mut self, config: &View<'a>) {
        if let Some(open) = config.says("fail_open") {
            self.add(
                Code::FailOpen,
                &open,
                "after a trap, every request is forwarded; write `failure_policy: FAIL_RELOAD`",
            );
        }
        match config.get("failure_policy") {
            Some(open) if config.is("failure_policy", "FAIL_OPEN", 3) => {
                self.add(Code::FailOpen, &open, "after a trap, every request is forwarded; write `FAIL_RELOAD`");
            }
            Some(_)
                if config.is("failure_policy", "FAIL_RELOAD", 1) || config.is("failure_policy", "FAIL_CLOSED", 2) => {}
            None if config.says("fail_open").is_some() => {}
            Some(other) if !config.is("failure_policy", "UNSPECIFIED", 0) => {
                self.add(Code::NotUnderstood, &other, "unknown failure policy; write `FAIL_RELOAD`");
            }
            _ => {
                let message = "the behavior after a trap is not set; write `failure_policy: FAIL_RELOAD`";
                self.add(Code::FailurePolicyUnset, config, message);
            }
        }
    }

    fn machine(&mut self, config: &View<'a>, facts: Option<&Facts>) {
        let machine = config.get("vm_config").unwrap_or_else(|| config.clone());
        if machine.text("vm_id").unwrap_or_default().is_empty() {
            let message = "every filter without `vm_id` can write to the gate's counters; write a separate one, such as `vm_id: \
                           callgate`";
            self.add(Code::VmIdBlank, &machine, message);
        }
        if let Some(runtime) =
            machine.get("runtime").filter(|_| machine.text("runtime") == Some("envoy.wasm.runtime.null"))
        {
            let message = "this runtime runs code that is compiled into Envoy, not the gate; write `runtime: \
                           envoy.wasm.runtime.v8`";
            self.add(Code::NotUnderstood, &runtime, message);
        }
        let variables = machine.get("environment_variables");
        let passed = variables.as_ref().map(|variables| variables.each("host_env_keys")).unwrap_or_default();
        let written = variables.as_ref().and_then(|variables| variables.get("key_values"));
        let written = written.map(|written| written.fields()).unwrap_or_default();
        let secrets = facts.map(|facts| facts.secrets.clone()).unwrap_or_default();
        for (name, place) in &written {
            // Without a policy, any variable may be a secret.
            if facts.is_none() || secrets.contains(*name) {
                let message = "these values are printed in `/config_dump`; name the variable in `host_env_keys`, and set it in \
                               Envoy's environment";
                self.add(Code::SecretInline, place, message);
            }
        }
        for secret in secrets {
            let named = passed.iter().any(|key| key.value.as_str() == Some(&secret));
            if !named && !written.iter().any(|(name, _)| *name == secret) {
                let message = format!(
                    "the policy reads a secret from `{secret}`; add it to `environment_variables.host_env_keys`"
                );
                self.add(Code::SecretNotPassed, &machine, message);
            }
        }
    }

    fn capabilities(&mut self, config: &View<'a>, facts: Option<&Facts>) {
        let allowed = config.path("capability_restriction_config.allowed_capabilities");
        let Some(allowed) = allowed.filter(|allowed| allowed.value.as_object().is_some_and(|map| !map.is_empty()))
        else {
            let message = "a defect in the module could use every host function; write the `capability_restriction_config` that \
                           `callgate render --for envoy` prints";
            return self.add(Code::CapabilitiesUnrestricted, config, message);
        };
        let needed = capabilities::required(
            facts.is_some_and(|facts| !facts.fetched.is_empty()),
            facts.is_some_and(|facts| facts.filters_answers),
            facts.is_some_and(|facts| facts.rechecks_streams),
        );
        let missing: Vec<&str> = needed.filter(|name| allowed.value.get(*name).is_none()).collect();
        if let Some(first) = missing.first() {
            let called = missing.iter().find(|name| name.starts_with("proxy_on_"));
            let message = match called {
                Some(callback) => format!("Envoy does not call the gate in this callback; write `{callback}: {{}}`"),
                None => format!("the filter calls `{first}`, which is not allowed; write `{first}: {{}}`"),
            };
            self.add(Code::CapabilityMissing, &allowed, message);
        }
    }

    /// Reports gates that share a map although their policies differ.
    pub(super) fn compare_gates(&mut self) {
        // Each bootstrap is a separate process. If there are several, it is unknown which one another file belongs to.
        let several = self.world.bootstraps.len() > 1;
        let apart = |one: &str, other: &str| several && one != other;
        let mut found = Vec::new();
        for (index, gate) in self.gates.iter().enumerate() {
            let (Some(vm_id), Some(facts)) = (gate.vm_id.filter(|vm_id| !vm_id.is_empty()), &gate.facts) else {
                continue;
            };
            let shares = |other: &&Gate<'a>| {
                other.vm_id == Some(vm_id)
                    && other.adapter == gate.adapter
                    && !apart(other.view.document.file(), gate.view.document.file())
                    && other
                        .facts
                        .as_ref()
                        .is_some_and(|theirs| theirs.name == facts.name && theirs.version != facts.version)
            };
            if self.gates.iter().take(index).any(|other| shares(&other)) {
                found.push((gate.view.clone(), gate.adapter));
            }
        }
        let named = |gate: &&Gate<'a>| {
            let facts = gate.facts.as_ref();
            facts.is_some_and(|facts| self.expected.as_ref().is_some_and(|expected| expected.name == facts.name))
        };
        let none = self.expected.is_some() && !self.gates.iter().any(|gate| named(&gate));
        if let Some(view) = self.gates.first().map(|gate| gate.view.clone()).filter(|_| none) {
            let message = "no gate has the policy given on the command line; render that policy, or give another one";
            self.add(Code::PolicyOfAnother, &view, message);
        }
        for (view, adapter) in found {
            let shared = match adapter {
                Adapter::Module => "library",
                Adapter::Wasm => "`vm_id`",
            };
            let message = format!(
                "another gate with this {shared} has a different policy with the same name, so they share counters; give each \
                 policy a different `name`"
            );
            self.add(Code::StateShared, &view, message);
        }
    }
}
