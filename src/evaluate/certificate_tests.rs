//! What the corpus cannot state about certificates: equal answers, limits of classes, and text that must not occur anywhere.

use serde_json::{Value, json};

use super::{Outcome, evaluate};
use crate::decision::Decision;
use crate::decision::answer::Answer;
use crate::decision::trace::{Check, Trace};
use crate::identity::token::TokenCache;
use crate::policy::Policy;
use crate::quota::Recent;
use crate::reason::Reason;
use crate::request::certificate::ClientCertificate;
use crate::request::certificate::testing::{Certificate, element, pem, sha256_hex};
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request};
use crate::testing::{self, NOW, Worker, alone};
use crate::text::time::Timestamp;

fn policy(changes: Value) -> Policy {
    testing::policy(testing::with(
        testing::document(json!({
            "tls": { "client_certificates": "validated", "trust_domains": ["example.org"],
                     "proxies": ["spiffe://example.org/proxy"] },
            "issuers": { "corp": testing::issuer() },
            "agents": {
                "a": testing::agent("a"),
                "w": { "owner": "o", "identity": { "spiffe": "spiffe://example.org/w/*" } },
            },
            "endpoints": [
                { "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none",
                  "authenticate": ["token", "certificate"] },
                { "id": "t", "methods": ["GET"], "path": "/tokens", "effect": "read", "scopes": "none" },
                { "id": "s", "methods": ["GET"], "path": "/stream", "effect": "read", "scopes": "none",
                  "authenticate": ["token", "certificate"], "streams": "recheck" },
            ]
        })),
        changes,
    ))
}

fn certificate(uri: &str) -> ClientCertificate {
    Certificate { uris: &[uri], ..Certificate::default() }.presented()
}

fn headers(path: &str, line: Option<(&str, &str)>) -> Headers {
    [(":method", "GET"), (":path", path), (":authority", "api.example.com")].into_iter().chain(line).collect()
}

fn request<'a>(headers: &'a Headers, certificate: Option<&'a ClientCertificate>) -> Request<'a> {
    let now = Timestamp::from_secs(NOW);
    Request { headers, end_of_stream: true, source: None, certificate, now, id: DecisionId(7) }
}

/// Decides a request. Returns the record, and the answer to a denial.
fn decide(
    policy: &Policy,
    path: &str,
    certificate: Option<&ClientCertificate>,
    trace: Option<&mut Trace>,
) -> (Value, Option<Answer>) {
    let headers = headers(path, None);
    let (mut cache, recent) = (TokenCache::default(), Recent::default());
    let outcome = evaluate(policy, request(&headers, certificate), None, alone(&mut cache, &recent, trace));
    let Outcome::Decided(decision) = outcome else { panic!("nothing here has a body") };
    let record = serde_json::from_slice(&decision.record().to_json()).unwrap();
    match decision {
        Decision::Allow(_) | Decision::Serve(_) => (record, None),
        Decision::Deny(deny) => (record, Some(deny.answer())),
    }
}

#[test]
fn the_answer_to_a_certificate_is_the_same_on_every_path() {
    let policy = policy(json!({}));
    let foreign = certificate("spiffe://example.com/w/a");
    let unknown = certificate("spiffe://example.org/nobody");
    let garbage = ClientCertificate::new(b"x", b"y");
    let proxy = certificate("spiffe://example.org/proxy");
    for (certificate, reason) in [
        (Some(&foreign), "certificate_name"),
        (Some(&garbage), "certificate_name"),
        (Some(&unknown), "agent_unknown"),
        (Some(&proxy), "credentials_missing"),
        (None, "credentials_missing"),
    ] {
        let answers = ["/", "/tokens", "/nowhere"].map(|path| {
            let (record, answer) = decide(&policy, path, certificate, None);
            assert_eq!(record["reason"], reason, "{path}");
            let answer = answer.unwrap();
            (answer.status, answer.headers, answer.body)
        });
        assert!(answers[0] == answers[1] && answers[1] == answers[2], "{reason}: {answers:#?}");
    }
}

#[test]
fn a_policy_without_tls_takes_no_notice_of_certificates() {
    let policy = testing::policy(testing::document(json!({
        "issuers": { "corp": testing::issuer() }, "agents": { "a": testing::agent("a") },
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none" }]
    })));
    for certificate in [certificate("spiffe://example.org/w/a"), ClientCertificate::new(b"x", b"y")] {
        let (record, _) = decide(&policy, "/", Some(&certificate), None);
        assert_eq!((&record["reason"], record.get("certificate")), (&json!("credentials_missing"), None));
    }
}

#[test]
fn explains_what_a_certificate_contains_and_why_it_identifies_nobody() {
    let policy = policy(json!({}));
    let facts = |certificate: &ClientCertificate| {
        let mut trace = Trace::new();
        decide(&policy, "/", Some(certificate), Some(&mut trace));
        let traced = trace.into_iter().find(|traced| traced.check == Check::Certificate).unwrap();
        assert_eq!(traced.rule, "tls");
        traced.facts.into_iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
    };
    let good = facts(&certificate("spiffe://example.org/w/a"));
    assert_eq!((good.len(), &*good[0]), (2, "spiffe: spiffe://example.org/w/a"), "{good:?}");
    let foreign = facts(&certificate("spiffe://example.com/w/a"));
    assert_eq!(foreign[0], "uri: spiffe://example.com/w/a");
    assert_eq!(foreign[2], "certificate: its trust domain is not one of `tls.trust_domains`");
    assert!(facts(&ClientCertificate::new(b"x", b"y"))[0].contains("is malformed"));
}

