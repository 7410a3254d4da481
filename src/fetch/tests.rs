//! Workers that share one document, with every interleaving of their operations on the store.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::state::simulation::{Work, interleave};
use crate::state::{MemoryStore, SharedStore};
use crate::text::monotonic::Monotonic;

const SECOND: u64 = 1_000;
/// When the tests begin. The host has been running for a while.
const START: u64 = 1_000_000;

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_millis(START + seconds * SECOND)
}

fn source() -> Source {
    let target = Target {
        upstream: "idp".into(),
        scheme: "https",
        authority: "idp.example.com".into(),
        path: "/jwks".into(),
        authorization: None,
    };
    let [refresh, timeout, stale] = [300, 5, 3_600].map(Duration::from_secs);
    Source::new("p", "key set", target, [refresh, timeout, stale], |_| [1; 16])
}

fn fetch(worker: &mut Fetcher, store: &MemoryStore, now: Monotonic, document: &[u8]) -> bool {
    let Some(attempt) = worker.claim(store, &source(), now).unwrap() else { return false };
    worker.publish(store, &source(), attempt, document, None).unwrap();
    true
}

#[test]
fn all_workers_together_fetch_once_per_refresh() {
    let (store, source) = (MemoryStore::default(), source());
    let mut workers: Vec<_> = (0..9).map(Fetcher::new).collect();
    let mut fetches = Vec::new();
    for second in 0..1_000 {
        for worker in &mut workers {
            worker.look(&store, &source, at(second)).unwrap();
            if fetch(worker, &store, at(second), b"keys") {
                fetches.push(second);
            }
        }
    }
    assert_eq!(fetches, [0, 300, 600, 900]);
}

#[test]
fn every_worker_reads_a_published_document_once() {
    let (store, source) = (MemoryStore::default(), source());
    let (mut first, mut second) = (Fetcher::new(1), Fetcher::new(2));
    assert_eq!(second.availability(&source, at(0)), Availability::Coming);
    assert!(fetch(&mut first, &store, at(0), b"one"));
    for worker in [&mut first, &mut second] {
        assert_eq!(worker.look(&store, &source, at(1)), Ok(Some(b"one".to_vec())));
        assert_eq!(worker.look(&store, &source, at(1)), Ok(None));
        assert_eq!(worker.availability(&source, at(1)), Availability::Usable);
    }
    // The same content is no news, but it is younger.
    assert!(fetch(&mut second, &store, at(300), b"one"));
    assert_eq!(first.look(&store, &source, at(301)), Ok(None));
    assert_eq!(first.age(at(301)), Some(Duration::from_secs(1)));
    assert!(fetch(&mut second, &store, at(600), b"two"));
    assert_eq!(first.look(&store, &source, at(601)), Ok(Some(b"two".to_vec())));
}

#[test]
fn another_worker_takes_over_when_a_claim_expires() {
    let (store, source) = (MemoryStore::default(), source());
    let (mut lost, mut other) = (Fetcher::new(1), Fetcher::new(2));
    let attempt = lost.claim(&store, &source, at(0)).unwrap().unwrap();
    for second in 0..6 {
        other.look(&store, &source, at(second)).unwrap();
        assert_eq!(other.claim(&store, &source, at(second)), Ok(None), "{second}");
        assert_eq!(other.availability(&source, at(second)), Availability::Coming);
    }
    assert!(fetch(&mut other, &store, at(6), b"new"));
    // The first worker was only slow. What it fetched may be older.
    assert_eq!(lost.publish(&store, &source, attempt, b"old", None), Ok(false));
    assert_eq!(lost.fail(&store, &source, attempt, at(7)), Ok(()));
    assert_eq!(lost.look(&store, &source, at(7)), Ok(Some(b"new".to_vec())));
    assert_eq!(lost.availability(&source, at(7)), Availability::Usable);
}

