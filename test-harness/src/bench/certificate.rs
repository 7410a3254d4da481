//! The cost of a client certificate: a request with a token, with a token that is bound to the certificate of the connection, and with the
//! certificate alone. All of them are sent over mutual TLS, to a listener that validates certificates.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::callee::Callee;
use super::load::{self, Clients};
use super::report::Measured;
use super::{Size, policies, rows, used_for};
use crate::certificates::{self, Authority, Identity, Name};
use crate::client::Transport;
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::progress;
use crate::quickstart::{HOST, Issuer, set};

const TRUST_DOMAIN: &str = "example.org";
const WORKLOAD: &str = "spiffe://example.org/agents/coding-agent";

/// A row: its listener, and whether its requests have a token.
struct Row {
    name: &'static str,
    what: &'static str,
    listener: &'static str,
    token: Token,
}

#[derive(Clone, Copy)]
enum Token {
    None,
    Plain,
    Bound,
}

/// The plain listener is the first row, the base of all others.
const ROWS: [Row; 4] = [
    Row { name: "tls_bare", what: "", listener: "bare", token: Token::Plain },
    Row {
        name: "token_over_tls",
        what: "Callgate, token seen before, over TLS",
        listener: "plain",
        token: Token::Plain,
    },
    Row {
        name: "certificate_bound",
        what: "Callgate, token seen before that is bound to a certificate",
        listener: "bound",
        token: Token::Bound,
    },
    Row {
        name: "certificate",
        what: "Callgate, certificate instead of a token",
        listener: "certificates",
        token: Token::None,
    },
];

/// Measures requests over mutual TLS, in addition to a listener with mutual TLS and without a gate.
pub(super) fn measure(filter: &Path, size: &Size) -> Result<Vec<Measured>> {
    let callee = Callee::start()?;
    let (servers, workloads) = (Authority::new("servers")?, Authority::new("workloads")?);
    let workload = workloads.issue(&[Name::Uri(WORKLOAD)])?;
    let envoy = start(filter, &callee, &servers, &workloads)?;
    let calls = ROWS.iter().map(|row| call(row, &workload)).collect::<Result<Vec<_>>>()?;
    let connect = |row: &Row| {
        let address = envoy.listener(row.listener)?;
        let open = || -> Result<Box<dyn Transport>> {
            Ok(Box::new(certificates::connect(address, &servers, Some(&workload), "http/1.1")?))
        };
        Clients::open(size.connections, open)
    };
    let mut clients = ROWS.iter().map(connect).collect::<Result<Vec<_>>>()?;
    let mut measured: Vec<_> = ROWS.iter().map(|row| Measured::new(row.name, row.what)).collect();
    progress::times("certificates, round", size.warm_up + size.rounds, |round| {
        for (row, ((clients, measured), call)) in ROWS.iter().zip(clients.iter_mut().zip(&mut measured).zip(&calls)) {
            let calls = vec![call.clone(); size.calls];
            let used = used_for(&[envoy.process()], clients, &calls, load::is_ok)
                .with_context(|| format!("row `{}`", row.name))?;
            if round >= size.warm_up {
                measured.add(used, calls.len());
            }
        }
        anyhow::Ok(())
    })?;
    let base = measured.first().context("there is no row")?.clone();
    Ok(measured.into_iter().skip(1).map(|row| row.over(&base)).collect())
}

fn start(filter: &Path, callee: &Callee, servers: &Authority, workloads: &Authority) -> Result<Envoy> {
    let server = servers.issue(&[Name::Dns(HOST)])?;
    let base = rows::base(filter, callee)?;
    let over_tls = |mut bootstrap: Bootstrap| -> Result<Bootstrap> {
        let chain = bootstrap.at("/static_resources/listeners/0/filter_chains/0")?;
        let tls = certificates::listener_tls(&server, Some(certificates::trusting(&[workloads])), true);
        set(chain, "transport_socket", tls);
        Ok(bootstrap)
    };
    let bootstrap = Bootstrap::joined(vec![
        ("bare", over_tls(base.with_filters(Vec::new())?)?),
        ("plain", over_tls(rows::gate(&base, "plain", &policy()?)?)?),
        ("bound", over_tls(rows::gate(&base, "bound", &with_certificates()?)?)?),
        ("certificates", over_tls(rows::gate(&base, "certificates", &without_token()?)?)?),
    ])?;
    Envoy::start(&bootstrap, &Options::default())
}

/// Returns the policy of the row `warm`. Its bindings need no claim, because requests with a certificate alone have none.
fn policy() -> Result<Value> {
    let mut policy = policies::quickstart()?;
    let bindings = json!({ "path.owner": "agent.organization", "path.repo": "agent.repositories" });
    set(policies::endpoint(&mut policy, policies::ENDPOINT)?, "bind", bindings);
    let attributes = agent(&mut policy)?.get_mut("attributes").context("the agent has no attributes")?;
    set(attributes, "organization", "acme");
    Ok(policy)
}

/// Returns the same policy with tokens that are bound to certificates.
fn with_certificates() -> Result<Value> {
    let mut policy = policy()?;
    set(&mut policy, "tls", json!({ "client_certificates": "validated", "trust_domains": [TRUST_DOMAIN] }));
    Ok(policy)
}

/// Returns the same policy with a certificate instead of the token. The agent has the scopes of the token.
fn without_token() -> Result<Value> {
    let mut policy = with_certificates()?;
    set(policies::endpoint(&mut policy, policies::ENDPOINT)?, "authenticate", "certificate");
    let agent = agent(&mut policy)?;
    set(agent, "scopes", policies::SCOPES.split(' ').collect::<Vec<_>>());
    set(agent, "identity", json!({ "spiffe": WORKLOAD }));
    Ok(policy)
}

fn agent(policy: &mut Value) -> Result<&mut Value> {
    policy.pointer_mut(&format!("/agents/{}", policies::AGENT)).context("the policy lacks the agent")
}

/// Returns the request that is measured everywhere.
fn call(row: &Row, workload: &Identity) -> Result<Vec<u8>> {
    let issuer = Issuer::new()?;
    let token = match row.token {
        Token::None => None,
        Token::Plain => Some(policies::token(&issuer, &issuer.es256, 0)),
        Token::Bound => Some(issuer.with(policies::AGENT, policies::SCOPES, |_, claims| {
            set(claims, "cnf", json!({ "x5t#S256": workload.thumbprint() }));
        })),
    };
    let request = match token {
        Some(token) => policies::call(&token),
        None => policies::call_without_token(),
    };
    Ok(request.to_bytes())
}
