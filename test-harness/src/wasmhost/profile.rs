//! In what the hosts of gateways differ: one table, which the host goes by.
//!
//! Each line of it was measured in the gateway or read in its source. Nothing else in here asks which gateway it is, only what
//! that gateway does.

use super::foreign::ForeignFunction;
use super::state::status;

/// A gateway that the host behaves like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostProfile {
    /// Envoy 1.36 or newer, configured as the project ships it.
    #[default]
    Envoy,
    /// Istio's `WasmPlugin`.
    Istio,
    /// Envoy Gateway's `EnvoyExtensionPolicy`.
    EnvoyGateway,
    /// Higress, whose Envoy is older.
    Higress,
    /// Kong up to 3.9, with ngx_wasm_module.
    Kong,
    /// APISIX, with wasm-nginx-module.
    Apisix,
}

/// What a host does in its own way.
#[derive(Debug)]
pub struct HostQuirks {
    /// What people call the gateway.
    pub name: &'static str,
    /// What a policy for it says as `gateway`.
    pub gateway: &'static str,
    /// Calls that do nothing, and what they return.
    pub(super) idle: &'static [(&'static str, i32)],
    /// How the head of a request is shown.
    pub(super) head: Head,
    /// When a body is shown, and what went on before it.
    pub body: Body,
    /// Whether trailers of a request are shown.
    pub trailers: bool,
    /// How properties are read and written.
    pub(super) properties: Properties,
    /// What workers share.
    pub store: Store,
    /// What functions there are beside the ABI.
    pub foreign: ForeignFunction,
    /// Whether an answer can be given to a gRPC client as such.
    pub grpc_answers: bool,
    /// What an answer ends with beside what the module wrote.
    pub(super) answer_ends: &'static [u8],
    /// Whether a gauge can be changed; a counter can.
    pub(super) gauges: bool,
    /// Whether setting a timer a second time traps.
    pub(super) timers_are_set_once: bool,
    /// What happens when the module rejects its configuration.
    pub refused: Refused,
    /// What removing a request header does.
    pub removal: Removal,
    /// How many entries a list of headers has at most, pseudo-headers included. A truncated list has a size that was computed from
    /// other entries, and is written past the buffer of that size.
    pub listed: Option<usize>,
}

/// What removing a request header does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All lines of the name are gone.
    Removes,
    /// They are hidden from filters and forwarded. A replacement rewrites the first line of a name and hides the others.
    Hides,
}

/// How the head of a request is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// As HTTP/2 has it: pseudo-header fields first, names in lower case.
    Http2,
    /// As nginx reads it, which drops names that are not made of letters, digits, `-` and `_`, and answers some malformed requests
    /// itself. Names are as the client wrote them, `:authority` is the server's own name, `:path` is decoded and normalized, and the
    /// end of the stream is never told. The upstream gets the host as the client wrote it.
    Kong,
    /// Names in lower case, no `:authority`, and the pseudo-header fields behind the others.
    Apisix,
}

/// When a body is shown, and what went on before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// In parts, each with all that came before it and was held. A head that is held waits for it.
    WithTheHead,
    /// In the same way, but the head has gone on; where it was held, no body is ever shown.
    AfterTheHead,
    /// Once, when all of it has come, and only where there is one. Nothing went on before. A head that is held is held for ever.
    Whole,
    /// Never.
    Never,
}

/// How properties are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Properties {
    /// Numbers have eight bytes; whatever is written goes into filter state.
    Binary,
    /// Everything is text. Written is what begins so, others are not known.
    Text {
        /// The names that a module may write begin with one of these; segments are joined by dots.
        writable: &'static [&'static str],
    },
    /// The variables of nginx by their names; written are those that the configuration declares.
    Variables {
        /// What the configuration declares.
        writable: &'static [&'static str],
    },
}

/// What workers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// A map without bound. A version of zero overwrites, and any version makes a key that is absent.
    Map,
    /// Zones of fixed size that forget silently, looked up by checksum alone. The version has to be the key's, and zero where it
    /// is absent.
    Zones,
    /// Nothing.
    None,
}

/// What happens when the module rejects its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The worker keeps the configuration that it has, or does not start.
    KeepsTheLast,
    /// Requests are forwarded without the filter.
    LeavesTheApiOpen,
    /// Requests are answered with an error.
    AnswersWithErrors,
}

impl HostProfile {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Envoy, Self::Istio, Self::EnvoyGateway, Self::Higress, Self::Kong, Self::Apisix];

    /// What this gateway's host does in its own way.
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
    /// Whether there is no other place for a record than the gateway's log.
    #[must_use]
    pub fn records_in_the_log(&self) -> bool {
        matches!(self.properties, Properties::Variables { .. })
    }

    /// Where the record of a decision ends up.
    #[must_use]
    pub fn record_goes_to(&self) -> &'static str {
        match self.properties {
            Properties::Binary => "the access log",
            Properties::Text { .. } => "`kong.ctx.shared`, the log",
            Properties::Variables { .. } => "the log",
        }
    }

    /// Whether a timer that fires in a root context can end a request of its worker.
    #[must_use]
    pub fn timers_end_requests(&self) -> bool {
        self.idles("proxy_set_effective_context").is_none()
    }

    /// Whether the callback of the headers can be believed when it is told that nothing follows them.
    #[must_use]
    pub fn tells_the_end(&self) -> bool {
        self.head == Head::Http2
    }

    /// What a call returns that does nothing.
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
    store: Store::Map,
    foreign: ForeignFunction::Verifies,
    grpc_answers: true,
    answer_ends: b"",
    gauges: true,
    timers_are_set_once: false,
    refused: Refused::KeepsTheLast,
    removal: Removal::Removes,
    listed: None,
};

/// `allow_on_headers_stop_iteration` is no field of the kind, so that no head waits for its body.
const ISTIO: HostQuirks = HostQuirks { name: "Istio", gateway: "istio", body: Body::AfterTheHead, ..ENVOY };

const ENVOY_GATEWAY: HostQuirks =
    HostQuirks { name: "Envoy Gateway", gateway: "envoy-gateway", body: Body::AfterTheHead, ..ENVOY };

/// The older of its two Envoys, which has no `verify_signature`.
const HIGRESS: HostQuirks = HostQuirks {
    name: "Higress",
    gateway: "higress",
    body: Body::AfterTheHead,
    foreign: ForeignFunction::Unknown,
    ..ENVOY
};

const KONG: HostQuirks = HostQuirks {
    name: "Kong",
    gateway: "kong",
    // A stream cannot be acted on from elsewhere.
    idle: &[("proxy_set_effective_context", status::OK)],
    head: Head::Kong,
    body: Body::Whole,
    trailers: false,
    properties: Properties::Text { writable: &["kong.", "wasmx."] },
    store: Store::Zones,
    foreign: ForeignFunction::Traps,
    grpc_answers: false,
    answer_ends: b"\n",
    gauges: false,
    timers_are_set_once: true,
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
        // Metrics are taken without a word and without a number.
        ("proxy_define_metric", status::OK),
        ("proxy_increment_metric", status::OK),
    ],
    head: Head::Apisix,
    body: Body::Never,
    trailers: false,
    properties: Properties::Variables { writable: &[] },
    store: Store::None,
    foreign: ForeignFunction::Traps,
    grpc_answers: false,
    answer_ends: b"",
    gauges: false,
    timers_are_set_once: false,
    refused: Refused::AnswersWithErrors,
    removal: Removal::Removes,
    listed: None,
};
