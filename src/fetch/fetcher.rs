//! One worker's view of a document that all workers share.

use std::time::Duration;

use super::ledger::{Claim, Ledger, Version};
use super::published;
use super::source::Source;
use super::validator::{self, EntityTag, Validator};
use crate::state::{MOST_ATTEMPTS, SharedStore, StoreError};
use crate::text::monotonic::Monotonic;

/// One worker's view of a document.
#[derive(Debug)]
pub(crate) struct Fetcher {
    /// Identifies this worker. A VM that replaces another has a new one.
    id: u64,
    /// The ledger as this worker last read it.
    ledger: Ledger,
    /// The number of fetches whose results this worker has seen.
    ended: u64,
    /// The document that this worker uses.
    seen: Version,
    /// When the fetch of that document, or the last one that found the same content, started.
    used: Monotonic,
    /// Whether the published document cannot be read, because the store lost it.
    is_lost: bool,
}

/// A fetch that this worker has claimed and must carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    started: Monotonic,
}

/// The condition of a request: the server sends the document only if it is no longer the one that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The published version.
    version: Version,
    validator: Validator,
}

/// Whether a document can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// There is a document that is not too old.
    Usable,
    /// There is none, and a fetch is running or starts with the next tick.
    Coming,
    /// There is none, and the next fetch starts after this time.
    After(Duration),
}

/// The result of asking for a newer document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A fetch that started after the request arrived has ended, so there is no newer document.
    Current,
    /// A fetch is running or starts with the next tick.
    Coming,
    /// No fetch may start before this time has passed.
    After(Duration),
}

impl Attempt {
    /// Returns when the fetch started.
    pub(crate) fn started(self) -> Monotonic {
        self.started
    }
}

impl Condition {
    /// Returns the entity tag that the request names.
    pub(crate) fn tag(&self) -> &EntityTag {
        &self.validator.tag
    }

    /// Returns whether a response with status 304 and this header `ETag` confirms the published document. A response for another tag does
    /// not; most have none.
    pub(crate) fn is_confirmed_by(&self, etag: Option<&[u8]>) -> bool {
        etag.is_none_or(|etag| self.validator.tag.matches(etag))
    }

    /// Returns when the published document expires, in seconds since the epoch.
    pub(crate) fn expires(&self) -> u64 {
        self.validator.expires
    }
}

