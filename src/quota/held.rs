//! Counts the bytes that a worker holds, by agent and by source: requests while their bodies arrive, and answers until they can be checked.
//!
//! A request with a signed body is held until the body is verified, and the gateway buffers it meanwhile. Each agent and each
//! source has a share of the bytes that one worker holds, so slow clients of one agent cannot use up the room of others. The part of an
//! answer that the filter keeps counts in the same shares, for the agent and the source of its request. This module only counts.
//! `evaluate` decides how many bytes a request is charged with and how long it is held, and `response` what it keeps of an answer.
//!
//! The table has an entry for an agent or a source only while it is charged with bytes. Its size is therefore bounded by the
//! number of held requests and answers, which is bounded by the bytes that each is charged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::request::incoming::Source;

/// The bytes of requests and answers that one worker holds. Clones share the same table.
#[derive(Debug, Clone, Default)]
pub struct HeldBytes(Rc<RefCell<Table>>);

#[derive(Debug, Default)]
struct Table {
    total: u64,
    owners: BTreeMap<Owner, u64>,
}

/// The owner of a share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// An agent, identified by the name of its policy and its own name, because several policies can share a worker.
    Agent(Box<str>, Box<str>),
    /// An IPv4 address, or the /64 of an IPv6 address.
    Source([u8; 16]),
}

/// The maximum number of bytes that may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// By one worker.
    pub(crate) worker: u64,
    /// For one agent in one worker.
    pub(crate) agent: u64,
    /// For one source in one worker.
    pub(crate) source: u64,
}

/// The error if a share or the whole worker has no room for the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The bytes that one held request or answer is charged with. They are released when the reservation is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    held: HeldBytes,
    agent: Option<Owner>,
    source: Option<Owner>,
    shares: Shares,
    bytes: u64,
}

impl HeldBytes {
    /// Returns the number of bytes that are held in total.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.try_borrow().map_or(0, |table| table.total)
    }

    /// Charges a request with `bytes`. `agent` is the name of the policy and that of the agent, once it is known.
    ///
    /// # Errors
    /// Returns [`Full`] if the share of the request's agent or source, or the worker, has no room for them. Nothing is charged
    /// then.
    pub(crate) fn reserve(
        &self,
        agent: Option<(&str, &str)>,
        source: Option<Source>,
        shares: Shares,
        bytes: u64,
    ) -> Result<Reservation, Full> {
        let mut reservation = self.reserve_nothing(agent, source, shares);
        reservation.grow_to(bytes)?;
        Ok(reservation)
    }

    /// Returns a reservation of no bytes, which can grow.
    pub(crate) fn reserve_nothing(
        &self,
        agent: Option<(&str, &str)>,
        source: Option<Source>,
        shares: Shares,
    ) -> Reservation {
        let agent = agent.map(|(policy, agent)| Owner::Agent(policy.into(), agent.into()));
        let source = source.map(|source| Owner::Source(source.network()));
        Reservation { held: self.clone(), agent, source, shares, bytes: 0 }
    }
}

