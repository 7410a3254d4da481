//! `callgate revocations sign`: signs a list of revoked credentials.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::identity::crypto::Algorithm;
use serde_json::{Value, json};

use super::TYPE;
use super::feed::{Feed, Lock, MOST_BYTES, replace};
use crate::command::{Exit, Failure};
use callgate_kit::escape;
use callgate_kit::input::Input;
use callgate_kit::mint::SigningKey;
use callgate_kit::moment::{self, Moment, show};

/// The longest lifetime of a list, in seconds. A gate rejects one that is valid for longer.
const MOST_LIFETIME: u64 = 3_600;
/// The most entries that a gate accepts.
const MOST_ENTRIES: usize = 200_000;
/// How far the time of an existing list may be ahead of this machine's clock, in seconds.
const MOST_AHEAD: u64 = 60;

/// Sign a list of revoked credentials for the gates that fetch it
///
/// Prints the list in the form that `revocations.remote.url` must return. Sign and publish it again before it expires, for example every
/// ten minutes: a gate rejects a list that has expired, and a list that is older than the one it has.
///
/// With --out, the file is replaced as a whole, and the time of the new list is always later than that of the list in the file. Without it,
/// a gate rejects a list of the same second as the one that it has if entries are missing: sign it again a second later.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file of the list, which `callgate revoke` writes with `--feed`
    feed: PathBuf,
    /// The private key whose public key the policy has in `revocations.signed_by`, a JWK or PEM: @FILE, - for standard input, or
    /// env:NAME
    #[arg(long, value_name = "KEY")]
    key: Input,
    /// The `kid` of the key in the policy [default: that of the JWK]
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
    /// For whom the list is, as a policy has it in `revocations.audience`. May be repeated
    #[arg(long, value_name = "TEXT")]
    audience: Vec<String>,
    /// How long the list is valid, at most 1h
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = lifetime)]
    expires: Duration,
    /// Write the list to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Signs the list.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let key = private_key(&arguments.key)?;
    let key = match &arguments.kid {
        Some(kid) => key.with_kid(kid),
        None => key,
    };
    if key.kid().is_none_or(str::is_empty) {
        let message = "the key has no `kid`, and gates need one; write it into the JWK, or give it with --kid";
        return Err(Failure::Trouble(format!("--key: {}: {message}", arguments.key)));
    }
    // The feed is read after the lock is taken: a run that read it earlier could otherwise replace a list with more entries.
    let _lock = arguments.out.as_deref().map(Lock::of).transpose()?;
    let feed = Feed::open(&arguments.feed)?;
    let now = Moment::default().resolve();
    let issued = match arguments.out.as_deref().and_then(issued_at) {
        Some(before) if before > now.saturating_add(MOST_AHEAD) => {
            let message = format!(
                "--out: the list in the file was issued at {}, and gates accept only newer ones; set this machine's clock",
                show(before)
            );
            return Err(Failure::Trouble(message));
        }
        Some(before) => now.max(before.saturating_add(1)),
        None => now,
    };
    if feed.len() > MOST_ENTRIES {
        let message = format!("{} has {} entries; gates accept at most {MOST_ENTRIES}", feed.shown(), feed.len());
        return Err(Failure::Trouble(message));
    }
    let expires = issued.saturating_add(arguments.expires.as_secs());
    let mut header = key.header();
    if let Some(members) = header.as_object_mut() {
        members.insert("typ".to_owned(), json!(TYPE));
    }
    let mut payload = json!({ "iat": issued, "exp": expires, "entries": feed.entries() });
    if let Some(members) = payload.as_object_mut()
        && !arguments.audience.is_empty()
    {
        members.insert("aud".to_owned(), json!(arguments.audience));
    }
    let signed = key.sign(&header, &payload);
    if signed.len() as u64 > MOST_BYTES {
        let message =
            format!("{}: the signed list exceeds {} MiB, and gates reject it", feed.shown(), MOST_BYTES >> 20);
        return Err(Failure::Trouble(message));
    }
    match &arguments.out {
        None => writeln!(out, "{signed}")?,
        Some(file) => {
            replace(file, signed.as_bytes())?;
            let file = file.display().to_string();
            writeln!(out, "wrote {}, valid until {}", escape::text(&file), show(expires))?;
        }
    }
    Ok(Exit::Fine)
}

/// Reads the key.
fn private_key(input: &Input) -> Result<SigningKey, Failure> {
    let text = input.read().map_err(|why| Failure::Trouble(format!("--key: {why}")))?;
    let key = if text.contains("-----BEGIN ") {
        SigningKey::from_pem(&text, None).map_err(|error| error.to_string())
    } else {
        let jwk: Result<Value, _> = serde_json::from_str(&text);
        let jwk = jwk.map_err(|_| "neither a JWK nor PEM; `callgate keygen` creates a key".to_owned());
        jwk.and_then(|jwk| SigningKey::from_jwk(&jwk).map_err(|error| error.to_string()))
    };
    let key = key.map_err(|why| Failure::Trouble(format!("--key: {input}: {why}")))?;
    if key.algorithm() == Algorithm::Hs256 {
        let why = "a secret that gates also have cannot sign the list; expected a private key, which `callgate keygen ed25519` creates";
        return Err(Failure::Trouble(format!("--key: {input}: {why}")));
    }
    Ok(key)
}

/// Returns when the list in a file was issued. `None` if the file has no such list.
fn issued_at(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let payload = text.split('.').nth(1)?;
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    payload.get("iat")?.as_u64()
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = moment::span(text)?;
    if (1..=MOST_LIFETIME).contains(&lifetime.as_secs()) {
        Ok(lifetime)
    } else {
        Err("gates reject a list that is valid for longer than `1h`; expected `1s` to `1h`".to_owned())
    }
}
