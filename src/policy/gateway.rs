//! The features that each gateway offers to a filter.
//!
//! The policy names its gateway, and the filter does not probe the host for features. On Kong, a host call that does not exist
//! ends the request; on other gateways, its status can mean anything. Each difference between gateways is therefore defined here,
//! once. A policy that needs a feature which its gateway lacks does not compile.

use serde::Deserialize as _;
use serde::de::{self, value::StrDeserializer};
use serde_json::Value;

use crate::document::{self, Gateway};
use crate::document::{Findings, Place};
use crate::identity::token::json;

/// The features of a gateway's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The gateway's name in the policy.
    pub name: &'static str,
    /// The access to request bodies.
    pub body: BodyCheck,
    /// The map that all workers share.
    pub store: Store,
    /// Whether only Callgate writes to that map, so its values can be trusted.
    pub store_is_ours: bool,
    /// Whether the host's random numbers are unpredictable.
    pub unpredictable: bool,
    /// The source of the host that the client requested.
    pub host: HostName,
    /// The destination of a decision's record.
    pub record: RecordPlace,
    /// Whether the host may know only the variables of nginx and no other properties.
    pub knows_nginx_variables: bool,
    /// The encoding of numeric properties.
    pub numbers: Numbers,
    /// Whether the host reports the end of a request without a body together with its headers.
    pub tells_end: bool,
    /// Whether the previous configuration stays in force if a configuration is rejected. If not, the filter accepts an invalid
    /// configuration and denies every request.
    pub refuses_configuration: bool,
    /// Whether the shared store can be used before the first request. On Kong, access to a zone that does not exist stops the
    /// filter, and a filter that stops during configuration leaves the API unprotected.
    pub opens_store_early: bool,
    /// Whether removing a request header removes it for the upstream. Kong only hides it from later filters and forwards it, so
    /// the filter replaces its value instead.
    pub removes_headers: bool,
    /// Whether the upstream receives the `Host` that the filter sets. Kong chooses the host before the filter runs.
    pub sets_host: bool,
    /// The maximum number of headers that the host lists, including pseudo-headers. It forwards the remaining headers without
    /// listing them, so a list of this length may be incomplete.
    pub listed_headers: Option<usize>,
    /// The number of bytes that the host may write beyond the end of the buffer that it requests.
    pub overrun: usize,
    /// The clock that the host provides.
    pub clock: ClockCall,
    /// Whether the host supports gauges in addition to counters.
    pub gauges: bool,
    /// Whether the filter can send gRPC responses.
    pub grpc: bool,
    /// Whether ECDSA and RSA signatures are verified natively: by the host, as in Envoy since 1.30, or by the adapter. Kong ends a request
    /// during which the filter calls that function.
    pub verifies: bool,
    /// The documents that the filter can fetch.
    pub fetching: Fetching,
    /// Whether the host provides the client's certificate and its digest.
    pub peer_certificates: bool,
    /// Whether a root context has timers, and can act on the streams of its worker when one fires. On Kong, the call that sets a
    /// timer traps outside a root context and if it is made twice, and the call that selects a stream has no effect.
    pub timers: bool,
    /// Whether the filter can end a stream while data flows.
    pub ends_streams: bool,
}

/// How the filter can fetch documents, such as the keys of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// From clusters of the gateway. Requests are held while a document is fetched.
    Held,
    /// From addresses. The result of a fetch cannot resume requests, so they are denied while a document is fetched.
    Denied,
    /// Not at all.
    None,
}

/// The access that a gateway gives to request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyCheck {
    /// The headers of a request are held until the body is verified.
    Held,
    /// The headers are forwarded at once. The body is held until it is verified.
    Late,
    /// No access.
    Unseen,
}

/// The map that all workers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Envoy's map: it has no size limit, and values are kept until the process ends.
    Unbounded,
    /// Kong's map: a zone of fixed size that identifies keys by their CRC32 and evicts the oldest.
    Zone,
    /// The gateway has no shared map.
    None,
}

/// The source of the host that the client requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostName {
    /// `:authority` or `Host`, but not both.
    Authority,
    /// `Host`. On this gateway, `:authority` names the server and `:path` is decoded, so the path is read from another property.
    Header,
}

/// The destination of a decision's record, in addition to the gateway's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPlace {
    /// This property of the stream.
    Property(&'static str),
    /// No other destination.
    Nowhere,
}

/// The encoding of numeric properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// 64 bits, little-endian; durations in nanoseconds.
    Binary,
    /// Decimal digits; durations in seconds with a point and milliseconds.
    Decimal,
}

/// The clock that a host provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockCall {
    /// The clock of proxy-wasm.
    Host,
    /// The clock of WASI.
    Wasi,
}

