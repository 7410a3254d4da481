//! Tokens, and proofs of possession.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate_kit::mint::Algorithm;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::policies;
use super::kinds::{API_KEY, FETCHED, INTERNAL, Kind, Party, charged, free, request};
use crate::client::Request;
use crate::quickstart::set;

/// The length of the longest token that the gate reads, in bytes.
const LONGEST: usize = 16 * 1024;
/// The length of the longest API key, in bytes.
const LONGEST_API_KEY: usize = 256;
/// The length of the longest proof that the gate reads, in bytes.
const LONGEST_PROOF: usize = 8 * 1024;

/// Returns the token with another well-formed signature.
pub(super) fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    // The byte in the middle of an ECDSA signature is the end of its first number, which may have any value.
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle.saturating_sub(1)) {
        *byte ^= 1;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn what(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "a forged ES256 token",
        Algorithm::Es384 => "a forged ES384 token",
        Algorithm::Ed25519 => "a forged Ed25519 token",
        Algorithm::Rs256 => "a forged RS256 token",
        Algorithm::Rs384 => "a forged RS384 token",
        Algorithm::Rs512 => "a forged RS512 token",
        Algorithm::Ps256 => "a forged PS256 token",
        Algorithm::Ps384 => "a forged PS384 token",
        Algorithm::Ps512 => "a forged PS512 token",
        Algorithm::Hs256 => "a forged HS256 token",
    }
}

pub(super) fn kinds(party: &Party) -> Vec<Kind> {
    let bearer = |token: &str| request().bearer(token);
    let mut kinds = Vec::new();
    for key in &party.keys {
        let token = forged(&policies::token(&party.issuer, key, 0));
        kinds.push(charged(what(key.algorithm()), "token_signature", &bearer(&token)));
    }
    let secret = party.secret.clone().with_kid("internal");
    let internal = party.issuer.sign(&secret, "coding-agent", "code:read", |_, claims| set(claims, "iss", INTERNAL));
    kinds.push(charged(what(Algorithm::Hs256), "token_signature", &bearer(&forged(&internal))));
    let with = |change: &dyn Fn(&mut Value, &mut Value)| {
        forged(&party.issuer.with("coding-agent", "code:read", |header, claims| change(header, claims)))
    };
    let unknown = with(&|header, _| set(header, "kid", "nobody"));
    kinds.push(charged("a token by a key that nobody has", "token_key", &bearer(&unknown)));
    let long = |what, claim: &dyn Fn(usize) -> Value, in_header: bool| {
        let token = filled(LONGEST, |size| {
            with(&|header, claims| set(if in_header { header } else { claims }, "filler", claim(size)))
        });
        charged(what, "token_signature", &bearer(&token))
    };
    kinds.extend([
        long("a forged token of 16 KiB: one long claim", &|size| json!("x".repeat(size)), false),
        long("a forged token of 16 KiB: a list of numbers", &|size| json!(vec![1; size / 2]), false),
        long("a forged token of 16 KiB: a list of fractions", &|size| json!(vec![0.123_456_789; size / 12]), false),
        long("a forged token of 16 KiB: many members", &|size| members(size), false),
        long("a forged token of 16 KiB: many members in its header", &|size| members(size), true),
        long("a forged token of 16 KiB: escapes", &|size| json!("\u{1}".repeat(size / 6)), false),
        long("a forged token of 16 KiB: lists in lists", &|size| json!(vec![json!([[[[[]]]]]); size / 11]), false),
    ]);
    let scopes = filled(LONGEST, |size| with(&|_, claims| set(claims, "scope", scopes(size))));
    kinds.push(charged("a forged token of 16 KiB: many scopes", "token_signature", &bearer(&scopes)));
    let audiences = filled(LONGEST, |size| {
        with(&|_, claims| {
            let others = (0..size / 8).map(|number| json!(format!("{number:05}")));
            set(claims, "aud", others.chain([json!("https://api.example.com")]).collect::<Vec<_>>());
        })
    });
    kinds.push(charged("a forged token of 16 KiB: many audiences", "token_signature", &bearer(&audiences)));
    let doubled = filled(LONGEST, |size| {
        let claims =
            format!("{{{}\"a\":1}}", (0..size / 10).map(|number| format!("\"{number:05}\":1,")).collect::<String>());
        let claims = claims.replacen("{\"00000\":1,", "{\"a\":1,", 1);
        ["{\"alg\":\"ES256\"}", &claims, "sig"].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    });
    let expired = with(&|_, claims| {
        set(claims, "iat", party.issuer.now - 800);
        set(claims, "exp", party.issuer.now - 400);
    });
    kinds.extend([
        free("a token of 16 KiB whose last member stands twice", "token_json", &bearer(&doubled)),
        free("a credential of 55 KiB", "token_too_long", &bearer(&"x".repeat(55 << 10))),
        free("a credential of 16 KiB that is no token", "token_malformed", &bearer(&"x".repeat(LONGEST))),
        free("a token that has expired", "token_expired", &bearer(&expired)),
    ]);
    kinds.extend(of_fetched_keys(party));
    let api_key = request().header(API_KEY, "x".repeat(LONGEST_API_KEY));
    kinds.push(charged("an unknown API key in its header", "api_key_unknown", &api_key));
    kinds.extend(proofs(party));
    kinds
}

