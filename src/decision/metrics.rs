//! The metrics. The filter counts under the names in this list, and the reference is generated from it.
//!
//! Metrics contain outcomes and numbers, but never identities.

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name in the gateway, without the values of labels. Prometheus replaces `.` by `_`.
    pub name: &'static str,
    /// Whether the metric is a counter or a gauge.
    pub kind: Kind,
    /// The labels, in the order in which their values follow the name.
    pub labels: &'static [&'static str],
    /// The description.
    pub about: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The metric only increases.
    Counter,
    /// The metric increases and decreases.
    Gauge,
}

/// Counts decisions.
pub const DECISIONS: Metric = Metric {
    name: "callgate.decisions",
    kind: Kind::Counter,
    labels: &["outcome", "reason"],
    about: "Decisions, by `outcome` (`allow`, `deny`, or `observe` for a request that would have been denied) and `reason` (its \
            code, or the ground on which a request goes on).",
};

/// Counts tokens that were found in the cache.
pub const TOKEN_CACHE_HITS: Metric = Metric {
    name: "callgate.token_cache.hits",
    kind: Kind::Counter,
    labels: &[],
    about: "Tokens that were found among those verified before. Told at the next miss, or after 32 hits of a worker.",
};

/// Counts tokens that were not found in the cache.
pub const TOKEN_CACHE_MISSES: Metric = Metric {
    name: "callgate.token_cache.misses",
    kind: Kind::Counter,
    labels: &[],
    about: "Tokens that were not, so that each was parsed and, where it got so far, its signature computed.",
};

/// The number of tokens in the cache.
pub const TOKEN_CACHE_ENTRIES: Metric = Metric {
    name: "callgate.token_cache.entries",
    kind: Kind::Gauge,
    labels: &[],
    about: "Verified tokens that are remembered, all workers together.",
};

/// The size of the cached tokens in bytes.
pub const TOKEN_CACHE_BYTES: Metric = Metric {
    name: "callgate.token_cache.bytes",
    kind: Kind::Gauge,
    labels: &[],
    about: "What they take, in bytes, as the cache counts against its bound of 4 MiB a worker.",
};

/// Counts evicted buckets.
pub const LIMITS_EVICTED: Metric = Metric {
    name: "callgate.limits.evicted",
    kind: Kind::Counter,
    labels: &[],
    about: "Entries of callers that the policy does not name, given up while they still restricted because their part of the \
            table was full: raise `tables.limits`.",
};

/// Counts updates that a worker had to retry.
pub const LIMITS_RETRIED: Metric = Metric {
    name: "callgate.limits.retried",
    kind: Kind::Counter,
    labels: &[],
    about: "Updates of a limit that a worker made anew because another was faster.",
};

/// Counts tables of limits whose size differs from the policy.
pub const LIMITS_OTHER_SIZE: Metric = Metric {
    name: "callgate.limits.other_size",
    kind: Kind::Counter,
    labels: &[],
    about: "Times that a policy came into force in a worker while the table had another size than `tables.limits` says, which \
            it keeps until the gateway restarts.",
};

/// The number of entries in the replay table.
pub const REPLAY_ENTRIES: Metric = Metric {
    name: "callgate.replay.entries",
    kind: Kind::Gauge,
    labels: &[],
    about: "Messages that were used and are remembered so that none is used twice. Those too old to come again go when the next \
            comes to their part of the table. What a full share refuses is counted among the decisions, as \
            `replay_share_full`: raise `tables.replay`.",
};

/// Counts replay tables whose size differs from the policy.
pub const REPLAY_OTHER_SIZE: Metric = Metric {
    name: "callgate.replay.other_size",
    kind: Kind::Counter,
    labels: &[],
    about: "Times that a policy came into force in a worker while the shares of the table had another size than follows from \
            `tables.replay` and the number of agents, which they keep until the gateway restarts.",
};

/// The bytes held for requests.
pub const HELD_BYTES: Metric = Metric {
    name: "callgate.held_bytes",
    kind: Kind::Gauge,
    labels: &[],
    about: "Bytes of requests that are held until their bodies were checked, all workers together; updated once a second. \
            Requests for which there was no room are counted among the decisions, as `held_bytes_full`.",
};

/// All metrics.
pub const ALL: [Metric; 11] = [
    DECISIONS,
    TOKEN_CACHE_HITS,
    TOKEN_CACHE_MISSES,
    TOKEN_CACHE_ENTRIES,
    TOKEN_CACHE_BYTES,
    LIMITS_EVICTED,
    LIMITS_RETRIED,
    LIMITS_OTHER_SIZE,
    REPLAY_ENTRIES,
    REPLAY_OTHER_SIZE,
    HELD_BYTES,
];

impl Metric {
    /// Returns the name in Prometheus, without labels.
    #[must_use]
    pub fn prometheus(&self) -> String {
        self.name.replace('.', "_")
    }

    /// Returns the name followed by the values of its labels, as the gateway gets it.
    #[must_use]
    pub fn counted_by(&self, values: &[&str]) -> String {
        std::iter::once(self.name).chain(values.iter().copied()).collect::<Vec<_>>().join(".")
    }
}
