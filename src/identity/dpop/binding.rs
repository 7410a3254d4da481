//! How a token is sent, and whether its sender has shown what the token asks for.

use std::rc::Rc;

use crate::identity::crypto::Thumbprint;
use crate::identity::token::VerifiedToken;
use crate::reason::Reason;
use crate::request::credential::Scheme;

/// A verified token whose sender may use it. Only [`binding`] makes one.
#[derive(Debug)]
pub(crate) struct Held(Rc<VerifiedToken>);

impl Held {
    /// The token.
    pub(crate) fn token(&self) -> &Rc<VerifiedToken> {
        &self.0
    }
}

/// Whether the sender of a token may use it: one that is bound to a key needs that key shown, by a proof or by the request's
/// signature, and its own scheme, so that it never passes where only bearer tokens are understood.
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
