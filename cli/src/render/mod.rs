//! Renders a policy as the configuration of a gateway. `callgate render` prints the result, and tests compare the files in `envoy/`
//! and `kong/` with it.
//!
//! Each gateway has a module that describes its configuration as data. A library converts the data to YAML. Only a complete bootstrap of
//! Envoy starts from text, `envoy/envoy.yaml` or `envoy/module/envoy.yaml`, because users need its comments.

mod bootstrap;
mod envoy;
mod fetched;
mod kong;
mod kubernetes;
mod needs;
mod shipped;
mod tls;

use std::collections::BTreeMap;

use serde_json::Value;

use callgate_kit::escape;
use callgate_kit::policy::Loaded;

/// What may be written for a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Form {
    /// `envoy`, `envoy-module`: an entry of `http_filters`, to paste
    Filter,
    /// `envoy`, `envoy-module`: a file for a filter that Envoy discovers (ECDS)
    Ecds,
    /// `istio`: a `WasmPlugin`
    WasmPlugin,
    /// `istio`: a `TrafficExtension`, which newer releases prefer
    TrafficExtension,
    /// `istio`: an `EnvoyFilter`, which supports more settings than the others
    EnvoyFilter,
    /// `envoy-gateway`, `envoy-module`: an `EnvoyExtensionPolicy`
    ExtensionPolicy,
    /// `higress`: a `WasmPlugin` of Higress
    HigressPlugin,
    /// `kong`: services, routes and filter chains
    #[value(name = "kong.yml")]
    KongYml,
    /// `kong`: the settings that the filter needs
    #[value(name = "kong.conf")]
    KongConf,
    /// `kong`: the schema with which Kong validates the policy
    #[value(name = "meta.json")]
    KongMeta,
}

/// The name in a policy of Envoy with the dynamic module.
const MODULE: &str = "envoy-module";

/// The supported gateways by their names in a policy, with the forms of each; the first form is the default.
pub const GATEWAYS: [(&str, &[Form]); 6] = [
    ("envoy", &[Form::Filter, Form::Ecds]),
    (MODULE, &[Form::Filter, Form::Ecds, Form::ExtensionPolicy]),
    ("istio", &[Form::WasmPlugin, Form::TrafficExtension, Form::EnvoyFilter]),
    ("envoy-gateway", &[Form::ExtensionPolicy]),
    ("higress", &[Form::HigressPlugin]),
    ("kong", &[Form::KongYml, Form::KongConf, Form::KongMeta]),
];

/// Settings that are not part of the policy.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where the gateway finds the module; a typical place for the gateway when absent.
    pub module: Option<String>,
    /// The SHA-256 digest that the module must have, in hexadecimal.
    pub sha256: Option<String>,
    /// Whether the configuration is for sidecars instead of a gateway.
    pub sidecar: bool,
    /// The namespace of a Kubernetes resource; a typical one for the gateway when absent.
    pub namespace: Option<String>,
    /// The labels of the target workloads; typical ones for the gateway when absent.
    pub labels: BTreeMap<String, String>,
    /// The target `Gateway`.
    pub target: String,
    /// Whether everything that the gateway also needs is part of the configuration instead of comments.
    pub full: bool,
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
            full: false,
        }
    }
}

impl Form {
    /// Returns the value of `gateway` that the policy must have for this form of the gateway `named`. An `EnvoyFilter` can use every
    /// setting of Istio's Envoy, so it needs `envoy`.
    #[must_use]
    pub fn gateway(self, named: &str) -> &str {
        match self {
            Self::EnvoyFilter => "envoy",
            _ => named,
        }
    }
}

/// Renders the configuration, followed by comments about what the gateway also needs. With [`Setting::full`], that is part of the
/// configuration.
///
/// # Errors
/// Returns the obstacle in one sentence.
pub fn render(loaded: &Loaded, form: Form, setting: &Setting) -> Result<String, String> {
    if let Some(lacking) = tls::not_passed(loaded).filter(|_| form == Form::ExtensionPolicy) {
        return Err(lacking);
    }
    if setting.full {
        return full(loaded, form, setting);
    }
    Ok(configuration(loaded, form, setting)? + &needs::comments(loaded, form, setting)?)
}

fn configuration(loaded: &Loaded, form: Form, setting: &Setting) -> Result<String, String> {
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

fn full(loaded: &Loaded, form: Form, setting: &Setting) -> Result<String, String> {
    match form {
        Form::Filter => bootstrap::bootstrap(loaded, setting),
        Form::ExtensionPolicy => {
            if let Some(shared) = tls::shared(loaded, "Envoy Gateway") {
                return Err(shared);
            }
            let policy = configuration(loaded, form, setting)?;
            let proxy = yaml(&kubernetes::envoy_proxy(loaded, setting, &shipped::of(loaded).members()?))?;
            let paths = yaml(&kubernetes::client_traffic_policy(loaded, setting))?;
            Ok([policy, proxy, paths].join("---\n"))
        }
        _ => Err(
            "`--full` is for the forms `filter` and `extension-policy`; without it, comments list what the gateway also needs"
                .to_owned(),
        ),
    }
}

/// Writes YAML that versions 1.1 and 1.2 interpret the same way. For example, the member `y` of a key is quoted, because Kubernetes
/// would read it as `true`.
///
/// Text with several lines is written as a block; other text stays on one line of any length.
pub(crate) fn yaml(value: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| format!("cannot be written as YAML: {error}"))?;
    match text.chars().find(|c| *c != '\n' && !escape::is_visible(*c)) {
        None => Ok(text),
        Some(c) => Err(format!("the policy contains the invisible character `{}`; remove it", c.escape_unicode())),
    }
}

/// Returns whether the policy is for the dynamic module instead of the Wasm filter.
fn is_module(loaded: &Loaded) -> bool {
    policy(loaded).get("gateway").and_then(Value::as_str) == Some(MODULE)
}

/// Returns the policy as data, for gateways that convert it to JSON themselves.
fn policy(loaded: &Loaded) -> &Value {
    loaded.document.value()
}

/// Returns a value as JSON, for gateways that pass it on as a string.
fn text(value: &Value) -> Result<String, String> {
    escape::json(value).map_err(|error| format!("cannot be written as JSON: {error}"))
}
