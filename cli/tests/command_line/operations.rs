//! The commands with policies of MCP servers.

use serde_json::{Value, json};

use crate::{PUBLISHED, Ran, callgate, coding_token, file, json, quickstart, run};

/// Creates the quickstart policy with an MCP endpoint that has these lines in `rpc`.
fn policy(name: &str, operations: &str) -> String {
    let endpoint = "  - id: tools\n    methods: [POST]\n    path: /mcp\n    effect: read\n    scopes: [code:read]\n    form_bodies: reject\n    \
                    rpc:\n      protocol: mcp\n      revisions: [2025-11-25]\n";
    let operations: String = operations.lines().map(|line| format!("      {line}\n")).collect();
    file(name, quickstart().replacen("\nendpoints:\n", &format!("\nendpoints:\n{endpoint}{operations}"), 1))
}

const TOOLS: &str = "\
tools:
  - { name: create_branch, effect: write, scopes: none, bind: { argument./owner: token.org } }
  - { name: delete_branch, effect: destructive, scopes: none }
";

fn message(tool: &str) -> String {
    let params = json!({ "name": tool, "arguments": { "owner": "acme" } });
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string()
}

fn explain(policy: &str, token: &str, more: &[&str]) -> Ran {
    let headers = ["-H", "content-type: application/json", "-H", "mcp-protocol-version: 2025-11-25"];
    let fixed = ["explain", policy, PUBLISHED, "--method", "POST", "--path", "/mcp", "--token", "-"];
    run(&[&fixed[..], &headers, more].concat(), token)
}

#[test]
fn explains_the_operation_that_a_body_asks_for() {
    let (policy, token) = (policy("operations.yaml", TOOLS), coding_token());
    let allowed = explain(&policy, &token, &["--body", &message("create_branch")]).fine();
    assert!(allowed.contains("\nALLOW allowed\n"), "{allowed}");
    assert!(allowed.contains("\nmessage tools/call create_branch, id 7\n"), "{allowed}");
    let saved = format!("@{}", file("operations.json", message("delete_branch")));
    let denied = explain(&policy, &token, &["--body", &saved]).fine();
    assert!(denied.contains("\nDENY  403 insufficient_scope\n"), "{denied}");
    assert!(denied.contains("\nmessage tools/call delete_branch, id 7\n"), "{denied}");
    let record = json(&explain(&policy, &token, &["--body", &saved, "--format", "json"]).fine())["record"].clone();
    assert_eq!((&record["rpc"]["tool"], &record["rpc"]["method"]), (&"delete_branch".into(), &"tools/call".into()));
}

#[test]
fn asks_for_the_body_unless_the_headers_deny_the_request() {
    let policy = policy("operations-body.yaml", TOOLS);
    let told = explain(&policy, &coding_token(), &[]).failed(1);
    assert_eq!(told, "callgate: --body: the decision depends on the body; pass `--body @FILE`\n");
    let denied = explain(&policy, "eyJhbGciOiJub25lIn0.e30.", &[]).fine();
    assert!(denied.contains("\nDENY  401 "), "{denied}");
    let denied = explain(&policy, &coding_token(), &["-H", "origin: https://chat.example.com"]).fine();
    assert!(denied.contains("\nDENY  403 origin_not_allowed\n"), "{denied}");
}

#[test]
fn suggests_the_listed_operation_that_was_probably_meant() {
    let policy = policy("operations-nearest.yaml", TOOLS);
    let denied = explain(&policy, &coding_token(), &["--body", &message("create_branches")]).fine();
    assert!(denied.contains(" operation_not_allowed\n"), "{denied}");
    assert!(denied.contains("nearest: `create_branch`\n"), "{denied}");
}

#[test]
fn a_draft_is_valid_as_soon_as_its_scopes_are_decided() {
    let answer: Value = json!({
        "tools": [
            { "name": "get_branch", "annotations": { "readOnlyHint": true } },
            { "name": "on", "inputSchema": { "properties": { "owner": {} } } },
        ],
        "resources": [{ "uri": "file:///reports/a.txt" }],
        "resourceTemplates": [{ "uriTemplate": "payments://ledger/{tenant}/{id}" }],
        "prompts": [{ "name": "summarize", "arguments": [{ "name": "team" }] }],
    });
    let draft = run(&["import", "mcp", "-", "--pin"], &answer.to_string()).fine();
    let undecided = callgate(&format!("check {}", policy("draft-undecided.yaml", &draft)));
    assert_eq!(undecided.err.matches("scopes: invalid value `TODO`; expected `none`").count(), 5, "{}", undecided.err);
    let decided =
        draft.replace("scopes: TODO", "scopes: none").replace("# bind", "bind").replace("token.TODO", "token.org");
    let decided = callgate(&format!("check {}", policy("draft-decided.yaml", &decided)));
    assert_eq!(decided.code, 0, "{}", decided.err);
}
