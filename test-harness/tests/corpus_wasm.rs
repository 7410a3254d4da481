//! Runs the corpus in the filter under a wasm host that emulates each gateway, and checks the table that is generated from the results.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::LazyLock;

use test_harness::corpus::wasm::Row;
use test_harness::portability;

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| portability::rows(&[]).unwrap());

#[test]
fn every_case_passes_on_each_emulated_gateway() {
    let wrong = portability::wrong(&ROWS);
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn portability_table_matches_the_corpus_results() {
    portability::compare(&ROWS, false).unwrap();
}
