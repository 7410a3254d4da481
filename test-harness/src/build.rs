//! Builds the filter, in the one place where it is built.
//!
//! The package is `rlib` and `cdylib` at once, and such a build silently goes without link-time optimisation; and a build of
//! the whole workspace for wasm32 writes another file over the filter's. `cargo rustc --crate-type cdylib` into a folder of
//! its own has neither fault, so every `callgate.wasm` that is tested or shipped comes from here.
//!
//! The same sources and the same compiler give the same bytes, wherever they lie: `cargo harness package --verify` holds that.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use callgate_kit::module::{self, Facts};
use callgate_kit::policy;
use cargo_metadata::{Message, Metadata, MetadataCommand};
use tempfile::NamedTempFile;

use crate::paths;

/// What the filter is compiled for.
pub const TARGET: &str = "wasm32-wasip1";
/// How much code a call may become before it stays a call. LLVM's own measure, 250, makes the file larger by a twenty-fifth and
/// saves 2 of 1,000 instructions of a decision; 75 would take as much again and cost 34 of 1,000.
const INLINING: &str = "-Cllvm-args=--inline-threshold=150";
/// Calls are written in as few bytes as they need, which the linker pads to five otherwise: a twentieth of the file.
const COMPRESSED: &str = "-Clink-arg=--compress-relocations";

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
    Sources::here().filter(flavor)
}

/// Builds the policy service that the gate is compared with and returns its program. Both have the `release` profile: in the harness's
/// own profile the service needs nearly twice the CPU time.
///
/// # Errors
/// When the build fails.
pub(crate) fn policy_service() -> Result<PathBuf> {
    let sources = Sources::here();
    let folder = sources.root.join("target/policy-service");
    let mut cargo = sources.cargo();
    cargo.args(["build", "--release", "--locked", "--package", "policy-service", "--target-dir"]).arg(&folder);
    let output = cargo.stdin(Stdio::null()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the policy service does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join("release/policy-service"))
}

