//! The replay table. A message is looked up before any limit is charged and reserved as the last step.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::slot::{Entry, Slot, TAG};
use super::{AgentPartition, Kind, Refused, ReplayReservation};
use crate::state::{MOST_ATTEMPTS, Namespace, SharedStore, StoreError, StoreKey};
use crate::state::{Shared, StoreStats};
use crate::text::time::Timestamp;

/// The maximum time between reading the clock and creating a slot, or between reading a slot and changing it.
const MARGIN: Duration = Duration::from_secs(1);

/// The policy's rules for single-use messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The partition of each agent.
    pub(crate) share: AgentPartition,
    /// The maximum age of a message, over all kinds. An entry is live for this time.
    pub(crate) window: Duration,
    /// The maximum time by which a message's creation time may be in the future.
    pub(crate) clock_ahead: Duration,
}

impl Rules {
    /// Returns how long a new table rejects messages that an earlier one may have seen.
    pub(crate) fn ripens(&self) -> Duration {
        self.clock_ahead.saturating_add(MARGIN)
    }
}

/// A policy's table.
#[derive(Debug)]
pub(crate) struct Table {
    header: Header,
    header_key: String,
    rules: Rules,
    /// Slots that the host has lost, with the time when this was noticed.
    lost: Mutex<BTreeMap<StoreKey, Timestamp>>,
}

/// A table, and whether its partitions have the requested size.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The table.
    pub(crate) table: Table,
    /// The number of entries in a partition, if it differs from the requested one. A table keeps its initial size.
    pub(crate) other_size: Option<u32>,
}

impl Table {
    /// Opens the table of a policy, or creates it, with a partition for each of `sharers`: the names of agents, and `None` for
    /// all unregistered callers together. Existing slots keep their entries.
    pub(crate) fn open<'a>(
        shared: Shared<'_>,
        sharers: impl IntoIterator<Item = Option<&'a str>>,
        rules: Rules,
    ) -> Result<Opened, StoreError> {
        let header_key = shared.namespace.header_key("replay");
        let header = Header::open(shared, header_key.as_bytes(), rules.share)?;
        let other_size = (header.share != rules.share).then_some(header.share.entries());
        let table = Self { header, header_key, rules, lost: Mutex::default() };
        let horizon = table.horizon(shared)?;
        for agent in sharers {
            for slot in 0..table.header.share.slots().get() {
                Slot::make(shared.store, &table.key(shared.namespace, agent, slot), horizon)?;
            }
        }
        Ok(Opened { table, other_size })
    }

    /// Checks whether a message was used, without using it up. Writes nothing, unless the host has lost the slot.
    pub(crate) fn look(&self, shared: Shared<'_>, claim: &ReplayReservation<'_>) -> Result<ReplayTicket<'_>, Refused> {
        let identity = shared.namespace.identity("replay").optional(claim.agent).text(&claim.caller);
        // One number selects the slot, and the other identifies the message in it.
        let [choice, fingerprint] = shared.namespace.numbers(identity.text(claim.kind.name()).bytes(&claim.token));
        // The remainder is less than the number of slots, which has 32 bits.
        let slot = (choice % NonZeroU64::from(self.header.share.slots())) as u32;
        let key = self.key(shared.namespace, claim.agent, slot);
        let entry = Entry { fingerprint, made: claim.made };
        let slot = self.read(shared, &key)?;
        let looked = ReplayTicket { table: self, kind: claim.kind, key, entry, slot, now: shared.clock.now()? };
        looked.judge()?;
        Ok(looked)
    }

    fn read(&self, shared: Shared<'_>, key: &StoreKey) -> Result<Slot, Refused> {
        if let Some(slot) = Slot::read(shared.store, key)? {
            return Ok(slot);
        }
        // The host has lost the slot and its entries. The clock is read after this was noticed.
        if shared.store.repeats_versions() && !self.is_over(shared, key)? {
            let now = shared.clock.now()?;
            return Err(Refused::Young { retry_after: seconds(now, self.horizon(shared)?) + 1 });
        }
        Slot::make(shared.store, key, self.horizon(shared)?)?;
        Slot::read(shared.store, key)?.ok_or(Refused::Store)
    }

    /// Reports whether a slot has been missing for long enough that no worker can still write back its old value.
    fn is_over(&self, shared: Shared<'_>, key: &StoreKey) -> Result<bool, StoreError> {
        let now = shared.clock.now()?;
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let since = lost.entry(*key).or_insert(now);
        *since = (*since).min(now);
        let over = since.plus(MARGIN) <= now;
        if over {
            lost.remove(key);
        }
        Ok(over)
    }

    /// Returns the latest creation time that a message used up to now can have.
    fn horizon(&self, shared: Shared<'_>) -> Result<Timestamp, StoreError> {
        Ok(shared.clock.now()?.plus(self.rules.ripens()))
    }

    /// Returns the key of a slot. Keys belong to one creation of the table, so entries of an earlier table with the same number
    /// of slots are not read.
    fn key(&self, namespace: &Namespace, agent: Option<&str>, slot: u32) -> StoreKey {
        let Header { since, share, .. } = self.header;
        let table = [since.as_nanos().to_le_bytes(), u64::from(share.slots().get()).to_le_bytes()];
        let identity = namespace.identity("replay slot").bytes(&[TAG]).bytes(table.as_flattened());
        namespace.key(identity.optional(agent).bytes(&slot.to_le_bytes()))
    }
}

