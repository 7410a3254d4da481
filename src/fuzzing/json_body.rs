//! Properties that hold for any JSON of a request or an answer. The second implementation is serde_json, into a tree that keeps repeated
//! names.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::request::json::canonical::canonical;
use crate::request::json::pointer::Pointer;
use crate::request::json::{Json, JsonBounds, JsonFault, Names, number};

/// Small, because inputs should exceed them. Each bound of a policy has its own tests.
const REQUEST: JsonBounds = JsonBounds { bytes: 4096, depth: 8, names: Names::Folded };
const ANSWER: JsonBounds = JsonBounds { names: Names::Exact, ..REQUEST };

/// Checks that a document is accepted exactly if a lenient parser accepts it and no rule rejects it, and that each part of an accepted
/// document has the same value as for that parser.
pub fn json_body(data: &[u8]) {
    let lenient = serde_json::from_slice::<Tree>(data).ok();
    for bounds in [REQUEST, ANSWER] {
        match (Json::parse(data, bounds), &lenient) {
            (Ok(json), Some(lenient)) => {
                assert!(data.len() <= bounds.bytes && lenient.depth() <= usize::from(bounds.depth));
                assert!(!lenient.is_ambiguous(bounds.names), "{lenient:?}");
                assert!(same(json, lenient), "{json:?} {lenient:?}");
                check_parts(json, lenient);
                check_canonical(json, lenient);
            }
            // Only that parser rejects numbers beyond a double.
            (Ok(json), None) => assert!(parts(json).iter().any(|part| double(*part).is_infinite()), "{json:?}"),
            (Err(_), None) => {}
            (Err(fault), Some(lenient)) => {
                let is_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let is_long_number = |run: &[u8]| run.len() > number::MOST_LENGTH;
                assert!(match fault {
                    JsonFault::Ambiguous => lenient.is_ambiguous(bounds.names),
                    JsonFault::Deep => lenient.depth() > usize::from(bounds.depth),
                    JsonFault::Long => data.len() > bounds.bytes,
                    JsonFault::LongNumber => data.split(|byte| !is_number(byte)).any(is_long_number),
                    JsonFault::Malformed => false,
                });
            }
        }
    }
}

/// A value as that parser reads it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Tree {
    pub(super) fn depth(&self) -> usize {
        let below = |values: &mut dyn Iterator<Item = &Self>| values.map(Self::depth).max().unwrap_or_default();
        match self {
            Self::List(items) => 1 + below(&mut items.iter()),
            Self::Object(members) => 1 + below(&mut members.iter().map(|(_, value)| value)),
            _ => 0,
        }
    }

    /// Returns whether an object has two names that count as equal.
    pub(super) fn is_ambiguous(&self, names: Names) -> bool {
        match self {
            Self::List(items) => items.iter().any(|item| item.is_ambiguous(names)),
            Self::Object(members) => {
                let are_equal = |one: &str, other: &str| match names {
                    Names::Exact => one == other,
                    Names::Folded => read_alike(one, other),
                };
                members.iter().enumerate().any(|(index, (name, value))| {
                    value.is_ambiguous(names) || members.iter().skip(index + 1).any(|(other, _)| are_equal(name, other))
                })
            }
            _ => false,
        }
    }

    /// Returns the value with the members of each object in the canonical order.
    fn sorted(&self) -> Self {
        match self {
            Self::List(items) => Self::List(items.iter().map(Self::sorted).collect()),
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().map(|(name, value)| (name.clone(), value.sorted())).collect();
                members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
                Self::Object(members)
            }
            scalar => scalar.clone(),
        }
    }
}

/// Returns whether some decoder reads the same name: without regard to case and NULs, or up to the first NUL.
pub(super) fn read_alike(one: &str, other: &str) -> bool {
    let readings = |name: &str| [name.replace('\0', ""), name.split('\0').next().unwrap_or_default().to_owned()];
    let folded = |name: &String| name.chars().map(naive_fold).collect::<String>();
    let others = readings(other).map(|name| folded(&name));
    readings(one).iter().any(|name| others.contains(&folded(name)))
}

