//! A second lookup, which searches all templates at once and drops those that are not the most specific.

use super::naive::{UNRESERVED, decode, leads_elsewhere};

/// The match for a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) endpoints: Vec<usize>,
    pub(super) values: Vec<String>,
    pub(super) is_ambiguous: bool,
}

/// The remaining segments of the templates, with their numbers.
type Left<'t> = Vec<(usize, Vec<&'t str>)>;

/// Finds the templates of a path. `suffixes` decides whether a name with a format suffix is read as the listed name without it.
pub(super) fn find(templates: &[&str], path: &str, suffixes: bool) -> Option<Found> {
    let all: Left<'_> =
        templates.iter().enumerate().map(|(index, text)| (index, text.split('/').skip(1).collect())).collect();
    let mut left = all.clone();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut found = Found { endpoints: Vec::new(), values: Vec::new(), is_ambiguous: false };
    for (depth, segment) in segments.iter().enumerate() {
        let ends_here = left.iter().any(|(_, parts)| parts.len() == depth);
        left.retain(|(_, parts)| parts.len() > depth);
        let mut here: Vec<Part> = left.iter().filter_map(|(_, parts)| Part::parse(parts.get(depth)?)).collect();
        let best = here.iter().filter(|part| part.value(segment).is_some()).max_by_key(|part| part.rank())?.clone();
        let mut names = vec![decode(segment.as_bytes())];
        if !segment.contains(';') {
            names.extend(names.clone().iter().map(|name| before_semicolon(name)));
        }
        let is_read = |part: &Part| names.iter().any(|name| part.is_read_in(name, suffixes));
        if here.iter().any(|part| is_read(part) && part.rank() > best.rank()) {
            return None;
        }
        left.retain(|(_, parts)| parts.get(depth).and_then(|part| Part::parse(part)).as_ref() == Some(&best));
        here.retain(|part| *part != best);
        if best == Part::Rest && segment.is_empty() && ends_here {
            return None;
        }
        if best == Part::Rest {
            let rest = segments.iter().skip(depth).copied().collect::<Vec<_>>();
            found.is_ambiguous = rest
                .iter()
                .enumerate()
                .any(|(index, segment)| is_read_otherwise(segment, if index == 0 { &here } else { &[] }, suffixes))
                || found.is_ambiguous;
            found.values.push(rest.join("/"));
            left.iter_mut().for_each(|(_, parts)| parts.resize(segments.len(), ""));
            break;
        }
        if let (Part::Variable { .. }, Some(value)) = (&best, best.value(segment)) {
            found.is_ambiguous |=
                is_read_otherwise(segment, &here, suffixes) || is_read_otherwise(&value, &here, suffixes);
            found.values.push(value);
        }
    }
    left.retain(|(_, parts)| parts.len() == segments.len());
    found.endpoints = left.iter().map(|(index, _)| *index).collect();
    let matched = *found.endpoints.first()?;
    found.is_ambiguous |= segments.iter().any(|segment| is_opened(segment))
        && all_readings(&segments).iter().any(|reading| may_run(&all, reading, 0, matched, suffixes).0);
    Some(found)
}

/// Returns every reading of a path that results from decoding it, splitting it again and dropping parameters.
fn all_readings(segments: &[&str]) -> Vec<Vec<Vec<u8>>> {
    let path: Vec<Vec<u8>> = segments.iter().map(|segment| segment.as_bytes().to_vec()).collect();
    let cut = |path: &[Vec<u8>]| path.iter().map(|segment| before_semicolon(segment)).collect::<Vec<_>>();
    let mut readings = Vec::new();
    let decodings = if segments.iter().any(|segment| segment.contains("%25")) { 2 } else { 1 };
    // Each bit selects one option.
    for choices in 0_u8..64 {
        let bit = |number: u8| choices & (1 << number) != 0;
        let (splits, decodes, cuts) = (choices & 3, 1 + u8::from(bit(2)), (choices >> 3) & 3);
        if splits > decodes || decodes > decodings || cuts > decodes {
            continue;
        }
        for parameters in [false, true] {
            let is_slash = |byte: &u8| *byte == b'/' || *byte == b'\\' && bit(5);
            let mut reading = path.clone();
            for level in 0..=decodes {
                if level > 0 {
                    reading = reading.iter().map(|segment| decode(segment)).collect();
                }
                if (1..=splits).contains(&level) {
                    reading =
                        reading.iter().flat_map(|text| text.split(is_slash).map(<[u8]>::to_vec)).collect::<Vec<_>>();
                }
                if parameters && level == cuts {
                    reading = cut(&reading);
                }
            }
            readings.push(reading);
        }
    }
    // The reading that was matched has already been checked.
    let as_matched: Vec<Vec<u8>> = path.iter().map(|segment| decode(segment)).collect();
    readings.retain(|reading| *reading != as_matched);
    readings
}

