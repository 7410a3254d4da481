//! What each gateway offers a filter.
//!
//! The policy says where it runs, and nothing is tried out to learn it: on Kong a host call that does not exist ends the request, and on
//! another gateway its status may mean anything. So each difference between gateways is told here, once, and whatever asks for
//! what its gateway lacks does not compile.

use serde::Deserialize as _;
use serde::de::{self, value::StrDeserializer};
use serde_json::Value;

use crate::document::{self, Gateway};
use crate::document::{Findings, Place};
use crate::identity::token::json;

/// What the host of a gateway offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The gateway's name in the policy.
    pub name: &'static str,
    /// What can be seen of bodies.
    pub body: BodyCheck,
    /// The map that all workers share.
    pub store: Store,
    /// Whether nobody else writes into that map: what is read back is the gate's own.
    pub store_is_ours: bool,
    /// Whether the host's random numbers cannot be foreseen.
    pub unpredictable: bool,
    /// Where the host that the client asked for stands.
    pub host: HostName,
    /// Where the record of a decision goes.
    pub record: RecordPlace,
    /// Whether the host may know the variables of nginx and no other properties.
    pub knows_nginx_variables: bool,
    /// How properties that are numbers come.
    pub numbers: Numbers,
    /// Whether the end of a request without a body is told with its head.
    pub tells_end: bool,
    /// Whether a configuration that is rejected leaves the one before it in force. Where it does not, the filter accepts the
    /// configuration and denies every request.
    pub refuses_configuration: bool,
    /// Whether the shared store can be used before the first request. Kong's host stops a filter that asks for a zone which does
    /// not exist, and a filter that stops while it is configured leaves the API open.
    pub opens_store_early: bool,
    /// Whether a request header that the filter removes is gone. Kong only hides it from later filters and forwards it, so that
    /// there its value is replaced instead.
    pub removes_headers: bool,
    /// Whether the upstream gets the `Host` that the filter sets. Kong has chosen it before the filter runs.
    pub sets_host: bool,
    /// The host lists no more entries than this, pseudo-headers included, and forwards the lines that it does not list. A list of
    /// this length may not be complete.
    pub listed_headers: Option<usize>,
    /// How many bytes the host may write beyond the buffer that it asks for.
    pub overrun: usize,
    /// Which clock there is.
    pub clock: ClockCall,
    /// Whether gauges can be changed, and not counters alone.
    pub gauges: bool,
    /// Whether clients of gRPC can be answered in their own way.
    pub grpc: bool,
    /// Whether the host verifies signatures by ECDSA and RSA keys, as Envoy does from 1.30 on. Kong ends the request that asks.
    pub verifies: bool,
    /// Whether a root context has timers, and can act on the streams of its worker when one fires. On Kong the call that sets a
    /// timer traps outside a root context and when it is made twice, and the one that chooses a stream does nothing.
    pub timers: bool,
}

/// What a gateway shows of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyCheck {
    /// The head of a request waits until the body was checked.
    Held,
    /// The head goes on; of the body nothing does before it was checked.
    Late,
    /// Nothing.
    Unseen,
}

/// The map that all workers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Envoy's: without a bound, and nothing is lost before the process ends.
    Unbounded,
    /// Kong's: a zone of fixed size, in which keys are told apart by their CRC32 and the oldest go first.
    Zone,
    /// There is none.
    None,
}

/// Where the host that the client asked for stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostName {
    /// In `:authority`, or `Host`; not in both.
    Authority,
    /// In `Host`: `:authority` names the server, and `:path` is decoded, so that the path is asked for apart.
    Header,
}

/// Where the record of a decision goes, beside the gateway's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPlace {
    /// Into this property of the stream.
    Property(&'static str),
    /// Nowhere else.
    Nowhere,
}

/// How properties that are numbers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As 64 bits, little-endian; durations in nanoseconds.
    Binary,
    /// As decimal digits; durations in seconds, with milliseconds behind a point.
    Decimal,
}

/// Which clock there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockCall {
    /// That of proxy-wasm.
    Host,
    /// That of WASI.
    Wasi,
}

/// What all gateways that are made of Envoy have in common.
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
    timers: true,
};

impl Gateway {
    /// What the gateway offers.
    #[must_use]
    pub const fn features(self) -> Features {
        match self {
            Self::Envoy => ENVOY,
            // The `vm_id` of its filters is blank, and their map is that of every other filter with a blank one.
            Self::Istio => Features { name: "istio", body: BodyCheck::Late, store_is_ours: false, ..ENVOY },
            Self::EnvoyGateway => Features { name: "envoy-gateway", body: BodyCheck::Late, ..ENVOY },
            // One of the two Envoys that it is built of is older than `verify_signature`.
            Self::Higress => {
                Features { name: "higress", body: BodyCheck::Late, store_is_ours: false, verifies: false, ..ENVOY }
            }
            Self::Kong => Features {
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
                // The host computes the size of a truncated list from other entries than it writes. The difference is less than
                // the request line and the headers, which `large_client_header_buffers` bounds.
                overrun: 256 * 1024,
                clock: ClockCall::Host,
                gauges: false,
                grpc: false,
                verifies: false,
                timers: false,
            },
            Self::Portable => Features {
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
                // APISIX answers 503 on the route of a filter that rejects its configuration.
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
                timers: false,
            },
        }
    }
}

