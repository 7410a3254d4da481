//! Times in arguments.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A point in time that an argument names; the default is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A fixed time, in seconds since 1970-01-01 UTC.
    Fixed(u64),
    /// A number of seconds after now, or before now if negative.
    FromNow(i64),
}

impl Default for Moment {
    fn default() -> Self {
        Self::FromNow(0)
    }
}

impl FromStr for Moment {
    type Err = String;

    /// Reads `2027-06-30T12:00:00Z`, the same without `Z` or a date alone in this machine's time zone, seconds since 1970, or a
    /// time relative to now, such as `-5m` or `+1h`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(offset) = offset(text) {
            return Ok(Self::FromNow(offset));
        }
        if let Ok(seconds) = text.parse() {
            return Ok(Self::Fixed(seconds));
        }
        let time = text.parse::<jiff::Timestamp>().ok().or_else(|| local(text, &TimeZone::system()));
        time.and_then(|time| u64::try_from(time.as_second()).ok()).map(Self::Fixed).ok_or_else(|| {
            "expected `2027-06-30T12:00:00Z`, `2027-06-30` or `2027-06-30T12:00` in local time, seconds since 1970, or a time \
             relative to now, such as `-5m`"
                .to_owned()
        })
    }
}

impl Moment {
    /// Returns the time in seconds since 1970-01-01 UTC. A relative time uses this machine's clock.
    #[must_use]
    pub fn resolve(self) -> u64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::FromNow(offset) => now().saturating_add_signed(offset),
        }
    }
}

/// Reads a time without an offset, or the first moment of a date, in a time zone. If a clock change skips the time, the later
/// moment is used; if it repeats the time, the earlier one.
fn local(text: &str, zone: &TimeZone) -> Option<jiff::Timestamp> {
    zone.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

/// Formats a time as RFC 3339, or as seconds if it is beyond that calendar.
#[must_use]
pub fn show(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// Returns the time that `+5m` or `-1h` names relative to `now`, or `None` for other text.
#[must_use]
pub fn relative(text: &str, now: u64) -> Option<u64> {
    offset(text).map(|offset| now.saturating_add_signed(offset))
}

/// Reads a duration such as `90s`, `15m`, `12h` or `30d`.
///
/// # Errors
/// States what to write.
pub fn span(text: &str) -> Result<Duration, String> {
    parse_span(text)
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a whole number and a unit, such as `90s`, `15m`, `12h` or `30d`".to_owned())
}

fn offset(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let seconds = i64::try_from(parse_span(text.strip_prefix(['+', '-'])?)?).ok()?;
    Some(if negative { -seconds } else { seconds })
}

fn parse_span(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_absolute_and_relative_times() {
        for (text, moment) in [
            ("1782820800", Moment::Fixed(1_782_820_800)),
            ("2026-06-30T12:00:00Z", Moment::Fixed(1_782_820_800)),
            ("-5m", Moment::FromNow(-300)),
            ("+1h", Moment::FromNow(3_600)),
            ("+30d", Moment::FromNow(2_592_000)),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        for text in ["", "now", "5m", "-5", "2026-13-01", "2026-06-30T25:00", "+5w", "-99999999999999999999d", "-1"] {
            text.parse::<Moment>().unwrap_err();
        }
    }

    #[test]
    fn reads_times_without_an_offset_as_local() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, moment) in [
            ("2026-06-30", "2026-06-29T22:00:00Z"),
            ("2026-06-30T12:00", "2026-06-30T10:00:00Z"),
            ("2026-06-30T12:00:01", "2026-06-30T10:00:01Z"),
            ("2026-06-30 12:00:01", "2026-06-30T10:00:01Z"),
        ] {
            assert_eq!(local(text, &zone).unwrap().to_string(), moment, "{text}");
        }
        assert!("2026-06-30".parse::<Moment>().is_ok());
        assert_eq!(local("2026-06-31", &zone), None);
    }

    #[test]
    fn shows_timestamps_in_rfc_3339() {
        assert_eq!(show(1_782_820_800), "2026-06-30T12:00:00Z");
        assert_eq!(show(u64::MAX), u64::MAX.to_string());
        assert_eq!(Moment::FromNow(i64::MIN).resolve(), 0);
    }

    #[test]
    fn resolves_relative_times_from_the_given_time() {
        assert_eq!(relative("-1m", 100), Some(40));
        assert_eq!(relative("+1m", 100), Some(160));
        assert_eq!(relative("-1h", 100), Some(0));
        assert_eq!(relative("100", 100), None);
    }
}
