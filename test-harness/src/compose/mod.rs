//! `cargo harness compose`: brings the composition of `test-harness/docker-compose.yml` up, lets its testers decide, and takes it
//! down again, in whatever way this process ends.

mod docker;
mod images;

use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use sha2::{Digest as _, Sha256};

use crate::paths;
use docker::{Engine, last_line};
use images::Base;

/// Takes the composition down once the process that holds the other end of its input is gone, a `kill -9` included. An interrupt
/// from the terminal reaches it as well, and is not meant for it.
const KEEPER: &str = r#"trap '' INT TERM HUP; cat >/dev/null; exec "$@" >/dev/null 2>&1"#;

/// A part of the composition, with a tester of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Envoy with the filter, and the end-to-end corpus.
    Corpus,
    /// Two gateways behind a third.
    Scale,
    /// A gateway that Prometheus watches.
    Observability,
    /// Kong Gateway with the filter, where its image can be pulled.
    Kong,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Corpus => "corpus",
            Self::Scale => "scale",
            Self::Observability => "observability",
            Self::Kong => "kong",
        }
    }

    /// The services that are started, each with what it depends on. The first one decides.
    fn services(self) -> &'static [&'static str] {
        match self {
            Self::Corpus => &["tester"],
            Self::Scale => &["scale-tester"],
            Self::Observability => &["observability-tester"],
            Self::Kong => &["kong-tester"],
        }
    }

    /// What it cannot run without, beside what every part is built from.
    fn needs(self) -> &'static [&'static Base] {
        match self {
            Self::Corpus | Self::Scale => &[],
            Self::Observability => &[&images::PROMETHEUS],
            Self::Kong => &[&images::KONG],
        }
    }

    /// What is a part of it for people alone.
    fn leaves_out(self) -> Option<&'static str> {
        match self {
            Self::Observability => Some("Grafana: not run, since no tester asks it"),
            Self::Corpus | Self::Scale | Self::Kong => None,
        }
    }

    /// The ports of this machine that it takes: the variable, and the port where that is not set.
    fn ports(self) -> &'static [(&'static str, u16)] {
        match self {
            Self::Observability => &[("PROMETHEUS_PORT", 9090)],
            Self::Corpus | Self::Scale | Self::Kong => &[],
        }
    }
}

/// Runs these parts, one after the other, and prints what came of each.
///
/// # Errors
/// When something is missing, or a tester does not end well.
pub fn run(profiles: &[Profile]) -> Result<()> {
    let engine = Engine::find()?;
    let composition = Composition::new(&engine)?;
    composition.check()?;
    // What an earlier run left whose machine went down; it may hold ports.
    composition.take_down()?;
    for (variable, port) in profiles.iter().flat_map(|profile| profile.ports()) {
        free(variable, *port)?;
    }
    let wanted: Vec<_> = profiles.iter().flat_map(|profile| profile.needs()).copied().collect();
    let lacking = images::provide(&engine, &wanted)?;
    let mut told = Vec::new();
    for profile in profiles {
        let outcome = match profile.needs().iter().find(|base| lacking.contains(&base.name())) {
            Some(base) => Outcome::NotRun(format!(
                "{} cannot be had; `{} config` takes its part of the file",
                base.name(),
                engine.compose_name()
            )),
            None => composition.try_out(*profile)?,
        };
        told.push((profile, outcome));
    }
    println!();
    for (profile, outcome) in &told {
        println!("{:14} {outcome}", profile.name());
        if let Some(left_out) = profile.leaves_out() {
            println!("{:14} {left_out}", "");
        }
    }
    let failed: Vec<_> = told
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Failed))
        .map(|(profile, _)| profile.name())
        .collect();
    ensure!(failed.is_empty(), "the composition does not pass: {}", failed.join(", "));
    Ok(())
}

enum Outcome {
    Passed(u64),
    Failed,
    NotRun(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed(seconds) => write!(f, "passed in {seconds} s"),
            Self::Failed => write!(f, "failed"),
            Self::NotRun(why) => write!(f, "not run: {why}"),
        }
    }
}

/// The composition of this checkout. Others on the machine have theirs, under other names.
struct Composition<'e> {
    engine: &'e Engine,
    project: String,
    _lock: File,
}

