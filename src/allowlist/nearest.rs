//! Finds the endpoints that a request nearly matched, with the differences, for explanations. The request path does not use this module.

use super::lenient::without_parameters;
use super::shadow::first_endpoint;
use super::shape::Shape;
use super::table::{Node, Step, Table};
use super::template::Segment;
use super::{Kind, Template, Variable};
use crate::document::FormatSuffixes;
use crate::request::{CanonicalPath, EscapeSet, percent};

/// The maximum number of endpoints in the result.
const MAX_NAMED: usize = 3;
/// The maximum difference between the cost of an endpoint in the result and the lowest cost.
const MAX_BEHIND: u32 = 2;
/// The maximum number of differences for one endpoint, and of texts in one difference.
const MAX_MISSES: usize = 4;
/// The maximum number of characters to quote from a text in the request.
const MAX_QUOTED: usize = 64;

/// The cost of a difference. The endpoint with the lowest cost is the nearest.
const SMALL: u32 = 1;
const LARGE: u32 = 3;

/// An endpoint of the policy.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// Its hosts.
    pub hosts: Vec<&'a str>,
    /// Its methods.
    pub methods: Vec<&'a str>,
    /// Its path.
    pub template: &'a Template,
}

/// A request that matched no endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The host in canonical form.
    pub host: &'a str,
    /// The path.
    pub path: CanonicalPath<'a>,
}

/// An endpoint that a request nearly matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// Its index in the given list.
    pub endpoint: usize,
    /// The differences, each as part of a sentence; empty if the request matches. Texts from the request are escaped, quoted and
    /// shortened.
    pub misses: Vec<String>,
}

/// The cost of a difference and its description.
type Miss = (u32, String);

/// Returns the endpoints nearest to a request, at most three, the nearest first. The result is empty if the request has nothing in common
/// with any endpoint.
#[must_use]
pub fn nearest(asked: &Asked<'_>, listed: &[Listed<'_>], suffixes: FormatSuffixes) -> Vec<Near> {
    let answers = |endpoint: &Listed<'_>| endpoint.hosts.contains(&asked.host);
    let here = (0..).zip(listed).filter(|(_, endpoint)| answers(endpoint));
    // Templates that do not compile were reported when the policy was read.
    let table = Table::build(here.map(|(number, endpoint)| (number, endpoint.template)), suffixes).ok();
    let mut near: Vec<(u32, usize, Vec<Miss>)> = Vec::new();
    for (number, endpoint) in listed.iter().enumerate() {
        let mut misses = Vec::new();
        if !answers(endpoint) {
            let hosts = list(endpoint.hosts.iter().copied());
            misses.push((LARGE, format!("host {} is not {hosts}", quoted(asked.host))));
        }
        if !endpoint.methods.contains(&asked.method) {
            let methods = list(endpoint.methods.iter().copied());
            misses.push((SMALL, format!("method {} is not {methods}", quoted(asked.method))));
        }
        let of_path = path_misses(&asked.path, endpoint.template);
        let cost = |misses: &[Miss]| misses.iter().fold(0, |sum, (cost, _)| sum + cost);
        if has_something_in_common(&asked.path, endpoint.template) {
            let cost = cost(&misses) + cost(&of_path);
            misses.extend(of_path);
            near.push((cost, number, misses));
        }
    }
    near.sort_by_key(|(cost, number, _)| (*cost, *number));
    let least = near.first().map_or(0, |(cost, ..)| *cost);
    let named = near.into_iter().take_while(|(cost, ..)| *cost <= least + MAX_BEHIND).take(MAX_NAMED);
    named
        .map(|(_, endpoint, misses)| {
            let mut misses: Vec<String> = misses.into_iter().map(|(_, miss)| miss).take(MAX_MISSES).collect();
            let preferred = table.as_ref().zip(listed.get(endpoint)).filter(|(_, listed)| answers(listed));
            misses
                .extend(preferred.and_then(|(built, of)| preferred_to(&built.table, of.template, &asked.path, listed)));
            Near { endpoint, misses }
        })
        .collect()
}

/// Returns whether a path contains, exactly or nearly, some fixed text of a template, or the template has no fixed text.
fn has_something_in_common(path: &CanonicalPath<'_>, template: &Template) -> bool {
    let fixed = template.segments().iter().zip(path.segments()).filter_map(|(part, segment)| match part {
        Segment::Fixed(text) if !text.is_empty() => Some((segment, &**text)),
        Segment::Fixed(_) | Segment::Variable { .. } | Segment::Rest => None,
    });
    let near = |(segment, text): (&str, &str)| fixed_miss(segment, text).is_none_or(|(cost, _)| cost < LARGE);
    let has_fixed = template.segments().iter().any(|part| matches!(part, Segment::Fixed(text) if !text.is_empty()));
    !has_fixed || fixed.into_iter().any(near)
}

