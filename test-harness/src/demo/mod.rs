//! `cargo demo`: a real Envoy with the quickstart's policy, real requests through it, and a table of the decisions and reasons.

mod calls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::Value;

use crate::build::{self, Flavor};
use crate::client;
use crate::envoy::{self, Bootstrap, Envoy, Options, record_in};
use crate::interrupt;
use crate::progress;
use crate::quickstart::{self, HOST, Issuer};
use crate::upstream::Upstream;
use calls::Call;

/// Marks a request, to find it at the upstream.
const MARK: &str = "x-demo-call";

/// The quickstart's policy in a real Envoy.
pub struct Demo {
    envoy: Envoy,
    upstream: Upstream,
    issuer: Issuer,
}

/// The result of one request.
pub struct Outcome {
    /// The description of the request.
    pub title: &'static str,
    /// The expected status and reason.
    pub expected: (u16, String),
    /// The actual status, and the reason in the record.
    pub got: (u16, String),
    /// The request that reached the upstream: method, path and agent.
    pub upstream: Option<String>,
}

impl Outcome {
    /// Returns whether the response, the record and the upstream's view are as expected.
    pub fn is_expected(&self) -> bool {
        self.got == self.expected && self.upstream.is_some() == (self.expected.0 == 200)
    }
}

impl Demo {
    /// Builds the filter, finds Envoy and starts everything.
    ///
    /// # Errors
    /// When something is missing. The message states what to install.
    pub fn start() -> Result<Self> {
        let module = progress::during("building the filter", || build::filter(Flavor::Release))?;
        progress::during("looking for Envoy, or installing it", envoy::locate)?;
        let policy = quickstart::policy()?;
        let upstream = Upstream::start()?;
        let bootstrap = Bootstrap::new(&module, &policy.to_string(), upstream.address())?;
        let envoy = progress::during("starting Envoy", || Envoy::start(&bootstrap, &Options::default()))?;
        Ok(Self { envoy, upstream, issuer: Issuer::new()? })
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

    fn call(&self, index: usize, call: Call) -> Result<Outcome> {
        let mark = index.to_string();
        let answer = client::call(self.envoy.api()?, &call.request.header(MARK, &mark))
            .with_context(|| format!("the call `{}` was not answered", call.title))?;
        let record = self.record(index)?;
        let text = |name| record.get(name).and_then(Value::as_str).unwrap_or("none").to_owned();
        let upstream = self.upstream.saw(MARK, &mark).map(|seen| {
            let agent = seen.header("x-callgate-agent").unwrap_or("nobody");
            let observed = if seen.header("x-callgate-observed").is_some() { ", observed" } else { "" };
            format!("{} {} for {agent}{observed}", seen.method, seen.path)
        });
        Ok(Outcome {
            title: call.title,
            expected: (call.status, call.reason.to_owned()),
            got: (answer.status, text("reason")),
            upstream,
        })
    }

    /// Returns the record of the request with this index. Requests are sent one after the other, and the access log keeps their order.
    fn record(&self, index: usize) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(line) = self.envoy.access_log().get(index) {
                return record_in(line).context("the call left no record");
            }
            ensure!(Instant::now() < deadline, "the call is not in the access log");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns shell commands with fresh tokens.
    fn invitation(&self) -> Result<String> {
        let address = self.envoy.api()?;
        let coder = self.issuer.token("coding-agent", "code:read code:write pulls:write");
        let reviewer = self.issuer.token("review-agent", "code:read code:write reviews:write");
        Ok(format!(
            "Envoy listens on {address}, its admin interface on {}. The tokens are good for 10 minutes.\n\n\
             CODER={coder}\nREVIEWER={reviewer}\n\n{}\n{}\n{}\n",
            self.envoy.admin_at(),
            curl(address, "", "/repos/acme/gateway/pulls", "$CODER"),
            curl(address, "-X POST ", "/repos/acme/gateway/pulls", "$REVIEWER"),
            curl(address, "", "/repos/globex/gateway", "$CODER"),
        ))
    }
}

/// Runs the demo. With `serve` it runs until it is interrupted.
///
/// # Errors
/// When something is missing, or a result differs from the expected one.
pub fn run(serve: bool) -> Result<()> {
    let demo = Demo::start()?;
    let outcomes = demo.call_all()?;
    println!("{}", table(&outcomes));
    let wrong = outcomes.iter().filter(|outcome| !outcome.is_expected()).count();
    ensure!(wrong == 0, "{wrong} of {} calls ended otherwise than expected", outcomes.len());
    println!("{} calls, each decided as expected.", outcomes.len());
    if serve {
        println!("\n{}\nPress Ctrl-C to end.", demo.invitation()?);
        interrupt::wait()?;
    }
    Ok(())
}

fn curl(address: SocketAddr, options: &str, path: &str, token: &str) -> String {
    format!(r#"curl -i {options}-H "Host: {HOST}" -H "Authorization: Bearer {token}" http://{address}{path}"#)
}

fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["", "call", "expected", "got", "reason", "what the upstream saw"]);
    for outcome in outcomes {
        table.add_row([
            if outcome.is_expected() { "✓" } else { "✗" },
            outcome.title,
            &format!("{} {}", outcome.expected.0, outcome.expected.1),
            &outcome.got.0.to_string(),
            &outcome.got.1,
            outcome.upstream.as_deref().unwrap_or("nothing"),
        ]);
    }
    table
}
