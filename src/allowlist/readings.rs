//! What a path with allowed escapes reads as to upstreams that decode it before they split it into segments, or drop path
//! parameters: whether one of these readings is another endpoint's.
//!
//! A server decodes once or twice, splits before or after each decoding, takes a backslash for a slash or not, and drops what
//! follows a semicolon at any of these steps or never. Each combination is one reading. The policy's templates are walked with
//! each as a router with backtracking would: the most specific template first, less specific ones where it does not match, and
//! `{x:text}` as a variable that takes one segment or several.

use super::Kind;
use super::shape::Shape;
use super::table::Node;
use crate::request::{CanonicalPath, percent};

/// More segments than any template has.
const MAX_SEGMENTS: usize = 65;

/// How many places of the tree a reading may visit; one that visits more counts as another endpoint's.
const MAX_PLACES: u32 = 1_024;

/// Whether some reading of a path, which matched the template of these endpoints, is another template's.
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

/// How an upstream reads a path.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// How often it decodes.
    decodes: u8,
    /// After how many of these it still splits at slashes.
    splits: u8,
    /// After how many of these it drops path parameters, if it does.
    cuts: Option<u8>,
    /// Whether it splits at backslashes too.
    at_backslashes: bool,
}

/// The readings that can differ for a path.
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
        // Decoded once after it was split is how the path was matched.
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

/// What a router can come to from a place: it may compare exactly or leniently at each segment, and its variables may be wider
/// than the policy's.
struct Ends {
    /// Another template may match first.
    another: bool,
    /// Nothing may match, so that the router goes back.
    nothing: bool,
}

struct Walk {
    /// The first endpoint of the template that matched.
    matched: u32,
    /// How many places may still be visited.
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
        // An upstream whose values have slashes in them declares a variable that takes several segments, in front of others too.
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
    /// Adds what comes after an edge that a router takes for certain or maybe.
    fn add(&mut self, certain: bool, through: Self) {
        self.another |= through.another;
        self.nothing &= !certain || through.nothing;
    }
}