#[test]
fn a_document_is_used_until_it_is_too_old() {
    let (store, source) = (MemoryStore::default(), source());
    let mut worker = Fetcher::new(1);
    assert!(fetch(&mut worker, &store, at(0), b"keys"));
    worker.look(&store, &source, at(0)).unwrap();
    let mut failures = 0;
    for second in 300..=3_600 {
        worker.look(&store, &source, at(second)).unwrap();
        if let Some(attempt) = worker.claim(&store, &source, at(second)).unwrap() {
            failures += 1;
            worker.fail(&store, &source, attempt, at(second)).unwrap();
        }
        assert_eq!(worker.availability(&source, at(second)), Availability::Usable, "{second}");
    }
    assert!((15..30).contains(&failures), "{failures}: retries back off to five minutes");
    assert!(matches!(worker.availability(&source, at(3_601)), Availability::After(_)));
    // A VM that starts now does not use it either.
    assert_eq!(Fetcher::new(2).look(&store, &source, at(3_601)), Ok(None));
    // The provider is back: the next attempt is at most five minutes away.
    worker.forget();
    let back = (3_601..3_902).find(|second| fetch(&mut worker, &store, at(*second), b"keys")).unwrap();
    // Its content is the same, and each worker reads it again.
    assert_eq!(worker.look(&store, &source, at(back)), Ok(Some(b"keys".to_vec())));
    assert_eq!(worker.availability(&source, at(back)), Availability::Usable);
}

#[test]
fn requests_cause_four_fetches_and_then_one_every_thirty_seconds() {
    let (store, source) = (MemoryStore::default(), source());
    let mut workers: Vec<_> = (0..4).map(Fetcher::new).collect();
    fetch(&mut workers[0], &store, at(0), b"keys");
    let mut fetches = Vec::new();
    for second in 1..120 {
        for worker in &mut workers {
            worker.look(&store, &source, at(second)).unwrap();
            // Each worker gets requests with unknown keys all the time.
            for _ in 0..5 {
                worker.want(&store, &source, at(second), at(second)).unwrap();
            }
            if fetch(worker, &store, at(second), b"keys") {
                fetches.push(second);
            }
        }
    }
    let gaps: Vec<_> = fetches.windows(2).skip(3).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(fetches.len(), 7, "{fetches:?}");
    assert!(gaps.iter().all(|gap| *gap >= 27), "{fetches:?}");
}

#[test]
fn only_a_fetch_that_started_after_the_request_arrived_answers_it() {
    let (store, source) = (MemoryStore::default(), source());
    let (mut fetcher, mut other) = (Fetcher::new(1), Fetcher::new(2));
    fetch(&mut fetcher, &store, at(0), b"keys");
    for worker in [&mut fetcher, &mut other] {
        worker.look(&store, &source, at(1)).unwrap();
    }
    // The request arrives while a fetch is running, whose result may be older than the request.
    let attempt = {
        fetcher.want(&store, &source, at(1), at(1)).unwrap();
        fetcher.claim(&store, &source, at(2)).unwrap().unwrap()
    };
    assert_eq!(other.want(&store, &source, at(3), at(3)), Ok(Wanted::Coming));
    fetcher.publish(&store, &source, attempt, b"keys", None).unwrap();
    other.look(&store, &source, at(4)).unwrap();
    assert_eq!(
        other.want(&store, &source, at(3), at(4)),
        Ok(Wanted::Coming),
        "the fetch started before the request arrived"
    );
    assert!(fetch(&mut other, &store, at(5), b"keys"));
    assert_eq!(other.want(&store, &source, at(3), at(5)), Ok(Wanted::Coming), "the worker has not read the result");
    other.look(&store, &source, at(5)).unwrap();
    assert_eq!(other.want(&store, &source, at(3), at(5)), Ok(Wanted::Current));
}

