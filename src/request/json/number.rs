//! Numbers as decimal text. Nothing is rounded and nothing is expanded, so `1e9999` costs as much as `1`.

use std::cmp::Ordering;

/// The maximum length of a number, in characters. Longer ones are rejected wherever they are.
pub(crate) const MOST_LENGTH: usize = 128;

/// The maximum exponent that is compared, as written, positive or negative.
const MOST_EXPONENT: i32 = 9_999;

/// A number that different programs print differently after reading it as a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InexactNumber;

/// Compares two numbers exactly. Returns `None` if a text is not a JSON number of at most [`MOST_LENGTH`] characters, or if its exponent
/// is beyond ±9999.
pub(crate) fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Decimal::read(one)?, Decimal::read(other)?);
    Some(one.sign().cmp(&other.sign()).then_with(|| {
        let magnitudes = one.point.cmp(&other.point).then_with(|| one.digits().cmp(other.digits()));
        if one.is_negative { magnitudes.reverse() } else { magnitudes }
    }))
}

/// Returns whether a text is the only usual form of an integer: decimal digits without a leading zero, and `-` before those of a negative
/// one.
pub(crate) fn is_integer(text: &str) -> bool {
    match text.strip_prefix('-').unwrap_or(text).as_bytes() {
        b"0" => text == "0",
        digits => matches!(digits, [b'1'..=b'9', ..]) && digits.iter().all(u8::is_ascii_digit),
    }
}

/// Returns whether a text is a JSON number of any length.
pub(crate) fn is_number(text: &str) -> bool {
    length(text.as_bytes()) == Some(text.len())
}

/// Returns the length of the number at the start of a text, or `None` if there is none (RFC 8259, section 6).
pub(super) fn length(text: &[u8]) -> Option<usize> {
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    rest = match rest.strip_prefix(b"0") {
        Some(rest) => rest,
        None => after_digits(rest)?,
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = after_digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = after_digits(exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent))?;
    }
    Some(text.len() - rest.len())
}

/// Skips digits, of which there must be at least one.
fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.get(count..).filter(|_| count > 0)
}

/// Writes a number in its canonical form (RFC 8785, section 3.2.2.3), which is how ECMAScript prints a double.
///
/// A double keeps each decimal of at most 15 digits within its range (IEEE 754). The digits that ECMAScript prints are therefore those of
/// the text, and no arithmetic is needed.
///
/// # Errors
/// [`InexactNumber`] for a number with more digits, or out of range.
pub(super) fn write_canonical(text: &str, write: &mut dyn FnMut(&[u8])) -> Result<(), InexactNumber> {
    const ZEROS: &[u8] = b"000000000000000000000";
    /// Within this range, a double has its full precision.
    const RANGE: std::ops::RangeInclusive<i32> = -299..=300;
    let number = Decimal::read(text).ok_or(InexactNumber)?;
    let digits: Vec<u8> = number.digits().collect();
    if digits.is_empty() {
        write(b"0");
        return Ok(());
    }
    if digits.len() > 15 || !RANGE.contains(&number.point) {
        return Err(InexactNumber);
    }
    if number.is_negative {
        write(b"-");
    }
    // The number of digits before the point, if it is written without an exponent.
    let whole = usize::try_from(number.point).unwrap_or_default();
    match number.point {
        1..=21 => match digits.split_at_checked(whole) {
            None => {
                write(&digits);
                write(ZEROS.get(..whole - digits.len()).unwrap_or_default());
            }
            Some((before, [])) => write(before),
            Some((before, after)) => {
                write(before);
                write(b".");
                write(after);
            }
        },
        -5..=0 => {
            let zeros = usize::try_from(number.point.unsigned_abs()).unwrap_or_default();
            write(b"0.");
            write(ZEROS.get(..zeros).unwrap_or_default());
            write(&digits);
        }
        point => {
            let (first, others) = digits.split_at_checked(1).unwrap_or_default();
            write(first);
            if !others.is_empty() {
                write(b".");
                write(others);
            }
            write(if point > 0 { b"e+" } else { b"e-" });
            write(itoa::Buffer::new().format(u64::from((point - 1).unsigned_abs())).as_bytes());
        }
    }
    Ok(())
}

