//! What an explanation is made of: each check, how it ended, and what decided it.
//!
//! A gateway never asks for a trace; the command line does. Facts are put into words only when somebody asked.

use crate::reason::Reason;

/// The checks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Lines that two readers could understand differently.
    Reading,
    /// The canonical form of method, host, path and query.
    Canonical,
    /// The look-up in the allowlist; its result is held until the caller is known.
    Lookup,
    /// The credential.
    Credential,
    /// Whether the caller holds the key that its token is bound to.
    Possession,
    /// The registration of the caller.
    Agent,
    /// Whether the caller's identity can be passed on.
    Identity,
    /// Whether the request is on the allowlist.
    Allowlist,
    /// Escapes in the path that the endpoint must allow.
    Escapes,
    /// The upgrade of the connection.
    Upgrade,
    /// Form bodies.
    Forms,
    /// The signature of the request.
    Signature,
    /// Scopes.
    Scopes,
    /// A binding.
    Binding,
    /// The body and its digest.
    Body,
    /// Whether the request was used before.
    Replay,
    /// The limits of the request.
    Limits,
}

impl Check {
    /// The check's name for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Canonical => "canonical form",
            Self::Lookup => "lookup",
            Self::Credential => "credential",
            Self::Possession => "possession",
            Self::Agent => "agent",
            Self::Identity => "identity",
            Self::Allowlist => "allowlist",
            Self::Escapes => "escapes",
            Self::Upgrade => "upgrade",
            Self::Forms => "forms",
            Self::Signature => "signature",
            Self::Scopes => "scopes",
            Self::Binding => "binding",
            Self::Body => "body",
            Self::Replay => "replay",
            Self::Limits => "limits",
        }
    }
}

/// One check of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traced {
    /// Which check.
    pub check: Check,
    /// The reason, where it did not pass.
    pub denied: Option<Reason>,
    /// The place of the rule in the policy; empty where the rule is the gate's own.
    pub rule: String,
    /// What decided, by name.
    pub facts: Vec<(&'static str, String)>,
}

/// All checks of one request.
pub type Trace = Vec<Traced>;
