//! What a reason means to a client.

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
