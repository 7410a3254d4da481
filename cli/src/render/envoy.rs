//! The filter in Envoy's configuration: in a listener, and as a discovered resource.

use serde_json::{Map, Value, json};

use super::Setting;
use callgate_kit::capabilities;
use callgate_kit::policy::Loaded;

pub(super) const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// Returns an entry of `http_filters`, in a list.
pub(super) fn filter(loaded: &Loaded, setting: &Setting) -> Result<Value, String> {
    Ok(json!([{ "name": "callgate", "typed_config": typed(&plugin(loaded, &local(setting))?) }]))
}

/// Returns the file for a filter that Envoy discovers under the name `callgate`.
pub(super) fn discovered(loaded: &Loaded, setting: &Setting) -> Result<Value, String> {
    Ok(json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "callgate",
        "typed_config": typed(&plugin(loaded, &local(setting))?),
    }] }))
}

/// Returns a plugin as a filter.
pub(super) fn typed(plugin: &Value) -> Value {
    json!({ "@type": WASM, "config": plugin })
}

fn local(setting: &Setting) -> Value {
    let module = setting.module.as_deref().unwrap_or("/etc/envoy/callgate.wasm");
    json!({ "local": { "filename": module } })
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
        "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": super::json(loaded)? },
    }))
}
