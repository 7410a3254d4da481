//! Builds the filter and the dynamic module. No other code may build them.
//!
//! The package is both `rlib` and `cdylib`, and cargo silently builds that without link-time optimization. A build of the whole workspace
//! for wasm32 also overwrites the filter's file. `cargo rustc --crate-type cdylib` into a separate folder has neither problem, so every
//! `callgate.wasm` that is tested or shipped comes from here.
//!
//! The same sources and the same compiler produce the same bytes in any folder. `cargo harness package --verify` checks this.

mod flags;
mod library;

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use callgate::document::FormatVersion;
use callgate_kit::module::{self, Facts};
use cargo_metadata::{Message, Metadata, MetadataCommand};
use tempfile::NamedTempFile;

use crate::paths;

use flags::{COMPRESSED, INLINING};
pub use library::Architecture;

/// The compilation target of the filter.
pub const TARGET: &str = "wasm32-wasip1";

/// Which filter or module to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// The one that ships.
    Release,
    /// One for tests only. It panics when a request asks for it, to show the effects of a defect, and the filter also answers published test
    /// vectors. It is built in the `dev` profile, which is fast and keeps it apart from the shipped file.
    Testing,
}

/// Builds the filter and returns its file. Takes a fraction of a second if nothing changed. Several processes may call this at once,
/// because cargo locks the folder.
///
/// # Errors
/// When the target or a tool is missing, or the build fails. The message states what to install.
pub fn filter(flavor: Flavor) -> Result<PathBuf> {
    Sources::here().filter(flavor)
}

/// Builds the dynamic module for Envoy and returns its file, whose name has the version. Takes a fraction of a second if nothing changed.
///
/// # Errors
/// When the build fails.
pub fn envoy_module(flavor: Flavor) -> Result<PathBuf> {
    Sources::here().envoy_module(flavor)
}

/// Builds the policy service that the gate is compared with, and returns its program. For a comparison, both use the `release` profile,
/// which takes minutes. For tests, the service is not optimized, and answers alike.
///
/// # Errors
/// When the build fails.
pub fn policy_service(flavor: Flavor) -> Result<PathBuf> {
    let profile = match flavor {
        Flavor::Release => "release",
        Flavor::Testing => "demo",
    };
    program("policy-service", &["--profile", profile], profile)
}

/// Builds the MCP client and server with the SDK for Rust, and returns its program. It sends a few messages, so it is not optimized.
///
/// # Errors
/// When the build fails.
pub fn rmcp_party() -> Result<PathBuf> {
    program("rmcp-party", &["--profile", "demo"], "demo")
}

/// Builds a package's program in a folder with the package's name.
fn program(package: &str, arguments: &[&str], profile: &str) -> Result<PathBuf> {
    let folder = Sources::here().package(package, package, arguments)?;
    Ok(folder.join(profile).join(package))
}

/// Builds the command line as `cargo test` does, and returns its program.
///
/// The harness does not depend on the command line, so a change to a verb does not relink the tests of the harness.
///
/// # Errors
/// When the build fails.
pub fn command_line() -> Result<PathBuf> {
    // Builds a test as well. Without a test, the dependencies get other features and would be compiled again.
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
    /// The workspace root.
    root: PathBuf,
    /// Cargo's home folder, if not the default.
    cargo_home: Option<PathBuf>,
    /// Whether cargo's messages appear on the standard error while it builds.
    shows_progress: bool,
}

impl Sources {
    /// Returns the workspace that this program was built from.
    #[must_use]
    pub fn here() -> Self {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        Self {
            root: paths::root(),
            cargo_home: home.or_else(|| Some(env::home_dir()?.join(".cargo"))),
            shows_progress: false,
        }
    }

    /// Returns the same workspace in other folders.
    #[must_use]
    pub fn at(root: PathBuf, cargo_home: PathBuf) -> Self {
        Self { root, cargo_home: Some(cargo_home), shows_progress: false }
    }

    /// Lets cargo's messages appear while it builds.
    #[must_use]
    pub fn showing_progress(mut self) -> Self {
        self.shows_progress = true;
        self
    }