impl<'e> Composition<'e> {
    fn new(engine: &'e Engine) -> Result<Self> {
        let project = project();
        fs::create_dir_all(paths::target()).context("cannot create target/")?;
        let lock = File::create(paths::target().join("compose.lock")).context("cannot create a lock file")?;
        if lock.try_lock().is_err() {
            bail!("another `cargo harness compose` runs in this checkout; wait for its end");
        }
        Ok(Self { engine, project, _lock: lock })
    }

    /// The composition tool with the file, for everything in it.
    fn command(&self) -> Command {
        let mut command = self.engine.compose();
        command.arg("--file").arg(paths::root().join("test-harness/docker-compose.yml"));
        if !std::io::stdout().is_terminal() {
            command.args(["--ansi", "never"]);
        }
        command.args(["--project-name", &self.project]).stdin(Stdio::null());
        command.env("COMPOSE_PROFILES", "scale,observability,kong");
        // `docker-compose` gives up on an engine after a minute, which a busy machine may take to stop a container.
        command.env("COMPOSE_HTTP_TIMEOUT", "300");
        command
    }

    /// Lets the tool read every part of the file, those that cannot run here included.
    fn check(&self) -> Result<()> {
        let output = self.command().args(["config", "--quiet"]).output();
        let output = output.with_context(|| format!("cannot run `{}`", self.engine.compose_name()))?;
        ensure!(output.status.success(), "test-harness/docker-compose.yml: {}", last_line(&output));
        Ok(())
    }

    fn try_out(&self, profile: Profile) -> Result<Outcome> {
        let running = self.hold()?;
        let start = Instant::now();
        let services = profile.services();
        let tester = services.first().context("every part has a tester")?;
        let status = self
            .command()
            .args(["up", "--build", "--exit-code-from", tester])
            .args(services)
            .status()
            .with_context(|| format!("cannot run `{}`", self.engine.compose_name()))?;
        let passed = status.success();
        if !passed {
            // What the others said; the tester's own words stand above.
            let _ = self.command().args(["logs", "--no-color", "--tail", "40"]).status();
        }
        running.end()?;
        Ok(if passed { Outcome::Passed(start.elapsed().as_secs()) } else { Outcome::Failed })
    }

    fn down(&self) -> Command {
        let mut down = self.command();
        down.args(["down", "--volumes", "--remove-orphans", "--timeout", "3"]);
        down
    }

    fn take_down(&self) -> Result<()> {
        let output = self.down().output().with_context(|| format!("cannot run `{}`", self.engine.compose_name()))?;
        ensure!(output.status.success(), "the composition cannot be taken down: {}", last_line(&output));
        Ok(())
    }

    /// Sees to it that the composition is taken down when this process ends.
    fn hold(&self) -> Result<Running> {
        let down = self.down();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(down.get_program()).args(down.get_args());
        keeper.envs(down.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // Nobody may have to wait for the end of its output.
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().context("cannot run sh")?;
        let held = keeper.stdin.take();
        Ok(Running { keeper, held })
    }
}

/// A composition that is up.
struct Running {
    keeper: Child,
    held: Option<ChildStdin>,
}

impl Running {
    /// Takes it down and waits until it is.
    fn end(mut self) -> Result<()> {
        drop(self.held.take());
        let status = self.keeper.wait().context("cannot wait for the composition's end")?;
        ensure!(status.success(), "the composition cannot be taken down ({status})");
        Ok(())
    }
}

/// A name that belongs to this checkout.
fn project() -> String {
    let hash = Sha256::digest(paths::root().as_os_str().as_encoded_bytes());
    hash.iter().take(4).fold("callgate-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Whether a port of this machine can be had, which the engine would only notice when everything was built.
fn free(variable: &str, port: u16) -> Result<()> {
    let port = match std::env::var(variable) {
        Ok(port) if !port.is_empty() => {
            port.parse().ok().with_context(|| format!("{variable} is no port: `{port}`"))?
        }
        _ => port,
    };
    let taken = TcpListener::bind(("127.0.0.1", port)).is_err();
    ensure!(!taken, "port {port} of this machine is taken; set {variable} to another one");
    Ok(())
}

#[cfg(test)]
mod tests;
