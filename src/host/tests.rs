//! Tests of the phases of a request, independent of the gateway.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fake::Fake;
use super::root::Root;
use super::stream::{HttpStream, StreamAction, UPSTREAM_ADDRESS};
use super::{BAD_ARGUMENT, HostError, Map, check_value, compile};
use crate::identity::signature::{Message, StructuredFields, base, read};
use crate::policy::ENVOY_MODULE;
use crate::request::certificate::testing::{Certificate, pem, sha256_hex};
use crate::request::headers::Headers;
use crate::testing::{self, NOW, SECRET};

const ROOT: u32 = 1;
const STREAM: u32 = 2;
const BODY: &str = "hello";
const DIGEST: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

fn document() -> Value {
    testing::document(json!({
        "name": "phases",
        "agents": { "payer": testing::signer() },
        "limits": {
            "visits": { "per": "source", "rate": "60/1m", "burst": 2 },
            "writes": { "per": "agent", "rate": "60/1m", "burst": 2 }
        },
        "held_bodies": { "hold_timeout": "3s", "total_timeout": "9s" },
        "endpoints": [
            { "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public", "limits": ["visits"] },
            { "id": "pay", "methods": ["POST"], "path": "/pay", "effect": "write", "scopes": "none", "authenticate": "signature",
              "limits": ["writes"] }
        ],
        "audit": { "log": { "allow": false, "deny": true }, "outcome": true }
    }))
}

/// A worker of a gateway, with one root context.
struct Worker {
    host: Fake,
    root: Root<Fake>,
}

impl Worker {
    fn new(document: &Value) -> Self {
        let mut worker = Self::unconfigured();
        let mistakes = crate::policy::Policy::from_value(document.clone(), &testing::one_secret).err();
        // The gateway has been running for a while, so the replay table covers all requests that are sent now.
        worker.host.0.seconds.set(NOW - 100);
        assert!(worker.configure(&document.to_string()), "{mistakes:?}");
        worker.stream(&[(":method", "GET"), (":path", "/nowhere"), (":authority", "x")]).on_request_headers(true);
        worker.host.0.seconds.set(NOW);
        worker.host.0.sent.take();
        worker.host.0.log.take();
        worker.host.0.properties.borrow_mut().remove(&b"callgate"[..]);
        worker
    }

    fn unconfigured() -> Self {
        let host = Fake::default();
        host.0.seconds.set(NOW);
        host.0.variables.borrow_mut().insert("S".into(), SECRET.to_vec());
        host.0.variables.borrow_mut().insert("T".into(), [SECRET, b"!"].concat());
        host.0.properties.borrow_mut().insert(b"source\0address".to_vec(), b"192.0.2.1:80".to_vec());
        Self { root: Root::new(host.clone(), ROOT), host }
    }

    fn configure(&mut self, configuration: &str) -> bool {
        self.host.0.configuration.replace(configuration.as_bytes().to_vec());
        self.root.on_configure(configuration.len())
    }

    fn stream(&self, lines: &[(&str, &str)]) -> HttpStream<Fake> {
        self.host.set(Map::RequestHeaders, lines);
        self.root.stream(STREAM)
    }

    /// Returns the stream of a request whose body is signed.
    fn paying(&self, nonce: &str) -> HttpStream<Fake> {
        let lines = signed(nonce);
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.stream(&lines)
    }

    fn tick(&mut self, periods: u32) {
        for _ in 0..periods {
            self.host.0.millis.set(self.host.0.millis.get() + 1_000);
            self.root.on_tick();
        }
    }

    /// Returns the status and details of all answers.
    fn answers(&self) -> Vec<(u16, String)> {
        self.host.0.sent.borrow().iter().map(|sent| (sent.status, sent.details.clone())).collect()
    }

    fn metric(&self, name: &str) -> i64 {
        self.host.0.metrics.borrow().iter().find(|(own, _)| own == name).map_or(0, |(_, value)| *value)
    }
}

