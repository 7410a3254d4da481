//! The single table of differences between the hosts of gateways.
//!
//! Each entry was measured in the gateway or read in its source. No other module of this host may ask which gateway it emulates, only how
//! that gateway behaves.

use super::foreign::ForeignFunction;
use super::state::status;

/// A gateway that the host emulates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostProfile {
    /// Envoy 1.36 or newer, with the configuration that the project ships.
    #[default]
    Envoy,
    /// Istio's `WasmPlugin`.
    Istio,
    /// Envoy Gateway's `EnvoyExtensionPolicy`.
    EnvoyGateway,
    /// Higress, which has an older Envoy.
    Higress,
    /// Kong up to 3.9, with ngx_wasm_module.
    Kong,
    /// APISIX, with wasm-nginx-module.
    Apisix,
}

/// The specific behavior of a host.
#[derive(Debug)]
pub struct HostQuirks {
    /// The gateway's display name.
    pub name: &'static str,
    /// The value of `gateway` in a policy for it.
    pub gateway: &'static str,
    /// Calls without an effect, and the status that they return.
    pub(super) idle: &'static [(&'static str, i32)],
    /// How the host shows the head of a request.
    pub(super) head: Head,
    /// When the host shows a body, and what it has forwarded by then.
    pub body: Body,
    /// Whether the host shows the trailers of a request.
    pub trailers: bool,
    /// How properties are read and written.
    pub(super) properties: Properties,
    /// Whether the properties of a stream include the client's certificate and its digest.
    pub peer_certificates: bool,
    /// The state that workers share.
    pub store: Store,
    /// The functions outside the ABI.
    pub foreign: ForeignFunction,
    /// Whether a gRPC client can get a response in gRPC's form.
    pub grpc_answers: bool,
    /// The bytes that the host appends to the module's response body.
    pub(super) answer_ends: &'static [u8],
    /// Whether gauges can be changed. Counters always can.
    pub(super) gauges: bool,
    /// Whether setting a timer traps outside of a root context, and the second time. Elsewhere a stream sets the timer of its root.
    pub(super) timers_are_fixed: bool,
    /// The calls to other servers.
    pub http_calls: HttpCalls,
    /// What happens when the module rejects its configuration.
    pub refused: Refused,
    /// The effect of removing a request header.
    pub removal: Removal,
    /// The maximum number of entries in a list of headers, including pseudo-headers. The size of a truncated list is computed from other
    /// entries, and the host writes past a buffer of that size.
    pub listed: Option<usize>,
}

/// The effect of removing a request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Removes all lines with the name.
    Removes,
    /// Hides the lines from filters but forwards them. A replacement rewrites the first line with the name and hides the others.
    Hides,
}

/// How the host shows the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// As in HTTP/2: pseudo-header fields first, names in lower case.
    Http2,
    /// As read by nginx, which drops names that contain other characters than letters, digits, `-` and `_`, and answers some malformed
    /// requests itself. Names are as the client wrote them, `:authority` is the server's own name, `:path` is decoded and normalized, and
    /// the end of the stream is never reported. The upstream gets the host as the client wrote it.
    Kong,
    /// Names in lower case, no `:authority`, and the pseudo-header fields after the others.
    Apisix,
}

/// When the host shows a body, and what it has forwarded by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// In parts, each together with the held parts that arrived earlier. A held head waits for the body.
    WithTheHead,
    /// In parts, but the head is already forwarded. If the head is held, the body is never shown.
    AfterTheHead,
    /// Once, when all of it has arrived, and only if there is a body. Nothing is forwarded earlier. A held head is held forever.
    Whole,
    /// Never.
    Never,
}

/// How properties are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Properties {
    /// Numbers have eight bytes. Any written property becomes filter state.
    Binary,
    /// Everything is text. Only names with a certain prefix can be written; others are unknown.
    Text {
        /// The prefixes of the names that a module may write. Segments are joined by dots.
        writable: &'static [&'static str],
    },
    /// nginx variables by name. Only those that the configuration declares can be written.
    Variables {
        /// The variables that the configuration declares.
        writable: &'static [&'static str],
    },
}

/// The state that workers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// An unbounded map. Version zero overwrites, and any version creates a missing key.
    Map,
    /// Zones of fixed size that evict silently and look up keys by checksum only. The version must equal the key's version, or zero if the
    /// key is missing.
    Zones,
    /// Nothing.
    None,
}

/// How a module calls other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpCalls {
    /// It calls clusters of the gateway, in any callback. The headers of a failed call are not accessible.
    Clusters,
    /// It calls addresses. The only header of a failed call is `:dispatch_status`, which is not counted.
    Addresses {
        /// The callbacks in which it may do so. In others, a call traps.
        callbacks: &'static [&'static str],
    },
}

/// What happens when the module rejects its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The worker keeps its current configuration, or does not start.
    KeepsTheLast,
    /// Requests are forwarded without the filter.
    LeavesTheApiOpen,
    /// Requests get an error response.
    AnswersWithErrors,
}

impl HostProfile {
    /// All profiles.
    pub const ALL: [Self; 6] = [Self::Envoy, Self::Istio, Self::EnvoyGateway, Self::Higress, Self::Kong, Self::Apisix];

