//! Construction of a [`Table`]: builds the tree of templates and finds conflicts between them.

use super::lenient::{lenient_hash, without_end};
use super::shadow::Shadows;
use super::shape::Shape;
use super::table::{Affixed, Built, Fixed, Node, Plain, Remark, Table};
use super::template::Segment;
use super::{Kind, Template};
use crate::document::FormatSuffixes;
use crate::request::percent;
use crate::text::sort;

/// The maximum number of variables with a fixed beginning or end at one node, because a lookup tries each of them.
const MAX_AFFIXED: usize = 64;

/// Endpoints sorted by template, so templates with a common beginning are adjacent.
type Sorted<'s, 'a> = &'s [(u32, &'a Template)];

pub(super) fn build(mut endpoints: Vec<(u32, &Template)>, suffixes: FormatSuffixes) -> Result<Built, Vec<Remark>> {
    sort::sort_by(&mut endpoints, |(a, one), (b, other)| one.segments().cmp(other.segments()).then(a.cmp(b)).is_lt());
    let mut errors = Vec::new();
    let rejects_suffixes = suffixes == FormatSuffixes::Reject;
    let table = Table { root: place(&endpoints, 0, rejects_suffixes, &mut errors) };
    if errors.is_empty() {
        let warnings = Shadows::new(&endpoints).find(&table);
        Ok(Built { table, warnings })
    } else {
        sort::sort_by_key(&mut errors, |remark| remark.endpoint);
        Err(errors)
    }
}

/// Builds the node that these endpoints share after `depth` segments.
fn place<'a>(endpoints: Sorted<'_, 'a>, depth: usize, rejects_suffixes: bool, errors: &mut Vec<Remark>) -> Node {
    let mut node = Node { rejects_suffixes, ..Node::default() };
    let mut variables: Vec<(Shape<'a>, Sorted<'_, 'a>)> = Vec::new();
    for through in endpoints.chunk_by(|(_, one), (_, other)| one.segments().get(depth) == other.segments().get(depth)) {
        let numbers = || through.iter().map(|(number, _)| *number).collect();
        match through.first().and_then(|(_, template)| template.segments().get(depth)) {
            None => node.here = numbers(),
            Some(Segment::Rest) => node.rest = numbers(),
            Some(Segment::Fixed(text)) => {
                let child = place(through, depth + 1, rejects_suffixes, errors);
                let fixed = node.fixed(text, child);
                node.fixed.push(fixed);
            }
            Some(Segment::Variable { beginning, kind, end }) => {
                variables.push((Shape { beginning, kind: *kind, end }, through));
            }
        }
    }
    sort::sort_by_key(&mut node.fixed, |fixed| fixed.hash);
    check_variables(&variables, errors);
    for (shape, through) in variables {
        let child = place(through, depth + 1, rejects_suffixes, errors);
        let Shape { beginning, kind, end } = shape;
        if shape.is_plain() {
            node.plain = Some(Box::new(Plain { kind, child }));
        } else {
            node.affixed.push(Affixed { beginning: beginning.into(), kind, end: end.into(), child });
        }
    }
    sort::sort_by_key(&mut node.affixed, |affixed| std::cmp::Reverse(affixed.shape().fixed_length()));
    if let (Some(plain), Some(&endpoint)) = (&node.plain, node.rest.first())
        && plain.kind == Kind::Text
    {
        let message = "no path reaches `{name...}`, because `{name:text}` at the same position matches every segment; remove one \
                       of them";
        errors.push(Remark { endpoint, message: message.to_owned() });
    }
    node
}

impl Node {
    /// Returns an edge with this text, which the caller adds to the node.
    fn fixed(&mut self, text: &str, child: Self) -> Fixed {
        let decoded = percent::decode(text.as_bytes());
        if self.rejects_suffixes {
            self.longest = self.longest.max(u32::try_from(without_end(&decoded).len()).unwrap_or(u32::MAX));
        }
        Fixed { hash: lenient_hash(&decoded), text: text.into(), child }
    }

    /// Returns the child behind an edge with this text. Adds the edge if there is none.
    fn fixed_child(&mut self, text: &str) -> Option<&mut Self> {
        let listed = self.fixed.iter().position(|fixed| *fixed.text == *text);
        let at = listed.unwrap_or_else(|| {
            let child = Self { rejects_suffixes: self.rejects_suffixes, ..Self::default() };
            let fixed = self.fixed(text, child);
            let at = self.fixed.partition_point(|other| other.hash < fixed.hash);
            self.fixed.insert(at, fixed);
            at
        });
        self.fixed.get_mut(at).map(|fixed| &mut fixed.child)
    }
}

impl Table {
    /// Reserves a path that Callgate answers itself: a lookup finds [`Self::RESERVED`] there, which is no endpoint. As next to every
    /// listed path, no variable matches what an upstream could read as its segments. `path` is in canonical form.
    pub fn reserve(&mut self, path: &str) {
        let path = percent::with_upper_digits(path);
        let segments = path.split('/').skip(1);
        let place = segments.into_iter().try_fold(&mut self.root, |place, segment| place.fixed_child(segment));
        if let Some(place) = place {
            place.here.push(Self::RESERVED);
        }
    }
}

fn check_variables(variables: &[(Shape, Sorted)], errors: &mut Vec<Remark>) {
    if let Some((_, through)) = variables.iter().filter(|(shape, _)| !shape.is_plain()).nth(MAX_AFFIXED) {
        let message = format!(
            "too many different fixed texts around variables at the same position; expected at most {MAX_AFFIXED}, or one \
             `{{name:text}}`"
        );
        errors.extend(earliest(through).map(|(endpoint, _)| Remark { endpoint, message }));
        return;
    }
    let mut others = variables.iter();
    while let Some((shape, through)) = others.next() {
        let ties = |other: &Shape| shape.fixed_length() == other.fixed_length() && shape.overlaps(other);
        let is_same_text = |other: &Shape| (shape.beginning, shape.end) == (other.beginning, other.end);
        for (other, through_other) in others.clone().filter(|(other, _)| is_same_text(other) || ties(other)) {
            let (Some(one), Some(two)) = (earliest(through), earliest(through_other)) else { continue };
            // The later endpoint gets the error, because the earlier one was valid alone.
            let ((_, earlier), (endpoint, _)) = if one.0 < two.0 { (one, two) } else { (two, one) };
            let message = if is_same_text(other) {
                format!("conflicting variable types for the same path segment; expected the type in `{earlier}`")
            } else {
                format!("this path and `{earlier}` can match the same segment; make the fixed text of one longer")
            };
            errors.push(Remark { endpoint, message });
        }
    }
}

fn earliest<'a>(through: Sorted<'_, 'a>) -> Option<(u32, &'a Template)> {
    through.iter().copied().min_by_key(|(number, _)| *number)
}
