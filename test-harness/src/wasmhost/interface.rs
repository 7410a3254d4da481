//! The one list of what the module may import and must export.
//!
//! An import that a gateway does not know stops the module from loading there, so every new one is a decision: Kong's host
//! defines `proxy_get_log_level` with another signature, and only 18 functions of WASI.

/// Host calls of ABI 0.2.1 in the module `env`.
pub const PROXY_CALLS: &[&str] = &[
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_property",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_property",
];

/// Linked in by the SDK's dispatcher for callbacks of calls that the filter does not make.
pub const SDK_CALLS: &[&str] = &["proxy_set_effective_context"];

/// WASI calls in the module `wasi_snapshot_preview1`, linked in by the standard library.
pub const WASI_CALLS: &[&str] =
    &["clock_time_get", "environ_get", "environ_sizes_get", "fd_write", "proc_exit", "random_get"];

/// What hosts look for in the module; it exports these and the SDK's other callbacks, all named `proxy_on_…`.
pub const EXPORTS: &[&str] = &[
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_log",
    "proxy_on_memory_allocate",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_vm_start",
];
