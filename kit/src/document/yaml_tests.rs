use std::fmt::Write;

use serde_json::json;

use super::*;

fn value(text: &str) -> Value {
    parse(text).unwrap_or_else(|findings| panic!("{findings:?}")).value
}

/// Returns the findings as `line:column place: message`.
fn findings(text: &str) -> Vec<String> {
    let findings = parse(text).map(|tree| tree.value).expect_err("read without findings");
    findings
        .iter()
        .map(|f| format!("{}:{} {}: {}", f.position.line, f.position.column, f.place.as_str(), f.message))
        .collect()
}

#[test]
fn yaml_and_json_parse_to_the_same_value() {
    let expected =
        json!({ "name": "gate", "hosts": ["a", "b"], "deep": { "n": 1, "t": true, "z": null }, "text": "yes" });
    let yaml = "# comment\nname: gate\nhosts:\n- a\n- b\ndeep: {'n': 1, t: true, z: }\ntext: \"yes\"\n";
    let json_text = serde_json::to_string_pretty(&expected).unwrap();
    assert_eq!(value(yaml), expected);
    assert_eq!(value(&json_text), expected);
    assert_eq!(value(&json_text.replace("  ", "\t")), expected);
    assert_eq!(value(&expected.to_string()), expected);
}

#[test]
fn decodes_json_string_escapes() {
    let expected = json!({ "a": "\"\\/\u{8}\u{c}\n\r\t\u{1f600} é \u{1b}" });
    assert_eq!(value(&expected.to_string()), expected);
    assert_eq!(value(r#"{"a": "\"\\\/\b\f\n\r\t\ud83d\ude00 \u00e9 \u001b"}"#), expected);
}

#[test]
fn reads_every_style_of_scalar_text() {
    assert_eq!(
        value("a: |\n  yes\n  no\nb: >-\n  yes\n  no\nc: 'yes'\nd: !!str yes\ne: plain\n  goes on\n"),
        json!({ "a": "yes\nno\n", "b": "yes no", "c": "yes", "d": "yes", "e": "plain goes on" })
    );
}

#[test]
fn accepts_a_byte_order_mark_and_a_document_start() {
    assert_eq!(value("\u{feff}---\na: b\n...\n"), json!({ "a": "b" }));
}

#[test]
fn accepts_core_collection_tags() {
    assert_eq!(value("!!map {a: !!seq [b]}"), json!({ "a": ["b"] }));
}

#[test]
fn aliases_resolve_to_anchor_values() {
    assert_eq!(
        value("a: &x [1, {b: c}]\nd: *x\ne: &y f\ng: *y"),
        json!({ "a": [1, { "b": "c" }], "d": [1, { "b": "c" }], "e": "f", "g": "f" })
    );
}

#[test]
fn reports_all_ambiguous_keys_and_values_together() {
    assert_eq!(
        findings("suspended: no\nagents:\n  on: {expires: 12:30:45}\nlist: [a, 0777]"),
        [
            "1:12 suspended: `no` is false in YAML 1.1 and text in YAML 1.2; quote it, or write `false`",
            "3:3 agents: `on` is true in YAML 1.1 and text in YAML 1.2; quote it",
            "3:17 agents.on.expires: `12:30:45` is the number 45045 in YAML 1.1 and text in YAML 1.2; quote it, or write `45045`",
            "4:11 list[1]: `0777` is the number 511 in YAML 1.1 and the number 777 in YAML 1.2; quote it, or write `511` or `777`",
        ]
    );
}

#[test]
fn rejects_duplicate_and_non_text_keys() {
    assert_eq!(
        findings("a: 1\nb:\n  c: 2\n  \"c\": 3\na: 4\na: 5"),
        [
            "4:3 b.c: duplicate field `c`, already at line 3, column 3; remove one",
            "5:1 a: duplicate field `a`, already at line 1, column 1; remove one",
            "6:1 a: duplicate field `a`, already at line 1, column 1; remove one",
        ]
    );
    assert_eq!(
        findings(r#"{"a": 1, "\u0061": 2}"#),
        ["1:10 a: duplicate field `a`, already at line 1, column 2; remove one"]
    );
    assert_eq!(findings("1: a\n"), ["1:1 : the key `1` is the number 1, not text; quote it"]);
    assert_eq!(
        findings("x: {true: a, 0x10: b}\n"),
        [
            "1:5 x: the key `true` is true, not text; quote it",
            "1:14 x: the key `0x10` is the number 16, not text; quote it"
        ]
    );
    assert_eq!(findings(": a\n"), ["1:1 : a key is missing or null; write a name, or quote it"]);
    assert_eq!(findings("? [a]\n: b\n"), ["1:3 : a key must be text"]);
    assert_eq!(findings("a: &x b\n*x : c\n"), ["2:1 : a key must be text"]);
    assert_eq!(
        findings("<<: {a: b}\n"),
        ["1:1 : `<<` merges mappings in YAML 1.1 and is text in YAML 1.2; write the merged fields here"]
    );
}

#[test]
fn rejects_second_documents_directives_and_unknown_tags() {
    assert_eq!(findings("a: b\n---\nc: d\n"), ["2:1 : a second document begins here; expected one document per file"]);
    assert_eq!(
        findings("%YAML 1.1\n---\na: b\n"),
        ["1:1 : YAML directives are not supported; remove the line (files are read as YAML 1.2)"]
    );
    assert_eq!(
        findings("a: !secret b\nc: !!binary aGk=\nd: !!int \"1\"\ne: !point {x: 1}\nf: !!set [a]\n"),
        [
            "1:12 a: the tag `!secret` is not supported; remove it",
            "2:13 c: the tag `!!binary` is not supported; remove it",
            "3:10 d: the tag `!!int` is not supported; remove it",
            "4:11 e: the tag `!point` is not supported; remove it",
            "5:10 f: the tag `!!set` is not supported; remove it",
        ]
    );
}

#[test]
fn rejects_an_empty_document() {
    for empty in ["", "\n\n", "# only a comment\n", "---\n", "null", "~"] {
        assert_eq!(findings(empty), ["1:1 : the document is empty"], "{empty:?}");
    }
}

#[test]
fn rejects_invalid_yaml_with_its_position() {
    for (text, start) in [
        ("a: [1, 2\n", "1:4 a: not readable as YAML or JSON: "),
        ("a: \"b\n", "2:1 a: not readable as YAML or JSON: "),
        ("a: b: c\n", "1:5 : not readable as YAML or JSON: "),
        ("a:\n\t- b\n", "2:2 a: not readable as YAML or JSON: "),
        ("{\"a\": 1} trailing", "1:10 : unexpected content after the document; remove it"),
        ("a: *missing", "1:4 a: the alias has no anchor before it"),
        ("a\0b", "1:2 : not readable as YAML or JSON: "),
    ] {
        let found = findings(text);
        assert!(found.len() == 1 && found[0].starts_with(start), "{text:?}: {found:?}");
    }
}

#[test]
fn limits_nesting_depth() {
    let flow = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    value(&flow(MAX_DEPTH - 1));
    assert_eq!(findings(&flow(MAX_DEPTH)), [format!("1:65 {}: nested more than 64 levels deep", "[0]".repeat(64))]);
    let endless = findings(&"[".repeat(1_000_000));
    assert!(endless.iter().all(|finding| finding.contains("nested more than 64 levels deep")), "{endless:?}");
    let block = findings(&"- ".repeat(100_000));
    assert!(block.iter().all(|finding| finding.contains("nested more than 64 levels deep")), "{block:?}");
}

#[test]
fn aliases_count_toward_the_nesting_depth() {
    let mut text = String::from("a0: &a0 x\n");
    for level in 1..=70 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(findings(&text), ["64:12 a63[0]: with this alias expanded, nested more than 64 levels deep"]);
}

#[test]
fn limits_how_much_aliases_copy() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..20 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{below}]").unwrap();
    }
    let found = findings(&laughs);
    assert!(
        found.len() == 1 && found[0].ends_with("anchors and aliases copy too much; write the values directly"),
        "{found:?}"
    );

    let long = format!("a: &a {}\nb: [{}]", "x".repeat(10_000), vec!["*a"; 1_000].join(", "));
    assert!(findings(&long)[0].ends_with("anchors and aliases copy too much; write the values directly"));

    assert_eq!(findings("a: &a [b, *a]"), ["1:11 a[1]: an alias is inside its own anchor"]);
}

