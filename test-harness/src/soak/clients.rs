//! Clients that send requests of every kind, and break some of them off.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Error, Result, ensure};
use callgate_kit::mint::SigningKey;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};

use super::{HOST, ISSUER};
use crate::client::{Connection, Request};
use crate::quickstart::set;

/// More than the workers: each of them probably has some.
const CLIENTS: usize = 8;
/// How often a token is used again, from the cache.
const REPEATED: usize = 2;
/// The size of an argument whose client breaks off in the middle.
const BROKEN_OFF: usize = 16 << 10;
/// How long such a client waits, until the gate holds what it sent.
const HELD: Duration = Duration::from_millis(5);

/// What the clients have sent.
pub(super) struct Counts {
    pub(super) requests: usize,
    /// Different tokens.
    pub(super) tokens: usize,
    /// Requests that were reset in the middle of their bodies.
    pub(super) resets: usize,
}

/// Clients of one gate.
pub(super) struct Clients {
    address: SocketAddr,
    key: SigningKey,
    requests: AtomicUsize,
    tokens: AtomicUsize,
    resets: AtomicUsize,
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
    pub(super) fn new(address: SocketAddr, key: SigningKey) -> Self {
        Self {
            address,
            key,
            requests: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            problem: Mutex::new(None),
        }
    }

    /// Lets the clients send requests until what this returns is dropped, or one of them has a problem.
    pub(super) fn start<'c>(&'c self, scope: &'c Scope<'c, '_>) -> Stop<'c> {
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                if let Err(problem) = self.send_all() {
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
        }
    }

    pub(super) fn have_problem(&self) -> bool {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Returns the first problem of a client.
    pub(super) fn problem(&self) -> Option<Error> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn send_all(&self) -> Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no runtime for a client")?;
        let mut client = Client { clients: self, connection: Connection::open(self.address)?, runtime };
        while !self.done.load(Ordering::Relaxed) {
            client.round()?;
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
        let number = self.clients.tokens.fetch_add(1, Ordering::Relaxed);
        let token = self.token(number)?;
        let item = Request::get("/items/1").host(HOST);
        for _ in 0..=REPEATED {
            self.expect(&item.clone().bearer(&token), 200, None)?;
        }
        self.expect(&item, 401, Some("credentials_missing"))?;
        self.expect(&tool(&token, "look_up", 100), 200, None)?;
        self.break_off(&tool(&token, "look_up", BROKEN_OFF))
    }

    fn token(&self, number: usize) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set before 1970")?.as_secs();
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
        self.clients.requests.fetch_add(1, Ordering::Relaxed);
        let got = response.code();
        ensure!(
            response.status == status && (code.is_none() || got.as_deref() == code),
            "unexpected response, instead of {status}: {} {}",
            response.status,
            response.text()
        );
        if response.header("connection") == Some("close") {
            self.connection = Connection::open(self.clients.address)?;
        }
        Ok(())
    }

    /// Sends the first half of a request, whose body the gate holds, and resets the connection.
    fn break_off(&self, request: &Request) -> Result<()> {
        let bytes = request.to_bytes();
        let half = bytes.get(..bytes.len() - BROKEN_OFF / 2).context("the request is too short")?;
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.clients.address).await.context("cannot connect")?;
            stream.write_all(half).await.context("cannot send")?;
            tokio::time::sleep(HELD).await;
            stream.set_zero_linger().context("cannot set an option of the socket")
        })?;
        self.clients.resets.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Returns a request that calls a tool, with an argument of this size.
fn tool(token: &str, name: &str, size: usize) -> Request {
    let params = json!({ "name": name, "arguments": { "text": "a".repeat(size) } });
    Request::post("/mcp")
        .host(HOST)
        .bearer(token)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2025-11-25")
        .body(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string())
}
