//! Tests of proofs. Most of the proofs have one mistake.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Expected, Nonces, Proof, Rules};
use crate::identity::crypto::testing::Asking;
use crate::identity::crypto::{
    Algorithm, BadSignature, PublicJwk, SoftwareVerifier, Thumbprint, VerifySignature, VerifyingKey,
};
use crate::identity::token::testing::{NOW, Signs, at, b64, sign, sign_text, with};
use crate::reason::Reason;
use crate::state::{MemoryStore, Namespace};
use crate::text::time::Timestamp;

const KEY: Signs = Signs::P256(1);
const TOKEN: &[u8] = b"a.b.c";

fn rules() -> Rules {
    Rules {
        required: false,
        algorithms: vec![Algorithm::Es256, Algorithm::Es384, Algorithm::Ed25519, Algorithm::Rs256],
        told: "".into(),
        max_age: Duration::from_secs(60),
        clock_ahead: Duration::from_secs(5),
        nonce: false,
    }
}

fn thumbprint(key: Signs) -> Thumbprint {
    let jwk = key.jwk();
    PublicJwk::read(jwk.as_object().unwrap()).unwrap().key.thumbprint().unwrap()
}

fn header() -> Value {
    json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk() })
}

fn claims() -> Value {
    json!({
        "jti": "one", "htm": "GET", "htu": "https://api.example.com/x/1", "iat": NOW,
        "ath": b64(hmac_sha256::Hash::hash(TOKEN)),
    })
}

fn check_with(proof: &[u8], key: Thumbprint, nonces: Option<Nonces<'_>>) -> Result<Proof, Reason> {
    let token_hash = &hmac_sha256::Hash::hash(TOKEN);
    let (method, origin, path) = ("GET", "https://api.example.com", "/x/1");
    let expected = Expected { token_hash, key, method, origin, path, nonces };
    // Only the last check verifies a signature.
    let counting = Counting::default();
    let checked = Proof::check(proof, &rules(), expected, at(0), &counting);
    let computes = checked.is_ok() || checked == Err(Reason::DpopSignature);
    assert_eq!(counting.0.get(), usize::from(computes), "{checked:?}");
    checked
}

fn check(proof: &[u8]) -> Result<Proof, Reason> {
    check_with(proof, thumbprint(KEY), None)
}

#[derive(Default)]
struct Counting(Cell<usize>);

impl VerifySignature for Counting {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        SoftwareVerifier.verify(key, algorithm, message, signature)
    }
}

fn saying(changes: Value) -> Vec<u8> {
    sign(KEY, &header(), &with(claims(), changes))
}

fn headed(changes: Value) -> Vec<u8> {
    sign(KEY, &with(header(), changes), &claims())
}

#[test]
fn returns_the_replay_window_of_a_valid_proof() {
    let proof = check(&sign(KEY, &header(), &claims())).unwrap();
    assert_eq!(proof.key, thumbprint(KEY));
    assert_eq!(proof.jti, hmac_sha256::Hash::hash(b"one"));
    assert_eq!((proof.issued, proof.until, proof.nonce_ends), (at(0), at(60), false));
}

#[test]
fn accepts_proofs_from_every_key_type() {
    for (key, algorithm) in [
        (Signs::P256(2), "ES256"),
        (Signs::P384(1), "ES384"),
        (Signs::Ed25519(1), "Ed25519"),
        (Signs::Ed25519(1), "EdDSA"),
        (Signs::Rsa, "RS256"),
    ] {
        let proof = sign(key, &json!({ "typ": "dpop+jwt", "alg": algorithm, "jwk": key.jwk() }), &claims());
        assert_eq!(check_with(&proof, thumbprint(key), None).map(|_| ()), Ok(()), "{algorithm}");
        assert_eq!(check(&proof), Err(Reason::DpopBinding), "{algorithm}");
    }
}

