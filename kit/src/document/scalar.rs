//! Resolves plain YAML scalars by the core schema of YAML 1.2, and rejects those that YAML 1.1 interprets differently.
//!
//! Several programs may read the same file, and half of them follow YAML 1.1. A scalar is accepted if both versions interpret it
//! the same way. Timestamps are the one exception, because both of their interpretations are written the same way.

use std::fmt;

use serde_json::{Number, Value};

/// Returns the value of a plain scalar.
///
/// # Errors
/// Returns a sentence that states what to write instead.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    let (old, new) = (yaml_1_1(text), core(text));
    if old != new {
        let literals: Vec<String> = [&old, &new].into_iter().filter_map(Reading::literal).collect();
        let instead = if literals.is_empty() { String::new() } else { format!(", or write {}", literals.join(" or ")) };
        return Err(format!("{}{instead}", ambiguous(text, &old, &new)));
    }
    match new {
        Reading::Text => Ok(Value::String(text.to_owned())),
        Reading::Null => Ok(Value::Null),
        Reading::Bool(value) => Ok(Value::Bool(value)),
        Reading::Number(number) => Ok(Value::Number(number)),
        Reading::OutOfRange => {
            Err(format!("`{text}` is a number that JSON cannot represent; quote it, or write a finite 64-bit number"))
        }
    }
}

/// Returns the value of a plain scalar as gateways read it: they accept the booleans of YAML 1.1. Any other scalar that the two
/// versions interpret differently stays text, so nobody sees a number where another reader does not.
pub(super) fn lenient(text: &str) -> Value {
    match (yaml_1_1(text), core(text)) {
        (Reading::Bool(value), _) => Value::Bool(value),
        (old, new) if old == new => resolve(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        _ => Value::String(text.to_owned()),
    }
}

/// Checks that a plain scalar is text in every version of YAML, as a key must be.
///
/// # Errors
/// Returns a sentence that states what to write instead.
pub(super) fn check_key(text: &str) -> Result<(), String> {
    if text == "<<" {
        return Err("`<<` merges mappings in YAML 1.1 and is text in YAML 1.2; write the merged fields here".to_owned());
    }
    match (yaml_1_1(text), core(text)) {
        (Reading::Text, Reading::Text) => Ok(()),
        (_, Reading::Null) => Err("a key is missing or null; write a name, or quote it".to_owned()),
        (old, new) if old == new => Err(format!("the key `{text}` is {new}, not text; quote it")),
        (old, new) => Err(ambiguous(text, &old, &new)),
    }
}

fn ambiguous(text: &str, old: &Reading, new: &Reading) -> String {
    format!("`{text}` is {old} in YAML 1.1 and {new} in YAML 1.2; quote it")
}

/// How one version of YAML interprets a plain scalar.
#[derive(Debug, PartialEq)]
enum Reading {
    Text,
    Null,
    Bool(bool),
    Number(Number),
    /// A number that is not finite or has more than 64 bits.
    OutOfRange,
}

impl Reading {
    fn integer(value: Option<i128>) -> Self {
        value
            .and_then(|value| {
                i64::try_from(value).map(Number::from).or_else(|_| u64::try_from(value).map(Number::from)).ok()
            })
            .map_or(Self::OutOfRange, Self::Number)
    }

    fn float(value: Option<f64>) -> Self {
        value.and_then(Number::from_f64).map_or(Self::OutOfRange, Self::Number)
    }

    /// Returns a spelling of this value that every version interprets the same way.
    fn literal(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(format!("`{value}`")),
            // The shortest form of a float with an exponent has no dot, but YAML 1.1 requires one.
            Self::Number(number) => Some(number.to_string()).filter(|n| !n.contains('e')).map(|n| format!("`{n}`")),
            Self::Text | Self::Null | Self::OutOfRange => None,
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::OutOfRange => f.write_str("a number"),
        }
    }
}

/// Resolves a scalar by YAML 1.2.2, section 10.3.2.
fn core(text: &str) -> Reading {
    if let Some(reading) = shared_word(text) {
        return reading;
    }
    let (negative, number) = sign(text);
    let prefixed = |prefix, radix| text.strip_prefix(prefix).and_then(|digits| integer(false, digits, radix));
    integer(negative, number, 10)
        .or_else(|| prefixed("0o", 8))
        .or_else(|| prefixed("0x", 16))
        .or_else(|| float_of_core(negative, number))
        .unwrap_or(Reading::Text)
}

