//! Why a configuration was rejected, and why a request could not be decided, with the messages for the operator.

use std::fmt;

use super::HostError;
use crate::document::Findings;
use crate::evaluate::Undecided;
use crate::policy::GATEWAY_VARIABLE;

/// Why a configuration was rejected, and whether the gateway must be told that it was accepted.
pub(super) struct Refused {
    pub(super) why: Why,
    pub(super) must_accept: bool,
}

/// Why a configuration was rejected.
pub(super) enum Why {
    /// The host did not return the configuration.
    Host(HostError),
    /// The configuration is not a JSON object.
    NotJson,
    /// The policy has errors.
    Policy(Findings),
    /// The policy is for the first gateway, but the environment variable names the second.
    Gateway(&'static str, String),
    /// The policy is for the first gateway, and what reads it is another adapter: one that runs only in the second, or the Wasm filter.
    Adapter(&'static str, Option<&'static str>),
    /// The shared state cannot be used.
    Undecided(Undecided),
}

/// Something that a decision needs is missing.
pub(super) enum Failure {
    /// No policy has been accepted.
    NoPolicy,
    /// The engine could not decide.
    Undecided(Undecided),
    /// A host call failed.
    Host(HostError),
    /// The host's serialization of the headers is invalid.
    Headers,
    /// The gateway does not provide the request target.
    Target,
    /// The host does not return the body that it reported.
    Body,
    /// The gateway forwards requests that the filter holds.
    Bypassed,
    /// The gateway forwards the bodies of responses without showing them to the filter.
    Unfiltered,
    /// The gateway forwards data of streams that are checked again without showing it to the filter.
    Unchecked,
}

impl Refused {
    /// Returns whether the gateway must be told that the configuration was accepted. Every request is then denied. If the
    /// gateway were told about the rejection, it would forward requests without the filter.
    pub(super) fn must_accept(&self) -> bool {
        self.must_accept
    }

    /// Returns the messages for the operator, one line per error.
    pub(super) fn lines(&self) -> Vec<String> {
        self.why.lines()
    }
}

impl Why {
    /// Returns the messages for the operator, one line per error.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Host(error) => vec![format!("the configuration cannot be read: {error}")],
            Self::NotJson => vec![
                "the configuration is not a JSON object: deliver the policy's JSON as a `google.protobuf.StringValue` (a \
                 `google.protobuf.Struct` reaches a filter as protobuf bytes); `callgate render` prints it so"
                    .into(),
            ],
            Self::Gateway(policy, variable) => vec![format!(
                "gateway: the policy is written for `{policy}`, and the environment variable `{GATEWAY_VARIABLE}` is `{}`; \
                 expected the same gateway in both",
                variable.escape_debug()
            )],
            Self::Adapter(policy, Some(own)) => vec![format!(
                "gateway: the policy is written for `{policy}`, and this is the dynamic module; expected `gateway: {own}`"
            )],
            Self::Adapter(policy, None) => vec![format!(
                "gateway: the policy is written for `{policy}`, the dynamic module, and this is the Wasm filter; expected the gateway \
                 that runs it, such as `gateway: envoy`"
            )],
            Self::Undecided(why) => vec![why.to_string()],
            Self::Policy(findings) => findings.errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<Undecided> for Failure {
    fn from(why: Undecided) -> Self {
        Self::Undecided(why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy is in force"),
            Self::Undecided(why) => why.fmt(f),
            Self::Host(error) => error.fmt(f),
            Self::Headers => f.write_str("the gateway's list of headers is inconsistent"),
            Self::Target => f.write_str("`proxy_get_property` does not return the path that the client requested"),
            Self::Body => f.write_str("the gateway does not deliver the body that it announced"),
            Self::Unfiltered => f.write_str(
                "the gateway forwarded an answer whose lists must be filtered without showing it to the filter, so messages are denied; \
                 allow the capabilities `proxy_on_response_body` and `proxy_set_buffer_bytes`",
            ),
            Self::Unchecked => f.write_str(
                "the gateway forwarded data of a stream with `streams: recheck` without showing it to the filter, so such requests are \
                 denied; allow the capability `proxy_on_response_body`",
            ),
            Self::Bypassed => f.write_str(
                "the gateway forwarded a request that the filter held for its body or for keys, so requests that must be held are denied; \
                 allow the capabilities `proxy_on_request_body` and `proxy_on_request_trailers`",
            ),
        }
    }
}
