//! The lookup: which template, of all those of one host, a path falls to.
//!
//! Templates form a tree of places, one edge for each segment. At each place a segment goes to the most specific edge that
//! takes it and never back: static text, then a fixed beginning or end around a variable (longest first), then a plain
//! variable, then the rest of the path. Before that the segment is read as [lenient upstreams](super::lenient) would read it:
//! where such a reading would be a more specific edge than the exact one, nothing takes the segment.
//! So `/v1/Admin` and `/v1/admin.json` never match `/v1/{id}` where `/v1/admin` is listed, nor `x%3Arun` `{name:text}` where
//! `{name}:run` is, nor `/files/` `/files/{path...}` where `/files` is.
//!
//! A lookup costs the length of the path, and for each segment a binary search over the hashes of the fixed texts.

use std::borrow::Cow;

use super::lenient::without_parameters;
use super::shape::Shape;
use super::{Kind, Template, build, readings};
use crate::document::FormatSuffixes;
use crate::reason::Reason;
use crate::request::{CanonicalPath, is_dot_segment, percent};
use crate::text::ascii::{bytes_eq, is_without};

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
    /// Whether names in front of a format suffix are read as what the policy lists here.
    pub(super) rejects_suffixes: bool,
    /// The length of the longest fixed text, decoded; 0 where suffixes are ignored.
    pub(super) longest: u32,
}

/// A segment of fixed text.
#[derive(Debug)]
pub(super) struct Fixed {
    /// The hash of its lenient reading.
    pub(super) hash: u32,
    /// With the digits of its escapes in upper case.
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
    /// Where the lookup began, and what it looked up, for other readings of the same path.
    root: &'t Node,
    path: CanonicalPath<'p>,
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
    pub fn build<'a>(
        endpoints: impl IntoIterator<Item = (u32, &'a Template)>,
        suffixes: FormatSuffixes,
    ) -> Result<Built, Vec<Remark>> {
        build::build(endpoints.into_iter().collect(), suffixes)
    }

    /// The most specific template that a path falls to, which decides alone.
    #[must_use]
    pub fn find<'t, 'p>(&'t self, path: &CanonicalPath<'p>) -> Option<Found<'t, 'p>> {
        let found = |endpoints, captures| Found { endpoints, captures, root: &self.root, path: *path };
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
                    return Some(found(endpoints, captures));
                }
            };
            rest = after;
        }
        (!place.here.is_empty()).then(|| found(&place.here, captures))
    }
}

impl Node {
    pub(super) fn step<'p>(&self, segment: &'p str) -> Option<Step<'_, 'p>> {
        let decoded = percent::decode(segment.as_bytes());
        let mut hashed_alike = self.fixed_hashed_like(&decoded);
        // What is the same is read alike.
        if let Some(same) = hashed_alike.clone().find(|fixed| fixed.is_same(segment.as_bytes())) {
            return Some(Step::Fixed(&same.child));
        }
        let unparameterized = match &decoded {
            Cow::Owned(decoded) => before_escaped_parameters(segment, decoded),
            Cow::Borrowed(_) => None,
        };
        if hashed_alike.any(|fixed| fixed.is_read_as(&decoded))
            || self.fixed_before_suffix(&decoded).next().is_some()
            || unparameterized.is_some_and(|name| self.is_read_as_fixed(name))
        {
            return None;
        }
        if !self.affixed.is_empty() {
            let names = self.names(&decoded);
            let more = unparameterized.map(|name| self.names(name));
            let is_read_as =
                |shape: &Shape| names.include(shape) || more.as_ref().is_some_and(|more| more.include(shape));
            let lenient = self.shapes().find(|(shape, _)| is_read_as(shape));
            let exact = self.shapes().find_map(|(shape, child)| Some((shape, child, shape.value_in(segment)?)));
            match (lenient, exact) {
                (None, None) => {}
                // What matches exactly matches leniently too, so that the lenient one is never the shorter.
                (Some((lenient, _)), Some((exact, child, value))) if exact.fixed_length() == lenient.fixed_length() => {
                    return Some(Step::Variable { child, value });
                }
                _ => return None,
            }
        }
        match &self.plain {
            Some(plain) if plain.kind.takes(segment.as_bytes()) => {
                Some(Step::Variable { child: &plain.child, value: segment })
            }
            // Many routers ignore a slash at the end: where the path without it is listed, the rest is not empty.
            _ => {
                let takes = !self.rest.is_empty() && (!segment.is_empty() || self.here.is_empty());
                takes.then_some(Step::Rest(&self.rest))
            }
        }
    }
}

/// What is in front of an escaped semicolon: some servers decode before they drop path parameters. A semicolon that is not escaped
/// needs an endpoint that allows it, and is judged there.
fn before_escaped_parameters<'d>(segment: &str, decoded: &'d [u8]) -> Option<&'d [u8]> {
    let name = without_parameters(decoded);
    (name.len() < decoded.len() && !segment.contains(';')).then_some(name)
}

impl Fixed {
    /// Whether a segment is this text, in which the digits of escapes are in upper case.
    fn is_same(&self, segment: &[u8]) -> bool {
        bytes_eq(self.text.as_bytes(), segment)
            || !is_without::<b'%'>(segment) && percent::is_same(self.text.as_bytes(), segment)
    }
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

    /// Judges the values with escapes that the endpoint allowed, as lenient upstreams read them.
    ///
    /// Whether it allowed them is reported by [`CanonicalPath::restricted`]. Both are answered only after authentication.
    ///
    /// # Errors
    /// [`Reason::PathValueAmbiguous`] when such an upstream would see another path (an empty or dot segment, or a segment that the
    /// policy lists next to the variable), or would run another endpoint of the policy.
    pub fn check_opened_values(&self) -> Result<(), Reason> {
        let is_ambiguous = !self.path.restricted().is_empty()
            && (self.values().any(Capture::is_ambiguous)
                || readings::reach_another(self.root, &self.path, self.endpoints));
        if is_ambiguous { Err(Reason::PathValueAmbiguous) } else { Ok(()) }
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
        begins_like_a_sibling || parts.any(|part| part.is_empty() || is_dot_segment(part))
    }

    /// Whether a lenient reader reads a decoded text as something that the policy lists next to the variable.
    fn has_sibling(&self, decoded: &[u8]) -> bool {
        let is_other = |shape: &Shape| shape.value_in(self.segment) != Some(self.value);
        let names = self.place.names(decoded);
        self.place.is_read_as_fixed(decoded)
            || self.place.shapes().any(|(shape, _)| is_other(&shape) && names.include(&shape))
    }
}

/// Whether a segment has one of the sequences that an endpoint has to allow.
fn is_opened(segment: &str) -> bool {
    let escapes = segment.split('%').skip(1).filter_map(|after| percent::octet(after.as_bytes()));
    segment.contains(';') || escapes.into_iter().any(|(value, _)| matches!(value, b'/' | b'\\' | b'%'))
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
