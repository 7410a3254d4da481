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
    /// The longest refill of all limiters with the same state, in nanoseconds. Usually that of this one.
    longest: u64,
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
            longest: refill,
        })
    }

    /// Returns this limiter for a state that limiters with other numbers use too, of which the longest refill is `longest` nanoseconds.
    ///
    /// INVARIANT: switching between the numbers of one state gives nobody more requests. The state only has the time when the limiter becomes idle,
    /// and no number of it depends on who wrote it. Each limiter allows a request only if the pending time and its own interval are within
    /// its own refill, and each allowed request adds to the pending time. So the requests under one limiter's numbers are at most those that
    /// it would allow alone, in any order with those of others. The pending time must not be cut to the refill of the limiter that
    /// reads it: with a shorter refill, one request would erase what another limiter has charged. It is cut to the longest.
    pub(crate) fn shared_with(self, longest: u64) -> Self {
        Self { longest: self.longest.max(longest), ..self }
    }

    /// 366 days, in nanoseconds.
    pub(crate) const LONGEST_REFILL: u64 = 366 * 86_400 * 1_000_000_000;

    /// Returns the number of requests that are allowed at once after an idle period.
    pub(crate) fn burst(&self) -> u32 {
        self.burst
    }

    /// Returns the maximum number of requests that are allowed within `nanos`, for any start of that window.
    pub(crate) fn most_within(&self, nanos: u64) -> u64 {
        u64::from(self.burst).saturating_add(nanos.div_ceil(self.interval.get()))
    }

    /// Returns the nanoseconds in which an exhausted burst refills.
    pub(crate) fn refill(&self) -> u64 {
        self.refill
    }

    /// Returns the arrival time after a request of this cost, if the request is allowed.
    pub(crate) fn try_consume(&self, tat: u64, now: Timestamp, cost: u32) -> Option<u64> {
        let after = self.pending(tat, now).checked_add(self.charge(cost))?;
        (after <= self.refill()).then(|| now.as_nanos().saturating_add(after))
    }

    /// Returns the limiter's state for requests of this cost.
    pub(crate) fn status(&self, tat: u64, now: Timestamp, cost: u32) -> LimitStatus {
        let pending = self.pending(tat, now);
        let charge = self.charge(cost).max(1);
        // A limiter with a longer refill may have charged more than this one's refill.
        let remaining = self.refill().saturating_sub(pending) / charge;
        // The next request is allowed when the pending part leaves room for one more than `remaining`. The product does not
        // overflow, because it does not exceed the refill.
        let room = self.refill().saturating_sub(remaining.wrapping_mul(charge).saturating_add(charge));
        LimitStatus { remaining, more_in: pending - room.min(pending) }
    }

    /// Returns the arrival time after a refund. Only the part of the charge that is still pending is refunded. `charged` is the
    /// arrival time that the request wrote. A larger refund would also return the charges of later requests, because the rest of
    /// this charge has already decayed.
    pub(crate) fn refund(&self, tat: u64, charged: u64, now: Timestamp, cost: u32) -> u64 {
        let back = charged.saturating_sub(now.as_nanos()).min(self.charge(cost));
        tat.saturating_sub(back)
    }

    /// Reports whether an arrival time is further ahead than this limiter, and those with the same state, ever write. The clock may have been ahead when it was
    /// written, or the policy may have had a larger burst.
    pub(crate) fn exceeds_max_tat(&self, tat: u64, now: Timestamp) -> bool {
        tat > self.exhausted(now)
    }

    /// Returns the arrival time of an exhausted limiter.
    pub(crate) fn exhausted(&self, now: Timestamp) -> u64 {
        now.as_nanos().saturating_add(self.longest)
    }

    /// Returns the nanoseconds by which a request of this cost moves the arrival time. A cost above the burst never fits. Wasm
    /// has no 64-bit multiplication with overflow detection and would need a function for it. A cost within the burst cannot
    /// overflow, because the product is at most the refill.
    fn charge(&self, cost: u32) -> u64 {
        if cost <= self.burst { self.interval.get().wrapping_mul(u64::from(cost)) } else { u64::MAX }
    }

    /// Returns the nanoseconds until the limiter is idle, at most the longest refill.
    fn pending(&self, tat: u64, now: Timestamp) -> u64 {
        tat.saturating_sub(now.as_nanos()).min(self.longest)
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

    /// Two limiters use one state: one with a long refill, and one with a short one.
    fn two_tiers() -> (Gcra, Gcra) {
        let (long, short) = (Gcra::new(1, SECOND, 100).unwrap(), Gcra::new(1, SECOND, 5).unwrap());
        let longest = long.refill().max(short.refill());
        (long.shared_with(longest), short.shared_with(longest))
    }

    #[test]
    fn switching_numbers_gives_no_more_requests() {
        let (long, short) = two_tiers();
        let mut tat = 0;
        for _ in 0..100 {
            tat = long.try_consume(tat, at(0), 1).unwrap();
        }
        // The short limiter neither allows a request nor erases what was charged.
        assert_eq!(short.try_consume(tat, at(0), 1), None);
        assert!(!short.exceeds_max_tat(tat, at(0)));
        assert_eq!(long.try_consume(tat, at(0), 1), None);
        // It states the wait until it allows a request, not just its own refill.
        assert_eq!(short.status(tat, at(0), 1), LimitStatus { remaining: 0, more_in: 96 * SECOND });
        assert_eq!(short.try_consume(tat, at(96 * SECOND - 1), 1), None);
        assert!(short.try_consume(tat, at(96 * SECOND), 1).is_some());
    }

    #[test]
    fn each_tier_allows_at_most_its_own_numbers_in_any_order() {
        let (long, short) = two_tiers();
        for order in [[true, false], [false, true]] {
            let (mut tat, mut allowed) = (0, [0_u64; 2]);
            // 300 s, in each of which both callers try three times.
            for second in 0..300 {
                for is_long in order.into_iter().cycle().take(6) {
                    let gcra = if is_long { long } else { short };
                    if let Some(next) = gcra.try_consume(tat, at(second * SECOND), 1) {
                        tat = next;
                        allowed[usize::from(is_long)] += 1;
                    }
                    assert!(!short.exceeds_max_tat(tat, at(second * SECOND)));
                }
            }
            let window = 300 * SECOND;
            assert!(allowed[0] <= short.most_within(window) && allowed[1] <= long.most_within(window), "{allowed:?}");
            assert!(allowed[0] + allowed[1] <= long.most_within(window), "{allowed:?}");
        }
    }

    #[test]
    fn a_longer_interval_and_a_state_far_ahead_do_not_overflow() {
        let year = Gcra::new(1, 86_400 * SECOND, 366).unwrap();
        let fast = Gcra::new(1_000_000, SECOND, 1).unwrap().shared_with(Gcra::LONGEST_REFILL);
        for tat in [0, at(0).as_nanos(), u64::MAX - 1, u64::MAX] {
            for now in [Timestamp::from_nanos(0), at(0), Timestamp::from_nanos(u64::MAX)] {
                for gcra in [year.shared_with(Gcra::LONGEST_REFILL), fast] {
                    let status = gcra.status(tat, now, 1);
                    assert!(status.remaining <= u64::from(gcra.burst()) && status.more_in <= Gcra::LONGEST_REFILL);
                    let _ = (gcra.try_consume(tat, now, u32::MAX), gcra.exhausted(now), gcra.refund(tat, tat, now, 1));
                }
            }
        }
        let full = year.exhausted(at(0));
        assert_eq!(fast.try_consume(full, at(0), 1), None);
        assert!(!fast.exceeds_max_tat(full, at(0)));
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
