//! A policy service for Envoy's `ext_authz`, written as teams usually write one: gRPC with tonic, access tokens verified with a JWT library
//! whose key is parsed once, and policies in Cedar. `cargo harness bench` compares the gate with it.
//!
//! It decides the request that the bench sends and returns the headers that the gate sets. It has no limits and writes no record. Do not
//! add anything that makes it slower than necessary: it parses policies once, and runs on one thread for the one worker that queries it.

mod answers;
mod policy;
mod token;

use std::io::stdin;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use envoy_types::ext_authz::v3::pb::{Authorization, AuthorizationServer, CheckRequest, CheckResponse, HttpStatusCode};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use policy::{ENDPOINT, Policy};
use token::Verifier;

const HOST: &str = "api.example.com";

/// The configuration, read from standard input.
#[derive(Deserialize)]
struct Configuration {
    /// The key that tokens are signed with.
    jwk: Jwk,
    /// The `agents` of a Callgate policy.
    agents: Value,
    /// Whether a token is verified once, or in each request.
    caches_tokens: bool,
}

/// Prints its listening address, and serves until it is stopped.
fn main() -> Result<()> {
    let Configuration { jwk, agents, caches_tokens } =
        serde_json::from_reader(stdin()).context("invalid configuration")?;
    let service = Service { verifier: Verifier::new(&jwk, caches_tokens)?, policy: Policy::new(&agents)? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let incoming = TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("cannot listen")?;
        let incoming = incoming.with_nodelay(Some(true));
        println!("{}", incoming.local_addr().context("cannot listen")?);
        let server = Server::builder().add_service(AuthorizationServer::new(service));
        server.serve_with_incoming(incoming).await.context("cannot serve")
    })
}

struct Service {
    verifier: Verifier,
    policy: Policy,
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes;
        let http = attributes.and_then(|attributes| attributes.request?.http);
        let http = http.ok_or_else(|| Status::invalid_argument("the check contains no HTTP request"))?;
        Ok(Response::new(self.decide(&http)))
    }
}

impl Service {
    fn decide(&self, http: &HttpRequest) -> CheckResponse {
        let header = |name: &str| http.headers.get(name).map(String::as_str);
        let token = header("authorization").and_then(|credential| credential.strip_prefix("Bearer "));
        let Some(claims) = token.and_then(|token| self.verifier.verify(token)) else {
            return answers::denied(HttpStatusCode::Unauthorized);
        };
        if http.host != HOST || !self.policy.allows(&claims, &http.method, &http.path) {
            return answers::denied(HttpStatusCode::Forbidden);
        }
        answers::allowed([
            ("x-callgate-agent", &claims.client_id),
            ("x-callgate-issuer", "corp"),
            ("x-callgate-client", &claims.client_id),
            ("x-callgate-subject", &claims.sub),
            ("x-callgate-scopes", &claims.scope),
            ("x-callgate-endpoint", ENDPOINT),
            ("x-callgate-decision", header("x-request-id").unwrap_or_default()),
            ("x-callgate-policy", "quickstart"),
        ])
    }
}
