//! The API behind the gate. It responds with the request that it received, and remembers it.
//!
//! Its behavior depends on the kind of request, never on the path, so any policy can be used in front of it. A WebSocket handshake gets an
//! echo, gRPC gets its messages back, a request that accepts an event stream gets one, and any other request gets itself as JSON, with its
//! trailers if it has any.

mod recording;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::listener::{accept, bound};
use crate::quickstart::set;
pub use recording::RecordingUpstream;

/// The number of seconds for which the event stream that answers this request is silent.
pub const SILENCE: HeaderName = HeaderName::from_static("x-silence");

/// The number of milliseconds between the events of the event stream that answers this request. It does not end.
pub const EVERY: HeaderName = HeaderName::from_static("x-every");

/// Makes the upstream fail this request: with `silence` it sends no response, with `reset` it closes the connection instead, and with
/// `break` it closes the connection in the middle of the response.
pub const FAILURE: HeaderName = HeaderName::from_static("x-failure");

/// Enough for the tests that look back, and a bound for the tests that flood.
const REMEMBERED: usize = 4096;
/// The hostile requests have 1,000 headers, and headers of 60 KiB.
const MOST_HEADERS: usize = 4096;
const MOST_HEADER_BYTES: usize = 1 << 20;

type Body = BoxBody<Bytes, io::Error>;

/// A request as the upstream received it, without its body.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query as received.
    pub path: String,
    /// `Host` or `:authority`.
    pub host: String,
    /// The header lines. Names are in lower case; values are escaped as in a Rust byte string.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// Describes a request.
    pub fn new(request: &Request<Incoming>) -> Self {
        let headers = lines(request.headers());
        let host = request.uri().authority().map(ToString::to_string);
        let host = host.or_else(|| headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone()));
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        Self { method: request.method().to_string(), path: path.to_owned(), host: host.unwrap_or_default(), headers }
    }

    /// Returns the first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn to_json(&self, length: u64, sha256: &str, trailers: &HeaderMap) -> Value {
        let mut description = json!({
            "method": self.method,
            "path": self.path,
            "host": self.host,
            "headers": self.headers,
            "body": { "length": length, "sha256": sha256 },
        });
        if !trailers.is_empty() {
            set(&mut description, "trailers", json!(lines(trailers)));
        }
        description
    }
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().escape_ascii().to_string())).collect()
}

#[derive(Default)]
struct Memory {
    count: u64,
    body_bytes: u64,
    recent: VecDeque<Seen>,
}

impl Memory {
    fn saw(&self, name: &str, value: &str) -> Option<Seen> {
        self.recent.iter().rev().find(|seen| seen.header(name) == Some(value)).cloned()
    }
}

/// A running upstream for HTTP/1.1 and HTTP/2 without TLS. It stops when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    runtime: Option<Runtime>,
}

impl Upstream {
    /// Starts the upstream on a free loopback port.
    ///
    /// # Errors
    /// When no port or thread is available.
    pub fn start() -> Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts the upstream at this address.
    ///
    /// # Errors
    /// When the port is in use or no thread is available.
    pub fn listen(address: SocketAddr) -> Result<Self> {
        // Uses a separate runtime, because a test's runtime may end or block while Envoy still sends requests.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the upstream's thread")?;
        let listener = bound(&runtime, address)?;
        let address = listener.local_addr().context("the upstream has no address")?;
        let memory = Arc::new(Mutex::new(Memory::default()));
        let served = Arc::clone(&memory);
        runtime.spawn(accept(listener, move |stream| serve(stream, Arc::clone(&served))));
        Ok(Self { address, memory, runtime: Some(runtime) })
    }

    /// Reports at another address the requests that arrived here, for a [`RecordingUpstream`] in another process.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn testify(&self, address: SocketAddr) -> Result<SocketAddr> {
        let runtime = self.runtime.as_ref().context("the upstream has ended")?;
        let listener = bound(runtime, address)?;
        let address = listener.local_addr().context("the recording upstream has no address")?;
        runtime.spawn(recording::serve(listener, Arc::clone(&self.memory)));
        Ok(address)
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many requests arrived.
    pub fn count(&self) -> u64 {
        lock(&self.memory).count
    }

    /// Returns how many bytes of request bodies arrived, over all requests that are answered with a description of themselves.
    pub fn body_bytes(&self) -> u64 {
        lock(&self.memory).body_bytes
    }

    /// Returns the latest requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.memory).recent.iter().cloned().collect()
    }

    /// Returns the request with this header line, if it reached the upstream.
    pub fn saw(&self, name: &str, value: &str) -> Option<Seen> {
        lock(&self.memory).saw(name, value)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the tasks is not allowed inside another runtime, and nothing depends on them.
            runtime.shutdown_background();
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, memory: Arc<Mutex<Memory>>) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().max_headers(MOST_HEADERS).max_buf_size(MOST_HEADER_BYTES);
    server.http2().max_header_list_size(MOST_HEADER_BYTES as u32);
    let service = service_fn(move |request| answer(request, Arc::clone(&memory)));
    // A broken connection is the client's concern; the request is already remembered.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, memory: Arc<Mutex<Memory>>) -> Result<Response<Body>> {
    let seen = Seen::new(&request);
    {
        let mut memory = lock(&memory);
        memory.count += 1;
        memory.recent.push_back(seen.clone());
        if memory.recent.len() > REMEMBERED {
            memory.recent.pop_front();
        }
    }
    let starts = |name, prefix: &str| seen.header(name).is_some_and(|value| value.starts_with(prefix));
    if let Some(failure) = seen.header(FAILURE.as_str()) {
        fail(failure).await
    } else if let Some(key) = request.headers().get("sec-websocket-key").cloned() {
        Ok(web_socket(request, &key))
    } else if starts("content-type", "application/grpc") {
        Ok(grpc(request))
    } else if starts("accept", "text/event-stream") {
        Ok(events(request.headers()))
    } else {
        echo(request, &seen, &memory).await
    }
}

