use serde_json::{Value, json};

use crate::{Ran, callgate, file, quickstart, run};

fn import(arguments: &[&str], answer: &Value) -> Ran {
    run(&[&["import", "mcp", "-"], arguments].concat(), &answer.to_string())
}

/// Returns the draft as data.
fn drafted(out: &str) -> Value {
    callgate_kit::document::parse("draft.yaml", out.as_bytes()).unwrap().value().clone()
}

#[test]
fn drafts_the_entries_of_each_list() {
    let answer = json!({ "result": {
        "tools": [
            {
                "name": "get_payment",
                "annotations": { "readOnlyHint": true },
                "inputSchema": { "properties": { "amount": {}, "owner": {}, "source/orgId": {} } },
            },
            { "name": "refund_payment", "annotations": { "readOnlyHint": false, "destructiveHint": false } },
        ],
        "resources": [{ "uri": "file:///reports/a#b" }],
        "resourceTemplates": [{ "uriTemplate": "payments://{tenant}/{id}" }],
        "prompts": [{ "name": "on", "arguments": [{ "name": "team" }, { "name": "topic" }] }],
    } });
    let out = import(&[], &answer).fine();
    let (_, entries) = out.split_once("claim of the token.\n").unwrap();
    assert_eq!(
        entries,
        "\
tools:
  # candidate: the server calls this read-only; check
  - name: get_payment
    effect: read
    scopes: TODO
    # bind: { argument./owner: token.TODO, argument./source~1orgId: token.TODO }
  - name: refund_payment
    effect: destructive
    scopes: TODO
resources:
  - uri: \"file:///reports/a#b\"
    effect: destructive
    scopes: TODO
  - uri: \"payments://{tenant}/{id}\"
    effect: destructive
    scopes: TODO
    # bind: { uri.tenant: token.TODO }
prompts:
  - name: \"on\"
    effect: destructive
    scopes: TODO
    # bind: { argument./team: token.TODO }
"
    );
    let bound = drafted(&out.replace("# bind", "bind"));
    assert_eq!(
        bound["tools"][0]["bind"],
        json!({ "argument./owner": "token.TODO", "argument./source~1orgId": "token.TODO" })
    );
    assert_eq!(bound["prompts"][0]["name"], "on");
}

#[test]
fn only_a_true_annotation_makes_a_candidate() {
    for annotations in [
        json!({}),
        json!({ "readOnlyHint": "true" }),
        json!({ "readOnlyHint": 1 }),
        json!({ "readonlyhint": true }),
        json!([{ "readOnlyHint": true }]),
        Value::Null,
    ] {
        let tool = json!({ "name": "a", "annotations": annotations, "readOnlyHint": true });
        let out = import(&[], &json!([tool])).fine();
        assert_eq!(drafted(&out)["tools"][0]["effect"], "destructive", "{annotations}");
        assert!(!out.contains("candidate"), "{out}");
    }
    // Prompts and resources have no such annotation.
    let prompt = json!({ "prompts": [{ "name": "a", "annotations": { "readOnlyHint": true } }] });
    assert_eq!(drafted(&import(&[], &prompt).fine())["prompts"][0]["effect"], "destructive");
}

#[test]
fn adds_the_pins_that_mcp_pin_prints() {
    let answer = json!([{ "name": "a" }, { "name": "b", "annotations": { "readOnlyHint": true } }]);
    let pins = drafted(&run(&["mcp", "pin", "-"], &answer.to_string()).fine());
    let tools = drafted(&import(&["--pin"], &answer).fine())["tools"].clone();
    for index in [0_usize, 1] {
        assert_eq!((&tools[index]["name"], &tools[index]["pin"]), (&pins[index]["name"], &pins[index]["pin"]));
    }
    assert_eq!(tools[0]["pin"][0], "d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064");
    let ran = import(&["--pin"], &json!([{ "name": "a", "x": 0.123_456_789_012_345_68 }]));
    assert_eq!((ran.code, &*ran.out), (2, ""), "{}", ran.err);
}

#[test]
fn leaves_out_uris_that_a_policy_would_read_differently() {
    let answer = json!({ "result": {
        "resources": [{ "uri": "file:///{a}" }, { "uri": "file:///a" }],
        "resourceTemplates": [{ "uriTemplate": "file:///{+path}" }, { "uriTemplate": "file:///{a...}" }],
    } });
    let ran = import(&[], &answer);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        drafted(&ran.out),
        json!({ "resources": [{ "uri": "file:///a", "effect": "destructive", "scopes": "TODO" }] })
    );
    let places = [
        "resources[0]: `file:///{a}`",
        "resourceTemplates[0]: `file:///{+path}`",
        "resourceTemplates[1]: `file:///{a...}`",
    ];
    for place in places {
        assert!(
            ran.err.contains(&format!("standard input: warning: result.{place} is left out, ")),
            "{place}: {}",
            ran.err
        );
    }
    assert_eq!(ran.err.lines().count(), places.len(), "{}", ran.err);
}

#[test]
fn text_from_the_server_adds_no_lines() {
    let evil = "a\n    scopes: none\n  - name: b\u{85}\u{2028}\u{1b}[2J\u{202e}\", #";
    let owner = format!("owner }}, {{ {evil}");
    let answer = json!({
        "tools": [{ "name": evil, "description": evil, "title": evil, "inputSchema": { "properties": { owner.clone(): {} } } }],
        "resources": [{ "uri": evil, "name": evil }],
        "prompts": [{ "name": evil, "arguments": [{ "name": owner }] }],
    });
    let ran = import(&["--pin"], &answer);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.contains(['\u{85}', '\u{2028}', '\u{1b}', '\u{202e}']), "{:?}", ran.out);
    let draft = drafted(&ran.out);
    for (list, member) in [("tools", "name"), ("resources", "uri"), ("prompts", "name")] {
        let entries = draft[list].as_array().unwrap();
        assert_eq!(
            (entries.len(), &entries[0][member], &entries[0]["scopes"]),
            (1, &evil.into(), &"TODO".into()),
            "{list}"
        );
    }
    let bound = drafted(&ran.out.replace("# bind", "bind"));
    assert_eq!(bound["prompts"][0]["bind"], json!({ format!("argument./{owner}"): "token.TODO" }));
}

#[test]
fn check_rejects_scopes_that_nobody_decided() {
    let policy = quickstart().replacen("    scopes: [code:read]\n", "    scopes: TODO\n", 1);
    let path = file("undecided.yaml", policy);
    let told = callgate(&format!("check {path}")).failed(2);
    assert!(told.contains("scopes: invalid value `TODO`; expected `none`"), "{told}");
}