fn health() -> [(&'static str, &'static str); 3] {
    [(":method", "GET"), (":path", "/health"), (":authority", "api.example.com")]
}

fn signed(nonce: &str) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> =
        [(":method", "POST"), (":path", "/pay"), (":authority", "api.example.com"), ("content-digest", DIGEST)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    let input = format!(
        "sig=(\"@method\" \"@authority\" \"@path\" \"content-digest\");created={NOW};keyid=\"k\";alg=\"hmac-sha256\";nonce=\"{nonce:0>22}\""
    );
    let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
    let structured = StructuredFields::default();
    let message = Message {
        method: b"POST",
        scheme: "https",
        authority: "api.example.com",
        target: b"/pay",
        headers: &headers,
        structured: &structured,
    };
    let read = read(input.as_bytes(), b"sig=:AAAA:").unwrap();
    let text = base(&message, &read[0].input).unwrap();
    let signature = hmac_sha256::HMAC::mac(text.as_bytes(), SECRET);
    lines.push(("signature-input".into(), input));
    lines.push(("signature".into(), format!("sig=:{}:", STANDARD.encode(signature))));
    lines
}

#[test]
fn forwards_an_allowed_request_with_its_headers_and_completes_its_record() {
    let worker = Worker::new(&document());
    let mut stream = worker.stream(&health());
    assert_eq!(stream.on_request_headers(true), StreamAction::Continue);
    assert_eq!(worker.host.value(Map::RequestHeaders, "x-callgate-endpoint").as_deref(), Some("health"));
    assert_eq!(stream.on_response_headers(false), StreamAction::Continue);
    assert!(worker.host.value(Map::ResponseHeaders, "ratelimit").is_some());
    assert_eq!(worker.host.record().unwrap().get("outcome"), None);
    worker.host.0.properties.borrow_mut().insert(b"response\0code".to_vec(), 204_u64.to_le_bytes().to_vec());
    stream.on_log();
    let record = worker.host.record().unwrap();
    assert_eq!((&record["decision"], &record["outcome"]["status"]), (&json!("allow"), &json!(204)));
    assert_eq!(worker.metric("callgate.decisions.allow.public"), 1);
}

