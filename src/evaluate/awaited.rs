//! A body while it arrives: what it must be, how many bytes are reserved for the request, and how long the body has made no
//! progress.

use std::fmt;
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
    /// A body that is kept, because its content decides.
    Kept(Box<KeptBody>),
    /// The body whose digest is signed.
    Signed(Box<Hashing>),
    /// Empty, because no digest is signed. The first byte rejects the request with this reason.
    Nothing(Reason),
}

/// The part of a body that has arrived.
pub(super) struct KeptBody {
    pub(super) bytes: Vec<u8>,
    /// The hash of the bytes, if their digest is signed.
    pub(super) hashing: Option<Box<Hashing>>,
    /// The maximum number of bytes.
    most: usize,
}

impl KeptBody {
    /// Begins to keep a body of at most `most` bytes. `announced` is its length, if it is known.
    pub(super) fn new(most: usize, announced: usize, hashing: Option<Box<Hashing>>) -> Self {
        // Memory that grows step by step would take up to twice as much, and the memory of a VM never shrinks.
        Self { bytes: Vec::with_capacity(announced.min(most)), hashing, most }
    }

    fn update(&mut self, part: &[u8]) -> Result<(), Reason> {
        if part.len() > self.most.saturating_sub(self.bytes.len()) {
            return Err(Reason::JsonTooLarge);
        }
        if let Some(hashing) = &mut self.hashing {
            hashing.update(part)?;
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

impl fmt::Debug for KeptBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptBody").field("seen", &self.bytes.len()).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Awaited {
    /// Returns how often the bytes of the body are in memory: the host has them, and kept bodies are in the VM as well.
    pub(super) fn copies(&self) -> u64 {
        match self {
            Self::Kept(_) => 2,
            Self::Signed(_) | Self::Nothing(_) => 1,
        }
    }
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
        let copies = awaited.copies();
        let taken = match awaited {
            Awaited::Kept(kept) => kept.update(part),
            Awaited::Signed(hashing) => hashing.update(part),
            Awaited::Nothing(_) if part.is_empty() => Ok(()),
            Awaited::Nothing(reason) => Err(*reason),
        };
        let bytes = self.headers.saturating_add(self.seen.saturating_mul(copies));
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

    fn kept(most: usize) -> Awaited {
        Awaited::Kept(Box::new(KeptBody::new(most, 0, None)))
    }

    #[test]
    fn keeps_a_body_up_to_its_maximum() {
        let mut body = AwaitedBody::new(kept(5), None, 0);
        assert_eq!(body.update(b"{\"a"), Need::More);
        assert_eq!(body.update(b""), Need::More);
        assert_eq!(body.update(b"b\""), Need::More);
        let Ok(Awaited::Kept(ended)) = body.end() else { panic!("it is kept") };
        assert_eq!(ended.bytes, b"{\"ab\"");
        let mut body = AwaitedBody::new(kept(5), None, 0);
        assert_eq!(body.update(b"123"), Need::More);
        assert_eq!(body.update(b"456"), Need::Nothing);
        assert_eq!(body.update(b"7"), Need::Nothing);
        assert_eq!(body.end().err(), Some(Reason::JsonTooLarge));
    }

    #[test]
    fn hashes_a_signed_body_that_is_kept() {
        let body = b"{\"hello\": \"world\"}";
        for (given, expected) in [(&body[..], Ok(())), (b"{\"hello\": \"World\"}", Err(Reason::ContentDigestMismatch))]
        {
            let Awaited::Signed(hashing) = signed() else { panic!("it is signed") };
            let mut body = AwaitedBody::new(Awaited::Kept(Box::new(KeptBody::new(64, 18, Some(hashing)))), None, 0);
            assert_eq!(body.update(given), Need::More);
            let Ok(Awaited::Kept(ended)) = body.end() else { panic!("it is kept") };
            let KeptBody { bytes, hashing, .. } = *ended;
            assert_eq!(bytes, given);
            assert_eq!(hashing.unwrap().finish(), expected);
        }
    }

    #[test]
    fn kept_bytes_are_charged_twice() {
        let held = HeldBytes::default();
        let reservation = held.reserve(Some(("p", "a")), None, BOUNDS.shares, 10).unwrap();
        let mut body = AwaitedBody::new(kept(1000), Some(reservation), 10);
        assert_eq!(body.update(&[b'x'; 20]), Need::More);
        assert_eq!(held.total(), 50);
        assert_eq!(body.update(b"x"), Need::Nothing);
        assert_eq!(body.end().err(), Some(Reason::HeldBytesFull));
        assert_eq!(held.total(), 0);
    }

    #[test]
    fn the_first_byte_of_an_unsigned_body_ends_the_wait() {
        let mut body = AwaitedBody::new(Awaited::Nothing(Reason::ContentDigestMissing), None, 0);
        assert_eq!(body.update(b""), Need::More);
        assert_eq!(body.update(b"x"), Need::Nothing);
        assert_eq!(body.end().err(), Some(Reason::ContentDigestMissing));
    }
}
