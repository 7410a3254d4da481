//! The canonical form of a value (RFC 8785), for hashes of parts of a document.

use super::number::{self, InexactNumber};
use super::scan::{Characters, sort};
use super::{Json, Parts};

/// Writes a value in its canonical form, piece by piece. Values that mean the same to every reader of RFC 8785 have the same form.
///
/// # Errors
/// [`InexactNumber`] if a number has no form that every reader agrees on. What was written until then must not be used.
pub(crate) fn canonical(value: Json<'_>, write: &mut dyn FnMut(&[u8])) -> Result<(), InexactNumber> {
    let mut open: Vec<Level<'_>> = Vec::new();
    let mut next = Some(value);
    loop {
        if let Some(value) = next.take() {
            if value.is_object() {
                write(b"{");
                open.push(Level { parts: LevelParts::Members(sorted(value).into_iter()), is_first: true });
            } else if value.is_array() {
                write(b"[");
                open.push(Level { parts: LevelParts::Items(value.parts('[')), is_first: true });
            } else if let Some(number) = value.number() {
                number::write_canonical(number, write)?;
            } else if value.quoted().is_some() {
                write_string(value, write);
            } else {
                write(value.text.as_bytes());
            }
        }
        let Some(level) = open.last_mut() else { return Ok(()) };
        let (name, part) = level.parts.next();
        next = part;
        if next.is_none() {
            write(level.parts.end());
            open.pop();
            continue;
        }
        if !std::mem::take(&mut level.is_first) {
            write(b",");
        }
        if let Some(name) = name {
            write_string(name, write);
            write(b":");
        }
    }
}

/// An object or array that is being written.
struct Level<'t> {
    parts: LevelParts<'t>,
    is_first: bool,
}

/// The parts of an object or array that remain to be written.
enum LevelParts<'t> {
    Items(Parts<'t>),
    Members(std::vec::IntoIter<(Json<'t>, Json<'t>)>),
}

impl<'t> LevelParts<'t> {
    /// Returns the name, if this is an object, and the next value.
    fn next(&mut self) -> (Option<Json<'t>>, Option<Json<'t>>) {
        match self {
            Self::Items(items) => (None, items.next()),
            Self::Members(members) => members.next().unzip(),
        }
    }

    fn end(&self) -> &'static [u8] {
        match self {
            Self::Items(_) => b"]",
            Self::Members(_) => b"}",
        }
    }
}

/// Returns the members of an object by the UTF-16 code units of their names (RFC 8785, section 3.2.3).
fn sorted(object: Json<'_>) -> Vec<(Json<'_>, Json<'_>)> {
    let mut members: Vec<_> = object.members().collect();
    sort(&mut members, |(one, _), (other, _)| units(*one).lt(units(*other)));
    members
}

/// Returns numbers in the order of the UTF-16 code units of a name.
fn units(name: Json<'_>) -> impl Iterator<Item = u32> {
    name.characters().map(|character| match u32::from(character) {
        // Other characters of 16 bits, and the two units of longer ones, are below these.
        last @ 0xe000..0x1_0000 => last + 0x11_0000,
        other => other,
    })
}

