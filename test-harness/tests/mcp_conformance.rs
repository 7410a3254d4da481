//! The conformance suite for MCP gateways: Callgate passes it, and each scenario can fail.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_harness::mcp_conformance::{self, Examples, Gateway, Lists, Need, Outcome, Remote, Report};
use test_harness::paths;

/// Returns a gateway that does nothing, with which every scenario runs.
fn direct() -> Gateway {
    Gateway::Direct(Vec::new())
}

/// Returns the results by scenario.
fn outcomes(report: &Report) -> BTreeMap<&str, Outcome> {
    report.rows.iter().map(|row| (row.scenario, row.outcome)).collect()
}

/// Returns a folder of third-party data, which are not part of the repository but may be next to the clone.
fn published(name: &str) -> Option<PathBuf> {
    let folder = paths::root().join("../shared/vectors/mcp").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    // Bypasses the print macros, because the test runner shows their output only for failed tests.
    let _ = writeln!(io::stderr(), "not run: there is no folder {}", folder.display());
    None
}

fn examples() -> Option<PathBuf> {
    published("examples-2026-07-28")
}

/// The published suites exclude the requirements on intermediaries, and have others that a gateway can break.
#[test]
fn every_published_requirement_has_a_scenario_or_a_reason() {
    let Some(folder) = published("requirements") else { return };
    let found = mcp_conformance::requirements(&folder).unwrap();
    assert!(found.problems.is_empty(), "{:#?}", found.problems);
    assert!(found.read >= 288 && found.with_scenarios >= 120 && found.of_intermediaries >= 2, "{found:?}");
}

#[test]
fn the_document_lists_every_scenario() {
    mcp_conformance::compare_scenarios(false).unwrap();
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn callgate_meets_the_requirements_on_mcp_gateways() {
    let report = mcp_conformance::run(&Gateway::Callgate, None).unwrap();
    mcp_conformance::judge(&report).unwrap();
    assert!(report.rows.iter().all(|row| row.outcome != Outcome::Skipped), "{report}");
    mcp_conformance::compare_results(&report, false).unwrap();
}

/// Returns the arguments of the command line for a gateway that somebody else started.
fn arguments(remote: &Remote) -> Vec<String> {
    let options = [
        ("--url", Some(remote.url.clone())),
        ("--upstream", Some(remote.upstream.to_string())),
        ("--host", remote.host.clone()),
        ("--modern-path", remote.modern_path.clone()),
        ("--resource", remote.resource.clone()),
        ("--origin", remote.origin.clone()),
        ("--token", remote.tokens.full.clone()),
        ("--narrow-token", remote.tokens.narrow.clone()),
        ("--foreign-token", remote.tokens.foreign.clone()),
        ("--expired-token", remote.tokens.expired.clone()),
    ];
    let given = options.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?]));
    ["mcp-conformance".to_owned()].into_iter().chain(given.flatten()).collect()
}

/// Runs groups of scenarios from the command line, and returns whether it succeeded, with its report.
fn run_remotely(remote: &Remote, only: &str, others: &[&str]) -> (bool, Value) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    await_free(remote.upstream);
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-harness"));
    command.args(arguments(remote)).args(["--only", only, "--json"]).arg(&json).args(others);
    let output = command.env_remove("RUST_BACKTRACE").output().unwrap();
    let report = fs::read(&json).unwrap_or_else(|error| panic!("no report: {error}: {output:?}"));
    (output.status.success(), serde_json::from_slice(&report).unwrap())
}

/// Returns how many scenarios of a report have each outcome: passed, failed, skipped.
fn counts(report: &Value) -> [usize; 3] {
    let rows = report.get("rows").and_then(Value::as_array).unwrap();
    let with = |outcome: &str| rows.iter().filter(|row| row.get("outcome").is_some_and(|own| own == outcome)).count();
    ["passed", "failed", "skipped"].map(with)
}

