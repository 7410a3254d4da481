//! Signatures that the gateway verifies: the results are the same as without it, and the filter copes with a gateway that has no answer.

use std::cell::Cell;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::identity::crypto::{
    Algorithm as Name, HostVerifier, HostVerify, SoftwareVerifier, VerifySignature as _, VerifyingKey,
};

use sha2::{Digest as _, Sha256};

use super::*;
use crate::wasmhost::{Answer, ForeignFunction, verify_signature};

const CALL: &str = "proxy_call_foreign_function";

/// Returns tokens that no VM has seen: one with a valid signature, and one with the signature of another text.
fn tokens(number: u32) -> [Request; 2] {
    let mut claims = claims();
    claims["jti"] = json!(number.to_string());
    let good = mint(&claims);
    claims["jti"] = json!("another");
    let (text, _) = good.rsplit_once('.').unwrap();
    let bad = format!("{text}.{}", mint(&claims).rsplit_once('.').unwrap().1);
    [good, bad].map(|token| request("GET", "/items/7", &[("authorization", &format!("Bearer {token}"))]))
}

fn asked(outcome: &Outcome) -> usize {
    outcome.calls.iter().filter(|call| **call == CALL).count()
}

/// Asserts that a VM distinguishes new valid tokens from new invalid ones, and how often it asked its host for each. Returns its warnings.
#[track_caller]
fn assert_tells(vm: &mut Vm, number: u32, times: [usize; 2]) -> Vec<String> {
    let [good, bad] = tokens(number).map(|request| vm.request(&request));
    upstream(&good);
    assert_eq!(answer(&bad).details, "callgate_token_signature");
    assert_eq!([asked(&good), asked(&bad)], times);
    let warned = |outcome: Outcome| outcome.logs.into_iter().filter(|log| log.level == Level::Warn);
    [good, bad].into_iter().flat_map(warned).map(|log| log.message).filter(|line| !line.starts_with('{')).collect()
}

fn lines(vm: &Vm, level: Level) -> Vec<&str> {
    vm.logs().iter().filter(|log| log.level == level).map(|log| log.message.as_str()).collect()
}

#[test]
fn gateway_verifies_signatures_where_supported() {
    for profile in HostProfile::ALL {
        let mut vm = start_under(profile, &policy());
        let verifies = profile.quirks().foreign == ForeignFunction::Verifies;
        let said = lines(&vm, Level::Info).last().copied().unwrap().to_owned();
        let expected = if verifies {
            "the gateway verifies ECDSA signatures, and RSA signatures without PSS".to_owned()
        } else {
            format!("the filter verifies signatures itself; `{}` verifies none", profile.quirks().gateway)
        };
        assert_eq!(said, expected, "{profile:?}");
        let times = usize::from(verifies);
        assert_eq!(assert_tells(&mut vm, 1, [times; 2]), [""; 0], "{profile:?}");
        // The verified token is in the cache.
        assert_eq!(asked(&vm.request(&tokens(1)[0])), 0);
    }
}

/// A proof brings its own key from outside.
#[test]
fn gateway_verifies_dpop_proofs() {
    let client = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut policy = policy_with(json!({
        "limits": { "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } },
        "requirements": { "read": { "limits": ["calls"] } },
        "dpop": { "required": true, "algorithms": ["ES256"] },
    }));
    policy["endpoints"].as_array_mut().unwrap().truncate(1);
    let mut claims = claims();
    claims["cnf"] = json!({ "jkt": client.thumbprint() });
    let token = mint(&claims);
    let mut jwk = client.public_jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
    let ath = URL_SAFE_NO_PAD.encode(Sha256::digest(&token));
    let proof = |jti: &str| {
        let htu = "https://api.example.com/items/7";
        client.sign(&header, &json!({ "jti": jti, "htm": "GET", "htu": htu, "iat": NOW, "ath": ath }))
    };
    let (first, second) = (proof("1"), proof("2"));
    // The signature belongs to another proof.
    let mixed = format!("{}.{}", second.rsplit_once('.').unwrap().0, first.rsplit_once('.').unwrap().1);
    let mut vm = start(&policy);
    let mut call = |proof: &str| {
        vm.request(&request("GET", "/items/7", &[("authorization", &format!("DPoP {token}")), ("dpop", proof)]))
    };
    let (passed, refused, next) = (call(&first), call(&mixed), call(&second));
    upstream(&passed);
    assert_eq!(answer(&refused).details, "callgate_dpop_signature");
    upstream(&next);
    // The first request verifies the token as well.
    assert_eq!([&passed, &refused, &next].map(asked), [2, 1, 1]);
}

#[test]
fn a_policy_with_only_ed25519_keys_never_asks_the_host() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap().with_kid("k1");
    let mut policy = policy();
    policy["issuers"]["corp"]["algorithms"] = json!(["Ed25519"]);
    policy["issuers"]["corp"]["keys"]["jwks"]["keys"] = json!([key.public_jwk()]);
    let said = |policy: &Value, level| {
        let vm = Vm::start(&MODULE.answering(Answer::Status(1)), policy.to_string().as_bytes(), &[]).unwrap();
        lines(&vm, level).iter().filter(|line| line.contains("signatures")).count()
    };
    assert_eq!((said(&policy, Level::Info), said(&policy, Level::Warn)), (0, 0));
    // The policy's proofs use the same algorithms.
    policy["limits"] = json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } });
    policy["requirements"]["read"]["limits"] = json!(["calls"]);
    policy["dpop"] = json!({ "required": true, "algorithms": ["Ed25519"] });
    assert_eq!((said(&policy, Level::Info), said(&policy, Level::Warn)), (0, 0));
    policy["dpop"]["algorithms"] = json!(["Ed25519", "ES256"]);
    assert_eq!((said(&policy, Level::Info), said(&policy, Level::Warn)), (0, 1));
}

