//! The table with many workers: no message is accepted twice in any interleaving.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::state::simulation::{Faults, FaultyStore, Work, ZoneStore, interleave};
use crate::state::{Clock, Shared, StoreStats};
use crate::state::{MemoryStore, Namespace, PolicyStore, Seal, SharedStore, Zone};

const START: u64 = 1_800_000_000;
const ZONE: Seal = Seal { key: [7; 16], zone: Some(Zone::Tables) };
const WINDOW: u64 = 60;
const AHEAD: u64 = 5;
const AGENTS: [Option<&str>; 3] = [Some("a"), Some("b"), None];

/// A clock that tests set, in seconds.
struct TestClock(AtomicU64);

impl TestClock {
    fn at(seconds: u64) -> Self {
        Self(AtomicU64::new(seconds))
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

fn rules(slots: u32) -> Rules {
    Rules {
        share: AgentPartition::of_slots(slots).unwrap(),
        window: Duration::from_secs(WINDOW),
        clock_ahead: Duration::from_secs(AHEAD),
    }
}

/// A table that is older than the messages used in it.
struct Setting<S> {
    store: S,
    namespace: Namespace,
    clock: TestClock,
    table: Table,
}

impl<S: SharedStore> Setting<S> {
    fn new(store: S, slots: u32) -> Self {
        let namespace = Namespace::open(&MemoryStore::default(), "test", 8, [7; 16]).unwrap().namespace;
        let clock = TestClock::at(START - 100);
        let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
        let table = Table::open(shared, AGENTS, rules(slots)).unwrap().table;
        clock.set(START);
        Self { store, namespace, clock, table }
    }

    fn shared(&self) -> Shared<'_> {
        Shared { store: &self.store, namespace: &self.namespace, clock: &self.clock }
    }

    /// Uses a message that was created now.
    fn use_up(&self, agent: Option<&str>, token: u64) -> Result<StoreStats, Refused> {
        let now = self.clock.0.load(Ordering::SeqCst);
        used(&self.table, self.shared(), &message(agent, token, now))
    }
}

/// Returns a table on a host that misbehaves after the table is open.
fn misbehaving(faults: Faults) -> Setting<FaultyStore> {
    let mut set = Setting::new(FaultyStore::default(), 1);
    set.store.faults = faults;
    set
}

fn message(agent: Option<&str>, token: u64, made: u64) -> ReplayReservation<'_> {
    ReplayReservation {
        agent,
        caller: "".into(),
        kind: Kind::Nonce,
        token: token.to_be_bytes().to_vec().into(),
        made: Timestamp::from_secs(made),
    }
}

fn used(table: &Table, shared: Shared<'_>, claim: &ReplayReservation<'_>) -> Result<StoreStats, Refused> {
    table.look(shared, claim)?.reserve(shared)
}

#[test]
fn accepts_a_message_once_and_a_check_does_not_use_it() {
    let set = Setting::new(MemoryStore::default(), 2);
    let claim = message(Some("a"), 1, START);
    let before = set.store.dump().into_iter().collect::<BTreeMap<_, _>>();
    set.table.look(set.shared(), &claim).unwrap();
    assert_eq!(set.store.dump().into_iter().collect::<BTreeMap<_, _>>(), before);
    assert_eq!(used(&set.table, set.shared(), &claim).unwrap().replay_entries, 1);
    assert_eq!(set.table.look(set.shared(), &claim).err(), Some(Refused::Replayed));
}

