//! Says which filter ships to those who build it with plain cargo.

use std::env;

/// The harness sets this variable where it builds the filter.
const HARNESS: &str = "CALLGATE_HARNESS";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={HARNESS}");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|set| set == value);
    if is("CARGO_CFG_TARGET_ARCH", "wasm32") && is("PROFILE", "release") && env::var_os(HARNESS).is_none() {
        println!(
            "cargo::warning=this build makes a filter that works, without link-time optimization (cargo does none for a library that is rlib \
             and cdylib at once); `cargo harness build` makes the one that ships"
        );
    }
}
