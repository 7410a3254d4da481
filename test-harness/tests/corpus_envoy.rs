//! Runs the corpus in a real Envoy: the pinned one over HTTP/1.1. Continuous integration also runs it over HTTP/2 and in the oldest
//! supported Envoy, because each run takes a minute.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use test_harness::build::{self, Flavor};
use test_harness::corpus::{Wire, envoy, suites};
use test_harness::envoy::{Binary, oldest};

/// Why HTTP/2 cannot express some cases.
const UNSAID: [&str; 2] = ["a header of the connection", "a user in the authority, which Envoy rejects"];

/// Each run starts an Envoy with several hundred policies, which occupies a processor for half a minute.
static ONE_AFTER_THE_OTHER: Mutex<()> = Mutex::new(());

#[track_caller]
fn every_case_comes_out(binary: Option<Binary>, wire: Wire) -> BTreeSet<&'static str> {
    let _turn = ONE_AFTER_THE_OTHER.lock().unwrap_or_else(PoisonError::into_inner);
    let module = build::filter(Flavor::Release).unwrap();
    let envoy::Report { wrong, unsaid } = envoy::run(&module, &suites().unwrap(), binary, wire).unwrap();
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    unsaid.into_keys().collect()
}

#[test]
fn every_case_passes_in_envoy() {
    let unsaid = every_case_comes_out(None, Wire::Http1);
    assert!(unsaid.is_empty(), "{unsaid:?}");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_case_passes_in_the_oldest_envoy() {
    every_case_comes_out(Some(oldest().unwrap()), Wire::Http1);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_http_2_case_passes_in_envoy() {
    let unsaid = every_case_comes_out(None, Wire::Http2);
    assert_eq!(unsaid, BTreeSet::from(UNSAID));
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_http_2_case_passes_in_the_oldest_envoy() {
    let unsaid = every_case_comes_out(Some(oldest().unwrap()), Wire::Http2);
    assert_eq!(unsaid, BTreeSet::from(UNSAID));
}
