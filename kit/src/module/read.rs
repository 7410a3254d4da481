//! Reads a module, and detects one that was changed after its build.

use std::collections::{BTreeMap, BTreeSet};

use hmac_sha256::Hash;
use serde::Serialize;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

use super::{BUILD_ID, FACTS, Facts, build_id, prefixed, section};

/// The first bytes of every module.
const MAGIC: &[u8] = b"\0asm";
/// The length of the section with the id, in bytes.
pub(super) const ID_SECTION_BYTES: usize = 28;
/// The prefix of the export by which hosts find the version of the module's interface.
const ABI: &str = "proxy_abi_version_";

/// A module of Callgate.
#[derive(Debug, Serialize)]
pub struct Module {
    /// The facts that the module contains about itself.
    #[serde(flatten)]
    pub facts: Facts,
    /// The hash of everything in front of the section with the id, in hexadecimal.
    pub build_id: String,
    /// The hash of the whole file, in hexadecimal. Gateways are configured to expect it.
    pub sha256: String,
    /// The length of the file in bytes.
    pub bytes: usize,
    /// The versions of the proxy-wasm interface that a host can use to call the module.
    pub abi: Vec<String>,
    /// The functions that the module imports from its host, by the name of the interface.
    pub imports: BTreeMap<String, BTreeSet<String>>,
}

/// Why a file is not an unchanged module of Callgate. The text is a message without the file's name, which the caller writes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The module was changed after it was built.
    Changed(String),
    /// The file is something else, or it is incomplete.
    Other(String),
}

impl Module {
    /// Reads a module.
    ///
    /// # Errors
    /// Fails if the file is not a module of Callgate, or was changed after it was built.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        if !bytes.starts_with(MAGIC) {
            return Err(other("not a WebAssembly module; expected a `callgate.wasm`"));
        }
        let mut sections = Sections::default();
        for payload in Parser::new(0).parse_all(bytes) {
            payload.and_then(|payload| sections.take(payload)).map_err(|error| damaged(&error))?;
        }
        if sections.is_component {
            return Err(other("a WebAssembly component, not a module; expected a `callgate.wasm`"));
        }
        let facts = match sections.facts.as_slice() {
            [facts] => serde_json::from_slice(facts)
                .map_err(|error| other(&format!("cannot read the version information: {error}")))?,
            [] => {
                return Err(other("no version information; build the filter with `cargo harness build`"));
            }
            _ => return Err(Fault::Changed("contains version information more than once".to_owned())),
        };
        // INVARIANT: a module with facts is longer than the section with its id.
        let (content, id_section) = bytes.split_at_checked(bytes.len() - ID_SECTION_BYTES).unwrap_or_default();
        let build_id = build_id(content);
        if id_section != section(BUILD_ID, &prefixed(&build_id)) {
            return Err(Fault::Changed(
                "changed after it was built; its build id does not match its content".to_owned(),
            ));
        }
        Ok(Self {
            facts,
            build_id: hex(&build_id),
            sha256: hex(&Hash::hash(bytes)),
            bytes: bytes.len(),
            abi: sections.abi,
            imports: sections.imports,
        })
    }
}

/// The parts of a module that describe it.
#[derive(Default)]
struct Sections<'a> {
    is_component: bool,
    facts: Vec<&'a [u8]>,
    abi: Vec<String>,
    imports: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Sections<'a> {
    fn take(&mut self, payload: Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => self.is_component |= encoding == Encoding::Component,
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    self.imports.entry(import.module.to_owned()).or_default().insert(import.name.to_owned());
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let version = export?.name.strip_prefix(ABI);
                    self.abi.extend(version.map(|version| version.replace('_', ".")));
                }
            }
            Payload::CustomSection(section) if section.name() == FACTS => self.facts.push(section.data()),
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn other(message: &str) -> Fault {
    Fault::Other(message.to_owned())
}

fn damaged(error: &BinaryReaderError) -> Fault {
    Fault::Other(format!("damaged or truncated at byte {}: {}", error.offset(), error.message()))
}
