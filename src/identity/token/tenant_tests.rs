use serde_json::{Value, json};

use super::super::testing::{NOW, RESOURCE, Signs, at, compile, compile_with, environment, sign, with};
use super::super::{FetchedKeys, Issuers, TokenCache, VerifiedToken};
use super::*;
use crate::identity::crypto::SoftwareVerifier;

const KEY: Signs = Signs::P256(1);
const TEMPLATE: &str = "https://login.example.com/{tid}/v2.0";

fn issuer(changes: Value) -> Value {
    let issuer = json!({
        "issuer": TEMPLATE, "tenants": ["acme", "globex"], "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "jwks": { "keys": [with(KEY.jwk(), json!({ "kid": "k" }))] } },
    });
    with(issuer, changes)
}

fn claims(changes: Value) -> Value {
    let claims = json!({
        "iss": "https://login.example.com/acme/v2.0", "tid": "acme", "aud": RESOURCE, "sub": "s", "client_id": "c", "jti": "1",
        "iat": NOW - 60, "exp": NOW + 300,
    });
    with(claims, changes)
}

fn verify(issuers: &Issuers, changes: Value) -> Result<std::rc::Rc<VerifiedToken>, Reason> {
    let token = sign(KEY, &json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k" }), &claims(changes));
    let verified = issuers.verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new());
    if let Err(refusal) = &verified {
        assert!(!issuers.diagnose(None, &token, refusal.reason, at(0), &FetchedKeys::new()).is_empty(), "{refusal}");
    }
    verified.map_err(|refusal| refusal.reason)
}

#[test]
fn accepts_the_tenants_that_the_policy_lists() {
    let issuers = compile(&json!({ "entra": issuer(json!({})) }));
    let verified = verify(&issuers, json!({})).unwrap();
    assert_eq!((verified.issuer_name(), verified.tenant()), ("entra", Some("acme")));
    assert_eq!(verified.iss(), "https://login.example.com/acme/v2.0");
    assert!(verified.is_of_named_issuer());
    let globex = json!({ "iss": "https://login.example.com/globex/v2.0", "tid": "globex" });
    assert_eq!(verify(&issuers, globex).unwrap().tenant(), Some("globex"));
    let other = json!({ "iss": "https://login.example.com/initech/v2.0", "tid": "initech" });
    assert_eq!(verify(&issuers, other.clone()).unwrap_err(), Reason::TokenIssuer);

    let any = compile(&json!({ "entra": issuer(json!({ "tenants": "any" })) }));
    let verified = verify(&any, other).unwrap();
    assert_eq!(verified.tenant(), Some("initech"));
    assert!(!verified.is_of_named_issuer());
}

#[test]
fn rejects_an_iss_whose_tenant_is_not_one_plain_segment() {
    let any = compile(&json!({ "entra": issuer(json!({ "tenants": "any" })) }));
    let long = "a".repeat(65);
    for tenant in [
        "", "a/b", "acme/", "/acme", "..", ".", "acme%2Fx", "%61cme", "Acme", "ACME", "acme ", "a b", "acme?x",
        "acme#", "a\\b", "{tid}", "*", "acmé", "-acme", "_acme", ".acme", "acme;x", "a\u{0}b", &long,
    ] {
        let iss = format!("https://login.example.com/{tenant}/v2.0");
        assert_eq!(verify(&any, json!({ "iss": iss, "tid": tenant })).unwrap_err(), Reason::TokenIssuer, "{tenant}");
    }
    for iss in [
        "https://login.example.com/acme/v2.0/",
        "https://login.example.com/acme/v2.00",
        "https://login.example.com/acme/v1.0",
        "https://login.example.com/acme",
        "https://login.example.com/v2.0",
        "https://login.example.com//v2.0",
        "https://login.example.com./acme/v2.0",
        "https://LOGIN.example.com/acme/v2.0",
        "http://login.example.com/acme/v2.0",
        "https://login.example.com/acme/v2.0/acme/v2.0",
        "https://evil.example/https://login.example.com/acme/v2.0",
        "https://login.example.com/{tid}/v2.0",
        "",
    ] {
        assert_eq!(verify(&any, json!({ "iss": iss })).unwrap_err(), Reason::TokenIssuer, "{iss}");
    }
}

