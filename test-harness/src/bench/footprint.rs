//! The memory of a whole Envoy with four workers, and the time until it is ready: without a gate, with the module, and with the filter in
//! Wasm.
//!
//! Memory is what the kernel reports as resident after requests on many connections, because workers allocate on their first request.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::callee::Callee;
use super::load::{self, Clients};
use super::report::Spread;
use super::rows::{self, LARGE};
use super::{Built, Size, policies};
use crate::client::Request;
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::quickstart::Issuer;

const WORKERS: u32 = 4;
const CONNECTIONS: usize = 64;
/// The requests on each connection before memory is read.
const CALLS: usize = 4;

/// What one kind of Envoy needs.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The name in the JSON.
    pub name: &'static str,
    /// What runs in the Envoy.
    pub what: &'static str,
    /// The resident memory of the process, in MiB.
    pub memory_mib: f64,
    /// The time from its start until all workers accept requests, in seconds.
    pub ready_s: f64,
}

/// Starts each kind of Envoy some times. Returns the medians, and nothing if they are not to be measured.
pub(super) fn measure(built: &Built, size: &Size) -> Result<Vec<Footprint>> {
    if size.starts == 0 {
        return Ok(Vec::new());
    }
    let callee = Callee::start()?;
    let issuer = Issuer::new()?;
    let (wasm, module) = (rows::base(&built.filter, &callee)?, rows::base(&built.module, &callee)?);
    let (small, large) = (policies::quickstart()?, policies::of_size(LARGE)?);
    let in_wasm = |policy: &Value| rows::gate(&wasm, "callgate", policy);
    let as_module = |policy: &Value| rows::gate(&module, "module", policy);
    let call = vec![policies::call(&policies::token(&issuer, &issuer.es256, 0)).to_bytes()];
    let calls_of_size = policies::calls_of_size(&issuer, LARGE, CONNECTIONS);
    let calls_of_size: Vec<_> = calls_of_size.iter().map(Request::to_bytes).collect();
    [
        ("bare", "without a gate", wasm.with_filters(Vec::new())?, &call),
        ("module", "the module, quickstart", as_module(&small)?, &call),
        ("wasm", "the filter in Wasm, quickstart", in_wasm(&small)?, &call),
        ("module_10000", "the module, 10,000 endpoints and agents", as_module(&large)?, &calls_of_size),
        ("wasm_10000", "the filter in Wasm, 10,000 endpoints and agents", in_wasm(&large)?, &calls_of_size),
    ]
    .into_iter()
    .map(|(name, what, bootstrap, calls)| {
        let starts = (0..size.starts).map(|_| start(&bootstrap, calls)).collect::<Result<Vec<_>>>();
        let (memory, ready): (Vec<_>, Vec<_>) = starts.with_context(|| format!("Envoy `{name}`"))?.into_iter().unzip();
        Ok(Footprint { name, what, memory_mib: Spread::of(&memory).median, ready_s: Spread::of(&ready).median })
    })
    .collect()
}

/// Starts an Envoy and sends requests on all connections. Returns its memory in MiB, and the seconds until it was ready.
fn start(bootstrap: &Bootstrap, calls: &[Vec<u8>]) -> Result<(f64, f64)> {
    let begin = Instant::now();
    let envoy = Envoy::start(bootstrap, &Options { concurrency: WORKERS, ..Options::default() })?;
    let ready = begin.elapsed().as_secs_f64();
    let mut clients = Clients::connect(envoy.api()?, CONNECTIONS)?;
    clients.call(calls.iter().cycle().take(CONNECTIONS * CALLS).map(Vec::as_slice), load::is_ok)?;
    Ok((envoy.resident_memory()? as f64 / 1024.0, ready))
}
