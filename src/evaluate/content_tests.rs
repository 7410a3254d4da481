//! Tests of JSON bodies through the whole evaluation. The corpus has the contents; here are the phases of a request.

use serde_json::{Value, json};

use super::is_json_in_utf8;
use crate::decision::trace::{Check, Trace};
use crate::decision::{Decision, Ground};
use crate::evaluate::{Awaits, Need, Outcome, Pending};
use crate::reason::Reason;
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request, Source};
use crate::testing::{self, NOW, Worker};
use crate::text::time::Timestamp;

const JSON: (&str, &str) = ("content-type", "application/json");

fn document(mode: &str) -> Value {
    testing::document(json!({
        "mode": mode,
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("agent") },
        "limits": { "calls": { "per": "agent", "rate": "1/1h", "burst": 2 } },
        "endpoints": [
            { "id": "pay", "methods": ["POST"], "path": "/pay", "effect": "write", "scopes": ["pay"], "max_json": "1KiB",
              "limits": ["calls"], "bind": { "body./owner": "token.org", "body./amount": { "at_most": 1000 } } },
            { "id": "free", "methods": ["POST"], "path": "/free", "effect": "write", "scopes": ["pay"] }
        ]
    }))
}

fn credential(scope: &str) -> String {
    testing::bearer(json!({ "scope": scope, "org": "acme" }))
}

/// How a request ends, with the reasons for which it would have been denied.
type End = (Result<Ground, Reason>, Vec<Reason>);

fn end(decision: &Decision<'_>) -> End {
    let reasons = decision.facts().denials().iter().map(|denial| denial.reason).collect();
    let end = match decision {
        Decision::Allow(allow) => Ok(allow.ground()),
        Decision::Serve(serve) => Ok(serve.ground()),
        Decision::Deny(deny) => Err(deny.reason()),
    };
    (end, reasons)
}

struct Gate(Worker);

impl Gate {
    fn new(mode: &str) -> Self {
        Self::of(document(mode))
    }

    fn of(document: Value) -> Self {
        Self(Worker::new(testing::policy(document)))
    }

    /// Passes the outcome of the headers to `then`.
    fn headers<T>(
        &self,
        path: &str,
        scope: &str,
        extra: &[(&str, &str)],
        end_of_stream: bool,
        then: impl FnOnce(Outcome<'_>) -> T,
    ) -> T {
        let credential = credential(scope);
        let lines = [
            (":method", "POST"),
            (":path", path),
            (":authority", "api.example.com"),
            ("authorization", credential.as_str()),
        ];
        let headers: Headers = lines.iter().chain(extra).copied().collect();
        self.0.set_clock(NOW);
        let (now, source) = (Timestamp::from_secs(NOW), Source::parse(b"192.0.2.1:1"));
        let request = Request { headers: &headers, end_of_stream, source, certificate: None, now, id: DecisionId(7) };
        then(self.0.engine.decide(request).unwrap())
    }

    fn resume<'a>(&self, pending: Pending<'a>) -> Decision<'a> {
        self.0.engine.resume(pending, Timestamp::from_secs(NOW)).unwrap()
    }

    /// Sends a body in pieces of seven bytes, as JSON without an announced length.
    fn send(&self, body: &str) -> End {
        self.headers("/pay", "pay", &[JSON], false, |outcome| {
            let Outcome::Pending(mut pending) = outcome else { panic!("it is not held") };
            assert!(pending.forwards().is_none());
            for (before, part) in body.as_bytes().chunks(7).enumerate() {
                assert_eq!(pending.awaits(), Awaits::Body { received: 7 * before as u64 });
                if pending.receive(part) == Need::Nothing {
                    break;
                }
            }
            end(&self.resume(pending))
        })
    }

    /// Decides a request by its headers alone. Returns `None` if it is held.
    fn decide(&self, path: &str, scope: &str, extra: &[(&str, &str)], end_of_stream: bool) -> Option<End> {
        self.headers(path, scope, extra, end_of_stream, |outcome| match outcome {
            Outcome::Decided(decision) => Some(end(&decision)),
            Outcome::Pending(_) => None,
        })
    }
}

fn denied(reason: Reason) -> End {
    (Err(reason), vec![reason])
}

const GOOD: &str = r#"{"owner":"acme","amount":1000,"note":"x"}"#;

