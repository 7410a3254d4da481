//! The signer that a credential claims.

use super::Thumbprint;

/// The signer that a credential claims, before the credential is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer<'s> {
    /// The holder of exactly this token, identified by the token's signature, which nobody else knows.
    Token(&'s [u8]),
    /// The client and subject that an issuer issued a token to. The issuer's key is not used, because then all clients with a token from
    /// this issuer would share one limit.
    Client {
        /// The issuer's name in the policy.
        issuer: &'s str,
        /// The tenant, if the issuer has tenants.
        tenant: Option<&'s str>,
        /// The client that the token names.
        client: Option<&'s str>,
        /// The token's `sub`.
        subject: Option<&'s str>,
    },
    /// A signing key of the policy, identified by its `keyid`.
    Key(&'s str),
    /// The key of a DPoP proof.
    Proof(Thumbprint),
    /// The holder of an API key, identified by the key's SHA-256, which nobody else can compute.
    ApiKey(&'s [u8; 32]),
}

impl<'s> Signer<'s> {
    /// Returns the holder of this token, in compact form.
    #[must_use]
    pub fn of_token(token: &'s [u8]) -> Self {
        let signature = token.iter().rposition(|byte| *byte == b'.').and_then(|dot| token.get(dot..));
        Self::Token(signature.unwrap_or_default())
    }
}
