//! A short run of `cargo harness soak` with each adapter.

use std::time::Duration;

use test_harness::envoy::Adapter;
use test_harness::soak;

const TIME: Duration = Duration::from_secs(20);
const TOKENS: usize = 2_000;

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn memory_of_the_filter_is_flat() {
    soak::run(Adapter::Wasm, TIME, TOKENS).unwrap();
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn memory_of_the_module_is_flat() {
    soak::run(Adapter::Module, TIME, TOKENS).unwrap();
}
