//! The cost of limits when workers count requests of the same agent at the same time. Each count is a compare-and-set on shared memory, and
//! the slower worker has to retry.

use std::path::Path;

use anyhow::Result;

use super::callee::Callee;
use super::load::{self, Clients};
use super::report::Measured;
use super::{Size, policies, rows, used_for};
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::progress;
use crate::quickstart::Issuer;

const WORKERS: [(u32, &str, &str); 2] = [
    (1, "limits_1", "limits alone, one worker and 64 connections"),
    (4, "limits_4", "limits alone, four workers and 64 connections"),
];
const CONNECTIONS: usize = 64;

/// Measures the quickstart with limits relative to the quickstart without them, on one worker and on four. All requests are from one agent,
/// so they use the same counts.
pub(super) fn measure(filter: &Path, size: &Size) -> Result<Vec<Measured>> {
    let callee = Callee::start()?;
    let issuer = Issuer::new()?;
    let call = policies::call(&policies::token(&issuer, &issuer.es256, 0)).to_bytes();
    let calls = vec![call; size.calls.next_multiple_of(CONNECTIONS)];
    let base = rows::base(filter, &callee)?;
    let bootstrap = Bootstrap::joined(vec![
        ("limited", rows::gate(&base, "limited", &policies::quickstart()?)?),
        ("unlimited", rows::gate(&base, "unlimited", &policies::without_limits()?)?),
    ])?;
    let mut gateways = Vec::with_capacity(WORKERS.len());
    for (concurrency, name, what) in WORKERS {
        let envoy = Envoy::start(&bootstrap, &Options { concurrency, ..Options::default() })?;
        let connect = |listener| Clients::connect(envoy.listener(listener)?, CONNECTIONS);
        let clients = [connect("unlimited")?, connect("limited")?];
        gateways.push((envoy, clients, [Measured::new("unlimited", ""), Measured::new(name, what)]));
    }
    progress::times("limits, round", size.warm_up + size.rounds, |round| {
        for (envoy, clients, measured) in &mut gateways {
            for (clients, measured) in clients.iter_mut().zip(measured) {
                let used = used_for(&[envoy.process()], clients, &calls, load::is_ok)?;
                if round >= size.warm_up {
                    measured.add(used, calls.len());
                }
            }
        }
        anyhow::Ok(())
    })?;
    Ok(gateways.into_iter().map(|(_, _, [unlimited, limited])| limited.over(&unlimited)).collect())
}
