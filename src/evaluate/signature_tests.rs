//! Tests of signed requests through the whole evaluation. The tests of `crate::identity::signature` cover the verification of
//! single signatures.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decision::answer::Answer;
use crate::decision::trace::Trace;
use crate::decision::upstream::Change;
use crate::decision::{Decision, Ground};
use crate::evaluate::{Awaits, Need, Outcome, Pending};
use crate::identity::signature::{Message, StructuredFields, base, read};
use crate::reason::Reason;
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request, Source};
use crate::state::MemoryStore;
use crate::testing::{self, NOW, SECRET, Worker, with};
use crate::text::time::Timestamp;

#[path = "late_revocation_tests.rs"]
mod late_revocation;

fn document() -> Value {
    testing::document(json!({
        "name": "signed",
        "agents": { "payer": with(testing::signer(), json!({ "scopes": ["pay"] })) },
        "limits": { "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } },
        "max_body": "1KiB",
        "endpoints": [
            { "id": "get", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": ["pay"],
              "authenticate": "signature", "limits": ["calls"] },
            { "id": "pay", "methods": ["POST"], "path": "/pay", "effect": "write", "scopes": ["pay"],
              "authenticate": "signature", "limits": ["calls"] }
        ]
    }))
}

/// A worker with its state.
struct Gate(Worker);

impl Gate {
    fn new(document: Value) -> Self {
        Self::with_store(document, Rc::default(), 0)
    }

    /// Returns a gate that starts at this time, with a store that other gates may have used before.
    fn with_store(document: Value, store: Rc<MemoryStore>, since: u64) -> Self {
        Self(Worker::joining(testing::policy(document), store, since))
    }

    fn decide(&self, lines: &[(String, String)], body: Option<&str>) -> Result<Ground, Reason> {
        self.end_and_record(lines, body).0
    }

    /// Accepts a request, rejects its replay, and returns the store.
    fn decide_and_take_store(self, lines: &[(String, String)]) -> Rc<MemoryStore> {
        assert_eq!(self.decide(lines, None), Ok(Ground::Endpoint));
        assert_eq!(self.decide(lines, None), Err(Reason::SignatureReplayed));
        self.0.store
    }

    /// Passes the outcome of the request's headers to `then`.
    fn outcome<T>(&self, lines: &[(String, String)], end_of_stream: bool, then: impl FnOnce(Outcome<'_>) -> T) -> T {
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        self.0.set_clock(NOW);
        let (now, source) = (Timestamp::from_secs(NOW), Source::parse(b"192.0.2.1:1"));
        let request = Request { headers: &headers, end_of_stream, source, certificate: None, now, id: DecisionId(7) };
        then(self.0.engine.decide(request).unwrap())
    }

    /// Decides a request whose body has arrived.
    fn resume<'a>(&self, pending: Pending<'a>) -> Decision<'a> {
        self.0.engine.resume(pending, Timestamp::from_secs(NOW)).unwrap()
    }

    /// Returns the decision about a request, and its record.
    fn end_and_record(&self, lines: &[(String, String)], body: Option<&str>) -> (Result<Ground, Reason>, Value) {
        self.outcome(lines, body.is_none(), |outcome| {
            let decision = match outcome {
                Outcome::Decided(decision) => decision,
                Outcome::Pending(mut pending) => {
                    for (before, part) in body.unwrap_or_default().as_bytes().chunks(7).enumerate() {
                        assert_eq!(pending.awaits(), Awaits::Body { received: 7 * before as u64 });
                        if pending.receive(part) == Need::Nothing {
                            break;
                        }
                    }
                    self.resume(pending)
                }
            };
            let record = serde_json::from_slice(&decision.record().to_json()).unwrap();
            let end = match decision {
                Decision::Allow(allow) => Ok(allow.ground()),
                Decision::Serve(serve) => Ok(serve.ground()),
                Decision::Deny(deny) => Err(deny.reason()),
            };
            (end, record)
        })
    }

    /// Returns the record of a request that ends a second after the first bytes of its body.
    fn abandon(&self, lines: &[(String, String)], part: &str) -> Value {
        self.outcome(lines, false, |outcome| {
            let Outcome::Pending(mut pending) = outcome else { panic!("it is not held") };
            assert!(pending.forwards().is_none());
            assert_eq!(pending.receive(part.as_bytes()), Need::More);
            let decision = pending.abandon(Some(Timestamp::from_secs(NOW + 1)));
            serde_json::from_slice(&decision.record().to_json()).unwrap()
        })
    }

    /// Returns the number of bytes that the worker holds for requests.
    fn held(&self) -> u64 {
        self.0.held.total()
    }
}

