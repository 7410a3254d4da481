//! Lines of one field as one value (RFC 9110, section 5.3).

use std::borrow::Cow;
use std::cell::OnceCell;

use sfv::Dictionary;

use super::structured::dictionary;
use crate::request::headers::{Headers, folded_name};

/// All lines of a field, each without the white space around it, joined by a comma and a space; none where there is no line.
#[must_use]
pub fn joined<'h>(headers: &'h Headers, name: &str) -> Option<Cow<'h, [u8]>> {
    let is_named = |(own, _): &(&[u8], &[u8])| is(own, name.as_bytes());
    join(headers.as_long_as(name.as_bytes()).filter(is_named).map(|(_, value)| trim(value)))
}

fn join<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Option<Cow<'h, [u8]>> {
    let mut value: Option<Cow<'h, [u8]>> = None;
    for line in lines {
        match &mut value {
            None => value = Some(Cow::Borrowed(line)),
            Some(value) => {
                let value = value.to_mut();
                value.extend_from_slice(b", ");
                value.extend_from_slice(line);
            }
        }
    }
    value
}

/// The fields that a signature covers. All are found in one pass over the header, and each is joined and parsed once, however
/// often it is covered.
pub(super) struct CoveredFields<'m, 'n> {
    /// By the lengths of their names, and then by the names as lenient servers read them.
    fields: Vec<CoveredField<'m, 'n>>,
}

/// One of them.
pub(super) struct CoveredField<'m, 'n> {
    name: &'n str,
    folded: Vec<u8>,
    lines: Vec<&'m [u8]>,
    ambiguous: bool,
    value: OnceCell<Option<Cow<'m, [u8]>>>,
    dictionary: OnceCell<Option<Dictionary>>,
}

impl<'m, 'n> CoveredFields<'m, 'n> {
    /// Finds the lines of these fields, named in lower case.
    pub(super) fn gather(headers: &'m Headers, names: impl Iterator<Item = &'n str>) -> Self {
        let mut fields: Vec<_> = names.map(CoveredField::new).collect();
        fields.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
        fields.dedup_by(|again, first| {
            let same = again.folded == first.folded;
            first.ambiguous |= same && again.name != first.name;
            same
        });
        let mut covered = Self { fields };
        // Lengths tell most lines apart from all fields without a search.
        let length = |name: &[u8]| 1_u64 << name.len().min(63);
        let lengths = covered.fields.iter().fold(0, |lengths, field| lengths | length(&field.folded));
        for (name, value) in headers.iter().filter(|(name, _)| lengths & length(name) != 0) {
            if let Some(field) = covered.position(name).and_then(|position| covered.fields.get_mut(position)) {
                if is(name, field.name.as_bytes()) {
                    field.lines.push(trim(value));
                } else {
                    field.ambiguous = true;
                }
            }
        }
        covered
    }

    /// A field that is covered, by its name.
    pub(super) fn get(&self, name: &str) -> Option<&CoveredField<'m, 'n>> {
        self.fields.get(self.position(name.as_bytes())?)
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        let order = |field: &CoveredField<'_, '_>| {
            field.folded.len().cmp(&name.len()).then_with(|| field.folded.iter().copied().cmp(folded_name(name)))
        };
        self.fields.binary_search_by(order).ok()
    }
}

impl<'m, 'n> CoveredField<'m, 'n> {
    fn new(name: &'n str) -> Self {
        let folded = folded_name(name.as_bytes()).collect();
        let (value, dictionary) = (OnceCell::new(), OnceCell::new());
        Self { name, folded, lines: Vec::new(), ambiguous: false, value, dictionary }
    }

    fn order(&self) -> (usize, &[u8]) {
        (self.folded.len(), &self.folded)
    }

    /// Its lines, without the white space around them.
    pub(super) fn lines(&self) -> &[&'m [u8]] {
        &self.lines
    }

    /// Whether there is a line, or a covered field, that only some servers read as this one.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Its lines joined; none where there is no line.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.get_or_init(|| join(self.lines.iter().copied())).as_deref()
    }

    /// Its value as a dictionary; none where it is none.
    pub(super) fn dictionary(&self) -> Option<&Dictionary> {
        self.dictionary.get_or_init(|| self.value().and_then(dictionary)).as_ref()
    }
}

/// Whether a line has this name. Nearly all gateways write names in lower case.
fn is(own: &[u8], name: &[u8]) -> bool {
    own == name || own.eq_ignore_ascii_case(name)
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