/// A message that was unused when it was looked up.
#[derive(Debug)]
pub(crate) struct ReplayTicket<'t> {
    table: &'t Table,
    kind: Kind,
    key: StoreKey,
    entry: Entry,
    slot: Slot,
    /// The time of the lookup.
    now: Timestamp,
}

impl ReplayTicket<'_> {
    /// Returns the kind of its token.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Marks the message as used. If several workers reserve the same message, one succeeds.
    pub(crate) fn reserve(mut self, shared: Shared<'_>) -> Result<StoreStats, Refused> {
        for _ in 0..MOST_ATTEMPTS {
            // The checks of the lookup are still valid if no worker has written since.
            let window = self.table.rules.window;
            if let Some(entries) = self.slot.add(shared.store, &self.key, self.entry, self.now, window)? {
                if shared.store.forgets() {
                    // The header is read last. If another worker recreated the table before this read, the reservation is
                    // invalid. A table that is created later rejects all earlier messages.
                    self.table.header.stands(shared.store, self.table.header_key.as_bytes())?;
                }
                return Ok(StoreStats { replay_entries: entries, ..StoreStats::default() });
            }
            self.slot = self.table.read(shared, &self.key)?;
            self.now = shared.clock.now()?;
            self.judge()?;
        }
        Err(Refused::Contended)
    }

    fn judge(&self) -> Result<(), Refused> {
        let Self { table, entry, slot, now, .. } = self;
        let now = *now;
        let window = table.rules.window;
        if slot.holds(entry.fingerprint) {
            return Err(Refused::Replayed);
        }
        if entry.made.plus(window) <= now {
            return Err(Refused::Late);
        }
        if entry.made <= slot.horizon() {
            // Times in messages are whole seconds, so the first message beyond the horizon needs one second more.
            return Err(Refused::Young { retry_after: seconds(now, slot.horizon()) + 1 });
        }
        match slot.full_until(now, window) {
            Some(first) => Err(Refused::ShareFull { retry_after: seconds(now, first).max(1) }),
            None => Ok(()),
        }
    }
}

/// Returns the whole seconds from one time to a later one, rounded up.
fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    to.as_nanos().saturating_sub(from.as_nanos()).div_ceil(1_000_000_000)
}

/// The values that all workers must agree on before they use the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// A known text, hashed with the namespace's secret. With another secret, keys are different.
    secret: u64,
    /// The creation time of the table.
    since: Timestamp,
    share: AgentPartition,
}

impl Header {
    const LENGTH: usize = 1 + 8 + 8 + 4;

    fn open(shared: Shared<'_>, key: &[u8], share: AgentPartition) -> Result<Self, StoreError> {
        let store = shared.store;
        let [secret, _] = shared.namespace.numbers(shared.namespace.identity("replay table"));
        for _ in 0..MOST_ATTEMPTS {
            let fresh = Self { secret, since: shared.clock.now()?, share };
            let made = match store.get(key)? {
                None => store.create(key, &fresh.encode())?,
                Some(standing) => match Self::decode(&standing.value).ok_or(StoreError)? {
                    header if header.secret == secret => return Ok(header),
                    // The host has lost the namespace, and with its secret all slots of this table.
                    _ => store.compare_and_set(key, &fresh.encode(), standing.version)?,
                },
            };
            if made {
                return Ok(fresh);
            }
        }
        Err(StoreError)
    }

    /// Checks that the stored table is still the one that was opened.
    fn stands(&self, store: &dyn SharedStore, key: &[u8]) -> Result<(), StoreError> {
        let standing = store.get(key)?.ok_or(StoreError)?;
        if standing.value == self.encode() { Ok(()) } else { Err(StoreError) }
    }

    fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [TAG; Self::LENGTH];
        let fields = [
            &self.secret.to_le_bytes()[..],
            &self.since.as_nanos().to_le_bytes(),
            &self.share.slots().get().to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().skip(1).zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (secret, rest) = value.strip_prefix(&[TAG])?.split_first_chunk()?;
        let (since, rest) = rest.split_first_chunk()?;
        let share = AgentPartition::of_slots(u32::from_le_bytes(rest.try_into().ok()?))?;
        let since = Timestamp::from_nanos(u64::from_le_bytes(*since));
        Some(Self { secret: u64::from_le_bytes(*secret), since, share })
    }
}
