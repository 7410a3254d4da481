//! The decision about a request: allow or deny, with the facts that the evaluation established.
//!
//! Only `crate::evaluate` creates an [`Allow`], which therefore proves that every check has run.

pub(crate) mod answer;
mod caller;
pub(crate) mod coverage;
pub(crate) mod evidence;
#[cfg_attr(
    not(any(test, target_arch = "wasm32", feature = "adapter")),
    expect(dead_code, reason = "only adapters filter answers")
)]
mod lists;
pub mod metrics;
mod reach;
pub(crate) mod record;
mod rpc;
mod rpc_answer;
mod rule;
pub(crate) mod scopes;
mod serve;
pub(crate) mod trace;
pub(crate) mod upstream;

use std::rc::Rc;

use crate::document::Authenticate;
use crate::identity::api_key::{ApiKey, ApiKeys};
use crate::identity::certificate::VerifiedCertificate;
use crate::identity::dpop::Proof;
use crate::identity::signature::{ProfileName, VerifiedSignature};
use crate::identity::token::{Audiences, VerifiedToken};
use crate::policy::{Agent, Endpoint, Metadata, Policy, Resource};
use crate::quota::LimitStatuses;
use crate::reason::Reason;
use crate::request::credential::Scheme;
use crate::request::head::{Head, Lines};
use crate::request::incoming::Request;
use crate::request::{CanonicalPath, Host, Method, Query};
use crate::state::StoreStats;
pub use caller::Caller;
pub(crate) use caller::Proven;
use evidence::{Authorized, PreflightAllowed, Public};

#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
pub(crate) use lists::{ListRules, VisibleItems};
pub(crate) use rpc::{Charge, RpcFacts};
pub use rule::Rule;
pub(crate) use serve::Published;
pub use serve::Serve;

/// The decision about a request.
#[derive(Debug)]
#[must_use]
pub enum Decision<'a> {
    /// The request is forwarded with changed headers.
    Allow(Allow<'a>),
    /// Callgate answers the request with what the policy publishes, and nothing reaches the upstream.
    Serve(Serve<'a>),
    /// Callgate rejects the request, and nothing reaches the upstream.
    Deny(Deny<'a>),
}

impl<'a> Decision<'a> {
    /// Returns the facts about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        match self {
            Self::Allow(allow) => &allow.facts,
            Self::Serve(serve) => &serve.facts,
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
    /// Returns the ground on which the request is allowed.
    #[must_use]
    pub fn ground(&self) -> Ground {
        match self.grant {
            Grant::Endpoint(_) => Ground::Endpoint,
            Grant::Public(_) => Ground::Public,
            Grant::Preflight(_) => Ground::Preflight,
            Grant::Observed => Ground::Observed,
        }
    }

    /// Returns the facts about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// Takes the state of the limits out of the facts.
    #[must_use]
    pub fn take_limits(&mut self) -> LimitStatuses {
        std::mem::take(&mut self.facts.limits)
    }
}

/// The evidence for which a request is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The request passed every check of a listed endpoint.
    Endpoint(Authorized),
    /// The request passed every check of a public endpoint.
    Public(Public),
    /// The request is a CORS preflight request, which the policy allows.
    Preflight(PreflightAllowed),
    /// There is none: the request would have been denied, and is only observed.
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
    /// The request is a CORS preflight request, which the policy allows.
    Preflight,
    /// Callgate itself answers with the metadata of the resource.
    Metadata,
    /// The request would have been denied, and is only observed.
    Observed,
}

/// A request that Callgate rejects.
#[derive(Debug)]
pub struct Deny<'a> {
    pub(crate) facts: Box<Facts<'a>>,
    pub(crate) denial: Denial<'a>,
}

impl<'a> Deny<'a> {
    /// Returns the reason for the denial.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.denial.reason
    }

    /// Returns the facts about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }
}

/// A check that failed.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// The reason.
    pub reason: Reason,
    /// The rule that the check applied.
    pub rule: Rule<'a>,
    /// Whether the denial was enforced rather than only observed.
    pub enforced: bool,
}

/// What is known about a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodySeen {
    /// The complete body arrived before anything was forwarded, and matches its signed digest.
    Checked,
    /// The headers were forwarded. The body has not arrived completely, or does not match its signed digest.
    Awaited,
    /// The headers were forwarded first. The complete body then arrived, matched its signed digest and was forwarded.
    CheckedLate,
    /// Bytes of the body arrived, but no digest of it is signed.
    Unsigned,
}

