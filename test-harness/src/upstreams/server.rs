//! A running server: its processes, its address, and its termination.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use callgate_testbed::kept::{Kept, last_lines};
use tempfile::TempDir;

use super::servers::{Home, Server};

const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Another process may take the free port before the server does.
const ATTEMPTS: usize = 3;

/// A running server. Dropping it ends its processes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) address: SocketAddr,
    processes: Vec<Kept>,
    folder: TempDir,
}

impl Running {
    /// Starts a server on a free loopback port and waits until it accepts connections.
    pub(super) fn start(server: &Server, home: &Home) -> Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::attempt(server, home) {
                Ok(running) => return Ok(running),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?).with_context(|| format!("{} does not start", server.title))
    }

    fn attempt(server: &Server, home: &Home) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("callgate-upstream-").tempdir().context("cannot create a folder")?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
        let address = free.local_addr().context("a listener has no address")?;
        drop(free);
        let commands = (server.commands)(home, folder.path(), address.port())?;
        let mut running = Self { address, processes: Vec::new(), folder };
        for (index, command) in commands.iter().enumerate() {
            let log = running.folder.path().join(format!("{index}.out"));
            running.processes.push(Kept::start(command, running.folder.path(), &log)?);
        }
        let deadline = Instant::now() + START_DEADLINE;
        while !running.is_ready() {
            if running.processes.iter_mut().any(Kept::has_ended) {
                bail!("it ended at once:\n{}", running.log());
            }
            if Instant::now() > deadline {
                bail!("it accepts no connections:\n{}", running.log());
            }
            thread::sleep(POLL);
        }
        Ok(running)
    }

    fn is_ready(&self) -> bool {
        let socket = self.folder.path().join("fpm.sock");
        TcpStream::connect(self.address).is_ok() && (self.processes.len() < 2 || socket.exists())
    }

    /// Returns the last part of its processes' output.
    fn log(&self) -> String {
        let files = (0..self.processes.len()).map(|index| self.folder.path().join(format!("{index}.out")));
        last_lines(&files.filter_map(|file| fs::read_to_string(file).ok()).collect::<String>())
    }
}
