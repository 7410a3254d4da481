//! The dynamic module in a release: a shared library for each architecture, with its hash and its bill of materials.
//!
//! Its name has the version, because Envoy continues with the library that it has loaded when a file of the same name is replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cyclonedx_bom::models::component::Classification;
use object::{Object as _, ObjectSection as _};

use super::{Names, bom, hex, sha256, write};

/// The function that Envoy calls first in every module.
const ENTRY: &[u8] = b"envoy_dynamic_module_on_program_init";
/// The header with which a request makes a build for tests panic. No other build contains its name.
const PANICS: &[u8] = b"x-panic-on-purpose";
/// The names of symbol versions of the C library.
const C_LIBRARY: &str = "GLIBC_";

/// What a library states about itself.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    build_id: String,
    /// The oldest version of the C library that it runs with.
    c_library: (u32, u32),
    /// The libraries that it is linked with dynamically.
    libraries: BTreeSet<String>,
}

/// Writes the library for one architecture into a new folder and describes it.
///
/// # Errors
/// When the file is no dynamic module for Envoy, or something cannot be written.
pub(super) fn pack(folder: &Path, library: &[u8], names: &Names, tree: &bom::Tree) -> Result<String> {
    let facts = facts(library)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = format!("libcallgate-{}.so", names.version);
    let digest = sha256(library);
    write(folder, &file, library)?;
    write(folder, &format!("{file}.sha256"), format!("{digest}  {file}\n").as_bytes())?;
    write(folder, "callgate-module.cdx.json", &bom::write(tree, Classification::Library, library, names)?)?;
    let (major, minor) = facts.c_library;
    let libraries: Vec<_> = facts.libraries.into_iter().collect();
    Ok(format!(
        "{}\n  version   {}\n  build id  {}\n  SHA-256   {digest}\n  bytes     {}\n  needs     glibc {major}.{minor} ({})",
        folder.display(),
        names.version,
        facts.build_id,
        library.len(),
        libraries.join(", ")
    ))
}

fn facts(library: &[u8]) -> Result<Facts> {
    let file = object::File::parse(library).context("the built module is no library")?;
    let exports = file.exports().context("the built module has no list of functions")?;
    ensure!(exports.iter().any(|export| export.name() == ENTRY), "the built module has no functions for Envoy");
    ensure!(!contains(library, PANICS), "the built module panics if a request asks for it; build it without features");
    let build_id = file.build_id().context("the built module has invalid notes")?;
    let build_id = hex(build_id.context("the built module has no build id")?);
    let strings = file.section_by_name(".dynstr").context("the built module is linked with nothing")?;
    let strings = strings.data().context("the built module has invalid names")?;
    let strings: Vec<_> = strings.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()).collect();
    let versions = strings.iter().filter_map(|name| {
        let (major, minor) = name.strip_prefix(C_LIBRARY)?.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    });
    let c_library = versions.max().context("the built module does not use glibc")?;
    let libraries = strings.iter().filter(|name| name.contains(".so.")).map(|name| (*name).to_owned());
    Ok(Facts { build_id, c_library, libraries: libraries.collect() })
}