/// A number: 0.`digits` × 10^`point`.
#[derive(Debug, Clone, Copy)]
struct Decimal<'t> {
    is_negative: bool,
    /// From the first to the last digit that is not zero. A point may be between them. Empty for zero.
    significant: &'t str,
    /// Zero for zero.
    point: i32,
}

impl<'t> Decimal<'t> {
    fn read(text: &'t str) -> Option<Self> {
        if text.len() > MOST_LENGTH || !is_number(text) {
            return None;
        }
        let magnitude = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let exponent = read_exponent(exponent)?;
        let begin = mantissa.trim_start_matches(['0', '.']);
        let significant = begin.trim_end_matches(['0', '.']);
        if significant.is_empty() {
            return Some(Self { is_negative: false, significant, point: 0 });
        }
        let position = |index: usize| i32::try_from(index).ok();
        let whole = position(mantissa.find('.').unwrap_or(mantissa.len()))?;
        let first = position(mantissa.len() - begin.len())?;
        // The point itself is one character.
        let point = if first < whole { whole - first } else { whole - first + 1 };
        Some(Self { is_negative: text.starts_with('-'), significant, point: point + exponent })
    }

    fn sign(self) -> i8 {
        match (self.significant, self.is_negative) {
            ("", _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// The digits from the first to the last that is not zero. The order of two numbers with the same point is that of these texts.
    fn digits(self) -> impl Iterator<Item = u8> + use<'t> {
        self.significant.bytes().filter(|byte| *byte != b'.')
    }
}

/// Reads an exponent, or returns `None` if it is too large.
fn read_exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let magnitude = digits
        .bytes()
        .fold(0_i32, |value, digit| value.saturating_mul(10).saturating_add(i32::from(digit.saturating_sub(b'0'))));
    let exponent = if text.starts_with('-') { -magnitude } else { magnitude };
    (magnitude <= MOST_EXPONENT).then_some(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Result<String, InexactNumber> {
        let mut out = Vec::new();
        write_canonical(text, &mut |piece| out.extend_from_slice(piece)).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn compares_numbers_in_any_notation() {
        let ascending = [
            "-1e9999",
            "-1e400",
            "-1e399",
            "-99999999999999999999999999999999999999",
            "-1000.5",
            "-1000",
            "-1",
            "-0.1",
            "-1e-9999",
            "0",
            "1e-9999",
            "1e-400",
            "0.09",
            "0.1",
            "0.10000000000000000000000000000000000001",
            "0.11",
            "1",
            "1.5",
            "9",
            "10",
            "99.99",
            "99.999",
            "100",
            "999.9999999999999999999999999999",
            "1000",
            "1000.0000000000000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "1e400",
            "1.1e400",
            "2e400",
            "1e9999",
        ];
        for (index, one) in ascending.iter().enumerate() {
            for (other_index, other) in ascending.iter().enumerate() {
                assert_eq!(compare(one, other), Some(index.cmp(&other_index)), "{one} and {other}");
            }
        }
        for equal in [
            &["0", "-0", "0.000", "-0.0", "0e9999", "0E-7"][..],
            &["1000", "1e3", "1E+3", "1000.0", "1000.000", "0.001e6", "10000e-1", "100.0e1", "1e0003"],
            &["-12.5", "-1.25e1", "-125e-1", "-0.0125E3", "-12.50"],
            &["1e9999", "1.0e9999", "1e+09999"],
            &["100", "1e2", "100.0"],
        ] {
            for (one, other) in equal.iter().flat_map(|one| equal.iter().map(move |other| (one, other))) {
                assert_eq!(compare(one, other), Some(Ordering::Equal), "{one} and {other}");
            }
        }
    }

    #[test]
    fn compares_nothing_but_numbers() {
        for text in [
            "",
            " ",
            "-",
            "+1",
            " 1",
            "1 ",
            "1\n",
            "01",
            "-01",
            "00",
            ".5",
            "1.",
            "1e",
            "1e+",
            "0x10",
            "1_000",
            "1,000",
            "1.000,5",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e10000",
            "-1e10000",
            "1e-10000",
            "0e10000",
            "1e99999999999999999999",
            "1e4294967297",
            "1e-18446744073709551617",
            "1f",
            "\"1\"",
            "null",
            "true",
            "\u{661}",
            "\u{ff11}",
            "\u{2212}1",
            "1\0",
            "--1",
            "1e1.0",
            "1-1",
            "1e1e1",
        ] {
            assert_eq!(compare(text, "1"), None, "{text:?}");
            assert_eq!(compare("1", text), None, "{text:?}");
        }
        assert_eq!(compare(&"9".repeat(128), "1"), Some(Ordering::Greater));
        assert_eq!(compare(&"9".repeat(129), "1"), None);
    }

    #[test]
    fn integers_have_one_form() {
        for text in ["0", "1", "-1", "42", "-42", "10", "18446744073709551616"] {
            assert!(is_integer(text), "{text}");
        }
        for text in [
            "", "-", "-0", "00", "01", "-01", "+1", "1.0", "4.2e1", "1e0", " 1", "1 ", "--1", "\u{661}", "0x1", "a",
            "1a",
        ] {
            assert!(!is_integer(text), "{text}");
        }
    }

    #[test]
    fn writes_numbers_like_ecmascript() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e5", "0"),
            ("1.0", "1"),
            ("-1.50", "-1.5"),
            ("1e0", "1"),
            ("100", "100"),
            ("1e2", "100"),
            ("0.01e4", "100"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("123456789012345e6", "123456789012345000000"),
            ("123456789012345e7", "1.23456789012345e+21"),
            ("333333333333330", "333333333333330"),
            ("0.000001", "0.000001"),
            ("0.0000012", "0.0000012"),
            ("0.0000001", "1e-7"),
            ("-0.00000012", "-1.2e-7"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("12.345", "12.345"),
            ("1e299", "1e+299"),
            ("1e-300", "1e-300"),
        ] {
            assert_eq!(written(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "1234567890123456",
            "0.1234567890123456",
            "9007199254740993",
            "3.141592653589793",
            "1e300",
            "1e-301",
            "1e308",
            "1e999",
            "5e-324",
            "1e99999",
        ] {
            assert_eq!(written(text), Err(InexactNumber), "{text}");
        }
    }

    /// A number as text, and its digits multiplied by the 20th power of ten.
    fn scaled() -> impl Strategy<Value = (String, i128)> {
        let parts = (any::<bool>(), 0..1_000_000_000_000_i64, 0..9_usize, -8..=5_i32, 0..4_usize);
        parts.prop_map(|(is_negative, digits, fraction, exponent, zeros)| {
            let sign = if is_negative { "-" } else { "" };
            let padded = format!("{digits:0>width$}", width = fraction + 1);
            let (whole, decimals) = padded.split_at(padded.len() - fraction);
            let decimals = format!("{decimals}{}", "0".repeat(zeros));
            let point = if decimals.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{point}{decimals}e{exponent}");
            let power = u32::try_from(20 + exponent - i32::try_from(fraction).unwrap()).unwrap();
            let value = i128::from(digits) * 10_i128.pow(power);
            (text, if is_negative { -value } else { value })
        })
    }

    proptest! {
        #[test]
        fn compares_like_integer_arithmetic((one, one_value) in scaled(), (other, other_value) in scaled()) {
            prop_assert_eq!(compare(&one, &other), Some(one_value.cmp(&other_value)), "{} and {}", one, other);
        }

        #[test]
        fn numbers_are_equal_in_all_notations((text, value) in scaled(), shift in -5..=5_i32) {
            let shifted = format!("{value}e{}", shift - 20);
            let (mantissa, exponent) = text.split_once('e').unwrap();
            let other = format!("{mantissa}E{:+}", exponent.parse::<i32>().unwrap() + shift);
            prop_assert_eq!(compare(&other, &shifted), Some(Ordering::Equal), "{} and {}", other, shifted);
        }

        #[test]
        fn the_canonical_form_is_that_of_the_double(text in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,5})?(e[+-]?[12]?[0-9]{1,2})?") {
            let double = text.parse::<f64>().unwrap();
            let expected = serde_json_canonicalizer::to_string(&double).unwrap();
            match written(&text) {
                Ok(written) => {
                    prop_assert_eq!(&written, &expected, "{}", text);
                    prop_assert_eq!(compare(&written, &text), Some(Ordering::Equal));
                }
                // All of these have at most fifteen digits.
                Err(InexactNumber) => prop_assert!(double.abs() >= 1e300 || double.abs() < 1e-300, "{}", text),
            }
        }
    }
}
