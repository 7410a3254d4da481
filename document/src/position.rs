//! Translates a position in JSON text to a place in the document.
//!
//! A deserializer that tracks its path needs as much code again as the whole document. Its errors have a position in any case.

use super::finding::Place;

/// A container that is open at a position.
enum Open<'j> {
    /// An object, with the quoted key that was read last.
    Object(Option<&'j [u8]>),
    /// A list, with the position of its current item.
    List(usize),
}

/// Returns the place of the value that is open, or has just ended, after `bytes` bytes of a JSON text.
pub(crate) fn place_at(json: &[u8], bytes: usize) -> Place {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut rest = json.get(..bytes).unwrap_or(json);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'{' => open.push(Open::Object(None)),
            b'[' => open.push(Open::List(0)),
            b'}' | b']' => {
                open.pop();
            }
            b',' => match open.last_mut() {
                Some(Open::Object(key)) => *key = None,
                Some(Open::List(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let length = string_length(after);
                if let Some(Open::Object(key @ None)) = open.last_mut() {
                    *key = after.get(..length);
                }
                rest = after.get(length..).unwrap_or_default();
            }
            _ => {}
        }
    }
    open.iter().fold(Place::root(), |place, open| match open {
        Open::Object(None) => place,
        Open::Object(Some(key)) => place.field(&decoded(key)),
        Open::List(index) => place.index(*index),
    })
}

/// Returns the length in bytes of a string after its opening quote, including the closing quote.
fn string_length(text: &[u8]) -> usize {
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    text.len()
}

/// Returns the text of a key that ends with its closing quote.
fn decoded(key: &[u8]) -> String {
    let quoted = [b"\"", key].concat();
    serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(key).trim_end_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_location_at_a_byte_position() {
        let json = br#"{"a":[1,{"b\"c":"x,]}","d":{}},[]],"e":2}"#;
        for (after, expected) in [
            ("", ""),
            (r#"{"a""#, "a"),
            (r#"{"a":[1"#, "a[0]"),
            (r#"{"a":[1,"#, "a[1]"),
            (r#"{"a":[1,{"b\"c":"x,]"#, r#"a[1]["b\"c"]"#),
            (r#"{"a":[1,{"b\"c":"x,]}","d":{"#, "a[1].d"),
            (r#"{"a":[1,{"b\"c":"x,]}","d":{}"#, "a[1].d"),
            (r#"{"a":[1,{"b\"c":"x,]}","d":{}},[]"#, "a[2]"),
            (r#"{"a":[1,{"b\"c":"x,]}","d":{}},[]],"e":2"#, "e"),
        ] {
            assert!(json.starts_with(after.as_bytes()));
            assert_eq!(place_at(json, after.len()).as_str(), expected, "{after}");
        }
        assert_eq!(place_at(json, 1000).as_str(), "");
        assert_eq!(place_at(b"\"", 1).as_str(), "");
    }
}
