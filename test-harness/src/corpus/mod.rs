//! The corpus of decision cases, and the engines beside the native one that run it: the filter under a wasm host, and the
//! filter in a real Envoy.
//!
//! What a case means, and whether what an engine did is what it expects, is decided in `callgate_kit::corpus` for all of
//! them alike; in here an engine is only given requests and watched.

mod adapt;
pub mod envoy;
mod feature;
pub mod wasm;
mod wire;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, anyhow};
use callgate_kit::corpus::{self, Case, Suite};

pub use feature::Feature;

use crate::paths;
pub use wire::Wire;

/// The folders that hold cases: the corpus itself, and the examples, which users copy.
const FOLDERS: [&str; 2] = ["test-harness/corpus", "examples"];

/// Where the corpus states the status of each reason.
const STATUSES: &str = "test-harness/corpus/statuses.yaml";

/// Every file of cases. A denial that states no status expects the one that the corpus states for its reason.
///
/// # Errors
/// Everything that is wrong with the first file that is.
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

/// The status of each reason, as the corpus states it.
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

/// A case that came out otherwise than it expects, in words.
#[must_use]
pub fn described(suite: &Suite, case: &Case, differences: &[String]) -> String {
    let place = format!("{}:{}: {}: {}", suite.file, case.position.line, case.name, case.intent);
    differences.iter().fold(place, |text, difference| format!("{text}\n    {difference}"))
}
