//! `cargo harness bench`: the cost of the gate in CPU time of a real Envoy.
//!
//! One Envoy with one worker has a listener for each row: the shipped one, with the module or other filters instead of the gate. Each round
//! runs all rows in turn, so other load on the machine affects all rows alike. The added cost of a row is computed against the plain
//! listener within the same round.

mod callee;
mod certificate;
mod compared;
mod configure;
mod contention;
pub mod costs;
mod cpu;
mod fetched;
mod footprint;
mod instructions;
mod load;
mod mcp;
mod native;
mod page;
mod policies;
mod policy_service;
mod report;
mod revoked;
mod rows;
mod signed;
mod workers;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::build::{self, Flavor};
use crate::client::{self, Request};
use crate::envoy::{self, Envoy, Options};
use crate::progress;
use crate::quickstart::{HOST, Issuer};
use crate::wasmhost::{Module, Vm};
use callee::Callee;
use load::Clients;
use policy_service::PolicyService;
use revoked::REVOCATION;
use rows::{
    BARE, EXT_AUTHZ, FETCHED, LARGE, MODULE_FETCHED, Modules, NOOP, POLICY_SERVICE, POLICY_SERVICE_CACHED,
    POLICY_SERVICES, Row, Rows, SAME_CALLS, SMALL,
};

pub use fetched::FetchedKeys;
pub use footprint::Footprint;
pub use instructions::{Instructions, Part};
pub use report::{Bound, MOST_WASM_MB, Measured, Report, Spread, required_ratios};

/// A filter that makes the host calls of a decision without deciding anything.
const SAME_CALLS_TEXT: &str = include_str!("same_calls.wat");

/// Envoy's work after the last response of a row (logs, clean-up) belongs to the row.
const SETTLE: Duration = Duration::from_millis(5);

/// The size of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The number of measured rounds.
    pub rounds: usize,
    /// The number of warm-up rounds, which warm code and caches.
    pub warm_up: usize,
    /// The number of requests of a row in each round.
    pub calls: usize,
    /// The number of requests in each round of a row in which every token is new.
    pub fresh_calls: usize,
    /// The number of connections to a listener.
    pub connections: usize,
    /// The number of policy updates.
    pub updates: usize,
    /// How often each kind of Envoy is started to measure its memory and the time until it is ready.
    pub starts: usize,
    /// How long idle workers are measured.
    pub idle: Duration,
    /// Whether to measure the policy services too, which take minutes to build.
    pub policy_service: bool,
}

impl Size {
    /// Enough for figures that can be published.
    pub const FULL: Self = Self {
        rounds: 50,
        warm_up: 5,
        calls: 500,
        fresh_calls: 50,
        connections: 16,
        updates: 5,
        starts: 3,
        idle: Duration::from_secs(20),
        policy_service: true,
    };
    /// Enough to check that everything runs.
    pub const QUICK: Self = Self {
        rounds: 3,
        warm_up: 1,
        calls: 160,
        fresh_calls: 32,
        connections: 16,
        updates: 1,
        starts: 1,
        idle: Duration::from_secs(2),
        policy_service: false,
    };
    /// Enough to compare variants of a row.
    const SHORT: Self = Self {
        rounds: 200,
        warm_up: 40,
        calls: 160,
        fresh_calls: 16,
        connections: 16,
        updates: 0,
        starts: 0,
        idle: Duration::ZERO,
        policy_service: true,
    };

    fn fresh_in_all(&self) -> usize {
        (self.rounds + self.warm_up) * self.fresh_calls
    }
}

/// The files that are measured: the same engine in Wasm and as a dynamic module.
#[derive(Debug)]
struct Built {
    filter: PathBuf,
    module: PathBuf,
}

impl Built {
    fn new() -> Result<Self> {
        Ok(Self {
            filter: progress::during("building the filter", || build::filter(Flavor::Release))?,
            module: progress::during("building the module", || build::envoy_module(Flavor::Release))?,
        })
    }
}

/// Measures, prints the tables and writes the figures to a file. With `write`, updates the tables in the documents.
///
/// # Errors
/// When something is missing, or a response is not the expected one.
pub fn run(json: Option<&Path>, quick: bool, write: bool) -> Result<()> {
    let report = measure(&if quick { Size::QUICK } else { Size::FULL })?;
    println!("{report}");
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report).context("the results cannot be written as JSON")? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if write { page::write(&report) } else { Ok(()) }
}

/// Measures rows in a separate Envoy.
type Measure = fn(&Built, &Size) -> Result<Vec<Measured>>;

/// Rows that are measured in separate Envoys, by the names under which [`some_rows`] measures them.
const GROUPS: [(&str, Measure); 4] = [
    ("workers", workers::measure),
    ("signed", signed::measure),
    ("mcp", mcp::measure),
    ("certificate", |built, size| certificate::measure(&built.filter, size)),
];

