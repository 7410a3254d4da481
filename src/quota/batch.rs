//! The limits of one request. All are checked before any is charged, and a charge can be refunded.

use super::{Gcra, Limit, LimitStatus, LimitSubject, NumbersIndex};
use crate::allowlist::operations::Operation;
use crate::state::{BucketKey, MOST_ATTEMPTS, Shared, Slot, StoreError, StoreStats, Stored};
use crate::text::time::Timestamp;

/// The limits of one request, with their state.
pub(crate) struct LimitBatch<'l, 's> {
    shared: Shared<'s>,
    now: Timestamp,
    buckets: Vec<LimitBucket<'l>>,
    slots: Vec<Slot>,
    used: StoreStats,
}

/// One limit, with the bucket of the caller's identity.
struct LimitBucket<'l> {
    limit: &'l Limit,
    /// The numbers that apply to the caller.
    numbers: NumbersIndex,
    gcra: &'l Gcra,
    /// The number of requests that this one counts as.
    cost: u32,
    place: BucketKey,
    /// Distinguishes its entry from the others of the same identity.
    entry: Option<u64>,
    /// The position of the slot that contains its entry.
    slot: usize,
    /// The stored arrival time.
    tat: u64,
    /// The arrival time that is about to be written.
    next: Option<u64>,
    /// The arrival time that was written when this request was charged.
    charged: Option<u64>,
}

