//! The limits of one call: all are looked at before any is charged, and what was charged can be given back.

use super::{Limit, Standing, Who};
use crate::state::{MOST_ATTEMPTS, Place, Shared, Slot, StoreError, Stored, Use};
use crate::text::time::Timestamp;

/// The limits of one call, as they stand.
pub(crate) struct Ledger<'l, 's> {
    shared: Shared<'s>,
    now: Timestamp,
    cost: u32,
    accounts: Vec<Account<'l>>,
    slots: Vec<Slot>,
    used: Use,
}

/// One limit, at the place of the identity that calls.
struct Account<'l> {
    limit: &'l Limit,
    place: Place,
    /// What tells its entry from the others of the same identity.
    entry: Option<u64>,
    /// Which of the slots its entry stands in, by position.
    slot: usize,
    /// The arrival time that stands there.
    arrival: u64,
    /// The arrival time that is about to be written.
    next: Option<u64>,
    /// The arrival time that was written when this call was charged.
    charged: Option<u64>,
}

/// Why a call does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused<'l> {
    /// A limit has nothing left for it.
    Limit(&'l str),
    /// Other workers were faster too often in a row: a limiter that cannot count denies.
    Contended(&'l str),
    /// The shared store cannot be used.
    Store,
}

impl From<StoreError> for Refused<'_> {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl<'l, 's> Ledger<'l, 's> {
    /// Looks at every limit of a call. Those whose entries stand under one key are read together.
    pub(crate) fn open(
        shared: Shared<'s>,
        limits: impl Iterator<Item = &'l Limit>,
        who: Who<'_>,
        cost: u32,
        now: Timestamp,
    ) -> Result<Self, Refused<'l>> {
        let most = limits.size_hint().1.unwrap_or_default();
        let accounts = Vec::with_capacity(most);
        let mut ledger = Self { shared, now, cost, accounts, slots: Vec::with_capacity(1), used: Use::default() };
        for limit in limits {
            let entry = limit.entry(who);
            // Keys are worked out once for each identity.
            let known = ledger.accounts.iter().find_map(|account| {
                let (own, other) = account.entry.zip(entry)?;
                account.limit.is_beside(limit).then(|| (account.place.beside(own, other), account.slot))
            });
            let (place, slot) = match known {
                Some(known) => known,
                None => {
                    let place = limit.place(entry, who, shared.namespace).ok_or(Refused::Store)?;
                    (place, ledger.slot(&place)?)
                }
            };
            let arrival = ledger.slots.get(slot).map_or(0, |slot| slot.arrival(&place));
            ledger.accounts.push(Account { limit, place, entry, slot, arrival, next: None, charged: None });
        }
        ledger.correct()?;
        Ok(ledger)
    }

    /// Which of the slots a place is in; it is read where none of them is.
    fn slot(&mut self, place: &Place) -> Result<usize, StoreError> {
        if let Some(account) = self.accounts.iter().find(|account| account.place.is_beside(place)) {
            return Ok(account.slot);
        }
        self.slots.push(Slot::read(self.shared.store, place)?);
        Ok(self.slots.len() - 1)
    }

    /// The first limit that has nothing left for this call.
    pub(crate) fn exceeded(&self) -> Result<(), Refused<'l>> {
        let exceeded = self.accounts.iter().find(|account| {
            let (limit, arrival) = (account.limit, account.arrival);
            limit.gcra.take(arrival, self.now, self.cost).is_none()
        });
        exceeded.map_or(Ok(()), |account| Err(Refused::Limit(&account.limit.name)))
    }

    /// Charges every limit, or none: where one has nothing left after all, the others get back what was charged. Those under
    /// one key are charged at once.
    pub(crate) fn charge(&mut self) -> Result<(), Refused<'l>> {
        let (now, cost) = (self.now, self.cost);
        let take = |account: &Account<'l>, arrival| {
            let limit = account.limit;
            limit.gcra.take(arrival, now, cost).map(Some).ok_or(Refused::Limit(&limit.name))
        };
        for slot in 0..self.slots.len() {
            if let Err(refused) = self.change(slot, take) {
                self.give_back();
                return Err(refused);
            }
            for account in self.accounts.iter_mut().filter(|account| account.slot == slot) {
                account.charged = account.next;
            }
        }
        Ok(())
    }

    /// Gives back what was charged, for a call that does not go on after all. What cannot be given back stays charged.
    pub(crate) fn give_back(&mut self) {
        let (clock, cost) = (self.shared.clock, self.cost);
        for slot in 0..self.slots.len() {
            if !self.accounts.iter().any(|account| account.slot == slot && account.charged.is_some()) {
                continue;
            }
            // INVARIANT: a limiter that keeps a charge lets fewer calls pass, never more.
            let _ = self.read(slot).and_then(|()| {
                self.change(slot, |account, arrival| {
                    let Some(charged) = account.charged.filter(|_| arrival > 0) else { return Ok(None) };
                    // Asked after the entry was read: every charge in it was made before.
                    Ok(Some(account.limit.gcra.refund(arrival, charged, clock.now()?, cost)))
                })
            });
        }
        self.accounts.iter_mut().for_each(|account| account.charged = None);
    }

    /// Every limit with what it has left for calls like this one.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&'l Limit, Standing)> {
        self.accounts.iter().map(|account| {
            let standing = account.limit.gcra.standing(account.arrival, self.now, self.cost);
            (account.limit, standing)
        })
    }

    /// Seconds after which no limit stands in the way any more, as things are.
    pub(crate) fn retry_after(&self) -> u64 {
        let wait =
            self.standings().filter(|(_, standing)| standing.remaining == 0).map(|(_, standing)| standing.more_in);
        wait.max().unwrap_or_default().div_ceil(1_000_000_000).max(1)
    }

    /// How the store was used.
    pub(crate) fn used(&self) -> Use {
        self.used
    }

    /// Brings arrival times that lie too far ahead back to "nothing left". The call's own moment may be older than what
    /// another worker has written since, so the clock is asked again first.
    fn correct(&mut self) -> Result<(), Refused<'l>> {
        let clock = self.shared.clock;
        for slot in 0..self.slots.len() {
            let is_ahead = |account: &Account<'_>| account.limit.gcra.is_ahead(account.arrival, self.now);
            if self.accounts.iter().any(|account| account.slot == slot && is_ahead(account)) {
                self.change(slot, |account, arrival| {
                    let (gcra, now) = (account.limit.gcra, clock.now()?);
                    Ok(gcra.is_ahead(arrival, now).then(|| gcra.exhausted(now)))
                })?;
            }
        }
        Ok(())
    }

    /// Reads a slot anew.
    fn read(&mut self, slot: usize) -> Result<(), Refused<'l>> {
        let account = self.accounts.iter().find(|account| account.slot == slot).ok_or(Refused::Store)?;
        *self.slots.get_mut(slot).ok_or(Refused::Store)? = Slot::read(self.shared.store, &account.place)?;
        self.look(slot);
        Ok(())
    }

    /// Notes the arrival times that stand in a slot.
    fn look(&mut self, slot: usize) {
        let Some(standing) = self.slots.get(slot) else { return };
        for account in self.accounts.iter_mut().filter(|account| account.slot == slot) {
            account.arrival = standing.arrival(&account.place);
        }
    }

    /// Changes the arrival times in a slot until no other worker comes in between. `next` is asked for the new one of an
    /// account, given the one that stands; none leaves it as it is. Either all are written or none.
    fn change(
        &mut self,
        slot: usize,
        next: impl Fn(&Account<'l>, u64) -> Result<Option<u64>, Refused<'l>>,
    ) -> Result<(), Refused<'l>> {
        for _ in 0..MOST_ATTEMPTS {
            for account in self.accounts.iter_mut().filter(|account| account.slot == slot) {
                account.next = next(account, account.arrival)?;
            }
            let standing = self.slots.get_mut(slot).ok_or(Refused::Store)?;
            let (mut evicted, mut written_at, mut full) = (0, None, false);
            for account in self.accounts.iter().filter(|account| account.slot == slot) {
                let Some(arrival) = account.next else { continue };
                match standing.put(&account.place, arrival, self.now.as_nanos()) {
                    Stored::Kept => {}
                    Stored::Evicted => evicted += 1,
                    Stored::Full => {
                        full = true;
                        break;
                    }
                }
                written_at = Some(account.place);
            }
            // What one put there another may have lost.
            self.look(slot);
            if full {
                return Err(Refused::Store);
            }
            let (Some(place), Some(standing)) = (written_at, self.slots.get(slot)) else { return Ok(()) };
            if standing.write(self.shared.store, &place)? {
                self.used.evicted += evicted;
                return Ok(());
            }
            self.used.retried += 1;
            self.read(slot)?;
        }
        let contended = self.accounts.iter().find(|account| account.slot == slot).ok_or(Refused::Store)?;
        Err(Refused::Contended(&contended.limit.name))
    }
}

impl Slot {
    /// The arrival time of a limiter; one without an entry is at rest.
    fn arrival(&self, place: &Place) -> u64 {
        self.value(place).unwrap_or_default()
    }
}
