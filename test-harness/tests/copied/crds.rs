//! Validates Kubernetes resources against the definitions that their projects publish, if these are available in `../shared/crds` next to
//! the checkout. A field that a definition does not have is an error, as with `kubectl --validate=strict`.
//!
//! CEL rules (`x-kubernetes-validations`) and the uniqueness of list keys (`x-kubernetes-list-type: map`) are not checked.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::{env, fs};

use callgate_kit::document;
use serde_json::{Map, Value, json};
use test_harness::paths;

use super::Checked;

/// The schema of a kind in one version, with its `apiVersion` and `kind`.
struct Definition {
    api_version: String,
    kind: String,
    schema: jsonschema::Validator,
    /// The number of its CEL rules, which are not evaluated.
    rules: usize,
}

/// The definitions. Empty if the folder does not exist.
static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let folder = folder();
    let Ok(files) = fs::read_dir(&folder) else {
        eprintln!("Kubernetes resources are not checked against their definitions: there is no `{}`", folder.display());
        return Vec::new();
    };
    let files = files.map(|file| file.unwrap().path()).filter(|file| file.extension().is_some_and(|end| end == "yaml"));
    files.flat_map(|file| definitions(&file.to_string_lossy(), &fs::read(&file).unwrap())).collect()
});

fn folder() -> PathBuf {
    env::var_os("CALLGATE_CRDS").map_or_else(|| paths::root().join("../shared/crds"), PathBuf::from)
}

fn definitions(file: &str, text: &[u8]) -> Vec<Definition> {
    let documents = document::parse_configuration(file, text).map_err(|wrong| wrong.to_string()).unwrap();
    let mut found = Vec::new();
    for definition in documents.iter().map(|document| &document.value()["spec"]).filter(|spec| !spec.is_null()) {
        for version in definition["versions"].as_array().unwrap() {
            let mut rules = 0;
            let mut schema = strict(&version["schema"]["openAPIV3Schema"], &mut rules);
            // Every resource has these members, and the definition of a kind does not repeat them.
            for name in ["apiVersion", "kind", "metadata"] {
                schema["properties"].as_object_mut().unwrap().entry(name).or_insert(json!({}));
            }
            found.push(Definition {
                api_version: format!("{}/{}", definition["group"].as_str().unwrap(), version["name"].as_str().unwrap()),
                kind: definition["names"]["kind"].as_str().unwrap().to_owned(),
                schema: jsonschema::options()
                    .with_draft(jsonschema::Draft::Draft4)
                    .should_validate_formats(true)
                    .build(&schema)
                    .unwrap(),
                rules,
            });
        }
    }
    found
}

/// Converts a Kubernetes schema to a JSON Schema that rejects undefined fields.
fn strict(schema: &Value, rules: &mut usize) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut strict_one = Map::new();
    for (keyword, value) in fields {
        let value = match (keyword.as_str(), value) {
            ("x-kubernetes-validations", Value::Array(own)) => {
                *rules += own.len();
                continue;
            }
            ("description" | "default" | "nullable", _) => continue,
            (keyword, _) if keyword.starts_with("x-kubernetes-") => continue,
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, property)| (name.clone(), strict(property, rules))).collect()
            }
            // The contents of these keywords narrow a value whose fields are defined outside.
            ("anyOf" | "oneOf" | "allOf" | "not", value) => value.clone(),
            ("items" | "additionalProperties", value) => strict(value, rules),
            (_, value) => value.clone(),
        };
        strict_one.insert(keyword.clone(), value);
    }
    let is = |name: &str| fields.get(name) == Some(&json!(true));
    if is("x-kubernetes-int-or-string") {
        strict_one.insert("type".into(), json!(["integer", "string"]));
    }
    if is("nullable")
        && let Some(kind) = fields.get("type")
    {
        strict_one.insert("type".into(), json!([kind, "null"]));
    }
    let open = is("x-kubernetes-preserve-unknown-fields") || fields.contains_key("additionalProperties");
    if fields.contains_key("properties") && !open {
        strict_one.insert("additionalProperties".into(), json!(false));
    }
    Value::Object(strict_one)
}

/// Checks a resource against the definition of its kind.
pub(super) fn check(resource: &Value) -> Checked {
    if DEFINITIONS.is_empty() {
        return Ok(());
    }
    let named = |definition: &&Definition| {
        resource["apiVersion"] == definition.api_version.as_str() && resource["kind"] == definition.kind.as_str()
    };
    let definition = DEFINITIONS.iter().find(named).ok_or("no definition has this `apiVersion` and `kind`")?;
    definition.schema.validate(resource).map_err(|error| format!("{}: {error}", error.instance_path()))
}

#[test]
fn every_crd_rejects_an_unknown_field() {
    if DEFINITIONS.is_empty() {
        return;
    }
    let mut kinds: Vec<_> = DEFINITIONS.iter().map(|one| format!("{} {}", one.api_version, one.kind)).collect();
    kinds.sort();
    for kind in [
        "extensions.higress.io/v1alpha1 WasmPlugin",
        "extensions.istio.io/v1alpha1 TrafficExtension",
        "extensions.istio.io/v1alpha1 WasmPlugin",
        "gateway.envoyproxy.io/v1alpha1 EnvoyExtensionPolicy",
        "networking.istio.io/v1alpha3 EnvoyFilter",
    ] {
        assert!(kinds.iter().any(|known| known == kind), "{kind} is not in {kinds:?}");
    }
    for definition in DEFINITIONS.iter() {
        let resource =
            json!({ "apiVersion": definition.api_version, "kind": definition.kind, "spec": { "nobodysField": 1 } });
        assert!(check(&resource).is_err(), "{} {}", definition.api_version, definition.kind);
    }
    let rules: usize = DEFINITIONS.iter().map(|definition| definition.rules).sum();
    assert!(rules > 0);
    eprintln!("{} definitions, of whose rules in CEL {rules} are not evaluated", DEFINITIONS.len());
}
