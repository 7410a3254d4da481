//! The figures, as text and as JSON.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::fetched::FetchedKeys;
use super::footprint::Footprint;
use super::instructions::Instructions;

/// The cost ratios of pairs of rows, with their upper bounds. The bounds tolerate noise of the machine, but not a decision that becomes 50%
/// more expensive.
pub(super) const RATIOS: [(&str, &str, &str, Option<f64>); 43] = [
    ("warm_vs_native_cached", "warm", "native_cached", Some(2.0)),
    ("module_warm_vs_native_cached", "module_warm", "native_cached", Some(MOST_MODULE_WARM)),
    ("module_warm_vs_warm", "module_warm", "warm", None),
    ("same_calls_vs_native_cached", "same_calls", "native_cached", None),
    // The instructions of both differ by at most 1 %. The rest is noise, and two modules at different places in memory.
    ("warm_fetched_vs_warm", "warm_fetched", "warm", Some(1.05)),
    // Without a bound: a twentieth of so small a cost is within the noise.
    ("module_warm_fetched_vs_module_warm", "module_warm_fetched", "module_warm", None),
    ("revocation_vs_warm", "revocation", "warm", Some(1.05)),
    // The record and one header of the upstream are longer.
    ("delegation_vs_warm", "delegation", "warm", None),
    ("warm_vs_native", "warm", "native_es256", Some(0.4)),
    ("module_warm_vs_native", "module_warm", "native_es256", None),
    ("cold_es256_vs_native", "cold_es256", "native_es256", Some(1.9)),
    ("module_cold_es256_vs_native", "module_cold_es256", "native_es256", Some(MOST_MODULE_NEW)),
    ("cold_rs256_vs_native", "cold_rs256", "native_rs256", Some(1.9)),
    ("module_cold_rs256_vs_native", "module_cold_rs256", "native_rs256", Some(MOST_MODULE_NEW)),
    ("cold_ed25519_vs_native", "cold_ed25519", "native_ed25519", Some(1.9)),
    ("module_cold_ed25519_vs_native", "module_cold_ed25519", "native_ed25519", Some(MOST_MODULE_NEW)),
    ("warm_vs_ext_authz", "warm", "ext_authz", Some(0.7)),
    ("module_warm_vs_ext_authz", "module_warm", "ext_authz", None),
    ("warm_vs_policy_service", "warm", "policy_service", Some(0.15)),
    ("module_warm_vs_policy_service", "module_warm", "policy_service", None),
    ("warm_vs_policy_service_cached", "warm", "policy_service_cached", Some(0.15)),
    ("module_warm_vs_policy_service_cached", "module_warm", "policy_service_cached", None),
    ("policy_service_vs_ext_authz", "policy_service", "ext_authz", None),
    ("same_calls_vs_ext_authz", "same_calls", "ext_authz", None),
    ("scale_10000_vs_10", "scale_10000", "scale_10", Some(1.2)),
    ("module_scale_10000_vs_10", "module_scale_10000", "module_scale_10", Some(1.2)),
    ("signed_ed25519_vs_native_eddsa", "signed_ed25519", "native_eddsa", Some(1.0)),
    ("module_signed_ed25519_vs_native_eddsa", "module_signed_ed25519", "native_eddsa", Some(MOST_MODULE_NEW)),
    ("signed_es256_vs_native_ecdsa", "signed_es256", "native_ecdsa", None),
    ("module_signed_es256_vs_native_ecdsa", "module_signed_es256", "native_ecdsa", Some(MOST_MODULE_NEW)),
    // No native filter verifies HMAC.
    ("signed_hmac_vs_native_eddsa", "signed_hmac", "native_eddsa", Some(0.4)),
    ("module_signed_hmac_vs_native_eddsa", "module_signed_hmac", "native_eddsa", Some(0.4)),
    ("module_signed_hmac_4k_vs_signed_hmac_4k", "module_signed_hmac_4k", "signed_hmac_4k", None),
    ("limit_contention", "limits_4", "limits_1", Some(1.5)),
    ("warm_4_workers_vs_native", "warm_4_workers", "native_4_workers", None),
    ("module_4_workers_vs_native", "module_4_workers", "native_4_workers", Some(MOST_MODULE_4_WORKERS)),
    // The native filter parses the request and decides nothing.
    ("mcp_call_vs_native", "mcp_call", "mcp_native", None),
    ("module_mcp_call_vs_native", "module_mcp_call", "mcp_native", None),
    ("module_mcp_call_vs_mcp_call", "module_mcp_call", "mcp_call", None),
    ("module_mcp_list_vs_mcp_list", "module_mcp_list", "mcp_list", None),
    // Both add to a listener with TLS, of which each request costs the same.
    ("certificate_vs_token", "certificate", "token_over_tls", None),
    ("certificate_bound_vs_token", "certificate_bound", "token_over_tls", None),
    ("module_warm_vs_same_calls", "module_warm", "same_calls", None),
];
/// The module, for a token that was seen before.
const MOST_MODULE_WARM: f64 = 0.8;
/// The module, for a token that was never seen or for a signed request.
const MOST_MODULE_NEW: f64 = 1.0;
const MOST_MODULE_4_WORKERS: f64 = 0.7;
const MOST_CONFIGURE_MS: f64 = 500.0;
const MOST_MEMORY_MIB: f64 = 64.0;
const MOST_TICKS_PERCENT: f64 = 0.1;
/// Bounded because every VM of every worker loads the filter, which also costs memory.
pub const MOST_WASM_MB: f64 = 2.2;

