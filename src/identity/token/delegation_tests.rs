//! Tests of chains of actors.

use std::rc::Rc;

use serde_json::{Value, json};

use super::super::testing::{RESOURCE, Signs, at, compile, sign, with};
use super::super::{FetchedKeys, Issuers, TokenCache, VerifiedToken};
use super::*;
use crate::identity::crypto::SoftwareVerifier;

const ISS: &str = "https://idp.example.com";

fn read(act: &Value) -> Result<Chain, Reason> {
    Chain::read(act, ISS, Some("ann"), 2)
}

fn line(act: &Value) -> String {
    read(act).unwrap().line().to_owned()
}

fn refused(act: &Value) {
    assert_eq!(read(act).map(|chain| chain.line), Err(Reason::DelegationMalformed), "{act}");
}

/// Returns a chain of so many actors, `a1` being the current one.
fn nested(actors: usize) -> Value {
    (1..=actors).rev().fold(Value::Null, |inner, number| {
        let mut actor = json!({ "sub": format!("a{number}") });
        if !inner.is_null() {
            actor["act"] = inner;
        }
        actor
    })
}

#[test]
fn reads_actors_from_the_current_to_the_first() {
    let chain = read(&json!({ "sub": "coder", "client_id": "c", "act": { "iss": "https://other", "sub": "planner" } }));
    let chain = chain.unwrap();
    let [coder, planner] = chain.actors() else { panic!("{chain:?}") };
    assert_eq!((coder.iss(), coder.sub(), coder.client_id()), (None, "coder", Some("c")));
    assert_eq!((planner.iss(), planner.sub(), planner.client_id()), (Some("https://other"), "planner", None));
    assert_eq!(chain.line(), "ann,coder,https://other#planner");
}

#[test]
fn the_issuer_of_the_token_is_the_default() {
    assert_eq!(read(&json!({ "sub": "a", "iss": ISS })).unwrap().actors()[0].iss(), None);
    assert_eq!(line(&json!({ "sub": "a", "iss": format!("{ISS}/") })), format!("ann,{ISS}/#a"));
}

#[test]
fn rejects_what_is_no_actor() {
    for act in [
        json!(null),
        json!(true),
        json!(1),
        json!("coder"),
        json!([]),
        json!([{ "sub": "coder" }]),
        json!({}),
        json!({ "iss": ISS }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 1 }),
        json!({ "sub": ["coder"] }),
        json!({ "sub": { "sub": "coder" } }),
        json!({ "Sub": "coder" }),
        json!({ "sub": "coder", "iss": "" }),
        json!({ "sub": "coder", "iss": null }),
        json!({ "sub": "coder", "iss": "https://a#b" }),
        json!({ "sub": "coder", "client_id": 1 }),
        json!({ "sub": "coder", "client_id": "" }),
        json!({ "sub": "coder", "act": null }),
        json!({ "sub": "coder", "act": {} }),
        json!({ "sub": "coder", "act": [] }),
        json!({ "sub": "coder", "act": "planner" }),
    ] {
        refused(&act);
    }
}

#[test]
fn rejects_members_that_do_not_identify() {
    for name in ["exp", "nbf", "iat", "aud", "scope", "may_act", "cnf", "jti", "", "SUB"] {
        let mut act = json!({ "sub": "coder" });
        act[name] = json!(1);
        refused(&act);
        refused(&json!({ "sub": "other", "act": act }));
    }
}

#[test]
fn accepts_as_many_actors_as_the_policy_allows() {
    assert_eq!(line(&nested(2)), "ann,a1,a2");
    refused(&nested(3));
    refused(&nested(100));
    for most in 1..=MOST_ACTORS {
        let chain = |actors: usize| Chain::read(&nested(actors), ISS, Some("ann"), most);
        assert_eq!(chain(usize::from(most)).unwrap().actors().len(), usize::from(most));
        assert_eq!(chain(usize::from(most) + 1).map(|_| ()), Err(Reason::DelegationMalformed));
    }
}

#[test]
fn rejects_cycles_of_any_length() {
    let cyclic = |act: &Value| {
        assert_eq!(Chain::read(act, ISS, Some("ann"), 8).map(|_| ()), Err(Reason::DelegationMalformed), "{act}");
    };
    cyclic(&json!({ "sub": "ann" }));
    cyclic(&json!({ "sub": "ann", "iss": ISS }));
    cyclic(&json!({ "sub": "a", "act": { "sub": "a" } }));
    cyclic(&json!({ "sub": "a", "act": { "sub": "a", "iss": ISS } }));
    cyclic(&json!({ "sub": "a", "act": { "sub": "b", "act": { "sub": "a" } } }));
    cyclic(&json!({ "sub": "a", "act": { "sub": "b", "act": { "sub": "ann" } } }));
    cyclic(&json!({ "sub": "a", "act": { "sub": "a", "client_id": "other" } }));
    let other = json!({ "iss": "https://other", "sub": "a" });
    cyclic(&json!({ "iss": "https://other", "sub": "a", "act": other }));
    // The same subject of another issuer is somebody else.
    assert_eq!(line(&json!({ "sub": "a", "act": other })), "ann,a,https://other#a");
    assert_eq!(line(&json!({ "sub": "ann", "iss": "https://other" })), "ann,https://other#ann");
}