#[test]
fn identifies_messages_by_agent_caller_kind_and_token() {
    let set = Setting::new(MemoryStore::default(), 1);
    let first = message(Some("a"), 1, START);
    used(&set.table, set.shared(), &first).unwrap();
    let same = ReplayReservation { made: Timestamp::from_secs(START - 1), ..first.clone() };
    assert_eq!(used(&set.table, set.shared(), &same).err(), Some(Refused::Replayed));
    for other in [
        ReplayReservation { agent: Some("b"), ..first.clone() },
        ReplayReservation { agent: None, ..first.clone() },
        ReplayReservation { agent: None, caller: "key".into(), ..first.clone() },
        ReplayReservation { caller: "key".into(), ..first.clone() },
        ReplayReservation { kind: Kind::Base, ..first.clone() },
        ReplayReservation { kind: Kind::Proof, ..first.clone() },
        ReplayReservation { token: b"other"[..].into(), ..first.clone() },
    ] {
        used(&set.table, set.shared(), &other).unwrap();
        assert_eq!(used(&set.table, set.shared(), &other).err(), Some(Refused::Replayed), "{other:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Workers look up and reserve a few messages, each several times, in every interleaving, on a host with spurious write
    /// failures.
    #[test]
    fn concurrent_workers_accept_a_message_once(
        schedule in proptest::collection::vec(any::<u8>(), 1..200),
        tokens in proptest::collection::vec(0..6u64, 24),
        mismatch in prop_oneof![Just(0), 2..6u32],
    ) {
        let set = misbehaving(Faults { mismatch, ..Faults::default() });
        let workers = tokens.chunks(6).map(|tokens| {
            let Setting { namespace, clock, table, .. } = &set;
            let work = move |store: &dyn SharedStore| {
                let shared = Shared { store, namespace, clock };
                let claims = tokens.iter().map(|token| (*token, message(Some("a"), *token, START)));
                claims.filter(|(_, claim)| used(table, shared, claim).is_ok()).map(|(token, _)| token).collect()
            };
            Box::new(work) as Work<'_, Vec<u64>>
        });
        let won: Vec<u64> = interleave(&set.store, workers.collect(), &schedule).concat();
        let distinct: BTreeSet<u64> = tokens.iter().copied().collect();
        prop_assert_eq!(won.len(), distinct.len(), "{:?} of {:?}", won, tokens);
        prop_assert_eq!(won.into_iter().collect::<BTreeSet<_>>(), distinct);
    }

    /// The same in Kong's zone, whose values are copied while other workers write them. The zone also loses values immediately
    /// and then restarts their versions.
    #[test]
    fn concurrent_workers_accept_a_message_at_most_once_in_a_zone(
        schedule in proptest::collection::vec(any::<u8>(), 1..200),
        tokens in proptest::collection::vec(0..6u64, 24),
        torn in prop_oneof![Just(0), 2..6u32],
        forgotten in prop_oneof![Just(0), 1..6u32],
    ) {
        let mut store = ZoneStore::torn(torn);
        let namespace = Namespace::open(&MemoryStore::default(), "test", 8, [7; 16]).unwrap().namespace;
        let clock = TestClock::at(START - 100);
        let own = PolicyStore::new(&store, Some(ZONE));
        let shared = Shared { store: &own, namespace: &namespace, clock: &clock };
        let table = Table::open(shared, AGENTS, rules(1)).unwrap().table;
        store.forgotten = forgotten;
        clock.set(START);
        let workers = tokens.chunks(6).map(|tokens| {
            let (namespace, clock, table) = (&namespace, &clock, &table);
            let work = move |store: &dyn SharedStore| {
                let store = &PolicyStore::new(store, Some(ZONE));
                let shared = Shared { store, namespace, clock };
                let claims = tokens.iter().map(|token| (*token, message(Some("a"), *token, START)));
                claims.filter(|(_, claim)| used(table, shared, claim).is_ok()).map(|(token, _)| token).collect()
            };
            Box::new(work) as Work<'_, Vec<u64>>
        });
        let won: Vec<u64> = interleave(&store, workers.collect(), &schedule).concat();
        let distinct: BTreeSet<u64> = tokens.iter().copied().collect();
        prop_assert_eq!(won.len(), won.iter().collect::<BTreeSet<_>>().len(), "{:?}", won);
        prop_assert!(forgotten > 0 || won.len() == distinct.len(), "{:?} of {:?}", won, tokens);
    }

    /// No message is used twice, and the gauge is correct. Meanwhile the clock advances and jumps in both directions, messages
    /// arrive late and repeatedly, and the maximum age in the policy changes. As in the filter, a worker accepts a message only
    /// within its maximum age.
    #[test]
    fn clock_jumps_never_allow_a_replay(
        steps in proptest::collection::vec((0..20u64, 0..40u64, -60..=(AHEAD as i64), 0..30u8, any::<bool>()), 300),
    ) {
        let set = Setting::new(MemoryStore::default(), 1);
        let longer = Rules { window: Duration::from_secs(3 * WINDOW), ..rules(1) };
        let longer = Table::open(set.shared(), AGENTS, longer).unwrap().table;
        let mut sent = BTreeMap::new();
        let mut accepted = BTreeSet::new();
        // A message that is new at the beginning is accepted, whatever happens later.
        let first = message(Some("a"), 99, set.clock.0.load(Ordering::SeqCst));
        let mut entries = used(&set.table, set.shared(), &first).unwrap().replay_entries;
        for (pause, token, offset, jump, is_longer) in steps {
            let now = set.clock.0.load(Ordering::SeqCst);
            let now = match jump { 0 => now - 300, 1 => now + 400, 2 => now - 45, _ => now + pause };
            set.clock.set(now);
            // A message is created once and sent again unchanged.
            let made = *sent.entry(token).or_insert(now.checked_add_signed(offset).unwrap());
            let (table, window) = if is_longer { (&longer, 3 * WINDOW) } else { (&set.table, WINDOW) };
            if made > now + AHEAD || made + window <= now {
                continue;
            }
            if let Ok(used) = used(table, set.shared(), &message(Some("a"), token, made)) {
                prop_assert!(accepted.insert(token), "{token} again");
                entries += used.replay_entries;
            }
        }
        let slots = set.store.dump().into_iter().filter(|(key, _)| key.starts_with(b"cg2-"));
        let held: usize = slots.map(|(_, value)| value.len() / 16).sum();
        prop_assert_eq!(entries, i32::try_from(held).unwrap());
    }

    /// A host that evicts keys immediately after they were written, with interleaved workers.
    #[test]
    fn evicted_keys_never_allow_a_replay(
        schedule in proptest::collection::vec(any::<u8>(), 1..200),
        tokens in proptest::collection::vec(0..6u64, 32),
        forgotten in 1..6u32,
    ) {
        let set = misbehaving(Faults { forgotten, ..Faults::default() });
        let workers = tokens.chunks(8).map(|tokens| {
            let Setting { namespace, clock, table, .. } = &set;
            let work = move |store: &dyn SharedStore| {
                let shared = Shared { store, namespace, clock };
                let claims = tokens.iter().map(|token| (*token, message(Some("a"), *token, START)));
                claims.filter(|(_, claim)| used(table, shared, claim).is_ok()).map(|(token, _)| token).collect()
            };
            Box::new(work) as Work<'_, Vec<u64>>
        });
        let won: Vec<u64> = interleave(&set.store, workers.collect(), &schedule).concat();
        prop_assert_eq!(won.len(), won.iter().collect::<BTreeSet<_>>().len(), "{:?}", won);
    }
}

#[test]
fn checks_the_age_of_a_held_message_again() {
    let set = Setting::new(MemoryStore::default(), 1);
    let claim = message(Some("a"), 1, START);
    let looked = set.table.look(set.shared(), &claim).unwrap();
    used(&set.table, set.shared(), &claim).unwrap();
    set.clock.set(START + WINDOW);
    // Another message drops the entry. The message that was looked up earlier is too old by now.
    set.use_up(Some("a"), 2).unwrap();
    assert_eq!(looked.reserve(set.shared()).err(), Some(Refused::Late));
}

#[test]
fn a_full_partition_rejects_until_an_entry_expires() {
    let set = Setting::new(MemoryStore::default(), 1);
    for token in 0..64 {
        set.clock.set(START + token / 8);
        assert_eq!(set.use_up(Some("a"), token).unwrap().replay_entries, 1);
    }
    assert_eq!(set.use_up(Some("a"), 64).err(), Some(Refused::ShareFull { retry_after: WINDOW - 7 }));
    assert_eq!(set.use_up(Some("a"), 3).err(), Some(Refused::Replayed), "nothing live was forgotten");
    for agent in [Some("b"), None] {
        set.use_up(agent, 1).unwrap();
    }
    set.clock.set(START + WINDOW);
    assert_eq!(set.use_up(Some("a"), 64).unwrap().replay_entries, -7, "eight decayed and one came");
    assert_eq!(set.use_up(Some("a"), 8).err(), Some(Refused::Replayed));
}

#[test]
fn a_flood_of_one_agent_fills_only_its_own_partition() {
    let set = Setting::new(MemoryStore::default(), 4);
    let size =
        |set: &Setting<MemoryStore>| set.store.dump().iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let keys = set.store.len();
    assert_eq!(keys, 3 * 4 + 1, "all that there will ever be, and the header");
    let mut passed = 0;
    for token in 0..20_000 {
        passed += usize::from(set.use_up(Some("a"), token).is_ok());
    }
    assert_eq!((passed, set.store.len()), (4 * 64, keys));
    let full = size(&set);
    for token in 0..20_000 {
        set.clock.set(START + token);
        let _ = set.use_up(Some("a"), token);
    }
    assert!(size(&set) <= full);
    assert_eq!(set.store.len(), keys);
    for token in 0..100 {
        set.use_up(Some("b"), token).unwrap();
    }
}

/// The figure in the module's documentation: the entries that a partition accepts while it is at most half full.
#[test]
fn a_half_full_partition_rejects_nothing() {
    let slots = 512;
    let set = Setting::new(MemoryStore::default(), slots);
    let half = rules(slots).share.safe_capacity();
    for token in 0..half {
        set.use_up(Some("a"), token).unwrap();
    }
    // At that load, one reservation in two million would find its slot full. At twice the load, many do.
    let refused = (half..2 * half).filter(|token| set.use_up(Some("a"), *token).is_err()).count();
    assert!((100..2_000).contains(&refused), "{refused} of {half}");
}

#[test]
fn a_full_slot_at_half_load_is_as_rare_as_documented() {
    // Sums the tail of a Poisson distribution, which bounds the distribution of independent entries over slots.
    let expected = 32.0_f64;
    let mut term = (-expected).exp();
    let mut tail = 0.0;
    for n in 1..400 {
        term *= expected / f64::from(n);
        tail += if n >= 64 { term } else { 0.0 };
    }
    assert!(tail < 1.0 / 2_000_000.0, "{tail}");
}

#[test]
fn rejects_messages_from_before_a_restart() {
    let before = Setting::new(MemoryStore::default(), 1);
    // The clocks of clients may be ahead.
    let captured = message(Some("a"), 1, START + AHEAD);
    used(&before.table, before.shared(), &captured).unwrap();
    let Setting { clock, namespace, .. } = before;
    let store = MemoryStore::default();
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let table = Table::open(shared, AGENTS, rules(1)).unwrap().table;
    for (now, wait) in [(START, 7), (START + 1, 6), (START + AHEAD, 2)] {
        clock.set(now);
        assert_eq!(used(&table, shared, &captured).err(), Some(Refused::Young { retry_after: wait }));
        // A client that waits this long and signs again is accepted.
        clock.set(now + wait);
        table.look(shared, &message(Some("a"), 2, now + wait)).unwrap();
    }
    clock.set(START + AHEAD + WINDOW);
    assert_eq!(used(&table, shared, &captured).err(), Some(Refused::Late));
}

#[test]
fn a_lost_slot_rejects_messages_like_a_restarted_table() {
    let set = Setting::new(MemoryStore::default(), 1);
    set.use_up(Some("a"), 1).unwrap();
    let looked = set.table.look(set.shared(), &message(Some("a"), 2, START)).unwrap();
    let header = set.namespace.header_key("replay").into_bytes();
    for (key, _) in set.store.dump() {
        if key != header {
            set.store.forget(&key);
        }
    }
    let young = Some(Refused::Young { retry_after: AHEAD + 2 });
    assert_eq!(looked.reserve(set.shared()).err(), young);
    assert_eq!(set.use_up(Some("a"), 1).err(), young);
    set.clock.set(START + AHEAD + 2);
    set.use_up(Some("a"), 3).unwrap();
}

#[test]
fn recreates_a_lost_slot_in_a_zone_after_a_delay() {
    let store = ZoneStore::default();
    let namespace = Namespace::open(&MemoryStore::default(), "test", 8, [7; 16]).unwrap().namespace;
    let clock = TestClock::at(START - 100);
    let own = PolicyStore::new(&store, Some(ZONE));
    let shared = Shared { store: &own, namespace: &namespace, clock: &clock };
    let table = Table::open(shared, AGENTS, rules(1)).unwrap().table;
    clock.set(START);
    let header = own.get(namespace.header_key("replay").as_bytes()).unwrap().unwrap().value;
    store.clear();
    own.create(namespace.header_key("replay").as_bytes(), &header).unwrap();
    let young = Some(Refused::Young { retry_after: AHEAD + 2 });
    for (now, keys) in [(START, 1), (START, 1), (START + 1, 2)] {
        clock.set(now);
        assert_eq!(used(&table, shared, &message(Some("a"), 1, now)).err(), young);
        assert_eq!(store.len(), keys);
    }
    clock.set(START + 1 + AHEAD + 2);
    used(&table, shared, &message(Some("a"), 2, START + 1 + AHEAD + 2)).unwrap();
}

#[test]
fn a_policy_update_keeps_the_table_and_its_size() {
    let set = Setting::new(MemoryStore::default(), 4);
    for token in 0..50 {
        set.use_up(Some("a"), token).unwrap();
    }
    let sharers = [Some("new"), Some("a")];
    let Opened { table, other_size } = Table::open(set.shared(), sharers, rules(16)).unwrap();
    assert_eq!(other_size, Some(4 * 64));
    for token in 0..50 {
        assert_eq!(used(&table, set.shared(), &message(Some("a"), token, START)).err(), Some(Refused::Replayed));
    }
    used(&table, set.shared(), &message(Some("a"), 50, START)).unwrap();
    assert_eq!(set.use_up(Some("a"), 50).err(), Some(Refused::Replayed), "old and new workers share it");
    // The earlier contents of a new agent's slots are unknown.
    assert_eq!(
        used(&table, set.shared(), &message(Some("new"), 1, START)).err(),
        Some(Refused::Young { retry_after: AHEAD + 2 })
    );
    assert_eq!(Table::open(set.shared(), sharers, rules(4)).unwrap().other_size, None);
}

#[test]
fn a_replaced_table_accepts_nothing() {
    let set = Setting::new(MemoryStore::default(), 1);
    let header = set.namespace.header_key("replay").into_bytes();
    let claim = message(Some("a"), 1, START);
    set.store.forget(&header);
    assert_eq!(used(&set.table, set.shared(), &claim).err(), Some(Refused::Store));
    // The table is recreated in its old size. Values under the old keys are not read.
    let table = Table::open(set.shared(), AGENTS, rules(1)).unwrap().table;
    assert_eq!(set.use_up(Some("a"), 2).err(), Some(Refused::Store));
    assert!(matches!(used(&table, set.shared(), &claim), Err(Refused::Young { .. })));
    // The host lost the namespace. Another secret results in other keys.
    let other = Namespace::open(&MemoryStore::default(), "test", 8, [8; 16]).unwrap().namespace;
    let shared = Shared { namespace: &other, ..set.shared() };
    set.clock.set(START + 20);
    let again = Table::open(shared, AGENTS, rules(1)).unwrap().table;
    let claim = message(Some("a"), 3, START + 20);
    assert_eq!(used(&table, set.shared(), &claim).err(), Some(Refused::Store));
    assert!(matches!(used(&again, shared, &claim), Err(Refused::Young { .. })));
    set.clock.set(START + 30);
    used(&again, shared, &message(Some("a"), 4, START + 30)).unwrap();
}

#[test]
fn rejects_values_in_an_unknown_format() {
    let mut head = vec![0x11];
    head.extend_from_slice(&[0; 8]);
    let entries = |count: usize| [&head[..], &vec![9; count * 16]].concat();
    for value in [vec![], vec![0x11], vec![1; 17], head[..8].to_vec(), [&head[..], &[0]].concat(), entries(65)] {
        let set = Setting::new(MemoryStore::default(), 1);
        for (key, _) in set.store.dump() {
            set.store.forget(&key);
            set.store.create(&key, &value).unwrap();
        }
        assert_eq!(set.use_up(Some("a"), 1).err(), Some(Refused::Store), "{value:?}");
        assert_eq!(Table::open(set.shared(), AGENTS, rules(1)).err(), Some(StoreError), "{value:?}");
    }
}

#[test]
fn colliding_keys_never_allow_a_replay() {
    // All slots share one value, and the header has another.
    struct Aliasing(MemoryStore);
    fn alias(key: &[u8]) -> &[u8] {
        if key.starts_with(b"cg2-") { b"slot" } else { key }
    }
    impl SharedStore for Aliasing {
        fn get(&self, key: &[u8]) -> Result<Option<crate::state::Versioned>, StoreError> {
            self.0.get(alias(key))
        }
        fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
            self.0.create(alias(key), value)
        }
        fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
            self.0.compare_and_set(alias(key), value, version)
        }
    }
    let set = Setting::new(Aliasing(MemoryStore::default()), 8);
    for agent in AGENTS {
        for token in 0..20 {
            set.use_up(agent, token).unwrap();
        }
    }
    for agent in AGENTS {
        for token in 0..20 {
            assert_eq!(set.use_up(agent, token).err(), Some(Refused::Replayed));
        }
    }
}

#[test]
fn rejects_messages_if_the_store_fails() {
    for (faults, refused) in [
        (Faults { failing_get: 1, ..Faults::default() }, Refused::Store),
        (Faults { failing_set: 1, ..Faults::default() }, Refused::Store),
        (Faults { mismatch: 1, ..Faults::default() }, Refused::Contended),
    ] {
        let set = misbehaving(faults);
        assert_eq!(set.use_up(Some("a"), 1).err(), Some(refused), "{faults:?}");
    }
}

#[test]
fn a_lost_write_allows_a_replay_of_that_message_only() {
    let set = misbehaving(Faults { lost: 8, ..Faults::default() });
    let passed: Vec<u64> =
        (0..40).flat_map(|token| [token, token]).filter(|token| set.use_up(Some("a"), *token).is_ok()).collect();
    assert!((44..=46).contains(&passed.len()), "{passed:?}");
}
