//! What a reason means to a client, and what an answer discloses about it.

/// The page of the reference that describes every reason. The code follows.
const REFERENCE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/reference/reasons.md#");

/// What a reason means to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The stable code in records, metrics and test cases.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The title of the problem (RFC 9457, section 3.1.3), for people.
    pub title: &'static str,
    /// The challenge in the answer.
    pub challenge: Challenge,
}

/// What an answer discloses about a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disclosed {
    /// The code in the answer's `code` and `type`.
    pub code: &'static str,
    /// The title of the problem.
    pub title: &'static str,
    /// What the developer of the client does about it.
    pub detail: &'static str,
}

impl Disclosed {
    /// Returns the type of the problem (RFC 9457, section 3.1.1): the URL of its description.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{REFERENCE}{}", self.code)
    }
}

/// The code that answers disclose for every reason that concerns the registration of an agent.
pub const AGENT_REFUSED: &str = "agent_refused";
pub(super) const AGENT_REFUSED_DETAIL: &str = "Check that you use the credential that is registered for this API, and ask the owner of the agent whether \
                                    its registration is active. A new token for the same client does not help.";

/// What an answer asks the client for: a challenge in `WWW-Authenticate` (RFC 6750, section 3), or a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// No challenge.
    No,
    /// A challenge without an error, for a request without credentials.
    Bare,
    /// `error="invalid_token"`.
    InvalidToken,
    /// `error="invalid_dpop_proof"` (RFC 9449, section 7.1).
    InvalidProof,
    /// `error="use_dpop_nonce"` (RFC 9449, section 9), with the nonce in `DPoP-Nonce`.
    UseNonce,
    /// `error="insufficient_scope"` with the scopes that the request requires.
    InsufficientScope,
    /// `Accept-Signature` with the components that a signature must cover (RFC 9421, section 5.1).
    Signature,
}