#[test]
fn the_claim_must_equal_the_tenant_in_iss() {
    let any = compile(&json!({ "entra": issuer(json!({ "tenants": "any" })) }));
    for tid in ["globex", "Acme", "acme ", "", "acme/v2.0", "acm", "acmee"] {
        assert_eq!(verify(&any, json!({ "tid": tid })).unwrap_err(), Reason::TokenIssuer, "{tid}");
    }
    for tid in [json!(null), json!(7), json!(["acme"]), json!({ "acme": true }), json!(true)] {
        assert_eq!(verify(&any, json!({ "tid": tid })).unwrap_err(), Reason::TokenClaim, "{tid}");
    }
    // `with` removes a claim that is set to null, so this one is an actual null.
    let mut null = claims(json!({}));
    null["tid"] = Value::Null;
    let token = sign(KEY, &json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k" }), &null);
    let verified = any.verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new());
    assert_eq!(verified.unwrap_err().reason, Reason::TokenClaim);
}

#[test]
fn an_exact_issuer_is_preferred() {
    let exact = issuer(json!({
        "issuer": "https://login.example.com/initech/v2.0", "tenants": null, "shares_keys_with": ["entra"],
    }));
    let any = issuer(json!({ "tenants": "any", "shares_keys_with": ["initech"] }));
    let issuers = compile(&json!({ "entra": any, "initech": exact }));
    let own = json!({ "iss": "https://login.example.com/initech/v2.0", "tid": "initech" });
    let verified = verify(&issuers, own).unwrap();
    assert_eq!((verified.issuer_name(), verified.tenant()), ("initech", None));
    assert_eq!(verify(&issuers, json!({})).unwrap().issuer_name(), "entra");
}

/// Returns the result for a token of a tenant, if the issuer's key has this member `issuer`.
fn with_key_of(of_key: &str, changes: Value, tenant: &str) -> Result<(), Reason> {
    let keys = json!({ "jwks": { "keys": [
        with(KEY.jwk(), json!({ "kid": "k", "issuer": of_key })),
        with(Signs::P256(2).jwk(), json!({ "kid": "other" })),
    ] } });
    let issuers = compile(&json!({ "entra": with(issuer(changes), json!({ "keys": keys })) }));
    let iss = format!("https://login.example.com/{tenant}/v2.0");
    let verified = verify(&issuers, json!({ "iss": iss, "tid": tenant })).map(drop);
    let unnamed = sign(KEY, &json!({ "typ": "at+jwt", "alg": "ES256" }), &claims(json!({ "iss": iss, "tid": tenant })));
    let unnamed = issuers.verify(&unnamed, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new());
    assert!(unnamed.is_err(), "without `kid`, no key of another tenant is chosen");
    verified
}

#[test]
fn a_key_verifies_only_tokens_of_its_own_issuer() {
    let any = || json!({ "tenants": "any" });
    let exact = || json!({ "issuer": "https://login.example.com/acme/v2.0", "tenants": null });
    let every = "https://login.example.com/{tenantid}/v2.0";
    let acme = "https://login.example.com/acme/v2.0";
    for tenant in ["acme", "globex"] {
        assert_eq!(with_key_of(every, any(), tenant), Ok(()));
    }
    assert_eq!(with_key_of(acme, any(), "acme"), Ok(()));
    assert_eq!(with_key_of(acme, any(), "globex"), Err(Reason::TokenKey));
    assert_eq!(with_key_of(every, exact(), "acme"), Ok(()));
    assert_eq!(with_key_of(acme, exact(), "acme"), Ok(()));
    for other in [
        "https://login.example.com/globex/v2.0",
        "https://login.example.com/acme/v2.0/",
        "https://login.example.com/{tenantid}/v1.0",
        "https://sts.example.com/{tenantid}/v2.0",
        "https://login.example.com/{tenantid}{x}/v2.0",
        "https://login.example.com/x{tenantid}/v2.0",
        "https://{tenantid}/acme/v2.0",
        "{tenantid}",
    ] {
        assert_eq!(with_key_of(other, exact(), "acme"), Err(Reason::TokenKey), "{other}");
    }
    for other in ["https://login.example.com/{tenantid}/v1.0", "https://sts.example.com/acme/v2.0"] {
        assert_eq!(with_key_of(other, any(), "acme"), Err(Reason::TokenKey), "{other}");
    }
}

