//! `callgate keygen --api-key`: generates an API key, and prints it once with its entry for a policy.

use std::io::Write;

use callgate::identity::crypto::Algorithm;
use callgate_kit::escape;
use callgate_kit::mint::SigningKey;
use callgate_kit::moment::{self, Moment};
use rsa::sha2::{Digest as _, Sha256};
use serde_json::{Value, json};

use super::{Exit, Failure, Format};

/// The lifetime that the entry suggests, in seconds.
const LIFETIME: i64 = 90 * 86_400;

/// Reads a prefix, in the form that a policy requires.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (2..=16).contains(&text.len()) && text.bytes().all(plain) && text.ends_with(['-', '_']) {
        Ok(text.to_owned())
    } else {
        Err("expected 2 to 16 letters, digits, `-` or `_`, with `-` or `_` at the end, such as `cgk_`".to_owned())
    }
}

/// Generates a key of 256 bits.
pub(super) fn run(prefix: &str, format: Format, out: &mut dyn Write) -> Result<Exit, Failure> {
    let secret = SigningKey::generate(Algorithm::Hs256).map_err(|error| Failure::Trouble(error.to_string()))?;
    let jwk = secret.private_jwk();
    // The secret in base64url, 43 characters.
    let Some(random) = jwk.get("k").and_then(Value::as_str) else {
        return Err(Failure::Trouble("the random key has no value".to_owned()));
    };
    let key = format!("{prefix}{random}");
    let sha256: String = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let until = moment::show(Moment::FromNow(LIFETIME).resolve());
    let not_after = until.split('T').next().unwrap_or_default();
    let entry = json!({ "sha256": sha256, "not_after": not_after });
    match format {
        Format::Json => writeln!(out, "{}", escape::json(&json!({ "api_key": key, "entry": entry }))?)?,
        Format::Human => {
            writeln!(out, "{key}")?;
            writeln!(out)?;
            writeln!(out, "# install the key where the client runs; it is not shown again, and nothing stores it")?;
            writeln!(out, "# for the policy, in the agent's entry; choose the earliest `not_after` that works")?;
            writeln!(out, "api_keys:")?;
            writeln!(out, "  - {{ sha256: {sha256}, not_after: {not_after} }}")?;
        }
    }
    Ok(Exit::Fine)
}