#[test]
fn each_workload_of_a_class_counts_by_itself() {
    let limit = json!({ "calls": { "per": "agent", "rate": "1/1h", "burst": 1 } });
    let requirement = json!({ "read": { "limits": ["calls"] } });
    let worker = Worker::new(policy(json!({ "limits": limit, "requirements": requirement })));
    worker.set_clock(NOW);
    let headers = headers("/", None);
    let is_allowed = |certificate: &ClientCertificate| {
        let outcome = worker.engine.decide(request(&headers, Some(certificate))).unwrap();
        let Outcome::Decided(decision) = outcome else { panic!("nothing here has a body") };
        matches!(decision, Decision::Allow(_))
    };
    let (one, other) = (certificate("spiffe://example.org/w/1"), certificate("spiffe://example.org/w/2"));
    assert!(is_allowed(&one));
    assert!(!is_allowed(&one), "its limit is used up");
    assert!(is_allowed(&other));
    // Another certificate of the same workload shares its limit.
    let renewed = Certificate { uris: &["spiffe://example.org/w/2"], key_usage: Some(0x80), ..Certificate::default() };
    assert!(!is_allowed(&renewed.presented()));
}

#[test]
fn the_upstream_gets_the_spiffe_id_as_the_subject() {
    let policy = policy(json!({}));
    let certificate = certificate("spiffe://example.org/w/a");
    let headers = headers("/", Some(("x-callgate-subject", "forged")));
    let (mut cache, recent) = (TokenCache::default(), Recent::default());
    let outcome = evaluate(&policy, request(&headers, Some(&certificate)), None, alone(&mut cache, &recent, None));
    let Outcome::Decided(Decision::Allow(allow)) = outcome else { panic!("the certificate is accepted") };
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    allow.changes().iter().for_each(|change| change.apply(&mut lines));
    let of = |name: &str| {
        let values = lines.iter().filter(|(own, _)| own == name.as_bytes());
        values.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("x-callgate-subject"), ["spiffe://example.org/w/a"]);
    assert_eq!(of("x-callgate-agent"), ["w"]);
}

#[test]
fn a_certificate_that_expires_ends_requests_and_streams_of_its_connection() {
    let worker = Worker::new(policy(json!({})));
    worker.set_clock(NOW);
    // A minute before the time of the policy's tests, which is 2027-01-15 08:00 UTC. The skew is a minute.
    let dates = ["261201000000Z", "270115075900Z"].map(|date| element(0x17, &[date.as_bytes().to_vec()]));
    let certificate =
        Certificate { uris: &["spiffe://example.org/w/1"], dates: Some(&dates), ..Certificate::default() };
    let certificate = certificate.presented();
    let headers = headers("/stream", None);
    let decide = |now: Timestamp| {
        let outcome = worker.engine.decide(Request { now, ..request(&headers, Some(&certificate)) }).unwrap();
        let Outcome::Decided(decision) = outcome else { panic!("nothing here has a body") };
        match decision {
            Decision::Allow(allow) => Ok(allow.recheck().unwrap()),
            Decision::Deny(deny) => Err(deny.reason()),
            Decision::Serve(_) => panic!("nothing is published"),
        }
    };
    let late = Timestamp::from_nanos(NOW * 1_000_000_000 + 1);
    let stream = decide(Timestamp::from_secs(NOW)).unwrap();
    assert_eq!(decide(late).unwrap_err(), Reason::CertificateName);
    assert_eq!(worker.engine.recheck(&stream, Timestamp::from_secs(NOW)), Ok(()));
    assert_eq!(worker.engine.recheck(&stream, late), Err(Reason::CertificateName));
}

#[test]
fn an_entry_can_name_a_certificate_that_cannot_be_read() {
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    let bearer = testing::bearer(json!({ "client_id": "a" }));
    let reason = |presented: &ClientCertificate, thumbprint: &str| {
        let policy = policy(json!({ "revoked": [{ "thumbprint": thumbprint }] }));
        // The endpoint ignores certificates.
        let headers = headers("/tokens", Some(("authorization", bearer.as_str())));
        let (mut cache, recent) = (TokenCache::default(), Recent::default());
        let outcome = evaluate(&policy, request(&headers, Some(presented)), None, alone(&mut cache, &recent, None));
        let Outcome::Decided(decision) = outcome else { panic!("nothing here has a body") };
        let record: Value = serde_json::from_slice(&decision.record().to_json()).unwrap();
        record["reason"].as_str().unwrap().to_owned()
    };
    let name = "a".repeat(17_000);
    let large = Certificate { dns: &[name.as_str()], ..Certificate::default() };
    for der in [Certificate::default().der(), large.der()] {
        let (digest, text) = (sha256_hex(&der), pem(&der));
        for pem in ["", "x", text.as_str()] {
            for told in [digest.clone(), digest.to_ascii_uppercase()] {
                let presented = ClientCertificate::new(pem.as_bytes(), told.as_bytes());
                assert_eq!(reason(&presented, &digest), "token_revoked", "{} of {}", pem.len(), der.len());
                assert_eq!(reason(&presented, OTHER), "allowed");
            }
        }
        // The gateway reports the digest, so it decides if the text is that of another certificate.
        let other = ClientCertificate::new(text.as_bytes(), OTHER.as_bytes());
        assert_eq!((&*reason(&other, OTHER), &*reason(&other, &digest)), ("token_revoked", "allowed"));
        // A digest that is malformed names no certificate.
        let cut = digest.get(1..).unwrap();
        for told in [cut, &format!("g{cut}"), &format!("{digest}00"), ""] {
            assert_eq!(reason(&ClientCertificate::new(b"", told.as_bytes()), &digest), "allowed", "{told}");
        }
    }
}
