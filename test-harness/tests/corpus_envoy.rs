//! Runs the corpus in a real Envoy: in the pinned one over HTTP/1.1, with the filter and with the dynamic module. Each run takes a minute.
//! Continuous integration also runs it over HTTP/2 in the pinned version, and over HTTP/1.1 in older ones. HTTP/2 in older versions is left
//! to `cargo test --test harness -- --ignored corpus_envoy`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use test_harness::build::Flavor;
use test_harness::corpus::{Wire, envoy, suites};
use test_harness::envoy::{Adapter, Binary, MODULE_RELEASES, oldest, release};

/// Why HTTP/2 cannot express some cases.
const UNSAID: [&str; 2] = ["a header of the connection", "a user in the authority, which Envoy rejects"];

/// Each run starts an Envoy with several hundred policies, which occupies a processor for half a minute.
static ONE_AFTER_THE_OTHER: Mutex<()> = Mutex::new(());

#[track_caller]
fn every_case_comes_out(adapter: Adapter, binary: Option<Binary>, wire: Wire) -> BTreeSet<&'static str> {
    let _turn = ONE_AFTER_THE_OTHER.lock().unwrap_or_else(PoisonError::into_inner);
    let file = adapter.build(Flavor::Release).unwrap();
    let envoy::Report { wrong, unsaid } = envoy::run(&file, &suites().unwrap(), binary, wire).unwrap();
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
    unsaid.into_keys().collect()
}

/// Runs the corpus with the module in each older version that it supports.
#[track_caller]
fn every_case_comes_out_in_older_versions(wire: Wire) {
    let (_, older) = MODULE_RELEASES.split_last().unwrap();
    for version in older {
        println!("Envoy {version}");
        every_case_comes_out(Adapter::Module, Some(release(version).unwrap()), wire);
    }
}

#[test]
fn every_case_passes_in_envoy() {
    let unsaid = every_case_comes_out(Adapter::Wasm, None, Wire::Http1);
    assert!(unsaid.is_empty(), "{unsaid:?}");
}

#[test]
fn every_case_passes_with_the_module() {
    let unsaid = every_case_comes_out(Adapter::Module, None, Wire::Http1);
    assert!(unsaid.is_empty(), "{unsaid:?}");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_case_passes_in_the_oldest_envoy() {
    every_case_comes_out(Adapter::Wasm, Some(oldest(Adapter::Wasm).unwrap()), Wire::Http1);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_case_passes_with_the_module_in_older_versions() {
    every_case_comes_out_in_older_versions(Wire::Http1);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_http_2_case_passes_in_envoy() {
    let unsaid = every_case_comes_out(Adapter::Wasm, None, Wire::Http2);
    assert_eq!(unsaid, BTreeSet::from(UNSAID));
}

#[test]
#[ignore = "takes minutes: `.ci/run` runs these versions over HTTP/1.1"]
fn every_http_2_case_passes_in_the_oldest_envoy() {
    let unsaid = every_case_comes_out(Adapter::Wasm, Some(oldest(Adapter::Wasm).unwrap()), Wire::Http2);
    assert_eq!(unsaid, BTreeSet::from(UNSAID));
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_http_2_case_passes_with_the_module() {
    let unsaid = every_case_comes_out(Adapter::Module, None, Wire::Http2);
    assert_eq!(unsaid, BTreeSet::from(UNSAID));
}

#[test]
#[ignore = "takes minutes: `.ci/run` runs these versions over HTTP/1.1"]
fn every_http_2_case_passes_with_the_module_in_older_versions() {
    every_case_comes_out_in_older_versions(Wire::Http2);
}
