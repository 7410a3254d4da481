//! A running server: its processes, its address, and its termination.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::servers::{Home, Server};
use crate::envoy::KEEPER;

const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Another process may take the free port before the server does.
const ATTEMPTS: usize = 3;

/// A running server. Dropping it ends its processes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) address: SocketAddr,
    processes: Vec<(Child, Option<ChildStdin>)>,
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
        for command in commands {
            running.spawn(&command)?;
        }
        let deadline = Instant::now() + START_DEADLINE;
        while !running.is_ready() {
            if running.processes.iter_mut().any(|(child, _)| !matches!(child.try_wait(), Ok(None))) {
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

    fn spawn(&mut self, command: &Command) -> Result<()> {
        let log = self.folder.path().join(format!("{}.out", self.processes.len()));
        let log = File::create(log).context("cannot create a log")?;
        let mut kept = Command::new("sh");
        kept.args(["-c", KEEPER, "sh", ":"]).arg(command.get_program()).args(command.get_args());
        kept.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = kept
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .spawn()
            .context("cannot run sh")?;
        let keeper = child.stdin.take();
        self.processes.push((child, keeper));
        Ok(())
    }

    /// Returns the last part of its processes' output.
    fn log(&self) -> String {
        let files = (0..self.processes.len()).map(|index| self.folder.path().join(format!("{index}.out")));
        let texts = files.filter_map(|file| fs::read_to_string(file).ok());
        let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.iter().rev().take(10).rev().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, keeper) in &mut self.processes {
            *keeper = None;
        }
        for (child, _) in &mut self.processes {
            // Closing its standard input makes the keeper end it.
            let _ = child.wait();
        }
    }
}
