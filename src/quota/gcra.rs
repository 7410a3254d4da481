//! The generic cell rate algorithm: one 64-bit moment is all the state of a limiter.
//!
//! The *arrival time* is the moment at which the limiter will be at rest again. A call moves it one interval into the future
//! and passes while it stays within the burst. Integer nanoseconds throughout; the time is passed in.

use std::num::NonZeroU64;

use crate::text::time::Timestamp;

/// How many calls pass, in the long run and at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Nanoseconds between calls at the rate, rounded up: never more calls than were allowed.
    interval: NonZeroU64,
    /// The calls that pass at once from rest.
    burst: u32,
    /// Nanoseconds in which the burst comes back from nothing: as many intervals.
    refill: u64,
}

/// What a limiter says about calls of some cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitStatus {
    /// How many such calls would pass now.
    pub(crate) remaining: u64,
    /// Nanoseconds until one more would, or until the limiter is at rest; 0 at rest.
    pub(crate) more_in: u64,
}

impl Gcra {
    /// `calls` in each `span` nanoseconds; none where that is not at least a microsecond for each call, or where the burst
    /// takes longer than [`Gcra::LONGEST_REFILL`] to come back.
    pub(crate) fn new(calls: u32, span: u64, burst: u32) -> Option<Self> {
        let interval = NonZeroU64::new(span.div_ceil(u64::from(calls).max(1)))?;
        let refill = interval.get().checked_mul(u64::from(burst))?;
        (calls > 0 && burst > 0 && interval.get() >= 1_000 && refill <= Self::LONGEST_REFILL).then_some(Self {
            interval,
            burst,
            refill,
        })
    }

    /// A year and a day, in nanoseconds.
    pub(crate) const LONGEST_REFILL: u64 = 366 * 86_400 * 1_000_000_000;

    /// The calls that pass at once from rest.
    pub(crate) fn burst(self) -> u32 {
        self.burst
    }

    /// The most calls that pass within so many nanoseconds, wherever they begin.
    pub(crate) fn most_within(self, nanos: u64) -> u64 {
        u64::from(self.burst).saturating_add(nanos.div_ceil(self.interval.get()))
    }

    /// Nanoseconds in which the burst comes back from nothing.
    pub(crate) fn refill(self) -> u64 {
        self.refill
    }

    /// The arrival time after a call of this cost, where it passes.
    pub(crate) fn try_consume(self, tat: u64, now: Timestamp, cost: u32) -> Option<u64> {
        let after = self.pending(tat, now).checked_add(self.charge(cost))?;
        (after <= self.refill()).then(|| now.as_nanos().saturating_add(after))
    }

    /// What the limiter says about calls of this cost.
    pub(crate) fn status(self, tat: u64, now: Timestamp, cost: u32) -> LimitStatus {
        let pending = self.pending(tat, now);
        let charge = self.charge(cost).max(1);
        let remaining = (self.refill() - pending) / charge;
        // The next call passes once what is pending leaves room for one more than pass now.
        // What fits is not more than the refill.
        let room = self.refill().saturating_sub(remaining.wrapping_mul(charge).saturating_add(charge));
        LimitStatus { remaining, more_in: pending - room.min(pending) }
    }

    /// What a call that was charged and did not go on may give back: what of its charge is still pending. `charged` is the
    /// arrival time that it wrote. Giving back more would refill the limiter for whoever came in between, after a pause that
    /// the charge had used up anyway.
    pub(crate) fn refund(self, tat: u64, charged: u64, now: Timestamp, cost: u32) -> u64 {
        let back = charged.saturating_sub(now.as_nanos()).min(self.charge(cost));
        tat.saturating_sub(back)
    }

    /// Whether an arrival time lies further ahead than this limiter ever writes: the clock was ahead when it was written, or
    /// the policy had a larger burst.
    pub(crate) fn exceeds_max_tat(self, tat: u64, now: Timestamp) -> bool {
        tat > self.exhausted(now)
    }

    /// The arrival time of a limiter that has nothing left.
    pub(crate) fn exhausted(self, now: Timestamp) -> u64 {
        now.as_nanos().saturating_add(self.refill())
    }

    /// What a call of this cost moves the arrival time by; more than the burst never fits. Wasm has no product of 64 bits that
    /// tells whether it overflowed, and takes a function for it: what costs no more than the burst is not more than its refill.
    fn charge(self, cost: u32) -> u64 {
        if cost <= self.burst { self.interval.get().wrapping_mul(u64::from(cost)) } else { u64::MAX }
    }