/// Returns a request with a signature over these components.
fn signed(method: &str, path: &str, extra: &[(&str, &str)], input: &str) -> Vec<(String, String)> {
    let pseudo = [(":method", method), (":path", path), (":authority", "api.example.com")];
    let mut lines: Vec<(String, String)> =
        pseudo.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
    let field = format!("sig={input}");
    let read = read(field.as_bytes(), b"sig=:AA==:").unwrap();
    let message = Message {
        method: method.as_bytes(),
        scheme: "https",
        authority: "api.example.com",
        target: path.as_bytes(),
        headers: &headers,
        structured: &StructuredFields::default(),
    };
    let base = base(&message, &read[0].input).unwrap();
    let signature = hmac_sha256::HMAC::mac(base, SECRET);
    lines.push(("signature-input".into(), field));
    lines.push(("signature".into(), format!("sig=:{}:", STANDARD.encode(signature))));
    lines
}

fn usual(nonce: &str) -> String {
    format!("(\"@method\" \"@authority\" \"@path\");created={NOW};keyid=\"k\";nonce=\"{nonce}\"")
}

const BODY: &str = "{\"hello\": \"world\"}";
const DIGEST: (&str, &str) = ("content-digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");

fn with_digest(nonce: &str) -> String {
    usual(nonce).replace("\"@path\"", "\"@path\" \"content-digest\"")
}

#[test]
fn accepts_a_signature_once_as_the_only_credential() {
    let gate = Gate::new(document());
    let first = signed("GET", "/x", &[], &usual("a"));
    assert_eq!(gate.decide(&first, None), Ok(Ground::Endpoint));
    assert_eq!(gate.decide(&first, None), Err(Reason::SignatureReplayed));
    assert_eq!(gate.decide(&signed("GET", "/x", &[], &usual("b")), None), Ok(Ground::Endpoint));
    let unsigned: Vec<_> = first.iter().filter(|(name, _)| name.starts_with(':')).cloned().collect();
    assert_eq!(gate.decide(&unsigned, None), Err(Reason::SignatureMissing));
    let elsewhere = signed("GET", "/nowhere", &[], &usual("c"));
    assert_eq!(gate.decide(&elsewhere, None), Err(Reason::EndpointNotAllowed));
}

#[test]
fn replays_are_not_charged_and_rate_limited_requests_can_retry() {
    let gate = Gate::new(document());
    let call = signed("GET", "/x", &[], &usual("a"));
    assert_eq!(gate.decide(&call, None), Ok(Ground::Endpoint));
    for _ in 0..20 {
        assert_eq!(gate.decide(&call, None), Err(Reason::SignatureReplayed));
    }
    for nonce in 0..9 {
        assert_eq!(gate.decide(&signed("GET", "/x", &[], &usual(&nonce.to_string())), None), Ok(Ground::Endpoint));
    }
    let late = signed("GET", "/x", &[], &usual("late"));
    assert_eq!(gate.decide(&late, None), Err(Reason::RateLimited));
    let mut other = document();
    other["limits"]["calls"]["burst"] = json!(20);
    let wider = Gate::with_store(other, gate.0.store, NOW);
    assert_eq!(wider.decide(&late, None), Ok(Ground::Endpoint));
}

