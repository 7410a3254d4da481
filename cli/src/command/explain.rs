//! `callgate explain`: prints every check of one request in order, with the values that decided it and the position of the rule in
//! the policy.

use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::identity::token::json;
use callgate::{Answer, Change, Check, ClientCertificate, Decision, Headers, Reason, Source, Trace, Traced};
use serde_json::Value;

use super::request::header;
use super::{Exit, Failure, Format};
use crate::decide::{Asked, Body, Undecidable, decide};
use callgate_kit::diagnostic::Position;
use callgate_kit::input::Input;
use callgate_kit::moment::{self, Moment};
use callgate_kit::policy::{Loaded, environment};
use callgate_kit::{escape, policy};

mod nearest;
mod operation;
mod record;

/// Explain what a policy decides about a request, or describe a decision record
///
/// Runs every check, including those after a check that denies, and prints the values that decided each and the position of the
/// rule in the policy. Secrets from environment variables are used if they are set. Where the body decides, as on endpoints with `rpc`,
/// give it with --body, and its media type with -H. With --record, nothing is decided: the record is described in words. If the policy is
/// given too, the description shows where its rules are.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy, in YAML or JSON
    #[arg(required_unless_present = "record")]
    policy: Option<PathBuf>,
    /// Describe a decision record in words: @FILE, - for standard input, env:NAME, or its text; or a log line that contains one
    #[arg(long, value_name = "RECORD", allow_hyphen_values = true,
          conflicts_with_all = ["method", "path", "host", "headers", "token", "body", "source", "certificate", "at"])]
    record: Option<Input>,
    /// The method
    #[arg(long, default_value = "GET")]
    method: String,
    /// The path, including the query
    #[arg(long, required_unless_present = "record")]
    path: Option<String>,
    /// The host [default: the first host of the policy]
    #[arg(long)]
    host: Option<String>,
    /// A header line; can be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The access token, which is sent where the policy accepts one: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, allow_hyphen_values = true)]
    token: Option<Input>,
    /// The body: @FILE, - for standard input, env:NAME, or its text; without a value, the request has a body whose content is not known
    #[arg(long, value_name = "BODY")]
    body: Option<Option<Input>>,
    /// The client's IP address
    #[arg(long, value_name = "ADDRESS", value_parser = source)]
    source: Option<Source>,
    /// The client's certificate, in PEM: @FILE, - for standard input, env:NAME, or its text. Of several, the first is used. Its issuer and
    /// the beginning of its validity are not checked, because the gateway does that
    #[arg(long, value_name = "CERTIFICATE", allow_hyphen_values = true)]
    certificate: Option<Input>,
    /// The time of the request: `2027-06-30T12:00:00Z`, seconds since 1970, or relative to now, such as `-5m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    /// The key set of an issuer whose keys the gate fetches: the issuer's name, `=`, and @FILE, - for standard input, env:NAME, or its
    /// text; can be given several times
    #[arg(long = "keys", value_name = "ISSUER=KEYS", value_parser = keys)]
    keys: Vec<(String, Input)>,
    /// The list of revoked credentials that the gate fetches, signed if the policy has `signed_by`: @FILE, - for standard input, env:NAME,
    /// or its text. Its times are not checked
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    revocations: Option<Input>,
    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Explains the request.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (policy, path) = match (&arguments.record, &arguments.policy, &arguments.path) {
        (Some(input), policy, _) => return record::run(input, policy.as_deref(), arguments.format, out),
        (None, Some(policy), Some(path)) => (policy, path.as_str()),
        // The argument definitions require both in this case.
        (None, ..) => {
            return Err(Failure::Trouble(
                "arguments: nothing to explain; give a policy and --path, or --record".to_owned(),
            ));
        }
    };
    let loaded = policy::load_with(policy, &environment)?;
    let host = match (&arguments.host, loaded.document.value().pointer("/hosts/0").and_then(Value::as_str)) {
        (Some(host), _) => host.clone(),
        (None, Some(first)) => first.to_owned(),
        (None, None) => {
            return Err(Failure::Trouble("--host: the policy lists no hosts; give the host of the request".to_owned()));
        }
    };
    let time = arguments.at.unwrap_or_default().resolve();
    let token = arguments.token.as_ref().map(Input::read).transpose();
    let token = token.map_err(|problem| Failure::Trouble(format!("--token: {problem}")))?;
    let headers = lines(arguments, path, &host, token.as_deref().map(|token| loaded.policy.header_with_token(token)));
    let body = match &arguments.body {
        None => None,
        Some(None) => Some(None),
        Some(Some(input)) => {
            Some(Some(input.bytes().map_err(|problem| Failure::Trouble(format!("--body: {problem}")))?))
        }
    };
    let certificate = arguments.certificate.as_ref().map(certificate).transpose()?;
    let mut keys = Vec::new();
    for (issuer, input) in &arguments.keys {
        let set = input.bytes().map_err(|problem| Failure::Trouble(format!("--keys: {issuer}: {problem}")))?;
        keys.push((issuer.clone(), set));
    }
    let revocations = arguments.revocations.as_ref().map(list).transpose()?;
    let with = |body| Asked {
        policy: &loaded.policy,
        headers: &headers,
        body,
        source: arguments.source,
        certificate: certificate.as_ref(),
        time,
        keys: &keys,
        revocations: revocations.as_deref(),
    };
    let document = loaded.document.value();
    let asked = with(match &body {
        None => {
            // An empty body would be denied, which explains nothing.
            let needed =
                decide(&with(Body::None), None, |decision, _| operation::needs_body(document, &record_of(decision)));
            if needed.unwrap_or(false) { Body::Unknown } else { Body::None }
        }
        Some(None) => Body::Unknown,
        Some(Some(body)) => Body::Known(body),
    });
    let mut trace = Trace::new();
    let subject = Subject { method: &arguments.method, host: &host, path, time: moment::show(time) };
    let printed = decide(&asked, Some(&mut trace), |decision, trace| -> Result<(), Failure> {
        let Some(trace) = trace else { return Ok(()) };
        let refused = trace.iter_mut().find(|traced| traced.check == Check::Credential && traced.denied.is_some());
        if let (Some(traced), Some(token)) = (refused, &token) {
            if traced.denied == Some(Reason::KeysUnavailable) {
                traced.facts.push((
                    "to verify the token here",
                    "give this command the key set of its issuer with `--keys`".to_owned(),
                ));
            }
            traced.facts.extend(unverified(token));
        }
        let unknown = trace.iter_mut().find(|traced| traced.denied == Some(Reason::RevocationsUnavailable));
        if let Some(traced) = unknown {
            traced.facts.push((
                "the list is not known here",
                "give this command the list that the gate fetches with `--revocations`".to_owned(),
            ));
        }
        let unlisted = trace.iter_mut().find(|traced| traced.check == Check::Allowlist && traced.denied.is_some());
        if let Some(traced) = unlisted {
            traced.facts.extend(nearest::facts(document, &arguments.method, &host, path));
        }
        let record = record_of(decision);
        let unlisted = trace.iter_mut().find(|traced| traced.denied.map(Reason::code) == Some(UNLISTED_OPERATION));
        if let Some(traced) = unlisted {
            traced.facts.extend(operation::fact(document, &record));
        }
        match arguments.format {
            Format::Human => people(&loaded, &subject, trace, (decision, &record), out)?,
            Format::Json => writeln!(out, "{}", escape::json(&programs(&loaded, &subject, trace, decision))?)?,
        }
        Ok(())
    });
    match printed {
        Ok(printed) => printed?,
        Err(Undecidable::Body) => {
            return Err(Failure::Trouble("--body: the decision depends on the body; pass `--body @FILE`".to_owned()));
        }
        Err(Undecidable::Keys(problem)) => return Err(Failure::Trouble(format!("--keys: {problem}"))),
        Err(Undecidable::Revocations(problem)) => return Err(Failure::Trouble(format!("--revocations: {problem}"))),
    }
    Ok(Exit::Fine)
}

