//! Which fields are structured, and their strict serialisation (RFC 9421, sections 2.1.1 and 2.1.2).

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
    pub fn with(fields: impl IntoIterator<Item = (Box<str>, FieldKind)>) -> Self {
        let mut added = BTreeMap::new();
        for (name, kind) in fields {
            added.insert(name, kind);
        }
        Self { added }
    }

    /// The type of a field.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<FieldKind> {
        let standard = STANDARD.iter().find(|(own, _)| *own == name).map(|(_, kind)| *kind);
        standard.or_else(|| self.added.get(name).copied())
    }
}

/// A field's value, serialised anew; none where it is malformed, too long, or empty, which is not to be serialised at all.
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

/// A dictionary, unless a member stands in it twice: the last one holds, and not every reader knows.
pub(super) fn dictionary(value: &[u8]) -> Option<Dictionary> {
    if value.len() > MOST_BYTES {
        return None;
    }
    let reading = Distinct { dictionary: Dictionary::default(), doubled: false };
    Parser::new(value).parse_dictionary_with_visitor(reading).ok()?
}

/// A member of a dictionary, serialised without its key.
pub(super) fn member(dictionary: &Dictionary, key: &str) -> Option<String> {
    // A list of the one entry is written as the entry alone.
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
