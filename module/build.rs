//! Keeps the library in memory once Envoy has loaded it, even if the configuration lacks `do_not_close: true`. The timer's thread never ends,
//! and threads drop what they keep of configurations when they end: both would run code that Envoy has unmapped.
//!
//! It also links the code that unwinds the stack after a panic into the library. Minimal images of Envoy have no `libgcc_s.so.1`.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // The compiler asks for the shared library. The linker finds this script in its place.
        let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
        fs::write(folder.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
        println!("cargo::rustc-cdylib-link-arg=-L{}", folder.display());
    }
    Ok(())
}
