//! `cargo harness costs`: the costs of the most expensive requests that strangers can send, relative to a request without a credential.
//!
//! One Envoy with one worker has three listeners: one without a gate, one with a gate whose limit on failed credentials is never reached,
//! and one where the source has exceeded that limit. Each kind of request is sent to all three, in many rounds. The gate's cost is the cost
//! of a listener minus that of the listener without a gate. The unit is a plain 401, including Envoy's own work for it.
//!
//! `CALLGATE_ADAPTER=module` measures the dynamic module instead of the filter. Its plain 401 costs less, so the same work counts more.

mod heads;
mod kinds;
mod signatures;
mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use self::kinds::{Charged, Kind, Party};
use super::callee::Callee;
use super::load::Clients;
use super::{SETTLE, fetched, policies, report, rows, used_for};
use crate::build::Flavor;
use crate::client;
use crate::envoy::{Adapter, Bootstrap, Envoy, Options};
use crate::progress;
use crate::quickstart::set;

/// The maximum cost of a request, in plain 401s.
pub const MOST: f64 = 20.0;

const BARE: &str = "bare";
const OPEN: &str = "open";
const LIMITED: &str = "limited";

/// The number of measured rounds, of warm-up rounds, and of requests of a kind in each round. A quick run, which only checks that
/// everything works, uses fewer.
const FULL: [usize; 3] = [9, 2, 32];
const QUICK: [usize; 3] = [1, 0, 4];
/// Allows as many header lines as fit into the head of a request. Envoy's default limit of 100 is one that operators raise.
const MOST_LINES: usize = 20_000;

/// The costs of all kinds of requests.
#[derive(Debug)]
pub struct Costs {
    /// The cost of a plain 401, in microseconds of CPU time.
    pub plain: f64,
    /// The kinds, with the plain 401 first.
    pub list: Vec<Cost>,
}

/// The cost of a kind of request.
#[derive(Debug)]
pub struct Cost {
    /// The kind of request.
    pub what: &'static str,
    /// The size of the request.
    pub bytes: usize,
    /// The code of the response: below the limit on failed credentials, and over it.
    pub answers: [String; 2],
    /// The cost that the gate adds, in plain 401s: below the limit on failed credentials, and over it.
    pub times: [f64; 2],
    /// Whether the gate verifies the credential's signature, so the request counts toward the limit on failed credentials.
    pub charged: bool,
}

impl Cost {
    /// Returns whether the cost is within the bound. Requests that count toward the limit are bounded by the limit; for them, only the cost
    /// over the limit is checked.
    #[must_use]
    pub fn holds(&self) -> bool {
        let [open, limited] = self.times;
        (self.charged || open <= MOST) && limited <= MOST
    }
}

/// Measures, prints the table, and fails if a cost is too high.
///
/// # Errors
/// When something is missing, a response is not the expected one, or a request costs too much.
pub fn run(quick: bool) -> Result<()> {
    let costs = measure(Adapter::chosen()?, quick)?;
    println!("{costs}");
    let dear: Vec<_> = costs.list.iter().filter(|cost| !cost.holds()).map(|cost| cost.what).collect();
    ensure!(quick || dear.is_empty(), "these cost more than {MOST} plain 401s: {}", dear.join("; "));
    Ok(())
}

/// Measures every kind with the filter or the module.
///
/// # Errors
/// When something is missing, or a response is not the expected one.
pub fn measure(adapter: Adapter, quick: bool) -> Result<Costs> {
    let [rounds, warm_up, count] = if quick { QUICK } else { FULL };
    let gate = progress::during("building the gate", || adapter.build(Flavor::Release))?;
    progress::during("looking for Envoy, or installing it", crate::envoy::locate)?;
    let party = progress::during("making keys", Party::new)?;
    let kinds = kinds::all(&party)?;
    let callee = Callee::start()?;
    let key_server = fetched::publish(&party.key_set)?;
    let envoy = progress::during("starting Envoy", || start(&gate, &callee, &party, key_server.address()))?;
    let (answers, wrong): (Vec<_>, Vec<_>) = kinds.iter().map(|kind| answers(&envoy, kind)).partition(Result::is_ok);
    let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).map(|wrong| wrong.to_string()).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut used: Vec<[Vec<f64>; 3]> = kinds.iter().map(|_| Default::default()).collect();
    progress::times("round", warm_up + rounds, |round| {
        for (kind, used) in kinds.iter().zip(&mut used) {
            for (listener, used) in [BARE, OPEN, LIMITED].into_iter().zip(used) {
                // Each connection carries one request, because Envoy closes some connections after the response.
                let mut clients = Clients::connect(envoy.listener(listener)?, count)?;
                thread::sleep(SETTLE);
                let calls: Vec<_> = (0..count).map(|_| kind.request.to_bytes()).collect();
                let measured =
                    used_for(&[envoy.process()], &mut clients, &calls, |_| true).with_context(|| kind.what)?;
                if round >= warm_up {
                    used.push(measured.as_secs_f64() / count as f64);
                }
            }
        }
        anyhow::Ok(())
    })?;
    let medians: Vec<_> = used.into_iter().map(|used| used.map(median)).collect();
    let [_, plain, _] = *medians.first().context("nothing was measured")?;
    let costs = kinds.iter().zip(answers.into_iter().flatten()).zip(medians);
    let cost = |((kind, answers), [bare, open, limited]): ((&Kind, _), [f64; 3])| Cost {
        what: kind.what,
        bytes: kind.request.to_bytes().len(),
        answers,
        times: [open, limited].map(|used| (used - bare).max(0.0) / plain),
        charged: kind.charged == Charged::Yes,
    };
    Ok(Costs { plain: plain * 1e6, list: costs.map(cost).collect() })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Returns the codes of the responses to a kind of request. They show that processing went as far as intended.
