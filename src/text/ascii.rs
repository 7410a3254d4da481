//! Text and number processing with few instructions, based on SIMD.
//!
//! Sixteen bytes are processed together, each independently of the others. Compilers translate that to a few vector instructions, whereas
//! a loop that can end early processes single bytes.

/// As many bytes as a vector holds.
type Chunk = [u8; 16];

/// Returns whether every byte is visible ASCII, from `!` to `~`, and not `%`.
pub(crate) fn are_visible_unescaped(text: &[u8]) -> bool {
    every(text, |chunk| within::<b'!', b'~'>(chunk) & lacks::<b'%'>(chunk))
}

/// Returns whether every byte is printable ASCII, from the space to `~`.
pub(crate) fn are_printable(text: &[u8]) -> bool {
    every(text, within::<b' ', b'~'>)
}

/// Returns whether every byte is printable ASCII that Rust's and JSON's escaping leave unchanged: no quote and no backslash.
#[inline]
pub(crate) fn needs_no_escape(text: &[u8]) -> bool {
    every(text, |chunk| {
        within::<b' ', b'~'>(chunk) & lacks::<b'"'>(chunk) & lacks::<b'\''>(chunk) & lacks::<b'\\'>(chunk)
    })
}

/// Returns whether a JSON string can contain every byte unescaped: no control character, quote or backslash.
#[inline]
pub(crate) fn are_unescaped_in_json(text: &[u8]) -> bool {
    every(text, |chunk| within::<b' ', 0xff>(chunk) & lacks::<b'"'>(chunk) & lacks::<b'\\'>(chunk))
}

/// Returns whether no byte is a control character below the space.
#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
pub(crate) fn are_free_of_controls(text: &[u8]) -> bool {
    every(text, within::<b' ', 0xff>)
}

/// Returns whether every byte is a letter, a digit or one of `-`, `.`, `_`, `~` and `/`. Most paths contain only these.
#[inline]
pub(crate) fn are_unreserved_or_slashes(text: &[u8]) -> bool {
    every(text, |chunk| {
        let other = |byte| is_between(byte, b'-', b'9') | (byte == b'_') | (byte == b'~');
        all(chunk, |byte| is_between(byte | 0x20, b'a', b'z') | other(byte))
    })
}

/// Returns whether every byte is a lower-case letter, a digit or one of `-`, `.` and `_`. Most hosts contain only these.
pub(crate) fn are_lower_case_names(text: &[u8]) -> bool {
    every(text, |chunk| {
        let known = |byte| is_between(byte, b'a', b'z') | is_between(byte, b'-', b'9') | (byte == b'_');
        all(chunk, known) & lacks::<b'/'>(chunk)
    })
}

/// Returns whether every byte is unreserved in RFC 3986 (section 2.3).
pub(crate) fn are_unreserved(text: &[u8]) -> bool {
    are_unreserved_or_slashes(text) && is_without::<b'/'>(text)
}

/// Returns the bytes with all letters in lower case.
pub(crate) fn in_lower_case<const N: usize>(mut chunk: [u8; N]) -> [u8; N] {
    for byte in &mut chunk {
        *byte |= u8::from(byte.is_ascii_uppercase()) << 5;
    }
    chunk
}

/// Returns whether a text does not contain a byte.
pub(crate) fn is_without<const BYTE: u8>(text: &[u8]) -> bool {
    every(text, lacks::<BYTE>)
}

/// Returns whether two texts are equal. The comparison of slices works byte by byte in Wasm.
pub(crate) fn bytes_eq(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && if one.len() < 16 { same_short(one, other) } else { same_long(one, other) }
}

/// Compares texts of equal length below sixteen.
fn same_short(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> Option<bool> {
        Some(one.first_chunk::<N>()? == other.first_chunk()? && one.last_chunk::<N>()? == other.last_chunk()?)
    }
    let bytes = || one.iter().zip(other).all(|(one, other)| one == other);
    ends::<8>(one, other).or_else(|| ends::<4>(one, other)).unwrap_or_else(bytes)
}

