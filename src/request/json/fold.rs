//! How decoders that ignore case, or that end texts at a NUL, read a name.

/// The folded characters of a name, as decoders read it.
#[derive(Debug, Clone)]
pub(super) struct Reading<I> {
    characters: I,
    /// Whether the name ends at its first NUL, as in decoders in C. Others drop NULs.
    ends_at_nul: bool,
}

impl<I: Iterator<Item = char>> Iterator for Reading<I> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            match self.characters.next()? {
                '\0' if self.ends_at_nul => return None,
                '\0' => {}
                character => return Some(fold(character)),
            }
        }
    }
}

/// Returns the two readings of a name. They differ only if it has a NUL.
pub(super) fn readings<I: Iterator<Item = char> + Clone>(name: I) -> [Reading<I>; 2] {
    [false, true].map(|ends_at_nul| Reading { characters: name.clone(), ends_at_nul })
}

/// Returns whether some decoder reads a name as `wanted`.
pub(super) fn reads_as(name: impl Iterator<Item = char> + Clone, wanted: &str) -> bool {
    readings(name).into_iter().any(|reading| reading.eq(wanted.chars().map(fold)))
}

/// Returns the same character for all characters that a decoder which compares names without regard to case could take for each other.
///
/// This is simple case folding (Unicode, section 5.18.4) up to the choice of the common character, and stricter in three points. The
/// dotless and the dotted i are like any other i, as in Java's `equalsIgnoreCase`, and so are the two characters that are canonically
/// equivalent to an ASCII character, because Swift compares texts by equivalence.
#[inline(never)] // Like the decoding of characters.
pub(super) fn fold(character: char) -> char {
    match character {
        ..='\u{7f}' => character.to_ascii_lowercase(),
        '\u{b5}' => '\u{3bc}',
        '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{345}' | '\u{1fbe}' => '\u{3b9}',
        '\u{37e}' => ';',
        '\u{3c2}' => '\u{3c3}',
        '\u{3d0}' => '\u{3b2}',
        '\u{3d1}' => '\u{3b8}',
        '\u{3d5}' => '\u{3c6}',
        '\u{3d6}' => '\u{3c0}',
        '\u{3f0}' => '\u{3ba}',
        '\u{3f1}' => '\u{3c1}',
        '\u{3f5}' => '\u{3b5}',
        '\u{1c80}' => '\u{432}',
        '\u{1c81}' => '\u{434}',
        '\u{1c82}' => '\u{43e}',
        '\u{1c83}' => '\u{441}',
        '\u{1c84}' | '\u{1c85}' => '\u{442}',
        '\u{1c86}' => '\u{44a}',
        '\u{1c87}' => '\u{463}',
        '\u{1c88}' => '\u{a64b}',
        '\u{1e9b}' => '\u{1e61}',
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{1fef}' => '`',
        '\u{fb05}' => '\u{fb06}',
        // Only the dotted I has two characters in lower case, of which the first is `i`.
        _ => character.to_lowercase().next().unwrap_or(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the character of a conversion to one character.
    fn single(mut characters: impl ExactSizeIterator<Item = char>, otherwise: char) -> char {
        if characters.len() == 1 { characters.next().unwrap() } else { otherwise }
    }

    #[test]
    fn folds_every_character_like_a_change_of_case_and_back() {
        let lower = |character: char| single(character.to_lowercase(), character);
        let upper = |character: char| single(character.to_uppercase(), character);
        let folded = |character: char| lower(upper(character));
        let others: Vec<char> = ('\0'..=char::MAX).filter(|character| fold(*character) != folded(*character)).collect();
        // The dotted I, two that are equivalent to ASCII, and three pairs that only share their conversion to several characters.
        assert_eq!(others, ['\u{130}', '\u{37e}', '\u{1fd3}', '\u{1fe3}', '\u{1fef}', '\u{fb05}']);
        for character in '\0'..=char::MAX {
            let all = [lower(character), upper(character), upper(lower(character)), folded(character), fold(character)];
            assert!(all.iter().all(|other| fold(*other) == fold(character)), "{character:?}");
        }
    }

    #[test]
    fn few_characters_read_as_ascii() {
        let others: Vec<char> = ('\u{80}'..=char::MAX).filter(|character| fold(*character).is_ascii()).collect();
        assert_eq!(others, ['\u{130}', '\u{131}', '\u{17f}', '\u{37e}', '\u{1fef}', '\u{212a}']);
        let ascii = ('\0'..='\u{7f}').filter(|character| fold(*character) != *character);
        assert!(ascii.eq('A'..='Z'));
    }

    #[test]
    fn reads_names_as_lenient_decoders_do() {
        for (name, wanted, reads) in [
            ("name", "name", true),
            ("NaMe", "name", true),
            ("name", "NAME", true),
            ("", "", true),
            ("\u{212a}ey", "key", true),
            ("me\u{17f}\u{17f}age", "message", true),
            ("T\u{130}tle", "title", true),
            ("t\u{131}tle", "title", true),
            ("n\0ame", "name", true),
            ("\0name\0", "name", true),
            ("name\0x", "name", true),
            ("NAME\0x", "name", true),
            ("\0x", "", true),
            ("\u{10400}", "\u{10428}", true),
            ("x\0name", "name", false),
            ("names", "name", false),
            ("", "name", false),
            ("name ", "name", false),
            ("n\u{e1}me", "name", false),
            ("n\u{430}me", "name", false),
            ("na\u{ad}me", "name", false),
            ("user_name", "username", false),
            ("\u{fb01}rst", "first", false),
            ("na", "name", false),
        ] {
            assert_eq!(reads_as(name.chars(), wanted), reads, "{name:?} as {wanted:?}");
        }
    }
}
