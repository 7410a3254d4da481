//! Limits over many workers: in every interleaving, a limit allows no more requests than configured.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::request::incoming::Source;
use crate::state::simulation::{Faults, FaultyStore, TestStore, Work, ZoneStore, interleave};
use crate::state::{Clock, MemoryStore, Namespace, PolicyStore, Seal, Shared, SharedStore, StoreError, Zone};
use crate::text::time::Timestamp;

const START: u64 = 1_800_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const INTERVAL: u64 = 1_000_000;
const ZONE: Seal = Seal { key: [7; 16], zone: Some(Zone::Tables) };

struct TestClock(AtomicU64);

impl TestClock {
    fn at(nanos: u64) -> Self {
        Self(AtomicU64::new(START + nanos))
    }

    fn moment(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.moment())
    }
}

fn limit(name: &str, burst: u32) -> Limit {
    let gcra = Gcra::new(1_000, SECOND, burst).unwrap();
    assert_eq!(gcra.refill(), INTERVAL * u64::from(burst));
    let per = LimitKey::SOURCE;
    Limit { name: name.into(), per, gcra, name_hash: Some(crate::text::hash::hash_of(name)), told: None, varied: None }
}

/// Returns a limit for an identity that the policy names, which has its own key.
fn own_limit(name: &str, burst: u32) -> Limit {
    Limit { per: LimitKey::ENDPOINT, ..limit(name, burst) }
}

fn namespace(entries: u32) -> Namespace {
    Namespace::open(&MemoryStore::default(), "test", entries, [7; 16]).unwrap().namespace
}

fn source(number: u32) -> LimitSubject<'static> {
    let address = std::net::Ipv4Addr::from(number).to_string();
    LimitSubject { caller: None, source: Source::parse(address.as_bytes()), endpoint: "e", signer: None }
}

/// Checks and charges one request. Returns an error if it is denied.
fn call(shared: Shared<'_>, limits: &[&Limit], who: LimitSubject<'_>, now: Timestamp) -> Result<(), ()> {
    let mut batch =
        LimitBatch::open(shared, limits.iter().copied().map(|limit| (limit, None, 1)), who, now).map_err(drop)?;
    batch.exceeded().and_then(|()| batch.charge()).map_err(drop)
}

/// Returns the maximum number of requests in any window of these moments beyond those that the limit allows.
fn excess(moments: &mut [u64], burst: u32) -> u64 {
    moments.sort_unstable();
    let mut worst = 0;
    for (first, from) in moments.iter().enumerate() {
        for (last, to) in moments.iter().enumerate().skip(first) {
            let passed = u64::try_from(last - first + 1).unwrap();
            worst = worst.max(passed.saturating_sub(u64::from(burst) + (to - from) / INTERVAL));
        }
    }
    worst
}

