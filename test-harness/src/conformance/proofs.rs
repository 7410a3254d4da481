//! Proofs of possession: the examples of RFC 9449.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callgate::conformance::{Case, Key, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::engines::Engines;
use super::parse;
use super::report::{Checked, Outcome};

const NO_KEY: &str = "its issuer's key was not published";
const NO_TOKEN: &str = "a proof without `ath` is for a token endpoint, and the gate accepts only proofs for a resource";

#[derive(Deserialize)]
struct File {
    proofs: Vec<Proof>,
    bound_access_tokens_unsigned_example: Vec<String>,
}

#[derive(Deserialize)]
struct Proof {
    proof: String,
    header: Map<String, Value>,
    claims: Claims,
    signature_valid: bool,
    jkt: String,
    access_token: Option<String>,
    ath_matches: Option<bool>,
}

#[derive(Deserialize)]
struct Claims {
    htm: String,
    htu: String,
    iat: u64,
}

pub(super) fn run(text: &str, engines: &mut Engines) -> Result<Vec<Checked>> {
    let File { proofs, bound_access_tokens_unsigned_example: tokens } = parse(text)?;
    let mut checked = Vec::new();
    for (number, proof) in (1..).zip(&proofs) {
        let case = signature(proof).with_context(|| format!("proof {number}"))?;
        let outcome = engines.check(&case, |verdict| {
            let as_expected = match verdict {
                Verdict::Accepted(read) => proof.signature_valid && read["thumbprint"] == *proof.jkt,
                Verdict::Refused(why) => !proof.signature_valid && why == "signature",
                Verdict::Broken(_) => false,
            };
            as_expected.then_some(Outcome::Passed)
        });
        checked.push(Checked::new(format!("proof {number}: signature and thumbprint"), outcome));
        let outcome = engines.check(&call(proof)?, |verdict| match (verdict, proof.ath_matches) {
            (Verdict::Accepted(read), Some(true)) => (read["key"] == *proof.jkt).then_some(Outcome::Passed),
            (Verdict::Refused(why), None) if why == "dpop_claim" => Some(Outcome::Refused(NO_TOKEN)),
            _ => None,
        });
        checked.push(Checked::new(format!("proof {number}: the whole proof"), outcome));
    }
    let skipped =
        (1..).zip(&tokens).map(|(number, _)| Checked::new(format!("token {number}"), Outcome::Skipped(NO_KEY)));
    checked.extend(skipped);
    Ok(checked)
}

/// Returns the case that verifies the proof's signature with the key in the proof.
fn signature(proof: &Proof) -> Result<Case> {
    let (signed, signature) = proof.proof.rsplit_once('.').context("the proof is not a JWS")?;
    let jwk = proof.header.get("jwk").and_then(Value::as_object).context("the proof has no key")?;
    let algorithm = proof.header.get("alg").and_then(Value::as_str).context("the proof has no algorithm")?;
    Ok(Case::Verify {
        key: Key::Jwk(jwk.clone()),
        algorithm: algorithm.to_owned(),
        message: STANDARD.encode(signed),
        signature: STANDARD.encode(URL_SAFE_NO_PAD.decode(signature)?),
    })
}

/// Returns the case that checks the proof in the request that it is for.
fn call(proof: &Proof) -> Result<Case> {
    let Claims { htm, htu, iat } = &proof.claims;
    let start = htu.find("://").context("`htu` is not a URI")? + 3;
    let path = htu.get(start..).and_then(|rest| rest.find('/')).context("`htu` has no path")?;
    let (origin, path) = htu.split_at(start + path);
    Ok(Case::Proof {
        proof: proof.proof.clone(),
        token: proof.access_token.clone().unwrap_or_default(),
        key: proof.jkt.clone(),
        method: htm.clone(),
        origin: origin.to_owned(),
        path: path.to_owned(),
        now: *iat,
    })
}