    /// Returns the specific behavior of this gateway's host.
    #[must_use]
    pub fn quirks(self) -> &'static HostQuirks {
        match self {
            Self::Envoy => &ENVOY,
            Self::Istio => &ISTIO,
            Self::EnvoyGateway => &ENVOY_GATEWAY,
            Self::Higress => &HIGRESS,
            Self::Kong => &KONG,
            Self::Apisix => &APISIX,
        }
    }
}

impl HostQuirks {
    /// Returns whether the gateway's log is the only place for a record.
    #[must_use]
    pub fn records_in_the_log(&self) -> bool {
        matches!(self.properties, Properties::Variables { .. })
    }

    /// Returns where the gateway stores the record of a decision.
    #[must_use]
    pub fn record_goes_to(&self) -> &'static str {
        match self.properties {
            Properties::Binary => "the access log",
            Properties::Text { .. } => "`kong.ctx.shared`, the log",
            Properties::Variables { .. } => "the log",
        }
    }

    /// Returns whether a timer in a root context can end requests of its worker.
    #[must_use]
    pub fn timers_end_requests(&self) -> bool {
        self.idles("proxy_set_effective_context").is_none()
    }

    /// Returns whether a timer of a root context can call other servers.
    #[must_use]
    pub fn timers_make_calls(&self) -> bool {
        let ticks = self.idles("proxy_set_tick_period_milliseconds").is_none();
        ticks
            && match self.http_calls {
                HttpCalls::Clusters => true,
                HttpCalls::Addresses { callbacks } => callbacks.contains(&"proxy_on_tick"),
            }
    }

    /// Returns whether the end-of-stream flag in the callback of the headers is reliable.
    #[must_use]
    pub fn tells_the_end(&self) -> bool {
        self.head == Head::Http2
    }

    /// Returns the status of a call that has no effect.
    pub(super) fn idles(&self, call: &str) -> Option<i32> {
        self.idle.iter().find(|(name, _)| *name == call).map(|(_, status)| *status)
    }
}

const ENVOY: HostQuirks = HostQuirks {
    name: "Envoy",
    gateway: "envoy",
    idle: &[],
    head: Head::Http2,
    body: Body::WithTheHead,
    trailers: true,
    properties: Properties::Binary,
    peer_certificates: true,
    store: Store::Map,
    foreign: ForeignFunction::Verifies,
    grpc_answers: true,
    answer_ends: b"",
    gauges: true,
    timers_are_fixed: false,
    http_calls: HttpCalls::Clusters,
    refused: Refused::KeepsTheLast,
    removal: Removal::Removes,
    listed: None,
};

/// The resource has no field `allow_on_headers_stop_iteration`, so no head waits for its body.
const ISTIO: HostQuirks = HostQuirks { name: "Istio", gateway: "istio", body: Body::AfterTheHead, ..ENVOY };

const ENVOY_GATEWAY: HostQuirks =
    HostQuirks { name: "Envoy Gateway", gateway: "envoy-gateway", body: Body::AfterTheHead, ..ENVOY };

/// The older of its two Envoy versions, which has no `verify_signature`.
const HIGRESS: HostQuirks = HostQuirks {
    name: "Higress",
    gateway: "higress",
    body: Body::AfterTheHead,
    // Not measured.
    peer_certificates: false,
    foreign: ForeignFunction::Unknown,
    ..ENVOY
};

const KONG: HostQuirks = HostQuirks {
    name: "Kong",
    gateway: "kong",
    // A stream cannot be selected from another context.
    idle: &[("proxy_set_effective_context", status::OK)],
    head: Head::Kong,
    body: Body::Whole,
    trailers: false,
    properties: Properties::Text { writable: &["kong.", "wasmx."] },
    peer_certificates: false,
    store: Store::Zones,
    foreign: ForeignFunction::Traps,
    grpc_answers: false,
    answer_ends: b"\n",
    gauges: false,
    timers_are_fixed: true,
    http_calls: HttpCalls::Addresses {
        callbacks: &[
            "proxy_on_http_call_response",
            "proxy_on_request_body",
            "proxy_on_request_headers",
            "proxy_on_tick",
        ],
    },
    refused: Refused::LeavesTheApiOpen,
    removal: Removal::Hides,
    listed: Some(100),
};

const APISIX: HostQuirks = HostQuirks {
    name: "APISIX",
    gateway: "portable",
    idle: &[
        ("proxy_get_current_time_nanoseconds", status::UNIMPLEMENTED),
        ("proxy_get_shared_data", status::UNIMPLEMENTED),
        ("proxy_set_effective_context", status::OK),
        ("proxy_set_shared_data", status::UNIMPLEMENTED),
        ("proxy_set_tick_period_milliseconds", status::UNIMPLEMENTED),
        // Metrics are accepted silently, but no metric id is returned.
        ("proxy_define_metric", status::OK),
        ("proxy_increment_metric", status::OK),
    ],
    head: Head::Apisix,
    body: Body::Never,
    trailers: false,
    properties: Properties::Variables { writable: &[] },
    peer_certificates: false,
    store: Store::None,
    foreign: ForeignFunction::Traps,
    grpc_answers: false,
    answer_ends: b"",
    gauges: false,
    timers_are_fixed: false,
    http_calls: HttpCalls::Addresses { callbacks: &["proxy_on_request_body", "proxy_on_request_headers"] },
    refused: Refused::AnswersWithErrors,
    removal: Removal::Removes,
    listed: None,
};
