//! Second implementations that share no code with the engine: they work on copies, from left to right, over everything.

const UNRESERVED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) endpoints: Vec<usize>,
    pub(super) values: Vec<String>,
    pub(super) is_ambiguous: bool,
}

/// Decodes once; what is no escape stays.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let mut pieces = text.split(|byte| *byte == b'%');
    let mut decoded = pieces.next().unwrap_or_default().to_vec();
    for piece in pieces {
        match escaped_byte(piece) {
            Some(byte) => {
                decoded.push(byte);
                decoded.extend(piece.iter().skip(2));
            }
            None => {
                decoded.push(b'%');
                decoded.extend(piece);
            }
        }
    }
    decoded
}

/// The byte of the escape whose `%` stood before this text.
fn escaped_byte(after_percent: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(after_percent.get(..2)?).ok()?;
    if digits.starts_with('+') { None } else { u8::from_str_radix(digits, 16).ok() }
}

pub(super) fn is_canonical_path(path: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(path) else { return false };
    let characters =
        text.chars().all(|character| UNRESERVED.contains(character) || "!$&'()*+,;=:@/%".contains(character));
    let inner = text.strip_suffix('/').unwrap_or(text);
    let segments = text == "/" || inner.split('/').skip(1).all(|segment| !["", ".", ".."].contains(&segment));
    let escapes = text.split('%').skip(1).all(|piece| {
        let needed = escaped_byte(piece.as_bytes()).is_some_and(|byte| !UNRESERVED.as_bytes().contains(&byte));
        needed && !piece.chars().take(2).any(|digit| digit.is_ascii_lowercase())
    });
    let decoded = String::from_utf8(decode(path)).is_ok_and(|decoded| !decoded.chars().any(char::is_control));
    text.starts_with('/') && characters && segments && escapes && decoded
}

pub(super) fn is_query(query: &[u8]) -> bool {
    let characters = query.iter().all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'#');
    let escapes = query.split(|byte| *byte == b'%').skip(1).all(|piece| escaped_byte(piece).is_some());
    characters && escapes
}

/// How many parameters have this name to one lenient parser or another.
pub(super) fn names_like(query: &str, name: &str) -> usize {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '.', ' ', '+'], "-");
    let names = query.split(['&', ';']).map(|piece| {
        let decoded = decode(piece.split('=').next().unwrap_or_default().as_bytes());
        String::from_utf8_lossy(&decoded).into_owned()
    });
    let reads_so = |spelt: &String| {
        let spelt = spelt.split('\0').next().unwrap_or_default();
        let outermost = spelt
            .trim_start_matches([' ', '+'])
            .trim_start_matches(['[', ']'])
            .split(['[', ']'])
            .next()
            .unwrap_or_default();
        plain(spelt) == plain(name) || plain(outermost) == plain(name)
    };
    names.filter(reads_so).count()
}