/// Results that no honest host returns.
const LIES: [Answer; 12] = [
    Answer::Status(1),
    Answer::Status(2),
    Answer::Status(10),
    Answer::Status(12),
    Answer::Status(99),
    Answer::Status(-1),
    Answer::Bytes(b"true"),
    Answer::Bytes(&[0x08]),
    Answer::Bytes(&[0x08, 0x02]),
    Answer::Bytes(&[0x08, 0x01, 0x08, 0x01]),
    Answer::Bytes(&[0x08, 0x01, 0x12, 0x01, b'x']),
    Answer::Bytes(&[0x12, 0x7f]),
];

#[test]
fn detects_an_unreliable_host_verifier_at_configuration() {
    // Hosts that accept every signature, or none.
    for lie in LIES.into_iter().chain([Answer::Bytes(&[0x08, 0x01]), Answer::Bytes(&[])]) {
        let mut vm = Vm::start(&MODULE.answering(lie), policy().to_string().as_bytes(), &[]).unwrap();
        let warned = lines(&vm, Level::Warn);
        assert_eq!(warned.len(), 1, "{lie:?}: {warned:?}");
        assert!(warned[0].starts_with("the filter verifies ECDSA and RSA signatures itself"), "{warned:?}");
        assert_eq!(matches!(lie, Answer::Status(_)), warned[0].contains("`proxy_call_foreign_function` failed"));
        assert!(!lines(&vm, Level::Info).iter().any(|line| line.contains("verified by the gateway")));
        assert_eq!(assert_tells(&mut vm, 1, [0; 2]), [""; 0], "{lie:?}");
    }
}

#[test]
fn stops_asking_a_host_verifier_that_fails() {
    for (number, lie) in (1..).zip(LIES) {
        let mut vm = start(&policy());
        assert_eq!(assert_tells(&mut vm, 0, [1; 2]), [""; 0]);
        vm.answer(lie);
        // The filter asks once for the token, and once for a known test signature.
        let warned = assert_tells(&mut vm, number, [2, 0]);
        assert_eq!(warned.len(), 1, "{lie:?}: {warned:?}");
        let mut vm = start(&policy());
        vm.answer(lie);
        // Here the first signature is an invalid one.
        let bad = vm.request(&tokens(number)[1]);
        assert_eq!((answer(&bad).details.as_str(), asked(&bad)), ("callgate_token_signature", 2), "{lie:?}");
        assert_eq!(assert_tells(&mut vm, number, [0; 2]), [""; 0]);
    }
}

/// The host's function, without a module in between.
#[derive(Default)]
struct Natively {
    asked: Cell<usize>,
    good: Cell<usize>,
}

impl HostVerify for &Natively {
    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        self.asked.set(self.asked.get() + 1);
        let answer = verify_signature(request);
        self.good.set(self.good.get() + usize::from(answer.as_deref() == Some(&[0x08, 0x01])));
        answer
    }

    fn give_up(&self) {
        panic!("it has an answer to everything");
    }
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Project Wycheproof's vectors, if they are next to the workspace: both verifiers agree on each.
#[test]
fn host_and_software_agree_on_wycheproof_vectors() {
    let folder = crate::paths::root().join("../shared/vectors/wycheproof");
    let mut counted = Vec::new();
    for (file, algorithm) in [
        ("ecdsa_secp256r1_sha256_p1363_test.json", Name::Es256),
        ("ecdsa_secp384r1_sha384_p1363_test.json", Name::Es384),
        ("rsa_signature_2048_sha256_test.json", Name::Rs256),
    ] {
        let path: &Path = &folder.join(file);
        let Ok(text) = std::fs::read(path) else {
            eprintln!("not run: {} is not here", path.display());
            return;
        };
        let document: Value = serde_json::from_slice(&text).unwrap();
        let host = Natively::default();
        let verifier = HostVerifier::new(Some(&host), SoftwareVerifier);
        assert!(verifier.asks());
        for group in document["testGroups"].as_array().unwrap() {
            let of_key = |member: &str| hex(&group["publicKey"][member]);
            let key = match algorithm {
                Name::Es256 => {
                    let point = of_key("uncompressed");
                    VerifyingKey::p256(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap())
                }
                Name::Es384 => {
                    let point = of_key("uncompressed");
                    VerifyingKey::p384(point[1..49].try_into().unwrap(), point[49..].try_into().unwrap())
                }
                _ => VerifyingKey::rsa(&of_key("modulus"), &of_key("publicExponent")),
            };
            // Two tests have the exponent 3, which is not supported.
            let Ok(key) = key else { continue };
            for test in group["tests"].as_array().unwrap() {
                let (message, signature) = (hex(&test["msg"]), hex(&test["sig"]));
                let verified = verifier.verify(&key, algorithm, &message, &signature);
                assert_eq!(verified, SoftwareVerifier.verify(&key, algorithm, &message, &signature), "{test}");
                assert_eq!(verified.is_ok(), test["result"] == "valid", "{test}");
            }
        }
        // The counts include two trial signatures for every host, one of them valid.
        counted.push((host.asked.get() - 2, host.good.get() - 1));
    }
    assert_eq!(counted, [(227, 173), (247, 193), (255, 7)]);
}
