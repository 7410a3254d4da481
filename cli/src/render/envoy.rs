//! The filter in Envoy's configuration: in a listener, and as a discovered resource.

use serde_json::{Map, Value, json};

use super::Setting;
use callgate_kit::capabilities;
use callgate_kit::policy::Loaded;

pub(super) const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const MODULE: &str = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

/// The file of the dynamic module. Its name has the version, because Envoy does not load another file from the same path.
pub(super) const LIBRARY: &str = concat!("libcallgate-", env!("CARGO_PKG_VERSION"), ".so");

/// Returns an entry of `http_filters`, in a list.
pub(super) fn filter(loaded: &Loaded, setting: &Setting) -> Result<Value, String> {
    Ok(json!([{ "name": "callgate", "typed_config": local(loaded, setting)? }]))
}

/// Returns the file for a filter that Envoy discovers under the name `callgate`.
pub(super) fn discovered(loaded: &Loaded, setting: &Setting) -> Result<Value, String> {
    Ok(json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "callgate",
        "typed_config": local(loaded, setting)?,
    }] }))
}

/// Returns a plugin as a filter.
pub(super) fn typed(plugin: &Value) -> Value {
    json!({ "@type": WASM, "config": plugin })
}

/// Returns the filter with a module from a file.
fn local(loaded: &Loaded, setting: &Setting) -> Result<Value, String> {
    let folder = "/etc/envoy/";
    if super::is_module(loaded) {
        let library = setting.module.clone().unwrap_or_else(|| format!("{folder}{LIBRARY}"));
        return dynamic_module(loaded, &library);
    }
    let module = setting.module.clone().unwrap_or_else(|| format!("{folder}callgate.wasm"));
    Ok(typed(&plugin(loaded, &json!({ "local": { "filename": module } }))?))
}

/// Returns the filter as a dynamic module. The table in `envoy/module/README.md` describes each member.
fn dynamic_module(loaded: &Loaded, library: &str) -> Result<Value, String> {
    Ok(json!({
        "@type": MODULE,
        "dynamic_module_config": {
            "do_not_close": true,
            "module": { "local": { "filename": library } },
        },
        "filter_config": text(super::text(&module_configuration(loaded))?),
        "filter_name": "callgate",
    }))
}

/// Returns the configuration of the dynamic module: the policy, or the policy with the names of the environment variables that it may
/// read.
pub(super) fn module_configuration(loaded: &Loaded) -> Value {
    let policy = super::policy(loaded);
    if loaded.secrets.is_empty() { policy.clone() } else { json!({ "environment": loaded.secrets, "policy": policy }) }
}

/// Returns a message that contains this text.
fn text(value: String) -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": value })
}

/// Returns the plugin with its policy; `code` states where its module comes from. The table in `envoy/README.md` describes each
/// member.
pub(super) fn plugin(loaded: &Loaded, code: &Value) -> Result<Value, String> {
    let capabilities: Map<_, _> =
        capabilities::allowed(loaded.document.value()).map(|name| (name.to_owned(), json!({}))).collect();
    Ok(json!({
        "name": "callgate",
        "root_id": "callgate",
        "failure_policy": "FAIL_RELOAD",
        "reload_config": { "backoff": { "base_interval": "0.1s", "max_interval": "1s" } },
        "allow_on_headers_stop_iteration": true,
        "capability_restriction_config": { "allowed_capabilities": capabilities },
        "vm_config": {
            "vm_id": "callgate",
            "runtime": "envoy.wasm.runtime.v8",
            "code": code,
            "environment_variables": { "host_env_keys": loaded.secrets },
        },
        "configuration": text(super::text(super::policy(loaded))?),
    }))
}
