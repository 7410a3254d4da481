//! MCP servers and clients by other authors, with a real Envoy and the policy of `examples/mcp` between them: the official SDK for Python in
//! two versions, and the official SDK for Rust. Every client performs the same steps and prints the same lines, so each test states what a
//! user of any client sees.

mod conversations;
mod discovery;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use callgate::Reason;
use callgate_kit::document;
use callgate_kit::mint::SigningKey;
use callgate_testbed::kept::{Kept, last_lines};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use test_harness::client::{self, Request};
use test_harness::envoy::{Bootstrap, Options, record_in};
use test_harness::python::Package;
use test_harness::{build, paths};

use crate::envoy::clients::python;
use crate::envoy::discovery::MCP;
use crate::envoy::fixture::{Gate, claims};

const HOST: &str = "payments.example.com";
const RESOURCE: &str = "https://payments.example.com/mcp";
const PARTIES: &str = "test-harness/tests/envoy/mcp/parties";
/// A Python server starts within a second, but longer on a machine that runs all tests at once.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The MCP SDK for Python, version 1.
const MCP_1: Package<'_> =
    Package { folder: "mcp", name: "mcp", version: "1.30.0", file: "mcp/client/streamable_http.py" };

/// A server. All but the last have the same tools, resources and prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// The example's.
    Python2,
    Python1,
    Rust,
    /// Another one, which has a tool that ends only when its call is cancelled.
    Waiting,
}

/// A client, and how it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Begins with the newest revision, and falls back.
    Python2,
    /// Begins with `initialize`.
    Python2Legacy,
    Python1,
    Rust,
}

impl Server {
    /// Returns the command that serves on a port, or `None` if it cannot be installed.
    fn command(self, port: u16) -> Option<Command> {
        let script = |package, script: &str| {
            let mut command = Command::new(python(package)?);
            command.arg("-B").arg(paths::root().join(script));
            Some(command)
        };
        let mut command = match self {
            Self::Python2 => script(MCP, "examples/mcp/server.py")?,
            Self::Python1 => script(MCP_1, &format!("{PARTIES}/server.py"))?,
            Self::Waiting => script(MCP, &format!("{PARTIES}/waiting.py"))?,
            Self::Rust => {
                let mut command = Command::new(build::rmcp_party().unwrap());
                command.arg("server");
                command
            }
        };
        command.arg(port.to_string());
        Some(command)
    }
}

impl Client {
    const ALL: [Self; 4] = [Self::Python2, Self::Python2Legacy, Self::Python1, Self::Rust];

    /// Returns the agent of the policy as which it connects. Each has its own limits.
    fn agent(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Returns the command without the steps, or `None` if it cannot be installed.
    fn command(self) -> Option<Command> {
        let (package, mode) = match self {
            Self::Python2 => (MCP, "auto"),
            Self::Python2Legacy => (MCP, "legacy"),
            Self::Python1 => (MCP_1, "legacy"),
            Self::Rust => {
                let mut command = Command::new(build::rmcp_party().unwrap());
                command.args(["client", "auto"]);
                return Some(command);
            }
        };
        let mut command = Command::new(python(package)?);
        command.arg("-B").arg(paths::root().join(PARTIES).join("client.py")).arg(mode);
        Some(command)
    }
}

/// A gate with a server behind it.
struct Guarded {
    gate: Gate,
    _server: Kept,
    _folder: TempDir,
}

impl Guarded {
    /// Starts a server, and a gate in front of it with the example's policy and changes. Returns `None` if the server cannot be installed.
    fn start(server: Server, change: impl FnOnce(&mut Value)) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (address, process) = serve(server, &folder)?;
        let mut policy = policy(server);
        change(&mut policy);
        let routed = |bootstrap: &mut Bootstrap| {
            bootstrap.virtual_hosts().unwrap()[0]["domains"] = json!([HOST]);
            bootstrap.set_upstream(address).unwrap();
        };
        let gate = Gate::start_with(&policy, routed, &Options::default());
        Some(Self { gate, _server: process, _folder: folder })
    }

    /// Performs steps with a client that has a token, and returns its lines. Returns `None` if the client cannot be installed.
    fn perform(&self, client: Client, token: &str, steps: &[&str]) -> Option<Vec<String>> {
        self.perform_with(client, &[("TOKEN", token.to_owned())], steps)
    }

