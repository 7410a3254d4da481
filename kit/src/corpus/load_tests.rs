use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::corpus::{Case, Decision, Published};

const KEY: &str = r#"{ kty: EC, crv: P-256, kid: k1, alg: ES256, d: "m_ZVlMAsAImNspJPv-M7sM3IXEfrpbwQqRgHAVE91-I" }"#;

/// Loads a file of cases with these members in addition to those that every file needs.
fn suite(rest: &str) -> Result<Suite, String> {
    let folder = std::env::temp_dir().join(format!("callgate-load-{:?}", std::thread::current().id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("key.json"), KEY).unwrap();
    let file = folder.join("cases.yaml");
    let text = format!(
        "policy: {{ name: p, list: [1, 2], upstream: {{ authorization: keep, other: 1 }} }}\n\
         now: \"2026-06-01T12:00:00Z\"\n\
         request: {{ host: api.example.com, path: /a, token: good }}\n\
         {rest}"
    );
    fs::write(&file, text).unwrap();
    load(&file).map_err(|wrong| wrong.to_string().replace(&format!("{}:", file.display()), ""))
}

const TOKENS: &str = "keys: { k: key.json }\n\
                      tokens:\n  \
                        admin: { from: good, claims: { scope: admin } }\n  \
                        good: { key: k, header: { typ: at+jwt }, claims: { sub: me, scope: read } }\n";

fn cases(rest: &str) -> Result<Vec<Case>, String> {
    suite(&format!("{TOKENS}cases:\n{rest}")).map(|suite| suite.cases)
}

fn bearer(case: &Case) -> String {
    let call = case.call(Timestamp::from_secs(1_000_000));
    String::from_utf8(call.lines.first().unwrap().1.clone()).unwrap()
}

#[test]
fn a_case_inherits_the_file_defaults_and_can_override_them() {
    let cases = cases(
        "- { name: a, intent: i, expect: { decision: allow } }\n\
         - { name: b, intent: i, request: { host: null, token: null, path: /b, body: open }, expect: { decision: allow } }\n",
    )
    .unwrap();
    let calls: Vec<_> = cases.iter().map(|case| case.call(Timestamp::from_secs(1_000_000))).collect();
    assert_eq!(calls[0].host.as_deref(), Some(&b"api.example.com"[..]));
    assert_eq!(calls[0].target, b"/a");
    assert!(bearer(&cases[0]).starts_with("Bearer ey"));
    assert!(calls[0].end_of_stream);
    assert_eq!((&calls[1].host, &calls[1].target[..], calls[1].lines.len()), (&None, &b"/b"[..], 0));
    assert!(!calls[1].end_of_stream);
}

#[test]
fn a_derived_case_changes_exactly_one_thing() {
    let cases = cases(
        "- { name: a, intent: i, expect: { decision: allow } }\n\
         - { name: b, intent: i, from: a, change: { method: DELETE }, expect: { decision: deny, reason: endpoint_not_allowed } }\n\
         - { name: c, intent: i, from: a, change: { token: admin }, expect: { decision: allow } }\n\
         - { name: d, intent: i, from: a, change: { authorization: 'bearer {token}' }, expect: { decision: allow } }\n\
         - { name: e, intent: i, from: a, change: { claim: { scope: admin } }, expect: { decision: allow } }\n",
    )
    .unwrap();
    let calls: Vec<_> = cases.iter().map(|case| case.call(Timestamp::from_secs(1_000_000))).collect();
    assert_eq!((&calls[1].method[..], &calls[1].lines), (&b"DELETE"[..], &calls[0].lines));
    assert_eq!(cases[1].from, Some(0));
    assert_eq!(cases[1].decision(), Decision::Deny);
    assert_eq!(bearer(&cases[3]).to_ascii_lowercase(), bearer(&cases[0]).to_ascii_lowercase());
    // Compares a token that another file describes with the same token described as a change.
    assert_eq!(bearer(&cases[2]), bearer(&cases[4]));
}

#[test]
fn tampering_changes_the_request_after_signing() {
    let cases = cases(
        "- { name: a, intent: i, request: { path: '/a?x=1', body: { text: '{}' }, sign: { key: k, nonce: n1, digest: [sha-256] } }, expect: { decision: allow } }\n\
         - { name: b, intent: i, from: a, change: { sign: { except: ['@query'] } }, expect: { decision: allow } }\n\
         - { name: c, intent: i, from: a, change: { tamper: { path: /b } }, expect: { decision: allow } }\n\
         - { name: d, intent: i, from: a, change: { tamper: { body: { parts: ['{', '}'] } } }, expect: { decision: allow } }\n\
         - { name: e, intent: i, from: a, change: { sign: null }, expect: { decision: allow } }\n\
         - { name: f, intent: i, from: a, change: { tamper: { signature: twin } }, expect: { decision: allow } }\n",
    )
    .unwrap();
    let calls: Vec<_> = cases.iter().map(|case| case.call(Timestamp::from_secs(1_000_000))).collect();
    let line = |call: usize, wanted: &str| {
        let found = calls[call].lines.iter().find(|(name, _)| name == wanted.as_bytes());
        found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    };
    let covered = |names: &str| Some(format!("sig=({names});created=1000000;nonce=\"n1\";keyid=\"k1\""));
    let all = r#""@method" "@authority" "@path" "@query" "authorization" "content-digest""#;
    assert_eq!(line(0, "signature-input"), covered(all));
    assert_eq!(line(1, "signature-input"), covered(&all.replace(" \"@query\"", "")));
    assert_eq!(line(0, "content-length").as_deref(), Some("2"));
    // Changes to the signed request leave the signature as it is. ECDSA signatures can be compared because they are deterministic
    // (RFC 6979).
    assert_eq!((&calls[2].target[..], line(2, "signature")), (&b"/b"[..], line(0, "signature")));
    assert_eq!((calls[3].body.len(), line(3, "signature")), (2, line(0, "signature")));
    assert_eq!(line(3, "content-length"), None);
    assert_eq!((line(4, "signature"), line(4, "content-digest")), (None, None));
    assert_ne!(line(5, "signature"), line(0, "signature"));
    assert_eq!(line(5, "signature-input"), line(0, "signature-input"));
}

#[test]
fn variants_patch_the_policy() {
    let suite = suite(
        "variants: { other: { list: [3], upstream: { authorization: remove } } }\n\
         cases:\n- { name: a, intent: i, policy: other, request: { token: null }, expect: { decision: allow } }\n",
    )
    .unwrap();
    assert_eq!(suite.cases[0].policy, 1);
    assert_eq!(
        suite.policies[1].document,
        serde_json::json!({ "name": "p", "list": [3], "upstream": { "authorization": "remove", "other": 1 } })
    );
}

#[test]
fn an_error_without_an_id_differs_from_one_that_is_not_stated() {
    let denial = |rpc: &str| {
        let cases = cases(&format!(
            "- {{ name: a, intent: i, expect: {{ decision: deny, reason: rpc_malformed, rpc: {{ {rpc} }} }} }}\n"
        ));
        let rpc = cases.unwrap()[0].expect.rpc.clone().unwrap();
        (rpc.id, rpc.code)
    };
    assert_eq!(denial("id: null"), (Some(serde_json::Value::Null), None));
    assert_eq!(denial("id: a, code: -32600"), (Some(serde_json::json!("a")), Some(-32600)));
    assert_eq!(denial(""), (None, None));
}

#[test]
fn reports_each_mistake_with_its_line() {
    let case = |text: &str| cases(&format!("- {{ name: a, intent: i, expect: {{ decision: allow }} }}\n- {text}\n"));
    for (text, message) in [
        ("{ name: b, expect: { decision: allow } }", "missing field `intent`"),
        ("{ name: b, intent: i, expect: { decision: permit } }", "expect.decision: unknown variant `permit`"),
        ("{ name: a, intent: i, expect: { decision: allow } }", "another case has this name"),
        ("{ name: b, intent: i, expect: { decision: deny } }", "a denial needs a reason"),
        ("{ name: b, intent: i, expect: { decision: deny, reason: nope } }", "`nope` is not a reason code"),
        ("{ name: b, intent: i, expect: { decision: allow, status: 200 } }", "describe the gate's own response"),
        ("{ name: b, intent: i, expect: { decision: allow, rpc: { id: 1 } } }", "describe the gate's own response"),
        (
            "{ name: b, intent: i, expect: { decision: deny, reason: rpc_malformed, rpc: { data: 1 } } }",
            "unknown field `data`",
        ),
        ("{ name: b, intent: i, expect: { decision: observe } }", "in `would_deny`"),
        (
            "{ name: b, intent: i, from: c, change: { path: /b }, expect: { decision: allow } }",
            "no case above is called `c`",
        ),
        ("{ name: b, intent: i, from: a, expect: { decision: allow } }", "write both or neither"),
        (
            "{ name: b, intent: i, from: a, change: { path: /b, method: PUT }, expect: { decision: allow } }",
            "write the one difference",
        ),
        (
            "{ name: b, intent: i, from: a, change: { claim: { a: 1, b: 2 } }, expect: { decision: allow } }",
            "expected the one member that differs",
        ),
        (
            "{ name: b, intent: i, from: a, change: { paths: /b }, expect: { decision: allow } }",
            "unknown variant `paths`",
        ),
        ("{ name: b, intent: i, from: a, change: { key: z }, expect: { decision: allow } }", "unknown key `z`"),
        ("{ name: b, intent: i, request: { token: z }, expect: { decision: allow } }", "unknown token `z`"),
        (
            "{ name: b, intent: i, request: { certificate: z }, expect: { decision: allow } }",
            "unknown certificate `z`; expected a name from `certificates`",
        ),
        (
            "{ name: b, intent: i, from: a, change: { certificate: z }, expect: { decision: allow } }",
            "unknown certificate `z`",
        ),
        ("{ name: b, intent: i, policy: z, expect: { decision: allow } }", "unknown variant `z`"),
        ("{ name: b, intent: i, before: [z], expect: { decision: allow } }", "no case above is called `z`"),
        ("{ name: b, intent: i, request: { body: text }, expect: { decision: allow } }", "`{ parts: [...] }`"),
        ("{ name: b, intent: i, request: { sign: { key: z } }, expect: { decision: allow } }", "unknown key `z`"),
        (
            "{ name: b, intent: i, request: { sign: { key: k, digest: [md5] } }, expect: { decision: allow } }",
            "expected `sha-256`, `sha-512` or nothing",
        ),
        (
            "{ name: b, intent: i, request: { sign: { key: k }, tamper: { input: [x-a, x-b] } }, expect: { decision: allow } }",
            "`Signature-Input` contains no `x-a` for `tamper` to replace",
        ),
        (
            "{ name: b, intent: i, from: a, change: { sign: { nonce: n1 } }, expect: { decision: allow } }",
            "use a signed case in `from`",
        ),
        (
            "{ name: b, intent: i, from: a, change: { tamper: { path: /b, method: PUT } }, expect: { decision: allow } }",
            "expected the one member that differs",
        ),
        ("{ name: b, intent: i, at: 5m, expect: { decision: allow } }", "invalid relative time `5m`"),
    ] {
        let wrong = case(text).expect_err(text);
        assert!(wrong.contains(message), "{text}: {wrong}");
        assert!(wrong.starts_with("10:"), "{text}: {wrong}");
    }
}

#[test]
fn a_case_with_a_certificate_is_skipped_in_envoy() {
    let text = format!(
        "certificates: {{ c: {{ uri: ['spiffe://example.org/a'] }}, d: {{}} }}\n{}cases:\n\
         - {{ name: a, intent: i, request: {{ certificate: c }}, expect: {{ decision: allow }} }}\n\
         - {{ name: b, intent: i, from: a, change: {{ certificate: d }}, expect: {{ decision: allow }} }}\n\
         - {{ name: c, intent: i, from: a, change: {{ certificate: null }}, expect: {{ decision: allow }} }}\n\
         - {{ name: d, intent: i, from: c, change: {{ before: [a] }}, expect: {{ decision: allow }} }}\n",
        TOKENS.replace("good: {", "bound: { from: good, bound_to: k, bound_to_certificate: c }\n  good: {"),
    );
    let cases = suite(&text).unwrap().cases;
    let calls: Vec<_> = cases.iter().map(|case| case.call(Timestamp::from_secs(1_000_000)).certificate).collect();
    let pem =
        |index: usize| calls[index].as_ref().map(|presented| presented.pem.starts_with(b"-----BEGIN CERTIFICATE"));
    assert_eq!([pem(0), pem(1), pem(2), pem(3)], [Some(true), Some(true), None, None]);
    assert_ne!(calls[0], calls[1]);
    let skipped: Vec<_> = cases.iter().map(|case| case.skip_envoy.is_some()).collect();
    assert_eq!(skipped, [true, true, false, true]);
}

#[test]
fn a_token_is_bound_to_a_key_and_a_certificate() {
    let text = "certificates: { c: { uri: ['spiffe://example.org/a'] } }\nkeys: { k: key.json }\n\
                tokens: { bound: { key: k, bound_to: k, bound_to_certificate: c } }\ncases:\n\
                - { name: a, intent: i, request: { token: bound }, expect: { decision: allow } }\n";
    let case = suite(text).unwrap().cases.remove(0);
    let token = bearer(&case);
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let lengths = ["jkt", "x5t#S256"].map(|name| claims["cnf"][name].as_str().unwrap().len());
    assert_eq!((lengths, claims["cnf"].as_object().unwrap().len()), ([43, 43], 2));
    let wrong = suite("keys: { k: key.json }\ntokens: { bound: { key: k, bound_to_certificate: c } }\ncases: []\n")
        .unwrap_err();
    assert!(wrong.contains("unknown certificate `c`"), "{wrong}");
}

#[test]
fn reports_all_mistakes_of_a_file_together() {
    let wrong = cases(
        "- { name: a, expect: { decision: allow } }\n\
         - { name: b, intent: i, expect: { decision: deny } }\n\
         - { name: c, intent: i, form: x, expect: { decision: allow } }\n",
    )
    .unwrap_err();
    assert_eq!(wrong.lines().count(), 3, "{wrong}");
}

#[test]
fn rejects_tokens_derived_from_each_other() {
    let wrong = suite("tokens: { a: { from: b }, b: { from: a } }\ncases: []\n").unwrap_err();
    assert!(wrong.contains("`b` is not a token, or depends on this one"), "{wrong}");
    assert!(wrong.contains("the file contains no cases"), "{wrong}");
}

#[test]
fn documents_are_key_sets_responses_or_unavailable() {
    let cases = cases(
        "- { name: a, intent: i, expect: { decision: allow } }\n\
         - { name: b, intent: i, from: a, change: { documents: { 'https://idp.example.com/jwks': null } }, expect: { decision: allow } }\n\
         - { name: c, intent: i, documents: { 'https://idp.example.com/jwks': { status: 503, keys: [k] } }, expect: { decision: allow } }\n\
         documents:\n  \
           'https://idp.example.com/jwks': { keys: [k, { kty: oct }, { repeat: [k, 2] }] }\n  \
           'https://idp.example.com/page?a=1': { body: <html> }\n  \
           'http://other.example.com/jwks': unavailable\n",
    )
    .unwrap();
    let key_set = |count: usize| {
        let Published::Response { status, body } = cases[0].documents.get("idp.example.com", "/jwks") else { panic!() };
        let set: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((*status, set["keys"].as_array().unwrap().len()), (200, count));
        set
    };
    let set = key_set(4);
    assert_eq!(
        (&set["keys"][0]["kid"], set["keys"][0].get("d")),
        (&"k1".into(), None),
        "only the public part is served"
    );
    assert_eq!((&set["keys"][1]["kty"], &set["keys"][2]), (&"oct".into(), &set["keys"][3]));
    let page = Published::Response { status: 200, body: b"<html>".to_vec() };
    assert_eq!(*cases[0].documents.get("idp.example.com", "/page?a=1"), page);
    assert_eq!(*cases[0].documents.get("other.example.com", "/jwks"), Published::Unavailable);
    let absent = Published::Response { status: 404, body: Vec::new() };
    assert_eq!(*cases[1].documents.get("idp.example.com", "/jwks"), absent);
    assert_eq!(*cases[0].documents.get("idp.example.com", "/other"), absent);
    assert!(matches!(cases[2].documents.get("idp.example.com", "/jwks"), Published::Response { status: 503, .. }));
}

#[test]
fn explains_what_a_document_can_be() {
    for (document, message) in [
        ("idp.example.com: unavailable", "invalid URL"),
        ("'https://idp.example.com': gone", "or `unavailable`"),
        ("'https://idp.example.com': { keys: [], body: a }", "cannot be combined"),
        ("'https://idp.example.com': { keys: [none] }", "unknown key `none`"),
        ("'https://idp.example.com': { keys: [1] }", "expected a JWK"),
        ("'https://idp.example.com': { json: a }", "unknown field `json`"),
    ] {
        let text = format!("- {{ name: a, intent: i, expect: {{ decision: allow }} }}\ndocuments: {{ {document} }}\n");
        let wrong = cases(&text).unwrap_err();
        assert!(wrong.contains(message), "{document}: {wrong}");
    }
}
