//! Signatures that Envoy verifies for the gate: Envoy's results are those of the gate's own implementation, and the results without Envoy's
//! help are the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::identity::crypto::{Algorithm as Name, PublicJwk, SoftwareVerifier, VerifySignature as _, VerifyingKey};
use callgate_kit::mint::{Algorithm, SigningKey};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use test_harness::client::{self, Request};
use test_harness::envoy::{Adapter, Bootstrap, Options, oldest};

use crate::envoy::fixture::{Gate, HOST, adapter, claims, policy, wasm_only};

const CAPABILITY: &str = "proxy_call_foreign_function";
const RSA: [&str; 2] =
    [include_str!("../../../src/identity/token/testdata/rsa2048.pem"), include_str!("testdata/rsa4096.pem")];

/// The orders of the curves.
const P256: [&str; 1] = ["ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"];
const P384: [&str; 1] =
    ["ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"];

/// A key of the issuer.
struct Signer {
    key: SigningKey,
    public: VerifyingKey,
}

impl Signer {
    fn new(key: SigningKey, kid: &str) -> Self {
        let key = key.with_kid(kid);
        let jwk = key.public_jwk();
        Self { public: PublicJwk::read(jwk.as_object().unwrap()).unwrap().key, key }
    }

    /// Returns a text to sign, with a signature that suits the test.
    fn text(&self, algorithm: Algorithm, number: usize) -> (String, Vec<u8>) {
        let mut claims = claims("items:read");
        claims["jti"] = json!(format!("t{number}"));
        let header = json!({ "typ": "at+jwt", "alg": algorithm.jose_name(), "kid": self.key.kid() });
        let key = self.key.clone().with_algorithm(algorithm).unwrap();
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = key.signature(text.as_bytes());
        (text, signature)
    }

    /// Returns the first text from this number on whose signature matches.
    fn text_with(&self, algorithm: Algorithm, first: usize, like: impl Fn(&[u8]) -> bool) -> (String, Vec<u8>) {
        (first..).map(|number| self.text(algorithm, number)).find(|(_, signature)| like(signature)).unwrap()
    }
}

/// A token, with the result of the gate's own verification.
struct Case {
    what: String,
    token: String,
    good: bool,
}

fn case(signer: &Signer, algorithm: Name, what: &str, text: &str, signature: &[u8]) -> Case {
    let good = SoftwareVerifier.verify(&signer.public, algorithm, text.as_bytes(), signature).is_ok();
    let what = format!("{} by {}: {what}", algorithm.jose_name(), signer.key.kid().unwrap());
    Case { what, token: format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)), good }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Computes `a - b` of big-endian numbers of the same length.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let digits = a.iter().zip(b).rev().map(|(a, b)| {
        let difference = i16::from(*a) - i16::from(*b) - borrow;
        borrow = i16::from(difference < 0);
        difference.rem_euclid(256) as u8
    });
    let mut digits: Vec<u8> = digits.collect();
    digits.reverse();
    digits
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn ecdsa(signer: &Signer, algorithm: Algorithm, order: &str) -> Vec<Case> {
    let order = hex(order);
    let size = order.len();
    let (zero, ones) = (vec![0; size], vec![0xff; size]);
    let (text, good) = signer.text(algorithm, 1);
    let (r, s) = good.split_at(size);
    let other_s = minus(&order, s);
    let of = |what: &str, signature: Vec<u8>| case(signer, algorithm, what, &text, &signature);
    let mut cases = vec![
        of("good", good.clone()),
        of("the other `s`", [r, &other_s].concat()),
        of("a bit of `r`", flipped(&good, 5)),
        of("a bit of `s`", flipped(&good, size + 5)),
        of("`r` is zero", [&zero, s].concat()),
        of("`s` is zero", [r, &zero].concat()),
        of("both are zero", [&zero[..], &zero].concat()),
        of("`r` is n", [&order, s].concat()),
        of("`s` is n", [r, &order].concat()),
        of("`r` is over n", [&ones, s].concat()),
        of("`s` is over n", [r, &ones].concat()),
        of("`r` and `s` in turn", [s, r].concat()),
        of("`-r`", [&minus(&order, r), s].concat()),
        of("short", good[..2 * size - 1].to_vec()),
        of("short at its beginning", good[1..].to_vec()),
        of("long", [&good[..], &[0]].concat()),
        of("long by a zero", [&[0], &good[..]].concat()),
        of("empty", Vec::new()),
        of("half", r.to_vec()),
        of("in DER", [&[0x30, 2 * size as u8 + 4, 2, size as u8], r, &[2, size as u8], s].concat()),
        of("another text's", signer.text(algorithm, 2).1),
    ];
    // All of these use different texts, because the gate does not ask Envoy about a token that it has seen before.
    for (what, at, first) in [("`r` begins with a zero", 0, 100_000), ("`s` begins with a zero", size, 200_000)] {
        let (text, good) = signer.text_with(algorithm, first, |signature| signature[at] == 0);
        cases.push(case(signer, algorithm, what, &text, &good));
        let stripped = [&good[..at], &good[at + 1..]].concat();
        cases.push(case(signer, algorithm, &format!("{what} that is left out"), &text, &stripped));
    }
    for (what, at, first) in [("`r` is high", 0, 300_000), ("`s` is high", size, 400_000)] {
        let (text, good) = signer.text_with(algorithm, first, |signature| signature[at] & 0x80 != 0);
        cases.push(case(signer, algorithm, what, &text, &good));
    }
    cases
}

