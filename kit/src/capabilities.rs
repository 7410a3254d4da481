//! The capabilities that the module needs from a gateway: the host calls that it makes and the callbacks that the gateway must
//! call. Gateway configurations are generated from this list or checked against it.
//!
//! A gateway that is configured with the list rejects every other host call, and does not enter the VM for callbacks that do
//! nothing.
//!
//! Apart from the callback for the bodies of responses, the list does not depend on the policy. Envoy reuses a VM for an update with the same module, and the VM keeps the capabilities
//! with which it was created. If only policies that fetch documents had the calls for that, the first update to such a policy would
//! require a restart. The callback for the bodies of responses costs every response a call into the VM, so only gateways whose policies
//! filter the lists of MCP servers, or check open streams again, have it; the first update to such a policy requires a restart.

use serde_json::Value;

/// The capabilities that the filter needs under every policy, by their names in Envoy.
pub const CAPABILITIES: &[&str] = &[
    // Callbacks. Without `proxy_on_delete`, the resources of a stream would never be released.
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_http_call_response",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_log",
    "proxy_on_delete",
    // Host calls.
    "proxy_add_header_map_value",
    "proxy_call_foreign_function",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_http_call",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_property",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
    // A clock that is never set, environment variables and random numbers.
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "random_get",
];

/// The capability without which the module itself computes the signatures that the gateway would verify for it, which costs more.
const VERIFYING: &str = "proxy_call_foreign_function";

/// The capabilities that only policies need that fetch documents. With the first one, the module can send requests to every cluster
/// of the gateway.
const FETCHING: [&str; 4] =
    ["proxy_http_call", "proxy_on_http_call_response", "proxy_continue_stream", "clock_time_get"];

/// The capabilities that only policies need that filter the answers of MCP servers. Policies that check open streams again need the
/// first one.
pub const ANSWERING: [&str; 2] = [RESPONDING, "proxy_set_buffer_bytes"];

/// The callback for the bodies of responses.
const RESPONDING: &str = "proxy_on_response_body";

/// Returns whether a policy filters the answers of MCP servers: an endpoint has `protocol: mcp` and not `list: unfiltered`.
#[must_use]
pub fn filters_answers(policy: &Value) -> bool {
    let endpoints = policy.get("endpoints").and_then(Value::as_array);
    let mut all = endpoints.into_iter().flatten().filter_map(|endpoint| endpoint.get("rpc"));
    all.any(|rpc| {
        rpc.get("protocol").is_some_and(|protocol| protocol == "mcp")
            && rpc.get("list").is_none_or(|list| list != "unfiltered")
    })
}

/// Returns whether a policy checks open streams again: an endpoint has `streams: recheck`.
#[must_use]
pub fn rechecks_streams(policy: &Value) -> bool {
    let endpoints = policy.get("endpoints").and_then(Value::as_array);
    endpoints.into_iter().flatten().any(|endpoint| endpoint.get("streams").is_some_and(|streams| streams == "recheck"))
}

/// Returns the capabilities for responses that a gateway with this policy should allow in addition to [`CAPABILITIES`].
pub fn answering(policy: &Value) -> impl Iterator<Item = &'static str> {
    needed_for_responses(filters_answers(policy), rechecks_streams(policy))
}

fn needed_for_responses(filters: bool, rechecks: bool) -> impl Iterator<Item = &'static str> {
    ANSWERING.into_iter().filter(move |name| filters || rechecks && *name == RESPONDING)
}

/// Returns the capabilities that a gateway with this policy should allow.
pub fn allowed(policy: &Value) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().copied().chain(answering(policy))
}

/// Returns the capabilities without which the filter does not work under a policy that fetches documents, filters answers, or checks
/// open streams again.
pub fn required(fetches: bool, filters: bool, rechecks: bool) -> impl Iterator<Item = &'static str> {
    let always = CAPABILITIES.iter().copied();
    let needed = always.filter(move |name| *name != VERIFYING && (fetches || !FETCHING.contains(name)));
    needed.chain(needed_for_responses(filters, rechecks))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_that_fetch_nothing_require_no_calls_to_clusters() {
        let (with, without): (Vec<_>, Vec<_>) =
            (required(true, false, false).collect(), required(false, false, false).collect());
        assert_eq!((with.len(), without.len()), (CAPABILITIES.len() - 1, CAPABILITIES.len() - 5));
        assert!(FETCHING.iter().all(|name| with.contains(name) && !without.contains(name)));
    }

    #[test]
    fn only_policies_that_filter_answers_require_the_bodies_of_responses() {
        let policy = |rpc: Value| json!({ "endpoints": [{ "id": "other" }, { "id": "mcp", "rpc": rpc }] });
        for (rpc, filters) in [
            (json!({ "protocol": "mcp" }), true),
            (json!({ "protocol": "mcp", "list": "granted" }), true),
            (json!({ "protocol": "mcp", "list": "unfiltered" }), false),
            (json!({ "protocol": "json-rpc" }), false),
        ] {
            assert_eq!(filters_answers(&policy(rpc.clone())), filters, "{rpc}");
            let has = allowed(&policy(rpc)).any(|name| name == "proxy_on_response_body");
            assert_eq!(has, filters);
        }
        assert!(!filters_answers(&json!({})));
        assert_eq!(required(false, true, false).count(), required(false, false, false).count() + 2);
    }

    #[test]
    fn policies_that_check_streams_again_require_the_bodies_of_responses_and_change_none() {
        let policy = |endpoint: Value| json!({ "endpoints": [{ "id": "other" }, endpoint] });
        for (endpoint, rechecks) in [(json!({ "streams": "recheck" }), true), (json!({ "id": "none" }), false)] {
            let policy = policy(endpoint);
            assert_eq!(rechecks_streams(&policy), rechecks, "{policy}");
            assert_eq!(answering(&policy).collect::<Vec<_>>(), if rechecks { vec![RESPONDING] } else { vec![] });
        }
        let required: Vec<_> = required(false, false, true).collect();
        assert!(required.contains(&RESPONDING) && !required.contains(&"proxy_set_buffer_bytes"));
    }
}
