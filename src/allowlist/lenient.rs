//! How lenient upstreams read one segment: decoded, without regard to case, without the dots and spaces that Windows drops at the
//! end of a name, without path parameters, and without the suffix that frameworks take for a format.
//!
//! A lookup asks whether such a reading is one of the names that the policy lists at the same place. What several segments read as
//! together is judged in [`readings`](super::readings).

use super::shape::Shape;
use super::table::{Affixed, Fixed, Node};
use crate::request::percent;
use crate::text::ascii::{fold, in_lower_case, is_without};
use crate::text::hash::spread;

/// How many suffixes are cut off a name, one after the other, to compare it with a variable's fixed beginning and end. Fixed names
/// are compared with every beginning of a name.
const MAX_SUFFIXES: usize = 8;

impl Node {
    /// The fixed texts among which are all as which a lenient reader reads a decoded segment.
    pub(super) fn fixed_hashed_like(&self, decoded: &[u8]) -> impl Iterator<Item = &Fixed> + Clone {
        let hash = if self.fixed.is_empty() { 0 } else { lenient_hash(decoded) };
        let first = self.fixed.partition_point(|fixed| fixed.hash < hash);
        self.fixed.iter().skip(first).take_while(move |fixed| fixed.hash == hash)
    }

    /// The fixed texts to which a format suffix is added in a decoded segment: `settings` for `settings.json` and `Settings.a.b`.
    pub(super) fn fixed_before_suffix(&self, decoded: &[u8]) -> impl Iterator<Item = &Fixed> {
        let longest = if self.longest == 0 || !may_have_suffix(decoded) { 0 } else { self.longest as usize };
        let mut kept = 0;
        let mut judged = 0;
        // What is longer than every fixed text is none of them, so that the cost has a bound.
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

    /// Whether a lenient reader reads a decoded segment as one of the fixed texts.
    pub(super) fn is_read_as_fixed(&self, decoded: &[u8]) -> bool {
        self.fixed_hashed_like(decoded).any(|fixed| fixed.is_read_as(decoded))
            || self.fixed_before_suffix(decoded).next().is_some()
    }

    /// The names as which a decoded segment is compared with fixed beginnings and ends.
    pub(super) fn names<'d>(&self, decoded: &'d [u8]) -> Names<'d> {
        let compares_suffixes = self.rejects_suffixes && !self.affixed.is_empty() && may_have_suffix(decoded);
        let before_suffix = if compares_suffixes { without_suffixes(decoded) } else { Vec::new() };
        Names { whole: [decoded, without_end(decoded)], before_suffix }
    }

    pub(super) fn shapes(&self) -> impl Iterator<Item = (Shape<'_>, &Self)> + Clone {
        self.affixed.iter().map(|affixed| (affixed.shape(), &affixed.child))
    }
}

/// What a lenient reader reads a segment as: the names that are compared with fixed beginnings and ends.
pub(super) struct Names<'d> {
    whole: [&'d [u8]; 2],
    before_suffix: Vec<&'d [u8]>,
}

impl Names<'_> {
    /// Whether one of the names is a shape's.
    pub(super) fn include(&self, shape: &Shape) -> bool {
        // A fixed end with a dot is a suffix itself.
        let before_suffix: &[&[u8]] = if shape.end.contains('.') { &[] } else { &self.before_suffix };
        self.whole.iter().chain(before_suffix).any(|name| shape.resembles(name))
    }
}

impl Fixed {
    /// Whether a lenient reader takes a decoded segment for it.
    pub(super) fn is_read_as(&self, decoded: &[u8]) -> bool {
        without_end(&percent::decode(self.text.as_bytes())).eq_ignore_ascii_case(without_end(decoded))
    }
}

impl Affixed {
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape { beginning: &self.beginning, kind: self.kind, end: &self.end }
    }
}

/// What is left of a name where file systems of Windows look it up.
pub(super) fn without_end(mut decoded: &[u8]) -> &[u8] {
    while let [kept @ .., b'.' | b' '] = decoded {
        decoded = kept;
    }
    decoded
}

/// What is left of a segment for servers that take path parameters (RFC 3986, section 3.3) out of it.
pub(super) fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// Whether a decoded segment is one name with a dot. What several names read as is judged where the endpoint allows their slashes.
fn may_have_suffix(decoded: &[u8]) -> bool {
    !is_without::<b'.'>(decoded) && is_without::<b'/'>(decoded) && is_without::<b'\\'>(decoded)
}

/// A decoded name without its last suffix, its last two, and so on, and without all of them.
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

/// A hash that is equal for texts that a lenient reader takes for equal, given the decoded text. Only the policy's own
/// texts can make it collide among the fixed ones, so that it needs no secret.
pub(super) fn lenient_hash(decoded: &[u8]) -> u32 {
    let text = without_end(decoded);
    let hash = fold(text, text.len() as u64, |hash, chunk| {
        let bits = u128::from_le_bytes(in_lower_case(*chunk));
        spread(spread(hash ^ bits as u64) ^ (bits >> 64) as u64)
    });
    // The low half of a hash is a hash.
    (hash & u64::from(u32::MAX)) as u32
}
