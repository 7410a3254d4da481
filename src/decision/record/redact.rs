//! Redacts text that a client chose: a credential in a path, query, host or method is replaced by its length and hash.
//!
//! Clients put tokens in wrong places, and more people can read logs than can use the API. The hash is enough to find the same
//! text again, in this log or in another one.

use std::borrow::Cow;

use crate::identity::crypto::sha256;
use crate::request::percent::decode;
use crate::text::ascii::is_without;

/// The maximum length of text that is shown, in bytes. Longer text is always replaced.
const MAX_SHOWN: usize = 256;
/// The minimum length of a credential, in bytes. Shorter text is always shown.
const MIN_SECRET: usize = 32;
/// The maximum length of a part of an identifier made of words (`quarterly-report-2026`), in bytes.
const MAX_WORD: usize = 24;
/// The maximum length of a part that mixes letters and digits (`v2`, `k8s`, `build42`), in bytes.
const MAX_MIXED_WORD: usize = 8;
/// The number of such mixes in one text.
const MAX_MIXED_WORDS: usize = 2;

/// Returns whether text is too short to contain a credential.
pub(super) fn is_short(text: &str) -> bool {
    text.len() < MIN_SECRET
}

/// Returns the text, or its length and hash if it is too long or looks like a credential.
pub(super) fn shown(text: &[u8]) -> Cow<'_, [u8]> {
    if is_shown(text) { Cow::Borrowed(text) } else { Cow::Owned(replacement(text).into_bytes()) }
}

/// Redacts each segment of a path as [`shown`] does. The path may have no canonical form; for some servers, `\` separates
/// segments in it.
pub(super) fn path(path: &[u8]) -> Cow<'_, [u8]> {
    if path.len() < MIN_SECRET || segments(path).all(|(segment, _)| is_shown(segment)) {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    for (segment, separator) in segments(path) {
        out.extend_from_slice(&shown(segment));
        out.extend(separator);
    }
    Cow::Owned(out)
}

/// Returns the text, or its length and hash if it contains a JSON Web Token. This is for identifiers of runs and requests. They
/// are often 32 hexadecimal digits, so only definite credentials are replaced.
pub(super) fn without_jws(text: &[u8]) -> Cow<'_, [u8]> {
    if holds_jws(text) { Cow::Owned(replacement(text).into_bytes()) } else { Cow::Borrowed(text) }
}

/// Returns whether text contains what looks like a JSON Web Signature or Encryption in compact form (RFC 7515, section 7.1).
/// `eyJ` is `{"` in base64url.
fn holds_jws(text: &[u8]) -> bool {
    // Most text has no dot, which one scan with sixteen bytes per step shows.
    if text.len() < MIN_SECRET || is_without::<b'.'>(text) {
        return false;
    }
    // The length of the shortest header, which names only an algorithm: `{"alg":"x"}`.
    const MIN_HEADER: usize = 15;
    let parts = text.split_inclusive(|byte| !is_base64url(*byte));
    let headers = parts.filter_map(|part| part.strip_suffix(b"."));
    headers.into_iter().any(|run| run.windows(MIN_HEADER).any(|window| window.starts_with(b"eyJ")))
}

fn is_shown(text: &[u8]) -> bool {
    text.len() < MIN_SECRET || looks_harmless(text)
}

fn looks_harmless(text: &[u8]) -> bool {
    // Escapes must not hide a credential: the text is checked as received, decoded once, and decoded twice.
    let looks_secret = |text: &[u8]| holds_jws(text) || holds_secret_run(text);
    let once = || decode(text);
    text.len() <= MAX_SHOWN
        && !looks_secret(text)
        && (!text.contains(&b'%') || !looks_secret(&once()) && !looks_secret(&decode(&once())))
}

/// Returns whether text contains a run of at least [`MIN_SECRET`] characters of base64, base64url or hexadecimal digits that is
/// neither a UUID nor made of words. Most random identifiers that are not credentials are UUIDs, and most names that people
/// choose are words.
fn holds_secret_run(text: &[u8]) -> bool {
    let is_run = |byte: &u8| is_base64url(*byte) || matches!(byte, b'+' | b'/' | b'=');
    text.split(|byte| !is_run(byte)).any(|run| run.len() >= MIN_SECRET && !is_uuid(run) && !is_words(run))
}

