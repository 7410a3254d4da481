//! The metrics and the memory of a running Envoy.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Envoy;
use super::adapter::with_names_of_the_filter;

impl Envoy {
    /// Returns a counter or gauge, or 0 if Envoy does not have it yet.
    ///
    /// # Errors
    /// See [`Envoy::admin_json`].
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.admin_json("/stats?format=json")?;
        let value = stats
            .get("stats")
            .and_then(Value::as_array)
            .and_then(|stats| stats.iter().find(|stat| stat.get("name").and_then(Value::as_str) == Some(name)))
            .and_then(|stat| stat.get("value"))
            .and_then(Value::as_u64);
        Ok(value.unwrap_or(0))
    }

    /// Returns the sum of the used counters and gauges whose names contain this text, as [`Envoy::used_stats`] finds them.
    ///
    /// # Errors
    /// See [`Envoy::admin`].
    pub fn sum_of_stats(&self, wanted: &str) -> Result<u64> {
        Ok(self.used_stats(wanted)?.into_iter().sum())
    }

    /// Returns the values of the used counters and gauges whose names contain this text. The metrics of both adapters have the names that the
    /// filter gives them.
    ///
    /// # Errors
    /// See [`Envoy::admin`].
    pub fn used_stats(&self, wanted: &str) -> Result<Vec<u64>> {
        let stats = with_names_of_the_filter(&self.admin("/stats?usedonly")?);
        let lines = stats.lines().filter(|line| line.contains(wanted));
        Ok(lines.filter_map(|line| line.rsplit(": ").next()?.parse::<u64>().ok()).collect())
    }

    /// Returns the metrics in the format that Prometheus reads. The metrics of both adapters have the names that the filter gives them.
    ///
    /// # Errors
    /// See [`Envoy::admin`].
    pub fn prometheus(&self) -> Result<String> {
        Ok(with_names_of_the_filter(&self.admin("/stats/prometheus")?))
    }

    /// Returns the resident memory of the process, in KiB.
    ///
    /// # Errors
    /// When the process has ended, or this is not Linux.
    pub fn resident_memory(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.process());
        let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has ended")?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| format!("`{line}` is no size"))
    }
}
