//! JWT-SVIDs: their form, their issuer, and the policies that accept them.

use std::rc::Rc;

use serde_json::{Value, json};

use super::super::testing::{NOW, RESOURCE, Signs, at, compile, compile_with, environment, sign, with};
use super::super::{FetchedKeys, TokenCache, VerifiedToken};
use super::*;
use crate::identity::crypto::SoftwareVerifier;

const SPIRE: Signs = Signs::P256(1);
const NAMED: Signs = Signs::P256(2);
const CORP: Signs = Signs::P256(3);
const ID: &str = "spiffe://example.org/ns/prod/agent";

fn key(signs: Signs, kid: &str) -> Value {
    with(signs.jwk(), json!({ "kid": kid }))
}

/// Returns an issuer of JWT-SVIDs whose `iss` the policy does not state.
fn spire() -> Value {
    json!({
        "profile": "jwt-svid", "trust_domain": "example.org", "algorithms": ["ES256", "RS256"], "max_lifetime": "5m",
        "keys": { "jwks": { "keys": [key(SPIRE, "s"), key(Signs::Rsa, "r")] } },
    })
}

/// Returns an issuer of JWT-SVIDs with a known `iss`.
fn named() -> Value {
    json!({
        "issuer": "https://oidc.named.example", "profile": "jwt-svid", "trust_domain": "named.example", "algorithms": ["ES256"],
        "max_lifetime": "5m", "keys": { "jwks": { "keys": [key(NAMED, "n")] } },
    })
}

fn corp() -> Value {
    json!({
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "jwks": { "keys": [key(CORP, "c")] } },
    })
}

fn issuers() -> Issuers {
    compile(&json!({ "spire": spire(), "named": named(), "corp": corp() }))
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "s", "typ": "JWT" })
}

fn claims() -> Value {
    json!({ "aud": [RESOURCE], "sub": ID, "iat": NOW - 60, "exp": NOW + 240 })
}

fn verify_at(
    issuers: &Issuers,
    cache: &mut TokenCache,
    token: &[u8],
    offset: i64,
) -> Result<Rc<VerifiedToken>, Reason> {
    let verified = issuers.verify(token, at(offset), &SoftwareVerifier, cache, &FetchedKeys::new());
    verified.map_err(|refusal| refusal.reason)
}

fn verify(token: &[u8]) -> Result<Rc<VerifiedToken>, Reason> {
    verify_at(&issuers(), &mut TokenCache::default(), token, 0)
}

/// Returns a JWT-SVID with these changes in its claims.
fn claiming(changes: Value) -> Vec<u8> {
    sign(SPIRE, &header(), &with(claims(), changes))
}

fn headed(changes: Value) -> Vec<u8> {
    sign(SPIRE, &with(header(), changes), &claims())
}

#[track_caller]
fn rejects(token: &[u8], reason: Reason) {
    let issuers = issuers();
    assert_eq!(verify_at(&issuers, &mut TokenCache::default(), token, 0).map(|_| ()), Err(reason));
    let facts = issuers.diagnose(None, token, reason, at(0), &FetchedKeys::new());
    assert!(!facts.is_empty(), "{reason:?} is explained");
}

#[test]
fn a_valid_svid_names_its_workload_and_nothing_else() {
    let verified = verify(&claiming(json!({ "scope": "admin", "client_id": "c" }))).unwrap();
    assert_eq!((verified.issuer_name(), verified.iss()), ("spire", ""));
    assert_eq!((verified.spiffe_id(), verified.subject(), verified.client()), (Some(ID), Some(ID), None));
    assert_eq!(verified.scopes(), [""; 0]);
    assert_eq!(verified.issued_at(), Some(at(-60)));
    assert_eq!(verified.tenant(), None);
}

#[test]
fn an_access_token_has_no_spiffe_id() {
    let claims = json!({
        "iss": "https://idp.example.com", "aud": RESOURCE, "sub": ID, "client_id": "c", "jti": "1", "iat": NOW, "exp": NOW + 60,
    });
    let verified = verify(&sign(CORP, &json!({ "alg": "ES256", "kid": "c", "typ": "at+jwt" }), &claims)).unwrap();
    assert_eq!((verified.issuer_name(), verified.subject(), verified.spiffe_id()), ("corp", Some(ID), None));
}

