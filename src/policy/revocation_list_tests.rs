use serde_json::{Value, json};

use super::*;
use crate::identity::revocation::{Kind, Mark, Moment};
use crate::identity::token::testing::{Signs, sign, sign_text};
use crate::testing::{self, NOW, with};

const KEY: Signs = Signs::P256(3);

fn policy(revocations: Value) -> Policy {
    let remote = json!({ "url": "https://revocations.example.com/list", "cluster": "revocations" });
    let usual = json!({ "remote": remote, "on_stale": "deny" });
    testing::policy(testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("a") },
        "revocations": with(usual, revocations),
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none" }],
    })))
}

fn trusted() -> Policy {
    policy(json!({ "trusted": true }))
}

fn signed() -> Policy {
    policy(json!({ "signed_by": with(KEY.jwk(), json!({ "kid": "r" })) }))
}

fn payload(changes: Value) -> Value {
    let usual =
        json!({ "iat": NOW - 10, "exp": NOW + 300, "entries": [{ "agent": "a" }, { "issuer": "corp", "jti": "j" }] });
    with(usual, changes)
}

fn read(policy: &Policy, body: &[u8]) -> Result<RevocationList, ListFault> {
    policy.revocation_list().unwrap().1.read(policy, body, Timestamp::from_secs(NOW))
}

fn read_json(body: &Value) -> Result<RevocationList, ListFault> {
    read(&trusted(), body.to_string().as_bytes())
}

fn revokes(list: &RevocationList, kind: Kind, mark: Mark) -> bool {
    let moment = Moment { now: Timestamp::from_secs(NOW), skew: std::time::Duration::ZERO };
    list.entries.find(kind, mark, None, moment).is_some()
}

