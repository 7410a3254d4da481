//! The software bill of materials, as CycloneDX: the packages that are compiled into the filter or into the module.
//!
//! It lists the packages that cargo resolves for the shipped package alone, with the features of its build. `cargo metadata` is not
//! suitable: it unifies the features of the whole workspace, and so lists packages that the filter does not contain. Procedural macros and
//! build scripts are omitted because they run in the compiler. The standard library is omitted because it belongs to the compiler, which
//! the filter names. A library in C and assembly is a component inside the package that compiles it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cyclonedx_bom::external_models::normalized_string::NormalizedString;
use cyclonedx_bom::external_models::spdx::SpdxExpression;
use cyclonedx_bom::external_models::uri::{Purl, Uri};
use cyclonedx_bom::models::bom::{Bom, SpecVersion, UrnUuid};
use cyclonedx_bom::models::component::{Classification, Component, Components, Cpe};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::external_reference::{ExternalReference, ExternalReferenceType, ExternalReferences};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::validation::Validate as _;

use super::native::{self, Library};
use super::{Names, sha256};
use crate::build::Sources;

/// A package in what is shipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    name: String,
    version: String,
    license: String,
    repository: String,
}

impl Package {
    /// Returns the package URL.
    fn purl(&self) -> Result<String> {
        Ok(Purl::new("cargo", &self.name, &self.version)?.to_string())
    }
}

/// Packages with their dependencies. The shipped one is the first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tree {
    root: Package,
    uses: BTreeMap<Package, BTreeSet<Package>>,
    /// The native libraries inside packages, by name and version of the package.
    native: BTreeMap<(String, String), Library>,
}

