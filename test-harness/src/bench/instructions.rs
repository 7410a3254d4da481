//! The number of instructions of a decision, by part. Other load on the machine does not affect it.
//!
//! The module runs under the wasm host, which counts instructions as wasmtime's fuel and records the count at each host call. The host's
//! own work in a call is not included. A part without host calls is computed from the difference between two policies.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policies::{self, ENDPOINT};
use super::report::table;
use crate::paths;
use crate::quickstart::{HOST, Issuer, set};
use crate::wasmhost::{Module, Outcome, Request, Verdict, Vm};

/// The time of the measured decision, in seconds since 1970. It is constant, and so are the tokens.
pub(super) const NOW: u64 = 1_795_000_000;
/// How many decisions precede the measured one.
pub(super) const WARM_UP: usize = 3;

/// The instructions of a decision about a request with a cached token.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Instructions {
    /// The total.
    pub warm_decision: u64,
    /// The total, by part.
    pub parts: Vec<Part>,
}

/// A part of a decision.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its instructions.
    pub instructions: u64,
}

impl Instructions {
    /// Counts the instructions for the quickstart's policy.
    ///
    /// # Errors
    /// When the filter does not fit its host, or its decision is not the expected one.
    pub fn count(module: &Module) -> Result<Self> {
        let issuer = Issuer::at(NOW)?;
        let token = policies::token(&issuer, &issuer.es256, 0);
        let decide = |policy: &Value| decide(module, policy, &token);

        let whole = policies::quickstart()?;
        let without_limits = policies::without_limits()?;
        let mut known = without_limits.clone();
        set(&mut known, "requirements", json!({ "write": { "scopes": "none", "form_bodies": "allow" } }));
        let endpoint = policies::endpoint(&mut known, ENDPOINT)?;
        set(endpoint, "bind", json!({}));
        set(endpoint, "scopes", "none");
        let mut public = known.clone();
        let endpoint = policies::endpoint(&mut public, ENDPOINT)?;
        set(endpoint, "access", "public");
        set(endpoint, "credentials", "ignore");
        policies::remove(endpoint, "scopes");

        let (whole, decided) = (decide(&whole)?, Marks::of(&decide(&without_limits)?)?);
        let (known, public) = (Marks::of(&decide(&known)?)?, Marks::of(&decide(&public)?)?);
        let part = |name: &str, instructions| Part { name: name.to_owned(), instructions };
        let less = |more: u64, fewer: u64| more.checked_sub(fewer).context("a check has a negative cost");
        let parts = vec![
            part("the stream's beginning and end", decided.around),
            part("reading the request", decided.read),
            part("canonical form and endpoint", public.decide),
            part("token and agent", less(known.decide, public.decide)?),
            part("scopes, bindings and forms", less(decided.decide, known.decide)?),
            part("limits", less(whole.fuel, decided.all)?),
            part("headers for the upstream", decided.headers),
            part("record", decided.record),
        ];
        ensure!(
            parts.iter().map(|part| part.instructions).sum::<u64>() == whole.fuel,
            "the parts do not add up to the total"
        );
        Ok(Self { warm_decision: whole.fuel, parts })
    }

    /// Reads the reference count that later counts are compared with.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn kept() -> Result<Self> {
        let file = Self::file();
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not a count of instructions", file.display()))
    }

    /// Stores this count as the reference for later ones.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self) -> Result<()> {
        let file = Self::file();
        let text = serde_json::to_string_pretty(self).context("the count cannot be written as JSON")? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn file() -> PathBuf {
        paths::root().join("test-harness/instructions.json")
    }
}

/// Lets a VM decide the request a few times, and returns the last outcome.
fn decide(module: &Module, policy: &Value, token: &str) -> Result<Outcome> {
    decide_in(&mut super::start(module, policy)?, token)
}

/// Lets this VM decide the request a few times, and returns the last outcome.
pub(super) fn decide_in(vm: &mut Vm, token: &str) -> Result<Outcome> {
    let request = Request { headers: lines(token), now: NOW * 1_000_000_000, ..Request::default() };
    for _ in 0..WARM_UP {
        vm.request(&request);
    }
    let outcome = vm.request(&request);
    match &outcome.verdict {
        Verdict::Continue { .. } => Ok(outcome),
        other => bail!("the request was not allowed: {other:?}"),
    }
}

