//! Runs inputs that are the same on every run, and checks that the checks can fail.

use serde_json::json;

use super::client::Facts;
use super::{Reached, fuzz, run};

/// Returns bytes that look random.
fn random(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| byte()).collect()
}

/// Inputs in which the fuzzer found a defect.
const FOUND: [&[u8]; 0] = [];

#[test]
fn inputs_with_former_defects_have_none() {
    FOUND.into_iter().for_each(fuzz);
}

#[test]
fn any_sequence_of_hooks_keeps_what_must_hold() {
    let mut reached = Reached::default();
    for seed in 0..300 {
        run(&random(seed, 1_000), &mut reached);
    }

    let Reached { configurations, streams, forwarded, woken, checked, answered, ended_inside, filtered, held, fetched } =
        reached;
    let all = [configurations, streams, forwarded, woken, checked, answered, ended_inside, filtered, held, fetched];
    assert!(all.iter().all(|times| *times > 0), "{reached:?}");
}

#[test]
fn the_same_input_does_the_same() {
    let input = random(7, 2_000);
    let [first, second] = [(); 2].map(|()| {
        let mut reached = Reached::default();
        run(&input, &mut reached);
        reached
    });
    assert_eq!(first, second);
    fuzz(&[]);
}

#[test]
fn the_checks_of_forwarded_requests_can_fail() {
    let forwarded = |endpoint: &str, decision: &str, names: &[&str], has_credential, body: Option<&str>| {
        let lines = names.iter().map(|name| (name.as_bytes().to_vec(), b"POST".to_vec())).collect();
        let (record, body) = (json!({ "decision": decision, "endpoint": endpoint }), body.map(|body| body.into()));
        Facts { record: &record, lines: &lines, has_credential, body: body.as_ref() }.problem()
    };
    let usual = &[":method", "x-callgate-endpoint"][..];
    for (endpoint, body) in [
        ("health", None),
        ("reports", None),
        ("json", Some(r#"{"owner":"acme"}"#)),
        ("mcp", Some(r#"{"method":"tools/list"}"#)),
        ("mcp", Some(r#"{"method":"tools/call","params":{"name":"look"}}"#)),
    ] {
        assert_eq!(forwarded(endpoint, "allow", usual, endpoint != "health", body), None, "{endpoint} {body:?}");
        for (decision, names, has_credential) in [
            ("deny", usual, true),
            ("", usual, true),
            ("allow", &[":method"], true),
            ("allow", &["x-callgate-endpoint", "x-callgate-endpoint"], true),
            ("allow", &[":method", "x-callgate-endpoint", "authorization"], true),
            ("allow", usual, endpoint == "health"),
        ] {
            let problem = forwarded(endpoint, decision, names, has_credential, body);
            let is_forwarded = endpoint == "health" && decision == "allow" && names.starts_with(usual);
            assert_eq!(problem.is_none(), is_forwarded, "{endpoint} {decision} {names:?} {has_credential}");
        }
    }
    for (endpoint, body) in [
        ("json", None),
        ("json", Some("{")),
        ("json", Some(r#"{"owner":"other"}"#)),
        ("mcp", None),
        ("mcp", Some(r#"{"method":"tools/call","params":{"name":"drop_tables"}}"#)),
    ] {
        assert!(forwarded(endpoint, "allow", usual, true, body).is_some(), "{endpoint} {body:?}");
    }
}