/// Waits until the server of an earlier run has closed its port.
fn await_free(address: SocketAddr) {
    let start = Instant::now();
    while TcpListener::bind(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "{address} is in use");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The suite starts neither the gateway nor knows anything about it but what the command line says.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_gateway_that_was_started_by_others_gets_the_same_results() {
    let (remote, envoy) = mcp_conformance::start_remote().unwrap();
    let report = mcp_conformance::run(&Gateway::Remote(Box::new(remote.clone())), None).unwrap();
    mcp_conformance::judge(&report).unwrap();
    assert!(report.rows.iter().all(|row| row.outcome != Outcome::Skipped), "{report}");

    // From the command line, with one group that uses each option.
    for group in ["headers", "origins", "tokens", "metadata"] {
        let (succeeds, report) = run_remotely(&remote, group, &[]);
        let [passed, failed, skipped] = counts(&report);
        assert!(succeeds && passed > 2 && failed == 0 && skipped == 0, "{report}");
    }
    // The gateway rejects `GET` on the endpoint of 2026-07-28 otherwise than that revision requires.
    let (_, report) = run_remotely(&remote, "methods.get-of-2026", &[]);
    assert_eq!(counts(&report), [0, 1, 0], "{report}");
    // What a gateway does not do is not checked.
    let (succeeds, report) = run_remotely(&remote, "origins.", &["--without", "origins"]);
    assert!(succeeds && counts(&report)[2] > 0, "{report}");
    // Another origin than that which the gateway accepts fails.
    let stranger = Remote { origin: Some("https://evil.example".to_owned()), ..remote.clone() };
    let (succeeds, report) = run_remotely(&stranger, "origins.allowed", &[]);
    assert!(!succeeds && counts(&report) == [0, 1, 0], "{report}");
    // Without the gateway, nothing is forwarded.
    drop(envoy);
    await_free(remote.upstream);
    let gone = mcp_conformance::run(&Gateway::Remote(Box::new(remote)), Some("headers.agree")).unwrap();
    assert!(!gone.meets_every_must(), "{gone}");
}

/// Checks that all the messages were found.
fn assert_complete(examples: &Examples) {
    assert!(examples.sent >= 35 && examples.answered >= 94 && examples.shared >= 6, "{examples:?}");
    assert!(examples.unused.is_empty(), "{:#?}", examples.unused);
}

/// With filtered lists, each answer of a server passes the filter of answers. It may only make the lists private.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn callgate_passes_published_example_messages_unchanged() {
    let Some(folder) = examples() else { return };
    for lists in [Lists::Unfiltered, Lists::Filtered] {
        let examples = mcp_conformance::examples(&folder, &Gateway::Callgate, lists).unwrap();
        assert_complete(&examples);
        assert!(examples.changed.is_empty(), "{lists:?}: {:#?}", examples.changed);
    }
}

#[test]
fn finds_the_messages_among_the_published_examples() {
    let Some(folder) = examples() else { return };
    let examples = mcp_conformance::examples(&folder, &direct(), Lists::Unfiltered).unwrap();
    assert_complete(&examples);
    assert!(examples.changed.is_empty(), "{:#?}", examples.changed);
    // Without a gateway, lists stay public.
    let public = mcp_conformance::examples(&folder, &direct(), Lists::Filtered).unwrap();
    assert_eq!(public.changed.len(), public.shared, "{:#?}", public.changed);
    assert!(public.changed.iter().all(|change| change.starts_with("List")), "{:#?}", public.changed);
    let denied = mcp_conformance::examples(&folder, &Gateway::Closed, Lists::Unfiltered).unwrap();
    assert_eq!(denied.changed.len(), denied.sent + denied.answered);
}

/// A scenario that passes without a gateway and with one that rejects everything would check nothing.
#[test]
fn no_scenario_passes_whatever_the_gateway_does() {
    let direct = mcp_conformance::run(&direct(), None).unwrap();
    let closed = mcp_conformance::run(&Gateway::Closed, None).unwrap();
    let (direct, closed) = (outcomes(&direct), outcomes(&closed));
    assert_eq!(direct.len(), closed.len());
    let passes = |outcomes: &BTreeMap<&str, Outcome>, id: &str| outcomes.get(id) == Some(&Outcome::Passed);
    let both: Vec<_> = direct.keys().filter(|id| passes(&direct, id) && passes(&closed, id)).collect();
    assert!(both.is_empty(), "{both:?}");
    // Many requirements are about rejection, and many about what a gateway must not touch.
    let count = |outcomes: &BTreeMap<&str, Outcome>| outcomes.keys().filter(|id| passes(outcomes, id)).count();
    assert!(count(&direct) > 60 && count(&closed) > 30, "{} {}", count(&direct), count(&closed));
}

#[test]
fn requests_that_reach_the_server_directly_meet_every_requirement_on_forwarding() {
    let everything =
        [Need::Bodies, Need::Lists, Need::Operations, Need::Origins, Need::Parameters, Need::Revisions, Need::Tokens];
    let report = mcp_conformance::run(&Gateway::Direct(everything.to_vec()), None).unwrap();
    let failed: Vec<_> = report.failures().map(|row| format!("{}: {}", row.scenario, row.seen)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.meets_every_must());
    let skipped = report.rows.iter().filter(|row| row.outcome == Outcome::Skipped);
    assert!(skipped.clone().count() > 60 && skipped.clone().all(|row| row.seen.starts_with("without ")), "{report}");
}
