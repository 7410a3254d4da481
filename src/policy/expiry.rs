//! Parses start and end times: a day in UTC, or a moment in RFC 3339.

use crate::text::time::Timestamp;

/// Returns the first moment after the validity. `2027-06-30` ends with that day in UTC; an RFC 3339 timestamp ends at that
/// moment.
#[must_use]
pub fn parse_expiry(text: &str) -> Option<Timestamp> {
    match text.split_once(['T', 't']) {
        None => seconds_of_day(text)?.checked_add(86_400).map(Timestamp::from_secs),
        Some((date, time)) => moment(date, time),
    }
}

/// Returns the first moment of the validity: the start of a day in UTC, or an RFC 3339 timestamp.
pub(super) fn parse_start(text: &str) -> Option<Timestamp> {
    match text.split_once(['T', 't']) {
        None => seconds_of_day(text).map(Timestamp::from_secs),
        Some((date, time)) => moment(date, time),
    }
}

fn moment(date: &str, time: &str) -> Option<Timestamp> {
    let (clock, offset) = match time.strip_suffix(['Z', 'z']) {
        Some(clock) => (clock, 0),
        None => {
            let split = time.rfind(['+', '-'])?;
            let (clock, offset) = time.split_at_checked(split)?;
            let (sign, hours_minutes) = offset.split_at_checked(1)?;
            let (hours, minutes) = hours_minutes.split_once(':')?;
            let seconds =
                digits(hours, 2, 23)?.checked_mul(3_600)?.checked_add(digits(minutes, 2, 59)?.checked_mul(60)?)?;
            let seconds = i64::try_from(seconds).ok()?;
            (clock, if sign == "-" { -seconds } else { seconds })
        }
    };
    let clock = match clock.split_once('.') {
        // Fractions of a second are dropped, so a start or end takes effect at the beginning of its second.
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) => whole,
        Some(_) => return None,
        None => clock,
    };
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // Second 60 is a leap second (RFC 3339, section 5.7).
    let of_day = digits(hour, 2, 23)? * 3_600 + digits(minute, 2, 59)? * 60 + digits(second, 2, 60)?;
    seconds_of_day(date)?.checked_add(of_day)?.checked_add_signed(offset.checked_neg()?).map(Timestamp::from_secs)
}

/// Returns the seconds from the epoch to the start of a day `YYYY-MM-DD`, from 1970 on.
fn seconds_of_day(date: &str) -> Option<u64> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = (digits(year, 4, 9_999)?, digits(month, 2, 12)?, digits(day, 2, 31)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1_970 || month == 0 || day == 0 || day > length {
        return None;
    }
    // Computes days from a civil date. Years start in March, which makes the leap day the last day of the year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)?.checked_mul(86_400)
}

fn digits(text: &str, count: usize, most: u64) -> Option<u64> {
    if text.len() != count || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_date_includes_its_whole_day() {
        let end = |text| parse_expiry(text).map(Timestamp::as_secs);
        assert_eq!(end("1970-01-01"), Some(86_400));
        assert_eq!(end("2027-06-30"), Some(1_814_400_000));
        assert_eq!(end("2024-02-29"), Some(1_709_251_200));
        assert_eq!(end("2000-02-29"), Some(951_868_800));
        assert_eq!(end("2027-06-30T12:00:00Z"), Some(1_814_356_800));
        assert_eq!(end("2027-06-30T12:00:00.25+02:00"), Some(1_814_349_600));
        assert_eq!(end("2027-06-30t12:00:00-05:30"), Some(1_814_376_600));
    }

    #[test]
    fn a_start_date_begins_at_midnight() {
        let start = |text| parse_start(text).map(Timestamp::as_secs);
        assert_eq!(start("1970-01-01"), Some(0));
        assert_eq!(start("2027-06-30"), Some(1_814_313_600));
        assert_eq!(start("2027-06-30T12:00:00Z"), Some(1_814_356_800));
        assert_eq!(start("2027-06-31"), None);
    }

    #[test]
    fn rejects_invalid_dates() {
        for text in [
            "",
            "2027",
            "2027-6-30",
            "2027-06-31",
            "2027-02-29",
            "2100-02-29",
            "2027-00-01",
            "2027-13-01",
            "1969-12-31",
            "2027-06-30 12:00:00Z",
            "2027-06-30T12:00Z",
            "2027-06-30T24:00:00Z",
            "2027-06-30T12:00:00",
            "2027-06-30T",
            "2027-06-30T12:00:00+2:00",
            "2027-06-30T12:00:00.Z",
            "tomorrow",
            "+027-06-30",
            "1970-01-01T00:00:00+01:00",
        ] {
            assert_eq!(parse_expiry(text), None, "{text}");
        }
    }
}
