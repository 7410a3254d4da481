//! Finds the end of a JSON object while its bytes arrive.
//!
//! It depends on strings and brackets only, so it is the end of the object in every reader that accepts the bytes as one. Whether they are
//! valid is checked afterwards.

/// The part of a text with one object that was read so far.
#[derive(Debug, Default)]
pub(super) struct ObjectEnd {
    place: Place,
    /// How many objects and arrays are open.
    depth: usize,
}

/// Where in the text the next byte is.
#[derive(Debug, Clone, Copy, Default)]
enum Place {
    /// Before the object.
    #[default]
    Before,
    /// In a string, after a backslash.
    Escape,
    String,
    /// In the object, outside its strings.
    Within,
}

/// How far a text is after its next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The object ended with the last of this many bytes.
    Ended(usize),
    /// The last of this many bytes begins something else than an object.
    Other(usize),
    /// The end of the object is among the bytes that follow, or there is none.
    Unfinished,
}

impl ObjectEnd {
    /// Reads the next bytes. Nothing is read after the end.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Progress {
        for (byte, count) in bytes.iter().copied().zip(1..) {
            match (self.place, byte) {
                (Place::Before, b'{') => {
                    self.place = Place::Within;
                    self.depth = 1;
                }
                (Place::Before, byte) if !is_space(byte) => return Progress::Other(count),
                (Place::Within, b'"') => self.place = Place::String,
                (Place::Within, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                (Place::Within, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Progress::Ended(count);
                    }
                }
                (Place::String, b'"') => self.place = Place::Within,
                (Place::String, b'\\') => self.place = Place::Escape,
                (Place::Escape, _) => self.place = Place::String,
                (Place::Before | Place::Within | Place::String, _) => {}
            }
        }
        Progress::Unfinished
    }
}

/// Returns whether bytes are white space of JSON.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_space(*byte))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_where_the_object_ends() {
        for (object, after) in [
            ("{}", ""),
            (" \t\r\n{}", " "),
            ("{}", "{}"),
            ("{}", "]"),
            ("{\"a\":[{},[{}]],\"b\":{\"c\":{}}}", "}"),
            ("{\"}\":\"]}\"}", "\""),
            ("{\"\\\"}\":1}", "x"),
            ("{\"\\\\\":\"\\\\\\\"}\"}", "x"),
            // These are no objects, but nothing after them could make them one.
            ("{]", "}"),
            ("{\"a\":[}}", "]"),
        ] {
            let text = format!("{object}{after}");
            assert_eq!(ObjectEnd::default().read(text.as_bytes()), Progress::Ended(object.len()), "{text}");
            let mut end = ObjectEnd::default();
            for byte in &object.as_bytes()[..object.len() - 1] {
                assert_eq!(end.read(&[*byte]), Progress::Unfinished, "{text}");
            }
            assert_eq!(end.read(b""), Progress::Unfinished);
            assert_eq!(end.read(&object.as_bytes()[object.len() - 1..]), Progress::Ended(1), "{text}");
        }
    }

    #[test]
    fn only_objects_begin() {
        for (text, count) in [
            ("[]", 1),
            (" \n[{}]", 3),
            ("null", 1),
            ("\"{}\"", 1),
            ("\u{feff}{}", 1),
            ("\0", 1),
            ("\u{c}{}", 1),
            ("}", 1),
        ] {
            assert_eq!(ObjectEnd::default().read(text.as_bytes()), Progress::Other(count), "{text:?}");
        }
        for text in ["", " ", "{", "{\"a\":\"}", "{\"\\\"}", "{[}"] {
            assert_eq!(ObjectEnd::default().read(text.as_bytes()), Progress::Unfinished, "{text:?}");
        }
    }

    proptest! {
        /// serde_json reads a value and stops after it.
        #[test]
        fn agrees_with_another_reader_about_the_end(
            pieces in proptest::collection::vec("\\{|\\}|\\[|\\]|,|:|\"[a\\\\\"\\{\\]é]{0,3}\"|\\\\|1| |\"a\":", 0..12),
        ) {
            let text = format!("{{{}", pieces.concat());
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
            if values.next().is_some_and(|value| value.is_ok()) {
                prop_assert_eq!(ObjectEnd::default().read(text.as_bytes()), Progress::Ended(values.byte_offset()));
            }
        }
    }
}
