//! The two ways in which Envoy runs the gate: as a Wasm filter, and as a dynamic module.
//!
//! Everything in the harness that differs between them is here: the file, the filter's configuration, the name of the gateway in a policy,
//! and the names of metrics. No other code may compare names or configurations of the two.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::build::{self, Flavor};

/// How Envoy runs the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// The filter for any proxy-wasm host, in a VM.
    Wasm,
    /// The library that Envoy loads into its process.
    Module,
}

/// The name of the gateway in policies for Envoy with the filter.
const ENVOY: &str = "envoy";
/// The name of the gateway in policies for Envoy with the module.
const ENVOY_MODULE: &str = "envoy-module";

/// The key under which the module reads certificates of clients.
const PEER_CERTIFICATE: &str = "callgate.peer_certificate";

/// The namespaces of metrics. Envoy removes that of a filter from the names that Prometheus reads, and keeps that of a module.
const WASM_METRICS: &str = "wasmcustom";
const MODULE_METRICS: &str = "dynamicmodulescustom";

impl Adapter {
    /// The environment variable that selects the adapter of a run of tests: `wasm`, which is the default, or `module`.
    pub const VARIABLE: &str = "CALLGATE_ADAPTER";

    /// Returns the adapter that the environment selects. The variable is read once.
    ///
    /// # Errors
    /// When it has another value.
    pub fn chosen() -> Result<Self> {
        static CHOSEN: OnceLock<Adapter> = OnceLock::new();
        if let Some(chosen) = CHOSEN.get() {
            return Ok(*chosen);
        }
        let chosen = Self::named(env::var_os(Self::VARIABLE).as_deref())?;
        Ok(*CHOSEN.get_or_init(|| chosen))
    }

    fn named(name: Option<&OsStr>) -> Result<Self> {
        match name.map(OsStr::to_str) {
            None | Some(Some("wasm")) => Ok(Self::Wasm),
            Some(Some("module")) => Ok(Self::Module),
            Some(_) => {
                let name = name.unwrap_or_default().to_string_lossy();
                bail!("{}: invalid value `{name}`; expected `wasm` or `module`", Self::VARIABLE)
            }
        }
    }

    /// Returns the adapter that a file belongs to.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        if file.extension().is_some_and(|extension| extension == "so") { Self::Module } else { Self::Wasm }
    }

    /// Builds the filter or the module, and returns its file.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(self, flavor: Flavor) -> Result<PathBuf> {
        match self {
            Self::Wasm => build::filter(flavor),
            Self::Module => build::envoy_module(flavor),
        }
    }

    /// Changes a policy for Envoy into one for this adapter. Policies for other gateways stay as they are.
    pub fn adapt(self, policy: &mut Value) {
        if self == Self::Module
            && let Some(gateway) = policy.get_mut("gateway").filter(|gateway| **gateway == ENVOY)
        {
            *gateway = json!(ENVOY_MODULE);
        }
    }

    /// Returns the text of a policy for this adapter. Text that is no JSON stays as it is.
    pub(super) fn adapted(self, policy: &str) -> String {
        match serde_json::from_str::<Value>(policy) {
            Ok(mut read) if self == Self::Module && read.get("gateway").is_some_and(|name| name == ENVOY) => {
                self.adapt(&mut read);
                read.to_string()
            }
            _ => policy.to_owned(),
        }
    }

    /// Returns the expression for the names of this adapter's metrics, from that of the shipped configuration.
    pub(super) fn metrics_expression(self, shipped: &str) -> String {
        match self {
            Self::Wasm => shipped.to_owned(),
            Self::Module => shipped.replace(WASM_METRICS, MODULE_METRICS),
        }
    }
}

/// Returns the output of the admin interface with the names that the metrics of the filter have, for both adapters.
///
/// A module's metric may have its labels in its name, each with the label's name in front, and its namespace in front of that.
pub(super) fn with_names_of_the_filter(stats: &str) -> String {
    let plain = stats
        .replace(&format!("envoy_{MODULE_METRICS}_callgate_"), "callgate_")
        .replace(&format!("{MODULE_METRICS}.callgate"), &format!("{WASM_METRICS}.callgate"));
    let renamed = plain.lines().map(|line| match line.contains("callgate") {
        true => line.replace(".outcome.", ".").replace(".reason.", "."),
        false => line.to_owned(),
    });
    renamed.fold(String::with_capacity(plain.len()), |text, line| text + &line + "\n")
}

/// Returns the gate's filter with the module, in the form of the shipped files: with the path of the library. Envoy loads each path as a
/// separate library, and does not read a file again that was replaced under the same path.
pub(super) fn filter() -> Value {
    json!({
        "name": "callgate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            // Without `do_not_close`, the end of the last listener would unmap the library, and with it limits and replay state.
            "dynamic_module_config": { "module": { "local": { "filename": "" } }, "do_not_close": true },
            "filter_name": "callgate",
            "filter_config": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "" },
        },
    })
}

/// Adds the network filter that passes certificates to the module to each filter chain in which the module's policy reads them, unless
/// something in the chain sets them. Envoy itself gives a module only the digest.
pub(super) fn pass_certificates(listeners: &mut Value) {
    let listeners = listeners.as_array_mut().into_iter().flatten();
    let chains = listeners.filter_map(|listener| listener.get_mut("filter_chains")?.as_array_mut()).flatten();
    for chain in chains.filter(|chain| reads_certificates(chain)) {
        if let Some(filters) = chain.get_mut("filters").and_then(Value::as_array_mut) {
            filters.insert(0, passing_filter());
        }
    }
}

