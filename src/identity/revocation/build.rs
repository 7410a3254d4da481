//! Makes the list of revoked credentials of its entries.

use std::collections::BTreeMap;

use super::entries::{ALWAYS, Entries, HEAD, LAYOUT, RECORD, Record};
use super::mark::{Kind, Mark};
use crate::text::time::Timestamp;

/// An entry of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'e> {
    pub(crate) kind: Kind,
    pub(crate) mark: Mark,
    /// The entry applies to what was issued before this time. `None` if it applies whenever something was issued.
    pub(crate) issued_before: Option<Timestamp>,
    /// The end of the entry.
    pub(crate) until: Option<Timestamp>,
    /// At most 255 bytes; the rest is dropped.
    pub(crate) reason: Option<&'e str>,
}

/// Collects the entries of a list.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    records: Vec<(Kind, Record)>,
    /// The reasons, each with its number.
    reasons: BTreeMap<Box<str>, u32>,
    texts: Vec<u8>,
}

impl Builder {
    /// Adds an entry.
    pub(crate) fn add(&mut self, entry: Entry<'_>) {
        let seconds = |time: Timestamp| u32::try_from(time.as_secs()).unwrap_or(ALWAYS);
        let record = Record {
            mark: entry.mark.0,
            until: entry.until.map_or(ALWAYS, seconds),
            issued_before: entry.issued_before.filter(|_| !entry.kind.is_key()).map_or(ALWAYS, seconds),
            reason: entry.reason.map_or(0, |reason| self.number(reason)),
        };
        self.records.push((entry.kind, record));
    }

    /// Returns the number of entries that were added.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Makes the list. `issued` is when it was issued, in seconds since the epoch.
    pub(crate) fn finish(mut self, issued: u64) -> Entries {
        self.records.sort_unstable();
        self.drop_included();
        let mut bytes = Vec::with_capacity(HEAD + self.records.len() * RECORD + self.texts.len());
        bytes.extend_from_slice(&LAYOUT);
        bytes.extend_from_slice(&issued.to_le_bytes());
        let mut end = 0;
        let ends = Kind::ALL.map(|kind| {
            let count = self.records.iter().filter(|(own, _)| *own == kind).count();
            bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
            end += count;
            end
        });
        self.records.iter().for_each(|(_, record)| record.write(&mut bytes));
        bytes.extend_from_slice(&self.texts);
        Entries::new(bytes, issued, ends)
    }

    /// Drops each entry that another one of its mark includes: that one ends no earlier, and applies to everything that was issued before
    /// the same time or a later one. Of the remaining entries of a mark, one that ends later has an earlier `issued_before`.
    ///
    /// Seen from the entry that ends last, an entry is not included exactly if its `issued_before` is later than that of all entries
    /// before it, because each of those ends no earlier. Entries that end at the same time are ordered by `issued_before` too.
    fn drop_included(&mut self) {
        self.records.reverse();
        let mut last = None;
        self.records.retain(|(kind, record)| {
            let own = (*kind, record.mark);
            let is_included = last.is_some_and(|(other, latest)| other == own && record.issued_before <= latest);
            if !is_included {
                last = Some((own, record.issued_before));
            }
            !is_included
        });
        self.records.reverse();
    }

    /// Returns the number of a reason, which is added if it is new.
    fn number(&mut self, reason: &str) -> u32 {
        if let Some(number) = self.reasons.get(reason) {
            return *number;
        }
        let mut length = reason.len().min(usize::from(u8::MAX));
        while !reason.is_char_boundary(length) {
            length -= 1;
        }
        let (Ok(number), Ok(size)) = (u32::try_from(self.texts.len() + 1), u8::try_from(length)) else { return 0 };
        self.texts.push(size);
        self.texts.extend(reason.bytes().take(length));
        self.reasons.insert(reason.into(), number);
        number
    }
}