/// Charges requests of four interleaved workers, each with the policy's view of the store. Returns the time of each allowed
/// request, or `None` for each refunded one.
fn charged_at_once(
    store: &dyn TestStore,
    seal: Option<&Seal>,
    schedule: &[u8],
    calls: &[(u64, bool)],
    bursts: (u32, u32),
    kinds: [bool; 2],
) -> Vec<Option<u64>> {
    let of = |own: bool, name, burst| if own { own_limit(name, burst) } else { limit(name, burst) };
    let limits = [of(kinds[0], "a", bursts.0), of(kinds[1], "b", bursts.1)];
    let (namespace, clock) = (namespace(64), TestClock::at(0));
    let workers = calls.chunks(6).map(|calls| {
        let (namespace, clock, limits) = (&namespace, &clock, &limits);
        let work = move |store: &dyn SharedStore| {
            let store = &PolicyStore::new(store, seal.cloned());
            let mut charged = Vec::new();
            for (pause, gives_back) in calls {
                let now = clock.moment();
                clock.0.fetch_add(*pause, Ordering::SeqCst);
                let shared = Shared { store, namespace, clock };
                let Ok(mut batch) =
                    LimitBatch::open(shared, limits.iter().map(|limit| (limit, None, 1)), source(1), now)
                else {
                    continue;
                };
                if batch.exceeded().and_then(|()| batch.charge()).is_err() {
                    continue;
                }
                if *gives_back {
                    batch.refund();
                }
                charged.push((!gives_back).then_some(now.as_nanos()));
            }
            charged
        };
        Box::new(work) as Work<'_, Vec<Option<u64>>>
    });
    interleave(store, workers.collect(), schedule).concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Covers every interleaving of reads and writes, with outdated request times, refunds and spurious write failures, for
    /// limits that share one value and for limits in slots.
    #[test]
    fn concurrent_workers_never_exceed_a_limit(
        schedule in proptest::collection::vec(any::<u8>(), 1..200),
        calls in proptest::collection::vec((0..2 * INTERVAL, any::<bool>()), 24),
        bursts in (1..4u32, 1..4u32),
        kinds in any::<[bool; 2]>(),
        mismatch in prop_oneof![Just(0), 2..6u32],
    ) {
        let store = FaultyStore::new(Faults { mismatch, ..Faults::default() });
        let charged = charged_at_once(&store, None, &schedule, &calls, bursts, kinds);
        let mut passed: Vec<_> = charged.into_iter().flatten().collect();
        prop_assert_eq!(excess(&mut passed, bursts.0.min(bursts.1)), 0, "{:?}", passed);
    }

    /// The same in Kong's zone, whose values are copied while other workers write them.
    #[test]
    fn concurrent_workers_never_exceed_a_limit_in_a_zone(
        schedule in proptest::collection::vec(any::<u8>(), 1..200),
        calls in proptest::collection::vec((0..2 * INTERVAL, any::<bool>()), 24),
        bursts in (1..4u32, 1..4u32),
        kinds in any::<[bool; 2]>(),
        torn in prop_oneof![Just(0), 2..6u32],
    ) {
        let store = ZoneStore::torn(torn);
        let charged = charged_at_once(&store, Some(&ZONE), &schedule, &calls, bursts, kinds);
        // Requests that are refunded can block all others, but not each other.
        prop_assert!(!charged.is_empty());
        let mut passed: Vec<_> = charged.into_iter().flatten().collect();
        prop_assert_eq!(excess(&mut passed, bursts.0.min(bursts.1)), 0, "{:?}", passed);
    }

    /// The documented error of the table: an identity gets at most one extra burst for each evicted entry.
    #[test]
    fn an_eviction_allows_at_most_one_extra_burst(
        callers in proptest::collection::vec((0..24u32, 0..INTERVAL / 8), 400),
        burst in 1..5u32,
    ) {
        let store = MemoryStore::default();
        let (namespace, clock, limit) = (namespace(8), TestClock::at(0), limit("l", burst));
        let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
        let mut passed = std::collections::BTreeMap::<u32, Vec<u64>>::new();
        let mut evicted = 0;
        for (caller, pause) in callers {
            clock.0.fetch_add(pause, Ordering::SeqCst);
            let now = clock.moment();
            let mut batch = LimitBatch::open(shared, [&limit].into_iter().map(|limit| (limit, None, 1)), source(caller), now).unwrap();
            if batch.exceeded().and_then(|()| batch.charge()).is_ok() {
                passed.entry(caller).or_default().push(now.as_nanos());
            }
            evicted += u64::from(batch.used().evicted);
        }
        let over: u64 = passed.values_mut().map(|moments| excess(moments, burst)).sum();
        prop_assert!(over <= evicted * u64::from(burst), "{over} too many, {evicted} given up");
        prop_assert_eq!(store.len(), 1, "one slot is one key");
    }
}

