//! The version of a policy: a hash of its content, independent of how it was delivered.

use serde_json::{Map, Number, Value};

use crate::identity::crypto::sha256;
use crate::text::sort;

/// A number without an exact form in canonical JSON that all readers agree on: a fraction, or a number beyond 2⁵³.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InexactNumber;

/// Returns SHA-256 over the document's canonical JSON (RFC 8785), in lower-case hexadecimal digits.
///
/// # Errors
/// Returns [`InexactNumber`], which no field of a policy accepts.
pub(crate) fn version(document: &Value) -> Result<String, InexactNumber> {
    let mut canonical = Vec::with_capacity(4096);
    write(document, &mut canonical)?;
    Ok(hex(&sha256(&canonical)))
}

/// Writes the values that a policy can contain. Support for fractions would need a library that makes the module larger by a
/// thirtieth.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), InexactNumber> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => write_json(value, out),
        Value::Number(number) => write_json(&Value::from(whole(number).ok_or(InexactNumber)?), out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, member)) in sorted(members).into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(name, out);
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Sorts members by UTF-16 code units (RFC 8785, section 3.2.3). This is the order of the bytes unless characters beyond 16 bits
/// occur.
fn sorted(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sort::sort_by(&mut sorted, |(one, _), (other, _)| one.encode_utf16().lt(other.encode_utf16()));
    sorted
}

/// Writes text as RFC 8785, section 3.2.2.2, requires: with the shortest escapes and lower-case digits.
fn write_json(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // INVARIANT: serializing text or a number does not fail, and writing into a vector does not fail.
    let _ = serde_json::to_writer(out, value);
}

/// Returns the whole number that a double represents exactly.
fn whole(number: &Number) -> Option<i64> {
    const MOST: i64 = 1 << 53;
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|_| number.is_f64())?;
        #[expect(clippy::cast_possible_truncation, reason = "what is cut off is compared")]
        let cut = float as i64;
        #[expect(clippy::cast_precision_loss, reason = "and so is what is lost")]
        (cut as f64 == float).then_some(cut)
    })?;
    (-MOST..=MOST).contains(&whole).then_some(whole)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn member_order_and_spelling_do_not_change_the_version() {
        let one: Value = serde_json::from_str(r#"{"b": 1.0, "a": "\u00e9"}"#).unwrap();
        let other: Value = serde_json::from_str("{\"a\":\"é\",\"b\":1}").unwrap();
        assert_eq!(version(&one).unwrap(), version(&other).unwrap());
        assert_ne!(version(&one).unwrap(), version(&json!({ "a": "e", "b": 1 })).unwrap());
        // SHA-256 of `{}`.
        assert_eq!(version(&json!({})).unwrap(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }

    #[test]
    fn rejects_fractions_and_integers_that_a_double_rounds() {
        for inexact in [json!(0.5), json!(1e300), json!(u64::MAX), json!((1_i64 << 53) + 1), json!(-(1_i64 << 53) - 1)]
        {
            assert_eq!(version(&json!({ "a": [inexact] })), Err(InexactNumber), "{inexact}");
        }
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
            "\\PC*|[\\x00-\\x7f]*|[a\u{e000}\u{1f600}]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[ab\u{e000}\u{1f600}\"\\\\\n]*", inner, 0..6)
                    .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_matches_rfc_8785(document in document()) {
            let mut written = Vec::new();
            write(&document, &mut written).unwrap();
            prop_assert_eq!(written, serde_json_canonicalizer::to_vec(&document).unwrap());
        }
    }
}