#[test]
fn decides_after_the_body_has_arrived() {
    let gate = Gate::new("enforce");
    assert_eq!(gate.send(&GOOD.replace("acme", "globex")), denied(Reason::BindingMismatch));
    assert_eq!(gate.send(&GOOD.replace("1000", "1001")), denied(Reason::BindingMismatch));
    assert_eq!(gate.send(&GOOD.replace("note", "Owner")), denied(Reason::JsonAmbiguous));
    assert_eq!(gate.send(r#"{"Owner":"acme","amount":1}"#), denied(Reason::JsonAmbiguous));
    assert_eq!(gate.send("{"), denied(Reason::JsonMalformed));
    assert_eq!(gate.send(" \n"), denied(Reason::JsonMalformed));
    assert_eq!(gate.send(&"[".repeat(65)), denied(Reason::JsonTooDeep));
    assert_eq!(gate.send(""), denied(Reason::BindingMismatch));
    assert_eq!(gate.send("null"), denied(Reason::BindingMismatch));
    // None of these consumed the limit of two requests.
    assert_eq!(gate.send(GOOD), (Ok(Ground::Endpoint), vec![]));
    assert_eq!(gate.send(GOOD), (Ok(Ground::Endpoint), vec![]));
    let third = gate.decide("/pay", "pay", &[JSON], false);
    assert_eq!(third, Some(denied(Reason::RateLimited)), "nothing is held for it");
}

#[test]
fn a_request_that_ends_with_its_headers_has_no_bound_part() {
    let gate = Gate::new("enforce");
    for extra in [&[JSON][..], &[], &[("content-type", "text/plain")], &[JSON, ("content-length", "0")]] {
        let decided = gate.decide("/pay", "pay", extra, true);
        assert_eq!(decided, Some(denied(Reason::BindingMismatch)), "{extra:?}");
    }
}

#[test]
fn a_body_is_held_only_if_its_headers_are_those_of_json() {
    let gate = Gate::new("enforce");
    for extra in [
        &[("content-type", "text/json")][..],
        &[],
        &[JSON, JSON],
        &[JSON, ("content-encoding", "gzip")],
        &[JSON, ("content-encoding", "")],
        &[JSON, ("content-encoding", "identity, gzip")],
        &[JSON, ("content-encoding", "identity"), ("Content-Encoding", "br")],
        &[JSON, ("content-encoding", "identity"), ("content-encoding", "identity")],
    ] {
        let decided = gate.decide("/pay", "pay", extra, false);
        assert_eq!(decided, Some(denied(Reason::JsonMediaType)), "{extra:?}");
    }
    for extra in [&[JSON, ("content-length", "1025")][..], &[JSON, ("content-length", "18446744073709551615")]] {
        assert_eq!(gate.decide("/pay", "pay", extra, false), Some(denied(Reason::JsonTooLarge)), "{extra:?}");
    }
    for extra in [&[JSON, ("content-length", "1024")][..], &[JSON, ("content-encoding", "Identity")]] {
        assert_eq!(gate.decide("/pay", "pay", extra, false), None, "{extra:?}");
    }
    // What the caller may not do at all is denied first.
    let decided = gate.decide("/pay", "other", &[], false);
    assert_eq!(decided, Some(denied(Reason::InsufficientScope)));
    assert_eq!(gate.decide("/free", "pay", &[], false), Some((Ok(Ground::Endpoint), vec![])));
    assert_eq!(gate.0.held.total(), 0);
}

#[test]
fn a_body_ends_when_it_is_larger_than_its_maximum() {
    let gate = Gate::new("enforce");
    let padded = |length: usize| format!("{GOOD}{}", " ".repeat(length - GOOD.len()));
    assert_eq!(gate.send(&padded(1024)), (Ok(Ground::Endpoint), vec![]));
    assert_eq!(gate.send(&padded(1025)), denied(Reason::JsonTooLarge));
    assert_eq!(gate.0.held.total(), 0);
}

#[test]
fn held_bytes_of_a_kept_body_count_twice_for_the_agent() {
    let gate = Gate::new("enforce");
    gate.headers("/pay", "pay", &[JSON, ("content-length", "100")], false, |outcome| {
        let Outcome::Pending(mut pending) = outcome else { panic!("it is not held") };
        let headers = gate.0.held.total() - 200;
        assert_eq!(pending.receive(&[b' '; 101]), Need::More);
        assert_eq!(gate.0.held.total(), headers + 202);
        drop(pending);
        assert_eq!(gate.0.held.total(), 0);
    });
}

#[test]
fn observation_keeps_no_more_than_enforcement_and_forwards_everything() {
    let gate = Gate::new("observe");
    let observed = |reasons: &[Reason]| -> End { (Ok(Ground::Observed), reasons.to_vec()) };
    assert_eq!(gate.send(&GOOD.replace("acme", "globex")), observed(&[Reason::BindingMismatch]));
    assert_eq!(gate.send("{}"), observed(&[Reason::BindingMismatch, Reason::BindingMismatch]));
    assert_eq!(gate.send("{"), observed(&[Reason::JsonMalformed]));
    assert_eq!(gate.send(&" ".repeat(1025)), observed(&[Reason::JsonTooLarge]));
    // A request that enforcement would have denied by its headers is not held.
    let decided = gate.decide("/pay", "other", &[JSON], false);
    assert_eq!(decided, Some(observed(&[Reason::InsufficientScope])));
    assert_eq!(gate.decide("/pay", "pay", &[], false), Some(observed(&[Reason::JsonMediaType])));
    let announced = gate.decide("/pay", "pay", &[JSON, ("content-length", "1025")], false);
    assert_eq!(announced, Some(observed(&[Reason::JsonTooLarge])));
    assert_eq!(gate.send(GOOD), (Ok(Ground::Endpoint), vec![]));
}

#[test]
fn explains_the_content_and_each_binding() {
    let gate = Gate::new("enforce");
    let credential = credential("pay");
    let lines = [
        (":method", "POST"),
        (":path", "/pay"),
        (":authority", "api.example.com"),
        ("authorization", credential.as_str()),
        JSON,
    ];
    let headers: Headers = lines.iter().copied().collect();
    gate.0.set_clock(NOW);
    let now = Timestamp::from_secs(NOW);
    let explain = |body: &str| {
        let request = Request {
            headers: &headers,
            end_of_stream: false,
            source: None,
            certificate: None,
            now,
            id: DecisionId(7),
        };
        let mut trace = Trace::new();
        let Outcome::Pending(mut pending) = gate.0.engine.explain(request, &mut trace).unwrap() else {
            panic!("it is not held")
        };
        let _ = pending.receive(body.as_bytes());
        let decision = gate.0.engine.resume_explained(pending, now, &mut trace).unwrap();
        let shown: Vec<_> = trace
            .into_iter()
            .filter(|traced| matches!(traced.check, Check::Content | Check::Binding))
            .map(|traced| {
                let details: Vec<_> = traced.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
                (traced.denied, traced.rule, details.join(", "))
            })
            .collect();
        (end(&decision).0, shown)
    };
    let (decided, shown) = explain(r#"{"amount":1.5e3,"owner":{"id":"acme"}}"#);
    assert_eq!(decided, Err(Reason::BindingMismatch));
    let row = |denied, rule: &str, details: &str| (denied, rule.to_owned(), details.to_owned());
    let mismatch = Some(Reason::BindingMismatch);
    assert_eq!(
        shown,
        [
            row(None, "endpoints[0].bind", "bytes 38"),
            row(mismatch, "endpoints[0].bind[\"body./amount\"]", "part body./amount, is 1.5e3, must be at most 1000"),
            row(
                mismatch,
                "endpoints[0].bind[\"body./owner\"]",
                "part body./owner, is an object, must be token.org, which is \"acme\", both must be text that is not empty, or a whole \
                 number"
            ),
        ]
    );
    let (_, shown) = explain("[");
    assert_eq!(shown, [row(Some(Reason::JsonMalformed), "endpoints[0].bind", "")]);
}

#[test]
fn a_body_that_never_ends_costs_nothing() {
    let gate = Gate::new("enforce");
    for _ in 0..3 {
        gate.headers("/pay", "pay", &[JSON], false, |outcome| {
            let Outcome::Pending(mut pending) = outcome else { panic!("it is not held") };
            assert_eq!(pending.receive(b"{\"owner\""), Need::More);
            let decision = pending.abandon(Some(Timestamp::from_secs(NOW + 1)));
            assert_eq!(end(&decision), denied(Reason::BodyIncomplete));
        });
    }
    assert_eq!(gate.send(GOOD), (Ok(Ground::Endpoint), vec![]));
}

#[test]
fn accepts_one_media_type() {
    for yes in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json ; CHARSET=\"utf-8\"",
        "application/json;\tcharset=utf-8\t",
        " application/json ",
    ] {
        assert!(is_json_in_utf8(yes.as_bytes()), "{yes}");
    }
    for no in [
        "",
        "json",
        "text/json",
        "application/jsonx",
        "application/json5",
        "application/x-json",
        "application/json+x",
        "application/problem+json",
        "application/vnd.api+json",
        "application/merge-patch+json",
        "application/json-seq",
        "application/jsonl",
        "application/ json",
        "application/json,",
        "application/json, application/json",
        "application/json, text/plain",
        "text/plain; application/json",
        "application/json;",
        "application/json; charset",
        "application/json; charset=",
        "application/json; charset=utf8",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8;",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset=utf-8, text/plain",
        "application/json; charset=\"utf-8",
        "application/json; charset=utf-8\"",
        "application/json; charset='utf-8'",
        "application/json; charset = utf-8",
        "application/json; charset=\"utf-\\8\"",
        "application/json; charset*=utf-8''utf-8",
        "application/json; version=1",
        "application/json; version=1; charset=utf-8",
        "application/json; x=\";charset=utf-16\"",
        "application/json\u{b}",
        "application/json\u{a0}",
        "application/j\u{17f}on",
        "application/json;charset=ut\u{192}-8",
    ] {
        assert!(!is_json_in_utf8(no.as_bytes()), "{no:?}");
    }
    assert!(!is_json_in_utf8(b"application/json\xff"));
}