/// The code of the reason for operations that an endpoint does not list.
const UNLISTED_OPERATION: &str = "operation_not_allowed";

/// Returns the record of a decision as data.
fn record_of(decision: &Decision<'_>) -> Value {
    serde_json::to_value(decision.record()).unwrap_or_default()
}

/// Reads an issuer's name and the source of its key set.
pub(super) fn keys(text: &str) -> Result<(String, Input), String> {
    let (issuer, input) =
        text.split_once('=').ok_or("expected the issuer's name, `=` and its key set, such as `corp=@jwks.json`")?;
    let Ok(input) = input.parse::<Input>();
    Ok((issuer.to_owned(), input))
}

/// Reads a list of revoked credentials, which a gate reads up to this size.
pub(super) fn list(input: &Input) -> Result<Vec<u8>, Failure> {
    const MOST: u64 = 16 << 20;
    input.bytes_up_to(MOST).map_err(|problem| Failure::Trouble(format!("--revocations: {problem}")))
}

/// Reads a client certificate.
fn certificate(input: &Input) -> Result<ClientCertificate, Failure> {
    let text = input.bytes().map_err(|problem| Failure::Trouble(format!("--certificate: {problem}")))?;
    ClientCertificate::first_of(&text).ok_or_else(|| {
        Failure::Trouble(format!(
            "--certificate: {input} is no certificate; expected one in PEM, from `-----BEGIN CERTIFICATE-----` on, of at most 16 KiB"
        ))
    })
}