/// Compares texts of equal length from sixteen.
#[inline(never)] // Keeps the stack frame out of the path for short texts.
fn same_long(one: &[u8], other: &[u8]) -> bool {
    let ((long, rest), (other_long, other_rest)) = (one.as_chunks::<64>(), other.as_chunks::<64>());
    long.iter().zip(other_long).all(|(one, other)| pairwise(one, other, |one, other| one == other))
        && every_pair(rest, other_rest, |one, other| pairwise(one, other, |one, other| one == other))
}

/// Returns whether two texts have equal length and `alike` holds for each sixteen bytes of one and those of the other.
pub(crate) fn every_pair(one: &[u8], other: &[u8], alike: impl Fn(&Chunk, &Chunk) -> bool) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.last_chunk(), other.last_chunk()) {
        (Some(last), Some(other_last)) => {
            let mut pairs = one.as_chunks().0.iter().zip(other.as_chunks().0);
            pairs.all(|(one, other)| alike(one, other)) && alike(last, other_last)
        }
        _ => gathered(one).zip(gathered(other)).is_none_or(|(one, other)| alike(&one, &other)),
    }
}

/// Returns whether a condition holds for every two bytes at the same index.
pub(crate) fn pairwise<const N: usize>(one: &[u8; N], other: &[u8; N], alike: impl Fn(u8, u8) -> bool) -> bool {
    one.iter().zip(other).fold(true, |all, (one, other)| all & alike(*one, *other))
}

/// Folds a text in steps of sixteen bytes. The last step covers the last sixteen bytes, which may overlap with the step before. Texts of
/// equal length result in the same steps only if they are equal.
pub(crate) fn fold<T>(text: &[u8], begin: T, mut take: impl FnMut(T, &Chunk) -> T) -> T {
    match text.last_chunk() {
        Some(last) => {
            let before = text.as_chunks().0.iter().fold(begin, &mut take);
            take(before, last)
        }
        None => match gathered(text) {
            Some(chunk) => take(begin, &chunk),
            None => begin,
        },
    }
}

/// Returns whether every sixteen bytes of a text pass. The last check covers the last sixteen bytes, which may overlap with the check
/// before.
#[inline]
fn every(text: &[u8], pass: impl Fn(&Chunk) -> bool) -> bool {
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().all(&pass) && pass(last),
        None => gathered(text).is_none_or(|chunk| pass(&chunk)),
    }
}

/// Returns the bytes of a text of at most sixteen bytes, some of them repeated. Their positions depend only on the text's length. Returns
/// `None` if the text is empty.
#[inline(never)] // If compilers know the further use, they process the bytes one by one.
fn gathered(text: &[u8]) -> Option<Chunk> {
    let join = |low: u64, high: u64| (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return Some(join(u64::from_le_bytes(*first), u64::from_le_bytes(*last)));
    }
    let twice = |low: u32, high: u32| {
        let half = u64::from(high) << 32 | u64::from(low);
        Some(join(half, half))
    };
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return twice(u32::from_le_bytes(*first), u32::from_le_bytes(*last));
    }
    let (first, middle, last) = (*text.first()?, *text.get(text.len() / 2)?, *text.last()?);
    let few = u32::from_le_bytes([first, middle, last, last]);
    twice(few, few)
}

fn within<const FIRST: u8, const LAST: u8>(chunk: &Chunk) -> bool {
    all(chunk, |byte| is_between(byte, FIRST, LAST))
}

fn lacks<const BYTE: u8>(chunk: &Chunk) -> bool {
    all(chunk, |byte| byte != BYTE)
}

fn all(chunk: &Chunk, pass: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(true, |all, byte| all & pass(*byte))
}

