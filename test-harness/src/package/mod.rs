//! `cargo harness package`: the contents of a release.
//!
//! The filter and the module are the files that the tests run, byte by byte. All other files are derived from them and from the lock file,
//! without timestamps. Anyone with the sources and the compilers can reproduce the folder and compare.

mod bom;
mod elsewhere;
mod library;
mod native;
mod oci;

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use callgate_kit::module::{Fault, Module};
use callgate_kit::{policy, records};
use cargo_metadata::Metadata;
use cyclonedx_bom::models::component::Classification;
use sha2::{Digest as _, Sha256};

use crate::build::{Architecture, Flavor, Sources, TARGET};
use crate::{paths, progress};
use elsewhere::Elsewhere;

/// The packages that are shipped: the filter, and the module.
const FILTER: &str = "callgate";
const MODULE: &str = "callgate-module";

/// Writes `target/dist`. With `verify`, builds the filter and the module a second time and compares.
///
/// # Errors
/// When something does not build or cannot be written, or when a second build differs.
pub fn run(verify: bool) -> Result<()> {
    let sources = Sources::here();
    let architectures = architectures(&sources)?;
    let (filter, modules) = progress::during("building the filter and the module", || {
        both(
            || read(&sources.filter(Flavor::Release)?),
            || each(&architectures, |architecture| read(&sources.envoy_module_for(architecture)?)),
        )
    })?;
    let names = Names::of(&sources.metadata()?, FILTER)?;
    let folder = paths::target().join("dist");
    let packed = progress::during("packaging the filter", || {
        pack(&folder, &filter, &names, &bom::Tree::of(&sources, FILTER, TARGET)?)
    })?;
    println!("{packed}");
    for (architecture, module) in architectures.iter().zip(&modules) {
        println!("{}", pack_module(&sources, &folder, *architecture, module)?);
    }
    if !verify {
        return Ok(());
    }
    let elsewhere = progress::during("copying the sources", || Elsewhere::new(&sources))?;
    let (filter_again, modules_again) = progress::during("building both again, in another folder", || {
        both(|| elsewhere.filter(), || each(&architectures, |architecture| elsewhere.module(architecture)))
    })?;
    compare("the filter", &filter, &filter_again)?;
    for ((architecture, module), again) in architectures.iter().zip(&modules).zip(&modules_again) {
        compare(&format!("the module for {}", architecture.name()), module, again)?;
    }
    Ok(())
}

/// Returns the architectures that this machine can build the module for, and prints why others are missing.
fn architectures(sources: &Sources) -> Result<Vec<Architecture>> {
    let mut found = Vec::new();
    for architecture in Architecture::ALL {
        match sources.missing_for(architecture)? {
            None => found.push(architecture),
            Some(missing) => println!("module for {}: skipped, because {missing}", architecture.name()),
        }
    }
    Ok(found)
}

/// Runs two builds at once. The longest part of each is link-time optimization, which occupies one processor.
fn both<A: Send, B>(first: impl FnOnce() -> Result<A> + Send, second: impl FnOnce() -> Result<B>) -> Result<(A, B)> {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().map_err(|_| anyhow!("a build panicked"))?;
        Ok((first?, second?))
    })
}

fn each<T>(architectures: &[Architecture], build: impl Fn(Architecture) -> Result<T>) -> Result<Vec<T>> {
    architectures.iter().copied().map(build).collect()
}

/// Adds the module for an architecture.
fn pack_module(sources: &Sources, folder: &Path, architecture: Architecture, module: &[u8]) -> Result<String> {
    let target = architecture.target();
    let names = Names::of(&sources.metadata_for(&target)?, MODULE)?;
    let tree = bom::Tree::of(sources, MODULE, &target)?;
    library::pack(&folder.join("dynamic-module").join(architecture.name()), module, &names, &tree)
}

/// Fails if a second build produced other bytes.
fn compare(what: &str, first: &[u8], second: &[u8]) -> Result<()> {
    ensure!(
        first == second,
        "{what}: a build in another folder differs: its SHA-256 is {}, and here it is {}",
        sha256(second),
        sha256(first)
    );
    println!("{what}: a build in another folder produced the same bytes");
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The names of a shipped package, from its manifest.
#[derive(Clone, Debug)]
struct Names {
    name: String,
    version: String,
    description: String,
    license: String,
    repository: String,
}

impl Names {
    fn of(metadata: &Metadata, name: &str) -> Result<Self> {
        let package = metadata.packages.iter().find(|package| package.name == name);
        let package = package.with_context(|| format!("the workspace has no package `{name}`"))?;
        let said = |text: &Option<String>, what: &str| {
            text.clone().with_context(|| format!("the package `{name}` has no {what}; add it to its Cargo.toml"))
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

/// Rewrites the folder with the filter, and describes its contents.
fn pack(folder: &Path, module: &[u8], names: &Names, tree: &bom::Tree) -> Result<String> {
    let about = Module::read(module).map_err(|fault| match fault {
        Fault::Changed(problem) | Fault::Other(problem) => anyhow!("the built filter: {problem}"),
    })?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |name: &str, content: &[u8]| write(folder, name, content);
    write("callgate.wasm", module)?;
    write("callgate.wasm.sha256", format!("{}  callgate.wasm\n", about.sha256).as_bytes())?;
    write("callgate.cdx.json", &bom::write(tree, Classification::Application, module, names)?)?;
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

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let file = folder.join(name);
    fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
