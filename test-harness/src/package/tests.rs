use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout};
use tempfile::TempDir;

use super::*;

/// The release, packed once for all tests.
struct Packed {
    folder: TempDir,
    module: Vec<u8>,
    names: Names,
    tree: bom::Tree,
}

static PACKED: LazyLock<Packed> = LazyLock::new(|| {
    let sources = Sources::here();
    let module = fs::read(sources.filter(Flavor::Release).unwrap()).unwrap();
    let names = Names::of(&sources.metadata().unwrap(), FILTER).unwrap();
    let tree = bom::Tree::of(&sources, FILTER, TARGET).unwrap();
    let folder = TempDir::new().unwrap();
    pack(&folder.path().join("dist"), &module, &names, &tree).unwrap();
    Packed { folder, module, names, tree }
});

impl Packed {
    fn dist(&self) -> PathBuf {
        self.folder.path().join("dist")
    }

    fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.dist().join(name)).unwrap()
    }

    /// Returns a blob of the image. Its name must be its hash.
    fn blob(&self, digest: &str) -> Vec<u8> {
        let digest = digest.strip_prefix("sha256:").unwrap();
        let blob = self.read(Path::new("oci/blobs/sha256").join(digest));
        assert_eq!(sha256(&blob), digest);
        blob
    }
}

/// Returns every file of a folder with its contents.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                found.insert(entry.strip_prefix(folder).unwrap().to_owned(), fs::read(&entry).unwrap());
            }
        }
    }
    found
}

#[test]
fn release_contains_exactly_the_expected_files() {
    let names: Vec<_> = files(&PACKED.dist()).into_keys().filter(|name| !name.starts_with("oci/blobs")).collect();
    let expected = [
        "callgate.cdx.json",
        "callgate.wasm",
        "callgate.wasm.sha256",
        "oci/index.json",
        "oci/oci-layout",
        "policy.schema.json",
        "record.schema.json",
    ];
    assert_eq!(names, expected.map(PathBuf::from));
    for name in ["policy.schema.json", "record.schema.json"] {
        assert!(PACKED.read(name) == fs::read(paths::root().join("docs/reference").join(name)).unwrap(), "{name}");
    }
}

#[test]
fn sha256sum_verifies_the_hash_file() {
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.args(["--check", "--strict", "callgate.wasm.sha256"]).current_dir(PACKED.dist());
    let checked = sha256sum.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "callgate.wasm: OK\n");
}

#[test]
fn packaged_filter_states_its_version_and_compiler() {
    let about = Module::read(&PACKED.read("callgate.wasm")).unwrap();
    assert_eq!(about.facts.version, PACKED.names.version);
    assert_eq!(about.facts.policy_formats, ["v1"]);
    assert_eq!(about.abi, ["0.2.1"]);
    let compiler = Command::new("rustc").arg("--version").output().unwrap();
    let compiler = String::from_utf8(compiler.stdout).unwrap();
    assert_eq!(format!("rustc {}\n", about.facts.rustc), compiler);
}

#[test]
fn packing_is_reproducible() {
    let again = PACKED.folder.path().join("again");
    pack(&again, &PACKED.module, &PACKED.names, &PACKED.tree).unwrap();
    assert!(files(&PACKED.dist()) == files(&again));
    // Earlier contents of the folder are removed.
    fs::write(again.join("left-over"), "").unwrap();
    pack(&again, &PACKED.module, &PACKED.names, &PACKED.tree).unwrap();
    assert!(files(&PACKED.dist()) == files(&again));
}

#[test]
fn release_contains_no_paths_or_timestamps() {
    let here = paths::root();
    for (name, content) in files(&PACKED.dist()) {
        let holds = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(here.to_str().unwrap()), "{}", name.display());
        assert!(!holds("timestamp") && !holds("image.created"), "{}", name.display());
    }
}

