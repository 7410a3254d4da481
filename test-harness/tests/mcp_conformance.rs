//! The conformance suite for MCP gateways: Callgate passes it, and each scenario can fail.

use std::collections::BTreeMap;
use std::path::PathBuf;

use test_harness::mcp_conformance::{self, Examples, Gateway, Lists, Need, Outcome, Report};
use test_harness::paths;

/// Returns a gateway that does nothing, with which every scenario runs.
fn direct() -> Gateway {
    Gateway::Direct(Vec::new())
}

/// Returns the results by scenario.
fn outcomes(report: &Report) -> BTreeMap<&str, Outcome> {
    report.rows.iter().map(|row| (row.scenario, row.outcome)).collect()
}

/// Third-party data, which are not part of the repository but may be next to the clone.
fn examples() -> Option<PathBuf> {
    let folder = paths::root().join("../shared/vectors/mcp/examples-2026-07-28");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("not run: there is no folder {}", folder.display());
    None
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
