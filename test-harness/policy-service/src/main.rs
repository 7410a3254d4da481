//! A policy service for Envoy's `ext_authz`, written as teams usually write one: gRPC, access tokens, and policies in Cedar. `cargo harness
//! bench` compares the gate with it.
//!
//! It decides the request that the bench sends and returns the headers that the gate sets. It has no limits and writes no record. Do not
//! add anything that makes it slower than necessary: it parses policies once, verifies a token once, and runs on one thread for the one
//! worker that queries it.

mod messages;
mod policy;
mod token;

use std::convert::Infallible;
use std::future::ready;
use std::io::stdin;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;

use messages::{CheckRequest, CheckResponse, HttpRequest};
use policy::{ENDPOINT, Policy};
use token::Verifier;

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";
const HOST: &str = "api.example.com";
/// The compression flag and the message length.
const PREFIX: usize = 5;

/// gRPC status codes.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const UNIMPLEMENTED: &str = "12";

/// The configuration, read from standard input.
#[derive(Deserialize)]
struct Configuration {
    /// The key that tokens are signed with.
    jwk: Value,
    /// The `agents` of a Callgate policy.
    agents: Value,
}

/// Prints its listening address, and serves until it is stopped.
fn main() -> Result<()> {
    let Configuration { jwk, agents } = serde_json::from_reader(stdin()).context("invalid configuration")?;
    let service = Arc::new(Service { verifier: Verifier::new(&jwk)?, policy: Policy::new(&agents)? });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("cannot start")?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        println!("{}", listener.local_addr().context("cannot listen")?);
        accept(listener, service).await
    })
}

struct Service {
    verifier: Verifier,
    policy: Policy,
}

impl Service {
    fn check(&self, http: &HttpRequest) -> CheckResponse {
        let header = |name: &str| http.headers.get(name).map(String::as_str);
        let token = header("authorization").and_then(|credential| credential.strip_prefix("Bearer "));
        let Some(claims) = token.and_then(|token| self.verifier.verify(token)) else {
            return CheckResponse::denied(401);
        };
        if http.host != HOST || !self.policy.allows(&claims, &http.method, &http.path) {
            return CheckResponse::denied(403);
        }
        CheckResponse::allowed([
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

async fn accept(listener: TcpListener, service: Arc<Service>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, Arc::clone(&service)));
            let server = http2::Builder::new(TokioExecutor::new());
            // If the connection breaks, the request that waits for this check fails, and the bench fails with it.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    service: Arc<Service>,
) -> hyper::Result<Response<impl Body<Data = Bytes, Error = Infallible>>> {
    if request.uri().path() != METHOD {
        return Ok(grpc(UNIMPLEMENTED, Bytes::new()));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let Some(http) = http_request(&body) else { return Ok(grpc(INVALID_ARGUMENT, Bytes::new())) };
    Ok(grpc(OK, framed(&service.check(&http))))
}

/// Returns the request that a gRPC message asks about.
fn http_request(body: &[u8]) -> Option<HttpRequest> {
    let (prefix, message) = body.split_first_chunk::<PREFIX>()?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 || u32::from_be_bytes(length) as usize != message.len() {
        return None;
    }
    CheckRequest::decode(message).ok()?.attributes?.request?.http
}

fn framed(message: &CheckResponse) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(length as u32);
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

fn grpc(status: &'static str, message: Bytes) -> Response<impl Body<Data = Bytes, Error = Infallible>> {
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))]);
    let mut response = Response::new(Full::new(message).with_trailers(ready(Some(Ok(trailers)))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
