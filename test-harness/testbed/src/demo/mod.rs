//! `cargo demo`: a real Envoy with the quickstart's policy, real requests through it, and a table of the decisions and reasons. With `--mcp`,
//! the same with the policy of `examples/mcp`.

mod calls;
mod key_server;
mod mcp;
mod picture;
mod serve;
mod table;

use std::env;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use callgate::decision::metrics::KEYS_FETCHED;
use serde_json::Value;

use crate::build::{Flavor, Sources};
use crate::client;
use crate::envoy::{self, Bootstrap, Envoy, Options, record_in};
use crate::quickstart::{self, Issuer};
use crate::upstream::Upstream;
use calls::Call;
use key_server::KeyServer;

pub use mcp::{Exchange, McpDemo};
pub use picture::{PICTURE, picture};
pub use serve::{Invitation, Try};

/// Marks a request, to find it at the upstream.
const MARK: &str = "x-demo-call";

/// When `cargo demo` was started, in milliseconds since 1970.
const STARTED: &str = "CALLGATE_DEMO_STARTED";

/// The cluster from which the policy fetches the keys of its issuer.
const IDP: &str = "idp";

/// The gate fetches within a second, but a busy machine may need longer.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);

const NEXT: &str = "\
Try next:
  cargo demo --serve             leaves the gate running and prints requests to try
  cargo install --path cli       installs `callgate`, which checks, explains and tests policies
  callgate test examples         runs the tests of the example policies";

/// The quickstart's policy in a real Envoy.
pub struct Demo {
    envoy: Envoy,
    upstream: Upstream,
    issuer: Issuer,
    /// While it runs, the gate can fetch the keys of the issuer again.
    _key_server: KeyServer,
}

/// The result of one request.
pub struct Outcome {
    /// The description of the request.
    pub title: &'static str,
    /// The expected status and reason.
    pub expected: (u16, String),
    /// The actual status, and the reason in the record.
    pub got: (u16, String),
    /// Whether the request should reach the upstream.
    pub is_forwarded: bool,
    /// What reached the upstream.
    pub upstream: Option<Received>,
}

/// A request as the upstream received it.
#[derive(Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The agent that the gate named.
    pub agent: Option<String>,
}

impl Outcome {
    /// Returns whether the response, the record and the upstream's view are as expected.
    pub fn is_expected(&self) -> bool {
        self.got == self.expected && self.upstream.is_some() == self.is_forwarded
    }
}

/// Prints the steps of the demo with the time since it was started.
struct Steps {
    started: Instant,
}

impl Steps {
    fn new() -> Self {
        let started = env::var(STARTED).ok().and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = started.and_then(|started| now.checked_sub(started)).unwrap_or_default();
        Self { started: Instant::now().checked_sub(before).unwrap_or_else(Instant::now) }
    }

    fn print(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs();
        eprintln!("[{}:{:02}] {what}", seconds / 60, seconds % 60);
    }
}

impl Demo {
    /// Builds the filter, finds Envoy and starts everything.
    ///
    /// # Errors
    /// When something is missing. The message states what to install.
    pub fn start() -> Result<Self> {
        Self::start_with(&Steps::new())
    }

    fn start_with(steps: &Steps) -> Result<Self> {
        let module = prepare(steps)?;
        let policy = quickstart::policy()?;
        let (upstream, key_server) = (Upstream::start()?, KeyServer::start()?);
        let mut bootstrap = Bootstrap::new(&module, &policy.to_string(), upstream.address())?;
        bootstrap.add_server(IDP, key_server.address())?;
        steps.print("starting Envoy with the filter and the policy of examples/quickstart");
        let envoy = Envoy::start(&bootstrap, &Options::default())?;
        await_keys(&envoy)?;
        steps.print("the gate has fetched the keys of the policy's issuer");
        Ok(Self { envoy, upstream, issuer: Issuer::new()?, _key_server: key_server })
    }

    /// Sends all requests, one after the other.
    ///
    /// # Errors
    /// When a request cannot be sent.
    pub fn call_all(&self) -> Result<Vec<Outcome>> {
        let mut made = 0;
        let mut outcomes = Vec::new();
        for call in calls::calls(&self.issuer)? {
            for _ in 0..call.earlier {
                client::call(self.envoy.api()?, &call.request)?;
            }
            made += call.earlier + 1;
            outcomes.push(self.call(made - 1, call)?);
        }
        Ok(outcomes)
    }

