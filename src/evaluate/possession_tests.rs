//! Tests of tokens that are bound to a key, through all checks.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::decision::answer::{Answer, DPOP_NONCE};
use crate::identity::crypto::PublicJwk;
use crate::identity::signature::{Message, StructuredFields, base, read};
use crate::identity::token::testing::{Signs, b64, sign};
use crate::request::headers::Headers;
use crate::request::incoming::DecisionId;
use crate::testing::{self, NOW, SECRET, Worker, alone, policy, with};
use crate::text::time::Timestamp;

const KEY: Signs = Signs::P256(7);
const OTHER: Signs = Signs::P256(8);

fn document(dpop: Value) -> Value {
    testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "dpop": dpop,
        "agents": { "a": testing::agent("agent") },
        "limits": { "calls": { "per": "agent", "rate": "6/1m", "burst": 10 } },
        "requirements": { "read": { "limits": ["calls"] } },
        "endpoints": [
            { "id": "list", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": "none" },
            { "id": "bound", "methods": ["GET"], "path": "/b", "effect": "read", "scopes": "none", "token": "bound" },
            { "id": "status", "methods": ["GET"], "path": "/status", "effect": "read", "access": "public" },
        ],
    }))
}

/// Returns the usual policy, with signing agents: `a` has the key that its token is bound to and another one, `b` has a third.
fn signing_document() -> Value {
    let mut document = document(usual());
    let key = |key: Signs, keyid: &str| json!({ "jwk": with(key.jwk(), json!({ "kid": keyid })) });
    document["agents"]["a"]["signing_keys"] = json!([key(KEY, "own"), key(OTHER, "other")]);
    document["agents"]["b"] = json!({ "owner": "o", "signing_keys": [key(Signs::P256(9), "b")] });
    document
}

fn usual() -> Value {
    json!({ "required": false, "algorithms": ["ES256"] })
}

fn token(bound: bool) -> Vec<u8> {
    let claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": "agent",
        "iat": NOW, "exp": NOW + 600, "jti": "j",
    });
    let cnf = if bound { json!({ "jkt": thumbprint(KEY) }) } else { Value::Null };
    sign(Signs::Secret(SECRET), &json!({ "alg": "HS256", "typ": "at+jwt" }), &with(claims, json!({ "cnf": cnf })))
}

fn thumbprint(key: Signs) -> String {
    let jwk = key.jwk();
    PublicJwk::read(jwk.as_object().unwrap()).unwrap().key.thumbprint().unwrap().to_string()
}

fn proof(jti: &str, path: &str, now: u64, nonce: Option<&str>) -> Vec<u8> {
    let claims = json!({
        "jti": jti, "htm": "GET", "htu": format!("https://api.example.com{path}"), "iat": now,
        "ath": b64(hmac_sha256::Hash::hash(&token(true))), "nonce": nonce,
    });
    sign(KEY, &json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk() }), &claims)
}

/// A worker with its state.
struct Gate(Worker);

/// What a client sends in addition to the method and its token.
#[derive(Clone, Default)]
struct Sent<'s> {
    path: &'s str,
    now: u64,
    scheme: &'s str,
    proof: Option<&'s [u8]>,
    lines: Vec<(&'static str, String)>,
}

/// The result of a request: the nonce for the client's next proof, if it needs one, or the answer to a denied request.
type Ended = Result<Option<String>, Answer>;

fn ended(outcome: Outcome<'_>) -> Ended {
    match outcome {
        Outcome::Decided(Decision::Allow(allow)) => Ok(allow.facts().dpop_nonce().map(str::to_owned)),
        Outcome::Decided(Decision::Deny(deny)) => Err(deny.answer()),
        other => panic!("nothing here has a body or is published: {other:?}"),
    }
}

impl Sent<'_> {
    /// Returns the result of the request.
    fn decided(&self, decide: impl FnOnce(Request<'_>) -> Ended) -> Ended {
        let authorization = [self.scheme.as_bytes(), b" ", &token(true)].concat();
        let lines = [(":method", &b"GET"[..]), (":path", self.path.as_bytes()), (":authority", b"api.example.com")];
        let lines = lines.into_iter().chain([("authorization", &authorization[..])]);
        let lines = lines.chain(self.lines.iter().map(|(name, value)| (*name, value.as_bytes())));
        let headers: Headers = lines.chain(self.proof.map(|proof| ("dpop", proof))).collect();
        let now = Timestamp::from_secs(self.now);
        decide(Request {
            headers: &headers,
            end_of_stream: true,
            source: None,
            certificate: None,
            now,
            id: DecisionId(7),
        })
    }
}

