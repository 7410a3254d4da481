//! Keeps the library in memory once Envoy has loaded it, even if the configuration lacks `do_not_close: true`. The timer's thread never ends,
//! and threads drop what they keep of configurations when they end: both would run code that Envoy has unmapped.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
