//! Values of the policy document that have more than one written form and are parsed by hand.
//!
//! An untagged enum would report "did not match any variant". These parsers report what to write instead.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A duration: a whole number and a unit, such as `90s`, `15m`, `12h` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(Duration);

impl Lifetime {
    /// Returns the duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(split)?;
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "s" => number,
            "m" => number.checked_mul(60)?,
            "h" => number.checked_mul(3_600)?,
            "d" => number.checked_mul(86_400)?,
            _ => return None,
        };
        Some(Self(Duration::from_secs(seconds)))
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "invalid duration `{}`; expected a whole number and a unit, such as `90s`, `15m`, `12h` or `30d`",
                text.escape_debug()
            ))
        })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Lifetime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A duration: a whole number and a unit, such as `90s`, `15m`, `12h` or `30d`.",
            "type": "string",
            "pattern": "^[0-9]+[smhd]$",
            "examples": ["90s", "15m", "12h", "30d"]
        })
    }
}

/// A number of requests per duration, such as `60/1m` or `5/1s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The number of requests.
    pub calls: u32,
    /// The duration.
    pub span: Duration,
}

const RATE_FORM: &str = "a whole number of requests, `/` and a duration, such as `60/1m` or `5/1s`";

impl Rate {
    fn parse(text: &str) -> Option<Self> {
        let (calls, span) = text.split_once('/')?;
        // `parse` would also accept a sign.
        let digits = calls.bytes().all(|b| b.is_ascii_digit());
        let calls = calls.parse().ok().filter(|calls| digits && *calls > 0)?;
        let span = Lifetime::parse(span)?.duration();
        (!span.is_zero()).then_some(Self { calls, span })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("invalid rate `{}`; expected {RATE_FORM}", text.escape_debug())))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": format!("Requests per duration: {RATE_FORM}."),
            "type": "string",
            "pattern": "^[0-9]+/[0-9]+[smhd]$",
            "examples": ["60/1m", "5/1s", "1/2s"]
        })
    }
}

/// A size in bytes: a whole number and a unit, such as `64KiB` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(u64);

const SIZE_FORM: &str = "a whole number and a unit, such as `64KiB` or `1MiB`";

impl Size {
    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
        let unit = match unit {
            "KiB" => 1024,
            "MiB" => 1024 * 1024,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("invalid size `{}`; expected {SIZE_FORM}", text.escape_debug())))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": format!("A size in bytes: {SIZE_FORM}."),
            "type": "string",
            "pattern": "^[0-9]+(KiB|MiB)$",
            "examples": ["64KiB", "1MiB"]
        })
    }
}

/// The encoding of bytes in an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SecretEncoding {
    /// Base64 with padding.
    Base64,
    /// Base64url without padding.
    Base64url,
    /// Hexadecimal digits.
    Hex,
}

/// The scopes that a request needs: `none`, a list of scopes that are all required, or `{ all: [...], any: [...] }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopesAsked {
    /// The scopes that are all required.
    pub all: Vec<String>,
    /// The scopes that include at least one required scope. No scope is required if the list is empty.
    pub any: Vec<String>,
    /// Whether the document contains `none`, as opposed to lists that happen to be empty.
    pub none: bool,
}

const SCOPES_FORM: &str = "`none`, a list of scopes that are all required, or `{ all: [...], any: [...] }`";

impl<'de> Deserialize<'de> for ScopesAsked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScopesVisitor)
    }
}

struct ScopesVisitor;

impl<'de> Visitor<'de> for ScopesVisitor {
    type Value = ScopesAsked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCOPES_FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == "none" {
            Ok(ScopesAsked { none: true, ..ScopesAsked::default() })
        } else {
            Err(E::custom(format!("invalid value `{}`; expected {SCOPES_FORM}", text.escape_debug())))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(scope) = seq.next_element()? {
            all.push(scope);
        }
        Ok(ScopesAsked { all, ..ScopesAsked::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[derive(Default)]
        struct Lists {
            all: Vec<String>,
            any: Vec<String>,
        }
        let Lists { all, any } = Lists::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(ScopesAsked { all, any, none: false })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ScopesAsked {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scopes".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let scope = generator.subschema_for::<super::form::Scope>();
        let list = schemars::json_schema!({ "type": "array", "items": scope });
        schemars::json_schema!({
            "description": "`none`, a list of scopes that are all required, or `{ all: [...], any: [...] }`.",
            "anyOf": [
                { "const": "none" },
                list.clone(),
                {
                    "type": "object",
                    "properties": { "all": list.clone(), "any": list },
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(text: &str) -> Option<u64> {
        Lifetime::parse(text).map(|l| l.duration().as_secs())
    }

    #[test]
    fn parses_lifetimes() {
        assert_eq!(lifetime("90s"), Some(90));
        assert_eq!(lifetime("15m"), Some(900));
        assert_eq!(lifetime("2h"), Some(7_200));
        assert_eq!(lifetime("30d"), Some(2_592_000));
        for wrong in ["", "s", "15", "15 m", "-1s", "1.5h", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(lifetime(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parses_rates() {
        let rate = |text: &str| Rate::parse(text).map(|rate| (rate.calls, rate.span.as_secs()));
        assert_eq!(rate("60/1m"), Some((60, 60)));
        assert_eq!(rate("5/1s"), Some((5, 1)));
        for wrong in
            ["", "/", "60", "60/m", "0/1m", "60/0s", "+6/1m", "-6/1m", "6 /1m", "1.5/1s", "6/1m/1", "4294967296/1s"]
        {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parses_scopes_in_three_forms() {
        let read = |text: &str| serde_json::from_str::<ScopesAsked>(text);
        assert!(read("\"none\"").unwrap().none);
        assert_eq!(read("[\"a\",\"b\"]").unwrap().all, ["a", "b"]);
        assert_eq!(read("{\"any\":[\"a\"]}").unwrap().any, ["a"]);
        for wrong in ["\"a\"", "1", "null", "[1]", "{\"some\":[]}"] {
            read(wrong).unwrap_err();
        }
        assert!(read("\"a\"").unwrap_err().to_string().contains("expected `none`"));
    }
}
