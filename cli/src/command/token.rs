//! `callgate token`: mints access tokens for tests.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use serde_json::{Map, Value, json};

use super::{Exit, Failure};
use callgate_kit::input::Input;
use callgate_kit::mint::SigningKey;
use callgate_kit::moment::{self, Moment};

/// Create an access token for tests, signed with a private JWK
///
/// By default, the token is valid from now for five minutes. `exp`, `nbf` and `iat` can be given relative to the time of issue,
/// such as --claim exp=-1h.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The private JWK: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Input,
    /// `iss`
    #[arg(long)]
    issuer: Option<String>,
    /// `sub`
    #[arg(long)]
    subject: Option<String>,
    /// `aud`; can be given several times, which results in an array
    #[arg(long)]
    audience: Vec<String>,
    /// `client_id`
    #[arg(long)]
    client: Option<String>,
    /// `scope`, separated by spaces
    #[arg(long)]
    scope: Option<String>,
    /// All claims as a JSON object: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    claims: Option<Input>,
    /// A claim; VALUE is JSON, or text if it is not valid JSON; can be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
    /// A parameter of the header; VALUE is JSON, or text if it is not valid JSON; can be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// The header's `typ`
    #[arg(long, default_value = "at+jwt")]
    typ: String,
    /// The time from `iat` to `exp`
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = moment::span)]
    lifetime: std::time::Duration,
    /// The time of issue: `2027-06-30T12:00:00Z`, seconds since 1970, or relative to now, such as `-5m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
}

/// Prints the token.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let key = arguments.key.read().map_err(Failure::Trouble)?;
    let key: Value = serde_json::from_str(&key)
        .map_err(|_| Failure::Trouble(format!("--key: {} is not JSON; give a private JWK", arguments.key)))?;
    let key = SigningKey::from_jwk(&key)
        .map_err(|error| Failure::Trouble(format!("--key: {} is not a private JWK: {error}", arguments.key)))?;
    let mut header = object(key.header());
    header.insert("typ".to_owned(), json!(arguments.typ));
    insert_all(&mut header, &arguments.header, "--header")?;
    let claims = claims(arguments)?;
    writeln!(out, "{}", key.sign(&header.into(), &claims.into()))?;
    Ok(Exit::Fine)
}

fn claims(arguments: &Arguments) -> Result<Map<String, Value>, Failure> {
    let now = arguments.at.unwrap_or_default().resolve();
    let mut claims = Map::new();
    claims.insert("iat".to_owned(), json!(now));
    claims.insert("exp".to_owned(), json!(now.saturating_add(arguments.lifetime.as_secs())));
    claims.insert("jti".to_owned(), json!(format!("{:016x}", RandomState::new().build_hasher().finish())));
    if let Some(input) = &arguments.claims {
        let text = input.read().map_err(Failure::Trouble)?;
        let given: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|_| Failure::Trouble(format!("--claims: {input} is not a JSON object")))?;
        claims.extend(given);
    }
    let flags = [
        ("iss", arguments.issuer.clone().map(Value::from)),
        ("sub", arguments.subject.clone().map(Value::from)),
        ("client_id", arguments.client.clone().map(Value::from)),
        ("scope", arguments.scope.clone().map(Value::from)),
        ("aud", audience(&arguments.audience)),
    ];
    claims.extend(flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    insert_all(&mut claims, &arguments.claim, "--claim")?;
    for name in ["exp", "iat", "nbf"] {
        if let Some(time) = claims.get_mut(name)
            && let Some(moment) = time.as_str().and_then(|text| moment::relative(text, now))
        {
            *time = json!(moment);
        }
    }
    Ok(claims)
}

fn audience(given: &[String]) -> Option<Value> {
    match given {
        [] => None,
        [only] => Some(json!(only)),
        more => Some(json!(more)),
    }
}

fn insert_all(object: &mut Map<String, Value>, given: &[String], flag: &str) -> Result<(), Failure> {
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::Trouble(format!("{flag}: invalid value; expected NAME=VALUE")));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        object.insert(name.to_owned(), value);
    }
    Ok(())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
