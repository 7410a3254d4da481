//! `callgate revoke`: writes the entry that revokes a credential.

use std::io::Write;
use std::path::{Path, PathBuf};

use callgate::document::did_you_mean;
use callgate::policy::parse_expiry;
use rsa::sha2::{Digest as _, Sha256};
use serde_json::{Map, Value, json};

use super::revocations::{Feed, Lock, check};
use super::{Exit, Failure};
use crate::render::yaml;
use callgate_kit::input::Input;
use callgate_kit::moment::{Moment, show};
use callgate_kit::policy;

/// Write the entry that revokes a credential, an agent, a key or an issuer
///
/// Prints the entry as the policy contains it (`revoked`). With --feed, the entry is added to the file of a list instead, which
/// `callgate revocations sign` signs. An entry that the list already has is an error, and the file stays as it is. Runs that change the same
/// file wait for each other, by a lock on FILE.lock next to it.
///
/// First find the uses of a leaked token: `callgate records --token @TOKEN LOGS`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// All credentials of this agent of the policy
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present_any = ["actor", "token", "thumbprint", "issuer"],
        conflicts_with_all = ["actor", "token", "thumbprint", "issuer"]
    )]
    agent: Option<String>,
    /// All tokens in whose chain of actors this agent of the policy is
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token", "thumbprint", "issuer"])]
    actor: Option<String>,
    /// One token: `@FILE`, `-` or `env:NAME`, or the 64 hexadecimal digits of SHA-256 of its `header.payload`
    #[arg(long, value_name = "@FILE|HASH", conflicts_with_all = ["thumbprint", "issuer"])]
    token: Option<Input>,
    /// All credentials that prove possession of this key or certificate: a thumbprint, or the `sha256` of an API key
    #[arg(long, value_name = "TEXT", conflicts_with = "issuer")]
    thumbprint: Option<String>,
    /// The name of an issuer of the policy. Alone: all its tokens
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The issuer's token with this `jti`
    #[arg(long, requires = "issuer", conflicts_with_all = ["subject", "client", "kid"])]
    jti: Option<String>,
    /// The issuer's tokens with this `sub`
    #[arg(long, requires = "issuer", conflicts_with_all = ["client", "kid"])]
    subject: Option<String>,
    /// The issuer's tokens for this client
    #[arg(long, requires = "issuer", conflicts_with = "kid")]
    client: Option<String>,
    /// The issuer's tokens that were signed with this key
    #[arg(long, requires = "issuer")]
    kid: Option<String>,
    /// The tenant of the issuer, if the issuer has tenants
    #[arg(long, requires = "issuer", conflicts_with_all = ["jti", "kid"], value_name = "NAME")]
    tenant: Option<String>,
    /// Revoke only tokens that were issued before this time: `now`, `2027-06-30T12:00:00Z`, or relative, such as `-1h`; or before the
    /// end of this day in UTC, such as `2027-06-30`, as in the policy. Keys, certificates and API keys are revoked in any case
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    issued_before: Option<Time>,
    /// The end of the entry: a time such as `+30d` or `2027-06-30T12:00:00Z`, or the end of a day in UTC, such as `2027-06-30`, as in the
    /// policy; a token does not need one that is later than its expiry
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    until: Option<Time>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Add the entry to this file, which is created if it does not exist
    #[arg(long, value_name = "FILE")]
    feed: Option<PathBuf>,
    /// Check that this policy has the named agent, or issuer
    #[arg(long, value_name = "POLICY")]
    policy: Option<PathBuf>,
}

/// A time of an entry.
#[derive(Debug, Clone)]
enum Time {
    /// A day in UTC. The entry contains it as written, because the gate reads it as the end of the day.
    Day(String),
    Moment(Moment),
}

impl Time {
    /// Returns the time as the entry contains it.
    fn written(&self) -> String {
        match self {
            Self::Day(day) => day.clone(),
            Self::Moment(moment) => show(moment.resolve()),
        }
    }
}