#[test]
fn never_panics_on_random_text() {
    let alphabet = [
        "a", ":", " ", "\n", "-", "[", "]", "{", "}", "&x", "*x", "!", "|", ">", "\"", "'", "#", "?", "%", "\t", "é",
        "1", ",",
    ];
    // A linear congruential generator with a fixed seed is random enough to shuffle, and every run is the same.
    let mut state = 1_u64;
    for _ in 0..5_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        if let Err(findings) = parse(&text) {
            assert!(!findings.is_empty(), "{text:?} was refused without a finding");
        }
    }
}

/// Returns the documents of a gateway's configuration.
fn configuration(text: &str) -> Vec<Value> {
    parse_all(text).unwrap_or_else(|findings| panic!("{findings:?}")).into_iter().map(|(tree, _)| tree.value).collect()
}

#[test]
fn configuration_reads_several_documents_and_skips_empty_ones() {
    assert_eq!(configuration("---\n---\na: 1\n---\n# nothing\n---\n- b\n"), [json!({ "a": 1 }), json!(["b"])]);
    // An anchor is valid only within its document.
    assert!(parse_all("a: &x 1\n---\nb: *x\n").is_err());
    assert_eq!(parse_all("---\n").unwrap_err()[0].message, "the file is empty");
}

#[test]
fn configuration_reads_yaml_1_1_booleans_but_not_its_numbers() {
    assert_eq!(
        configuration("[yes, Off, n, 'yes', 0777, 1e3, 12:30:45, 10, 1.5, ~]"),
        [json!([true, false, false, "yes", "0777", "1e3", "12:30:45", 10, 1.5, null])]
    );
    assert_eq!(configuration("on: 1\n200: 2\n"), [json!({ "on": 1, "200": 2 })]);
}

