//! `callgate access`: shows who can reach what, and what a token reaches.

use std::io::Write;
use std::path::PathBuf;

use callgate::document::did_you_mean;
use callgate_kit::input::Input;
use callgate_kit::moment::Moment;
use callgate_kit::policy::environment;
use callgate_kit::{escape, policy};
use clap::ValueEnum;

use super::{Exit, Failure, explain};
use crate::access::{Given, PolicyName, Report, Subject, agents, html, table, token};

/// Show who can reach what under a policy, and with what it takes; with --token, exactly what a token reaches
///
/// For each agent, the command lists the endpoints and operations that it can reach with some credential, what a request takes, and what
/// the policy excludes it from. With --token, the engine decides a request to each endpoint that satisfies its bindings, so the list is
/// what somebody who has this token reaches now. If the policy has `revocations`, give the list with --revocations; without it, only the
/// entries of the policy are looked up, and the output states that. If the keys of its issuer are not known, the token is evaluated
/// without its signature, and the output states that it was not verified. The token is not sent anywhere. A key that the token is bound
/// to, and request signatures, count as needs: the sender has to have the key.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy, in YAML or JSON
    policy: PathBuf,
    /// Only this agent
    #[arg(long, value_name = "AGENT", conflicts_with = "token")]
    agent: Option<String>,
    /// Only this endpoint, by its `id`
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// The access token: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, allow_hyphen_values = true)]
    token: Option<Input>,
    /// The key set of an issuer whose keys the gate fetches: the issuer's name, `=`, and @FILE, - for standard input, env:NAME, or its
    /// text; can be given several times
    #[arg(long = "keys", value_name = "ISSUER=KEYS", value_parser = explain::keys)]
    keys: Vec<(String, Input)>,
    /// The list of revoked credentials that the gate fetches, signed if the policy has `signed_by`: @FILE, - for standard input, env:NAME,
    /// or its text. Its times are not checked
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, requires = "token")]
    revocations: Option<Input>,
    /// The time at which requests are made: `2027-06-30T12:00:00Z`, seconds since 1970, or relative to now, such as `+5m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    /// The output format: `json` has {policy, token, callers}, and `html` is one page that prints well
    #[arg(long, value_enum, default_value_t = Output::Table)]
    format: Output,
}

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for people
    Table,
    /// JSON for programs
    Json,
    /// A page to print
    Html,
}

/// Reports who can reach what.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = policy::load_with(&arguments.policy, &environment)?;
    let subject = Subject::new(&loaded, arguments.at.unwrap_or_default().resolve(), arguments.endpoint.as_deref())?;
    if let Some(name) = &arguments.endpoint {
        let known = subject.document.endpoints.iter().map(|endpoint| endpoint.id.as_str());
        is_known("--endpoint", name, known, "expected the `id` of an endpoint")?;
    }
    if let Some(name) = &arguments.agent {
        let known = subject.document.agents.keys().map(String::as_str);
        is_known("--agent", name, known, "expected a name from `agents`")?;
    }
    let policy = PolicyName::of(&loaded);
    let report = match &arguments.token {
        None => Report { policy, token: None, callers: agents(&subject, arguments.agent.as_deref()) },
        Some(input) => {
            let text = input.read().map_err(|problem| Failure::Trouble(format!("--token: {problem}")))?;
            let mut keys = Vec::new();
            for (issuer, input) in &arguments.keys {
                let set = input.bytes().map_err(|problem| Failure::Trouble(format!("--keys: {issuer}: {problem}")))?;
                keys.push((issuer.clone(), set));
            }
            let revocations = arguments.revocations.as_ref().map(explain::list).transpose()?;
            let given = Given { token: text.trim(), keys: &keys, revocations: revocations.as_deref() };
            let (facts, caller) = token(&subject, given).map_err(Failure::Trouble)?;
            Report { policy, token: Some(facts), callers: vec![caller] }
        }
    };
    match arguments.format {
        Output::Table => write!(out, "{}", table::text(&report))?,
        Output::Json => writeln!(out, "{}", escape::json(&report)?)?,
        Output::Html => write!(out, "{}", html::page(&report))?,
    }
    Ok(Exit::Fine)
}

/// Checks that the policy has what an argument names.
fn is_known<'n>(
    argument: &str,
    name: &str,
    mut known: impl Iterator<Item = &'n str> + Clone,
    expected: &str,
) -> Result<(), Failure> {
    let all = known.clone();
    if known.any(|own| own == name) {
        return Ok(());
    }
    Err(Failure::Trouble(format!("{argument}: unknown `{name}`; {}", did_you_mean(name, all, expected))))
}