fn rsa(signer: &Signer, algorithm: Algorithm, private: &RsaPrivateKey) -> Vec<Case> {
    let modulus = URL_SAFE_NO_PAD.decode(signer.key.public_jwk()["n"].as_str().unwrap()).unwrap();
    let size = modulus.len();
    let small = |last: u8| [&vec![0; size - 1][..], &[last]].concat();
    let (text, good) = signer.text(algorithm, 1);
    let of = |what: &str, signature: Vec<u8>| case(signer, algorithm, what, &text, &signature);
    let signed_by = |other: Algorithm| signer.key.clone().with_algorithm(other).unwrap().signature(text.as_bytes());
    let other_hash = if algorithm == Algorithm::Rs256 { Algorithm::Rs512 } else { Algorithm::Rs256 };
    let mut cases = vec![
        of("good", good.clone()),
        of("a bit", flipped(&good, size / 2)),
        of("the first bit", flipped(&good, 0)),
        of("zero", small(0)),
        of("one", small(1)),
        of("the modulus", modulus.clone()),
        of("under the modulus", minus(&modulus, &small(1))),
        of("over the modulus", vec![0xff; size]),
        of("negative", minus(&modulus, &good)),
        of("short", good[..size - 1].to_vec()),
        of("long", [&good[..], &[0]].concat()),
        of("long by a zero", [&[0], &good[..]].concat()),
        of("empty", Vec::new()),
        of("another text's", signer.text(algorithm, 2).1),
        of("with another hash", signed_by(other_hash)),
        of("with PSS", signed_by(Algorithm::Ps256)),
    ];
    if algorithm == Algorithm::Rs256 {
        // The identifier of SHA-256 with its NULL, without the NULL, and the bare hash.
        let with: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
        let without: &[u8] = b"\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20";
        let digest = Sha256::digest(text.as_bytes());
        for (what, prefix, is_good) in
            [("as it should be", with, true), ("without NULL", without, false), ("bare", &[], false)]
        {
            let padding = Pkcs1v15Sign { hash_len: Some(32), prefix: prefix.into() };
            let made = of(what, private.sign(padding, &digest).unwrap());
            assert_eq!(made.good, is_good, "{what}");
            cases.push(made);
        }
        let (text, good) = signer.text_with(algorithm, 100_000, |signature| signature[0] == 0);
        cases.push(case(signer, algorithm, "begins with a zero", &text, &good));
        cases.push(case(signer, algorithm, "begins with a zero that is left out", &text, &good[1..]));
    }
    cases
}

/// Returns the test policy with keys of each kind, and tokens for it.
fn cases() -> (Value, Vec<Case>) {
    let p256 = Signer::new(SigningKey::generate(Algorithm::Es256).unwrap(), "p256");
    let p384 = Signer::new(SigningKey::generate(Algorithm::Es384).unwrap(), "p384");
    let mut cases = ecdsa(&p256, Algorithm::Es256, P256[0]);
    cases.extend(ecdsa(&p384, Algorithm::Es384, P384[0]));
    let mut keys = vec![p256.key.public_jwk(), p384.key.public_jwk()];
    for (kid, pem) in ["rsa2048", "rsa4096"].into_iter().zip(RSA) {
        let signer = Signer::new(SigningKey::from_pem(pem, Some(Algorithm::Rs256)).unwrap(), kid);
        let private = RsaPrivateKey::from_pkcs8_pem(pem).unwrap();
        for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512] {
            cases.extend(rsa(&signer, algorithm, &private));
        }
        // Envoy does not support this algorithm.
        let (text, good) = signer.text(Algorithm::Ps256, 1);
        cases.push(case(&signer, Algorithm::Ps256, "good", &text, &good));
        cases.push(case(&signer, Algorithm::Ps256, "a bit", &text, &flipped(&good, 5)));
        let mut jwk = signer.key.public_jwk();
        jwk.as_object_mut().unwrap().remove("alg");
        keys.push(jwk);
    }
    let mut policy = policy();
    policy["issuers"]["corp"]["keys"]["jwks"]["keys"] = json!(keys);
    policy["issuers"]["corp"]["algorithms"] = json!(["ES256", "ES384", "RS256", "RS384", "RS512", "PS256"]);
    (policy, cases)
}

