//! An authenticated caller, and the credential that proves its identity.
//!
//! What a caller may do does not belong here.

use std::rc::Rc;

use serde_json::Value;

use crate::allowlist::Side;
use crate::document::Authenticate;
use crate::identity::api_key::VerifiedApiKey;
use crate::identity::certificate::VerifiedCertificate;
use crate::identity::signature::ProfileName;
use crate::identity::token::VerifiedToken;
use crate::policy::Agent;
use crate::quota::Identified;

/// The credential that proves a caller's identity. Each is the result of its verification.
#[derive(Debug, Clone)]
pub(crate) enum Proven<'a> {
    /// A token. Only such a caller may have no agent.
    Token(Rc<VerifiedToken>),
    /// A signature of this profile alone. `Facts::signature` contains it.
    Signature(ProfileName),
    /// An API key. `Facts::api_key` contains it too, and keys that have expired.
    ApiKey(#[expect(dead_code, reason = "proves that the key was verified")] VerifiedApiKey<'a>),
    /// A client certificate. `Facts::certificate` contains it too, and certificates that identify nobody.
    Certificate(VerifiedCertificate<'a>),
}

impl Proven<'_> {
    /// Returns the kind of the credential, as an endpoint accepts it.
    pub(crate) fn kind(&self) -> Authenticate {
        match self {
            Self::Token(_) => Authenticate::Token,
            Self::Signature(ProfileName::Own) => Authenticate::Signature,
            Self::Signature(ProfileName::WebBotAuth) => Authenticate::WebBotAuth,
            Self::ApiKey(_) => Authenticate::ApiKey,
            Self::Certificate(_) => Authenticate::Certificate,
        }
    }
}

/// An authenticated caller. A token, or a signature, an API key or a client certificate of a registered agent, proves its identity.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    pub(crate) by: Proven<'a>,
    pub(crate) agent: Option<&'a Agent>,
    /// The agents that are the earlier actors of the token, the latest first. Empty unless the policy checks them.
    pub(crate) prior: Vec<&'a Agent>,
}

impl<'a> Caller<'a> {
    /// Returns the token that authenticated the caller. `None` if a signature alone, an API key or a certificate did.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        match &self.by {
            Proven::Token(token) => Some(token),
            Proven::Signature(_) | Proven::ApiKey(_) | Proven::Certificate(_) => None,
        }
    }

    /// Returns the registered agent. `None` for an unregistered caller, if the policy accepts those.
    #[must_use]
    pub fn agent(&self) -> Option<&'a Agent> {
        self.agent
    }
}

impl<'a> Caller<'a> {
    /// Returns whether the caller acts for somebody else. `agent` is then the current actor.
    pub(crate) fn is_delegated(&self) -> bool {
        self.token().is_some_and(VerifiedToken::is_delegated)
    }

    /// Returns the agents through which the request was delegated to the caller, the latest first. Empty unless the policy checks them
    /// (`prior_actors: checked`).
    pub(crate) fn prior_actors(&self) -> &[&'a Agent] {
        &self.prior
    }
}

impl Caller<'_> {
    /// Returns the SPIFFE ID of the caller's token or certificate.
    pub(crate) fn spiffe_id(&self) -> Option<&str> {
        match &self.by {
            Proven::Token(token) => token.spiffe_id(),
            Proven::Certificate(certificate) => certificate.spiffe_id(),
            Proven::Signature(_) | Proven::ApiKey(_) => None,
        }
    }

    /// Returns the subject of the caller's token, or the SPIFFE ID of its certificate. A JWT-SVID has that ID as its subject too.
    pub(crate) fn subject(&self) -> Option<&str> {
        match &self.by {
            Proven::Token(token) => token.subject(),
            Proven::Signature(_) | Proven::ApiKey(_) | Proven::Certificate(_) => self.spiffe_id(),
        }
    }

    /// Returns the identity by which limits distinguish callers.
    pub(crate) fn identified(&self) -> Identified<'_> {
        Identified {
            agent: self.agent.map(|agent| (&*agent.name, agent.position)),
            is_class: self.agent.is_some_and(|agent| agent.is_class),
            workload: self.spiffe_id(),
            token: self.token(),
        }
    }

    /// Returns the value that a binding names. `None` if it is a claim or an attribute that the caller does not have.
    pub(crate) fn fact<'f>(&'f self, side: &'f Side) -> Option<&'f Value> {
        match side {
            Side::Token(claim) => self.token()?.claim(claim),
            Side::Agent(name) => self.agent?.attributes.get(&**name),
            Side::Literal(value) => Some(value),
        }
    }
}