/// Measures some rows and prints them.
///
/// # Errors
/// See [`run`]; also when there is no row with such a name.
pub fn some_rows(names: &[String]) -> Result<()> {
    let built = Built::new()?;
    let wanted = |name: &str| names.iter().any(|wanted| wanted == name);
    let mut rows = measure_rows(&built, &Size::SHORT, wanted)?;
    for (_, measure) in GROUPS.iter().filter(|(name, _)| wanted(name)) {
        rows.extend(measure(&built, &Size::SHORT)?);
    }
    ensure!(rows.len() > 1, "unknown row; expected the name of a row in the JSON");
    println!("{}", report::of_rows(&rows));
    Ok(())
}

/// Counts the instructions of the filter or of another module and prints them by part. With `write`, stores them as the reference count.
/// Also prints what fetched keys cost.
///
/// # Errors
/// When the filter does not build, decide or fit its host.
pub fn instructions(module: Option<&Path>, write: bool) -> Result<()> {
    let filter = match module {
        Some(module) => module.to_owned(),
        None => progress::during("building the filter", || build::filter(Flavor::Release))?,
    };
    let module = Module::load(&filter)?;
    let count = Instructions::count(&module)?;
    println!("{count}");
    if write {
        count.keep()?;
    }
    println!("{}", FetchedKeys::count(&module)?);
    Ok(())
}

/// Measures everything.
///
/// # Errors
/// See [`run`].
pub fn measure(size: &Size) -> Result<Report> {
    let built = Built::new()?;
    progress::during("looking for Envoy, or installing it", envoy::locate)?;
    let filter = &built.filter;
    let module = Module::load(filter)?;
    let instructions = Instructions::count(&module)?;
    let fetched_keys = FetchedKeys::count(&module)?;
    let (memory_small, memory_large) = progress::during("measuring memory", || -> Result<_> {
        Ok((memory(&module, SMALL)?, memory(&module, LARGE)?))
    })?;
    let footprints =
        progress::during("measuring memory and start of whole Envoys", || footprint::measure(&built, size))?;
    let ticks_percent = progress::during("measuring idle workers", || fetched::ticks_percent(filter, size))?;
    let configure_ms =
        progress::during("measuring how long a policy update takes", || configure::measure(filter, size))?;
    let (list_ms, list_memory) = progress::during("measuring a list of revoked credentials", || -> Result<_> {
        Ok((revoked::fetches_ms(filter, size)?, revoked::memory(&module)?))
    })?;
    let mut rows = measure_rows(&built, size, |name| !POLICY_SERVICES.contains(&name) || size.policy_service)?;
    rows.extend(contention::measure(filter, size)?);
    for (_, measure) in GROUPS {
        rows.extend(measure(&built, size)?);
    }
    let bytes = |file: &Path| -> Result<u64> {
        Ok(fs::metadata(file).with_context(|| format!("{} is missing", file.display()))?.len())
    };
    Ok(Report {
        envoy: envoy::pinned_version()?,
        connections: size.connections,
        rows,
        configure_ms,
        list_ms,
        list_memory,
        wasm_bytes: bytes(filter)?,
        module_bytes: bytes(&built.module)?,
        memory_small,
        memory_large,
        footprints,
        instructions,
        fetched_keys,
        ticks_percent,
    })
}

/// Returns the linear memory of a VM that has a policy of this size in force.
fn memory(module: &Module, size: usize) -> Result<usize> {
    Ok(start(module, &policies::of_size(size)?)?.memory_bytes())
}

/// Starts a VM with a policy.
fn start(module: &Module, policy: &Value) -> Result<Vm> {
    Vm::start(module, policy.to_string().as_bytes(), &[]).map_err(|failed| anyhow!("{failed}"))
}

fn measure_rows(built: &Built, size: &Size, wanted: impl Fn(&str) -> bool) -> Result<Vec<Measured>> {
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let noop = written(&folder.path().join("noop.wasm"), include_str!("noop.wat"))?;
    let same_calls = written(&folder.path().join("same_calls.wasm"), SAME_CALLS_TEXT)?;
    let modules = Modules { built, noop: &noop, same_calls: &same_calls };
    let callee = Callee::start()?;
    if POLICY_SERVICES.into_iter().any(&wanted) {
        progress::during("building the policy service", || build::policy_service(Flavor::Release))?;
    }
    let Rows { bootstrap, mut rows, policy_services, key_server: _running, list_server: _running_too } =
        progress::during("minting tokens", || Rows::new(&modules, &callee, size, wanted))?;
    let envoy = progress::during("starting Envoy", || Envoy::start(&bootstrap, &Options::default()))?;
    check_that_they_decide(&envoy, &rows)?;
    let connect = |row: &Row| Clients::connect(envoy.listener(row.listener)?, size.connections);
    let mut clients = rows.iter().map(connect).collect::<Result<Vec<_>>>()?;
    let mut measured: Vec<_> = rows.iter().map(|row| Measured::new(row.name, row.what)).collect();
    let count = rows.len();
    let processes: Vec<_> =
        std::iter::once(envoy.process()).chain(policy_services.iter().map(PolicyService::process)).collect();
    progress::times("round", size.warm_up + size.rounds, |round| {
        // Each round begins with another row.
        for index in (0..count).map(|index| (index + round) % count) {
            let (row, clients) = rows.get_mut(index).zip(clients.get_mut(index)).context("a row is missing")?;
            let calls = row.calls(size)?;
            let name = row.name;
            let used = used_for(&processes, clients, &calls, load::is_ok).with_context(|| format!("row `{name}`"))?;
            if let Some(measured) = measured.get_mut(index).filter(|_| round >= size.warm_up) {
                measured.add(used, calls.len());
            }
        }
        anyhow::Ok(())
    })?;
    check_that_they_were_asked(&envoy, &rows, size)?;
    let bare = measured.iter().find(|row| row.name == BARE).context("the plain listener was not measured")?.clone();
    Ok(measured.into_iter().map(|row| row.over(&bare)).collect())
}

