//! A variable with optional fixed text before and after it.

use super::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape<'a> {
    pub(super) beginning: &'a str,
    pub(super) kind: Kind,
    pub(super) end: &'a str,
}

impl<'a> Shape<'a> {
    /// Returns the shape of a variable without fixed text.
    pub(super) fn plain(kind: Kind) -> Self {
        Self { beginning: "", kind, end: "" }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.fixed_length() == 0
    }

    /// Returns how specific the shape is.
    pub(super) fn fixed_length(&self) -> usize {
        self.beginning.len() + self.end.len()
    }

    /// Returns the variable's value if the shape matches a segment.
    pub(super) fn value_in<'p>(&self, segment: &'p str) -> Option<&'p str> {
        let value = segment.strip_prefix(self.beginning)?.strip_suffix(self.end)?;
        self.kind.takes(value.as_bytes()).then_some(value)
    }

    /// Returns whether the shape matches a decoded segment if the fixed text is compared case-insensitively.
    pub(super) fn resembles(&self, decoded: &[u8]) -> bool {
        self.middle_of(decoded).is_some_and(|value| self.kind.takes(value))
    }

    /// Works like [`resembles`](Self::resembles) for an upstream whose variable may match more values.
    pub(super) fn may_be(&self, decoded: &[u8]) -> bool {
        self.middle_of(decoded).is_some_and(|value| self.kind.may_take(value))
    }

    /// Returns the text between the fixed texts, which are compared case-insensitively.
    fn middle_of<'d>(&self, decoded: &'d [u8]) -> Option<&'d [u8]> {
        let (beginning, after) = decoded.split_at_checked(self.beginning.len())?;
        let (value, end) = after.split_at_checked(after.len().checked_sub(self.end.len())?)?;
        let fits =
            beginning.eq_ignore_ascii_case(self.beginning.as_bytes()) && end.eq_ignore_ascii_case(self.end.as_bytes());
        fits.then_some(value)
    }

    /// Returns whether one segment can match both shapes, judged by their fixed texts and characters.
    pub(super) fn overlaps(&self, other: &Shape) -> bool {
        let fits = |one: &Shape, other: &Shape| {
            let beginning = one.beginning.bytes().skip(other.beginning.len());
            let end = one.end.bytes().rev().skip(other.end.len());
            beginning.chain(end).all(|byte| other.kind.has_character(byte))
        };
        (self.beginning.starts_with(other.beginning) || other.beginning.starts_with(self.beginning))
            && (self.end.ends_with(other.end) || other.end.ends_with(self.end))
            && fits(self, other)
            && fits(other, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape<'a>(beginning: &'a str, kind: Kind, end: &'a str) -> Shape<'a> {
        Shape { beginning, kind, end }
    }

    #[test]
    fn shapes_overlap_if_one_segment_matches_both() {
        let any = Kind::Unreserved;
        for (one, other, expected) in [
            (shape("a", any, ""), shape("", any, "z"), true),
            (shape("a", any, ""), shape("b", any, ""), false),
            (shape("ab", any, ""), shape("a", any, "b"), true),
            (shape("", any, "az"), shape("", any, "z"), true),
            (shape("v", Kind::Int, ""), shape("", any, "z"), false),
            (shape("v", Kind::Int, ""), shape("", any, "7"), true),
            (shape("", Kind::Text, ":run"), shape("job-", Kind::Int, ""), false),
            (shape("", any, ":run"), Shape::plain(any), false),
            (shape("", any, ":run"), Shape::plain(Kind::Text), true),
            (shape("v", any, ""), Shape::plain(Kind::Int), false),
            (Shape::plain(Kind::Int), Shape::plain(any), true),
        ] {
            assert_eq!(one.overlaps(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.overlaps(&one), expected, "{other:?} {one:?}");
        }
    }
}
