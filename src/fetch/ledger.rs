//! The state of one document that all workers share: what is published, who is fetching, and when the next fetch may start.

use std::time::Duration;

use super::bucket::Bucket;
use super::source::Source;
use crate::state::{MOST_ATTEMPTS, SharedStore, StoreError};
use crate::text::hash::spread;
use crate::text::monotonic::Monotonic;

/// The first byte of a ledger. Hosts may confuse two keys, so no other value starts with it.
const TAG: u8 = 0x21;
/// The number of 64-bit words of a ledger.
const WORDS: usize = 11;
/// The wait after the first failed fetch. It doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Identifies a published document: its number, and the worker that published it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// 0 before the first publication.
    pub(super) number: u64,
    pub(super) by: u64,
}

/// One worker's right to fetch, for a limited time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) by: u64,
    pub(super) started: Monotonic,
    /// The claim has expired from this time on.
    pub(super) until: Monotonic,
}

/// The shared state of one document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) published: Version,
    /// When the last successful fetch started.
    pub(super) fetched: Monotonic,
    /// Its `until` is 0 if nobody is fetching.
    pub(super) claim: Claim,
    /// The number of fetches that have ended.
    pub(super) attempts: u64,
    /// The number of fetches that failed since the last successful one.
    pub(super) failures: u64,
    /// The next fetch must not start earlier.
    pub(super) next: Monotonic,
    /// When the request arrived that asked for the next fetch. 0 if none did.
    pub(super) wanted: Monotonic,
    pub(super) bucket: Bucket,
}

impl Ledger {
    /// Reads the ledger. `None` if there is none yet.
    pub(super) fn read(store: &dyn SharedStore, source: &Source) -> Result<Option<(Self, u32)>, StoreError> {
        let Some(found) = store.get(source.ledger_key().as_bytes())? else { return Ok(None) };
        let ledger = Self::decode(&found.value).ok_or(StoreError)?;
        Ok(Some((ledger, found.version)))
    }

    /// Changes the ledger, unless `change` returns an error. Returns the ledger as it is afterwards.
    pub(super) fn change<T, E>(
        store: &dyn SharedStore,
        source: &Source,
        change: impl Fn(&mut Self) -> Result<T, E>,
    ) -> Result<(Self, Result<T, E>), StoreError> {
        let key = source.ledger_key();
        for _ in 0..MOST_ATTEMPTS {
            let found = Self::read(store, source)?;
            let (before, version) = found.map_or((Self::default(), None), |(ledger, version)| (ledger, Some(version)));
            let mut ledger = before;
            let result = change(&mut ledger);
            if result.is_err() {
                return Ok((before, result));
            }
            if version.is_some() && ledger == before {
                return Ok((ledger, result));
            }
            let written = match version {
                Some(version) => store.compare_and_set(key.as_bytes(), &ledger.encode(), version)?,
                None => store.create(key.as_bytes(), &ledger.encode())?,
            };
            if written {
                return Ok((ledger, result));
            }
        }
        Err(StoreError)
    }

    /// Returns the claim that is in force.
    pub(super) fn claimed(&self, now: Monotonic) -> Option<Claim> {
        (now < self.claim.until).then_some(self.claim)
    }

    /// Reports whether nobody is fetching, and the wait after a failed fetch is over.
    pub(super) fn may_fetch(&self, now: Monotonic) -> bool {
        self.claimed(now).is_none() && now >= self.next
    }

    /// Reports whether a fetch may start, and one is due.
    pub(super) fn is_due(&self, source: &Source, now: Monotonic) -> bool {
        let is_old = self.published.number == 0 || now.since(self.fetched) >= source.refresh;
        self.may_fetch(now) && (is_old || self.is_wanted())
    }

