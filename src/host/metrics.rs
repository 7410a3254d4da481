//! The metrics of a policy in one VM. [`crate::decision::metrics`] defines their names.
//!
//! A decision does not depend on its metrics, so nothing in this module fails: if a metric cannot be updated, that is logged.
//!
//! Gauges are sums over all VMs, and a VM changes them by the difference to what it reported before. A VM that traps leaves its part in the
//! sums. No other VM can subtract it: none knows which VM was lost or what it had reported, and setting a gauge would erase the parts of the
//! other VMs. The reference of the metrics states how to recognize this.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Host, HostError};
use crate::decision::metrics::{
    ANSWERS_REPLACED, DECISIONS, HELD_BYTES, KEYS_AGE, KEYS_DROPPED, KEYS_FETCH_FAILED, KEYS_FETCHED, KEYS_WAITING,
    LIMITS_EVICTED, LIMITS_OTHER_SIZE, LIMITS_RETRIED, Metric, PANICS, REPLAY_ENTRIES, REPLAY_OTHER_SIZE,
    REVOCATIONS_AGE, REVOCATIONS_FETCH_FAILED, REVOCATIONS_FETCHED, REVOCATIONS_IGNORED, REVOCATIONS_REFUSED,
    STREAMS_ENDED, TOKEN_CACHE_BYTES, TOKEN_CACHE_ENTRIES, TOKEN_CACHE_HITS, TOKEN_CACHE_MISSES, TOOLS_CHANGED,
};
use crate::evaluate::DocumentEvent;
use crate::identity::token::CacheUsage;
use crate::policy::Features;
use crate::state::StoreStats;

/// The number of token cache hits that are reported at once. A host call for each hit would cost as much as the lookup.
const HITS_AT_ONCE: u64 = 32;

/// The metrics of a policy in one VM.
pub(super) struct Metrics<H: Host> {
    host: H,
    decisions: RefCell<BTreeMap<(&'static str, &'static str), u32>>,
    figures: Option<Figures>,
    /// The token cache usage that was last reported to the gateway.
    told: Cell<CacheUsage>,
    /// The age of the keys and the number of waiting requests that were last reported.
    keys_age_told: Cell<u64>,
    list_age_told: Cell<u64>,
    waiting_told: Cell<u64>,
}

/// The gateway's ids of the metrics without labels.
struct Figures {
    hits: u32,
    misses: u32,
    /// `None` for gauges, here and below, if the gateway does not support them.
    entries: Option<u32>,
    bytes: Option<u32>,
    evicted: u32,
    retried: u32,
    other_size: u32,
    replay_entries: Option<u32>,
    replay_other_size: u32,
    held_bytes: Option<u32>,
    keys_fetched: u32,
    keys_fetch_failed: u32,
    keys_dropped: u32,
    keys_age: Option<u32>,
    keys_waiting: Option<u32>,
    answers_replaced: u32,
    tools_changed: u32,
    streams_ended: u32,
    revocations_fetched: u32,
    revocations_fetch_failed: u32,
    revocations_refused: u32,
    revocations_ignored: u32,
    revocations_age: Option<u32>,
}

thread_local! {
    /// The number of bytes held by this VM that was last reported to the gateway, under any of its policies.
    static HELD_BYTES_TOLD: Cell<u64> = const { Cell::new(0) };
}

impl<H: Host> Metrics<H> {
    /// Defines the metrics that the gateway shows from the start.
    pub(super) fn define(host: H, features: &Features) -> Self {
        let figures = Figures::define(&host, features)
            .inspect_err(|error| log::warn!("only decisions have metrics: {error}"))
            .ok();
        let (decisions, told) = (RefCell::default(), Cell::default());
        let [keys_age_told, list_age_told, waiting_told] = <[Cell<u64>; 3]>::default();
        Self { host, decisions, figures, told, keys_age_told, list_age_told, waiting_told }
    }

