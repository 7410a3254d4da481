//! JSON numbers as text, compared without floats: a double rounds 9007199254740993 to 9007199254740992.

use std::cmp::Ordering;

/// Exponents beyond this are not compared. A number with such an exponent is in no request by accident.
const MOST_EXPONENT: i32 = 9_999;

/// Compares the exact values of two JSON numbers (RFC 8259, section 6). Neither number is expanded, so the cost is that of reading their
/// text.
///
/// Returns `None` if one of them is not a JSON number, or has an exponent beyond ±9999.
#[must_use]
pub fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Decimal::read(one)?, Decimal::read(other)?);
    // Between numbers with the same sign, the position of the first digit decides, and then the digits themselves.
    let magnitudes = one.position.cmp(&other.position).then_with(|| one.digits().cmp(other.digits()));
    let same_sign = match one.sign {
        0 => Ordering::Equal,
        1 => magnitudes,
        _ => magnitudes.reverse(),
    };
    Some(one.sign.cmp(&other.sign).then(same_sign))
}

/// A number: its sign, and its digits without zeros at the beginning and the end.
struct Decimal<'t> {
    /// -1, 0 or 1.
    sign: i8,
    /// The digits before the decimal point of the text.
    whole: &'t str,
    /// The digits after it.
    fraction: &'t str,
    /// The power of ten of the first digit, plus one.
    position: i32,
}

impl<'t> Decimal<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        if !is_digits(whole) || !is_digits(fraction) || whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let exponent = read_exponent(exponent)?;
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let significant = if whole.is_empty() { fraction.trim_start_matches('0') } else { fraction };
        let zeros = fraction.len() - significant.len();
        let before_point = i32::try_from(whole.len()).ok()? - i32::try_from(zeros).ok()?;
        let whole = if significant.is_empty() { whole.trim_end_matches('0') } else { whole };
        let sign = match (whole.is_empty() && significant.is_empty(), text.len() > unsigned.len()) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        };
        Some(Self { sign, whole, fraction: significant, position: before_point.checked_add(exponent)? })
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns an exponent between ±[`MOST_EXPONENT`], which may have a sign and zeros at its beginning.
fn read_exponent(text: &str) -> Option<i32> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !is_digits(unsigned) {
        return None;
    }
    let digits = unsigned.bytes().map(|digit| i32::from(digit - b'0'));
    let exponent = digits.fold(0_i32, |sum, digit| sum.saturating_mul(10).saturating_add(digit));
    (exponent <= MOST_EXPONENT).then_some(if text.starts_with('-') { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compares_exact_values() {
        for (less, greater) in [
            ("0", "1"),
            ("-1", "0"),
            ("-2", "-1"),
            ("-1", "1"),
            ("9", "10"),
            ("99.5", "99.50000000000000000001"),
            ("0.09", "0.1"),
            ("0.05", "0.5"),
            ("1e-9999", "1e-9998"),
            ("9.99e2", "1e3"),
            ("999", "1e3"),
            ("1000", "1.0001e3"),
            // These are the same double.
            ("9007199254740992", "9007199254740993"),
            ("1e308", "1e309"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
        ] {
            assert_eq!(compare(less, greater), Some(Ordering::Less), "{less} {greater}");
            assert_eq!(compare(greater, less), Some(Ordering::Greater), "{less} {greater}");
        }
    }

    #[test]
    fn spelling_does_not_change_the_value() {
        for (one, other) in [
            ("0", "-0"),
            ("0", "0.000"),
            ("0", "0e5"),
            ("1000", "1e3"),
            ("1000", "1E+3"),
            ("1000", "1000.000"),
            ("1000", "10000e-1"),
            ("1000", "0.001e6"),
            ("1000", "1.0e003"),
            ("100200", "1.002e5"),
            ("0.05", "5e-2"),
            ("-12.5", "-125e-1"),
        ] {
            assert_eq!(compare(one, other), Some(Ordering::Equal), "{one} {other}");
            assert_eq!(compare(other, one), Some(Ordering::Equal), "{one} {other}");
        }
    }

    #[test]
    fn compares_only_json_numbers() {
        for text in [
            "",
            "-",
            "--1",
            "+5",
            "05",
            "-05",
            "00",
            ".5",
            "5.",
            "1.e3",
            "1e",
            "1e+",
            "1e3.5",
            "1e3e3",
            "0x10",
            "1_000",
            "1,000",
            " 1",
            "1 ",
            "1.2.3",
            "NaN",
            "Infinity",
            "\u{663}",
            "1e10000",
            "1e-10000",
            "1e99999999999999999999",
        ] {
            assert_eq!(compare(text, "1"), None, "{text}");
            assert_eq!(compare("1", text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_integer_arithmetic(
            one in -10_000_i64..10_000,
            other in -10_000_i64..10_000,
            up in 0_u32..6,
            down in 0_u32..6,
        ) {
            let scaled = |number: i64| i128::from(number) * 10_i128.pow(up);
            let expected = scaled(one).cmp(&i128::from(other));
            prop_assert_eq!(compare(&format!("{one}e{up}"), &other.to_string()), Some(expected));
            prop_assert_eq!(compare(&format!("{one}e-{down}"), &format!("{other}e-{}", down + up)), Some(expected));
        }

        #[test]
        fn never_panics(one in "[-+.0-9eE]{0,40}", other in "[-+.0-9eE]{0,40}") {
            let order = compare(&one, &other);
            prop_assert_eq!(compare(&other, &one), order.map(Ordering::reverse));
        }
    }
}
