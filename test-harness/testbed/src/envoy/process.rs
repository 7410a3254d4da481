//! A running Envoy process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Binary, Bootstrap, locate};
use crate::client::{Connection, Request};
use crate::kept::KEEPER;

/// Compiling the module takes well under a second, but longer on a machine that runs all tests at once.
const START_DEADLINE: Duration = Duration::from_secs(300);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The settings of a start, apart from the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads.
    pub concurrency: u32,
    /// Environment variables, for policies that read secrets from there.
    pub environment: Vec<(String, String)>,
    /// The Envoy to run, if not the one that [`locate`] finds.
    pub binary: Option<Binary>,
    /// How many seconds a listener that was replaced keeps its connections, if not Envoy's default of ten minutes.
    pub drain_seconds: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 1, environment: Vec::new(), binary: None, drain_seconds: None }
    }
}

/// A running Envoy. Dropping it ends the process, and prints the end of its log if a test fails.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    keeper: Option<ChildStdin>,
    folder: TempDir,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Envoy {
    /// Starts Envoy on free ports and waits until every worker accepts requests.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not become ready. The message contains the end of its log.
    pub fn start(bootstrap: &Bootstrap, options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("callgate-envoy-").tempdir().context("cannot create a folder")?;
        let configuration = folder.path().join("envoy.json");
        bootstrap.write(&configuration)?;
        Self::start_file(&configuration, folder, options)
    }

    /// Starts Envoy with an unchanged configuration file. `folder` is the working folder and holds the logs.
    ///
    /// # Errors
    /// See [`Envoy::start`].
    pub fn start_file(configuration: &Path, folder: TempDir, options: &Options) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]);
        match options.binary.clone().map_or_else(locate, Ok)? {
            Binary::Program(program) => {
                // Rust does not drop statics when a process ends, so the keeper removes the folder.
                command.arg(format!("rm -rf '{}'", folder.path().display())).arg(program);
                command.envs(options.environment.iter().map(|(name, value)| (name, value)));
            }
            Binary::Image(image) => docker(&mut command, &image, folder.path(), options),
        }
        let mut child = command
            .arg("--config-path")
            .arg(configuration)
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            .args(["--concurrency", &options.concurrency.to_string()])
            .args(options.drain_seconds.iter().flat_map(|seconds| ["--drain-time-s".to_owned(), seconds.to_string()]))
            // By default, Envoy flushes the access log every 10 s.
            .args(["--use-dynamic-base-id", "--file-flush-interval-msec", "20", "--log-level", "info"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(File::create(folder.path().join("access.log")).context("cannot create the access log")?)
            .stderr(File::create(folder.path().join("envoy.log")).context("cannot create the log")?)
            .spawn()
            .context("cannot run sh")?;
        let keeper = child.stdin.take();
        let mut envoy =
            Self { child, keeper, folder, admin: SocketAddr::from(([127, 0, 0, 1], 0)), listeners: BTreeMap::new() };
        match envoy.await_ready() {
            Ok(()) => Ok(envoy),
            Err(error) => Err(anyhow!("{error:#}; the end of its log:\n{}", envoy.log_tail())),
        }
    }

    /// Lets Envoy validate an unchanged configuration file, including the filter and its policy, without serving. `folder` holds the files
    /// that it refers to.
    ///
    /// # Errors
    /// Envoy's error message, or why there is no Envoy.
    pub fn validate(configuration: &Path, folder: &Path, options: &Options) -> Result<()> {
        let mut command = match options.binary.clone().map_or_else(locate, Ok)? {
            Binary::Program(program) => {
                let mut command = Command::new(program);
                command.envs(options.environment.iter().map(|(name, value)| (name, value)));
                command
            }
            Binary::Image(image) => {
                let mut command = Command::new("docker");
                run_arguments(&mut command, &image, folder, options);
                command
            }
        };
        let output = command
            .args(["--mode", "validate", "--log-level", "critical", "--use-dynamic-base-id", "--config-path"])
            .arg(configuration)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .context("cannot run Envoy")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot watch Envoy")? {
                bail!("Envoy ended while starting ({status})");
            }
            if let Some(admin) = self.admin_address() {
                self.admin = admin;
                if self.admin("/ready").is_ok() {
                    break;
                }
            }
            ensure!(Instant::now() < deadline, "Envoy was not ready after {} s", START_DEADLINE.as_secs());
            thread::sleep(POLL);
        }
        self.listeners = listeners(&self.admin_json("/listeners?format=json")?)?;
        Ok(())
    }

    /// Returns the address that Envoy writes once it listens. An incomplete line does not parse.
    fn admin_address(&self) -> Option<SocketAddr> {
        fs::read_to_string(self.folder.path().join("admin")).ok()?.trim().parse().ok()
    }

    /// Gives a running Envoy other listeners. It accepts or rejects them asynchronously, and reports that in its counters
    /// `listener_manager.lds.update_success` and `listener_manager.lds.update_rejected`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&self, bootstrap: &Bootstrap) -> Result<()> {
        bootstrap.write_listeners(self.folder.path())
    }

    /// Returns the address of the listener `api` of the shipped configuration.
    ///
    /// # Errors
    /// When the configuration has no such listener.
    pub fn api(&self) -> Result<SocketAddr> {
        self.listener("api")
    }

    /// Returns the address of the listener with this name.
    ///
    /// # Errors
    /// When the configuration has no such listener.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.listeners.get(name).copied().with_context(|| format!("Envoy has no listener `{name}`"))
    }

    /// Returns the address of the admin interface.
    pub fn admin_at(&self) -> SocketAddr {
        self.admin
    }

    /// Returns the admin interface's response to a GET.
    ///
    /// # Errors
    /// When the status is not 200 or there is no response.
    pub fn admin(&self, path: &str) -> Result<String> {
        let answer = Connection::open(self.admin)?.call(&Request::get(path).host("admin"))?;
        ensure!(answer.status == 200, "{path} on the admin interface responded with {}", answer.status);
        Ok(answer.text())
    }

    /// Returns the admin interface's response as JSON.
    ///
    /// # Errors
    /// See [`Envoy::admin`]; also when the response is not JSON.
    pub fn admin_json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.admin(path)?).with_context(|| format!("{path} on the admin interface is not JSON"))
    }

    /// Returns the id of the process, for measurements of its resources. If Envoy runs in a container, it is the id of the program that
    /// started the container.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns the working folder, which is removed with the process.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns Envoy's own log so far.
    pub fn log(&self) -> String {
        read_lossy(&self.folder.path().join("envoy.log"))
    }

    /// Returns the lines of the access log so far, parsed by [`lines_in`].
    pub fn access_log(&self) -> Vec<Value> {
        lines_in(&read_lossy(&self.folder.path().join("access.log")))
    }

    /// Returns the first matching line of the access log. Envoy writes it shortly after the response.
    ///
    /// # Errors
    /// When no such line is written within a few seconds.
    pub fn await_access_log(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(line) = self.access_log().into_iter().find(&wanted) {
                return Ok(line);
            }
            ensure!(Instant::now() < deadline, "the access log does not contain the expected line");
            thread::sleep(POLL);
        }
    }

    /// Returns whether the process is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the end of Envoy's log:\n{}", self.log_tail());
        }
        // Closing the pipe makes the keeper end Envoy, as in every other case.
        drop(self.keeper.take());
        let deadline = Instant::now() + STOP_DEADLINE;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        if self.is_running() {
            // If even that fails, there is nothing left to do.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Adds the cleanup command, and then the program and its arguments.
fn docker(command: &mut Command, image: &str, folder: &Path, options: &Options) {
    let name = container(folder);
    // The Docker client forwards the signal. The signal is lost if the container is still being created, or if Envoy has no handler yet:
    // the first process of a container ignores signals that it does not handle.
    command
        .arg(format!("for _ in 1 2 3 4 5; do kill -0 $$ || break; sleep 1; done; sleep 1; docker rm --force '{name}'"));
    command.arg("docker");
    run_arguments(command, image, folder, options);
}

/// The folder has the same path inside the container and determines the container's name. The host's network makes the same ports
/// reachable.
fn run_arguments(command: &mut Command, image: &str, folder: &Path, options: &Options) {
    let mount = |path: &Path| format!("{0}:{0}", path.display());
    command.args([
        "run",
        "--rm",
        "--name",
        &container(folder),
        "--network",
        "host",
        "--entrypoint",
        "envoy",
        "--user",
        "0",
    ]);
    command.args(["--volume", &mount(folder), "--volume", &mount(&crate::paths::root())]);
    command.arg("--workdir").arg(folder);
    for (name, value) in &options.environment {
        // Passes only the name, because a value would be visible in the process list.
        command.env(name, value).args(["--env", name]);
    }
    command.arg(image);
}

fn container(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn listeners(answer: &Value) -> Result<BTreeMap<String, SocketAddr>> {
    let statuses = answer.get("listener_statuses").and_then(Value::as_array).context("Envoy lists no listeners")?;
    statuses
        .iter()
        .map(|status| {
            let name = status.get("name").and_then(Value::as_str).context("a listener has no name")?;
            let address = status.pointer("/local_address/socket_address").context("a listener has no address")?;
            let ip = address.get("address").and_then(Value::as_str).context("a listener has no address")?;
            let port = address.get("port_value").and_then(Value::as_u64).context("a listener has no port")?;
            let ip: IpAddr = ip.parse()?;
            // A listener on all addresses also listens on loopback.
            let ip = if ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { ip };
            Ok((name.to_owned(), SocketAddr::new(ip, u16::try_from(port)?)))
        })
        .collect()
}

/// Parses the lines of an access log, one JSON object each. A line that is not JSON, which the log format must prevent, becomes an object
/// with the single member `unreadable`. An incomplete last line is omitted.
#[must_use]
pub fn lines_in(log: &str) -> Vec<Value> {
    let whole = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "unreadable": line }))).collect()
}

/// Returns the decision record in a line of the access log, where it is a string or an element of a list.
#[must_use]
pub fn record_in(line: &Value) -> Option<Value> {
    match line.get("callgate")? {
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Array(records) => records.first().cloned(),
        _ => None,
    }
}

fn read_lossy(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}