fn answers(envoy: &Envoy, kind: &Kind) -> Result<[String; 2]> {
    let ask = |listener| -> Result<String> {
        let answer = client::call(envoy.listener(listener)?, &kind.request)?;
        answer.code().with_context(|| format!("{}: the gate did not answer, but {}", kind.what, answer.status))
    };
    let (open, limited) = (ask(OPEN)?, ask(LIMITED)?);
    ensure!(open == kind.code, "{}: the answer is `{open}`, and was to be `{}`", kind.what, kind.code);
    let charged = kind.charged == Charged::Yes;
    ensure!(
        !charged || limited == "credentials_limited",
        "{}: answered with `{limited}` where it is limited",
        kind.what
    );
    Ok([open, limited])
}

fn start(gate: &Path, callee: &Callee, party: &Party, key_server: SocketAddr) -> Result<Envoy> {
    let mut base = rows::base(gate, callee)?;
    base.add_server(policies::KEY_CLUSTER, key_server)?;
    set(base.manager()?, "common_http_protocol_options", json!({ "max_headers_count": MOST_LINES }));
    let policy = |rate: &str, burst: u32| {
        let mut policy = party.policy.clone();
        set(&mut policy, "auth_failure_limit", json!({ "rate": rate, "burst": burst }));
        policy
    };
    let gate = |name: &str, mut policy: Value| -> Result<Bootstrap> {
        // The listeners of the module share the tables of policies with one name.
        set(&mut policy, "name", name);
        let mut gate = rows::gate(&base, name, &policy)?;
        gate.set_environment(&kinds::SECRETS.map(|(name, _)| name))?;
        Ok(gate)
    };
    let listeners = vec![
        (BARE, base.with_filters(Vec::new())?),
        (OPEN, gate(OPEN, policy("1000000/1s", 1_000_000))?),
        (LIMITED, gate(LIMITED, policy("1/24h", 1))?),
    ];
    let bootstrap = Bootstrap::joined(listeners)?;
    let environment = kinds::SECRETS.map(|(name, secret)| (name.to_owned(), secret.to_owned())).to_vec();
    let envoy = Envoy::start(&bootstrap, &Options { environment, ..Options::default() })?;
    // One failure exhausts the source's limit.
    client::call(envoy.listener(LIMITED)?, &policies::call(&party.forged))?;
    use_up_fetches(envoy.listener(OPEN)?, party)?;
    Ok(envoy)
}

/// Uses up the fetches that tokens with unknown keys may cause. Another one is allowed every 30 seconds, for which one request of thousands
/// waits.
fn use_up_fetches(gate: SocketAddr, party: &Party) -> Result<()> {
    // Four in a row, and some requests for which the gate has no keys yet.
    const MOST_REQUESTS: usize = 16;
    let unknown = tokens::of_unknown_fetched_key(party);
    let mut has_keys = false;
    for _ in 0..MOST_REQUESTS {
        match client::call(gate, &unknown)?.code().as_deref() {
            Some("token_key") => has_keys = true,
            Some("keys_unavailable") if has_keys => return Ok(()),
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
    bail!("requests still cause fetches, or the gate has not fetched the keys")
}

impl fmt::Display for Costs {
    /// Formats the table, with the most expensive requests first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = report::table(["request", "bytes", "plain 401s", "over the limit", "answer", ""]);
        let mut costs: Vec<_> = self.list.iter().collect();
        costs.sort_by(|one, other| other.times[0].total_cmp(&one.times[0]));
        for cost in costs {
            let [open, limited] = cost.times.map(|times| format!("{times:.1}"));
            let verdict = match (cost.holds(), cost.charged) {
                (false, _) => "too dear",
                (true, true) => "charged",
                (true, false) => "",
            };
            let [answer, _] = &cost.answers;
            table.add_row([cost.what, &cost.bytes.to_string(), &open, &limited, answer, verdict]);
        }
        writeln!(f, "A plain 401 takes {:.0} µs.", self.plain)?;
        table.fmt(f)
    }
}
