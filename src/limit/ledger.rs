//! The limits of one call: all are looked at before any is charged, and what was charged can be given back.

use super::{Limit, Shared, Standing, Use, Who};
use crate::state::{MOST_ATTEMPTS, Place, Slot, StoreError, Stored};
use crate::time::Timestamp;

/// The limits of one call, as they stand.
pub(crate) struct Ledger<'l, 's> {
    shared: Shared<'s>,
    now: Timestamp,
    cost: u32,
    accounts: Vec<Account<'l>>,
    used: Use,
}

/// One limit, at the place of the identity that calls.
struct Account<'l> {
    limit: &'l Limit,
    place: Place,
    slot: Slot,
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
    /// Looks at every limit of a call.
    pub(crate) fn open(
        shared: Shared<'s>,
        limits: impl Iterator<Item = &'l Limit>,
        who: Who<'_>,
        cost: u32,
        now: Timestamp,
    ) -> Result<Self, Refused<'l>> {
        let mut accounts = Vec::with_capacity(limits.size_hint().0);
        let mut used = Use::default();
        for limit in limits {
            let place = limit.per.place(&limit.name, who, shared.namespace).ok_or(Refused::Store)?;
            let slot = Slot::read(shared.store, &place)?;
            let mut account = Account { limit, place, slot, charged: None };
            account.correct(shared, now, &mut used)?;
            accounts.push(account);
        }
        Ok(Self { shared, now, cost, accounts, used })
    }

    /// The first limit that has nothing left for this call.
    pub(crate) fn exceeded(&self) -> Result<(), Refused<'l>> {
        let exceeded = self.accounts.iter().find(|account| account.taken(self.now, self.cost).is_none());
        exceeded.map_or(Ok(()), |account| Err(Refused::Limit(&account.limit.name)))
    }

    /// Charges every limit, or none: where one has nothing left after all, the others get back what was charged.
    pub(crate) fn charge(&mut self) -> Result<(), Refused<'l>> {
        let Self { shared, now, cost, accounts, used } = self;
        let result = accounts.iter_mut().try_for_each(|account| account.charge(*shared, *now, *cost, used));
        if result.is_err() {
            self.give_back();
        }
        result
    }

    /// Gives back what was charged, for a call that does not go on after all. What cannot be given back stays charged.
    pub(crate) fn give_back(&mut self) {
        let Self { shared, now, cost, accounts, used } = self;
        for account in accounts {
            // INVARIANT: a limiter that keeps a charge lets fewer calls pass, never more.
            let _ = account.give_back(*shared, *now, *cost, used);
        }
    }

    /// Every limit with what it has left for calls like this one.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&'l Limit, Standing)> {
        self.accounts
            .iter()
            .map(|account| (account.limit, account.limit.gcra.standing(account.arrival(), self.now, self.cost)))
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
}

impl<'l> Account<'l> {
    fn arrival(&self) -> u64 {
        self.slot.value(&self.place).unwrap_or_default()
    }

    fn taken(&self, now: Timestamp, cost: u32) -> Option<u64> {
        self.limit.gcra.take(self.arrival(), now, cost)
    }

    /// Brings an arrival time that lies too far ahead back to "nothing left". The call's own moment may be older than what
    /// another worker has written since, so the clock is asked again first.
    fn correct(&mut self, shared: Shared<'_>, now: Timestamp, used: &mut Use) -> Result<(), Refused<'l>> {
        let gcra = self.limit.gcra;
        if !gcra.is_ahead(self.arrival(), now) {
            return Ok(());
        }
        self.change(shared, now, used, |arrival| {
            let now = shared.clock.now()?;
            Ok(gcra.is_ahead(arrival, now).then(|| gcra.exhausted(now)))
        })?;
        Ok(())
    }

    fn charge(&mut self, shared: Shared<'_>, now: Timestamp, cost: u32, used: &mut Use) -> Result<(), Refused<'l>> {
        let limit = self.limit;
        self.charged = self.change(shared, now, used, |arrival| {
            limit.gcra.take(arrival, now, cost).map(Some).ok_or(Refused::Limit(&limit.name))
        })?;
        Ok(())
    }

    fn give_back(&mut self, shared: Shared<'_>, now: Timestamp, cost: u32, used: &mut Use) -> Result<(), Refused<'l>> {
        let Some(charged) = self.charged.take() else { return Ok(()) };
        self.slot = Slot::read(shared.store, &self.place)?;
        let gcra = self.limit.gcra;
        self.change(shared, now, used, |arrival| {
            // Asked after the entry was read: every charge in it was made before.
            Ok(Some(gcra.refund(arrival, charged, shared.clock.now()?, cost)))
        })?;
        Ok(())
    }

    /// Changes the arrival time until no other worker comes in between. `next` is asked for the new one, given the one that
    /// stands; none leaves it as it is.
    fn change(
        &mut self,
        shared: Shared<'_>,
        now: Timestamp,
        used: &mut Use,
        mut next: impl FnMut(u64) -> Result<Option<u64>, Refused<'l>>,
    ) -> Result<Option<u64>, Refused<'l>> {
        for _ in 0..MOST_ATTEMPTS {
            let Some(arrival) = next(self.arrival())? else { return Ok(None) };
            let stored = self.slot.put(&self.place, arrival, now.as_nanos());
            if stored == Stored::Full {
                return Err(Refused::Store);
            }
            if self.slot.write(shared.store, &self.place)? {
                used.evicted += u32::from(stored == Stored::Evicted);
                return Ok(Some(arrival));
            }
            used.retried += 1;
            self.slot = Slot::read(shared.store, &self.place)?;
        }
        Err(Refused::Contended(&self.limit.name))
    }
}
