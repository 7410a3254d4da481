//! The small grammars of the policy document: names, scopes, hosts' friends. Each answers with what to write instead.

use super::error::{Findings, Place};

/// Checks a name that stands in records and headers.
pub(super) fn check_name(kind: &str, name: &str, place: &Place, findings: &mut Findings) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        findings.error(
            place.clone(),
            format!("`{}` is no name for {kind}: write 1 to 64 letters, digits, `-`, `_` or `.`", name.escape_debug()),
        );
    }
}

/// Checks a scope: characters of RFC 6749, section 3.3, and no `*`, which reads like a pattern and matches nothing.
pub(super) fn check_scope(scope: &str, place: &Place, findings: &mut Findings) {
    if scope.contains('*') {
        findings.error(
            place.clone(),
            format!(
                "`{}` reads like a pattern, and scopes are compared exactly: write each scope",
                scope.escape_debug()
            ),
        );
    } else if scope.is_empty() || !scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        findings.error(
            place.clone(),
            format!("`{}` is no scope: write visible ASCII without quotes and backslashes", scope.escape_debug()),
        );
    }
}

/// Checks a list that must not repeat itself.
pub(super) fn check_distinct(kind: &str, items: &[String], place: &Place, findings: &mut Findings) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        if !seen.insert(item) {
            findings.error(place.index(index), format!("{kind} `{}` stands twice: remove one", item.escape_debug()));
        }
    }
}

/// Whether a method or header name is a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}
