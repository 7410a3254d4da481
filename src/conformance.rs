//! Runs published test vectors, one case at a time, against the engine.
//!
//! Cases and verdicts are JSON, so the same bytes can be sent to the native engine and to a module. This module contains no checks of its
//! own. Callgate does not use it, and the released filter does not include it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::identity::crypto::{Algorithm, JwkError, PublicJwk, Thumbprint, VerifySignature, VerifyingKey};
use crate::identity::dpop::{Expected, Proof, Rules};
use crate::identity::signature::ProfileName;
use crate::identity::signature::{
    Asked, Coverage, FieldKind, Message, Profile, SignatureFields, StructuredFields, base, joined, read,
};
use crate::identity::token::SecretLookup;
use crate::policy::Policy;
use crate::quota::Gcra;
use crate::reason::Reason;
use crate::request::digest::ContentDigest;
use crate::request::headers::Headers;
use crate::text::time::Timestamp;

/// A test case for the engine. Bytes are in base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Case {
    /// Computes the signature base of a message's signature with this label.
    Base {
        /// The message.
        message: Request,
        /// The label.
        label: String,
    },
    /// Verifies that a key signed a message, without further requirements.
    Signature {
        /// The message.
        message: Request,
        /// The key as in a policy.
        key: Value,
        /// The value of the environment variable that the key names.
        secret: Option<String>,
        /// The required tag.
        tag: Option<String>,
        /// Seconds since 1970.
        now: u64,
    },
    /// Checks that a body has the digest in `Content-Digest`.
    Digest {
        /// The field.
        field: String,
        /// The body.
        body: String,
    },
    /// Verifies a signature.
    Verify {
        /// The key.
        key: Key,
        /// The algorithm's name in JOSE.
        algorithm: String,
        /// The signed message.
        message: String,
        /// The signature.
        signature: String,
    },
    /// Verifies a proof of possession for a token and a request.
    Proof {
        /// The header `DPoP`.
        proof: String,
        /// The token.
        token: String,
        /// The thumbprint of the key that the token is bound to, in base64url.
        key: String,
        /// The method of the request.
        method: String,
        /// Scheme and authority of the request.
        origin: String,
        /// The path of the request.
        path: String,
        /// Seconds since 1970.
        now: u64,
    },
    /// Computes the results of a limiter for a sequence of requests.
    Limit {
        /// The number of requests that are allowed per span in the long run.
        calls: u32,
        /// The span in milliseconds.
        span: u64,
        /// The number of requests that are allowed at once if the limiter is idle.
        burst: u32,
        /// The time of each request, in milliseconds, and its cost.
        steps: Vec<(u64, u32)>,
    },
}

/// A request as Callgate sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The scheme.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// The field lines.
    pub headers: Vec<(String, String)>,
    /// Fields with the known type dictionary.
    pub dictionaries: Vec<String>,
}

/// A key in one of the supported forms.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Key {
    /// A JSON Web Key.
    Jwk(Map<String, Value>),
    /// A PEM.
    Pem(String),
    /// A secret.
    Secret(String),
}

/// The result of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The input is accepted, with the result.
    Accepted(Value),
    /// The input is rejected, with the reason.
    Refused(String),
    /// The case is invalid: a mistake of the caller.
    Broken(String),
}

/// Runs a case. Signatures are verified by this verifier.
pub fn judge(case: &[u8], verifier: &dyn VerifySignature) -> Verdict {
    let verdict = match serde_json::from_slice(case) {
        Ok(case) => answer(case, verifier),
        Err(error) => Err(Wrong::Case(error.to_string())),
    };
    match verdict {
        Ok(value) => Verdict::Accepted(value),
        Err(Wrong::Refused(why)) => Verdict::Refused(why),
        Err(Wrong::Case(why)) => Verdict::Broken(why),
    }
}

/// The reason why a case has no result.
enum Wrong {
    Refused(String),
    Case(String),
}

impl From<Reason> for Wrong {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.code().to_owned())
    }
}

