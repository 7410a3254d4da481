//! Runs the corpus in the native engine, and checks invariants of the corpus itself.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use callgate::Reason;
use callgate_kit::corpus::{Decision, Suite, run};
use test_harness::corpus::{described, statuses, suites};

/// Reasons that no request can trigger, and why.
const UNREACHABLE: [(Reason, &str); 11] = [
    (
        Reason::BodyLengthMissing,
        "Envoy tells the end of a call; tests of the engine, and of the module on Kong, show what does not",
    ),
    (Reason::BodyIncomplete, "a case ends with its body; a test of Envoy has a client that goes away"),
    (Reason::BodyTimeout, "no time passes while a case runs; tests of the wasm host and of Envoy have slow clients"),
    (Reason::HeldBytesFull, "one case holds one request; tests of the wasm host and of Envoy hold several"),
    (Reason::ReplayShareFull, "limits keep an agent within its share, up to chance; a test of Envoy fills one"),
    (Reason::ReplayTableYoung, "the table of a case has always been there; a test of Envoy restarts one"),
    (
        Reason::ReplayContended,
        "one worker decides the cases; a test under the wasm host has others that are always faster",
    ),
    (Reason::TooManyHeaders, "only Kong lists so few headers; tests of the engine, and of the module on Kong, show it"),
    (
        Reason::UnremovableHeader,
        "only Kong cannot remove headers; tests of the engine, and of the module on Kong, show it",
    ),
    (
        Reason::ToolChanged,
        "a case has no answer of a server; tests of the engine and of the module show a tool whose definition changes",
    ),
    (Reason::HostError, "the gateway did not give the filter what it needs; tests make the wasm host fail instead"),
];

#[test]
fn every_case_passes_natively() {
    let mut wrong = Vec::new();
    for suite in &suites().unwrap() {
        for outcome in run::run(suite).unwrap_or_else(|error| panic!("{error}")) {
            if !outcome.differences.is_empty() {
                wrong.push(described(suite, &suite.cases[outcome.case], &outcome.differences));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_reason_has_a_case() {
    let suites = suites().unwrap();
    let covered: BTreeSet<&str> =
        suites.iter().flat_map(|suite| &suite.cases).flat_map(|case| case.reasons()).collect();
    for reason in Reason::ALL {
        let unreachable = UNREACHABLE.iter().any(|(known, _)| known == reason);
        assert_ne!(covered.contains(reason.code()), unreachable, "{}", reason.code());
    }
}

/// If the engine's table changes a status, every case that is denied for that reason fails.
#[test]
fn every_reason_has_an_expected_status() {
    let stated: BTreeSet<String> = statuses().unwrap().into_keys().collect();
    let reasons: BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.code().to_owned()).collect();
    assert_eq!(stated, reasons);
}

#[test]
fn every_intent_is_a_sentence() {
    let begins =
        |text: &str| text.starts_with(|first: char| first.is_ascii_uppercase() || "`\"0123456789".contains(first));
    let is_sentence = |text: &str| begins(text) && text.ends_with('.') && text.split(' ').count() > 3;
    let fragments: Vec<String> = suites()
        .unwrap()
        .iter()
        .flat_map(|suite| {
            suite.cases.iter().filter(|case| !is_sentence(&case.intent)).map(|case| described(suite, case, &[]))
        })
        .collect();
    assert!(fragments.is_empty(), "{} intents are no sentences:\n{}", fragments.len(), fragments.join("\n"));
}

#[test]
fn every_allowed_case_has_a_denied_neighbor() {
    let lonely: Vec<String> = suites().unwrap().iter().flat_map(lonely).collect();
    assert!(lonely.is_empty(), "nothing shows what these rest on:\n{}", lonely.join("\n"));
}

/// Returns the allowed cases without a denied case that differs from them in one thing.
fn lonely(suite: &Suite) -> Vec<String> {
    let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, case) in suite.cases.iter().enumerate() {
        if let Some(from) = case.from {
            neighbours.entry(index).or_default().push(from);
            neighbours.entry(from).or_default().push(index);
        }
    }
    let denied = |index: &usize| suite.cases[*index].decision() != Decision::Allow;
    let alone = |index: &usize| !neighbours.get(index).is_some_and(|near| near.iter().any(denied));
    (0..suite.cases.len())
        .filter(|index| !denied(index) && alone(index))
        .map(|index| described(suite, &suite.cases[index], &[]))
        .collect()
}

#[test]
fn skips_only_cases_that_cannot_run_in_envoy() {
    let suites = suites().unwrap();
    let cases: Vec<_> = suites.iter().flat_map(|suite| &suite.cases).collect();
    let skipped = cases.iter().filter(|case| case.skip_envoy.is_some()).count();
    println!("{skipped} of {} cases are skipped in Envoy", cases.len());
    assert!(skipped * 100 <= cases.len() * 10, "{skipped} of {}", cases.len());
    for suite in &suites {
        for case in &suite.cases {
            let moves =
                case.moves_the_clock() || case.before.iter().any(|earlier| suite.cases[*earlier].moves_the_clock());
            let why = "nothing moves the clock of a real Envoy: write `skip`";
            assert!(!moves || case.skip_envoy.is_some(), "{}", described(suite, case, &[why.to_owned()]));
        }
    }
}