#[test]
fn configuration_supports_merge_keys() {
    assert_eq!(
        configuration("base: &b { x: 1, y: 2 }\nown: { <<: *b, y: 3 }\nlist: { y: 4, <<: [*b, { x: 5, z: 6 }] }\n"),
        [json!({ "base": { "x": 1, "y": 2 }, "own": { "x": 1, "y": 3 }, "list": { "x": 1, "y": 4, "z": 6 } })]
    );
    let tree = parse_all("a: &b { x: 1 }\nc:\n  <<: *b\n").unwrap().remove(0).0;
    assert_eq!(tree.node.locate("c.x"), Position { line: 1, column: 9 }, "where it was written");
    assert_eq!(
        parse_all("a: { <<: 1 }").unwrap_err()[0].message,
        "`<<` merges mappings; expected an alias of a mapping"
    );
    assert!(parse("a: { <<: { x: 1 } }").is_err(), "a policy has none");
}

#[test]
fn configuration_drops_ignored_fields_and_reports_where() {
    let text = "a: 1\n!ignore shared: { x: &x 2 }\nb: { !ignore c: 3, d: *x }\n";
    let (tree, left_out) = parse_all(text).unwrap().remove(0);
    assert_eq!(tree.value, json!({ "a": 1, "b": { "d": 2 } }));
    assert_eq!(left_out.unwrap().line, 2);
    assert!(parse_all("a: !secret x\n").is_err(), "what no reader is known to understand");
    assert!(parse(text).is_err(), "a policy has no such tag");
}

#[test]
fn configuration_has_the_same_size_limits_as_a_policy() {
    assert!(parse_all(&"[".repeat(100_000)).is_err());
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let alias = format!("*a{}, ", level - 1);
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", alias.repeat(9));
    }
    assert!(parse_all(&bomb).unwrap_err()[0].message.contains("copy too much"));
    assert!(parse_all("a: 1\na: 2\n").is_err(), "readers disagree about which one counts");
}
