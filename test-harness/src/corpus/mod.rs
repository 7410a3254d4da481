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

use anyhow::{Result, anyhow};
use callgate_kit::corpus::{self, Case, Suite};

pub use feature::Feature;

use crate::paths;
pub use wire::Wire;

/// The folders that hold cases: the corpus itself, and the examples, which users copy.
const FOLDERS: [&str; 2] = ["test-harness/corpus", "examples"];

/// Every file of cases.
///
/// # Errors
/// Everything that is wrong with the first file that is.
pub fn suites() -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for folder in FOLDERS {
        for file in corpus::find(&paths::root().join(folder)).map_err(|wrong| anyhow!("{wrong}"))? {
            suites.push(corpus::load(file).map_err(|wrong| anyhow!("{wrong}"))?);
        }
    }
    Ok(suites)
}

/// A case that came out otherwise than it expects, in words.
#[must_use]
pub fn described(suite: &Suite, case: &Case, differences: &[String]) -> String {
    let place = format!("{}:{}: {}: {}", suite.file, case.position.line, case.name, case.intent);
    differences.iter().fold(place, |text, difference| format!("{text}\n    {difference}"))
}
