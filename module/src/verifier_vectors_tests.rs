//! The published test vectors, if they are in `../shared/vectors`, next to the workspace: each case with a signature has the same verdict
//! from the engine's verifier and from the native one. They are not part of this repository. Without them each test prints a message and
//! passes. Whether the verdicts are right is a matter of the conformance run of the test harness.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callgate::conformance::{Case, Key, Request, Verdict, judge};
use callgate::identity::crypto::SoftwareVerifier;
use serde_json::{Map, Value, json};

use super::*;

/// A time at which all signatures of RFC 9421 are valid, in seconds since 1970.
const NOW: u64 = 1_618_884_485;

fn read(file: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors").join(file);
    let Ok(text) = std::fs::read(&path) else {
        eprintln!("not run: the native verifier's verdicts on {file}, because {} is not here", path.display());
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

/// The number of cases that are accepted, and of those that are refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally(usize, usize);

/// Compares the verdicts, also after the native verifier kept the key.
fn compare(cases: impl IntoIterator<Item = Case>) -> Tally {
    let native = NativeVerifier::new(SoftwareVerifier);
    let mut tally = Tally::default();
    for case in cases {
        let case = serde_json::to_vec(&case).unwrap();
        let expected = judge(&case, &SoftwareVerifier);
        for _ in 0..2 {
            assert_eq!(judge(&case, &native), expected, "{}", String::from_utf8_lossy(&case));
        }
        match expected {
            Verdict::Accepted(_) => tally.0 += 1,
            Verdict::Refused(_) => tally.1 += 1,
            Verdict::Broken(why) => unreachable!("{why}: {}", String::from_utf8_lossy(&case)),
        }
    }
    tally
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Returns hexadecimal text in base64.
fn from_hex(value: &Value) -> String {
    let pairs = text(value).as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    STANDARD.encode(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<_>>())
}

/// Returns a JWK without its private members.
fn public(jwk: &Value) -> Map<String, Value> {
    let mut jwk = jwk.as_object().unwrap().clone();
    jwk.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
    jwk
}

/// Returns each test with each encoding of its key.
fn wycheproof(document: &Value, algorithm: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for group in array(&document["testGroups"]) {
        let pem = group["publicKeyPem"].as_str().map(|pem| Key::Pem(pem.to_owned()));
        let jwk = ["publicKeyJwk", "keyJwk"].into_iter().find_map(|name| group[name].as_object());
        let keys: Vec<_> = pem.into_iter().chain(jwk.map(|jwk| Key::Jwk(jwk.clone()))).collect();
        for test in array(&group["tests"]) {
            let secret = test["key"].as_str().map(|_| Key::Secret(from_hex(&test["key"])));
            cases.extend(keys.iter().cloned().chain(secret).map(|key| Case::Verify {
                key,
                algorithm: algorithm.to_owned(),
                message: from_hex(&test["msg"]),
                signature: from_hex(test.get("sig").unwrap_or(&test["tag"])),
            }));
        }
    }
    cases
}

#[test]
fn verdicts_on_wycheproof_are_those_of_the_engine() {
    for (file, algorithm, tally) in [
        ("ecdsa_secp256r1_sha256_p1363_test.json", "ES256", Tally(342, 172)),
        ("ecdsa_secp384r1_sha384_p1363_test.json", "ES384", Tally(382, 168)),
        ("rsa_signature_2048_sha256_test.json", "RS256", Tally(14, 504)),
        // Some of the file's invalid signatures are valid for another algorithm.
        ("rsa_signature_2048_sha256_test.json", "RS384", Tally(2, 516)),
        ("rsa_signature_2048_sha256_test.json", "PS256", Tally(2, 516)),
        ("rsa_pss_4096_sha512_mgf1_64_test.json", "PS512", Tally(264, 94)),
        ("rsa_pss_4096_sha512_mgf1_64_test.json", "PS256", Tally(0, 358)),
        ("rsa_pss_4096_sha512_mgf1_64_test.json", "RS512", Tally(2, 356)),
        ("ed25519_test.json", "Ed25519", Tally(176, 126)),
        ("hmac_sha256_test.json", "HS256", Tally(30, 144)),
    ] {
        let Some(document) = read(&format!("wycheproof/{file}")) else { continue };
        assert_eq!(compare(wycheproof(&document, algorithm)), tally, "{file} {algorithm}");
    }
}

/// Returns a request of RFC 9421 as a gateway would present it.
fn request(message: &Value) -> Option<Request> {
    let mut words = text(&message["start_line"]).split(' ');
    let method = words.next().filter(|method| !method.starts_with("HTTP/"))?;
    let pair = |line: &Value| (text(&line[0]).to_owned(), text(&line[1]).to_owned());
    let headers: Vec<_> = array(&message["headers"]).iter().map(pair).collect();
    let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    Some(Request {
        method: method.to_owned(),
        scheme: "https".to_owned(),
        authority: host.map_or("example.com", |(_, host)| host).to_ascii_lowercase(),
        target: words.next().unwrap().to_owned(),
        headers,
        dictionaries: vec!["example-dict".to_owned()],
    })
}

#[test]
fn verdicts_on_rfc_9421_are_those_of_the_engine() {
    let Some(document) = read("rfc9421/rfc9421_vectors.json") else { return };
    let (mut signatures, mut requests) = (Vec::new(), Vec::new());
    for vector in array(&document["vectors"]) {
        let jwk = array(&document["keys"]).iter().find(|key| key["kid"] == vector["keyid"]).unwrap();
        let secret = (jwk["kty"] == "oct").then(|| STANDARD.encode(URL_SAFE_NO_PAD.decode(text(&jwk["k"])).unwrap()));
        let algorithm = match text(&vector["alg"]) {
            "rsa-pss-sha512" => "PS512",
            "rsa-v1_5-sha256" => "RS256",
            "ecdsa-p256-sha256" => "ES256",
            "ed25519" => "Ed25519",
            "hmac-sha256" => "HS256",
            other => unreachable!("{other}"),
        };
        signatures.push(Case::Verify {
            key: secret.clone().map_or_else(|| Key::Jwk(public(jwk)), Key::Secret),
            algorithm: algorithm.to_owned(),
            message: STANDARD.encode(text(&vector["signature_base"])),
            signature: text(&vector["signature"]).to_owned(),
        });
        let Some(message) = request(&vector["message"]) else { continue };
        let key = match &secret {
            Some(_) => json!({ "secret": { "env": "SECRET" }, "keyid": jwk["kid"] }),
            None => json!({ "jwk": public(jwk), "algorithm": vector["alg"] }),
        };
        let tag = text(&vector["signature_base"]).split_once(";tag=\"").and_then(|(_, rest)| rest.split_once('"'));
        let tag = tag.map(|(tag, _)| tag.to_owned());
        requests.push(Case::Signature { message, key, secret, tag, now: NOW });
    }
    assert_eq!(compare(signatures), Tally(17, 3));
    assert_eq!(compare(requests), Tally(14, 3));
}

#[test]
fn verdicts_on_rfc_9449_are_those_of_the_engine() {
    let Some(document) = read("dpop/rfc9449_examples.json") else { return };
    let (mut signatures, mut proofs) = (Vec::new(), Vec::new());
    for proof in array(&document["proofs"]) {
        let (signed, signature) = text(&proof["proof"]).rsplit_once('.').unwrap();
        signatures.push(Case::Verify {
            key: Key::Jwk(public(&proof["header"]["jwk"])),
            algorithm: text(&proof["header"]["alg"]).to_owned(),
            message: STANDARD.encode(signed),
            signature: STANDARD.encode(URL_SAFE_NO_PAD.decode(signature).unwrap()),
        });
        let claims = &proof["claims"];
        let (scheme, rest) = text(&claims["htu"]).split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        proofs.push(Case::Proof {
            proof: text(&proof["proof"]).to_owned(),
            token: proof["access_token"].as_str().unwrap_or_default().to_owned(),
            key: text(&proof["jkt"]).to_owned(),
            method: text(&claims["htm"]).to_owned(),
            origin: format!("{scheme}://{authority}"),
            path: format!("/{path}"),
            now: claims["iat"].as_u64().unwrap(),
        });
    }
    assert_eq!(compare(signatures), Tally(3, 0));
    assert_eq!(compare(proofs), Tally(1, 2));
}

#[test]
fn verdicts_on_wimse_are_those_of_the_engine() {
    let Some(document) = read("wimse/wimse_vectors.json") else { return };
    let signed = &document["httpsig_request"];
    let field = text(&signed["message"]).lines().find_map(|line| line.strip_prefix("Signature: wimse=:"));
    let jwk = public(&signed["caller_jwk"]);
    let case = Case::Verify {
        algorithm: text(&jwk["alg"]).to_owned(),
        key: Key::Jwk(jwk),
        message: STANDARD.encode(text(&signed["signature_base"])),
        signature: field.unwrap().trim_end_matches(':').to_owned(),
    };
    assert_eq!(compare([case]), Tally(1, 0));
}
