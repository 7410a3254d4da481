use std::fs;
use std::path::PathBuf;

use crate::{callgate, json};

fn fresh(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path.to_str().unwrap().to_owned()
}

#[test]
fn generates_every_key_type_for_signing_and_verifying() {
    for (kind, algorithm) in [
        ("ed25519", "ed25519"),
        ("p256", "ecdsa-p256-sha256"),
        ("p384", "ecdsa-p384-sha384"),
        ("rsa", "rsa-pss-sha512"),
        ("hmac", "hmac-sha256"),
    ] {
        let path = fresh(&format!("keygen-{kind}.jwk.json"));
        let made = json(&callgate(&format!("keygen {kind} {path} --format json")).fine());
        assert_eq!(made["algorithm"], algorithm);
        let signed = callgate(&format!("sign https://a.example/ --key @{path}")).fine();
        assert!(signed.contains(&format!("keyid=\"{}\"", made["keyid"].as_str().unwrap())), "{signed}");
        let message =
            crate::file(&format!("keygen-{kind}.http"), format!("GET / HTTP/1.1\nHost: a.example\n{signed}\n"));
        callgate(&format!("verify --request @{message} --key @{path}")).fine();
    }
}

#[cfg(unix)]
#[test]
fn writes_private_keys_with_mode_600_and_never_overwrites() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = fresh("keygen-mode.jwk.json");
    let printed = callgate(&format!("keygen ed25519 {path} --keyid agent-1")).fine();
    let private = json(&fs::read_to_string(&path).unwrap());
    assert!(private["d"].is_string() && !printed.contains(private["d"].as_str().unwrap()), "{printed}");
    assert!(printed.contains("signing_keys:\n  - {\"jwk\":{") && printed.contains("\"kid\":\"agent-1\""), "{printed}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).unwrap();
    let message = callgate(&format!("keygen ed25519 {path}")).failed(1);
    assert_eq!(
        message,
        format!("callgate: {path}: already exists; name another file, because existing keys are not overwritten\n")
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn rejects_an_algorithm_for_non_rsa_keys() {
    let path = fresh("keygen-choice.jwk.json");
    let message = callgate(&format!("keygen ed25519 {path} --algorithm rsa-pss-sha512")).failed(1);
    assert_eq!(message, "callgate: --algorithm: only RSA keys have several algorithms; omit it\n");
    assert!(!PathBuf::from(path).exists());
    let message = callgate("keygen p256 /nonexistent/key.json").failed(1);
    assert_eq!(message, "callgate: /nonexistent/key.json: the folder does not exist\n");
}

#[test]
fn prints_an_api_key_once_with_its_hash() {
    let printed = callgate("keygen --api-key --prefix cgk_").fine();
    let key = printed.lines().next().unwrap();
    assert!(key.starts_with("cgk_") && key.len() == 4 + 43, "{printed}");
    assert_eq!(printed.matches(key).count(), 1, "{printed}");
    assert_ne!(callgate("keygen --api-key --prefix cgk_").fine().lines().next().unwrap(), key);

    let made = json(&callgate("keygen --api-key --format json").fine());
    let (key, entry) = (made["api_key"].as_str().unwrap(), &made["entry"]);
    assert_eq!(key.len(), 43);
    let policy = format!(
        "{{callgate: v1, name: a, mode: enforce, gateway: envoy, resource: 'https://a.example', hosts: [a.example], issuers: {{}}, \
         api_keys: {{header: x-api-key}}, agents: {{a: {{owner: o, api_keys: [{entry}]}}}}, \
         endpoints: [{{id: e, methods: [GET], path: /, effect: read, scopes: none, authenticate: api-key}}], \
         upstream: {{authorization: remove}}, audit: {{log: {{allow: false, deny: false}}}}}}"
    );
    let policy = crate::file("keygen-api-key.yaml", policy);
    let checked = callgate(&format!("check {policy}")).fine();
    let not_after = entry["not_after"].as_str().unwrap();
    assert!(checked.contains(&format!("long-lived a uses API keys, valid until {not_after}")), "{checked}");
    let asked = |key: &str| callgate(&format!("explain {policy} --path / --header x-api-key:{key} --format json"));
    assert_eq!(json(&asked(key).fine())["record"]["decision"], "allow");
}

#[test]
fn rejects_arguments_that_do_not_belong_to_an_api_key() {
    for wrong in [
        "keygen",
        "keygen ed25519",
        "keygen --prefix cgk_",
        "keygen ed25519 file --prefix cgk_",
        "keygen ed25519 file --api-key",
        "keygen --api-key --prefix cgk",
        "keygen --api-key --prefix _",
        "keygen --api-key --keyid k",
    ] {
        let output = callgate(wrong);
        assert!(!output.failed(1).is_empty(), "{wrong}");
    }
}
