//! Checks that the sender of a token may use it, given its authorization scheme, the key that the sender has proved to hold, and the
//! certificate of the connection.

use std::rc::Rc;

use crate::identity::crypto::Thumbprint;
use crate::identity::token::VerifiedToken;
use crate::reason::Reason;
use crate::request::credential::Scheme;

/// A verified token that its sender may use. Only [`binding`] creates one.
#[derive(Debug)]
pub(crate) struct Held(Rc<VerifiedToken>);

impl Held {
    /// The token.
    pub(crate) fn token(&self) -> &Rc<VerifiedToken> {
        &self.0
    }
}

/// What the sender of a token has shown to hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown<'s> {
    /// The key of a DPoP proof, or of the request's signature.
    pub(crate) key: Option<Thumbprint>,
    /// SHA-256 of the certificate of the connection.
    pub(crate) certificate: Option<&'s [u8; 32]>,
}

/// Checks that the sender of a token may use it. For a token bound to a key, the sender must prove possession of the key, by a DPoP proof
/// or by the request's signature. Such a token must use its own scheme, so a server that only understands bearer tokens never accepts it.
/// For a token bound to a certificate, the client must have presented that certificate (RFC 8705, section 3). Such a token is a bearer token
/// otherwise. A token bound to both needs both.
pub(crate) fn binding(
    token: Rc<VerifiedToken>,
    scheme: Scheme,
    shown: Shown<'_>,
    unbound_is_taken: bool,
) -> Result<Held, Reason> {
    let certificate = token.certificate_bound_to();
    if certificate.is_some() && certificate != shown.certificate {
        return Err(Reason::CertificateBinding);
    }
    let unbound_is_taken = unbound_is_taken || certificate.is_some();
    match (scheme, token.bound_to(), shown.key) {
        (Scheme::Bearer, None, _) if unbound_is_taken => Ok(Held(token)),
        (Scheme::Bearer | Scheme::Dpop, None, _) => Err(Reason::TokenUnbound),
        (Scheme::Bearer, Some(_), _) => Err(Reason::TokenBound),
        (Scheme::Dpop, Some(_), None) => Err(Reason::DpopMissing),
        (Scheme::Dpop, Some(key), Some(shown)) if shown == key => Ok(Held(token)),
        (Scheme::Dpop, Some(_), Some(_)) => Err(Reason::DpopBinding),
    }
}
