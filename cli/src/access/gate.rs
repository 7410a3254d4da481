//! Decides a request with the token whose reach is asked for.

use std::sync::Arc;

use callgate::policy::Policy;
use callgate::{Check, Decision, Headers, Reason, Trace, Traced};
use serde_json::Value;

use super::request::Draft;
use crate::decide::{Asked, Body, Undecidable, decide};

/// A policy and a token with which requests are decided.
pub(super) struct Gate<'a> {
    pub(super) policy: Arc<Policy>,
    pub(super) token: String,
    pub(super) keys: &'a [(String, Vec<u8>)],
    /// The list of revoked credentials that the gate fetches, if it is known.
    pub(super) revocations: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub(super) time: u64,
}

/// What the engine decided about a request.
pub(super) struct Answer {
    pub(super) is_allowed: bool,
    pub(super) agent: Option<String>,
    trace: Trace,
}

impl Gate<'_> {
    /// Decides a request with the token.
    pub(super) fn ask(&self, draft: &Draft) -> Result<Answer, String> {
        let (name, value) = self.policy.header_with_token(&self.token);
        let lines = draft.lines.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Headers = lines.chain([(name, value.as_str())]).collect();
        let body = draft.body.as_deref().map_or(Body::None, Body::Known);
        let asked = Asked {
            policy: &self.policy,
            headers: &headers,
            body,
            source: None,
            certificate: None,
            time: self.time,
            keys: self.keys,
            revocations: self.revocations,
        };
        let mut trace = Trace::new();
        let decided = decide(&asked, Some(&mut trace), |decision, _| {
            let record = serde_json::to_value(decision.record()).unwrap_or_default();
            let agent = record.get("agent").and_then(Value::as_str).map(str::to_owned);
            (!matches!(decision, Decision::Deny(_)), agent)
        });
        match decided {
            Ok((is_allowed, agent)) => Ok(Answer { is_allowed, agent, trace }),
            Err(Undecidable::Body) => Err("a request to an endpoint cannot be decided".to_owned()),
            Err(Undecidable::Keys(problem)) => Err(format!("--keys: {problem}")),
            Err(Undecidable::Revocations(problem)) => Err(format!("--revocations: {problem}")),
        }
    }
}

impl Answer {
    /// Returns the check of the credential itself. A later one is about the kinds that the endpoint accepts.
    pub(super) fn credential(&self) -> Option<&Traced> {
        self.trace.iter().find(|traced| traced.check == Check::Credential)
    }

    /// Returns the first denial for a reason that the sender of the token could not avoid.
    pub(super) fn blocking(&self, sender: Sender) -> Option<&Traced> {
        let is_avoidable = |traced: &Traced| match (traced.check, traced.denied.map(Reason::code)) {
            (_, None | Some("revocations_unavailable")) | (Check::Body, _) => true,
            (Check::Signature, _) => sender.signs,
            // The sender may have the key or the certificate.
            (check, _) => sender.proves && (check == Check::Possession || check.name() == "certificate"),
        };
        self.trace.iter().find(|traced| !is_avoidable(traced))
    }
}

/// Describes a denial: the reason, and the values that led to it.
pub(super) fn describe(traced: &Traced) -> String {
    let reason = traced.denied.map_or("", Reason::code);
    // The value that the request had was chosen here.
    let facts = traced.facts.iter().filter(|(name, _)| *name != "is");
    let facts: Vec<String> = facts.map(|(name, value)| format!("{name}: {value}")).collect();
    if facts.is_empty() { reason.to_owned() } else { format!("{reason} ({})", facts.join(", ")) }
}

/// What the sender of a token can provide next to it.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    /// A proof that it has the key or the certificate that the token is bound to.
    pub(super) proves: bool,
    /// A request signature.
    pub(super) signs: bool,
}