impl Numbers {
    /// A property that is a count.
    #[must_use]
    pub fn count(self, property: &[u8]) -> Option<u64> {
        match self {
            Self::Binary => i64::from_le_bytes(property.try_into().ok()?).try_into().ok(),
            Self::Decimal => str::from_utf8(property).ok()?.parse().ok(),
        }
    }

    /// A property that is a duration, in nanoseconds.
    #[must_use]
    pub fn nanoseconds(self, property: &[u8]) -> Option<u64> {
        let Self::Decimal = self else { return self.count(property) };
        let (seconds, fraction) = str::from_utf8(property).ok()?.split_once('.')?;
        let milliseconds = fraction.parse::<u64>().ok().filter(|_| fraction.len() == 3)?;
        seconds.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(milliseconds)?.checked_mul(1_000_000)
    }
}

/// The environment variable that names the gateway in which the filter runs, as `gateway` of a policy does. A configuration that
/// cannot be read names none.
pub const GATEWAY_VARIABLE: &str = "CALLGATE_GATEWAY";

/// Whether the filter must accept a configuration although it is wrong, and then deny every request: where a filter that rejects
/// its configuration leaves the API open. The variable [`GATEWAY_VARIABLE`] decides where it is set; a value that names no gateway
/// counts as one that does not reject. Otherwise the configuration decides, as far as it can be read.
#[must_use]
pub fn must_accept(configuration: &[u8], variable: Option<&[u8]>) -> bool {
    let known = |name: &str| Gateway::deserialize(StrDeserializer::<de::value::Error>::new(name)).ok();
    if let Some(name) = variable {
        let gateway = str::from_utf8(name).ok().and_then(known);
        return gateway.is_none_or(|gateway| !gateway.features().refuses_configuration);
    }
    let stops = |name: &str| known(name).is_some_and(|gateway| !gateway.features().refuses_configuration);
    let bounds = json::Bounds { bytes: usize::MAX, depth: u8::MAX };
    if let Ok(document) = json::parse(configuration, bounds) {
        return document.get("gateway").and_then(Value::as_str).is_some_and(stops);
    }
    // The name, a colon and the value, with white space in between.
    let name = b"\"gateway\"";
    configuration.windows(name.len()).enumerate().filter(|(_, window)| window == name).any(|(at, _)| {
        let rest = configuration.get(at + name.len()..).unwrap_or_default().trim_ascii_start();
        let value = rest.strip_prefix(b":").and_then(|rest| rest.trim_ascii_start().strip_prefix(b"\""));
        let value = value.and_then(|value| value.split(|byte| *byte == b'"').next());
        value.is_some_and(|value| str::from_utf8(value).is_ok_and(stops))
    })
}

impl Features {
    /// Whether what workers share needs a key that no host has: others write there, or could foresee a random one.
    pub(crate) fn needs_key(&self) -> bool {
        self.store != Store::None && !(self.store_is_ours && self.unpredictable)
    }
}

/// Refuses what the policy asks for and its gateway does not have. What hangs on single endpoints is judged with them.
pub(super) fn check(document: &document::Document, findings: &mut Findings) {
    let features = document.gateway.features();
    let (name, root) = (features.name, Place::root());
    if features.store == Store::None {
        for limit in document.limits.keys() {
            findings.error(
                root.field("limits").field(limit),
                format!(
                    "workers share nothing on `{name}`, so that calls cannot be counted: remove this, or choose another \
                     `gateway`"
                ),
            );
        }
        for (field, written, why) in [
            ("failed_credentials", document.failed_credentials.is_some(), "failures cannot be counted"),
            ("dpop", document.dpop.is_some(), "no proof could be refused that was used before"),
        ] {
            if written {
                let message = format!(
                    "workers share nothing on `{name}`, so that {why}: remove this, or choose another `gateway`"
                );
                findings.error(root.field(field), message);
            }
        }
    }
    if features.record == RecordPlace::Nowhere {
        let log = document.audit.log;
        for (field, written) in [("allow", log.allow), ("deny", log.deny)] {
            if !written {
                findings.warn(
                    root.field("audit").field("log").field(field),
                    format!("`{name}` has no place for records but the gateway's own log: without `true` these are not written"),
                );
            }
        }
        if document.audit.outcome {
            findings.warn(
                root.field("audit").field("outcome"),
                format!("`{name}` tells the gate nothing of how a call ended: remove this"),
            );
        }
    }
    for (index, endpoint) in document.endpoints.iter().enumerate() {
        let place = root.field("endpoints").index(index);
        if features.store == Store::Zone && endpoint.body == Some(document::Body::Stream) {
            findings.error(
                place.field("body"),
                format!("`{name}` takes the whole body before the upstream gets a byte, so that nothing streams: remove this"),
            );
        }
    }
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