/// The facts about a request. Each fact is set only after it was verified.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) request: Request<'a>,
    pub(crate) head: Head<'a>,
    /// The header in which the policy expects API keys.
    pub(crate) api_key_lines: Lines<'a>,
    pub(crate) method: Option<Method<'a>>,
    pub(crate) host: Option<Host<'a>>,
    pub(crate) path: Option<CanonicalPath<'a>>,
    pub(crate) query: Option<Query<'a>>,
    /// The resource that the path belongs to. It is the policy's own if the path has no canonical form.
    pub(crate) resource: &'a Resource,
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// The authentication scheme of the token. `None` for a token that is not in `Authorization`.
    pub(crate) scheme: Option<Scheme>,
    /// The verified token, even if its sender may not use it.
    pub(crate) token: Option<Rc<VerifiedToken>>,
    /// The API key of the policy that the sender has, even if it has expired.
    pub(crate) api_key: Option<&'a ApiKey>,
    /// The certificate that the client presented, if the policy uses certificates and this one can be read, even if it identifies
    /// nobody.
    pub(crate) certificate: Option<VerifiedCertificate<'a>>,
    /// SHA-256 of that certificate, even if it cannot be read.
    pub(crate) certificate_sha256: Option<[u8; 32]>,
    /// The proof that the caller holds the key that its token is bound to. It is accepted once.
    pub(crate) proof: Option<Proof>,
    /// The nonce for the client's next proof, if the client needs one.
    pub(crate) dpop_nonce: Option<String>,
    /// The agent that the credential belongs to, even if its request is denied.
    pub(crate) agent: Option<&'a Agent>,
    pub(crate) caller: Option<Caller<'a>>,
    /// The profile that applies to the signature of a request without a token, if the signature has the profile's tag.
    pub(crate) signed_for: Option<ProfileName>,
    /// The reason of the entry that revokes a credential, as its author wrote it.
    pub(crate) revoked: Option<Box<str>>,
    /// The signature of the request, if one was verified.
    pub(crate) signature: Option<VerifiedSignature<'a>>,
    /// What is known about the body.
    pub(crate) body: Option<BodySeen>,
    /// What is known about the message, if the endpoint has operations.
    pub(crate) rpc: Option<Box<RpcFacts<'a>>>,
    /// The state of the request's limits.
    pub(crate) limits: LimitStatuses,
    /// Seconds after which the client may retry, if a limit denied the request.
    pub(crate) retry_after: Option<u64>,
    pub(crate) used: StoreStats,
    pub(crate) denials: Vec<Denial<'a>>,
}

impl<'a> Facts<'a> {
    /// Returns the facts that are known before the first check.
    pub(crate) fn new(policy: &'a Policy, request: Request<'a>) -> Self {
        Self {
            policy,
            request,
            head: Head::default(),
            api_key_lines: Lines::default(),
            method: None,
            host: None,
            path: None,
            query: None,
            resource: policy.resources.own(),
            endpoint: None,
            scheme: None,
            token: None,
            api_key: None,
            certificate: None,
            certificate_sha256: None,
            proof: None,
            dpop_nonce: None,
            agent: None,
            caller: None,
            signed_for: None,
            revoked: None,
            signature: None,
            body: None,
            rpc: None,
            limits: LimitStatuses::default(),
            retry_after: None,
            used: StoreStats::default(),
            denials: Vec::new(),
        }
    }

    /// Returns the policy that decided.
    #[must_use]
    pub fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// Returns the endpoint that the request matched.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'a Endpoint> {
        self.endpoint
    }

    /// Returns the audiences of the request's resource, or `None` if the policy has only one resource.
    pub(crate) fn audiences(&self) -> Option<&'a Audiences> {
        if self.policy.resources.is_single() { None } else { Some(&self.resource.audiences) }
    }

    /// Returns the metadata of the resource that the request is for. It depends on the beginning of the path alone.
    pub(crate) fn metadata(&self) -> Option<&'a Metadata> {
        self.resource.metadata.as_deref()
    }

    /// Returns the header in which the policy expects API keys, if the request has it.
    pub(crate) fn api_key_header(&self) -> Option<&'a str> {
        let sent = self.policy.api_keys.as_ref().filter(|_| self.api_key_lines.count > 0);
        sent.and_then(ApiKeys::header)
    }

    /// Returns the kind of credential that counted: the one that identified the caller or, if the endpoint does not accept it, the
    /// signature that the endpoint requires instead.
    pub(crate) fn counted(&self) -> Option<Authenticate> {
        let kind = self.caller.as_ref()?.by.kind();
        let instead = self.endpoint.filter(|endpoint| !endpoint.accepts(kind) && self.signature.is_some());
        Some(instead.and_then(|endpoint| endpoint.accepted_signature()).unwrap_or(kind))
    }

    /// Returns whether denials of this request are only recorded, because of the policy or of the matched endpoint.
    pub(crate) fn is_observed(&self) -> bool {
        self.policy.observe || self.endpoint.is_some_and(|endpoint| endpoint.observe)
    }

    /// Returns whether a check denied the request for this reason.
    pub(crate) fn denied(&self, reason: Reason) -> bool {
        self.denials.iter().any(|denial| denial.reason == reason)
    }

    /// Returns the authenticated caller.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller<'a>> {
        self.caller.as_ref()
    }

    /// Returns the nonce for the client's next proof, for the response header
    /// [`DPOP_NONCE`](crate::decision::answer::DPOP_NONCE).
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<&str> {
        self.dpop_nonce.as_deref()
    }

    /// Returns the state of the request's limits, for the response headers.
    #[must_use]
    pub fn limits(&self) -> &LimitStatuses {
        &self.limits
    }

    /// Returns statistics on the use of the shared store.
    #[must_use]
    pub fn store_stats(&self) -> StoreStats {
        self.used
    }

    /// Returns every denial, in the order of the checks.
    #[must_use]
    pub fn denials(&self) -> &[Denial<'a>] {
        &self.denials
    }
}