#[test]
fn rejects_a_body_that_does_not_match_the_signed_digest() {
    let gate = Gate::new(document());
    let call = |nonce: &str| signed("POST", "/pay", &[DIGEST], &with_digest(nonce));
    assert_eq!(gate.decide(&call("a"), Some(BODY)), Ok(Ground::Endpoint));
    assert_eq!(gate.decide(&call("b"), Some("{\"hello\": \"World\"}")), Err(Reason::ContentDigestMismatch));
    assert_eq!(gate.decide(&call("c"), Some("")), Err(Reason::ContentDigestMismatch));
    assert_eq!(gate.decide(&call("d"), None), Err(Reason::ContentDigestMismatch));
    assert_eq!(gate.decide(&call("e"), Some(&"x".repeat(1025))), Err(Reason::BodyTooLarge));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[], &usual("f")), Some(BODY)), Err(Reason::ContentDigestMissing));
    assert_eq!(
        gate.decide(&signed("POST", "/pay", &[DIGEST], &usual("g")), Some(BODY)),
        Err(Reason::ContentDigestMissing)
    );
    // A request that was denied for its body has not used up its nonce.
    assert_eq!(gate.decide(&call("b"), Some(BODY)), Ok(Ground::Endpoint));
}

#[test]
fn records_but_does_not_charge_an_aborted_held_request() {
    let gate = Gate::new(document());
    let call = signed("POST", "/pay", &[DIGEST], &with_digest("a"));
    for _ in 0..20 {
        let record = gate.abandon(&call, "{\"hel");
        assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!("body_incomplete")));
        assert_eq!((&record["agent"], &record["signed_by"]), (&json!("payer"), &json!("k")));
        assert_eq!((&record["endpoint"], &record["time_ms"]), (&json!("pay"), &json!((NOW + 1) * 1000)));
        assert_eq!((&record["body_checked"], &record["body_late"]), (&Value::Null, &Value::Null));
    }
    // The request used up neither its signature nor any of the ten requests that the limit allows.
    assert_eq!(gate.decide(&call, Some(BODY)), Ok(Ground::Endpoint));
    for nonce in 0..9 {
        let call = signed("POST", "/pay", &[DIGEST], &with_digest(&nonce.to_string()));
        assert_eq!(gate.decide(&call, Some(BODY)), Ok(Ground::Endpoint));
    }
    assert_eq!(gate.decide(&call, Some(BODY)), Err(Reason::SignatureReplayed));
}

#[test]
fn observe_mode_keeps_earlier_denials_of_an_aborted_request() {
    let mut document = document();
    document["mode"] = json!("observe");
    document["endpoints"][1]["scopes"] = json!(["other"]);
    document["endpoints"][1]["effect"] = json!("write");
    let record = Gate::new(document).abandon(&signed("POST", "/pay", &[DIGEST], &with_digest("a")), "");
    assert_eq!((&record["decision"], &record["reason"]), (&json!("observe"), &json!("insufficient_scope")));
    let would: Vec<_> = record["would_deny"].as_array().unwrap().iter().map(|denial| &denial["reason"]).collect();
    assert_eq!(would, ["insufficient_scope", "body_incomplete"]);
}

#[test]
fn rejects_a_request_changed_after_signing() {
    let gate = Gate::new(document());
    for (name, value, reason) in [
        (":method", "HEAD", Reason::SignatureFailed),
        (":path", "/pay", Reason::SignatureFailed),
        (":path", "/x?a=b", Reason::SignatureCoverage),
        ("signature", "sig=:AA==:", Reason::SignatureFailed),
        ("signature", "other=:AA==:", Reason::SignatureMalformed),
        ("signature-input", "sig=()", Reason::SignatureParameters),
        ("signature-input", "sig=();created=1800000000;keyid=\"k\"", Reason::SignatureCoverage),
        ("signature-input", "sig=();created=1800000000;keyid=\"other\"", Reason::SignatureCoverage),
        (
            "signature-input",
            "sig=(\"@method\" \"@authority\" \"@path\");created=1800000000;keyid=\"other\"",
            Reason::SignatureKey,
        ),
    ] {
        let mut lines = signed("GET", "/x", &[], &usual("a"));
        lines.iter_mut().filter(|(own, _)| own == name).for_each(|(_, own)| *own = value.to_owned());
        assert_eq!(gate.decide(&lines, None), Err(reason), "{name}: {value}");
    }
}

