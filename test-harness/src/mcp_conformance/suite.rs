//! What scenarios use: a gateway, the server behind it, and the kinds of checks.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::messages::{self, LEGACY, MODERN, VERSION_KEY};
use super::scenario::Check;
use super::sent::{Exchange, Sent, encoded, is_same};
use super::target::Target;
use super::upstream::{Answer, Script, Upstream, always, succeeds};
use crate::client::{Connection, Request, Response};
use crate::envoy::Envoy;

/// How long a request may still be on its way to the server after the client has got a response.
const ON_THE_WAY: Duration = Duration::from_millis(20);

/// A gateway and the server behind it.
pub(super) struct Suite {
    pub(super) target: Target,
    pub(super) upstream: Upstream,
    /// How long the longest pause of a stream is.
    pub(super) silence: Duration,
    /// The gateway, if the suite started it.
    pub(super) _envoy: Option<Envoy>,
    /// The server in place of a gateway that the suite itself is tested with.
    pub(super) _closed: Option<Upstream>,
}

impl Suite {
    /// Returns a posted JSON message, without the headers that depend on the revision.
    pub(super) fn post(&self, body: impl AsRef<[u8]>) -> Sent {
        self.authorized("POST")
            .add("Content-Type", "application/json")
            .add("Accept", "application/json, text/event-stream")
            .body(body)
    }

    fn authorized(&self, method: &'static str) -> Sent {
        let sent = Sent::new(method, &self.target.path).add("Host", &self.target.host);
        match &self.target.tokens.full {
            Some(token) => sent.add("Authorization", format!("Bearer {token}")),
            None => sent,
        }
    }

    /// Returns a posted message of 2026-07-28, with the headers that mirror it.
    pub(super) fn modern(&self, message: &Value) -> Sent {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let version = text("/params/_meta/io.modelcontextprotocol~1protocolVersion").unwrap_or(MODERN);
        let method = text("/method").unwrap_or_default();
        let name = match method {
            "tools/call" | "prompts/get" => text("/params/name"),
            "resources/read" => text("/params/uri"),
            _ => None,
        };
        self.mirrored(version, method, name, message.to_string())
    }

    /// Returns a posted message of 2026-07-28 with these mirrored values.
    pub(super) fn mirrored(&self, version: &str, method: &str, name: Option<&str>, body: impl AsRef<[u8]>) -> Sent {
        let sent = self.post(body).add("MCP-Protocol-Version", version).add("Mcp-Method", method);
        match name {
            Some(name) if name.is_ascii() => sent.add("Mcp-Name", name),
            Some(name) => sent.add("Mcp-Name", encoded(name)),
            None => sent,
        }
    }

    /// Returns a request of 2026-07-28 for a tool, with the id 1.
    pub(super) fn call(&self, tool: &str, arguments: Value) -> Sent {
        self.modern(&messages::request(1, "tools/call", json!({ "name": tool, "arguments": arguments })))
    }

    /// Returns a posted message of 2025-11-25. The request that opens a session does not have the header of the revision yet.
    pub(super) fn legacy(&self, message: &Value) -> Sent {
        let sent = self.post(message.to_string());
        let opens = message.get("method").is_some_and(|method| method == "initialize");
        if opens { sent } else { sent.add("MCP-Protocol-Version", LEGACY) }
    }

    /// Returns a request of 2025-11-25 without a body: `GET` listens, and `DELETE` ends a session.
    pub(super) fn without_body(&self, method: &'static str) -> Sent {
        let accepted = if method == "GET" { "text/event-stream" } else { "application/json, text/event-stream" };
        self.authorized(method).add("Accept", accepted).add("MCP-Protocol-Version", LEGACY)
    }

    /// Sends a request on a new connection, and collects what happens.
    pub(super) fn exchange(&self, sent: &Sent, script: Script) -> Result<Exchange> {
        self.exchange_raw(&sent.to_request(), script)
    }

    /// Sends a request that was built otherwise.
    pub(super) fn exchange_raw(&self, request: &Request, script: Script) -> Result<Exchange> {
        self.upstream.follow(script);
        let response = Connection::open(self.target.address)?.call(request)?;
        Ok(self.collected(response))
    }

    /// Returns a response with the requests that have reached the server.
    pub(super) fn collected(&self, response: Response) -> Exchange {
        if self.upstream.received().is_empty() {
            thread::sleep(ON_THE_WAY);
        }
        Exchange { response, received: self.upstream.received() }
    }

    /// Checks that a request does not reach the server, and that the status is one of these.
    pub(super) fn rejects(&self, sent: &Sent, statuses: &[u16]) -> Result<Check> {
        let exchange = self.exchange(sent, succeeds())?;
        let is_rejected = exchange.received.is_empty() && statuses.contains(&exchange.response.status);
        Ok(Check::new(is_rejected, exchange.seen()))
    }

    /// Checks that a request does not reach the server, and that the client gets an error: a status, or a JSON-RPC error.
    pub(super) fn denies(&self, sent: &Sent) -> Result<Check> {
        let exchange = self.exchange(sent, succeeds())?;
        Ok(Check::new(exchange.is_denied(), exchange.seen()))
    }

    /// Checks that [`Suite::denies`] holds for each of these requests, and names the others.
    pub(super) fn denies_all(&self, requests: &[(&str, Sent)]) -> Result<Check> {
        self.each(requests, |sent| self.denies(sent))
    }

    /// Checks that [`Suite::rejects`] holds for each of these requests, and names the others.
    pub(super) fn rejects_all(&self, requests: &[(&str, Sent)], statuses: &[u16]) -> Result<Check> {
        self.each(requests, |sent| self.rejects(sent, statuses))
    }

