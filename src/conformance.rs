//! Published test vectors, case by case: what the engine makes of each.
//!
//! A case comes as JSON and its verdict goes as JSON, so that the same bytes can be put to the engine natively and in a module.
//! Nothing in here computes anything by itself. The gate does not use it, and the filter that ships does not have it.

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

/// A question to the engine. Bytes are in base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Case {
    /// The signature base of a message's signature under a label.
    Base {
        /// The message.
        message: Request,
        /// The label.
        label: String,
    },
    /// Whether a message is signed by a key, with nothing asked for but that.
    Signature {
        /// The message.
        message: Request,
        /// The key as a policy has it.
        key: Value,
        /// What the variable holds that the key names.
        secret: Option<String>,
        /// The tag that is asked for.
        tag: Option<String>,
        /// Seconds since 1970.
        now: u64,
    },
    /// Whether a body is the one that a `Content-Digest` names.
    Digest {
        /// The field.
        field: String,
        /// The body.
        body: String,
    },
    /// Whether a signature verifies.
    Verify {
        /// The key.
        key: Key,
        /// The algorithm's name in JOSE.
        algorithm: String,
        /// What was signed.
        message: String,
        /// The signature.
        signature: String,
    },
    /// Whether a proof of possession goes with a token in a call.
    Proof {
        /// The header `DPoP`.
        proof: String,
        /// The token.
        token: String,
        /// The thumbprint of the key that the token is bound to, in base64url.
        key: String,
        /// The method of the call.
        method: String,
        /// Scheme and authority of the call.
        origin: String,
        /// The path of the call.
        path: String,
        /// Seconds since 1970.
        now: u64,
    },
    /// What a limiter answers to calls, one after the other.
    Limit {
        /// The calls that pass in the long run in each span.
        calls: u32,
        /// The span in milliseconds.
        span: u64,
        /// The calls that pass at once from rest.
        burst: u32,
        /// When each call comes, in milliseconds, and what it costs.
        steps: Vec<(u64, u32)>,
    },
}

/// A request as the gate stands for it.
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
    /// Fields that are known as dictionaries.
    pub dictionaries: Vec<String>,
}

/// A key in one of the forms that are read.
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

/// What the engine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is taken, with what came of it.
    Accepted(Value),
    /// It is not, and why.
    Refused(String),
    /// The question makes no sense: a mistake of whoever asks.
    Broken(String),
}

/// Answers a case; signatures are verified by this verifier.
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

/// Why there is nothing to tell.
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

/// What a policy asks of proofs that says nothing about them.
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

/// A message with what it borrows.
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

/// Of each step whether it was limited, and what the limiter says afterwards: the calls that would pass, milliseconds until it
/// is at rest, and until a call of the same cost would pass.
fn limited(calls: u32, span: u64, burst: u32, steps: &[(u64, u32)]) -> Result<Value, Wrong> {
    const MILLISECOND: u64 = 1_000_000;
    // Somewhere in time, since a limiter that was never used is as one that is at rest.
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
