//! The capabilities that the module needs from a gateway: the host calls that it makes and the callbacks that the gateway must
//! call. Gateway configurations are generated from this list or checked against it.
//!
//! A gateway that is configured with the list rejects every other host call, and does not enter the VM for callbacks that do
//! nothing.

/// The capabilities that the filter needs, by their names in Envoy.
pub const CAPABILITIES: &[&str] = &[
    // Callbacks. Without `proxy_on_delete`, the resources of a stream would never be released.
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
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
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_property",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
    // Environment variables and random numbers.
    "environ_get",
    "environ_sizes_get",
    "random_get",
];

/// The capabilities that the filter can do without. Without this one, the module itself computes the signatures that the gateway
/// would verify for it, which costs more.
pub const DISPENSABLE: &[&str] = &["proxy_call_foreign_function"];