fn float_of_core(negative: bool, number: &str) -> Option<Reading> {
    let (mantissa, exponent) = exponent(number);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shape = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        digits(e) && !e.is_empty()
    });
    (shape && exponent_fits).then(|| parse_float(negative, number))
}

/// Resolves a scalar by the types of the YAML 1.1 repository (yaml.org/type), except timestamps.
fn yaml_1_1(text: &str) -> Reading {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Reading::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Reading::Bool(false),
        _ => {}
    }
    if let Some(reading) = shared_word(text) {
        return reading;
    }
    let (negative, written) = sign(text);
    if !written.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Reading::Text;
    }
    let number = written.replace('_', "");
    let radix = |prefix, radix| number.strip_prefix(prefix).and_then(|digits| integer(negative, digits, radix));
    radix("0b", 2)
        .or_else(|| radix("0x", 16))
        .or_else(|| if number.len() > 1 { radix("0", 8) } else { None })
        .or_else(|| if number.starts_with('0') && number != "0" { None } else { integer(negative, &number, 10) })
        .or_else(|| float_of_1_1(negative, &number))
        .or_else(|| sexagesimal(negative, &number))
        .unwrap_or(Reading::Text)
}

fn float_of_1_1(negative: bool, number: &str) -> Option<Reading> {
    let (mantissa, exponent) = exponent(number);
    let (whole, fraction) = mantissa.split_once('.')?;
    let shape = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|e| e.strip_prefix(['-', '+']).is_some_and(|e| digits(e) && !e.is_empty()));
    (shape && exponent_fits).then(|| parse_float(negative, number))
}

/// Reads numbers to the base 60, such as `190:20:30` and `190:20:30.15`.
fn sexagesimal(negative: bool, number: &str) -> Option<Reading> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let (first, rest) = whole.split_once(':')?;
    let placed = |part: &str| part.parse::<i128>().ok().filter(|n| digits(part) && part.len() <= 2 && *n < 60);
    if first.is_empty()
        || !digits(first)
        || !rest.split(':').all(|part| placed(part).is_some())
        || !fraction.is_none_or(digits)
    {
        return None;
    }
    let value = rest
        .split(':')
        .filter_map(placed)
        .try_fold(first.parse::<i128>().ok()?, |sum, part| sum.checked_mul(60)?.checked_add(part));
    let signed = value.map(|value| if negative { -value } else { value });
    Some(match fraction {
        None if first.starts_with('0') => return None,
        None => Reading::integer(signed),
        Some(fraction) => Reading::float(signed.and_then(|value| format!("{value}.{fraction}").parse().ok())),
    })
}

/// Resolves the words that both versions interpret the same way.
fn shared_word(text: &str) -> Option<Reading> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Reading::Null,
        "true" | "True" | "TRUE" => Reading::Bool(true),
        "false" | "False" | "FALSE" => Reading::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Reading::OutOfRange,
        _ if matches!(sign(text).1, ".inf" | ".Inf" | ".INF") => Reading::OutOfRange,
        _ => return None,
    })
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn exponent(number: &str) -> (&str, Option<&str>) {
    match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn integer(negative: bool, digits: &str, radix: u32) -> Option<Reading> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok();
    Some(Reading::integer(value.map(|value| if negative { -value } else { value })))
}

