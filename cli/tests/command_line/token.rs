use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::{callgate, file, json, run};

const KEY: &str = "@examples/quickstart/keys/es256.jwk.json";

/// Returns header and claims.
fn parts(token: &str) -> (Value, Value) {
    let part = |index| {
        json(std::str::from_utf8(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap())
    };
    assert_eq!(token.matches('.').count(), 2);
    (part(0), part(1))
}

#[test]
fn default_token_expires_after_five_minutes() {
    let (header, claims) = parts(callgate(&format!("token --key {KEY}")).fine().trim());
    assert_eq!(
        (&header["alg"], &header["typ"], &header["kid"]),
        (&"ES256".into(), &"at+jwt".into(), &"corp-es256".into())
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(claims["iat"].as_u64().unwrap().abs_diff(now) < 60, "{claims}");
    assert_eq!(claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() + 300);
    let (_, other) = parts(callgate(&format!("token --key {KEY}")).fine().trim());
    assert_ne!(claims["jti"], other["jti"]);
}

#[test]
fn flags_override_claims_and_times_may_be_relative() {
    let claims = file("claims.json", r#"{"sub": "from-file", "exp": "+1h", "scope": "a", "roles": ["x"]}"#);
    let (header, claims) = parts(
        callgate(&format!(
            "token --key {KEY} --claims @{claims} --subject flag --claim roles=[\"y\"] --claim org=acme --claim nbf=-1m --audience a --audience b \
             --header typ=JWT --header x5c=[] --at 1000000"
        ))
        .fine()
        .trim(),
    );
    assert_eq!(
        claims
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| *name != "jti")
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>(),
        [
            "aud=[\"a\",\"b\"]",
            "exp=1003600",
            "iat=1000000",
            "nbf=999940",
            "org=\"acme\"",
            "roles=[\"y\"]",
            "scope=\"a\"",
            "sub=\"flag\""
        ]
    );
    assert_eq!((&header["typ"], &header["x5c"]), (&"JWT".into(), &serde_json::json!([])));
}

#[test]
fn reads_the_key_from_standard_input() {
    let key =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart/keys/ed25519.jwk.json"))
            .unwrap();
    let (header, _) = parts(run(&["token", "--key", "-"], &key).fine().trim());
    assert_eq!(header["alg"], "Ed25519");
}

#[test]
fn rejects_invalid_keys_without_printing_them() {
    let public = file(
        "public.jwk.json",
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    );
    for key in [
        "@missing.json",
        "hunter2",
        "{\"kty\":\"oct\",\"k\":\"hunter2\"}",
        "[]",
        &format!("@{public}"),
        "env:CALLGATE_TEST_NOT_SET",
    ] {
        let err = run(&["token", "--key", key], "").failed(1);
        assert!(err.starts_with("callgate: ") && err.lines().count() == 1 && !err.contains("hunter2"), "{err}");
    }
    for arguments in ["--claims []", "--claims {", "--claim a", "--header b"] {
        let err = callgate(&format!("token --key {KEY} {arguments}")).failed(1);
        assert!(err.starts_with("callgate: --"), "{err}");
    }
}
