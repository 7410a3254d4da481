//! Builds the filter and the module in another place, to check that its path leaves no trace in them.
//!
//! The sources are copied to another folder with a longer name, cargo's home is another folder, and no earlier build output is reused. The
//! compiler is the same: another compiler may produce other bytes, and the module names its compiler.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::read;
use crate::build::{Architecture, Flavor, Sources};
use crate::paths;

/// Folders that no build reads.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// A copy of the sources, which is removed when this is dropped.
pub(super) struct Elsewhere {
    _place: TempDir,
    sources: Sources,
}

impl Elsewhere {
    /// Copies the sources.
    pub(super) fn new(sources: &Sources) -> Result<Self> {
        let place = TempDir::with_prefix("callgate-elsewhere-").context("cannot make a folder for a second build")?;
        let (root, home) = (place.path().join("another/place/for/the/sources"), place.path().join("another-home"));
        copy(&paths::root(), &root)?;
        fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        // Avoids a second download. The links give the cache another path.
        if let Some(known) = sources.cargo_home() {
            for name in ["config.toml", "git", "registry"] {
                let (from, to) = (known.join(name), home.join(name));
                if from.exists() {
                    symlink(&from, &to).with_context(|| format!("cannot link {}", to.display()))?;
                }
            }
        }
        Ok(Self { _place: place, sources: Sources::at(root, home) })
    }

    /// Builds the filter and returns its bytes.
    pub(super) fn filter(&self) -> Result<Vec<u8>> {
        read(&self.sources.filter(Flavor::Release)?)
    }

    /// Builds the module and returns its bytes.
    pub(super) fn module(&self, architecture: Architecture) -> Result<Vec<u8>> {
        read(&self.sources.envoy_module_for(architecture)?)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() && !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            copy(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}
