use super::*;

fn document(text: &str) -> Document {
    parse("policy.yaml", text.as_bytes()).unwrap()
}

const POLICY: &str = r#"name: gate
agents:
  a.b:
    owner: x
  'a.b["\': {}
  "ü": {owner: z, expires: z}
endpoints:
  - id: one
    scopes: [s, t]
  -
    id: two
sources: {"203.0.113.7/32": 1}
"#;

fn place(steps: &[&str]) -> Place {
    steps.iter().fold(Place::root(), |place, step| match step.parse() {
        Ok(index) => place.index(index),
        Err(_) => place.field(step),
    })
}

#[test]
fn locates_fields_at_their_key_and_items_at_their_start() {
    let document = document(POLICY);
    for (steps, line, column) in [
        (&[][..], 1, 1),
        (&["name"], 1, 1),
        (&["agents"], 2, 1),
        (&["agents", "a.b"], 3, 3),
        (&["agents", "a.b", "owner"], 4, 5),
        (&["agents", "a.b[\"\\"], 5, 3),
        (&["agents", "ü", "expires"], 6, 19),
        (&["endpoints"], 7, 1),
        (&["endpoints", "0"], 8, 5),
        (&["endpoints", "0", "id"], 8, 5),
        (&["endpoints", "0", "scopes", "1"], 9, 17),
        (&["endpoints", "1", "id"], 11, 5),
        (&["sources", "203.0.113.7/32"], 12, 11),
    ] {
        assert_eq!(document.position(&place(steps)), Position { line, column }, "{steps:?}");
    }
}

#[test]
fn locates_a_missing_field_at_its_nearest_parent() {
    let document = document(POLICY);
    for (steps, line, column) in [
        (&["upstream", "authorization"][..], 1, 1),
        (&["agents", "a.b", "identity", "issuer"], 3, 3),
        (&["agents", "a", "b"], 2, 1),
        (&["endpoints", "0", "path"], 8, 5),
        (&["endpoints", "7", "path"], 7, 1),
        (&["endpoints", "x"], 7, 1),
        (&["name", "first"], 1, 1),
    ] {
        assert_eq!(document.position(&place(steps)), Position { line, column }, "{steps:?}");
    }
}

#[test]
fn diagnostics_include_file_and_position() {
    let document = document(POLICY);
    assert_eq!(
        document.error(&place(&["endpoints", "0", "scopes"]), "wrong").to_string(),
        "policy.yaml:9:5: endpoints[0].scopes: wrong"
    );
    assert_eq!(document.warning(&place(&["name"]), "odd").to_string(), "policy.yaml:1:1: warning: name: odd");
}

#[test]
fn locates_aliased_values_at_their_anchor() {
    let document = document("a: &x\n  b: 1\nc: *x\n");
    assert_eq!(document.position(&place(&["c", "b"])), Position { line: 2, column: 3 });
    assert_eq!(document.position(&place(&["c"])), Position { line: 3, column: 1 });
}

#[test]
fn rejects_non_utf8_text_with_its_position() {
    for (bytes, line, column) in [(&b"\xff\xfen\0a\0"[..], 1, 1), (b"name: gate\nowner: \xc3\xbc\xc3(", 2, 9)] {
        let refused = parse("policy.yaml", bytes).unwrap_err();
        assert_eq!(refused.to_string(), format!("policy.yaml:{line}:{column}: not UTF-8 text; save the file as UTF-8"));
    }
}

#[test]
fn reports_why_a_file_cannot_be_read() {
    let folder = env!("CARGO_MANIFEST_DIR");
    for (path, message) in
        [(format!("{folder}/missing.yaml"), "does not exist"), (format!("{folder}/src"), "is a directory; name a file")]
    {
        let refused = read(&path).unwrap_err();
        assert!(matches!(refused, Diagnostics::Unreadable(_)));
        assert_eq!(refused.to_string(), format!("{path}: {message}"));
    }
}