/// Returns the differences between a path and one template, without regard to other templates.
fn path_misses(path: &CanonicalPath<'_>, template: &Template) -> Vec<Miss> {
    let mut misses = Vec::new();
    let mut variables = template.variables().iter();
    let mut segments = path.segments().peekable();
    let parts = template.segments().iter().zip(template.as_str().split('/').skip(1));
    for (part, written) in parts {
        let variable = if matches!(part, Segment::Fixed(_)) { None } else { variables.next() };
        let Some(segment) = segments.next() else {
            let missing = if written.is_empty() {
                (SMALL, "the trailing slash is missing".to_owned())
            } else {
                (LARGE, format!("the path ends before {}", quoted(written)))
            };
            misses.push(missing);
            return misses;
        };
        match part {
            Segment::Rest => return misses,
            Segment::Fixed(text) if text.is_empty() && !segment.is_empty() => {
                misses.push((LARGE, format!("{} comes after the last slash", quoted(segment))));
            }
            Segment::Fixed(_) | Segment::Variable { .. } if segment.is_empty() && !written.is_empty() => {
                misses.push((LARGE, format!("the path ends before {}", quoted(written))));
            }
            Segment::Fixed(text) => misses.extend(fixed_miss(segment, text)),
            Segment::Variable { beginning, kind, end } => {
                let shape = Shape { beginning, kind: *kind, end };
                misses.extend(variable.and_then(|variable| value_miss(segment, &shape, variable)));
            }
        }
    }
    match (segments.next(), segments.count()) {
        (None, _) => {}
        (Some(""), _) => misses.push((SMALL, "trailing slash".to_owned())),
        (Some(segment), 0) => misses.push((LARGE, format!("{} is one segment too many", quoted(segment)))),
        (Some(segment), more) => {
            misses.push((LARGE, format!("{} and {more} more segments are too many", quoted(segment))));
        }
    }
    misses
}

fn fixed_miss(segment: &str, text: &str) -> Option<Miss> {
    if percent::is_same(segment.as_bytes(), text.as_bytes()) {
        return None;
    }
    let (decoded, own) = (percent::decode(segment.as_bytes()), percent::decode(text.as_bytes()));
    let (shown, text) = (quoted(segment), quoted(text));
    Some(if decoded == own {
        (SMALL, format!("{shown} is not spelled {text}"))
    } else if decoded.eq_ignore_ascii_case(&own) {
        (SMALL, format!("{shown} is not {text}, because paths are case-sensitive"))
    } else {
        (if are_similar(&decoded, &own) { SMALL } else { LARGE }, format!("{shown} is not {text}"))
    })
}

fn value_miss(segment: &str, shape: &Shape<'_>, variable: &Variable) -> Option<Miss> {
    if shape.value_in(segment).is_some() {
        return None;
    }
    let shown = quoted(segment);
    let Some(after) = segment.strip_prefix(shape.beginning) else {
        return Some((LARGE, format!("{shown} does not begin with {}", quoted(shape.beginning))));
    };
    let Some(value) = after.strip_suffix(shape.end) else {
        return Some((LARGE, format!("{shown} does not end with {}", quoted(shape.end))));
    };
    let name = &variable.name;
    let shown = quoted(value);
    let miss = match shape.kind {
        _ if value.is_empty() => format!("`{{{name}}}` is empty in {}", quoted(segment)),
        Kind::Int => format!("{shown} is not an int"),
        Kind::Slug => format!("{shown} is not a slug"),
        Kind::Uuid => format!("{shown} is not a uuid"),
        // Text and the rest of a path match every nonempty value.
        Kind::Rest | Kind::Text | Kind::Unreserved => format!("{shown} needs `{{{name}:text}}`"),
    };
    let path = format!("/{value}");
    let opened = CanonicalPath::parse_with_text(path.as_bytes()).map_or(EscapeSet::default(), |path| path.restricted());
    let allowed = if opened.is_empty() { "" } else { " and `allow_escapes`" };
    Some((SMALL, format!("{miss}{allowed}")))
}