/// The indentation of the lines that belong to a check.
const INDENT: &str = "                      ";

/// The request to explain.
struct Subject<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    time: String,
}

fn lines(arguments: &Arguments, path: &str, host: &str, token: Option<(&str, String)>) -> Headers {
    let pseudo = [(":method", &*arguments.method), (":scheme", "https"), (":authority", host), (":path", path)];
    let given = arguments.headers.iter().map(|(name, value)| (&**name, &**value));
    let lines = pseudo.into_iter().chain(given).map(|(name, value)| (name, value.to_owned()));
    lines.chain(token).collect()
}

/// Returns the contents of a rejected token, if it can be decoded.
fn unverified(token: &str) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let names = [("header, not verified", "header, as sent"), ("claims, not verified", "claims, as sent")];
    for (part, (verbose, raw)) in token.split('.').zip(names) {
        let Ok(text) = URL_SAFE_NO_PAD.decode(part) else { continue };
        // Another parser would show only one of two claims with the same name.
        match json::parse(&text, json::Bounds { bytes: usize::MAX, depth: u8::MAX }) {
            Ok(value) => {
                facts.push((verbose, value.to_string()));
                for (name, time) in [("exp", "exp is"), ("nbf", "nbf is"), ("iat", "iat is")] {
                    facts.extend(value.get(name).and_then(Value::as_u64).map(|seconds| (time, moment::show(seconds))));
                }
            }
            Err(_) => facts.push((raw, String::from_utf8_lossy(&text).into_owned())),
        }
    }
    facts
}

