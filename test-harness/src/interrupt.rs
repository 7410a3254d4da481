//! Waits for a termination signal.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for the signal that ends a program, to allow an orderly cleanup. The first process of a container would otherwise ignore the
/// signal.
///
/// # Errors
/// When signals cannot be received.
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
