//! What the library and Envoy need of each other. An Envoy that lacks a function does not load the library, or ends when the function is
//! called. The list of callbacks is that of the library's dynamic symbols, because the linker sees those and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use object::elf::{DF_1_NODELETE, DT_FLAGS_1};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _};
use test_harness::envoy::{Binary, MODULE_RELEASES, locate, release};

use super::library;

const CALLBACK: &str = "envoy_dynamic_module_callback_";
const HOOK: &str = "envoy_dynamic_module_on_";

/// The hooks without which one of the supported versions of Envoy rejects a configuration.
const REQUIRED: [&str; 21] = [
    "program_init",
    "http_filter_config_new",
    "http_filter_config_destroy",
    "http_filter_new",
    "http_filter_destroy",
    "http_filter_request_headers",
    "http_filter_request_body",
    "http_filter_request_trailers",
    "http_filter_response_headers",
    "http_filter_response_body",
    "http_filter_response_trailers",
    "http_filter_stream_complete",
    "http_filter_http_callout_done",
    "http_filter_http_stream_headers",
    "http_filter_http_stream_data",
    "http_filter_http_stream_trailers",
    "http_filter_http_stream_complete",
    "http_filter_http_stream_reset",
    "http_filter_scheduled",
    "http_filter_downstream_above_write_buffer_high_watermark",
    "http_filter_downstream_below_write_buffer_low_watermark",
];

/// Hooks that the module needs and that Envoy does not require. Without them it would not learn what happened.
const NEEDED: [&str; 3] =
    ["http_filter_local_reply", "http_filter_config_scheduled", "http_filter_config_http_callout_done"];

/// The dynamic symbols of a file that belong to the interface.
struct Symbols {
    exported: BTreeSet<String>,
    imported: BTreeSet<String>,
}

impl Symbols {
    fn of(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap();
        let elf: ElfFile64<'_> = ElfFile64::parse(bytes.as_slice()).unwrap();
        let mut symbols = Self { exported: BTreeSet::new(), imported: BTreeSet::new() };
        for symbol in elf.dynamic_symbols() {
            let Ok(name) = symbol.name() else { continue };
            if !name.starts_with(CALLBACK) && !name.starts_with(HOOK) {
                continue;
            }
            // A weak symbol may be missing.
            if symbol.is_undefined() && !symbol.is_weak() {
                symbols.imported.insert(name.to_owned());
            } else if !symbol.is_undefined() {
                symbols.exported.insert(name.to_owned());
            }
        }
        symbols
    }
}

/// Asserts that an Envoy has every function that the library calls.
#[track_caller]
fn assert_has_every_callback(envoy: &Binary, version: &str) {
    let Binary::Program(program) = envoy else {
        println!("{version}: not checked, because it is an image");
        return;
    };
    let (envoy, module) = (Symbols::of(program), Symbols::of(library()));
    assert!(envoy.exported.len() > 100, "{version}: only {} functions are exported", envoy.exported.len());
    assert!(module.imported.len() > 10, "the library calls only {:?}", module.imported);
    let missing: Vec<_> = module.imported.difference(&envoy.exported).collect();
    assert!(missing.is_empty(), "Envoy {version} lacks {missing:?}");
}

#[test]
fn envoy_has_every_function_that_the_module_calls() {
    assert_has_every_callback(&locate().unwrap(), "found on this machine");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_supported_envoy_has_every_function_that_the_module_calls() {
    for version in MODULE_RELEASES {
        assert_has_every_callback(&release(version).unwrap(), version);
    }
}

#[test]
fn the_module_has_every_hook_and_exports_nothing_else_of_the_interface() {
    let exported = Symbols::of(library()).exported;
    let hook = |name: &&str| format!("{HOOK}{name}");
    let missing: Vec<_> = REQUIRED.iter().chain(&NEEDED).map(hook).filter(|name| !exported.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A callback that the library defined itself would be called instead of Envoy's.
    let own: Vec<_> = exported.iter().filter(|name| name.starts_with(CALLBACK)).collect();
    assert!(own.is_empty(), "{own:?}");
}

/// The thread of its timer would run code that is no longer there.
#[test]
fn the_module_is_never_unmapped() {
    let bytes = fs::read(library()).unwrap();
    let elf: ElfFile64<'_> = ElfFile64::parse(bytes.as_slice()).unwrap();
    let flags = elf.elf_dynamic_table().unwrap().iter().find(|entry| entry.tag == DT_FLAGS_1);
    assert!(flags.is_some_and(|flags| flags.val & u64::from(DF_1_NODELETE) != 0), "{flags:?}");
}