#[test]
fn a_worker_reads_a_newer_document_before_it_asks_for_another_fetch() {
    let (store, source) = (MemoryStore::default(), source());
    let (mut first, mut second) = (Fetcher::new(1), Fetcher::new(2));
    fetch(&mut first, &store, at(0), b"old");
    for worker in [&mut first, &mut second] {
        worker.look(&store, &source, at(1)).unwrap();
    }
    assert_eq!(first.want(&store, &source, at(10), at(10)), Ok(Wanted::Coming));
    assert!(fetch(&mut first, &store, at(10), b"new"));
    // A request with the new key reaches the other worker before its next tick.
    let attempts = second.attempts();
    assert_eq!(second.want(&store, &source, at(11), at(11)), Ok(Wanted::Coming));
    assert_eq!(second.claim(&store, &source, at(11)), Ok(None));
    assert_eq!(second.attempts(), attempts);
    assert_eq!(second.look(&store, &source, at(12)), Ok(Some(b"new".to_vec())));
    assert_ne!(second.attempts(), attempts, "a request that waits is evaluated again");
    // The other fetches of the bucket are still there for requests that need a newer one.
    let caused = (13..18).filter(|second_of_test| {
        let now = at(*second_of_test);
        second.look(&store, &source, now).unwrap();
        second.want(&store, &source, now, now).unwrap();
        fetch(&mut second, &store, now, b"new")
    });
    assert_eq!(caused.count(), 3);
}

#[test]
fn nobody_waits_for_a_provider_that_fails() {
    let (store, source) = (MemoryStore::default(), source());
    let mut worker = Fetcher::new(1);
    fetch(&mut worker, &store, at(0), b"keys");
    worker.look(&store, &source, at(0)).unwrap();
    worker.want(&store, &source, at(1), at(1)).unwrap();
    let attempt = worker.claim(&store, &source, at(2)).unwrap().unwrap();
    worker.fail(&store, &source, attempt, at(3)).unwrap();
    assert!(
        matches!(worker.want(&store, &source, at(3), at(3)), Ok(Wanted::After(wait)) if wait <= Duration::from_secs(1))
    );
    assert_eq!(worker.claim(&store, &source, at(3)), Ok(None));
    // The fetch that was wanted before is still due.
    assert_eq!(worker.want(&store, &source, at(4), at(4)), Ok(Wanted::Coming));
    assert!(fetch(&mut worker, &store, at(4), b"keys"));
}

#[test]
fn values_that_nobody_published_are_not_used() {
    let source = source();
    for forged in [&b""[..], b"\x21", b"\x22", b"text", &[0x21; 89]] {
        let store = MemoryStore::default();
        store.create(source.ledger_key().as_bytes(), forged).unwrap();
        let mut worker = Fetcher::new(1);
        let used = worker.look(&store, &source, at(0));
        assert!(used.is_err() || used == Ok(None), "{forged:?}");
    }
}

fn validator(tag: &str) -> Validator {
    Validator { tag: EntityTag::parse(format!("\"{tag}\"").as_bytes()).unwrap(), expires: 7 }
}

/// Fetches a document that its server identifies by a tag.
fn fetch_tagged(worker: &mut Fetcher, store: &dyn SharedStore, now: Monotonic, document: &str) {
    let attempt = worker.claim(store, &source(), now).unwrap().unwrap();
    worker.publish(store, &source(), attempt, document.as_bytes(), Some(&validator(document))).unwrap();
}

#[test]
fn a_condition_names_the_document_that_the_worker_uses() {
    let (store, source) = (MemoryStore::default(), source());
    let (mut first, mut second) = (Fetcher::new(1), Fetcher::new(2));
    assert_eq!(first.condition(&store, &source), None);
    fetch_tagged(&mut first, &store, at(0), "one");
    assert_eq!(first.condition(&store, &source), None, "it has not read the document");
    for worker in [&mut first, &mut second] {
        worker.look(&store, &source, at(1)).unwrap();
        let condition = worker.condition(&store, &source).unwrap();
        assert_eq!((condition.tag().as_str(), condition.expires()), ("\"one\"", 7));
    }
    // A new version without a tag. The tag in the store belongs to the version before.
    assert!(fetch(&mut first, &store, at(300), b"two"));
    second.look(&store, &source, at(301)).unwrap();
    assert_eq!(second.condition(&store, &source), None);
    second.forget();
    fetch_tagged(&mut first, &store, at(600), "three");
    assert_eq!(second.condition(&store, &source), None, "it uses no document");
    second.look(&store, &source, at(601)).unwrap();
    assert!(second.condition(&store, &source).is_some());
    second.lose();
    assert_eq!(second.condition(&store, &source), None);
}

