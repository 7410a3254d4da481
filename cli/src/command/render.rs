//! `callgate render`: a policy as the configuration that a gateway takes.

use std::io::Write;
use std::path::PathBuf;

use super::{Exit, Failure};
use crate::capabilities::CAPABILITIES;
use crate::policy::Loaded;
use crate::{escape, policy};

/// Print a policy as the filter configuration of a gateway, ready to paste
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy, in YAML or JSON
    policy: PathBuf,
    /// The gateway
    #[arg(long = "for", value_name = "GATEWAY", value_parser = ["envoy", "istio", "envoy-gateway", "higress", "kong"])]
    gateway: String,
    /// Where the gateway finds the module
    #[arg(long, value_name = "FILE", default_value = "/etc/envoy/callgate.wasm")]
    module: String,
}

/// Prints the configuration.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = policy::load(&arguments.policy)?;
    match arguments.gateway.as_str() {
        "envoy" => write!(out, "{}", envoy(&loaded, &arguments.module)?)?,
        other => {
            let message = format!("`--for {other}` is not supported yet: this version renders for `envoy`");
            return Err(Failure::Trouble(message));
        }
    }
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    Ok(Exit::Fine)
}

/// An entry of `http_filters`.
fn envoy(loaded: &Loaded, module: &str) -> Result<String, Failure> {
    let module = double_quoted(module)?;
    let names = loaded.secrets.iter().map(|name| double_quoted(name)).collect::<Result<Vec<_>, _>>()?.join(", ");
    let capabilities = CAPABILITIES.iter().map(|name| format!("\n          {name}: {{}}")).collect::<String>();
    let policy = single_quoted(&escape::visible_json(&loaded.policy_json));
    Ok(format!(
        r#"- name: callgate
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      name: callgate
      root_id: callgate
      failure_policy: FAIL_RELOAD
      reload_config: {{ backoff: {{ base_interval: 0.1s, max_interval: 1s }} }}
      allow_on_headers_stop_iteration: true
      capability_restriction_config:
        allowed_capabilities:{capabilities}
      vm_config:
        vm_id: callgate
        runtime: envoy.wasm.runtime.v8
        code: {{ local: {{ filename: {module} }} }}
        environment_variables: {{ host_env_keys: [{names}] }}
      configuration:
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: {policy}
"#
    ))
}

/// A YAML scalar in which nothing but the quote itself has a meaning; `text` is visible characters only.
fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A JSON string, which is a YAML scalar as well.
fn double_quoted(text: &str) -> Result<String, Failure> {
    Ok(escape::json(&text)?)
}