#[test]
fn bounds_each_text_and_all_together() {
    let text = |length: usize| "x".repeat(length);
    read(&json!({ "sub": text(MOST_IDENTIFIER) })).unwrap();
    for name in ["sub", "iss", "client_id"] {
        let mut act = json!({ "sub": "coder" });
        act[name] = json!(text(MOST_IDENTIFIER + 1));
        refused(&act);
    }
    let long = |actors: usize| {
        (0..actors).fold(Value::Null, |inner, number| {
            let own = |first: &str| format!("{first}{number}{}", text(MOST_IDENTIFIER - 2));
            let mut actor = json!({ "sub": own("s"), "iss": own("i"), "client_id": own("c") });
            if !inner.is_null() {
                actor["act"] = inner;
            }
            actor
        })
    };
    let chain = |actors: usize| Chain::read(&long(actors), ISS, Some("ann"), 8).map(|_| ());
    assert_eq!(chain(5), Ok(()));
    assert_eq!(chain(6), Err(Reason::DelegationMalformed));
}

#[test]
fn a_chain_needs_a_subject() {
    assert_eq!(Chain::read(&json!({ "sub": "coder" }), ISS, None, 2).map(|_| ()), Err(Reason::DelegationMalformed));
}

#[test]
fn names_cannot_imitate_a_chain_in_the_header() {
    assert_eq!(line(&json!({ "sub": "a,b#c d%\r\n\u{e9}" })), "ann,a%2Cb%23c%20d%25%0D%0A%C3%A9");
    assert_eq!(line(&json!({ "sub": "x", "iss": "https://a,b" })), "ann,https://a%2Cb#x");
    let of = |subject: &str| Chain::read(&json!({ "sub": "a" }), ISS, Some(subject), 2).unwrap();
    assert_eq!(of("ann,admin").line(), "ann%2Cadmin,a");
}

#[test]
fn plain_chains_need_no_escaping_in_records() {
    assert!(read(&json!({ "sub": "a", "client_id": "b", "iss": "https://c" })).unwrap().is_plain());
    for name in ["sub", "client_id", "iss"] {
        let mut act = json!({ "sub": "a" });
        act[name] = json!("x\u{202e}");
        assert!(!read(&act).unwrap().is_plain(), "{name}");
    }
}

fn issuers() -> Issuers {
    compile(&json!({
        "corp": {
            "issuer": ISS,
            "profile": "at+jwt",
            "algorithms": ["ES256"],
            "max_lifetime": "1h",
            "keys": { "jwks": { "keys": [with(Signs::P256(1).jwk(), json!({ "kid": "k", "alg": "ES256" }))] } },
        },
    }))
}

fn verify(issuers: &Issuers, claims: Value) -> Result<Rc<VerifiedToken>, Reason> {
    let now = at(0).as_secs();
    let usual = json!({
        "iss": ISS, "aud": RESOURCE, "sub": "ann", "client_id": "coder", "jti": "1", "iat": now, "exp": now + 300,
    });
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k" });
    let token = sign(Signs::P256(1), &header, &with(usual, claims));
    let verified = issuers.verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new());
    verified.map_err(|refusal| refusal.reason)
}

#[test]
fn tokens_keep_their_chain_where_the_policy_accepts_delegation() {
    let issuers = issuers().with_delegation(Some(2));
    let token = verify(&issuers, json!({ "act": { "sub": "coder" } })).unwrap();
    assert_eq!((token.chain().map(Chain::line), token.is_delegated()), (Some("ann,coder"), true));
    for act in [json!("coder"), json!([]), json!({ "sub": "coder", "exp": 1 }), nested(3)] {
        assert_eq!(verify(&issuers, json!({ "act": act })).map(|_| ()), Err(Reason::DelegationMalformed), "{act}");
    }
    let own = verify(&issuers, json!({})).unwrap();
    assert!(own.chain().is_none() && !own.is_delegated());
}

#[test]
fn without_delegation_any_actor_makes_a_token_delegated_and_is_not_parsed() {
    let issuers = issuers();
    for act in [json!({ "sub": "coder" }), json!("coder"), json!([]), json!(false), nested(20)] {
        let token = verify(&issuers, json!({ "act": act })).unwrap();
        assert!(token.chain().is_none() && token.is_delegated(), "{act}");
    }
}

#[test]
fn may_act_delegates_nothing_and_is_ignored_even_if_malformed() {
    for issuers in [issuers(), issuers().with_delegation(Some(2))] {
        for may_act in [json!({ "sub": "coder" }), json!([]), json!("coder"), json!({ "sub": 1, "act": {} })] {
            let token = verify(&issuers, json!({ "may_act": may_act })).unwrap();
            assert!(token.chain().is_none() && !token.is_delegated(), "{may_act}");
        }
    }
}
