//! The functions that the hosts of gateways offer. A module with any other import does not start in that gateway.
//!
//! Functions are identified by name and number of parameters, because `proxy_get_log_level` of Kong's host has one parameter more than
//! others.

use super::profile::HostProfile;

/// Functions, with the number of their parameters.
pub type Calls = &'static [(&'static str, usize)];

/// The functions that a gateway's host offers.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// The functions of proxy-wasm, in the module `env`.
    pub proxy: Calls,
    /// The functions of `wasi_snapshot_preview1`.
    pub wasi: Calls,
}

impl HostProfile {
    /// Returns the functions that this gateway's host offers.
    #[must_use]
    pub fn offer(self) -> Offer {
        match self {
            Self::Envoy | Self::Istio | Self::EnvoyGateway | Self::Higress => {
                Offer { proxy: CPP_HOST, wasi: CPP_HOST_WASI }
            }
            Self::Kong => Offer { proxy: NGX_WASM_MODULE, wasi: NGX_WASM_MODULE_WASI },
            Self::Apisix => Offer { proxy: WASM_NGINX_MODULE, wasi: CPP_HOST_WASI },
        }
    }
}

impl Offer {
    /// Returns whether the host offers this import, written `module.name`.
    #[must_use]
    pub fn has(&self, import: &str, parameters: usize) -> bool {
        let of = |calls: Calls, name: &str| calls.contains(&(name, parameters));
        match import.split_once('.') {
            Some(("env", name)) => of(self.proxy, name),
            Some(("wasi_snapshot_preview1", name)) => of(self.wasi, name),
            _ => false,
        }
    }
}

/// The functions of proxy-wasm-cpp-host, which Envoy uses.
const CPP_HOST: Calls = &[
    ("proxy_add_header_map_value", 5),
    ("proxy_call_foreign_function", 6),
    ("proxy_clear_route_cache", 0),
    ("proxy_close_stream", 1),
    ("proxy_continue_stream", 1),
    ("proxy_define_metric", 4),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_done", 0),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_get_buffer_status", 3),
    ("proxy_get_current_time_nanoseconds", 1),
    ("proxy_get_header_map_pairs", 3),
    ("proxy_get_header_map_size", 2),
    ("proxy_get_header_map_value", 5),
    ("proxy_get_log_level", 1),
    ("proxy_get_metric", 2),
    ("proxy_get_property", 4),
    ("proxy_get_shared_data", 5),
    ("proxy_get_status", 3),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_cancel", 1),
    ("proxy_grpc_close", 1),
    ("proxy_grpc_send", 4),
    ("proxy_grpc_stream", 9),
    ("proxy_http_call", 10),
    ("proxy_increment_metric", 2),
    ("proxy_log", 3),
    ("proxy_record_metric", 2),
    ("proxy_register_shared_queue", 3),
    ("proxy_remove_header_map_value", 3),
    ("proxy_replace_header_map_value", 5),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_send_local_response", 8),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_set_effective_context", 1),
    ("proxy_set_header_map_pairs", 3),
    ("proxy_set_property", 4),
    ("proxy_set_shared_data", 5),
    ("proxy_set_tick_period_milliseconds", 1),
];

const CPP_HOST_WASI: Calls = &[
    ("args_get", 2),
    ("args_sizes_get", 2),
    ("clock_time_get", 3),
    ("environ_get", 2),
    ("environ_sizes_get", 2),
    ("fd_close", 1),
    ("fd_fdstat_get", 2),
    ("fd_prestat_dir_name", 3),
    ("fd_prestat_get", 2),
    ("fd_read", 4),
    ("fd_seek", 4),
    ("fd_write", 4),
    ("path_open", 9),
    ("proc_exit", 1),
    ("random_get", 2),
];

/// The functions of ngx_wasm_module, which Kong uses. Half of them stop the module when they are called.
const NGX_WASM_MODULE: Calls = &[
    ("proxy_add_header_map_value", 5),
    ("proxy_call_foreign_function", 6),
    ("proxy_clear_route_cache", 0),
    ("proxy_close_stream", 1),
    ("proxy_continue_request", 0),
    ("proxy_continue_response", 0),
    ("proxy_continue_stream", 1),
    ("proxy_define_metric", 4),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_done", 0),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_get_current_time_nanoseconds", 1),
    ("proxy_get_header_map_pairs", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_get_log_level", 2),
    ("proxy_get_metric", 2),
    ("proxy_get_property", 4),
    ("proxy_get_shared_data", 5),
    ("proxy_get_status", 3),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_cancel", 1),
    ("proxy_grpc_close", 1),
    ("proxy_grpc_send", 4),
    ("proxy_grpc_stream", 9),
    ("proxy_http_call", 10),
    ("proxy_increment_metric", 2),
    ("proxy_log", 3),
    ("proxy_record_metric", 2),
    ("proxy_register_shared_queue", 3),
    ("proxy_remove_header_map_value", 3),
    ("proxy_replace_header_map_value", 5),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_send_local_response", 8),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_set_effective_context", 1),
    ("proxy_set_header_map_pairs", 3),
    ("proxy_set_property", 4),
    ("proxy_set_shared_data", 5),
    ("proxy_set_tick_period_milliseconds", 1),
];

const NGX_WASM_MODULE_WASI: Calls = CPP_HOST_WASI;

/// The functions of wasm-nginx-module, which APISIX uses. WASI is wasmtime's, with all of its functions.
const WASM_NGINX_MODULE: Calls = &[
    ("proxy_add_header_map_value", 5),
    ("proxy_call_foreign_function", 6),
    ("proxy_clear_route_cache", 0),
    ("proxy_close_stream", 1),
    ("proxy_continue_request", 0),
    ("proxy_continue_response", 0),
    ("proxy_continue_stream", 1),
    ("proxy_define_metric", 4),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_done", 0),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_get_configuration", 2),
    ("proxy_get_current_time_nanoseconds", 1),
    ("proxy_get_header_map_pairs", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_get_metric", 2),
    ("proxy_get_property", 4),
    ("proxy_get_shared_data", 5),
    ("proxy_get_status", 3),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_cancel", 1),
    ("proxy_grpc_close", 1),
    ("proxy_grpc_send", 4),
    ("proxy_grpc_stream", 9),
    ("proxy_http_call", 10),
    ("proxy_increment_metric", 2),
    ("proxy_log", 3),
    ("proxy_record_metric", 2),
    ("proxy_register_shared_queue", 3),
    ("proxy_remove_header_map_value", 3),
    ("proxy_replace_header_map_value", 5),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_send_http_response", 8),
    ("proxy_send_local_response", 8),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_set_effective_context", 1),
    ("proxy_set_header_map_pairs", 3),
    ("proxy_set_property", 4),
    ("proxy_set_shared_data", 5),
    ("proxy_set_tick_period_milliseconds", 1),
];
