//! The types of structured fields, and their strict serialization (RFC 9421, sections 2.1.1 and 2.1.2).

use std::collections::BTreeMap;
use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor};
use sfv::{Dictionary, FieldType as _, Item, KeyRef, List, ListEntry, Parser};

use super::input::MOST_BYTES;

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

/// The fields with a known type: those of published standards, and those that a policy adds.
#[derive(Debug, Clone, Default)]
pub struct StructuredFields {
    added: BTreeMap<Box<str>, FieldKind>,
}

/// The structured request fields of published standards. The fields of RFC 9110 are not structured.
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
    /// Returns the standard fields together with these.
    #[must_use]
    pub fn with(fields: impl IntoIterator<Item = (Box<str>, FieldKind)>) -> Self {
        let mut added = BTreeMap::new();
        for (name, kind) in fields {
            added.insert(name, kind);
        }
        Self { added }
    }

    /// Returns the type of a field.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<FieldKind> {
        let standard = STANDARD.iter().find(|(own, _)| *own == name).map(|(_, kind)| *kind);
        standard.or_else(|| self.added.get(name).copied())
    }
}

/// Serializes a field's value again. Returns `None` if it is malformed, too long, or empty: an empty value must not be serialized.
pub(super) fn serialised(kind: FieldKind, value: &[u8]) -> Option<String> {
    if value.len() > MOST_BYTES {
        return None;
    }
    match kind {
        FieldKind::Dictionary => dictionary(value)?.serialize(),
        FieldKind::List => Parser::new(value).parse::<List>().ok()?.serialize(),
        FieldKind::Item => Some(Parser::new(value).parse::<Item>().ok()?.serialize()),
    }
}

/// Parses a dictionary. Returns `None` if a key occurs twice: the last member is valid, but not all readers agree on that.
pub(super) fn dictionary(value: &[u8]) -> Option<Dictionary> {
    if value.len() > MOST_BYTES {
        return None;
    }
    let reading = Distinct { dictionary: Dictionary::default(), doubled: false };
    Parser::new(value).parse_dictionary_with_visitor(reading).ok()?
}

/// Serializes a member of a dictionary without its key.
pub(super) fn member(dictionary: &Dictionary, key: &str) -> Option<String> {
    // A list with this single entry serializes as the entry alone.
    let entry: ListEntry = dictionary.get(key)?.clone();
    vec![entry].serialize()
}

struct Distinct {
    dictionary: Dictionary,
    doubled: bool,
}

impl<'a> DictionaryVisitor<'a> for Distinct {
    type Out = Option<Dictionary>;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        self.doubled |= self.dictionary.contains_key(key);
        DictionaryVisitor::entry(&mut self.dictionary, key)
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok((!self.doubled).then_some(self.dictionary))
    }
}
