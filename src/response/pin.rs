//! Pins: hashes of definitions, which show that a server changed a tool.

use std::fmt;

use super::list;
use crate::identity::crypto::sha256;
use crate::request::json::Json;
use crate::request::json::canonical::canonical;

/// SHA-256 over the canonical JSON (RFC 8785) of a definition, such as one item of `tools/list`. It displays as lower-case hexadecimal
/// digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin(pub [u8; 32]);

/// The reason why a definition has no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinError {
    /// A number has no canonical form that all programs agree on: it has more than 15 significant digits, or is out of range.
    InexactNumber,
    /// It is not one JSON document in UTF-8, is nested deeper than 64 levels, or contains a name twice in one object.
    Unreadable,
}

impl Pin {
    /// Computes the pin of a definition as a server lists it. White space around it is ignored.
    ///
    /// # Errors
    /// The first [`PinError`].
    pub fn of_text(definition: &[u8]) -> Result<Self, PinError> {
        Self::of(parse(definition)?)
    }

    /// Computes the pin of a definition within a document.
    ///
    /// # Errors
    /// [`PinError::InexactNumber`]. Such a definition matches no pin, so it must be treated as changed.
    pub(crate) fn of(definition: Json<'_>) -> Result<Self, PinError> {
        let mut form = Vec::new();
        canonical(definition, &mut |piece| form.extend_from_slice(piece)).map_err(|_| PinError::InexactNumber)?;
        Ok(Self(sha256(&form)))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_chunks::<16>().0.iter().try_for_each(|half| write!(f, "{:032x}", u128::from_be_bytes(*half)))
    }
}

fn parse(text: &[u8]) -> Result<Json<'_>, PinError> {
    list::parse(text, usize::MAX).map_err(|_| PinError::Unreadable)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn expected(definition: &str) -> Pin {
        let value: Value = serde_json::from_str(definition).unwrap();
        Pin(hmac_sha256::Hash::hash(serde_json_canonicalizer::to_string(&value).unwrap().as_bytes()))
    }

    const WEATHER: &str = r#"{
        "name": "get_weather", "title": "Wetter \u2600", "description": "Get the \"weather\"\nof a city \u20ac\/\u0001",
        "inputSchema": {"type": "object", "required": ["city"], "properties": {"days": {"maximum": 1E1, "minimum": 0.50},
            "city": {"type": "string"}, "CITY": {}, "\ud83d\ude00": null, "\ufb33": [true, false, -0]}},
        "_meta": {}
    }"#;

    #[test]
    fn matches_another_implementation() {
        for definition in ["{}", r#"{"name":"a"}"#, WEATHER, "  [1, 2.50, -3e-7]\n", "\"\u{e9}\u{2028}\""] {
            assert_eq!(Pin::of_text(definition.as_bytes()), Ok(expected(definition)), "{definition}");
        }
    }

    #[test]
    fn displays_as_lower_case_digits() {
        // SHA-256 of `{}`.
        assert_eq!(
            Pin::of_text(b" { } ").unwrap().to_string(),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(Pin([0; 32]).to_string(), "0".repeat(64));
    }

    #[test]
    fn depends_on_the_meaning_only() {
        let respelled = WEATHER.replace("\"name\"", "\"n\\u0061me\"").replace("1E1", "10").replace("  ", "\t");
        assert_ne!(respelled, WEATHER);
        assert_eq!(Pin::of_text(respelled.as_bytes()), Pin::of_text(WEATHER.as_bytes()));
        for (one, other) in
            [("1E1", "11"), ("Get", "get"), ("\"CITY\"", "\"City\""), ("null", "{}"), ("true, false", "false, true")]
        {
            let changed = WEATHER.replacen(one, other, 1);
            assert_ne!(changed, WEATHER);
            assert_ne!(Pin::of_text(changed.as_bytes()), Pin::of_text(WEATHER.as_bytes()), "{other}");
        }
    }

    #[test]
    fn has_none_if_readers_could_differ() {
        for (definition, error) in [
            (r#"{"maximum":0.1234567890123456}"#, PinError::InexactNumber),
            (r#"{"maximum":9007199254740993}"#, PinError::InexactNumber),
            (r#"{"maximum":1e400}"#, PinError::InexactNumber),
            (r#"{"name":"a","name":"b"}"#, PinError::Unreadable),
            (r#"{"name":"a","n\u0061me":"b"}"#, PinError::Unreadable),
            ("\u{feff}{}", PinError::Unreadable),
            (r#"{"name":"\ud800"}"#, PinError::Unreadable),
            ("{}{}", PinError::Unreadable),
            ("", PinError::Unreadable),
        ] {
            assert_eq!(Pin::of_text(definition.as_bytes()), Err(error), "{definition}");
        }
        assert_eq!(Pin::of_text(b"\"\xff\""), Err(PinError::Unreadable));
    }
}
