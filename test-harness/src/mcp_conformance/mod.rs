//! A conformance suite for intermediaries between MCP clients and servers.
//!
//! The published suites check clients and servers, and exclude the requirements on intermediaries. Each scenario of this one is such a
//! requirement of the revisions 2025-06-18, 2025-11-25 or 2026-07-28. It sends a request through a gateway to the suite's own server, and
//! compares what the server and the client see with the specification. Scenarios know nothing of Callgate.

mod ambiguous;
mod document;
mod examples;
mod headers;
mod lists;
mod messages;
mod operations;
mod parameters;
mod report;
mod requirements;
mod rpc;
mod scenario;
mod sections;
mod sent;
mod sessions;
mod streams;
mod suite;
mod target;
mod tokens;
mod unchanged;
mod upstream;
mod versions;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

pub use document::{compare_results, compare_scenarios};
pub use examples::{Examples, Lists, examples};
pub use report::{Outcome, Report, Row};
pub use requirements::{Requirements, requirements};
pub use scenario::{Level, Need};
pub use target::{Remote, Tokens};

use scenario::Scenario;
use suite::Suite;
use target::{Allowed, Target};
use upstream::{Answer, Upstream, always, succeeds};

use crate::envoy::Envoy;

/// Longer than the 15 s after which common gateways end a request by default.
const SILENCE: Duration = Duration::from_secs(20);

/// The gateway that the suite checks.
#[derive(Clone, Debug)]
pub enum Gateway {
    /// Callgate in an Envoy that the suite starts.
    Callgate,
    /// The gateway at an address.
    Remote(Box<Remote>),
    /// None: requests reach the server directly, so every requirement to forward something is met. Scenarios with these needs are skipped.
    Direct(Vec<Need>),
    /// A server that answers every request with 403, so no requirement to forward something is met.
    Closed,
}

/// The scenarios about one subject. Their ids begin with its name.
struct Group {
    name: &'static str,
    title: &'static str,
    scenarios: &'static [Scenario],
}

const fn group(name: &'static str, title: &'static str, scenarios: &'static [Scenario]) -> Group {
    Group { name, title, scenarios }
}

const GROUPS: [Group; 17] = [
    group("headers", "Headers that mirror the message", headers::SCENARIOS),
    group("parameters", "Headers that mirror arguments", parameters::SCENARIOS),
    group("versions", "Revisions", versions::VERSIONS),
    group("origins", "Origins", versions::ORIGINS),
    group("methods", "HTTP methods", versions::METHODS),
    group("messages", "Messages", rpc::SCENARIOS),
    group("ambiguous", "Ambiguous messages", ambiguous::SCENARIOS),
    group("requests", "Requests that the gateway does not change", unchanged::REQUESTS),
    group("responses", "Responses that the gateway does not change", unchanged::RESPONSES),
    group("streams", "Event streams", streams::SCENARIOS),
    group("resumption", "Resumption before 2026-07-28", sessions::RESUMPTION),
    group("sessions", "Sessions before 2026-07-28, and none after", sessions::SESSIONS),
    group("lists", "Lists", lists::SCENARIOS),
    group("operations", "Tools, resources and prompts", operations::OPERATIONS),
    group("errors", "Errors of the gateway", operations::ERROR_SCENARIOS),
    group("tokens", "Access tokens", tokens::TOKENS),
    group("metadata", "Metadata of the resource", tokens::METADATA),
];

/// The scenarios that Callgate is known to fail, with the reason.
const KNOWN: [(&str, &str); 3] = [
    (
        "methods.get-of-2026",
        "an authenticated client gets the same answer for a method that the policy does not list and for an unknown path",
    ),
    (
        "methods.delete-of-2026",
        "an authenticated client gets the same answer for a method that the policy does not list and for an unknown path",
    ),
    (
        "streams.every-form",
        "fields that the specification of event streams does not define, and comments that are not printable ASCII, are dropped, \
      because libraries differ in where they end such lines",
    ),
];