/// Returns whether the module reads certificates in this filter chain, and nothing sets them.
fn reads_certificates(chain: &Value) -> bool {
    let managers = chain.get("filters").and_then(Value::as_array).into_iter().flatten();
    let filters = managers.filter_map(|manager| manager.pointer("/typed_config/http_filters")?.as_array()).flatten();
    let mut policies = filters.filter_map(|filter| {
        let configuration = filter.pointer("/typed_config/filter_config/value")?.as_str()?;
        let read = serde_json::from_str::<Value>(configuration).ok()?;
        Some(read.get("policy").cloned().unwrap_or(read))
    });
    policies.any(|policy| policy.get("tls").is_some()) && !chain.to_string().contains(PEER_CERTIFICATE)
}

/// Returns the network filter that passes certificates to the module, as `callgate render` prints it.
fn passing_filter() -> Value {
    json!({
        "name": "peer-certificate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
            "on_downstream_tls_handshake": [{
                "object_key": PEER_CERTIFICATE,
                "factory_key": "envoy.string",
                "format_string": { "text_format_source": { "inline_string": "%DOWNSTREAM_PEER_CERT%" } },
            }],
        },
    })
}

/// Returns the module's configuration: the policy, or the policy with the variables that it may read.
pub(super) fn configuration(policy: &str, environment: &[String]) -> String {
    if environment.is_empty() {
        return policy.to_owned();
    }
    match serde_json::from_str::<Value>(policy) {
        Ok(policy) => json!({ "policy": policy, "environment": environment }).to_string(),
        Err(_) => policy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_an_adapter() {
        let named = |name: &str| Adapter::named(Some(OsStr::new(name)));
        assert_eq!(Adapter::named(None).unwrap(), Adapter::Wasm);
        assert_eq!((named("wasm").unwrap(), named("module").unwrap()), (Adapter::Wasm, Adapter::Module));
        for wrong in ["", "Module", "native"] {
            let error = named(wrong).unwrap_err().to_string();
            assert_eq!(error, format!("CALLGATE_ADAPTER: invalid value `{wrong}`; expected `wasm` or `module`"));
        }
    }

    #[test]
    fn a_policy_for_envoy_becomes_one_for_the_module() {
        let policy = r#"{"name":"a","gateway":"envoy","mode":"enforce"}"#;
        assert_eq!(Adapter::Wasm.adapted(policy), policy);
        let adapted: Value = serde_json::from_str(&Adapter::Module.adapted(policy)).unwrap();
        assert_eq!(adapted, json!({ "name": "a", "gateway": "envoy-module", "mode": "enforce" }));
        for other in [r#"{ "gateway": "istio" }"#, "gateway: envoy", r#"{ "name": "gateway" }"#] {
            assert_eq!(Adapter::Module.adapted(other), other);
        }
    }

    #[test]
    fn only_a_policy_with_variables_is_wrapped() {
        let variables = ["SECRET".to_owned()];
        assert_eq!(configuration(r#"{"a":1}"#, &[]), r#"{"a":1}"#);
        let wrapped: Value = serde_json::from_str(&configuration(r#"{"a":1}"#, &variables)).unwrap();
        assert_eq!(wrapped, json!({ "policy": { "a": 1 }, "environment": ["SECRET"] }));
        assert_eq!(configuration("a: 1", &variables), "a: 1");
    }

    #[test]
    fn only_a_policy_with_certificates_has_the_filter_that_passes_them() {
        let chain = |policy: &str| {
            let mut gate = filter();
            gate["typed_config"]["filter_config"]["value"] = json!(policy);
            json!({ "filters": [{ "name": "manager", "typed_config": { "http_filters": [gate, { "name": "router" }] } }] })
        };
        let with = [r#"{"tls":{}}"#, r#"{"environment":["A"],"policy":{"tls":{}}}"#];
        let without = ["{}", "tls: {}", r#"{"environment":["tls"],"policy":{}}"#];
        let chains: Vec<Value> = with.iter().chain(&without).map(|policy| chain(policy)).collect();
        let mut listeners = json!([{ "name": "a", "filter_chains": chains }, { "name": "b" }]);
        for _ in 0..2 {
            pass_certificates(&mut listeners);
            let chains = listeners[0]["filter_chains"].as_array().unwrap();
            let first: Vec<&Value> = chains.iter().map(|chain| &chain["filters"][0]["name"]).collect();
            assert_eq!(first, ["peer-certificate", "peer-certificate", "manager", "manager", "manager"]);
            assert!(chains.iter().all(|chain| chain["filters"].as_array().unwrap().len() <= 2), "it is added once");
        }
    }

    #[test]
    fn metrics_of_both_adapters_have_the_same_names() {
        let wasm = "wasmcustom.callgate.decisions.deny.token_key: 1\ncallgate_decisions{outcome=\"deny\"} 1\n";
        assert_eq!(with_names_of_the_filter(wasm), wasm);
        for module in ["deny.token_key", "outcome.deny.reason.token_key"] {
            let module = format!(
                "dynamicmodulescustom.callgate.decisions.{module}: 1\n\
                 envoy_dynamicmodulescustom_callgate_decisions{{outcome=\"deny\"}} 1\n"
            );
            assert_eq!(with_names_of_the_filter(&module), wasm);
        }
        let other = "http.outcome.reason.x: 1\n";
        assert_eq!(with_names_of_the_filter(other), other);
    }

    #[test]
    fn the_file_determines_the_adapter() {
        assert_eq!(Adapter::of(Path::new("/a/libcallgate-0.1.0.so")), Adapter::Module);
        assert_eq!(Adapter::of(Path::new("/a/callgate.wasm")), Adapter::Wasm);
    }
}
