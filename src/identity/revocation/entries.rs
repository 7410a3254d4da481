//! A list of revoked credentials, as workers share and search it.
//!
//! | Bytes | Contents |
//! |---|---|
//! | 4 | the layout |
//! | 8 | when the list was issued, in seconds since the epoch |
//! | 4 for each kind | the number of its records |
//! | 28 for each record | mark (16), `until`, `issued_before`, reason (4 each), in the order of kind, mark and `until` |
//! | the rest | the reasons, each with its length before it |
//!
//! All numbers are little-endian, as WebAssembly reads them. Times are seconds since the epoch, up to the year 2106; the highest one means that there is none. A reason
//! is its position among the reasons, counted from 1.
//!
//! The builder keeps only entries of a mark that no other one includes. Among those, an entry that ends later applies to fewer tokens: the
//! first one that has not ended applies to the most. A lookup therefore examines one record, however many entries have the mark, and
//! searches only those with the same first bits.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::buckets::Buckets;
use super::mark::{Kind, Mark};
use crate::text::time::Timestamp;

pub(super) const LAYOUT: [u8; 4] = *b"cgr2";
pub(super) const KINDS: usize = Kind::ALL.len();
/// The bytes before the records.
pub(super) const HEAD: usize = 4 + 8 + 4 * KINDS;
pub(super) const RECORD: usize = 28;
/// An entry without an end, or one that applies whenever something was issued.
pub(super) const ALWAYS: u32 = u32::MAX;

/// A list of revoked credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(super) bytes: Vec<u8>,
    issued: u64,
    /// The records of each kind.
    kinds: [Buckets; KINDS],
}

/// One record of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) mark: u128,
    /// The entry has ended at this time.
    pub(super) until: u32,
    pub(super) issued_before: u32,
    pub(super) reason: u32,
}

/// The time of a lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The current time.
    pub(crate) now: Timestamp,
    /// How far the clocks of issuers and Callgate may differ.
    pub(crate) skew: Duration,
}

/// The entry that revokes a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revoked<'e> {
    /// The reason, as its author wrote it.
    pub(crate) reason: Option<&'e str>,
}

impl Record {
    pub(super) fn read(bytes: &[u8; RECORD]) -> Self {
        // INVARIANT: a record is a mark and three words.
        let Some((mark, words)) = bytes.split_first_chunk() else { return Self::default() };
        let &[until, issued_before, reason] = words.as_chunks::<4>().0 else { return Self::default() };
        let [until, issued_before, reason] = [until, issued_before, reason].map(u32::from_le_bytes);
        Self { mark: u128::from_le_bytes(*mark), until, issued_before, reason }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.mark.to_le_bytes());
        for word in [self.until, self.issued_before, self.reason] {
            to.extend_from_slice(&word.to_le_bytes());
        }
    }
}

impl Entries {
    /// Opens a list. Returns `None` for bytes that no [`Builder`](super::Builder) made.
    pub(crate) fn open(bytes: Vec<u8>) -> Option<Self> {
        let rest = bytes.strip_prefix(&LAYOUT)?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (counts, rest) = rest.split_first_chunk::<{ 4 * KINDS }>()?;
        let mut ends = [0_usize; KINDS];
        let mut end = 0_usize;
        for (kind, count) in ends.iter_mut().zip(counts.as_chunks::<4>().0) {
            end = end.checked_add(usize::try_from(u32::from_le_bytes(*count)).ok()?)?;
            *kind = end;
        }
        let issued = u64::from_le_bytes(*issued);
        (rest.len() / RECORD >= end).then(|| Self::new(bytes, issued, ends))
    }

    /// Makes a list of its bytes. `ends` has the position after the last record of each kind.
    pub(super) fn new(bytes: Vec<u8>, issued: u64, ends: [usize; KINDS]) -> Self {
        let mut list = Self { bytes, issued, kinds: Default::default() };
        let mut start = 0;
        list.kinds = ends.map(|end| {
            let positions = std::mem::replace(&mut start, end)..end;
            Buckets::of(list.records(positions.clone()), positions.start)
        });
        list
    }

    /// Returns the bytes, which [`open`](Self::open) opens.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns when the list was issued, in seconds since the epoch.
    pub(crate) fn issued(&self) -> u64 {
        self.issued
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.kinds.last().map_or(0, Buckets::end)
    }

    /// Returns whether nothing is revoked.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds the entry that revokes something. `issued` is when it was issued; what does not state that counts as issued before any time.
    pub(crate) fn find(
        &self,
        kind: Kind,
        mark: Mark,
        issued: Option<Timestamp>,
        moment: Moment,
    ) -> Option<Revoked<'_>> {
        let records = self.records(self.kinds.get(kind.position())?.around(mark.0));
        // `ALWAYS` is no time.
        let now = u32::try_from(moment.now.as_secs()).map_or(ALWAYS - 1, |now| now.min(ALWAYS - 1));
        let next = records.partition_point(|record| {
            let Record { mark: other, until, .. } = Record::read(record);
            (other, until) <= (mark.0, now)
        });
        let record = Record::read(records.get(next)?);
        if record.mark != mark.0 {
            return None;
        }
        let latest = Timestamp::from_secs(record.issued_before.into()).plus(moment.skew);
        let applies = record.issued_before == ALWAYS || issued.is_none_or(|issued| issued < latest);
        applies.then(|| Revoked { reason: self.reason(record.reason) })
    }

    /// Returns whether this list revokes everything that another one does. The reasons of the entries do not matter.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        Kind::ALL.iter().all(|kind| {
            let [own, others] = [self, other].map(|list| list.kinds.get(kind.position()));
            let (Some(own), Some(others)) = (own, others) else { return false };
            other.records(others.all()).iter().map(Record::read).all(|wanted| {
                let records = self.records(own.around(wanted.mark));
                let next = records.partition_point(|record| {
                    let Record { mark, until, .. } = Record::read(record);
                    (mark, until) < (wanted.mark, wanted.until)
                });
                // Of the entries of this mark that end no earlier, the first one applies to the most.
                let record = records.get(next).map(Record::read);
                record.is_some_and(|own| own.mark == wanted.mark && own.issued_before >= wanted.issued_before)
            })
        })
    }

    fn records(&self, positions: Range<usize>) -> &[[u8; RECORD]] {
        let (records, _) = self.bytes.get(HEAD..).unwrap_or_default().as_chunks::<RECORD>();
        records.get(positions).unwrap_or_default()
    }

    fn reason(&self, number: u32) -> Option<&str> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        let reasons = self.bytes.get(self.len().checked_mul(RECORD)?.checked_add(HEAD)?..)?;
        let (length, text) = reasons.get(at..)?.split_first()?;
        str::from_utf8(text.get(..usize::from(*length))?).ok()
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("issued", &self.issued).field("len", &self.len()).finish_non_exhaustive()
    }
}
