use callgate_kit::module::{Facts, Module, stamp};

use crate::{callgate, file, json};

/// Returns the shortest module that contains facts about itself.
fn module() -> Vec<u8> {
    let facts = Facts { version: "1.2.3".into(), policy_formats: vec!["v1".into()], rustc: "1.95.0\u{1b}[31m".into() };
    stamp(b"\0asm\x01\0\0\0".to_vec(), &facts).unwrap()
}

#[test]
fn describes_a_module() {
    let built = module();
    let path = file("described.wasm", &built);
    let about = Module::read(&built).unwrap();
    let out = callgate(&format!("version {path}")).fine();
    assert!(out.starts_with("callgate 1.2.3\n"), "{out}");
    for said in [&about.build_id, &about.sha256, "v1", "1.95.0\\u{1b}[31m"] {
        assert!(out.contains(said), "{said}: {out}");
    }
    let out = json(&callgate(&format!("version {path} --format json")).fine());
    assert_eq!(out["version"], "1.2.3");
    assert_eq!(out["policy_formats"], serde_json::json!(["v1"]));
    assert_eq!(out["build_id"], about.build_id);
    assert_eq!(out["sha256"], about.sha256);
    assert_eq!(out["bytes"], built.len());
}

#[test]
fn describes_the_command_when_no_file_is_given() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(callgate("version").fine(), format!("callgate {version}\n  policy format  v1\n"));
    let out = json(&callgate("version --format json").fine());
    assert_eq!(out, serde_json::json!({ "version": version, "policy_formats": ["v1"] }));
}

#[test]
fn rejects_a_modified_module() {
    let mut changed = module();
    let place = changed.windows(5).position(|window| window == b"1.2.3").unwrap();
    changed[place] = b'2';
    let path = file("changed.wasm", changed);
    for format in ["human", "json"] {
        let err = callgate(&format!("version {path} --format {format}")).failed(2);
        let expected = "changed after it was built; its build id does not match its content";
        assert_eq!(err, format!("callgate: {path}: {expected}\n"));
    }
}

#[test]
fn exits_with_1_for_files_that_are_not_callgate_modules() {
    let cut = module();
    let cut = file("cut.wasm", &cut[..40]);
    let plain = file("plain.wasm", b"\0asm\x01\0\0\0");
    for (path, problem) in [
        ("missing.wasm", "does not exist"),
        ("src", "is a directory; name a file"),
        ("Cargo.toml", "not a WebAssembly module; expected a `callgate.wasm`"),
        ("/dev/zero", "exceeds 64 MiB"),
        (&cut, "damaged or truncated at byte "),
        (&plain, "no version information; build the filter with `cargo harness build`"),
    ] {
        let err = callgate(&format!("version {path}")).failed(1);
        assert!(err.starts_with(&format!("callgate: {path}: {problem}")), "{err}");
    }
}
