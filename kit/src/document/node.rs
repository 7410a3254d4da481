//! Where the parts of a document stand.

use std::collections::BTreeMap;

use callgate::document::Place;

use crate::diagnostic::Position;

/// A part of a document, in the shape of the value it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Node {
    at: Position,
    children: Children,
}

#[derive(Debug, Clone)]
enum Children {
    None,
    Items(Vec<Node>),
    /// By the segment that stands for the field in a [`Place`].
    Fields(BTreeMap<String, Field>),
}

/// A field of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) key: Position,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn leaf(at: Position) -> Self {
        Self { at, children: Children::None }
    }

    pub(super) fn items(at: Position, items: Vec<Self>) -> Self {
        Self { at, children: Children::Items(items) }
    }

    /// A mapping, its fields by their [`segment`].
    pub(super) fn fields(at: Position, fields: BTreeMap<String, Field>) -> Self {
        Self { at, children: Children::Fields(fields) }
    }

    /// The fields of a mapping; none of anything else.
    pub(super) fn into_fields(self) -> BTreeMap<String, Field> {
        match self.children {
            Children::Fields(fields) => fields,
            Children::None | Children::Items(_) => BTreeMap::new(),
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn into_items(self) -> Vec<Self> {
        match self.children {
            Children::Items(items) => items,
            Children::None | Children::Fields(_) => Vec::new(),
        }
    }

    /// Where the part at `place` stands, or the innermost part around it that there is: a field at its key, an item where
    /// its value begins.
    pub(super) fn locate(&self, place: &str) -> Position {
        let (mut node, mut at) = (self, self.at);
        let mut rest = place;
        while let Some((segment, after)) = split(rest) {
            (node, at) = match &node.children {
                Children::Fields(fields) => match fields.get(segment) {
                    Some(field) => (&field.value, field.key),
                    None => break,
                },
                Children::Items(items) => match index(segment).and_then(|index| items.get(index)) {
                    Some(item) => (item, item.at),
                    None => break,
                },
                Children::None => break,
            };
            rest = after;
        }
        at
    }
}

/// What stands for a field of this name in a [`Place`].
pub(super) fn segment(name: &str) -> String {
    Place::root().field(name).as_str().to_owned()
}

fn index(segment: &str) -> Option<usize> {
    segment.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// The first segment of a place as text, and what follows it.
fn split(place: &str) -> Option<(&str, &str)> {
    let place = place.strip_prefix('.').unwrap_or(place);
    let end = match place.strip_prefix("[\"") {
        Some(quoted) => 2 + end_of_quoted(quoted)? + "\"]".len(),
        None => match place.strip_prefix('[') {
            Some(index) => 1 + index.find(']')? + 1,
            None => place.find(['.', '[']).unwrap_or(place.len()),
        },
    };
    place.split_at_checked(end).filter(|(segment, _)| !segment.is_empty())
}

/// Where the closing quote is.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })
}