/// Prints the entry, or adds it to a file.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let entry = entry(arguments)?;
    if let Some(file) = &arguments.policy {
        check_names(file, &entry)?;
    }
    let entry = Value::Object(entry);
    check(&entry).map_err(Failure::Trouble)?;
    let Some(file) = &arguments.feed else {
        let text = yaml(&json!([entry])).map_err(Failure::Trouble)?;
        writeln!(out, "# for the policy, in `revoked`")?;
        out.write_all(text.as_bytes())?;
        return Ok(Exit::Fine);
    };
    // Another run could otherwise replace the file between its reading and its writing here, and lose its entry.
    let _lock = Lock::of(file)?;
    let mut feed = Feed::open_or_create(file)?;
    feed.add(entry)?;
    feed.save()?;
    let entries = if feed.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", feed.len()) };
    writeln!(out, "added to {}, which now has {entries}; sign it with `callgate revocations sign`", feed.shown())?;
    Ok(Exit::Fine)
}

fn entry(arguments: &Arguments) -> Result<Map<String, Value>, Failure> {
    let Arguments { agent, actor, thumbprint, issuer, jti, subject, client, kid, tenant, reason, .. } = arguments;
    let mut entry = Map::new();
    let texts = [
        ("agent", agent),
        ("actor", actor),
        ("thumbprint", thumbprint),
        ("issuer", issuer),
        ("tenant", tenant),
        ("jti", jti),
        ("subject", subject),
        ("client", client),
        ("kid", kid),
        ("reason", reason),
    ];
    entry.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?)))));
    if let Some(input) = &arguments.token {
        entry.insert("token_sha256".to_owned(), json!(token_sha256(input)?));
    }
    let times = [("issued_before", &arguments.issued_before), ("until", &arguments.until)];
    entry.extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), json!(time.as_ref()?.written())))));
    Ok(entry)
}

/// Returns the hash of a token's `header.payload`. The input is the hash, or the token itself, which should not be passed where the
/// process list shows it.
fn token_sha256(input: &Input) -> Result<String, Failure> {
    const DIGITS: usize = 64;
    let text = input.read().map_err(|why| Failure::Trouble(format!("--token: {why}")))?;
    if matches!(input, Input::Text(_)) {
        let is_hash = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let message = format!(
            "--token: invalid hash; expected {DIGITS} hexadecimal digits, or the token as `@FILE` or `-`. The 16 digits in a record are \
             only the beginning: without the token, revoke its `jti`, its subject or its client"
        );
        return if is_hash { Ok(text.to_ascii_lowercase()) } else { Err(Failure::Trouble(message)) };
    }
    let token = text.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let is_token = callgate::identity::token::token_hash(token.as_bytes()).is_some();
    match token.rsplit_once('.').filter(|_| is_token) {
        Some((signed, _)) => Ok(Sha256::digest(signed).iter().map(|byte| format!("{byte:02x}")).collect()),
        None => Err(Failure::Trouble(format!("--token: {input} contains no JSON Web Token in compact form"))),
    }
}

/// Reports names that a policy does not have.
fn check_names(file: &Path, entry: &Map<String, Value>) -> Result<(), Failure> {
    let loaded = policy::load(file)?;
    let names = |table: &str| {
        let table = loaded.document.value().get(table).and_then(Value::as_object);
        table.into_iter().flatten().map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    for (member, table, kind) in
        [("agent", "agents", "agent"), ("actor", "agents", "agent"), ("issuer", "issuers", "issuer")]
    {
        let Some(written) = entry.get(member).and_then(Value::as_str) else { continue };
        let names = names(table);
        if !names.contains(&written) {
            let listed = format!("it has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
            let help = did_you_mean(written, names, &listed);
            let file = file.display();
            return Err(Failure::Trouble(format!("--{member}: {file} has no {kind} `{written}`; {help}")));
        }
    }
    Ok(())
}

fn time(text: &str) -> Result<Time, String> {
    let is_moment = text.contains(['T', 't']);
    if !is_moment && parse_expiry(text).is_some() {
        return Ok(Time::Day(text.to_owned()));
    }
    let moment = if text == "now" { Ok(Moment::default()) } else { text.parse() };
    moment.map(Time::Moment).map_err(|_: String| {
        "expected `now`, a moment such as `2027-06-30T12:00:00Z` (without `Z`: in local time), a day in UTC such as `2027-06-30`, \
         seconds since 1970, or a time relative to now, such as `-5m`"
            .to_owned()
    })
}
