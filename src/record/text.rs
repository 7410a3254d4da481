//! Text of a request as records take it over: escaped, bounded, and never a secret.

use std::borrow::Cow;

use crate::words;

/// The longest text from a request that a record takes over, in bytes.
const MOST_TEXT: usize = 1024;

/// What the names of secrets contain, whatever separates their words.
const SECRET: [&str; 13] = [
    "accesskey",
    "apikey",
    "assertion",
    "authenticat",
    "authoriz",
    "cookie",
    "credential",
    "dpop",
    "jwt",
    "passw",
    "secret",
    "signature",
    "token",
];

/// Names of parameters by which single requests are signed and sessions carried, which say so by nothing else.
const SECRET_PARAMETERS: [&str; 9] = ["auth", "code", "key", "pass", "pwd", "session", "sessionid", "sid", "sig"];

/// Bytes as text: those that are not visible ASCII escaped, the rest cut with an ellipsis where it grows too long.
pub(super) fn bounded(bytes: &[u8]) -> Cow<'_, str> {
    bounded_to(bytes, MOST_TEXT)
}

/// The same of what is text already.
pub(super) fn bounded_text(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_TEXT && words::are_plain(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    bounded(text.as_bytes())
}

/// The same with a bound of its own.
pub(super) fn bounded_to(bytes: &[u8], most: usize) -> Cow<'_, str> {
    let most = most.min(MOST_TEXT);
    // Nearly all text is plain and short: it is taken over as it is.
    if bytes.len() <= most
        && words::are_plain(bytes)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    let mut text = bytes.get(..bytes.len().min(most)).unwrap_or_default().escape_ascii().to_string();
    if bytes.len() > most {
        text.push('…');
    }
    Cow::Owned(text)
}

/// Whether a header of this name may carry a credential.
pub(crate) fn header_is_secret(name: &str) -> bool {
    speaks_of_a_secret(&squeezed(name.as_bytes()))
}

/// Whether a parameter may carry a credential: by its name, by a name behind a `;`, which separates parameters to some
/// servers, or because its value looks like a token.
pub(super) fn parameter_is_secret(name: &str, value: &str) -> bool {
    let by_name = |name: &str| {
        let name = squeezed(&crate::request::percent::decode(name.as_bytes()));
        speaks_of_a_secret(&name) || SECRET_PARAMETERS.contains(&name.as_str())
    };
    let hidden = value.split(';').skip(1).any(|piece| by_name(piece.split('=').next().unwrap_or_default()));
    // Every JWS in compact form begins so: it is `{"` in base64url.
    by_name(name) || hidden || value.contains("eyJ")
}

fn speaks_of_a_secret(squeezed: &str) -> bool {
    SECRET.iter().any(|word| squeezed.contains(word))
}

/// The letters and digits of a name, in lower case.
fn squeezed(name: &[u8]) -> String {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_bounded() {
        assert_eq!(bounded(b"/a\r\n\xff"), "/a\\r\\n\\xff");
        let long = bounded(&[b'a'; 5000]);
        assert!(long.starts_with("aaaa") && long.ends_with('…') && long.chars().count() == MOST_TEXT + 1);
        assert_eq!(bounded_to(b"abc", 3), "abc");
        assert_eq!(bounded_to(b"abcd", 3), "abc…");
    }

    #[test]
    fn headers_that_may_carry_a_credential_are_known_by_their_names() {
        for secret in [
            "authorization",
            "proxy-authorization",
            "Authorization",
            "x_authorization",
            "cookie",
            "set-cookie",
            "signature",
            "signature-input",
            "dpop",
            "x-api-key",
            "x-apikey",
            "x-amz-security-token",
            "authentication-info",
            "www-authenticate",
            "x-client-secret",
            "x-jwt-assertion",
            "x-access-key",
            "x-user-password",
        ] {
            assert!(header_is_secret(secret), "{secret}");
        }
        for plain in ["x-agent-run-id", "x-conversation-id", "user-agent", "traceparent", "x-request-id", "x-tool"] {
            assert!(!header_is_secret(plain), "{plain}");
        }
    }

    #[test]
    fn parameters_that_may_carry_a_credential_are_known() {
        for (name, value) in [
            ("token", "x"),
            ("X-Amz-Signature", "x"),
            ("api_key", "x"),
            ("api%5Fkey", "x"),
            ("sig", "x"),
            ("code", "x"),
            ("key", "x"),
            ("session_id", "x"),
            ("q", "1;access_token=x"),
            ("q", "eyJhbGciOiJub25lIn0.e30."),
        ] {
            assert!(parameter_is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [("page", "2"), ("q", "keys"), ("sort", "code"), ("design", "x"), ("monkey", "1;2")] {
            assert!(!parameter_is_secret(name, value), "{name}={value}");
        }
    }
}
