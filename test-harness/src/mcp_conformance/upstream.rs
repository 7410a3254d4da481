//! The MCP server behind the gateway: it records what arrives, and answers as the running scenario wants.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::messages;
use crate::upstream::Seen;

const POLL: Duration = Duration::from_millis(10);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A request that arrived with its whole body.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) head: Seen,
    pub(super) body: Vec<u8>,
}

impl Received {
    /// Returns the body as JSON, or `null` if it is not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns whether a client of the suite may have sent it. Others are, for example, health checks.
    fn is_of_a_client(&self) -> bool {
        let accepts_events = self.head.header("accept").is_some_and(|value| value.contains("text/event-stream"));
        self.head.method == "POST" || self.head.method == "DELETE" || accepts_events
    }
}

/// A part of a streamed body.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// These bytes, in a separate chunk.
    Data(Vec<u8>),
    /// Nothing, for this long.
    Pause(Duration),
    /// The connection is closed in the middle of the body.
    Break,
}

impl Piece {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Data(text.into().into_bytes())
    }
}

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Whole(Vec<u8>),
    Pieces(Vec<Piece>),
}

impl Answer {
    /// Returns a response without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: Content::Whole(Vec::new()) }
    }

    /// Returns a JSON response.
    pub(super) fn json(status: u16, body: impl ToString) -> Self {
        let content = Content::Whole(body.to_string().into_bytes());
        Self { status, headers: Vec::new(), content }.header("content-type", "application/json")
    }

    /// Returns an event stream.
    pub(super) fn events(pieces: Vec<Piece>) -> Self {
        let answer = Self { status: 200, headers: Vec::new(), content: Content::Pieces(pieces) };
        answer.header("content-type", "text/event-stream").header("cache-control", "no-cache")
    }

    /// Returns the same response with its body in these pieces.
    pub(super) fn in_pieces(mut self, pieces: Vec<Piece>) -> Self {
        self.content = Content::Pieces(pieces);
        self
    }

    /// Adds a header line.
    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn into_response(self, mut open: OpenStream) -> Result<Response<Body>> {
        let body = match self.content {
            Content::Whole(bytes) => {
                open.is_complete = true;
                Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
            }
            Content::Pieces(pieces) => streamed(pieces, open),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status)?;
        for (name, value) in self.headers {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            response.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes())?);
        }
        Ok(response)
    }
}

/// Decides the response to a request.
pub(super) type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// Answers every request in the same way.
pub(super) fn always(answer: Answer) -> Script {
    Arc::new(move |_| answer.clone())
}

/// Answers as a server that succeeds at everything: requests get a result, everything else that is posted 202.
pub(super) fn succeeds() -> Script {
    Arc::new(|received| {
        let message = received.json();
        match (received.head.method.as_str(), message.get("id"), message.get("method")) {
            ("POST", Some(id), Some(_)) => {
                Answer::json(200, messages::result(id, json!({ "content": messages::content("done") })))
            }
            ("POST", ..) => Answer::empty(202),
            ("GET", ..) => Answer::events(vec![Piece::text(": open\n\n")]),
            _ => Answer::empty(200),
        }
    })
}

struct Shared {
    script: Script,
    received: Vec<Received>,
    /// How many streams ended because their client was gone.
    abandoned: usize,
    /// The number of scripts so far. Streams of an earlier script no longer count.
    turn: u64,
}

/// A running server for HTTP/1.1 and HTTP/2 without TLS. It stops when it is dropped.
pub(super) struct Upstream {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    runtime: Option<Runtime>,
}

