//! The lookup: which template, of all those of one host, a path falls to.
//!
//! Templates form a tree of places, one edge for each segment. At each place a segment goes to the most specific edge that
//! takes it and never back: static text, then a fixed beginning or end around a variable (longest first), then a plain
//! variable, then the rest of the path. Before that the segment is read as a lenient upstream would read it, decoded,
//! without regard to case and without the dots and spaces that Windows drops at its end: where that reading would be a more
//! specific edge than the exact one, nothing takes the segment.
//! So `/v1/Admin` never falls to `/v1/{id}` beside `/v1/admin`, nor `x%3Arun` to `{name:text}` beside `{name}:run`.
//!
//! A lookup costs the length of the path, and for each segment a binary search over the hashes of the fixed texts.

use std::borrow::Cow;

use super::shape::Shape;
use super::{Kind, Template, build};
use crate::Reason;
use crate::hash::spread;
use crate::request::{CanonicalPath, percent};
use crate::words::{fold, in_lower_case, same};

/// The templates of one host, ready to be looked up in.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) root: Node,
}

/// A place in the tree: what the next segment can be.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// In the order of their hashes.
    pub(super) fixed: Vec<Fixed>,
    /// The longest fixed part first.
    pub(super) affixed: Vec<Affixed>,
    pub(super) plain: Option<Box<Plain>>,
    /// The endpoints that take the rest of the path from here.
    pub(super) rest: Vec<u32>,
    /// The endpoints whose template ends here.
    pub(super) here: Vec<u32>,
}

/// A segment of fixed text.
#[derive(Debug)]
pub(super) struct Fixed {
    /// The hash of its lenient reading.
    pub(super) hash: u32,
    pub(super) text: Box<str>,
    pub(super) child: Node,
}

/// A variable with a fixed beginning or end, neither with escapes.
#[derive(Debug)]
pub(super) struct Affixed {
    pub(super) beginning: Box<str>,
    pub(super) kind: Kind,
    pub(super) end: Box<str>,
    pub(super) child: Node,
}

/// A variable that takes a segment as a whole.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) kind: Kind,
    pub(super) child: Node,
}

/// A table, and what deserves a second look in it.
#[derive(Debug)]
pub struct Built {
    /// The table.
    pub table: Table,
    /// What is allowed and may not be meant.
    pub warnings: Vec<Remark>,
}

/// Something about an endpoint's template beside the others of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The endpoint, by the number that [`Table::build`] was given.
    pub endpoint: u32,
    /// What is wrong and what to write instead, in one sentence.
    pub message: String,
}

/// What a path fell to.
#[derive(Debug)]
pub struct Found<'t, 'p> {
    endpoints: &'t [u32],
    captures: Captures<'t, 'p>,
}

/// The value of a variable.
#[derive(Debug, Clone, Copy)]
pub struct Capture<'t, 'p> {
    /// All that was matched with the variable, fixed text beside it included.
    segment: &'p str,
    value: &'p str,
    /// Where the segment was matched, for what stands beside it.
    place: &'t Node,
}

/// Values in the order of a template's variables. As few as most have are held without an allocation.
#[derive(Debug, Default)]
struct Captures<'t, 'p> {
    few: [Option<Capture<'t, 'p>>; 4],
    more: Vec<Capture<'t, 'p>>,
}

/// Which edge a segment takes.
pub(super) enum Step<'t, 'p> {
    Fixed(&'t Node),
    Variable { child: &'t Node, value: &'p str },
    Rest(&'t [u32]),
}

impl Table {
    /// Builds the table of one host from its endpoints, each with a number by which the caller knows it.
    ///
    /// That endpoints with the same template differ in their methods is the caller's to check.
    ///
    /// # Errors
    /// Each template that cannot stand beside the others.
    pub fn build<'a>(endpoints: impl IntoIterator<Item = (u32, &'a Template)>) -> Result<Built, Vec<Remark>> {
        build::build(endpoints.into_iter().collect())
    }

