//! By whom a credential says that it was made.

use super::Thumbprint;

/// By whom a credential says that it was made, as long as nobody verified it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer<'s> {
    /// Whoever was given this very token: its signature, which nobody else knows.
    Token(&'s [u8]),
    /// The client and subject that an issuer issued a token to. The issuer's key would not do: everybody with a token of it would share one standing.
    Client {
        /// The issuer's name in the policy.
        issuer: &'s str,
        /// The client that the token names.
        client: Option<&'s str>,
        /// Its `sub`.
        subject: Option<&'s str>,
    },
    /// A signing key of the policy, by its `keyid`.
    Key(&'s str),
    /// The key of a DPoP proof.
    Proof(Thumbprint),
}

impl<'s> Signer<'s> {
    /// Whoever was given this token, in compact form.
    #[must_use]
    pub fn of_token(token: &'s [u8]) -> Self {
        let signature = token.iter().rposition(|byte| *byte == b'.').and_then(|dot| token.get(dot..));
        Self::Token(signature.unwrap_or_default())
    }
}
