//! Clients that send requests of every kind, over HTTP/1.1 and HTTP/2, and break some of them off.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, ensure};
use callgate_kit::mint::SigningKey;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

use super::{HOST, ISSUER, signed};
use crate::client::{Connection, Request, Response};
use crate::http2;
use crate::quickstart::{now, set};

/// More than the workers: each of them probably has some.
const CLIENTS: usize = 8;
/// How often a token is used again, from the cache.
const REPEATED: usize = 2;
/// The size of an argument whose client breaks off in the middle.
const BROKEN_OFF: usize = 16 << 10;
/// How long such a client waits, until the gate holds what it sent.
const HELD: Duration = Duration::from_millis(5);
/// How long one client waits, because workers report once per second how much they hold.
const HELD_LONG: Duration = Duration::from_millis(1_500);
/// The pause of the client with HTTP/2, which opens a connection for each request. Closed ones use up ports for a minute.
const HTTP2_PAUSE: Duration = Duration::from_millis(20);
/// How often a request over HTTP/2 is sent, because a listener that is being replaced closes its connections.
const HTTP2_ATTEMPTS: usize = 3;

/// What the clients have sent.
pub(super) struct Counts {
    pub(super) requests: usize,
    /// Different tokens.
    pub(super) tokens: usize,
    /// Requests that were reset in the middle of their bodies.
    pub(super) resets: usize,
    /// Requests over HTTP/2. They are also in `requests`.
    pub(super) http2: usize,
    /// Signed requests that were accepted once, and denied when they were repeated.
    pub(super) replays: usize,
}

/// What a client does again and again.
#[derive(Clone, Copy)]
enum Work {
    /// One request of each kind.
    Round,
    /// A body that is held for longer than a second.
    Hold,
    /// Requests over HTTP/2.
    Http2,
    /// A signed request, and the same once more.
    Sign,
}

/// Clients of one gate.
pub(super) struct Clients {
    address: SocketAddr,
    /// The key of the issuer, and that of the agent that signs its requests.
    key: SigningKey,
    signer: SigningKey,
    requests: AtomicUsize,
    tokens: AtomicUsize,
    resets: AtomicUsize,
    http2: AtomicUsize,
    replays: AtomicUsize,
    done: AtomicBool,
    problem: Mutex<Option<Error>>,
}

/// Stops the clients when it is dropped.
pub(super) struct Stop<'c>(&'c AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clients {
    pub(super) fn new(address: SocketAddr, key: SigningKey, signer: SigningKey) -> Self {
        Self {
            address,
            key,
            signer,
            requests: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
            http2: AtomicUsize::new(0),
            replays: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            problem: Mutex::new(None),
        }
    }

    /// Lets the clients send requests until what this returns is dropped, or one of them has a problem.
    pub(super) fn start<'c>(&'c self, scope: &'c Scope<'c, '_>) -> Stop<'c> {
        for work in [Work::Round; CLIENTS].into_iter().chain([Work::Hold, Work::Http2, Work::Sign]) {
            scope.spawn(move || {
                if let Err(problem) = self.repeat(work) {
                    self.done.store(true, Ordering::Relaxed);
                    self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
                }
            });
        }
        Stop(&self.done)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            requests: self.requests.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
            resets: self.resets.load(Ordering::Relaxed),
            http2: self.http2.load(Ordering::Relaxed),
            replays: self.replays.load(Ordering::Relaxed),
        }
    }

    pub(super) fn have_problem(&self) -> bool {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Returns the first problem of a client.
    pub(super) fn problem(&self) -> Option<Error> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn repeat(&self, work: Work) -> Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no runtime for a client")?;
        let mut client = Client { clients: self, connection: Connection::open(self.address)?, runtime };
        while !self.done.load(Ordering::Relaxed) {
            match work {
                Work::Round => client.round()?,
                Work::Hold => client.break_off(&tool(&client.new_token()?, BROKEN_OFF), HELD_LONG)?,
                Work::Http2 => client.over_http2()?,
                Work::Sign => client.sign()?,
            }
        }
        Ok(())
    }
}

/// A client, with a connection that it keeps.
struct Client<'c> {
    clients: &'c Clients,
    connection: Connection,
    runtime: Runtime,
}

