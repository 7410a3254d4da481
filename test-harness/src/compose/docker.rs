//! Runs the Docker engine and its composition tool as programs, and reports their failures in one sentence.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, anyhow};

/// A Docker engine that responds.
#[derive(Debug)]
pub(super) struct Engine {
    compose: &'static [&'static str],
}

impl Engine {
    /// Finds the engine and which of the two composition tools is installed.
    pub(super) fn find() -> Result<Self> {
        run("docker", ["version", "--format", "{{.Server.Version}}"]).map_err(|failed| why(&failed))?;
        let known: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let is_there = |words: &&[&str]| {
            let Some((program, words)) = words.split_first() else { return false };
            run(program, words.iter().chain(&["version"])).is_ok()
        };
        let compose = known.into_iter().find(is_there);
        let compose =
            compose.context("neither `docker compose` nor `docker-compose` is installed; install one of them")?;
        Ok(Self { compose })
    }

    /// Returns the composition tool's command, without arguments.
    pub(super) fn compose(&self) -> Command {
        let mut words = self.compose.iter();
        let mut command = Command::new(words.next().unwrap_or(&"docker-compose"));
        command.args(words);
        command
    }

    /// Returns the name of the composition tool.
    pub(super) fn compose_name(&self) -> String {
        self.compose.join(" ")
    }

    /// Returns whether this machine has an image.
    pub(super) fn has_image(&self, name: &str) -> Result<bool> {
        match run("docker", ["image", "inspect", name]) {
            Ok(_) => Ok(true),
            Err(Failed::Said(said)) if said.to_ascii_lowercase().contains("no such image") => Ok(false),
            Err(failed) => Err(failed.into_error("docker")),
        }
    }

    /// Runs `docker` to completion and returns its output.
    pub(super) fn docker<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        run("docker", arguments).map_err(|failed| failed.into_error("docker"))
    }
}

/// Why a program failed.
#[derive(Debug)]
enum Failed {
    /// It could not be started.
    Start(io::Error),
    /// It exited with a failure. Contains its last line of output.
    Said(String),
}

impl Failed {
    fn into_error(self, program: &str) -> anyhow::Error {
        match self {
            Self::Start(error) => anyhow!("cannot run `{program}`: {error}"),
            Self::Said(said) => anyhow!("`{program}` failed: {said}"),
        }
    }
}

/// Runs a program to completion and returns its output.
fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String, Failed> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(Failed::Start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failed::Said(last_line(&output)))
}

/// Returns the last line of a program's output, which usually states the failure.
pub(super) fn last_line(output: &Output) -> String {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| format!("it ended with {}", output.status), |line| line.trim().to_owned())
}

/// Explains why there is no engine.
fn why(failed: &Failed) -> anyhow::Error {
    match failed {
        Failed::Start(error) if error.kind() == io::ErrorKind::NotFound => {
            anyhow!("there is no `docker` on the path; install a Docker engine")
        }
        Failed::Start(error) => anyhow!("cannot run `docker`: {error}"),
        Failed::Said(said) if said.contains("permission denied") => {
            anyhow!(
                "this user is not allowed to use the Docker engine; add the user to the group `docker`, or run as root"
            )
        }
        Failed::Said(said) => anyhow!("the Docker engine does not respond; start it, or set DOCKER_HOST ({said})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_why_the_docker_engine_is_unavailable() {
        let missing = Failed::Start(io::ErrorKind::NotFound.into());
        let denied = Failed::Said("permission denied while trying to connect to the Docker daemon socket".to_owned());
        let stopped = Failed::Said("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.".to_owned());
        for (failed, said) in [
            (missing, "there is no `docker` on the path"),
            (denied, "this user is not allowed to use the Docker engine"),
            (stopped, "the Docker engine does not respond"),
        ] {
            assert!(why(&failed).to_string().starts_with(said));
        }
    }

    #[test]
    fn error_contains_the_last_line_of_stderr() {
        let error = |script: &str| run("sh", ["-c", script]).unwrap_err().into_error("sh").to_string();
        assert_eq!(error("echo first; echo 'E: no network' >&2; exit 3"), "`sh` failed: E: no network");
        assert!(error("exit 3").contains("exit status: 3"));
        assert_eq!(run("sh", ["-c", "echo out"]).unwrap(), "out\n");
    }
}
