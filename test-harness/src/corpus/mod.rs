//! The corpus of decision cases, and the engines that run it next to the native one: the filter under a wasm host, and the filter in a real
//! Envoy.
//!
//! `callgate_kit::corpus` defines the meaning of a case and compares results with expectations, for all engines alike. This module only
//! feeds requests to an engine and observes it.

mod adapt;
pub mod envoy;
mod feature;
mod publisher;
pub mod wasm;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, anyhow};
use callgate_kit::corpus::{self, Case, Suite};
use serde_json::Value;

pub use feature::Feature;

use crate::paths;
pub use wire::Wire;

/// The folders with cases: the corpus itself, and the examples, which users copy.
const FOLDERS: [&str; 2] = ["test-harness/corpus", "examples"];

/// The file that states the status of each reason.
const STATUSES: &str = "test-harness/corpus/statuses.yaml";

/// Reads every file of cases. A denial that states no status expects the one that the corpus states for its reason.
///
/// # Errors
/// All problems of the first file that has any.
pub fn suites() -> Result<Vec<Suite>> {
    let statuses = statuses()?;
    let mut suites = Vec::new();
    for folder in FOLDERS {
        for file in corpus::find(&paths::root().join(folder)).map_err(|wrong| anyhow!("{wrong}"))? {
            let mut suite = corpus::load(file).map_err(|wrong| anyhow!("{wrong}"))?;
            for case in &mut suite.cases {
                case.expect_status(|reason| statuses.get(reason).copied());
            }
            suites.push(suite);
        }
    }
    Ok(suites)
}

/// Returns the status of each reason, as stated in the corpus.
///
/// # Errors
/// When the file cannot be read.
pub fn statuses() -> Result<BTreeMap<String, u16>> {
    let text = fs::read_to_string(paths::root().join(STATUSES)).context(STATUSES)?;
    let stated: BTreeMap<u16, Vec<String>> = serde_saphyr::from_str(&text).context(STATUSES)?;
    Ok(stated
        .into_iter()
        .flat_map(|(status, reasons)| reasons.into_iter().map(move |reason| (reason, status)))
        .collect())
}

/// Returns the clusters from which a policy fetches documents.
fn clusters(policy: &Value) -> BTreeSet<String> {
    let mut policy = policy.clone();
    let mut names = BTreeSet::new();
    each_cluster(&mut policy, &mut |name| {
        names.insert(name.clone());
    });
    names
}

/// Visits the names of the clusters from which a policy fetches documents.
fn each_cluster(policy: &mut Value, visit: &mut impl FnMut(&mut String)) {
    for member in ["issuers", "revocations"] {
        if let Some(part) = policy.get_mut(member) {
            each_cluster_in(part, visit);
        }
    }
}

fn each_cluster_in(part: &mut Value, visit: &mut impl FnMut(&mut String)) {
    let Value::Object(members) = part else { return };
    for (name, member) in members {
        match member {
            Value::String(cluster) if name == "cluster" => visit(cluster),
            member => each_cluster_in(member, visit),
        }
    }
}

/// Describes a case whose result differs from the expected one.
#[must_use]
pub fn described(suite: &Suite, case: &Case, differences: &[String]) -> String {
    let place = format!("{}:{}: {}: {}", suite.file, case.position.line, case.name, case.intent);
    differences.iter().fold(place, |text, difference| format!("{text}\n    {difference}"))
}
