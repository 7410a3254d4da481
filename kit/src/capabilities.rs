//! What the module may ask of a gateway, and which of its callbacks the gateway calls: the one list, from which the
//! configurations are made or against which they are checked.
//!
//! A gateway that is given it refuses every other host call, and does not go into the VM for callbacks that do nothing.

/// The capabilities that the filter needs, by the names that Envoy has for them.
pub const CAPABILITIES: &[&str] = &[
    // Callbacks. Without `proxy_on_delete` nothing that a stream takes would be given back.
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

/// What the filter goes on without: signatures that the gateway does not verify are computed in the module, which costs more.
pub const DISPENSABLE: &[&str] = &["proxy_call_foreign_function"];
