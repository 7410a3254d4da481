use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Ran, callgate, file, json, run};

/// A modulus of 2048 bits with the structure of CVE-2017-15361.
const ROCA_MODULUS: &str = "0w-FJCbU6KWXI5JLVxk5e3ozlPLPDw_rKushQrXouExcrS3qUk95SMrdxpAM-piwOc0Wn46aq7TThj7RQxlUnXPranZq5ijcE3eZ\
    WKXmuxltEel0suFu6loBhTdf9DpqesEyI9Ee5nswvsLyKEyROpk65W7H7HdZKIWm3lILxS0VSy1tY0orTYgTBJP3mvmIA6pzSKeo\
    4wfMg7zG1B4rnlP2Snmi3MLzuPkoAqNrp7EJ3K0xdlbccyEVraitaF7GmrBFBHS9JwurUhdlXzZsZPW87DE5LiGJqVQyQRewh9WA\
    zYnavwDo8wCD6skyLPHd5cpSl4JzdRX_QZQNiPiU-Q";

fn private_jwk(path: &str) -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path);
    json(&fs::read_to_string(path).unwrap()).as_object().unwrap().clone()
}

/// Returns the public part of a key, with other members.
fn public(path: &str, others: Value) -> Value {
    let mut jwk = private_jwk(path);
    jwk.retain(|member, _| ["kty", "crv", "x", "y", "n", "e"].contains(&member.as_str()));
    jwk.extend(others.as_object().unwrap().clone());
    jwk.into()
}

fn ec(others: Value) -> Value {
    public("quickstart/keys/es256.jwk.json", others)
}

fn other_ec(others: Value) -> Value {
    public("payments/keys/es256.jwk.json", others)
}

fn ed25519(others: Value) -> Value {
    public("quickstart/keys/ed25519.jwk.json", others)
}

fn rsa(others: Value) -> Value {
    public("providers/okta/keys/signing.jwk.json", others)
}

fn keys(set: &Value) -> Ran {
    run(&["keys", "-"], &set.to_string())
}

fn set(keys: &[Value]) -> Ran {
    self::keys(&json!({ "keys": keys }))
}

/// Returns the keys in an output.
fn printed(out: &str) -> Vec<Value> {
    let document = callgate_kit::document::parse("out.yaml", out.as_bytes()).unwrap();
    document.value().pointer("/keys/jwks/keys").unwrap().as_array().unwrap().clone()
}

/// Requires that a set is printed with exactly this warning about its first key and without that key.
#[track_caller]
fn leaves_out(key: Value, warning: &str) {
    let ran = set(&[key, ec(json!({ "kid": "good", "alg": "ES256" }))]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err, format!("standard input: warning: {warning}\n"));
    let printed = printed(&ran.out);
    let kids: Vec<_> = printed.iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, [json!("good")], "{}", ran.out);
}

/// Requires that nothing is printed but these errors.
#[track_caller]
fn rejects(input: &str, errors: &[&str]) {
    let ran = run(&["keys", "-"], input);
    let errors: String = errors.iter().map(|error| format!("standard input: {error}\n")).collect();
    assert_eq!((ran.code, &*ran.out, ran.err), (2, "", errors));
}

#[test]
fn prints_only_the_members_that_a_policy_needs() {
    let ran = set(&[
        rsa(json!({ "kid": "r", "alg": "RS256", "use": "sig", "x5c": ["MIIC"], "x5t": "AAAA", "key_ops": ["verify"] })),
        ec(json!({ "kid": "e", "alg": "ES256", "ext": true })),
        ed25519(json!({ "kid": "o", "alg": "EdDSA", "iat": 1 })),
    ]);
    let out = ran.fine();
    let expected = [
        rsa(json!({ "kid": "r", "alg": "RS256", "use": "sig" })),
        ec(json!({ "kid": "e", "alg": "ES256" })),
        ed25519(json!({ "kid": "o", "alg": "EdDSA" })),
    ];
    assert_eq!(printed(&out), expected);
    assert!(
        out.starts_with(
            "# These keys verify the following algorithms:\n# algorithms: [ES256, Ed25519, RS256]\nkeys:\n  jwks:\n"
        ),
        "{out}"
    );
}

#[test]
fn reads_a_file() {
    let path = file("jwks.json", json!({ "keys": [ec(json!({ "kid": "e", "alg": "ES256" }))] }).to_string());
    assert_eq!(printed(&callgate(&format!("keys {path}")).fine()).len(), 1);
    assert_eq!(callgate("keys none.json").failed(1), "callgate: none.json does not exist\n");
}

