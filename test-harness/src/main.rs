//! The program behind `cargo harness`.

#[cfg(not(target_arch = "wasm32"))]
mod command;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> anyhow::Result<()> {
    command::main()
}

/// There is no harness for wasm32; the workspace builds the filter for it alone.
#[cfg(target_arch = "wasm32")]
fn main() {}
