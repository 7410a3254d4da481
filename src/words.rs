//! Text in few instructions: looked at eight bytes at a time, which Wasm otherwise does one by one, and numbers in it.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Whether every byte is visible ASCII, from `!` to `~`, and none of them is `%`.
pub(crate) fn are_visible_unescaped(text: &[u8]) -> bool {
    let word = |word: u64| {
        let visible = word & HIGH == 0 && !has_below(word, 0x21) && word.wrapping_add(ONES) & HIGH == 0;
        visible && !has_below(word ^ (ONES * b'%' as u64), 1)
    };
    all(text, word, |byte| byte.is_ascii_graphic() && byte != b'%')
}

/// Whether every byte is printable ASCII, from the space to `~`.
pub(crate) fn are_printable(text: &[u8]) -> bool {
    all(text, is_printable, |byte| matches!(byte, b' '..=b'~'))
}

/// Whether eight bytes are printable ASCII.
fn is_printable(word: u64) -> bool {
    word & HIGH == 0 && !has_below(word, 0x20) && word.wrapping_add(ONES) & HIGH == 0
}

/// Whether every byte is printable ASCII that Rust's escapes, and JSON's, leave as it is: neither a quote nor a backslash.
pub(crate) fn are_plain(text: &[u8]) -> bool {
    let word = |word: u64| {
        is_printable(word) && b"\"'\\".iter().all(|escaped| !has_below(word ^ (ONES * u64::from(*escaped)), 1))
    };
    all(text, word, |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\'))
}

/// Whether JSON takes every byte of a string as it is: no control character, quote or backslash.
pub(crate) fn are_unescaped_in_json(text: &[u8]) -> bool {
    let word = |word: u64| {
        let below = |word: u64, bound: u64| word.wrapping_sub(ONES.wrapping_mul(bound)) & !word;
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH == 0
    };
    all(text, word, |byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\'))
}

/// Whether no byte is a control character below the space.
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) fn are_free_of_controls(text: &[u8]) -> bool {
    all(text, |word| !has_below(word, 0x20), |byte| byte >= 0x20)
}

/// Adds a number in decimal digits. Every decision writes some, and the formatting machinery takes a thousand instructions for
/// one.
pub(crate) fn push_decimal(text: &mut String, number: u64) {
    fn push(text: &mut String, number: u32) {
        if number >= 10 {
            push(text, number / 10);
        }
        text.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or_default()));
    }
    match u32::try_from(number) {
        Ok(small) => push(text, small),
        Err(_) => with_decimal(number, |digits| text.push_str(digits)),
    }
}

/// Hands over a number in decimal digits.
pub(crate) fn with_decimal<T>(number: u64, take: impl FnOnce(&str) -> T) -> T {
    let mut digits = [b'0'; 20];
    let mut places = digits.iter_mut().rev();
    // Dividing 64 bits takes a multiplication of 128, which Wasm lacks: it is done once for nine digits.
    let (mut left, mut written) = (number, 0);
    while left > u64::from(u32::MAX) {
        let mut nine = u32::try_from(left % 1_000_000_000).unwrap_or_default();
        left /= 1_000_000_000;
        for place in places.by_ref().take(9) {
            *place = b'0' + u8::try_from(nine % 10).unwrap_or_default();
            nine /= 10;
        }
        written += 9;
    }
    let mut small = u32::try_from(left).unwrap_or_default();
    for place in places {
        *place = b'0' + u8::try_from(small % 10).unwrap_or_default();
        small /= 10;
        written += 1;
        if small == 0 {
            break;
        }
    }
    let written = digits.get(digits.len() - written..).unwrap_or_default();
    take(std::str::from_utf8(written).unwrap_or_default())
}

/// The low 32 bits as eight hexadecimal digits, worked out side by side: Wasm would do one after the other.
pub(crate) fn hexadecimal(number: u64) -> [u8; 8] {
    let spread = number & 0xffff_ffff;
    let spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    let spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | (spread << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in each byte that holds ten or more, which is a letter.
    let letters = ((spread + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn all(text: &[u8], word: impl Fn(u64) -> bool, byte: impl Fn(u8) -> bool) -> bool {
    let word = |bytes: &[u8; 8]| word(u64::from_le_bytes(*bytes));
    match text.last_chunk() {
        // The last eight are looked at together, whichever of them were looked at before.
        Some(last) => text.as_chunks().0.iter().all(word) && word(last),
        None => text.iter().all(|one| byte(*one)),
    }
}

/// Whether a byte of the word is less than `bound`, which is at most 128.
fn has_below(word: u64, bound: u64) -> bool {
    word.wrapping_sub(ONES.wrapping_mul(bound)) & !word & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everywhere() {
        for number in [
            0,
            9,
            10,
            99,
            100,
            4_294_967_295,
            4_294_967_296,
            1_000_000_000,
            5_000_000_000,
            1_795_000_000_000,
            1_234_567_890,
            u64::MAX,
        ] {
            let mut text = String::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn a_byte_is_judged_alike_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for place in 0..9 {
                let mut text = *b"visible!!";
                text[place] = byte;
                let visible = byte.is_ascii_graphic() && byte != b'%';
                assert_eq!(are_visible_unescaped(&text), visible, "{byte} at {place}");
                let as_it_is = byte >= 0x20 && !b"\"\\".contains(&byte);
                assert_eq!(are_unescaped_in_json(&text), as_it_is, "{byte} at {place}");
                assert_eq!(are_free_of_controls(&text), byte >= 0x20, "{byte} at {place}");
                assert_eq!(are_printable(&text), byte == b' ' || byte.is_ascii_graphic(), "{byte} at {place}");
                let plain = text.escape_ascii().to_string().as_bytes() == text;
                assert_eq!(are_plain(&text), plain, "{byte} at {place}");
            }
        }
        assert!(are_visible_unescaped(b"") && are_free_of_controls("é\u{7f} ~~~~~~~~~".as_bytes()));
    }
}