/// The printed keys and algorithms are valid in a policy, without the warnings that the engine has about others.
#[test]
fn the_output_is_valid_in_a_policy() {
    let ran = set(&[
        rsa(json!({ "kid": "r", "use": "sig" })),
        rsa(json!({ "kid": "r", "use": "enc", "alg": "RSA-OAEP" })),
        ec(json!({ "kid": "e", "alg": "ES256" })),
        other_ec(json!({ "kid": "e", "alg": "ES256" })),
        ed25519(json!({})),
        ed25519(json!({})),
        json!({ "kty": "RSA", "kid": "roca", "n": ROCA_MODULUS, "e": "AQAB" }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "k", "x": "AA", "y": "AA" }),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let kids: Vec<_> = printed(&ran.out).iter().map(|key| key.get("kid").cloned()).collect();
    assert_eq!(kids, [Some(json!("r")), None]);
    let algorithms = ran.out.lines().find_map(|line| line.strip_prefix("# algorithms: ")).unwrap();
    assert_eq!(algorithms, "[Ed25519, PS256, PS384, PS512, RS256, RS384, RS512]");
    let policy = json!({
        "callgate": "v1", "name": "keys", "mode": "enforce", "gateway": "envoy",
        "resource": "https://api.example.com", "hosts": ["api.example.com"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "max_lifetime": "15m",
            "algorithms": algorithms.trim_matches(['[', ']']).split(", ").collect::<Vec<_>>(),
            "keys": { "jwks": { "keys": printed(&ran.out) } },
        } },
        "agents": { "a": { "owner": "a@example.com", "identity": { "issuer": "corp", "client_id": "a" } } },
        "endpoints": [{ "id": "x", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": ["x"] }],
        "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": true } },
    });
    callgate(&format!("check {}", file("keys.policy.json", policy.to_string()))).fine();
}

#[test]
fn leaves_out_keys_that_the_engine_ignores_or_rejects() {
    let cases = [
        (
            rsa(json!({ "kid": "k", "alg": "RSA-OAEP", "use": "enc" })),
            "left out, because Callgate does not use it: its `use` is `enc`, not `sig`",
        ),
        (
            json!({ "kty": "EC", "crv": "P-521", "kid": "k", "x": "AA", "y": "AA" }),
            "left out, because Callgate does not use it: its curve `P-521` is not supported",
        ),
        (
            json!({ "kty": "AKP", "kid": "k", "pub": "AA" }),
            "left out, because Callgate does not use it: its type `AKP` is not supported",
        ),
        (
            json!({ "kty": "RSA", "kid": "k", "n": "_".repeat(172), "e": "AQAB" }),
            "left out, because a policy with it is invalid: `n`: an RSA key under 2048 bits is too weak; use a key of 2048 \
             to 4096 bits",
        ),
        (
            json!({ "kty": "RSA", "kid": "k", "n": ROCA_MODULUS, "e": "AQAB" }),
            "left out, because a policy with it is invalid: `n`: this RSA key has the fingerprint of CVE-2017-15361 (ROCA), \
             so its private key can be computed from it; replace it with a key from another generator",
        ),
    ];
    for (key, why) in cases {
        leaves_out(key, &format!("keys[0] (kid `k`): {why}"));
    }
}

#[test]
fn two_keys_with_one_kid_are_both_left_out() {
    let named = json!({ "kid": "k", "alg": "ES256" });
    let ran = set(&[ec(named.clone()), ed25519(json!({ "kid": "o", "alg": "Ed25519" })), other_ec(named.clone())]);
    assert_eq!(ran.code, 0);
    assert_eq!(printed(&ran.out)[0]["kid"], "o");
    assert_eq!(
        ran.err.matches("is another key with the same `kid`, so it identifies neither").count(),
        2,
        "{}",
        ran.err
    );
    assert!(ran.err.contains("warning: keys[0] (kid `k`): left out, because keys[2] (kid `k`) is"), "{}", ran.err);
    assert!(ran.err.contains("warning: keys[2] (kid `k`): left out, because keys[0] (kid `k`) is"), "{}", ran.err);
    // The same key twice is printed once.
    let ran = set(&[ec(named.clone()), ec(named)]);
    assert_eq!((ran.code, printed(&ran.out).len()), (0, 1));
    assert!(ran.err.contains("it is the same key as keys[0] (kid `k`)\n"), "{}", ran.err);
}

#[test]
fn warns_about_keys_that_need_attention() {
    let ran =
        set(&[rsa(json!({})), ec(json!({ "kid": "a", "alg": "ES256" })), ec(json!({ "kid": "b", "alg": "ES256" }))]);
    assert_eq!((ran.code, printed(&ran.out).len()), (0, 3));
    assert_eq!(
        ran.err,
        "standard input: warning: keys[0]: without `kid`, it verifies only tokens without `kid`, and only if no other key fits \
         their algorithm\n\
         standard input: warning: keys[0]: without `alg`, it verifies each of the issuer's `algorithms` that fits it: PS256, \
         PS384, PS512, RS256, RS384, RS512\n\
         standard input: warning: keys[2] (kid `b`): it is the same key as keys[1] (kid `a`), which Callgate accepts under both \
         names\n"
    );
    assert!(ran.out.starts_with("# These keys can verify the following algorithms. Keep only those"), "{}", ran.out);
}

