//! The lookup of the template that matches a path, among all templates of one host.
//!
//! Templates form a tree with one edge per segment. At each node a segment takes the most specific edge that matches it, without
//! backtracking: static text, then a variable with a fixed beginning or end (longest first), then a plain variable, then the rest of the
//! path. Before that the segment is read like in [lenient upstreams](super::lenient). If such a reading matches a more specific edge than
//! the exact text, the segment matches nothing. For example, `/v1/Admin` and `/v1/admin.json` never match `/v1/{id}` if `/v1/admin` is
//! listed, `x%3Arun` does not match `{name:text}` if `{name}:run` is listed, and `/files/` does not match `/files/{path...}` if `/files`
//! is listed.
//!
//! The cost of a lookup is proportional to the length of the path, plus one binary search per segment over the hashes of the fixed texts.

use std::borrow::Cow;

use super::lenient::without_parameters;
use super::shape::Shape;
use super::{Kind, Template, build, readings};
use crate::document::FormatSuffixes;
use crate::reason::Reason;
use crate::request::{CanonicalPath, is_dot_segment, percent};
use crate::text::ascii::{bytes_eq, is_without};

/// The templates of one host, compiled for lookups.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) root: Node,
}

/// A node of the tree, with the edges for the next segment.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Sorted by hash.
    pub(super) fixed: Vec<Fixed>,
    /// Sorted by the length of the fixed text, the longest first.
    pub(super) affixed: Vec<Affixed>,
    pub(super) plain: Option<Box<Plain>>,
    /// The endpoints that match the rest of the path from here.
    pub(super) rest: Vec<u32>,
    /// The endpoints whose template ends here.
    pub(super) here: Vec<u32>,
    /// Whether a name with a format suffix is read as the listed name without it.
    pub(super) rejects_suffixes: bool,
    /// The length of the longest fixed text, decoded, or 0 if suffixes are ignored.
    pub(super) longest: u32,
}

/// A segment of fixed text.
#[derive(Debug)]
pub(super) struct Fixed {
    /// The hash of its lenient reading.
    pub(super) hash: u32,
    /// The text, with the digits of its escapes in upper case.
    pub(super) text: Box<str>,
    pub(super) child: Node,
}

/// A variable with a fixed beginning or end. Neither contains escapes.
#[derive(Debug)]
pub(super) struct Affixed {
    pub(super) beginning: Box<str>,
    pub(super) kind: Kind,
    pub(super) end: Box<str>,
    pub(super) child: Node,
}

/// A variable that matches a whole segment.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) kind: Kind,
    pub(super) child: Node,
}

/// A table and the warnings about it.
#[derive(Debug)]
pub struct Built {
    /// The table.
    pub table: Table,
    /// Warnings about allowed templates that may be a mistake.
    pub warnings: Vec<Remark>,
}

/// A remark about an endpoint's template in relation to the other templates of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The number that the endpoint had in [`Table::build`].
    pub endpoint: u32,
    /// The problem and the solution, in one sentence.
    pub message: String,
}

/// The result of a lookup for a path.
#[derive(Debug)]
pub struct Found<'t, 'p> {
    endpoints: &'t [u32],
    captures: Captures<'t, 'p>,
    /// The node and the path of the lookup, for other readings of the same path.
    root: &'t Node,
    path: CanonicalPath<'p>,
}

/// The value of a variable.
#[derive(Debug, Clone, Copy)]
pub struct Capture<'t, 'p> {
    /// The text that matched the variable together with its fixed text.
    segment: &'p str,
    value: &'p str,
    /// The node at which the segment matched, for comparisons with its siblings.
    place: &'t Node,
}

/// Values in the order of a template's variables. Most templates have few variables, which need no allocation.
#[derive(Debug, Default)]
struct Captures<'t, 'p> {
    few: [Option<Capture<'t, 'p>>; 4],
    more: Vec<Capture<'t, 'p>>,
}

/// The edge that a segment takes.
pub(super) enum Step<'t, 'p> {
    Fixed(&'t Node),
    Variable { child: &'t Node, value: &'p str },
    Rest(&'t [u32]),
}

impl Table {
    /// The number of [reserved](Self::reserve) paths. No endpoint has it.
    pub const RESERVED: u32 = u32::MAX;

    /// Builds the table of one host from its endpoints. The caller chooses a number for each.
    ///
    /// The caller must check that endpoints with the same template have different methods.
    ///
    /// # Errors
    /// The templates that conflict with others.
    pub fn build<'a>(
        endpoints: impl IntoIterator<Item = (u32, &'a Template)>,
        suffixes: FormatSuffixes,
    ) -> Result<Built, Vec<Remark>> {
        build::build(endpoints.into_iter().collect(), suffixes)
    }

    /// Returns the most specific template that matches a path. No other template is considered.
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
        // An exact match needs no lenient comparison.
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
                // An exact match is also a lenient match, so the fixed text of the lenient one is never shorter.
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
            // Many routers ignore a trailing slash. If the path without it is listed, the rest must not be empty.
            _ => {
                let takes = !self.rest.is_empty() && (!segment.is_empty() || self.here.is_empty());
                takes.then_some(Step::Rest(&self.rest))
            }
        }
    }
}

