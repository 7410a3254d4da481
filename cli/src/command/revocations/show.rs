//! `callgate revocations show`: verifies a signed list of revoked credentials and prints its entries.

use std::fs::File;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::identity::crypto::{Algorithm, PublicJwk, SoftwareVerifier, VerifySignature as _, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::TYPE;
use super::feed::{MOST_BYTES, check};
use crate::command::{Exit, Failure, Format};
use callgate_kit::escape;
use callgate_kit::input::{Input, bounded, unreadable};
use callgate_kit::moment::{Moment, show};

/// Verify a signed list of revoked credentials and print its entries
///
/// Exits with 2 if the list is malformed, was not signed with the key, or has expired.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The signed list, as `callgate revocations sign` writes it: a file, or - for standard input
    file: String,
    /// The public key, a JWK or PEM: @FILE, - for standard input, env:NAME, or its text. A private JWK works too
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Input,
    /// `json` prints {iat, exp, aud, entries}; `aud` only if the list has one
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// For whom a list is.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

/// What a list contains.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    iat: u64,
    exp: u64,
    #[serde(default)]
    aud: Option<Audiences>,
    entries: Vec<Value>,
}

/// Prints the entries.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let key = public_key(&arguments.key)?;
    let text = read(&arguments.file)?;
    let shown = if arguments.file == "-" { "standard input" } else { arguments.file.as_str() };
    let Payload { iat, exp, aud, entries } = match verify(text.trim(), &key) {
        Ok(payload) => payload,
        Err(why) => {
            eprintln!("{}: {}", escape::text(shown), escape::text(&why));
            return Ok(Exit::Failed);
        }
    };
    match arguments.format {
        Format::Json => {
            let mut list = json!({ "iat": iat, "exp": exp, "entries": entries });
            if let (Some(members), Some(aud)) = (list.as_object_mut(), &aud) {
                members.insert("aud".to_owned(), json!(aud));
            }
            writeln!(out, "{}", escape::json(&list)?)?;
        }
        Format::Human => {
            let count = if entries.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", entries.len()) };
            writeln!(out, "{count}, issued at {}, valid until {}", show(iat), show(exp))?;
            if let Some(aud) = &aud {
                writeln!(out, "for {}", escape::json_line(&json!(aud))?)?;
            }
            for entry in &entries {
                writeln!(out, "{}", escape::json_line(entry)?)?;
            }
        }
    }
    if exp <= Moment::default().resolve() {
        eprintln!("{}: the list has expired; gates reject it", escape::text(shown));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Fine)
}

fn read(file: &str) -> Result<String, Failure> {
    let trouble =
        |why: String| Failure::Trouble(format!("{} {why}", if file == "-" { "standard input" } else { file }));
    let bytes = match file {
        "-" => bounded(std::io::stdin().lock(), MOST_BYTES),
        file => File::open(file).map_err(|error| unreadable(&error)).and_then(|file| bounded(file, MOST_BYTES)),
    };
    String::from_utf8(bytes.map_err(trouble)?).map_err(|_| trouble("is not UTF-8 text".to_owned()))
}

/// Reads the key.
fn public_key(input: &Input) -> Result<VerifyingKey, Failure> {
    let text = input.read().map_err(|why| Failure::Trouble(format!("--key: {why}")))?;
    let key = if text.contains("-----BEGIN ") {
        VerifyingKey::from_pem(&text).map_err(|error| error.to_string())
    } else {
        let jwk: Result<Map<String, Value>, _> = serde_json::from_str(&text);
        jwk.map_err(|_| "neither a JWK nor PEM".to_owned()).and_then(|mut jwk| {
            // Nothing secret of the key is used.
            for member in ["d", "p", "q", "dp", "dq", "qi"] {
                jwk.remove(member);
            }
            PublicJwk::read(&jwk).map(|jwk| jwk.key).map_err(|error| error.to_string())
        })
    };
    key.map_err(|why| Failure::Trouble(format!("--key: {input}: {why}")))
}

fn verify(text: &str, key: &VerifyingKey) -> Result<Payload, String> {
    let parts: Vec<_> = text.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err(
            "not a signed list; expected a JWS in compact form, as `callgate revocations sign` writes it".to_owned()
        );
    };
    let decode = |name: &str, part: &str| {
        URL_SAFE_NO_PAD.decode(part).map_err(|_| format!("the {name} of the JWS is not base64url"))
    };
    let header: Value = serde_json::from_slice(&decode("header", header)?)
        .map_err(|_| "the header of the JWS is not JSON".to_owned())?;
    let names: Vec<_> = header.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if let Some(missing) = ["alg", "kid", "typ"].into_iter().find(|name| !names.contains(name)) {
        return Err(format!("the header of the JWS has no `{missing}`, and gates reject it"));
    }
    if let Some(other) = names.iter().find(|name| !["alg", "kid", "typ"].contains(*name)) {
        return Err(format!("the header of the JWS has the member `{other}`, and gates reject it"));
    }
    let member = |name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default();
    if member("typ") != TYPE {
        return Err(format!("the `typ` of the JWS is `{}`; expected `{TYPE}`", member("typ")));
    }
    let algorithm = Algorithm::from_jose(member("alg")).filter(|algorithm| key.fits(*algorithm));
    let algorithm = algorithm.ok_or_else(|| format!("the key cannot verify the algorithm `{}`", member("alg")))?;
    let signed = text.rsplit_once('.').map_or("", |(signed, _)| signed);
    SoftwareVerifier
        .verify(key, algorithm, signed.as_bytes(), &decode("signature", signature)?)
        .map_err(|_| "the signature does not verify with this key".to_owned())?;
    let payload: Payload = serde_json::from_slice(&decode("payload", payload)?)
        .map_err(|error| format!("the payload is not a list of revoked credentials: {error}"))?;
    for (index, entry) in payload.entries.iter().enumerate() {
        check(entry).map_err(|why| format!("entries[{index}]: {why}"))?;
    }
    Ok(payload)
}
