//! The filter as an image that Istio and Envoy Gateway can pull.
//!
//! Both accept the "compat" variant of the [Wasm image specification]: an OCI image whose only layer contains a file `plugin.wasm`. It is
//! written as an image layout, a folder that tools can copy to a registry unchanged. The same filter produces the same image: no
//! timestamps, no user names, and every document in canonical form (RFC 8785).
//!
//! [Wasm image specification]: https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_SOURCE, ANNOTATION_TITLE,
    ANNOTATION_VERSION, Arch, Descriptor, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder,
    MediaType, OciLayoutBuilder, Os, RootFsBuilder, Sha256Digest,
};
use serde::Serialize;

use super::{Names, sha256};

/// The file that gateways look for.
pub(super) const PLUGIN: &str = "plugin.wasm";
/// The variant of the Wasm image.
const VARIANT: (&str, &str) = ("module.wasm.image/variant", "compat");

/// Writes the image layout into a new folder, and returns the image's digest.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn write(folder: &Path, module: &[u8], names: &Names) -> Result<String> {
    let layout = Layout { folder, blobs: folder.join("blobs/sha256") };
    fs::create_dir_all(&layout.blobs).with_context(|| format!("cannot make {}", layout.blobs.display()))?;
    let tar = archive(module)?;
    let layer = layout.blob(MediaType::ImageLayerGzip, &compressed(&tar)?)?;
    let rootfs = RootFsBuilder::default().diff_ids([format!("sha256:{}", sha256(&tar))]).build()?;
    let config = ImageConfigurationBuilder::default();
    let config = config.architecture(Arch::Wasm).os(Os::Other("wasip1".to_owned())).rootfs(rootfs).build()?;
    let config = layout.blob(MediaType::ImageConfig, &canonical(&config)?)?;
    let annotations: HashMap<_, _> = [
        VARIANT,
        (ANNOTATION_TITLE, &names.name),
        (ANNOTATION_DESCRIPTION, &names.description),
        (ANNOTATION_LICENSES, &names.license),
        (ANNOTATION_SOURCE, &names.repository),
        (ANNOTATION_VERSION, &names.version),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let manifest = ImageManifestBuilder::default().schema_version(2u32).media_type(MediaType::ImageManifest);
    let manifest = manifest.config(config).layers([layer]).annotations(annotations).build()?;
    let mut manifest = layout.blob(MediaType::ImageManifest, &canonical(&manifest)?)?;
    let digest = manifest.digest().to_string();
    manifest.set_annotations(Some([(ANNOTATION_REF_NAME.to_owned(), names.version.clone())].into()));
    let index = ImageIndexBuilder::default().schema_version(2u32).media_type(MediaType::ImageIndex);
    layout.file("index.json", &canonical(&index.manifests([manifest]).build()?)?)?;
    layout.file("oci-layout", &canonical(&OciLayoutBuilder::default().image_layout_version("1.0.0").build()?)?)?;
    Ok(digest)
}

struct Layout<'a> {
    folder: &'a Path,
    blobs: PathBuf,
}

impl Layout<'_> {
    /// Writes a blob under its digest.
    fn blob(&self, media_type: MediaType, content: &[u8]) -> Result<Descriptor> {
        let digest = sha256(content);
        self.file(self.blobs.join(&digest), content)?;
        let digest: Sha256Digest = digest.parse()?;
        Ok(Descriptor::new(media_type, content.len() as u64, digest))
    }

    fn file(&self, name: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        let file = self.folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Creates a layer with one file, without owner and timestamp.
fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, PLUGIN, module)?;
    Ok(archive.into_inner()?)
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Serializes canonically, because the types do not order annotations.
fn canonical(document: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json_canonicalizer::to_vec(document)?)
}