#[test]
fn does_not_package_an_unstamped_filter() {
    let folder = PACKED.folder.path().join("none");
    let failed = pack(&folder, b"\0asm\x01\0\0\0", &PACKED.names, &PACKED.tree).unwrap_err();
    assert!(failed.to_string().starts_with("the built filter: no version information"), "{failed}");
    assert!(!folder.exists());
}

/// Returns the module as the fetchers of Istio and Envoy Gateway find it: the last layer, which must have this type, and the first file
/// with that name in it.
fn fetched(manifest: &ImageManifest) -> Vec<u8> {
    let layer = manifest.layers().last().unwrap();
    assert_eq!(layer.media_type().to_string(), "application/vnd.oci.image.layer.v1.tar+gzip");
    let layer = PACKED.blob(layer.digest().as_ref());
    let mut archive = tar::Archive::new(GzDecoder::new(layer.as_slice()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().file_name().unwrap() == "plugin.wasm" {
            let mut plugin = Vec::new();
            entry.read_to_end(&mut plugin).unwrap();
            return plugin;
        }
    }
    panic!("no plugin.wasm");
}

#[test]
fn image_has_the_layout_that_gateways_pull() {
    OciLayout::from_reader(PACKED.read("oci/oci-layout").as_slice()).unwrap();
    let index = ImageIndex::from_reader(PACKED.read("oci/index.json").as_slice()).unwrap();
    let [entry] = index.manifests().as_slice() else { panic!("{index:?}") };
    assert_eq!(*entry.media_type(), MediaType::ImageManifest);
    let manifest = PACKED.blob(entry.digest().as_ref());
    let manifest = ImageManifest::from_reader(manifest.as_slice()).unwrap();
    assert_eq!(manifest.annotations().as_ref().unwrap()["module.wasm.image/variant"], "compat");
    assert_eq!(manifest.layers().len(), 1, "the variant has exactly one layer");
    assert!(fetched(&manifest) == PACKED.module);
}

#[test]
fn image_sizes_and_hashes_are_correct() {
    let index = ImageIndex::from_reader(PACKED.read("oci/index.json").as_slice()).unwrap();
    let manifest = PACKED.blob(index.manifests()[0].digest().as_ref());
    let manifest = ImageManifest::from_reader(manifest.as_slice()).unwrap();
    let named = [index.manifests(), manifest.layers(), std::slice::from_ref(manifest.config())].concat();
    let mut blobs = BTreeSet::new();
    for descriptor in &named {
        assert_eq!(PACKED.blob(descriptor.digest().as_ref()).len() as u64, descriptor.size());
        blobs.insert(descriptor.digest().digest().to_owned());
    }
    let there = files(&PACKED.dist().join("oci/blobs/sha256"));
    let there: BTreeSet<_> = there.into_keys().map(|name| name.to_str().unwrap().to_owned()).collect();
    assert_eq!(there, blobs);
    let config = PACKED.blob(manifest.config().digest().as_ref());
    let config = ImageConfiguration::from_reader(config.as_slice()).unwrap();
    let mut tar = Vec::new();
    let layer = PACKED.blob(manifest.layers()[0].digest().as_ref());
    GzDecoder::new(layer.as_slice()).read_to_end(&mut tar).unwrap();
    assert_eq!(*config.rootfs().diff_ids(), [format!("sha256:{}", sha256(&tar))]);
}

/// Checks the image with a third-party tool, if it is installed.
#[test]
fn skopeo_reads_the_image() {
    let copy = PACKED.folder.path().join("copied");
    let of = |folder: &Path| format!("oci:{}", folder.display());
    let ran = Command::new("skopeo")
        .args(["--insecure-policy", "copy", &of(&PACKED.dist().join("oci")), &of(&copy)])
        .output();
    let Ok(ran) = ran else {
        println!("not run: there is no skopeo");
        return;
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let blobs = |folder: &Path| files(&folder.join("blobs"));
    assert!(blobs(&copy) == blobs(&PACKED.dist().join("oci")));
}
