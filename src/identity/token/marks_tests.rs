use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Value, json};

use super::super::testing::{NOW, RESOURCE, SECRET, Signs, at, compile, sign, with};
use super::super::{FetchedKeys, TokenCache};
use super::*;
use crate::identity::crypto::SoftwareVerifier;

const KEY: Signs = Signs::P256(1);

fn issuer(changes: Value) -> Value {
    let issuer = json!({
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "jwks": { "keys": [with(KEY.jwk(), json!({ "kid": "one" })), with(KEY.jwk(), json!({ "kid": "two" }))] } },
    });
    with(issuer, changes)
}

fn verify(issuer: Value, key: Signs, header: Value, changes: Value) -> Rc<VerifiedToken> {
    let claims = json!({
        "iss": "https://idp.example.com", "aud": RESOURCE, "sub": "s", "client_id": "c", "jti": "j", "iat": NOW, "exp": NOW + 300,
    });
    let issuers = compile(&json!({ "corp": issuer }));
    let token = sign(key, &with(json!({ "typ": "at+jwt", "alg": "ES256" }), header), &with(claims, changes));
    issuers.verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new()).unwrap()
}

fn has(token: &VerifiedToken, kind: Kind, mark: Mark) -> bool {
    assert!(token.marks().len() <= token.most_marks());
    let distinct: BTreeSet<_> = token.marks().iter().collect();
    assert_eq!(distinct.len(), token.marks().len());
    token.marks().contains(&(kind, mark))
}

#[test]
fn a_token_has_the_marks_of_its_claims() {
    let token = verify(issuer(json!({})), KEY, json!({ "kid": "one" }), json!({}));
    assert!(has(&token, Kind::Jti, Mark::of_value("corp", None, "j")));
    assert!(has(&token, Kind::Subject, Mark::of_value("corp", None, "s")));
    assert!(has(&token, Kind::Client, Mark::of_value("corp", None, "c")));
    assert!(has(&token, Kind::Issuer, Mark::of_issuer("corp", None)));
    assert!(has(&token, Kind::Token, Mark::of_hash(&token.signed_sha256)));
    // The subject is not the client, and another issuer's subject is another.
    assert!(!has(&token, Kind::Client, Mark::of_value("corp", None, "s")));
    assert!(!has(&token, Kind::Subject, Mark::of_value("other", None, "s")));
}

#[test]
fn a_token_has_all_names_of_the_key_that_signed_it() {
    // Who has the key can leave out its name, or use another one.
    for header in [json!({ "kid": "one" }), json!({ "kid": "two" }), json!({})] {
        let token = verify(issuer(json!({})), KEY, header.clone(), json!({}));
        for kid in ["one", "two"] {
            assert!(has(&token, Kind::Kid, Mark::of_value("corp", None, kid)), "{header} {kid}");
        }
        assert!(!has(&token, Kind::Kid, Mark::of_value("corp", None, "three")));
    }
}

#[test]
fn a_secret_has_the_name_that_the_token_states() {
    let issuer = json!({
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "1h",
        "keys": { "secret": { "env": "SECRET" } },
    });
    for (kid, expected) in [(json!("k"), true), (json!(7), false), (Value::Null, false)] {
        let header = json!({ "alg": "HS256", "kid": kid });
        let token = verify(issuer.clone(), Signs::Secret(SECRET), header, json!({}));
        assert_eq!(has(&token, Kind::Kid, Mark::of_value("corp", None, "k")), expected, "{kid}");
    }
}

#[test]
fn a_token_with_a_tenant_has_the_marks_of_all_tenants_too() {
    let template = json!({ "issuer": "https://idp.example.com/{tid}", "tenants": ["acme"] });
    let claims = json!({ "iss": "https://idp.example.com/acme", "tid": "acme" });
    let token = verify(issuer(template), KEY, json!({ "kid": "one" }), claims);
    for tenant in [None, Some("acme")] {
        assert!(has(&token, Kind::Issuer, Mark::of_issuer("corp", tenant)), "{tenant:?}");
        assert!(has(&token, Kind::Subject, Mark::of_value("corp", tenant, "s")), "{tenant:?}");
        assert!(has(&token, Kind::Client, Mark::of_value("corp", tenant, "c")), "{tenant:?}");
    }
    assert!(!has(&token, Kind::Issuer, Mark::of_issuer("corp", Some("globex"))));
}

#[test]
fn the_hash_of_a_token_leaves_out_its_signature() {
    let token = verify(issuer(json!({})), KEY, json!({ "kid": "one" }), json!({}));
    let hash: String = token.signed_sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, token.token_hash());
    assert_ne!(&token.signed_sha256, token.sha256());
}

#[test]
fn a_number_as_jti_is_named_by_its_digits() {
    let shape = json!({
        "profile": "jwt", "audience": "api",
        "token": { "typ": ["JWT"], "distinguished_by": "audience", "client": "client_id", "scopes": [] },
    });
    let claims = json!({ "jti": 17, "aud": "api" });
    let token = verify(issuer(shape), KEY, json!({ "typ": "JWT", "kid": "one" }), claims);
    assert!(has(&token, Kind::Jti, Mark::of_value("corp", None, "17")));
}