/// Returns the lines that Envoy shows to a filter for the measured request.
fn lines(token: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    [
        (":authority", HOST),
        (":path", "/repos/acme/gateway/pulls"),
        (":method", "POST"),
        (":scheme", "http"),
        ("authorization", &format!("Bearer {token}")),
        ("user-agent", "agent/1.0"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("content-length", "0"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-envoy-external-address", "192.0.2.1"),
        ("x-request-id", "0b63c4a6-1f0e-4a39-9d3b-51f4f2f2f6a1"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into()
}

/// The instructions between certain host calls of a stream.
struct Marks {
    all: u64,
    /// Before the first host call and after the last.
    around: u64,
    /// From the first host call to the clock, which is the last input of each request.
    read: u64,
    /// From the clock to the first change of a header.
    decide: u64,
    /// From the first change to the last change.
    headers: u64,
    /// From the last change to the last host call: writes the record and counts the decision.
    record: u64,
}

impl Marks {
    fn of(outcome: &Outcome) -> Result<Self> {
        // Changes of the response's headers come after the record.
        let written = outcome.calls.iter().position(|call| *call == "proxy_set_property");
        let is_change = |call: &&str| {
            let changes = ["proxy_add_", "proxy_remove_", "proxy_replace_"];
            changes.iter().any(|change| call.starts_with(change))
        };
        let before = outcome.calls.get(..written.unwrap_or_default()).unwrap_or_default();
        let at = |place: Option<usize>| {
            let fuel = place.and_then(|place| outcome.fuel_at.get(place)).copied();
            fuel.with_context(|| format!("a host call is missing among {:?}", outcome.calls))
        };
        let first = at(Some(0))?;
        let clock = at(outcome.calls.iter().rposition(|call| *call == "proxy_get_current_time_nanoseconds"))?;
        let first_change = at(before.iter().position(&is_change))?;
        let last_change = at(before.iter().rposition(is_change))?;
        let last = at(outcome.calls.len().checked_sub(1))?;
        Ok(Self {
            all: outcome.fuel,
            around: first + (outcome.fuel - last),
            read: clock - first,
            decide: first_change - clock,
            headers: last_change - first_change,
            record: last - last_change,
        })
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = table(["a request whose token was verified before", "instructions"]);
        for Part { name, instructions } in &self.parts {
            parts.add_row([name.clone(), instructions.to_string()]);
        }
        parts.add_row(["in all".to_owned(), self.warm_decision.to_string()]);
        write!(f, "{parts}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, Flavor};

    /// Otherwise its cost would not be a lower bound for the cost of the filter.
    #[test]
    fn baseline_filter_makes_the_same_host_calls_as_a_decision() {
        let filter = Module::load(&build::filter(Flavor::Release).unwrap()).unwrap();
        let same_calls = Module::compile(&wat::parse_str(super::super::SAME_CALLS_TEXT).unwrap()).unwrap();
        let issuer = Issuer::at(NOW).unwrap();
        let token = policies::token(&issuer, &issuer.es256, 0);
        let policy = policies::quickstart().unwrap();
        let [decided, same] = [filter, same_calls].map(|module| decide(&module, &policy, &token).unwrap());
        assert_eq!(same.calls, decided.calls);
        let lengths = |lines: &[(Vec<u8>, Vec<u8>)]| -> Vec<_> {
            lines.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.len())).collect()
        };
        let [decided_lines, same_lines] = [&decided, &same].map(|outcome| match &outcome.verdict {
            Verdict::Continue { headers, .. } => lengths(headers),
            other => panic!("{other:?}"),
        });
        assert_eq!(same_lines, decided_lines);
        let [decided_answer, same_answer] = [&decided, &same].map(|outcome| lengths(outcome.answer.as_ref().unwrap()));
        assert_eq!(same_answer, decided_answer);
        // Unlike Envoy, this host provides no source address.
        let [decided_record, same_record] = [&decided, &same].map(|outcome| {
            let mut record = outcome.record.clone().unwrap();
            record.as_object_mut().unwrap().remove("source");
            record.to_string().len()
        });
        assert_eq!(same_record, decided_record);
    }

    #[test]
    fn ed25519_tables_more_than_halve_the_cost_of_a_decision() {
        let module = Module::load(&build::filter(Flavor::Release).unwrap()).unwrap();
        let issuer = Issuer::at(NOW).unwrap();
        let policy = policies::quickstart().unwrap();
        let cost = |policy: &Value| {
            let mut vm = Vm::start(&module, policy.to_string().as_bytes(), &[]).unwrap();
            let mut decide = |serial| {
                let token = policies::token(&issuer, &issuer.ed25519, serial);
                let request = Request { headers: lines(&token), now: NOW * 1_000_000_000, ..Request::default() };
                let outcome = vm.request(&request);
                assert!(matches!(outcome.verdict, Verdict::Continue { .. }), "{:?}", outcome.verdict);
                outcome.fuel
            };
            (0..30).map(&mut decide).collect::<Vec<_>>()
        };
        let with_tables = cost(&policy);
        let mut without = policy.clone();
        set(&mut without, "tables", json!({ "ed25519": 0 }));
        let without = cost(&without);
        assert!(with_tables[29] * 2 < without[29], "{with_tables:?} {without:?}");
        // The table is built once, and costs no more than a few signatures.
        let built = with_tables.iter().filter(|fuel| **fuel > without[29] * 3 / 2).count();
        assert_eq!(built, 1, "{with_tables:?}");
    }
}
