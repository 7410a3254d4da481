//! `harness container …`: the tasks of the containers in `test-harness/docker-compose.yml`, and the configuration of the gateways there.
//!
//! Containers find each other by the names of their services, at the ports that this module defines.

mod configuration;
mod corpus;
mod observability;
mod probe;
mod scale;

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::interrupt;
use crate::upstream::Upstream;

/// The port of a gateway's API, and of the front's hashing listener.
const API: u16 = 10000;
/// The address of the upstream.
const UPSTREAM: (&str, u16) = ("upstream", 8080);
/// The address at which the upstream reports the requests that it received.
const WITNESS: (&str, u16) = ("upstream", 8081);

/// What a container does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Task {
    /// Writes what the gateways are started with into the folder in which they find it.
    Configure {
        /// The folder.
        folder: PathBuf,
    },
    /// Is the API behind the gateways, until it is told to stop.
    Upstream,
    /// Runs the end-to-end corpus against the service `envoy`.
    Corpus,
    /// Shows what holds for each of two gateways, and for both behind a front that hashes credentials.
    Scale,
    /// Shows that Prometheus finds what the dashboard and the alerts ask for.
    Observability,
    /// Makes a call that is refused and one that passes, at any gateway with the policy of the shipped configurations.
    Probe {
        /// The name of its host, with the port.
        gateway: String,
    },
}

/// Runs a task.
///
/// # Errors
/// When something fails, or a result is not the expected one.
pub fn run(task: &Task) -> Result<()> {
    match task {
        Task::Configure { folder } => configuration::write(folder),
        Task::Upstream => upstream(),
        Task::Corpus => corpus::run(),
        Task::Scale => scale::run(),
        Task::Observability => observability::run(),
        Task::Probe { gateway } => probe::run(gateway),
    }
}

fn upstream() -> Result<()> {
    let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let upstream = Upstream::listen(everywhere(UPSTREAM.1))?;
    upstream.testify(everywhere(WITNESS.1))?;
    interrupt::wait()
}

/// Resolves the address of a service.
fn resolve(service: (&str, u16)) -> Result<SocketAddr> {
    let (name, port) = service;
    let mut addresses =
        service.to_socket_addrs().with_context(|| format!("the service `{name}` cannot be resolved"))?;
    addresses.next().with_context(|| format!("the service `{name}` has no address for port {port}"))
}
