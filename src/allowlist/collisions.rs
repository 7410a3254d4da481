//! Finds endpoints that an upstream can run instead of another one whose values may contain encoded slashes, backslashes or semicolons.
//!
//! The lookup rejects each request with such a reading ([`readings`](super::readings)). This module finds the affected templates for
//! warnings.

use std::collections::BTreeSet;

use super::shape::Shape;
use super::table::{Node, Table};
use super::template::Segment;
use super::{Kind, Template};
use crate::document::Escape;
use crate::request::EscapeSet;

/// The maximum number of nodes that one search visits.
const MAX_PLACES: u32 = 20_000;

impl Table {
    /// Returns the endpoints that an upstream can run for requests that match `template`, if the endpoint of this template allows these
    /// escapes. The result has one endpoint for each other template, in order. The budget is the number of tree nodes that this and later
    /// searches may visit. Endpoints beyond the budget are not found, so warnings never keep a gateway's worker busy.
    #[must_use]
    pub fn reads_as(&self, endpoint: u32, template: &Template, escapes: EscapeSet, budget: &mut u32) -> Vec<u32> {
        let places = MAX_PLACES.min(*budget);
        let mut search = Search {
            own: endpoint,
            splits: escapes.contains(Escape::Slash) || escapes.contains(Escape::Backslash),
            // A value that is cut or decoded twice can read as another name with the same number of segments.
            changes: escapes.contains(Escape::Semicolon) || escapes.contains(Escape::Percent),
            places,
            found: BTreeSet::new(),
        };
        search.visit(&self.root, template.segments(), Path { differs: false, own: true });
        *budget -= places - search.places;
        search.found.into_iter().collect()
    }
}

struct Search {
    own: u32,
    splits: bool,
    changes: bool,
    places: u32,
    found: BTreeSet<u32>,
}

/// The state of the segments on the way to a node.
#[derive(Clone, Copy)]
struct Path {
    /// Whether an upstream reads them differently than Callgate.
    differs: bool,
    /// Whether they are the template's own segments.
    own: bool,
}

impl Search {
    fn visit(&mut self, place: &Node, rest: &[Segment], path: Path) {
        let Some(places) = self.places.checked_sub(1) else { return };
        self.places = places;
        let Some((segment, after)) = rest.split_first() else {
            self.add(&place.here, path.differs);
            return;
        };
        // A template that takes the rest of the path at this node is less specific than one that takes it further down.
        let is_preferred = path.own
            && after.split_last().map_or(*segment == Segment::Rest, |(last, before)| {
                *last == Segment::Rest && !std::iter::once(segment).chain(before).any(takes_any)
            });
        if !is_preferred {
            self.add(&place.rest, path.differs || rest.iter().any(takes_any));
        }
        let any = takes_any(segment);
        // The template's segment at this node, as a shape if it is a variable in one segment.
        let fixed_text = if let Segment::Fixed(text) = segment { Some(&**text) } else { None };
        let variable = match segment {
            Segment::Variable { beginning, kind, end } => Some(Shape { beginning, kind: *kind, end }),
            Segment::Fixed(_) | Segment::Rest => None,
        };
        for fixed in &place.fixed {
            let own = fixed_text == Some(&*fixed.text);
            if own || any || variable.is_some_and(|variable| variable.value_in(&fixed.text).is_some()) {
                self.go_on(&fixed.child, rest, Path { own: path.own && own, ..path });
            }
        }
        let plain = place.plain.iter().map(|plain| (Shape::plain(plain.kind), &plain.child));
        for (shape, child) in place.shapes().chain(plain) {
            let takes_fixed = fixed_text.is_some_and(|text| shape.value_in(text).is_some());
            if any || takes_fixed || variable.is_some_and(|variable| variable.overlaps(&shape)) {
                self.go_on(child, rest, Path { own: path.own && variable == Some(shape), ..path });
            }
        }
    }

    /// Continues after one segment of a path. It is the whole value of a variable or the beginning of it.
    fn go_on(&mut self, child: &Node, rest: &[Segment], path: Path) {
        let Some((segment, after)) = rest.split_first() else { return };
        let any = takes_any(segment);
        self.visit(child, after, Path { differs: path.differs || any && self.changes, ..path });
        if any && (self.splits || *segment == Segment::Rest) {
            self.visit(child, rest, Path { differs: path.differs || self.splits || self.changes, own: false });
        }
    }

    fn add(&mut self, endpoints: &[u32], differs: bool) {
        let Some(first) = endpoints.first() else { return };
        if differs && !endpoints.contains(&self.own) {
            self.found.insert(*first);
        }
    }
}

/// Returns whether the segment is a variable whose values may contain escapes.
fn takes_any(segment: &Segment) -> bool {
    match segment {
        Segment::Fixed(_) => false,
        Segment::Variable { kind, .. } => kind.takes_escapes(),
        Segment::Rest => Kind::Rest.takes_escapes(),
    }
}
