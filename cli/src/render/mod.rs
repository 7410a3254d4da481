//! A policy as the configuration that a gateway takes: what `callgate render` prints, and what the files in `envoy/` and `kong/`
//! are compared with.
//!
//! Each gateway has a file here that says what its configuration looks like, as data; how that reads in YAML is a library's business.

mod envoy;
mod kong;
mod kubernetes;

use std::collections::BTreeMap;

use serde_json::Value;

use callgate_kit::escape;
use callgate_kit::policy::Loaded;

/// What may be written for a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Form {
    /// `envoy`: an entry of `http_filters`, to paste
    Filter,
    /// `envoy`: a file for a filter that Envoy discovers (ECDS)
    Ecds,
    /// `istio`: a `WasmPlugin`
    WasmPlugin,
    /// `istio`: a `TrafficExtension`, which newer releases prefer
    TrafficExtension,
    /// `istio`: an `EnvoyFilter`, which can say more than the others
    EnvoyFilter,
    /// `envoy-gateway`: an `EnvoyExtensionPolicy`
    ExtensionPolicy,
    /// `higress`: a `WasmPlugin` of Higress
    HigressPlugin,
    /// `kong`: services, routes and filter chains
    #[value(name = "kong.yml")]
    KongYml,
    /// `kong`: the settings that the filter needs
    #[value(name = "kong.conf")]
    KongConf,
    /// `kong`: what Kong checks the policy with
    #[value(name = "meta.json")]
    KongMeta,
}

/// The gateways that something can be written for, by the name that they have in a policy, and in which forms; the first is the usual one.
pub const GATEWAYS: [(&str, &[Form]); 5] = [
    ("envoy", &[Form::Filter, Form::Ecds]),
    ("istio", &[Form::WasmPlugin, Form::TrafficExtension, Form::EnvoyFilter]),
    ("envoy-gateway", &[Form::ExtensionPolicy]),
    ("higress", &[Form::HigressPlugin]),
    ("kong", &[Form::KongYml, Form::KongConf, Form::KongMeta]),
];

/// What the policy does not say.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where the gateway finds the module; a place that is usual for the gateway when absent.
    pub module: Option<String>,
    /// The digest that the module must have, in hexadecimal.
    pub sha256: Option<String>,
    /// Whether it is for sidecars in the place of a gateway.
    pub sidecar: bool,
    /// The namespace of a Kubernetes resource; one that is usual for the gateway when absent.
    pub namespace: Option<String>,
    /// The labels of the workloads that it is for; those that are usual for the gateway when absent.
    pub labels: BTreeMap<String, String>,
    /// The `Gateway` that it is for.
    pub target: String,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            module: None,
            sha256: None,
            sidecar: false,
            namespace: None,
            labels: BTreeMap::new(),
            target: "eg".to_owned(),
        }
    }
}

impl Form {
    /// What the policy has to say of its gateway. Through an `EnvoyFilter` Istio's Envoy is given all that Envoy knows.
    #[must_use]
    pub fn gateway(self) -> &'static str {
        match self {
            Self::Filter | Self::Ecds | Self::EnvoyFilter => "envoy",
            Self::WasmPlugin | Self::TrafficExtension => "istio",
            Self::ExtensionPolicy => "envoy-gateway",
            Self::HigressPlugin => "higress",
            Self::KongYml | Self::KongConf | Self::KongMeta => "kong",
        }
    }
}

/// Writes the configuration.
///
/// # Errors
/// What stands in the way, in one sentence.
pub fn render(loaded: &Loaded, form: Form, setting: &Setting) -> Result<String, String> {
    match form {
        Form::Filter => yaml(&envoy::filter(loaded, setting)?),
        Form::Ecds => yaml(&envoy::discovered(loaded, setting)?),
        Form::WasmPlugin => yaml(&kubernetes::wasm_plugin(loaded, setting)),
        Form::TrafficExtension => yaml(&kubernetes::traffic_extension(loaded, setting)),
        Form::EnvoyFilter => yaml(&kubernetes::envoy_filter(loaded, setting)?),
        Form::ExtensionPolicy => yaml(&kubernetes::extension_policy(loaded, setting)),
        Form::HigressPlugin => yaml(&kubernetes::higress_plugin(loaded, setting)),
        Form::KongYml => yaml(&kong::declarative(loaded)?),
        Form::KongConf => Ok(kong::settings(loaded)),
        Form::KongMeta => kong::meta(),
    }
}

/// In YAML that its versions 1.1 and 1.2 read alike: a member `y` of a key is quoted, or Kubernetes would take it for `true`.
///
/// Text of several lines stands as such, other text on one line however long it is.
fn yaml(value: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| format!("it cannot be written as YAML: {error}"))?;
    match text.chars().find(|c| *c != '\n' && !escape::is_visible(*c)) {
        None => Ok(text),
        Some(c) => Err(format!("the policy holds `{}`, which nobody would see there: remove it", c.escape_unicode())),
    }
}

/// The policy as data, for gateways that make JSON of it themselves.
fn policy(loaded: &Loaded) -> &Value {
    loaded.document.value()
}

/// The policy as a string, for gateways that pass it on as one.
fn json(loaded: &Loaded) -> Result<String, String> {
    escape::json(policy(loaded)).map_err(|error| format!("it cannot be written as JSON: {error}"))
}