/// The features of all gateways that are based on Envoy.
const ENVOY: Features = Features {
    name: "envoy",
    body: BodyCheck::Held,
    store: Store::Unbounded,
    store_is_ours: true,
    unpredictable: true,
    host: HostName::Authority,
    record: RecordPlace::Property("callgate"),
    knows_nginx_variables: false,
    numbers: Numbers::Binary,
    tells_end: true,
    refuses_configuration: true,
    opens_store_early: true,
    removes_headers: true,
    sets_host: true,
    listed_headers: None,
    overrun: 0,
    clock: ClockCall::Host,
    gauges: true,
    grpc: true,
    verifies: true,
    fetching: Fetching::Held,
    peer_certificates: true,
    timers: true,
    ends_streams: true,
};

impl Features {
    /// Returns whether the gateway's client for other servers reads a response with status 304. The one of Kong waits for a body until the
    /// call times out, unless the response has `Content-Length: 0`, which most servers do not send.
    pub(crate) const fn reads_not_modified(&self) -> bool {
        matches!(self.fetching, Fetching::Held)
    }

    /// Returns the features of a gateway.
    #[must_use]
    pub const fn of(gateway: Gateway) -> Self {
        match gateway {
            Gateway::Envoy => ENVOY,
            // A module verifies natively. Envoy itself gives it only the digest of the client's certificate. The certificate comes from
            // another filter (`set_filter_state`), and must have that digest.
            Gateway::EnvoyModule => Self { name: ENVOY_MODULE, ..ENVOY },
            // The `vm_id` of Istio's filters is empty, and all filters with an empty `vm_id` share one map.
            Gateway::Istio => Self { name: "istio", body: BodyCheck::Late, store_is_ours: false, ..ENVOY },
            Gateway::EnvoyGateway => Self { name: "envoy-gateway", body: BodyCheck::Late, ..ENVOY },
            // One of the two Envoys in Higress is older than `verify_signature`.
            Gateway::Higress => {
                // Whether it provides the whole certificate was not measured.
                let peer_certificates = false;
                Self {
                    name: "higress",
                    body: BodyCheck::Late,
                    store_is_ours: false,
                    verifies: false,
                    peer_certificates,
                    ..ENVOY
                }
            }
            Gateway::Kong => Self {
                name: "kong",
                body: BodyCheck::Late,
                store: Store::Zone,
                store_is_ours: true,
                unpredictable: false,
                host: HostName::Header,
                record: RecordPlace::Property("kong.ctx.shared.callgate"),
                knows_nginx_variables: false,
                numbers: Numbers::Decimal,
                tells_end: false,
                refuses_configuration: false,
                opens_store_early: false,
                removes_headers: false,
                sets_host: false,
                listed_headers: Some(100),
                // The host computes the size of a truncated list from other entries than those it writes. The difference is less
                // than the request line and the headers, which `large_client_header_buffers` bounds.
                overrun: 256 * 1024,
                clock: ClockCall::Host,
                gauges: false,
                grpc: false,
                verifies: false,
                fetching: Fetching::Denied,
                peer_certificates: false,
                timers: false,
                ends_streams: false,
            },
            Gateway::Portable => Self {
                name: "portable",
                body: BodyCheck::Unseen,
                store: Store::None,
                store_is_ours: false,
                unpredictable: false,
                host: HostName::Authority,
                record: RecordPlace::Nowhere,
                knows_nginx_variables: true,
                numbers: Numbers::Decimal,
                tells_end: false,
                // If a filter rejects its configuration, APISIX answers its route with 503.
                refuses_configuration: false,
                opens_store_early: true,
                removes_headers: true,
                sets_host: true,
                listed_headers: None,
                overrun: 0,
                clock: ClockCall::Wasi,
                gauges: false,
                grpc: false,
                verifies: false,
                fetching: Fetching::None,
                peer_certificates: false,
                timers: false,
                ends_streams: false,
            },
        }
    }
}

impl Numbers {
    /// Decodes a count.
    #[must_use]
    pub fn count(self, property: &[u8]) -> Option<u64> {
        match self {
            Self::Binary => i64::from_le_bytes(property.try_into().ok()?).try_into().ok(),
            Self::Decimal => str::from_utf8(property).ok()?.parse().ok(),
        }
    }

    /// Decodes a duration. Returns nanoseconds.
    #[must_use]
    pub fn nanoseconds(self, property: &[u8]) -> Option<u64> {
        let Self::Decimal = self else { return self.count(property) };
        let (seconds, fraction) = str::from_utf8(property).ok()?.split_once('.')?;
        let milliseconds = fraction.parse::<u64>().ok().filter(|_| fraction.len() == 3)?;
        seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(milliseconds)?.checked_mul(1_000_000)
    }
}

