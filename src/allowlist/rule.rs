//! The operators of bindings: whether a value of the request fits a known value.
//!
//! A value that could be read in two ways fits nothing. Known values are claims, attributes or literals, and are not trusted to have the
//! form that an operator needs.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::document::Operator;
use crate::request::json::number;
use crate::text::ascii::bytes_eq;

/// The maximum number of digits of a number that is compared. No amount has more, and each comparison reads all of them.
const MOST_DIGITS: usize = 30;

/// Returns whether a value of the request fits the fact.
pub(crate) fn holds(operator: Operator, fact: &Value, value: &str) -> bool {
    match operator {
        Operator::Equals | Operator::In => equals(fact, value),
        Operator::Prefix => is_path(value) && begins_with(fact, value),
        Operator::AtMost => is_amount(value) && is_at_most(fact, value),
    }
}

/// Returns whether a number in a JSON body fits the fact. `number` is its text.
///
/// A number equals text or another number only in the usual form of an integer that every program reads exactly. `1.10` becomes 1.1, and
/// `1e3` becomes 1000, in an upstream that compares them with text again.
pub(crate) fn number_holds(operator: Operator, fact: &Value, number: &str) -> bool {
    number_fits(operator, number) && holds(operator, fact, number)
}

fn number_fits(operator: Operator, number: &str) -> bool {
    match operator {
        Operator::Equals | Operator::In => is_exact_integer(number),
        Operator::Prefix => false,
        Operator::AtMost => is_amount(number),
    }
}

/// Returns whether a number is an integer in its only usual form, and one that programs read exactly which represent numbers as doubles
/// (RFC 7493, section 2.2).
fn is_exact_integer(number: &str) -> bool {
    const MOST: u64 = (1 << 53) - 1;
    let digits = number.strip_prefix('-').unwrap_or(number);
    number::is_integer(number) && digits.parse::<u64>().is_ok_and(|magnitude| magnitude <= MOST)
}

/// Returns whether a value of the request equals the fact, or one item if the fact is a list. Text is compared exactly, whole numbers by
/// their decimal form. A fact that is missing, empty, null or of another type equals nothing.
fn equals(fact: &Value, value: &str) -> bool {
    match fact {
        Value::Array(items) => items.iter().any(|item| equals_one(item, value)),
        one => equals_one(one, value),
    }
}

fn equals_one(fact: &Value, value: &str) -> bool {
    match fact {
        Value::String(text) => !text.is_empty() && bytes_eq(text.as_bytes(), value.as_bytes()),
        // Their only usual form: no plus sign, no leading zeros.
        Value::Number(fact) if number::is_integer(value) => match (fact.as_u64(), fact.as_i64()) {
            (Some(fact), _) => value.parse() == Ok(fact),
            (None, Some(fact)) => value.parse() == Ok(fact),
            (None, None) => false,
        },
        _ => false,
    }
}