fn people(
    loaded: &Loaded,
    subject: &Subject<'_>,
    trace: &[Traced],
    (decision, record): (&Decision<'_>, &Value),
    out: &mut dyn Write,
) -> io::Result<()> {
    let Subject { method, host, path, time } = subject;
    writeln!(out, "request {} https://{}{} at {time}", escape::text(method), escape::text(host), escape::text(path))?;
    if let Some(operation) = operation::described(record) {
        writeln!(out, "message {}", escape::text(&operation))?;
    }
    writeln!(out, "policy  {}, version {}", escape::text(&loaded.policy.name), loaded.policy.version)?;
    writeln!(out)?;
    for traced in trace {
        check(loaded, traced, out)?;
    }
    writeln!(out)?;
    match decision {
        Decision::Allow(allow) => {
            writeln!(out, "ALLOW {}", allow.ground().code())?;
            for change in allow.changes() {
                match change {
                    Change::Remove(name) => writeln!(
                        out,
                        "{INDENT}removed for the upstream: {}",
                        escape::text(&String::from_utf8_lossy(name))
                    )?,
                    Change::Clear(name) => {
                        writeln!(
                            out,
                            "{INDENT}emptied for the upstream: {}",
                            escape::text(&String::from_utf8_lossy(name))
                        )?;
                    }
                    Change::Set(name, value) | Change::Add(name, value) => {
                        writeln!(
                            out,
                            "{INDENT}added for the upstream: {}: {}",
                            escape::text(name),
                            escape::text(&value)
                        )?;
                    }
                }
            }
        }
        Decision::Serve(serve) => {
            let served = serve.answer();
            answer("ALLOW", serve.ground().code(), &served, out)?;
            if !served.body.is_empty() {
                writeln!(out, "{INDENT}response body: {}", escape::text(&served.body))?;
            }
        }
        Decision::Deny(deny) => answer("DENY ", deny.reason().code(), &deny.answer(), out)?,
    }
    Ok(())
}

fn answer(verdict: &str, reason: &str, answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{verdict} {} {reason}", answer.status)?;
    for (name, value) in &answer.headers {
        writeln!(out, "{INDENT}response header {name}: {}", escape::text(value))?;
    }
    Ok(())
}

fn check(loaded: &Loaded, traced: &Traced, out: &mut dyn Write) -> io::Result<()> {
    let facts: Vec<String> =
        traced.facts.iter().map(|(name, value)| format!("{name}: {}", escape::text(value))).collect();
    let name = traced.check.name();
    match traced.denied {
        None => writeln!(out, "{}", format!("pass  {name:<14}  {}", facts.join(", ")).trim_end())?,
        Some(reason) => {
            writeln!(out, "DENY  {name:<14}  {}: {}", reason.code(), reason.row().title)?;
            for fact in facts {
                writeln!(out, "{INDENT}{fact}")?;
            }
        }
    }
    if !traced.rule.is_empty() {
        let Position { line, column } = loaded.document.position_of(&traced.rule);
        let file = escape::text(loaded.document.file());
        writeln!(out, "{INDENT}{file}:{line}:{column}: {}", escape::text(&traced.rule))?;
    }
    Ok(())
}

fn programs(loaded: &Loaded, subject: &Subject<'_>, trace: &[Traced], decision: &Decision<'_>) -> Value {
    let checks: Vec<Value> = trace
        .iter()
        .map(|traced| {
            let at = (!traced.rule.is_empty()).then(|| loaded.document.position_of(&traced.rule));
            let facts: Vec<Value> =
                traced.facts.iter().map(|(name, value)| serde_json::json!({ "name": name, "value": value })).collect();
            serde_json::json!({
                "check": traced.check.name(),
                "outcome": if traced.denied.is_some() { "deny" } else { "pass" },
                "reason": traced.denied.map(callgate::Reason::code),
                "facts": facts,
                "rule": traced.rule,
                "line": at.map(|at| at.line),
                "column": at.map(|at| at.column),
            })
        })
        .collect();
    let Subject { method, host, path, time } = subject;
    serde_json::json!({
        "call": { "method": method, "host": host, "path": path, "at": time },
        "policy": { "file": loaded.document.file(), "name": loaded.policy.name, "version": loaded.policy.version },
        "checks": checks,
        "status": match decision {
            Decision::Allow(_) => None,
            Decision::Serve(serve) => Some(serve.answer().status),
            Decision::Deny(deny) => Some(deny.reason().row().status),
        },
        "record": decision.record(),
    })
}

/// Parses an IP address.
pub(super) fn source(text: &str) -> Result<Source, String> {
    Source::parse(text.as_bytes())
        .ok_or_else(|| "invalid IP address; expected IPv4 or IPv6, such as `192.0.2.1`".to_owned())
}
