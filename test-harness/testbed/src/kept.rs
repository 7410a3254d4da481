//! Programs that end when this process ends.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};

/// Ends the program when this process ends for any reason, because the pipe that it reads then closes. It needs no signal handler and no
/// system-specific call, and works after a `kill -9` of the harness. The first argument is a command to run afterwards; the others are the
/// program with its arguments.
pub(crate) const KEEPER: &str =
    r#"after=$1; shift; exec 3<&0; { cat <&3; kill "$$"; eval "$after"; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null"#;

/// A running program, which ends when this is dropped or this process ends.
#[derive(Debug)]
pub struct Kept {
    child: Child,
    keeper: Option<ChildStdin>,
}

impl Kept {
    /// Starts a program, with its arguments and environment, in a folder. Its output is written to a log file.
    ///
    /// # Errors
    /// When the log cannot be created, or the program cannot be started.
    pub fn start(command: &Command, folder: &Path, log: &Path) -> Result<Self> {
        let log = File::create(log).context("cannot create a log")?;
        let mut kept = Command::new("sh");
        kept.args(["-c", KEEPER, "sh", ":"]).arg(command.get_program()).args(command.get_args());
        kept.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = kept
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .spawn()
            .context("cannot run sh")?;
        let keeper = child.stdin.take();
        Ok(Self { child, keeper })
    }

    /// Reports whether the program has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Closing its standard input makes the keeper end it.
        self.keeper = None;
        let _ = self.child.wait();
    }
}

/// Returns the last lines of a log, for a message.
#[must_use]
pub fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
