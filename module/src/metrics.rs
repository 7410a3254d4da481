//! The metrics of a configuration.
//!
//! Envoy accepts definitions only while it creates a configuration, so all metrics are defined then. Decisions are one metric with labels:
//! Envoy shows a combination of labels from its first use on, as with the Wasm filter.
//!
//! Envoy 1.38 changes metrics only for a stream. Changes without a stream, such as the counts of fetched documents and those of a worker
//! that drops a policy, wait for the next request of any configuration. All configurations define the same metrics, and Envoy keeps one
//! value for each name.
#![expect(unsafe_code, reason = "Envoy's functions are foreign functions")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use callgate::decision::metrics::{ALL, Kind, Metric, PANICS};
use callgate::host::HostError;

use crate::abi::{self, EnvoyConfig, EnvoyStream, ModuleBuffer};
use crate::io::NOT_FOUND;

/// The number of metrics.
const COUNT: usize = ALL.len();

/// Envoy's ids of all metrics, in the order of [`ALL`]. `None` for a metric that Envoy did not define.
#[derive(Debug)]
pub(crate) struct MetricIds([Option<usize>; COUNT]);

/// A metric with the values of its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labelled {
    /// The position in [`ALL`].
    pub(crate) at: usize,
    pub(crate) values: Vec<String>,
}

impl Labelled {
    /// Finds a metric by the name that the code for all gateways gives it: the labels' values follow the name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        ALL.iter().enumerate().find_map(|(at, metric)| {
            let rest = name.strip_prefix(metric.name)?;
            if rest.is_empty() && metric.labels.is_empty() {
                return Some(Self { at, values: Vec::new() });
            }
            let values: Vec<_> = rest.strip_prefix('.')?.split('.').map(str::to_owned).collect();
            (values.len() == metric.labels.len()).then_some(Self { at, values })
        })
    }
}

impl MetricIds {
    /// Defines all metrics. Must be called while Envoy creates the configuration.
    pub(crate) fn define(config: EnvoyConfig) -> Self {
        Self(ALL.map(|metric| {
            let id = define(config, &metric);
            if id.is_none() {
                log::warn!("Envoy does not define the metric `{}`", metric.name);
            }
            id
        }))
    }

    /// Adds to a metric, for a stream of this configuration.
    pub(crate) fn change(&self, stream: EnvoyStream, metric: &Labelled, change: i64) -> Result<(), HostError> {
        let id = self.0.get(metric.at).copied().flatten();
        let (Some(id), Some(kind)) = (id, ALL.get(metric.at).map(|metric| metric.kind)) else {
            return Err(HostError { call: "http_filter_increment_counter", status: NOT_FOUND });
        };
        let values: Vec<_> = metric.values.iter().map(|value| ModuleBuffer::of(value.as_bytes())).collect();
        let (values, count, by) = (values.as_ptr(), values.len(), change.unsigned_abs());
        // SAFETY: the stream is valid, and the values outlive the calls.
        let (call, status) = unsafe {
            match kind {
                Kind::Gauge if change < 0 => (
                    "http_filter_decrement_gauge",
                    abi::envoy_dynamic_module_callback_http_filter_decrement_gauge(stream, id, values, count, by),
                ),
                Kind::Gauge => (
                    "http_filter_increment_gauge",
                    abi::envoy_dynamic_module_callback_http_filter_increment_gauge(stream, id, values, count, by),
                ),
                Kind::Counter => (
                    "http_filter_increment_counter",
                    abi::envoy_dynamic_module_callback_http_filter_increment_counter(stream, id, values, count, by),
                ),
            }
        };
        if status == abi::SUCCESS { Ok(()) } else { Err(HostError { call, status: status.cast_signed() }) }
    }

    /// Makes the changes that waited for a stream.
    pub(crate) fn flush(&self, stream: EnvoyStream) {
        if !WAITS.load(Ordering::Relaxed) || !WAITS.swap(false, Ordering::AcqRel) {
            return;
        }
        let changes = std::mem::replace(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner), [0; COUNT]);
        for (at, change) in changes.into_iter().enumerate().filter(|(_, change)| *change != 0) {
            if let Err(error) = self.change(stream, &Labelled { at, values: Vec::new() }, change) {
                log::warn!("cannot set a metric: {error}");
            }
        }
    }
}

/// The changes that wait for a stream.
static WAITING: Mutex<[i64; COUNT]> = Mutex::new([0; COUNT]);
/// Whether there are any.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Adds to a metric without labels as soon as there is a stream.
pub(crate) fn change_later(metric: &Labelled, change: i64) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sum) = waiting.get_mut(metric.at).filter(|_| metric.values.is_empty()) {
        *sum = sum.saturating_add(change);
        WAITS.store(true, Ordering::Release);
    }
}

/// Counts a panic as soon as there is a stream. The stream that panicked may have ended.
pub(crate) fn count_panic() {
    if let Some(panics) = Labelled::named(PANICS.name) {
        change_later(&panics, 1);
    }
}

fn define(config: EnvoyConfig, metric: &Metric) -> Option<usize> {
    let name = ModuleBuffer::of(metric.name.as_bytes());
    let labels: Vec<_> = metric.labels.iter().map(|label| ModuleBuffer::of(label.as_bytes())).collect();
    let (labels, count) = (labels.as_ptr(), labels.len());
    let mut id = 0;
    // SAFETY: Envoy is creating the configuration, the names are static, the list of labels outlives the call, and the pointer is valid for
    // writes during it.
    let status = unsafe {
        let id = &raw mut id;
        match metric.kind {
            Kind::Counter => {
                abi::envoy_dynamic_module_callback_http_filter_config_define_counter(config, name, labels, count, id)
            }
            Kind::Gauge => {
                abi::envoy_dynamic_module_callback_http_filter_config_define_gauge(config, name, labels, count, id)
            }
        }
    };
    (status == abi::SUCCESS).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_metrics_by_their_names() {
        for (at, metric) in ALL.iter().enumerate() {
            let values: Vec<_> = metric.labels.iter().map(|label| format!("{label}_x")).collect();
            let texts: Vec<_> = values.iter().map(String::as_str).collect();
            assert_eq!(Labelled::named(&metric.counted_by(&texts)), Some(Labelled { at, values }));
        }
        for unknown in ["", "callgate", "callgate.decisions", "callgate.decisions.deny", "callgate.held_bytes.x", "x"] {
            assert_eq!(Labelled::named(unknown), None, "{unknown}");
        }
    }
}
