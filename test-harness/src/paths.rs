//! Where things are in the workspace.

use std::ffi::OsString;
use std::path::PathBuf;

/// The workspace's root. `CALLGATE_ROOT` names another one, for a harness that runs elsewhere than it was built.
pub fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("CALLGATE_ROOT") {
        return root.into();
    }
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().map_or(package.clone(), PathBuf::from)
}

/// The folder for everything that can be built or fetched again.
pub fn target() -> PathBuf {
    root().join("target")
}

/// The cargo that runs the tests, so that a toolchain chosen with `cargo +name` holds for what they build.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
