//! The generic cell rate algorithm. One 64-bit timestamp is the complete state of a limiter.
//!
//! The *theoretical arrival time* (TAT), or *arrival time* for short, is the moment at which the limiter becomes idle again. A
//! request moves it one interval into the future and is allowed if the result is within the burst. All times are integer
//! nanoseconds, and the current time is an argument.

use std::num::NonZeroU64;

use crate::text::time::Timestamp;

/// The rate and the burst of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// Nanoseconds between requests at the rate, rounded up to never allow more requests than configured.
    interval: NonZeroU64,
    /// The number of requests that are allowed at once after an idle period.
    burst: u32,
    /// Nanoseconds in which an exhausted burst refills: one interval for each request.
    refill: u64,
}

/// The state of a limiter for requests of a given cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitStatus {
    /// The number of such requests that are allowed now.
    pub(crate) remaining: u64,
    /// Nanoseconds until one more is allowed, or until the limiter is idle; 0 if it is idle.
    pub(crate) more_in: u64,
}

impl Gcra {
    /// Returns a limiter for `calls` in each `span` nanoseconds. Returns `None` if the interval is shorter than a microsecond per
    /// request, or if the burst takes longer than [`Gcra::LONGEST_REFILL`] to refill.
    pub(crate) fn new(calls: u32, span: u64, burst: u32) -> Option<Self> {
        let interval = NonZeroU64::new(span.div_ceil(u64::from(calls).max(1)))?;
        let refill = interval.get().checked_mul(u64::from(burst))?;
        (calls > 0 && burst > 0 && interval.get() >= 1_000 && refill <= Self::LONGEST_REFILL).then_some(Self {
            interval,
            burst,
            refill,
        })
    }

    /// 366 days, in nanoseconds.
    pub(crate) const LONGEST_REFILL: u64 = 366 * 86_400 * 1_000_000_000;

    /// Returns the number of requests that are allowed at once after an idle period.
    pub(crate) fn burst(self) -> u32 {
        self.burst
    }

    /// Returns the maximum number of requests that are allowed within `nanos`, for any start of that window.
    pub(crate) fn most_within(self, nanos: u64) -> u64 {
        u64::from(self.burst).saturating_add(nanos.div_ceil(self.interval.get()))
    }

    /// Returns the nanoseconds in which an exhausted burst refills.
    pub(crate) fn refill(self) -> u64 {
        self.refill
    }

    /// Returns the arrival time after a request of this cost, if the request is allowed.
    pub(crate) fn try_consume(self, tat: u64, now: Timestamp, cost: u32) -> Option<u64> {
        let after = self.pending(tat, now).checked_add(self.charge(cost))?;
        (after <= self.refill()).then(|| now.as_nanos().saturating_add(after))
    }

    /// Returns the limiter's state for requests of this cost.
    pub(crate) fn status(self, tat: u64, now: Timestamp, cost: u32) -> LimitStatus {
        let pending = self.pending(tat, now);
        let charge = self.charge(cost).max(1);
        let remaining = (self.refill() - pending) / charge;
        // The next request is allowed when the pending part leaves room for one more than `remaining`. The product does not
        // overflow, because it does not exceed the refill.
        let room = self.refill().saturating_sub(remaining.wrapping_mul(charge).saturating_add(charge));
        LimitStatus { remaining, more_in: pending - room.min(pending) }
    }

    /// Returns the arrival time after a refund. Only the part of the charge that is still pending is refunded. `charged` is the
    /// arrival time that the request wrote. A larger refund would also return the charges of later requests, because the rest of
    /// this charge has already decayed.
    pub(crate) fn refund(self, tat: u64, charged: u64, now: Timestamp, cost: u32) -> u64 {
        let back = charged.saturating_sub(now.as_nanos()).min(self.charge(cost));
        tat.saturating_sub(back)
    }

    /// Reports whether an arrival time is further ahead than this limiter ever writes. The clock may have been ahead when it was
    /// written, or the policy may have had a larger burst.
    pub(crate) fn exceeds_max_tat(self, tat: u64, now: Timestamp) -> bool {
        tat > self.exhausted(now)
    }

    /// Returns the arrival time of an exhausted limiter.
    pub(crate) fn exhausted(self, now: Timestamp) -> u64 {
        now.as_nanos().saturating_add(self.refill())
    }

    /// Returns the nanoseconds by which a request of this cost moves the arrival time. A cost above the burst never fits. Wasm
    /// has no 64-bit multiplication with overflow detection and would need a function for it. A cost within the burst cannot
    /// overflow, because the product is at most the refill.
    fn charge(self, cost: u32) -> u64 {
        if cost <= self.burst { self.interval.get().wrapping_mul(u64::from(cost)) } else { u64::MAX }
    }

    /// Returns the nanoseconds until the limiter is idle, at most the refill.
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
    fn allows_a_burst_and_then_one_request_per_interval() {
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
    fn consumes_the_cost_of_a_request() {
        let gcra = Gcra::new(1, SECOND, 10).unwrap();
        let tat = gcra.try_consume(0, at(0), 4).unwrap();
        assert_eq!(gcra.status(tat, at(0), 4), LimitStatus { remaining: 1, more_in: 2 * SECOND });
        assert_eq!(gcra.status(tat, at(0), 1), LimitStatus { remaining: 6, more_in: SECOND });
        assert_eq!(gcra.try_consume(tat, at(0), 7), None);
        assert_eq!(gcra.try_consume(0, at(0), 11), None, "more than the burst never passes");
    }

    #[test]
    fn an_unused_limit_has_its_burst_and_no_wait() {
        let gcra = Gcra::new(1, SECOND, 3).unwrap();
        assert_eq!(gcra.status(0, at(0), 1), LimitStatus { remaining: 3, more_in: 0 });
        assert_eq!(gcra.status(0, at(0), 2), LimitStatus { remaining: 1, more_in: 0 });
    }

    #[test]
    fn a_clock_step_back_blocks_no_longer_than_a_refill() {
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
    fn rounds_rates_down_and_rejects_invalid_ones() {
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
    fn refunds_only_the_part_that_has_not_decayed() {
        let gcra = Gcra::new(1, SECOND, 1).unwrap();
        let ours = gcra.try_consume(0, at(0), 1).unwrap();
        assert_eq!(gcra.refund(ours, ours, at(0), 1), at(0).as_nanos());
        // Another request arrived after this charge had decayed. The refund does not include its charge.
        let theirs = gcra.try_consume(ours, at(2 * SECOND), 1).unwrap();
        let after = gcra.refund(theirs, ours, at(2 * SECOND), 1);
        assert_eq!(gcra.try_consume(after, at(2 * SECOND), 1), None);
    }
}
