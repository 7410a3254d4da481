//! Text of a request for records: escaped, limited in length, and never a secret.

use std::borrow::Cow;

use crate::text::ascii;

/// The maximum length of text from a request in a record, in bytes.
const MOST_TEXT: usize = 1024;

/// Words in the names of secrets, without separators.
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

/// Further words in the names of headers that records never show. A policy author can choose another name for a header that should
/// appear.
const SECRET_HEADERS: [&str; 5] = ["auth", "session", "key", "sid", "pwd"];

/// Names of parameters that sign single requests or carry sessions, but contain none of the words above.
const SECRET_PARAMETERS: [&str; 9] = ["auth", "code", "key", "pass", "pwd", "session", "sessionid", "sid", "sig"];

/// Returns bytes as text: all bytes except visible ASCII are escaped, and long text is cut with an ellipsis.
pub(crate) fn bounded(bytes: &[u8]) -> Cow<'_, str> {
    bounded_to(bytes, MOST_TEXT)
}

/// Returns whether text is short and plain, so nothing in it is escaped or cut.
pub(crate) fn is_shown_as_is(text: &str) -> bool {
    text.len() <= MOST_TEXT && ascii::needs_no_escape(text.as_bytes())
}

/// Returns text from a token or a policy with limited length. Characters that are not visible, or that change how the surrounding text is
/// displayed, become escapes such as `\u{202e}`, and a backslash is doubled.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if is_shown_as_is(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().min(MOST_TEXT));
    for character in text.chars() {
        if shown.len() >= MOST_TEXT {
            shown.push('…');
            break;
        }
        match character {
            '\\' => shown.push_str("\\\\"),
            _ if is_invisible(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Returns whether a character is a control, bidirectional, zero-width or line-separator character (Unicode categories Cc, Cf, Zl and Zp,
/// as far as they change how text is displayed, and tag characters).
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Works like [`bounded`] with a different limit.
pub(crate) fn bounded_to(bytes: &[u8], most: usize) -> Cow<'_, str> {
    let most = most.min(MOST_TEXT);
    // Nearly all text is plain and short, and is used unchanged.
    if bytes.len() <= most
        && ascii::needs_no_escape(bytes)
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

/// Returns whether a header with this name may carry a credential.
pub(crate) fn header_is_secret(name: &str) -> bool {
    let name = squeezed(name.as_bytes());
    speaks_of_a_secret(&name) || SECRET_HEADERS.iter().any(|word| name.contains(word))
}

/// Returns whether a parameter may carry a credential: because of its name, a name after a `;`, which separates parameters in some
/// servers, or a value that looks like a token.
pub(crate) fn parameter_is_secret(name: &str, value: &str) -> bool {
    let by_name = |name: &str| {
        let name = squeezed(&crate::request::percent::decode(name.as_bytes()));
        speaks_of_a_secret(&name) || SECRET_PARAMETERS.contains(&name.as_str())
    };
    let hidden = value.split(';').skip(1).any(|piece| by_name(piece.split('=').next().unwrap_or_default()));
    // Every JWS in compact form begins with these characters: `{"` in base64url.
    by_name(name) || hidden || value.contains("eyJ")
}

fn speaks_of_a_secret(squeezed: &str) -> bool {
    SECRET.iter().any(|word| squeezed.contains(word))
}

/// Returns the letters and digits of a name, in lower case.
fn squeezed(name: &[u8]) -> String {
    name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_truncates_text() {
        assert_eq!(bounded(b"/a\r\n\xff"), "/a\\r\\n\\xff");
        let long = bounded(&[b'a'; 5000]);
        assert!(long.starts_with("aaaa") && long.ends_with('…') && long.chars().count() == MOST_TEXT + 1);
        assert_eq!(bounded_to(b"abc", 3), "abc");
        assert_eq!(bounded_to(b"abcd", 3), "abc…");
    }

    #[test]
    fn escapes_characters_that_hide_or_reorder_text() {
        assert_eq!(visible("svc-Zoë-漢字"), "svc-Zoë-漢字");
        assert_eq!(
            visible("a\u{202e}b\u{200b}c\u{2028}\r\n\u{7f}\u{85}\u{feff}"),
            r"a\u{202e}b\u{200b}c\u{2028}\u{d}\u{a}\u{7f}\u{85}\u{feff}"
        );
        assert_eq!(visible(r"\u{202e}"), r"\\u{202e}", "an escape that a client wrote is not one of ours");
        assert_eq!(visible("it's \"quoted\""), "it's \"quoted\"");
        let long = visible(&"é".repeat(2000)).into_owned();
        assert!(long.ends_with('…') && long.len() <= MOST_TEXT + 8, "{}", long.len());
    }

    #[test]
    fn detects_headers_that_may_carry_a_credential() {
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
            "x-session-id",
            "x-auth-request-user",
            "x-goog-iap-key",
            "php.sid",
        ] {
            assert!(header_is_secret(secret), "{secret}");
        }
        for plain in ["x-agent-run-id", "x-conversation-id", "user-agent", "traceparent", "x-request-id", "x-tool"] {
            assert!(!header_is_secret(plain), "{plain}");
        }
    }

    #[test]
    fn detects_parameters_that_may_carry_a_credential() {
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