#[test]
fn reads_a_list_in_any_order_of_its_members() {
    let list = read_json(&payload(json!({}))).unwrap();
    assert_eq!((list.entries.len(), list.entries.issued(), list.expires, list.ignored), (2, NOW - 10, NOW + 300, 0));
    assert!(revokes(&list, Kind::Agent, Mark::of_name("a")));
    assert!(revokes(&list, Kind::Jti, Mark::of_value("corp", None, "j")));
    let other = format!(r#" {{"entries":[{{"agent":"a"}}],"exp":{},"iat":{}}} "#, NOW + 60, NOW);
    assert_eq!(read(&trusted(), other.as_bytes()).unwrap().entries.len(), 1);
    assert_eq!(read_json(&payload(json!({ "entries": [] }))).unwrap().entries.len(), 0);
}

#[test]
fn entries_with_unknown_names_are_counted_and_kept_for_other_versions_of_the_policy() {
    let entries = json!([{ "agent": "b" }, { "actor": "b" }, { "issuer": "other", "subject": "s" }, { "agent": "a" }]);
    let list = read_json(&payload(json!({ "entries": entries }))).unwrap();
    assert_eq!((list.ignored, list.entries.len()), (3, 4));
    assert!(revokes(&list, Kind::Agent, Mark::of_name("b")));
}

#[test]
fn anything_else_that_is_wrong_invalidates_the_whole_list() {
    let texts = [
        "",
        "[]",
        "null",
        "{}",
        r#"{"iat":1,"exp":2}"#,
        r#"{"iat":1,"entries":[]}"#,
        r#"{"iat":1,"exp":2,"entries":{}}"#,
        r#"{"iat":1,"exp":2,"entries":null}"#,
        r#"{"iat":1,"iat":1,"exp":2,"entries":[]}"#,
        r#"{"iat":1,"exp":2,"entries":[],"entries":[]}"#,
        r#"{"iat":1,"exp":2,"entries":[],"delta":true}"#,
        r#"{"iat":1.5,"exp":2,"entries":[]}"#,
        r#"{"iat":-1,"exp":2,"entries":[]}"#,
        r#"{"iat":"1","exp":2,"entries":[]}"#,
        r#"{"iat":1,"exp":2,"entries":["a"]}"#,
        r#"{"iat":1,"exp":2,"entries":[{}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"agent":null}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"agent":1}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"agent":"a","agent":"b"}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"issuer":"corp","jti":null}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"agent":"a","why":"x"}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"agent":"a"},{"jti":"j"}]}"#,
        r#"{"iat":1,"exp":2,"entries":[{"agent":"a"},]}"#,
        r#"{"iat":1,"exp":2,"entries":[]} x"#,
        "\u{feff}{\"iat\":1,\"exp\":2,\"entries\":[]}",
    ];
    for text in texts {
        let fault = read(&trusted(), text.as_bytes()).unwrap_err();
        assert!(matches!(fault, ListFault::Json(_)), "{text}: {fault}");
    }
    assert!(matches!(
        read(&trusted(), b"{\"iat\":1,\"exp\":2,\"entries\":[{\"agent\":\"\xff\"}]}"),
        Err(ListFault::Json(_))
    ));
}

#[test]
fn a_message_names_the_entry_and_quotes_no_control_characters() {
    let fault =
        read_json(&payload(json!({ "entries": [{ "agent": "a" }, { "issuer": "corp", "kid": "" }] }))).unwrap_err();
    assert!(fault.to_string().contains("entries[1].kid: the value is empty"), "{fault}");
    let fault = read_json(&payload(json!({ "entries": [{ "\u{1b}[31m": "a" }] }))).unwrap_err();
    assert!(!fault.to_string().contains('\u{1b}'), "{fault}");
    let long = "x".repeat(100_000);
    let fault = read_json(&payload(json!({ "iat": long }))).unwrap_err();
    assert!(fault.to_string().len() < 400);
}

#[test]
fn the_lifetime_is_at_most_an_hour() {
    for (iat, exp, expected) in [
        (NOW - 10, NOW + 3_590, None),
        (NOW - 10, NOW + 3_591, Some(ListFault::Lifetime)),
        (NOW - 10, NOW - 10, Some(ListFault::Lifetime)),
        (NOW + 10, NOW + 5, Some(ListFault::Lifetime)),
        (0, u64::MAX, Some(ListFault::Lifetime)),
        // The skew is a minute.
        (NOW - 600, NOW - 59, None),
        (NOW - 600, NOW - 60, Some(ListFault::Expired)),
        (NOW + 60, NOW + 600, None),
        (NOW + 61, NOW + 600, Some(ListFault::Early)),
        (u64::MAX - 10, u64::MAX, Some(ListFault::Early)),
    ] {
        let read = read_json(&payload(json!({ "iat": iat, "exp": exp })));
        assert_eq!(read.err(), expected, "{iat} {exp}");
    }
}

#[test]
fn sizes_are_bounded() {
    let policy = trusted();
    assert_eq!(read(&policy, &vec![b' '; MOST_LIST_BYTES + 1]).unwrap_err(), ListFault::Size);
    let many = |count: usize| {
        let entries = vec![r#"{"agent":"a"}"#; count].join(",");
        format!(r#"{{"iat":{NOW},"exp":{},"entries":[{entries}]}}"#, NOW + 60)
    };
    assert_eq!(read(&policy, many(MOST_ENTRIES).as_bytes()).unwrap().entries.len(), 1);
    assert!(
        matches!(read(&policy, many(MOST_ENTRIES + 1).as_bytes()), Err(ListFault::Json(why)) if why.contains("200000"))
    );
}

fn jws(key: Signs, header: Value, payload: &Value) -> Vec<u8> {
    sign(key, &with(json!({ "typ": TYPE, "alg": "ES256", "kid": "r" }), header), payload)
}

#[test]
fn a_signed_list_needs_the_signature_of_the_policy_s_key() {
    let policy = signed();
    let body = jws(KEY, json!({}), &payload(json!({})));
    assert_eq!(read(&policy, &body).unwrap().entries.len(), 2);
    assert_eq!(read(&policy, &[&body[..], b"\n"].concat()).unwrap().entries.len(), 2);
    let other = jws(Signs::P256(4), json!({}), &payload(json!({})));
    assert_eq!(read(&policy, &other).unwrap_err(), ListFault::Signature);
    // Nothing in the payload is read before the signature.
    assert_eq!(read(&policy, &jws(Signs::P256(4), json!({}), &json!([]))).unwrap_err(), ListFault::Signature);
    // The same payload without a signature, and with a part of one.
    assert_eq!(read(&policy, payload(json!({})).to_string().as_bytes()).unwrap_err(), ListFault::Form);
    for cut in [1, 20, 86, 87] {
        assert!(read(&policy, &body[..body.len() - cut]).is_err(), "{cut}");
    }
    for changed in 0..body.len() {
        let mut altered = body.clone();
        altered[changed] = if altered[changed] == b'A' { b'B' } else { b'A' };
        assert!(read(&policy, &altered).is_err(), "{changed}");
    }
}

#[test]
fn the_header_of_a_signed_list_has_three_members() {
    let policy = signed();
    for (header, fault) in [
        (json!({ "typ": "at+jwt" }), ListFault::Header("typ")),
        (json!({ "typ": "JWT" }), ListFault::Header("typ")),
        (json!({ "typ": null }), ListFault::Header("typ")),
        (json!({ "kid": "other" }), ListFault::Header("kid")),
        (json!({ "kid": null }), ListFault::Header("kid")),
        (json!({ "alg": "none" }), ListFault::Header("alg")),
        (json!({ "alg": "HS256" }), ListFault::Header("alg")),
        (json!({ "alg": "ES384" }), ListFault::Header("alg")),
        (json!({ "crit": ["b64"] }), ListFault::Form),
        (json!({ "b64": true }), ListFault::Header("crit")),
        (json!({ "zip": "DEF" }), ListFault::Header("crit")),
        (json!({ "x": "y".repeat(2_000) }), ListFault::Form),
    ] {
        let body = jws(KEY, header.clone(), &payload(json!({})));
        assert_eq!(read(&policy, &body).unwrap_err(), fault, "{header}");
    }
    let twice = r#"{"typ":"callgate-revocations+jws","alg":"ES256","kid":"r","kid":"r"}"#;
    let body = sign_text(KEY, twice, &payload(json!({})).to_string());
    assert_eq!(read(&policy, &body).unwrap_err(), ListFault::Form);
}

#[test]
fn a_trusted_list_is_not_a_jws() {
    let body = jws(KEY, json!({}), &payload(json!({})));
    assert!(matches!(read(&trusted(), &body), Err(ListFault::Json(_))));
}

#[test]
fn a_policy_with_an_audience_uses_only_lists_for_it() {
    let policy = policy(json!({ "trusted": true, "audience": "shop" }));
    let read_for = |policy: &Policy, aud: &Value| {
        let body = payload(json!({ "aud": aud })).to_string();
        read(policy, body.as_bytes()).map(|list| list.entries.len())
    };
    for aud in [json!("shop"), json!(["shop"]), json!(["other", "shop"])] {
        assert_eq!(read_for(&policy, &aud), Ok(2), "{aud}");
        assert_eq!(read_for(&trusted(), &aud), Ok(2), "{aud}: it is not compared");
    }
    // `null` stands for a list without an audience here.
    for aud in [json!("other"), json!("Shop"), json!("shop "), json!("sho"), json!(["other"]), json!([]), json!(null)] {
        assert_eq!(read_for(&policy, &aud), Err(ListFault::Audience), "{aud}");
        assert_eq!(read_for(&trusted(), &aud), Ok(2), "{aud}");
    }
    let plain = payload(json!({ "entries": [] })).to_string();
    let texts =
        [r#""aud":null"#, r#""aud":7"#, r#""aud":["shop",7]"#, r#""aud":{"shop":1}"#, r#""aud":"shop","aud":"shop""#];
    for members in texts {
        let body = plain.replacen('{', &format!("{{{members},"), 1);
        for policy in [&policy, &trusted()] {
            assert!(matches!(read(policy, body.as_bytes()), Err(ListFault::Json(_))), "{body}");
        }
    }
}