#[test]
fn unknown_keys_and_invalid_signatures_get_the_same_answer() {
    let gate = Gate::new(document());
    let answer_and_record = |lines: &[(String, String)]| {
        gate.outcome(lines, true, |outcome| {
            let Outcome::Decided(decision) = outcome else { panic!("it is held") };
            let record: Value = serde_json::from_slice(&decision.record().to_json()).unwrap();
            let Decision::Deny(deny) = decision else { panic!("it is not denied") };
            (deny.answer(), record["reason"].clone())
        })
    };
    let grpc = ("content-type", "application/grpc");
    for extra in [&[][..], &[grpc]] {
        let failed = signed("GET", "/x", extra, &usual("a").replace("created", "x=1;created"));
        let failed: Vec<_> =
            failed.into_iter().map(|(name, value)| (name, value.replace("sig=:", "sig=:AAAA"))).collect();
        let unknown = signed("GET", "/x", extra, &usual("a").replace("keyid=\"k\"", "keyid=\"other\""));
        let (mut failed, failed_reason) = answer_and_record(&failed);
        let (unknown, unknown_reason) = answer_and_record(&unknown);
        assert_eq!((&failed_reason, &unknown_reason), (&json!("signature_failed"), &json!("signature_key")));
        // The access log has the exact reason. Everything that the client receives is the same.
        assert_eq!(unknown.details, "callgate_signature_key");
        failed.details.clone_from(&unknown.details);
        assert_eq!(failed, unknown);
    }
}

#[test]
fn a_rename_to_a_used_policy_name_accepts_a_signature_again() {
    let named = |name: &str| {
        let mut document = document();
        document["name"] = json!(name);
        document
    };
    let call = signed("GET", "/x", &[], &usual("a"));
    // A gate with a new name rejects everything that was signed before it started.
    let store = Gate::new(named("old")).decide_and_take_store(&call);
    assert_eq!(Gate::with_store(named("new"), store, NOW).decide(&call, None), Err(Reason::ReplayTableYoung));
    // A gate with a name that was in use before does not know what was accepted under the other name.
    let store = Gate::new(named("new")).0.store;
    let store = Gate::with_store(named("old"), store, 0).decide_and_take_store(&call);
    let renamed = Gate::with_store(named("new"), store, NOW);
    assert_eq!(renamed.decide(&call, None), Ok(Ground::Endpoint));
    assert_eq!(renamed.decide(&call, None), Err(Reason::SignatureReplayed));
}

#[test]
fn accepts_early_data_only_on_read_endpoints() {
    let gate = Gate::new(document());
    let early = ("early-data", "1");
    assert_eq!(gate.decide(&signed("GET", "/x", &[early], &usual("a")), None), Ok(Ground::Endpoint));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[early], &usual("b")), None), Err(Reason::EarlyData));
}

/// Returns a gate in a gateway that forwards the headers of a request before its body arrives.
fn late(gateway: &str) -> Gate {
    let mut document = document();
    document["gateway"] = json!(gateway);
    document["body_check"] = json!("after_headers");
    document["tables"] = json!({ "key": { "env": "TABLES" } });
    Gate::new(document)
}