#[test]
fn rejects_malformed_proofs() {
    let good = String::from_utf8(sign(KEY, &header(), &claims())).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let long = sign(KEY, &with(header(), json!({ "x": "a".repeat(8 * 1024) })), &claims());
    let twice = header().to_string().replacen('{', "{\"typ\":\"dpop+jwt\",", 1);
    let two_htu = claims().to_string().replacen('{', "{\"htu\":\"https://other.example\",", 1);
    for wrong in [
        String::new(),
        "proof".to_owned(),
        format!("{good},{good}"),
        format!("{good}, {good}"),
        format!(" {good}"),
        format!("{good}="),
        format!("{good}\n"),
        signed.to_owned(),
        format!("{good}.e30.e30"),
        format!("{signed}..{signature}"),
        format!("{signed}.{signature}.{signature}"),
        good.replace('_', "/").replace('-', "+") + "+",
        String::from_utf8(long).unwrap(),
        String::from_utf8(sign_text(KEY, &twice, &claims().to_string())).unwrap(),
        String::from_utf8(sign_text(KEY, &header().to_string(), &two_htu)).unwrap(),
        // A proof inside a proof.
        String::from_utf8(sign_text(KEY, &header().to_string(), &good)).unwrap(),
        String::from_utf8(sign_text(KEY, &header().to_string(), "[]")).unwrap(),
    ] {
        assert_eq!(check(wrong.as_bytes()), Err(Reason::DpopMalformed), "{wrong}");
    }
    assert_eq!(check(b"\xff"), Err(Reason::DpopMalformed));
}

#[test]
fn rejects_a_wrong_typ_and_unsupported_header_parameters() {
    for typ in [json!(null), json!("JWT"), json!("at+jwt"), json!("DPOP+JWT"), json!("application/dpop+jwt"), json!(1)]
    {
        assert_eq!(check(&headed(json!({ "typ": typ }))), Err(Reason::DpopHeader), "{typ}");
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("jku", json!("https://other.example/jwks")),
        ("x5u", json!("https://other.example/x")),
        ("x5c", json!(["AA=="])),
    ] {
        assert_eq!(check(&headed(json!({ name: value }))), Err(Reason::DpopHeader), "{name}");
    }
    // `kid` does not select a key.
    assert!(check(&headed(json!({ "kid": "other" }))).is_ok());
}

#[test]
fn requires_an_allowed_algorithm_that_fits_the_key() {
    for alg in [json!(null), json!("none"), json!("NONE"), json!("HS256"), json!("PS256"), json!("es256"), json!(1)] {
        assert_eq!(check(&headed(json!({ "alg": alg }))), Err(Reason::DpopAlgorithm), "{alg}");
    }
    for alg in ["ES384", "Ed25519", "RS256"] {
        assert_eq!(check(&headed(json!({ "alg": alg }))), Err(Reason::DpopAlgorithm), "{alg}");
    }
    let named = |alg: &str| headed(json!({ "jwk": with(KEY.jwk(), json!({ "alg": alg })) }));
    assert!(check(&named("ES256")).is_ok());
    assert_eq!(check(&named("ES384")), Err(Reason::DpopKey));
    let rsa = json!({ "alg": "RS256", "jwk": with(Signs::Rsa.jwk(), json!({ "alg": "PS256" })) });
    assert_eq!(check(&headed(rsa)), Err(Reason::DpopAlgorithm));
}

#[test]
fn rejects_a_symmetric_key_in_a_proof() {
    let secret = b"a secret of thirty-two bytes, or";
    let jwk = json!({ "kty": "oct", "k": b64(secret) });
    let proof =
        |jwk: Value| sign(Signs::Secret(secret), &json!({ "typ": "dpop+jwt", "alg": "HS256", "jwk": jwk }), &claims());
    assert_eq!(check(&proof(jwk.clone())), Err(Reason::DpopAlgorithm));
    assert_eq!(check(&proof(KEY.jwk())), Err(Reason::DpopAlgorithm));
    assert_eq!(check(&headed(json!({ "jwk": jwk }))), Err(Reason::DpopKey));
}

