//! Checks that the sender of a token may use it, given its authorization scheme and the key that the sender has proved to hold.

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

/// Checks that the sender of a token may use it. For a token bound to a key, the sender must prove possession of the key, by a DPoP proof
/// or by the request's signature. Such a token must use its own scheme, so a server that only understands bearer tokens never accepts it.
pub(crate) fn binding(
    token: Rc<VerifiedToken>,
    scheme: Scheme,
    shown: Option<Thumbprint>,
    unbound_is_taken: bool,
) -> Result<Held, Reason> {
    match (scheme, token.bound_to(), shown) {
        (Scheme::Bearer, None, _) if unbound_is_taken => Ok(Held(token)),
        (Scheme::Bearer | Scheme::Dpop, None, _) => Err(Reason::TokenUnbound),
        (Scheme::Bearer, Some(_), _) => Err(Reason::TokenBound),
        (Scheme::Dpop, Some(_), None) => Err(Reason::DpopMissing),
        (Scheme::Dpop, Some(key), Some(shown)) if shown == key => Ok(Held(token)),
        (Scheme::Dpop, Some(_), Some(_)) => Err(Reason::DpopBinding),
    }
}
