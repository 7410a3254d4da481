//! JSON pointers (RFC 6901) in policies.

use super::number;
use crate::text::ascii::are_printable;

/// The maximum number of names and indexes in a pointer.
const MOST_STEPS: usize = 16;

/// A pointer to a part of a document. Its names are printable ASCII, so few other spellings read as one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    steps: Box<[Box<str>]>,
}

/// The reason why a text is not a pointer for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PointerFault {
    /// It is empty, so it points to the whole document.
    Empty,
    /// It does not start with `/`, or contains a `~` that is neither `~0` nor `~1` (RFC 6901, section 3).
    Malformed,
    /// It has more than 16 steps.
    Long,
    /// It contains a character that is not printable ASCII.
    Unprintable,
}

impl Pointer {
    /// Parses a pointer.
    ///
    /// # Errors
    /// The first [`PointerFault`].
    pub(crate) fn parse(text: &str) -> Result<Self, PointerFault> {
        if text.is_empty() {
            return Err(PointerFault::Empty);
        }
        let names = text.strip_prefix('/').ok_or(PointerFault::Malformed)?;
        if names.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(PointerFault::Malformed);
        }
        if !are_printable(names.as_bytes()) {
            return Err(PointerFault::Unprintable);
        }
        // `~01` is `~1`, so the order matters.
        let steps: Box<[Box<str>]> =
            names.split('/').map(|step| step.replace("~1", "/").replace("~0", "~").into_boxed_str()).collect();
        if steps.len() > MOST_STEPS { Err(PointerFault::Long) } else { Ok(Self { steps }) }
    }

    /// Returns its names and indexes, from the outermost to the innermost. There is always one.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| &**step)
    }
}

/// Returns a step as the index of an item (RFC 6901, section 4), or `None` if it is none.
pub(super) fn index(step: &str) -> Option<usize> {
    // Parsing alone would accept `+1` and `01`.
    if number::is_integer(step) { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Result<Vec<String>, PointerFault> {
        Pointer::parse(text).map(|pointer| pointer.steps().map(str::to_owned).collect())
    }

    #[test]
    fn reads_pointers_of_rfc_6901() {
        for (text, expected) in [
            ("/", &[""][..]),
            ("/foo", &["foo"]),
            ("/foo/0", &["foo", "0"]),
            ("/a~1b", &["a/b"]),
            ("/m~0n", &["m~n"]),
            ("/~01/~10", &["~1", "/0"]),
            ("/ /c%d/e^f/g|h", &[" ", "c%d", "e^f", "g|h"]),
            ("/i\\j/k\"l", &["i\\j", "k\"l"]),
            ("//", &["", ""]),
        ] {
            assert_eq!(steps(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn rejects_what_is_no_pointer() {
        for (text, fault) in [
            ("", PointerFault::Empty),
            ("a", PointerFault::Malformed),
            ("a/b", PointerFault::Malformed),
            ("#/a", PointerFault::Malformed),
            ("/~", PointerFault::Malformed),
            ("/a~", PointerFault::Malformed),
            ("/a~2", PointerFault::Malformed),
            ("/a~/1", PointerFault::Malformed),
            ("/~~0", PointerFault::Malformed),
            ("/caf\u{e9}", PointerFault::Unprintable),
            ("/\u{212a}ey", PointerFault::Unprintable),
            ("/a\nb", PointerFault::Unprintable),
            ("/a\0", PointerFault::Unprintable),
            ("/\u{7f}", PointerFault::Unprintable),
        ] {
            assert_eq!(steps(text), Err(fault), "{text:?}");
        }
        assert_eq!(steps(&"/a".repeat(16)).unwrap().len(), 16);
        assert_eq!(steps(&"/a".repeat(17)), Err(PointerFault::Long));
        assert_eq!(steps(&"/".repeat(17)), Err(PointerFault::Long));
    }

    #[test]
    fn reads_indexes_in_one_spelling() {
        assert_eq!(["0", "7", "10"].map(index), [Some(0), Some(7), Some(10)]);
        for step in
            ["", "-", "-0", "-1", "+1", "01", "00", "1.0", "1e0", " 1", "0x1", "\u{661}", "99999999999999999999999"]
        {
            assert_eq!(index(step), None, "{step}");
        }
    }
}