#[test]
fn accepts_only_the_parameters_and_types_of_jwt_svids() {
    for changes in [json!({}), json!({ "typ": "JOSE" }), json!({ "typ": null }), json!({ "typ": null, "kid": null })] {
        assert!(verify(&headed(changes.clone())).is_ok(), "{changes}");
    }
    for name in ["jku", "x5u", "x5c", "x5t", "cty", "crit", "b64", "zip", "jwk", "iss", "nonce"] {
        rejects(&headed(json!({ name: "x" })), Reason::TokenHeader);
    }
    for typ in
        [json!("at+jwt"), json!("jwt"), json!("jose"), json!("application/jwt"), json!(""), json!(7), json!(["JWT"])]
    {
        rejects(&headed(json!({ "typ": typ })), Reason::TokenType);
    }
    rejects(&headed(json!({ "alg": "EdDSA" })), Reason::TokenAlgorithm);
    rejects(&headed(json!({ "alg": "HS256" })), Reason::TokenAlgorithm);
    rejects(&headed(json!({ "alg": "none" })), Reason::TokenAlgorithm);
}

#[test]
fn requires_a_strict_id_of_the_trust_domain() {
    for sub in [
        "SPIFFE://example.org/a",
        "Spiffe://example.org/a",
        "spiffe://Example.org/a",
        "spiffe://example.org:443/a",
        "spiffe://u@example.org/a",
        "spiffe://example.org/a?q",
        "spiffe://example.org/a#f",
        "spiffe://example.org/%61",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/a//b",
        "spiffe://example.org/a/",
        "spiffe://example.org/",
        "spiffe://example.org",
        "spiffe://example.com/a",
        "spiffe://example.org.evil/a",
        "https://example.org/a",
        "agent",
        "",
    ] {
        rejects(&claiming(json!({ "sub": sub })), Reason::TokenSubject);
    }
    for sub in [json!(7), json!(null), json!([ID]), json!({})] {
        assert_eq!(verify(&claiming(json!({ "sub": sub }))).map(|_| ()), Err(Reason::TokenClaim), "{sub}");
    }
}

#[test]
fn the_issuer_is_known_by_its_iss_or_by_the_trust_domain() {
    let of_named = |changes: Value| {
        let own = json!({ "iss": "https://oidc.named.example", "sub": "spiffe://named.example/a" });
        sign(NAMED, &json!({ "alg": "ES256", "kid": "n" }), &with(with(claims(), own), changes))
    };
    let verified = verify(&of_named(json!({}))).unwrap();
    assert_eq!((verified.issuer_name(), verified.iss()), ("named", "https://oidc.named.example"));
    // An issuer whose `iss` the policy states needs it.
    rejects(&of_named(json!({ "iss": null })), Reason::TokenSubject);
    rejects(&of_named(json!({ "iss": "https://other.example" })), Reason::TokenSubject);
    // It issues no IDs of another trust domain.
    rejects(&of_named(json!({ "sub": ID })), Reason::TokenSubject);
    rejects(&of_named(json!({ "sub": "spiffe://NAMED.example/a" })), Reason::TokenSubject);

    // An issuer without `iss` accepts any `iss` that names no other issuer.
    let verified = verify(&claiming(json!({ "iss": "https://oidc.example.org" }))).unwrap();
    assert_eq!((verified.issuer_name(), verified.iss()), ("spire", "https://oidc.example.org"));
    rejects(&claiming(json!({ "iss": "https://idp.example.com" })), Reason::TokenType);
    rejects(&claiming(json!({ "iss": "https://oidc.named.example" })), Reason::TokenKey);
    for iss in [json!(7), json!([]), json!({})] {
        rejects(&claiming(json!({ "iss": iss })), Reason::TokenClaim);
    }
    // Another token with an unknown `iss`.
    rejects(&claiming(json!({ "iss": "https://unknown.example", "sub": "user" })), Reason::TokenIssuer);
    rejects(
        &claiming(json!({ "iss": "https://unknown.example", "sub": "SPIFFE://example.org/a" })),
        Reason::TokenSubject,
    );
    // A key of another issuer.
    rejects(&sign(NAMED, &header(), &claims()), Reason::TokenSignature);
}

#[test]
fn policies_without_jwt_svids_report_the_same_reasons_as_before() {
    let issuers = compile(&json!({ "corp": corp(), "named": named() }));
    let refused = |changes: Value| {
        verify_at(&issuers, &mut TokenCache::default(), &claiming(changes), 0).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(json!({})), Reason::TokenClaim);
    assert_eq!(refused(json!({ "iss": "https://unknown.example" })), Reason::TokenIssuer);
}

#[test]
fn the_audience_and_the_end_are_required() {
    for aud in [json!(RESOURCE), json!([RESOURCE]), json!(["x", RESOURCE])] {
        assert!(verify(&claiming(json!({ "aud": aud }))).is_ok());
    }
    for aud in [json!(null), json!(7), json!([7])] {
        rejects(&claiming(json!({ "aud": aud })), Reason::TokenClaim);
    }
    for aud in [json!([]), json!(""), json!(format!("{RESOURCE}/x")), json!("https://api.example")] {
        rejects(&claiming(json!({ "aud": aud })), Reason::TokenAudience);
    }
    rejects(&claiming(json!({ "exp": null })), Reason::TokenClaim);
    rejects(&claiming(json!({ "exp": NOW - 60, "iat": null })), Reason::TokenExpired);
    rejects(&claiming(json!({ "exp": NOW - 60 })), Reason::TokenTime);
    rejects(&claiming(json!({ "nbf": NOW + 240 })), Reason::TokenTime);
}

