//! The table: where a message's entry is, looked at before anything is charged, and claimed last.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::slot::{Entry, Slot, TAG};
use super::{AgentPartition, Kind, Refused, ReplayReservation};
use crate::state::{MOST_ATTEMPTS, Namespace, SharedStore, StoreError, StoreKey};
use crate::state::{Shared, StoreStats};
use crate::text::time::Timestamp;

/// What may happen between reading the clock and making a slot, or between reading one and changing it.
const MARGIN: Duration = Duration::from_secs(1);

/// What a policy says of messages that are used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// What each agent has of the table.
    pub(crate) share: AgentPartition,
    /// How long after it was made a message is taken at most, over all kinds. An entry lives so long.
    pub(crate) window: Duration,
    /// How far in the future a message may have been made.
    pub(crate) clock_ahead: Duration,
}

impl Rules {
    /// How long a new table rejects messages that an earlier one may have seen.
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
    /// Slots that the host has lost, and since when that is known.
    lost: Mutex<BTreeMap<StoreKey, Timestamp>>,
}

/// A table, and whether its shares are as large as was asked.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The table.
    pub(crate) table: Table,
    /// How many entries a share has, where that is not what was asked for: a table keeps the size it was made with.
    pub(crate) other_size: Option<u32>,
}

impl Table {
    /// Opens the table of a policy, or makes it, with a share for each of `sharers`: the names of the agents that may claim, and
    /// none for all unregistered callers together. Slots that are there keep what they hold.
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

    /// Looks whether a message can be used; it is not used up by that. Nothing is written, unless the host has lost the slot.
    pub(crate) fn look(&self, shared: Shared<'_>, claim: &ReplayReservation<'_>) -> Result<ReplayTicket<'_>, Refused> {
        let identity = shared.namespace.identity("replay").optional(claim.agent).text(&claim.caller);
        // One number chooses the slot, the other tells the messages in it apart.
        let [choice, fingerprint] = shared.namespace.numbers(identity.text(claim.kind.name()).bytes(&claim.token));
        // Less than the number of slots, which has 32 bits.
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
        // The host has lost it, and with it what was used. The clock is read after that.
        if shared.store.repeats_versions() && !self.is_over(shared, key)? {
            let now = shared.clock.now()?;
            return Err(Refused::Young { retry_after: seconds(now, self.horizon(shared)?) + 1 });
        }
        Slot::make(shared.store, key, self.horizon(shared)?)?;
        Slot::read(shared.store, key)?.ok_or(Refused::Store)
    }

    /// Whether a slot has been lost for so long that no worker is still about to change what was there.
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

    /// The latest moment at which a message can say that it was made that was used up to now.
    fn horizon(&self, shared: Shared<'_>) -> Result<Timestamp, StoreError> {
        Ok(shared.clock.now()?.plus(self.rules.ripens()))
    }

    /// Keys belong to one making of the table: what an earlier one with the same number of slots held is not looked at.
    fn key(&self, namespace: &Namespace, agent: Option<&str>, slot: u32) -> StoreKey {
        let Header { since, share, .. } = self.header;
        let table = [since.as_nanos().to_le_bytes(), u64::from(share.slots().get()).to_le_bytes()];
        let identity = namespace.identity("replay slot").bytes(&[TAG]).bytes(table.as_flattened());
        namespace.key(identity.optional(agent).bytes(&slot.to_le_bytes()))
    }
}

/// A message that was not used when it was looked at.
#[derive(Debug)]
pub(crate) struct ReplayTicket<'t> {
    table: &'t Table,
    kind: Kind,
    key: StoreKey,
    entry: Entry,
    slot: Slot,
    /// When it was looked at.
    now: Timestamp,
}

impl ReplayTicket<'_> {
    /// What kind of token it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Uses the message up. Of any number of claims of one message one succeeds.
    pub(crate) fn reserve(mut self, shared: Shared<'_>) -> Result<StoreStats, Refused> {
        for _ in 0..MOST_ATTEMPTS {
            // What was judged when it was looked at still holds where nobody has written since.
            let window = self.table.rules.window;
            if let Some(entries) = self.slot.add(shared.store, &self.key, self.entry, self.now, window)? {
                if shared.store.forgets() {
                    // Asked last: a table that another was made in the place of before now counts no claims, and one that is
                    // made from now on refuses whatever was made before.
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
            // Moments in messages are whole seconds: one more until a new one is beyond the horizon.
            return Err(Refused::Young { retry_after: seconds(now, slot.horizon()) + 1 });
        }
        match slot.full_until(now, window) {
            Some(first) => Err(Refused::ShareFull { retry_after: seconds(now, first).max(1) }),
            None => Ok(()),
        }
    }
}

/// Whole seconds from a moment to a later one, rounded up.
fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    to.as_nanos().saturating_sub(from.as_nanos()).div_ceil(1_000_000_000)
}

/// What all workers have to agree on before they use the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// What the namespace's secret makes of a known text: with another secret, keys lead elsewhere.
    secret: u64,
    /// When it was made.
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
                    // The host has lost the namespace, and all slots of this table with its secret.
                    _ => store.compare_and_set(key, &fresh.encode(), standing.version)?,
                },
            };
            if made {
                return Ok(fresh);
            }
        }
        Err(StoreError)
    }

    /// Whether the table is still the one that was opened.
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
