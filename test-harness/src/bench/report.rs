//! The figures, as text and as JSON.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::fetched::FetchedKeys;
use super::instructions::Instructions;

/// The cost ratios of pairs of rows, with their upper bounds. The bounds tolerate noise of the machine, but not a decision that becomes 50%
/// more expensive.
const RATIOS: [(&str, &str, &str, Option<f64>); 19] = [
    ("warm_vs_native_cached", "warm", "native_cached", Some(2.0)),
    ("same_calls_vs_native_cached", "same_calls", "native_cached", None),
    // The instructions of both differ by at most 1 %. The rest is noise, and two modules at different places in memory.
    ("warm_fetched_vs_warm", "warm_fetched", "warm", Some(1.05)),
    ("revocation_vs_warm", "revocation", "warm", Some(1.05)),
    // The record and one header of the upstream are longer.
    ("delegation_vs_warm", "delegation", "warm", None),
    ("warm_vs_native", "warm", "native_es256", Some(0.4)),
    ("cold_es256_vs_native", "cold_es256", "native_es256", Some(1.9)),
    ("cold_rs256_vs_native", "cold_rs256", "native_rs256", Some(1.9)),
    ("cold_ed25519_vs_native", "cold_ed25519", "native_ed25519", Some(1.9)),
    ("warm_vs_ext_authz", "warm", "ext_authz", Some(0.7)),
    ("warm_vs_policy_service", "warm", "policy_service", Some(0.15)),
    ("same_calls_vs_ext_authz", "same_calls", "ext_authz", None),
    ("scale_10000_vs_10", "scale_10000", "scale_10", Some(1.2)),
    ("signed_ed25519_vs_native_eddsa", "signed_ed25519", "native_eddsa", Some(1.0)),
    ("signed_hmac_vs_native_eddsa", "signed_hmac", "native_eddsa", Some(0.4)),
    ("limit_contention", "limits_4", "limits_1", Some(1.5)),
    // The native filter parses the request and decides nothing.
    ("mcp_call_vs_native", "mcp_call", "mcp_native", None),
    // Both add to a listener with TLS, of which each request costs the same.
    ("certificate_vs_token", "certificate", "token_over_tls", None),
    ("certificate_bound_vs_token", "certificate_bound", "token_over_tls", None),
];
const MOST_CONFIGURE_MS: f64 = 500.0;
const MOST_MEMORY_MIB: f64 = 64.0;
const MOST_TICKS_PERCENT: f64 = 0.1;
/// Bounded because every VM of every worker loads the module, which also costs memory.
const MOST_WASM_MB: f64 = 2.2;
/// The size that the module must not exceed, as long as it exceeds the bound: 1 % above the last measured one. It may only be lowered.
pub const LAST_WASM_MB: f64 = 2.54;

/// All figures of a run.
#[derive(Debug)]
pub struct Report {
    pub(super) envoy: String,
    pub(super) connections: usize,
    pub(super) rows: Vec<Measured>,
    /// The worker's CPU time for each update to a policy with 10,000 endpoints and agents, in milliseconds.
    pub(super) configure_ms: Vec<f64>,
    pub(super) wasm_bytes: u64,
    pub(super) memory_small: usize,
    pub(super) memory_large: usize,
    pub(super) instructions: Instructions,
    pub(super) fetched_keys: FetchedKeys,
    /// What eight idle workers use to keep fetched keys current, in percent of a core.
    pub(super) ticks_percent: f64,
}

/// The measurements of one row: CPU time per request in microseconds, one figure for each round.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The row's name.
    pub name: &'static str,
    what: &'static str,
    requests: usize,
    rounds: Vec<f64>,
    /// The cost in addition to the base row in the same round. The base is the plain listener, or the policy without limits.
    added: Vec<f64>,
}

impl Measured {
    pub(super) fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, requests: 0, rounds: Vec::new(), added: Vec::new() }
    }

    pub(super) fn add(&mut self, used: Duration, calls: usize) {
        self.requests += calls;
        self.rounds.push(used.as_secs_f64() * 1e6 / calls as f64);
    }

    /// Computes the cost in addition to another row, round by round.
    pub(super) fn over(mut self, base: &Self) -> Self {
        self.added = self.rounds.iter().zip(&base.rounds).map(|(row, base)| row - base).collect();
        self
    }

    /// Returns the cost in addition to the base row.
    pub fn added(&self) -> Spread {
        Spread::of(&self.added)
    }
}

/// A median and its quartiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the figures are below this one.
    pub median: f64,
    /// A quarter of the figures are below this one.
    pub low: f64,
    /// A quarter of the figures are above this one.
    pub high: f64,
}

impl Spread {
    fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * sorted.len().saturating_sub(1) as f64;
            let (below, above) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize));
            let (below, above) = (below.copied().unwrap_or(f64::NAN), above.copied().unwrap_or(f64::NAN));
            below + (above - below) * place.fract()
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// A figure and its requirement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The figure's name.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// The upper bound, if there is one.
    pub most: Option<f64>,
}

