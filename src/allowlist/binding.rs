//! Bindings: a part of the request that must equal a known value of the agent.

use std::borrow::Cow;

use serde_json::Value;

use super::table::{Capture, Found};
use crate::identity::token::ClaimName;
use crate::reason::Reason;
use crate::request::Query;
use crate::request::headers::{Headers, name_is, name_reads_as};
use crate::text::ascii::bytes_eq;

/// A part of the request and the value it must equal.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// The part of the request.
    pub(crate) part: Bound,
    /// The source of the required value.
    pub(crate) side: Side,
    /// Both sides as the policy writes them, for explanations.
    pub(crate) written: (Box<str>, Box<str>),
}

/// The bound part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A variable of the path template, by its position.
    Path(usize),
    /// A query parameter, by its decoded name.
    Query(Box<str>),
    /// A header, by its name in lower case.
    Header(Box<str>),
}

/// The source of the value that a bound part must equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// A claim of the token, by name or JSON pointer.
    Token(ClaimName),
    /// An attribute of the agent.
    Agent(Box<str>),
}

impl Binding {
    /// Returns the value of the bound part of a request, or `None` if it is missing.
    ///
    /// # Errors
    /// [`Reason::BindingAmbiguous`] if two readers could read different values.
    pub(crate) fn value<'v>(
        &self,
        found: &Found<'_, 'v>,
        query: &Query<'v>,
        headers: &'v Headers,
    ) -> Result<Option<Cow<'v, str>>, Reason> {
        match &self.part {
            Bound::Path(position) => Ok(found.value(*position).map(Capture::decoded)),
            Bound::Query(name) => query.bound(name),
            Bound::Header(name) => Ok(bound_header(headers, name)?.map(Cow::Borrowed)),
        }
    }

    /// Returns the bound header, if a header is bound.
    pub(crate) fn header(&self) -> Option<&str> {
        match &self.part {
            Bound::Header(name) => Some(name),
            Bound::Path(_) | Bound::Query(_) => None,
        }
    }
}

/// Returns the value of a bound header, or `None` if it is missing.
///
/// # Errors
/// [`Reason::BindingAmbiguous`] if it occurs twice, is not UTF-8, or has a name that only some servers read as the bound one. Such a
/// header has a value for these servers only.
pub(crate) fn bound_header<'h>(headers: &'h Headers, name: &str) -> Result<Option<&'h str>, Reason> {
    let mut lines = headers.iter().filter(|(line, _)| name_reads_as(line, name));
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some((line, value)), None) if name_is(line, name) => {
            std::str::from_utf8(value).map(Some).map_err(|_| Reason::BindingAmbiguous)
        }
        _ => Err(Reason::BindingAmbiguous),
    }
}

/// Returns whether a value of the request equals the fact, or one item if the fact is a list. Text is compared exactly, whole numbers by
/// their decimal form. A fact that is missing, empty, null or of another type equals nothing.
pub(crate) fn equals(fact: &Value, value: &str) -> bool {
    match fact {
        Value::Array(items) => items.iter().any(|item| equals_one(item, value)),
        one => equals_one(one, value),
    }
}

fn equals_one(fact: &Value, value: &str) -> bool {
    match fact {
        Value::String(text) => !text.is_empty() && bytes_eq(text.as_bytes(), value.as_bytes()),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => is_decimal(value, number, false),
            (None, Some(number)) => is_decimal(value, number.unsigned_abs(), true),
            (None, None) => false,
        },
        _ => false,
    }
}

/// Returns whether the text is the number's only decimal form: no plus sign, no leading zeros.
fn is_decimal(text: &str, magnitude: u64, negative: bool) -> bool {
    let digits = match (negative, text.strip_prefix('-')) {
        (true, Some(digits)) => digits,
        (false, None) => text,
        _ => return false,
    };
    digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
        && digits.parse() == Ok(magnitude)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matches_equal_text_and_integers() {
        for (fact, value) in [
            (json!("acme"), "acme"),
            (json!(["x", "acme"]), "acme"),
            (json!(42), "42"),
            (json!(0), "0"),
            (json!(-7), "-7"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!([1, 2]), "2"),
        ] {
            assert!(equals(&fact, value), "{fact} {value}");
        }
    }

    #[test]
    fn rejects_values_that_only_look_equal() {
        for (fact, value) in [
            (json!("acme"), "Acme"),
            (json!("acme"), "acme "),
            (json!(""), ""),
            (json!([""]), ""),
            (json!([]), ""),
            (json!(null), ""),
            (json!(null), "null"),
            (json!(true), "true"),
            (json!({ "acme": 1 }), "acme"),
            (json!([["acme"]]), "acme"),
            (json!(42), "042"),
            (json!(42), "+42"),
            (json!(42), "42.0"),
            (json!(42.0), "42"),
            (json!(7), "-7"),
            (json!(-7), "7"),
            (json!(0), "-0"),
            (json!(0), ""),
            (json!("42"), "042"),
        ] {
            assert!(!equals(&fact, value), "{fact} {value}");
        }
    }
}
