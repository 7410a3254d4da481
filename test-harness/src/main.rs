//! The program that `cargo harness` runs.

#[cfg(not(target_arch = "wasm32"))]
mod command;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> anyhow::Result<()> {
    command::main()
}

/// There is no harness for wasm32. The workspace builds only the filter for it.
#[cfg(target_arch = "wasm32")]
fn main() {}
