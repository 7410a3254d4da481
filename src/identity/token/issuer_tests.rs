use serde_json::{Value, json};

use super::testing::{ROCA_MODULUS, Signs, compile_with, environment, not_needed, with};

fn key(signs: Signs, kid: &str) -> Value {
    with(signs.jwk(), json!({ "kid": kid }))
}

/// Returns a valid issuer of the profile `at+jwt`.
fn plain() -> Value {
    json!({
        "issuer": "https://idp.example.com",
        "profile": "at+jwt",
        "algorithms": ["ES256"],
        "keys": { "jwks": { "keys": [key(Signs::P256(1), "a")] } },
        "max_lifetime": "15m",
    })
}

/// Returns a valid issuer of the profile `jwt`.
fn spelled_out() -> Value {
    with(
        plain(),
        json!({
            "profile": "jwt",
            "audience": "api",
            "token": { "typ": ["JWT"], "distinguished_by": "audience", "client": "azp", "scopes": [] },
        }),
    )
}

fn secret(reference: Value) -> Value {
    with(plain(), json!({ "algorithms": ["HS256"], "keys": { "secret": reference } }))
}

/// Returns the errors and warnings of a policy with these issuers, each as `place: message`.
fn findings(issuers: Value) -> (Vec<String>, Vec<String>) {
    let (_, findings) = compile_with(&issuers, &environment);
    let lines = |list: Vec<crate::document::Finding>| list.iter().map(ToString::to_string).collect();
    (lines(findings.errors), lines(findings.warnings))
}

#[track_caller]
fn one_error(issuers: Value, place: &str, message: &str) {
    let (errors, _) = findings(issuers);
    let [error] = &errors[..] else { panic!("one error, not {errors:#?}") };
    assert!(error.starts_with(&format!("{place}: ")), "{error}");
    assert!(error.contains(message), "{error}");
}

#[track_caller]
fn one_warning(issuers: Value, place: &str, message: &str) {
    let (errors, warnings) = findings(issuers);
    assert_eq!(errors, [""; 0]);
    let [warning] = &warnings[..] else { panic!("one warning, not {warnings:#?}") };
    assert!(warning.starts_with(&format!("{place}: ")), "{warning}");
    assert!(warning.contains(message), "{warning}");
}

#[track_caller]
fn nothing_wrong(issuers: Value) {
    assert_eq!(findings(issuers), (vec![], vec![]));
}

#[test]
fn accepts_valid_issuers() {
    nothing_wrong(json!({}));
    nothing_wrong(json!({ "corp": plain() }));
    nothing_wrong(json!({ "corp": spelled_out() }));
    nothing_wrong(json!({ "corp": secret(json!({ "env": "SECRET" })) }));
    nothing_wrong(json!({ "corp": secret(json!({ "env": "HEX", "encoding": "hex" })) }));
    nothing_wrong(json!({ "corp": secret(json!({ "env": "BASE64", "encoding": "base64" })) }));
    nothing_wrong(json!({ "corp": secret(json!({ "env": "BASE64URL", "encoding": "base64url" })) }));
}