/// Builds the command line as `cargo test` does and returns its program.
///
/// The harness does not depend on it, so that a change of a verb links no test of the harness again.
///
/// # Errors
/// When the build fails.
pub fn command_line() -> Result<PathBuf> {
    // A test next to it, since the packages below have other features where no test is built, and would be compiled again.
    let output = Command::new(paths::cargo())
        .args([
            "build",
            "--locked",
            "--bin",
            "callgate",
            "--test",
            "rooms",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the command line does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    for message in Message::parse_stream(&*output.stdout) {
        if let Message::CompilerArtifact(artifact) = message.context("cargo's report cannot be read")?
            && artifact.target.name == "callgate"
            && let Some(program) = artifact.executable
        {
            return Ok(program.into());
        }
    }
    bail!("cargo built no program `callgate`")
}

/// The workspace, here or in another folder.
#[derive(Debug)]
pub struct Sources {
    /// Its root.
    root: PathBuf,
    /// Where cargo keeps what it downloads.
    cargo_home: Option<PathBuf>,
}

impl Sources {
    /// The workspace that this program was built from.
    #[must_use]
    pub fn here() -> Self {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        Self { root: paths::root(), cargo_home: home.or_else(|| Some(env::home_dir()?.join(".cargo"))) }
    }

    /// The same workspace in other folders.
    #[must_use]
    pub fn at(root: PathBuf, cargo_home: PathBuf) -> Self {
        Self { root, cargo_home: Some(cargo_home) }
    }

    /// Where cargo keeps what it downloads.
    #[must_use]
    pub fn cargo_home(&self) -> Option<&Path> {
        self.cargo_home.as_deref()
    }

    /// Builds the filter from these sources and returns its file, under their root.
    ///
    /// # Errors
    /// As [`filter`].
    pub fn filter(&self, flavor: Flavor) -> Result<PathBuf> {
        self.add_target()?;
        let metadata = self.metadata()?;
        let folder = self.root.join("target/filter");
        let mut cargo = self.cargo();
        cargo.args(["rustc", "--package", "callgate", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
        cargo.arg("--target-dir").arg(&folder);
        let (profile, name) = match flavor {
            Flavor::Release => {
                cargo.args(["--release", "--", INLINING, COMPRESSED]);
                ("release", "callgate.wasm")
            }
            Flavor::Testing => {
                cargo.args(["--features", "panic-on-purpose,conformance"]);
                ("debug", "callgate-testing.wasm")
            }
        };
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags(&metadata)?);
        // The package's build script warns everybody else that this is not the filter that ships.
        cargo.env("CALLGATE_HARNESS", "1");
        let output = cargo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .context("cannot run cargo; install Rust from https://rustup.rs")?;
        ensure!(output.status.success(), "the filter does not build:\n{}", String::from_utf8_lossy(&output.stderr));
        let compiled = folder.join(TARGET).join(profile).join("callgate.wasm");
        let compiled = fs::read(&compiled)
            .with_context(|| format!("cargo built the filter without writing {}", compiled.display()))?;
        let file = folder.join(name);
        replace(&file, &module::stamp(compiled, &self.facts(&metadata)?)?)?;
        Ok(file)
    }

    /// The packages of the workspace and all that they depend on.
    ///
    /// # Errors
    /// When cargo cannot tell.
    pub fn metadata(&self) -> Result<Metadata> {
        let mut cargo = MetadataCommand::new();
        cargo.cargo_path(paths::cargo()).current_dir(&self.root);
        cargo.other_options(["--filter-platform".to_owned(), TARGET.to_owned()]);
        if let Some(home) = &self.cargo_home {
            cargo.env("CARGO_HOME", home);
        }
        cargo.exec().context("cargo cannot tell what the filter is made of")
    }

    /// Cargo in these folders, without the settings of who calls it: an optimisation level in the environment, or flags
    /// meant for the host, such as a sanitizer's or a coverage tool's, would change or break the module.
    #[must_use]
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(paths::cargo());
        cargo.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PROFILE_") || text.ends_with("RUSTFLAGS") || text.ends_with("_INCREMENTAL") {
                cargo.env_remove(name);
            }
        }
        if let Some(home) = &self.cargo_home {
            cargo.env("CARGO_HOME", home);
        }
        cargo
    }

    /// What the filter is built with.
    ///
    /// Messages of panics name source files. Where those lie on the builder's machine is nobody's business, and would make the
    /// file differ from machine to machine. Vector instructions, which every gateway takes, copy and hash in fewer steps and make
    /// the file smaller by a thirtieth.
    fn flags(&self, metadata: &Metadata) -> Result<OsString> {
        // Where packages lie depends on the registry as well, and on whether they were vendored. Of two prefixes that fit a path
        // the later one is taken.
        let packages = metadata.packages.iter().filter(|package| package.source.is_some());
        let packages: BTreeSet<_> = packages.filter_map(|package| package.manifest_path.parent()?.parent()).collect();
        // With the component `rust-src` the compiler would name its own sources where they were installed.
        let library = PathBuf::from(self.rustc(&["--print", "sysroot"])?).join("lib/rustlib/src/rust");
        let compiler = self.rustc(&["-vV"])?;
        let commit = compiler.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
        let known = [(self.root.clone(), "/callgate".to_owned()), (library, format!("/rustc/{commit}"))];
        let known = known.into_iter().chain(packages.into_iter().map(|folder| (folder.into(), "/cargo".to_owned())));
        let known = known.map(|(from, to)| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flag
        });
        let flags: Vec<OsString> = std::iter::once("-Ctarget-feature=+simd128".into()).chain(known).collect();
        Ok(flags.join(OsStr::new("\u{1f}")))
    }

    fn facts(&self, metadata: &Metadata) -> Result<Facts> {
        let package = metadata.packages.iter().find(|package| package.name == "callgate");
        let version = package.context("there is no package `callgate` in the workspace")?.version.to_string();
        let rustc = self.rustc(&["--version"])?;
        let rustc = rustc.strip_prefix("rustc ").unwrap_or(&rustc).to_owned();
        Ok(Facts { version, policy_formats: policy::formats(), rustc })
    }

    /// Makes sure that the standard library for the target is installed.
    fn add_target(&self) -> Result<()> {
        // Two of rustup at once break what either installs, and a folder is there before all of it is.
        let target = self.root.join("target");
        fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
        let lock = File::create(target.join("rustup.lock")).context("cannot make a lock file")?;
        lock.lock().context("cannot wait for another installation")?;
        if Path::new(&self.rustc(&["--print", "target-libdir", "--target", TARGET])?).is_dir() {
            return Ok(());
        }
        let added = Command::new("rustup")
            .args(["target", "add", TARGET])
            .current_dir(&self.root)
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run rustup; install Rust's standard library for {TARGET}"))?;
        if !added.success() {
            bail!("`rustup target add {TARGET}` failed; install Rust's standard library for {TARGET}");
        }
        Ok(())
    }

    /// What the compiler says of itself.
    fn rustc(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(arguments)
            .current_dir(&self.root)
            .output()
            .context("cannot run rustc; install Rust from https://rustup.rs")?;
        ensure!(output.status.success(), "rustc failed:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout).context("rustc wrote something other than UTF-8")?.trim().to_owned())
    }
}

/// Writes a file in one step, since others may be reading it, and only when it changed.
fn replace(file: &Path, content: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let write = || -> std::io::Result<()> {
        let mut new = NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
        new.write_all(content)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(new.path(), readable)?;
        new.persist(file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
