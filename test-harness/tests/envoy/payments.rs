//! The example `examples/payments` in a real Envoy: finding the record of an incident, and alerts on metrics that exist.

use std::fs;

use callgate::decision::metrics;
use callgate_kit::document;
use callgate_kit::mint::SigningKey;
use callgate_kit::records::{Line, Lines, Words, open};
use serde_json::json;
use test_harness::client::Request;
use test_harness::envoy::{Adapter, Bootstrap, Options};
use test_harness::{observability, paths};

use crate::envoy::fixture::{Gate, adapter, claims};

const HOST: &str = "finance.example.com";

/// Starts a gate with the example's policy in a file that Envoy watches, as the alerts on updates expect.
fn gate() -> Gate {
    let file = document::read(paths::root().join("examples/payments/policy.yaml")).unwrap();
    let mut policy = file.value().clone();
    // The tests must still work after the registrations of the example have expired.
    for agent in ["procurement-agent", "reconciliation-agent"] {
        policy["agents"][agent]["expires"] = json!("9999-12-31");
    }
    let routed = |bootstrap: &mut Bootstrap| {
        bootstrap.virtual_hosts().unwrap()[0]["domains"] = json!([HOST]);
        *bootstrap = bootstrap.clone().dynamic();
    };
    Gate::start_with(&policy, routed, &Options::default())
}

fn token(agent: &str, scopes: &str) -> String {
    let jwk = fs::read_to_string(paths::root().join("examples/payments/keys/es256.jwk.json")).unwrap();
    let key = SigningKey::from_jwk(&serde_json::from_str(&jwk).unwrap()).unwrap();
    let mut claims = claims(scopes);
    claims["aud"] = json!("https://finance.example.com");
    claims["sub"] = json!(agent);
    claims["client_id"] = json!(agent);
    claims["tenant"] = json!("acme");
    claims["exp"] = json!(claims["iat"].as_u64().unwrap() + 240);
    let mut header = key.header();
    header["typ"] = json!("at+jwt");
    key.sign(&header, &claims)
}

fn pay(invoice: &str, token: &str) -> Request {
    Request::post(format!("/tenants/acme/invoices/{invoice}/payments"))
        .host(HOST)
        .bearer(token)
        .header("X-Agent-Run-Id", "run-7")
        .header("Content-Type", "application/json")
        .body("{}")
}

/// Returns the records of a decision in the access log, as text.
fn found(gate: &Gate, id: &str) -> Vec<String> {
    let log = open(gate.envoy.folder().join("access.log").to_str().unwrap()).unwrap();
    let mut lines = Lines::new(log, "callgate").unwrap();
    let mut found = Vec::new();
    while let Some(line) = lines.read().unwrap() {
        if let Line::Record(record) = line
            && record.has_id(id)
        {
            found.push(Words { record: &record, place: &|_| None }.to_string());
        }
    }
    found
}

#[test]
fn finds_who_started_a_payment_by_its_decision_id() {
    let gate = gate();
    let paying = token("procurement-agent", "invoices:read payments:start");
    for invoice in ["4710", "4711", "4712"] {
        gate.ask(pay(invoice, &paying)).assert_allowed();
    }
    let failed = gate.ask(pay("4713", &paying).header("X-Failure", "reset"));
    assert_eq!(failed.response.status, 503);
    let denied = gate.ask(pay("4714", &token("reconciliation-agent", "payments:read")));
    denied.assert_denied(403, "insufficient_scope");

    // The API stored this id next to the payment.
    let seen = gate.upstream.seen();
    let noted = seen.iter().find(|seen| seen.path.contains("/4711/")).unwrap();
    let [words] = &found(&gate, noted.header("x-callgate-decision").unwrap())[..] else { panic!("one record") };
    for told in
        ["allowed ", "agent procurement-agent", "payments.start", "/invoices/4711/", "x-agent-run-id: run-7", "200"]
    {
        assert!(words.contains(told), "no `{told}` in:\n{words}");
    }
    assert!(!words.contains(&paying), "{words}");

    // The record of a payment that was allowed but failed states the failure.
    let words = found(&gate, failed.record()["id"].as_str().unwrap()).concat();
    assert!(words.contains("allowed ") && words.contains("status 503, the upstream failed"), "{words}");

    // The response contains the id of the denial, and the record contains the reason.
    let instance = denied.response.json()["instance"].as_str().unwrap().to_owned();
    let words = found(&gate, &instance).concat();
    assert!(words.starts_with("denied "), "{words}");
    assert!(words.contains("insufficient_scope") && words.contains("agent reconciliation-agent"), "{words}");
}

#[test]
fn panels_and_alerts_use_only_exposed_metrics() {
    let gate = gate();
    gate.ask(pay("4711", &token("procurement-agent", "payments:start"))).assert_allowed();
    let exposed = observability::exposed(&gate.envoy.prometheus().unwrap());
    let example =
        |file: &str| document::read(paths::root().join("examples/payments").join(file)).unwrap().value().clone();
    let alerts = observability::of_rules(&example("alerts.yaml")).unwrap();
    let panels = observability::of_dashboard(&example("dashboard.json")).unwrap();
    assert!(alerts.len() > 5 && panels.len() > 10, "{alerts:?} {panels:?}");
    for question in alerts.iter().chain(&panels) {
        let mut faults = question.faults(&exposed).unwrap();
        // The module has no VM that could be lost.
        faults.retain(|fault| adapter() == Adapter::Wasm || !fault.contains("envoy_wasm_callgate_vm_reload"));
        assert_eq!(faults, [""; 0]);
    }
}

/// Operators look up an alert by its name.
#[test]
fn both_guides_describe_every_alert() {
    let rules = document::read(paths::root().join("examples/payments/alerts.yaml")).unwrap().value().clone();
    let alerts = observability::of_rules(&rules).unwrap();
    for guide in ["monitor-and-alert.md", "operate.md"] {
        let text = fs::read_to_string(paths::root().join("docs/guides").join(guide)).unwrap();
        let is_described = |name: &str| text.contains(&format!("\n| `{name}` | "));
        let forgotten: Vec<_> = alerts.iter().map(|alert| &alert.of).filter(|name| !is_described(name)).collect();
        assert_eq!(forgotten, [""; 0], "{guide}");
    }
}

/// A panel or an alert uses every metric of the gate, except those that describe its setup.
#[test]
fn panels_and_alerts_cover_every_operational_metric() {
    let text = ["alerts.yaml", "dashboard.json"]
        .map(|file| fs::read_to_string(paths::root().join("examples/payments").join(file)).unwrap())
        .concat();
    let forgotten = metrics::ALL.iter().map(metrics::Metric::prometheus).filter(|name| !text.contains(name.as_str()));
    assert_eq!(
        forgotten.collect::<Vec<_>>(),
        ["callgate_token_cache_bytes", "callgate_limits_other_size", "callgate_replay_other_size"]
    );
}