#[test]
fn the_lifetime_counts_from_iat_or_from_now() {
    let lasting = |iat: Option<u64>, exp: u64| {
        verify(&claiming(json!({ "iat": iat, "exp": exp }))).map(|token| token.issued_at())
    };
    assert_eq!(lasting(Some(NOW), NOW + 300), Ok(Some(at(0))));
    assert_eq!(lasting(Some(NOW), NOW + 301), Err(Reason::TokenLifetime));
    assert_eq!(lasting(Some(NOW - 200), NOW + 101), Err(Reason::TokenLifetime));
    // The clock of the issuer may be ahead by the skew of 60 s.
    assert_eq!(lasting(None, NOW + 360), Ok(None));
    assert_eq!(lasting(None, NOW + 361), Err(Reason::TokenLifetime));
    assert_eq!(lasting(Some(NOW + 61), NOW + 240), Err(Reason::TokenTime));
    rejects(&claiming(json!({ "iat": null, "exp": NOW + 361 })), Reason::TokenLifetime);
    rejects(&claiming(json!({ "iat": "now" })), Reason::TokenTime);
}

#[test]
fn a_cached_svid_expires() {
    let (issuers, mut cache) = (issuers(), TokenCache::default());
    let token = claiming(json!({ "iat": null }));
    assert!(verify_at(&issuers, &mut cache, &token, 0).is_ok());
    assert_eq!(cache.len(), 1);
    assert_eq!(verify_at(&issuers, &mut cache, &token, 299).map(|_| ()), Ok(()));
    assert_eq!(verify_at(&issuers, &mut cache, &token, 300).map(|_| ()), Err(Reason::TokenExpired));
    assert!(cache.is_empty());
}

#[test]
fn explains_what_is_expected() {
    let says = |token: &[u8], reason: Reason| {
        let facts = issuers().diagnose(None, token, reason, at(0), &FetchedKeys::new());
        facts.into_iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>()
    };
    assert_eq!(
        says(&claiming(json!({ "sub": "spiffe://example.org/" })), Reason::TokenSubject),
        [
            "claim: sub",
            "is: \"spiffe://example.org/\"",
            "expected: exactly `spiffe://example.org/PATH`, where PATH has no empty segment, `.`, `..` or `%`",
        ]
    );
    assert_eq!(
        says(&headed(json!({ "typ": "jwt" })), Reason::TokenType),
        ["header parameter: typ", "is: \"jwt\"", "expected: `JWT` or `JOSE`, or absent"]
    );
    assert_eq!(
        says(&headed(json!({ "nonce": 1 })), Reason::TokenHeader),
        ["header parameter: nonce", "is: 1", "expected: absent"]
    );
    assert_eq!(
        says(&claiming(json!({ "iat": null, "exp": NOW + 900 })), Reason::TokenLifetime),
        ["`exp` - now: 900 s", "expected: at most 300 s, the issuer's `max_lifetime`"]
    );
}

/// Returns the errors of a policy with these issuers, each as `place: message`.
fn errors(issuers: &Value) -> Vec<String> {
    compile_with(issuers, &environment).1.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn reports_each_error_in_an_issuer_of_jwt_svids() {
    let shape = json!({ "typ": ["JWT"], "distinguished_by": "audience", "client": "azp", "scopes": [] });
    for (changes, place, message) in [
        (json!({ "trust_domain": null }), "trust_domain", "requires `trust_domain`"),
        (json!({ "trust_domain": "" }), "trust_domain", "invalid trust domain"),
        (json!({ "trust_domain": "Example.org" }), "trust_domain", "invalid trust domain"),
        (json!({ "trust_domain": "spiffe://example.org" }), "trust_domain", "invalid trust domain"),
        (json!({ "trust_domain": "example.org:443" }), "trust_domain", "invalid trust domain"),
        (json!({ "algorithms": ["ES256", "Ed25519", "RS256"] }), "algorithms[1]", "no algorithm of JWT-SVIDs"),
        (json!({ "token": shape }), "token", "cannot be combined with the profile `jwt-svid`"),
        (json!({ "ignore_header": ["x5c"] }), "ignore_header", "only `alg`, `kid` and `typ`"),
        (json!({ "tenants": "any" }), "tenants", "no tenant"),
        (json!({ "audience": "absent" }), "audience", "every JWT-SVID has an `aud`"),
        (json!({ "issuer": "https://{tid}.example/x" }), "issuer", "absolute URL"),
        (json!({ "issuer": "spire" }), "issuer", "absolute URL"),
    ] {
        let errors = errors(&json!({ "spire": with(spire(), changes) }));
        let [error] = &errors[..] else { panic!("one error, not {errors:#?}") };
        assert!(error.starts_with(&format!("issuers.spire.{place}: ")) && error.contains(message), "{error}");
    }
    let secret = json!({ "algorithms": ["HS256"], "keys": { "secret": { "env": "SECRET" } } });
    assert!(errors(&json!({ "spire": with(spire(), secret) }))[0].contains("no algorithm of JWT-SVIDs"));
}

#[test]
fn an_issuer_of_jwt_svids_has_no_variable() {
    let errors = errors(&json!({ "named": with(named(), json!({ "issuer": "https://oidc.example/{tid}/x" })) }));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("issuers.named.issuer: "), "{errors:?}");
}