    /// Counts a decision.
    pub(super) fn count(&self, outcome: &'static str, reason: &'static str) {
        if let Err(error) = self.decision(outcome, reason).and_then(|counter| self.host.change_metric(counter, 1)) {
            log::warn!("cannot count a decision: {error}");
        }
    }

    /// Returns the counter of an outcome and a reason. The counter is defined when it is first needed.
    fn decision(&self, outcome: &'static str, reason: &'static str) -> Result<u32, HostError> {
        let known = self.decisions.borrow().get(&(outcome, reason)).copied();
        known.map_or_else(
            || {
                let counter = self.host.define_metric(DECISIONS.kind, &DECISIONS.counted_by(&[outcome, reason]))?;
                self.decisions.borrow_mut().insert((outcome, reason), counter);
                Ok(counter)
            },
            Ok,
        )
    }

    /// Reports the token cache usage, if it has changed enough.
    pub(super) fn tell_tokens(&self, usage: CacheUsage) {
        let told = self.told.get();
        let only_hits = CacheUsage { hits: told.hits, ..usage } == told;
        if !only_hits || usage.hits.wrapping_sub(told.hits) >= HITS_AT_ONCE {
            self.tell(usage);
        }
    }

    fn change(&self, metric: u32, change: i64) {
        if change != 0
            && let Err(error) = self.host.change_metric(metric, change)
        {
            log::warn!("cannot set a metric: {error}");
        }
    }

    fn tell(&self, usage: CacheUsage) {
        let Some(figures) = &self.figures else { return };
        let told = self.told.replace(usage);
        for (metric, before, after) in [
            (Some(figures.hits), told.hits, usage.hits),
            (Some(figures.misses), told.misses, usage.misses),
            (figures.entries, told.entries, usage.entries),
            (figures.bytes, told.bytes, usage.bytes),
        ] {
            // Gauges are changed rather than set, because they are sums over all workers.
            let Some(metric) = metric else { continue };
            self.change(metric, after.wrapping_sub(before).cast_signed());
        }
    }

    /// Reports that the size of the table of limits differs from the policy.
    pub(super) fn tell_other_size(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.other_size, 1);
        }
    }

    /// Reports that the size of the agents' partitions of the replay table differs from the policy.
    pub(super) fn tell_other_shares(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.replay_other_size, 1);
        }
    }

    /// Counts an answer that was replaced, or lost an event.
    pub(super) fn tell_answer_replaced(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.answers_replaced, 1);
        }
    }

    /// Counts a tool that was blocked.
    pub(super) fn tell_tool_changed(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.tools_changed, 1);
        }
    }

    /// Counts an open stream that was ended.
    pub(super) fn tell_stream_ended(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.streams_ended, 1);
        }
    }

    /// Reports the number of bytes that this VM holds for requests and answers.
    pub(super) fn tell_held(&self, bytes: u64) {
        let Some(metric) = self.figures.as_ref().and_then(|figures| figures.held_bytes) else { return };
        self.change(metric, bytes.wrapping_sub(HELD_BYTES_TOLD.replace(bytes)).cast_signed());
    }

    /// Counts what happened to a document.
    pub(super) fn tell_document(&self, event: &DocumentEvent) {
        let Some(figures) = &self.figures else { return };
        match event {
            DocumentEvent::Fetched => self.change(figures.keys_fetched, 1),
            DocumentEvent::Failed { .. } => self.change(figures.keys_fetch_failed, 1),
            DocumentEvent::KeysDropped { count, .. } => {
                self.change(figures.keys_dropped, i64::try_from(*count).unwrap_or(i64::MAX));
            }
            DocumentEvent::RevocationsFetched => self.change(figures.revocations_fetched, 1),
            DocumentEvent::RevocationsFailed { .. } => self.change(figures.revocations_fetch_failed, 1),
            DocumentEvent::RevocationsRefused { .. } => self.change(figures.revocations_refused, 1),
            DocumentEvent::RevocationsChanged { ignored, .. } => {
                self.change(figures.revocations_ignored, i64::try_from(*ignored).unwrap_or(i64::MAX));
            }
            DocumentEvent::KeysChanged { .. }
            | DocumentEvent::KeysMissing { .. }
            | DocumentEvent::KeysExpired { .. }
            | DocumentEvent::RevocationsStale { .. } => {}
        }
    }

    /// Reports the age of the fetched keys, and how many requests wait for keys.
    pub(super) fn tell_keys(&self, age: Duration, waiting: u32) {
        let Some(figures) = &self.figures else { return };
        let (age, waiting) = (age.as_secs(), u64::from(waiting));
        for (metric, told, now) in
            [(figures.keys_age, &self.keys_age_told, age), (figures.keys_waiting, &self.waiting_told, waiting)]
        {
            if let Some(metric) = metric {
                self.change(metric, now.wrapping_sub(told.replace(now)).cast_signed());
            }
        }
    }

    /// Reports the age of the list of revoked credentials.
    pub(super) fn tell_revocations(&self, age: Duration) {
        let Some(metric) = self.figures.as_ref().and_then(|figures| figures.revocations_age) else { return };
        let age = age.as_secs();
        self.change(metric, age.wrapping_sub(self.list_age_told.replace(age)).cast_signed());
    }

    /// Reports the number of entries in the replay table, and two counters: evictions show that the table of limits is too
    /// small, retries that workers contend for it.
    pub(super) fn tell_limits(&self, used: StoreStats) {
        if let Some(figures) = &self.figures {
            self.change(figures.evicted, used.evicted.into());
            self.change(figures.retried, used.retried.into());
            if let Some(entries) = figures.replay_entries {
                self.change(entries, used.replay_entries.into());
            }
        }
    }
}