#[test]
fn reports_each_error_in_an_issuer() {
    let cases = [
        (json!({ "issuer": "" }), "issuer", "absolute URL"),
        (json!({ "issuer": "idp.example.com" }), "issuer", "absolute URL"),
        (json!({ "issuer": "https://" }), "issuer", "absolute URL"),
        (json!({ "issuer": "https://idp.example.com/ " }), "issuer", "absolute URL"),
        (json!({ "issuer": "https://login.example/{tenantid}/v2.0" }), "tenants", "list the tenants"),
        (json!({ "issuer": "https://idp.example.com/#a" }), "issuer", "fragment"),
        (json!({ "issuer": "https://idp.example.com/?a" }), "issuer", "query"),
        (json!({ "audience": "" }), "audience", "`aud`"),
        (json!({ "max_lifetime": "0s" }), "max_lifetime", "every token would be rejected"),
        (json!({ "max_lifetime": "367d" }), "max_lifetime", "366d"),
        (json!({ "algorithms": ["ES256", "ES256"] }), "algorithms[1]", "twice"),
        (
            json!({ "algorithms": ["HS256", "ES256"], "keys": { "secret": { "env": "SECRET" } } }),
            "algorithms",
            "cannot be combined",
        ),
        (json!({ "algorithms": ["HS256"] }), "keys", "from the environment"),
        (json!({ "keys": { "secret": { "env": "SECRET" } } }), "keys.secret", "only be used with HS256"),
        (json!({ "keys": {} }), "keys", "the issuer has no keys"),
        (json!({ "keys": { "jwks": { "keys": [] }, "secret": { "env": "SECRET" } } }), "keys", "cannot be combined"),
        (json!({ "keys": { "jwks": { "keys": [] } } }), "keys.jwks.keys", "none of these keys"),
        (json!({ "issuer": null }), "issuer", "write the exact `iss`"),
        (json!({ "profile": "jwt-svid" }), "trust_domain", "requires `trust_domain`"),
        (json!({ "trust_domain": "example.org" }), "trust_domain", "write `profile: jwt-svid`"),
        (json!({ "profile": "jwt" }), "", "requires `token`"),
        (json!({ "token": spelled_out()["token"] }), "token", "remove `token`"),
        (json!({ "shares_keys_with": ["corp"] }), "shares_keys_with[0]", "with itself"),
        (json!({ "shares_keys_with": ["x\n"] }), "shares_keys_with[0]", "there is no `issuers[\"x\\n\"]`"),
    ];
    for (changes, place, message) in cases {
        let place = format!("issuers.corp.{place}");
        one_error(json!({ "corp": with(plain(), changes) }), place.trim_end_matches('.'), message);
    }
    let (errors, _) = findings(json!({ "corp": with(plain(), json!({ "algorithms": [] })) }));
    assert!(errors[0].starts_with("issuers.corp.algorithms: every token would be rejected"), "{errors:#?}");
    one_error(json!({ "a b": plain() }), "issuers[\"a b\"]", "1 to 64 characters");
    one_error(json!({ "": plain() }), "issuers[\"\"]", "1 to 64 characters");
    one_error(json!({ "a".repeat(65): plain() }), &format!("issuers.{}", "a".repeat(65)), "1 to 64 characters");
    one_warning(
        json!({ "corp": with(plain(), json!({ "max_lifetime": "2d" })) }),
        "issuers.corp.max_lifetime",
        "a leaked token",
    );
}

#[test]
fn reports_all_errors_at_once() {
    let broken = json!({
        "a": with(plain(), json!({ "issuer": "x", "max_lifetime": "0s", "keys": {} })),
        "b": with(plain(), json!({ "profile": "jwt-svid", "audience": "" })),
    });
    assert_eq!(findings(broken).0.len(), 5);
}

#[test]
fn checks_decoded_secrets_and_never_shows_them() {
    let cases = [
        (json!({ "env": "" }), "env", "the name of the environment variable"),
        (json!({ "env": "A=B" }), "env", "the name of the environment variable"),
        (json!({ "env": "ABSENT" }), "env", "`ABSENT` is not set"),
        (json!({ "env": "SHORT" }), "env", "fewer than 32 bytes"),
        (json!({ "env": "SHORT", "encoding": "hex" }), "encoding", "hexadecimal"),
        (json!({ "env": "SECRET", "encoding": "base64" }), "encoding", "base64 with padding"),
        (json!({ "env": "BASE64", "encoding": "base64url" }), "encoding", "base64url without padding"),
        (json!({ "env": "BASE64URL", "encoding": "base64" }), "encoding", "base64 with padding"),
        // The value has 64 characters and is long enough for 32 bytes: unchanged or as hexadecimal digits. Base64 needs 44 characters for
        // 32 bytes.
        (json!({ "env": "HEX", "encoding": "base64url" }), "", ""),
    ];
    for (reference, place, message) in cases {
        let issuers = json!({ "corp": secret(reference) });
        if place.is_empty() {
            nothing_wrong(issuers);
            continue;
        }
        one_error(issuers.clone(), &format!("issuers.corp.keys.secret.{place}"), message);
        assert!(!format!("{:?}", compile_with(&issuers, &environment)).contains("hunter2"));
    }
    let (issuers, findings) = compile_with(&json!({ "corp": secret(json!({ "env": "ABSENT" })) }), &not_needed);
    assert_eq!(findings.errors, []);
    assert!(issuers.id("corp").is_some());
    let (issuers, _) = compile_with(&json!({ "corp": secret(json!({ "env": "SECRET" })) }), &environment);
    assert!(!format!("{issuers:?}").contains("thirty"));
    assert_eq!(format!("{:?}", super::SecretLookup::Found(b"hunter2".to_vec())), "Found(..)");
}