/// Writes a string with the shortest escapes (RFC 8785, section 3.2.2.2).
fn write_string(string: Json<'_>, write: &mut dyn FnMut(&[u8])) {
    let quoted = string.quoted().unwrap_or_default();
    if !quoted.as_bytes().contains(&b'\\') {
        // Without a backslash, it contains nothing that needs an escape.
        write(string.text.as_bytes());
        return;
    }
    write(b"\"");
    for character in Characters::of(quoted) {
        match character {
            '"' => write(b"\\\""),
            '\\' => write(b"\\\\"),
            '\u{8}' => write(b"\\b"),
            '\u{c}' => write(b"\\f"),
            '\n' => write(b"\\n"),
            '\r' => write(b"\\r"),
            '\t' => write(b"\\t"),
            ..' ' => {
                let digit = |value| char::from_digit(value, 16).unwrap_or_default();
                let value = u32::from(character);
                write(b"\\u00");
                write(digit(value >> 4).encode_utf8(&mut [0; 4]).as_bytes());
                write(digit(value & 0xf).encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => write(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    write(b"\"");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;
    use crate::request::json::{JsonBounds, Names};

    fn form(text: &str) -> Result<String, InexactNumber> {
        let bounds = JsonBounds { bytes: usize::MAX, depth: 64, names: Names::Exact };
        let mut out = Vec::new();
        let value = Json::parse(text.as_bytes(), bounds).unwrap();
        canonical(value, &mut |piece| out.extend_from_slice(piece)).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn matches_the_examples_of_rfc_8785() {
        for (text, expected) in [
            // Section 3.2.2, with numbers of at most fifteen digits.
            (
                r#"{
                  "numbers": [333333333333330, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                  "literals": [null, true, false]
                }"#,
                "{\"literals\":[null,true,false],\"numbers\":[333333333333330,1e+30,4.5,0.002,1e-27],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
            ),
            // Section 3.2.3.
            (
                r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#,
                "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}",
            ),
            ("[ ]", "[]"),
            (" { } ", "{}"),
            ("[[],[{}],{\"a\":[]}]", "[[],[{}],{\"a\":[]}]"),
            (r#""\u0000\u001f\u007f\u2028\u0008""#, "\"\\u0000\\u001f\u{7f}\u{2028}\\b\""),
        ] {
            assert_eq!(form(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn spelling_does_not_change_the_form_but_meaning_does() {
        let tool = r#"{"name":"pay","inputSchema":{"properties":{"id":{"maximum":10},"ID":{}}}}"#;
        for same in [
            r#"{ "inputSchema" : {"properties":{"ID":{},"id":{"maximum":1e1}}} , "name" : "p\u0061y" }"#,
            r#"{"\u006eame":"pay","inputSchema":{"properties":{"id":{"maximum":10.0},"ID":{}}}}"#,
        ] {
            assert_eq!(form(same), form(tool), "{same}");
        }
        for other in [
            r#"{"name":"pay","inputSchema":{"properties":{"id":{"maximum":11},"ID":{}}}}"#,
            r#"{"name":"Pay","inputSchema":{"properties":{"id":{"maximum":10},"ID":{}}}}"#,
            r#"{"name":"pay","inputSchema":{"properties":{"id":{"maximum":"10"},"ID":{}}}}"#,
            r#"{"name":"pay","inputSchema":{"properties":{"id":{"maximum":10},"ID":[]}}}"#,
            r#"{"name":"pay","inputSchema":{"properties":{"id":{"maximum":10},"ID":{"":null}}}}"#,
            r#"{"name":"pay\u0000","inputSchema":{"properties":{"id":{"maximum":10},"ID":{}}}}"#,
        ] {
            assert_ne!(form(other), form(tool), "{other}");
        }
        assert_eq!(form(r#"{"a":[1,{"b":0.1234567890123456}]}"#), Err(InexactNumber));
        // Only a number has to be exact, not a text of digits.
        assert!(form("\"0.1234567890123456\"").is_ok());
    }

    #[test]
    fn deep_values_need_no_recursion() {
        let deep = format!("{}1{}", "[{\"a\":".repeat(32), "}]".repeat(32));
        assert_eq!(form(&deep), Ok(deep));
    }

    /// A string in some spelling.
    fn spelled(text: &str, escapes: &[bool]) -> String {
        let mut escapes = escapes.iter().cycle();
        let inner = text.chars().map(|character| match escapes.next() {
            Some(true) => {
                character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>()
            }
            _ => {
                let quoted = serde_json::to_string(&character).unwrap();
                quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned()
            }
        });
        format!("\"{}\"", inner.collect::<String>())
    }

    /// A document and the same value in a tree.
    fn document() -> impl Strategy<Value = (String, Value)> {
        let escapes = || proptest::collection::vec(any::<bool>(), 1..5);
        let string = ("\\PC*|[\\x00-\\x7f]*|[a\u{e000}\u{ffff}\u{1f600}]*", escapes());
        let number = "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,5})?([eE][+-]?[12]?[0-9]{1,2})?";
        let leaf = prop_oneof![
            Just(("null".to_owned(), Value::Null)),
            any::<bool>().prop_map(|value| (value.to_string(), value.into())),
            number.prop_map(|text| {
                let value = text.parse::<f64>().unwrap().into();
                (text, value)
            }),
            string.prop_map(|(text, escapes)| (spelled(&text, &escapes), text.into())),
        ];
        leaf.prop_recursive(4, 48, 8, move |inner| {
            let name = "[ab\u{7f}\u{e000}\u{fffd}\u{1f600}\u{10ffff}\"\\\\\n]{0,3}";
            let members = proptest::collection::btree_map(name, inner.clone(), 0..8);
            prop_oneof![
                (proptest::collection::vec(inner, 0..6)).prop_map(|items| {
                    let (texts, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                    (format!("[ {} ]", texts.join(" ,\n")), values.into())
                }),
                (members, escapes(), any::<bool>()).prop_map(|(members, escapes, is_reversed)| {
                    let mut texts: Vec<_> = members
                        .iter()
                        .map(|(name, (text, _))| format!("{} : {text}", spelled(name, &escapes)))
                        .collect();
                    if is_reversed {
                        texts.reverse();
                    }
                    let values: Map<_, _> = members.into_iter().map(|(name, (_, value))| (name, value)).collect();
                    (format!("{{{}}}", texts.join(",")), values.into())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_matches_another_implementation((text, value) in document()) {
            match form(&text) {
                Ok(form) => prop_assert_eq!(form, serde_json_canonicalizer::to_string(&value).unwrap()),
                Err(InexactNumber) => prop_assert!(text.contains(['e', 'E']), "{}", text),
            }
        }
    }
}
