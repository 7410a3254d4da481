//! Published test vectors: runs each case natively and in the module under the wasm host, and reports the results.
//!
//! This module interprets vectors. Only the engine computes results ([`callgate::conformance`]).

mod digests;
mod engines;
mod limits;
mod message;
mod proofs;
mod report;
mod signatures;
mod wimse;
mod wycheproof;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::build::{self, Flavor};
use crate::progress;
use crate::wasmhost::Module;
use engines::Engines;
pub use report::{Checked, FileReport, Outcome, Report};

/// How many cases a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Least {
    /// As many as the published files, all of which must exist.
    Published,
    /// At least one in each file that exists.
    One,
}

/// A file of vectors.
struct File {
    path: &'static str,
    run: fn(&str, &mut Engines) -> Result<Vec<Checked>>,
    /// The number of executed cases in the published file.
    least: usize,
}

const FILES: [File; 11] = [
    File { path: "rfc9421/rfc9421_vectors.json", run: signatures::run, least: 85 },
    File { path: "rfc9421/rfc9530_digests.json", run: digests::run, least: 8 },
    File { path: "dpop/rfc9449_examples.json", run: proofs::run, least: 6 },
    File { path: "wimse/wimse_vectors.json", run: wimse::run, least: 2 },
    File { path: "ratelimit/gcra_throttled.json", run: limits::run, least: 16 },
    File { path: "wycheproof/ed25519_test.json", run: wycheproof::run, least: 151 },
    File { path: "wycheproof/ecdsa_secp256r1_sha256_p1363_test.json", run: wycheproof::run, least: 262 },
    File { path: "wycheproof/ecdsa_secp384r1_sha384_p1363_test.json", run: wycheproof::run, least: 280 },
    File { path: "wycheproof/hmac_sha256_test.json", run: wycheproof::run, least: 174 },
    File { path: "wycheproof/rsa_pss_4096_sha512_mgf1_64_test.json", run: wycheproof::run, least: 179 },
    File { path: "wycheproof/rsa_signature_2048_sha256_test.json", run: wycheproof::run, least: 259 },
];

/// Runs the vectors of a folder.
///
/// # Errors
/// When the folder does not exist, contains no known file, or the module does not build. Failures of vectors are in the report.
pub fn run(folder: &Path, least: Least) -> Result<Report> {
    ensure!(
        folder.is_dir(),
        "`{}` is not a folder; expected the folder that contains the test vectors",
        folder.display()
    );
    let there = FILES.iter().filter(|file| least == Least::Published || folder.join(file.path).is_file());
    let files: Vec<&File> = there.collect();
    if !FILES.iter().any(|file| folder.join(file.path).is_file()) {
        let known: Vec<_> = FILES.iter().map(|file| file.path).collect();
        bail!("`{}` contains no test vectors; expected one or more of {}", folder.display(), known.join(", "));
    }
    let module = progress::during("building the module for tests", || build::filter(Flavor::Testing))?;
    let mut engines = Engines::start(&Module::load(&module)?)?;
    let files = files.into_iter().map(|file| {
        let least = if least == Least::Published { file.least } else { 1 };
        let checked = fs::read_to_string(folder.join(file.path))
            .context("the file cannot be read")
            .and_then(|text| (file.run)(&text, &mut engines));
        FileReport::new(file.path, checked, least)
    });
    Ok(Report { files: progress::during("running the test vectors", || files.collect()) })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).context("the file does not have the format of the published one")
}