#[test]
fn rejects_private_and_invalid_keys() {
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        let jwk = with(KEY.jwk(), json!({ private: "AA" }));
        assert_eq!(check(&headed(json!({ "jwk": jwk }))), Err(Reason::DpopKey), "{private}");
    }
    let other_point = Signs::P256(2).jwk();
    for jwk in [
        json!(null),
        json!("key"),
        json!([KEY.jwk()]),
        json!({}),
        with(KEY.jwk(), json!({ "kty": null })),
        with(KEY.jwk(), json!({ "kty": "RSA" })),
        with(KEY.jwk(), json!({ "crv": "P-384" })),
        with(KEY.jwk(), json!({ "crv": "secp256k1" })),
        with(KEY.jwk(), json!({ "y": null })),
        with(KEY.jwk(), json!({ "y": other_point["y"] })),
        with(KEY.jwk(), json!({ "x": b64([0; 32]), "y": b64([0; 32]) })),
        with(KEY.jwk(), json!({ "x": format!("{}=", KEY.jwk()["x"].as_str().unwrap()) })),
        with(KEY.jwk(), json!({ "use": "enc" })),
        with(KEY.jwk(), json!({ "key_ops": ["sign"] })),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": b64([0; 32]) }),
        json!({ "kty": "OKP", "crv": "X25519", "x": b64([9; 32]) }),
        json!({ "kty": "RSA", "n": b64([0xff; 128]), "e": "AQAB" }),
        json!({ "kty": "RSA", "n": b64([0xff; 1024]), "e": "AQAB" }),
        json!({ "kty": "RSA", "n": Signs::Rsa.jwk()["n"], "e": "Aw" }),
    ] {
        assert_eq!(check(&headed(json!({ "jwk": jwk }))), Err(Reason::DpopKey), "{jwk}");
    }
}

#[test]
fn requires_the_key_that_the_token_is_bound_to() {
    let proof = sign(Signs::P256(2), &headed_with(Signs::P256(2)), &claims());
    assert_eq!(check(&proof), Err(Reason::DpopBinding));
    // The header has the right key, but another key signs.
    assert_eq!(check(&sign(Signs::P256(2), &header(), &claims())), Err(Reason::DpopSignature));
}

fn headed_with(key: Signs) -> Value {
    with(header(), json!({ "jwk": key.jwk() }))
}

#[test]
fn rejects_missing_and_invalid_claims() {
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        for value in [json!(null), json!([]), json!({}), json!(true), json!(["GET"])] {
            assert_eq!(check(&saying(json!({ name: value }))), Err(Reason::DpopClaim), "{name} {value}");
        }
    }
    for (name, value) in [
        ("jti", json!("")),
        ("jti", json!(1)),
        ("jti", json!("a".repeat(257))),
        ("iat", json!(NOW.to_string())),
        ("iat", json!(-1)),
        ("iat", json!(1e300)),
        ("ath", json!(1)),
    ] {
        assert_eq!(check(&saying(json!({ name: value }))), Err(Reason::DpopClaim), "{name} {value}");
    }
    let text = claims().to_string().replace("\"one\"", "null");
    assert_eq!(check(&sign_text(KEY, &header().to_string(), &text)), Err(Reason::DpopClaim));
    assert!(check(&saying(json!({ "jti": "a".repeat(256) }))).is_ok());
    assert!(check(&saying(json!({ "nonce": 1, "aud": 1, "other": {} }))).is_ok());
}

#[test]
fn requires_the_method_target_and_token_of_the_request() {
    for method in ["POST", "get", "GET ", "HEAD"] {
        assert_eq!(check(&saying(json!({ "htm": method }))), Err(Reason::DpopMethod), "{method}");
    }
    for target in ["https://api.example.com/x/2", "https://api.example.com/x", "http://api.example.com/x/1", "/x/1", ""]
    {
        assert_eq!(check(&saying(json!({ "htu": target }))), Err(Reason::DpopTarget), "{target}");
    }
    assert!(check(&saying(json!({ "htu": "HTTPS://API.example.com:443/x/%31?y#z" }))).is_ok());
    let ath = b64(hmac_sha256::Hash::hash(TOKEN));
    for token in [b64(hmac_sha256::Hash::hash(b"other")), format!("{ath}="), ath.to_lowercase(), String::new()] {
        assert_eq!(check(&saying(json!({ "ath": token }))), Err(Reason::DpopToken), "{token}");
    }
}

