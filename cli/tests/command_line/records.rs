use std::collections::BTreeSet;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::{callgate, file, run};

/// The time 2026-11-21T12:00:00Z in seconds since 1970.
const NOON: u64 = 1_795_262_400;

fn record(number: u64, changes: Value) -> Value {
    let record = unchecked(number, changes);
    assert_eq!(callgate_kit::records::faults(&record), [""; 0]);
    record
}

/// Returns a record that need not have the documented form.
fn unchecked(number: u64, changes: Value) -> Value {
    let mut record = json!({
        "decision": "allow",
        "reason": "allowed",
        "rule": "endpoints[4]",
        "id": format!("{number:032x}"),
        "time_ms": (NOON + 60 * number) * 1000,
        "agent": "coding-agent",
        "issuer": "corp",
        "client": "coding-agent",
        "subject": "coding-agent",
        "scopes": ["code:read"],
        "token": "a3dce84a08201e95",
        "endpoint": "pulls.get",
        "method": "GET",
        "host": "api.example.com",
        "path": "/repos/acme/gateway/pulls",
        "query": ["page"],
        "source": "192.0.2.1",
        "request_id": "r1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "policy": "quickstart",
        "policy_version": "0".repeat(64),
        "module_version": "0.1.0",
    });
    let members = record.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    members.retain(|_, value| !value.is_null());
    record
}

fn denied(number: u64) -> Value {
    record(number, json!({ "decision": "deny", "reason": "insufficient_scope", "rule": "endpoints[4].scopes" }))
}

fn unknown(number: u64) -> Value {
    let changes = json!({
        "decision": "deny", "reason": "credentials_missing", "rule": "issuers", "agent": null, "issuer": null, "client": null,
        "subject": null, "scopes": null, "token": null, "endpoint": null,
    });
    record(number, changes)
}

