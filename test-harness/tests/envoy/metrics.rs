//! The metrics in the format that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};

use callgate::decision::metrics::{self, Kind};
use test_harness::client::Request;

use crate::envoy::fixture::{Gate, HOST, KEY, claims, good, header, policy};

/// Returns the metrics' names with their types, and the samples by name and labels.
fn scrape(gate: &Gate) -> (BTreeSet<(String, String)>, BTreeMap<String, u64>) {
    let text = gate.envoy.prometheus().unwrap();
    let (mut kinds, mut samples) = (BTreeSet::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert((name.to_owned(), kind.to_owned()));
        } else if let Some((sample, value)) = line.rsplit_once(' ') {
            samples.insert(sample.to_owned(), value.parse().unwrap_or_default());
        }
    }
    kinds.retain(|(name, _)| name.contains("callgate_") && !name.starts_with("envoy_"));
    samples.retain(|sample, _| sample.starts_with("callgate_"));
    (kinds, samples)
}

#[test]
fn prometheus_exposes_exactly_the_documented_metrics() {
    let gate = Gate::start(&policy());
    gate.ask(good()).assert_allowed();
    gate.ask(Request::get("/items/1").host(HOST)).assert_denied(401, "credentials_missing");
    gate.ask(Request::get("/status").host(HOST)).assert_allowed();
    let (kinds, samples) = scrape(&gate);
    let documented = metrics::ALL.iter().map(|metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        (metric.prometheus(), kind.to_owned())
    });
    assert_eq!(kinds, documented.collect());
    let decisions: Vec<_> = samples.iter().filter(|(sample, _)| sample.starts_with("callgate_decisions")).collect();
    assert_eq!(
        decisions,
        [
            (&r#"callgate_decisions{outcome="allow",reason="allowed"}"#.to_owned(), &1),
            (&r#"callgate_decisions{outcome="allow",reason="public"}"#.to_owned(), &1),
            (&r#"callgate_decisions{outcome="deny",reason="credentials_missing"}"#.to_owned(), &1),
        ]
    );
}

#[test]
fn token_cache_metrics_report_hits_and_misses() {
    let gate = Gate::start(&policy());
    let call = |token: &str| gate.ask(Request::get("/items/1").host(HOST).bearer(token));
    let tokens = ["t1", "t2"].map(|id| {
        let mut claims = claims("items:read");
        claims["jti"] = id.into();
        KEY.sign(&header(), &claims)
    });
    for token in [&tokens[0], &tokens[0], &tokens[0], &tokens[1]] {
        call(token).assert_allowed();
    }
    let (_, samples) = scrape(&gate);
    let sample = |name: &str| samples[&format!("callgate_token_cache_{name}{{}}")];
    assert_eq!((sample("hits"), sample("misses"), sample("entries")), (2, 2, 2), "{samples:?}");
    assert!(sample("bytes") > 1000, "{samples:?}");
    for _ in 0..40 {
        call(&tokens[0]).assert_allowed();
    }
    let (_, samples) = scrape(&gate);
    assert_eq!(samples["callgate_token_cache_hits{}"], 34, "{samples:?}");
}
