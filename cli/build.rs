//! Excludes the command line's program from a build for wasm32.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Both the program and the filter are `callgate.wasm` in the same folder, so Cargo would overwrite the filter. Cargo cannot
    // exclude a program by target, but it copies only the linker's output from the expected place.
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32")
        && let Ok(folder) = env::var("OUT_DIR")
    {
        println!("cargo::rustc-link-arg-bins=-o{folder}/nothing.wasm");
    }
}