impl<H: Host> Drop for Metrics<H> {
    /// Subtracts the token cache of this policy from the gauges.
    fn drop(&mut self) {
        self.tell(CacheUsage { entries: 0, bytes: 0, ..self.told.get() });
        self.tell_keys(Duration::ZERO, 0);
        self.tell_revocations(Duration::ZERO);
    }
}

impl Figures {
    fn define(host: &impl Host, features: &Features) -> Result<Self, HostError> {
        let define = |metric: Metric| host.define_metric(metric.kind, metric.name);
        let gauge = |metric| if features.gauges { define(metric).map(Some) } else { Ok(None) };
        // Only the adapter that catches panics counts them. The others show that there is nothing to alert on.
        define(PANICS)?;
        Ok(Self {
            hits: define(TOKEN_CACHE_HITS)?,
            misses: define(TOKEN_CACHE_MISSES)?,
            entries: gauge(TOKEN_CACHE_ENTRIES)?,
            bytes: gauge(TOKEN_CACHE_BYTES)?,
            evicted: define(LIMITS_EVICTED)?,
            retried: define(LIMITS_RETRIED)?,
            other_size: define(LIMITS_OTHER_SIZE)?,
            replay_entries: gauge(REPLAY_ENTRIES)?,
            replay_other_size: define(REPLAY_OTHER_SIZE)?,
            held_bytes: gauge(HELD_BYTES)?,
            keys_fetched: define(KEYS_FETCHED)?,
            keys_fetch_failed: define(KEYS_FETCH_FAILED)?,
            keys_dropped: define(KEYS_DROPPED)?,
            keys_age: gauge(KEYS_AGE)?,
            keys_waiting: gauge(KEYS_WAITING)?,
            answers_replaced: define(ANSWERS_REPLACED)?,
            tools_changed: define(TOOLS_CHANGED)?,
            streams_ended: define(STREAMS_ENDED)?,
            revocations_fetched: define(REVOCATIONS_FETCHED)?,
            revocations_fetch_failed: define(REVOCATIONS_FETCH_FAILED)?,
            revocations_refused: define(REVOCATIONS_REFUSED)?,
            revocations_ignored: define(REVOCATIONS_IGNORED)?,
            revocations_age: gauge(REVOCATIONS_AGE)?,
        })
    }
}