/// Describes why a lookup prefers another template to one that a path matches, up to the first difference.
fn preferred_to(table: &Table, template: &Template, path: &CanonicalPath<'_>, listed: &[Listed<'_>]) -> Option<String> {
    let mut place = &table.root;
    for (part, segment) in template.segments().iter().zip(path.segments()) {
        // If the template's own segment does not match, that is a separate difference.
        let own = place.child(part).filter(|_| part_matches(part, segment))?;
        let reached = match place.step(segment) {
            Some(Step::Fixed(child) | Step::Variable { child, .. }) => child,
            Some(Step::Rest(_)) => return None,
            None => return place.listed_as(segment),
        };
        match own {
            Edge::Child(own) if std::ptr::eq(own, reached) => place = own,
            Edge::Child(_) | Edge::Rest => {
                let other = listed.get(usize::try_from(first_endpoint(reached)?).ok()?)?.template;
                return Some(format!(
                    "{} belongs to `{other}`, which is more specific and decides alone",
                    quoted(segment)
                ));
            }
        }
    }
    None
}

/// The target of a segment.
enum Edge<'t> {
    Child(&'t Node),
    Rest,
}

impl Node {
    /// Returns the target of a template's own segment.
    fn child(&self, part: &Segment) -> Option<Edge<'_>> {
        match part {
            Segment::Fixed(text) => {
                self.fixed.iter().find(|fixed| fixed.text == *text).map(|fixed| Edge::Child(&fixed.child))
            }
            Segment::Variable { beginning, kind, end } => {
                let shape = Shape { beginning, kind: *kind, end };
                let plain = self.plain.iter().map(|plain| (Shape::plain(plain.kind), &plain.child));
                self.shapes().chain(plain).find(|(own, _)| *own == shape).map(|(_, child)| Edge::Child(child))
            }
            Segment::Rest => (!self.rest.is_empty()).then_some(Edge::Rest),
        }
    }

    /// Describes the lenient reading because of which this node does not match a segment.
    fn listed_as(&self, segment: &str) -> Option<String> {
        if segment.is_empty() && !self.here.is_empty() && !self.rest.is_empty() {
            return Some("the path without its last slash is listed next to it".to_owned());
        }
        let decoded = percent::decode(segment.as_bytes());
        let name = without_parameters(&decoded);
        let shown = quoted(segment);
        if let Some(fixed) = self.fixed_hashed_like(&decoded).find(|fixed| fixed.is_read_as(&decoded)) {
            return Some(format!("{shown} equals the static `{}` next to it", fixed.text));
        }
        if let Some(fixed) = self.fixed_before_suffix(&decoded).next() {
            let way_out = "`format_suffixes: ignore` accepts it";
            return Some(format!("{shown} is the static `{}` next to it with a format suffix; {way_out}", fixed.text));
        }
        if self.is_read_as_fixed(name) {
            return Some(format!("{shown} is a static name next to it with a parameter"));
        }
        let reads_as = |name: &[u8]| {
            let names = self.names(name);
            self.shapes().find(|(shape, _)| names.include(shape))
        };
        let (shape, _) = reads_as(&decoded).or_else(|| reads_as(name))?;
        let (beginning, end) = (shape.beginning, shape.end);
        Some(format!("{shown} reads as `{beginning}{{name}}{end}` next to it"))
    }
}

fn part_matches(part: &Segment, segment: &str) -> bool {
    match part {
        Segment::Fixed(text) => percent::is_same(text.as_bytes(), segment.as_bytes()),
        Segment::Variable { beginning, kind, end } => Shape { beginning, kind: *kind, end }.value_in(segment).is_some(),
        Segment::Rest => true,
    }
}

/// Returns whether two texts differ in one or two adjacent characters.
fn are_similar(one: &[u8], other: &[u8]) -> bool {
    let longest = one.len().max(other.len());
    let beginning = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let ends = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    let common = (beginning + ends).min(one.len().min(other.len()));
    longest - common <= 2 && common * 2 >= longest
}

/// Quotes a few texts.
fn list<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> String {
    let named: Vec<String> = texts.clone().take(MAX_MISSES).map(quoted).collect();
    match texts.count().saturating_sub(named.len()) {
        0 => named.join(" or "),
        more => format!("{} or {more} others", named.join(", ")),
    }
}

/// Quotes a text and escapes it, so printing it is safe.
fn quoted(text: &str) -> String {
    let mut characters = text.chars();
    let kept: String = characters.by_ref().take(MAX_QUOTED).flat_map(char::escape_default).collect();
    let cut = if characters.next().is_some() { "…" } else { "" };
    format!("`{kept}{cut}`")
}

#[cfg(test)]
#[path = "nearest_tests.rs"]
mod tests;
