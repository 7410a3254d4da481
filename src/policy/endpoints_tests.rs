use serde_json::{Value, json};

use super::super::tests::{compile, with};
use crate::policy::Compiled;

fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    let Compiled { findings, .. } = compile(with(changes)).unwrap();
    findings.warnings.iter().map(ToString::to_string).collect()
}

/// Returns endpoints with these paths. The first endpoint allows escapes.
fn endpoints(paths: &[&str], escapes: &[&str]) -> Value {
    let endpoint = |(index, path): (usize, &&str)| {
        let mut endpoint =
            json!({ "id": format!("e{index}"), "methods": ["GET"], "path": path, "effect": "read", "scopes": "none" });
        if index == 0 {
            endpoint["allow_escapes"] = json!(escapes);
        }
        endpoint
    };
    paths.iter().enumerate().map(endpoint).collect()
}

#[test]
fn warns_about_values_that_decode_to_another_endpoints_path() {
    let of = |paths: &[&str], escapes: &[&str]| warnings(&[("/endpoints", endpoints(paths, escapes))]);
    assert_eq!(
        of(&["/blob/{x:text}", "/blob/{x:text}/raw"], &["%2F"]),
        [
            "endpoints[0].allow_escapes: an upstream that decodes values of this path can read them as `/blob/{x:text}/raw`; such \
          requests are rejected with `path_value_ambiguous`, so allow only escapes that clients need"
        ]
    );
    let many = of(&["/b/{x:text}", "/b/{x:text}/a", "/b/{x:text}/b", "/b/{x:text}/c", "/b/{x:text}/d", "/c"], &["%5C"]);
    assert_eq!(many.len(), 1);
    assert!(many[0].contains("as `/b/{x:text}/a`, `/b/{x:text}/b`, `/b/{x:text}/c` and 1 more;"), "{many:?}");
    assert!(of(&["/blob/{x:text}", "/tree/{x:text}/raw"], &["%2F"]).is_empty());
    assert!(of(&["/blob/{x:text}", "/blob/{x:text}/raw"], &[";"]).is_empty());
}

#[test]
fn warns_once_for_endpoints_on_several_hosts() {
    let mut list = endpoints(&["/blob/{x:text}", "/blob/{x:text}/raw", "/only"], &["%2F"]);
    list[2]["hosts"] = json!(["api.example.com"]);
    assert_eq!(warnings(&[("/endpoints", list)]).len(), 1);
}

#[test]
fn format_suffixes_accepts_only_reject_and_ignore() {
    for (written, fits) in [("reject", true), ("ignore", true), ("on", false), ("closed", false)] {
        assert_eq!(compile(with(&[("/format_suffixes", json!(written))])).is_ok(), fits, "{written}");
    }
}

#[test]
fn only_text_variables_allow_text_characters_in_paths() {
    let take_text = |path: &str| {
        let compiled = compile(with(&[("/endpoints", endpoints(&["/x", path], &[]))])).unwrap();
        compiled.policy.endpoints.take_text
    };
    assert!(take_text("/{x:text}") && take_text("/{x...}") && take_text("/a{x:text}b"));
    assert!(!take_text("/{x}") && !take_text("/{x:slug}/{y:uuid}/{n:int}"));
}
