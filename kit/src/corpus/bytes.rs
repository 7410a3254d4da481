//! Unusual request bytes in a case file: written as text where possible, encoded otherwise.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// The longest text that `repeat` can create, in bytes. No gateway accepts a line of this length.
const MOST_REPEATED: usize = 1 << 20;

const FORMS: &str = "text, `{ hex: ... }`, `{ base64: ... }` or `{ repeat: [TEXT, TIMES] }`";

/// A text, `{ hex: ff00 }`, `{ base64: /wA= }` or `{ repeat: [a, 5000] }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMS)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bytes, A::Error> {
        let form: Option<String> = map.next_key()?;
        let bytes = match form.as_deref() {
            Some("hex") => from_hex(&map.next_value::<String>()?)
                .ok_or_else(|| de::Error::custom("`hex` takes pairs of hexadecimal digits"))?,
            Some("base64") => STANDARD
                .decode(map.next_value::<String>()?)
                .map_err(|_| de::Error::custom("`base64` takes base64 with padding"))?,
            Some("repeat") => {
                let (text, times) = map.next_value::<(String, usize)>()?;
                repeated(&text, times).map_err(de::Error::custom)?.into_bytes()
            }
            _ => return Err(de::Error::custom(format!("write {FORMS}"))),
        };
        match map.next_key::<String>()? {
            None => Ok(Bytes(bytes)),
            Some(_) => Err(de::Error::custom(format!("write one of {FORMS}"))),
        }
    }
}

/// Repeats the text `times` times.
pub(super) fn repeated(text: &str, times: usize) -> Result<String, String> {
    if text.len().saturating_mul(times) > MOST_REPEATED {
        return Err(format!("`repeat` makes at most {MOST_REPEATED} bytes"));
    }
    Ok(text.repeat(times))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_form_of_bytes() {
        for (value, bytes) in [
            (json!("/a?b"), &b"/a?b"[..]),
            (json!({ "hex": "ff00" }), &[0xff, 0x00]),
            (json!({ "base64": "/wA=" }), &[0xff, 0x00]),
            (json!({ "repeat": ["ab", 3] }), b"ababab"),
        ] {
            assert_eq!(serde_json::from_value::<Bytes>(value).unwrap().0, bytes);
        }
    }

    #[test]
    fn lists_the_accepted_forms_when_rejecting_a_value() {
        for value in [
            json!(1),
            json!({}),
            json!({ "hex": "f" }),
            json!({ "hex": "+f" }),
            json!({ "base64": "/wA" }),
            json!({ "text": "a" }),
            json!({ "hex": "00", "base64": "" }),
            json!({ "repeat": ["a", 9_999_999] }),
        ] {
            let message = serde_json::from_value::<Bytes>(value.clone()).unwrap_err().to_string();
            assert!(["repeat", "takes"].iter().any(|told| message.contains(told)), "{value}: {message}");
        }
    }
}
