//! Credentials in a request, before verification.

use crate::reason::Reason;
use crate::text::ascii::is_token;

/// A token and its authorization scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) token: &'a [u8],
}

impl<'a> Credential<'a> {
    /// Parses the value of `Authorization`: `Bearer` credentials (RFC 6750, section 2.1) and, if the policy accepts them, `DPoP`
    /// credentials (RFC 9449, section 7.1). Schemes are case-insensitive.
    ///
    /// The same rules apply to everything that a lenient parser could read as such a token. If the scheme occurs in a later part of the
    /// value, or without a space after it, the value is malformed. It does not count as another scheme, which a public endpoint would
    /// forward.
    pub(crate) fn read(value: &'a [u8], takes_dpop: bool) -> Result<Self, Reason> {
        let taken = if takes_dpop { &[Scheme::Bearer, Scheme::Dpop][..] } else { &[Scheme::Bearer] };
        let named = |part: &[u8]| taken.iter().any(|scheme| names(part, scheme.name().as_bytes()));
        // If the first part names a scheme, so does the whole value, so a token without a comma is not split.
        if !named(value.trim_ascii_start())
            && !value.split(|byte| *byte == b',').any(|part| named(part.trim_ascii_start()))
        {
            return Err(Reason::CredentialsScheme);
        }
        let after = |scheme: &Scheme| match value.split_at_checked(scheme.name().len()) {
            Some((own, [b' ', token @ ..])) if own.eq_ignore_ascii_case(scheme.name().as_bytes()) => {
                Some(Self { scheme: *scheme, token: token.trim_ascii() })
            }
            _ => None,
        };
        taken.iter().find_map(after).ok_or(Reason::TokenMalformed)
    }
}

/// The authorization scheme of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 6750: anyone who has the token may use it.
    Bearer,
    /// RFC 9449, section 7.1: the sender needs the token and the key.
    Dpop,
}

impl Scheme {
    /// Returns the scheme's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

impl Scheme {
    /// Returns the scheme at the start of credentials, even if the credentials are malformed.
    pub(crate) fn of_credentials(value: &[u8]) -> Option<Self> {
        [Self::Bearer, Self::Dpop].into_iter().find(|scheme| names(value.trim_ascii_start(), scheme.name().as_bytes()))
    }
}

/// Returns whether credentials begin with this scheme, and not with a longer word.
#[inline]
fn names(part: &[u8], scheme: &[u8]) -> bool {
    let (own, rest) = part.split_at_checked(scheme.len()).unwrap_or_default();
    own.eq_ignore_ascii_case(scheme) && rest.first().is_none_or(|next| !is_token(&[*next]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_bearer_credentials_as_lenient_servers_do() {
        for (value, expected) in [
            ("Bearer t", Ok(&b"t"[..])),
            ("bearer  t ", Ok(b"t")),
            ("BEARER ", Ok(b"")),
            ("Bearer", Err(Reason::TokenMalformed)),
            ("Bearer\tt", Err(Reason::TokenMalformed)),
            ("Bearer=t", Err(Reason::TokenMalformed)),
            ("Basic dTpw, Bearer t", Err(Reason::TokenMalformed)),
            ("Basic dTpw,bearer\tt", Err(Reason::TokenMalformed)),
            // `Digest` is as long as `Bearer`, but its parameter is not a token.
            ("Digest x, Bearer t", Err(Reason::TokenMalformed)),
            ("Bearers t", Err(Reason::CredentialsScheme)),
            ("Basic dTpw", Err(Reason::CredentialsScheme)),
            ("Digest username=\"bearer\", realm=x", Err(Reason::CredentialsScheme)),
            ("DPoP t", Err(Reason::CredentialsScheme)),
            ("", Err(Reason::CredentialsScheme)),
        ] {
            let read = Credential::read(value.as_bytes(), false);
            assert_eq!(read.map(|credential| credential.token), expected, "{value:?}");
            assert!(read.is_ok_and(|credential| credential.scheme == Scheme::Bearer) || read.is_err());
        }
    }

    #[test]
    fn neither_bearer_nor_dpop_hides_the_other_scheme() {
        for (value, expected) in [
            ("DPoP t", Ok((Scheme::Dpop, &b"t"[..]))),
            ("dpop  t ", Ok((Scheme::Dpop, b"t"))),
            ("Bearer t", Ok((Scheme::Bearer, b"t"))),
            // Each value is one token that contains a comma.
            ("DPoP t, Bearer u", Ok((Scheme::Dpop, b"t, Bearer u"))),
            ("Bearer t,DPoP u", Ok((Scheme::Bearer, b"t,DPoP u"))),
            ("DPoP", Err(Reason::TokenMalformed)),
            ("DPoP\tt", Err(Reason::TokenMalformed)),
            ("DPoP=t", Err(Reason::TokenMalformed)),
            ("Basic dTpw, DPoP t", Err(Reason::TokenMalformed)),
            ("DPoPx t", Err(Reason::CredentialsScheme)),
            ("Basic dTpw", Err(Reason::CredentialsScheme)),
        ] {
            let read = Credential::read(value.as_bytes(), true);
            assert_eq!(read.map(|credential| (credential.scheme, credential.token)), expected, "{value:?}");
        }
    }
}