/// Returns whether a router with these templates may run another one than the one that matched, and whether it may run none.
fn may_run(left: &Left<'_>, path: &[Vec<u8>], depth: usize, matched: usize, suffixes: bool) -> (bool, bool) {
    let end = |ends: Vec<usize>| (ends.first().is_some_and(|_| !ends.contains(&matched)), ends.is_empty());
    let Some(name) = path.get(depth) else {
        return end(left.iter().filter(|(_, parts)| parts.len() == depth).map(|(index, _)| *index).collect());
    };
    let mut parts: Vec<(Part, Left<'_>)> = Vec::new();
    for (index, texts) in left {
        let Some(part) = texts.get(depth).and_then(|text| Part::parse(text)) else { continue };
        match parts.iter_mut().find(|(other, _)| *other == part) {
            Some((_, through)) => through.push((*index, texts.clone())),
            None => parts.push((part, vec![(*index, texts.clone())])),
        }
    }
    parts.sort_by_key(|(part, _)| std::cmp::Reverse(part.rank()));
    let (mut another, mut nothing) = (false, true);
    for (_, through) in parts.iter().filter(|(part, _)| part.is_plain_text()) {
        another |= (depth + 2..path.len()).any(|after| {
            let segments = [path.get(..depth), Some(&[Vec::new()]), path.get(after..)];
            may_run(
                through,
                &segments.into_iter().flatten().flatten().cloned().collect::<Vec<_>>(),
                depth + 1,
                matched,
                suffixes,
            )
            .0
        });
    }
    let spanning = std::mem::take(&mut another);
    for (part, through) in parts {
        let is_fixed = matches!(part, Part::Fixed(_));
        if !is_fixed && (!nothing || another) {
            break;
        }
        let (certain, possible) = match &part {
            Part::Rest => (true, true),
            Part::Fixed(text) => (decode(text.as_bytes()) == *name, part.is_read_in(name, suffixes)),
            Part::Variable { before, kind, after } => {
                let certain = str::from_utf8(name).is_ok_and(|name| part.value(name).is_some());
                let lower = lower(name);
                let middle = lower.strip_prefix(self::lower(before.as_bytes()).as_slice());
                let middle = middle.and_then(|rest| rest.strip_suffix(self::lower(after.as_bytes()).as_slice()));
                let wide = middle.is_some_and(|value| could_be(value, kind));
                (certain, certain || wide || part.is_read_in(name, suffixes))
            }
        };
        if !possible {
            continue;
        }
        let (other, none) = if part == Part::Rest {
            end(through.iter().map(|(index, _)| *index).collect())
        } else {
            may_run(&through, path, depth + 1, matched, suffixes)
        };
        another |= other;
        if certain {
            nothing &= none;
        }
    }
    (another || spanning, nothing)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Variable { before: String, kind: String, after: String },
    Rest,
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let Some(open) = text.find('{') else { return Some(Self::Fixed(upper_digits(text))) };
        let close = text.find('}')?;
        let inner = text.get(open + 1..close)?;
        if inner.ends_with("...") {
            return Some(Self::Rest);
        }
        let kind = inner.split(':').nth(1).unwrap_or_default().to_owned();
        Some(Self::Variable { before: text.get(..open)?.to_owned(), kind, after: text.get(close + 1..)?.to_owned() })
    }

    /// Returns whether it matches any text as a whole segment.
    fn is_plain_text(&self) -> bool {
        matches!(self, Self::Variable { before, kind, after } if before.is_empty() && after.is_empty() && kind == "text")
    }

    /// Returns how specific it is.
    fn rank(&self) -> usize {
        match self {
            Self::Fixed(_) => usize::MAX,
            Self::Variable { before, after, .. } => 1 + before.len() + after.len(),
            Self::Rest => 0,
        }
    }

    fn value(&self, segment: &str) -> Option<String> {
        match self {
            Self::Fixed(text) => (*text == upper_digits(segment)).then(String::new),
            Self::Variable { before, kind, after } => {
                let long_enough = segment.len() > before.len() + after.len();
                let fits = long_enough && segment.starts_with(before.as_str()) && segment.ends_with(after.as_str());
                let value = segment.get(before.len()..segment.len().checked_sub(after.len())?)?;
                (fits && is_of_kind(value.as_bytes(), kind)).then(|| value.to_owned())
            }
            Self::Rest => Some(segment.to_owned()),
        }
    }

    /// Returns whether a lenient reader reads a decoded name as this part, which is more specific than a plain variable.
    fn is_read_in(&self, name: &[u8], suffixes: bool) -> bool {
        let name = lower(name);
        let mut readings = vec![name.clone(), on_windows(&name)];
        let end = if let Self::Variable { after, .. } = self { after.as_str() } else { "" };
        if suffixes && !end.contains('.') && !name.iter().any(|byte| b"/\\".contains(byte)) {
            let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
            for before in dots.filter_map(|at| name.get(..at)).filter(|before| !on_windows(before).is_empty()) {
                readings.extend([before.to_vec(), on_windows(before)]);
            }
        }
        readings.iter().any(|reading| match self {
            Self::Fixed(text) => on_windows(&lower(&decode(text.as_bytes()))) == on_windows(reading),
            Self::Variable { before, after, .. } if before.is_empty() && after.is_empty() => false,
            Self::Variable { before, kind, after } => {
                let middle = reading.strip_prefix(lower(before.as_bytes()).as_slice());
                let middle = middle.and_then(|rest| rest.strip_suffix(lower(after.as_bytes()).as_slice()));
                middle.is_some_and(|value| is_of_kind(value, kind))
            }
            Self::Rest => false,
        })
    }
}