#[test]
fn forwards_headers_first_and_holds_the_body_until_checked() {
    let gate = late("istio");
    let call = |nonce: &str| signed("POST", "/pay", &[DIGEST], &with_digest(nonce));
    let (end, record) = gate.end_and_record(&call("a"), Some(BODY));
    assert_eq!(
        (end, &record["body_late"], &record["body_checked"]),
        (Ok(Ground::Endpoint), &json!(true), &json!(true))
    );
    let (end, record) = gate.end_and_record(&call("b"), Some("{\"hello\": \"World\"}"));
    assert_eq!(end, Err(Reason::ContentDigestMismatch));
    assert_eq!((&record["body_late"], &record["body_checked"]), (&json!(true), &Value::Null));
    assert_eq!(gate.decide(&call("e"), Some(&"x".repeat(1025))), Err(Reason::BodyTooLarge));
    // The headers were accepted, so the signature is used up.
    assert_eq!(gate.decide(&call("b"), Some(BODY)), Err(Reason::SignatureReplayed));
    // A denial that needs only the headers precedes forwarding.
    let (end, record) = gate.end_and_record(&call("d"), None);
    assert_eq!((end, &record["body_late"]), (Err(Reason::ContentDigestMismatch), &Value::Null));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[], &usual("f")), Some(BODY)), Err(Reason::ContentDigestMissing));
    assert_eq!(gate.decide(&signed("GET", "/x", &[], &usual("g")), None), Ok(Ground::Endpoint));
}

#[test]
fn observe_mode_forwards_and_records_an_invalid_late_body() {
    let mut whole = document();
    whole["mode"] = json!("observe");
    let mut endpoint = document();
    endpoint["endpoints"][1]["mode"] = json!("observe");
    let (digest, large) = (Reason::ContentDigestMismatch.code(), Reason::BodyTooLarge.code());
    for mut document in [whole, endpoint] {
        document["gateway"] = json!("higress");
        document["body_check"] = json!("after_headers");
        document["tables"] = json!({ "key": { "env": "TABLES" } });
        let gate = Gate::new(document);
        for (nonce, body, reason) in [("a", "another", digest), ("b", &"x".repeat(1025), large)] {
            let (end, record) =
                gate.end_and_record(&signed("POST", "/pay", &[DIGEST], &with_digest(nonce)), Some(body));
            assert_eq!(end, Ok(Ground::Observed));
            assert_eq!((&record["decision"], &record["reason"]), (&json!("observe"), &json!(reason)));
            assert_eq!(record["would_deny"][0]["reason"], reason);
            assert_eq!((&record["body_late"], &record["body_checked"]), (&json!(true), &Value::Null));
        }
    }
}

#[test]
fn relies_on_content_length_without_end_of_stream() {
    let gate = late("kong");
    let length = ("content-length", "18");
    let call = |nonce: &str, extra: &[(&str, &str)]| {
        let mut lines = signed("POST", "/pay", &[&[DIGEST], extra].concat(), &with_digest(nonce));
        lines.retain(|(name, _)| name != ":authority");
        lines.push(("Host".to_owned(), "api.example.com".to_owned()));
        lines
    };
    assert_eq!(gate.decide(&call("a", &[length]), Some(BODY)), Ok(Ground::Endpoint));
    assert_eq!(gate.decide(&call("b", &[length]), Some("{\"hello\": \"World\"}")), Err(Reason::ContentDigestMismatch));
    // The filter gets no callback for an empty body, so the body must not be empty.
    for extra in [&[("transfer-encoding", "chunked")][..], &[length, ("transfer-encoding", "chunked")]] {
        assert_eq!(gate.decide(&call("c", extra), Some(BODY)), Err(Reason::BodyLengthMissing), "{extra:?}");
        assert_eq!(gate.decide(&call("d", extra), Some("")), Err(Reason::BodyLengthMissing), "{extra:?}");
    }
    for extra in [&[][..], &[("content-length", "0")]] {
        assert_eq!(gate.decide(&call("e", extra), Some(BODY)), Err(Reason::ContentDigestMismatch), "{extra:?}");
    }
    let get = |nonce: &str, extra: &[(&str, &str)]| signed("GET", "/x", extra, &usual(nonce));
    assert_eq!(gate.decide(&get("f", &[]), Some("")), Ok(Ground::Endpoint));
    assert_eq!(gate.decide(&get("g", &[]), Some("added")), Err(Reason::BodyLengthMissing));
    assert_eq!(gate.decide(&get("h", &[("content-length", "5")]), Some("added")), Err(Reason::ContentDigestMissing));
}

/// Returns the reason for the denial.
fn denied(outcome: Outcome<'_>) -> Reason {
    let Outcome::Decided(Decision::Deny(deny)) = outcome else { panic!("it is not denied: {outcome:?}") };
    deny.reason()
}

