//! The trace of an evaluation: each check, its result, and the values that led to it.
//!
//! Gateways never request a trace; only the command line does. Values are formatted only if a trace was requested.

use crate::reason::Reason;

/// The checks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Checks for header lines that two readers could interpret differently.
    Reading,
    /// Checks the canonical form of method, host, path and query.
    Canonical,
    /// Checks whether the request asks for the metadata of the resource, which needs no credential. Traced only if it does.
    Metadata,
    /// Looks up the endpoint in the allowlist. The result is used only after the caller is authenticated.
    Lookup,
    /// Verifies the credential.
    Credential,
    /// Checks the certificate that the client presented: its names, or whether it belongs to the caller.
    Certificate,
    /// Checks whether the caller holds the key or the certificate that its token is bound to.
    Possession,
    /// Checks the registration of the caller.
    Agent,
    /// Checks whether a credential was revoked, and whether the endpoint is suspended.
    Revocation,
    /// Checks whether the caller's identity can be forwarded.
    Identity,
    /// Checks whether the request matches an endpoint.
    Allowlist,
    /// Checks the escapes in the path against those that the endpoint allows.
    Escapes,
    /// Checks whether the endpoint allows the upgrade of the connection.
    Upgrade,
    /// Checks the media type of the body, which frameworks could read as a form or as JSON.
    Forms,
    /// Checks whether the endpoint accepts requests for somebody else. Traced only for those, or if the endpoint requires them.
    Delegation,
    /// Verifies the signature of the request.
    Signature,
    /// Checks the list of agents, the ceilings of the caller, and how fresh its credential is. Traced only if any of them is restricted.
    Reach,
    /// Checks the scopes.
    Scopes,
    /// Checks a binding.
    Binding,
    /// Checks the body against its digest.
    Body,
    /// Checks the form of the body, where its content decides.
    Content,
    /// Checks the message of an endpoint with operations, and finds the operations that it uses.
    Message,
    /// Checks for replays.
    Replay,
    /// Checks the limits of the request.
    Limits,
}

impl Check {
    /// Returns the name of the check, as commands print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Canonical => "canonical form",
            Self::Metadata => "metadata",
            Self::Lookup => "lookup",
            Self::Credential => "credential",
            Self::Certificate => "certificate",
            Self::Possession => "possession",
            Self::Agent => "agent",
            Self::Revocation => "revocation",
            Self::Identity => "identity",
            Self::Allowlist => "allowlist",
            Self::Escapes => "escapes",
            Self::Upgrade => "upgrade",
            Self::Forms => "forms",
            Self::Delegation => "delegation",
            Self::Signature => "signature",
            Self::Reach => "reach",
            Self::Scopes => "scopes",
            Self::Binding => "binding",
            Self::Body => "body",
            Self::Content => "content",
            Self::Message => "message",
            Self::Replay => "replay",
            Self::Limits => "limits",
        }
    }
}

/// One check of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traced {
    /// The check.
    pub check: Check,
    /// The reason for the denial. `None` if the check passed.
    pub denied: Option<Reason>,
    /// The location of the rule in the policy. Empty for a built-in rule.
    pub rule: String,
    /// The values that led to the result, by name.
    pub facts: Vec<(&'static str, String)>,
}

/// All checks of one request.
pub type Trace = Vec<Traced>;