#[test]
fn checks_every_key_in_a_key_set() {
    let set = |keys: Value| json!({ "corp": with(plain(), json!({ "keys": { "jwks": { "keys": keys } } })) });
    let good = key(Signs::P256(1), "a");
    let with_good = |jwk: Value| set(json!([good, jwk]));
    let other = key(Signs::P256(2), "b");

    nothing_wrong(with_good(other.clone()));
    nothing_wrong(with_good(with(
        other.clone(),
        json!({ "use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5c": ["x"] }),
    )));
    nothing_wrong(with_good(with(other.clone(), json!({ "kid": null }))));
    // The same key under two names.
    nothing_wrong(with_good(key(Signs::P256(1), "b")));
    nothing_wrong(with_good(Signs::P256(1).jwk()));
    let unnamed = Signs::P256(1).jwk();
    one_error(set(json!([unnamed, unnamed])), "issuers.corp.keys.jwks.keys[1]", "the same key; remove one");

    for (jwk, why) in [
        (with(other.clone(), json!({ "use": "enc" })), "its `use` is `enc`"),
        (with(other.clone(), json!({ "use": "enc", "kid": "a" })), "its `use` is `enc`"),
        (with(good.clone(), json!({ "use": "enc" })), "its `use` is `enc`"),
        (with(other.clone(), json!({ "use": "jwt-svid" })), "its `use` is `jwt-svid`"),
        (with(other.clone(), json!({ "key_ops": ["sign", "deriveKey"] })), "do not contain `verify`"),
        (with(other.clone(), json!({ "alg": "ECDH-ES" })), "`ECDH-ES` is not supported"),
        (with(other.clone(), json!({ "kty": "AKP" })), "its type `AKP` is not supported"),
        (with(other.clone(), json!({ "kty": "oct" })), "its type `oct` is not supported"),
        (with(other.clone(), json!({ "crv": "P-521" })), "its curve `P-521` is not supported"),
        (with(other.clone(), json!({ "kty": "OKP", "crv": "X25519" })), "its curve `X25519` is not supported"),
        (key(Signs::P384(1), "b"), "none of the issuer's `algorithms` fits"),
        (key(Signs::Rsa, "b"), "none of the issuer's `algorithms` fits"),
    ] {
        one_warning(with_good(jwk), "issuers.corp.keys.jwks.keys[1]", why);
    }

    for (jwk, member, why) in [
        (with(other.clone(), json!({ "d": "AA" })), ".d", "private or secret"),
        (with(other.clone(), json!({ "use": "enc", "d": "AA" })), ".d", "private or secret"),
        (json!({ "kty": "oct", "k": "AA" }), ".k", "private or secret"),
        (with(key(Signs::Rsa, "b"), json!({ "p": "AA" })), ".p", "private or secret"),
        (with(other.clone(), json!({ "kid": "a" })), ".kid", "`issuers.corp.keys.jwks.keys[0]` has the same `kid`"),
        (good.clone(), "", "`issuers.corp.keys.jwks.keys[0]` is the same key"),
        (with(other.clone(), json!({ "kid": 1 })), ".kid", "a nonempty string"),
        (with(other.clone(), json!({ "kid": "" })), ".kid", "a nonempty string"),
        (with(other.clone(), json!({ "kty": null })), ".kty", "has no `kty`"),
        (with(other.clone(), json!({ "crv": null })), ".crv", "has no `crv`"),
        (with(other.clone(), json!({ "x": null })), ".x", "has no `x`"),
        (with(other.clone(), json!({ "x": "AA" })), ".x", "the 32 bytes"),
        (with(other.clone(), json!({ "x": format!("{}=", other["x"].as_str().unwrap()) })), ".x", "base64url"),
        (with(other.clone(), json!({ "x": good["x"] })), ".x", "not a valid public key"),
        (with(other.clone(), json!({ "use": ["sig"] })), ".use", "a nonempty string"),
        (with(other.clone(), json!({ "key_ops": "verify" })), ".key_ops", "a list"),
        (with(other.clone(), json!({ "alg": "RS256" })), ".alg", "not an algorithm of this key type"),
        (with(other.clone(), json!({ "alg": "HS256" })), ".alg", "not an algorithm of this key type"),
        (json!({ "kty": "RSA", "n": ROCA_MODULUS, "e": "AQAB", "kid": "b" }), ".n", "CVE-2017-15361"),
        (json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), ".n", "under 2048 bits"),
        (with(key(Signs::Rsa, "b"), json!({ "e": "Aw" })), ".n", "exponent 65537"),
        (
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }),
            ".x",
            "not a valid public key",
        ),
    ] {
        one_error(with_good(jwk), &format!("issuers.corp.keys.jwks.keys[1]{member}"), why);
    }

    let (errors, warnings) = findings(set(json!([with(good, json!({ "use": "enc" }))])));
    assert_eq!((errors.len(), warnings.len()), (1, 1));
    assert!(errors[0].contains("none of these keys can be used"), "{errors:?}");
    one_warning(
        json!({ "corp": with(plain(), json!({ "algorithms": ["RS256", "ES256"] })) }),
        "issuers.corp.algorithms[0]",
        "no key verifies `RS256`",
    );
}