/// Returns a token that names a key which the issuer with fetched keys does not have.
pub(super) fn of_unknown_fetched_key(party: &Party) -> Request {
    let token = party.issuer.with("coding-agent", "code:read", |header, claims| {
        set(header, "kid", "nobody");
        set(claims, "iss", FETCHED);
    });
    request().bearer(&forged(&token))
}

/// Returns tokens of the issuer with fetched keys. A newer key set could have the keys of all of them, but no fetch is left for requests,
/// so their clients are told to wait.
fn of_fetched_keys(party: &Party) -> Vec<Kind> {
    const TELLS_TO_WAIT: &str = "keys_unavailable";
    let without_kid = |algorithm: Algorithm| {
        let token = party.issuer.with("coding-agent", "code:read", |header, claims| {
            set(header, "alg", algorithm.jose_name());
            policies::remove(header, "kid");
            set(claims, "iss", FETCHED);
        });
        let (signed, _) = token.rsplit_once('.').unwrap_or_default();
        // As long as the modulus of each key, and less than it: anything else is rejected without a computation.
        request().bearer(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1_u8; 512])))
    };
    vec![
        // The key is not charged before a fetch has shown that the issuer does not have it.
        free("a token by an unknown key, when no fetch is left", TELLS_TO_WAIT, &of_unknown_fetched_key(party)),
        charged("a forged RS256 token that fits four fetched keys", TELLS_TO_WAIT, &without_kid(Algorithm::Rs256)),
        charged("a forged PS256 token that fits four fetched keys", TELLS_TO_WAIT, &without_kid(Algorithm::Ps256)),
    ]
}

/// Returns proofs with a token that was stolen from an agent. Without such a token, the gate does not read the proof.
fn proofs(party: &Party) -> Vec<Kind> {
    let with = |proof: &str| -> Request {
        request().header("Authorization", format!("DPoP {}", party.stolen)).header("DPoP", proof)
    };
    let proof = |filler: &dyn Fn(usize) -> Value, size: usize| {
        let mut header = party.client.header();
        set(&mut header, "typ", "dpop+jwt");
        set(&mut header, "jwk", party.client.public_jwk());
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&party.stolen));
        let claims = json!({
            "jti": "1", "htm": "GET", "htu": format!("https://api.example.com{}", super::kinds::PATH), "ath": hash,
            "iat": party.issuer.now, "filler": filler(size),
        });
        forged(&party.client.sign(&header, &claims))
    };
    let long = |filler: &dyn Fn(usize) -> Value| filled(LONGEST_PROOF, |size| proof(filler, size));
    vec![
        charged("a stolen token with a forged proof", "dpop_signature", &with(&proof(&|_| json!(1), 0))),
        charged("a stolen token with a forged proof of 8 KiB: many members", "dpop_signature", &with(&long(&members))),
        charged(
            "a stolen token with a forged proof of 8 KiB: a list",
            "dpop_signature",
            &with(&long(&|size| json!(vec![1; size / 2]))),
        ),
        free("a stolen token with a proof of 55 KiB", "dpop_malformed", &with(&"x".repeat(54 << 10))),
        free(
            "a stolen token without a proof",
            "dpop_missing",
            &request().header("Authorization", format!("DPoP {}", party.stolen)),
        ),
    ]
}

fn members(size: usize) -> Value {
    Value::Object((0..size / 10).map(|number| (format!("{number:05}"), json!(1))).collect())
}

fn scopes(size: usize) -> String {
    (0..size / 5).map(|number| format!("{number:04}")).collect::<Vec<_>>().join(" ")
}

/// Returns the output of `make` for the approximately largest number whose output is not longer than this.
fn filled(longest: usize, make: impl Fn(usize) -> String) -> String {
    let (mut size, mut step) = (0, longest);
    while step > 16 {
        if make(size + step).len() <= longest {
            size += step;
        }
        step /= 2;
    }
    make(size)
}
