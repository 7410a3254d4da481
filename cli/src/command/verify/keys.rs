//! The key that verifies a signature: one from the arguments, or one of a policy.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::Policy;
use callgate::Timestamp;
use callgate::identity::crypto::{Algorithm, PublicJwk, VerifyingKey};
use callgate::identity::signature::{Input, SigningKey};

use super::Arguments;
use crate::command::Failure;
use crate::command::request::{Given, signing};
use callgate_kit::moment::{self, Moment};

/// The key that verifies a signature.
pub(super) struct Verifying {
    pub(super) key: VerifyingKey,
    pub(super) algorithm: Algorithm,
    /// Why the policy does not accept the key at the time of the decision.
    pub(super) outside_validity: Option<String>,
}

impl Verifying {
    fn always((key, algorithm): (VerifyingKey, Algorithm)) -> Self {
        Self { key, algorithm, outside_validity: None }
    }
}

/// Returns the given key, or the policy's key that the signature names.
pub(super) fn key(arguments: &Arguments, input: &Input<'_>, policy: Option<&Policy>) -> Result<Verifying, Failure> {
    if let Some(policy) = policy {
        let keyid = input.keyid.as_deref().ok_or_else(|| {
            Failure::Trouble("the signature has no `keyid`; it must name a key of the policy".to_owned())
        })?;
        let found = policy
            .signing_key(keyid)
            .ok_or_else(|| Failure::Trouble(format!("the policy has no key `{}`", keyid.escape_debug())))?;
        return Ok(Verifying {
            key: found.key().clone(),
            algorithm: found.algorithm(),
            outside_validity: outside_validity(keyid, found, arguments.at.unwrap_or_default()),
        });
    }
    let Some((given, source)) = arguments.key.given()? else {
        return Err(Failure::Trouble(
            "give a key with --key, a secret with --secret, or a policy with --policy".to_owned(),
        ));
    };
    verifying(&given, arguments.key.algorithm)
        .map(Verifying::always)
        .map_err(|why| Failure::Trouble(format!("{source}: {why}")))
}

fn outside_validity(keyid: &str, key: &SigningKey, at: Moment) -> Option<String> {
    let at = Timestamp::from_secs(at.resolve());
    let told = |member: &str, wrong: &str, bound: Timestamp, expected: &str| {
        let [at, bound] = [at, bound].map(|moment| moment::show(moment.as_secs()));
        format!("`{member}` of the key `{keyid}`: the key is {wrong} at {at}; expected a time {expected} {bound}")
    };
    match key.validity() {
        (Some(start), _) if at < start => Some(told("not_before", "not yet valid", start, "from")),
        (_, Some(end)) if at >= end => Some(told("not_after", "no longer valid", end, "before")),
        _ => None,
    }
}

/// Creates a verifying key from a public key, or from the private key that belongs to it.
fn verifying(given: &Given, algorithm: Option<Algorithm>) -> Result<(VerifyingKey, Algorithm), String> {
    const TWO: &str =
        "an RSA key has several algorithms; choose one with --algorithm: `rsa-pss-sha512` or `rsa-v1_5-sha256`";
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
            let object = jwk.as_object().ok_or("not a JWK; expected a JSON object")?;
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
        Err(format!("--algorithm: this key cannot be used with `{}`", algorithm.http_name().unwrap_or_default()))
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