#[test]
fn does_not_hold_replayed_or_rate_limited_requests() {
    let gate = Gate::new(document());
    let pay = |nonce: &str| signed("POST", "/pay", &[DIGEST], &with_digest(nonce));
    assert_eq!(gate.decide(&pay("a"), Some(BODY)), Ok(Ground::Endpoint));
    let writes = gate.0.store.len();
    assert_eq!(gate.outcome(&pay("a"), false, denied), Reason::SignatureReplayed);
    for nonce in 0..9 {
        assert_eq!(gate.decide(&pay(&nonce.to_string()), Some(BODY)), Ok(Ground::Endpoint));
    }
    assert_eq!(gate.outcome(&pay("late"), false, denied), Reason::RateLimited);
    assert_eq!((gate.held(), gate.0.store.len()), (0, writes));
}

#[test]
fn releases_held_bytes_however_a_held_request_ends() {
    let gate = Gate::new(document());
    let hold = |nonce: &str, end: &dyn Fn(Pending<'_>)| {
        let lines = signed("POST", "/pay", &[DIGEST, ("content-length", "1000")], &with_digest(nonce));
        gate.outcome(&lines, false, |outcome| {
            let Outcome::Pending(pending) = outcome else { panic!("it is not held: {outcome:?}") };
            assert!((1_000..3_000).contains(&gate.held()), "{}", gate.held());
            end(pending);
        });
        assert_eq!(gate.held(), 0);
    };
    hold("dropped", &|pending| drop(pending));
    hold("abandoned", &|pending| drop(pending.abandon(None)));
    hold("timed out", &|pending| {
        let now = Some(Timestamp::from_secs(NOW + 9));
        let Decision::Deny(deny) = pending.time_out(now) else { panic!("it is allowed") };
        assert_eq!((deny.reason(), deny.answer().status), (Reason::BodyTimeout, 408));
        assert_eq!(deny.facts().request.now.as_secs(), NOW + 9);
    });
    hold("decided", &|mut pending| {
        assert_eq!(pending.receive(b"another"), Need::More);
        assert!(matches!(gate.resume(pending), Decision::Deny(_)));
    });
}

#[test]
fn limits_the_bytes_held_for_one_agent() {
    let mut document = document();
    document["held_bodies"] = json!({ "agent_bytes": "65KiB" });
    let gate = Gate::new(document);
    let lines =
        |nonce: &str| signed("POST", "/pay", &[DIGEST, ("x-padding", &"x".repeat(40_000))], &with_digest(nonce));
    gate.outcome(&lines("a"), false, |outcome| {
        assert!(matches!(outcome, Outcome::Pending(_)));
        gate.outcome(&lines("b"), false, |outcome| {
            let Outcome::Decided(Decision::Deny(deny)) = outcome else { panic!("{outcome:?}") };
            let answer = deny.answer();
            assert_eq!((deny.reason(), answer.status), (Reason::HeldBytesFull, 503));
            assert!(answer.headers.contains(&("retry-after", "1".to_owned())), "{answer:?}");
            assert!(answer.headers.iter().any(|(name, _)| *name == "ratelimit"), "{answer:?}");
        });
    });
    assert_eq!(gate.decide(&lines("b"), Some(BODY)), Ok(Ground::Endpoint), "it used nothing up");
}

#[test]
fn rejects_missing_coverage_even_if_the_body_is_empty() {
    let mut document = document();
    document["signatures"] = json!({ "cover": ["@method", "@authority", "@path", "@query", "x-tenant"] });
    let gate = Gate::new(document);
    let lines = signed("POST", "/pay", &[("x-tenant", "a")], &usual("a"));
    assert_eq!(gate.decide(&lines, Some("")), Err(Reason::SignatureCoverage));
}