/// The environment variable with the name of the gateway that runs the filter, as in the policy's `gateway` field. It is needed
/// because an unreadable configuration does not name its gateway.
pub const GATEWAY_VARIABLE: &str = "CALLGATE_GATEWAY";

/// The value of the policy's `gateway` field for the dynamic module. Only the module accepts it, and it accepts no other value: it holds
/// the heads of requests and gets client certificates in another way than the Wasm filter of any gateway.
pub const ENVOY_MODULE: &str = "envoy-module";

/// Reports whether the filter must accept an invalid configuration and then deny every request. This is the case if a filter that
/// rejects its configuration leaves the API unprotected. If [`GATEWAY_VARIABLE`] is set, it decides; a value that names no
/// gateway counts as a gateway that leaves the API unprotected. Otherwise the configuration decides, as far as it can be read.
#[must_use]
pub fn must_accept(configuration: &[u8], variable: Option<&[u8]>) -> bool {
    let known = |name: &str| Gateway::deserialize(StrDeserializer::<de::value::Error>::new(name)).ok();
    if let Some(name) = variable {
        let gateway = str::from_utf8(name).ok().and_then(known);
        return gateway.is_none_or(|gateway| !Features::of(gateway).refuses_configuration);
    }
    let stops = |name: &str| known(name).is_some_and(|gateway| !Features::of(gateway).refuses_configuration);
    let bounds = json::Bounds { bytes: usize::MAX, depth: u8::MAX };
    if let Ok(document) = json::parse(configuration, bounds) {
        return document.get("gateway").and_then(Value::as_str).is_some_and(stops);
    }
    // The pattern is the name, a colon and the value, with optional white space between them.
    let name = b"\"gateway\"";
    configuration.windows(name.len()).enumerate().filter(|(_, window)| window == name).any(|(at, _)| {
        let rest = configuration.get(at + name.len()..).unwrap_or_default().trim_ascii_start();
        let value = rest.strip_prefix(b":").and_then(|rest| rest.trim_ascii_start().strip_prefix(b"\""));
        let value = value.and_then(|value| value.split(|byte| *byte == b'"').next());
        value.is_some_and(|value| str::from_utf8(value).is_ok_and(stops))
    })
}

impl Features {
    /// Reports whether the shared state needs a key from the policy, because other filters write to the map or could predict a
    /// random key.
    pub(crate) fn needs_key(&self) -> bool {
        self.store != Store::None && !(self.store_is_ours && self.unpredictable)
    }
}

/// Rejects features that the policy needs and its gateway lacks. Features that depend on an endpoint are checked with that
/// endpoint.
pub(super) fn check(document: &document::Document, findings: &mut Findings) {
    let features = Features::of(document.gateway);
    let (name, root) = (features.name, Place::root());
    if features.store == Store::None {
        for limit in document.limits.keys() {
            findings.error(
                root.field("limits").field(limit),
                format!(
                    "workers share no state on `{name}`, so requests cannot be counted; remove this, or choose another `gateway`"
                ),
            );
        }
        for (field, written, why) in [
            ("auth_failure_limit", document.auth_failure_limit.is_some(), "failures cannot be counted"),
            ("dpop", document.dpop.is_some(), "replayed proofs cannot be rejected"),
        ] {
            if written {
                let message =
                    format!("workers share no state on `{name}`, so {why}; remove this, or choose another `gateway`");
                findings.error(root.field(field), message);
            }
        }
    }
    if document.tls.is_some() && !features.peer_certificates {
        let why = match document.gateway {
            Gateway::Kong => "has no property for the digest or the content of a client's certificate",
            Gateway::Higress => "is not known to give filters the whole certificate of a client",
            _ => "gives filters no certificates of clients",
        };
        findings.error(
            root.field("tls"),
            format!("`{name}` {why}, so certificates identify nobody there; remove this, or choose another `gateway`"),
        );
    }
    if features.record == RecordPlace::Nowhere {
        let log = document.audit.log;
        for (field, written) in [("allow", log.allow), ("deny", log.deny)] {
            if !written {
                findings.warn(
                    root.field("audit").field("log").field(field),
                    format!("`{name}` can write records only to the gateway's own log; write `true`, or these records are lost"),
                );
            }
        }
        if document.audit.outcome {
            findings.warn(
                root.field("audit").field("outcome"),
                format!("`{name}` does not report to the filter how a request ended; remove this"),
            );
        }
    }
    for (index, endpoint) in document.endpoints.iter().enumerate() {
        let place = root.field("endpoints").index(index);
        if features.store == Store::Zone && endpoint.body == Some(document::Body::Stream) {
            findings.error(
                place.field("body"),
                format!("`{name}` buffers the whole body before it forwards a byte, so nothing streams; remove this"),
            );
        }
    }
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