/// Returns the part before an escaped semicolon: some servers decode before they drop path parameters. An unescaped semicolon requires an
/// endpoint that allows it, and is checked there.
fn before_escaped_parameters<'d>(segment: &str, decoded: &'d [u8]) -> Option<&'d [u8]> {
    let name = without_parameters(decoded);
    (name.len() < decoded.len() && !segment.contains(';')).then_some(name)
}

impl Fixed {
    /// Returns whether a segment equals this text, ignoring the case of the digits of escapes.
    fn is_same(&self, segment: &[u8]) -> bool {
        bytes_eq(self.text.as_bytes(), segment)
            || !is_without::<b'%'>(segment) && percent::is_same(self.text.as_bytes(), segment)
    }
}

impl<'t, 'p> Found<'t, 'p> {
    /// Returns the endpoints that share the template, in their given order. There is at least one.
    #[must_use]
    pub fn endpoints(&self) -> &'t [u32] {
        self.endpoints
    }

    /// Returns the value of the variable at a [position](Template::position) in the template.
    #[must_use]
    pub fn value(&self, position: usize) -> Option<&Capture<'t, 'p>> {
        self.values().nth(position)
    }

    /// Returns the values of the template's variables, from left to right.
    pub fn values(&self) -> impl Iterator<Item = &Capture<'t, 'p>> {
        self.captures.few.iter().flatten().chain(&self.captures.more)
    }

    /// Checks the values with escapes that the endpoint allows, as lenient upstreams read them.
    ///
    /// [`CanonicalPath::restricted`] reports which escapes the endpoint must allow. Both checks run only after authentication.
    ///
    /// # Errors
    /// [`Reason::PathValueAmbiguous`] if such an upstream would read another path (an empty or dot segment, or a segment that the policy
    /// lists next to the variable), or would run another endpoint of the policy.
    pub fn check_opened_values(&self) -> Result<(), Reason> {
        let is_ambiguous = !self.path.restricted().is_empty()
            && (self.values().any(Capture::is_ambiguous)
                || readings::reach_another(self.root, &self.path, self.endpoints));
        if is_ambiguous { Err(Reason::PathValueAmbiguous) } else { Ok(()) }
    }
}

impl<'p> Capture<'_, 'p> {
    /// Returns the value as received.
    #[must_use]
    pub fn raw(&self) -> &'p str {
        self.value
    }

    /// Returns the value decoded once.
    #[must_use]
    pub fn decoded(&self) -> Cow<'p, str> {
        match percent::decode(self.value.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(self.value),
            // INVARIANT: a canonical path decodes to UTF-8, and fixed text next to a value has no escapes. An empty value would equal
            // nothing.
            Cow::Owned(decoded) => Cow::Owned(String::from_utf8(decoded).unwrap_or_default()),
        }
    }

    fn is_ambiguous(&self) -> bool {
        // The check runs with the adjacent fixed text, because an upstream splits the whole segment, and without it, because the upstream
        // uses the value alone.
        [self.segment, self.value].into_iter().any(|text| {
            let mut segments = text.split('/').enumerate();
            segments.any(|(index, segment)| is_opened(segment) && self.is_read_otherwise(segment, index == 0))
        })
    }

    /// Returns whether an upstream that decodes (twice if a percent sign is escaped), splits at both kinds of slashes and drops path
    /// parameters would not see a sequence of nonempty names, or would see a first name that the policy lists at this node.
    fn is_read_otherwise(&self, segment: &str, is_at_place: bool) -> bool {
        let mut decoded = percent::decode(segment.as_bytes());
        if segment.contains("%25") {
            decoded = Cow::Owned(percent::decoded(&decoded).collect());
        }
        let mut parts = decoded.split(|byte| matches!(byte, b'/' | b'\\')).map(without_parameters);
        let begins_like_a_sibling = is_at_place && parts.clone().next().is_some_and(|part| self.has_sibling(part));
        begins_like_a_sibling || parts.any(|part| part.is_empty() || is_dot_segment(part))
    }

    /// Returns whether a lenient reader reads a decoded text as something that the policy lists next to the variable.
    fn has_sibling(&self, decoded: &[u8]) -> bool {
        let is_other = |shape: &Shape| shape.value_in(self.segment) != Some(self.value);
        let names = self.place.names(decoded);
        self.place.is_read_as_fixed(decoded)
            || self.place.shapes().any(|(shape, _)| is_other(&shape) && names.include(&shape))
    }
}

/// Returns whether a segment has one of the sequences that an endpoint must allow.
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
