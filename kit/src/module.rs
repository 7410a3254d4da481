//! Reads a filter module and the facts that it contains about itself.
//!
//! A module ends with two custom sections, after all code. `callgate` holds [`Facts`] as JSON. `build_id`, the last one, is a hash
//! of everything in front of it, in the form of the [convention] that linkers and debuggers follow. Two modules with the same build
//! id are therefore identical, and a module that was changed after its build can be detected. Neither section is a signature:
//! anyone who changes a module can also write a new id. A gateway should trust the SHA-256 of the file.
//!
//! [convention]: https://github.com/WebAssembly/tool-conventions/blob/main/BuildId.md

#[cfg(feature = "full")]
mod read;

use hmac_sha256::Hash;
use serde::{Deserialize, Serialize};
use wasm_encoder::{CustomSection, Section as _};

#[cfg(feature = "full")]
pub use read::{Fault, Module};

const FACTS: &str = "callgate";
const BUILD_ID: &str = "build_id";
/// The length of the id, which is the start of the hash, in bytes.
const ID_BYTES: u8 = 16;

/// The facts about a module that are known at build time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The version of Callgate.
    pub version: String,
    /// The versions of the policy format that it accepts.
    pub policy_formats: Vec<String>,
    /// The compiler. The same bytes can only be built with the same version.
    pub rustc: String,
}

/// Appends the facts and the build id to a module that the compiler wrote.
///
/// # Errors
/// Fails if the facts cannot be written as JSON.
pub fn stamp(mut module: Vec<u8>, facts: &Facts) -> serde_json::Result<Vec<u8>> {
    module.extend(section(FACTS, &serde_json::to_vec(facts)?));
    let id = build_id(&module);
    module.extend(section(BUILD_ID, &prefixed(&id)));
    Ok(module)
}

fn build_id(content: &[u8]) -> Vec<u8> {
    let mut id = Hash::hash(content).to_vec();
    id.truncate(ID_BYTES.into());
    id
}

/// Puts the length in front of the id, as the convention requires.
fn prefixed(id: &[u8]) -> Vec<u8> {
    [&[ID_BYTES], id].concat()
}

fn section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    CustomSection { name: name.into(), data: data.into() }.append_to(&mut bytes);
    bytes
}

#[cfg(feature = "full")]
#[cfg(test)]
#[path = "module/tests.rs"]
mod tests;