/// Entra ID publishes the keys of all tenants in one document. Without `issuer`, a key for one tenant would be a key for all.
#[test]
fn keeps_the_member_that_restricts_a_key_to_an_issuer() {
    let any = json!({ "kid": "any", "alg": "ES256", "issuer": "https://login.example.com/{tenantid}/v2.0" });
    let one = json!({ "kid": "one", "alg": "ES256", "issuer": "https://login.example.com/1/v2.0" });
    let ran = set(&[ec(any.clone()), other_ec(one.clone())]);
    assert_eq!(printed(&ran.out), [ec(any), other_ec(one)]);
    assert_eq!(
        ran.err,
        "standard input: warning: keys[1] (kid `one`): it is only for tokens with the `iss` `https://login.example.com/1/v2.0`\n"
    );
}

#[test]
fn selects_keys_by_algorithm() {
    let keys = json!({ "keys": [rsa(json!({ "kid": "r" })), ec(json!({ "kid": "e", "alg": "ES256" }))] }).to_string();
    let ran = run(&["keys", "-", "--algorithms", "RS256"], &keys);
    assert_eq!(printed(&ran.out), [rsa(json!({ "kid": "r" }))]);
    assert!(
        ran.out.starts_with("# These keys verify the following algorithms:\n# algorithms: [RS256]\n"),
        "{}",
        ran.out
    );
    assert!(ran.err.ends_with("does not use it: none of the issuer's `algorithms` fits it\n"), "{}", ran.err);
    let ran = run(&["keys", "-", "--algorithms", "ES256,RS256,ES256"], &keys);
    assert!(ran.out.contains("\n# algorithms: [ES256, RS256]\n"), "{}", ran.out);
    let ran = run(&["keys", "-", "--algorithms", "ES384"], &keys);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(
        ran.err.ends_with("no key of the set can be used; an issuer with it would verify no token\n"),
        "{}",
        ran.err
    );
    for (name, why) in [
        ("EdDSA", "write `Ed25519`"),
        ("HS256", "does not belong in a key set"),
        ("none", "`none` is not accepted"),
        ("RS265", "did you mean `RS256`"),
    ] {
        let message = run(&["keys", "-", "--algorithms", name], &keys).failed(1);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn prints_nothing_of_a_set_with_a_private_key() {
    let leaked = "treat it as leaked, because whoever received this document can sign tokens with it: replace it at the issuer, \
                  and publish only public keys";
    let good = ec(json!({ "kid": "good", "alg": "ES256" }));
    let private = Value::from(private_jwk("payments/keys/es256.jwk.json"));
    let kid = private["kid"].as_str().unwrap();
    let is_private = format!("this is a private key, with the member `d`; {leaked}");
    rejects(&json!({ "keys": [good, private] }).to_string(), &[&format!("keys[1] (kid `{kid}`): {is_private}")]);
    rejects(&private.to_string(), &[&format!("keys[0] (kid `{kid}`): {is_private}")]);
    // A key that would not be used is as leaked as any other, and each is named.
    let secret = json!({ "kty": "oct", "kid": "s", "k": "AA" });
    let encryption = rsa(json!({ "use": "enc", "p": "AA" }));
    rejects(
        &json!({ "keys": [secret, good, encryption] }).to_string(),
        &[
            &format!("keys[0] (kid `s`): this is a secret key, with the member `k`; {leaked}"),
            &format!("keys[2]: this is a private key, with the member `p`; {leaked}"),
        ],
    );
    rejects("-----BEGIN RSA PRIVATE KEY-----\nAA\n", &[&format!("this is a private key; {leaked}")]);
}

#[test]
fn recognizes_documents_that_are_not_key_sets() {
    let page = "this is an HTML or XML page, not a key set; fetch the `jwks_uri` that the issuer's discovery document contains \
                (`ISSUER/.well-known/openid-configuration`)";
    let discovery =
        json!({ "issuer": "https://idp.example.com", "jwks_uri": "https://idp.example.com/k?a=1" }).to_string();
    let certificates = json!({ "kid-1": "-----BEGIN CERTIFICATE-----\n" }).to_string();
    for (input, error) in [
        ("<!DOCTYPE html><html></html>", page),
        ("\u{feff}\n <html>", page),
        ("", "the document is empty; fetch the key set again"),
        (
            &*discovery,
            "this is a discovery document, not a key set; fetch its `jwks_uri`: https://idp.example.com/k?a=1",
        ),
        (
            &*certificates,
            "these are keys or certificates in PEM, not a key set; fetch the `jwks_uri` of the issuer, which has the keys as \
             JWKs",
        ),
        (
            r#"{"error": "not found"}"#,
            "this is not a key set, because it has no `keys`; fetch the `jwks_uri` that the issuer's discovery document \
             contains",
        ),
        ("[]", "this is not a key set; expected a JSON object with the list `keys`"),
        (r#"{"keys": {}}"#, "`keys` is not a list; fetch the key set again"),
        (r#"{"keys": [1]}"#, "`keys[0]` is not a JSON object; fetch the key set again"),
        (r#"{"keys": []}"#, "the set has no keys; an issuer with it would verify no token"),
    ] {
        rejects(input, &[error]);
    }
    for input in ["keys: []", r#"{"keys": [], "keys": []}"#] {
        let message = run(&["keys", "-"], input).failed(2);
        assert!(message.contains("the document is not JSON"), "{message}");
    }
}

#[test]
fn warns_about_documents_that_callgate_would_not_fetch() {
    let key = |index: usize| ec(json!({ "kid": format!("k{index}"), "alg": "ES256" }));
    let ran = set(&(0..101).map(key).collect::<Vec<_>>());
    assert!(ran.err.starts_with("standard input: warning: the set has 101 keys; Callgate fetches at most 100\n"));
    assert_eq!((ran.code, printed(&ran.out).len()), (0, 101));
    let ran = keys(&json!({ "keys": [key(0)], "padding": "x".repeat(256 << 10) }));
    assert!(ran.err.ends_with(" bytes; Callgate fetches at most 256 KiB\n"), "{}", ran.err);
    assert_eq!(ran.code, 0);
    let ran = keys(&key(0));
    assert_eq!(
        ran.err,
        "standard input: warning: this is a single key, not a set; it is printed as a set of one key\n"
    );
    assert_eq!(printed(&ran.out), [key(0)]);
}

/// The output is read by programs of both versions of YAML.
#[test]
fn a_kid_of_any_form_is_still_text() {
    let kids = [
        "yes", "n", "0777", "1_000", "12:30:45", "1e3", "null", "~", "# a", "a: b", "- a", "{a}", "*a", "'a\"", "a\nb",
        " a ", "123",
    ];
    for kid in kids {
        let key = ec(json!({ "kid": kid, "alg": "ES256" }));
        assert_eq!(printed(&set(std::slice::from_ref(&key)).fine()), [key]);
    }
}

#[test]
fn escapes_what_the_document_contains() {
    let ran =
        set(&[json!({ "kty": "\u{1b}[2J", "kid": "\u{1b}]0;x\u{7}" }), ec(json!({ "kid": "e", "alg": "ES256" }))]);
    assert_eq!(ran.code, 0);
    assert!(!ran.err.contains('\u{1b}') && ran.err.contains("\\u{1b}]0;x\\u{7}"), "{}", ran.err);
    let ran = set(&[ec(json!({ "kid": "a\u{202e}b", "alg": "ES256" }))]);
    assert_eq!((ran.code, &*ran.out), (1, ""));
}

#[test]
fn a_spiffe_bundle_is_printed_without_its_keys_for_certificates() {
    let bundle = json!({
        "keys": [
            ec(json!({ "use": "x509-svid", "x5c": ["MIIC"] })),
            other_ec(json!({ "use": "jwt-svid", "kid": "j", "alg": "ES256" })),
        ],
        "spiffe_sequence": 12, "spiffe_refresh_hint": 300,
    });
    let ran = keys(&bundle);
    let out = ran.fine();
    assert_eq!(printed(&out), [other_ec(json!({ "use": "jwt-svid", "kid": "j", "alg": "ES256" }))]);
    let document = callgate_kit::document::parse("out.yaml", out.as_bytes()).unwrap();
    assert_eq!(document.value().pointer("/keys/jwks/spiffe_sequence"), Some(&json!(12)));

    let set = json!({ "keys": [ec(json!({ "use": "jwt-svid", "kid": "k" })), other_ec(json!({ "kid": "o", "alg": "ES256" }))] });
    let ran = keys(&set);
    assert_eq!((ran.code, printed(&ran.out).len()), (0, 1));
    assert!(ran.err.contains("it is no SPIFFE bundle; copy the whole bundle"), "{}", ran.err);
    let odd = json!({ "keys": [], "spiffe_sequence": "12" });
    rejects(
        &odd.to_string(),
        &["`spiffe_sequence` is not a number, so this is no valid SPIFFE bundle; fetch the bundle again"],
    );
}