#[test]
fn checks_the_token_format_of_an_issuer() {
    let shape = |changes: Value| {
        let token = with(spelled_out()["token"].clone(), changes);
        json!({ "corp": with(spelled_out(), json!({ "token": token })) })
    };
    for changes in [
        json!({ "typ": ["absent", "JWT", "application/x"] }),
        json!({ "distinguished_by": "typ", "typ": ["at+jwt"] }),
        json!({ "distinguished_by": "claims", "claims": { "typ": ["Bearer"] } }),
        json!({ "distinguished_by": "claims", "claims": { "cid": [] } }),
        json!({ "distinguished_by": "claims", "claims": { "azp": ["agent"] } }),
        json!({ "client": "/ext/client", "scopes": [{ "claim": "scp", "form": "array" }] }),
        json!({ "client": null }),
    ] {
        nothing_wrong(shape(changes));
    }
    for (changes, place, message) in [
        (json!({ "typ": [] }), "typ", "every token would be rejected"),
        (json!({ "typ": [""] }), "typ[0]", "invalid `typ`"),
        (json!({ "typ": ["JWT", "jwt"] }), "typ[1]", "twice"),
        (json!({ "typ": ["JWT", "application/jwt"] }), "typ[1]", "twice"),
        (json!({ "typ": ["absent", "absent"] }), "typ[1]", "twice"),
        (json!({ "distinguished_by": "typ" }), "distinguished_by", "ID tokens have too"),
        (json!({ "distinguished_by": "typ", "typ": ["absent", "at+jwt"] }), "distinguished_by", "ID tokens have too"),
        (json!({ "distinguished_by": "typ", "typ": ["application/JWT"] }), "distinguished_by", "ID tokens have too"),
        (json!({ "distinguished_by": "claims" }), "distinguished_by", "no claim in `claims`"),
        (
            json!({ "distinguished_by": "claims", "claims": { "sub": [], "/azp": [] } }),
            "distinguished_by",
            "no claim in `claims`",
        ),
        (json!({ "claims": { "cid": ["a", ""] } }), "claims.cid[1]", "never accepted"),
        (json!({ "claims": { "": [] } }), "claims[\"\"]", "invalid claim name"),
        (json!({ "client": "/a~" }), "client", "invalid JSON pointer"),
        (json!({ "client": "" }), "client", "invalid claim name"),
        (
            json!({ "scopes": [{ "claim": "scp", "form": "array" }, { "claim": "scp", "form": "string" }] }),
            "scopes[1].claim",
            "twice",
        ),
        (json!({ "scopes": [{ "claim": "\u{7}", "form": "array" }] }), "scopes[0].claim", "invalid claim name"),
    ] {
        one_error(shape(changes), &format!("issuers.corp.token.{place}"), message);
    }
    one_error(
        json!({ "corp": with(spelled_out(), json!({ "audience": null })) }),
        "issuers.corp.token.distinguished_by",
        "the issuer has no `audience`",
    );
}

