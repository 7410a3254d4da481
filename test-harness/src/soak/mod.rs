//! `cargo harness soak`: the gate in a real Envoy under load for minutes, and the memory of the process.
//!
//! Everything that allocates happens all the time: new tokens, held bodies that end in the middle, signed requests, HTTP/2, updates of the
//! listener, denials. What is not freed adds up, and the run fails if the memory grows by more than [`MOST_GROWTH`] after the warm-up. It also
//! fails if the gate never reported held bytes, because then it shows nothing about them.

mod clients;
mod memory;
mod signed;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::build::Flavor;
use crate::client::{self, Request};
use crate::envoy::{Adapter, Bootstrap, Envoy, Options};
use crate::progress;
use crate::quickstart::set;
use crate::upstream::Upstream;
use clients::{Clients, Counts};
use memory::Samples;

/// How many different tokens a run sends at least.
pub const TOKENS: usize = 100_000;

/// By how much the memory of the process may grow after the warm-up, in KiB. Caches and tables may still fill a little, and the allocator
/// returns memory late.
pub const MOST_GROWTH: u64 = 24 << 10;

const WORKERS: u32 = 4;
const HOST: &str = "api.example.com";
const ISSUER: &str = "https://idp.example.com";
const UPDATE_EVERY: Duration = Duration::from_secs(1);
const SAMPLE_EVERY: Duration = Duration::from_secs(3);
const HELD_BYTES: &str = "callgate.held_bytes";
const POLL: Duration = Duration::from_millis(100);
/// How long the gate may take to notice that no request waits any more: bodies are held for ten seconds at most.
const RELEASE_DEADLINE: Duration = Duration::from_secs(30);

/// Runs the load for this time, and until this many tokens were sent. Prints the memory every few seconds.
///
/// # Errors
/// When a response or an update is not as expected, memory grows, bytes were never held, or are still held at the end.
pub fn run(adapter: Adapter, time: Duration, tokens: usize) -> Result<()> {
    let module = progress::during("building the gate", || adapter.build(Flavor::Release))?;
    let key = SigningKey::generate(Algorithm::Ed25519).map_err(|error| anyhow!("no key can be generated: {error}"))?;
    let key = key.with_kid("soak");
    let signer = signed::key()?;
    let policy = |round| policy(&key, &signer, round).to_string();
    let upstream = Upstream::start()?;
    let mut bootstrap = Bootstrap::new(&module, &policy(0), upstream.address())?;
    // It would have a line for each request.
    set(bootstrap.manager()?, "access_log", json!([]));
    let bootstrap = bootstrap.dynamic();
    // Otherwise, each listener that was replaced would stay for ten minutes.
    let options = Options { concurrency: WORKERS, drain_seconds: Some(1), ..Options::default() };
    let mut envoy = Envoy::start(&bootstrap, &options)?;

    let clients = Clients::new(envoy.api()?, key.clone(), signer.clone());
    let observed = thread::scope(|scope| {
        // Also stops the clients if the observer fails.
        let stop = clients.start(scope);
        let observed =
            observe(&envoy, &clients, time, tokens, |round| envoy.update(&bootstrap.with_policy(&policy(round))?));
        drop(stop);
        observed
    });
    if let Some(problem) = clients.problem() {
        return Err(problem);
    }
    let Observed { samples, updates, most_held } = observed?;
    check_load(&clients.counts(), most_held)?;
    await_release(&envoy)?;
    ensure!(envoy.is_running(), "Envoy ended; the end of its log:\n{}", envoy.log_tail());
    ensure!(!envoy.log().contains("callgate stopped at"), "the gate had a defect:\n{}", envoy.log_tail());
    ensure!(envoy.stat("listener_manager.lds.update_rejected")? == 0, "an update was rejected:\n{}", envoy.log_tail());
    let taken = envoy.stat("listener_manager.lds.update_success")?;
    // Envoy may read two files that follow one another closely as one.
    ensure!(taken > updates / 2, "of {updates} updates, Envoy accepted {taken}");
    judge(&samples)
}

/// What a run has shown.
struct Observed {
    samples: Samples,
    updates: u64,
    /// The most bytes that all workers together reported as held.
    most_held: u64,
}

/// Updates the gate and samples the memory until the time is over and enough tokens were sent, or a client has a problem.
fn observe(
    envoy: &Envoy,
    clients: &Clients,
    time: Duration,
    tokens: usize,
    update: impl Fn(u64) -> Result<()>,
) -> Result<Observed> {
    let start = Instant::now();
    let every = SAMPLE_EVERY.min(time / 20);
    let mut observed = Observed { samples: Samples::default(), updates: 0, most_held: 0 };
    let (mut next_sample, mut next_update) = (Duration::ZERO, Duration::ZERO);
    while !clients.have_problem() && (start.elapsed() < time || clients.counts().tokens < tokens) {
        let elapsed = start.elapsed();
        if elapsed >= next_update {
            observed.updates += 1;
            update(observed.updates).context("the policy cannot be updated")?;
            next_update = elapsed + UPDATE_EVERY;
        }
        if elapsed >= next_sample {
            let resident = envoy.resident_memory()?;
            let Counts { requests, tokens, resets, http2, replays } = clients.counts();
            println!(
                "{:5} s: {} MiB; {requests} requests ({http2} over HTTP/2), {tokens} tokens, {resets} bodies broken off, {replays} replays, \
                 at most {} KiB held, {} updates",
                elapsed.as_secs(),
                resident >> 10,
                observed.most_held >> 10,
                observed.updates
            );
            observed.samples.push(resident);
            next_sample = elapsed + every;
        }
        observed.most_held = observed.most_held.max(envoy.sum_of_stats(HELD_BYTES)?);
        thread::sleep(POLL);
    }
    Ok(observed)
}