impl Client<'_> {
    /// Sends one request of each kind.
    fn round(&mut self) -> Result<()> {
        let token = self.new_token()?;
        let item = Request::get("/items/1").host(HOST);
        for _ in 0..=REPEATED {
            self.expect(&item.clone().bearer(&token), 200, None)?;
        }
        self.expect(&item, 401, Some("credentials_missing"))?;
        self.expect(&tool(&token, 100), 200, None)?;
        self.break_off(&tool(&token, BROKEN_OFF), HELD)
    }

    fn new_token(&self) -> Result<String> {
        let number = self.clients.tokens.fetch_add(1, Ordering::Relaxed);
        let now = now()?;
        let mut header = self.clients.key.header();
        set(&mut header, "typ", "at+jwt");
        let claims = json!({
            "iss": ISSUER, "aud": "https://api.example.com", "sub": "robot", "client_id": "robot", "scope": "items:read",
            "iat": now, "exp": now + 600, "jti": format!("soak-{number}"),
        });
        Ok(self.clients.key.sign(&header, &claims))
    }

    /// Sends a request. A listener that is being replaced closes its connections, so a request that got no response is sent once more.
    fn expect(&mut self, request: &Request, status: u16, code: Option<&str>) -> Result<()> {
        let response = match self.connection.call(request) {
            Ok(response) => response,
            Err(_) => {
                self.connection = Connection::open(self.clients.address)?;
                self.connection.call(request)?
            }
        };
        self.received(&response, status, code)
    }

    /// Checks a response on the connection, and opens another one if it was the last.
    fn received(&mut self, response: &Response, status: u16, code: Option<&str>) -> Result<()> {
        self.check(response, status, code)?;
        if response.header("connection") == Some("close") {
            self.connection = Connection::open(self.clients.address)?;
        }
        Ok(())
    }

    fn check(&self, response: &Response, status: u16, code: Option<&str>) -> Result<()> {
        self.clients.requests.fetch_add(1, Ordering::Relaxed);
        let got = response.code();
        ensure!(
            response.status == status && (code.is_none() || got.as_deref() == code),
            "unexpected response, instead of {status}: {} {}",
            response.status,
            response.text()
        );
        Ok(())
    }

    /// Sends the first half of a request, whose body the gate holds for this time, and resets the connection.
    fn break_off(&self, request: &Request, held: Duration) -> Result<()> {
        let bytes = request.to_bytes();
        let half = bytes.get(..bytes.len() - BROKEN_OFF / 2).context("the request is too short")?;
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.clients.address).await.context("cannot connect")?;
            stream.write_all(half).await.context("cannot send")?;
            tokio::time::sleep(held).await;
            stream.set_zero_linger().context("cannot set an option of the socket")
        })?;
        self.clients.resets.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sends a request without a body and one whose body is held, over HTTP/2.
    fn over_http2(&self) -> Result<()> {
        let token = self.new_token()?;
        self.expect_over_http2(&lines("GET", "/items/1", &token, &[]), None)?;
        self.expect_over_http2(&lines("POST", "/mcp", &token, &HEADERS), Some(&[message(100).into_bytes()]))?;
        thread::sleep(HTTP2_PAUSE);
        Ok(())
    }

    fn expect_over_http2(&self, lines: &http2::Lines, body: Option<&[Vec<u8>]>) -> Result<()> {
        let answers = (0..HTTP2_ATTEMPTS).map(|_| http2::call(self.clients.address, lines, body));
        let response = answers.flatten().flatten().next().context("no response over HTTP/2")?;
        self.clients.http2.fetch_add(1, Ordering::Relaxed);
        self.check(&response, 200, None)
    }

    /// Sends a signed request, and the same once more.
    fn sign(&mut self) -> Result<()> {
        thread::sleep(signed::PAUSE);
        let request = signed::request(&self.clients.signer)?;
        // There is no second attempt with this one: if the gate accepted the first one, the second is a replay.
        let Ok(response) = self.connection.call(&request) else {
            self.connection = Connection::open(self.clients.address)?;
            return Ok(());
        };
        // For some seconds after the start, the gate cannot distinguish fresh signatures from replayed ones.
        if response.code().as_deref() == Some("replay_table_young") {
            return self.received(&response, response.status, None);
        }
        self.received(&response, 200, None)?;
        self.expect(&request, 403, Some("signature_replayed"))?;
        self.clients.replays.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The headers of a message to the MCP server.
const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2025-11-25"),
];

/// Returns a message that calls a tool, with an argument of this size.
fn message(size: usize) -> String {
    let params = json!({ "name": "look_up", "arguments": { "text": "a".repeat(size) } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

/// Returns a request with that message.
fn tool(token: &str, size: usize) -> Request {
    let request = Request::post("/mcp").host(HOST).bearer(token);
    HEADERS.iter().fold(request, |request, (name, value)| request.header(name, value)).body(message(size))
}

/// Returns the lines of a request over HTTP/2.
fn lines(method: &str, path: &str, token: &str, headers: &[(&str, &str)]) -> http2::Lines {
    let bearer = format!("Bearer {token}");
    let first = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", HOST),
        ("authorization", bearer.as_str()),
    ];
    let all = first.iter().chain(headers);
    all.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