/// Writes a filter for comparison.
fn written(file: &Path, text: &str) -> Result<PathBuf> {
    let module = wat::parse_str(text).context("a filter for comparison is not WebAssembly")?;
    fs::write(file, module).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file.to_owned())
}

/// Returns the CPU time that these processes, and the service that allows everything, use for these requests.
fn used_for(
    processes: &[u32],
    clients: &mut Clients,
    calls: &[Vec<u8>],
    expected: impl Fn(u16) -> bool,
) -> Result<Duration> {
    let used = || -> Result<Duration> {
        processes.iter().try_fold(Callee::cpu()?, |used, process| Ok(used + cpu::of_process(*process)?))
    };
    let before = used()?;
    clients.call(calls.iter().map(Vec::as_slice), expected)?;
    thread::sleep(SETTLE);
    Ok(used()?.saturating_sub(before))
}

/// A row whose filters do not run would look cheap.
fn check_that_they_decide(envoy: &Envoy, rows: &[Row]) -> Result<()> {
    let call = Request::post("/repos/acme/gateway/pulls").host(HOST).header("Content-Length", "0");
    for row in rows {
        let status = client::call(envoy.listener(row.listener)?, &call)?.status;
        let expected = if [BARE, NOOP, SAME_CALLS, EXT_AUTHZ].contains(&row.listener) { 200 } else { 401 };
        ensure!(status == expected, "row `{}`: the response to a request without a token is {status}", row.name);
    }
    for row in rows.iter().filter(|row| [FETCHED, MODULE_FETCHED].contains(&row.name)) {
        fetched::await_keys(envoy.listener(row.listener)?)?;
    }
    if rows.iter().any(|row| row.name == REVOCATION) {
        revoked::await_list(envoy.listener(REVOCATION)?)?;
    }
    for row in rows.iter().filter(|row| POLICY_SERVICES.contains(&row.name)) {
        check_that_the_policy_service_decides(row.name, envoy.listener(row.listener)?)?;
    }
    Ok(())
}

fn check_that_the_policy_service_decides(name: &str, listener: SocketAddr) -> Result<()> {
    let issuer = Issuer::new()?;
    let token = policies::token(&issuer, &issuer.es256, 0);
    let forged = token.rsplit_once('.').map(|(signed, _)| format!("{signed}.{}", "A".repeat(86)));
    let elsewhere =
        Request::post("/repos/globex/gateway/pulls").host(HOST).bearer(&token).header("Content-Length", "0");
    for (what, request, expected) in [
        ("a request with a forged token", policies::call(&forged.context("the token has no signature")?), 401),
        ("a request to another organization", elsewhere, 403),
        ("a request that its policies allow", policies::call(&token), 200),
    ] {
        let status = client::call(listener, &request)?.status;
        ensure!(status == expected, "row `{name}`: the response to {what} is {status}");
    }
    Ok(())
}

/// Checks the services' counters, because the responses alone do not show that the services were asked.
fn check_that_they_were_asked(envoy: &Envoy, rows: &[Row], size: &Size) -> Result<()> {
    let calls = ((size.warm_up + size.rounds) * size.calls) as u64;
    for (row, counter) in [
        ("native_cached", "http.api.jwt_authn.jwt_cache_hit"),
        ("native_cached", "http.api.rbac.allowed"),
        ("native_cached", "limit.http_local_rate_limit.ok"),
        (EXT_AUTHZ, "http.api.ext_authz.ok"),
        (POLICY_SERVICE, "http.api.ext_authz.policy_service.ok"),
        (POLICY_SERVICE_CACHED, "http.api.ext_authz.policy_service_cached.ok"),
    ] {
        if !rows.iter().any(|measured| measured.name == row) {
            continue;
        }
        let counted = envoy.stat(counter)?;
        ensure!(counted + 1 >= calls, "row `{row}`: `{counter}` counted {counted} of {calls} calls");
    }
    Ok(())
}
