//! The cost of a client certificate: a request with a token, with a token that is bound to the certificate of the connection, and with the
//! certificate alone. All of them are sent over mutual TLS, to a listener that validates certificates.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::callee::Callee;
use super::compared::{self, Row};
use super::load::Clients;
use super::report::Measured;
use super::{Size, policies, rows};
use crate::certificates::{self, Authority, Identity, Name};
use crate::client::Transport;
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::quickstart::{HOST, Issuer, set};

const TRUST_DOMAIN: &str = "example.org";
const WORKLOAD: &str = "spiffe://example.org/agents/coding-agent";

/// The token of a request.
#[derive(Clone, Copy)]
enum Token {
    None,
    Plain,
    Bound,
}

/// The plain listener is the base of all others.
const ROWS: [Row<Token>; 4] = [
    Row { name: "tls_bare", what: "", listener: "bare", calls: Token::Plain, over: "" },
    Row {
        name: "token_over_tls",
        what: "Callgate, token seen before, over TLS",
        listener: "plain",
        calls: Token::Plain,
        over: "tls_bare",
    },
    Row {
        name: "certificate_bound",
        what: "Callgate, token seen before that is bound to a certificate",
        listener: "bound",
        calls: Token::Bound,
        over: "tls_bare",
    },
    Row {
        name: "certificate",
        what: "Callgate, certificate instead of a token",
        listener: "certificates",
        calls: Token::None,
        over: "tls_bare",
    },
];

/// Measures requests over mutual TLS, in addition to a listener with mutual TLS and without a gate.
pub(super) fn measure(filter: &Path, size: &Size) -> Result<Vec<Measured>> {
    let callee = Callee::start()?;
    let (servers, workloads) = (Authority::new("servers")?, Authority::new("workloads")?);
    let workload = workloads.issue(&[Name::Uri(WORKLOAD)])?;
    let envoy = start(filter, &callee, &servers, &workloads)?;
    let connect = |row: &Row<Token>| {
        let address = envoy.listener(row.listener)?;
        let open = || -> Result<Box<dyn Transport>> {
            Ok(Box::new(certificates::connect(address, &servers, Some(&workload), "http/1.1")?))
        };
        Clients::open(size.connections, open)
    };
    // The same token in all rounds, because a new one would not be in the cache.
    let request = |row: &Row<Token>| -> Result<(&'static str, Vec<u8>)> { Ok((row.name, call(row.calls, &workload)?)) };
    let requests = ROWS.iter().map(request).collect::<Result<Vec<_>>>()?;
    let calls = |row: &Row<Token>| -> Result<Vec<Vec<u8>>> {
        let (_, request) = requests.iter().find(|(name, _)| *name == row.name).context("a row has no request")?;
        Ok(vec![request.clone(); size.calls])
    };
    compared::measure("certificates, round", &envoy, size, &ROWS, connect, calls)
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
fn call(token: Token, workload: &Identity) -> Result<Vec<u8>> {
    let issuer = Issuer::new()?;
    let token = match token {
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
