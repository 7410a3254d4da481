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
