//! Kong's configuration: entities in YAML, settings for `kong.conf`, and the schema that Kong uses to check a policy before the
//! filter does.

mod draft4;

use std::fmt::Write as _;
use std::net::SocketAddr;

use callgate::policy::GATEWAY_VARIABLE;
use serde_json::{Value, json};

use super::fetched::{self, AUTHORITIES};
use callgate_kit::policy::{Loaded, schema};

/// Returns a service with the filter, so requests on all of its routes pass through the gate.
pub(super) fn declarative(loaded: &Loaded) -> Result<Value, String> {
    let policy = super::policy(loaded);
    if let Some(place) = empty_list(policy) {
        return Err(format!(
            "`{place}`: Kong passes an empty list to a filter as an empty mapping; remove the list, or write an item"
        ));
    }
    let hosts = policy.get("hosts").cloned().unwrap_or_default();
    let chain = json!({
        "name": "callgate",
        "enabled": true,
        "filters": [{ "name": "callgate", "enabled": true, "config": policy }],
    });
    let route = json!({
        "name": "api",
        "hosts": hosts,
        "paths": ["/"],
        // The API must receive the request that the gate checked.
        "strip_path": false,
        "preserve_host": true,
    });
    let service = json!({
        "name": "api",
        "url": "http://127.0.0.1:8080",
        // A forwarded request may already have had an effect, and Kong would send it again without another check by the gate.
        "retries": 0,
        "routes": [route],
        "filter_chains": [chain],
    });
    Ok(json!({ "_format_version": "3.0", "services": [service] }))
}

/// Returns the first empty list, as a JSON pointer.
fn empty_list(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) if items.is_empty() => Some(String::new()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| Some(format!("/{index}{}", empty_list(item)?)))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, field)| Some(format!("/{name}{}", empty_list(field)?))),
        _ => None,
    }
}

/// Returns the contents of a filter's `.meta.json`, which is the schema of its configuration.
pub(super) fn meta() -> Result<String, String> {
    let mut schema = draft4::reduced(&schema());
    // A policy for another gateway relies on features that Kong's engine does not have, such as removing a header.
    let gateway = schema.pointer_mut("/properties/gateway").ok_or("the schema of the policy has no `gateway`")?;
    *gateway = json!({ "type": "string", "enum": ["kong"] });
    let meta = json!({ "config_schema": schema });
    let text = serde_json::to_string_pretty(&meta).map_err(|error| format!("cannot be written as JSON: {error}"))?;
    Ok(text + "\n")
}

/// Returns lines for `kong.conf`.
pub(super) fn settings(loaded: &Loaded) -> String {
    let mut text = String::from(
        "# Settings that Callgate needs in addition to your Kong's own (Kong 3.4 to 3.9, which include WasmX). README.md explains them.\n\
         wasm = on\n\
         wasm_filters_path = /usr/local/kong/wasm\n\
         wasm_filters = user\n",
    );
    if let Some(zone) = loaded.zone() {
        let _ = writeln!(
            text,
            "\n# The state that workers share, in a zone that nothing else writes to: room for this policy's tables, in whole pages of 4 KiB.\n\
             # Several policies share the zone: add the sizes that `callgate check` prints for each.\n\
             nginx_wasm_shm_kv_callgate = {zone}"
        );
        let _ = writeln!(
            text,
            "\n# After a reload, old workers use the old zone until their connections end. This is the longest time that a limit is counted\n\
             # twice. It must not exceed the time during which a new zone rejects signatures that the old one may have accepted.\n\
             nginx_main_worker_shutdown_timeout = {}s",
            overlap(loaded)
        );
    }
    text += &fetching(loaded);
    let _ = writeln!(
        text,
        "\n# A body that is checked must stay in memory, where a filter can read it: as large as the policy allows.\n\
         nginx_http_client_body_buffer_size = {}",
        body(loaded)
    );
    let gateway = format!("{GATEWAY_VARIABLE}=kong");
    let names: Vec<_> = [gateway.as_str()].into_iter().chain(loaded.secrets.iter().map(String::as_str)).collect();
    let _ = writeln!(
        text,
        "\n# The gateway's name, for a policy that cannot be read. With it, the filter denies every request instead of rejecting the policy.\n\
         # Without it, Kong would forward requests without the filter. The other variables are the policy's secrets. nginx hides its\n\
         # environment from its workers, except these variables; every filter can read them.\n\
         nginx_main_env = {}",
        names.join("; env ")
    );
    text += "\n# Kong stores wasmtime's cache in `.wasmtime_cache` in this folder. Keep the folder when you upgrade Kong: without the cache, each\n\
             # worker compiles the filter when it starts.\n\
             prefix = /usr/local/kong\n";
    text += "\n# Loopback only: anyone who reaches this interface can replace the policy.\n\
             admin_listen = 127.0.0.1:8001\n";
    text
}

/// Returns the settings for documents that the filter fetches; nothing for a policy that fetches none.
fn fetching(loaded: &Loaded) -> String {
    let Some(zone) = loaded.document_zone() else { return String::new() };
    let hosts = fetched::hosts(loaded);
    let mut text = format!(
        "\n# The documents that the filter fetches, such as the keys of issuers, 1 MiB for each. Several policies share the zone: add the\n\
         # sizes that `callgate check` prints for each.\n\
         nginx_wasm_shm_kv_callgate_documents = {zone}\n"
    );
    if hosts.iter().any(|host| host.tls) {
        let _ = writeln!(
            text,
            "\n# Whoever answers in place of such a server chooses the keys that the gate trusts: its certificate must be for the host in\n\
             # `address`, from an authority in this file.\n\
             nginx_wasm_tls_verify_cert = on\n\
             nginx_wasm_tls_verify_host = on\n\
             nginx_wasm_tls_trusted_certificate = {AUTHORITIES}"
        );
    }
    if hosts.iter().any(|host| !is_numeric(&host.upstream)) {
        let _ = writeln!(
            text,
            "\n# Change this to your DNS server. The filter fetches on a timer, where Kong's own resolver is not available, and without this\n\
             # setting the names in `address` are resolved by 8.8.8.8.\n\
             nginx_wasm_resolver = 127.0.0.1 ipv6=off"
        );
    }
    text
}

/// Returns whether an address has an IP address instead of a name.
fn is_numeric(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok()
}

/// Returns for how many seconds the workers of two generations may run at the same time.
fn overlap(loaded: &Loaded) -> u64 {
    /// The time in seconds for a policy without replay protection. During the overlap, only limits are counted twice.
    const OF_LIMITS: u64 = 60;
    loaded.policy.replay_ripens().map_or(OF_LIMITS, |time| time.as_secs().min(OF_LIMITS))
}

/// Returns the size of the largest body that is checked, in nginx's notation.
fn body(loaded: &Loaded) -> String {
    let written = loaded.document.value().get("max_body").and_then(Value::as_str).unwrap_or("1MiB");
    written.replace("KiB", "k").replace("MiB", "m")
}