impl Bound {
    /// Returns whether the figure meets its requirement.
    pub fn holds(&self) -> bool {
        self.most.is_none_or(|most| self.value <= most)
    }
}

impl Report {
    /// Returns the rows, in the order of the table.
    pub fn rows(&self) -> &[Measured] {
        &self.rows
    }

    /// Returns every figure with a requirement, and the ratios without one.
    pub fn bounds(&self) -> Vec<Bound> {
        let ratios = RATIOS
            .iter()
            .filter_map(|(name, row, over, most)| Some(Bound { name, value: self.ratio(row, over)?, most: *most }));
        let mut bounds: Vec<_> = ratios.collect();
        let bound = |name, value, most| Bound { name, value, most: Some(most) };
        bounds.extend([
            bound("configure_ms_10000", Spread::of(&self.configure_ms).median, MOST_CONFIGURE_MS),
            bound("memory_mib_10000", self.memory_large as f64 / f64::from(1 << 20), MOST_MEMORY_MIB),
            bound("wasm_mb", self.wasm_bytes as f64 / 1e6, MOST_WASM_MB),
            bound("ticks_percent_8_workers", self.ticks_percent, MOST_TICKS_PERCENT),
        ]);
        bounds.extend(self.fetched_keys.bounds());
        bounds
    }

    /// Returns the ratio of two rows' added costs. It divides medians and not single rounds, because the added cost in a single round can
    /// be close to zero.
    /// Returns `None` if one of the two was not measured.
    fn ratio(&self, row: &str, over: &str) -> Option<f64> {
        let added = |name: &str| self.rows.iter().find(|row| row.name == name).map(|row| row.added().median);
        Some(added(row)? / added(over)?)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.rows.iter().map(|row| {
            let figures = json!({
                "what": row.what,
                "requests": row.requests,
                "cpu_us": Spread::of(&row.rounds),
                "added_us": row.added(),
            });
            (row.name.to_owned(), figures)
        });
        let ratios = RATIOS.iter().map(|(name, row, over, _)| ((*name).to_owned(), json!(self.ratio(row, over))));
        let required = self.bounds().into_iter().filter_map(|bound| {
            Some((bound.name.to_owned(), json!({ "at_most": bound.most?, "holds": bound.holds() })))
        });
        json!({
            "envoy": self.envoy,
            "workers": 1,
            "connections": self.connections,
            "rounds": self.rows.first().map_or(0, |row| row.rounds.len()),
            "rows": rows.collect::<Map<String, Value>>(),
            "ratios": ratios.collect::<Map<String, Value>>(),
            "configure_ms_10000": Spread::of(&self.configure_ms).median,
            "configure_ms_10000_each": self.configure_ms,
            "memory_bytes_10": self.memory_small,
            "memory_bytes_10000": self.memory_large,
            "wasm_bytes": self.wasm_bytes,
            "instructions": self.instructions,
            "fetched_keys": self.fetched_keys,
            "ticks_percent_8_workers": self.ticks_percent,
            "required": required.collect::<Map<String, Value>>(),
        })
        .serialize(serializer)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounds = table(["", "measured", "required", ""]);
        for bound in self.bounds() {
            let most = bound.most.map(|most| format!("at most {most}")).unwrap_or_default();
            let holds = if bound.most.is_none() {
                ""
            } else if bound.holds() {
                "✓"
            } else {
                "✗"
            };
            bounds.add_row([bound.name, &format!("{:.2}", bound.value), &most, holds]);
        }
        writeln!(f, "CPU time for a request beyond a plain listener, Envoy {}, one worker:", self.envoy)?;
        writeln!(f, "{}\n{bounds}\n\n{}\n\n{}", of_rows(&self.rows), self.instructions, self.fetched_keys)
    }
}

/// Formats the rows as a table.
pub(super) fn of_rows(rows: &[Measured]) -> Table {
    let mut of_rows = table(["", "µs added", "quartiles", "µs in total", "requests"]);
    for row in rows {
        let (added, all) = (row.added(), Spread::of(&row.rounds).median);
        of_rows.add_row([
            row.what.to_owned(),
            format!("{:.1}", added.median),
            format!("{:.1} to {:.1}", added.low, added.high),
            format!("{all:.1}"),
            row.requests.to_string(),
        ]);
    }
    of_rows
}

/// Creates a table whose first column is text and whose other columns are figures.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_interquartile_range() {
        let spread = Spread::of(&[5.0, 1.0, 2.0, 4.0]);
        assert_eq!(spread, Spread { median: 3.0, low: 1.75, high: 4.25 });
        assert_eq!(Spread::of(&[7.0]), Spread { median: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn added_cost_is_computed_per_round() {
        let mut bare = Measured::new("bare", "");
        let mut row = Measured::new("row", "");
        for (plain, whole) in [(10, 30), (20, 44)] {
            bare.add(Duration::from_micros(plain * 100), 100);
            row.add(Duration::from_micros(whole * 100), 100);
        }
        let row = row.over(&bare);
        assert_eq!(row.added().median, 22.0);
        assert_eq!(row.requests, 200);
    }
}
