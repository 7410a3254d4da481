//! How long a policy update occupies a worker: each worker compiles the policy on its own thread and serves no requests in the meantime.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::callee::Callee;
use super::rows::{self, LARGE};
use super::{Size, cpu, policies};
use crate::client;
use crate::envoy::{Envoy, Options};
use crate::quickstart::Issuer;

const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Measures some updates of a running Envoy to a policy with 10,000 endpoints and agents. Returns the worker's CPU time for each, in
/// milliseconds, from the update to the first request that the new policy decides.
pub(super) fn measure(filter: &Path, size: &Size) -> Result<Vec<f64>> {
    let callee = Callee::start()?;
    let base = rows::base(filter, &callee)?.dynamic();
    let envoy = Envoy::start(&base.with_policy(&policies::quickstart()?.to_string())?, &Options::default())?;
    let worker = || cpu::of_threads(envoy.process(), |thread| thread.starts_with("wrk:"));
    let issuer = Issuer::new()?;
    let policy = policies::of_size(LARGE)?;
    (0..size.updates)
        .map(|update| {
            // Only this policy registers the agent, so the policy is in force once the agent's request is allowed.
            let agent = format!("update-{update}");
            let policy = policies::with_client(&policy, &agent)?.to_string();
            let call = policies::call_of_client(&issuer, &agent);
            let before = worker()?;
            envoy.update(&base.with_policy(&policy)?)?;
            let deadline = Instant::now() + DEADLINE;
            let updated = update as u64 + 2;
            while envoy.stat("listener_manager.lds.update_success")? < updated
                || client::call(envoy.api()?, &call)?.status != 200
            {
                ensure!(Instant::now() < deadline, "an update did not take effect:\n{}", envoy.log_tail());
                thread::sleep(POLL);
            }
            thread::sleep(super::SETTLE);
            Ok(worker()?.saturating_sub(before).as_secs_f64() * 1e3)
        })
        .collect()
}
