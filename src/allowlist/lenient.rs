//! Lenient reading of one segment, as some upstreams do it: decoded, case-insensitive, without the dots and spaces that Windows drops at
//! the end of a name, without path parameters, and without the suffix that frameworks use as a format.
//!
//! A lookup checks whether such a reading is one of the names that the policy lists at the same node. [`readings`](super::readings)
//! handles the readings of several segments together.

use super::shape::Shape;
use super::table::{Affixed, Fixed, Node};
use crate::request::percent;
use crate::text::ascii::{fold, in_lower_case, is_without};
use crate::text::hash::spread;

/// The maximum number of suffixes to cut off a name, one after the other, for the comparison with a variable's fixed beginning and end.
/// For fixed names, every beginning of a name is compared.
const MAX_SUFFIXES: usize = 8;

impl Node {
    /// Returns the fixed texts with the same lenient hash as a decoded segment. They include all texts that a lenient reader considers
    /// equal to it.
    #[inline]
    pub(super) fn fixed_hashed_like(&self, decoded: &[u8]) -> impl Iterator<Item = &Fixed> + Clone {
        let hash = if self.fixed.is_empty() { 0 } else { lenient_hash(decoded) };
        let first = self.fixed.partition_point(|fixed| fixed.hash < hash);
        self.fixed.iter().skip(first).take_while(move |fixed| fixed.hash == hash)
    }

    /// Returns the fixed texts that a decoded segment extends with a format suffix: `settings` for `settings.json` and `Settings.a.b`.
    pub(super) fn fixed_before_suffix(&self, decoded: &[u8]) -> impl Iterator<Item = &Fixed> {
        let longest = if self.longest == 0 || !may_have_suffix(decoded) { 0 } else { self.longest as usize };
        let mut kept = 0;
        let mut judged = 0;
        // A text longer than every fixed text cannot match, so the cost is limited.
        let bytes = decoded.iter().enumerate().map_while(move |(at, byte)| {
            if !matches!(byte, b'.' | b' ') {
                kept = at + 1;
            }
            let is_new = *byte == b'.' && kept > judged;
            if is_new {
                judged = kept;
            }
            (kept <= longest).then_some(is_new.then_some(kept))
        });
        bytes
            .flatten()
            .filter_map(|end| decoded.get(..end))
            .flat_map(|name| self.fixed_hashed_like(name).filter(move |fixed| fixed.is_read_as(name)))
    }

    /// Returns whether a lenient reader reads a decoded segment as one of the fixed texts.
    pub(super) fn is_read_as_fixed(&self, decoded: &[u8]) -> bool {
        self.fixed_hashed_like(decoded).any(|fixed| fixed.is_read_as(decoded))
            || self.fixed_before_suffix(decoded).next().is_some()
    }

    /// Returns the readings of a decoded segment for the comparison with fixed beginnings and ends.
    pub(super) fn names<'d>(&self, decoded: &'d [u8]) -> Names<'d> {
        let compares_suffixes = self.rejects_suffixes && !self.affixed.is_empty() && may_have_suffix(decoded);
        let before_suffix = if compares_suffixes { without_suffixes(decoded) } else { Vec::new() };
        Names { whole: [decoded, without_end(decoded)], before_suffix }
    }

    pub(super) fn shapes(&self) -> impl Iterator<Item = (Shape<'_>, &Self)> + Clone {
        self.affixed.iter().map(|affixed| (affixed.shape(), &affixed.child))
    }
}

/// The lenient readings of a segment that are compared with fixed beginnings and ends.
pub(super) struct Names<'d> {
    whole: [&'d [u8]; 2],
    before_suffix: Vec<&'d [u8]>,
}

impl Names<'_> {
    /// Returns whether one of the names has this shape.
    pub(super) fn include(&self, shape: &Shape) -> bool {
        // If the fixed end contains a dot, it is itself a suffix.
        let before_suffix: &[&[u8]] = if shape.end.contains('.') { &[] } else { &self.before_suffix };
        self.whole.iter().chain(before_suffix).any(|name| shape.resembles(name))
    }
}

impl Fixed {
    /// Returns whether a lenient reader considers a decoded segment equal to this text.
    pub(super) fn is_read_as(&self, decoded: &[u8]) -> bool {
        without_end(&percent::decode(self.text.as_bytes())).eq_ignore_ascii_case(without_end(decoded))
    }
}

impl Affixed {
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape { beginning: &self.beginning, kind: self.kind, end: &self.end }
    }
}

/// Returns the part of a name that Windows file systems use for lookups.
pub(super) fn without_end(mut decoded: &[u8]) -> &[u8] {
    while let [kept @ .., b'.' | b' '] = decoded {
        decoded = kept;
    }
    decoded
}

/// Returns a segment as servers that remove path parameters (RFC 3986, section 3.3) read it.
pub(super) fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// Returns whether a decoded segment is one name with a dot. Segments that decode to several names are checked only if the endpoint
/// allows their slashes.
fn may_have_suffix(decoded: &[u8]) -> bool {
    !is_without::<b'.'>(decoded) && is_without::<b'/'>(decoded) && is_without::<b'\\'>(decoded)
}

/// Returns a decoded name without its last suffix, its last two, and so on, and without all of them.
fn without_suffixes(decoded: &[u8]) -> Vec<&[u8]> {
    let is_dot = |byte: &u8| *byte == b'.';
    let before = |end: usize| without_end(decoded.get(..end).unwrap_or_default());
    let mut names = Vec::new();
    let mut rest = decoded;
    while let (Some(dot), true) = (rest.iter().rposition(is_dot), names.len() < MAX_SUFFIXES) {
        rest = before(dot);
        names.push(rest);
    }
    names.extend(decoded.iter().position(is_dot).map(before));
    names
}

/// Returns a hash of a decoded text that is equal for texts that a lenient reader considers equal. It needs no secret, because only the
/// policy's own texts can cause collisions among the fixed texts.
pub(super) fn lenient_hash(decoded: &[u8]) -> u32 {
    let text = without_end(decoded);
    let hash = fold(text, text.len() as u64, |hash, chunk| {
        let bits = u128::from_le_bytes(in_lower_case(*chunk));
        spread(spread(hash ^ bits as u64) ^ (bits >> 64) as u64)
    });
    // Half of the bits of a hash are also a hash.
    (hash & u64::from(u32::MAX)) as u32
}
