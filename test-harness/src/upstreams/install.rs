//! Installs the servers that come from Debian.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::servers::{Home, SERVERS};

/// Installs the Debian packages of missing servers, if this machine has apt and the user may install packages. Otherwise it does nothing
/// and prints nothing: missing servers are reported as skipped.
///
/// # Errors
/// When apt-get fails.
pub fn install() -> Result<()> {
    let home = Home::find();
    let missing = SERVERS.iter().filter(|server| !server.packages.is_empty() && (server.versions)(&home).is_err());
    let packages: BTreeSet<&str> = missing.flat_map(|server| server.packages).copied().collect();
    if packages.is_empty() || !may_install() {
        return Ok(());
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"][..], &Vec::from_iter(packages)].concat())
}

/// Returns whether apt-get is available and this user is root.
fn may_install() -> bool {
    let output = |program: &str, argument: &str| {
        Command::new(program).arg(argument).stdin(Stdio::null()).output().ok().filter(|output| output.status.success())
    };
    output("id", "-u").is_some_and(|output| output.stdout.trim_ascii() == b"0")
        && output("apt-get", "--version").is_some()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "apt-get failed: {}", said.lines().last().unwrap_or("no output"));
    Ok(())
}