/// Creates an access log of Envoy, Envoy's own log and a compressed file of records, for one test.
fn logs(test: &str) -> [String; 3] {
    let line = |record: Value| json!({ "status": 200, "callgate": record.to_string() }).to_string();
    let access =
        [line(record(0, json!({}))), line(denied(1)), r#"{"status":200,"callgate":null}"#.to_owned()].join("\n");
    // The module writes the decision first.
    let mut logged = denied(2);
    logged.as_object_mut().unwrap().remove("decision");
    let logged = logged.to_string().replacen('{', "{\"decision\":\"deny\",", 1);
    let own = format!("[2026-11-21 12:02:00.000][1][info][wasm] wasm log callgate: {logged}\nstarting\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writeln!(gzip, "{}\n{}", unknown(3), record(4, json!({}))).unwrap();
    [
        file(&format!("{test}.access.log"), access),
        file(&format!("{test}.envoy.log"), own),
        file(&format!("{test}.old.gz"), gzip.finish().unwrap()),
    ]
}

/// Returns the groups of a table as lists of words.
fn rows(out: &str) -> Vec<Vec<&str>> {
    let rows = out.lines().filter(|line| ["deny", "allow"].iter().any(|word| line.trim_start().starts_with(word)));
    rows.map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn summarizes_logs_of_every_format() {
    let [access, own, old] = logs("summed");
    let out = callgate(&format!("records {access} {own} {old}")).fine();
    let (first, second) = (format!("{:032x}", 2), format!("{:032x}", 3));
    assert_eq!(
        rows(&out),
        [
            vec![
                "deny",
                "insufficient_scope",
                "coding-agent",
                "pulls.get",
                "at",
                "api.example.com",
                "2",
                "2026-11-21T12:01:00Z",
                "2026-11-21T12:02:00Z",
                &first
            ],
            vec![
                "deny",
                "credentials_missing",
                "192.0.2.1",
                "GET",
                "api.example.com/repos/acme/gateway/pulls",
                "1",
                "2026-11-21T12:03:00Z",
                "2026-11-21T12:03:00Z",
                &second
            ],
            vec![
                "allow",
                "allowed",
                "coding-agent",
                "pulls.get",
                "at",
                "api.example.com",
                "2",
                "2026-11-21T12:00:00Z",
                "2026-11-21T12:04:00Z",
                &format!("{:032x}", 4)
            ],
        ],
        "{out}"
    );
    assert!(out.ends_with(&format!("5 records\n2 lines contain no record (first {access}:3)\n")), "{out}");
    let out = callgate(&format!("records --top 1 {access} {own} {old}")).fine();
    assert!(rows(&out).len() == 1 && out.contains("… and 2 more groups; --top 0 prints all\n"), "{out}");
}

#[test]
fn groups_by_chain_leave_out_requests_that_agents_made_for_themselves() {
    let for_user = |number: u64, user: &str| {
        record(number, json!({ "subject": user, "chain": [user, "coding-agent", "planner"] })).to_string()
    };
    let lines = [for_user(0, "ann"), for_user(1, "ann"), for_user(2, "bob"), record(3, json!({})).to_string()];
    let log = file("chains.log", lines.join("\n"));
    let out = callgate(&format!("records --chain {log}")).fine();
    let told: Vec<_> = rows(&out).iter().map(|row| row[2..7].join(" ")).collect();
    assert_eq!(told, ["ann via coding-agent via planner", "bob via coding-agent via planner"], "{out}");
    assert!(out.ends_with("3 of 4 records matched\n"), "{out}");
    let list = callgate(&format!("records --chain --list {log}")).fine();
    assert_eq!(list.lines().filter(|line| line.contains("allowed")).count(), 3, "{list}");
    let one = callgate(&format!("records --id {:032x} {log}", 0)).fine();
    assert!(one.contains("chain ann via coding-agent via planner"), "{one}");
}

#[test]
fn json_output_has_the_same_groups() {
    let [access, own, old] = logs("programs");
    let out = callgate(&format!("records --format json {access} {own} {old}")).fine();
    let report: Value = serde_json::from_str(&out).unwrap();
    let figures: Vec<_> = ["lines", "records", "without_record", "matching"].map(|name| report[name].as_u64()).into();
    assert_eq!(figures, [Some(7), Some(5), Some(2), Some(5)]);
    assert_eq!(
        report["groups"][0],
        json!({
            "decision": "deny", "reason": "insufficient_scope", "who": "coding-agent", "what": "pulls.get at api.example.com", "count": 2,
            "first": "2026-11-21T12:01:00Z", "last": "2026-11-21T12:02:00Z", "last_id": format!("{:032x}", 2),
        })
    );
}

#[test]
fn reads_records_from_standard_input() {
    let out = run(&["records", "-"], &format!("{}\nnothing\n", denied(1))).fine();
    assert!(out.ends_with("1 record\n1 line contains no record (first standard input:2)\n"), "{out}");
    assert_eq!(run(&["records", "-"], "").fine(), "0 records\n");
}

#[test]
fn filters_select_matching_records() {
    let [access, own, old] = logs("found");
    let matching = |filter: &str| {
        let done = callgate(&format!("records --format json {filter} {access} {own} {old}"));
        let count = serde_json::from_str::<Value>(&done.out).unwrap()["matching"].as_u64().unwrap();
        assert_eq!(done.code, if count == 0 { 3 } else { 0 }, "{filter}");
        count
    };
    for (filter, count) in [
        ("--agent coding-agent", 4),
        ("--agent other", 0),
        ("--reason insufficient_scope", 2),
        ("--endpoint pulls.get", 4),
        ("--decision deny", 3),
        ("--since 2026-11-21T12:02:00Z", 3),
        ("--until 2026-11-21T12:02:00Z", 2),
        ("--since 1795262460 --until 1795262520", 1),
        ("--id 00000000000000000000000000000002", 1),
        ("--id urn:callgate:decision:00000000000000000000000000000002", 1),
        ("--id 0000000000000000000000000000000", 5),
        ("--id 1", 0),
        ("--decision deny --agent coding-agent --since 2026-11-21T12:02:00Z", 1),
        ("--subject coding-agent", 4),
        ("--subject other", 0),
        ("--token a3dce84a08201e95", 4),
        ("--token A3DCE84A08201E95", 4),
        ("--token a3dce84a08201e95ffffffffffffffffffffffffffffffffffffffffffffffff", 4),
        ("--token b3dce84a08201e95", 0),
        ("--since 2026-11-20 --until 2026-11-23", 5),
        ("--since 2026-11-20 --until 2026-11-20T12:00", 0),
    ] {
        assert_eq!(matching(filter), count, "{filter}");
    }
    // The response's `instance` finds the full decision.
    let out = callgate(&format!("records {access} {own} --id urn:callgate:decision:{:032x}", 2)).fine();
    assert!(out.starts_with("denied    insufficient_scope: "), "{out}");
    assert!(out.contains(&format!("decision {:032x}\n", 2)) && out.contains("1 of 3 records matched\n"), "{out}");
    let none = callgate(&format!("records {access} --id 1"));
    assert!(none.code == 3 && none.out.starts_with("none of 2 records matched\n"), "{}", none.out);
    assert!(callgate(&format!("records {access} --id=")).failed(1).contains("a value is required"));
}

/// Creates a log with records of operations of an MCP server and one of another request, for one test.
fn operations(test: &str) -> String {
    let rpc = |number: u64, rpc: Value| {
        record(number, json!({ "endpoint": "tools", "method": "POST", "path": "/mcp", "rpc": rpc }))
    };
    let records = [
        rpc(1, json!({ "method": "tools/call", "tool": "create_payment", "id": "7", "session": "9f86d081" })),
        rpc(2, json!({ "method": "tools/call", "tool": "Create_Payment", "id": "8" })),
        rpc(3, json!({ "method": "prompts/get", "prompt": "create_payment" })),
        rpc(4, json!({ "method": "resources/read", "uri": "file:///a" })),
        unchecked(
            5,
            json!({ "endpoint": "tools", "method": "POST", "path": "/mcp",
                    "rpc": { "method": "tools/call", "tool": ["create_payment"] } }),
        ),
        record(6, json!({})),
    ];
    file(&format!("{test}.records"), records.map(|record| record.to_string()).join("\n"))
}

#[test]
fn finds_records_by_tool() {
    let log = operations("found-tools");
    for (tool, code, told) in [
        ("create_payment", 0, "1 of 6 records matched\n"),
        ("Create_Payment", 0, "1 of 6 records matched\n"),
        ("create", 3, "none of 6 records matched\n"),
        ("file:///a", 3, "none of 6 records matched\n"),
    ] {
        let ran = callgate(&format!("records {log} --tool {tool}"));
        assert_eq!(ran.code, code, "{tool}");
        assert!(ran.out.ends_with(told), "{tool}: {}", ran.out);
    }
    let both = callgate(&format!("records {log} --tool create_payment --agent other"));
    assert_eq!(both.code, 3, "{}", both.out);
}

#[test]
fn shows_the_operation_of_a_record() {
    let log = operations("shown-tools");
    let groups = callgate(&format!("records {log}")).fine();
    for what in ["tools (create_payment) at", "tools (resources/read) at", "tools (tools/call) at", "pulls.get at"] {
        assert!(groups.contains(what), "{what}\n{groups}");
    }
    let words = callgate(&format!("records {log} --tool create_payment --id 0")).fine();
    let what = "\nwhat      POST api.example.com/mcp, query page, endpoint tools, tools/call create_payment, id 7, session 9f86d081\n";
    assert!(words.contains(what) && !words.contains("rpc"), "{words}");
    let list = callgate(&format!("records {log} --list")).fine();
    assert!(list.contains("  POST api.example.com/mcp tools/call create_payment  "), "{list}");
    assert!(list.contains("  POST api.example.com/mcp resources/read file:///a  "), "{list}");
    // What is no operation is shown as any other member.
    let other = unchecked(1, json!({ "rpc": "tools/call" })).to_string();
    assert!(run(&["explain", "--record", "-"], &other).fine().contains("\nmore      rpc tools/call\n"));
}

#[test]
fn finds_records_by_token() {
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    let hash = callgate::identity::token::token_hash(token.as_bytes()).unwrap();
    let log = file("token.records", record(1, json!({ "token": hash })).to_string());
    let kept = file("used.jwt", format!("{token}\n"));
    assert!(callgate(&format!("records {log} --token @{kept}")).fine().ends_with("1 record\n"));
    // A different encoding of the signature does not change the token's hash.
    let again = file("used-again.jwt", token.replace("c2ln", "c2lo"));
    assert!(callgate(&format!("records {log} --token @{again}")).fine().ends_with("1 record\n"));
    for wrong in ["a3dce84a", "not-a-hash-of-16", token] {
        assert!(
            callgate(&format!("records {log} --token {wrong}")).failed(1).contains("16 hexadecimal digits"),
            "{wrong}"
        );
    }
    assert!(callgate(&format!("records {log} --token @{log}")).failed(1).contains("contains no JSON Web Token"));
}

#[test]
fn lists_one_record_per_line() {
    let [access, own, old] = logs("listed");
    let out = callgate(&format!("records --list --decision deny {access} {own} {old}")).fine();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "2026-11-21T12:01:00Z  deny insufficient_scope  coding-agent  GET api.example.com/repos/acme/gateway/pulls  {:032x}",
            1
        )
    );
    assert_eq!((lines.len(), lines[3]), (5, "3 of 5 records matched"), "{out}");
    let out = callgate(&format!("records --list --format json {old}")).fine();
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records, [unknown(3), record(4, json!({}))]);
}

