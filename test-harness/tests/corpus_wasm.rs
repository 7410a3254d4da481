//! The corpus in the filter under a wasm host.

use test_harness::build::{self, Flavor};
use test_harness::corpus::{suites, wasm};

#[test]
fn every_case_is_decided_as_it_expects() {
    let module = build::filter(Flavor::Release).unwrap();
    let wrong = wasm::run(&module, &suites().unwrap()).unwrap();
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