#[test]
fn one_trust_domain_has_one_issuer() {
    for other in [with(spire(), json!({ "issuer": null })), with(named(), json!({ "trust_domain": "example.org" }))] {
        let other =
            with(other, json!({ "keys": { "jwks": { "keys": [key(Signs::P256(9), "z")] } }, "algorithms": ["ES256"] }));
        let errors = errors(&json!({ "a": spire(), "b": other }));
        assert_eq!(
            errors,
            ["issuers.b.trust_domain: `issuers.a` has the same trust domain; write one issuer with the keys of both"]
        );
    }
}

#[test]
fn a_bundle_verifies_with_its_keys_for_jwt_svids_only() {
    let bundle = |keys: Value| {
        let keys = json!({ "jwks": { "keys": keys, "spiffe_sequence": 7 } });
        json!({ "spire": with(spire(), json!({ "algorithms": ["ES256"], "keys": keys })) })
    };
    let of = |signs: Signs, kid: &str, usage: &str| with(key(signs, kid), json!({ "use": usage }));
    let certificate = with(of(Signs::P256(7), "x", "x509-svid"), json!({ "kid": null, "x5c": ["MII"] }));
    let (compiled, findings) =
        compile_with(&bundle(json!([certificate, of(SPIRE, "s", "jwt-svid"), of(NAMED, "n", "sig")])), &environment);
    assert_eq!(findings.errors, []);
    let [warning] = &findings.warnings[..] else { panic!("{:?}", findings.warnings) };
    assert!(warning.to_string().contains("its `use` is `sig`, not `jwt-svid`"), "{warning}");
    let verify = |signs: Signs, kid: &str| {
        let token = sign(signs, &with(header(), json!({ "kid": kid })), &claims());
        verify_at(&compiled, &mut TokenCache::default(), &token, 0).map(|_| ())
    };
    assert_eq!(verify(SPIRE, "s"), Ok(()));
    assert_eq!(verify(NAMED, "n"), Err(Reason::TokenKey));
    assert_eq!(verify(Signs::P256(7), "x"), Err(Reason::TokenKey));

    for (keys, message) in [
        (json!([certificate]), "none of these keys"),
        (json!([key(SPIRE, "s")]), "none of these keys"),
        (json!([with(of(SPIRE, "s", "jwt-svid"), json!({ "kid": null }))]), "has no `kid`"),
        (json!([with(of(SPIRE, "s", "jwt-svid"), json!({ "d": "AA" }))]), "private or secret"),
    ] {
        let errors = errors(&bundle(keys));
        assert!(errors.len() == 1 && errors[0].contains(message), "{errors:?}");
    }
    let errors = errors(&json!({ "corp": with(corp(), json!({ "keys": { "jwks": {
        "keys": [of(CORP, "c", "jwt-svid")], "spiffe_sequence": 1,
    } } })) }));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("issuers.corp.keys.jwks.spiffe_sequence: this is a SPIFFE bundle"), "{errors:?}");
}

#[test]
fn a_set_that_is_no_bundle_follows_the_usual_rules() {
    for (usage, is_usable) in
        [(json!(null), true), (json!("sig"), true), (json!("jwt-svid"), false), (json!("enc"), false)]
    {
        let keys = json!({ "jwks": { "keys": [with(key(SPIRE, "s"), json!({ "use": usage }))] } });
        let errors = errors(&json!({ "spire": with(spire(), json!({ "algorithms": ["ES256"], "keys": keys })) }));
        assert_eq!(errors.is_empty(), is_usable, "{usage}: {errors:?}");
    }
}

#[test]
fn a_key_for_one_issuer_verifies_nothing_if_the_iss_is_unknown() {
    let keys = json!({ "jwks": { "keys": [with(key(SPIRE, "s"), json!({ "issuer": "https://oidc.example.org" }))] } });
    let errors = errors(&json!({ "spire": with(spire(), json!({ "algorithms": ["ES256"], "keys": keys })) }));
    assert!(errors.len() == 1 && errors[0].contains("none of these keys"), "{errors:?}");
}
