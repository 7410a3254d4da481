//! The runner of published test vectors, with vectors made for this test: valid ones pass, and all others fail.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const SECRET: [u8; 32] = *b"a secret of thirty-two bytes, or";

/// A valid signature, and an example of a line of the signature base.
fn signatures() -> Value {
    let base =
        "\"@method\": PUT\n\"x\": a b\n\"@signature-params\": (\"@method\" \"x\");created=1618884475;keyid=\"own\"";
    let signature = STANDARD.encode(hmac_sha256::HMAC::mac(base, SECRET));
    json!({
        "keys": [{ "kid": "own", "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }],
        "vectors": [{
            "id": "own",
            "message": {
                "start_line": "PUT / HTTP/1.1",
                "headers": [
                    ["X", "a b"],
                    ["Signature-Input", "s=(\"@method\" \"x\");created=1618884475;keyid=\"own\""],
                    ["Signature", format!("s=:{signature}:")],
                ],
                "body": "",
            },
            "label": "s", "keyid": "own", "alg": "hmac-sha256",
            "signature_base": base, "signature": signature, "expected": "valid",
        }],
        "component_examples": [{ "id": "folded", "message": "X: a\n  b", "lines": ["\"x\": a b"] }],
    })
}

fn digests() -> Value {
    let digest = STANDARD.encode(Sha256::digest("own"));
    json!({
        "input": "own",
        "digests": { "sha-256": format!(":{digest}:") },
        "published_but_must_not_be_accepted_as_security": { "md5": ":AAAA:" },
    })
}

/// Two requests at the same time. The second one costs more than the remaining quota.
fn limits() -> Value {
    json!({ "quota": { "rate_per_s": 1, "limit": 2 }, "rows": [[0, 1, 1, 1, -1, 0], [0, 2, 1, 1, 1, 1]] })
}

fn tags(result: &str) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let test = json!({
        "tcId": 1, "comment": "own", "flags": [], "key": hex(&SECRET), "msg": hex(b"own"),
        "tag": hex(&hmac_sha256::HMAC::mac("own", SECRET)), "result": result,
    });
    json!({
        "algorithm": "HMACSHA256", "numberOfTests": 1,
        "testGroups": [{ "type": "MacTest", "keySize": 256, "tagSize": 256, "tests": [test] }],
    })
}

fn write(folder: &Path, file: &str, content: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-harness"));
    command.arg("conformance").args(arguments).env_remove("RUST_BACKTRACE").output().unwrap()
}

#[test]
fn valid_vectors_pass_natively_and_in_the_module() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rfc9421/rfc9421_vectors.json", &signatures().to_string());
    write(folder.path(), "rfc9421/rfc9530_digests.json", &digests().to_string());
    write(folder.path(), "ratelimit/gcra_throttled.json", &limits().to_string());
    write(folder.path(), "wycheproof/hmac_sha256_test.json", &tags("valid").to_string());
    let json = folder.path().join("report.json");
    let output = run(&[folder.path().to_str().unwrap(), "--some", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let cases: Vec<_> =
        report["files"].as_array().unwrap().iter().map(|file| file["cases"].as_array().unwrap()).collect();
    assert_eq!(cases.iter().map(|cases| cases.len()).collect::<Vec<_>>(), [3, 2, 2, 1]);
    assert!(cases.into_iter().flatten().all(|case| case["outcome"] == "passed"), "{report}");
}

#[test]
fn names_every_vector_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut forged = signatures();
    forged["vectors"][0]["message"]["headers"][0][1] = json!("a c");
    let mut weak = digests();
    weak["digests"] = json!({ "md5": ":AAAA:" });
    let mut slow = limits();
    slow["rows"][1][4] = json!(2);
    write(folder.path(), "rfc9421/rfc9421_vectors.json", &forged.to_string());
    write(folder.path(), "rfc9421/rfc9530_digests.json", &weak.to_string());
    write(folder.path(), "ratelimit/gcra_throttled.json", &slow.to_string());
    write(folder.path(), "wycheproof/hmac_sha256_test.json", &tags("invalid").to_string());
    // Files without a case, and files that do not have the expected structure.
    let empty = json!({ "proofs": [], "bound_access_tokens_unsigned_example": ["e30.e30."] });
    write(folder.path(), "dpop/rfc9449_examples.json", &empty.to_string());
    write(folder.path(), "wimse/wimse_vectors.json", "{}");
    write(folder.path(), "wycheproof/ed25519_test.json", "");
    let output = run(&[path, "--some"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    for failure in [
        "rfc9421/rfc9421_vectors.json: own base: ",
        "rfc9421/rfc9421_vectors.json: own signature: unexpected result Refused(\"signature_failed\")",
        "rfc9421/rfc9530_digests.json: md5: ",
        "ratelimit/gcra_throttled.json: step 1: ",
        "wycheproof/hmac_sha256_test.json: 1 own: ",
        "dpop/rfc9449_examples.json: only 0 cases were executed",
        "wimse/wimse_vectors.json: the file does not have the format of the published one",
        "wycheproof/ed25519_test.json: the file does not have the format of the published one",
    ] {
        assert!(said.contains(&format!("FAILED {failure}")), "{failure} in {said}");
    }
    assert_eq!(said.matches("FAILED").count(), 8, "{said}");
}

#[test]
fn fails_without_the_expected_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let empty = run(&[folder.path().to_str().unwrap(), "--some"]);
    assert!(!empty.status.success() && String::from_utf8_lossy(&empty.stderr).contains("contains no test vectors"));
    let missing = folder.path().join("nowhere");
    let missing = run(&[missing.to_str().unwrap()]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("is not a folder"));
    // All published files are required, with at least as many cases as before.
    write(folder.path(), "rfc9421/rfc9530_digests.json", &digests().to_string());
    let output = run(&[folder.path().to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("rfc9530_digests.json: only 2 cases were executed"), "{said}");
    assert_eq!(said.matches("the file cannot be read").count(), 10, "{said}");
}
