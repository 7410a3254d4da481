//! What the newest policy of a name revokes and suspends, as older policies of that name apply it.
//!
//! After an update, open streams still have the policy that allowed them, and so have requests on connections that some gateways close only
//! later. A policy publishes what it revokes and suspends when it opens its state, also if that is nothing. At most once a second, and only
//! when it decides a request, a worker reads what is published. If that differs from what its own policy published, it applies in addition to
//! the entries of that policy. All policies do this, because the first suspension under a name must reach the policy before it too. Most
//! requests pay for it by comparing their time with that of the last look.
//!
//! A policy that neither revokes, suspends nor checks open streams again must work without a store, because it needs none for anything else.
//! If it cannot publish when it starts, it does not look either.
//!
//! Each worker gets all updates in the same order, and the workers get an update one after the other. The policy that the last worker opens
//! last is therefore the newest one. Where workers begin to use a policy only with their first stream under it, which can be after an update,
//! they follow the context that started the policy: their beginning publishes nothing, and their end withdraws nothing.
//!
//! A gateway does not configure a policy again that it still has because of an open stream. After an update and its reversal, only the end of
//! the policy in between shows that the older one is in force again. A policy therefore withdraws at its end what it published. If it is still
//! in force in another worker, that worker publishes it again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::identity::revocation::Entries;
use crate::policy::Policy;
use crate::state::{MOST_ATTEMPTS, PolicyStore, Seal, SharedStore, StoreError};
use crate::text::time::Timestamp;

/// The first byte of what is published. Hosts may confuse two keys, so no other value starts with it.
const TAG: u8 = 0x23;
/// The length of a policy's version, which is published too: policies with the same entries differ.
const VERSION: usize = 64;
/// What the key has after the newest policy has ended.
const WITHDRAWN: &[u8] = &[TAG];
/// The minimum time between two looks at what is published.
const INTERVAL: Duration = Duration::from_secs(1);
/// No look is recent.
const NEVER: (Timestamp, Timestamp) = (Timestamp::from_nanos(0), Timestamp::from_nanos(0));
/// No look is needed any more.
const ALWAYS: (Timestamp, Timestamp) = (Timestamp::from_nanos(0), Timestamp::from_nanos(u64::MAX));

/// One worker's view of what the newest policy of a name revokes and suspends.
pub(crate) struct Newest {
    store: PolicyStore<Rc<dyn SharedStore>>,
    key: String,
    /// What this policy publishes.
    own: Vec<u8>,
    /// Whether the policy cannot be used if it cannot publish that.
    is_required: bool,
    /// When this worker last read what is published, and when it does so again. A clock that was set back does not postpone that.
    recent: Cell<(Timestamp, Timestamp)>,
    /// What another policy published, if its publication is in force and has entries.
    other: RefCell<Option<Rc<Entries>>>,
    /// Whether another policy has published since this one did. Only the newest policy publishes again what the store lost.
    is_older: Cell<bool>,
    /// Whether another context publishes this policy when it starts, and withdraws it at its end.
    follows: bool,
}

impl Newest {
    /// Creates the view of a worker that has read nothing yet. Returns `None` if the gateway cannot pass on what policies publish.
    pub(super) fn new(policy: &Policy, store: &Rc<dyn SharedStore>) -> Option<Self> {
        let published = policy.published.as_ref()?;
        let seal = policy.tables_key.as_ref().map(|key| Seal { key: key.seals(), zone: None });
        Some(Self {
            store: PolicyStore::new(Rc::clone(store), seal),
            key: format!("callgate-newest-1-{}", policy.name),
            own: [&[TAG][..], policy.version.as_bytes(), published.entries.bytes()].concat(),
            is_required: published.is_required,
            recent: Cell::new(NEVER),
            other: RefCell::default(),
            is_older: Cell::default(),
            follows: false,
        })
    }

    /// Makes this the view of a worker that follows the context that started the policy.
    #[cfg(any(test, feature = "adapter"))]
    pub(super) fn follow(&mut self) {
        self.follows = true;
    }

    /// Publishes what this policy revokes and suspends, because it is the newest one. If that fails and is not required, this view never
    /// has anything to apply.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used.
    pub(super) fn publish(&self) -> Result<(), StoreError> {
        if self.follows {
            return Ok(());
        }
        let published = self.try_publish();
        if published.is_err() && !self.is_required {
            self.recent.set(ALWAYS);
            return Ok(());
        }
        published
    }

    /// Returns whether this policy does not apply what a newer one revokes and suspends, because it could not publish.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(super) fn is_off(&self) -> bool {
        self.recent.get() == ALWAYS
    }

    fn try_publish(&self) -> Result<(), StoreError> {
        let key = self.key.as_bytes();
        for _ in 0..MOST_ATTEMPTS {
            let is_published = match self.store.get(key)? {
                None => self.store.create(key, &self.own)?,
                Some(found) => found.value == self.own || self.store.compare_and_set(key, &self.own, found.version)?,
            };
            if is_published {
                return Ok(());
            }
        }
        Err(StoreError)
    }

    /// Returns whether the last look was recent, and showed that the newest policy revokes and suspends nothing that this one does not.
    /// Every request asks this, and few need to know more.
    #[inline]
    pub(super) fn has_nothing(&self, now: Timestamp) -> bool {
        self.is_recent(now) && self.other.borrow().is_none()
    }

    /// Returns what the newest policy revokes and suspends, if that differs from what this one does.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be used, or another value is stored under the key.
    pub(super) fn entries(&self, now: Timestamp) -> Result<Option<Rc<Entries>>, StoreError> {
        if !self.is_recent(now) {
            self.look()?;
            self.recent.set((now, now.plus(INTERVAL)));
        }
        Ok(self.other.borrow().clone())
    }

    #[inline]
    fn is_recent(&self, now: Timestamp) -> bool {
        let (looked, next) = self.recent.get();
        looked <= now && now < next
    }

    fn look(&self) -> Result<(), StoreError> {
        let key = self.key.as_bytes();
        let found = self.store.get(key)?;
        let is_withdrawn = found.as_ref().is_some_and(|found| found.value == WITHDRAWN);
        match found {
            Some(found) if found.value == self.own => {
                self.is_older.set(false);
                self.other.take();
            }
            Some(found) if !is_withdrawn => {
                let bytes = found.value.strip_prefix(&[TAG]).and_then(|rest| rest.get(VERSION..)).ok_or(StoreError)?;
                let entries = Entries::open(bytes.to_vec()).ok_or(StoreError)?;
                self.is_older.set(true);
                self.other.replace((!entries.is_empty()).then(|| Rc::new(entries)));
            }
            // This policy is in force, and what it published is not. If another policy publishes meanwhile, that one is newer.
            found if !self.is_older.get() => {
                match found {
                    Some(found) => self.store.compare_and_set(key, &self.own, found.version)?,
                    None => self.store.create(key, &self.own)?,
                };
            }
            Some(_) => {
                self.other.take();
            }
            // The store lost it. The newest policy publishes it again, and older ones keep what they have read.
            None => {}
        }
        Ok(())
    }
}

impl Drop for Newest {
    /// Withdraws what this policy published, unless another policy has published since.
    fn drop(&mut self) {
        if self.follows || self.recent.get() == ALWAYS {
            return;
        }
        let key = self.key.as_bytes();
        if let Ok(Some(found)) = self.store.get(key)
            && found.value == self.own
        {
            // If another worker was faster, it published what is in force.
            let _ = self.store.compare_and_set(key, WITHDRAWN, found.version);
        }
    }
}