#[test]
fn serves_the_metadata_once_and_fails_closed_without_a_record() {
    let mut document = document();
    document["metadata"] = json!({ "authorization_servers": ["https://idp.example.com"] });
    document["audit"]["log"]["allow"] = json!(true);
    let worker = Worker::new(&document);
    let lines =
        [(":method", "GET"), (":path", "/.well-known/oauth-protected-resource"), (":authority", "api.example.com")];
    let mut stream = worker.stream(&lines);
    assert_eq!(stream.on_request_headers(true), StreamAction::Pause);
    stream.on_response_headers(false);
    stream.on_log();
    assert_eq!(worker.answers(), [(200, "callgate_metadata".to_owned())]);
    assert_eq!(worker.metric("callgate.decisions.allow.metadata"), 1);
    assert_eq!(worker.host.record().unwrap()["reason"], json!("metadata"));
    assert_eq!(worker.host.0.log.borrow().len(), 1, "the policy logs what is allowed");
    assert!(worker.host.lines(Map::ResponseHeaders).is_empty());

    worker.host.0.sent.take();
    worker.host.0.fails.set(Some("set_property"));
    assert_eq!(worker.stream(&lines).on_request_headers(true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
    assert_eq!(worker.metric("callgate.decisions.allow.metadata"), 1);
}

#[test]
fn answers_a_denied_request_once_and_forwards_nothing_after() {
    let worker = Worker::new(&document());
    let mut stream = worker.stream(&[(":method", "GET"), (":path", "/nowhere"), (":authority", "api.example.com")]);
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    assert_eq!(stream.on_request_body(5, true), StreamAction::Pause);
    assert_eq!(stream.on_request_trailers(), StreamAction::Pause);
    stream.on_response_headers(false);
    stream.on_log();
    assert_eq!(worker.answers(), [(403, "callgate_signature_missing".to_owned())]);
    assert_eq!(worker.host.0.log.borrow().len(), 1, "the policy logs denials");
    assert!(worker.host.lines(Map::ResponseHeaders).is_empty());
}

#[test]
fn holds_a_request_until_its_body_is_checked() {
    let worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    assert_eq!(worker.host.record(), None, "nothing is decided yet");
    worker.host.0.body.replace(b"he".to_vec());
    assert_eq!(stream.on_request_body(2, false), StreamAction::Pause);
    worker.host.0.body.replace(BODY.into());
    assert_eq!(stream.on_request_body(BODY.len(), true), StreamAction::Continue);
    assert_eq!(worker.host.record().unwrap()["body_checked"], json!(true));
    assert!(worker.answers().is_empty());
}

#[test]
fn checks_a_body_with_trailers_and_removes_forged_trailers() {
    let worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    worker.host.0.body.replace(BODY.into());
    assert_eq!(stream.on_request_body(BODY.len(), false), StreamAction::Pause);
    worker.host.set(Map::RequestTrailers, &[("x-callgate-agent", "admin"), ("checksum", "1")]);
    assert_eq!(stream.on_request_trailers(), StreamAction::Continue);
    assert_eq!(worker.host.lines(Map::RequestTrailers), [("checksum".to_owned(), "1".to_owned())]);
}

#[test]
fn denies_a_request_whose_body_does_not_match() {
    let worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    worker.host.0.body.replace(b"HELLO".to_vec());
    assert_eq!(stream.on_request_body(5, true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(403, "callgate_content_digest_mismatch".to_owned())]);
}

#[test]
fn denies_a_request_if_the_host_withholds_the_body() {
    let worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    worker.host.0.body.replace(BODY.into());
    assert_eq!(stream.on_request_body(BODY.len() + 1, true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
}

#[test]
fn times_out_a_stalled_body_and_forwards_nothing_afterwards() {
    let mut worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    worker.tick(3);
    assert!(worker.answers().is_empty());
    worker.tick(2);
    assert_eq!(worker.answers(), [(408, "callgate_body_timeout".to_owned())]);
    assert_eq!(*worker.host.0.contexts.borrow(), [STREAM, ROOT]);
    worker.host.0.body.replace(BODY.into());
    assert_eq!(stream.on_request_body(BODY.len(), true), StreamAction::Pause);
    stream.on_log();
    assert_eq!(worker.answers().len(), 1);
    assert_eq!(worker.host.record().unwrap()["reason"], json!("body_timeout"));
}

/// A gateway does so whose configuration lacks the capability for the callback that holds the body.
#[test]
fn a_gateway_that_forwards_held_requests_does_so_once() {
    for answers_first in [true, false] {
        let worker = Worker::new(&document());
        let mut stream = worker.paying("a");
        assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
        worker.host.0.properties.borrow_mut().insert(UPSTREAM_ADDRESS.to_vec(), b"192.0.2.9:80".to_vec());
        if answers_first {
            assert_eq!(stream.on_response_headers(false), StreamAction::Pause);
            assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())], "the client sees no answer");
            assert_eq!(stream.on_response_headers(false), StreamAction::Continue, "the headers of the gate's answer");
            assert_eq!(worker.answers().len(), 1, "once");
        }
        stream.on_log();
        worker.host.0.properties.borrow_mut().remove(UPSTREAM_ADDRESS);
        worker.host.0.sent.take();
        assert_eq!(worker.paying("b").on_request_headers(false), StreamAction::Pause);
        assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
        let other = worker.stream(&health()).on_request_headers(true);
        assert_eq!(other, StreamAction::Continue, "requests that are not held are decided");
    }
}

#[test]
fn an_answer_of_the_gateway_to_a_held_request_passes() {
    let worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    assert_eq!(stream.on_response_headers(false), StreamAction::Continue, "such as 413");
    stream.on_log();
    assert_eq!(worker.paying("b").on_request_headers(false), StreamAction::Pause);
    assert!(worker.answers().is_empty());
}

#[test]
fn records_a_held_request_that_the_client_aborts() {
    let worker = Worker::new(&document());
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
    stream.on_log();
    let record = worker.host.record().unwrap();
    assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!("body_incomplete")));
    // The denied request used nothing up, so the same request is accepted again.
    let mut again = worker.paying("a");
    assert_eq!(again.on_request_headers(false), StreamAction::Pause);
    assert!(worker.answers().is_empty());
}

