//! Combination of the lines of a field into one value (RFC 9110, section 5.3).

use std::borrow::Cow;
use std::cell::OnceCell;

use sfv::Dictionary;

use super::structured::dictionary;
use crate::request::headers::{Headers, folded_name};
use crate::text::sort;

/// Joins all lines of a field, each without surrounding white space, with a comma and a space. Returns `None` if there is no line.
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

/// The fields that a signature covers. One pass over the headers finds all of them. Each is joined and parsed at most once, however often
/// it is covered.
pub(super) struct CoveredFields<'m, 'n> {
    /// Sorted by the length of the name, then by the name as lenient servers read it.
    fields: Vec<CoveredField<'m, 'n>>,
}

/// One covered field.
pub(super) struct CoveredField<'m, 'n> {
    name: &'n str,
    folded: Vec<u8>,
    lines: Vec<&'m [u8]>,
    ambiguous: bool,
    value: OnceCell<Option<Cow<'m, [u8]>>>,
    dictionary: OnceCell<Option<Dictionary>>,
}

impl<'m, 'n> CoveredFields<'m, 'n> {
    /// Collects the lines of these fields, named in lower case.
    pub(super) fn gather(headers: &'m Headers, names: impl Iterator<Item = &'n str>) -> Self {
        let mut fields: Vec<_> = names.map(CoveredField::new).collect();
        sort::sort_by(&mut fields, |one, other| one.order() < other.order());
        fields.dedup_by(|again, first| {
            let same = again.folded == first.folded;
            first.ambiguous |= same && again.name != first.name;
            same
        });
        let mut covered = Self { fields };
        // Comparing lengths rules out most lines without a search.
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

    /// Returns a covered field by its name.
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

    /// Returns its lines, without surrounding white space.
    pub(super) fn lines(&self) -> &[&'m [u8]] {
        &self.lines
    }

    /// Returns whether another line, or another covered field, has a name that only some servers read as this one.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Returns its lines joined, or `None` if there is no line.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.get_or_init(|| join(self.lines.iter().copied())).as_deref()
    }

    /// Returns its value as a dictionary, or `None` if it is not one.
    pub(super) fn dictionary(&self) -> Option<&Dictionary> {
        self.dictionary.get_or_init(|| self.value().and_then(dictionary)).as_ref()
    }
}

/// Returns whether a line has this name. Nearly all gateways write names in lower case, so the exact comparison comes first.
fn is(own: &[u8], name: &[u8]) -> bool {
    own == name || own.eq_ignore_ascii_case(name)
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
