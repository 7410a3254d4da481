//! One running Envoy, from start to end.

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

/// Compiling the module takes well under a second; a machine that runs every test at once needs longer.
const START_DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Ends the program when this process ends in whatever way: the pipe that it reads then closes. It needs neither a signal
/// handler nor a call that only one system has, and outlives a `kill -9` of the harness. Its first argument is what has to
/// be done afterwards, the others are the program with its arguments.
pub(crate) const KEEPER: &str =
    r#"after=$1; shift; exec 3<&0; { cat <&3; kill "$$"; eval "$after"; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null"#;

/// What differs between starts, apart from the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads.
    pub concurrency: u32,
    /// Environment variables, for policies that take secrets from there.
    pub environment: Vec<(String, String)>,
    /// The Envoy to run, where it is not the one that [`locate`] finds.
    pub binary: Option<Binary>,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 1, environment: Vec::new(), binary: None }
    }
}

/// A running Envoy. Dropping it ends the process; a test that fails shows the end of its log.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    keeper: Option<ChildStdin>,
    folder: TempDir,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Envoy {
    /// Starts Envoy on free ports and waits until every worker takes requests.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not become ready; the message carries the end of its log.
    pub fn start(bootstrap: &Bootstrap, options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("callgate-envoy-").tempdir().context("cannot create a folder")?;
        let configuration = folder.path().join("envoy.json");
        bootstrap.write(&configuration)?;
        Self::start_file(&configuration, folder, options)
    }

    /// Starts Envoy with a configuration file as it stands; `folder` is the working folder and holds the logs.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub fn start_file(configuration: &Path, folder: TempDir, options: &Options) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]);
        match options.binary.clone().map_or_else(locate, Ok)? {
            Binary::Program(program) => {
                // A process that ends drops nothing that is static.
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
            // Buffers of the access log are written every 10 s by default.
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

    /// Has Envoy judge a configuration file as it stands, the filter and its policy included, without serving anything. `folder` holds
    /// what belongs beside it.
    ///
    /// # Errors
    /// What Envoy says is wrong with it, or why there is no Envoy.
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

    /// Envoy writes the address once it listens; half a line does not parse.
    fn admin_address(&self) -> Option<SocketAddr> {
        fs::read_to_string(self.folder.path().join("admin")).ok()?.trim().parse().ok()
    }

    /// Gives a running Envoy other listeners; it takes or refuses them in its own time, as its counters
    /// `listener_manager.lds.update_success` and `listener_manager.lds.update_rejected` tell.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&self, bootstrap: &Bootstrap) -> Result<()> {
        bootstrap.write_listeners(self.folder.path())
    }

    /// Where the listener `api` of the shipped configuration is served.
    ///
    /// # Errors
    /// When the configuration has no such listener.
    pub fn api(&self) -> Result<SocketAddr> {
        self.listener("api")
    }

    /// Where the listener of this name is served.
    ///
    /// # Errors
    /// When the configuration has no such listener.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.listeners.get(name).copied().with_context(|| format!("Envoy has no listener `{name}`"))
    }

    /// Where the admin interface is served.
    pub fn admin_at(&self) -> SocketAddr {
        self.admin
    }

    /// What the admin interface answers with 200 to a GET.
    ///
    /// # Errors
    /// When it answers otherwise or not at all.
    pub fn admin(&self, path: &str) -> Result<String> {
        let answer = Connection::open(self.admin)?.call(&Request::get(path).host("admin"))?;
        ensure!(answer.status == 200, "{path} on the admin interface answered {}", answer.status);
        Ok(answer.text())
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// As [`Envoy::admin`], and when it is no JSON.
    pub fn admin_json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.admin(path)?).with_context(|| format!("{path} on the admin interface is not JSON"))
    }

    /// One counter or gauge; 0 when Envoy does not have it yet.
    ///
    /// # Errors
    /// As [`Envoy::admin_json`].
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.admin_json("/stats?format=json")?;
        let value = stats
            .get("stats")
            .and_then(Value::as_array)
            .and_then(|stats| stats.iter().find(|stat| stat.get("name").and_then(Value::as_str) == Some(name)))
            .and_then(|stat| stat.get("value"))
            .and_then(Value::as_u64);
        Ok(value.unwrap_or(0))
    }

    /// The id of the process, by which the system tells what it used. Where Envoy runs in a container it is the id of what
    /// started the container.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// The working folder, gone with the process.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything in Envoy's own log so far.
    pub fn log(&self) -> String {
        read_lossy(&self.folder.path().join("envoy.log"))
    }

    /// The lines of the access log so far, as [`lines_in`] reads them.
    pub fn access_log(&self) -> Vec<Value> {
        lines_in(&read_lossy(&self.folder.path().join("access.log")))
    }

    /// The first line of the access log that is the wanted one; it is written a moment after the answer.
    ///
    /// # Errors
    /// When none comes within a few seconds.
    pub fn await_access_log(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(line) = self.access_log().into_iter().find(&wanted) {
                return Ok(line);
            }
            ensure!(Instant::now() < deadline, "the access log never had the line that was waited for");
            thread::sleep(POLL);
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of the log.
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
        // Closing the pipe lets the keeper end Envoy, so that this way out is the same as all others.
        drop(self.keeper.take());
        let deadline = Instant::now() + STOP_DEADLINE;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        if self.is_running() {
            // Nothing is left to do when even that fails.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The program and its arguments, behind what has to be done once it has ended.
fn docker(command: &mut Command, image: &str, folder: &Path, options: &Options) {
    let name = container(folder);
    // The client passes the signal on, and it is lost where the container is only being made, or runs so shortly that Envoy
    // has no handler yet: the first process of a container is ended by no signal that it does not handle.
    command
        .arg(format!("for _ in 1 2 3 4 5; do kill -0 $$ || break; sleep 1; done; sleep 1; docker rm --force '{name}'"));
    command.arg("docker");
    run_arguments(command, image, folder, options);
}

/// The folder has the same path inside and gives the container its name, and the host's network makes the same ports
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
        // By name alone: a value would stand in the process list.
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
            // Where every address is listened on, loopback is one of them.
            let ip = if ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { ip };
            Ok((name.to_owned(), SocketAddr::new(ip, u16::try_from(port)?)))
        })
        .collect()
}

/// The lines of an access log, one JSON object each. A line that is none, which the format must not allow, is the only member of
/// an object, `unreadable`; one that was not written to its end is left out.
#[must_use]
pub fn lines_in(log: &str) -> Vec<Value> {
    let whole = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "unreadable": line }))).collect()
}

/// The decision record in a line of the access log: one in a list, or a string.
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
