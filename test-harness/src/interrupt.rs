//! Waits for the end that somebody else decides on.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for the signal that ends a program, so that what it started is taken down in order. The first process of a container
/// would not even notice it otherwise.
///
/// # Errors
/// When signals cannot be waited for.
pub(crate) fn wait() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for signals")?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for signals"),
            _ = terminated.recv() => Ok(()),
        }
    })
}