/// Returns whether a path equals the fact, or one item if the fact is a list, or continues after it with further segments.
fn begins_with(fact: &Value, path: &str) -> bool {
    match fact {
        Value::String(beginning) => {
            let rest = path.strip_prefix(beginning.as_str());
            !beginning.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        // Lists in lists equal nothing either.
        Value::Array(items) => items.iter().any(|item| item.is_string() && begins_with(item, path)),
        _ => false,
    }
}

/// Returns whether an amount does not exceed the fact. A list has no single maximum, so it bounds nothing.
fn is_at_most(fact: &Value, amount: &str) -> bool {
    let order = match fact {
        Value::String(bound) if is_amount(bound) => number::compare(amount, bound),
        // A fraction was rounded when the token was parsed.
        Value::Number(bound) if bound.is_u64() => number::compare(amount, &bound.to_string()),
        _ => None,
    };
    order.is_some_and(Ordering::is_le)
}

/// Returns whether a text is a path that every reader splits in the same way and that leads nowhere else: no empty segment except before
/// a slash at the beginning, no segment of dots and white space, also before path parameters, and no characters that could become a
/// separator or end the path.
fn is_path(text: &str) -> bool {
    let leads_nowhere = |segment: &str| {
        let name = segment.split(';').next().unwrap_or_default();
        name.chars().all(|c| is_dot(c) || c.is_whitespace())
    };
    !text.chars().any(|c| is_separator(c) || c.is_control())
        && !text.strip_prefix('/').unwrap_or(text).split('/').any(leads_nowhere)
}

/// Returns whether a character is a dot, or becomes dots in an upstream that normalizes text (NFKC).
fn is_dot(c: char) -> bool {
    matches!(c, '.' | '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{ff0e}')
}

/// Returns whether a character other than a slash separates or ends paths for some reader: an escape, a backslash, the beginning of a query
/// or fragment, a comma between the values of a list, and what becomes one of these or a slash in an upstream that normalizes text (NFKC).
fn is_separator(c: char) -> bool {
    matches!(c, '%' | '\\' | '?' | '#' | ',')
        || matches!(c, '\u{2047}'..='\u{2049}' | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}')
        || matches!(c, '\u{fe10}' | '\u{fe16}' | '\u{fe50}' | '\u{fe56}' | '\u{fe5f}' | '\u{fe68}' | '\u{fe6a}')
        || matches!(c, '\u{ff03}' | '\u{ff05}' | '\u{ff0c}' | '\u{ff0f}' | '\u{ff1f}' | '\u{ff3c}')
        || matches!(c, '\u{1f101}'..='\u{1f10a}')
}

/// Returns whether a text is a JSON number (RFC 8259, section 6) that has no minus sign and at most [`MOST_DIGITS`] digits. A negative
/// amount would pass below every maximum, and with a negative exponent an upstream that reads only the digits before it would find a larger
/// one.
fn is_amount(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    number::is_number(text) && !text.contains('-') && digits <= MOST_DIGITS
}

/// Returns whether a known value has a form with which the operator can hold.
pub(crate) fn suits(operator: Operator, fact: &Value) -> bool {
    let is_whole = |number: &Number| number.is_u64() || number.is_i64();
    match (fact, operator) {
        (Value::String(text), operator) => fits(operator, text),
        (Value::Number(number), Operator::Equals | Operator::In) => is_whole(number),
        (Value::Number(number), Operator::AtMost) => number.is_u64(),
        (Value::Array(items), Operator::Equals | Operator::In | Operator::Prefix) => {
            items.iter().all(|item| !item.is_array() && suits(operator, item))
        }
        _ => false,
    }
}

fn fits(operator: Operator, text: &str) -> bool {
    match operator {
        Operator::Equals | Operator::In => !text.is_empty(),
        Operator::Prefix => is_path(text),
        Operator::AtMost => is_amount(text),
    }
}

/// Returns the form that both sides must have if the operator does not hold because one of them does not have it, for explanations.
pub(crate) fn misfit(operator: Operator, fact: Option<&Value>, value: &str) -> Option<&'static str> {
    let holds = fact.is_some_and(|fact| holds(operator, fact, value));
    let fits = fits(operator, value) && fact.is_none_or(|fact| suits(operator, fact));
    (!holds && !fits).then(|| form(operator))
}

/// Returns the same as [`misfit`] for a number in a JSON body.
pub(crate) fn number_misfit(operator: Operator, fact: Option<&Value>, number: &str) -> Option<&'static str> {
    if number_fits(operator, number) {
        return misfit(operator, fact, number);
    }
    Some(match operator {
        Operator::Equals | Operator::In => {
            "text, or a whole number from -(2^53 - 1) to 2^53 - 1 without a fraction and an exponent"
        }
        Operator::Prefix | Operator::AtMost => form(operator),
    })
}

