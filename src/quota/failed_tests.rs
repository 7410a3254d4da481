use std::cell::Cell;

use super::*;
use crate::identity::crypto::Thumbprint;
use crate::quota::{Gcra, LimitKey};
use crate::state::simulation::{Faults, FaultyStore};
use crate::state::{Namespace, SharedStore, SlotKind};

const START: u64 = 1_800_000_000;
const BURST: u32 = 3;
const SLOT_ENTRIES: u32 = SlotKind::Shared.most_entries() as u32;
const AGENT: Signer<'_> = Signer::Client { issuer: "corp", tenant: None, client: Some("agent"), subject: None };

/// Returns a configured result for every signature, and counts the verifications.
#[derive(Default)]
struct Answers {
    good: Cell<bool>,
    computed: Cell<u32>,
}

impl VerifySignature for Answers {
    fn verify(&self, _: &VerifyingKey, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        self.computed.set(self.computed.get() + 1);
        if self.good.get() { Ok(()) } else { Err(BadSignature) }
    }
}

/// One worker of a gateway.
struct Worker<'s> {
    store: &'s dyn SharedStore,
    namespace: Namespace,
    failed: AuthFailureLimit,
    recent: Recent,
    answers: Answers,
}

impl<'s> Worker<'s> {
    fn new(store: &'s dyn SharedStore) -> Self {
        let source = LimitKey::SOURCE;
        // One credential is refilled each hour.
        let gcra = Gcra::new(1, 3_600 * 1_000_000_000, BURST).unwrap();
        let limit = |per| Limit { name: "failed".into(), per, gcra, name_hash: None, told: None, varied: None };
        let usual = Allowed { source: limit(source), signer: limit(source.with(LimitKey::SIGNER)) };
        Self {
            store,
            namespace: Namespace::open(store, "test", 64, [7; 16]).unwrap().namespace,
            failed: AuthFailureLimit { usual, sources: Vec::new() },
            recent: Recent::default(),
            answers: Answers::default(),
        }
    }

