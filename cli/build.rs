//! Keeps the command line's program out of a build for wasm32.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo would write the program over the filter: both are `callgate.wasm` in the same folder. It cannot leave out a program by
    // target, but it copies only what the linker wrote to the expected place.
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32")
        && let Ok(folder) = env::var("OUT_DIR")
    {
        println!("cargo::rustc-link-arg-bins=-o{folder}/nothing.wasm");
    }
}
