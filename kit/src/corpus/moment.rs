//! Times in cases: always relative to a case's `now`, never calendar dates.

use callgate::text::time::Timestamp;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Number, Value};
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A time before or after `now`: `+5m`, `-30s`, `+500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    span: Duration,
    before: bool,
}

impl Offset {
    /// Returns whether a request at this offset needs a clock that can be moved.
    #[must_use]
    pub fn moves_the_clock(self) -> bool {
        !self.span.is_zero()
    }

    /// Returns the time at this distance from `now`.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Timestamp {
        if self.before { now.minus(self.span) } else { now.plus(self.span) }
    }

    fn parse(text: &str) -> Option<Self> {
        let (before, span) = match text.split_at_checked(1)? {
            ("+", span) => (false, span),
            ("-", span) => (true, span),
            _ => return None,
        };
        let (number, unit) = span.split_at_checked(span.find(|c: char| !c.is_ascii_digit())?)?;
        let number: u64 = number.parse().ok()?;
        let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
        let span = match unit {
            "ms" => Duration::from_millis(number),
            "s" => seconds(1)?,
            "m" => seconds(60)?,
            "h" => seconds(3_600)?,
            "d" => seconds(86_400)?,
            _ => return None,
        };
        Some(Self { span, before })
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "invalid relative time `{}`; expected a form such as `+5m`, `-30s` or `+500ms`",
                text.escape_debug()
            ))
        })
    }
}

/// Replaces `now`, `now+5m` and similar values with numbers, and `{ repeat: [a, 5000] }` with text.
pub(super) fn fill(claims: &Value, now: Timestamp) -> Value {
    match claims {
        Value::String(text) => match numeric_date(text, now) {
            Some(number) => Value::Number(number),
            None => claims.clone(),
        },
        Value::Array(items) => items.iter().map(|item| fill(item, now)).collect(),
        Value::Object(members) => match repeat(members) {
            Some(text) => Value::String(text),
            None => members.iter().map(|(name, value)| (name.clone(), fill(value, now))).collect(),
        },
        other => other.clone(),
    }
}

/// Replaces `${now+5m}` and similar expressions in raw text with numbers.
pub(super) fn fill_text(text: &[u8], now: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.windows(2).position(|window| window == b"${") {
        let (before, from) = rest.split_at(start);
        let end = from.iter().position(|byte| *byte == b'}');
        let inside = end.and_then(|end| from.get(2..end)).and_then(|inside| std::str::from_utf8(inside).ok());
        out.extend_from_slice(before);
        match inside.and_then(|inside| numeric_date(inside, now)) {
            Some(number) => {
                out.extend_from_slice(number.to_string().as_bytes());
                rest = from.get(end.unwrap_or_default() + 1..).unwrap_or_default();
            }
            None => {
                out.extend_from_slice(b"${");
                rest = from.get(2..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Returns the value of `now` or `now+5m` in seconds since the epoch (RFC 7519, section 2), with a fraction if there is one.
fn numeric_date(text: &str, now: Timestamp) -> Option<Number> {
    let moment = match text.strip_prefix("now")? {
        "" => now,
        offset => Offset::parse(offset)?.from(now),
    };
    if moment.as_nanos().is_multiple_of(NANOS_PER_SECOND) {
        return Some(moment.as_secs().into());
    }
    Number::from_f64(Duration::from_nanos(moment.as_nanos()).as_secs_f64())
}

fn repeat(members: &serde_json::Map<String, Value>) -> Option<String> {
    if members.len() != 1 {
        return None;
    }
    let (text, times): (String, usize) = serde_json::from_value(members.get("repeat")?.clone()).ok()?;
    super::bytes::repeated(&text, times).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    #[test]
    fn fill_replaces_times_and_keeps_other_values() {
        let claims = json!({
            "exp": "now+5m", "nbf": "now", "iat": "now-500ms", "sub": "nowhere", "at": ["now+1d"],
            "long": { "repeat": ["ab", 2] }, "not": { "repeat": 1 },
        });
        assert_eq!(
            fill(&claims, NOW),
            json!({
                "exp": 1_000_300, "nbf": 1_000_000, "iat": 999_999.5, "sub": "nowhere", "at": [1_086_400],
                "long": "abab", "not": { "repeat": 1 },
            })
        );
    }

    #[test]
    fn fill_text_replaces_only_time_placeholders() {
        let text = fill_text(b"{\"exp\":${now+5m},\"x\":\"${y}\",\"nbf\":${now}}${", NOW);
        assert_eq!(text, b"{\"exp\":1000300,\"x\":\"${y}\",\"nbf\":1000000}${");
    }

    #[test]
    fn offsets_require_a_sign_and_a_unit() {
        assert_eq!(Offset::parse("+61s").unwrap().from(NOW), Timestamp::from_secs(1_000_061));
        assert_eq!(Offset::parse("-1h").unwrap().from(NOW), Timestamp::from_secs(996_400));
        for wrong in ["", "+", "5m", "+5", "+m", "+5w", "+1.5m", "+5 m", "+-5m", "+99999999999999999999s"] {
            assert_eq!(Offset::parse(wrong), None, "{wrong}");
        }
        let message = serde_json::from_value::<Offset>(json!("5m")).unwrap_err().to_string();
        assert!(message.contains("such as `+5m`"), "{message}");
    }
}