fn contains(library: &[u8], text: &[u8]) -> bool {
    library.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::LazyLock;

    use serde_json::Value;
    use tempfile::TempDir;

    use super::super::MODULE;
    use super::*;
    use crate::build::{Architecture, Flavor, Sources};
    use crate::paths;

    /// The module for this machine, packed once for all tests.
    struct Packed {
        folder: TempDir,
        library: Vec<u8>,
        names: Names,
        tree: bom::Tree,
        description: String,
    }

    static PACKED: LazyLock<Packed> = LazyLock::new(|| {
        let (sources, here) = (Sources::here(), Architecture::here().unwrap());
        let library = fs::read(sources.envoy_module_for(here).unwrap()).unwrap();
        let names = Names::of(&sources.metadata_for(&here.target()).unwrap(), MODULE).unwrap();
        let tree = bom::Tree::of(&sources, MODULE, &here.target()).unwrap();
        let folder = TempDir::new().unwrap();
        let description = pack(folder.path(), &library, &names, &tree).unwrap();
        Packed { folder, library, names, tree, description }
    });

    fn file() -> String {
        format!("libcallgate-{}.so", PACKED.names.version)
    }

    #[test]
    fn release_of_the_module_contains_exactly_the_expected_files() {
        let entries = fs::read_dir(PACKED.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["callgate-module.cdx.json".to_owned(), file(), format!("{}.sha256", file())]);
    }

    #[test]
    fn sha256sum_verifies_the_hash_of_the_module() {
        let mut sha256sum = Command::new("sha256sum");
        sha256sum.args(["--check", "--strict"]).arg(format!("{}.sha256", file())).current_dir(PACKED.folder.path());
        let checked = sha256sum.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&checked.stdout), format!("{}: OK\n", file()));
    }

    #[test]
    fn packaging_prints_the_build_id_that_the_linker_stored() {
        let facts = facts(&PACKED.library).unwrap();
        assert_eq!(facts.build_id.len(), 40, "{facts:?}");
        assert!(PACKED.description.contains(&facts.build_id), "{}", PACKED.description);
        let readelf = Command::new("readelf").arg("--notes").arg(PACKED.folder.path().join(file())).output();
        let Ok(readelf) = readelf else {
            println!("not run: there is no readelf");
            return;
        };
        let notes = String::from_utf8_lossy(&readelf.stdout);
        assert!(notes.contains(&format!("Build ID: {}", facts.build_id)), "{notes}");
    }

    /// Envoy's images have little more than the C library.
    #[test]
    fn module_needs_only_the_c_library_and_its_companions() {
        let facts = facts(&PACKED.library).unwrap();
        let known = ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6"];
        assert!(facts.libraries.iter().all(|library| known.contains(&library.as_str())), "{facts:?}");
        assert!(facts.c_library >= (2, 17) && facts.libraries.contains("libc.so.6"), "{facts:?}");
    }

    #[test]
    fn module_contains_no_paths_of_this_machine() {
        let holds = |text: &Path| contains(&PACKED.library, text.to_str().unwrap().as_bytes());
        assert!(!holds(&paths::root()));
        assert!(!holds(Sources::here().cargo_home().unwrap()));
        // The search finds paths.
        assert!(holds(Path::new("/callgate/")));
    }

    #[test]
    fn bill_of_materials_of_the_module_names_the_native_library() {
        let text = fs::read(PACKED.folder.path().join("callgate-module.cdx.json")).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["metadata"]["component"]["type"], "library");
        let components = document["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"callgate") && names.contains(&"serde"), "{names:?}");
        // Only the filter has the SDK for Wasm.
        assert!(!names.contains(&"proxy-wasm") && !names.contains(&"cc"), "{names:?}");
        let native = components.iter().filter(|component| component["components"].is_array());
        let native: Vec<_> =
            native.map(|package| (&package["name"], package["components"].as_array().unwrap())).collect();
        let [(package, libraries)] = native.as_slice() else { panic!("{native:?}") };
        assert_eq!(*package, "aws-lc-sys");
        let [library] = libraries.as_slice() else { panic!("{libraries:?}") };
        assert_eq!(library["name"], "AWS-LC");
        let version = library["version"].as_str().unwrap();
        assert_eq!(library["purl"], format!("pkg:github/aws/aws-lc@v{version}"));
        assert!(
            version.split('.').count() == 3 && version.split('.').all(|part| part.parse::<u32>().is_ok()),
            "{version}"
        );
    }

    #[test]
    fn packing_the_module_is_reproducible() {
        let again = TempDir::new().unwrap();
        pack(again.path(), &PACKED.library, &PACKED.names, &PACKED.tree).unwrap();
        for name in [file(), format!("{}.sha256", file()), "callgate-module.cdx.json".to_owned()] {
            let [first, second] = [&PACKED.folder, &again].map(|folder| fs::read(folder.path().join(&name)).unwrap());
            assert!(first == second, "{name}");
        }
    }

    #[test]
    fn does_not_package_a_module_that_panics_on_purpose() {
        facts(&PACKED.library).unwrap();
        let failed = facts(&[&PACKED.library, PANICS].concat()).unwrap_err();
        assert!(failed.to_string().starts_with("the built module panics if a request asks for it"), "{failed}");
        // The build for tests has the name, so the check finds it.
        let testing = fs::read(Sources::here().envoy_module(Flavor::Testing).unwrap()).unwrap();
        assert!(facts(&testing).is_err() && contains(&testing, PANICS));
    }

    #[test]
    fn does_not_package_another_program() {
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        let failed = facts(&this).unwrap_err();
        assert_eq!(failed.to_string(), "the built module has no functions for Envoy");
        let failed = facts(b"\0asm\x01\0\0\0").unwrap_err();
        assert_eq!(failed.to_string(), "the built module is no library");
    }
}
