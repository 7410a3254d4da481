//! Checks whether a path with allowed escapes reads as another endpoint's path to an upstream that decodes it before splitting it into
//! segments, or that drops path parameters.
//!
//! A server decodes once or twice, splits before or after each decoding, may treat a backslash as a slash, and may drop the text after a
//! semicolon at any of these steps. Each combination is one reading. For each reading the policy's templates are searched like in a
//! router with backtracking: the most specific template first, then less specific ones if it does not match. `{x:text}` matches one or
//! more segments.

use super::Kind;
use super::shape::Shape;
use super::table::Node;
use crate::request::{CanonicalPath, percent};

/// More segments than any template has.
const MAX_SEGMENTS: usize = 65;

/// The maximum number of tree nodes that a reading may visit. A reading that visits more counts as another endpoint's.
const MAX_PLACES: u32 = 1_024;

/// Returns whether some reading of a path belongs to another template than the one that matched, which is the template of these
/// endpoints.
pub(super) fn reach_another(root: &Node, path: &CanonicalPath<'_>, matched: &[u32]) -> bool {
    let Some(matched) = matched.first() else { return false };
    let as_matched = Reading { decodes: 1, splits: 0, cuts: None, at_backslashes: false }.segments_of(path.as_str());
    readings(path.as_str()).any(|reading| {
        let segments = reading.segments_of(path.as_str());
        if segments == as_matched {
            return false;
        }
        let mut walk = Walk { matched: *matched, places: MAX_PLACES };
        walk.from(root, &segments).another
    })
}

/// The way in which an upstream reads a path.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The number of times it decodes.
    decodes: u8,
    /// The number of these after which it still splits at slashes.
    splits: u8,
    /// The number of these after which it drops path parameters, if it does.
    cuts: Option<u8>,
    /// Whether it also splits at backslashes.
    at_backslashes: bool,
}

/// Returns the readings that can differ for a path.
fn readings(path: &str) -> impl Iterator<Item = Reading> {
    let levels = if path.contains("%25") { 2 } else { 1 };
    let decoded = (0..levels).fold(path.as_bytes().to_vec(), |text, _| percent::decoded(&text).collect());
    let has_parameters = decoded.contains(&b';');
    let backslashes: &[bool] = if decoded.contains(&b'\\') { &[true, false] } else { &[true] };
    let decodings = (1..=levels).flat_map(|decodes| (0..=decodes).map(move |splits| (decodes, splits)));
    decodings.flat_map(move |(decodes, splits)| {
        let cuts = std::iter::once(None).chain((0..=decodes).filter(move |_| has_parameters).map(Some));
        let readings = cuts.flat_map(move |cuts| {
            backslashes.iter().map(move |at_backslashes| Reading {
                decodes,
                splits,
                cuts,
                at_backslashes: *at_backslashes,
            })
        });
        // The reading that splits first and then decodes once is the one that was matched.
        readings.filter(|reading| reading.decodes > 1 || reading.splits > 0 || reading.cuts.is_some())
    })
}

impl Reading {
    fn segments_of(&self, path: &str) -> Vec<Vec<u8>> {
        let mut segments: Vec<Vec<u8>> =
            path.split('/').skip(1).take(MAX_SEGMENTS).map(|segment| segment.as_bytes().to_vec()).collect();
        self.cut(0, &mut segments);
        for level in 1..=self.decodes {
            let decoded = segments.iter().map(|segment| percent::decoded(segment).collect::<Vec<u8>>());
            segments = if level <= self.splits {
                let is_end = |byte: &u8| *byte == b'/' || self.at_backslashes && *byte == b'\\';
                let split = |text: Vec<u8>| text.split(is_end).map(<[u8]>::to_vec).collect::<Vec<_>>();
                decoded.flat_map(split).take(MAX_SEGMENTS).collect()
            } else {
                decoded.collect()
            };
            self.cut(level, &mut segments);
        }
        segments
    }

    fn cut(&self, level: u8, segments: &mut [Vec<u8>]) {
        if self.cuts == Some(level) {
            for segment in segments {
                segment.truncate(segment.iter().position(|byte| *byte == b';').unwrap_or(segment.len()));
            }
        }
    }
}

/// The possible results of a router from a node. At each segment the router may compare exactly or leniently, and its variables may match
/// more values than the policy's.
struct Ends {
    /// Another template may match first.
    another: bool,
    /// No template may match, so the router backtracks.
    nothing: bool,
}

struct Walk {
    /// The first endpoint of the template that matched.
    matched: u32,
    /// The number of nodes that may still be visited.
    places: u32,
}

impl Walk {
    fn from(&mut self, place: &Node, segments: &[Vec<u8>]) -> Ends {
        let Some(places) = self.places.checked_sub(1) else { return Ends { another: true, nothing: false } };
        self.places = places;
        let Some((segment, after)) = segments.split_first() else {
            return self.end(&place.here);
        };
        let mut ends = Ends { another: false, nothing: true };
        let read_alike = place.fixed_hashed_like(segment).filter(|fixed| fixed.is_read_as(segment));
        for fixed in read_alike.chain(place.fixed_before_suffix(segment)) {
            let certain = *percent::decode(fixed.text.as_bytes()) == **segment;
            ends.add(certain, self.from(&fixed.child, after));
        }
        let names = place.names(segment);
        let plain = place.plain.iter().map(|plain| (Shape::plain(plain.kind), &plain.child));
        for (shape, child) in place.shapes().chain(plain) {
            let certain = str::from_utf8(segment).is_ok_and(|segment| shape.value_in(segment).is_some());
            let possible = certain || shape.may_be(segment) || !shape.is_plain() && names.include(&shape);
            if possible && ends.nothing && !ends.another {
                ends.add(certain, self.from(child, after));
            }
        }
        if ends.nothing && !place.rest.is_empty() {
            ends.add(true, self.end(&place.rest));
        }
        // An upstream with slashes in values declares a variable for several segments, and may try it before others.
        if let Some(plain) = place.plain.as_ref().filter(|plain| plain.kind == Kind::Text) {
            for taken in 2..segments.len() {
                if ends.another {
                    break;
                }
                let after = segments.get(taken..).unwrap_or_default();
                ends.add(false, self.from(&plain.child, after));
            }
        }
        ends
    }

    fn end(&self, endpoints: &[u32]) -> Ends {
        let another = endpoints.first().is_some_and(|first| *first != self.matched);
        Ends { another, nothing: endpoints.is_empty() }
    }
}

impl Ends {
    /// Adds the results of an edge that a router certainly or possibly takes.
    fn add(&mut self, certain: bool, through: Self) {
        self.another |= through.another;
        self.nothing &= !certain || through.nothing;
    }
}
