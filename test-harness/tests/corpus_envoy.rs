//! The corpus in a real Envoy.

use test_harness::build::{self, Flavor};
use test_harness::corpus::{envoy, suites};

#[test]
fn every_case_is_decided_as_it_expects() {
    let module = build::filter(Flavor::Release).unwrap();
    let wrong = envoy::run(&module, &suites().unwrap()).unwrap();
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