#[test]
fn shows_the_subject_when_it_differs_from_the_agent() {
    let log = file("subject.records", record(1, json!({ "subject": "alice@example.com" })).to_string());
    assert!(callgate(&format!("records {log}")).fine().contains("coding-agent (subject alice@example.com)"));
}

#[test]
fn reads_records_from_the_given_log_member() {
    let path = file("records.member.log", json!({ "gate": denied(1) }).to_string());
    assert!(callgate(&format!("records --member gate {path}")).fine().ends_with("1 record\n"));
    assert!(callgate(&format!("records {path}")).fine().starts_with("0 records\n1 line contains no record"));
}

#[test]
fn reports_unreadable_files_and_summarizes_the_others() {
    let [access, _, old] = logs("cut");
    let whole = std::fs::read(&old).unwrap();
    let cut = file("records.cut.gz", &whole[..whole.len() - 12]);
    let missing = callgate(&format!("records missing.log {access}"));
    assert_eq!((missing.code, &*missing.err), (1, "callgate: missing.log: does not exist\n"));
    assert!(missing.out.contains("2 records\n"), "{}", missing.out);
    let broken = callgate(&format!("records {cut} {access}"));
    assert_eq!(broken.code, 1);
    assert!(
        broken.err.starts_with(&format!("callgate: {cut}:"))
            && broken.err.contains(": cannot read the file after this line: "),
        "{}",
        broken.err
    );
    assert_eq!(callgate("records").code, 1);
}

