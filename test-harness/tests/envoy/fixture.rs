//! An API with a gate in front of it, and clients for it.

use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::records;
use serde_json::{Value, json};
use test_harness::build::Flavor;
use test_harness::client::{self, Request, Response};
use test_harness::envoy::{Adapter, Bootstrap, Envoy, Options, record_in};
use test_harness::upstream::{Seen, Upstream};

pub(crate) const HOST: &str = "api.example.com";

/// The issuer's key.
pub(crate) static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k1"));

static MODULE: LazyLock<PathBuf> = LazyLock::new(|| adapter().build(Flavor::Release).unwrap());

/// Returns how Envoy runs the gate in this run of the tests.
pub(crate) fn adapter() -> Adapter {
    Adapter::chosen().unwrap()
}

/// Returns the filter or the dynamic module that ships.
pub(crate) fn module() -> &'static Path {
    &MODULE
}

/// Returns whether a test of something that only the Wasm filter has must run. Otherwise, prints why it does not, even if the test runner
/// captures the output of tests.
pub(crate) fn wasm_only(why: &str) -> bool {
    let is_wasm = adapter() == Adapter::Wasm;
    if !is_wasm {
        let thread = thread::current();
        let line = format!("{}: not run with the module: {why}\n", thread.name().unwrap_or("a test"));
        stderr().write_all(line.as_bytes()).unwrap();
    }
    is_wasm
}

/// Returns a policy with an endpoint for each kind of request that the tests send.
pub(crate) fn policy() -> Value {
    let endpoint = |id, method, path, scopes: Value| {
        let effect = if method == "GET" { "read" } else { "write" };
        json!({ "id": id, "methods": [method], "path": path, "effect": effect, "scopes": scopes })
    };
    let mut chat = endpoint("chat", "POST", "/echo.Echo/{method}", json!(["chat"]));
    chat["body"] = json!("stream");
    let mut socket = endpoint("socket", "GET", "/stream/socket", json!("none"));
    socket["upgrade"] = json!("websocket");
    json!({
        "callgate": "v1",
        "name": "tests",
        "mode": "enforce",
        "gateway": "envoy",
        "resource": "https://api.example.com",
        "hosts": [HOST],
        "issuers": {
            "corp": {
                "issuer": "https://idp.example.com",
                "profile": "at+jwt",
                "algorithms": ["ES256"],
                "max_lifetime": "15m",
                "keys": { "jwks": { "keys": [KEY.public_jwk()] } },
            },
        },
        "agents": {
            "robot": { "owner": "platform@example.com", "identity": { "issuer": "corp", "client_id": "robot" } },
        },
        "endpoints": [
            endpoint("items.get", "GET", "/items/{id}", json!(["items:read"])),
            endpoint("items.create", "POST", "/items", json!(["items:write"])),
            endpoint("events", "GET", "/stream/events", json!("none")),
            socket,
            chat,
            { "id": "status", "methods": ["GET"], "path": "/status", "effect": "read", "access": "public" },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "headers": { "prefix": "x-callgate-" }, "log": { "allow": false, "deny": false } },
    })
}

/// Returns the claims of a valid token of the agent `robot`.
pub(crate) fn claims(scopes: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": "https://idp.example.com",
        "aud": "https://api.example.com",
        "sub": "robot",
        "client_id": "robot",
        "scope": scopes,
        "iat": now,
        "exp": now + 600,
        "jti": "t1",
    })
}

/// Returns the header of a valid token.
pub(crate) fn header() -> Value {
    let mut header = KEY.header();
    header["typ"] = json!("at+jwt");
    header
}

/// Returns a valid token of the agent `robot`.
pub(crate) fn token(scopes: &str) -> String {
    KEY.sign(&header(), &claims(scopes))
}

/// Returns a request that the policy allows.
pub(crate) fn good() -> Request {
    Request::get("/items/1").host(HOST).bearer(&token("items:read"))
}

/// Returns a request with a message for the MCP server, without the message.
pub(crate) fn mcp_request(token: &str) -> Request {
    Request::post("/mcp")
        .host(HOST)
        .bearer(token)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2025-11-25")
}

/// Returns a shared gate with the test policy, for all tests that leave no state in it. An Envoy needs seconds to compile the filter.
pub(crate) fn shared() -> &'static Gate {
    static SHARED: LazyLock<Gate> = LazyLock::new(|| {
        let (sender, started) = mpsc::channel();
        // Envoy ends with the thread that started it, and a test's thread ends with the test.
        thread::spawn(move || {
            sender.send(Gate::start(&policy())).unwrap();
            loop {
                thread::park();
            }
        });
        started.recv().unwrap()
    });
    &SHARED
}

