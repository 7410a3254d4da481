//! `cargo harness compose`: starts the composition of `test-harness/docker-compose.yml`, reports the results of its testers, and takes it
//! down again, no matter how this process ends.

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

/// Takes the composition down once the process at the other end of its input is gone, even after a `kill -9`. It ignores interrupts from
/// the terminal, which reach it as well but are not meant for it.
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

    /// Returns the services to start; their dependencies start with them. The exit code of the first one is the result.
    fn services(self) -> &'static [&'static str] {
        match self {
            Self::Corpus => &["tester"],
            Self::Scale => &["scale-tester"],
            Self::Observability => &["observability-tester"],
            Self::Kong => &["kong-tester"],
        }
    }

    /// Returns the images that this part needs in addition to those that every part is built from.
    fn needs(self) -> &'static [&'static Base] {
        match self {
            Self::Corpus | Self::Scale => &[],
            Self::Observability => &[&images::PROMETHEUS],
            Self::Kong => &[&images::KONG],
        }
    }

    /// Returns a note on the component of this part that only people use.
    fn leaves_out(self) -> Option<&'static str> {
        match self {
            Self::Observability => Some("Grafana: not run, because no test uses it"),
            Self::Corpus | Self::Scale | Self::Kong => None,
        }
    }

    /// Returns the ports of this machine that this part uses: the variable, and the default port.
    fn ports(self) -> &'static [(&'static str, u16)] {
        match self {
            Self::Observability => &[("PROMETHEUS_PORT", 9090)],
            Self::Corpus | Self::Scale | Self::Kong => &[],
        }
    }
}

/// Runs these parts one after the other and prints the result of each.
///
/// # Errors
/// When something is missing, or a tester fails.
pub fn run(profiles: &[Profile]) -> Result<()> {
    let engine = Engine::find()?;
    let composition = Composition::new(&engine)?;
    composition.check()?;
    // If the machine went down during an earlier run, its containers may still hold ports.
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
                "{} is not available; only the configuration was checked with `{} config`",
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
    ensure!(failed.is_empty(), "the composition failed: {}", failed.join(", "));
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

/// The composition of this checkout. Other checkouts on this machine use other project names.
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
            bail!("another `cargo harness compose` runs in this checkout; wait until it ends");
        }
        Ok(Self { engine, project, _lock: lock })
    }

    /// Returns a command of the composition tool for all profiles of the file.
    fn command(&self) -> Command {
        let mut command = self.engine.compose();
        command.arg("--file").arg(paths::root().join("test-harness/docker-compose.yml"));
        if !std::io::stdout().is_terminal() {
            command.args(["--ansi", "never"]);
        }
        command.args(["--project-name", &self.project]).stdin(Stdio::null());
        command.env("COMPOSE_PROFILES", "scale,observability,kong");
        // `docker-compose` gives up on an engine after one minute. A busy machine may need longer to stop a container.
        command.env("COMPOSE_HTTP_TIMEOUT", "300");
        command
    }

    /// Lets the tool validate every part of the file, including those that cannot run here.
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
            // Prints the logs of the other services. The tester's output is already printed above.
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
        ensure!(output.status.success(), "the composition cannot be stopped: {}", last_line(&output));
        Ok(())
    }

    /// Ensures that the composition is taken down when this process ends.
    fn hold(&self) -> Result<Running> {
        let down = self.down();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(down.get_program()).args(down.get_args());
        keeper.envs(down.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // A reader of this process's output must not have to wait for the keeper to end.
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().context("cannot run sh")?;
        let held = keeper.stdin.take();
        Ok(Running { keeper, held })
    }
}

/// A running composition.
struct Running {
    keeper: Child,
    held: Option<ChildStdin>,
}

impl Running {
    /// Takes the composition down and waits until it is down.
    fn end(mut self) -> Result<()> {
        drop(self.held.take());
        let status = self.keeper.wait().context("cannot wait until the composition ends")?;
        ensure!(status.success(), "the composition cannot be stopped ({status})");
        Ok(())
    }
}

/// Returns a project name that is unique to this checkout.
fn project() -> String {
    let hash = Sha256::digest(paths::root().as_os_str().as_encoded_bytes());
    hash.iter().take(4).fold("callgate-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Checks that a port of this machine is free. The engine would notice this only after everything is built.
fn free(variable: &str, port: u16) -> Result<()> {
    let port = match std::env::var(variable) {
        Ok(port) if !port.is_empty() => {
            port.parse().ok().with_context(|| format!("invalid port `{port}` in {variable}"))?
        }
        _ => port,
    };
    let taken = TcpListener::bind(("127.0.0.1", port)).is_err();
    ensure!(!taken, "port {port} is already in use; set {variable} to another port");
    Ok(())
}

#[cfg(test)]
mod tests;
