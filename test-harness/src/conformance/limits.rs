//! The rate limiter, checked with the table of a published implementation of the same algorithm.

use anyhow::{Result, ensure};
use callgate::conformance::{Case, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use super::engines::Engines;
use super::parse;
use super::report::{Checked, Outcome};

#[derive(Deserialize)]
struct File {
    quota: Quota,
    /// Time, cost, remaining requests, seconds until the bucket is full, seconds until the request would be allowed or -1, 1 if limited.
    rows: Vec<[f64; 6]>,
}

#[derive(Deserialize)]
struct Quota {
    rate_per_s: u32,
    limit: u32,
}

pub(super) fn run(text: &str, engines: &mut Engines) -> Result<Vec<Checked>> {
    let File { quota, rows } = parse(text)?;
    let steps = rows.iter().map(|[at, cost, ..]| (millis(*at), whole(*cost))).collect();
    let case = Case::Limit { calls: quota.rate_per_s, span: 1_000, burst: quota.limit, steps };
    let verdict = engines.judge(&case)?;
    let Verdict::Accepted(Value::Array(seen)) = verdict else { anyhow::bail!("unexpected result {verdict:?}") };
    ensure!(seen.len() == rows.len(), "{} steps have {} results", rows.len(), seen.len());
    let check = |((number, row), seen): ((usize, &[f64; 6]), &Value)| {
        let [.., remaining, rest_in, passes_in, limited] = *row;
        let expected = json!({
            "limited": limited != 0.0,
            "remaining": whole(remaining),
            "rest_in": millis(rest_in),
            "passes_in": (passes_in >= 0.0).then(|| millis(passes_in)),
        });
        let outcome = if *seen == expected {
            Outcome::Passed
        } else {
            Outcome::Failed(format!("expected {expected}, got {seen}"))
        };
        Checked::new(format!("step {number}"), outcome)
    };
    Ok(rows.iter().enumerate().zip(&seen).map(check).collect())
}

/// Converts seconds with at most one decimal to milliseconds.
fn millis(seconds: f64) -> u64 {
    u64::from(whole(seconds * 1_000.0))
}

/// Converts a small whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "out of range it is cut, and then fails")]
fn whole(number: f64) -> u32 {
    number.round() as u32
}