    /// Nanoseconds until rest, never more than from nothing.
    fn pending(self, tat: u64, now: Timestamp) -> u64 {
        tat.saturating_sub(now.as_nanos()).min(self.refill())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000 * SECOND + nanos)
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_call_in_each_interval() {
        let gcra = Gcra::new(60, 60 * SECOND, 10).unwrap();
        let mut tat = 0;
        for left in (0..10).rev() {
            tat = gcra.try_consume(tat, at(0), 1).unwrap();
            assert_eq!(gcra.status(tat, at(0), 1).remaining, left);
        }
        assert_eq!(gcra.try_consume(tat, at(0), 1), None);
        assert_eq!(gcra.try_consume(tat, at(SECOND - 1), 1), None);
        tat = gcra.try_consume(tat, at(SECOND), 1).unwrap();
        assert_eq!(gcra.try_consume(tat, at(SECOND), 1), None);
        assert_eq!(gcra.status(tat, at(SECOND), 1), LimitStatus { remaining: 0, more_in: SECOND });
    }

    #[test]
    fn a_call_that_costs_more_takes_more() {
        let gcra = Gcra::new(1, SECOND, 10).unwrap();
        let tat = gcra.try_consume(0, at(0), 4).unwrap();
        assert_eq!(gcra.status(tat, at(0), 4), LimitStatus { remaining: 1, more_in: 2 * SECOND });
        assert_eq!(gcra.status(tat, at(0), 1), LimitStatus { remaining: 6, more_in: SECOND });
        assert_eq!(gcra.try_consume(tat, at(0), 7), None);
        assert_eq!(gcra.try_consume(0, at(0), 11), None, "more than the burst never passes");
    }

    #[test]
    fn at_rest_there_is_nothing_to_wait_for() {
        let gcra = Gcra::new(1, SECOND, 3).unwrap();
        assert_eq!(gcra.status(0, at(0), 1), LimitStatus { remaining: 3, more_in: 0 });
        assert_eq!(gcra.status(0, at(0), 2), LimitStatus { remaining: 1, more_in: 0 });
    }

    #[test]
    fn a_clock_that_steps_back_locks_nobody_out_for_longer_than_a_refill() {
        let gcra = Gcra::new(1, SECOND, 3).unwrap();
        let far = gcra.try_consume(0, at(1_000_000 * SECOND), 3).unwrap();
        assert_eq!(gcra.try_consume(far, at(0), 1), None);
        assert_eq!(gcra.status(far, at(0), 1), LimitStatus { remaining: 0, more_in: SECOND });
        assert!(gcra.exceeds_max_tat(far, at(0)));
        let corrected = gcra.exhausted(at(0));
        assert!(!gcra.exceeds_max_tat(corrected, at(0)));
        assert!(gcra.try_consume(corrected, at(SECOND), 1).is_some());
    }

    #[test]
    fn rates_are_rounded_against_the_caller() {
        let gcra = Gcra::new(3, SECOND, 1).unwrap();
        assert_eq!(gcra.refill(), 333_333_334);
        assert_eq!(Gcra::new(1_010_000, SECOND, 1), None);
        assert_eq!(Gcra::new(0, SECOND, 1), None);
        assert_eq!(Gcra::new(1, SECOND, 0), None);
        assert_eq!(Gcra::new(1, 0, 1), None);
        assert_eq!(Gcra::new(1, 86_400 * SECOND, 367), None);
        assert!(Gcra::new(1, 86_400 * SECOND, 366).is_some());
    }

    #[test]
    fn what_is_given_back_is_what_is_still_pending() {
        let gcra = Gcra::new(1, SECOND, 1).unwrap();
        let ours = gcra.try_consume(0, at(0), 1).unwrap();
        assert_eq!(gcra.refund(ours, ours, at(0), 1), at(0).as_nanos());
        // Somebody else's call came after ours had decayed: it is not given back with ours.
        let theirs = gcra.try_consume(ours, at(2 * SECOND), 1).unwrap();
        let after = gcra.refund(theirs, ours, at(2 * SECOND), 1);
        assert_eq!(gcra.try_consume(after, at(2 * SECOND), 1), None);
    }
}