#[test]
fn warns_about_keys_of_another_issuer() {
    let of_key = |of_key: Value| {
        let key = with(KEY.jwk(), json!({ "kid": "k", "issuer": of_key }));
        let exact = json!({
            "issuer": "https://login.example.com/acme/v2.0", "tenants": null,
            "keys": { "jwks": { "keys": [key, with(Signs::P256(2).jwk(), json!({ "kid": "2" }))] } },
        });
        let (_, findings) = compile_with(&json!({ "entra": issuer(exact) }), &environment);
        let texts =
            |findings: Vec<crate::document::Finding>| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
        (texts(findings.errors), texts(findings.warnings))
    };
    let (errors, warnings) = of_key(json!("https://login.example.com/globex/v2.0"));
    assert_eq!(errors, [""; 0]);
    assert!(warnings[0].contains("which is another issuer"), "{warnings:?}");
    for wrong in [json!(7), json!(""), json!(["https://login.example.com/acme/v2.0"])] {
        let (errors, _) = of_key(wrong);
        assert!(errors.len() == 1 && errors[0].contains("keys[0].issuer: invalid value"), "{errors:?}");
    }
}

#[test]
fn rejects_invalid_tenants_in_a_policy() {
    let two = |one: Value, other: Value| {
        let (one, other) = (
            with(issuer(one), json!({ "shares_keys_with": ["b"] })),
            with(issuer(other), json!({ "shares_keys_with": ["a"] })),
        );
        json!({ "a": one, "b": other })
    };
    let one = |changes: Value| json!({ "a": issuer(changes) });
    for (issuers, place, says) in [
        (one(json!({ "tenants": null })), "issuers.a.tenants", "`issuer` has the variable `{tid}`; list the tenants"),
        (one(json!({ "tenants": [] })), "issuers.a.tenants", "every token would be rejected"),
        (one(json!({ "tenants": ["acme", "acme"] })), "issuers.a.tenants[1]", "is listed twice"),
        (
            one(json!({ "tenants": ["Acme"] })),
            "issuers.a.tenants[0]",
            "invalid tenant `Acme`; expected 1 to 64 lower-case",
        ),
        (one(json!({ "tenants": [".."] })), "issuers.a.tenants[0]", "invalid tenant"),
        (one(json!({ "tenants": [""] })), "issuers.a.tenants[0]", "invalid tenant"),
        (one(json!({ "issuer": "https://idp.example.com" })), "issuers.a.tenants", "the issuer has no tenants"),
        (
            one(json!({ "issuer": "https://{tid}.example.com/x", "tenants": null })),
            "issuers.a.issuer",
            "one whole path segment",
        ),
        (one(json!({ "issuer": "https://{tid}/x", "tenants": null })), "issuers.a.issuer", "one whole path segment"),
        (
            one(json!({ "issuer": "https://idp.example.com/x{tid}", "tenants": null })),
            "issuers.a.issuer",
            "one whole path segment",
        ),
        (
            one(json!({ "issuer": "https://idp.example.com/{a}/{b}", "tenants": null })),
            "issuers.a.issuer",
            "one whole path segment",
        ),
        (
            one(json!({ "issuer": "https://idp.example.com/{}", "tenants": null })),
            "issuers.a.issuer",
            "one whole path segment",
        ),
        (
            one(json!({ "issuer": "https://idp.example.com/{a.b}", "tenants": null })),
            "issuers.a.issuer",
            "one whole path segment",
        ),
        (
            one(json!({ "issuer": "https://idp.example.com/{tid", "tenants": null })),
            "issuers.a.issuer",
            "one whole path segment",
        ),
        (
            two(json!({}), json!({ "issuer": "https://login.example.com/{tenant}/v2.0" })),
            "issuers.b.issuer",
            "the same `iss` could belong to `issuers.a`",
        ),
        (
            two(json!({}), json!({ "issuer": "https://login.example.com/acme/{version}" })),
            "issuers.b.issuer",
            "the same `iss` could belong to `issuers.a`",
        ),
        (
            two(json!({ "issuer": "https://login.example.com/acme/v2.0", "tenants": null }), json!({})),
            "issuers.b.tenants[0]",
            "`issuers.a` is the issuer of this tenant",
        ),
    ] {
        let (_, findings) = compile_with(&issuers, &environment);
        let errors: Vec<_> = findings.errors.iter().map(ToString::to_string).collect();
        assert!(
            errors.len() == 1 && errors[0].starts_with(&format!("{place}: ")) && errors[0].contains(says),
            "{place} {errors:#?}"
        );
    }
    // Templates of different lengths or beginnings do not overlap.
    compile(&two(json!({}), json!({ "issuer": "https://login.example.com/{tid}" })));
    compile(&two(json!({}), json!({ "issuer": "https://sts.example.com/{tid}/v2.0" })));
}
