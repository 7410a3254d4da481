use serde_json::{Value, json};

use super::super::testing::{NOW, RESOURCE, Signs, at, compile, sign, sign_text, with};
use super::super::{FetchedKeys, Issuers, MAX_TOKEN_BYTES, TokenCache};
use crate::identity::crypto::SoftwareVerifier;
use crate::reason::Reason;

const KEY: Signs = Signs::P256(1);

fn issuers() -> Issuers {
    compile(&json!({
        "corp": {
            "issuer": "https://idp.example.com",
            "profile": "jwt",
            "algorithms": ["ES256", "RS256"],
            "audience": "api",
            "keys": { "jwks": { "keys": [
                with(KEY.jwk(), json!({ "kid": "a" })), with(Signs::P256(2).jwk(), json!({ "kid": "b" })), with(Signs::Rsa.jwk(), json!({ "kid": "c" })),
            ] } },
            "max_lifetime": "1h",
            "ignore_header": ["x5c"],
            "token": {
                "typ": ["JWT", "absent"], "distinguished_by": "audience", "client": "azp", "claims": { "/realm/name": ["staff"], "sid": [] },
                "scopes": [{ "claim": "scp", "form": "array" }],
            },
        },
        "other": {
            "issuer": "https://other.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "jwks": { "keys": [with(Signs::P256(3).jwk(), json!({ "kid": "o" }))] } },
        },
    }))
}

fn header() -> Value {
    json!({ "typ": "JWT", "alg": "ES256", "kid": "a" })
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example.com", "aud": "api", "azp": "agent", "sub": "s", "iat": NOW - 60, "exp": NOW + 300,
        "realm": { "name": "staff" }, "sid": 1, "scp": ["a"],
    })
}

/// Returns the reason for which a token is rejected, and its diagnosis as text.
fn diagnose(token: &[u8]) -> (Reason, String) {
    let issuers = issuers();
    let result = issuers.verify(token, at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new());
    let reason = result.unwrap_err().reason;
    let facts = issuers.diagnose(None, token, reason, at(0), &FetchedKeys::new());
    (reason, facts.into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect())
}

#[track_caller]
fn says(token: &[u8], reason: Reason, facts: &[&str]) {
    let (found, text) = diagnose(token);
    assert_eq!(found, reason, "{text}");
    for fact in facts {
        assert!(text.contains(&format!("{fact}\n")), "{fact}\n{text}");
    }
}

fn claiming(changes: Value) -> Vec<u8> {
    sign(KEY, &header(), &with(claims(), changes))
}

fn headed(changes: Value) -> Vec<u8> {
    sign(KEY, &with(header(), changes), &claims())
}

#[test]
fn accepts_the_unchanged_token() {
    issuers()
        .verify(&claiming(json!({})), at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new())
        .unwrap();
}

#[test]
fn names_the_invalid_claim() {
    for (changes, facts) in [
        (json!({ "iss": null }), ["claim: iss", "is: absent", "expected: a string"]),
        (json!({ "iss": 7 }), ["claim: iss", "is: 7", "expected: a string"]),
        (json!({ "aud": 7 }), ["claim: aud", "is: 7", "expected: a string or an array of strings"]),
        (
            json!({ "realm": { "name": "guests" } }),
            ["claim: /realm/name", "is: \"guests\"", "expected: one of `staff`"],
        ),
        (json!({ "sid": "" }), ["claim: sid", "is: \"\"", "expected: any nonempty value"]),
        (json!({ "azp": null }), ["claim: azp", "is: absent", "expected: a nonempty string"]),
        (json!({ "azp": ["a"] }), ["claim: azp", "is: [\"a\"]", "expected: a nonempty string"]),
        (json!({ "sub": "" }), ["claim: sub", "is: \"\"", "expected: a nonempty string"]),
        (json!({ "scp": "a b" }), ["claim: scp", "is: \"a b\"", "expected: an array of nonempty strings"]),
        (json!({ "iat": null }), ["claim: iat", "is: absent", "expected: a number of seconds since 1970"]),
        (json!({ "exp": null }), ["claim: exp", "is: absent", "expected: a number of seconds since 1970"]),
    ] {
        says(&claiming(changes), Reason::TokenClaim, &facts);
    }
    let other =
        json!({ "iss": "https://other.example.com", "aud": RESOURCE, "sub": null, "client_id": "c", "jti": "j" });
    let token = sign(KEY, &json!({ "typ": "at+jwt", "alg": "ES256", "kid": "o" }), &with(claims(), other));
    says(&token, Reason::TokenClaim, &["claim: sub", "is: absent"]);
    let iss = json!({ "iss": "https://idp.example.com/" });
    let known = "expected: exactly one of `https://idp.example.com`, `https://other.example.com`";
    says(&claiming(iss), Reason::TokenIssuer, &["claim: iss", "is: \"https://idp.example.com/\"", known]);
    says(
        &claiming(json!({ "aud": ["x", "y"] })),
        Reason::TokenAudience,
        &["claim: aud", "is: [\"x\",\"y\"]", "expected: `api`, or an array with it"],
    );
    says(
        &claiming(json!({ "cnf": { "x5t#S256": "a" } })),
        Reason::TokenBound,
        &["claim: cnf", "is: {\"x5t#S256\":\"a\"}"],
    );
}

