//! Where the records with the same first bits are, so a lookup in a long list takes as many steps as in a short one.

use std::ops::Range;

use super::entries::{RECORD, Record};

/// How many records a bucket has, on average.
const MOST_ON_AVERAGE: usize = 4;

/// The records of one kind by the first bits of their marks, which are evenly distributed, as hashes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Buckets {
    /// The number of bits that choose a bucket.
    bits: u32,
    /// The position of the first record.
    start: usize,
    /// The position after the last record of each bucket.
    ends: Box<[usize]>,
}

impl Buckets {
    /// Counts the records of one kind, of which the first one is at `start`.
    pub(super) fn of(records: &[[u8; RECORD]], start: usize) -> Self {
        let bits = (records.len() / MOST_ON_AVERAGE).checked_ilog2().map_or(0, |bits| bits + 1);
        let mut buckets = Self { bits, start, ends: vec![0; 1 << bits].into() };
        for record in records {
            let at = buckets.bucket(Record::read(record).mark);
            // INVARIANT: there are as many buckets as numbers with so many bits.
            if let Some(count) = buckets.ends.get_mut(at) {
                *count += 1;
            }
        }
        let mut end = start;
        for count in &mut buckets.ends {
            end += *count;
            *count = end;
        }
        buckets
    }

    /// Returns the positions of all records that can have a mark.
    pub(super) fn around(&self, mark: u128) -> Range<usize> {
        let bucket = self.bucket(mark);
        let start = bucket.checked_sub(1).map_or(self.start, |before| self.end_of(before));
        start..self.end_of(bucket)
    }

    /// Returns the positions of all records.
    pub(super) fn all(&self) -> Range<usize> {
        self.start..self.end()
    }

    /// Returns the position after the last record.
    pub(super) fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or(self.start)
    }

    fn end_of(&self, bucket: usize) -> usize {
        self.ends.get(bucket).copied().unwrap_or(self.start)
    }

    fn bucket(&self, mark: u128) -> usize {
        mark.checked_shr(u128::BITS - self.bits).unwrap_or_default() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(marks: &[u128]) -> Vec<[u8; RECORD]> {
        let write = |mark: &u128| {
            let mut bytes = Vec::new();
            Record { mark: *mark, ..Record::default() }.write(&mut bytes);
            bytes.try_into().unwrap()
        };
        marks.iter().map(write).collect()
    }

    #[test]
    fn each_mark_is_in_the_bucket_that_its_first_bits_name() {
        for count in [0_u32, 1, 3, 4, 5, 100, 1_000] {
            // Evenly distributed, and in order.
            let mut marks: Vec<_> =
                (0..count).map(|at| u128::from(at.wrapping_mul(0x9e37_79b9)) << 96 | u128::from(at)).collect();
            marks.sort_unstable();
            let buckets = Buckets::of(&records(&marks), 7);
            assert_eq!(buckets.all(), 7..7 + marks.len());
            for (at, mark) in marks.iter().enumerate() {
                let around = buckets.around(*mark);
                assert!(around.contains(&(7 + at)), "{count}: {around:?}");
                assert!(around.len() <= 16, "{count}: {around:?}");
            }
            for other in [0, 1, u128::MAX, 1 << 127] {
                let around = buckets.around(other);
                assert!(around.end <= buckets.end());
                let holds = |at: usize| marks.get(at.wrapping_sub(7)).is_some_and(|mark| *mark == other);
                assert!(marks.binary_search(&other).is_err() || around.clone().any(holds), "{count}: {around:?}");
            }
        }
    }

    #[test]
    fn marks_that_begin_alike_are_in_one_bucket() {
        let marks: Vec<u128> = (0..100).collect();
        let buckets = Buckets::of(&records(&marks), 0);
        assert_eq!(buckets.around(50), 0..100);
        assert!(buckets.around(u128::MAX).is_empty());
    }
}