/// Returns whether a byte is in a range. This needs two instructions fewer than two comparisons.
fn is_between(byte: u8, first: u8, last: u8) -> bool {
    byte.wrapping_sub(first) <= last.wrapping_sub(first)
}

/// Formats 128 bits as hexadecimal digits.
pub(crate) fn hexadecimal(high: u64, low: u64) -> [u8; 32] {
    let mut digits = [0; 32];
    for (to, part) in digits.as_chunks_mut().0.iter_mut().zip([high >> 32, high, low >> 32, low]) {
        *to = eight_digits(part as u32);
    }
    digits
}

/// Formats eight digits in parallel, because Wasm would otherwise process them one after the other.
fn eight_digits(number: u32) -> [u8; 8] {
    let spread = u64::from(number.swap_bytes());
    let spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    let spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    let spread = ((spread >> 4) | (spread << 8)) & 0x0f0f_0f0f_0f0f_0f0f;
    // Each byte with a value of ten or more, which is a letter, gets a one. No sum overflows its byte.
    let letters = (spread.wrapping_add(0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let letters = letters.wrapping_mul(u64::from(b'a' - b'0' - 10));
    spread.wrapping_add(0x3030_3030_3030_3030).wrapping_add(letters).to_le_bytes()
}

/// Returns whether a method or header name is a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around those at which the functions split texts differently.
    const LENGTHS: [usize; 17] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 80];

    #[test]
    fn classifies_a_byte_the_same_at_every_position() {
        for (length, byte) in LENGTHS.into_iter().flat_map(|length| (0..=u8::MAX).map(move |byte| (length, byte))) {
            for place in 0..length {
                let mut text = vec![b'v'; length];
                text[place] = byte;
                let at = format!("{byte} at {place} of {length}");
                let visible = byte.is_ascii_graphic() && byte != b'%';
                assert_eq!(are_visible_unescaped(&text), visible, "{at}");
                let as_it_is = byte >= 0x20 && !b"\"\\".contains(&byte);
                assert_eq!(are_unescaped_in_json(&text), as_it_is, "{at}");
                assert_eq!(are_free_of_controls(&text), byte >= 0x20, "{at}");
                assert_eq!(are_printable(&text), byte == b' ' || byte.is_ascii_graphic(), "{at}");
                let plain = matches!(byte, b' '..=b'~') && !b"\"'\\".contains(&byte);
                assert_eq!(needs_no_escape(&text), plain, "{at}");
                let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                assert_eq!(are_unreserved_or_slashes(&text), unreserved || byte == b'/', "{at}");
                assert_eq!(are_unreserved(&text), unreserved, "{at}");
                let name = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
                assert_eq!(are_lower_case_names(&text), name, "{at}");
                assert_eq!(is_without::<b'%'>(&text), byte != b'%', "{at}");
            }
        }
        assert!(are_visible_unescaped(b"") && are_free_of_controls("é\u{7f} ~~~~~~~~~".as_bytes()));
    }

    #[test]
    fn only_identical_bytes_compare_as_equal() {
        assert!(bytes_eq(b"", b"") && !bytes_eq(b"", b"a"));
        for length in LENGTHS {
            let one: Vec<u8> = (0..length).map(|n| n.to_le_bytes()[0]).collect();
            assert!(bytes_eq(&one, &one.clone()) && !bytes_eq(&one, &one[1..]) && !bytes_eq(&one[1..], &one));
            let taken = |text: &[u8]| fold(text, Vec::new(), |chunks, chunk| [chunks, chunk.to_vec()].concat());
            assert_eq!(taken(&one), taken(&one.clone()));
            for place in 0..length {
                let mut other = one.clone();
                other[place] ^= 0x80;
                assert!(!bytes_eq(&one, &other) && !bytes_eq(&other, &one), "at {place} of {length}");
                assert_ne!(taken(&one), taken(&other), "at {place} of {length}");
            }
        }
    }
}