/// Runs the scenarios whose ids begin with `only`, or all of them.
///
/// # Errors
/// When the gateway does not start, an address is in use, or no id begins like that. Failures of scenarios are in the report.
pub fn run(gateway: &Gateway, only: Option<&str>) -> Result<Report> {
    let only = only.unwrap_or_default();
    let chosen: Vec<_> =
        GROUPS.iter().flat_map(|group| group.scenarios).filter(|scenario| scenario.id.starts_with(only)).collect();
    let groups = GROUPS.map(|group| group.name).join(", ");
    ensure!(!chosen.is_empty(), "no scenario begins with `{only}`; expected an id, or a group: {groups}");
    let suite = start(gateway, &Allowed::standard())?;
    Ok(Report { rows: chosen.into_iter().map(|scenario| Row::of(scenario, &suite)).collect() })
}

/// Starts Callgate in an Envoy, for tests of the suite with a gateway that it did not start. The gateway ends with the Envoy.
///
/// # Errors
/// When the gateway does not start.
pub fn start_remote() -> Result<(Remote, Envoy)> {
    // The suite listens there later. Another process may get the port in between; then its start fails.
    let upstream = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let upstream = upstream.context("there is no free port")?;
    let (target, envoy) = Target::callgate(&target::policy(&Allowed::standard())?, upstream)?;
    Ok((target.as_remote(upstream), envoy))
}

/// Starts the server and, if it is Callgate, the gateway.
fn start(gateway: &Gateway, allowed: &Allowed) -> Result<Suite> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let address = if let Gateway::Remote(remote) = gateway { remote.upstream } else { any };
    let upstream = Upstream::listen(address, succeeds())?;
    let (mut envoy, mut closed) = (None, None);
    let target = match gateway {
        Gateway::Callgate => {
            let (target, started) = Target::callgate(&target::policy(allowed)?, upstream.address())?;
            envoy = Some(started);
            target
        }
        Gateway::Remote(remote) => Target::remote(remote)?,
        Gateway::Direct(without) => Target::bare(upstream.address(), without),
        Gateway::Closed => {
            let server = closed.insert(Upstream::listen(any, always(Answer::empty(403)))?);
            Target::bare(server.address(), &[])
        }
    };
    // Without a gateway, nothing could end a silent stream.
    let is_bare = matches!(gateway, Gateway::Direct(_) | Gateway::Closed);
    let silence = if is_bare { Duration::from_millis(100) } else { SILENCE };
    Ok(Suite { target, upstream, silence, _envoy: envoy, _closed: closed })
}

/// Fails if Callgate does not meet a requirement and this is not known, or if it meets one that it is known to fail.
///
/// # Errors
/// Lists these requirements.
pub fn judge(report: &Report) -> Result<()> {
    let mut wrong: Vec<_> = report
        .failures()
        .filter(|row| !KNOWN.iter().any(|(id, _)| *id == row.scenario))
        .map(|row| format!("{} {}: {}: {}", row.level, row.scenario, row.requirement, row.seen))
        .collect();
    let passed = report.rows.iter().filter(|row| row.outcome == Outcome::Passed);
    let gone = passed.filter(|row| KNOWN.iter().any(|(id, _)| *id == row.scenario));
    wrong.extend(gone.map(|row| format!("{} passes; remove it from `KNOWN`", row.scenario)));
    ensure!(wrong.is_empty(), "unexpected results:\n{}", wrong.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> impl Iterator<Item = (&'static Group, &'static Scenario)> {
        const ALL: &[Group] = &GROUPS;
        ALL.iter().flat_map(|group| group.scenarios.iter().map(move |scenario| (group, scenario)))
    }

    #[test]
    fn ids_are_unique_and_begin_with_their_group() {
        let ids: BTreeSet<_> = all().map(|(_, scenario)| scenario.id).collect();
        assert_eq!(ids.len(), all().count());
        assert!(ids.len() >= 60, "{}", ids.len());
        for (group, scenario) in all() {
            let name = scenario.id.strip_prefix(group.name).and_then(|rest| rest.strip_prefix('.'));
            assert!(name.is_some_and(|name| !name.is_empty()), "{} in {}", scenario.id, group.name);
        }
    }

    #[test]
    fn every_need_belongs_to_a_scenario() {
        for need in <Need as clap::ValueEnum>::value_variants() {
            assert!(all().any(|(_, scenario)| scenario.needs.contains(need)), "{need}");
        }
    }

    #[test]
    fn known_failures_are_scenarios() {
        for (known, _) in KNOWN {
            assert!(all().any(|(_, scenario)| scenario.id == known), "{known}");
        }
    }
}