    /// Returns cargo's home folder, if it is not the default.
    #[must_use]
    pub fn cargo_home(&self) -> Option<&Path> {
        self.cargo_home.as_deref()
    }

    /// Builds the filter from these sources and returns its file, which is under their root.
    ///
    /// # Errors
    /// See [`filter`].
    pub fn filter(&self, flavor: Flavor) -> Result<PathBuf> {
        self.add_target()?;
        let metadata = self.metadata()?;
        let folder = self.root.join("target/filter");
        let mut cargo = self.cargo();
        cargo.args(["rustc", "--package", "callgate", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
        cargo.arg("--target-dir").arg(&folder);
        let (profile, name) = match flavor {
            Flavor::Release => {
                cargo.args(["--release", "--", COMPRESSED]).args(INLINING);
                ("release", "callgate.wasm")
            }
            Flavor::Testing => {
                cargo.args(["--features", "panic-on-purpose,conformance"]);
                ("debug", "callgate-testing.wasm")
            }
        };
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags(&metadata)?);
        // The package's build script warns every other caller that it does not build the filter that ships.
        cargo.env("CALLGATE_HARNESS", "1");
        let output = cargo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if self.shows_progress { Stdio::inherit() } else { Stdio::piped() })
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

    /// Builds the dynamic module from these sources and returns its file, which is under their root.
    ///
    /// Envoy does not load a library again that was replaced by an update, so each version has another file.
    ///
    /// # Errors
    /// When the build fails.
    pub fn envoy_module(&self, flavor: Flavor) -> Result<PathBuf> {
        let architecture = Architecture::chosen()?;
        if let Some(missing) = self.missing_for(architecture)? {
            bail!("the module for {} cannot be built: {missing}", architecture.name());
        }
        match flavor {
            Flavor::Release => self.envoy_module_for(architecture),
            Flavor::Testing => {
                let version = version(&self.metadata()?)?;
                // The profile for development catches panics as well.
                let arguments = ["--lib", "--features", "panic-on-purpose"];
                let folder = self.package_for(architecture, "callgate-module", "module", &arguments)?;
                let compiled = folder.join("debug/libcallgate_module.so");
                copy_library(&compiled, &folder.join(format!("libcallgate-{version}-testing.so")))
            }
        }
    }

    /// Builds a package that is no default member of the workspace, with other dependencies than the rest, in a separate folder of
    /// `target`, and returns that folder.
    fn package(&self, package: &str, folder: &str, arguments: &[&str]) -> Result<PathBuf> {
        let folder = self.root.join("target").join(folder);
        self.build_package(self.cargo(), package, &folder, arguments)?;
        Ok(folder)
    }

    /// The same for an architecture. Returns the folder for that one.
    fn package_for(
        &self,
        architecture: Architecture,
        package: &str,
        folder: &str,
        arguments: &[&str],
    ) -> Result<PathBuf> {
        if Architecture::here() == Some(architecture) {
            return self.package(package, folder, arguments);
        }
        let (folder, target) = (self.root.join("target").join(folder), architecture.target());
        let mut cargo = self.cargo();
        architecture.cross_compile(&mut cargo);
        self.build_package(cargo, package, &folder, &[arguments, &["--target", &target]].concat())?;
        Ok(folder.join(target))
    }

    fn build_package(&self, mut cargo: Command, package: &str, folder: &Path, arguments: &[&str]) -> Result<()> {
        cargo.args(["build", "--locked", "--package", package]).args(arguments).arg("--target-dir").arg(folder);
        let output = cargo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if self.shows_progress { Stdio::inherit() } else { Stdio::piped() })
            .output()
            .context("cannot run cargo; install Rust from https://rustup.rs")?;
        ensure!(output.status.success(), "{package} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Returns the packages of the workspace and all their dependencies in the filter.
    ///
    /// # Errors
    /// When cargo cannot list them.
    pub fn metadata(&self) -> Result<Metadata> {
        self.metadata_for(TARGET)
    }

    /// Returns the packages of the workspace and all their dependencies on a target.
    ///
    /// # Errors
    /// When cargo cannot list them.
    pub fn metadata_for(&self, target: &str) -> Result<Metadata> {
        let mut cargo = MetadataCommand::new();
        cargo.cargo_path(paths::cargo()).current_dir(&self.root);
        cargo.other_options(["--filter-platform".to_owned(), target.to_owned()]);
        if let Some(home) = &self.cargo_home {
            cargo.env("CARGO_HOME", home);
        }
        cargo.exec().context("cargo cannot list the dependencies")
    }

    /// Returns a cargo command for these folders without the caller's settings. An optimization level in the environment, or flags meant
    /// for the host, such as those of a sanitizer or a coverage tool, would change or break the module.
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

    /// Returns the target of programs that run on this machine, such as `x86_64-unknown-linux-gnu`.
    ///
    /// # Errors
    /// When there is no compiler.
    pub fn host(&self) -> Result<String> {
        let compiler = self.rustc(&["-vV"])?;
        let host = compiler.lines().find_map(|line| line.strip_prefix("host: "));
        Ok(host.context("the compiler does not name its host")?.to_owned())
    }

    /// Returns the compiler flags of the filter.
    ///
    /// Vector instructions, which every gateway supports, make copying and hashing faster and the file smaller by a thirtieth.
    fn flags(&self, metadata: &Metadata) -> Result<OsString> {
        let renamed = self.renamed(metadata)?;
        let flags = std::iter::once("-Ctarget-feature=+simd128".into()).chain(remapping(&renamed));
        Ok(flags.collect::<Vec<OsString>>().join(OsStr::new("\u{1f}")))
    }

    /// Returns the folders of source files, each with the name that it has in what is built.
    ///
    /// Panic messages contain the names of source files. The builder's paths are private and would make the file differ between machines.
    fn renamed(&self, metadata: &Metadata) -> Result<Vec<(PathBuf, String)>> {
        // The path of a package also depends on the registry and on vendoring. If two prefixes match a path, the compiler uses the later
        // one.
        let packages = metadata.packages.iter().filter(|package| package.source.is_some());
        let packages: BTreeSet<_> = packages.filter_map(|package| package.manifest_path.parent()?.parent()).collect();
        // If the component `rust-src` is installed, the compiler would embed the path of its own sources.
        let library = PathBuf::from(self.rustc(&["--print", "sysroot"])?).join("lib/rustlib/src/rust");
        let compiler = self.rustc(&["-vV"])?;
        let commit = compiler.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
        let known = [(self.root.clone(), "/callgate".to_owned()), (library, format!("/rustc/{commit}"))];
        let packages = packages.into_iter().map(|folder| (folder.into(), "/cargo".to_owned()));
        Ok(known.into_iter().chain(packages).collect())
    }

    fn facts(&self, metadata: &Metadata) -> Result<Facts> {
        let version = version(metadata)?;
        let rustc = self.rustc(&["--version"])?;
        let rustc = rustc.strip_prefix("rustc ").unwrap_or(&rustc).to_owned();
        Ok(Facts { version, policy_formats: FormatVersion::NAMES.map(str::to_owned).to_vec(), rustc })
    }

    /// Installs the standard library for the target, if it is missing.
    fn add_target(&self) -> Result<()> {
        // Two concurrent rustup processes break each other's installation, and a folder exists before its content is complete.
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

    /// Returns the compiler's output for these arguments.
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

/// Returns the compiler flags that rename folders of source files.
fn remapping(renamed: &[(PathBuf, String)]) -> impl Iterator<Item = OsString> {
    renamed.iter().map(|(from, to)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    })
}

/// Copies a library that cargo built to the file from which it is used, and returns that file.
fn copy_library(compiled: &Path, file: &Path) -> Result<PathBuf> {
    let library =
        fs::read(compiled).with_context(|| format!("cargo built the module without writing {}", compiled.display()))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    replace(file, &library)?;
    Ok(file.to_owned())
}

/// Returns the version of the workspace's packages.
fn version(metadata: &Metadata) -> Result<String> {
    let package = metadata.packages.iter().find(|package| package.name == "callgate");
    Ok(package.context("the workspace has no package `callgate`")?.version.to_string())
}

/// Writes a file atomically, because other processes may be reading it, and only if its content changed.
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