    /// Returns the response of Envoy's admin interface for this path.
    ///
    /// # Errors
    /// When the status is not 200.
    pub fn admin(&self, path: &str) -> Result<String> {
        self.envoy.admin(path)
    }

    /// Returns requests to try, with fresh tokens, and the commands that explain them.
    ///
    /// # Errors
    /// When Envoy has no listener.
    pub fn invitation(&self) -> Result<Invitation> {
        Invitation::new(&self.envoy, &self.issuer)
    }

    fn call(&self, index: usize, call: Call) -> Result<Outcome> {
        let mark = index.to_string();
        let answer = client::call(self.envoy.api()?, &call.request.header(MARK, &mark))
            .with_context(|| format!("the request `{}` was not answered", call.title))?;
        let record = record(&self.envoy, index)?;
        let text = |name| record.get(name).and_then(Value::as_str).unwrap_or("none").to_owned();
        let upstream = self
            .upstream
            .saw(MARK, &mark)
            .map(|seen| Received { agent: seen.header("x-callgate-agent").map(str::to_owned), method: seen.method });
        Ok(Outcome {
            title: call.title,
            expected: (call.status, call.reason.to_owned()),
            got: (answer.status, text("reason")),
            is_forwarded: call.status == 200,
            upstream,
        })
    }
}

/// Builds the filter and finds Envoy. Returns the file of the filter.
fn prepare(steps: &Steps) -> Result<PathBuf> {
    steps.print("building the filter; the first time takes a minute");
    // Fetching Envoy needs the network, and building the filter the processor.
    let (module, found) = thread::scope(|scope| {
        let finding = scope.spawn(envoy::locate);
        let module = Sources::here().showing_progress().filter(Flavor::Release);
        if !finding.is_finished() {
            steps.print("fetching Envoy");
        }
        (module, finding.join())
    });
    let module = module?;
    found.map_err(|_| anyhow!("looking for Envoy panicked"))??;
    Ok(module)
}

/// Returns the record of the request with this index. Requests are sent one after the other, and the access log keeps their order.
fn record(envoy: &Envoy, index: usize) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(line) = envoy.access_log().get(index) {
            return record_in(line).context("the request left no record");
        }
        ensure!(Instant::now() < deadline, "the request is not in the access log");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the gate has fetched the issuer's keys. A request would wait for them too, but at most for the `timeout` of the policy.
fn await_keys(envoy: &Envoy) -> Result<()> {
    let (counter, deadline) = (KEYS_FETCHED.prometheus(), Instant::now() + FETCH_DEADLINE);
    let is_counted = |line: &str| line.starts_with(&counter) && !line.ends_with(" 0");
    while !envoy.admin("/stats/prometheus")?.lines().any(is_counted) {
        ensure!(
            Instant::now() < deadline,
            "the gate has not fetched the keys of the policy's issuer; the end of Envoy's log:\n{}",
            envoy.log_tail()
        );
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Returns what the demo prints about these outcomes, without the times.
pub fn summary(outcomes: &[Outcome]) -> String {
    let expected = outcomes.iter().filter(|outcome| outcome.is_expected()).count();
    format!(
        "{}\n{expected} of {} requests were decided as expected.\n\n{NEXT}\n",
        table::table(outcomes.iter(), "the API received"),
        outcomes.len()
    )
}

/// Runs the demo of MCP.
///
/// # Errors
/// When something is missing, or a result differs from the expected one.
pub fn run_mcp() -> Result<()> {
    let steps = Steps::new();
    let demo = McpDemo::start_with(&steps)?;
    steps.print("sending requests");
    let exchanges = demo.call_all()?;
    println!("\n{}", demo.summary(&exchanges));
    let wrong = exchanges.iter().filter(|exchange| !exchange.outcome.is_expected()).count();
    ensure!(wrong == 0, "{wrong} of {} requests had another result than expected", exchanges.len());
    Ok(())
}

/// Runs the demo. With `serve` it runs until it is interrupted, which also ends Envoy.
///
/// # Errors
/// When something is missing, or a result differs from the expected one.
pub fn run(serve: bool) -> Result<()> {
    let steps = Steps::new();
    let demo = Demo::start_with(&steps)?;
    steps.print("sending requests");
    let outcomes = demo.call_all()?;
    println!("\n{}", summary(&outcomes));
    let wrong = outcomes.iter().filter(|outcome| !outcome.is_expected()).count();
    ensure!(wrong == 0, "{wrong} of {} requests had another result than expected", outcomes.len());
    if serve {
        println!("{}", demo.invitation()?);
        loop {
            thread::park();
        }
    }
    Ok(())
}