    fn guarded<T>(&self, second: u64, address: &str, ask: impl FnOnce(&Guard<'_>) -> T) -> (T, Outcome) {
        let now = Timestamp::from_secs(START + second);
        let shared = Shared { store: self.store, namespace: &self.namespace, clock: &now };
        let source = Source::parse(address.as_bytes());
        let guard = Guard::new(&self.answers, &self.failed, shared, &self.recent, source, now);
        (ask(&guard), guard.outcome())
    }

    /// Verifies a credential of these signers that is valid if `good`. Returns whether its signature was computed.
    fn takes_at(&self, second: u64, address: &str, good: bool, signers: &[Signer<'_>]) -> bool {
        self.answers.good.set(good);
        let key = VerifyingKey::hmac(&[1; 32]).unwrap();
        let before = self.answers.computed.get();
        let (result, outcome) = self.guarded(second, address, |guard| {
            guard.admit(signers)?;
            guard.verify(&key, Algorithm::Hs256, b"", b"")
        });
        let computed = self.answers.computed.get() > before;
        assert_eq!(outcome.stopped.is_none(), computed);
        assert_eq!(result.is_ok(), computed && good);
        computed
    }

    fn takes(&self, good: bool, signers: &[Signer<'_>]) -> bool {
        self.takes_at(0, "192.0.2.1", good, signers)
    }

    /// Fails until the source's limit is exhausted.
    fn exhaust(&self) {
        assert_eq!((0..10).filter(|_| self.takes(false, &[])).count(), BURST as usize);
    }
}

#[test]
fn known_signers_are_verified_at_a_source_over_its_limit() {
    let store = FaultyStore::default();
    let worker = Worker::new(&store);
    assert!(worker.takes(true, &[AGENT]));
    worker.exhaust();
    let others = [
        Signer::Client { issuer: "corp", tenant: None, client: Some("agent"), subject: Some("agent") },
        Signer::Client { issuer: "corp", tenant: Some("acme"), client: Some("agent"), subject: None },
        Signer::Client { issuer: "other", tenant: None, client: Some("agent"), subject: None },
        Signer::Client { issuer: "corp", tenant: None, client: None, subject: Some("agent") },
        Signer::Token(b"agent"),
        Signer::Key("agent"),
        Signer::Proof(Thumbprint([7; 32])),
    ];
    assert!(others.iter().all(|other| !worker.takes(true, &[*other])) && !worker.takes(true, &[]));
    assert!((0..100).all(|_| worker.takes(true, &[AGENT])));
    assert!(worker.takes(true, &[others[0], AGENT]), "one who is known is enough");
    assert!(worker.takes(true, &others[..1]), "who came along with it is known as well");
    assert!(!worker.takes_at(601, "192.0.2.1", true, &[AGENT]), "for ten minutes");
}

#[test]
fn a_signer_is_known_only_at_its_own_address() {
    let store = FaultyStore::default();
    let worker = Worker::new(&store);
    assert!(worker.takes_at(0, "192.0.2.2", true, &[AGENT]));
    worker.exhaust();
    assert!(!worker.takes(true, &[AGENT]));
    assert!(worker.takes_at(0, "192.0.2.2", true, &[AGENT]));
}

#[test]
fn failures_of_a_known_signer_exhaust_only_its_own_limit() {
    let store = FaultyStore::default();
    let worker = Worker::new(&store);
    let token = Signer::Token(b"a signature that only its owner knows");
    let other = Signer::Key("other");
    assert!(worker.takes(true, &[token, AGENT]) && worker.takes(true, &[other]));
    worker.exhaust();
    assert_eq!((0..10).filter(|_| worker.takes(false, &[AGENT])).count(), BURST as usize);
    assert!(!worker.takes(true, &[AGENT]));
    assert!(worker.takes(true, &[token, AGENT]), "the very token is told from those that name the same client");
    assert!(worker.takes(true, &[other]));
    // A part of the allowance is refilled over time, like that of the source.
    let later = Worker::new(&store);
    later.recent.note(later.guarded(3_600, "192.0.2.1", |guard| guard.numbers(AGENT)[1]).0, at(3_600));
    assert_eq!((0..9).filter(|_| later.takes_at(3_600, "192.0.2.1", false, &[AGENT])).count(), 2, "one of each");
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_secs(START + second)
}

#[test]
fn workers_share_the_limit_of_a_known_signer() {
    let store = FaultyStore::default();
    let workers = [Worker::new(&store), Worker::new(&store)];
    assert!(workers.iter().all(|worker| worker.takes(true, &[AGENT])));
    workers[0].exhaust();
    let taken = (0..10).map(|turn| workers[turn % 2].takes(false, &[AGENT])).filter(|taken| *taken).count();
    assert_eq!(taken, BURST as usize);
}

#[test]
fn workers_share_known_signers_after_failures() {
    let store = FaultyStore::default();
    let (first, second) = (Worker::new(&store), Worker::new(&store));
    let writes = store.writes();
    assert!(first.takes(true, &[AGENT]));
    assert_eq!(store.writes(), writes, "as long as nothing fails nothing is written");
    first.exhaust();
    assert!(!second.takes(true, &[AGENT]), "nobody told it");
    assert!(first.takes(true, &[AGENT]) && second.takes(true, &[AGENT]));
    let writes = store.writes();
    assert!((0..10).all(|_| first.takes(true, &[AGENT])));
    assert_eq!(store.writes(), writes, "told once");
    assert!(first.takes_at(300, "192.0.2.1", true, &[AGENT]));
    assert_eq!(store.writes(), writes + 1, "and again when half of the time is over");
    let third = Worker::new(&store);
    assert!(third.takes_at(899, "192.0.2.1", true, &[AGENT]));
    assert!(!Worker::new(&store).takes_at(1_499, "192.0.2.1", true, &[AGENT]));
}

#[test]
fn counts_an_unknown_key_as_a_failure() {
    let store = FaultyStore::default();
    let worker = Worker::new(&store);
    let unknown = || {
        let (admitted, _) = worker.guarded(0, "192.0.2.1", |guard| {
            let admitted = guard.admit(&[AGENT]);
            guard.unknown_key();
            admitted
        });
        admitted.is_ok()
    };
    assert_eq!((0..10).filter(|_| unknown()).count(), BURST as usize);
    assert!(!worker.takes(true, &[AGENT]));
    assert_eq!(worker.answers.computed.get(), 0);
}

#[test]
fn verification_without_admission_is_limited() {
    let store = FaultyStore::default();
    let worker = Worker::new(&store);
    assert!(worker.takes(true, &[AGENT]));
    worker.exhaust();
    let key = VerifyingKey::hmac(&[1; 32]).unwrap();
    worker.answers.good.set(true);
    let ask = |guard: &Guard<'_>| guard.verify(&key, Algorithm::Hs256, b"", b"");
    let (result, outcome) = worker.guarded(0, "192.0.2.1", ask);
    assert_eq!((result, outcome.stopped), (Err(BadSignature), Some(Stopped::Limited(3_600))));
    // A caller that continues after it was stopped is not charged either.
    let (result, _) = worker.guarded(0, "192.0.2.1", |guard| {
        let _ = guard.admit(&[]);
        guard.verify(&key, Algorithm::Hs256, b"", b"")
    });
    assert_eq!(result, Err(BadSignature));
}

#[test]
fn stops_verification_if_the_store_fails() {
    let failing = FaultyStore::new(Faults { failing_get: 1, failing_set: 1, ..Faults::default() });
    let store = FaultyStore::default();
    let worker = Worker { store: &failing, ..Worker::new(&store) };
    let stopped = worker.guarded(0, "192.0.2.1", |guard| guard.admit(&[AGENT])).1.stopped;
    assert_eq!(stopped, Some(Stopped::Store));
    let stopped = worker.guarded(0, "192.0.2.1", |guard| guard.unknown_key()).1.stopped;
    assert_eq!(stopped, Some(Stopped::Store));
}

#[test]
fn known_signers_do_not_evict_limits() {
    let store = FaultyStore::default();
    let namespace = Namespace::open(&store, "small", SLOT_ENTRIES, [7; 16]).unwrap().namespace;
    let workers = [(); 2].map(|()| Worker { namespace: namespace.clone(), ..Worker::new(&store) });
    let address = |number: u32| format!("192.0.2.{number}");
    // One address with failures and a known agent, and as many other addresses as the slot has entries.
    assert!(workers[0].takes_at(0, &address(1), true, &[AGENT]));
    for number in 1..=SLOT_ENTRIES {
        (0..BURST).for_each(|_| assert!(workers[0].takes_at(0, &address(number), false, &[])));
    }
    assert!(workers[0].takes_at(0, &address(1), true, &[AGENT]));
    let limited = |number| !workers[0].takes_at(0, &address(number), true, &[]);
    assert!((1..=SLOT_ENTRIES).all(limited));
    assert!(!workers[1].takes_at(0, &address(1), true, &[AGENT]), "nobody could tell it");
}