#[test]
fn escapes_control_characters_from_records() {
    let evil = "\u{1b}[2J\u{202e}";
    let changes = json!({
        "endpoint": null, "agent": evil, "method": "GET", "path": format!("/{evil}"), "rule": evil, "policy": evil,
        "headers": { evil: evil }, "request_id": evil, "query": [evil], "decision": "deny", "reason": "agent_unknown",
        "outcome": { "details": evil }, "rpc": { "method": evil, "tool": evil, evil: evil },
    });
    let record = unchecked(1, changes).to_string();
    for arguments in [
        &["records", "-"][..],
        &["records", "-", "--id", "0"],
        &["records", "--format", "json", "-"],
        &["explain", "--record", "-"],
    ] {
        let out = run(arguments, &record).fine();
        assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
        assert!(out.contains("u{1b}[2J") || out.contains("u001b[2J"), "{out:?}");
    }
}

#[test]
fn explains_a_record_in_plain_text() {
    let mut denied = denied(1);
    denied["outcome"] =
        json!({ "status": 403, "bytes_received": 300, "bytes_sent": 500, "duration_ms": 2, "ended": "complete" });
    denied["headers"] = json!({ "x-agent-run-id": "run-7" });
    let path = file("record.json", serde_json::to_string_pretty(&denied).unwrap());
    let version = "0".repeat(64);
    let words = format!(
        "denied    insufficient_scope: the access token lacks a required scope\n\
         \u{20}         endpoints[4].scopes\n\
         when      2026-11-21T12:01:00Z, decision {:032x}\n\
         who       agent coding-agent, client coding-agent, subject coding-agent, issuer corp, token a3dce84a08201e95, from \
         192.0.2.1, scopes code:read\n\
         what      GET api.example.com/repos/acme/gateway/pulls, query page, endpoint pulls.get\n\
         header    x-agent-run-id: run-7\n\
         ids       request r1, trace 0af7651916cd43dd8448eb211c80319c\n\
         policy    quickstart, version {version}, module 0.1.0\n\
         outcome   status 403, the response is complete, 2 ms, 300 bytes received, 500 bytes sent\n",
        1
    );
    assert_eq!(callgate(&format!("explain --record @{path}")).fine(), words);
    let line = json!({ "status": 403, "callgate": denied.to_string() }).to_string();
    assert_eq!(run(&["explain", "--record", &line], "").fine(), words);

    denied["outcome"]["tools_changed"] = json!(["pay", "refund"]);
    let changed = denied.to_string();
    let shown = run(&["explain", "--record", "-"], &changed).fine();
    assert!(shown.ends_with("500 bytes sent, tools that were removed because they changed: pay, refund\n"), "{shown}");

    let policy = "examples/quickstart/policy.yaml";
    let placed = callgate(&format!("explain {policy} --record @{path}")).fine();
    assert!(placed.contains(&format!("          {policy}:")) && placed.contains(": endpoints[4].scopes\n"), "{placed}");
    assert!(
        placed.contains(&format!("note      {policy} has another version than the policy that decided: ")),
        "{placed}"
    );
}