/// Returns the form of the values that an operator compares.
pub(crate) fn form(operator: Operator) -> &'static str {
    match operator {
        Operator::Equals | Operator::In => "text that is not empty, or a whole number",
        Operator::Prefix => {
            "a path with neither empty segments nor a slash at its end, and without `.`, `..`, `%`, `\\`, `?`, `#` and `,`"
        }
        Operator::AtMost => "a JSON number that is not negative and has at most 30 digits",
    }
}

/// Returns what an operator demands, in words that the known value follows, for explanations.
pub(crate) fn demand(operator: Operator) -> &'static str {
    match operator {
        Operator::Equals => "must be",
        Operator::In => "must be one of",
        Operator::Prefix => "must begin with",
        Operator::AtMost => "must be at most",
    }
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
            assert!(holds(Operator::Equals, &fact, value), "{fact} {value}");
            assert!(holds(Operator::In, &fact, value), "{fact} {value}");
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
            assert!(!holds(Operator::Equals, &fact, value), "{fact} {value}");
            assert!(!holds(Operator::In, &fact, value), "{fact} {value}");
        }
    }

    #[test]
    fn a_number_in_a_body_equals_integers_that_every_program_reads_exactly() {
        for (fact, number) in [
            (json!(42), "42"),
            (json!("42"), "42"),
            (json!([7, "42"]), "42"),
            (json!(-7), "-7"),
            (json!(0), "0"),
            (json!(9_007_199_254_740_991_u64), "9007199254740991"),
            (json!("-9007199254740991"), "-9007199254740991"),
        ] {
            assert!(number_holds(Operator::Equals, &fact, number), "{fact} {number}");
            assert!(number_holds(Operator::In, &fact, number), "{fact} {number}");
            assert_eq!(number_misfit(Operator::Equals, Some(&fact), number), None, "{fact} {number}");
        }
        for (fact, number) in [
            (json!(42), "42.0"),
            (json!(42), "4.2e1"),
            (json!(42), "42e0"),
            (json!(1000), "1e3"),
            (json!("1e3"), "1e3"),
            (json!("1.10"), "1.10"),
            (json!("1.5"), "1.5"),
            (json!(0), "-0"),
            (json!("-0"), "-0"),
            (json!(7), "-7"),
            (json!(9_007_199_254_740_993_u64), "9007199254740993"),
            (json!("9007199254740992"), "9007199254740992"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(null), "0"),
            (json!(true), "1"),
            (json!(42.0), "42"),
        ] {
            assert!(!number_holds(Operator::Equals, &fact, number), "{fact} {number}");
            assert!(!number_holds(Operator::In, &fact, number), "{fact} {number}");
        }
        assert!(!number_holds(Operator::Prefix, &json!("42"), "42"));
        assert_eq!(number_misfit(Operator::Prefix, Some(&json!("42")), "42"), Some(form(Operator::Prefix)));
        assert!(number_misfit(Operator::Equals, Some(&json!(42)), "42.0").is_some_and(|form| form.contains("2^53")));
    }

    #[test]
    fn a_number_in_a_body_is_at_most_the_fact() {
        for (number, holds) in [
            ("1000", true),
            ("999.99", true),
            ("1e3", true),
            ("10.00E+2", true),
            ("0", true),
            ("1000.01", false),
            ("1e4", false),
            ("-1", false),
            ("-0", false),
            ("999999e-3", false),
            ("1e99999", false),
            ("1000000000000000000000000000000", false),
        ] {
            assert_eq!(number_holds(Operator::AtMost, &json!(1000), number), holds, "{number}");
        }
    }

    #[test]
    fn a_prefix_consists_of_whole_segments() {
        for (fact, value) in [
            (json!("/srv/acme"), "/srv/acme"),
            (json!("/srv/acme"), "/srv/acme/a/b.txt"),
            (json!("/srv/acme"), "/srv/acme/.hidden"),
            (json!("/srv/acme"), "/srv/acme/draft\u{2026}"),
            (json!("/srv/acme"), "/srv/acme/ä b;v=1"),
            (json!("acme"), "acme/site"),
            (json!(["/srv/globex", "/srv/acme"]), "/srv/acme/a"),
            (json!(["", 1, "acme"]), "acme"),
        ] {
            assert!(holds(Operator::Prefix, &fact, value), "{fact} {value}");
        }
        for (fact, value) in [
            (json!("/srv/acme"), "/srv/acmex"),
            (json!("/srv/acme"), "/srv/acme.old/a"),
            (json!("/srv/acme"), "/srv"),
            (json!("/srv/acme"), "/srv/Acme/a"),
            (json!("/srv/acme"), "srv/acme/a"),
            (json!("/srv/acme"), "//srv/acme/a"),
            (json!("/srv/acme"), "/srv//acme/a"),
            (json!("/srv/acme"), "/srv/acme/"),
            (json!("/srv/acme"), "/srv/acme//a"),
            (json!("/srv/acme"), "/srv/acme/../globex"),
            (json!("/srv/acme"), "/srv/acme/a/.."),
            (json!("/srv/acme"), "/srv/acme/./a"),
            (json!("/srv/acme"), "/srv/acme/.. /globex"),
            (json!("/srv/acme"), "/srv/acme/..;/globex"),
            (json!("/srv/acme"), "/srv/acme/..;a=b/globex"),
            (json!("/srv/acme"), "/srv/acme/;/a"),
            (json!("/srv/acme"), "/srv/acme/%2e%2e/globex"),
            (json!("/srv/acme"), "/srv/acme/%252e"),
            (json!("/srv/acme"), "/srv/acme\\..\\globex"),
            (json!("/srv/acme"), "/srv/acme/..\\globex"),
            (json!("/srv/acme"), "/srv/acme/..\0/globex"),
            (json!("/srv/acme"), "/srv/acme/a\nb"),
            (json!("/srv/acme"), "/srv/acme/..?x"),
            (json!("/srv/acme"), "/srv/acme/..#x"),
            (json!("/srv/acme"), "/srv/acme/a, /srv/globex"),
            (json!("/srv/acme"), "/srv/acme/..\u{85}"),
            (json!("/srv/acme"), "/srv/acme/..\u{a0}/globex"),
            (json!("/srv/acme"), "/srv/acme/.../globex"),
            (json!("/srv/acme"), "/srv/acme/\u{ff0e}\u{ff0e}/globex"),
            (json!("/srv/acme"), "/srv/acme/\u{2025}/globex"),
            (json!("/srv/acme"), "/srv/acme/..\u{ff0f}globex"),
            (json!("/srv/acme"), "/srv/acme/a\u{2100}"),
            (json!("/srv/acme"), "/srv/acme/\u{3000}/a"),
            (json!("/srv/acme"), ""),
            // Values that an issuer should not have signed.
            (json!(""), ""),
            (json!(""), "/etc"),
            (json!([""]), "/etc"),
            (json!("/"), "/"),
            (json!("/"), "/etc"),
            (json!("/srv/"), "/srv/acme"),
            (json!("/srv/"), "/srv/"),
            (json!(".."), "../etc"),
            (json!([["acme"]]), "acme"),
            (json!(42), "42/a"),
            (json!(null), "acme"),
            (json!({ "acme": 1 }), "acme"),
        ] {
            assert!(!holds(Operator::Prefix, &fact, value), "{fact} {value}");
        }
    }

    #[test]
    fn compares_amounts_exactly() {
        for (fact, value) in [
            (json!(1000), "1000"),
            (json!(1000), "999.999"),
            (json!(1000), "1000.0"),
            (json!(1000), "1e3"),
            (json!(1000), "0"),
            (json!(0), "0.0"),
            (json!("99.50"), "99.5"),
            (json!("1e3"), "1000"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!("123456789012345678901234567890"), "123456789012345678901234567890"),
        ] {
            assert!(holds(Operator::AtMost, &fact, value), "{fact} {value}");
        }
        for (fact, value) in [
            (json!(1000), "1001"),
            (json!(1000), "1000.0000000000000000000001"),
            (json!(1000), "1e4"),
            (json!(1000), "999999e-3"),
            (json!(1000), "1e999999999999"),
            (json!(1000), "0x10"),
            (json!(1000), "-5"),
            (json!(1000), "-0"),
            (json!(1000), "+5"),
            (json!(1000), "005"),
            (json!(1000), "00"),
            (json!(1000), ".5"),
            (json!(1000), "5."),
            (json!(1000), "5e"),
            (json!(1000), "5e+"),
            (json!(1000), "5e1.0"),
            (json!(1000), " 5"),
            (json!(1000), "5 "),
            (json!(1000), "5,0"),
            (json!(1000), "1_0"),
            (json!(1000), "5\0"),
            (json!(1000), "NaN"),
            (json!(1000), "Infinity"),
            (json!(1000), "\u{663}"),
            (json!(1000), "\u{ff15}"),
            (json!(1000), ""),
            (json!(1000), "0.000000000000000000000000000001"),
            // The same double as the maximum.
            (json!(9_007_199_254_740_992_u64), "9007199254740993"),
            // Values that bound nothing.
            (json!(-1), "-1"),
            (json!(99.5), "1"),
            (json!("-1"), "0"),
            (json!("1,000"), "1"),
            (json!("0x10"), "1"),
            (json!(""), "0"),
            (json!([1000]), "1"),
            (json!(["1000"]), "1"),
            (json!(true), "1"),
            (json!(null), "0"),
            (json!({ "max": 5 }), "1"),
        ] {
            assert!(!holds(Operator::AtMost, &fact, value), "{fact} {value}");
        }
        assert!(!holds(Operator::AtMost, &json!("1e29"), &"1".repeat(31)));
    }

    #[test]
    fn knows_which_values_can_never_hold() {
        for (operator, fact) in [
            (Operator::Equals, json!("eu")),
            (Operator::Equals, json!(-7)),
            (Operator::In, json!(["eu", 7])),
            (Operator::Prefix, json!("/srv/acme")),
            (Operator::Prefix, json!(["acme/a", "b"])),
            (Operator::AtMost, json!(1000)),
            (Operator::AtMost, json!("99.50")),
        ] {
            assert!(suits(operator, &fact), "{operator:?} {fact}");
        }
        for (operator, fact) in [
            (Operator::Equals, json!("")),
            (Operator::Equals, json!(1.5)),
            (Operator::Equals, json!([["eu"]])),
            (Operator::In, json!(["eu", ""])),
            (Operator::Prefix, json!("/srv/")),
            (Operator::Prefix, json!(7)),
            (Operator::Prefix, json!(["acme", 7])),
            (Operator::AtMost, json!(-1)),
            (Operator::AtMost, json!("1,000")),
            (Operator::AtMost, json!([1000])),
        ] {
            assert!(!suits(operator, &fact), "{operator:?} {fact}");
        }
    }

    #[test]
    fn explains_values_of_the_wrong_form() {
        let one = json!(1000);
        assert_eq!(misfit(Operator::AtMost, Some(&one), "1001"), None);
        assert_eq!(misfit(Operator::AtMost, Some(&one), "+5"), Some(form(Operator::AtMost)));
        assert_eq!(misfit(Operator::AtMost, Some(&json!("x")), "5"), Some(form(Operator::AtMost)));
        assert_eq!(misfit(Operator::AtMost, None, "5"), None);
        assert_eq!(misfit(Operator::Equals, Some(&json!(["acme", 1.5])), "acme"), None);
        assert_eq!(misfit(Operator::Equals, Some(&json!(1.5)), "1.5"), Some(form(Operator::Equals)));
    }
}
