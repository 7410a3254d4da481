//! A body while it arrives: what it must be, how many bytes are reserved for the request, and how long the body has made no
//! progress.

use std::time::Duration;

use super::pending::Need;
use crate::policy::HeldBodies;
use crate::quota::held::{Full, Reservation};
use crate::reason::Reason;
use crate::request::digest::Hashing;

/// A body while it arrives.
#[derive(Debug)]
pub(super) struct AwaitedBody {
    /// What the body must be, or the reason for rejecting it.
    awaited: Result<Awaited, Reason>,
    seen: u64,
    pace: Pace,
    /// The bytes reserved for the request. `None` if the host does not bound them.
    reservation: Option<Reservation>,
    /// The bytes reserved for the headers.
    headers: u64,
}

/// What a body must be.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The body whose digest is signed.
    Signed(Box<Hashing>),
    /// Empty, because no digest is signed. The first byte rejects the request with this reason.
    Nothing(Reason),
}

/// How long a body has made no progress, counted in periods of a timer.
#[derive(Debug, Default)]
struct Pace {
    /// `None` before the timer fires for the first time, which may happen right after the start.
    idle: Option<Duration>,
    total: Duration,
    seen: u64,
}

impl AwaitedBody {
    pub(super) fn new(awaited: Awaited, reservation: Option<Reservation>, headers: u64) -> Self {
        Self { awaited: Ok(awaited), seen: 0, pace: Pace::default(), reservation, headers }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Processes the next chunk of the body.
    pub(super) fn update(&mut self, part: &[u8]) -> Need {
        let Ok(awaited) = &mut self.awaited else { return Need::Nothing };
        self.seen = self.seen.saturating_add(part.len() as u64);
        let taken = match awaited {
            Awaited::Signed(hashing) => hashing.update(part),
            Awaited::Nothing(_) if part.is_empty() => Ok(()),
            Awaited::Nothing(reason) => Err(*reason),
        };
        let bytes = self.headers.saturating_add(self.seen);
        let mut charged = || self.reservation.as_mut().map_or(Ok(()), |held| held.grow_to(bytes));
        match taken.and_then(|()| charged().map_err(|Full| Reason::HeldBytesFull)) {
            Ok(()) => Need::More,
            Err(reason) => {
                self.awaited = Err(reason);
                Need::Nothing
            }
        }
    }

    /// Records that a timer period has passed. Returns whether the body has taken too long.
    pub(super) fn elapse(&mut self, period: Duration, bounds: &HeldBodies) -> bool {
        let Pace { idle, total, seen } = &mut self.pace;
        match idle {
            Some(idle) => {
                *total = total.saturating_add(period);
                *idle = if *seen == self.seen { idle.saturating_add(period) } else { Duration::ZERO };
            }
            None => *idle = Some(Duration::ZERO),
        }
        *seen = self.seen;
        idle.is_some_and(|idle| idle >= bounds.hold_timeout) || *total >= bounds.total_timeout
    }

    /// Returns the result, and releases the reserved bytes.
    pub(super) fn end(self) -> Result<Awaited, Reason> {
        self.awaited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::held::{HeldBytes, Shares};
    use crate::request::digest::ContentDigest;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUNDS: HeldBodies = HeldBodies {
        hold_timeout: Duration::from_secs(3),
        total_timeout: Duration::from_secs(9),
        shares: Shares { worker: 100, agent: 50, source: 50 },
    };

    fn signed() -> Awaited {
        let digest = ContentDigest::parse(b"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:").unwrap();
        Awaited::Signed(Box::new(digest.begin(1000)))
    }

    /// Returns the number of periods until the body takes too long, if `part` arrives before each of them.
    fn periods(part: &[u8]) -> u32 {
        let mut body = AwaitedBody::new(signed(), None, 0);
        let mut passed = 0;
        loop {
            let _ = body.update(part);
            passed += 1;
            if body.elapse(SECOND, &BOUNDS) {
                return passed;
            }
        }
    }

    #[test]
    fn a_stalled_body_times_out_after_hold_timeout() {
        // The first period may have been almost zero, so it does not count.
        assert_eq!(periods(b""), 4);
    }

    #[test]
    fn a_slow_body_times_out_after_total_timeout() {
        assert_eq!(periods(b"x"), 10);
    }

    #[test]
    fn a_new_byte_restarts_the_hold_timeout() {
        let mut body = AwaitedBody::new(signed(), None, 0);
        for _ in 0..3 {
            assert!(!body.elapse(SECOND, &BOUNDS));
        }
        let _ = body.update(b"x");
        for _ in 0..3 {
            assert!(!body.elapse(SECOND, &BOUNDS));
        }
        assert!(body.elapse(SECOND, &BOUNDS));
    }

    #[test]
    fn unannounced_bytes_are_charged_as_they_arrive() {
        let held = HeldBytes::default();
        let reservation = held.reserve(Some(("p", "a")), None, BOUNDS.shares, 10).unwrap();
        let mut body = AwaitedBody::new(signed(), Some(reservation), 10);
        assert_eq!(body.update(&[b'x'; 40]), Need::More);
        assert_eq!(held.total(), 50);
        assert_eq!(body.update(b"x"), Need::Nothing);
        assert_eq!(body.update(b""), Need::Nothing, "nothing more is read");
        assert_eq!(held.total(), 50);
        assert_eq!(body.end().err(), Some(Reason::HeldBytesFull));
        assert_eq!(held.total(), 0);
    }

    #[test]
    fn announced_bytes_are_charged_once() {
        let held = HeldBytes::default();
        let reservation = held.reserve(Some(("p", "a")), None, BOUNDS.shares, 50).unwrap();
        let mut body = AwaitedBody::new(signed(), Some(reservation), 10);
        assert_eq!(body.update(&[b'x'; 40]), Need::More);
        assert_eq!(held.total(), 50);
    }

    #[test]
    fn the_first_byte_of_an_unsigned_body_ends_the_wait() {
        let mut body = AwaitedBody::new(Awaited::Nothing(Reason::ContentDigestMissing), None, 0);
        assert_eq!(body.update(b""), Need::More);
        assert_eq!(body.update(b"x"), Need::Nothing);
        assert_eq!(body.end().err(), Some(Reason::ContentDigestMissing));
    }
}
