//! What the engine answers: go on, or not, with everything that was learnt on the way.
//!
//! Only [`evaluate`](crate::evaluate()) makes an [`Allow`], so whoever holds one knows that every check has run.

pub(crate) mod answer;
pub(crate) mod coverage;
pub(crate) mod evidence;
pub mod metrics;
pub(crate) mod record;
pub(crate) mod trace;
pub(crate) mod upstream;

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use crate::allowlist::{Granted, Origin, Side};
use crate::document::Effect;
use crate::identity::dpop::Proof;
use crate::identity::signature::ProfileName;
use crate::identity::signature::VerifiedSignature;
use crate::identity::token::VerifiedToken;
use crate::policy::{Agent, Endpoint, Policy};
use crate::quota::Identified;
use crate::quota::LimitStatuses;
use crate::reason::Reason;
use crate::request::credential::Scheme;
use crate::request::head::Head;
use crate::request::incoming::Request;
use crate::request::{CanonicalPath, Host, Method, Query};
use crate::state::StoreStats;
use evidence::{Authorized, PreflightAllowed, Public};
use serde_json::Value;

/// What happens to a request.
#[derive(Debug)]
#[must_use]
pub enum Decision<'a> {
    /// It goes on, with changed headers.
    Allow(Allow<'a>),
    /// It is answered by the gate and nothing reaches the upstream.
    Deny(Deny<'a>),
}

impl<'a> Decision<'a> {
    /// What was learnt about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        match self {
            Self::Allow(allow) => &allow.facts,
            Self::Deny(deny) => &deny.facts,
        }
    }
}

/// A request that is forwarded.
#[derive(Debug)]
pub struct Allow<'a> {
    pub(crate) facts: Box<Facts<'a>>,
    pub(crate) grant: Grant,
}

impl<'a> Allow<'a> {
    /// The ground on which it is allowed.
    #[must_use]
    pub fn ground(&self) -> Ground {
        match self.grant {
            Grant::Endpoint(_) => Ground::Endpoint,
            Grant::Public(_) => Ground::Public,
            Grant::Preflight(_) => Ground::Preflight,
            Grant::Observed => Ground::Observed,
        }
    }

    /// What was learnt about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// Takes what the limits of the request had left for it, and leaves nothing of it in the facts.
    #[must_use]
    pub fn take_limits(&mut self) -> LimitStatuses {
        std::mem::take(&mut self.facts.limits)
    }
}

/// What a request showed to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// It passed every check of a listed endpoint.
    Endpoint(Authorized),
    /// It passed every check of a public endpoint.
    Public(Public),
    /// It is a CORS preflight request, which the policy passes.
    Preflight(PreflightAllowed),
    /// Nothing: it would have been denied, and is only observed.
    Observed,
}

/// The ground on which a request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ground {
    /// Every check passed.
    Endpoint,
    /// The endpoint is public.
    Public,
    /// A CORS preflight request, which the policy passes.
    Preflight,
    /// It would have been denied, and is only observed.
    Observed,
}

/// A request that is answered by the gate.
#[derive(Debug)]
pub struct Deny<'a> {
    pub(crate) facts: Box<Facts<'a>>,
    pub(crate) denial: Denial<'a>,
}

impl<'a> Deny<'a> {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.denial.reason
    }

    /// What was learnt about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }
}

/// A check that did not pass.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: Rule<'a>,
    /// Whether it was carried out, rather than only observed.
    pub enforced: bool,
}

/// A rule by its place in the policy document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'a> {
    /// The gate's own rule, which no policy states.
    Gate,
    /// A top-level member of the document.
    Policy(&'static str),
    /// A member of an endpoint.
    Endpoint(u32, &'static str),
    /// A binding of an endpoint, by its left side.
    Binding(u32, &'a str),
    /// A member of an issuer.
    Issuer(&'a str, &'static str),
    /// A member of the requirements of an effect.
    Effect(Effect, &'static str),
    /// An agent by name.
    Agent(&'a str),
    /// A limit by name.
    Limit(&'a str),
}

impl<'a> Rule<'a> {
    /// The place of the rule as text; that of the endpoint that a request matched was put into words with the policy.
    pub(crate) fn text(self, matched: Option<&'a Endpoint>) -> Cow<'a, str> {
        match (self, matched) {
            (Self::Endpoint(position, ""), Some(endpoint)) if endpoint.position == position => {
                Cow::Borrowed(&endpoint.place)
            }
            _ => Cow::Owned(self.to_string()),
        }
    }

    /// The rule of the place that asked: an endpoint, or the requirements of its effect.
    pub(crate) fn asked_by(endpoint: &Endpoint, origin: Option<Origin>, field: &'static str) -> Self {
        match origin {
            Some(Origin::Effect(effect)) => Self::Effect(effect, field),
            Some(Origin::Endpoint) | None => Self::Endpoint(endpoint.position, field),
        }
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::document::Place;
        match self {
            Self::Gate => Ok(()),
            Self::Policy(field) => f.write_str(field),
            Self::Endpoint(position, "") => write!(f, "endpoints[{position}]"),
            Self::Endpoint(position, field) => write!(f, "endpoints[{position}].{field}"),
            Self::Binding(position, left) => f.write_str(
                Place::root().field("endpoints").index(*position as usize).field("bind").field(left).as_str(),
            ),
            Self::Issuer(name, field) => {
                let place = Place::root().field("issuers").field(name);
                f.write_str(if field.is_empty() { place } else { place.field(field) }.as_str())
            }
            Self::Effect(effect, field) => write!(f, "requirements.{}.{field}", effect.name()),
            Self::Agent(name) => f.write_str(Place::root().field("agents").field(name).as_str()),
            Self::Limit(name) => f.write_str(Place::root().field("limits").field(name).as_str()),
        }
    }
}

/// Who calls: proven by a token, or by the signature of a registered agent.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// None where a signature alone proved it, and then there is an agent.
    pub(crate) token: Option<Rc<VerifiedToken>>,
    pub(crate) agent: Option<&'a Agent>,
}

impl<'a> Caller<'a> {
    /// The token that proved it; none where a signature alone did.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.token.as_deref()
    }

    /// The registered agent; none where the policy takes unregistered callers.
    #[must_use]
    pub fn agent(&self) -> Option<&'a Agent> {
        self.agent
    }
}

impl Caller<'_> {
    /// How limits tell it from others.
    pub(crate) fn identified(&self) -> Identified<'_> {
        Identified { agent: self.agent.map(|agent| (&*agent.name, agent.position)), token: self.token() }
    }

    /// What is known about it that a binding names; none where nothing is.
    pub(crate) fn fact(&self, side: &Side) -> Option<&Value> {
        match side {
            Side::Token(claim) => self.token()?.claim(claim),
            Side::Agent(name) => self.agent?.attributes.get(&**name),
        }
    }
}

impl Granted for Caller<'_> {
    fn has(&self, scope: &str) -> bool {
        self.token().is_some_and(|token| token.has_scope(scope))
            || self.agent.is_some_and(|agent| agent.scopes.iter().any(|own| **own == *scope))
    }
}