async fn fail(how: &str) -> Result<Response<Body>> {
    match how {
        "silence" => std::future::pending().await,
        "break" => {
            let (mut sender, body) = Channel::new(1);
            tokio::spawn(async move {
                // If the client went away, it needs no failure.
                let _ = sender.send_data(Bytes::from_static(b"the beginning")).await;
                // Long enough for the beginning to be sent.
                tokio::time::sleep(Duration::from_millis(200)).await;
                sender.abort(io::ErrorKind::ConnectionReset.into());
            });
            Ok(typed(body.boxed(), "text/plain"))
        }
        _ => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
    }
}

async fn echo(request: Request<Incoming>, seen: &Seen, memory: &Mutex<Memory>) -> Result<Response<Body>> {
    let (mut length, mut sha256, mut trailers) = (0, Sha256::new(), HeaderMap::new());
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                lock(memory).body_bytes += data.len() as u64;
                sha256.update(&data);
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let sha256: String = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    // Over HTTP/2, hyper does not remove the body from a response that must not have one.
    let text = if seen.method == "HEAD" { String::new() } else { seen.to_json(length, &sha256, &trailers).to_string() };
    let text = Bytes::from(text);
    Ok(typed(whole(text), "application/json"))
}

/// Sends the headers at once, then nothing for a while, then one event and the end, or events at intervals.
fn events(headers: &HeaderMap) -> Response<Body> {
    let number = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (seconds, every) = (number(&SILENCE).unwrap_or(0), number(&EVERY));
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        while let Some(every) = every {
            tokio::time::sleep(Duration::from_millis(every)).await;
            if sender.send_data(Bytes::from_static(b"data: tick\n\n")).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        // If the client went away, it needs no event.
        let _ = sender.send_data(Bytes::from_static(b"data: awake\n\n")).await;
    });
    typed(body.boxed(), "text/event-stream")
}

/// Echoes the messages as they arrive. This needs no decoding of their frames, so it works for any unary or streaming method.
fn grpc(request: Request<Incoming>) -> Response<Body> {
    let (mut sender, body) = Channel::new(16);
    let mut messages = request.into_body();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = messages.frame().await {
            if let Ok(data) = frame.into_data()
                && sender.send_data(data).await.is_err()
            {
                return;
            }
        }
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        let _ = sender.send_trailers(trailers).await;
    });
    typed(body.boxed(), "application/grpc")
}

/// Echoes each message.
fn web_socket(mut request: Request<Incoming>, key: &HeaderValue) -> Response<Body> {
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn typed(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Request as Call};

    #[test]
    fn answers_with_what_it_received() {
        let upstream = Upstream::start().unwrap();
        let call = Call::post("/a%2Fb?x=1").host("api.example.com").header("X-Odd", b"\xff\t1").header("x-odd", "2");
        let got = client::call(upstream.address(), &call.chunked(&[b"ab", b"c"])).unwrap();
        assert_eq!(got.status, 200);
        let got = got.json();
        assert_eq!(got["method"], "POST");
        assert_eq!(got["path"], "/a%2Fb?x=1");
        assert_eq!(got["host"], "api.example.com");
        assert_eq!(got["headers"][1], json!(["x-odd", "\\xff\\t1"]));
        assert_eq!(got["headers"][2], json!(["x-odd", "2"]));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(got["body"], json!({ "length": 3, "sha256": abc }));
        assert_eq!((upstream.count(), upstream.body_bytes()), (1, 3));
        assert_eq!(upstream.saw("x-odd", "\\xff\\t1").unwrap().path, "/a%2Fb?x=1");
        assert_eq!(upstream.saw("x-odd", "3"), None);
    }

    #[test]
    fn reports_trailers() {
        let upstream = Upstream::start().unwrap();
        let call = Call::post("/a").host("api.example.com").chunked(&[b"ab", b"c"]);
        let got = client::call(upstream.address(), &call).unwrap();
        assert_eq!(got.json().get("trailers"), None);
        let got = client::call(upstream.address(), &call.trailers(&[("X-End", "1"), ("x_end", "2")])).unwrap();
        assert_eq!(got.json()["body"]["length"], 3);
        assert_eq!(got.json()["trailers"], json!([["x-end", "1"], ["x_end", "2"]]));
    }

    #[test]
    fn recording_upstream_reports_the_same_over_the_network() {
        let upstream = Upstream::start().unwrap();
        let recording = RecordingUpstream::at(upstream.testify(([127, 0, 0, 1], 0).into()).unwrap());
        client::call(upstream.address(), &Call::get("/a").host("api.example.com").header("x-mark", "7")).unwrap();
        assert_eq!(recording.saw("x-mark", "7").unwrap(), upstream.saw("x-mark", "7"));
        assert_eq!(recording.saw("x-mark", "7").unwrap().unwrap().path, "/a");
        assert_eq!(recording.saw("x-mark", "8").unwrap(), None);
    }
}