/// Fails if the run did not do what it is about.
fn check_load(counts: &Counts, most_held: u64) -> Result<()> {
    ensure!(counts.resets > 0, "no request was broken off in the middle of its body");
    ensure!(most_held > 0, "the gate never reported held bytes, although {} bodies were broken off", counts.resets);
    ensure!(counts.http2 > 0, "no request was sent over HTTP/2");
    ensure!(counts.replays > 0, "no signed request was accepted and denied when it was repeated");
    Ok(())
}

fn judge(samples: &Samples) -> Result<()> {
    let (before, after) = samples.before_and_after().context("the run is too short for a judgement of the memory")?;
    println!(
        "{} MiB after the warm-up, {} MiB at the end; it may grow by {} MiB",
        before >> 10,
        after >> 10,
        MOST_GROWTH >> 10
    );
    ensure!(after <= before + MOST_GROWTH, "the memory grew from {before} KiB to {after} KiB");
    Ok(())
}

/// Waits until the gate holds no bytes. Each worker reports that while it has requests.
fn await_release(envoy: &Envoy) -> Result<()> {
    let start = Instant::now();
    loop {
        let held = envoy.used_stats(HELD_BYTES)?;
        if is_released(&held) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < RELEASE_DEADLINE,
            "no request waits, and the gate reports these held bytes: {held:?}"
        );
        client::call(envoy.api()?, &Request::get("/status").host(HOST))?;
        thread::sleep(POLL);
    }
}

/// Returns whether the gate reports that it holds nothing. Without the metric, it reports nothing.
fn is_released(held: &[u64]) -> bool {
    !held.is_empty() && held.iter().all(|bytes| *bytes == 0)
}

/// Returns the policy, in which only a description depends on the round.
fn policy(key: &SigningKey, signer: &SigningKey, round: u64) -> Value {
    json!({
        "callgate": "v1",
        "name": "soak",
        "mode": "enforce",
        "gateway": "envoy",
        "resource": "https://api.example.com",
        "hosts": [HOST],
        "issuers": {
            "corp": {
                "issuer": ISSUER, "profile": "at+jwt", "algorithms": ["Ed25519"], "max_lifetime": "15m",
                "keys": { "jwks": { "keys": [key.public_jwk()] } },
            },
        },
        "agents": {
            "robot": {
                "owner": "platform@example.com",
                "purpose": format!("round {round}"),
                "identity": { "issuer": "corp", "client_id": "robot" },
            },
            "signer": signed::agent(signer),
        },
        "limits": {
            "calls": { "per": "agent", "rate": "1000000/1s", "burst": 1_000_000 },
            // As many requests as the replay table can store.
            "signed": { "per": "agent", "rate": "200/1s", "burst": 2000 },
        },
        "endpoints": [
            {
                "id": "items.get", "methods": ["GET"], "path": "/items/{id}", "effect": "read", "scopes": ["items:read"],
                "limits": ["calls"],
            },
            {
                "id": "items.signed", "methods": ["GET"], "path": "/signed/{id}", "effect": "read", "scopes": ["items:read"],
                "authenticate": "signature", "limits": ["signed"],
            },
            { "id": "status", "methods": ["GET"], "path": "/status", "effect": "read", "access": "public" },
            {
                "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
                "rpc": {
                    "protocol": "mcp", "revisions": ["2025-11-25"],
                    "tools": [{ "name": "look_up", "effect": "read", "scopes": "none" }],
                },
            },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "headers": { "prefix": "x-callgate-" }, "log": { "allow": false, "deny": false } },
    })
}

#[cfg(test)]
mod tests {
    use callgate::Policy;
    use callgate_kit::policy::not_needed;

    use super::*;

    #[test]
    fn memory_that_grows_is_found() {
        let samples = |of: &dyn Fn(u64) -> u64| {
            let mut samples = Samples::default();
            (0..60).for_each(|number| samples.push(100_000 + of(number)));
            samples
        };
        judge(&samples(&|_| 0)).unwrap();
        judge(&samples(&|number| number.min(20) * 10_000)).unwrap();
        judge(&samples(&|number| number % 2 * MOST_GROWTH / 2)).unwrap();
        judge(&samples(&|number| number * 2_000)).unwrap_err();
        judge(&samples(&|number| if number < 50 { 0 } else { 2 * MOST_GROWTH })).unwrap_err();
    }

    #[test]
    fn a_run_that_never_held_a_body_fails() {
        let counts = || Counts { requests: 9, tokens: 9, resets: 1, http2: 1, replays: 1 };
        check_load(&counts(), 1).unwrap();
        check_load(&counts(), 0).unwrap_err();
        for lacking in
            [Counts { resets: 0, ..counts() }, Counts { http2: 0, ..counts() }, Counts { replays: 0, ..counts() }]
        {
            check_load(&lacking, 1).unwrap_err();
        }
    }

    #[test]
    fn absent_gauge_does_not_count_as_released() {
        assert!(is_released(&[0]) && is_released(&[0, 0]));
        assert!(!is_released(&[]) && !is_released(&[0, 1]));
    }

    /// Signed requests depend on more of the policy than others.
    #[test]
    fn policy_compiles_for_both_adapters() {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap().with_kid("soak");
        for adapter in [Adapter::Wasm, Adapter::Module] {
            let mut policy = policy(&key, &signed::key().unwrap(), 1);
            adapter.adapt(&mut policy);
            let compiled = Policy::from_json(policy.to_string().as_bytes(), &not_needed);
            assert!(compiled.is_ok(), "{:?}", compiled.err());
        }
    }

    #[test]
    fn a_run_that_is_too_short_is_not_judged() {
        judge(&Samples::default()).unwrap_err();
    }
}
