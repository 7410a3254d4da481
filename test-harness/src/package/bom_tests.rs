use std::fs;

use jsonschema::Registry;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::build::TARGET;
use crate::paths;

const LINES: &str = "0\tcallgate v0.1.0 (/somewhere)\tApache-2.0\thttps://example.com/callgate\n\
                     1\tserde v1.0.1\tMIT OR Apache-2.0\thttps://example.com/serde\n\
                     2\titoa v1.0.2\tMIT/Apache-2.0\t\n\
                     1\trsa v0.9.1\tMIT\t\n\
                     2\tserde v1.0.1\tMIT OR Apache-2.0\thttps://example.com/serde (*)\n\
                     2\titoa v0.4.0\tMIT\t\n";

fn names() -> Names {
    let text = |text: &str| text.to_owned();
    Names {
        name: text("callgate"),
        version: text("0.1.0"),
        description: text("A gate"),
        license: text("Apache-2.0"),
        repository: text("https://example.com/callgate"),
    }
}

fn document(tree: &Tree, module: &[u8]) -> Value {
    serde_json::from_slice(&write(tree, Classification::Application, module, &names()).unwrap()).unwrap()
}

/// Validates a document with the format's own schema and the documents that it refers to.
fn faults(document: &Value) -> Vec<String> {
    let read = |name: &str| -> Value {
        let file = paths::root().join("test-harness/tests/cyclonedx").join(name);
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    };
    let known = ["spdx.schema.json", "jsf-0.82.schema.json"].map(|name| {
        (format!("http://cyclonedx.org/schema/{name}"), jsonschema::Draft::Draft7.create_resource(read(name)))
    });
    let registry = Registry::new().extend(known).unwrap().prepare().unwrap();
    let schema = read("bom-1.5.schema.json");
    let validator =
        jsonschema::options().with_registry(&registry).should_validate_formats(true).build(&schema).unwrap();
    validator.iter_errors(document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
}

#[test]
fn lists_every_package_with_its_dependencies() {
    let document = document(&Tree::read(LINES).unwrap(), b"module");
    let refs = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|item| item["bom-ref"].as_str().unwrap().to_owned()).collect()
    };
    let expected = ["pkg:cargo/itoa@0.4.0", "pkg:cargo/itoa@1.0.2", "pkg:cargo/rsa@0.9.1", "pkg:cargo/serde@1.0.1"];
    assert_eq!(refs(&document["components"]), expected);
    assert_eq!(document["metadata"]["component"]["bom-ref"], "pkg:cargo/callgate@0.1.0");
    assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], sha256(b"module"));
    assert_eq!(document["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    let dependencies = document["dependencies"].as_array().unwrap();
    let rsa = dependencies.iter().find(|entry| entry["ref"] == "pkg:cargo/rsa@0.9.1").unwrap();
    assert_eq!(rsa["dependsOn"], serde_json::json!(["pkg:cargo/itoa@0.4.0", "pkg:cargo/serde@1.0.1"]));
}

/// A package with native code, and one that only uses the other.
const WITH_NATIVE: &str = "0\tcallgate-module v0.1.0 (/somewhere)\tApache-2.0\thttps://example.com/callgate\n\
                           1\taws-lc-rs v1.19.0\tISC AND (Apache-2.0 OR ISC)\thttps://github.com/aws/aws-lc-rs\n\
                           2\taws-lc-sys v0.47.0\tISC AND OpenSSL\thttps://github.com/aws/aws-lc-rs\n";

#[test]
fn native_library_is_a_component_inside_the_package_that_compiles_it() {
    let folder = native::tests::source("#define AWSLC_VERSION_NUMBER_STRING \"5.12.0\"\n");
    let inner = |version: &str| {
        let mut tree = Tree::read(WITH_NATIVE).unwrap();
        tree.look_into("aws-lc-rs", "1.19.0", folder.path()).unwrap();
        tree.look_into("aws-lc-sys", version, folder.path()).unwrap();
        let document = document(&tree, b"module");
        assert_eq!(faults(&document), [""; 0]);
        assert_eq!(document["components"][0]["name"], "aws-lc-rs");
        assert_eq!(document["components"][0]["components"], Value::Null, "it only uses the other package");
        assert_eq!(document["components"][1]["name"], "aws-lc-sys");
        document["components"][1]["components"].clone()
    };
    let library = &inner("0.47.0")[0];
    assert_eq!(library["name"], "AWS-LC");
    assert_eq!(library["version"], "5.12.0", "its own version, and not that of the package");
    for member in ["bom-ref", "purl"] {
        assert_eq!(library[member], "pkg:github/aws/aws-lc@v5.12.0", "{member}");
    }
    assert_eq!(library["cpe"], "cpe:2.3:a:amazon:aws_libcrypto:5.12.0:*:*:*:*:*:*:*");
    assert_eq!(library["licenses"][0]["expression"], "ISC AND OpenSSL");
    assert_eq!(library["externalReferences"][0]["url"], "https://github.com/aws/aws-lc");
    assert_eq!(inner("0.46.0"), Value::Null, "another version of the package has the library");
}

#[test]
fn unknown_package_that_may_have_native_code_fails() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::read(LINES).unwrap();
    let failed = tree.look_into("rsa", "0.9.1", folder.path()).unwrap_err();
    assert!(failed.to_string().starts_with("`rsa` may contain native code; "), "{failed}");
    // What is not shipped does not matter.
    tree.look_into("rsa", "0.9.2", folder.path()).unwrap();
    tree.look_into("ring", "0.17.14", folder.path()).unwrap();
}

#[test]
fn serial_number_depends_on_the_module() {
    let tree = Tree::read(LINES).unwrap();
    let number = |module: &[u8]| document(&tree, module)["serialNumber"].clone();
    assert_eq!(number(b"one"), number(b"one"));
    assert_ne!(number(b"one"), number(b"two"));
}

#[test]
fn rejects_cargo_tree_output_in_another_format() {
    for lines in
        ["", "0 callgate v0.1.0", "0\tcallgate\tMIT\t", "0\tcallgate 0.1.0\tMIT\t", "x\tcallgate v0.1.0\tMIT\t"]
    {
        let refused = Tree::read(lines).unwrap_err();
        assert!(refused.to_string().starts_with("cargo tree printed "), "{refused}");
    }
    let unlicensed = Tree::read("0\tcallgate v0.1.0\t\t\n").unwrap();
    assert!(write(&unlicensed, Classification::Application, b"", &names()).is_err());
}

#[test]
fn bom_is_valid_cyclonedx() {
    let tree = Tree::of(&Sources::here(), "callgate", TARGET).unwrap();
    let mut document = document(&tree, b"module");
    assert_eq!(faults(&document), [""; 0]);
    // The schema detects mistakes.
    document["components"][0]["type"] = "libary".into();
    assert_eq!(faults(&document).len(), 1);
}

#[test]
fn excludes_build_time_and_unrelated_packages() {
    let tree = Tree::of(&Sources::here(), "callgate", TARGET).unwrap();
    let has = |name: &str| tree.uses.keys().any(|package| package.name == name);
    for name in ["callgate", "proxy-wasm", "serde", "p256"] {
        assert!(has(name), "{name}");
    }
    for name in ["syn", "serde_derive", "proptest", "schemars", "wasmtime", "clap"] {
        assert!(!has(name), "{name}");
    }
    assert_eq!(tree.native, BTreeMap::new(), "the filter has no native code");
}
