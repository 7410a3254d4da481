//! Packages for Python, each in a virtual environment of its own under `target/`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// A package of the Python Package Index.
#[derive(Clone, Copy, Debug)]
pub struct Package<'p> {
    /// The folder under `target/` that its environments stand in.
    pub folder: &'p str,
    /// Its name.
    pub name: &'p str,
    /// Its version.
    pub version: &'p str,
    /// A file that it has, seen from `site-packages`.
    pub file: &'p str,
}

/// A package that is there.
#[derive(Clone, Debug)]
pub struct Installed {
    /// A Python that can import it.
    pub python: PathBuf,
    /// The file that it has.
    pub file: PathBuf,
}

impl Package<'_> {
    /// Installs the package where it is not there yet.
    ///
    /// # Errors
    /// When there is no Python 3 with venv and pip, the index does not answer, or the package has no such file.
    pub fn install(&self) -> Result<Installed> {
        self.install_with(&[])
    }

    /// The same, with others in the same environment, each as `NAME==VERSION`.
    ///
    /// # Errors
    /// As [`install`](Self::install).
    pub fn install_with(&self, others: &[&str]) -> Result<Installed> {
        let home = paths::target().join(self.folder);
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        // Test processes run side by side; one installs and the others wait for it.
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

    fn installed(&self, environment: &Path) -> Option<PathBuf> {
        fs::read_dir(environment.join("lib"))
            .ok()?
            .filter_map(Result::ok)
            .map(|python| python.path().join("site-packages").join(self.file))
            .find(|file| file.is_file())
    }
}

/// Runs a program to its end.
///
/// # Errors
/// What it said last, where it fails.
pub(crate) fn run(program: impl AsRef<Path>, arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        bail!("{} failed: {}", program.display(), said.lines().last().unwrap_or("it said nothing"));
    }
    Ok(())
}