/// Returns whether text has the form of a UUID (RFC 9562, section 4).
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns whether every part between separators is a word: letters in one case or capitalized, digits, or a short mix of
/// letters and digits. At most [`MAX_MIXED_WORDS`] parts are mixes: nearly every part of a random text is one.
fn is_words(text: &[u8]) -> bool {
    let mut mixed = 0;
    let all_words = text.split(|byte| !byte.is_ascii_alphanumeric()).all(|part| {
        let after_first = part.get(1..).unwrap_or_default();
        let is_plain = part.iter().all(u8::is_ascii_digit)
            || part.iter().all(u8::is_ascii_uppercase)
            || part.iter().all(u8::is_ascii_alphabetic) && after_first.iter().all(u8::is_ascii_lowercase);
        mixed += usize::from(!is_plain);
        part.len() <= if is_plain { MAX_WORD } else { MAX_MIXED_WORD }
    });
    all_words && mixed <= MAX_MIXED_WORDS
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Returns the length of the text and sixteen hexadecimal digits of its SHA-256, as many as in a token's hash.
fn replacement(text: &[u8]) -> String {
    let hash = sha256(text);
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("[{} bytes, sha256 {digits}]", text.len())
}

/// Returns the segments of a path, each with the separator that follows it.
fn segments(path: &[u8]) -> impl Iterator<Item = (&[u8], Option<u8>)> {
    path.split_inclusive(|byte| matches!(byte, b'/' | b'\\')).map(|part| match part.split_last() {
        Some((separator @ (b'/' | b'\\'), segment)) => (segment, Some(*separator)),
        _ => (part, None),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JWS: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ";

    fn is_replaced(text: &str) -> bool {
        let shown = shown(text.as_bytes()).into_owned();
        let replaced = shown.starts_with(format!("[{} bytes, sha256 ", text.len()).as_bytes());
        assert!(replaced || shown == text.as_bytes());
        replaced
    }

    #[test]
    fn redacts_text_that_looks_like_a_credential() {
        for secret in [
            JWS,
            "bearer%20eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.",
            "%65yJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.abcdef",
            "%2565yJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.abcdef",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "550e8400e29b41d4a716446655440000",
            "id=9F86D081884C7D659A2FEAA0C55AD015",
            "sk_live_51H8xJ2eZvKYlo2CqWv5ntTbV9Kx",
            "c29tZSBzZWNyZXQgdmFsdWUgdGhhdCBpcw==",
            "c29tZS%2BzZWNyZXQgdmFsdWUgdGhhdCBpcw",
            "abcdefghijklmnopqrstuvwxyzabcdefghijkl",
            "4fR9x-Qb2mZ0-p7Kd1-T3vWc_e8Hs5-9uYr2A-6jN",
        ] {
            assert!(is_replaced(secret), "{secret}");
        }
        assert!(is_replaced(&"a b ".repeat(100)), "too long");
    }

    #[test]
    fn does_not_redact_names_and_identifiers() {
        for plain in [
            "",
            "pulls",
            "0123456789abcdef0123456789abcde",
            "550e8400-e29b-41d4-a716-446655440000",
            "quarterly-report-for-the-board-2026-11-29-final",
            "projects_of_the_engineering_department_v2",
            "Some-Title-Case-Name-Of-A-Longer-Document",
            "a%20document%20with%20a%20rather%20long%20name.pdf",
            "2026-11-29T12:00:00.000000000+01:00 to later",
        ] {
            assert!(!is_replaced(plain), "{plain}");
        }
        assert!(!is_replaced(&"a b ".repeat(64)), "as long as it may be");
    }

    #[test]
    fn redacts_only_the_credential_segment_of_a_path() {
        let of = |text: String| String::from_utf8(path(text.as_bytes()).into_owned()).unwrap();
        let replaced = format!("[{} bytes, sha256 ", JWS.len());
        assert!(of(format!("/files/{JWS}/raw")).starts_with(&format!("/files/{replaced}")));
        assert!(of(format!("/files/{JWS}/raw")).ends_with("]/raw"));
        assert!(of(format!("/files\\{JWS}\\raw")).starts_with(&format!("/files\\{replaced}")));
        assert!(of(format!("/{JWS}")).starts_with(&format!("/{replaced}")));
        let plain = "/repos/acme/gateway/pulls/550e8400-e29b-41d4-a716-446655440000/";
        assert_eq!(of(plain.to_owned()), plain);
    }

    #[test]
    fn recognizes_a_jws_only_in_compact_serialization() {
        assert!(holds_jws(JWS.as_bytes()) && holds_jws(format!("run {JWS}").as_bytes()));
        assert!(!holds_jws(b"eyJhbGciOiJFUzI1NiJ9-eyJzdWIiOiJhIn0"));
        assert!(!holds_jws(b"a trace of keyJobs.and more of the same"));
    }

    #[test]
    fn redacts_an_identifier_only_if_it_contains_a_jws() {
        assert!(without_jws(format!("run {JWS}").as_bytes()).starts_with(b"[67 bytes"));
        let id = b"9f86d081884c7d659a2feaa0c55ad015";
        assert_eq!(&*without_jws(id), id);
    }

    proptest! {
        #[test]
        fn redacts_random_credentials(bytes in proptest::collection::vec(any::<u8>(), 32..64), before in "[a-z]{0,8}") {
            use base64::Engine;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let texts = [hex, base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes), base64::engine::general_purpose::STANDARD.encode(&bytes)];
            for text in texts {
                let text = format!("{before}:{text}");
                prop_assert!(is_replaced(&text), "{}", text);
            }
        }

        #[test]
        fn redaction_keeps_the_separators_of_a_path(text in "[a-z0-9/\\\\%]{0,300}") {
            let shown = path(text.as_bytes()).into_owned();
            let count = |text: &[u8]| text.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
            prop_assert_eq!(count(&shown), count(text.as_bytes()));
        }
    }
}
