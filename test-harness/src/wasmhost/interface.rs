//! The single list of the module's allowed imports and required exports.
//!
//! An import that a gateway does not know keeps the module from loading there, so each new import is a deliberate decision. Kong's host,
//! for example, defines `proxy_get_log_level` with another signature, and only 18 functions of WASI.

/// The host calls of ABI 0.2.1 that the filter makes.
pub const CALLS: &[&str] = &[
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
];

/// Host calls that the SDK's traits keep in the module and that the filter never makes. Every host that runs modules of this SDK defines
/// these names; on Kong some of them trap.
pub const SDK_CALLS: &[&str] = &[
    "proxy_close_stream",
    "proxy_dequeue_shared_queue",
    "proxy_done",
    "proxy_enqueue_shared_queue",
    "proxy_get_status",
    "proxy_grpc_call",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_grpc_send",
    "proxy_grpc_stream",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_set_header_map_pairs",
];

/// The calls of `wasi_snapshot_preview1`: random numbers and a clock for the filter, and the rest for the standard
/// library. Every gateway has these.
pub const WASI_CALLS: &[&str] =
    &["clock_time_get", "environ_get", "environ_sizes_get", "fd_write", "proc_exit", "random_get"];

/// The exports that hosts look up. The module exports these and the SDK's other callbacks, all named `proxy_on_…`.
pub const EXPORTS: &[&str] = &[
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_http_call_response",
    "proxy_on_log",
    "proxy_on_memory_allocate",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_body",
    "proxy_on_response_headers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];
