//! Gets the server from Debian without installing it: packages are downloaded and unpacked into a folder, which needs no root.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use callgate_testbed::paths;

/// Under `target/`.
const FOLDER: &str = "glewlwyd";
const PROGRAM: &str = "usr/bin/glewlwyd";
/// The second package satisfies a dependency of the first that would otherwise bring a database server's client.
const PACKAGES: [&str; 2] = ["glewlwyd", "dbconfig-no-thanks"];

/// An unpacked server.
#[derive(Clone, Debug)]
pub struct Installed {
    root: PathBuf,
}

impl Installed {
    /// Downloads and unpacks the packages, unless that was done before. Packages that the system already has are used from there.
    ///
    /// # Errors
    /// When this system has no apt, or Debian's mirror does not respond or has no such package.
    pub fn find_or_download() -> Result<Self> {
        let home = paths::target().join(FOLDER);
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        // Processes run in parallel: one downloads, and the others wait for it.
        let lock = File::create(home.join("lock")).context("cannot create a lock file")?;
        lock.lock().context("cannot lock the download")?;
        let installed = Self { root: home.join("root") };
        if !installed.root.join(PROGRAM).is_file() {
            download(&home)?;
        }
        Ok(installed)
    }

    /// Returns the server's version.
    ///
    /// # Errors
    /// When it does not start.
    pub fn version(&self) -> Result<String> {
        let version = run(self.command(PROGRAM).arg("--version"))?;
        Ok(version.trim().to_owned())
    }

    /// Returns a command that runs an unpacked program, or the system's program of that name, with the unpacked libraries.
    pub(super) fn command(&self, program: &str) -> Command {
        let unpacked = self.root.join(program);
        let mut command = if unpacked.is_file() {
            Command::new(unpacked)
        } else {
            Command::new(Path::new(program).file_name().unwrap_or_default())
        };
        let name = "LD_LIBRARY_PATH";
        let system = env::var_os(name).unwrap_or_default();
        let folders = self.libraries().into_iter().chain(env::split_paths(&system));
        if let Ok(folders) = env::join_paths(folders) {
            command.env(name, folders);
        }
        command
    }

    /// Returns a file or folder of the packages.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Returns the folders of libraries, whose names contain the architecture.
    fn libraries(&self) -> Vec<PathBuf> {
        let folders = ["usr/lib", "lib"].into_iter().filter_map(|folder| fs::read_dir(self.root.join(folder)).ok());
        let entries = folders.flatten().filter_map(Result::ok).map(|entry| entry.path());
        entries.filter(|path| path.as_os_str().to_string_lossy().ends_with("-linux-gnu")).collect()
    }
}

fn download(home: &Path) -> Result<()> {
    let packages = match packages() {
        Ok(packages) => packages,
        Err(error) => {
            // A new machine has no package lists, and only root can fetch them.
            run(Command::new("apt-get").arg("update")).map_err(|_| error)?;
            packages()?
        }
    };
    let work = tempfile::Builder::new().prefix("download-").tempdir_in(home).context("cannot create a folder")?;
    run(Command::new("apt-get").arg("download").args(&packages).current_dir(&work))?;
    let root = work.path().join("root");
    for file in fs::read_dir(&work).context("cannot read the downloads")?.filter_map(Result::ok) {
        if file.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(file.path()).arg(&root))?;
        }
    }
    ensure!(root.join(PROGRAM).is_file(), "the packages contain no `{PROGRAM}`");
    fs::rename(&root, home.join("root")).context("cannot move the server into place")
}

/// Returns the missing packages that contain programs or libraries. The others contain a web application that the tests do not use.
fn packages() -> Result<Vec<String>> {
    let arguments = ["install", "--simulate", "--reinstall", "--yes", "--no-install-recommends"];
    let plan = run(Command::new("apt-get").args(arguments).args(PACKAGES))?;
    let lines = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
    let compiled = lines.filter(|line| !line.contains("[all]"));
    Ok(compiled.filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect())
}

/// Runs a program to completion, and returns its output.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let name = OsString::from(command.get_program());
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", name.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", name.display(), said.lines().last().unwrap_or("no output"));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
