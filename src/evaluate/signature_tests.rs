//! Signed requests through the whole evaluation. What single signatures look like is the business of `crate::signature`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::crypto::SoftwareVerifier;
use crate::shared::PolicyState;
use crate::signature::{Message, StructuredFields, base, read};
use crate::state::MemoryStore;
use crate::token::{SecretLookup, Secrets, TokenCache};
use crate::{Call, Context, Decision, DecisionId, Grant, Headers, Policy, Reason, Step, Timestamp, Wait, evaluate};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes, or";

struct OneSecret;

impl Secrets for OneSecret {
    fn resolve(&self, _: &str) -> SecretLookup {
        SecretLookup::Found(SECRET.to_vec())
    }
}

fn document() -> Value {
    json!({
        "callgate": "v1", "name": "signed", "mode": "enforce", "gateway": "envoy",
        "resource": "https://api.example.com", "hosts": ["api.example.com"],
        "issuers": {},
        "agents": {
            "payer": { "owner": "o", "scopes": ["pay"], "signing_keys": [{ "secret": { "env": "S" }, "keyid": "k" }] }
        },
        "limits": { "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } },
        "max_body": "1KiB",
        "endpoints": [
            { "id": "get", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": ["pay"],
              "authenticate": "signature", "limits": ["calls"] },
            { "id": "pay", "methods": ["POST"], "path": "/pay", "effect": "write", "scopes": ["pay"],
              "authenticate": "signature", "limits": ["calls"] }
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": false } }
    })
}

/// A gate with what it remembers.
struct Gate {
    policy: Policy,
    store: MemoryStore,
    state: PolicyState,
}

impl Gate {
    fn new(document: Value) -> Self {
        let policy = Policy::from_value(document, &OneSecret).unwrap_or_else(|findings| panic!("{findings:?}")).policy;
        let store = MemoryStore::default();
        let state = PolicyState::open(&policy, &store, &Timestamp::from_secs(0), [1; 16]).unwrap().unwrap().state;
        Self { policy, store, state }
    }

    fn decide(&self, lines: &[(String, String)], body: Option<&str>) -> Result<Grant, Reason> {
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        let now = Timestamp::from_secs(NOW);
        let call = Call { headers: &headers, end_of_stream: body.is_none(), source: None, now, id: DecisionId(7) };
        let mut cache = TokenCache::default();
        let shared = Some(self.state.shared(&self.store, &now));
        let mut context = Context { verifier: &SoftwareVerifier, cache: &mut cache, shared, trace: None };
        let decision = match evaluate(&self.policy, call, context.again()) {
            Step::Decided(decision) => decision,
            Step::Hold(mut hold) => {
                for part in body.unwrap_or_default().as_bytes().chunks(7) {
                    if hold.update(part) == Wait::Ends {
                        break;
                    }
                }
                hold.finish(now, context)
            }
        };
        match decision {
            Decision::Allow(allow) => Ok(allow.grant()),
            Decision::Deny(deny) => Err(deny.reason()),
        }
    }
}

/// A request with a signature over these components.
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
fn a_signature_alone_proves_who_calls_once() {
    let gate = Gate::new(document());
    let first = signed("GET", "/x", &[], &usual("a"));
    assert_eq!(gate.decide(&first, None), Ok(Grant::Endpoint));
    assert_eq!(gate.decide(&first, None), Err(Reason::SignatureReplayed));
    assert_eq!(gate.decide(&signed("GET", "/x", &[], &usual("b")), None), Ok(Grant::Endpoint));
    let unsigned: Vec<_> = first.iter().filter(|(name, _)| name.starts_with(':')).cloned().collect();
    assert_eq!(gate.decide(&unsigned, None), Err(Reason::SignatureMissing));
    let elsewhere = signed("GET", "/nowhere", &[], &usual("c"));
    assert_eq!(gate.decide(&elsewhere, None), Err(Reason::EndpointNotAllowed));
}

#[test]
fn a_repeated_call_costs_its_owner_nothing_and_a_denied_one_can_come_again() {
    let gate = Gate::new(document());
    let call = signed("GET", "/x", &[], &usual("a"));
    assert_eq!(gate.decide(&call, None), Ok(Grant::Endpoint));
    for _ in 0..20 {
        assert_eq!(gate.decide(&call, None), Err(Reason::SignatureReplayed));
    }
    for nonce in 0..9 {
        assert_eq!(gate.decide(&signed("GET", "/x", &[], &usual(&nonce.to_string())), None), Ok(Grant::Endpoint));
    }
    let late = signed("GET", "/x", &[], &usual("late"));
    assert_eq!(gate.decide(&late, None), Err(Reason::RateLimited));
    let mut other = document();
    other["limits"]["calls"]["burst"] = json!(20);
    let wider = Gate { policy: Policy::from_value(other, &OneSecret).unwrap().policy, ..gate };
    assert_eq!(wider.decide(&late, None), Ok(Grant::Endpoint));
}

#[test]
fn the_body_is_the_one_that_was_signed() {
    let gate = Gate::new(document());
    let call = |nonce: &str| signed("POST", "/pay", &[DIGEST], &with_digest(nonce));
    assert_eq!(gate.decide(&call("a"), Some(BODY)), Ok(Grant::Endpoint));
    assert_eq!(gate.decide(&call("b"), Some("{\"hello\": \"World\"}")), Err(Reason::ContentDigestMismatch));
    assert_eq!(gate.decide(&call("c"), Some("")), Err(Reason::ContentDigestMismatch));
    assert_eq!(gate.decide(&call("d"), None), Err(Reason::ContentDigestMismatch));
    assert_eq!(gate.decide(&call("e"), Some(&"x".repeat(1025))), Err(Reason::BodyTooLarge));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[], &usual("f")), Some(BODY)), Err(Reason::ContentDigestMissing));
    assert_eq!(
        gate.decide(&signed("POST", "/pay", &[DIGEST], &usual("g")), Some(BODY)),
        Err(Reason::ContentDigestMissing)
    );
    // What was denied for its body has used nothing up.
    assert_eq!(gate.decide(&call("b"), Some(BODY)), Ok(Grant::Endpoint));
}

#[test]
fn whatever_is_changed_after_signing_is_found() {
    let gate = Gate::new(document());
    for (name, value, reason) in [
        (":method", "HEAD", Reason::SignatureFailed),
        (":path", "/pay", Reason::SignatureFailed),
        (":path", "/x?a=b", Reason::SignatureCoverage),
        ("signature", "sig=:AA==:", Reason::SignatureFailed),
        ("signature", "other=:AA==:", Reason::SignatureMalformed),
        ("signature-input", "sig=()", Reason::SignatureParameters),
        ("signature-input", "sig=();created=1800000000;keyid=\"k\"", Reason::SignatureCoverage),
        ("signature-input", "sig=();created=1800000000;keyid=\"other\"", Reason::SignatureKey),
    ] {
        let mut lines = signed("GET", "/x", &[], &usual("a"));
        lines.iter_mut().filter(|(own, _)| own == name).for_each(|(_, own)| *own = value.to_owned());
        assert_eq!(gate.decide(&lines, None), Err(reason), "{name}: {value}");
    }
}

#[test]
fn early_data_is_taken_for_what_changes_nothing() {
    let gate = Gate::new(document());
    let early = ("early-data", "1");
    assert_eq!(gate.decide(&signed("GET", "/x", &[early], &usual("a")), None), Ok(Grant::Endpoint));
    assert_eq!(gate.decide(&signed("POST", "/pay", &[early], &usual("b")), None), Err(Reason::EarlyData));
}