/// A gate in front of an API.
pub(crate) struct Gate {
    pub(crate) envoy: Envoy,
    pub(crate) upstream: Upstream,
    pub(crate) bootstrap: Bootstrap,
}

/// The observed effects of one request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) response: Response,
    /// The line of the access log.
    pub(crate) line: Value,
    /// The request that reached the API.
    pub(crate) seen: Option<Seen>,
}

impl Asked {
    /// Returns the decision record. Checks that it has the documented form.
    #[track_caller]
    pub(crate) fn record(&self) -> Value {
        record(&self.line)
    }

    /// Asserts that the gate denied the request with this status and reason, that all outputs agree, and that the request was not
    /// forwarded.
    #[track_caller]
    pub(crate) fn assert_denied(&self, status: u16, reason: &str) {
        assert_eq!(self.record()["reason"], reason, "{self:?}");
        assert_eq!(self.record()["decision"], "deny", "{self:?}");
        assert_eq!(self.line["details"], format!("callgate_{reason}"), "{self:?}");
        assert_eq!(self.response.status, status, "{self:?}");
        assert_eq!(self.seen, None);
    }

    /// Asserts that the request reached the API and that the response came back.
    #[track_caller]
    pub(crate) fn assert_allowed(&self) -> &Seen {
        assert_eq!(self.response.status, 200, "{self:?}");
        assert_eq!(self.record()["decision"], "allow", "{self:?}");
        self.seen.as_ref().unwrap()
    }
}

/// Returns the decision record in a line of the access log. Checks that it has the documented form.
#[track_caller]
pub(crate) fn record(line: &Value) -> Value {
    let record = record_in(line).unwrap_or_else(|| panic!("no record in {line}"));
    assert_eq!(records::faults(&record), [""; 0], "{record}");
    record
}

impl Gate {
    /// Starts the shipped configuration with this policy.
    pub(crate) fn start(policy: &Value) -> Self {
        Self::start_with(policy, |_| (), &Options::default())
    }

    /// Starts the shipped configuration with this policy and with changes.
    pub(crate) fn start_with(policy: &Value, change: impl FnOnce(&mut Bootstrap), options: &Options) -> Self {
        Self::try_start(module(), &policy.to_string(), change, options).unwrap()
    }

    /// Starts it with any module and any text as the policy. It may fail to start.
    pub(crate) fn try_start(
        module: &Path,
        policy: &str,
        change: impl FnOnce(&mut Bootstrap),
        options: &Options,
    ) -> anyhow::Result<Self> {
        let upstream = Upstream::start()?;
        let mut bootstrap = Bootstrap::new(module, policy, upstream.address())?;
        // Identifies the lines of the access log.
        log_as_well(&mut bootstrap, r#""mark":"%REQ(X-MARK)%""#);
        change(&mut bootstrap);
        let envoy = Envoy::start(&bootstrap, options)?;
        Ok(Self { envoy, upstream, bootstrap })
    }

    /// Sends a request on a new connection.
    pub(crate) fn call(&self, request: &Request) -> Response {
        client::call(self.envoy.api().unwrap(), request).unwrap()
    }

    /// Sends a request and collects all of its effects.
    pub(crate) fn ask(&self, request: Request) -> Asked {
        let mark = mark();
        let response = self.call(&request.header("X-Mark", &mark));
        self.asked(&mark, response)
    }

    /// Collects the effects of the request with this mark and this response.
    pub(crate) fn asked(&self, mark: &str, response: Response) -> Asked {
        let line = self.envoy.await_access_log(|line| line["mark"] == mark);
        let line = line.unwrap_or_else(|error| panic!("{error}: {} {}", response.status, response.text()));
        Asked { response, line, seen: self.upstream.saw("x-mark", mark) }
    }
}

/// Adds a member to the lines of the access log.
pub(crate) fn log_as_well(bootstrap: &mut Bootstrap, member: &str) {
    let log = &mut bootstrap.manager().unwrap()["access_log"][0];
    let format = &mut log["typed_config"]["log_format"]["text_format_source"]["inline_string"];
    *format = json!(format.as_str().unwrap().replacen('{', &format!("{{{member},"), 1));
}

/// Returns a unique value for `X-Mark`.
pub(crate) fn mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}
