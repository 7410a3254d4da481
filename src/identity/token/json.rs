//! A JSON parser that only accepts documents that every other parser reads the same way.
//!
//! RFC 8259 leaves repeated names, depth and other details to implementations. If Callgate read the first of two equal names and the
//! upstream the last, Callgate would decide about a different document. The parser therefore rejects repeated names (compared after
//! decoding escapes), a byte order mark, lone surrogates, numbers that exceed the range of a double, data after the document, and
//! documents that exceed the limits for depth and size.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Limits for a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The maximum length of the document, in bytes.
    pub bytes: usize,
    /// The maximum nesting depth of objects and arrays. A document that is neither has depth 0.
    pub depth: u8,
}

/// The reason why a document is rejected. It is meant for the author of the document and may quote names from it.
#[derive(Debug)]
pub struct JsonError(Cause);

#[derive(Debug)]
enum Cause {
    Long { bytes: usize, bound: usize },
    Malformed(serde_json::Error),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Long { bytes, bound } => write!(f, "the document has {bytes} bytes; the maximum is {bound}"),
            Cause::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JsonError {}

/// Parses one JSON document that fills `text`.
///
/// # Errors
///
/// [`JsonError`], with line and column, for the first problem.
pub fn parse(text: &[u8], bounds: Bounds) -> Result<Value, JsonError> {
    if text.len() > bounds.bytes {
        return Err(JsonError(Cause::Long { bytes: text.len(), bound: bounds.bytes }));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth_left: bounds.depth }.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| JsonError(Cause::Malformed(error)))
}

/// Reads a value with a limited nesting depth.
#[derive(Clone, Copy)]
struct Strict {
    depth_left: u8,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("objects and arrays are nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let item = self.deeper()?;
        let mut items = Vec::new();
        while let Some(value) = seq.next_element_seed(item)? {
            items.push(value);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let member = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the name `{}` occurs twice", name.escape_debug())));
            }
            members.insert(name, map.next_value_seed(member)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 64, depth: 2 };

    fn refused(text: &[u8]) -> String {
        parse(text, BOUNDS).unwrap_err().to_string()
    }

    #[test]
    fn reads_valid_json() {
        let read = |text: &str| parse(text.as_bytes(), BOUNDS).unwrap();
        let text = r#" {"a":[1,-1,1.5,"x\u00e9",true,null],"b":{}} "#;
        assert_eq!(read(text), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read("\"\""), Value::String(String::new()));
        assert_eq!(read("18446744073709551615"), Value::from(u64::MAX));
        assert_eq!(read(r#""\ud83d\ude00""#), Value::from("😀"));
    }

    #[test]
    fn rejects_duplicate_names_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"iss":1,"\u0069ss":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[{"a":1,"a":2}]"#,
            r#"{"":1,"":2}"#,
            r#"{"__proto__":1,"__proto__":2}"#,
        ] {
            assert!(refused(text.as_bytes()).contains("occurs twice"), "{text}");
        }
        // Names are not case-folded or normalized, and different objects may have the same names.
        for text in [r#"{"a":1,"A":2}"#, "{\"\u{e9}\":1,\"e\u{301}\":2}", r#"{"a":{"a":1},"b":{"a":1}}"#] {
            parse(text.as_bytes(), BOUNDS).unwrap();
        }
    }

    #[test]
    fn enforces_exact_size_and_depth_limits() {
        parse(b"[[]]", BOUNDS).unwrap();
        parse(br#"{"a":[1]}"#, BOUNDS).unwrap();
        assert!(refused(b"[[[]]]").contains("too deep"));
        assert!(refused(br#"{"a":{"b":{}}}"#).contains("too deep"));
        let long = |n: usize| format!("\"{}\"", "a".repeat(n - 2)).into_bytes();
        parse(&long(64), BOUNDS).unwrap();
        assert!(refused(&long(65)).contains("65 bytes"));
        // The parser's own recursion limit still applies if ours is too high.
        let bomb = "[".repeat(100_000);
        parse(bomb.as_bytes(), Bounds { bytes: usize::MAX, depth: u8::MAX }).unwrap_err();
    }

    #[test]
    fn rejects_json_that_parsers_read_differently() {
        let cases: &[&[u8]] = &[
            b"",
            b" ",
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\0}\0",
            b"{} {}",
            b"{}\0",
            b"{},",
            b"{\"a\":1,}",
            b"[1,]",
            b"{a:1}",
            b"{'a':1}",
            b"// c\n{}",
            b"{/**/}",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"01",
            b"+1",
            b".5",
            b"1.",
            b"0x1",
            b"1e400",
            b"-1e400",
            br#""\ud800""#,
            br#""\udc00""#,
            br#""\ud800\u0041""#,
            b"\"\xff\"",
            b"\"\xc0\xaf\"",
            b"\"\xed\xa0\x80\"",
            b"\"a\nb\"",
            b"\"\x00\"",
            br#""\x41""#,
            b"{\"a\" 1}",
            b"{\"\xff\":1}",
            b"True",
        ];
        for case in cases {
            assert!(parse(case, BOUNDS).is_err(), "{}", case.escape_ascii());
        }
    }

    #[test]
    fn messages_contain_no_control_characters() {
        assert!(!refused(b"{\"\\u001b[31m\":1,\"\\u001b[31m\":1}").contains('\u{1b}'));
    }
}