    fn each(&self, requests: &[(&str, Sent)], check: impl Fn(&Sent) -> Result<Check>) -> Result<Check> {
        let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
        for (name, sent) in requests {
            let one = check(sent)?;
            if !one.passed {
                wrong.push(format!("{name}: {}", one.seen));
            }
            seen.insert(one.seen);
        }
        let all = seen.into_iter().collect::<Vec<_>>().join("; ");
        Ok(if wrong.is_empty() { Check::new(true, all) } else { Check::failed(wrong.join("; ")) })
    }

    /// Checks that nothing with this text reaches the server: the request is rejected, or forwarded without its other meaning.
    pub(super) fn keeps_away(&self, sent: &Sent, text: &str) -> Result<Check> {
        self.upstream.follow(succeeds());
        // A gateway may also close the connection.
        let Ok(response) = Connection::open(self.target.address)?.call(&sent.to_request()) else {
            let reached = !self.upstream.received().is_empty();
            return Ok(Check::new(!reached, "the connection is closed"));
        };
        let exchange = self.collected(response);
        let has_text = |body: &[u8]| body.windows(text.len()).any(|window| window == text.as_bytes());
        let kept = !exchange.received.iter().any(|received| has_text(&received.body));
        Ok(Check::new(kept, exchange.seen()))
    }

    /// Checks that a request reaches the server with the same message, and that the server's response comes back.
    pub(super) fn forwards(&self, sent: &Sent) -> Result<Check> {
        let exchange = self.exchange(sent, succeeds())?;
        let is_forwarded = exchange.unchanged(sent).is_some() && exchange.response.status < 300;
        Ok(Check::new(is_forwarded, exchange.seen()))
    }

    /// Checks that a request reaches the server with the same message and with these header lines.
    pub(super) fn forwards_with(&self, sent: &Sent, headers: &[(&str, &str)]) -> Result<Check> {
        let exchange = self.exchange(sent, succeeds())?;
        let Some(received) = exchange.unchanged(sent) else { return Ok(Check::failed(exchange.seen())) };
        let is_there = |(name, value): &&(&str, &str)| received.head.header(name) == Some(*value);
        let missing: Vec<_> = headers.iter().filter(|header| !is_there(header)).map(|(name, _)| *name).collect();
        let changed = if missing.is_empty() { String::new() } else { format!(", other {}", missing.join(", ")) };
        Ok(Check::new(missing.is_empty(), exchange.seen() + &changed))
    }

    /// Checks that the server's response to a request comes back with the same status and body, and with these header lines.
    pub(super) fn answers(
        &self,
        sent: &Sent,
        answer: Answer,
        status: u16,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Check> {
        let exchange = self.exchange(sent, always(answer))?;
        let response = &exchange.response;
        let mut changed = Vec::new();
        if response.status != status {
            changed.push("status");
        }
        if !is_same(&response.body, body) {
            changed.push("body");
        }
        let differs = |(name, value): &&(&str, &str)| response.header(name) != Some(*value);
        changed.extend(headers.iter().filter(differs).map(|(name, _)| *name));
        let passed = exchange.reached().is_some() && changed.is_empty();
        let other = if changed.is_empty() { String::new() } else { format!(", other {}", changed.join(", ")) };
        Ok(Check::new(passed, exchange.seen() + &other))
    }

    /// Checks that a JSON response comes back with the same status and message.
    pub(super) fn answers_json(&self, sent: &Sent, status: u16, message: &Value) -> Result<Check> {
        let body = message.to_string();
        let headers = [("content-type", "application/json")];
        self.answers(sent, Answer::json(status, message), status, body.as_bytes(), &headers)
    }

    /// Sends a request and reads the beginning of the event stream that answers it.
    pub(super) fn open(&self, sent: &Sent, script: Script) -> Result<Events> {
        self.upstream.follow(script);
        self.open_next(sent)
    }

    /// The same, with the current script.
    pub(super) fn open_next(&self, sent: &Sent) -> Result<Events> {
        let mut connection = Connection::open(self.target.address)?;
        connection.send(&sent.to_request().to_bytes())?;
        let head = connection.read_head()?;
        ensure!(head.status == 200, "{} instead of an event stream", head.status);
        Ok(Events { connection, head, bytes: Vec::new(), is_complete: false })
    }
}

/// An event stream, as it arrives.
#[derive(Debug)]
pub(super) struct Events {
    connection: Connection,
    pub(super) head: Response,
    /// The bytes so far.
    pub(super) bytes: Vec<u8>,
    pub(super) is_complete: bool,
}

impl Events {
    /// Reads the next part. Returns false at the end.
    fn read(&mut self) -> Result<bool> {
        if self.is_complete {
            return Ok(false);
        }
        let part = self.connection.read_part(&self.head)?;
        self.is_complete = part.is_empty() || self.head.header("content-length").is_some();
        self.bytes.extend(part);
        Ok(true)
    }

    /// Reads until this text has arrived.
    pub(super) fn read_until(&mut self, text: &str) -> Result<()> {
        while !self.contains(text) {
            ensure!(self.read()?, "the stream ends without an expected event");
        }
        Ok(())
    }

    /// Reads to the end of the stream.
    pub(super) fn read_to_end(&mut self) -> Result<()> {
        while self.read()? {}
        Ok(())
    }

    /// Returns whether this text has arrived.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// Returns the member of the metadata with the revision, changed to this one.
pub(super) fn with_revision(mut message: Value, revision: &str) -> Value {
    if let Some(meta) = message.pointer_mut("/params/_meta").and_then(Value::as_object_mut) {
        meta.insert(VERSION_KEY.to_owned(), json!(revision));
    }
    message
}
