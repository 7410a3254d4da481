//! Upstream servers run the endpoints that the gate matched.

use test_harness::upstreams;

/// What a machine lacks is not run, and printed in one line; CI installs the servers first, with `cargo harness upstreams`.
#[test]
fn every_server_runs_the_endpoint_that_the_gate_matched() {
    let report = upstreams::measure().unwrap();
    report.skipped.iter().for_each(|skipped| println!("{skipped}"));
    for server in &report.ran {
        println!("{}: {} forwarded requests", server.title, server.replayed);
        assert!(server.replayed > 200, "{}", server.title);
    }
    upstreams::judge(&report).unwrap();
    upstreams::compare(&report, false).unwrap();
}
