//! The metrics of a policy in one VM. Their names stand in [`crate::decision::metrics`].
//!
//! A decision stands whether it is counted or not, so nothing here fails: what cannot be counted is logged.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::{Host, HostError};
use crate::decision::metrics::{
    DECISIONS, HELD_BYTES, LIMITS_EVICTED, LIMITS_OTHER_SIZE, LIMITS_RETRIED, Metric, REPLAY_ENTRIES,
    REPLAY_OTHER_SIZE, TOKEN_CACHE_BYTES, TOKEN_CACHE_ENTRIES, TOKEN_CACHE_HITS, TOKEN_CACHE_MISSES,
};
use crate::identity::token::CacheUsage;
use crate::policy::Features;
use crate::state::StoreStats;

/// So many hits of the token cache are told at once: each host call would cost as much as the look-up.
const HITS_AT_ONCE: u64 = 32;

/// The metrics of a policy in one VM.
pub(super) struct Metrics<H: Host> {
    host: H,
    decisions: RefCell<BTreeMap<(&'static str, &'static str), u32>>,
    figures: Option<Figures>,
    /// What the gateway knows of the token cache.
    told: Cell<CacheUsage>,
}

/// The gateway's numbers for the metrics without labels.
struct Figures {
    hits: u32,
    misses: u32,
    /// None for gauges, here and below, where the gateway changes none.
    entries: Option<u32>,
    bytes: Option<u32>,
    evicted: u32,
    retried: u32,
    other_size: u32,
    replay_entries: Option<u32>,
    replay_other_size: u32,
    held_bytes: Option<u32>,
}

thread_local! {
    /// What the gateway knows of the bytes that this VM holds, whichever of its policies told it.
    static HELD_BYTES_TOLD: Cell<u64> = const { Cell::new(0) };
}

impl<H: Host> Metrics<H> {
    /// Lets the gateway know of the metrics that it shows from the beginning.
    pub(super) fn define(host: H, features: &Features) -> Self {
        let figures = Figures::define(&host, features)
            .inspect_err(|error| log::warn!("only decisions are counted: {error}"))
            .ok();
        Self { host, decisions: RefCell::default(), figures, told: Cell::default() }
    }

    /// Counts a decision.
    pub(super) fn count(&self, outcome: &'static str, reason: &'static str) {
        if let Err(error) = self.decision(outcome, reason).and_then(|counter| self.host.change_metric(counter, 1)) {
            log::warn!("a decision is not counted: {error}");
        }
    }

    /// The counter of an outcome and a reason; the gateway hears of it when it is first needed.
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

    /// Tells how the token cache stands, where enough has changed.
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
            log::warn!("a figure is not told: {error}");
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
            // Gauges are changed and not set: every worker has a part in them.
            let Some(metric) = metric else { continue };
            self.change(metric, after.wrapping_sub(before).cast_signed());
        }
    }

    /// Tells that the table has another size than the policy asks for.
    pub(super) fn tell_other_size(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.other_size, 1);
        }
    }

    /// Tells that the shares of the replay table have another size than the policy asks for.
    pub(super) fn tell_other_shares(&self) {
        if let Some(figures) = &self.figures {
            self.change(figures.replay_other_size, 1);
        }
    }

    /// Tells how many bytes of requests this VM holds.
    pub(super) fn tell_held(&self, bytes: u64) {
        let Some(metric) = self.figures.as_ref().and_then(|figures| figures.held_bytes) else { return };
        self.change(metric, bytes.wrapping_sub(HELD_BYTES_TOLD.replace(bytes)).cast_signed());
    }

    /// Tells how full the replay table is, and what says that the table of limits is too small, or that workers get in each
    /// other's way.
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
    /// What a policy remembered is forgotten with it.
    fn drop(&mut self) {
        self.tell(CacheUsage { entries: 0, bytes: 0, ..self.told.get() });
    }
}

impl Figures {
    fn define(host: &impl Host, features: &Features) -> Result<Self, HostError> {
        let define = |metric: Metric| host.define_metric(metric.kind, metric.name);
        let gauge = |metric| if features.gauges { define(metric).map(Some) } else { Ok(None) };
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
        })
    }
}
