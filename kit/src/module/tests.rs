use wasm_encoder::{EntityType, ExportKind, ExportSection, FunctionSection, ImportSection, TypeSection};
use wasmparser::{Parser, Payload};

use super::read::{ID_SECTION_BYTES, hex};
use super::*;

fn facts() -> Facts {
    Facts { version: "1.2.3".to_owned(), policy_formats: vec!["v1".to_owned()], rustc: "1.95.0 (59807616e)".to_owned() }
}

/// Returns a module such as a compiler could have written.
fn compiled() -> Vec<u8> {
    let (mut types, mut imports, mut exports) = (TypeSection::new(), ImportSection::new(), ExportSection::new());
    types.ty().function([], []);
    imports.import("env", "proxy_log", EntityType::Function(0));
    imports.import("wasi_snapshot_preview1", "proc_exit", EntityType::Function(0));
    exports.export("proxy_abi_version_0_2_1", ExportKind::Func, 0).export("proxy_on_log", ExportKind::Func, 0);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&FunctionSection::new()).section(&exports);
    module.finish()
}

fn built() -> Vec<u8> {
    stamp(compiled(), &facts()).unwrap()
}

#[track_caller]
fn refused(bytes: &[u8]) -> Fault {
    Module::read(bytes).unwrap_err()
}

fn message(fault: Fault) -> String {
    match fault {
        Fault::Changed(message) | Fault::Other(message) => message,
    }
}

#[test]
fn reads_the_facts_of_a_stamped_module() {
    let bytes = built();
    let module = Module::read(&bytes).unwrap();
    assert_eq!(module.facts, facts());
    assert_eq!((module.bytes, module.abi), (bytes.len(), vec!["0.2.1".to_owned()]));
    let imports = [("env", "proxy_log"), ("wasi_snapshot_preview1", "proc_exit")];
    let imports = imports.map(|(interface, call)| (interface.to_owned(), [call.to_owned()].into()));
    assert_eq!(module.imports, imports.into());
    assert_eq!(module.sha256, hex(&Hash::hash(&bytes)));
    // The sections are the only change, and the id is the hash of everything in front of it.
    assert!(bytes.starts_with(&compiled()));
    assert_eq!(module.build_id, hex(&Hash::hash(&bytes[..bytes.len() - ID_SECTION_BYTES])[..16]));
}

#[test]
fn stamp_adds_sections_that_other_tools_read() {
    let bytes = built();
    let sections = Parser::new(0).parse_all(&bytes).filter_map(|payload| match payload.unwrap() {
        Payload::CustomSection(section) => Some((section.name().to_owned(), section.data().to_owned())),
        _ => None,
    });
    let sections: Vec<_> = sections.collect();
    let names: Vec<_> = sections.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["callgate", "build_id"]);
    let facts = r#"{"version":"1.2.3","policy_formats":["v1"],"rustc":"1.95.0 (59807616e)"}"#;
    assert_eq!(String::from_utf8_lossy(&sections[0].1), facts);
    assert_eq!((sections[1].1.len(), sections[1].1[0]), (17, 16));
}

#[test]
fn rejects_a_module_with_any_changed_byte() {
    let bytes = built();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(Module::read(&changed).is_err(), "byte {place} of {}", bytes.len());
    }
}

#[test]
fn rejects_a_module_truncated_at_any_byte() {
    let bytes = built();
    for end in 0..bytes.len() {
        assert!(Module::read(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
}

#[test]
fn rejects_a_module_with_added_or_removed_sections() {
    let bytes = built();
    let with_more = [bytes.clone(), section("name", b"\0")].concat();
    let without_id = bytes[..bytes.len() - ID_SECTION_BYTES].to_vec();
    let twice = stamp(bytes.clone(), &facts()).unwrap();
    for changed in [with_more, without_id, twice] {
        assert!(matches!(refused(&changed), Fault::Changed(_)));
    }
}

#[test]
fn explains_why_a_file_is_not_a_callgate_module() {
    let component = b"\0asm\x0d\0\x01\0".to_vec();
    let unknown = [compiled(), section(FACTS, b"7")].concat();
    let cut = built()[..20].to_vec();
    for (bytes, sentence) in [
        (b"#!/bin/sh".to_vec(), "not a WebAssembly module; "),
        (Vec::new(), "not a WebAssembly module; "),
        (component, "a WebAssembly component"),
        (compiled(), "no version information; "),
        (unknown, "cannot read the version information: "),
        (cut, "damaged or truncated at byte "),
    ] {
        let fault = refused(&bytes);
        assert!(matches!(fault, Fault::Other(_)), "{fault:?}");
        let message = message(fault);
        assert!(message.starts_with(sentence), "{message}");
    }
}

#[test]
fn accepts_unknown_facts_of_later_versions() {
    let mut later = compiled();
    later.extend(section(FACTS, br#"{"version":"9.0.0","policy_formats":["v1","v2"],"rustc":"2.0.0","signed":true}"#));
    let id = prefixed(&build_id(&later));
    later.extend(section(BUILD_ID, &id));
    assert_eq!(Module::read(&later).unwrap().facts.policy_formats, ["v1", "v2"]);
}