impl Reservation {
    /// Increases the charge to this total number of bytes. A smaller number changes nothing.
    ///
    /// # Errors
    /// Same as [`HeldBytes::reserve`]. The previous charge is kept.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<(), Full> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let mut table = self.held.0.try_borrow_mut().map_err(|_| Full)?;
        let Shares { worker, agent, source } = self.shares;
        let owners = [(self.agent.as_ref(), agent), (self.source.as_ref(), source)];
        let fits = |held: u64, most: u64| held.checked_add(more).is_some_and(|held| held <= most);
        let room = owners.iter().all(|(owner, most)| owner.is_none_or(|owner| fits(table.held_by(owner), *most)));
        if !(room && fits(table.total, worker)) {
            return Err(Full);
        }
        table.total = table.total.saturating_add(more);
        for owner in owners.into_iter().filter_map(|(owner, _)| owner) {
            let held = table.held_by(owner).saturating_add(more);
            table.owners.insert(owner.clone(), held);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Decreases the charge to this total number of bytes. A larger number changes nothing.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) else { return };
        // INVARIANT: no other code runs while the table is borrowed, so it is never borrowed here.
        let Ok(mut table) = self.held.0.try_borrow_mut() else { return };
        table.total = table.total.saturating_sub(less);
        for owner in self.agent.iter().chain(&self.source) {
            match table.held_by(owner).saturating_sub(less) {
                0 => drop(table.owners.remove(owner)),
                left => drop(table.owners.insert(owner.clone(), left)),
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Table {
    fn held_by(&self, owner: &Owner) -> u64 {
        self.owners.get(owner).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARES: Shares = Shares { worker: 100, agent: 30, source: 60 };

    fn source(number: u8) -> Option<Source> {
        Source::parse(format!("192.0.2.{number}:1").as_bytes())
    }

    #[test]
    fn a_full_agent_share_leaves_room_for_others_at_its_address() {
        let held = HeldBytes::default();
        let mut first = held.reserve(Some(("p", "slow")), source(1), SHARES, 20).unwrap();
        assert_eq!(first.grow_to(31), Err(Full));
        assert_eq!(first.grow_to(30), Ok(()));
        assert_eq!(
            held.reserve(Some(("p", "slow")), source(2), SHARES, 1).err(),
            Some(Full),
            "from no other address either"
        );
        let other = held.reserve(Some(("p", "other")), source(1), SHARES, 30).unwrap();
        assert_eq!(
            held.reserve(Some(("p", "third")), source(1), SHARES, 1).err(),
            Some(Full),
            "the address has its share"
        );
        let third = held.reserve(Some(("p", "third")), source(2), SHARES, 30).unwrap();
        assert_eq!(held.reserve(Some(("p", "fourth")), source(2), SHARES, 11).err(), Some(Full), "and the worker");
        assert_eq!(held.total(), 90);
        drop((first, other));
        assert_eq!(held.total(), 30);
        drop(third);
        assert_eq!((held.total(), held.0.borrow().owners.len()), (0, 0));
    }

    #[test]
    fn agents_of_different_policies_have_separate_shares() {
        let held = HeldBytes::default();
        let _first = held.reserve(Some(("one", "a")), None, SHARES, 30).unwrap();
        let _second = held.reserve(Some(("two", "a")), None, SHARES, 30).unwrap();
    }

    #[test]
    fn rejects_amounts_that_would_overflow() {
        let held = HeldBytes::default();
        let all = Shares { worker: u64::MAX, agent: u64::MAX, source: u64::MAX };
        let _one = held.reserve(Some(("p", "a")), source(1), all, u64::MAX - 1).unwrap();
        assert_eq!(held.reserve(Some(("p", "b")), source(2), all, 2).err(), Some(Full));
    }

    /// A held request, with its agent and its source.
    type Held = (u8, Option<u8>, Reservation);

    #[derive(Debug, Clone)]
    enum Event {
        Reserve { agent: u8, source: Option<u8>, bytes: u64 },
        Grow { which: usize, bytes: u64 },
        Shrink { which: usize, bytes: u64 },
        End { which: usize },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..4_u8, proptest::option::of(0..3_u8), 0..40_u64).prop_map(|(agent, source, bytes)| Event::Reserve {
                agent,
                source,
                bytes
            }),
            (any::<usize>(), 0..40_u64).prop_map(|(which, bytes)| Event::Grow { which, bytes }),
            (any::<usize>(), 0..40_u64).prop_map(|(which, bytes)| Event::Shrink { which, bytes }),
            any::<usize>().prop_map(|which| Event::End { which }),
        ]
    }

    proptest! {
        /// Compares the table with a plain list of held requests.
        #[test]
        fn never_exceeds_a_share_or_leaks_bytes(events in proptest::collection::vec(event(), 0..200)) {
            let held = HeldBytes::default();
            let mut holds: Vec<Held> = Vec::new();
            for event in events {
                match event {
                    Event::Reserve { agent, source: from, bytes } => {
                        let name = agent.to_string();
                        if let Ok(made) = held.reserve(Some(("p", &name)), from.and_then(source), SHARES, bytes) {
                            holds.push((agent, from, made));
                        }
                    }
                    Event::Grow { which, bytes } if !holds.is_empty() => {
                        let at = which % holds.len();
                        let before = holds[at].2.bytes;
                        let grown = holds[at].2.grow_to(bytes);
                        let expected = if grown.is_ok() { before.max(bytes) } else { before };
                        prop_assert_eq!(holds[at].2.bytes, expected);
                    }
                    Event::Shrink { which, bytes } if !holds.is_empty() => {
                        let at = which % holds.len();
                        let before = holds[at].2.bytes;
                        holds[at].2.shrink_to(bytes);
                        prop_assert_eq!(holds[at].2.bytes, before.min(bytes));
                    }
                    Event::End { which } if !holds.is_empty() => drop(holds.swap_remove(which % holds.len())),
                    Event::Grow { .. } | Event::Shrink { .. } | Event::End { .. } => {}
                }
                let sum = |of: &dyn Fn(&Held) -> bool| {
                    holds.iter().filter(|hold| of(hold)).map(|hold| hold.2.bytes).sum::<u64>()
                };
                prop_assert_eq!(held.total(), sum(&|_| true));
                prop_assert!(held.total() <= SHARES.worker);
                for agent in 0..4 {
                    prop_assert!(sum(&|hold| hold.0 == agent) <= SHARES.agent);
                }
                for from in 0..3 {
                    prop_assert!(sum(&|hold| hold.1 == Some(from)) <= SHARES.source);
                }
                let charged = holds.iter().filter(|hold| hold.2.bytes > 0).count();
                prop_assert!(held.0.borrow().owners.len() <= 2 * charged);
            }
            drop(holds);
            prop_assert_eq!(held.total(), 0);
            prop_assert!(held.0.borrow().owners.is_empty());
        }
    }
}
