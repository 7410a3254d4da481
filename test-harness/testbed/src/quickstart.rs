//! The policy of `examples/quickstart`, and its issuer. The key set and the private keys of the issuer are next to the policy, and are all
//! public.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use crate::paths;

/// The API's name in the policy.
pub const HOST: &str = "api.example.com";

/// Returns the policy in the form that the filter gets.
///
/// # Errors
/// When it cannot be read.
pub fn policy() -> Result<Value> {
    let policy = callgate_kit::document::read(paths::root().join("examples/quickstart/policy.yaml"))
        .context("the quickstart's policy cannot be read")?;
    Ok(policy.value().clone())
}

/// Returns the policy with the issuer's key set in it, for gateways that cannot fetch it, and for measurements: a fetch in the middle of one
/// would be part of its result.
///
/// # Errors
/// When the policy or the key set cannot be read.
pub fn policy_with_keys() -> Result<Value> {
    let mut policy = policy()?;
    let keys = policy.pointer_mut("/issuers/corp/keys").context("the quickstart's policy has no keys")?;
    *keys = json!({ "jwks": key_set()? });
    Ok(policy)
}

/// Returns the key set that the issuer publishes.
///
/// # Errors
/// When it cannot be read.
pub fn key_set() -> Result<Value> {
    read("jwks.json")
}

/// Mints tokens as the policy's issuer does.
pub struct Issuer {
    /// The key with which most tokens are signed.
    pub es256: SigningKey,
    /// The other key.
    pub ed25519: SigningKey,
    /// The time at which its tokens are issued, in seconds since 1970.
    pub now: u64,
}

impl Issuer {
    /// Creates the issuer. Its tokens are valid from now on for ten minutes.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub fn new() -> Result<Self> {
        Self::at(now()?)
    }

    /// Creates the issuer at another time, in seconds since 1970.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub fn at(now: u64) -> Result<Self> {
        Ok(Self { es256: key("es256")?, ed25519: key("ed25519")?, now })
    }

    /// Mints an access token (RFC 9068) for an agent of the organization `acme`.
    pub fn token(&self, agent: &str, scopes: &str) -> String {
        self.with(agent, scopes, |_, _| ())
    }

    /// Mints a token with changes to its header and claims.
    pub fn with(&self, agent: &str, scopes: &str, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        self.sign(&self.es256, agent, scopes, change)
    }

    /// Mints a token with changes, signed with another key.
    pub fn sign(
        &self,
        key: &SigningKey,
        agent: &str,
        scopes: &str,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> String {
        let mut header = key.header();
        set(&mut header, "typ", "at+jwt");
        let mut claims = json!({
            "iss": "https://idp.example.com",
            "aud": "https://api.example.com",
            "sub": agent,
            "client_id": agent,
            "org": "acme",
            "scope": scopes,
            "iat": self.now,
            "exp": self.now + 600,
            "jti": format!("{agent}-{}", self.now),
        });
        change(&mut header, &mut claims);
        key.sign(&header, &claims)
    }
}

/// Returns the current time in seconds since 1970.
///
/// # Errors
/// When the clock is set to an earlier time.
pub fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set before 1970")?.as_secs())
}

/// Sets a member of an object.
pub fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

fn key(name: &str) -> Result<SigningKey> {
    let name = format!("{name}.jwk.json");
    SigningKey::from_jwk(&read(&name)?).with_context(|| format!("{name} cannot sign"))
}

/// Reads a file in the folder of the keys.
fn read(name: &str) -> Result<Value> {
    let file = paths::root().join("examples/quickstart/keys").join(name);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_keys_are_the_public_halves_of_the_signing_keys() {
        let issuer = Issuer::new().unwrap();
        let mut published = key_set().unwrap()["keys"].take();
        for key in published.as_array_mut().unwrap() {
            assert_eq!(key.as_object_mut().unwrap().remove("use"), Some(json!("sig")));
        }
        assert_eq!(published, json!([issuer.es256.public_jwk(), issuer.ed25519.public_jwk()]));
    }

    #[test]
    fn the_policy_with_keys_differs_only_in_their_source() {
        let (fetching, mut inline) = (policy().unwrap(), policy_with_keys().unwrap());
        let keys = inline["issuers"]["corp"]["keys"].take();
        assert_eq!(keys, json!({ "jwks": key_set().unwrap() }));
        inline["issuers"]["corp"]["keys"] = fetching["issuers"]["corp"]["keys"].clone();
        assert_eq!(inline, fetching);
    }
}
