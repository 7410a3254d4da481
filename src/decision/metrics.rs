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
    about: "Decisions, by `outcome` (`allow`, `deny`, or `observe` for a request that `enforce` would deny) and `reason` (the \
            reason code, or the ground on which a request is allowed).",
};

/// Counts tokens that were found in the cache.
pub const TOKEN_CACHE_HITS: Metric = Metric {
    name: "callgate.token_cache.hits",
    kind: Kind::Counter,
    labels: &[],
    about: "Requests whose token was in the cache of verified tokens. Reported at the next miss, or after 32 hits of a worker.",
};

/// Counts tokens that were not found in the cache.
pub const TOKEN_CACHE_MISSES: Metric = Metric {
    name: "callgate.token_cache.misses",
    kind: Kind::Counter,
    labels: &[],
    about: "Requests whose token was not in the cache, so it was parsed and, if it was well-formed, its signature was verified.",
};

/// The number of tokens in the cache.
pub const TOKEN_CACHE_ENTRIES: Metric = Metric {
    name: "callgate.token_cache.entries",
    kind: Kind::Gauge,
    labels: &[],
    about: "Verified tokens in the caches of all workers.",
};

/// The size of the cached tokens in bytes.
pub const TOKEN_CACHE_BYTES: Metric = Metric {
    name: "callgate.token_cache.bytes",
    kind: Kind::Gauge,
    labels: &[],
    about: "The size of the cached tokens of all workers, in bytes. The limit is 4 MiB per worker.",
};

/// Counts evicted buckets.
pub const LIMITS_EVICTED: Metric = Metric {
    name: "callgate.limits.evicted",
    kind: Kind::Counter,
    labels: &[],
    about: "Buckets of clients that the policy does not name, evicted before they had refilled because their part of the table \
            was full. If it increases, raise `tables.limits`.",
};

/// Counts updates that a worker had to retry.
pub const LIMITS_RETRIED: Metric = Metric {
    name: "callgate.limits.retried",
    kind: Kind::Counter,
    labels: &[],
    about: "Updates of a limit that a worker retried because another worker had changed the bucket.",
};

/// Counts tables of limits whose size differs from the policy.
pub const LIMITS_OTHER_SIZE: Metric = Metric {
    name: "callgate.limits.other_size",
    kind: Kind::Counter,
    labels: &[],
    about: "Times that a worker loaded a policy while the table had another size than `tables.limits`. The table keeps its size \
            until the gateway restarts.",
};

/// The number of entries in the replay table.
pub const REPLAY_ENTRIES: Metric = Metric {
    name: "callgate.replay.entries",
    kind: Kind::Gauge,
    labels: &[],
    about: "Signatures and proofs stored for replay protection. Expired entries are removed when a new one is stored in their \
            part of the table. Requests that are denied because an agent's partition is full are counted as decisions with the \
            reason `replay_share_full`; if there are any, raise `tables.replay`.",
};

/// Counts replay tables whose size differs from the policy.
pub const REPLAY_OTHER_SIZE: Metric = Metric {
    name: "callgate.replay.other_size",
    kind: Kind::Counter,
    labels: &[],
    about: "Times that a worker loaded a policy while the table's partitions had another size than `tables.replay` and the \
            number of agents require. The partitions keep their size until the gateway restarts.",
};

/// The bytes held for requests and answers.
pub const HELD_BYTES: Metric = Metric {
    name: "callgate.held_bytes",
    kind: Kind::Gauge,
    labels: &[],
    about: "Bytes that all workers hold, updated once per second: requests until their bodies are checked, and parts of answers \
            whose lists are filtered. Requests that are denied because this memory is full are counted as decisions with the \
            reason `held_bytes_full`, and such answers in `callgate_answers_replaced`.",
};

/// Counts fetches of documents that succeeded.
pub const KEYS_FETCHED: Metric = Metric {
    name: "callgate.keys.fetched",
    kind: Kind::Counter,
    labels: &[],
    about: "Key sets that were fetched. All workers together fetch a set once per `refresh`, and when a token names an unknown key.",
};

/// Counts fetches of documents that failed.
pub const KEYS_FETCH_FAILED: Metric = Metric {
    name: "callgate.keys.fetch_failed",
    kind: Kind::Counter,
    labels: &[],
    about: "Fetches of key sets that failed, or brought no key that the issuer can use. The gateway's log has the reason of each.",
};

/// Counts answers that were replaced.
pub const ANSWERS_REPLACED: Metric = Metric {
    name: "callgate.answers.replaced",
    kind: Kind::Counter,
    labels: &[],
    about: "Answers of MCP servers that were replaced by an error, lost an event or were removed, because their lists could not be \
            filtered. The gateway's log has the reason of each.",
};

