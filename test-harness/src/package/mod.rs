//! `cargo harness package`: the contents of a release.
//!
//! The filter is the file that the tests run, byte by byte. All other files are derived from it and from the lock file, without timestamps.
//! Anyone with the sources and the compiler can reproduce the folder and compare.

mod bom;
mod elsewhere;
mod oci;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use callgate_kit::module::{Fault, Module};
use callgate_kit::{policy, records};
use cargo_metadata::Metadata;
use sha2::{Digest as _, Sha256};

use crate::build::{Flavor, Sources};
use crate::{paths, progress};

/// Writes `target/dist`. With `verify`, builds the filter a second time and compares.
///
/// # Errors
/// When something does not build or cannot be written, or when the second build differs.
pub fn run(verify: bool) -> Result<()> {
    let sources = Sources::here();
    let filter = progress::during("building the filter", || sources.filter(Flavor::Release))?;
    let module = fs::read(&filter).with_context(|| format!("cannot read {}", filter.display()))?;
    let names = Names::of(&sources.metadata()?)?;
    let folder = paths::target().join("dist");
    let packed =
        progress::during("packaging the filter", || pack(&folder, &module, &names, &bom::Tree::of(&sources)?))?;
    println!("{packed}");
    if verify {
        let again = progress::during("building the filter again, in another folder", || elsewhere::filter(&sources))?;
        ensure!(
            again == module,
            "a build in another folder differs: its SHA-256 is {}, and here it is {}",
            sha256(&again),
            sha256(&module)
        );
        println!("a build in another folder produced the same bytes");
    }
    Ok(())
}

/// The names of the release, from the package's manifest.
#[derive(Clone, Debug)]
struct Names {
    name: String,
    version: String,
    description: String,
    license: String,
    repository: String,
}

impl Names {
    fn of(metadata: &Metadata) -> Result<Self> {
        let package = metadata.packages.iter().find(|package| package.name == "callgate");
        let package = package.context("the workspace has no package `callgate`")?;
        let said = |text: &Option<String>, what: &str| {
            text.clone().with_context(|| format!("the package `callgate` has no {what}; add it to Cargo.toml"))
        };
        Ok(Self {
            name: package.name.to_string(),
            version: package.version.to_string(),
            description: said(&package.description, "description")?,
            license: said(&package.license, "license")?,
            repository: said(&package.repository, "repository")?,
        })
    }
}

/// Rewrites the folder and describes its contents.
fn pack(folder: &Path, module: &[u8], names: &Names, tree: &bom::Tree) -> Result<String> {
    let about = Module::read(module).map_err(|fault| match fault {
        Fault::Changed(problem) | Fault::Other(problem) => anyhow::anyhow!("the built filter: {problem}"),
    })?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, content: &[u8]| {
        let file = folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    };
    write("callgate.wasm", module)?;
    write("callgate.wasm.sha256", format!("{}  callgate.wasm\n", about.sha256).as_bytes())?;
    write("callgate.cdx.json", &bom::write(tree, module, names)?)?;
    let image = oci::write(&folder.join("oci"), module, names)?;
    for (name, schema) in [("policy.schema.json", policy::schema()), ("record.schema.json", records::schema())] {
        write(name, format!("{}\n", serde_json::to_string_pretty(&schema)?).as_bytes())?;
    }
    Ok(format!(
        "{}\n  version   {}\n  build id  {}\n  SHA-256   {}\n  bytes     {}\n  image     {image}",
        folder.display(),
        about.facts.version,
        about.build_id,
        about.sha256,
        about.bytes
    ))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
