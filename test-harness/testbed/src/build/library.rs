//! Builds the dynamic module that ships, for each architecture that Envoy is released for.
//!
//! A native library contains more of the machine that built it than a Wasm module: paths that the C compiler saw, and what the linker adds.
//! The flags here leave all of it out.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Sources, copy_library, remapping, version};

/// The linker hashes what it writes, and stores the hash where debuggers and `readelf --notes` find it.
const BUILD_ID: &str = "-Clink-arg=-Wl,--build-id=sha1";
/// Variables with flags for C compilers. Those of the caller would change the library.
const C_FLAGS: [&str; 4] = ["CFLAGS", "HOST_CFLAGS", "TARGET_CFLAGS", "CPPFLAGS"];

/// A processor architecture that the module is built for, on Linux with glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];
    /// The environment variable that selects the architecture of Envoy and the module in tests. Without it, that of this machine is used.
    pub const VARIABLE: &str = "CALLGATE_ARCHITECTURE";

    /// Returns the architecture that the environment selects.
    ///
    /// # Errors
    /// When the variable has another value, or the module is not built for this machine.
    pub fn chosen() -> Result<Self> {
        let Some(name) = env::var_os(Self::VARIABLE) else {
            return Self::here().context("the module is only built for x86_64 and aarch64");
        };
        let chosen = Self::ALL.into_iter().find(|architecture| name == architecture.name());
        chosen.with_context(|| {
            let name = name.to_string_lossy();
            format!("{}: invalid value `{name}`; expected `x86_64` or `aarch64`", Self::VARIABLE)
        })
    }

    /// Returns the architecture of this machine, if the module is built for it.
    #[must_use]
    pub fn here() -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == env::consts::ARCH)
    }

    /// Returns the name, as in the names of targets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Returns the compilation target.
    #[must_use]
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// Returns the name of the compiler and linker for C on a machine with another architecture.
    fn cross_compiler(self) -> String {
        format!("{}-linux-gnu-gcc", self.name())
    }

    /// Selects the compiler and linker for C, if this machine has another architecture.
    pub(super) fn cross_compile(self, cargo: &mut Command) {
        if Self::here() != Some(self) {
            let (compiler, variable) = (self.cross_compiler(), variable(&self.target()));
            cargo.env(format!("CC_{variable}"), &compiler);
            cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &compiler);
        }
    }
}

impl Sources {
    /// Returns what this machine lacks to build the module for an architecture, or nothing if it lacks nothing.
    ///
    /// # Errors
    /// When the Rust compiler cannot be asked.
    pub fn missing_for(&self, architecture: Architecture) -> Result<Option<String>> {
        if Architecture::here() == Some(architecture) {
            return Ok(None);
        }
        let compiler = architecture.cross_compiler();
        if !is_on(env::var_os("PATH").as_deref(), &compiler) {
            return Ok(Some(format!("`{compiler}` is not installed")));
        }
        let target = architecture.target();
        let library = self.rustc(&["--print", "target-libdir", "--target", &target])?;
        let has_library = Path::new(&library).is_dir();
        Ok((!has_library).then(|| format!("`rustup target add {target}` was not run")))
    }

    /// Builds the module that ships from these sources, for an architecture. Returns its file, which is under their root.
    ///
    /// # Errors
    /// When the build fails.
    pub fn envoy_module_for(&self, architecture: Architecture) -> Result<PathBuf> {
        let target = architecture.target();
        let metadata = self.metadata_for(&target)?;
        let folder = self.root.join("target/module");
        let mut cargo = self.cargo();
        // A build of both types of the package would have no link-time optimization, as for the filter.
        cargo.args(["rustc", "--locked", "--package", "callgate-module", "--lib", "--crate-type", "cdylib"]);
        // With a target, flags apply to the library alone, not to build scripts.
        cargo.args(["--profile", "module", "--target", &target]).arg("--target-dir").arg(&folder);
        let renamed = self.renamed(&metadata)?;
        let flags: Vec<OsString> = std::iter::once(BUILD_ID.into()).chain(remapping(&renamed)).collect();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\u{1f}")));
        for name in C_FLAGS {
            cargo.env_remove(name);
        }
        cargo.env(format!("CFLAGS_{}", variable(&target)), c_flags(&renamed));
        architecture.cross_compile(&mut cargo);
        let output = cargo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if self.shows_progress { Stdio::inherit() } else { Stdio::piped() })
            .output()
            .context("cannot run cargo; install Rust from https://rustup.rs")?;
        ensure!(output.status.success(), "the module does not build:\n{}", String::from_utf8_lossy(&output.stderr));
        let compiled = folder.join(&target).join("module/libcallgate_module.so");
        let file = folder.join(architecture.name()).join(format!("libcallgate-{}.so", version(&metadata)?));
        copy_library(&compiled, &file)
    }
}

/// Returns a target as it is written in names of environment variables.
fn variable(target: &str) -> String {
    target.replace('-', "_")
}

/// Returns the flags for C compilers that rename folders of source files. They also apply to debug information, which the linker removes.
fn c_flags(renamed: &[(PathBuf, String)]) -> OsString {
    let flags = renamed.iter().map(|(from, to)| {
        let mut flag = OsString::from("-ffile-prefix-map=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    });
    flags.collect::<Vec<_>>().join(OsStr::new(" "))
}

/// Returns whether a program is in one of the folders of a search path.
fn is_on(path: Option<&OsStr>, program: &str) -> bool {
    path.is_some_and(|path| env::split_paths(path).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn finds_a_program_on_the_search_path() {
        let [empty, full] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fs::write(full.path().join("aarch64-linux-gnu-gcc"), "").unwrap();
        let path = env::join_paths([empty.path(), full.path()]).unwrap();
        assert!(is_on(Some(&path), &Architecture::Aarch64.cross_compiler()));
        assert!(!is_on(Some(&path), &Architecture::X86_64.cross_compiler()));
        assert!(!is_on(None, "aarch64-linux-gnu-gcc"));
    }

    #[test]
    fn nothing_is_missing_for_the_architecture_of_this_machine() {
        let Some(here) = Architecture::here() else { return };
        assert_eq!(Sources::here().missing_for(here).unwrap(), None);
    }

    #[test]
    fn c_compilers_see_no_paths_of_this_machine() {
        let renamed = [("/home/a/src", "/callgate"), ("/home/a/.cargo", "/cargo")];
        let flags = c_flags(&renamed.map(|(from, to)| (PathBuf::from(from), to.to_owned())));
        assert_eq!(flags, "-ffile-prefix-map=/home/a/src=/callgate -ffile-prefix-map=/home/a/.cargo=/cargo");
    }
}