#[test]
fn names_the_invalid_time_claim() {
    for (changes, facts) in [
        (
            json!({ "nbf": "soon" }),
            vec!["claim: nbf", "is: \"soon\"", "expected: a nonnegative number of seconds since 1970"],
        ),
        (
            json!({ "exp": NOW - 60 }),
            vec!["claim: exp", "is: 1799999940", "expected: later than `iat`, which is 1799999940"],
        ),
        (
            json!({ "nbf": NOW + 300 }),
            vec!["claim: nbf", "is: 1800000300", "expected: earlier than `exp`, which is 1800000300"],
        ),
        (
            json!({ "iat": NOW + 61 }),
            vec!["claim: iat", "is: 1800000061", "expected: at most 1800000060 (now plus the clock skew of 60 s)"],
        ),
    ] {
        says(&claiming(changes), Reason::TokenTime, &facts);
    }
    says(
        &claiming(json!({ "iat": NOW - 600, "exp": NOW - 61 })),
        Reason::TokenExpired,
        &["claim: exp", "is: 1799999939", "expected: later than 1799999940 (now minus the clock skew of 60 s)"],
    );
    says(&claiming(json!({ "nbf": NOW + 61 })), Reason::TokenNotYetValid, &["claim: nbf", "is: 1800000061"]);
    says(
        &claiming(json!({ "exp": NOW + 3600 })),
        Reason::TokenLifetime,
        &["`exp` - `iat`: 3660 s", "expected: at most 3600 s, the issuer's `max_lifetime`"],
    );
}

#[test]
fn names_the_invalid_header_parameter() {
    for (name, value) in [("crit", json!(["exp"])), ("jku", json!("https://evil.example.com"))] {
        let is = format!("is: {value}");
        let token = headed(json!({ name: value, "x5c": ["MIIB"] }));
        says(&token, Reason::TokenHeader, &[&format!("header parameter: {name}"), &is, "expected: absent"]);
    }
    says(
        &headed(json!({ "alg": "none" })),
        Reason::TokenAlgorithm,
        &["header parameter: alg", "is: \"none\"", "expected: one of `ES256`, `RS256`"],
    );
    says(&headed(json!({ "alg": "RS256" })), Reason::TokenAlgorithm, &["is: \"RS256\"", "expected: one of `ES256`"]);
    says(
        &headed(json!({ "typ": "at+jwt" })),
        Reason::TokenType,
        &["is: \"at+jwt\"", "expected: one of `jwt`, `absent`"],
    );
    says(&headed(json!({ "kid": "z" })), Reason::TokenKey, &["is: \"z\"", "expected: one of `a`, `b`, `c`"]);
    says(&headed(json!({ "kid": null })), Reason::TokenKey, &["header parameter: kid", "is: absent"]);
    says(&sign(Signs::P256(9), &header(), &claims()), Reason::TokenSignature, &["kid: \"a\""]);
}

#[test]
fn shows_the_error_in_invalid_json() {
    let claims_text = |text: &str| sign_text(KEY, &header().to_string(), text);
    for (text, facts) in [
        (r#"{"iss":1,"\u0069ss":2}"#.to_owned(), vec!["fault: the name `iss` occurs twice at line 1 column 19"]),
        (format!("{}1{}", "[".repeat(40), "]".repeat(40)), vec!["depth: 40 levels", "expected: at most 32 levels"]),
        (r#"{"a":1e400,"b":"1e500"}"#.to_owned(), vec!["number: 1e400"]),
        ("[1]".to_owned(), vec!["fault: not a JSON object"]),
        // Brackets in a string do not count as nesting.
        (format!(r#"{{"a":"{}\"[","b":}}"#, "[".repeat(40)), vec!["part: claims"]),
    ] {
        says(&claims_text(&text), Reason::TokenJson, &facts);
        assert!(diagnose(&claims_text(&text)).1.starts_with("part: claims\nfault: "));
    }
    let deep = diagnose(&claims_text(&format!(r#"{{"a":"{}","b":}}"#, "[".repeat(40)))).1;
    assert!(!deep.contains("depth"), "{deep}");
    let header = sign_text(KEY, r#"{"alg":"ES256","alg":"none"}"#, &claims().to_string());
    says(&header, Reason::TokenJson, &["part: header", "fault: the name `alg` occurs twice at line 1 column 20"]);
}

#[test]
fn shows_why_a_token_is_malformed() {
    let token = String::from_utf8(claiming(json!({}))).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for (text, fault) in [
        (format!("{token} "), format!("fault: `\u{20}` at byte {} is not a base64url character", token.len())),
        (signed.to_owned(), "fault: 2 parts".to_owned()),
        ("a".to_owned(), "fault: 1 part".to_owned()),
        (format!("{signed}.{signature}AAA"), "fault: the signature is not base64url without padding".to_owned()),
    ] {
        says(text.as_bytes(), Reason::TokenMalformed, &[&fault]);
    }
    says(format!("{token}.a.b").as_bytes(), Reason::TokenEncrypted, &["expected: a signed token (JWS)"]);
    let long = vec![b'a'; MAX_TOKEN_BYTES + 1];
    says(&long, Reason::TokenTooLong, &["length: 16385 bytes", "expected: at most 16384 bytes"]);
}

#[test]
fn the_reason_states_the_maximum_token_size() {
    assert_eq!(MAX_TOKEN_BYTES, 16 * 1024);
    assert!(Reason::TokenTooLong.row().title.ends_with("16 KiB"));
}

#[test]
fn truncates_long_values_at_character_boundaries() {
    let (_, text) = diagnose(&claiming(json!({ "aud": "\u{e9}".repeat(5_000) })));
    assert!(text.contains("... (10002 bytes)") && text.len() < 1_000, "{text}");
}