/// What was seen of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodySeen {
    /// All of it, before anything went on: its digest was signed.
    Checked,
    /// Not all of it yet, or another one than was signed; the head went on.
    Awaited,
    /// All of it, before any of it went on, and after the head did.
    CheckedLate,
    /// Bytes of one whose digest nobody signed.
    Unsigned,
}

/// Everything that was learned about a request, each fact only once it was proven.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) request: Request<'a>,
    pub(crate) head: Head<'a>,
    pub(crate) method: Option<Method<'a>>,
    pub(crate) host: Option<Host<'a>>,
    pub(crate) path: Option<CanonicalPath<'a>>,
    pub(crate) query: Option<Query<'a>>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// The scheme under which a token was sent.
    pub(crate) scheme: Option<Scheme>,
    /// The token that was verified, whether or not its bearer may request.
    pub(crate) token: Option<Rc<VerifiedToken>>,
    /// The proof that the caller holds the key that its token is bound to. It may be used once.
    pub(crate) proof: Option<Proof>,
    /// The nonce for the client's next proof, where it needs to be told.
    pub(crate) dpop_nonce: Option<String>,
    /// The agent that the token fits, whether or not it may request.
    pub(crate) agent: Option<&'a Agent>,
    pub(crate) caller: Option<Caller<'a>>,
    /// The rules by which the signature of a request without a token was judged, where it has their tag.
    pub(crate) signed_for: Option<ProfileName>,
    /// The signature of the request, where one was verified.
    pub(crate) signature: Option<VerifiedSignature<'a>>,
    /// What was seen of the body.
    pub(crate) body: Option<BodySeen>,
    /// What the limits of the request had left for it.
    pub(crate) limits: LimitStatuses,
    /// Seconds after which the request may be sent again, where a limit stood in its way.
    pub(crate) retry_after: Option<u64>,
    pub(crate) used: StoreStats,
    pub(crate) denials: Vec<Denial<'a>>,
}

impl<'a> Facts<'a> {
    /// What is known before anything was looked at.
    pub(crate) fn new(policy: &'a Policy, request: Request<'a>) -> Self {
        Self {
            policy,
            request,
            head: Head::default(),
            method: None,
            host: None,
            path: None,
            query: None,
            endpoint: None,
            scheme: None,
            token: None,
            proof: None,
            dpop_nonce: None,
            agent: None,
            caller: None,
            signed_for: None,
            signature: None,
            body: None,
            limits: LimitStatuses::default(),
            retry_after: None,
            used: StoreStats::default(),
            denials: Vec::new(),
        }
    }

    /// The policy that decided.
    #[must_use]
    pub fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// The endpoint that the request matched.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'a Endpoint> {
        self.endpoint
    }

    /// Whether denials of this request are only recorded, by the policy or by the endpoint that it matched.
    pub(crate) fn is_observed(&self) -> bool {
        self.policy.observe || self.endpoint.is_some_and(|endpoint| endpoint.observe)
    }

    /// Whether a check did not pass for this reason.
    pub(crate) fn denied(&self, reason: Reason) -> bool {
        self.denials.iter().any(|denial| denial.reason == reason)
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller<'a>> {
        self.caller.as_ref()
    }

    /// The nonce for the client's next proof, for the answer's header [`DPOP_NONCE`](crate::decision::answer::DPOP_NONCE).
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<&str> {
        self.dpop_nonce.as_deref()
    }

    /// What the limits of the request had left for it, for the answer's headers.
    #[must_use]
    pub fn limits(&self) -> &LimitStatuses {
        &self.limits
    }

    /// How the store that all workers share was used.
    #[must_use]
    pub fn store_stats(&self) -> StoreStats {
        self.used
    }

    /// Every check that did not pass, in the order of the checks.
    #[must_use]
    pub fn denials(&self) -> &[Denial<'a>] {
        &self.denials
    }
}

#[cfg(test)]
#[cfg(feature = "schema")]
#[path = "rule_tests.rs"]
mod rule_tests;
