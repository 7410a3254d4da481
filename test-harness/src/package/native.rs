//! Native code inside packages: which packages compile it, and which library it is.
//!
//! A manifest cannot answer this. `links` also prevents two versions of a package without native code, and its value names no library. So each
//! package with `links`, or with a compiler for C among its build dependencies, is listed here. One that is not listed fails the command: a bill
//! of materials that omits a library, or names one that does not exist, is worse than none.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Package};

/// Packages that build scripts compile native code with.
const COMPILERS: [&str; 4] = ["autotools", "cc", "cmake", "nasm-rs"];

/// A library of native code, which is compiled from source inside a package and linked statically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Library {
    pub(super) name: &'static str,
    pub(super) version: String,
    /// The package URL of its source.
    pub(super) purl: String,
    /// Its name in the National Vulnerability Database.
    pub(super) cpe: String,
    pub(super) repository: &'static str,
}

/// States whether a package may compile native code.
pub(super) fn is_suspect(package: &Package) -> bool {
    let compiles = package
        .dependencies
        .iter()
        .any(|dependency| dependency.kind == DependencyKind::Build && COMPILERS.contains(&dependency.name.as_str()));
    package.links.is_some() || compiles
}

/// Returns the library that a package contains. `folder` has the source of the package.
///
/// # Errors
/// When the package is not listed here, or the source does not have the library.
pub(super) fn library(package: &str, folder: &Path) -> Result<Option<Library>> {
    match package {
        // Rust only: `links` prevents two versions, and the native code is in `aws-lc-sys`.
        "aws-lc-rs" => Ok(None),
        "aws-lc-sys" => aws_lc(folder).map(Some),
        _ => bail!(
            "`{package}` may contain native code; read its build script, and add the package to {} with its library, or without one",
            file!()
        ),
    }
}

fn aws_lc(folder: &Path) -> Result<Library> {
    let file = folder.join("aws-lc/include/openssl/base.h");
    let header = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let version = header.lines().find_map(|line| {
        line.strip_prefix("#define AWSLC_VERSION_NUMBER_STRING \"")?.strip_suffix('"').map(str::to_owned)
    });
    let version = version.with_context(|| format!("{} does not state the version of AWS-LC", file.display()))?;
    Ok(Library {
        name: "AWS-LC",
        purl: format!("pkg:github/aws/aws-lc@v{version}"),
        cpe: format!("cpe:2.3:a:amazon:aws_libcrypto:{version}:*:*:*:*:*:*:*"),
        repository: "https://github.com/aws/aws-lc",
        version,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Returns a folder with the source of `aws-lc-sys`, as far as it is read: this header.
    pub(in super::super) fn source(header: &str) -> TempDir {
        let folder = TempDir::new().unwrap();
        let headers = folder.path().join("aws-lc/include/openssl");
        fs::create_dir_all(&headers).unwrap();
        fs::write(headers.join("base.h"), header).unwrap();
        folder
    }

    #[test]
    fn unknown_package_with_native_code_fails() {
        let folder = TempDir::new().unwrap();
        let failed = library("openssl-sys", folder.path()).unwrap_err().to_string();
        assert!(failed.starts_with("`openssl-sys` may contain native code; "), "{failed}");
        assert!(failed.contains("package/native.rs"), "{failed}");
        // The package that was mistaken for a library.
        assert_eq!(library("aws-lc-rs", folder.path()).unwrap(), None);
    }

    #[test]
    fn version_of_the_library_is_in_its_source() {
        let folder = source("// AWSLC_VERSION_NUMBER_STRING\n#define AWSLC_VERSION_NUMBER_STRING \"5.12.0\"\n");
        let found = library("aws-lc-sys", folder.path()).unwrap().unwrap();
        assert_eq!((found.name, found.version.as_str()), ("AWS-LC", "5.12.0"));
        assert_eq!(found.purl, "pkg:github/aws/aws-lc@v5.12.0");
        assert_eq!(found.cpe, "cpe:2.3:a:amazon:aws_libcrypto:5.12.0:*:*:*:*:*:*:*");
    }

    #[test]
    fn library_without_a_version_fails() {
        let folder = source("#define AWSLC_API_VERSION 35\n");
        let failed = library("aws-lc-sys", folder.path()).unwrap_err().to_string();
        assert!(failed.ends_with("does not state the version of AWS-LC"), "{failed}");
        library("aws-lc-sys", &folder.path().join("elsewhere")).unwrap_err();
    }
}