/// Changes the case of a character and back, as far as that is one character.
fn naive_fold(character: char) -> char {
    let upper: Vec<char> = character.to_uppercase().collect();
    let upper = if let [upper] = upper.as_slice() { *upper } else { character };
    match upper {
        '\u{37e}' => ';',
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{1fef}' => '`',
        '\u{fb05}' => '\u{fb06}',
        upper => upper.to_lowercase().next().unwrap_or(upper),
    }
}

/// Returns the number as a double, or zero for other values.
fn double(value: Json<'_>) -> f64 {
    value.number().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Returns whether two doubles differ at most by the error of that parser, which does not round exactly.
fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= one.abs().max(other.abs()) * 1e-14 || one.abs().max(other.abs()) < f64::MIN_POSITIVE
}

fn same(json: Json<'_>, tree: &Tree) -> bool {
    match tree {
        Tree::Null => json.is_null(),
        Tree::Bool(value) => json.text() == if *value { "true" } else { "false" },
        Tree::Number(value) => json.number().is_some() && is_close(double(json), *value),
        Tree::Text(text) => json.string().is_some_and(|string| string == *text),
        Tree::List(items) => {
            json.is_array()
                && json.items().count() == items.len()
                && json.items().zip(items).all(|(one, other)| same(one, other))
        }
        Tree::Object(members) => {
            json.is_object()
                && json.members().count() == members.len()
                && json.members().zip(members).all(|((name, value), (other_name, other))| {
                    name.string().is_some_and(|name| name == *other_name) && same(value, other)
                })
        }
    }
}

/// Returns a value and all values within it, without names.
fn parts(json: Json<'_>) -> Vec<Json<'_>> {
    let below = json.items().chain(json.members().map(|(_, value)| value)).flat_map(parts);
    [json].into_iter().chain(below).collect()
}

fn check_parts(json: Json<'_>, tree: &Tree) {
    let parts = parts(json);
    for part in &parts {
        let range = part.offset_in(json);
        assert_eq!(json.text().get(range.clone()), Some(part.text()));
        assert_eq!(json.text().as_ptr().addr() + range.start, part.text().as_ptr().addr());
        let again = Json::parse(part.text().as_bytes(), ANSWER);
        assert_eq!(again.map(Json::text), Ok(part.text()), "a part is a document");
    }
    let numbers: Vec<_> = parts.iter().filter(|part| part.number().is_some()).take(16).collect();
    for (one, other) in numbers.iter().flat_map(|one| numbers.iter().map(move |other| (one, other))) {
        let order = number::compare(one.text(), other.text());
        assert_eq!(number::compare(other.text(), one.text()), order.map(Ordering::reverse));
        let doubles = double(**one).partial_cmp(&double(**other));
        // Rounding makes numbers equal, but does not change their order.
        assert!(
            order.is_none_or(|order| doubles == Some(order) || doubles == Some(Ordering::Equal)),
            "{one:?} {other:?}"
        );
        assert!(order != Some(Ordering::Equal) || doubles == Some(Ordering::Equal), "{one:?} {other:?}");
        if one.text() == other.text() {
            assert!(matches!(order, None | Some(Ordering::Equal)));
        }
        if let (Ok(one), Ok(other)) = (one.text().parse::<i128>(), other.text().parse::<i128>()) {
            assert_eq!(order, Some(one.cmp(&other)));
        }
    }
    check_members(json, tree);
    check_pointers(json, tree, json, &mut String::new());
}

/// Checks for each object that a member is found by its name, and that a lookalike of the name is reported.
fn check_members(json: Json<'_>, tree: &Tree) {
    match tree {
        Tree::List(items) => json.items().zip(items).for_each(|(json, item)| check_members(json, item)),
        Tree::Object(members) => {
            let own = members.iter().flat_map(|(name, _)| [name.clone(), name.to_uppercase(), name.replace('\0', "")]);
            for wanted in own.chain(["", "a", "k", "is"].map(str::to_owned)).filter(|wanted| !wanted.contains('\0')) {
                let alike: Vec<_> = members.iter().filter(|(name, _)| read_alike(name, &wanted)).collect();
                let found = json.member(&wanted);
                let is_right = match alike.as_slice() {
                    [] => found == Ok(None),
                    [(name, value)] if *name == wanted => {
                        found.is_ok_and(|found| found.is_some_and(|found| same(found, value)))
                    }
                    _ => found == Err(JsonFault::Ambiguous),
                };
                assert!(is_right, "{wanted:?} in {json:?}: {found:?}");
            }
            json.members().zip(members).for_each(|((_, value), (_, member))| check_members(value, member));
        }
        _ => assert_eq!(json.member("a"), Ok(None)),
    }
}

/// Checks that a pointer to each value leads to it, unless a name on the way is ambiguous.
fn check_pointers(root: Json<'_>, tree: &Tree, value: Json<'_>, path: &mut String) {
    if let Ok(pointer) = Pointer::parse(path) {
        let found = root.at(&pointer);
        let is_there = |found: Json<'_>| found.offset_in(root) == value.offset_in(root);
        assert!(found.is_ok_and(|found| found.is_some_and(is_there)), "{path} in {root:?}: {found:?}");
    }
    let length = path.len();
    match tree {
        Tree::List(items) => {
            for (index, (item, json)) in items.iter().zip(value.items()).enumerate() {
                path.push_str(&format!("/{index}"));
                check_pointers(root, item, json, path);
                path.truncate(length);
            }
        }
        Tree::Object(members) => {
            for ((name, member), (_, json)) in members.iter().zip(value.members()) {
                if members.iter().filter(|(other, _)| read_alike(name, other)).count() == 1 {
                    path.push('/');
                    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    check_pointers(root, member, json, path);
                    path.truncate(length);
                }
            }
        }
        _ => {}
    }
}

/// Checks that the canonical form means the same and is its own canonical form.
fn check_canonical(json: Json<'_>, tree: &Tree) {
    let form = |json: Json<'_>| {
        let mut form = Vec::new();
        canonical(json, &mut |piece| form.extend_from_slice(piece)).map(|()| form)
    };
    let Ok(written) = form(json) else {
        let is_inexact = |part: Json<'_>| {
            let text = part.number().unwrap_or_default();
            let mantissa = text.split(['e', 'E']).next().unwrap_or_default().replace(['-', '.'], "");
            let size = double(part).abs();
            mantissa.trim_matches('0').len() > 15
                || size >= 1e299
                || size <= 1e-299 && mantissa.contains(|c| c != '0')
                || number::compare(text, text).is_none()
        };
        assert!(parts(json).into_iter().any(|part| part.number().is_some() && is_inexact(part)), "{json:?}");
        return;
    };
    let bounds = JsonBounds { bytes: usize::MAX, ..ANSWER };
    let again = Json::parse(&written, bounds);
    assert!(again.is_ok_and(|again| again.text().as_bytes() == written && form(again).as_ref() == Ok(&written)));
    assert!(again.is_ok_and(|again| same(again, &tree.sorted())), "{again:?} {tree:?}");
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient)
    }
}

struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}