fn parse_float(negative: bool, number: &str) -> Reading {
    Reading::float(number.parse::<f64>().ok().map(|value| if negative { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accepts_scalars_that_yaml_1_1_and_1_2_read_alike() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("0", json!(0)),
            ("-17", json!(-17)),
            ("+5", json!(5)),
            ("07", json!(7)),
            ("0x1F", json!(31)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("-1.5e+3", json!(-1500.0)),
            ("nul", json!("nul")),
            ("truE", json!("truE")),
            ("at+jwt", json!("at+jwt")),
            ("-", json!("-")),
            ("+", json!("+")),
            (".", json!(".")),
            ("0x", json!("0x")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("203.0.113.7/32", json!("203.0.113.7/32")),
            ("127.0.0.1:8080", json!("127.0.0.1:8080")),
            ("api.example.com:8443", json!("api.example.com:8443")),
            ("60/1m", json!("60/1m")),
            ("15m", json!("15m")),
            ("2027-06-30", json!("2027-06-30")),
            ("2027-06-30T12:00:00Z", json!("2027-06-30T12:00:00Z")),
            ("99:99", json!("99:99")),
            ("_1", json!("_1")),
            ("nope", json!("nope")),
        ] {
            assert_eq!(resolve(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn rejects_scalars_that_yaml_1_1_reads_differently() {
        for (text, message) in [
            ("yes", "`yes` is true in YAML 1.1 and text in YAML 1.2; quote it, or write `true`"),
            ("Off", "`Off` is false in YAML 1.1 and text in YAML 1.2; quote it, or write `false`"),
            ("n", "`n` is false in YAML 1.1 and text in YAML 1.2; quote it, or write `false`"),
            (
                "0777",
                "`0777` is the number 511 in YAML 1.1 and the number 777 in YAML 1.2; quote it, or write `511` or `777`",
            ),
            ("089", "`089` is text in YAML 1.1 and the number 89 in YAML 1.2; quote it, or write `89`"),
            ("0o17", "`0o17` is text in YAML 1.1 and the number 15 in YAML 1.2; quote it, or write `15`"),
            ("0b101", "`0b101` is the number 5 in YAML 1.1 and text in YAML 1.2; quote it, or write `5`"),
            ("1_000", "`1_000` is the number 1000 in YAML 1.1 and text in YAML 1.2; quote it, or write `1000`"),
            ("-0x1F", "`-0x1F` is the number -31 in YAML 1.1 and text in YAML 1.2; quote it, or write `-31`"),
            ("12:30:45", "`12:30:45` is the number 45045 in YAML 1.1 and text in YAML 1.2; quote it, or write `45045`"),
            ("1:30.5", "`1:30.5` is the number 90.5 in YAML 1.1 and text in YAML 1.2; quote it, or write `90.5`"),
            ("1e3", "`1e3` is text in YAML 1.1 and the number 1000.0 in YAML 1.2; quote it, or write `1000.0`"),
            ("1234e5678", "`1234e5678` is text in YAML 1.1 and a number in YAML 1.2; quote it"),
        ] {
            assert_eq!(resolve(text), Err(message.to_owned()), "{text}");
        }
        for word in ["y", "Y", "Yes", "YES", "on", "On", "ON", "N", "no", "No", "NO", "off", "OFF"] {
            resolve(word).unwrap_err();
        }
    }

    #[test]
    fn requires_keys_that_are_text_in_both_yaml_versions() {
        for key in ["name", "a.b", "2027-06-30", "203.0.113.7/32", "x-org", "nope", "+"] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for (key, message) in [
            ("y", "`y` is true in YAML 1.1 and text in YAML 1.2; quote it"),
            ("on", "`on` is true in YAML 1.1 and text in YAML 1.2; quote it"),
            ("1:30", "`1:30` is the number 90 in YAML 1.1 and text in YAML 1.2; quote it"),
            ("1", "the key `1` is the number 1, not text; quote it"),
            ("true", "the key `true` is true, not text; quote it"),
            (".inf", "the key `.inf` is a number, not text; quote it"),
            ("", "a key is missing or null; write a name, or quote it"),
            ("~", "a key is missing or null; write a name, or quote it"),
            ("<<", "`<<` merges mappings in YAML 1.1 and is text in YAML 1.2; write the merged fields here"),
        ] {
            assert_eq!(check_key(key), Err(message.to_owned()), "{key}");
        }
    }

    #[test]
    fn rejects_numbers_that_json_cannot_represent() {
        for text in
            [".nan", ".NaN", ".inf", "-.inf", "+.INF", "18446744073709551616", "-9223372036854775809", "1.0e+999"]
        {
            assert!(resolve(text).unwrap_err().contains("cannot represent"), "{text}");
        }
        // More digits than any integer type has.
        assert!(resolve(&"9".repeat(100_000)).is_err());
    }
}