fn is_of_kind(value: &[u8], kind: &str) -> bool {
    let text = String::from_utf8_lossy(value);
    let all = |allowed: &str| text.chars().all(|character| allowed.contains(character));
    !value.is_empty()
        && match kind {
            "int" => text.parse::<u64>().is_ok_and(|number| number.to_string() == text),
            "slug" => text.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character)),
            "text" => true,
            "uuid" => {
                let shape: String = text.chars().map(|c| if c.is_ascii_hexdigit() { 'h' } else { c }).collect();
                shape == "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"
            }
            _ => all(UNRESERVED),
        }
}

/// Returns whether an upstream's variable, which may match more values, could match a value.
fn could_be(value: &[u8], kind: &str) -> bool {
    let all = |allowed: &str| value.iter().all(|byte| allowed.as_bytes().contains(byte));
    !value.is_empty()
        && match kind {
            "int" => all("0123456789+-._ "),
            "uuid" => all("0123456789abcdefABCDEF-{}"),
            _ => true,
        }
}

/// Returns a text with the two characters after each `%` in upper case.
fn upper_digits(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut upper = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        upper.push_str(&format!("%{}{rest}", digits.to_ascii_uppercase()));
    }
    upper
}

fn lower(text: &[u8]) -> Vec<u8> {
    text.to_ascii_lowercase()
}

fn before_semicolon(name: &[u8]) -> Vec<u8> {
    name.iter().copied().take_while(|byte| *byte != b';').collect()
}

/// Returns a name without dots and spaces at its end.
fn on_windows(name: &[u8]) -> Vec<u8> {
    let mut name = name.to_vec();
    while name.last().is_some_and(|last| b". ".contains(last)) {
        name.pop();
    }
    name
}

fn is_opened(segment: &str) -> bool {
    let upper = segment.to_ascii_uppercase();
    ["%2F", "%5C", "%25", ";"].iter().any(|opened| upper.contains(opened))
}

/// Returns whether a lenient upstream reads a segment with `%2F`, `%5C`, `%25` or `;` as anything other than new names.
fn is_read_otherwise(segment: &str, beside: &[Part], suffixes: bool) -> bool {
    if !is_opened(segment) {
        return false;
    }
    let mut decoded = decode(segment.as_bytes());
    if segment.contains("%25") {
        decoded = decode(&decoded);
    }
    let names: Vec<Vec<u8>> = decoded.split(|byte| *byte == b'/' || *byte == b'\\').map(before_semicolon).collect();
    let is_sibling = |name: &Vec<u8>| beside.iter().any(|part| part.is_read_in(name, suffixes));
    names.first().is_some_and(is_sibling) || names.iter().any(|name| name.is_empty() || leads_elsewhere(name))
}