/// Returns the ratios that have an upper bound, with that bound.
pub fn required_ratios() -> Vec<(&'static str, f64)> {
    RATIOS.iter().filter_map(|(name, _, _, most)| Some((*name, (*most)?))).collect()
}

/// All figures of a run.
#[derive(Debug)]
pub struct Report {
    pub(super) envoy: String,
    pub(super) connections: usize,
    pub(super) rows: Vec<Measured>,
    /// The worker's CPU time for each update to a policy with 10,000 endpoints and agents, in milliseconds.
    pub(super) configure_ms: Vec<f64>,
    /// The worker's CPU time for each change of a list of 100,000 revoked credentials, in milliseconds.
    pub(super) list_ms: Vec<f64>,
    /// The linear memory of a VM with such a list, in bytes.
    pub(super) list_memory: usize,
    pub(super) wasm_bytes: u64,
    pub(super) module_bytes: u64,
    pub(super) memory_small: usize,
    pub(super) memory_large: usize,
    /// Whole Envoys: without a gate, with the module, and with the filter in Wasm.
    pub(super) footprints: Vec<Footprint>,
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
    pub(super) what: &'static str,
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
    pub(super) fn of(figures: &[f64]) -> Self {
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

    /// Describes the requirement.
    pub(super) fn required(&self) -> String {
        self.most.map(|most| format!("at most {most}")).unwrap_or_default()
    }
}

impl Report {
    /// Returns the rows, in the order of the table.
    pub fn rows(&self) -> &[Measured] {
        &self.rows
    }

    /// Returns what whole Envoys need, in the order of the table.
    pub fn footprints(&self) -> &[Footprint] {
        &self.footprints
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
        bounds.extend([
            Bound { name: "list_ms_100000", value: Spread::of(&self.list_ms).median, most: None },
            Bound { name: "memory_mib_list_100000", value: self.list_memory as f64 / f64::from(1 << 20), most: None },
        ]);
        bounds.extend(self.fetched_keys.bounds());
        bounds.extend(self.footprint_ratios());
        bounds
    }

    /// Returns what the module needs, compared with the filter in Wasm: the memory in addition to an Envoy without a gate, and the time
    /// until Envoy is ready.
    fn footprint_ratios(&self) -> Vec<Bound> {
        let found = |name: &str| self.footprints.iter().find(|footprint| footprint.name == name);
        let Some(((bare, module), wasm)) = found("bare").zip(found("module")).zip(found("wasm")) else {
            return Vec::new();
        };
        let added = |footprint: &Footprint| footprint.memory_mib - bare.memory_mib;
        [
            ("module_memory_vs_wasm_4_workers", added(module) / added(wasm)),
            ("module_ready_vs_wasm_4_workers", module.ready_s / wasm.ready_s),
        ]
        .map(|(name, value)| Bound { name, value, most: None })
        .into()
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
        let footprints = self.footprints.iter().map(|footprint| {
            let figures = json!({
                "what": footprint.what,
                "memory_mib": footprint.memory_mib,
                "ready_s": footprint.ready_s,
            });
            (footprint.name.to_owned(), figures)
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
            "list_ms_100000": Spread::of(&self.list_ms).median,
            "list_ms_100000_each": self.list_ms,
            "memory_bytes_list_100000": self.list_memory,
            "memory_bytes_10": self.memory_small,
            "memory_bytes_10000": self.memory_large,
            "wasm_bytes": self.wasm_bytes,
            "module_bytes": self.module_bytes,
            "footprints": footprints.collect::<Map<String, Value>>(),
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
            let holds = if bound.holds() { "✓" } else { "✗" };
            let holds = bound.most.map_or("", |_| holds);
            bounds.add_row([bound.name, &format!("{:.2}", bound.value), &bound.required(), holds]);
        }
        let mut footprints = table(["Envoy with four workers", "MiB", "s until ready"]);
        for footprint in &self.footprints {
            let [memory, ready] = [footprint.memory_mib, footprint.ready_s];
            footprints.add_row([footprint.what.to_owned(), format!("{memory:.0}"), format!("{ready:.2}")]);
        }
        writeln!(f, "CPU time for a request beyond a plain listener, Envoy {}, one worker:", self.envoy)?;
        writeln!(
            f,
            "{}\n{bounds}\n\n{footprints}\n\n{}\n\n{}",
            of_rows(&self.rows),
            self.instructions,
            self.fetched_keys
        )
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