/// Returns a value for a member, and adds the text that must appear for it to `shown`.
fn sample(schema: &Value, part: &Value, name: &str, shown: &mut Vec<String>) -> Value {
    let part = part["$ref"].as_str().map_or(part, |link| schema.pointer(link.strip_prefix('#').unwrap()).unwrap());
    match (name, part["type"].as_str()) {
        ("decision", _) => return json!("observe"),
        ("time_ms", _) => {
            shown.push("2026-11-21T12:00:00Z".to_owned());
            return json!(NOON * 1000);
        }
        // The first one is the reason of the record itself.
        ("would_deny", _) => {
            let first = sample(schema, &part["items"], "", &mut Vec::new());
            return json!([first, sample(schema, &part["items"], "", shown)]);
        }
        (_, Some("object")) => {
            let mut members = part["properties"].as_object().cloned().unwrap_or_default();
            if let Some(any) = part.get("additionalProperties").filter(|any| any.is_object()) {
                members.insert("x-name".to_owned(), any.clone());
            }
            return members.iter().map(|(name, part)| (name.clone(), sample(schema, part, name, shown))).collect();
        }
        (_, Some("array")) => return json!([sample(schema, &part["items"], name, shown)]),
        (_, Some("boolean")) => {
            shown.push(format!("{name} true"));
            return json!(true);
        }
        _ => {}
    }
    let number = 7_000 + shown.len();
    let value = if part["type"] == "integer" { json!(number) } else { json!(format!("{name}-{number}")) };
    shown.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    value
}

