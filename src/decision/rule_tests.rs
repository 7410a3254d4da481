//! Checks that the locations of rules exist in the policy document. If a field is renamed, records must not name the old one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::reason::Reason;

/// Collects the text of every file of the engine that is not a test.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// Returns the text between the parentheses of every call that begins with `call`, such as `Rule::Policy(`.
fn arguments<'t>(text: &'t str, call: &str) -> Vec<&'t str> {
    let ends = |rest: &'t str| {
        let mut depth = 1;
        let closes = move |c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        };
        rest.split(closes).next().unwrap()
    };
    text.split(call).skip(1).map(ends).collect()
}

/// Returns the quoted text that ends an argument list: the name of the field.
fn member(arguments: &str) -> Option<&'static str> {
    let quoted = arguments.trim_end_matches([',', ' ', '\n']).strip_suffix('"')?;
    Some(quoted.rsplit('"').next()?.to_owned().leak())
}

/// Returns whether a location such as `endpoints[3].scopes` exists in documents with this schema.
fn is_place(schema: &Value, place: &str) -> bool {
    let resolved = |part: &Value| -> Value {
        let part = part["anyOf"].get(0).unwrap_or(part);
        let link = part["$ref"].as_str().map(|link| link.strip_prefix('#').unwrap());
        link.map_or_else(|| part.clone(), |link| schema.pointer(link).unwrap().clone())
    };
    let mut part = schema.clone();
    for name in place.split(['.', '[']) {
        part = match (name.strip_suffix(']'), part["properties"].get(name)) {
            (Some(_), _) => resolved(&part["items"]),
            (None, Some(own)) => resolved(own),
            (None, None) => resolved(&part["additionalProperties"]),
        };
        if !part.is_object() {
            return false;
        }
    }
    true
}

#[test]
fn every_rule_names_a_location_in_the_policy_schema() {
    let schema = schemars::schema_for!(crate::document::Document).to_value();
    assert!(is_place(&schema, "tables.replay") && is_place(&schema, "endpoints[3].scopes"));
    for wrong in ["tabels", "tables.reply", "endpoints[3].scope", "issuers.corp.key", "requirements.write.tokens"] {
        assert!(!is_place(&schema, wrong), "{wrong}");
    }

    let mut texts = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut texts);
    let named = |call: &str| -> Vec<_> {
        texts.iter().flat_map(|text| arguments(text, call)).filter_map(member).filter(|name| !name.is_empty()).collect()
    };
    let (of_policy, of_endpoint, asked) = (named("Rule::Policy("), named("Rule::Endpoint("), named("Rule::asked_by("));
    let of_issuer = Reason::ALL.iter().map(|reason| reason.issuer_field()).filter(|name| !name.is_empty());
    let rules: Vec<Rule<'_>> = of_policy
        .iter()
        .map(|name| Rule::Policy(name))
        .chain(of_endpoint.iter().chain(&asked).map(|name| Rule::Endpoint(3, name)))
        .chain(asked.iter().map(|name| Rule::Effect(Effect::Write, name)))
        .chain(of_issuer.chain(named("Rule::Issuer(")).map(|name| Rule::Issuer("corp", name)))
        .chain([
            Rule::Binding(3, "path"),
            Rule::Agent("robot"),
            Rule::AtMost("robot"),
            Rule::Limit("calls"),
            Rule::Endpoint(3, ""),
        ])
        .collect();
    for rule in &rules {
        assert!(is_place(&schema, &rule.to_string()), "{rule}");
    }
    // The search finds one known rule of each kind.
    for known in ["auth_failure_limit", "endpoints[3].upgrade", "requirements.write.token", "issuers.corp.keys"] {
        assert!(rules.iter().any(|rule| rule.to_string() == known), "{known}");
    }
}