    /// The most specific template that a path falls to, which decides alone.
    #[must_use]
    pub fn find<'t, 'p>(&'t self, path: &CanonicalPath<'p>) -> Option<Found<'t, 'p>> {
        let mut captures = Captures::default();
        let mut place = &self.root;
        let mut rest = path.as_str().strip_prefix('/');
        while let Some(text) = rest {
            let end = text.bytes().position(|byte| byte == b'/');
            let split = end.and_then(|end| Some((text.get(..end)?, text.get(end + 1..)?)));
            let (segment, after) = split.map_or((text, None), |(segment, after)| (segment, Some(after)));
            place = match place.step(segment)? {
                Step::Fixed(child) => child,
                Step::Variable { child, value } => {
                    captures.push(Capture { segment, value, place });
                    child
                }
                Step::Rest(endpoints) => {
                    captures.push(Capture { segment: text, value: text, place });
                    return Some(Found { endpoints, captures });
                }
            };
            rest = after;
        }
        (!place.here.is_empty()).then_some(Found { endpoints: &place.here, captures })
    }
}

impl Node {
    pub(super) fn step<'p>(&self, segment: &'p str) -> Option<Step<'_, 'p>> {
        let decoded = percent::decode(segment.as_bytes());
        let mut hashed_alike = self.fixed_hashed_like(&decoded);
        // What is the same is read alike.
        if let Some(same) = hashed_alike.clone().find(|fixed| same(fixed.text.as_bytes(), segment.as_bytes())) {
            return Some(Step::Fixed(&same.child));
        }
        if hashed_alike.any(|fixed| fixed.is_read_as(&decoded)) {
            return None;
        }
        let mut shapes = self.affixed.iter().map(|affixed| (affixed.shape(), &affixed.child));
        let lenient = shapes.clone().find(|(shape, _)| is_read_as(shape, &decoded));
        let exact = shapes.find_map(|(shape, child)| Some((shape, child, shape.value_in(segment)?)));
        match (lenient, exact) {
            (None, None) => {}
            // What matches exactly matches leniently too, so that the lenient one is never the shorter.
            (Some((lenient, _)), Some((exact, child, value))) if exact.fixed_length() == lenient.fixed_length() => {
                return Some(Step::Variable { child, value });
            }
            _ => return None,
        }
        match &self.plain {
            Some(plain) if plain.kind.takes(segment.as_bytes()) => {
                Some(Step::Variable { child: &plain.child, value: segment })
            }
            _ => (!self.rest.is_empty()).then_some(Step::Rest(&self.rest)),
        }
    }

    /// The fixed texts among which are all for which a lenient reader takes a decoded segment.
    fn fixed_hashed_like(&self, decoded: &[u8]) -> impl Iterator<Item = &Fixed> + Clone {
        let hash = if self.fixed.is_empty() { 0 } else { lenient_hash(decoded) };
        let first = self.fixed.partition_point(|fixed| fixed.hash < hash);
        self.fixed.iter().skip(first).take_while(move |fixed| fixed.hash == hash)
    }
}

impl Fixed {
    /// Whether a lenient reader takes a decoded segment for it.
    fn is_read_as(&self, decoded: &[u8]) -> bool {
        without_end(&percent::decode(self.text.as_bytes())).eq_ignore_ascii_case(without_end(decoded))
    }
}

impl Affixed {
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape { beginning: &self.beginning, kind: self.kind, end: &self.end }
    }
}

/// Whether a lenient reader takes a decoded segment for a shape, with its end or without.
fn is_read_as(shape: &Shape, decoded: &[u8]) -> bool {
    shape.resembles(decoded) || shape.resembles(without_end(decoded))
}

/// What is left of a name where file systems of Windows look it up.
fn without_end(decoded: &[u8]) -> &[u8] {
    let kept = decoded.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |last| last + 1);
    decoded.get(..kept).unwrap_or_default()
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

