//! The capabilities that the module needs from a gateway: the host calls that it makes and the callbacks that the gateway must
//! call. Gateway configurations are generated from this list or checked against it.
//!
//! A gateway that is configured with the list rejects every other host call, and does not enter the VM for callbacks that do
//! nothing.
//!
//! The list does not depend on the policy. Envoy reuses a VM for an update with the same module, and the VM keeps the capabilities
//! with which it was created. If only policies that fetch documents had the calls for that, the first update to such a policy would
//! require a restart.

/// The capabilities that the filter needs, by their names in Envoy.
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
    "proxy_on_response_body",
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
    "proxy_set_buffer_bytes",
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

/// Returns the capabilities without which the filter does not work under a policy that fetches documents, or under one that does
/// not.
pub fn required(fetches: bool) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().copied().filter(move |name| *name != VERIFYING && (fetches || !FETCHING.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_that_fetch_nothing_require_no_calls_to_clusters() {
        let (with, without): (Vec<_>, Vec<_>) = (required(true).collect(), required(false).collect());
        assert_eq!((with.len(), without.len()), (CAPABILITIES.len() - 1, CAPABILITIES.len() - 5));
        assert!(FETCHING.iter().all(|name| with.contains(name) && !without.contains(name)));
    }
}
