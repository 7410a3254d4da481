//! Warnings about paths that a reader of the policy would expect to match a variable. They are rejected because a more specific segment
//! matches first and the lookup does not backtrack.

use std::collections::BTreeMap;

use super::shape::Shape;
use super::table::{Node, Remark, Step, Table};
use super::{Kind, Template};
use crate::text::sort;

/// The maximum number of siblings in a warning.
const NAMED: usize = 3;

/// The maximum number of nodes to compare. Thousands of siblings of a variable with thousands of continuations would keep a gateway's
/// worker busy for seconds, only for warnings.
const MAX_COMPARED: u32 = 200_000;

pub(super) struct Shadows<'a> {
    templates: BTreeMap<u32, &'a Template>,
    warnings: Vec<Remark>,
    /// The number of nodes that may still be compared.
    budget: u32,
}

impl<'a> Shadows<'a> {
    pub(super) fn new(endpoints: &[(u32, &'a Template)]) -> Self {
        let mut templates = BTreeMap::new();
        for (index, template) in endpoints {
            templates.insert(*index, *template);
        }
        Self { templates, warnings: Vec::new(), budget: MAX_COMPARED }
    }

    pub(super) fn find(mut self, table: &Table) -> Vec<Remark> {
        self.visit(&table.root, 1);
        sort::sort_by_key(&mut self.warnings, |remark| remark.endpoint);
        self.warnings
    }

    /// Checks a node. `number` is the position of its next segment, counted from 1.
    fn visit(&mut self, place: &Node, number: usize) {
        let fixed = place.fixed.iter().map(|fixed| (Sibling::Fixed(&fixed.text), &fixed.child));
        let mut specific: Vec<(Sibling, &Node)> = fixed.collect();
        let affixed = place.affixed.iter().map(|affixed| (affixed.shape(), &affixed.child));
        let plain = place.plain.iter().map(|plain| (Shape::plain(plain.kind), &plain.child));
        for (shape, child) in affixed.chain(plain) {
            self.compare(&specific, &shape, number, |sibling, budget| uncovered(child, sibling, budget));
            specific.push((Sibling::Variable(shape), child));
        }
        if let Some(endpoint) = place.rest.first() {
            let covers = |sibling: &Node| !sibling.rest.is_empty() && !sibling.here.is_empty();
            let uncovered = |sibling: &Node, _: &mut u32| (!covers(sibling)).then_some(*endpoint);
            self.compare(&specific, &Shape::plain(Kind::Rest), number, uncovered);
        }
        for (_, child) in specific {
            self.visit(child, number + 1);
        }
    }

    /// Warns of the siblings that match a variable's values but lack a path that continues after the variable.
    fn compare(
        &mut self,
        siblings: &[(Sibling, &Node)],
        variable: &Shape,
        number: usize,
        uncovered: impl Fn(&Node, &mut u32) -> Option<u32>,
    ) {
        let mut left_out: BTreeMap<u32, Vec<&Node>> = BTreeMap::new();
        for (_, sibling) in siblings.iter().filter(|(sibling, _)| sibling.takes_values_of(variable)) {
            if let Some(endpoint) = uncovered(sibling, &mut self.budget) {
                left_out.entry(endpoint).or_default().push(sibling);
            }
        }
        for (endpoint, siblings) in left_out {
            let mut beginnings: Vec<_> = siblings.iter().filter_map(|node| self.beginning(node, number)).collect();
            sort::sort(&mut beginnings);
            let more = match beginnings.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            beginnings.truncate(NAMED);
            let message = format!(
                "requests that begin like {}{more} never match this path; if they should, list it there too",
                beginnings.join(", ")
            );
            self.warnings.push(Remark { endpoint, message });
        }
    }

    /// Returns the beginning of the paths through a node, with this many segments.
    fn beginning(&self, place: &Node, segments: usize) -> Option<String> {
        let template = self.templates.get(&first_endpoint(place)?)?;
        let parts: Vec<_> = template.as_str().split('/').take(segments + 1).collect();
        Some(format!("`{}`", parts.join("/")))
    }
}

/// A segment that a node can match.
enum Sibling<'t> {
    Fixed(&'t str),
    Variable(Shape<'t>),
}

impl Sibling<'_> {
    /// Returns whether a segment that this one matches could also be a value of a less specific variable.
    fn takes_values_of(&self, variable: &Shape) -> bool {
        match self {
            Self::Fixed(text) => variable.value_in(text).is_some(),
            Self::Variable(shape) => shape.overlaps(variable),
        }
    }
}

/// Returns the first endpoint whose path continues after `variable` in a way that no path continues after `sibling`. Returns `None` if
/// the budget is used up.
fn uncovered(variable: &Node, sibling: &Node, budget: &mut u32) -> Option<u32> {
    *budget = budget.checked_sub(1)?;
    if let (Some(endpoint), true) = (variable.here.first(), sibling.here.is_empty()) {
        return Some(*endpoint);
    }
    if !sibling.rest.is_empty() {
        return None;
    }
    let plain_of_sibling = sibling.plain.as_ref().map(|plain| (plain.kind, &plain.child));
    for fixed in &variable.fixed {
        let found = match sibling.step(&fixed.text) {
            Some(Step::Fixed(child) | Step::Variable { child, .. }) => uncovered(&fixed.child, child, budget),
            Some(Step::Rest(_)) => None,
            None => first_endpoint(&fixed.child),
        };
        if found.is_some() || *budget == 0 {
            return found;
        }
    }
    for affixed in &variable.affixed {
        let same = sibling.affixed.iter().find(|other| other.shape() == affixed.shape()).map(|same| &same.child);
        let taking = plain_of_sibling.filter(|(kind, _)| {
            let mut text = affixed.beginning.bytes().chain(affixed.end.bytes());
            kind.includes(affixed.kind) && text.all(|byte| kind.has_character(byte))
        });
        let found = match same.or(taking.map(|(_, child)| child)) {
            Some(child) => uncovered(&affixed.child, child, budget),
            None => first_endpoint(&affixed.child),
        };
        if found.is_some() {
            return found;
        }
    }
    let found = variable.plain.as_ref().and_then(|plain| match plain_of_sibling {
        Some((kind, child)) if kind.includes(plain.kind) => uncovered(&plain.child, child, budget),
        _ => first_endpoint(&plain.child),
    });
    found.or_else(|| variable.rest.first().copied())
}

/// Returns an endpoint whose template goes through a node.
pub(super) fn first_endpoint(place: &Node) -> Option<u32> {
    let children =
        place.fixed.iter().map(|fixed| &fixed.child).chain(place.affixed.iter().map(|affixed| &affixed.child));
    let variable = place.plain.iter().map(|plain| &plain.child);
    place.here.first().or(place.rest.first()).copied().or_else(|| children.chain(variable).find_map(first_endpoint))
}
