//! Paths in the workspace.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Returns the workspace's root. `CALLGATE_ROOT` overrides it, for a harness that does not run where it was built.
pub fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("CALLGATE_ROOT") {
        return root.into();
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// Returns the folder for everything that can be built or fetched again.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Returns the cargo that runs the tests, so their builds use a toolchain that was chosen with `cargo +name`.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