impl<'t, 'p> Found<'t, 'p> {
    /// The endpoints that share the template, in the order in which they were given; never none.
    #[must_use]
    pub fn endpoints(&self) -> &'t [u32] {
        self.endpoints
    }

    /// The value of the variable at a [position](Template::position) in the template.
    #[must_use]
    pub fn value(&self, position: usize) -> Option<&Capture<'t, 'p>> {
        self.values().nth(position)
    }

    /// The values of the template's variables, from left to right.
    pub fn values(&self) -> impl Iterator<Item = &Capture<'t, 'p>> {
        self.captures.few.iter().flatten().chain(&self.captures.more)
    }

    /// Judges the values with escapes that the endpoint allowed, as a lenient upstream reads them.
    ///
    /// Whether it allowed them is told by [`CanonicalPath::restricted`]. Both are answered only after authentication.
    ///
    /// # Errors
    /// [`Reason::PathValueAmbiguous`] when such an upstream would see another path: an empty or dot segment, or a
    /// segment that stands in the policy beside the variable.
    pub fn check_opened_values(&self) -> Result<(), Reason> {
        if self.values().any(Capture::is_ambiguous) { Err(Reason::PathValueAmbiguous) } else { Ok(()) }
    }
}

impl<'p> Capture<'_, 'p> {
    /// The value as it came.
    #[must_use]
    pub fn raw(&self) -> &'p str {
        self.value
    }

    /// The value decoded once.
    #[must_use]
    pub fn decoded(&self) -> Cow<'p, str> {
        match percent::decode(self.value.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(self.value),
            // INVARIANT: a canonical path decodes to UTF-8, and fixed parts beside a value have no escapes. An empty
            // value would equal nothing.
            Cow::Owned(decoded) => Cow::Owned(String::from_utf8(decoded).unwrap_or_default()),
        }
    }

    fn is_ambiguous(&self) -> bool {
        // With the fixed text beside it, because that is what an upstream splits, and without, because that is what
        // it is given for a value.
        [self.segment, self.value].into_iter().any(|text| {
            let mut segments = text.split('/').enumerate();
            segments.any(|(index, segment)| is_opened(segment) && self.is_read_otherwise(segment, index == 0))
        })
    }

    /// Whether an upstream that decodes (twice, where a percent sign is escaped), splits at slashes of both kinds and
    /// drops path parameters would see something else than one name after another, the first of them new at its place.
    fn is_read_otherwise(&self, segment: &str, is_at_place: bool) -> bool {
        let mut decoded = percent::decode(segment.as_bytes());
        if segment.contains("%25") {
            decoded = Cow::Owned(percent::decoded(&decoded).collect());
        }
        let mut parts = decoded.split(|byte| matches!(byte, b'/' | b'\\')).map(without_parameters);
        let begins_like_a_sibling = is_at_place && parts.clone().next().is_some_and(|part| self.has_sibling(part));
        begins_like_a_sibling || parts.any(|part| matches!(part, b"" | b"." | b".."))
    }

    /// Whether a lenient reader takes a decoded text for something that stands beside the variable.
    fn has_sibling(&self, decoded: &[u8]) -> bool {
        let mut shapes = self.place.affixed.iter().map(Affixed::shape);
        let is_other = |shape: &Shape| shape.value_in(self.segment) != Some(self.value);
        self.place.fixed_hashed_like(decoded).any(|fixed| fixed.is_read_as(decoded))
            || shapes.any(|shape| is_other(&shape) && is_read_as(&shape, decoded))
    }
}

/// Whether a segment has one of the sequences that an endpoint has to allow.
fn is_opened(segment: &str) -> bool {
    segment.contains(';') || ["%2F", "%5C", "%25"].iter().any(|escape| segment.contains(escape))
}

/// What is left of a segment for servers that take path parameters (RFC 3986, section 3.3) out of it.
fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

impl<'t, 'p> Captures<'t, 'p> {
    fn push(&mut self, capture: Capture<'t, 'p>) {
        match self.few.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(capture),
            None => self.more.push(capture),
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