    /// Reports whether a request waits for a fetch that has not started yet.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted > Monotonic::default()
    }

    /// Reports whether there is a document, and it is not too old.
    pub(super) fn is_usable(&self, source: &Source, now: Monotonic) -> bool {
        self.published.number > 0 && now.since(self.fetched) <= source.stale_for
    }

    /// Records that a fetch failed. The wait until the next one is spread by a quarter, so that the gateways of a fleet do not
    /// retry at the same time.
    pub(super) fn fail(&mut self, source: &Source, now: Monotonic, id: u64) {
        self.end();
        let doublings = u32::try_from(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(source.last_retry.max(FIRST_RETRY));
        let quarter = u64::try_from(wait.as_millis() / 4).unwrap_or_default();
        let jitter = spread(id ^ self.attempts).checked_rem(quarter.saturating_add(1)).unwrap_or_default();
        self.next = now.plus(wait.saturating_sub(Duration::from_millis(jitter)));
    }

    /// Records that a fetch succeeded.
    pub(super) fn succeed(&mut self) {
        let started = self.claim.started;
        self.end();
        self.failures = 0;
        self.next = Monotonic::default();
        // While a fetch is running, no request asks for another one. What was asked for before is done.
        self.wanted = Monotonic::default();
        self.fetched = started;
    }

    fn end(&mut self) {
        self.claim = Claim::default();
        self.attempts = self.attempts.wrapping_add(1);
    }

    fn encode(&self) -> Vec<u8> {
        let words: [u64; WORDS] = [
            self.published.number,
            self.published.by,
            self.fetched.as_millis(),
            self.claim.by,
            self.claim.started.as_millis(),
            self.claim.until.as_millis(),
            self.attempts,
            self.failures,
            self.next.as_millis(),
            self.wanted.as_millis(),
            self.bucket.0.as_millis(),
        ];
        std::iter::once(TAG).chain(words.into_iter().flat_map(u64::to_le_bytes)).collect()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (words, []) = value.strip_prefix(&[TAG])?.as_chunks::<8>() else { return None };
        let words: &[[u8; 8]; WORDS] = words.try_into().ok()?;
        let [number, publisher, fetched, by, started, until, attempts, failures, next, wanted, bucket] =
            words.map(u64::from_le_bytes);
        let [fetched, started, until, next, wanted, bucket] =
            [fetched, started, until, next, wanted, bucket].map(Monotonic::from_millis);
        Some(Self {
            published: Version { number, by: publisher },
            fetched,
            claim: Claim { by, started, until },
            attempts,
            failures,
            next,
            wanted,
            bucket: Bucket(bucket),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_as_it_was_written() {
        let millis = Monotonic::from_millis;
        let ledger = Ledger {
            published: Version { number: 1, by: 2 },
            fetched: millis(3),
            claim: Claim { by: 4, started: millis(5), until: millis(6) },
            attempts: 7,
            failures: 8,
            next: millis(9),
            wanted: millis(10),
            bucket: Bucket(millis(11)),
        };
        assert_eq!(Ledger::decode(&ledger.encode()), Some(ledger));
        let encoded = ledger.encode();
        for cut in 0..encoded.len() {
            assert_eq!(Ledger::decode(&encoded[..cut]), None, "{cut}");
        }
        assert_eq!(Ledger::decode(&[&encoded[..], &[0]].concat()), None);
    }

    fn source() -> Source {
        let target = crate::fetch::Target {
            upstream: "u".into(),
            scheme: "https",
            authority: "a".into(),
            path: "/".into(),
            authorization: None,
        };
        Source::new("p", "k", target, [300, 5, 600].map(Duration::from_secs), |_| [1; 16])
    }

    #[test]
    fn retries_double_up_to_the_maximum_and_are_spread_by_a_quarter() {
        for (source, longest) in [(source(), 300), (source().with_last_retry(Duration::from_secs(10)), 10)] {
            let now = Monotonic::from_millis(1_000);
            let mut ledger = Ledger::default();
            for failure in 0..400_u32 {
                ledger.fail(&source, now, 7);
                let most = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failure)).min(Duration::from_secs(longest));
                let wait = ledger.next.since(now);
                assert!(wait <= most && wait >= most * 3 / 4, "{failure}: {wait:?} of {most:?}");
            }
            assert_eq!((ledger.attempts, ledger.failures), (400, 400));
            ledger.succeed();
            assert_eq!((ledger.failures, ledger.next), (0, Monotonic::default()));
        }
    }
}
