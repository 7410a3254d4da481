//! The test vectors of Project Wycheproof, if they are in `../shared/vectors`, next to the workspace. They are not part of this
//! repository. Without them each test prints a message and passes.

use std::path::Path;

use serde_json::Value;

use super::tables::tests::Both;
use super::{Algorithm, KeyError, SoftwareVerifier, VerifySignature as _, VerifyingKey};

/// The results of a file's tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// The number of tests whose key is rejected.
    key_refused: usize,
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap().as_bytes();
    text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn read(file: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/wycheproof").join(file);
    let Ok(text) = std::fs::read(&path) else {
        eprintln!("not run: {} is not here", path.display());
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

/// Runs every test of a file. `key` creates the key from the group and the test.
fn run(
    file: &str,
    algorithm: Algorithm,
    key: impl Fn(&Value, &Value) -> Result<VerifyingKey, KeyError>,
) -> Option<Tally> {
    let document = read(file)?;
    let mut tally = Tally::default();
    for group in document["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let Ok(key) = key(group, test) else {
                tally.key_refused += 1;
                continue;
            };
            let signature = hex(test.get("sig").unwrap_or(&test["tag"]));
            let verified = SoftwareVerifier.verify(&key, algorithm, &hex(&test["msg"]), &signature).is_ok();
            // A truncated tag is valid only for parties that agreed on it.
            let truncated = group["tagSize"].as_u64().is_some_and(|bits| bits < 256);
            assert_eq!(verified, test["result"] == "valid" && !truncated, "{file}: {test}");
            *if verified { &mut tally.accepted } else { &mut tally.refused } += 1;
        }
    }
    Some(tally)
}

fn expect(tally: Option<Tally>, accepted: usize, refused: usize, key_refused: usize) {
    if let Some(tally) = tally {
        assert_eq!(tally, Tally { accepted, refused, key_refused });
    }
}

#[test]
fn ecdsa_p256() {
    let tally = run("ecdsa_secp256r1_sha256_p1363_test.json", Algorithm::Es256, |group, _| {
        let point = hex(&group["publicKey"]["uncompressed"]);
        VerifyingKey::p256(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap())
    });
    expect(tally, 173, 89, 0);
}

#[test]
fn ecdsa_p384() {
    let tally = run("ecdsa_secp384r1_sha384_p1363_test.json", Algorithm::Es384, |group, _| {
        let point = hex(&group["publicKey"]["uncompressed"]);
        VerifyingKey::p384(point[1..49].try_into().unwrap(), point[49..].try_into().unwrap())
    });
    expect(tally, 193, 87, 0);
}

#[test]
fn ed25519() {
    let tally = run("ed25519_test.json", Algorithm::Ed25519, |group, _| {
        VerifyingKey::ed25519(&hex(&group["publicKey"]["pk"]).try_into().unwrap())
    });
    expect(tally, 88, 63, 0);
}

#[test]
fn ed25519_with_tables() {
    let Some(document) = read("ed25519_test.json") else { return };
    let mut tests = 0;
    for group in document["testGroups"].as_array().unwrap() {
        let both = Both::new(&VerifyingKey::ed25519(&hex(&group["publicKey"]["pk"]).try_into().unwrap()).unwrap());
        for test in group["tests"].as_array().unwrap() {
            assert_eq!(both.verdict(&hex(&test["msg"]), &hex(&test["sig"])), test["result"] == "valid", "{test}");
            tests += 1;
        }
    }
    assert_eq!(tests, 151);
}

#[test]
fn hmac_sha256() {
    let tally = run("hmac_sha256_test.json", Algorithm::Hs256, |_, test| VerifyingKey::hmac(&hex(&test["key"])));
    // Half of the tests are of truncated tags; six have a key under 32 bytes.
    expect(tally, 30, 138, 6);
}

#[test]
fn rsa_pss() {
    let tally = run("rsa_pss_4096_sha512_mgf1_64_test.json", Algorithm::Ps512, rsa_key);
    expect(tally, 132, 47, 0);
}

#[test]
fn rsa_pkcs1() {
    let tally = run("rsa_signature_2048_sha256_test.json", Algorithm::Rs256, rsa_key);
    // Two tests have the exponent 3, which is rejected.
    expect(tally, 7, 250, 2);
}

fn rsa_key(group: &Value, _: &Value) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::rsa(&hex(&group["publicKey"]["modulus"]), &hex(&group["publicKey"]["publicExponent"]))
}