fn without_the_capability(bootstrap: &mut Bootstrap) {
    let allowed = &mut bootstrap.gate().unwrap()["capability_restriction_config"]["allowed_capabilities"];
    allowed.as_object_mut().unwrap().remove(CAPABILITY).unwrap();
}

#[track_caller]
fn assert_verdicts(gate: &Gate, cases: &[Case]) {
    for Case { what, token, good } in cases {
        let response = gate.call(&Request::get("/items/1").host(HOST).bearer(token));
        let came = (response.status, response.code());
        let code = came.1.as_deref();
        if *good {
            assert_eq!(came.0, 200, "{what}: {code:?}");
        } else {
            // A token that ends with a period is malformed.
            let malformed = token.ends_with('.') && code == Some("token_malformed");
            assert!(came.0 == 401 && (malformed || code == Some("token_signature")), "{what}: {came:?}");
        }
    }
}

/// Returns how often the log contains this text.
fn logged(gate: &Gate, text: &str) -> usize {
    gate.envoy.log().matches(text).count()
}

#[test]
fn envoy_and_the_filter_verify_signatures_alike() {
    let (policy, cases) = cases();
    let good = cases.iter().filter(|case| case.good).count();
    // For each curve: the signature, its twin and four more. For each RSA key: one for each hash, two more, and one with PSS.
    assert_eq!((good, cases.len()), (24, 164));
    let gate = Gate::start(&policy);
    if adapter() == Adapter::Module {
        // The module has a verifier, and asks Envoy for none.
        return assert_verdicts(&gate, &cases);
    }
    assert!(logged(&gate, "the gateway verifies ECDSA") > 0, "{}", gate.envoy.log_tail());
    // Envoy logs each call of a host function once its log level is raised.
    let louder =
        client::call(gate.envoy.admin_at(), &Request::post("/logging?wasm=trace").host("admin").body(b"")).unwrap();
    assert_eq!(louder.status, 200);
    assert_verdicts(&gate, &cases);
    // For each curve 15; for each RSA key 12 for each hash, and three more. The gate does not ask about the others, because they have
    // another length or a zero, use PSS, or were seen before.
    assert_eq!(logged(&gate, "[vm->host] env.proxy_call_foreign_function("), 2 * 15 + 2 * (3 * 12 + 3));
    assert_eq!(logged(&gate, "the filter verifies"), 0);
}

#[test]
fn verdicts_do_not_depend_on_the_foreign_function_capability() {
    if !wasm_only("Envoy restricts no calls of it") {
        return;
    }
    let (policy, cases) = cases();
    let gate = Gate::start_with(&policy, without_the_capability, &Options::default());
    let warned = "the filter verifies ECDSA and RSA signatures itself, which takes longer: the host call `proxy_call_foreign_function` failed";
    let before = logged(&gate, warned);
    assert!(before > 0 && logged(&gate, "the gateway verifies ECDSA") == 0, "{}", gate.envoy.log_tail());
    let refused = logged(&gate, "restricted capability");
    assert_verdicts(&gate, &cases);
    // Each VM logs this once and does not ask again.
    assert_eq!((logged(&gate, warned), logged(&gate, "restricted capability")), (before, refused));
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn oldest_envoy_verifies_signatures_alike() {
    let (policy, cases) = cases();
    let options = Options { binary: Some(oldest(adapter()).unwrap()), ..Options::default() };
    let gate = Gate::start_with(&policy, |_| (), &options);
    if adapter() == Adapter::Module {
        return assert_verdicts(&gate, &cases);
    }
    assert!(logged(&gate, "the gateway verifies ECDSA") > 0, "{}", gate.envoy.log_tail());
    assert_verdicts(&gate, &cases);
    assert_eq!(logged(&gate, "the filter verifies"), 0);
}
