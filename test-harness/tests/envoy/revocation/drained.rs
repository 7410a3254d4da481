//! An update of the listener (LDS) suspends an agent for the first time. Open HTTP/2 connections keep the previous listener, and its policy,
//! until it has drained.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use test_harness::envoy::Options;
use tokio::net::TcpStream;

use crate::envoy::fixture::{Gate, HOST, KEY, claims, good, header, policy, token};
use crate::envoy::operating::{dynamic, until, update};

/// A worker looks for a newer policy at most once a second.
const LOOKED: Duration = Duration::from_millis(1_100);
/// Connections for each kind of request. Each may reach another worker.
const CONNECTIONS: usize = 4;

/// A client's open HTTP/2 connection.
struct Open(SendRequest<Empty<Bytes>>);

impl Open {
    async fn to(gate: &Gate) -> Self {
        let stream = TcpStream::connect(gate.envoy.api().unwrap()).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Returns the status and the body of the response to a request.
    async fn ask(&mut self, path: &str, token: Option<&str>) -> (u16, String) {
        let mut request = hyper::Request::get(format!("http://{HOST}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.0.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_suspension_applies_to_open_connections_of_the_previous_listener() {
    let mut policy = policy();
    policy["agents"]["other"] =
        json!({ "owner": "platform@example.com", "identity": { "issuer": "corp", "client_id": "other" } });
    let gate = dynamic(&policy, &Options { concurrency: 2, ..Options::default() });
    let mut claims = claims("items:read");
    (claims["sub"], claims["client_id"]) = (json!("other"), json!("other"));
    let (stopped, other) = (token("items:read"), KEY.sign(&header(), &claims));
    let requests =
        [("/items/1", Some(stopped.as_str()), 403), ("/items/1", Some(other.as_str()), 200), ("/status", None, 200)];
    let mut connections = Vec::new();
    for (path, token, after) in requests.iter().cycle().take(CONNECTIONS * requests.len()).copied() {
        let mut open = Open::to(&gate).await;
        let (status, body) = open.ask(path, token).await;
        assert_eq!(status, 200, "{body}");
        connections.push((open, path, token, after));
    }

    policy["agents"]["robot"]["suspended"] = json!(true);
    update(&gate, &policy, 2);
    // A denial shows that the new policy has been published for older ones.
    until("the new policy is in force", || gate.call(&good()).status == 403);
    tokio::time::sleep(LOOKED).await;
    // One request for each: Envoy asks a client with each response, more and more often, to open another connection.
    for (open, path, token, after) in &mut connections {
        let (status, body) = open.ask(path, *token).await;
        assert_eq!(status, *after, "{path}: {body}");
        assert_eq!(body.contains("agent_refused"), *after == 403, "{path}: {body}");
    }
    assert_eq!(gate.envoy.stat("listener_manager.total_filter_chains_draining").unwrap(), 1, "they are still open");
    gate.ask(good()).assert_denied(403, "agent_suspended");
}
