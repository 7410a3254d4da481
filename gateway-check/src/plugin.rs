//! Checks the gate as a plugin of a Kubernetes gateway: `WasmPlugin` and `TrafficExtension` of Istio, Higress's `WasmPlugin`, and
//! the `wasm` of Envoy Gateway's `EnvoyExtensionPolicy`.

use super::Check;
use super::bypass::{BypassRoute, Targets};
use super::finding::Code;
use super::gate::{Adapter, Gate};
use super::policy::{self, Facts};
use super::view::View;
use super::world::Object;

/// The groups of the resources that contain plugins.
pub(super) const ISTIO: &str = "extensions.istio.io";
pub(super) const HIGRESS: &str = "extensions.higress.io";

/// A plugin of Istio or Higress.
#[derive(Debug, Clone)]
pub(super) struct Plugin<'a> {
    pub(super) object: Object<'a>,
    pub(super) spec: View<'a>,
    /// The Wasm settings; absent if the plugin is not Wasm.
    wasm: Option<View<'a>>,
    pub(super) is_gate: bool,
}

impl<'a> Plugin<'a> {
    fn of(object: &Object<'a>) -> Option<Self> {
        let spec = object.view.get("spec")?;
        let wasm = if object.kind == "TrafficExtension" { spec.get("wasm") } else { Some(spec.clone()) };
        let is_gate = wasm.as_ref().is_some_and(|wasm| {
            let named = |text: Option<&str>| text.is_some_and(|text| text.contains("callgate"));
            let rules = wasm.each("match_rules");
            let configs = [wasm.get("plugin_config"), wasm.get("default_config")].into_iter().flatten();
            let configs = configs.chain(rules.iter().filter_map(|rule| rule.get("config")));
            configs.into_iter().any(|config| policy::is_policy(config.value))
                || named(Some(object.name))
                || named(wasm.text("url"))
                || named(wasm.text("plugin_name"))
        });
        Some(Self { object: object.clone(), spec, wasm, is_gate })
    }

    /// Returns the position in the chain; plugins with smaller values run earlier.
    fn order(&self) -> (u64, i64) {
        let phases = ["AUTHN", "AUTHZ", "STATS"];
        let phase = (1..).zip(phases).find(|(number, name)| self.spec.is("phase", name, *number));
        let priority = self.spec.get("priority").and_then(|priority| priority.value.as_i64()).unwrap_or_default();
        (phase.map_or(4, |(number, _)| number), -priority)
    }

    /// Returns whether Istio's own authentication runs after it.
    pub(super) fn is_before_authentication(&self) -> bool {
        self.spec.is("phase", "AUTHN", 1)
    }

    /// Returns whether both can be in the same proxy.
    fn meets(&self, other: &Self) -> bool {
        self.object.group == other.object.group
            && (self.object.namespace == other.object.namespace
                || [self.object.namespace, other.object.namespace]
                    .iter()
                    .any(|name| name.is_empty() || *name == "istio-system"))
    }
}

