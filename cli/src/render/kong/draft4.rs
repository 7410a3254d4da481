//! Converts a current JSON Schema to draft 4, the only draft that Kong supports.
//!
//! Rules that draft 4 cannot express are omitted, so Kong accepts some policies that the filter rejects. Defaults are omitted as
//! well: Kong would write them into the policy, and its version would change.

use serde_json::{Map, Value, json};

/// Keywords that describe a value without restricting it.
const REMARKS: [&str; 7] = ["$id", "$schema", "default", "description", "examples", "format", "title"];

/// Returns the converted schema with its definitions.
pub(super) fn reduced(schema: &Value) -> Value {
    let mut reduced = rule(schema, schema);
    let definitions: Map<_, _> = schema
        .get("$defs")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, definition)| (name.clone(), rule(definition, schema)))
        .collect();
    if let Some(reduced) = reduced.as_object_mut() {
        reduced.insert("$schema".to_owned(), json!("http://json-schema.org/draft-04/schema#"));
        reduced.insert("definitions".to_owned(), Value::Object(definitions));
    }
    reduced
}

fn rule(rule: &Value, root: &Value) -> Value {
    let Some(fields) = rule.as_object() else { return rule.clone() };
    // Draft 4 ignores other keywords next to a reference.
    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
        return json!({ "$ref": target.replace("#/$defs/", "#/definitions/") });
    }
    if let Some(words) = words(rule) {
        return json!({ "type": "string", "enum": words });
    }
    let mut reduced = Map::new();
    for (keyword, value) in fields.iter().filter(|(keyword, _)| !REMARKS.contains(&keyword.as_str())) {
        let value = match (keyword.as_str(), value) {
            ("$defs" | "propertyNames", _) => continue,
            ("properties" | "patternProperties", Value::Object(fields)) => {
                Value::Object(fields.iter().map(|(name, field)| (name.clone(), self::rule(field, root))).collect())
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(forms)) => {
                forms.iter().map(|form| self::rule(form, root)).collect()
            }
            ("items" | "additionalProperties", value) => self::rule(value, root),
            (_, value) => value.clone(),
        };
        reduced.insert(keyword.clone(), value);
    }
    if let Some(words) = fields.get("propertyNames").and_then(|names| words(resolved(names, root))) {
        // A mapping with a fixed set of names.
        let of = reduced.remove("additionalProperties").unwrap_or_else(|| json!({}));
        let properties: Map<_, _> =
            words.iter().filter_map(Value::as_str).map(|word| (word.to_owned(), of.clone())).collect();
        reduced.insert("properties".to_owned(), Value::Object(properties));
        reduced.insert("additionalProperties".to_owned(), json!(false));
    }
    Value::Object(reduced)
}

/// Returns the words that a rule allows, if it allows nothing else.
fn words(rule: &Value) -> Option<Vec<Value>> {
    if let Some(word) = rule.get("const") {
        return Some(vec![word.clone()]);
    }
    if let Some(words) = rule.get("enum").and_then(Value::as_array) {
        return words.iter().all(Value::is_string).then(|| words.clone());
    }
    let forms = rule.get("oneOf")?.as_array()?;
    let words: Option<Vec<Vec<Value>>> = forms.iter().map(words).collect();
    Some(words?.concat())
}

fn resolved<'a>(rule: &'a Value, root: &'a Value) -> &'a Value {
    let target = rule.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|target| root.pointer(target)).unwrap_or(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use callgate_kit::document;
    use callgate_kit::policy::schema;

    fn policy(path: &str) -> Value {
        document::read(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap().value().clone()
    }

    #[test]
    fn draft_4_schema_agrees_with_the_full_schema() {
        let schema = schema();
        let reduced = reduced(&schema);
        jsonschema::draft4::meta::validate(&reduced).unwrap();
        let (today, then) = (jsonschema::validator_for(&schema).unwrap(), jsonschema::draft4::new(&reduced).unwrap());
        let policies = ["envoy", "examples/quickstart", "examples/payments", "examples/signing"];
        for policy in policies.map(|folder| policy(&format!("{folder}/policy.yaml"))) {
            assert!(then.is_valid(&policy));
            for (place, value) in [
                ("/callgate", json!("v2")),
                ("/mode", json!("open")),
                ("/unknown", json!(1)),
                ("/issuers/corp/algorithms", json!(["none"])),
                ("/requirements", json!({ "reed": { "scopes": "none" } })),
                ("/endpoints/0/id", json!(7)),
                ("/endpoints/0/unknown", json!(true)),
                ("/agents", json!([])),
            ] {
                let mut wrong = policy.clone();
                let (parent, field) = place.rsplit_once('/').unwrap();
                let Some(Value::Object(fields)) = wrong.pointer_mut(parent) else { continue };
                fields.insert(field.to_owned(), value);
                assert!(!today.is_valid(&wrong) && !then.is_valid(&wrong), "{place}");
            }
        }
    }

    /// Keywords that draft 4 does not have must not remain: they would have no effect.
    #[test]
    fn contains_no_keyword_of_a_later_draft() {
        let text = reduced(&schema()).to_string();
        for word in ["$defs", "$id", "const", "default", "examples", "propertyNames"] {
            assert!(!text.contains(&format!("\"{word}\":")), "{word}");
        }
        assert!(!text.contains("2020-12"));
    }
}
