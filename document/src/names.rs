//! The grammars of names and scopes in the policy document. Each check reports what to write instead.

use super::finding::{Findings, Place};

/// Checks a name that appears in records and headers.
pub fn check_name(kind: &str, name: &str, place: &Place, findings: &mut Findings) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        findings.error(
            place.clone(),
            format!(
                "`{}` is not a valid name for {kind}; expected 1 to 64 letters, digits, `-`, `_` or `.`",
                name.escape_debug()
            ),
        );
    }
}

/// Checks a scope: characters of RFC 6749, section 3.3, and no `*`, which looks like a pattern but has no special meaning.
pub fn check_scope(scope: &str, place: &Place, findings: &mut Findings) {
    if scope.contains('*') {
        findings.error(
            place.clone(),
            format!(
                "`{}` looks like a pattern, but scopes are compared exactly; write each scope",
                scope.escape_debug()
            ),
        );
    } else if scope.is_empty() || !scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        findings.error(
            place.clone(),
            format!("invalid scope `{}`; expected visible ASCII without quotes and backslashes", scope.escape_debug()),
        );
    }
}

/// Checks that a list has no duplicates.
pub fn check_distinct(kind: &str, items: &[String], place: &Place, findings: &mut Findings) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        if !seen.insert(item) {
            findings.error(place.index(index), format!("{kind} `{}` is listed twice; remove one", item.escape_debug()));
        }
    }
}

/// The fields that earlier versions of the format had, with what to write instead.
const RENAMED: [(&str, &str); 5] = [
    ("failed_credentials", "auth_failure_limit"),
    ("forms", "form_bodies"),
    ("late_body_check", "body_check: after_headers"),
    ("refuse_query", "reject_query"),
    ("told_apart_by", "distinguished_by"),
];

/// Returns what to write instead of a field of an earlier version of the format.
#[must_use]
pub fn renamed(field: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == field).map(|(_, new)| *new)
}

/// Returns the name with the fewest differences, if there are few for its length.
#[must_use]
pub fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Longer texts are not names. The cost of the comparison is the product of both lengths.
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let written = written.to_lowercase();
    let names = names.into_iter().filter(|name| name.len() <= LONGEST);
    let distances = names.map(|name| (strsim::damerau_levenshtein(&written, &name.to_lowercase()), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.len() / 4).then_some(name)
}

/// Returns the end of a message about an undefined name: the nearest name, or else `otherwise`.
#[must_use]
pub fn did_you_mean<'n>(written: &str, names: impl IntoIterator<Item = &'n str>, otherwise: &str) -> String {
    match nearest(written, names) {
        Some(name) => format!("did you mean `{}`?", name.escape_debug()),
        None => otherwise.to_owned(),
    }
}

/// Reports whether a header's name has the form in which names are compared: lower-case letters, digits and hyphens, without a
/// leading hyphen. Comparisons treat every other character as a hyphen.
#[must_use]
pub fn is_plain_header(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_similar_names() {
        let names = ["keycloak", "entra", "a"];
        for (written, name) in [
            ("keycloack", Some("keycloak")),
            ("KEYCLOAK", Some("keycloak")),
            ("kyecloak", Some("keycloak")),
            ("b", Some("a")),
        ] {
            assert_eq!(nearest(written, names), name, "{written}");
        }
        for written in ["okta-prod", "", &"k".repeat(65)] {
            assert_eq!(nearest(written, ["keycloak", "entra"]), None, "{written}");
        }
        assert_eq!(did_you_mean("x", ["keycloak"], "write `keycloak`"), "write `keycloak`");
    }
}