#[test]
fn rejects_proofs_that_are_too_old_or_in_the_future() {
    for (offset, taken) in [(0, true), (5, true), (6, false), (3600, false), (-59, true), (-60, false), (-3600, false)]
    {
        let iat = NOW.checked_add_signed(offset).unwrap();
        let expected = if taken { Ok(()) } else { Err(Reason::DpopTime) };
        assert_eq!(check(&saying(json!({ "iat": iat }))).map(|_| ()), expected, "{offset}");
    }
    let fraction = |iat: &str| {
        let text = claims().to_string().replace(&NOW.to_string(), iat);
        check(&sign_text(KEY, &header().to_string(), &text)).map(|proof| proof.until)
    };
    assert_eq!(fraction("1799999940.5"), Ok(at(0).plus(Duration::from_millis(500))));
    assert_eq!(fraction("1800000005.5"), Err(Reason::DpopTime));
}

#[test]
fn honors_exp_and_nbf() {
    let at_offset = |offset: i64| NOW.checked_add_signed(offset).unwrap();
    for (exp, until) in [(1, Some(1)), (59, Some(59)), (60, Some(60)), (3600, Some(60)), (0, None), (-1, None)] {
        let expected = until.map(at).ok_or(Reason::DpopTime);
        assert_eq!(check(&saying(json!({ "exp": at_offset(exp) }))).map(|proof| proof.until), expected, "{exp}");
    }
    for (nbf, valid) in [(-3600, true), (0, true), (5, true), (6, false), (3600, false)] {
        let expected = if valid { Ok(at(60)) } else { Err(Reason::DpopTime) };
        assert_eq!(check(&saying(json!({ "nbf": at_offset(nbf) }))).map(|proof| proof.until), expected, "{nbf}");
    }
    // A proof that expires before it becomes valid, within the allowed clock skew.
    for times in [json!({ "iat": NOW + 5, "exp": NOW + 5 }), json!({ "nbf": NOW + 3, "exp": NOW + 2 })] {
        assert_eq!(check(&saying(times.clone())).unwrap_err(), Reason::DpopTime, "{times}");
    }
    for name in ["exp", "nbf"] {
        for value in [json!([]), json!({}), json!(true), json!(NOW.to_string()), json!(-1), json!(1e300)] {
            assert_eq!(check(&saying(json!({ name: value }))), Err(Reason::DpopTime), "{name} {value}");
        }
        let text = claims().to_string().replacen('{', &format!("{{\"{name}\":null,"), 1);
        assert_eq!(check(&sign_text(KEY, &header().to_string(), &text)), Err(Reason::DpopTime), "{name} null");
    }
}

#[test]
fn rejects_a_proof_with_an_altered_signature() {
    let good = String::from_utf8(sign(KEY, &header(), &claims())).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[40] ^= 1;
    for signature in [b64(&bytes), b64(&bytes[..63]), b64([0; 64]), String::new()] {
        assert_eq!(check(format!("{signed}.{signature}").as_bytes()), Err(Reason::DpopSignature));
    }
}

