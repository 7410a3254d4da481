//! Properties that hold for any proof of possession, from any sender.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::naive;
use crate::identity::crypto::{Algorithm, BadSignature, SoftwareVerifier, Thumbprint, VerifySignature, VerifyingKey};
use crate::identity::dpop::{Expected, Proof, Rules};
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// Checks that no proof from an outsider is accepted. The input is also signed with the key (the first line is the header, the rest the
/// claims); such a proof is accepted only if it follows all rules.
pub fn dpop(data: &[u8]) {
    assert!(check(data, &SoftwareVerifier).is_err());

    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let proof = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    assert!(check(proof.as_bytes(), &SoftwareVerifier).is_err());
    let proof = match check(proof.as_bytes(), &Trusting) {
        Ok(proof) => proof,
        Err(reason) => {
            assert_ne!(reason, Reason::DpopSignature, "everything verifies");
            return;
        }
    };
    let (header, claims) = (object(header), object(claims));
    let text = |object: &Value, name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!((text(&header, "typ").as_str(), text(&header, "alg").as_str()), ("dpop+jwt", "ES256"));
    assert!(["crit", "b64", "zip", "jku", "x5u", "x5c"].iter().all(|name| header.get(name).is_none()));
    let jwk = header.get("jwk").unwrap_or(&Value::Null);
    assert!(["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().all(|name| jwk.get(name).is_none()));
    assert_eq!(["kty", "crv", "x", "y"].map(|name| text(jwk, name)), ["EC", "P-256", X, Y]);
    assert_eq!((text(&claims, "htm").as_str(), text(&claims, "ath")), ("GET", URL_SAFE_NO_PAD.encode(TOKEN_HASH)));
    assert!(is_uri(&text(&claims, "htu")), "{claims}");
    let jti = text(&claims, "jti");
    assert!((1..=256).contains(&jti.len()) && proof.jti == crate::identity::crypto::sha256(jti.as_bytes()));
    let iat = claims.get("iat").and_then(Value::as_f64);
    let now = NOW.as_secs() as f64;
    assert!(iat.is_some_and(|iat| now < iat + 60.0 && iat <= now + 5.0));
    assert!(proof.key == KEY && proof.until > NOW && proof.until <= NOW.plus(Duration::from_secs(65)));
}

const X: &str = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
const Y: &str = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
/// The generator of P-256 is the public key of a private key that everyone knows.
const KEY: Thumbprint = Thumbprint([
    0xc7, 0x1d, 0x01, 0x70, 0x0f, 0xb0, 0x32, 0x88, 0x70, 0xf1, 0xab, 0x58, 0x0c, 0x93, 0x9e, 0xea, 0x97, 0x86, 0x32,
    0x87, 0x64, 0x94, 0x6d, 0xb0, 0x44, 0x70, 0x65, 0x5c, 0x73, 0x2f, 0x97, 0x43,
]);
const TOKEN_HASH: [u8; 32] = [7; 32];
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A verifier that accepts every signature.
struct Trusting;

impl VerifySignature for Trusting {
    fn verify(&self, _: &VerifyingKey, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

fn check(proof: &[u8], verifier: &dyn VerifySignature) -> Result<Proof, Reason> {
    let rules = Rules {
        required: false,
        algorithms: vec![Algorithm::Es256],
        told: "".into(),
        max_age: Duration::from_secs(60),
        clock_ahead: Duration::from_secs(5),
        nonce: false,
    };
    let expected = Expected {
        token_hash: &TOKEN_HASH,
        key: KEY,
        method: "GET",
        origin: "https://api.example.com",
        path: "/a/b%2Fc",
        nonces: None,
    };
    Proof::check(proof, &rules, expected, NOW, verifier)
}

fn object(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}

/// Returns whether a lenient reader accepts a URI as that of the request: everything is decoded, including dot segments.
fn is_uri(uri: &str) -> bool {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    let Some(rest) = uri.get(8..).filter(|_| uri.to_ascii_lowercase().starts_with("https://")) else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = naive::decode(authority.as_bytes()).to_ascii_lowercase();
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in path.split('/').map(|segment| naive::decode(segment.as_bytes())) {
        match segment.as_slice() {
            b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let host = [&b"api.example.com"[..], b"api.example.com:", b"api.example.com:443"].contains(&authority.as_slice());
    host && segments == [b"a".to_vec(), b"b/c".to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_proof_reaches_the_signature_check() {
        let header =
            format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}}}}"#);
        let ath = URL_SAFE_NO_PAD.encode(TOKEN_HASH);
        let claims = format!(
            r#"{{"jti":"a","htm":"GET","htu":"https://api.example.com/a/b%2Fc","iat":1800000000,"ath":"{ath}"}}"#
        );
        let proof = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(check(proof.as_bytes(), &Trusting).map(|proof| proof.key), Ok(KEY));
        assert_eq!(check(proof.as_bytes(), &SoftwareVerifier), Err(Reason::DpopSignature));
    }
}