impl<'a> Check<'a> {
    /// Returns the plugins among the resources, and reports the problems of those that are the gate.
    pub(super) fn plugins(&mut self) -> Vec<Plugin<'a>> {
        let kinds = [(ISTIO, "WasmPlugin"), (ISTIO, "TrafficExtension"), (HIGRESS, "WasmPlugin")];
        let objects = self.world.objects.iter().filter(|object| kinds.contains(&(object.group, object.kind)));
        let plugins: Vec<Plugin<'a>> = objects.filter_map(Plugin::of).collect();
        for plugin in plugins.iter().filter(|plugin| plugin.is_gate) {
            self.plugin(plugin);
            for other in
                plugins.iter().filter(|other| !other.is_gate && other.meets(plugin) && other.order() >= plugin.order())
            {
                let message = "this plugin runs after the gate and can change the request; give the gate a later `phase` or a \
                               lower `priority`, so it runs last";
                self.add(Code::FilterAfterGate, &other.spec, message);
            }
        }
        plugins
    }

    fn plugin(&mut self, plugin: &Plugin<'a>) {
        let Some(wasm) = &plugin.wasm else { return };
        let higress = plugin.object.group == HIGRESS;
        if wasm.is("type", "NETWORK", 2)
            && let Some(kind) = wasm.get("type")
        {
            self.add(Code::GateConditional, &kind, "a network filter does not check requests; write `type: HTTP`");
        }
        for selector in plugin.spec.each("match") {
            if let Some(ports) = selector.get("ports") {
                let message = "requests on other ports are forwarded without the gate; remove `ports`, so the gate applies to \
                               all of them";
                self.add(Code::GateConditional, &ports, message);
            }
        }
        self.strategy(wasm);
        self.url(wasm);
        let (field, gateways): (_, &[&str]) = if higress {
            ("default_config", &["higress", "portable"])
        } else {
            ("plugin_config", &["istio", "portable"])
        };
        let facts = match wasm.get(field) {
            Some(config) => self.policy(&config, gateways),
            None => None,
        };
        let mut known: Vec<Facts> = facts.clone().into_iter().collect();
        if higress {
            known.extend(self.rules(wasm, gateways));
        } else if wasm.get(field).is_none() {
            let message = format!(
                "this gate has no policy; write it as `{}`",
                if higress { "defaultConfig" } else { "pluginConfig" }
            );
            self.add(Code::PolicyWrong, wasm, message);
        }
        self.holds(wasm, &known);
        self.environment(wasm, &known);
        let facts = known.into_iter().next();
        self.gates.push(Gate { view: wasm.clone(), adapter: Adapter::Wasm, vm_id: None, facts });
    }

    /// Checks Higress's rules: which of them disable the gate, and for which requests.
    fn rules(&mut self, wasm: &View<'a>, gateways: &[&str]) -> Vec<Facts> {
        let mut known = Vec::new();
        if let Some(off) = wasm.says("default_config_disable") {
            let message =
                "requests that no rule matches are forwarded without the gate; write `defaultConfigDisable: false`";
            self.add(Code::GateConditional, &off, message);
        } else if wasm.get("default_config").is_none() {
            let message = "for requests that no rule matches, the gate has no policy; write it as `defaultConfig`";
            self.add(Code::PolicyWrong, wasm, message);
        }
        for rule in wasm.each("match_rules") {
            if let Some(off) = rule.says("config_disable") {
                self.bypasses.push(BypassRoute {
                    code: Code::RouteWithoutGate,
                    view: off,
                    targets: Targets::unknown(),
                    hosts: Vec::new(),
                    message:
                        "requests that this rule matches are forwarded without the gate; write `configDisable: false`"
                            .to_owned(),
                });
            } else if let Some(config) = rule.get("config") {
                known.extend(self.policy(&config, gateways));
            }
        }
        known
    }

    fn strategy(&mut self, wasm: &View<'a>) {
        match wasm.get("fail_strategy") {
            Some(open) if wasm.is("fail_strategy", "FAIL_OPEN", 1) => {
                let message = "if the gate traps or cannot be loaded, every request is forwarded; write `failStrategy: \
                               FAIL_CLOSE`";
                self.add(Code::FailOpen, &open, message);
            }
            Some(_) if wasm.is("fail_strategy", "FAIL_CLOSE", 0) || wasm.is("fail_strategy", "FAIL_RELOAD", 2) => {}
            Some(other) => self.add(Code::NotUnderstood, &other, "unknown strategy; write `FAIL_CLOSE`"),
            None => {
                let message = "the behavior after a trap is not set, and consoles default to FAIL_OPEN; write `failStrategy: \
                               FAIL_CLOSE`";
                self.add(Code::FailurePolicyUnset, wasm, message);
            }
        }
    }

    fn url(&mut self, wasm: &View<'a>) {
        let Some(url) = wasm.get("url") else { return };
        let text = url.value.as_str().unwrap_or_default();
        let pinned = !wasm.text("sha256").unwrap_or_default().is_empty() || text.contains("@sha256:");
        if !pinned && !text.starts_with("file://") {
            let message = "anyone who can write to this location can replace the gate; name the image by its digest, or write \
                           `sha256`";
            self.add(Code::ModuleNotPinned, &url, message);
        }
    }

    /// Reports a policy for plain Envoy in a gateway that cannot hold requests.
    pub(super) fn holds(&mut self, wasm: &View<'a>, known: &[Facts]) {
        if known.iter().any(|facts| facts.body.is_some() && facts.gateway == "envoy") {
            let message = "this policy holds requests until their body is checked, which this gateway does not support; render \
                           it for this gateway, or install the gate with an `EnvoyFilter` that sets \
                           `allow_on_headers_stop_iteration: true`";
            self.add(Code::BodyNeverComes, wasm, message);
        }
    }

    fn environment(&mut self, wasm: &View<'a>, known: &[Facts]) {
        let variables = wasm.each("vm_config.env");
        let secret = |name: &str| known.is_empty() || known.iter().any(|facts| facts.secrets.contains(name));
        for variable in &variables {
            let named = variable.text("name").unwrap_or_default();
            if let Some(value) =
                variable.get("value").filter(|_| secret(named) && !variable.is("value_from", "HOST", 1))
            {
                let message = "this value is printed with the configuration; write `valueFrom: HOST`, and set the variable in \
                               the proxy's environment";
                self.add(Code::SecretInline, &value, message);
            }
        }
        for secret in known.iter().flat_map(|facts| &facts.secrets) {
            if !variables.iter().any(|variable| variable.text("name") == Some(secret)) {
                let message = format!(
                    "the policy reads a secret from `{secret}`; add `{{ name: {secret}, valueFrom: HOST }}` to `vmConfig.env`"
                );
                self.add(Code::SecretNotPassed, wasm, message);
            }
        }
    }

    /// Checks an entry of `wasm` in Envoy Gateway's extension policy.
    pub(super) fn extension(&mut self, wasm: &View<'a>) {
        if let Some(open) = wasm.says("fail_open") {
            self.add(
                Code::FailOpen,
                &open,
                "if the gate traps or cannot be loaded, every request is forwarded; write `failOpen: false`",
            );
        }
        let pinned = ["code.image.sha256", "code.http.sha256"].iter().any(|path| wasm.text(path).is_some());
        let digest = wasm.text("code.image.url").is_some_and(|url| url.contains("@sha256:"));
        if let Some(code) = wasm.get("code").filter(|_| !pinned && !digest) {
            let message =
                "anyone who can write to this location can replace the gate; write its `sha256` next to the `url`";
            self.add(Code::ModuleNotPinned, &code, message);
        }
        let facts = match wasm.get("config") {
            Some(config) => self.policy(&config, &["envoy-gateway", "portable"]),
            None => {
                self.add(Code::PolicyWrong, wasm, "this gate has no policy; write it as `config`");
                None
            }
        };
        let known: Vec<Facts> = facts.clone().into_iter().collect();
        self.holds(wasm, &known);
        let keys = wasm.each("env.host_keys");
        for secret in known.iter().flat_map(|facts| &facts.secrets) {
            if !keys.iter().any(|key| key.value.as_str() == Some(secret)) {
                let message = format!("the policy reads a secret from `{secret}`; add it to `env.hostKeys`");
                self.add(Code::SecretNotPassed, wasm, message);
            }
        }
        self.gates.push(Gate { view: wasm.clone(), adapter: Adapter::Wasm, vm_id: None, facts });
    }
}