/// Walks all templates at once and drops, segment by segment, those that are not the most specific.
pub(super) fn find(templates: &[&str], path: &str) -> Option<Found> {
    let mut left: Vec<(usize, Vec<&str>)> =
        templates.iter().enumerate().map(|(index, text)| (index, text.split('/').skip(1).collect())).collect();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut values = Vec::new();
    let mut is_ambiguous = false;
    for (depth, segment) in segments.iter().enumerate() {
        left.retain(|(_, parts)| parts.len() > depth);
        let mut here: Vec<Part> = left.iter().filter_map(|(_, parts)| Part::parse(parts.get(depth)?)).collect();
        let best = here.iter().filter(|part| part.value(segment).is_some()).max_by_key(|part| part.rank())?.clone();
        let lenient = lower(&decode(segment.as_bytes()));
        if here.iter().any(|part| part.is_read_in(&lenient) && part.rank() > best.rank()) {
            return None;
        }
        left.retain(|(_, parts)| parts.get(depth).and_then(|part| Part::parse(part)).as_ref() == Some(&best));
        here.retain(|part| *part != best);
        if best == Part::Rest {
            let rest = segments.iter().skip(depth).copied().collect::<Vec<_>>();
            is_ambiguous |= rest
                .iter()
                .enumerate()
                .any(|(index, segment)| is_read_otherwise(segment, if index == 0 { &here } else { &[] }));
            values.push(rest.join("/"));
            let endpoints = left.into_iter().map(|(index, _)| index).collect();
            return Some(Found { endpoints, values, is_ambiguous });
        }
        if let (Part::Variable { .. }, Some(value)) = (&best, best.value(segment)) {
            is_ambiguous |= is_read_otherwise(segment, &here) || is_read_otherwise(&value, &here);
            values.push(value);
        }
    }
    let endpoints: Vec<usize> =
        left.into_iter().filter(|(_, parts)| parts.len() == segments.len()).map(|(index, _)| index).collect();
    (!endpoints.is_empty()).then_some(Found { endpoints, values, is_ambiguous })
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Variable { before: String, kind: String, after: String },
    Rest,
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let Some(open) = text.find('{') else { return Some(Self::Fixed(text.to_owned())) };
        let close = text.find('}')?;
        let inner = text.get(open + 1..close)?;
        if inner.ends_with("...") {
            return Some(Self::Rest);
        }
        let kind = inner.split(':').nth(1).unwrap_or_default().to_owned();
        Some(Self::Variable { before: text.get(..open)?.to_owned(), kind, after: text.get(close + 1..)?.to_owned() })
    }

    /// How specific it is.
    fn rank(&self) -> usize {
        match self {
            Self::Fixed(_) => usize::MAX,
            Self::Variable { before, after, .. } => 1 + before.len() + after.len(),
            Self::Rest => 0,
        }
    }

    fn value(&self, segment: &str) -> Option<String> {
        match self {
            Self::Fixed(text) => (text == segment).then(String::new),
            Self::Variable { before, kind, after } => {
                let long_enough = segment.len() > before.len() + after.len();
                let fits = long_enough && segment.starts_with(before.as_str()) && segment.ends_with(after.as_str());
                let value = segment.get(before.len()..segment.len().checked_sub(after.len())?)?;
                (fits && is_of_kind(value.as_bytes(), kind)).then(|| value.to_owned())
            }
            Self::Rest => Some(segment.to_owned()),
        }
    }

    /// Whether a reader without regard to case takes a decoded segment in lower case for this more specific part.
    fn is_read_in(&self, lenient: &[u8]) -> bool {
        match self {
            Self::Fixed(text) => on_windows(&lower(&decode(text.as_bytes()))) == on_windows(lenient),
            Self::Variable { before, after, .. } if before.is_empty() && after.is_empty() => false,
            Self::Variable { before, kind, after } => [lenient, &on_windows(lenient)].into_iter().any(|reading| {
                let middle = reading.strip_prefix(lower(before.as_bytes()).as_slice());
                let middle = middle.and_then(|rest| rest.strip_suffix(lower(after.as_bytes()).as_slice()));
                middle.is_some_and(|value| is_of_kind(value, kind))
            }),
            Self::Rest => false,
        }
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

fn lower(text: &[u8]) -> Vec<u8> {
    text.to_ascii_lowercase()
}

/// A name without the dots and spaces at its end.
fn on_windows(name: &[u8]) -> Vec<u8> {
    let mut name = name.to_vec();
    while name.last().is_some_and(|last| b". ".contains(last)) {
        name.pop();
    }
    name
}

/// Whether a lenient upstream reads a segment with `%2F`, `%5C`, `%25` or `;` as more or other than one new name.
fn is_read_otherwise(segment: &str, beside: &[Part]) -> bool {
    if !["%2F", "%5C", "%25", ";"].iter().any(|opened| segment.contains(opened)) {
        return false;
    }
    let mut decoded = decode(segment.as_bytes());
    if segment.contains("%25") {
        decoded = decode(&decoded);
    }
    let names: Vec<Vec<u8>> = decoded
        .split(|byte| *byte == b'/' || *byte == b'\\')
        .map(|name| name.iter().copied().take_while(|byte| *byte != b';').collect())
        .collect();
    let is_sibling = |name: &Vec<u8>| beside.iter().any(|part| part.is_read_in(&lower(name)));
    names.first().is_some_and(is_sibling) || names.iter().any(|name| name.is_empty() || name == b"." || name == b"..")
}