impl Gate {
    fn new(document: Value) -> Self {
        Self(Worker::new(policy(document)))
    }

    /// Returns the result of a request.
    fn decide(&self, sent: &Sent<'_>) -> Result<Option<String>, Answer> {
        self.0.set_clock(sent.now);
        sent.decided(|request| ended(self.0.engine.decide(request).unwrap()))
    }

    /// Returns the result of a request with a proof.
    fn prove(&self, path: &str, now: u64, proof: &[u8]) -> Result<Option<String>, Answer> {
        self.decide(&Sent { path, now, scheme: "DPoP", proof: Some(proof), ..Sent::default() })
    }

    /// Returns the reason why a request is denied.
    #[track_caller]
    fn refuse(&self, sent: &Sent<'_>) -> String {
        self.decide(sent).unwrap_err().details.to_owned()
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

#[test]
fn issues_a_dpop_nonce_and_a_new_one_before_it_expires() {
    let gate = Gate::new(document(json!({ "required": true, "algorithms": ["ES256"], "nonce": "required" })));
    assert!(gate.0.engine.policy().counts());
    let proofs = Cell::new(0);
    let decide = |now: u64, nonce: Option<&str>| {
        proofs.set(proofs.get() + 1);
        gate.prove("/x", now, &proof(&proofs.get().to_string(), "/x", now, nonce))
    };
    let asked = decide(NOW, None).unwrap_err();
    assert_eq!(asked.details, "callgate_dpop_nonce");
    assert_eq!(
        header(&asked, "www-authenticate"),
        Some("DPoP realm=\"https://api.example.com\", error=\"use_dpop_nonce\", algs=\"ES256\"")
    );
    assert_eq!(header(&asked, "cache-control"), Some("no-store"));
    let nonce = header(&asked, DPOP_NONCE).unwrap();
    assert_eq!(decide(NOW, Some(nonce)), Ok(None));
    let next = decide(NOW + 60, Some(nonce)).unwrap().unwrap();
    assert_ne!(next, nonce);
    assert_eq!(decide(NOW + 61, Some(&next)), Ok(None));
    let ended = decide(NOW + 120, Some(nonce)).unwrap_err();
    assert_eq!(ended.details, "callgate_dpop_nonce");
    assert_eq!(decide(NOW + 120, header(&ended, DPOP_NONCE)), Ok(None));
}

#[test]
fn rejects_proofs_without_shared_state() {
    for dpop in [usual(), json!({ "required": true, "algorithms": ["ES256"], "nonce": "required" })] {
        let policy = policy(document(dpop));
        let proof = proof("one", "/x", NOW, Some("AAAAAAAAAAAAAAAAAAAAAA"));
        let sent = Sent { path: "/x", now: NOW, scheme: "DPoP", proof: Some(&proof), ..Sent::default() };
        let (mut cache, recent) = (TokenCache::default(), Recent::default());
        let answer = sent
            .decided(|request| ended(evaluate(&policy, request, None, alone(&mut cache, &recent, None))))
            .unwrap_err();
        assert_eq!(answer.details, "callgate_host_error");
    }
}

#[test]
fn answers_are_equal_on_every_path_without_the_key() {
    let gate = Gate::new(signing_document());
    let elsewhere = proof("one", "/elsewhere", NOW, None);
    let stale = proof("two", "/x", NOW - 60, None);
    for (scheme, proof) in [
        ("Bearer", None),
        ("Bearer", Some(&elsewhere[..])),
        ("DPoP", None),
        ("DPoP", Some(&elsewhere[..])),
        ("DPoP", Some(b"proof")),
        ("Basic", Some(&stale)),
    ] {
        for signer in [None, Some((OTHER, "other")), Some((OTHER, "own"))] {
            let answers = ["/x", "/b", "/nowhere"].map(|path| {
                let lines = signer.map(|(key, keyid)| signed(path, key, keyid, COVERED)).unwrap_or_default();
                gate.decide(&Sent { path, now: NOW, scheme, proof, lines }).unwrap_err()
            });
            assert_eq!(answers[0].status, 401, "{scheme} {proof:?}");
            assert_eq!(answers[0], answers[1], "{scheme} {proof:?}");
            assert_eq!(answers[0], answers[2], "{scheme} {proof:?}");
        }
    }
}

#[test]
fn a_bound_token_requires_a_proof_of_its_key() {
    assert!(token(false) != token(true));
    let gate = Gate::new(document(usual()));
    for path in ["/x", "/b"] {
        let proof = proof(path, path, NOW, None);
        assert_eq!(gate.prove(path, NOW, &proof), Ok(None));
        for (scheme, proof) in [("Bearer", Some(&proof[..])), ("Bearer", None), ("DPoP", None)] {
            gate.decide(&Sent { path, now: NOW, scheme, proof, ..Sent::default() }).unwrap_err();
        }
    }
}

#[test]
fn accepts_a_proof_once_within_its_max_age() {
    let gate = Gate::new(document(usual()));
    let used = proof("one", "/x", NOW, None);
    assert_eq!(gate.prove("/x", NOW, &used), Ok(None));
    for now in [NOW, NOW + 1, NOW + 59, NOW - 5] {
        let again = gate.prove("/x", now, &used).unwrap_err();
        assert_eq!((again.status, &*again.details), (401, "callgate_dpop_replayed"), "{now}");
        assert!(header(&again, "www-authenticate").unwrap().contains("error=\"invalid_dpop_proof\""));
        assert_eq!(header(&again, "retry-after"), None);
    }
    assert_eq!(gate.prove("/x", NOW + 60, &used).unwrap_err().details, "callgate_dpop_time");
    // Another proof with the same identifier counts as a replay, because identifiers must be unique per client.
    for (path, now) in [("/b", NOW), ("/x", NOW + 1)] {
        assert_eq!(
            gate.prove(path, NOW + 1, &proof("one", path, now, None)).unwrap_err().details,
            "callgate_dpop_replayed"
        );
    }
}

#[test]
fn replays_are_not_charged_and_rate_limited_proofs_can_retry() {
    let gate = Gate::new(document(usual()));
    let proof = |jti: &str, now: u64| proof(jti, "/x", now, None);
    let used = proof("used", NOW);
    assert_eq!(gate.prove("/x", NOW, &used), Ok(None));
    for _ in 0..20 {
        assert_eq!(gate.prove("/x", NOW, &used).unwrap_err().details, "callgate_dpop_replayed");
    }
    for jti in 0..9 {
        assert_eq!(gate.prove("/x", NOW, &proof(&jti.to_string(), NOW)), Ok(None));
    }
    let late = proof("late", NOW);
    assert_eq!(gate.prove("/x", NOW, &late).unwrap_err().details, "callgate_rate_limited");
    assert_eq!(gate.prove("/x", NOW + 10, &late), Ok(None));
    assert_eq!(gate.prove("/x", NOW + 20, &late).unwrap_err().details, "callgate_dpop_replayed");
}

const COVERED: &str = "\"@method\" \"@authority\" \"@path\" \"authorization\"";

/// Returns the signature fields of a request with the bound token, without a nonce.
fn signed(path: &str, key: Signs, keyid: &str, covered: &str) -> Vec<(&'static str, String)> {
    signed_at(NOW, path, key, keyid, covered)
}

fn signed_at(now: u64, path: &str, key: Signs, keyid: &str, covered: &str) -> Vec<(&'static str, String)> {
    let authorization = format!("DPoP {}", String::from_utf8(token(true)).unwrap());
    let headers: Headers = [("authorization", &*authorization)].into_iter().collect();
    let input = format!("sig=({covered});created={now};keyid=\"{keyid}\"");
    let message = Message {
        method: b"GET",
        scheme: "https",
        authority: "api.example.com",
        target: path.as_bytes(),
        headers: &headers,
        structured: &StructuredFields::default(),
    };
    let base = base(&message, &read(input.as_bytes(), b"sig=:AA==:").unwrap()[0].input).unwrap();
    let signature = STANDARD.encode(key.sign("ES256", base.as_bytes()));
    vec![("signature-input", input), ("signature", format!("sig=:{signature}:"))]
}

#[test]
fn accepts_a_signature_once_instead_of_a_proof() {
    let gate = Gate::new(signing_document());
    for path in ["/x", "/b"] {
        let good = signed(path, KEY, "own", COVERED);
        let sent = |scheme, lines| Sent { path, now: NOW, scheme, proof: None, lines };
        // The bound token is rejected as a bearer token. That does not use up the signature.
        assert_eq!(gate.refuse(&sent("Bearer", good.clone())), "callgate_token_bound");
        assert_eq!(gate.decide(&sent("DPoP", good.clone())), Ok(None));
        assert_eq!(gate.refuse(&sent("DPoP", good.clone())), "callgate_signature_replayed");
        // A valid signature, but with a key that the token is not bound to.
        assert_eq!(gate.refuse(&sent("DPoP", signed(path, OTHER, "other", COVERED))), "callgate_dpop_binding");
        for lines in [
            vec![],
            // With the right `keyid` but another key, with an unknown `keyid`, and with another agent's.
            signed(path, OTHER, "own", COVERED),
            signed(path, KEY, "nobody", COVERED),
            signed(path, KEY, "b", COVERED),
            // For another request, for another time, and without covering the token.
            signed("/elsewhere", KEY, "own", COVERED),
            signed_at(NOW - 60, path, KEY, "own", COVERED),
            signed(path, KEY, "own", "\"@method\" \"@authority\" \"@path\""),
            // Only one of the two fields.
            good[..1].to_vec(),
            good[1..].to_vec(),
        ] {
            assert_eq!(gate.refuse(&sent("DPoP", lines.clone())), "callgate_dpop_missing", "{lines:?}");
        }
    }
}

#[test]
fn a_signature_does_not_replace_an_invalid_proof() {
    let gate = Gate::new(signing_document());
    let lines = signed("/x", KEY, "own", COVERED);
    let stale = proof("one", "/x", NOW - 60, None);
    let sent = Sent { path: "/x", now: NOW, scheme: "DPoP", proof: Some(&stale), lines };
    assert_eq!(gate.refuse(&sent), "callgate_dpop_time");
}

#[test]
fn rejects_a_bound_token_signed_by_another_agent() {
    let mut document = signing_document();
    document["agents"]["b"]["signing_keys"][0] = document["agents"]["a"]["signing_keys"][0].take();
    document["agents"]["a"].as_object_mut().unwrap().remove("signing_keys");
    let gate = Gate::new(document);
    let lines = signed("/x", KEY, "own", COVERED);
    assert_eq!(
        gate.refuse(&Sent { path: "/x", now: NOW, scheme: "DPoP", proof: None, lines }),
        "callgate_signature_signer"
    );
}

#[test]
fn remembers_signatures_used_as_proofs_for_their_max_age() {
    let mut document = signing_document();
    document["signatures"] = json!({ "max_age": "90s" });
    let gate = Gate::new(document);
    let lines = signed("/x", KEY, "own", COVERED);
    let sent = |now| Sent { path: "/x", now, scheme: "DPoP", proof: None, lines: lines.clone() };
    assert_eq!(gate.decide(&sent(NOW + 70)), Ok(None));
    assert_eq!(gate.refuse(&sent(NOW + 89)), "callgate_signature_replayed");
    assert_eq!(gate.refuse(&sent(NOW + 90)), "callgate_dpop_missing");
}

#[test]
fn public_endpoints_do_not_use_up_proofs_or_signatures() {
    let gate = Gate::new(signing_document());
    let proof = proof("one", "/status", NOW, None);
    let lines = signed("/status", KEY, "own", COVERED);
    for _ in 0..20 {
        assert_eq!(gate.prove("/status", NOW, &proof), Ok(None));
        let sent = Sent { path: "/status", now: NOW, scheme: "DPoP", proof: None, lines: lines.clone() };
        assert_eq!(gate.decide(&sent), Ok(None));
    }
    assert_eq!(gate.prove("/x", NOW, &self::proof("one", "/x", NOW, None)), Ok(None));
}
