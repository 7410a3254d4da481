//! Properties that hold for any JSON, any token, and any claims that an issuer could sign.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::document::{self, Findings};
use crate::identity::crypto::SoftwareVerifier;
use crate::identity::token::json::{self as strict, Bounds};
use crate::identity::token::{FetchedKeys, Issuers, Jws, MAX_TOKEN_BYTES, SecretLookup, TokenCache, VerifiedToken};
use crate::reason::Reason;
use crate::text::time::Timestamp;

const BOUNDS: Bounds = Bounds { bytes: 4096, depth: 8 };

/// Checks that accepted JSON has the same meaning as for a lenient parser. JSON that only the strict parser rejects repeats a name, nests
/// too deep or is too long.
pub fn json(data: &[u8]) {
    let lenient = serde_json::from_slice::<Value>(data);
    match (strict::parse(data, BOUNDS), lenient) {
        (Ok(strict), lenient) => {
            assert!(lenient.is_ok_and(|lenient| lenient == strict));
            assert!(depth(&strict) <= usize::from(BOUNDS.depth) && data.len() <= BOUNDS.bytes);
            assert_eq!(members_written(data), members(&strict), "every name that was written is there");
        }
        (Err(_), Err(_)) => {}
        (Err(_), Ok(lenient)) => assert!(
            data.len() > BOUNDS.bytes
                || depth(&lenient) > usize::from(BOUNDS.depth)
                || members_written(data) > members(&lenient)
        ),
    }
}

/// Checks that a compact JWS has one spelling: encoding a parsed JWS again results in the same bytes.
pub fn jws(data: &[u8]) {
    let Ok(jws) = Jws::parse(data) else { return };
    assert!(data.len() <= MAX_TOKEN_BYTES);
    assert!(jws.header.is_object() && jws.claims.is_object());
    let rest = data.strip_prefix(jws.signed).and_then(|rest| rest.strip_prefix(b"."));
    assert_eq!(rest, Some(URL_SAFE_NO_PAD.encode(&jws.signature).as_bytes()));
    for part in jws.signed.split(|byte| *byte == b'.') {
        let decoded = URL_SAFE_NO_PAD.decode(part);
        assert!(decoded.is_ok_and(|decoded| URL_SAFE_NO_PAD.encode(decoded).as_bytes() == part));
    }
}

/// Checks that no token from an outsider is accepted. The input is also signed by an issuer (the first line is the header, the rest the
/// claims); such a token is accepted only if it follows all rules.
pub fn token(data: &[u8]) {
    let issuers = issuers();
    let mut cache = TokenCache::new(1 << 16);
    assert!(issuers.verify(data, NOW, &SoftwareVerifier, &mut cache, &FetchedKeys::new()).is_err());

    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(crate::identity::crypto::hmac_sha256(SECRET, signed.as_bytes()));
    let token = format!("{signed}.{signature}").into_bytes();

    let verified = match issuers
        .verify(&token, NOW, &SoftwareVerifier, &mut cache, &FetchedKeys::new())
        .map_err(|refusal| refusal.reason)
    {
        Ok(verified) => verified,
        Err(reason) => {
            assert_ne!(reason, Reason::TokenSignature, "the signature is right");
            assert!(cache.is_empty(), "failures are not remembered");
            return;
        }
    };
    let claims = verified.claims();
    assert_eq!(claims.get("iss"), Some(&ISSUER.into()));
    let aud = claims.get("aud");
    let single = aud == Some(&RESOURCE.into());
    assert!(single || aud.and_then(Value::as_array).is_some_and(|aud| aud.contains(&RESOURCE.into())));
    // A bound token has only a thumbprint in `cnf`.
    let bound_to = verified.bound_to().map(|key| serde_json::json!({ "jkt": key.to_string() }));
    assert_eq!(claims.get("cnf"), bound_to.as_ref());
    assert_eq!(claims.get("client_id").and_then(Value::as_str), verified.client());
    assert_eq!(claims.get("sub").and_then(Value::as_str), verified.subject());
    let scopes = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    assert!(scopes.split(' ').filter(|scope| !scope.is_empty()).all(|scope| verified.has_scope(scope)));
    check_chain(&verified);
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    let now = NOW.as_secs() as f64;
    assert!(time("exp").is_some_and(|exp| now < exp + 60.0) && time("iat").is_some_and(|iat| iat <= now + 60.0));
    assert!(time("nbf").is_none_or(|nbf| nbf <= now + 60.0));

    let again = issuers
        .verify(&token, NOW, &SoftwareVerifier, &mut cache, &FetchedKeys::new())
        .map_err(|refusal| refusal.reason);
    assert!(again.is_ok_and(|again| std::rc::Rc::ptr_eq(&again, &verified)), "it is remembered");
    let end = verified.expires().plus(SKEW);
    let late = issuers
        .verify(&token, end, &SoftwareVerifier, &mut cache, &FetchedKeys::new())
        .map_err(|refusal| refusal.reason);
    assert_eq!(late.err(), Some(Reason::TokenExpired));
}

const ISSUER: &str = "https://idp.example.com";
const RESOURCE: &str = "https://api.example.com";
const SECRET: &[u8; 32] = b"known to everybody, for fuzzing.";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SKEW: Duration = Duration::from_secs(60);
const MOST_ACTORS: u8 = 3;

/// Checks that the chain of an accepted token has every actor in its claims, and nobody twice.
fn check_chain(token: &VerifiedToken) {
    let claims = token.claims();
    let named = |identity: &Value| {
        let text = |name: &str| identity.get(name).and_then(Value::as_str).map(str::to_owned);
        (text("iss").unwrap_or_else(|| ISSUER.to_owned()), text("sub"))
    };
    let mut actors = Vec::new();
    let mut next = claims.get("act");
    while let Some(actor) = next {
        actors.push(named(actor));
        next = actor.get("act");
    }
    assert_eq!(token.is_delegated(), !actors.is_empty());
    assert!(actors.len() <= usize::from(MOST_ACTORS));
    assert_eq!(token.chain().map_or(0, |chain| chain.actors().len()), actors.len());
    assert_eq!(token.chain().map_or(0, |chain| chain.line().matches(',').count()), actors.len());
    let everybody: BTreeSet<_> = actors.iter().cloned().chain([named(claims)]).collect();
    assert_eq!(everybody.len(), actors.len() + 1);
}

/// Returns one issuer whose tokens are cheap to create.
fn issuers() -> Issuers {
    let known = |_: &str| SecretLookup::Found(SECRET.to_vec());
    let text = r#"{
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["HS256"],
        "keys": { "secret": { "env": "SECRET" } }, "max_lifetime": "1h"
    }"#;
    let raw: BTreeMap<String, document::Issuer> =
        serde_json::from_str(text).map(|issuer| ("idp".to_owned(), issuer)).into_iter().collect();
    let mut findings = Findings::default();
    let issuers = Issuers::compile(&raw, RESOURCE, SKEW, &known, &mut findings).with_delegation(Some(MOST_ACTORS));
    assert!(issuers.id("idp").is_some() && findings == Findings::default());
    issuers
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// Returns the number of members in well-formed JSON: colons outside strings.
fn members_written(text: &[u8]) -> usize {
    let (mut colons, mut inside, mut escaped) = (0, false, false);
    for byte in text {
        match (inside, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => inside = !inside,
            (false, _, b':') => colons += 1,
            _ => {}
        }
    }
    colons
}
