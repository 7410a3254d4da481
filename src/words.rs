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

/// Whether every byte is printable ASCII that Rust's escapes, and JSON's, leave as it is: neither a quote nor a backslash.
pub(crate) fn are_plain(text: &[u8]) -> bool {
    let word = |word: u64| {
        let printable = word & HIGH == 0 && !has_below(word, 0x20) && word.wrapping_add(ONES) & HIGH == 0;
        printable && b"\"'\\".iter().all(|escaped| !has_below(word ^ (ONES * u64::from(*escaped)), 1))
    };
    all(text, word, |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\'))
}

/// Whether no byte is a control character below the space.
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) fn are_free_of_controls(text: &[u8]) -> bool {
    all(text, |word| !has_below(word, 0x20), |byte| byte >= 0x20)
}

/// Adds a number in decimal digits. Every decision writes some, and the formatting machinery takes a thousand instructions for
/// one.
pub(crate) fn push_decimal(text: &mut String, number: u64) {
    if number >= 10 {
        push_decimal(text, number / 10);
    }
    text.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or_default()));
}

fn all(text: &[u8], word: impl Fn(u64) -> bool, byte: impl Fn(u8) -> bool) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    words.iter().all(|bytes| word(u64::from_le_bytes(*bytes))) && rest.iter().all(|one| byte(*one))
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
        for number in [0, 9, 10, 99, 100, 1_234_567_890, u64::MAX] {
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
                assert_eq!(are_free_of_controls(&text), byte >= 0x20, "{byte} at {place}");
                let plain = text.escape_ascii().to_string().as_bytes() == text;
                assert_eq!(are_plain(&text), plain, "{byte} at {place}");
            }
        }
        assert!(are_visible_unescaped(b"") && are_free_of_controls("é\u{7f} ~~~~~~~~~".as_bytes()));
    }
}
