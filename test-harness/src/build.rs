//! Builds the filter, in the one place where it is built.
//!
//! The package is `rlib` and `cdylib` at once, and such a build silently goes without link-time optimisation; and a build of
//! the whole workspace for wasm32 writes another file over the filter's. `cargo rustc --crate-type cdylib` into a folder of
//! its own has neither fault, so every `callgate.wasm` that is tested or shipped comes from here.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::paths;

const TARGET: &str = "wasm32-wasip1";
/// How much code a call may become before it stays a call. LLVM's own measure, 250, makes the file larger by a twenty-fifth and
/// saves 2 of 1,000 instructions of a decision; 75 would take as much again and cost 34 of 1,000.
const INLINING: &str = "-Cllvm-args=--inline-threshold=150";

/// Which filter to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// The one that ships.
    Release,
    /// One for tests alone: it panics when a request asks for it, to see what a trap costs, and answers published test
    /// vectors. Built in the `dev` profile, which keeps it apart from the shipped file and is quick.
    Testing,
}

/// Builds the filter and returns its file. Costs a fraction of a second when nothing changed; several processes may ask at
/// once, since cargo locks the folder.
///
/// # Errors
/// When the target or a tool is missing, or the build fails; the message says what to install.
pub fn filter(flavor: Flavor) -> Result<PathBuf> {
    add_target()?;
    let folder = paths::target().join("filter");
    let mut cargo = Command::new(paths::cargo());
    cargo.args(["rustc", "--package", "callgate", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&folder);
    let profile = match flavor {
        Flavor::Release => {
            cargo.args(["--release", "--", INLINING]);
            "release"
        }
        Flavor::Testing => {
            cargo.args(["--features", "panic-on-purpose,conformance"]);
            "debug"
        }
    };
    // Flags meant for the host, a sanitizer's or a coverage tool's, would change or break the module.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags());
    let output = cargo
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot run cargo; install Rust from https://rustup.rs")?;
    ensure!(output.status.success(), "the filter does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let file = folder.join(TARGET).join(profile).join("callgate.wasm");
    ensure!(file.is_file(), "cargo built the filter without writing {}", file.display());
    Ok(file)
}

/// What the filter is built with.
///
/// Messages of panics name source files. Where those lie on the builder's machine is nobody's business, and would make the
/// file differ from machine to machine. Vector instructions, which every gateway takes, copy and hash in fewer steps and make the
/// file smaller by a thirtieth.
fn flags() -> OsString {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let known = home.map(|home| (home, "/cargo")).into_iter().chain([(paths::root(), "/callgate")]);
    let paths = known.map(|(from, to)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    });
    let flags: Vec<OsString> = std::iter::once("-Ctarget-feature=+simd128".into()).chain(paths).collect();
    flags.join(OsStr::new("\u{1f}"))
}

/// Makes sure that the standard library for the target is installed.
fn add_target() -> Result<()> {
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(paths::root())
        .output()
        .context("cannot run rustc; install Rust from https://rustup.rs")?;
    if Path::new(String::from_utf8_lossy(&installed.stdout).trim()).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(paths::root())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run rustup; install Rust's standard library for {TARGET}"))?;
    if !added.success() {
        bail!("`rustup target add {TARGET}` failed; install Rust's standard library for {TARGET}");
    }
    Ok(())
}