#[test]
fn a_document_that_is_confirmed_is_as_young_as_one_that_was_sent() {
    let (store, source) = (MemoryStore::default(), source());
    let (mut first, mut second) = (Fetcher::new(1), Fetcher::new(2));
    fetch_tagged(&mut first, &store, at(0), "one");
    first.look(&store, &source, at(0)).unwrap();
    second.look(&store, &source, at(0)).unwrap();
    let attempt = second.claim(&store, &source, at(300)).unwrap().unwrap();
    let condition = second.condition(&store, &source).unwrap();
    assert_eq!(second.renew(&store, &source, attempt, &condition), Ok(true));
    assert_eq!(first.look(&store, &source, at(310)), Ok(None), "nothing was published");
    assert_eq!(first.age(at(310)), Some(Duration::from_secs(10)));
    assert_eq!(first.claim(&store, &source, at(310)), Ok(None));
    // A worker whose claim has expired confirms nothing: what is published may be another document.
    let late = first.claim(&store, &source, at(600)).unwrap().unwrap();
    let condition = first.condition(&store, &source).unwrap();
    second.look(&store, &source, at(610)).unwrap();
    fetch_tagged(&mut second, &store, at(610), "two");
    assert_eq!(first.renew(&store, &source, late, &condition), Ok(false));
    assert_eq!(first.look(&store, &source, at(620)), Ok(Some(b"two".to_vec())));
    assert_eq!(first.age(at(620)), Some(Duration::from_secs(10)));
    // After a failed fetch, the document must be sent.
    first.look(&store, &source, at(910)).unwrap();
    let attempt = first.claim(&store, &source, at(910)).unwrap().unwrap();
    assert!(first.condition(&store, &source).is_some());
    first.fail(&store, &source, attempt, at(911)).unwrap();
    assert_eq!(first.condition(&store, &source), None);
}

/// What one worker does in an interleaving: it tries to fetch, and then reads.
fn race(store: &dyn SharedStore, id: u64, now: Monotonic) -> (Option<Vec<u8>>, bool) {
    let source = source();
    let mut worker = Fetcher::new(id);
    worker.look(store, &source, now).unwrap();
    let attempt = worker.claim(store, &source, now).unwrap();
    if let Some(attempt) = attempt {
        worker.publish(store, &source, attempt, format!("document of {id}").as_bytes(), None).unwrap();
    }
    (worker.look(store, &source, now).unwrap(), attempt.is_some())
}

/// What a worker does for a request that needs the new document, until it has read it or has been given a turn too often. Returns how many
/// fetches it made.
fn rotated(store: &dyn SharedStore, mut worker: Fetcher, now: Monotonic) -> usize {
    let (source, mut fetches) = (source(), 0);
    for _ in 0..32 {
        worker.want(store, &source, now, now).unwrap();
        if let Some(attempt) = worker.claim(store, &source, now).unwrap() {
            fetches += 1;
            worker.publish(store, &source, attempt, b"new", None).unwrap();
        }
        if worker.look(store, &source, now).unwrap().is_some() {
            break;
        }
    }
    fetches
}

