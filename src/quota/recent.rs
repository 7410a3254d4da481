//! The signers that verified a credential from a source in the last minutes. Each worker remembers its own.

use std::cell::RefCell;
use std::time::Duration;

use crate::text::time::Timestamp;

/// A signer is known for this time after a successful verification.
pub(super) const RECENT: Duration = Duration::from_mins(10);

const SETS: usize = 256;
const WAYS: usize = 4;

/// Signers at their sources, by the fingerprints of both, with the time of their last successful verification. The table uses 16
/// KiB once it has an entry. A full set evicts the entry that was least recently seen.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    sets: RefCell<Vec<[Entry; WAYS]>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    fingerprint: u64,
    /// Nanoseconds since 1970; 0 if the entry is free.
    seen: u64,
}

impl Recent {
    /// Records that a signer verified a credential.
    pub(super) fn note(&self, fingerprint: u64, now: Timestamp) {
        // INVARIANT: no code in this module calls back, so the table is not borrowed here.
        let Ok(mut sets) = self.sets.try_borrow_mut() else { return };
        if sets.is_empty() {
            sets.resize(SETS, [Entry::default(); WAYS]);
        }
        let Some(set) = sets.get_mut(set_of(fingerprint)) else { return };
        let own = set.iter().position(|entry| entry.fingerprint == fingerprint);
        let oldest = || set.iter().enumerate().min_by_key(|(_, entry)| entry.seen).map(|(position, _)| position);
        if let Some(entry) = own.or_else(oldest).and_then(|position| set.get_mut(position)) {
            *entry = Entry { fingerprint, seen: now.as_nanos() };
        }
    }

    /// Reports whether a signer verified a credential recently. A time in the future is ignored, because the clock was ahead when
    /// it was written.
    pub(super) fn has(&self, fingerprint: u64, now: Timestamp) -> bool {
        let Ok(sets) = self.sets.try_borrow() else { return false };
        let lately =
            |seen: u64| now.as_nanos().checked_sub(seen).is_some_and(|age| u128::from(age) < RECENT.as_nanos());
        let is_it = |entry: &Entry| entry.fingerprint == fingerprint && lately(entry.seen);
        sets.get(set_of(fingerprint)).is_some_and(|set| set.iter().any(is_it))
    }
}

fn set_of(fingerprint: u64) -> usize {
    fingerprint as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn remembers_a_signer_for_ten_minutes() {
        let recent = Recent::default();
        assert!(!recent.has(7, at(0)));
        recent.note(7, at(0));
        assert!(recent.has(7, at(0)) && recent.has(7, at(599)));
        assert!(!recent.has(7, at(600)) && !recent.has(8, at(0)));
        assert!(!recent.has(7, Timestamp::from_secs(1_799_999_999)), "the clock was ahead");
        recent.note(7, at(500));
        assert!(recent.has(7, at(1_099)));
    }

    #[test]
    fn evicts_the_least_recently_seen_signer_at_a_fixed_size() {
        let recent = Recent::default();
        let same_set = |number: u64| number * SETS as u64;
        for number in 0..=WAYS as u64 {
            recent.note(same_set(number), at(number));
        }
        let known: Vec<_> = (0..=WAYS as u64).map(|number| recent.has(same_set(number), at(10))).collect();
        assert_eq!(known, [false, true, true, true, true]);
        (0..100_000).for_each(|number| recent.note(number, at(20)));
        assert_eq!((0..100_000).filter(|number| recent.has(*number, at(20))).count(), SETS * WAYS);
        assert_eq!(recent.sets.borrow().len(), SETS);
        assert_eq!(size_of::<[Entry; WAYS]>() * SETS, 16 * 1024);
    }
}
