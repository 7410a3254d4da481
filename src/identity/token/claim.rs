//! Names of claims in a policy, and comparison of claim values with values in a policy.

use std::fmt;

use serde_json::Value;

/// The name of a claim: its exact name, or a JSON pointer (RFC 6901) if the text starts with `/`.
///
/// Some providers use URLs as names. A URL does not start with `/`, so it is read as a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimName(String);

/// The reason why a text is not the name of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimNameError {
    /// It is empty, or contains a control character.
    Text,
    /// It starts with `/` and contains a `~` that is neither `~0` nor `~1` (RFC 6901, section 3).
    Escape,
}

impl fmt::Display for ClaimNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => {
                "invalid claim name; expected a name, such as `client_id`, or a JSON pointer, such as `/org/id`"
            }
            Self::Escape => "invalid JSON pointer; write `~0` for `~` and `~1` for `/` within a name",
        })
    }
}

impl std::error::Error for ClaimNameError {}

impl ClaimName {
    /// Parses the name of a claim.
    ///
    /// # Errors
    ///
    /// [`ClaimNameError`] if the text is not a name.
    pub fn parse(text: &str) -> Result<Self, ClaimNameError> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(ClaimNameError::Text);
        }
        if text.starts_with('/') && text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(ClaimNameError::Escape);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the claim's value, or `None` if it is absent or `null`.
    #[must_use]
    pub fn find<'c>(&self, claims: &'c Value) -> Option<&'c Value> {
        let found = if self.0.starts_with('/') { claims.pointer(&self.0) } else { claims.get(&self.0) };
        found.filter(|value| !value.is_null())
    }
}

/// Returns whether a value has content: `null`, `""` and `[]` do not.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    }
}

/// Returns whether a value, or an item of it, equals the policy's value: a string exactly, an integer by its decimal form, a boolean by
/// its name.
pub(crate) fn is(value: &Value, written: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| is_scalar(item, written)),
        scalar => is_scalar(scalar, written),
    }
}

fn is_scalar(value: &Value, written: &str) -> bool {
    match value {
        Value::String(text) => text == written,
        // A fraction has more than one decimal form, so it equals no text.
        Value::Number(number) => !number.is_f64() && number.to_string() == written,
        Value::Bool(truth) => written == if *truth { "true" } else { "false" },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_claims_by_name_or_json_pointer() {
        let claims = json!({
            "azp": "a", "none": null, "https://api.example/roles": ["r"], "a/b": 1, "m~n": 2,
            "kubernetes.io": { "serviceaccount": { "name": "default" } }, "list": ["x", "y"],
        });
        let find = |name: &str| ClaimName::parse(name).unwrap().find(&claims).cloned();
        assert_eq!(find("azp"), Some(json!("a")));
        assert_eq!(find("/azp"), Some(json!("a")));
        assert_eq!(find("https://api.example/roles"), Some(json!(["r"])));
        assert_eq!(find("a/b"), Some(json!(1)));
        assert_eq!(find("/a~1b"), Some(json!(1)));
        assert_eq!(find("/m~0n"), Some(json!(2)));
        assert_eq!(find("/kubernetes.io/serviceaccount/name"), Some(json!("default")));
        assert_eq!(find("/list/1"), Some(json!("y")));
        for absent in ["none", "/none", "kubernetes.io.serviceaccount", "/list/2", "/list/01", "/azp/0", "AZP", "/"] {
            assert_eq!(find(absent), None, "{absent}");
        }
        for wrong in ["", "a\n", "/a~", "/a~2b", "/~"] {
            ClaimName::parse(wrong).unwrap_err();
        }
        ClaimName::parse("plain~name").unwrap();
    }

    #[test]
    fn compares_values_without_coercion() {
        assert!(is(&json!("a"), "a"));
        assert!(is(&json!(["b", "a"]), "a"));
        assert!(is(&json!(17), "17"));
        assert!(is(&json!(-1), "-1"));
        assert!(is(&json!(true), "true"));
        for (value, written) in [
            (json!("a"), "A"),
            (json!(" a"), "a"),
            (json!([["a"]]), "a"),
            (json!({ "a": "a" }), "a"),
            (json!(17.0), "17"),
            (json!(17), "017"),
            (json!(null), "null"),
            (json!(null), ""),
        ] {
            assert!(!is(&value, written), "{value} {written}");
        }
    }
}
