//! Second implementations that share no code with the engine. They work on copies, from left to right, and always process the whole
//! input.

pub(super) const UNRESERVED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

/// Decodes once. Invalid escapes stay unchanged.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let mut pieces = text.split(|byte| *byte == b'%');
    let mut decoded = pieces.next().unwrap_or_default().to_vec();
    for piece in pieces {
        match escaped_byte(piece) {
            Some(byte) => {
                decoded.push(byte);
                decoded.extend(piece.iter().skip(2));
            }
            None => {
                decoded.push(b'%');
                decoded.extend(piece);
            }
        }
    }
    decoded
}

/// Returns the byte of an escape, given the text after its `%`.
fn escaped_byte(after_percent: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(after_percent.get(..2)?).ok()?;
    if digits.starts_with('+') { None } else { u8::from_str_radix(digits, 16).ok() }
}

/// Returns whether a path is canonical, with or without the sequences that only text values may contain.
pub(super) fn is_canonical_path(path: &[u8], with_text: bool) -> bool {
    let Ok(text) = str::from_utf8(path) else { return false };
    let only_text = if with_text { "[]^|" } else { "" };
    let characters = text.chars().all(|character| {
        UNRESERVED.contains(character) || "!$&'()*+,;=:@/%".contains(character) || only_text.contains(character)
    });
    let inner = text.strip_suffix('/').unwrap_or(text);
    let segments = text == "/"
        || inner.split('/').skip(1).all(|segment| !segment.is_empty() && !leads_elsewhere(&decode(segment.as_bytes())));
    let escapes = text.split('%').skip(1).all(|piece| {
        escaped_byte(piece.as_bytes()).is_some_and(|byte| with_text || !UNRESERVED.as_bytes().contains(&byte))
    });
    let decoded = String::from_utf8(decode(path)).is_ok_and(|decoded| !decoded.chars().any(char::is_control));
    text.starts_with('/') && characters && segments && escapes && decoded
}

/// Returns whether a decoded segment is `.` or `..`, or consists only of dots and spaces.
pub(super) fn leads_elsewhere(segment: &[u8]) -> bool {
    let mut letters = segment.to_vec();
    letters.sort_unstable();
    letters.dedup();
    [b".".as_slice(), b".."].contains(&segment) || letters == b" ."
}

pub(super) fn is_query(query: &[u8]) -> bool {
    let characters = query.iter().all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'#');
    let escapes = query.split(|byte| *byte == b'%').skip(1).all(|piece| escaped_byte(piece).is_some());
    characters && escapes
}

/// Returns whether some lenient parser reads a parameter's raw name as `wanted`. Every way to cut the name is compared.
pub(super) fn reads_as(raw_name: &str, wanted: &str) -> bool {
    let plain = |text: &[u8]| -> Vec<u8> {
        let plain = |byte: &u8| if b"_. +[".contains(byte) { b'-' } else { byte.to_ascii_lowercase() };
        text.iter().map(plain).collect()
    };
    let is_blank = |byte: &u8| b" \t\n\r\x0b\x0c+".contains(byte);
    let decoded: Vec<u8> = decode(raw_name.as_bytes()).into_iter().take_while(|byte| *byte != 0).collect();
    let core = decoded.iter().position(|byte| !is_blank(byte) && !b"?[]".contains(byte)).unwrap_or(decoded.len());
    let is_read = |text: &[u8]| {
        text.split_at_checked(wanted.len())
            .is_some_and(|(own, rest)| plain(own) == plain(wanted.as_bytes()) && rest.iter().all(is_blank))
    };
    ["", "[]", "[]."].iter().any(|ends| {
        let end = |byte: &u8| ends.as_bytes().contains(byte);
        let length = decoded.iter().skip(core).position(end).map_or(decoded.len(), |length| core + length);
        (0..=core).any(|start| decoded.get(start..length).is_some_and(is_read))
    })
}

/// Returns a header's name as read by servers that convert everything except letters and digits to one character.
pub(super) fn header_name(name: &[u8]) -> String {
    let letter = |byte: &u8| match char::from(*byte) {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
        _ => '-',
    };
    name.iter().map(letter).collect()
}

/// Returns how many parameters have this name for at least one lenient parser.
pub(super) fn names_like(query: &str, name: &str) -> usize {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '.', ' ', '+'], "-");
    let names = query.split(['&', ';']).map(|piece| {
        let decoded = decode(piece.split('=').next().unwrap_or_default().as_bytes());
        String::from_utf8_lossy(&decoded).into_owned()
    });
    let reads_so = |spelt: &String| {
        let spelt = spelt.split('\0').next().unwrap_or_default();
        let outermost = spelt
            .trim_start_matches([' ', '+'])
            .trim_start_matches(['[', ']'])
            .split(['[', ']'])
            .next()
            .unwrap_or_default();
        plain(spelt) == plain(name) || plain(outermost) == plain(name)
    };
    names.filter(reads_so).count()
}