impl Fetcher {
    /// Creates the view of a worker that has read nothing yet. `id` must differ from those of all other workers.
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            ledger: Ledger::default(),
            ended: 0,
            seen: Version::default(),
            used: Monotonic::default(),
            is_lost: false,
        }
    }

    /// Reads the ledger. Returns the published document if this worker does not use it yet and it is not too old.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn look(
        &mut self,
        store: &dyn SharedStore,
        source: &Source,
        now: Monotonic,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((ledger, _)) = Ledger::read(store, source)? else { return Ok(None) };
        // A store that lost its values starts from the first version again. What this worker uses may be newer.
        if ledger.published.number < self.seen.number && ledger.fetched < self.ledger.fetched {
            return Ok(None);
        }
        self.ledger = ledger;
        self.ended = ledger.attempts;
        if ledger.published == self.seen {
            self.used = ledger.fetched;
            return Ok(None);
        }
        if !ledger.is_usable(source, now) {
            return Ok(None);
        }
        let bytes = published::read(store, source, ledger.published)?;
        self.is_lost = bytes.is_none();
        if bytes.is_some() {
            (self.seen, self.used) = (ledger.published, ledger.fetched);
        }
        Ok(bytes)
    }

    /// Claims a fetch if one is due and no other worker is fetching. The caller must carry it out, and report its end.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn claim(
        &mut self,
        store: &dyn SharedStore,
        source: &Source,
        now: Monotonic,
    ) -> Result<Option<Attempt>, StoreError> {
        let is_lost = self.is_lost;
        let is_due = |ledger: &Ledger| ledger.is_due(source, now) || is_lost && ledger.may_fetch(now);
        if !is_due(&self.ledger) {
            return Ok(None);
        }
        let claim = Claim { by: self.id, started: now, until: now.plus(source.claim()) };
        let (ledger, claimed) = Ledger::change(store, source, |ledger| {
            if !is_due(ledger) {
                return Err(());
            }
            ledger.claim = claim;
            Ok(())
        })?;
        self.ledger = ledger;
        Ok(claimed.is_ok().then_some(Attempt { started: now }))
    }

    /// Returns the condition of a request that this worker has claimed. `None` if the document must be sent in any case: this worker does
    /// not use the published version, nothing is known about the response that it was read from, or the last fetch failed. A server or a
    /// gateway that handles conditional requests incorrectly therefore fails at most every other fetch.
    pub(crate) fn condition(&self, store: &dyn SharedStore, source: &Source) -> Option<Condition> {
        let Ledger { published: version, failures, .. } = self.ledger;
        if version.number == 0 || version != self.seen || self.is_lost || failures > 0 {
            return None;
        }
        // A store that cannot be used fails the publication too, and that is reported.
        let validator = validator::read(store, source, version).ok().flatten()?;
        Some(Condition { version, validator })
    }

    /// Records that a fetch found the published document unchanged. Returns whether that was recorded: a worker whose claim has expired
    /// changes nothing, because another worker may have published a newer document.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn renew(
        &mut self,
        store: &dyn SharedStore,
        source: &Source,
        attempt: Attempt,
        condition: &Condition,
    ) -> Result<bool, StoreError> {
        let (id, version) = (self.id, condition.version);
        let (ledger, renewed) = Ledger::change(store, source, |ledger| {
            let holds = ledger.claim.by == id && ledger.claim.started == attempt.started;
            if !holds || ledger.published != version {
                return Err(());
            }
            ledger.succeed();
            Ok(())
        })?;
        self.ledger = ledger;
        Ok(renewed.is_ok())
    }

    /// Publishes a fetched document. Returns whether its content differs from the published one. A worker whose claim has expired
    /// publishes nothing, because another worker may have published a newer document. The next request gets a condition if there is a
    /// `validator`.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn publish(
        &mut self,
        store: &dyn SharedStore,
        source: &Source,
        attempt: Attempt,
        bytes: &[u8],
        validator: Option<&Validator>,
    ) -> Result<bool, StoreError> {
        let Some((ledger, _)) = Ledger::read(store, source)? else { return Ok(false) };
        if !self.holds(&ledger, attempt) {
            return Ok(false);
        }
        let before = match ledger.published.number {
            0 => None,
            _ => published::read(store, source, ledger.published)?,
        };
        let mut version = ledger.published;
        if before.as_deref() != Some(bytes) {
            // A store that lost its ledger starts from the first number again, and other workers must not take this document for
            // one that they use.
            let number = ledger.published.number.max(self.seen.number).wrapping_add(1);
            version = Version { number, by: self.id.wrapping_add(attempt.started.as_millis()) };
            if !self.write(store, source, attempt, version, bytes)? {
                return Ok(false);
            }
        }
        if let Some(validator) = validator {
            // Without it, the next request has no condition, and the document is published all the same.
            let _ = validator::write(store, source, version, validator);
        }
        let id = self.id;
        let (ledger, ended) = Ledger::change(store, source, |ledger| {
            if ledger.claim.by != id || ledger.claim.started != attempt.started {
                return Err(());
            }
            let differs = ledger.published != version;
            ledger.published = version;
            ledger.succeed();
            Ok(differs)
        })?;
        self.ledger = ledger;
        Ok(ended.unwrap_or(false))
    }

    /// Returns the published document, whether or not this worker uses it.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn published(&self, store: &dyn SharedStore, source: &Source) -> Result<Option<Vec<u8>>, StoreError> {
        match Ledger::read(store, source)? {
            Some((ledger, _)) if ledger.published.number > 0 => published::read(store, source, ledger.published),
            _ => Ok(None),
        }
    }

    /// Records that a fetch failed. What is published stays in use until it is too old.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn fail(
        &mut self,
        store: &dyn SharedStore,
        source: &Source,
        attempt: Attempt,
        now: Monotonic,
    ) -> Result<(), StoreError> {
        let id = self.id;
        let (ledger, failed) = Ledger::change(store, source, |ledger| {
            if ledger.claim.by != id || ledger.claim.started != attempt.started {
                return Err(());
            }
            ledger.fail(source, now, id);
            Ok(())
        })?;
        self.ledger = ledger;
        if failed.is_ok() {
            self.ended = self.ended.wrapping_add(1);
        }
        Ok(())
    }

    /// Asks for a fetch because a request that arrived at this time needs a newer document. A worker that has not read the newest document
    /// yet asks for none, because that document may be the one that the request needs: otherwise each worker would cause a fetch after
    /// the same rotation.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(crate) fn want(
        &mut self,
        store: &dyn SharedStore,
        source: &Source,
        arrived: Monotonic,
        now: Monotonic,
    ) -> Result<Wanted, StoreError> {
        if self.used > arrived {
            return Ok(Wanted::Current);
        }
        let used = self.used;
        let (ledger, wanted) = Ledger::change(store, source, |ledger| {
            let is_unread = ledger.fetched > used;
            if is_unread || ledger.claimed(now).is_some() || (ledger.is_wanted() && now >= ledger.next) {
                return Ok(());
            }
            if now < ledger.next {
                return Err(ledger.next.since(now));
            }
            ledger.bucket.take(now)?;
            ledger.wanted = arrived.max(Monotonic::from_millis(1));
            Ok(())
        })?;
        self.ledger = ledger;
        Ok(wanted.map_or_else(Wanted::After, |()| Wanted::Coming))
    }

    /// Returns whether the document can be used. A worker that has not read it yet reports that it is coming.
    pub(crate) fn availability(&self, source: &Source, now: Monotonic) -> Availability {
        let Ledger { next, attempts, published, .. } = self.ledger;
        if self.ledger.is_usable(source, now) {
            return if self.seen == published { Availability::Usable } else { Availability::Coming };
        }
        match next.since(now) {
            _ if attempts == 0 || self.ledger.claimed(now).is_some() => Availability::Coming,
            Duration::ZERO => Availability::Coming,
            wait => Availability::After(wait),
        }
    }

    /// Records that this worker has stopped using its document. [`look`](Self::look) returns the same version again once it is fetched again.
    pub(crate) fn forget(&mut self) {
        self.seen = Version::default();
    }

    /// Records that the published document, which [`look`](Self::look) returned, cannot be read. It is fetched again as soon as a fetch may
    /// start.
    pub(crate) fn lose(&mut self) {
        self.forget();
        self.is_lost = true;
    }

    /// Returns the number of fetches whose results this worker has seen. The ledger can count a fetch before its document was read: a
    /// request that is evaluated again too early would then wait until its deadline.
    pub(crate) fn attempts(&self) -> u64 {
        self.ended
    }

    /// Returns when the fetch of the document that this worker uses, or the last one that found the same content, started.
    pub(crate) fn used(&self) -> Monotonic {
        self.used
    }

    /// Returns the age of the document that this worker uses.
    pub(crate) fn age(&self, now: Monotonic) -> Option<Duration> {
        (self.seen.number > 0).then(|| now.since(self.used))
    }

    /// Writes a document, unless another worker has taken over the claim.
    fn write(
        &self,
        store: &dyn SharedStore,
        source: &Source,
        attempt: Attempt,
        version: Version,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        for _ in 0..MOST_ATTEMPTS {
            // The key's version is read before the claim is checked again. If another worker takes over meanwhile, either the check
            // fails or the write does.
            let slot = published::slot(store, source, version.number)?;
            if !Ledger::read(store, source)?.is_some_and(|(ledger, _)| self.holds(&ledger, attempt)) {
                return Ok(false);
            }
            if published::write(store, source, version, slot, bytes)? {
                return Ok(true);
            }
        }
        Err(StoreError)
    }

    fn holds(&self, ledger: &Ledger, attempt: Attempt) -> bool {
        ledger.claim.by == self.id && ledger.claim.started == attempt.started
    }
}