#[test]
fn concurrent_workers_allow_one_request_per_new_identity() {
    for round in 0..50u8 {
        let store = MemoryStore::default();
        let (namespace, clock, limit) = (namespace(1024), TestClock::at(0), limit("l", 1));
        let schedule: Vec<u8> = (0..=255u8).map(|n| n.wrapping_mul(31).wrapping_add(round.wrapping_mul(7))).collect();
        let work = |store: &dyn SharedStore| {
            let shared = Shared { store, namespace: &namespace, clock: &clock };
            (0..8).filter(|n| call(shared, &[&limit], source(*n), clock.moment()).is_ok()).count()
        };
        let workers = (0..4).map(|_| Box::new(work) as Work<'_, usize>).collect();
        assert_eq!(interleave(&store, workers, &schedule).iter().sum::<usize>(), 8);
    }
}

#[test]
fn requests_without_a_source_share_a_separate_bucket() {
    let store = MemoryStore::default();
    let (namespace, clock, limit) = (namespace(1024), TestClock::at(0), limit("l", 1));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let nowhere = LimitSubject { source: None, ..source(0) };
    call(shared, &[&limit], nowhere, clock.moment()).unwrap();
    call(shared, &[&limit], nowhere, clock.moment()).unwrap_err();
    for address in [0, 1, u32::MAX] {
        call(shared, &[&limit], source(address), clock.moment()).unwrap();
    }
}

#[test]
fn does_not_charge_other_limits_if_one_denies() {
    let store = MemoryStore::default();
    let (namespace, clock) = (namespace(64), TestClock::at(0));
    let (wide, narrow) = (limit("wide", 3), limit("narrow", 1));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    call(shared, &[&wide, &narrow], source(1), clock.moment()).unwrap();
    for _ in 0..5 {
        call(shared, &[&wide, &narrow], source(1), clock.moment()).unwrap_err();
    }
    let left =
        LimitBatch::open(shared, [&wide].into_iter().map(|limit| (limit, None, 1)), source(1), clock.moment()).unwrap();
    assert_eq!(left.statuses().map(|(_, standing)| standing.remaining).collect::<Vec<_>>(), [2]);
}

#[test]
fn refunds_charged_limits_if_a_later_one_denies() {
    let store = MemoryStore::default();
    let (namespace, clock) = (namespace(64), TestClock::at(0));
    let (wide, narrow) = (limit("wide", 3), limit("narrow", 1));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let mut first =
        LimitBatch::open(shared, [&wide, &narrow].into_iter().map(|limit| (limit, None, 1)), source(1), clock.moment())
            .unwrap();
    let mut second =
        LimitBatch::open(shared, [&wide, &narrow].into_iter().map(|limit| (limit, None, 1)), source(1), clock.moment())
            .unwrap();
    assert_eq!((first.exceeded(), second.exceeded()), (Ok(()), Ok(())));
    assert_eq!(first.charge(), Ok(()));
    assert_eq!(second.charge(), Err(Refused::Limit("narrow")));
    let left =
        LimitBatch::open(shared, [&wide].into_iter().map(|limit| (limit, None, 1)), source(1), clock.moment()).unwrap();
    assert_eq!(left.statuses().map(|(_, standing)| standing.remaining).collect::<Vec<_>>(), [2]);
}

#[test]
fn limits_of_one_identity_share_one_read_and_one_write() {
    let store = FaultyStore::default();
    let (namespace, clock) = (namespace(64), TestClock::at(0));
    let limits = ["a", "b", "c"].map(|name| own_limit(name, 2));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let limits = limits.each_ref();
    call(shared, &limits, source(1), clock.moment()).unwrap();
    assert_eq!((store.reads(), store.writes(), store.store.len()), (1, 1, 1));
    call(shared, &limits, source(1), clock.moment()).unwrap();
    assert_eq!((store.reads(), store.writes()), (2, 2));
    call(shared, &limits, source(1), clock.moment()).unwrap_err();
    assert_eq!((store.reads(), store.writes()), (3, 2), "a call that is refused writes nothing");
    let elsewhere = LimitSubject { endpoint: "f", ..source(1) };
    call(shared, &limits, elsewhere, clock.moment()).unwrap();
    assert_eq!(store.store.len(), 2, "another identity has a key of its own");
}

#[test]
fn limits_that_do_not_fit_one_value_have_separate_keys() {
    let store = MemoryStore::default();
    let (namespace, clock) = (namespace(64), TestClock::at(0));
    let limits = ["a", "b"].map(|name| Limit { name_hash: None, ..own_limit(name, 1) });
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    call(shared, &limits.each_ref(), source(1), clock.moment()).unwrap();
    assert_eq!(store.len(), 2);
    for limit in &limits {
        call(shared, &[limit], source(1), clock.moment()).unwrap_err();
    }
}

/// Two requests check the limits at the same moment, and one finds the second limit exhausted. It charges neither limit.
#[test]
fn limits_in_one_value_are_charged_and_refunded_together() {
    let store = FaultyStore::default();
    let (namespace, clock) = (namespace(64), TestClock::at(0));
    let (wide, narrow) = (own_limit("wide", 3), own_limit("narrow", 1));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let open = || {
        LimitBatch::open(shared, [&wide, &narrow].into_iter().map(|limit| (limit, None, 1)), source(1), clock.moment())
            .unwrap()
    };
    let (mut first, mut second) = (open(), open());
    assert_eq!((first.exceeded(), second.exceeded()), (Ok(()), Ok(())));
    assert_eq!(first.charge(), Ok(()));
    let written = store.writes();
    assert_eq!(second.charge(), Err(Refused::Limit("narrow")));
    assert_eq!(store.writes(), written + 1, "the write that came too late, and none to give back");
    let remaining = |batch: LimitBatch<'_, '_>| batch.statuses().map(|(_, s)| s.remaining).collect::<Vec<_>>();
    assert_eq!(remaining(open()), [2, 0]);
    first.refund();
    assert_eq!(remaining(open()), [3, 1]);
}

#[test]
fn corrects_all_limits_at_once_after_a_clock_step_back() {
    let store = FaultyStore::default();
    let (namespace, clock) = (namespace(64), TestClock::at(3600 * SECOND));
    let limits = ["a", "b"].map(|name| own_limit(name, 3));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    call(shared, &limits.each_ref(), source(1), clock.moment()).unwrap();
    clock.0.store(START, Ordering::SeqCst);
    let written = store.writes();
    call(shared, &limits.each_ref(), source(1), clock.moment()).unwrap_err();
    assert_eq!(store.writes(), written + 1);
    clock.0.store(START + INTERVAL, Ordering::SeqCst);
    call(shared, &limits.each_ref(), source(1), clock.moment()).unwrap();
}

#[test]
fn colliding_keys_do_not_reset_a_limit() {
    let store = FaultyStore::new(Faults { aliases: 2, ..Faults::default() });
    let (namespace, clock, limit) = (namespace(1024), TestClock::at(0), limit("l", 2));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let mut passed = [0; 6];
    for round in 0..10 {
        for caller in 0..6u32 {
            let ok = call(shared, &[&limit], source(caller), clock.moment()).is_ok();
            passed[caller as usize] += u32::from(ok);
            assert!(ok || round > 1);
        }
    }
    assert_eq!(passed, [2; 6]);
}

#[test]
fn denies_requests_if_the_store_fails() {
    let (namespace, clock, limit) = (namespace(64), TestClock::at(0), limit("l", 2));
    for faults in [
        Faults { failing_get: 1, ..Faults::default() },
        Faults { failing_set: 1, ..Faults::default() },
        Faults { mismatch: 1, ..Faults::default() },
    ] {
        let store = FaultyStore::new(faults);
        let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
        assert_eq!(call(shared, &[&limit], source(1), clock.moment()), Err(()), "{faults:?}");
    }
}

#[test]
fn each_lost_write_allows_at_most_one_extra_request() {
    let store = FaultyStore::new(Faults { lost: 4, ..Faults::default() });
    let (namespace, clock, limit) = (namespace(64), TestClock::at(0), limit("l", 30));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let passed = (0..1000).filter(|_| call(shared, &[&limit], source(1), clock.moment()).is_ok()).count();
    assert_eq!(passed, 39, "thirty, and one more for each of the nine writes that were lost");
}

#[test]
fn waits_at_most_one_refill_after_a_clock_step_back() {
    let store = MemoryStore::default();
    let (namespace, clock, limit) = (namespace(64), TestClock::at(3600 * SECOND), limit("l", 3));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    for _ in 0..3 {
        call(shared, &[&limit], source(1), clock.moment()).unwrap();
    }
    clock.0.store(START, Ordering::SeqCst);
    call(shared, &[&limit], source(1), clock.moment()).unwrap_err();
    clock.0.store(START + INTERVAL, Ordering::SeqCst);
    call(shared, &[&limit], source(1), clock.moment()).unwrap();
    clock.0.store(START + 4 * INTERVAL, Ordering::SeqCst);
    let left = LimitBatch::open(shared, [&limit].into_iter().map(|limit| (limit, None, 1)), source(1), clock.moment())
        .unwrap();
    assert_eq!(left.statuses().next().unwrap().1, LimitStatus { remaining: 3, more_in: 0 });
}

#[test]
fn a_stale_request_time_allows_no_extra_requests() {
    let store = MemoryStore::default();
    let (namespace, clock, limit) = (namespace(64), TestClock::at(0), limit("l", 2));
    let shared = Shared { store: &store, namespace: &namespace, clock: &clock };
    let stale = clock.moment();
    clock.0.fetch_add(10 * INTERVAL, Ordering::SeqCst);
    for _ in 0..2 {
        call(shared, &[&limit], source(1), clock.moment()).unwrap();
    }
    call(shared, &[&limit], source(1), stale).unwrap_err();
    call(shared, &[&limit], source(1), clock.moment()).unwrap_err();
}

/// The test vectors of a published limiter, if they are present next to the workspace. They are not part of this repository.
/// Without them, the test prints a message and passes.
#[test]
fn matches_published_gcra_test_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/ratelimit/gcra_throttled.json");
    let Ok(text) = std::fs::read(&path) else {
        eprintln!("not run: {} is not here", path.display());
        return;
    };
    let document: Value = serde_json::from_slice(&text).unwrap();
    // `limit` is the number of requests allowed at once after an idle period; `burst` in that file does not count the first
    // request.
    let burst = u32::try_from(document["quota"]["limit"].as_u64().unwrap()).unwrap();
    let gcra = Gcra::new(1, SECOND, burst).unwrap();
    let seconds = |value: &Value| (value.as_f64().unwrap() * 10.0).round() / 10.0;
    let nanos = |value: &Value| (seconds(value) * 10.0) as u64 * (SECOND / 10);
    let (mut tat, mut steps) = (0, 0);
    for row in document["rows"].as_array().unwrap() {
        let [at, volume, remaining, reset, retry, limited] = [0, 1, 2, 3, 4, 5].map(|column| &row[column]);
        let now = Timestamp::from_nanos(START + nanos(at));
        let cost = u32::try_from(volume.as_u64().unwrap()).unwrap();
        let taken = gcra.try_consume(tat, now, cost);
        assert_eq!(taken.is_none(), limited == 1, "{row}");
        tat = taken.unwrap_or(tat);
        assert_eq!(gcra.status(tat, now, 1).remaining, remaining.as_u64().unwrap(), "{row}");
        assert_eq!(tat.saturating_sub(now.as_nanos()), nanos(reset), "{row}");
        if retry.as_f64().unwrap() > 0.0 {
            assert_eq!(gcra.status(tat, now, cost).more_in, nanos(retry), "{row}");
        }
        steps += 1;
    }
    assert_eq!(steps, 16);
}
