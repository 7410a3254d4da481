//! Credentials as a request carries them, before anything is verified.

use crate::policy::is_token;
use crate::reason::Reason;

/// The token of `Bearer` credentials (RFC 6750, section 2.1); the scheme is compared without regard to case.
///
/// What a lenient reader could take for a bearer token is held to the same rules: elsewhere than after the one space it is
/// malformed, and not some other scheme that a public endpoint would pass on.
pub(crate) fn bearer(value: &[u8]) -> Result<&[u8], Reason> {
    const SCHEME: &[u8] = b"bearer";
    let names_bearer = |part: &[u8]| {
        let (scheme, rest) = part.split_at_checked(SCHEME.len()).unwrap_or_default();
        scheme.eq_ignore_ascii_case(SCHEME) && rest.first().is_none_or(|next| !is_token(&[*next]))
    };
    // The whole begins as its first part does; a token without a comma is not searched for one.
    let names_bearer = names_bearer(value.trim_ascii_start())
        || value.split(|byte| *byte == b',').any(|part| names_bearer(part.trim_ascii_start()));
    if !names_bearer {
        return Err(Reason::CredentialsScheme);
    }
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, [b' ', token @ ..])) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(token.trim_ascii()),
        _ => Err(Reason::TokenMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_credentials_are_told_from_other_schemes_as_a_lenient_reader_would() {
        for (value, expected) in [
            ("Bearer t", Ok(&b"t"[..])),
            ("bearer  t ", Ok(b"t")),
            ("BEARER ", Ok(b"")),
            ("Bearer", Err(Reason::TokenMalformed)),
            ("Bearer\tt", Err(Reason::TokenMalformed)),
            ("Bearer=t", Err(Reason::TokenMalformed)),
            ("Basic dTpw, Bearer t", Err(Reason::TokenMalformed)),
            ("Basic dTpw,bearer\tt", Err(Reason::TokenMalformed)),
            // As long as `Bearer`, and another scheme: what follows it is not its token.
            ("Digest x, Bearer t", Err(Reason::TokenMalformed)),
            ("Bearers t", Err(Reason::CredentialsScheme)),
            ("Basic dTpw", Err(Reason::CredentialsScheme)),
            ("Digest username=\"bearer\", realm=x", Err(Reason::CredentialsScheme)),
            ("DPoP t", Err(Reason::CredentialsScheme)),
            ("", Err(Reason::CredentialsScheme)),
        ] {
            assert_eq!(bearer(value.as_bytes()), expected, "{value:?}");
        }
    }
}