/// The reason to deny a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused<'l> {
    /// A limit is exhausted.
    Limit(&'l str),
    /// Other workers were faster too often in a row. A limiter that cannot count denies the request.
    Contended(&'l str),
    /// The shared store cannot be used.
    Store,
}

impl From<StoreError> for Refused<'_> {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl<'l, 's> LimitBatch<'l, 's> {
    /// Reads the state of every limit of a request, each with the operation by which it may count and the cost of the request. Limits whose
    /// entries are stored under the same key are read together.
    pub(crate) fn open(
        shared: Shared<'s>,
        limits: impl Iterator<Item = (&'l Limit, Option<&'l Operation>, u32)>,
        who: LimitSubject<'_>,
        now: Timestamp,
    ) -> Result<Self, Refused<'l>> {
        let most = limits.size_hint().1.unwrap_or_default();
        let buckets = Vec::with_capacity(most);
        let mut batch = Self { shared, now, buckets, slots: Vec::with_capacity(1), used: StoreStats::default() };
        for (limit, operation, cost) in limits {
            batch.add(limit, operation, cost, &who)?;
        }
        batch.clamp_future_tat()?;
        Ok(batch)
    }

    /// Adds a limit with its state.
    fn add(
        &mut self,
        limit: &'l Limit,
        operation: Option<&Operation>,
        cost: u32,
        who: &LimitSubject<'_>,
    ) -> Result<(), Refused<'l>> {
        let entry = limit.entry(who, operation);
        // Each identity's key is computed once.
        let known = self.buckets.iter().find_map(|bucket| {
            let (own, other) = bucket.entry.zip(entry)?;
            bucket.limit.same_slot(limit).then(|| (bucket.place.beside(own, other), bucket.slot))
        });
        let (place, slot) = match known {
            Some(known) => known,
            None => {
                let place = limit.place(entry, who, operation, self.shared.namespace).ok_or(Refused::Store)?;
                (place, self.slot(&place)?)
            }
        };
        let tat = self.slots.get(slot).map_or(0, |slot| slot.tat(&place));
        let (numbers, gcra) = limit.choose(who);
        self.buckets.push(LimitBucket {
            limit,
            numbers,
            gcra,
            cost,
            place,
            entry,
            slot,
            tat,
            next: None,
            charged: None,
        });
        Ok(())
    }

    /// Returns the position of a bucket's slot, after reading the slot if it is not in the list yet.
    fn slot(&mut self, place: &BucketKey) -> Result<usize, StoreError> {
        if let Some(bucket) = self.buckets.iter().find(|bucket| bucket.place.same_slot(place)) {
            return Ok(bucket.slot);
        }
        self.slots.push(Slot::read(self.shared.store, place)?);
        Ok(self.slots.len() - 1)
    }

    /// Checks that no limit is exhausted. Otherwise returns the first exhausted limit.
    pub(crate) fn exceeded(&self) -> Result<(), Refused<'l>> {
        let exceeded =
            self.buckets.iter().find(|bucket| bucket.gcra.try_consume(bucket.tat, self.now, bucket.cost).is_none());
        exceeded.map_or(Ok(()), |bucket| Err(Refused::Limit(&bucket.limit.name)))
    }

    /// Charges all limits or none: if one turns out to be exhausted, the others are refunded. Limits under the same key are
    /// charged together.
    pub(crate) fn charge(&mut self) -> Result<(), Refused<'l>> {
        let now = self.now;
        let take = |bucket: &LimitBucket<'l>, tat| {
            bucket.gcra.try_consume(tat, now, bucket.cost).map(Some).ok_or(Refused::Limit(&bucket.limit.name))
        };
        for slot in 0..self.slots.len() {
            if let Err(refused) = self.change(slot, take) {
                self.refund();
                return Err(refused);
            }
            for bucket in self.buckets.iter_mut().filter(|bucket| bucket.slot == slot) {
                bucket.charged = bucket.next;
            }
        }
        Ok(())
    }

    /// Refunds the charges of a request that is denied after all. A charge that cannot be refunded remains.
    pub(crate) fn refund(&mut self) {
        let clock = self.shared.clock;
        for slot in 0..self.slots.len() {
            if !self.buckets.iter().any(|bucket| bucket.slot == slot && bucket.charged.is_some()) {
                continue;
            }
            // INVARIANT: a limiter that keeps a charge allows fewer requests, never more.
            let _ = self.read(slot).and_then(|()| {
                self.change(slot, |bucket, tat| {
                    let Some(charged) = bucket.charged.filter(|_| tat > 0) else { return Ok(None) };
                    // The clock is read after the entry, so every charge in the entry is older than this time.
                    Ok(Some(bucket.gcra.refund(tat, charged, clock.now()?, bucket.cost)))
                })
            });
        }
        self.buckets.iter_mut().for_each(|bucket| bucket.charged = None);
    }

    /// Returns the numbers and the remaining quota of every limit for requests like this one.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (NumbersIndex, LimitStatus)> {
        self.buckets.iter().map(|bucket| (bucket.numbers, bucket.gcra.status(bucket.tat, self.now, bucket.cost)))
    }

    /// Returns the seconds after which no limit is exhausted, if no other request arrives.
    pub(crate) fn retry_after(&self) -> u64 {
        let wait =
            self.statuses().filter(|(_, standing)| standing.remaining == 0).map(|(_, standing)| standing.more_in);
        wait.max().unwrap_or_default().div_ceil(1_000_000_000).max(1)
    }

    /// Returns whether the request would be allowed if no limit had been charged before.
    pub(crate) fn fits_when_idle(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.cost <= bucket.gcra.burst())
    }

    /// Returns the usage statistics of the store.
    pub(crate) fn used(&self) -> StoreStats {
        self.used
    }

    /// Sets arrival times that are too far in the future to "nothing left". The request's time may be older than a value that
    /// another worker has written since, so the clock is read again first.
    fn clamp_future_tat(&mut self) -> Result<(), Refused<'l>> {
        let clock = self.shared.clock;
        for slot in 0..self.slots.len() {
            let exceeds_max_tat = |bucket: &LimitBucket<'_>| bucket.gcra.exceeds_max_tat(bucket.tat, self.now);
            if self.buckets.iter().any(|bucket| bucket.slot == slot && exceeds_max_tat(bucket)) {
                self.change(slot, |bucket, tat| {
                    let (gcra, now) = (bucket.gcra, clock.now()?);
                    Ok(gcra.exceeds_max_tat(tat, now).then(|| gcra.exhausted(now)))
                })?;
            }
        }
        Ok(())
    }

    /// Reads a slot again.
    fn read(&mut self, slot: usize) -> Result<(), Refused<'l>> {
        let bucket = self.buckets.iter().find(|bucket| bucket.slot == slot).ok_or(Refused::Store)?;
        *self.slots.get_mut(slot).ok_or(Refused::Store)? = Slot::read(self.shared.store, &bucket.place)?;
        self.look(slot);
        Ok(())
    }

    /// Copies the arrival times from a slot to its buckets.
    fn look(&mut self, slot: usize) {
        let Some(standing) = self.slots.get(slot) else { return };
        for bucket in self.buckets.iter_mut().filter(|bucket| bucket.slot == slot) {
            bucket.tat = standing.tat(&bucket.place);
        }
    }

    /// Changes the arrival times in a slot and retries until no other worker interferes. `next` returns the new arrival time of a
    /// bucket for the stored one, or `None` to keep it. Either all changes are written or none.
    fn change(
        &mut self,
        slot: usize,
        next: impl Fn(&LimitBucket<'l>, u64) -> Result<Option<u64>, Refused<'l>>,
    ) -> Result<(), Refused<'l>> {
        for _ in 0..MOST_ATTEMPTS {
            for bucket in self.buckets.iter_mut().filter(|bucket| bucket.slot == slot) {
                bucket.next = next(bucket, bucket.tat)?;
            }
            let standing = self.slots.get_mut(slot).ok_or(Refused::Store)?;
            let (mut evicted, mut written_at, mut full) = (0, None, false);
            for bucket in self.buckets.iter().filter(|bucket| bucket.slot == slot) {
                let Some(tat) = bucket.next else { continue };
                match standing.put(&bucket.place, tat, self.now.as_nanos()) {
                    Stored::Kept => {}
                    Stored::Evicted => evicted += 1,
                    Stored::Full => {
                        full = true;
                        break;
                    }
                }
                written_at = Some(bucket.place);
            }
            // Writing one entry may have evicted another entry of this batch.
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
        let contended = self.buckets.iter().find(|bucket| bucket.slot == slot).ok_or(Refused::Store)?;
        Err(Refused::Contended(&contended.limit.name))
    }
}

impl Slot {
    /// Returns the arrival time of a limiter; a limiter without an entry is idle.
    fn tat(&self, place: &BucketKey) -> u64 {
        self.value(place).unwrap_or_default()
    }
}