#[test]
fn denies_a_request_that_cannot_be_recorded() {
    let worker = Worker::new(&document());
    worker.host.0.fails.set(Some("set_property"));
    let mut stream = worker.stream(&health());
    assert_eq!(stream.on_request_headers(true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
}

#[test]
fn a_failed_host_call_denies_the_request() {
    for call in ["header_pairs", "property", "now", "add_header", "set_property"] {
        let worker = Worker::new(&document());
        worker.host.0.fails.set(Some(call));
        let mut stream = worker.stream(&health());
        assert_eq!(stream.on_request_headers(true), StreamAction::Pause, "{call}");
        assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())], "{call}");
    }
    // A failure to count or report does not deny a request.
    for call in ["change_metric", "define_metric", "has_header"] {
        let worker = Worker::new(&document());
        worker.host.0.fails.set(Some(call));
        let mut stream = worker.stream(&health());
        assert_eq!(stream.on_request_headers(true), StreamAction::Continue, "{call}");
        stream.on_response_headers(false);
        assert!(worker.answers().is_empty(), "{call}");
    }
}

#[test]
fn denies_every_request_without_a_policy() {
    let worker = Worker::unconfigured();
    let mut stream = worker.stream(&health());
    assert_eq!(stream.on_request_headers(true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
    stream.on_log();
}

#[test]
fn forwards_headers_first_but_no_byte_of_a_mismatched_body() {
    let mut document = document();
    document["gateway"] = json!("istio");
    document["body_check"] = json!("after_headers");
    document["tables"] = json!({ "key": { "env": "T" } });
    let worker = Worker::new(&document);
    let mut stream = worker.paying("a");
    assert_eq!(stream.on_request_headers(false), StreamAction::Continue);
    assert_eq!(worker.host.value(Map::RequestHeaders, "x-callgate-agent").as_deref(), Some("payer"));
    worker.host.0.body.replace(b"HELLO".to_vec());
    assert_eq!(stream.on_request_body(5, true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(403, "callgate_content_digest_mismatch".to_owned())]);
    let mut good = worker.paying("b");
    assert_eq!(good.on_request_headers(false), StreamAction::Continue);
    worker.host.0.body.replace(BODY.into());
    assert_eq!(good.on_request_body(BODY.len(), true), StreamAction::Continue);
    assert_eq!(worker.host.record().unwrap()["body_late"], json!(true));
}

#[test]
fn an_invalid_configuration_keeps_the_previous_policy() {
    let mut worker = Worker::new(&document());
    for wrong in [r#"{"callgate":"v1","name":"x"}"#, "\n\u{3}abc", ""] {
        assert!(!worker.configure(wrong), "{wrong:?}");
    }
    worker.host.0.fails.set(Some("configuration"));
    assert!(!worker.configure(&document().to_string()));
    worker.host.0.fails.set(None);
    assert_eq!(worker.stream(&health()).on_request_headers(true), StreamAction::Continue);
}

/// What differs between the adapters is in the policy: the filter would not hold what the module holds.
#[test]
fn the_filter_rejects_a_policy_for_the_module() {
    let mut worker = Worker::new(&document());
    let mut for_module = document();
    for_module["gateway"] = json!(ENVOY_MODULE);
    assert!(!worker.configure(&for_module.to_string()));
    assert_eq!(worker.stream(&health()).on_request_headers(true), StreamAction::Continue, "the previous policy");
    // Kong would forward requests without the filter.
    worker.host.0.variables.borrow_mut().insert("CALLGATE_GATEWAY".into(), b"kong".to_vec());
    assert!(worker.configure(&for_module.to_string()));
    assert_eq!(worker.stream(&health()).on_request_headers(true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
}

#[test]
fn the_module_accepts_only_a_policy_for_it() {
    let host = Worker::unconfigured().host;
    let mut policy = document();
    policy["body_check"] = json!("after_headers");
    policy["tables"] = json!({ "key": { "env": "T" } });
    for gateway in ["envoy", "envoy-gateway", "istio", "higress"] {
        policy["gateway"] = json!(gateway);
        let message = format!(
            "gateway: the policy is written for `{gateway}`, and this is the dynamic module; expected `gateway: envoy-module`"
        );
        let lines = compile(&host, policy.to_string().as_bytes(), ENVOY_MODULE).unwrap_err();
        assert_eq!(lines, [message]);
    }
    policy["gateway"] = json!(ENVOY_MODULE);
    let compiled = compile(&host, policy.to_string().as_bytes(), ENVOY_MODULE).unwrap();
    assert_eq!(compiled.features.name, ENVOY_MODULE);
    // There is no default.
    policy.as_object_mut().unwrap().remove("gateway");
    let lines = compile(&host, policy.to_string().as_bytes(), ENVOY_MODULE).unwrap_err();
    assert!(lines.iter().any(|line| line.contains("gateway")), "{lines:?}");
}

#[test]
fn an_invalid_policy_for_kong_denies_every_request() {
    let mut worker = Worker::new(&document());
    assert!(worker.configure(r#"{"callgate":"v1","name":"x","gateway":"kong"}"#));
    assert_eq!(worker.stream(&health()).on_request_headers(true), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
}

#[test]
fn starts_one_timer_and_rejects_a_policy_if_that_fails() {
    let mut worker = Worker::unconfigured();
    worker.host.0.fails.set(Some("set_tick_period"));
    assert!(!worker.configure(&document().to_string()));
    worker.host.0.fails.set(None);
    assert!(worker.configure(&document().to_string()) && worker.configure(&document().to_string()));
    assert_eq!(worker.host.0.periods.borrow().len(), 1);
}

/// Returns a policy in which a certificate identifies the caller.
fn with_certificates() -> Value {
    testing::document(json!({
        "tls": { "client_certificates": "validated", "trust_domains": ["example.org"] },
        "agents": { "w": { "owner": "o", "identity": { "spiffe": "spiffe://example.org/w" } } },
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none",
                        "authenticate": "certificate" }]
    }))
}

#[test]
fn the_certificate_of_the_connection_identifies_the_caller() {
    const DIGEST: &[u8] = b"connection\0sha256_peer_certificate_digest";
    const PEM: &[u8] = b"connection\0peer_certificate";
    let worker = Worker::new(&with_certificates());
    let der = Certificate { uris: &["spiffe://example.org/w"], ..Certificate::default() }.der();
    let decide = || {
        let lines = [(":method", "GET"), (":path", "/"), (":authority", "api.example.com")];
        let action = worker.stream(&lines).on_request_headers(true);
        (action, worker.host.record().unwrap()["reason"].as_str().unwrap().to_owned())
    };
    let set = |path: &[u8], value: &str| {
        worker.host.0.properties.borrow_mut().insert(path.to_vec(), value.as_bytes().to_vec());
    };
    assert_eq!(decide(), (StreamAction::Pause, "credentials_missing".into()));
    set(DIGEST, &sha256_hex(&der));
    assert_eq!(decide(), (StreamAction::Pause, "certificate_name".into()), "without PEM");
    set(PEM, &pem(&Certificate::default().der()));
    assert_eq!(decide(), (StreamAction::Pause, "certificate_name".into()), "another certificate");
    set(PEM, &pem(&der));
    assert_eq!(decide(), (StreamAction::Continue, "allowed".into()));
    assert_eq!(worker.host.record().unwrap()["certificate"]["spiffe"], "spiffe://example.org/w");
    set(DIGEST, "");
    assert_eq!(decide(), (StreamAction::Pause, "certificate_name".into()), "without a digest");
    set(PEM, "");
    assert_eq!(decide(), (StreamAction::Pause, "credentials_missing".into()), "a connection without a certificate");
    worker.host.0.fails.set(Some("property"));
    assert_eq!(decide().0, StreamAction::Pause);
}

/// The token of one agent arrives over a connection with the certificate of another one. The gateway provides only a part of it.
#[test]
fn a_token_over_a_connection_whose_certificate_cannot_be_read_is_denied() {
    const DIGEST: &[u8] = b"connection\0sha256_peer_certificate_digest";
    const PEM: &[u8] = b"connection\0peer_certificate";
    let identity = |mut agent: Value, spiffe: &str| {
        agent["identity"]["spiffe"] = json!(spiffe);
        agent
    };
    let mut issuer = testing::issuer();
    issuer["keys"]["secret"]["env"] = json!("S");
    let worker = Worker::new(&testing::with(
        with_certificates(),
        json!({
            "issuers": { "corp": issuer },
            "agents": {
                "a": identity(testing::agent("a"), "spiffe://example.org/a"),
                "b": identity(testing::agent("b"), "spiffe://example.org/b")
            },
            "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none",
                            "authenticate": ["token", "certificate"] }]
        }),
    ));
    let bearer = testing::bearer(json!({ "client_id": "a" }));
    let der = |uri: &str| Certificate { uris: &[uri], ..Certificate::default() }.der();
    let decide = |digest: Option<&str>, text: Option<&str>| {
        for (path, value) in [(DIGEST, digest), (PEM, text)] {
            let mut properties = worker.host.0.properties.borrow_mut();
            properties.remove(path);
            properties.extend(value.map(|value| (path.to_vec(), value.as_bytes().to_vec())));
        }
        let lines =
            [(":method", "GET"), (":path", "/"), (":authority", "api.example.com"), ("authorization", bearer.as_str())];
        let action = worker.stream(&lines).on_request_headers(true);
        (action, worker.host.record().unwrap()["reason"].as_str().unwrap().to_owned())
    };
    let denied = |reason: &str| (StreamAction::Pause, reason.to_owned());
    let allowed = (StreamAction::Continue, "allowed".to_owned());
    let other = der("spiffe://example.org/b");
    let (digest, text) = (sha256_hex(&other), pem(&other));
    assert_eq!(decide(Some(&digest), None), denied("certificate_name"));
    assert_eq!(decide(Some(&digest), Some("")), denied("certificate_name"));
    assert_eq!(decide(None, Some(&text)), denied("certificate_name"));
    assert_eq!(decide(Some(""), Some(&text)), denied("certificate_name"));
    assert_eq!(decide(Some(&digest), Some(&text)), denied("certificate_agent"));
    let own = der("spiffe://example.org/a");
    assert_eq!(decide(Some(&sha256_hex(&own)), Some(&pem(&own))), allowed);
    assert_eq!(decide(None, None), allowed);
}

#[test]
fn rejects_values_that_end_a_line() {
    for value in ["a\rb", "a\nb", "a\0b", "\n"] {
        assert_eq!(check_value("c", value.as_bytes()), Err(HostError { call: "c", status: BAD_ARGUMENT }), "{value:?}");
    }
    for value in ["", "a b", "\t", "\u{e9}"] {
        assert_eq!(check_value("c", value.as_bytes()), Ok(()), "{value:?}");
    }
}