#[test]
fn rejects_an_unsigned_chunked_body_before_forwarding() {
    let gate = late("istio");
    let chunked = signed("POST", "/pay", &[("transfer-encoding", "chunked")], &usual("a"));
    assert_eq!(gate.decide(&chunked, Some("")), Err(Reason::ContentDigestMissing));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[], &usual("b")), Some("")), Ok(Ground::Endpoint));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[], &usual("c")), Some("x")), Err(Reason::ContentDigestMissing));
}

/// A request as the client sends it, with its body.
#[derive(Debug, Clone)]
struct Sent {
    lines: Vec<(String, String)>,
    body: Option<&'static str>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let place =
        prop_oneof![Just(("GET", "/x")), Just(("POST", "/pay")), Just(("GET", "/nowhere")), Just(("GET", "/x//"))];
    let body = prop_oneof![Just(None), Just(Some(BODY)), Just(Some("another")), Just(Some(""))];
    let tampered =
        prop_oneof![4 => Just(""), 1 => Just("signature"), 1 => Just("signature-input"), 1 => Just("content-digest")];
    (place, body, 0..3_u8, any::<bool>(), tampered).prop_map(|((method, path), body, nonce, digest, tampered)| {
        let nonce = nonce.to_string();
        let mut lines = if digest {
            signed(method, path, &[DIGEST], &with_digest(&nonce))
        } else {
            signed(method, path, &[], &usual(&nonce))
        };
        lines.retain(|(name, _)| name != tampered);
        Sent { lines, body }
    })
}

impl Gate {
    /// Returns the result of a request, which is either its headers for the upstream or the answer to the client, and the
    /// record.
    fn end(&self, sent: &Sent, explained: bool) -> (Result<Vec<Change<'static>>, Answer>, Value) {
        let headers: Headers = sent.lines.iter().map(|(name, value)| (name, value)).collect();
        self.0.set_clock(NOW);
        let now = Timestamp::from_secs(NOW);
        let request = Request {
            headers: &headers,
            end_of_stream: sent.body.is_none(),
            source: None,
            certificate: None,
            now,
            id: DecisionId(7),
        };
        let (engine, mut trace) = (&self.0.engine, Trace::new());
        let outcome = if explained { engine.explain(request, &mut trace) } else { engine.decide(request) };
        let decision = match outcome.unwrap() {
            Outcome::Decided(decision) => decision,
            Outcome::Pending(mut pending) => {
                let _ = pending.receive(sent.body.unwrap_or_default().as_bytes());
                if explained {
                    engine.resume_explained(pending, now, &mut trace).unwrap()
                } else {
                    engine.resume(pending, now).unwrap()
                }
            }
        };
        assert_eq!(trace.is_empty(), !explained);
        let record = serde_json::from_slice(&decision.record().to_json()).unwrap();
        let end = match &decision {
            Decision::Allow(allow) => Ok(allow.changes().into_iter().map(owned).collect()),
            Decision::Serve(serve) => panic!("nothing here is published: {serve:?}"),
            Decision::Deny(deny) => Err(deny.answer()),
        };
        (end, record)
    }
}

fn owned(change: Change<'_>) -> Change<'static> {
    match change {
        Change::Remove(name) => Change::Remove(name.to_vec().leak()),
        Change::Clear(name) => Change::Clear(name.to_vec().leak()),
        Change::Set(name, value) => Change::Set(name.to_owned().leak(), value.into_owned().into()),
        Change::Add(name, value) => Change::Add(name.to_owned().leak(), value.into_owned().into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Covers signatures, replays, limits and bodies: a traced evaluation continues after a denial, and the answer is the same.
    #[test]
    fn explaining_does_not_change_the_decision(
        before in proptest::collection::vec(sent(), 0..4),
        last in sent(),
        observe in any::<bool>(),
        burst in 1..4_u32,
    ) {
        let mut document = document();
        document["mode"] = json!(if observe { "observe" } else { "enforce" });
        document["limits"]["calls"]["burst"] = json!(burst);
        let [decided, explained] = [false, true].map(|explains| {
            let gate = Gate::new(document.clone());
            for sent in &before {
                let _ = gate.end(sent, false);
            }
            gate.end(&last, explains)
        });
        prop_assert_eq!(decided, explained);
    }
}
