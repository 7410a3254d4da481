//! Which fields are structured, and their strict serialisation (RFC 9421, sections 2.1.1 and 2.1.2).

use std::collections::BTreeMap;

use sfv::{Dictionary, FieldType as _, Item, List, ListEntry, Parser};

/// The type of a structured field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A dictionary.
    Dictionary,
    /// A list.
    List,
    /// An item.
    Item,
}

/// The fields whose type is known: those of the standards, and those that a policy adds.
#[derive(Debug, Clone, Default)]
pub struct StructuredFields {
    added: BTreeMap<Box<str>, FieldKind>,
}

/// Requests' structured fields of published standards: RFC 9110's are none of them.
const STANDARD: [(&str, FieldKind); 13] = [
    ("accept-signature", FieldKind::Dictionary),
    ("capsule-protocol", FieldKind::Item),
    ("client-cert", FieldKind::Item),
    ("client-cert-chain", FieldKind::List),
    ("content-digest", FieldKind::Dictionary),
    ("priority", FieldKind::Dictionary),
    ("proxy-status", FieldKind::List),
    ("repr-digest", FieldKind::Dictionary),
    ("signature", FieldKind::Dictionary),
    ("signature-agent", FieldKind::Dictionary),
    ("signature-input", FieldKind::Dictionary),
    ("want-content-digest", FieldKind::Dictionary),
    ("want-repr-digest", FieldKind::Dictionary),
];

impl StructuredFields {
    /// The standards' fields with these beside them.
    #[must_use]
    pub fn with(added: impl IntoIterator<Item = (Box<str>, FieldKind)>) -> Self {
        Self { added: added.into_iter().collect() }
    }

    /// The type of a field.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<FieldKind> {
        let standard = STANDARD.iter().find(|(own, _)| *own == name).map(|(_, kind)| *kind);
        standard.or_else(|| self.added.get(name).copied())
    }
}

/// A field's value, serialised anew; none where it is malformed, or empty, which is not to be serialised at all.
pub(super) fn serialised(kind: FieldKind, value: &[u8]) -> Option<String> {
    match kind {
        FieldKind::Dictionary => Parser::new(value).parse::<Dictionary>().ok()?.serialize(),
        FieldKind::List => Parser::new(value).parse::<List>().ok()?.serialize(),
        FieldKind::Item => Some(Parser::new(value).parse::<Item>().ok()?.serialize()),
    }
}

/// A member of a dictionary, serialised without its key; none where the field is no dictionary, or has no such member.
pub(super) fn member(value: &[u8], key: &str) -> Option<String> {
    let dictionary: Dictionary = Parser::new(value).parse().ok()?;
    // A list of the one entry is written as the entry alone.
    let entry: ListEntry = dictionary.get(key)?.clone();
    vec![entry].serialize()
}