#[test]
fn rejects_undeclared_shared_keys_and_duplicate_issuers() {
    let tenant = |issuer: &str, shares: Value| with(plain(), json!({ "issuer": issuer, "shares_keys_with": shares }));
    nothing_wrong(json!({
        "a": tenant("https://idp.example.com/a", json!(["b", "c"])),
        "b": tenant("https://idp.example.com/b", json!(["a", "c"])),
        "c": tenant("https://idp.example.com/c", json!(["b", "a"])),
    }));
    // An issuer that differs in a trailing slash is a different issuer.
    one_error(
        json!({ "a": tenant("https://idp.example.com", json!([])), "b": tenant("https://idp.example.com/", json!([])) }),
        "issuers.b.keys",
        "`issuers.a` has one of these keys too",
    );
    let (errors, _) = findings(json!({
        "a": tenant("https://idp.example.com/a", json!(["b"])),
        "b": tenant("https://idp.example.com/b", json!([])),
    }));
    assert!(
        errors[0].starts_with("issuers.a.shares_keys_with[0]: `issuers.b` does not list this issuer"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("issuers.b.keys: "), "{errors:?}");
    one_error(
        json!({
            "a": tenant("https://idp.example.com/a", json!(["b", "b"])),
            "b": tenant("https://idp.example.com/b", json!(["a"])),
        }),
        "issuers.a.shares_keys_with[1]",
        "twice",
    );
    // A key with two names in one issuer is not shared with another issuer.
    let renamed = json!({ "keys": { "jwks": { "keys": [key(Signs::P256(1), "a"), key(Signs::P256(1), "b")] } } });
    nothing_wrong(json!({ "a": with(plain(), renamed) }));
    let (errors, _) = findings(json!({
        "keycloak": tenant("https://idp.example.com/a", json!(["keycloack2"])),
        "keycloak2": with(tenant("https://idp.example.com/b", json!([])), json!({ "keys": { "jwks": { "keys": [key(Signs::P256(2), "a")] } } })),
    }));
    assert_eq!(
        errors,
        ["issuers.keycloak.shares_keys_with[0]: there is no `issuers.keycloack2`; did you mean `keycloak2`?"]
    );
    // The same `iss` twice is ambiguous, even with different keys.
    let other_key = json!({ "keys": { "jwks": { "keys": [key(Signs::P256(2), "a")] } } });
    one_error(
        json!({ "a": plain(), "b": with(plain(), other_key) }),
        "issuers.b.issuer",
        "`issuers.a` has the same value",
    );
    // One secret under two names, under one name, and under one name that is not looked up.
    let symmetric = |n: u8, env: &str| {
        with(secret(json!({ "env": env })), json!({ "issuer": format!("https://idp{n}.example.com") }))
    };
    for (env, same) in [("SECRET", true), ("SAME_SECRET", true), ("OTHER_SECRET", false)] {
        let issuers = json!({ "a": symmetric(1, "SECRET"), "b": symmetric(2, env) });
        if same {
            one_error(issuers, "issuers.b.keys", "`issuers.a` has one of these keys too");
        } else {
            nothing_wrong(issuers);
        }
    }
    let (_, findings) = compile_with(&json!({ "a": symmetric(1, "X"), "b": symmetric(2, "X") }), &not_needed);
    assert_eq!(findings.errors.len(), 1);
}