impl Tree {
    /// Reads the packages that cargo resolves for a package on a target.
    ///
    /// # Errors
    /// When cargo cannot list them.
    pub(super) fn of(sources: &Sources, package: &str, target: &str) -> Result<Self> {
        let mut cargo = sources.cargo();
        cargo.args(["tree", "--package", package, "--edges", "normal,no-proc-macro", "--target", target]);
        let output = cargo.args(["--prefix", "depth", "--format", "\t{p}\t{l}\t{r}"]).output();
        let output = output.context("cannot run cargo; install Rust from https://rustup.rs")?;
        ensure!(output.status.success(), "cargo tree failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let mut tree = Self::read(&String::from_utf8(output.stdout)?)?;
        for package in sources.metadata_for(target)?.packages.iter().filter(|package| native::is_suspect(package)) {
            let folder = package.manifest_path.parent().context("a manifest is in no folder")?;
            tree.look_into(&package.name, &package.version.to_string(), folder.as_std_path())?;
        }
        Ok(tree)
    }

    /// Adds the native library of a package that may have one, and whose source is in this folder. Packages that are not in the tree do not
    /// matter.
    fn look_into(&mut self, name: &str, version: &str, folder: &Path) -> Result<()> {
        let is_used = self.uses.keys().any(|package| package.name == name && package.version == version);
        if is_used && let Some(library) = native::library(name, folder)? {
            self.native.insert((name.to_owned(), version.to_owned()), library);
        }
        Ok(())
    }

    /// Parses lines of depth, name and version, license and repository. A repeated package is listed without its dependencies.
    fn read(lines: &str) -> Result<Self> {
        let mut path: Vec<Package> = Vec::new();
        let mut root = None;
        let mut uses = BTreeMap::<_, BTreeSet<_>>::new();
        for line in lines.lines() {
            let parts: Vec<_> = line.trim_end_matches(" (*)").split('\t').collect();
            let &[depth, package, license, repository] = parts.as_slice() else {
                anyhow::bail!("cargo tree printed an unexpected line: {line}");
            };
            let mut words = package.split(' ');
            let (Some(name), Some(version)) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')))
            else {
                anyhow::bail!("cargo tree printed an unexpected package: {line}");
            };
            let [name, version, license, repository] = [name, version, license, repository].map(str::to_owned);
            let package = Package { name, version, license, repository };
            path.truncate(depth.parse().with_context(|| format!("cargo tree printed a line without a depth: {line}"))?);
            if let Some(user) = path.last() {
                uses.entry(user.clone()).or_default().insert(package.clone());
            }
            uses.entry(package.clone()).or_default();
            root.get_or_insert_with(|| package.clone());
            path.push(package);
        }
        Ok(Self { root: root.context("cargo tree printed nothing")?, uses, native: BTreeMap::new() })
    }

    /// Returns the native library of a package.
    fn native(&self, package: &Package) -> Option<&Library> {
        self.native.get(&(package.name.clone(), package.version.clone()))
    }

    /// Returns all packages except the shipped one.
    fn others(&self) -> impl Iterator<Item = &Package> {
        self.uses.keys().filter(|package| **package != self.root)
    }
}

/// Writes the document about a shipped file.
///
/// # Errors
/// When the format does not allow a package's metadata.
pub(super) fn write(tree: &Tree, classification: Classification, shipped: &[u8], names: &Names) -> Result<Vec<u8>> {
    let digest = sha256(shipped);
    let mut root = component(&tree.root, classification)?;
    // It is in no package registry.
    root.purl = None;
    root.description = Some(NormalizedString::new(&names.description));
    let hash = Hash { alg: HashAlgorithm::SHA_256, content: HashValue(digest.clone()) };
    root.hashes = Some(Hashes(vec![hash]));
    let components: Result<_> = tree.others().map(|package| with_native(package, tree.native(package))).collect();
    let dependencies: Result<_> = tree.uses.iter().map(|(user, used)| dependency(user, used)).collect();
    let bom = Bom {
        spec_version: SpecVersion::V1_5,
        serial_number: Some(serial_number(&digest)?),
        metadata: Some(Metadata { component: Some(root), ..Metadata::default() }),
        components: Some(Components(components?)),
        dependencies: Some(Dependencies(dependencies?)),
        ..Bom::default()
    };
    let validation = bom.validate();
    ensure!(validation.passed(), "invalid bill of materials: {validation:?}");
    let mut document = Vec::new();
    bom.output_as_json_v1_5(&mut document)?;
    document.push(b'\n');
    Ok(document)
}

/// Returns a package with the native library in it, under the license of the package, which covers both.
fn with_native(package: &Package, native: Option<&Library>) -> Result<Component> {
    let mut outer = component(package, Classification::Library)?;
    if let Some(library) = native {
        let mut inner =
            Component::new(Classification::Library, library.name, &library.version, Some(library.purl.clone()));
        inner.purl = library.purl.parse().ok();
        inner.cpe = Some(Cpe::new(&library.cpe));
        inner.licenses = outer.licenses.clone();
        inner.description = Some(NormalizedString::new("code in C and assembly, compiled and linked statically"));
        inner.external_references = Some(source(library.repository));
        outer.components = Some(Components(vec![inner]));
    }
    Ok(outer)
}

fn component(package: &Package, classification: Classification) -> Result<Component> {
    let purl = package.purl()?;
    let mut component = Component::new(classification, &package.name, &package.version, Some(purl.clone()));
    component.purl = purl.parse().ok();
    let license = SpdxExpression::parse_lax(package.license.clone())
        .with_context(|| format!("{} {} has no SPDX license", package.name, package.version))?;
    component.licenses = Some(Licenses(vec![LicenseChoice::Expression(license)]));
    if !package.repository.is_empty() {
        component.external_references = Some(source(&package.repository));
    }
    Ok(component)
}

/// Returns a reference to a repository.
fn source(repository: &str) -> ExternalReferences {
    ExternalReferences(vec![ExternalReference::new(ExternalReferenceType::Vcs, Uri::new(repository))])
}

fn dependency(user: &Package, used: &BTreeSet<Package>) -> Result<Dependency> {
    let dependencies: Result<_> = used.iter().map(Package::purl).collect();
    Ok(Dependency { dependency_ref: user.purl()?, dependencies: dependencies? })
}

/// Returns a serial number that is unique to the shipped file: a UUID (RFC 9562, version 8) from its hash.
fn serial_number(digest: &str) -> Result<UrnUuid> {
    let part = |from, to| digest.get(from..to).context("the hash does not have 64 digits");
    let (a, b, c, d, e) = (part(0, 8)?, part(8, 12)?, part(13, 16)?, part(17, 20)?, part(20, 32)?);
    Ok(UrnUuid(format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}")))
}

#[cfg(test)]
#[path = "bom_tests.rs"]
mod tests;
