//! The positions of the parts of a document.

use std::collections::BTreeMap;

use callgate::document::Place;

use crate::diagnostic::Position;

/// The position of a part of a document. Nodes form a tree of the same shape as the value.
#[derive(Debug, Clone)]
pub(super) struct Node {
    at: Position,
    children: Children,
}

#[derive(Debug, Clone)]
enum Children {
    None,
    Items(Vec<Node>),
    /// Keyed by the field's segment in a [`Place`].
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

    /// Returns the node of a mapping whose fields are keyed by their [`segment`].
    pub(super) fn fields(at: Position, fields: BTreeMap<String, Field>) -> Self {
        Self { at, children: Children::Fields(fields) }
    }

    /// Returns the fields of a mapping; empty for anything else.
    pub(super) fn into_fields(self) -> BTreeMap<String, Field> {
        match self.children {
            Children::Fields(fields) => fields,
            Children::None | Children::Items(_) => BTreeMap::new(),
        }
    }

    /// Returns the items of a list; empty for anything else.
    pub(super) fn into_items(self) -> Vec<Self> {
        match self.children {
            Children::Items(items) => items,
            Children::None | Children::Fields(_) => Vec::new(),
        }
    }

    /// Returns the position of the part at `place`, or of the innermost existing part around it. The position of a field is its
    /// key; the position of an item is the start of its value.
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

/// Returns the segment of a field of this name in a [`Place`].
pub(super) fn segment(name: &str) -> String {
    Place::root().field(name).as_str().to_owned()
}

fn index(segment: &str) -> Option<usize> {
    segment.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Splits a place given as text into its first segment and the rest.
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

/// Returns the index of the closing quote.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })
}
