//! `harness container …`: what runs inside the containers of `test-harness/docker-compose.yml`, and what the gateways there are
//! started with.
//!
//! Each container finds the others by the names of their services, at the ports that stand here.

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

/// Where a gateway serves its API, and the front its hashed one.
const API: u16 = 10000;
/// Where the upstream listens.
const UPSTREAM: (&str, u16) = ("upstream", 8080);
/// Where it tells what it saw.
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

/// Does it.
///
/// # Errors
/// What went wrong, or came out otherwise than it must.
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

/// Where a service is.
fn resolve(service: (&str, u16)) -> Result<SocketAddr> {
    let (name, port) = service;
    let mut addresses = service.to_socket_addrs().with_context(|| format!("there is no service `{name}`"))?;
    addresses.next().with_context(|| format!("the service `{name}` has no address for port {port}"))
}