fn refused(why: impl ToString) -> Wrong {
    Wrong::Refused(why.to_string())
}

fn bytes(text: &str) -> Result<Vec<u8>, Wrong> {
    STANDARD.decode(text).map_err(|error| Wrong::Case(error.to_string()))
}

fn answer(case: Case, verifier: &dyn VerifySignature) -> Result<Value, Wrong> {
    match case {
        Case::Base { message, label } => base_of(&message, &label),
        Case::Signature { message, key, secret, tag, now } => {
            let secret = secret.as_deref().map(bytes).transpose()?;
            signed(&message, &key, secret, tag, Timestamp::from_secs(now), verifier)
        }
        Case::Digest { field, body } => {
            let body = bytes(&body)?;
            let mut hashing = ContentDigest::parse(field.as_bytes())?.begin(body.len() as u64);
            hashing.update(&body)?;
            hashing.finish()?;
            Ok(Value::Null)
        }
        Case::Verify { key, algorithm, message, signature } => {
            let key = read_key(&key)?;
            let algorithm = Algorithm::from_jose(&algorithm).ok_or(Wrong::Case(algorithm))?;
            verifier
                .verify(&key, algorithm, &bytes(&message)?, &bytes(&signature)?)
                .map_err(|_| refused("signature"))?;
            Ok(json!({ "thumbprint": key.thumbprint().map(|thumbprint| thumbprint.to_string()) }))
        }
        Case::Proof { proof, token, key, method, origin, path, now } => {
            let key = URL_SAFE_NO_PAD.decode(&key).ok().and_then(|key| key.try_into().ok());
            let expected = Expected {
                token_hash: &crate::identity::crypto::sha256(token.as_bytes()),
                key: Thumbprint(key.ok_or_else(|| Wrong::Case("the key is no thumbprint".into()))?),
                method: &method,
                origin: &origin,
                path: &path,
                nonces: None,
            };
            let now = Timestamp::from_secs(now);
            let proof = Proof::check(proof.as_bytes(), &rules(), expected, now, verifier)?;
            Ok(json!({ "key": proof.key.to_string(), "issued": proof.issued.as_secs() }))
        }
        Case::Limit { calls, span, burst, steps } => limited(calls, span, burst, &steps),
    }
}

/// Returns rules for proofs without restrictions.
fn rules() -> Rules {
    Rules {
        required: true,
        algorithms: vec![Algorithm::Es256, Algorithm::Ed25519],
        told: "".into(),
        max_age: Duration::from_secs(60),
        clock_ahead: Duration::from_secs(5),
        nonce: false,
    }
}

fn read_key(key: &Key) -> Result<VerifyingKey, Wrong> {
    match key {
        Key::Jwk(jwk) => PublicJwk::read(jwk).map(|jwk| jwk.key).map_err(|error| match error {
            JwkError::Unknown(why) | JwkError::Wrong(_, why) => refused(format!("key: {why}")),
        }),
        Key::Pem(pem) => VerifyingKey::from_pem(pem).map_err(|error| refused(format!("key: {error}"))),
        Key::Secret(secret) => VerifyingKey::hmac(&bytes(secret)?).map_err(|error| refused(format!("key: {error}"))),
    }
}

/// A message and the data that it borrows.
struct Owned<'r> {
    request: &'r Request,
    headers: Headers,
    structured: StructuredFields,
}

impl<'r> Owned<'r> {
    fn new(request: &'r Request) -> Self {
        let dictionaries = request.dictionaries.iter().map(|name| (name.as_str().into(), FieldKind::Dictionary));
        Self {
            request,
            headers: request.headers.iter().map(|(name, value)| (name, value)).collect(),
            structured: StructuredFields::with(dictionaries),
        }
    }

    fn message(&self) -> Message<'_> {
        Message {
            method: self.request.method.as_bytes(),
            scheme: &self.request.scheme,
            authority: &self.request.authority,
            target: self.request.target.as_bytes(),
            headers: &self.headers,
            structured: &self.structured,
        }
    }
}