impl Upstream {
    /// Starts the server at this address.
    pub(super) fn listen(address: SocketAddr, script: Script) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the server's thread")?;
        let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true).context("cannot set an option of the socket")?;
        let address = listener.local_addr().context("the server has no address")?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).context("cannot listen")?
        };
        let shared = Arc::new(Mutex::new(Shared { script, received: Vec::new(), abandoned: 0, turn: 0 }));
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    /// Returns the listening address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers according to this script from now on, and forgets what arrived before.
    pub(super) fn follow(&self, script: Script) {
        let mut shared = lock(&self.shared);
        shared.script = script;
        shared.received.clear();
        shared.abandoned = 0;
        shared.turn += 1;
    }

    /// Returns the requests since the last script, in order.
    pub(super) fn received(&self) -> Vec<Received> {
        lock(&self.shared).received.clone()
    }

    /// Waits until the client of a stream is gone. Returns whether that happened in time.
    pub(super) fn await_abandoned(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if lock(&self.shared).abandoned > 0 {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(POLL);
        }
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

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely there are no file descriptors left; some may be free a moment later.
            tokio::time::sleep(POLL).await;
            continue;
        };
        // Small chunks must leave at once.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            // A broken connection is the gateway's concern; the request is already recorded.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Mutex<Shared>>) -> Result<Response<Body>> {
    let head = Seen::new(&request);
    // A request without its end is never executed, so it is not recorded.
    let body = request.into_body().collect().await?.to_bytes().to_vec();
    let received = Received { head, body };
    let (script, turn) = {
        let mut shared = lock(&shared);
        if received.is_of_a_client() {
            shared.received.push(received.clone());
        }
        (Arc::clone(&shared.script), shared.turn)
    };
    script(&received).into_response(OpenStream { shared, turn, is_complete: false })
}

/// Reports a stream whose end was not sent because its client is gone: hyper drops the body then.
struct OpenStream {
    shared: Arc<Mutex<Shared>>,
    turn: u64,
    is_complete: bool,
}

impl OpenStream {
    /// Ends the stream as the script states. Otherwise its client has closed it.
    fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        if !self.is_complete && shared.turn == self.turn {
            shared.abandoned += 1;
        }
    }
}

fn streamed(pieces: Vec<Piece>, open: OpenStream) -> Body {
    let frames = stream::unfold((pieces.into_iter(), open), |(mut pieces, mut open)| async move {
        loop {
            match pieces.next() {
                Some(Piece::Data(bytes)) => {
                    let frame: io::Result<_> = Ok(Frame::data(Bytes::from(bytes)));
                    return Some((frame, (pieces, open)));
                }
                Some(Piece::Pause(time)) => tokio::time::sleep(time).await,
                Some(Piece::Break) => {
                    open.is_complete = true;
                    return Some((Err(io::ErrorKind::ConnectionReset.into()), (pieces, open)));
                }
                None => {
                    open.complete();
                    return None;
                }
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Connection, Request};

    fn start(script: Script) -> Upstream {
        Upstream::listen(([127, 0, 0, 1], 0).into(), script).unwrap()
    }

    #[test]
    fn records_requests_and_answers_as_the_script_says() {
        let upstream = start(succeeds());
        let message = messages::request(7, "server/discover", json!({})).to_string();
        let request = Request::post("/mcp").host("x").body(message);
        let mut connection = Connection::open(upstream.address()).unwrap();
        let response = connection.call(&request).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.json()["id"], 7);
        assert_eq!(upstream.received()[0].json()["id"], 7);
        upstream.follow(always(Answer::empty(404)));
        assert!(upstream.received().is_empty());
        assert_eq!(connection.call(&request).unwrap().status, 404);
        connection.call(&Request::get("/healthz").host("x")).unwrap();
        assert_eq!(upstream.received().len(), 1);
    }

    #[test]
    fn notices_a_client_that_leaves_a_silent_stream() {
        let upstream =
            start(always(Answer::events(vec![Piece::text("data: 1\n\n"), Piece::Pause(Duration::from_secs(60))])));
        let mut connection = Connection::open(upstream.address()).unwrap();
        connection.send(&Request::get("/mcp").host("x").to_bytes()).unwrap();
        let head = connection.read_head().unwrap();
        assert_eq!(connection.read_part(&head).unwrap(), b"data: 1\n\n");
        assert!(!upstream.await_abandoned(Duration::from_millis(50)));
        drop(connection);
        assert!(upstream.await_abandoned(Duration::from_secs(10)));
    }

    #[test]
    fn complete_and_broken_streams_do_not_count_as_abandoned() {
        let end = |last: &[Piece]| always(Answer::events([&[Piece::text("data: 1\n\n")][..], last].concat()));
        let upstream = start(end(&[]));
        for last in [&[][..], &[Piece::Pause(POLL), Piece::Break]] {
            upstream.follow(end(last));
            let request = Request::get("/mcp").host("x");
            let response = Connection::open(upstream.address()).unwrap().call(&request);
            assert_eq!(response.is_ok(), last.is_empty());
            assert!(!upstream.await_abandoned(Duration::from_millis(50)));
        }
    }
}
