//! The key with which a signature is verified: one that is given, or one of a policy.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::document;
use callgate::identity::crypto::{Algorithm, PublicJwk, VerifyingKey};
use callgate::identity::signature::Input;

use super::Arguments;
use crate::command::Failure;
use crate::command::request::{Encoding, Given, signing};

/// The key that is given, or that of the policy that the signature names.
pub(super) fn key(
    arguments: &Arguments,
    input: &Input<'_>,
    document: Option<&document::Document>,
) -> Result<(VerifyingKey, Algorithm), Failure> {
    if let Some(document) = document {
        let keyid = input
            .keyid
            .as_deref()
            .ok_or_else(|| Failure::Trouble("the signature names no key: it needs `keyid`".to_owned()))?;
        let keys = document.agents.values().flat_map(|agent| agent.signing_keys.iter().flatten());
        let found = keys.filter_map(of_policy).find(|(name, ..)| name.iter().any(|name| name == keyid));
        return found
            .map(|(_, key, algorithm)| (key, algorithm))
            .ok_or_else(|| Failure::Trouble(format!("no key of the policy is called `{}`", keyid.escape_debug())));
    }
    let Some((given, source)) = arguments.key.given()? else {
        return Err(Failure::Trouble(
            "give a key with --key, a secret with --secret, or a policy with --policy".to_owned(),
        ));
    };
    verifying(&given, arguments.key.algorithm).map_err(|why| Failure::Trouble(format!("{source}: {why}")))
}

/// A key that verifies, of a public key or of the private one that it belongs to.
fn verifying(given: &Given, algorithm: Option<Algorithm>) -> Result<(VerifyingKey, Algorithm), String> {
    const TWO: &str =
        "an RSA key can sign in more than one way: name one with --algorithm, `rsa-pss-sha512` or `rsa-v1_5-sha256`";
    let only = |key: &VerifyingKey| {
        [Algorithm::Ed25519, Algorithm::Es256, Algorithm::Es384].into_iter().find(|algorithm| key.fits(*algorithm))
    };
    let (key, own) = match given {
        Given::Secret(secret) => {
            (VerifyingKey::hmac(secret).map_err(|error| error.to_string())?, Some(Algorithm::Hs256))
        }
        Given::Pem(pem) if pem.contains("PRIVATE KEY") => return verifying_of_private(given, algorithm),
        Given::Pem(pem) => (VerifyingKey::from_pem(pem).map_err(|error| error.to_string())?, None),
        Given::Jwk(jwk) if jwk.get("d").is_some() || jwk.get("k").is_some() => {
            return verifying_of_private(given, algorithm);
        }
        Given::Jwk(jwk) => {
            let object = jwk.as_object().ok_or("this is no JWK: give a JSON object")?;
            let read = PublicJwk::read(object).map_err(|error| match error {
                callgate::identity::crypto::JwkError::Wrong(member, why) => format!("{member}: {why}"),
                callgate::identity::crypto::JwkError::Unknown(why) => why.to_string(),
            })?;
            (read.key, read.algorithm)
        }
    };
    let algorithm = algorithm.or(own).or_else(|| only(&key)).ok_or(TWO)?;
    if key.fits(algorithm) {
        Ok((key, algorithm))
    } else {
        Err(format!("`{}` does not fit this key", algorithm.http_name().unwrap_or_default()))
    }
}

fn verifying_of_private(given: &Given, algorithm: Option<Algorithm>) -> Result<(VerifyingKey, Algorithm), String> {
    let key = signing(given, algorithm)?;
    let private = key.private_jwk();
    if let Some(secret) = private.get("k").and_then(serde_json::Value::as_str) {
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|error| error.to_string())?;
        return Ok((VerifyingKey::hmac(&secret).map_err(|error| error.to_string())?, Algorithm::Hs256));
    }
    verifying(&Given::Jwk(key.public_jwk()), Some(key.algorithm()))
}

/// The names of a policy's key, and the key.
fn of_policy(raw: &document::SigningKey) -> Option<(Vec<String>, VerifyingKey, Algorithm)> {
    let algorithm = raw.algorithm.map(Algorithm::from);
    let mut names: Vec<String> = raw.keyid.iter().cloned().collect();
    let given = match (&raw.jwk, &raw.pem, &raw.secret) {
        (Some(jwk), ..) => {
            names.extend(jwk.get("kid").and_then(serde_json::Value::as_str).map(str::to_owned));
            Given::Jwk(jwk.clone().into())
        }
        (_, Some(pem), _) => Given::Pem(pem.clone()),
        (.., Some(secret)) => {
            let text = std::env::var(&secret.env).ok()?;
            Given::Secret(Encoding::from(secret.encoding).decode(text)?)
        }
        (None, None, None) => return None,
    };
    let (key, algorithm) = verifying(&given, algorithm).ok()?;
    names.extend(key.thumbprint().map(|thumbprint| thumbprint.to_string()));
    Some((names, key, algorithm))
}