#[test]
fn every_worker_accepts_a_nonce_until_it_expires() {
    let store = MemoryStore::default();
    let namespace = |secret: u8| Namespace::open(&store, "n", 8, [secret; 16]).unwrap().namespace;
    let (mine, theirs) = (namespace(1), namespace(2));
    let at = |seconds: u64| Timestamp::from_secs(NOW + seconds);
    let made = Nonces::new(&mine, at(0)).current();
    assert_eq!(made.len(), 22);
    let check = |seconds: u64, nonce: &str| {
        let iat = NOW;
        let proof = sign(KEY, &header(), &with(claims(), json!({ "iat": iat, "nonce": nonce })));
        check_with(&proof, thumbprint(KEY), Some(Nonces::new(&theirs, at(seconds)))).map(|proof| proof.nonce_ends)
    };
    for (seconds, expected) in
        [(0, Ok(false)), (59, Ok(false)), (60, Ok(true)), (119, Ok(true)), (120, Err(Reason::DpopNonce))]
    {
        assert_eq!(check(seconds, &made), expected, "{seconds}");
    }
    for wrong in ["", "AAAAAAAAAAAAAAAAAAAAAA", &made.to_lowercase(), &format!("{made}=")] {
        assert_eq!(check(0, wrong), Err(Reason::DpopNonce), "{wrong}");
    }
    // A nonce of a future time span is not valid yet.
    assert_eq!(check(0, &Nonces::new(&mine, at(60)).current()), Err(Reason::DpopNonce));
    let other = Namespace::open(&MemoryStore::default(), "n", 8, [3; 16]).unwrap().namespace;
    assert_eq!(check(0, &Nonces::new(&other, at(0)).current()), Err(Reason::DpopNonce));
    let none = check_with(&sign(KEY, &header(), &claims()), thumbprint(KEY), Some(Nonces::new(&mine, at(0))));
    assert_eq!(none, Err(Reason::DpopNonce));
}

/// Tests the examples of RFC 9449, if they are next to the workspace.
#[test]
fn verifies_the_examples_of_rfc_9449() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/dpop/rfc9449_examples.json");
    let Ok(text) = std::fs::read(&path) else {
        eprintln!("not run: {} is not here", path.display());
        return;
    };
    let document: Value = serde_json::from_slice(&text).unwrap();
    let proofs = document["proofs"].as_array().unwrap();
    assert!(proofs.len() >= 3);
    let mut taken = 0;
    for case in proofs {
        let text = |pointer: &str| case.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let jkt: [u8; 32] = URL_SAFE_NO_PAD.decode(text("/jkt")).unwrap().try_into().unwrap();
        let (scheme, rest) = text("/claims/htu").split_once("://").unwrap();
        let (authority, path) = rest.split_at(rest.find('/').unwrap());
        let origin = &format!("{scheme}://{authority}");
        let token_hash = &hmac_sha256::Hash::hash(text("/access_token").as_bytes());
        let method = text("/claims/htm");
        let expected = Expected { token_hash, key: Thumbprint(jkt), method, origin, path, nonces: None };
        let now = Timestamp::from_secs(case["claims"]["iat"].as_u64().unwrap());
        let checked = Proof::check(text("/proof").as_bytes(), &rules(), expected, now, &SoftwareVerifier);
        // The proofs for the token endpoint come without an access token, and therefore without its hash.
        let with_token = case["access_token"].is_string();
        assert_eq!(
            checked.map(|proof| proof.key),
            if with_token { Ok(Thumbprint(jkt)) } else { Err(Reason::DpopClaim) }
        );
        taken += usize::from(with_token);
    }
    assert!(taken >= 1);
}

#[test]
fn checks_the_auth_failure_limit_before_parsing_a_proof() {
    let judge = |line: &[u8], admits| {
        let asking = Asking::new(admits);
        let token_hash = &hmac_sha256::Hash::hash(TOKEN);
        let expected = Expected {
            token_hash,
            key: thumbprint(KEY),
            method: "GET",
            origin: "https://api.example.com",
            path: "/r",
            nonces: None,
        };
        let result = Proof::check(line, &rules(), expected, Timestamp::from_secs(NOW), &asking).map(drop);
        (result, asking.asked.into_inner())
    };
    let asked = vec![thumbprint(KEY).to_string()];
    assert_eq!(judge(b"x", true), (Err(Reason::DpopMalformed), asked.clone()));
    assert_eq!(judge(b"x", false), (Err(Reason::CredentialsLimited), asked));
}
