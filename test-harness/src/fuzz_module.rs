//! `cargo harness fuzz-module`: libFuzzer and AddressSanitizer on the adapter of the dynamic module.
//!
//! The adapter is the only code of the project that handles raw pointers outside a sandbox, so it is fuzzed under a sanitizer. That needs a
//! compiler option that a stable compiler only accepts with `RUSTC_BOOTSTRAP`. The variable is set for this build alone, and nothing that
//! ships comes from it. Continuous integration does not run this command, because its build takes long: `cargo test` runs 300 inputs of
//! the target without the sanitizer. The other fuzz targets have no unsafe code, and their functions run in `cargo test`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::build::Sources;
use crate::{paths, progress};

/// Reports each branch and comparison to the fuzzer, as cargo-fuzz does, and finds invalid accesses.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cforce-frame-pointers=yes",
    "-Zsanitizer=address",
];

/// The fuzz target.
const TARGET: &str = "module";

/// Builds the fuzz target and runs it for this time.
///
/// # Errors
/// When it does not build, or an input fails. The output of the fuzzer names the file with that input.
pub fn run(time: Duration) -> Result<()> {
    let sources = Sources::here();
    let host = sources.host()?;
    let root = paths::root();
    let folder = paths::target().join("fuzz-module");
    let mut cargo = sources.cargo();
    cargo.args(["build", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml", "--bin", TARGET]);
    // With a target, the flags do not apply to build scripts.
    cargo.args(["--target", &host]).arg("--target-dir").arg(&folder);
    cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true").env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    let output = progress::during("building the fuzz target", || cargo.stdin(Stdio::null()).output());
    let output = output.context("cannot run cargo")?;
    ensure!(output.status.success(), "the fuzz target does not build:\n{}", String::from_utf8_lossy(&output.stderr));

    let (inputs, failures) = (root.join("fuzz/corpus").join(TARGET), root.join("fuzz/artifacts").join(TARGET));
    for folder in [&inputs, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let status = Command::new(folder.join(&host).join("release").join(TARGET))
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .args(["-max_len=16384", "-print_final_stats=1"])
        .arg(&inputs)
        .current_dir(&root)
        .stdin(Stdio::null())
        .status()
        .context("cannot run the fuzz target")?;
    ensure!(status.success(), "the fuzzer found a defect; the input is in {}", failures.display());
    Ok(())
}
