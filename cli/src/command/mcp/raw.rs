//! Finds the text of values within JSON that was parsed before.
//!
//! A pin depends on the numbers as the server writes them, and a parsed value does not keep them.

use serde::de::IgnoredAny;

/// Returns the text of each item of an array. Other values have none.
pub(super) fn items(text: &str) -> Vec<&str> {
    if text.trim_ascii_start().starts_with('[') { parts(text) } else { Vec::new() }
}

/// Returns the text of a member of an object.
pub(super) fn member<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let parts = if text.trim_ascii_start().starts_with('{') { parts(text) } else { Vec::new() };
    let is_wanted = |key: &str| serde_json::from_str::<String>(key).is_ok_and(|key| key == name);
    let mut members = parts.as_chunks::<2>().0.iter();
    members.find_map(|[key, value]| is_wanted(key).then_some(*value))
}

/// Returns the values in an array, or the names and values in an object, which alternate.
fn parts(text: &str) -> Vec<&str> {
    let text = text.trim_ascii();
    let mut rest = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let mut parts = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let is_value = matches!(values.next(), Some(Ok(_)));
        let Some((part, after)) = rest.split_at_checked(values.byte_offset()).filter(|_| is_value) else {
            return parts;
        };
        parts.push(part);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_text() {
        let text = " [ 1.0e2 ,\"a,]\\\"\\\\\", {\"a\":[1,{}], \"b\" : null}\n,[],true,-0,\"\u{1f600}\" ] \n";
        assert_eq!(
            items(text),
            ["1.0e2", "\"a,]\\\"\\\\\"", "{\"a\":[1,{}], \"b\" : null}", "[]", "true", "-0", "\"\u{1f600}\""]
        );
        for none in ["[]", "[ ]", "{}", "{\"a\":[1]}", "1", "\"[1]\"", ""] {
            assert_eq!(items(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn members_are_found_by_their_decoded_names() {
        let text = r#"{"a":{"b":1},"\u0062":2.50,"c":"b","d":[{"b":3}]}"#;
        assert_eq!(member(text, "b"), Some("2.50"));
        assert_eq!(member(text, "a"), Some(r#"{"b":1}"#));
        assert_eq!(member(text, "d"), Some(r#"[{"b":3}]"#));
        for (text, name) in [(text, "e"), ("{}", "a"), ("[\"a\",1]", "a"), ("\"a\"", "a"), ("", "")] {
            assert_eq!(member(text, name), None, "{text}");
        }
    }
}