#[test]
fn shows_every_record_member_of_the_schema() {
    let schema = callgate_kit::records::schema();
    let members = schema["properties"].as_object().unwrap().keys().map(String::as_str);
    assert_eq!(members.collect::<BTreeSet<_>>(), callgate::Record::MEMBERS.iter().copied().collect());
    // A record has the path either in canonical form or as it was received.
    for absent in ["raw_path", "path"] {
        let mut parts = schema.clone();
        parts["properties"].as_object_mut().unwrap().remove(absent);
        let mut shown = Vec::new();
        let log = file("whole.records", sample(&schema, &parts, "", &mut shown).to_string());
        let out = callgate(&format!("records {log} --id id-")).fine();
        for text in shown {
            assert!(out.contains(&text), "{text}: {out}");
        }
    }
}

#[test]
fn shows_unknown_members_after_the_known_ones() {
    let later = record(1, json!({ "signed_by": "k1", "body_checked": true, "proof": "dpop" }));
    let mut later = later.as_object().unwrap().clone();
    later.insert("a_later_member".to_owned(), json!(["x", 1]));
    let log = file("later.records", Value::Object(later.clone()).to_string());
    let out = callgate(&format!("records {log} --id 0")).fine();
    assert!(
        out.contains("\nmore      proof dpop, signed_by k1, body_checked true, a_later_member [\"x\",1]\n"),
        "{out}"
    );
    let listed = callgate(&format!("records --list --format json {log}")).fine();
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), Value::Object(later));
}

/// Follows the README of `examples/payments`, whose record comes from the example's unmodified policy.
#[test]
fn payments_example_readme_matches_the_output() {
    let folder = "examples/payments";
    let found = callgate(&format!("records {folder}/record.json --id 0af7651916cd43dd8448eb211c80319c")).fine();
    let words = found.strip_suffix("\n1 record\n").unwrap();
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/payments/README.md")).unwrap();
    assert!(readme.contains(&format!("```text\n{words}```\n")), "{words}");
    let placed = callgate(&format!("explain {folder}/policy.yaml --record @{folder}/record.json")).fine();
    assert!(placed.contains(&format!("\n          {folder}/policy.yaml:")), "{placed}");
    assert!(!placed.contains("another version"), "{placed}");
}

#[test]
fn shows_every_would_deny_reason_of_an_observed_request() {
    let would =
        json!([{ "reason": "insufficient_scope", "rule": "endpoints[4].scopes" }, { "reason": "binding_mismatch" }]);
    let observed = record(1, json!({ "decision": "observe", "reason": "insufficient_scope", "would_deny": would }));
    let out = run(&["explain", "--record", "-"], &observed.to_string()).fine();
    assert!(
        out.starts_with("observed: the request was allowed, but would be denied with `enforce`  insufficient_scope: "),
        "{out}"
    );
    assert!(out.contains("\nand       binding_mismatch: "), "{out}");
    let found = run(&["records", "-", "--reason", "binding_mismatch"], &observed.to_string()).fine();
    assert!(found.ends_with("1 record\n"), "{found}");
}

#[test]
fn rejects_arguments_that_are_not_records() {
    let two = file("two.records", format!("{}\n{}\n", denied(1), denied(2)));
    for (arguments, told) in [
        (vec!["explain", "--record", "{}"], "callgate: the argument: contains no decision record; expected one record"),
        (
            vec!["explain", "--record", &format!("@{two}")],
            "two.records: contains no decision record; expected one record",
        ),
        (vec!["explain", "--record", "@missing"], "callgate: missing does not exist"),
        (vec!["explain", "--record", "{}", "--format", "json"], "callgate: --format: a record is already JSON"),
    ] {
        let err = run(&arguments, "").failed(1);
        assert!(err.contains(told), "{err}");
    }
    for arguments in [
        vec!["explain"],
        vec!["explain", "--path", "/"],
        vec!["explain", "examples/quickstart/policy.yaml"],
        vec!["explain", "--record", "{}", "--path", "/"],
        vec!["explain", "--record", "{}", "--token", "x"],
    ] {
        assert!(run(&arguments, "").failed(1).contains("Usage: callgate explain"), "{arguments:?}");
    }
}