    fn perform_with(&self, client: Client, variables: &[(&str, String)], steps: &[&str]) -> Option<Vec<String>> {
        let mut command = client.command()?;
        let gateway = format!("http://{}", self.gate.envoy.api().unwrap());
        let output = command.args(steps).env("GATEWAY", gateway).envs(variables.iter().cloned()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{client:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        Some(printed.lines().map(without_ids).collect())
    }

    /// Waits until the access log has a record with these members, and returns its line.
    #[track_caller]
    fn await_record(&self, members: &Value) -> Value {
        let matches = |record: &Value| members.as_object().unwrap().iter().all(|(name, value)| record[name] == *value);
        let found = self.gate.envoy.await_access_log(|line| record_in(line).as_ref().is_some_and(matches));
        found.unwrap_or_else(|error| panic!("no record with {members}: {error}"))
    }
}

/// Starts a server and waits until it accepts connections.
fn serve(server: Server, folder: &TempDir) -> Option<(SocketAddr, Kept)> {
    // Another process may get the port in between. Then the server ends at once, and the test fails.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let log = folder.path().join("server.log");
    let mut process = Kept::start(&server.command(address.port())?, folder.path(), &log).unwrap();
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = process.has_ended() || start.elapsed() > START_DEADLINE;
        assert!(!ended, "{server:?} does not start:\n{}", last_lines(&fs::read_to_string(&log).unwrap()));
        thread::sleep(Duration::from_millis(20));
    }
    Some((address, process))
}

/// Returns the example's policy with an agent for each client. The pins are those of the example's server, so others have none.
fn policy(server: Server) -> Value {
    let mut policy = document::read(paths::root().join("examples/mcp/policy.yaml")).unwrap().value().clone();
    for client in Client::ALL {
        let identity = json!({ "issuer": "corp", "client_id": client.agent() });
        policy["agents"][client.agent()] = json!({ "owner": "platform@example.com", "identity": identity });
    }
    if server != Server::Python2 {
        for tool in policy["endpoints"][0]["rpc"]["tools"].as_array_mut().unwrap() {
            tool.as_object_mut().unwrap().remove("pin");
        }
    }
    policy
}

/// Returns a token of the example's issuer for a client, with the claim `tenant: acme`.
fn token(client: Client, scopes: &str) -> String {
    let jwk = fs::read_to_string(paths::root().join("examples/mcp/keys/es256.jwk.json")).unwrap();
    let key = SigningKey::from_jwk(&serde_json::from_str(&jwk).unwrap()).unwrap();
    let mut claims = claims(scopes);
    claims["aud"] = json!(RESOURCE);
    claims["sub"] = json!(client.agent());
    claims["client_id"] = json!(client.agent());
    claims["tenant"] = json!("acme");
    let mut header = key.header();
    header["typ"] = json!("at+jwt");
    key.sign(&header, &claims)
}

/// Returns what every client shows for a denial that is a JSON-RPC error.
fn denied(code: &str) -> String {
    let row = Reason::ALL.iter().map(|reason| reason.row()).find(|row| row.code == code).unwrap();
    format!(r#"error {} {} {{"code":"{code}","status":{}}}"#, row.status, row.title, row.status)
}

/// Replaces the ids of payments, which depend on what happened before.
fn without_ids(line: &str) -> String {
    let mut parts = line.split(r#""id":""#);
    let mut masked = parts.next().unwrap().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('"').unwrap();
        // Writing to a string does not fail.
        let _ = write!(masked, r#""id":"…"{rest}"#);
    }
    masked
}

/// Computes a pin of a tool as RFC 8785 describes it, with another implementation than the gate's and the command line's.
pub(crate) fn pin(definition: &Value) -> String {
    let canonical = serde_json_canonicalizer::to_vec(definition).unwrap();
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A policy pins the definitions that its server lists, and the example's file is what it lists.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn the_saved_list_of_the_example_is_what_its_server_lists() {
    let folder = tempfile::tempdir().unwrap();
    let Some((address, _process)) = serve(Server::Python2, &folder) else { return };
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
    });
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } });
    let request = Request::post("/mcp")
        .host(address.to_string())
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("Mcp-Method", "tools/list")
        .body(list.to_string());
    let listed = client::call(address, &request).unwrap().json();
    let saved = fs::read_to_string(paths::root().join("examples/mcp/tools.json")).unwrap();
    assert_eq!(listed["result"]["tools"], serde_json::from_str::<Value>(&saved).unwrap()["result"]["tools"]);
}