proptest! {
    #[test]
    fn one_of_several_workers_fetches(schedule in prop::collection::vec(any::<u8>(), 1..64)) {
        let store = MemoryStore::default();
        let workers = (1..4).map(|id| Box::new(move |store: &dyn SharedStore| race(store, id, at(0))) as Work<'_, (Option<Vec<u8>>, bool)>);
        let results = interleave(&store, workers.collect(), &schedule);
        prop_assert_eq!(results.iter().filter(|(_, fetched)| *fetched).count(), 1);
        let published = Fetcher::new(9).look(&store, &source(), at(0)).unwrap();
        prop_assert!(published.is_some());
        prop_assert!(results.iter().all(|(read, _)| read.is_none() || *read == published));
    }

    /// Requests with a new key reach all workers at once.
    #[test]
    fn one_rotation_causes_one_fetch(schedule in prop::collection::vec(any::<u8>(), 1..64)) {
        let store = MemoryStore::default();
        prop_assert!(fetch(&mut Fetcher::new(9), &store, at(0), b"old"));
        let workers = (1..5).map(|id| {
            let mut worker = Fetcher::new(id);
            worker.look(&store, &source(), at(1)).unwrap();
            Box::new(move |store: &dyn SharedStore| rotated(store, worker, at(10))) as Work<'_, usize>
        });
        let fetches: usize = interleave(&store, workers.collect(), &schedule).into_iter().sum();
        prop_assert_eq!(fetches, 1);
        // The bucket has as many fetches left.
        let mut worker = Fetcher::new(9);
        let left = (11..16).filter(|second| {
            worker.look(&store, &source(), at(*second)).unwrap();
            worker.want(&store, &source(), at(*second), at(*second)).unwrap();
            fetch(&mut worker, &store, at(*second), b"new")
        });
        prop_assert_eq!(left.count(), 3);
    }

    /// The claim of the first worker expires while it publishes, and the second one takes over.
    #[test]
    fn a_late_worker_does_not_replace_a_newer_document(schedule in prop::collection::vec(any::<u8>(), 1..64)) {
        let (store, source) = (MemoryStore::default(), source());
        let mut late = Fetcher::new(1);
        let attempt = late.claim(&store, &source, at(0)).unwrap().unwrap();
        let first: Work<'_, bool> = Box::new(move |store| {
            late.publish(store, &self::source(), attempt, b"old", None).unwrap()
        });
        let second: Work<'_, bool> = Box::new(move |store| {
            let mut worker = Fetcher::new(2);
            worker.look(store, &self::source(), at(10)).unwrap();
            let attempt = worker.claim(store, &self::source(), at(10)).unwrap();
            attempt.is_some_and(|attempt| worker.publish(store, &self::source(), attempt, b"new", None).unwrap())
        });
        let published = interleave(&store, vec![first, second], &schedule);
        let read = Fetcher::new(9).look(&store, &source, at(10)).unwrap();
        let expected = if published[1] { b"new" } else { b"old" };
        prop_assert_eq!(read.as_deref(), Some(&expected[..]), "{:?}", published);
    }

    /// A condition that names another document than the published one would confirm the wrong document.
    #[test]
    fn a_condition_names_the_published_document_in_every_interleaving(
        schedule in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let (store, source) = (MemoryStore::default(), source());
        fetch_tagged(&mut Fetcher::new(9), &store, at(0), "one");
        // The claim of the first worker expires while it publishes or confirms, and the others take over.
        let workers = [(1, "two", 300), (2, "three", 310), (3, "four", 320)].map(|(id, document, second)| {
            let work: Work<'_, ()> = Box::new(move |store| {
                let mut worker = Fetcher::new(id);
                worker.look(store, &self::source(), at(second)).unwrap();
                let Some(attempt) = worker.claim(store, &self::source(), at(second)).unwrap() else { return };
                match worker.condition(store, &self::source()).filter(|_| id == 2) {
                    Some(condition) => {
                        worker.renew(store, &self::source(), attempt, &condition).unwrap();
                    }
                    None => {
                        let bytes = document.as_bytes();
                        worker.publish(store, &self::source(), attempt, bytes, Some(&validator(document))).unwrap();
                    }
                }
            });
            work
        });
        interleave(&store, workers.into(), &schedule);
        let mut reader = Fetcher::new(10);
        let read = reader.look(&store, &source, at(321)).unwrap().unwrap();
        if let Some(condition) = reader.condition(&store, &source) {
            prop_assert_eq!(condition.tag().as_str(), format!("\"{}\"", String::from_utf8(read).unwrap()));
        }
    }
}