fn base_of(request: &Request, label: &str) -> Result<Value, Wrong> {
    let owned = Owned::new(request);
    let field = |name| joined(&owned.headers, name).ok_or_else(|| Wrong::Case(format!("there is no `{name}`")));
    let (input, signature) = (field("signature-input")?, field("signature")?);
    let signed = read(&input, &signature).map_err(refused)?;
    let signed = signed.iter().find(|signed| signed.input.label == label);
    let signed = signed.ok_or_else(|| Wrong::Case(format!("there is no `{label}`")))?;
    let base = base(&owned.message(), &signed.input).map_err(refused)?;
    Ok(json!({ "base": base, "signature": STANDARD.encode(&signed.signature) }))
}

fn signed(
    request: &Request,
    key: &Value,
    secret: Option<Vec<u8>>,
    tag: Option<String>,
    now: Timestamp,
    verifier: &dyn VerifySignature,
) -> Result<Value, Wrong> {
    let document = json!({
        "callgate": "v1", "name": "conformance", "mode": "enforce", "gateway": "envoy",
        "resource": "https://example.com", "hosts": ["example.com"], "issuers": {},
        "agents": { "signer": { "owner": "signer@example.com", "signing_keys": [key] } },
        "endpoints": [
            { "id": "all", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none", "authenticate": "signature", "replay": false },
        ],
        "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
    });
    let environment = |_: &str| secret.clone().map_or(SecretLookup::Missing, SecretLookup::Found);
    let compiled = Policy::from_value(document, &environment);
    let policy = compiled.map_err(|findings| refused(format!("policy: {findings:?}")))?.policy;
    let nothing = Coverage::default();
    let profile = Profile {
        tag: tag.map(String::into_boxed_str),
        max_age: 60,
        clock_ahead: 5,
        nonce: false,
        cover: Vec::new(),
        web_bot_auth: None,
    };
    let asked = Asked {
        name: ProfileName::Own,
        profile: &profile,
        keys: &policy.signing_keys,
        coverage: &nothing,
        further: &nothing,
        now,
    };
    let owned = Owned::new(request);
    let verified = asked.verify(&owned.message(), &SignatureFields::of(&owned.headers).read(), verifier)?;
    Ok(json!({ "keyid": verified.key.keyid, "algorithm": verified.key.algorithm.http_name() }))
}

/// Returns for each step whether it was limited, and the state of the limiter afterwards: the number of requests it would allow, the
/// milliseconds until it is idle, and the milliseconds until it would allow a request of the same cost.
fn limited(calls: u32, span: u64, burst: u32, steps: &[(u64, u32)]) -> Result<Value, Wrong> {
    const MILLISECOND: u64 = 1_000_000;
    // An arbitrary time: an unused limiter behaves like an idle one.
    const BEGIN: u64 = 1_000_000_000;
    let wrong = || Wrong::Case("no such limiter".into());
    let nanos = |millis: u64| millis.checked_mul(MILLISECOND);
    let gcra = nanos(span).and_then(|span| Gcra::new(calls, span, burst)).ok_or_else(wrong)?;
    let mut arrival = 0;
    let steps = steps.iter().map(|(at, cost)| {
        let now = Timestamp::from_nanos(nanos(BEGIN + at).ok_or_else(wrong)?);
        let after = gcra.try_consume(arrival, now, *cost);
        arrival = after.unwrap_or(arrival);
        let waits = after.is_none() && *cost <= gcra.burst();
        Ok(json!({
            "limited": after.is_none(),
            "remaining": gcra.status(arrival, now, 1).remaining,
            "rest_in": arrival.saturating_sub(now.as_nanos()) / MILLISECOND,
            "passes_in": waits.then(|| gcra.status(arrival, now, *cost).more_in / MILLISECOND),
        }))
    });
    steps.collect::<Result<Vec<_>, Wrong>>().map(Value::Array)
}