/// Counts tools whose definition changed.
pub const TOOLS_CHANGED: Metric = Metric {
    name: "callgate.tools.changed",
    kind: Kind::Counter,
    labels: &[],
    about: "Times that a tool was blocked for all workers, because an MCP server listed a definition that matches none of its pins. The \
            gateway's log has the name of each.",
};

/// Counts open streams that were ended.
pub const STREAMS_ENDED: Metric = Metric {
    name: "callgate.streams.ended",
    kind: Kind::Counter,
    labels: &[],
    about: "Open streams that were ended because their credential expired, was revoked or was suspended (`streams: recheck`). The record \
            of each has the reason, and so has the gateway's log.",
};

/// Counts fetched keys that are not used.
pub const KEYS_DROPPED: Metric = Metric {
    name: "callgate.keys.dropped",
    kind: Kind::Counter,
    labels: &[],
    about: "Keys of fetched sets that are not used, because they cannot verify tokens of an issuer that uses the set, or another issuer had them \
            first.",
};

/// The age of fetched keys.
pub const KEYS_AGE: Metric = Metric {
    name: "callgate.keys.age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    about: "The age of the oldest key set in use, in seconds, summed over all workers and the main thread and updated once per second. \
            Divided by the number of workers, it is between the age and twice the age. It exceeds twice `refresh` only if the set cannot be \
            fetched.",
};

/// The requests that wait for keys.
pub const KEYS_WAITING: Metric = Metric {
    name: "callgate.keys.waiting",
    kind: Kind::Gauge,
    labels: &[],
    about: "Requests of all workers that wait for keys, updated once per second.",
};

/// Counts fetches of lists of revoked credentials that succeeded.
pub const REVOCATIONS_FETCHED: Metric = Metric {
    name: "callgate.revocations.fetched",
    kind: Kind::Counter,
    labels: &[],
    about: "Lists of revoked credentials that were fetched, or confirmed by their server, and are used. All workers together fetch the list once \
            per `refresh`.",
};

/// Counts fetches of lists of revoked credentials that failed.
pub const REVOCATIONS_FETCH_FAILED: Metric = Metric {
    name: "callgate.revocations.fetch_failed",
    kind: Kind::Counter,
    labels: &[],
    about: "Fetches of the list of revoked credentials that failed. The gateway's log has the reason of each.",
};

/// Counts lists of revoked credentials that are not used.
pub const REVOCATIONS_REFUSED: Metric = Metric {
    name: "callgate.revocations.refused",
    kind: Kind::Counter,
    labels: &[],
    about: "Lists of revoked credentials that were fetched and are not used, because they are too large, malformed, expired, older than the \
            list in use, or not signed with `signed_by`. The gateway's log has the reason of each.",
};

/// Counts entries with unknown names.
pub const REVOCATIONS_IGNORED: Metric = Metric {
    name: "callgate.revocations.ignored",
    kind: Kind::Counter,
    labels: &[],
    about: "Entries of fetched lists that revoke nothing, because the policy has no issuer or agent of their name. Counted whenever the list \
            changes.",
};

/// The age of the list of revoked credentials.
pub const REVOCATIONS_AGE: Metric = Metric {
    name: "callgate.revocations.age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    about: "The age of the list of revoked credentials in use, in seconds, summed over all workers and the main thread and updated once per \
            second. Divided by the number of workers, it is between the age and twice the age. The age exceeds `refresh` by more than a few \
            seconds only if the list cannot be fetched.",
};

/// Counts panics of the dynamic module.
pub const PANICS: Metric = Metric {
    name: "callgate.panics",
    kind: Kind::Counter,
    labels: &[],
    about: "Panics of the dynamic module. Each is a defect: its request got status 500, or its response was reset, and the gateway's \
            log has the place in the code. Counted when the next request arrives. With the Wasm filter it remains 0: a panic \
            stops the VM there, and Envoy counts the VMs that it recreates (`wasm.callgate.vm_reload_success`).",
};

/// All metrics.
pub const ALL: [Metric; 25] = [
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
    KEYS_FETCHED,
    KEYS_FETCH_FAILED,
    KEYS_DROPPED,
    KEYS_AGE,
    KEYS_WAITING,
    ANSWERS_REPLACED,
    TOOLS_CHANGED,
    STREAMS_ENDED,
    REVOCATIONS_FETCHED,
    REVOCATIONS_FETCH_FAILED,
    REVOCATIONS_REFUSED,
    REVOCATIONS_IGNORED,
    REVOCATIONS_AGE,
    PANICS,
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
