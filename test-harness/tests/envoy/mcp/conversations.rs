//! What clients of MCP show to their users when the gate is between them and a server.

use serde_json::{Value, json};
use test_harness::envoy::record_in;

use super::{Client, Guarded, Server, denied, token};

const ALL: &str = "payments:read payments:write";
const CHANGED: &str = "await notifications/resources/list_changed";
const GET: &str = r#"call get_payment {"tenant":"acme","payment":"p-1"}"#;
const PAY: &str = r#"call create_payment {"tenant":"acme","payee":"Paper Ltd","amount":10}"#;
const REFUND: &str = r#"call refund_payment {"tenant":"acme","payment":"p-1"}"#;
const EXPORT: &str = "call export_ledger {}";
/// A payment that the policy permits, and that the server does not have.
const GET_MISSING: &str = r#"call get_payment {"tenant":"acme","payment":"p-0"}"#;
const READ_MISSING: &str = "read payments://ledger/acme/p-0";

const PAID: &str = r#"{"amount":120.5,"id":"…","payee":"Paper Ltd","status":"paid"}"#;
const CREATED: &str = r#"checked; booked; {"amount":10.0,"id":"…","payee":"Paper Ltd","status":"open"}"#;

/// Returns how the first line of a client ends with a server, and whether the two have a session.
fn connection(client: Client, server: Server) -> (&'static str, bool) {
    match (client, server) {
        (Client::Rust, Server::Python1) => ("done", true),
        (Client::Rust, _) => ("done", false),
        (Client::Python2, Server::Python2 | Server::Rust) => ("2026-07-28", false),
        _ => ("2025-11-25", true),
    }
}

/// Returns what a client shows for a tool and a resource that the server itself fails to deliver. Each SDK words it differently, and none of
/// it comes from the gate.
fn failures(client: Client, server: Server) -> [String; 2] {
    let (tool, resource) = match (server, connection(client, server)) {
        (Server::Rust, (_, has_session)) => {
            // Since 2026-07-28, a resource that is not found has the code of invalid parameters.
            let code = if has_session { -32002 } else { -32602 };
            ("there is no payment p-0", format!("error {code} there is no such payment"))
        }
        (Server::Python1, _) => {
            let creating = "Error creating resource from template: ".repeat(2);
            (
                "Error executing tool get_payment: there is no payment p-0",
                format!("error 0 {creating}there is no payment p-0"),
            )
        }
        (Server::Python2 | Server::Waiting, _) => (
            "Error executing tool get_payment: there is no payment p-0",
            r#"error -32602 there is no payment p-0 {"uri":"payments://ledger/acme/p-0"}"#.to_owned(),
        ),
    };
    [format!("failed {tool}"), resource]
}

/// Performs everything that an agent does with a server: what is permitted works or shows the error of the server, and what is denied shows
/// its reason and leaves the session open.
fn converses_with_every_client(server: Server) {
    let Some(guarded) = Guarded::start(server, |_| ()) else { return };
    for client in Client::ALL {
        let (revision, has_session) = connection(client, server);
        let mismatch = denied("binding_mismatch");
        let [no_payment, no_receipt] = failures(client, server);
        // 2026-07-28 has no such method.
        let ping = if has_session { "{}".to_owned() } else { denied("operation_not_allowed") };
        let mut table = vec![
            ("list tools", "list_payments get_payment create_payment refund_payment".to_owned()),
            ("list resources", "nothing".to_owned()),
            ("list templates", "receipt".to_owned()),
            ("list prompts", "reconcile".to_owned()),
            (GET, PAID.to_owned()),
            (GET_MISSING, no_payment),
            ("read payments://ledger/acme/p-1", "p-1: 120.5 to Paper Ltd, paid".to_owned()),
            (READ_MISSING, no_receipt),
            ("ping", ping),
            (
                r#"prompt reconcile {"tenant":"acme","month":"2026-11"}"#,
                "Compare the payments of acme in 2026-11 with its bank statement, and list the differences.".to_owned(),
            ),
            (PAY, CREATED.to_owned()),
        ];
        // It is sent on the stream that `GET` opened.
        if has_session {
            table.push((CHANGED, "arrived".to_owned()));
        }
        table.extend([
            (EXPORT, denied("operation_not_allowed")),
            (r#"call get_payment {"tenant":"globex","payment":"p-9"}"#, mismatch.clone()),
            (r#"call create_payment {"tenant":"acme","payee":"Paper Ltd","amount":1000.01}"#, mismatch.clone()),
            (r#"call create_payment {"tenant":"acme","payee":"Paper Ltd","amount":"5000"}"#, mismatch.clone()),
            ("read payments://ledger/globex/p-9", mismatch.clone()),
            ("read file:///etc/passwd", denied("operation_not_allowed")),
            (r#"prompt reconcile {"tenant":"globex","month":"2026-11"}"#, mismatch),
            (r#"prompt audit {"tenant":"acme"}"#, denied("operation_not_allowed")),
            (PAY, CREATED.to_owned()),
            (PAY, CREATED.to_owned()),
            (PAY, denied("rate_limited")),
            (GET, PAID.to_owned()),
        ]);
        let steps: Vec<_> = table.iter().map(|(step, _)| *step).collect();
        let Some(lines) = guarded.perform(client, &token(client, ALL), &steps) else { continue };
        let labelled = |(step, shown): &(&str, String)| {
            format!("{}: {shown}", step.split(' ').take(2).collect::<Vec<_>>().join(" "))
        };
        let mut expected = vec![format!("connect: {revision}")];
        expected.extend(table.iter().map(labelled));
        expected.push("end".to_owned());
        assert_eq!(lines, expected, "{client:?} with {server:?}");
        // The status is for the client alone: the gateway's own log says what happened.
        for reason in ["operation_not_allowed", "binding_mismatch", "rate_limited"] {
            let members = json!({ "agent": client.agent(), "decision": "deny", "reason": reason });
            let line = guarded.await_record(&members);
            assert_eq!((&line["status"], &line["details"]), (&json!(200), &json!(format!("callgate_{reason}"))));
        }
        if has_session {
            guarded.await_record(&json!({ "agent": client.agent(), "decision": "allow", "method": "DELETE" }));
        }
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_client_converses_with_a_server_of_sdk_2_for_python() {
    converses_with_every_client(Server::Python2);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_client_converses_with_a_server_of_sdk_1_for_python() {
    converses_with_every_client(Server::Python1);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn every_client_converses_with_a_server_of_the_sdk_for_rust() {
    converses_with_every_client(Server::Rust);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn requests_at_the_same_time_get_their_own_answers() {
    let Some(guarded) = Guarded::start(Server::Python2, |_| ()) else { return };
    for client in [Client::Python2, Client::Python2Legacy, Client::Python1] {
        let both = format!("both {EXPORT} & {GET} & {EXPORT} & {GET}");
        let Some(lines) = guarded.perform(client, &token(client, ALL), &["list tools", &both]) else { continue };
        let export = format!("call export_ledger: {}", denied("operation_not_allowed"));
        let get = format!("call get_payment: {PAID}");
        assert_eq!(lines[2..], [export.clone(), get.clone(), export, get, "end".to_owned()], "{client:?}");
    }
}

/// Before 2026-07-28, a notification cancels a request. Since then, the client closes the stream of the answer, and a gateway must close that of
/// the server. Either way the server stops its work, and the session remains usable.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_cancelled_call_ends_at_the_server() {
    let list = |policy: &mut Value| {
        policy["audit"]["outcome"] = json!(true);
        let tools = policy["endpoints"][0]["rpc"]["tools"].as_array_mut().unwrap();
        tools.extend(["wait", "ending"].map(|name| json!({ "name": name, "effect": "read", "scopes": "none" })));
    };
    let Some(guarded) = Guarded::start(Server::Waiting, list) else { return };
    for client in Client::ALL {
        let agent = client.agent();
        let [cancel, ending] = ["cancel wait", "call ending"].map(|step| format!(r#"{step} {{"job":"{agent}"}}"#));
        // Twice, because the second call is one in a session with a cancelled call.
        let steps = ["list tools", &cancel, &ending, &cancel, "list tools"];
        let Some(lines) = guarded.perform(client, &token(client, ALL), &steps) else { continue };
        let ended = format!(r#"call ending: {{"result":"{agent} was cancelled"}}"#);
        let (tools, cancelled) = ("list tools: wait ending", "cancel wait: cancelled");
        assert_eq!(lines[1..], [tools, cancelled, &ended, cancelled, tools, "end"], "{client:?}");
        let notifies = matches!(client, Client::Python2Legacy | Client::Python1);
        let matches = |record: &Value| {
            let rpc = &record["rpc"];
            record["agent"] == agent
                && record["decision"] == "allow"
                && if notifies {
                    rpc["method"] == "notifications/cancelled"
                } else {
                    rpc["tool"] == "wait" && record["outcome"]["ended"] == "client_gone"
                }
        };
        let found = guarded.gate.envoy.await_access_log(|line| record_in(line).as_ref().is_some_and(matches));
        assert!(found.is_ok(), "{client:?}: no record of a cancelled call");
    }
}

/// Without an OAuth client, a missing scope is all that a user of SDK 2 sees. SDK 1 ends the session after any status but 200.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_missing_scope_keeps_its_status() {
    let Some(guarded) = Guarded::start(Server::Python2, |_| ()) else { return };
    for client in Client::ALL {
        let Some(lines) = guarded.perform(client, &token(client, ALL), &["list tools", REFUND, GET]) else { continue };
        let shown = format!("call refund_payment: {}", denied("insufficient_scope"));
        let get = format!("call get_payment: {PAID}");
        match client {
            Client::Python2 | Client::Python2Legacy => assert_eq!(lines[2..], [shown, get, "end".to_owned()]),
            Client::Python1 => assert_eq!(lines[2..], ["the session ended: HTTP 403"]),
            Client::Rust => {
                let is_shown =
                    lines[2].starts_with("call refund_payment: error ") && lines[2].ends_with("Insufficient scope");
                assert!(is_shown, "{lines:?}");
                assert_eq!(lines[3..], [get, "end".to_owned()]);
            }
        }
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_token_that_is_not_accepted_ends_the_connection() {
    let Some(guarded) = Guarded::start(Server::Python2, |_| ()) else { return };
    for client in Client::ALL {
        let token = token(client, ALL) + "x";
        let Some(lines) = guarded.perform(client, &token, &["list tools"]) else { continue };
        match client {
            Client::Python2 | Client::Python2Legacy => {
                assert_eq!(lines, ["the session ended: error -32603 Server returned an error response"]);
            }
            Client::Python1 => assert_eq!(lines, ["the session ended: HTTP 401"]),
            Client::Rust => {
                let is_shown = lines[0].starts_with("the session ended: ") && lines[0].contains("Auth required");
                assert!(is_shown && lines.len() == 1, "{lines:?}");
            }
        }
    }
}

/// Who calls is decided before the message is read, so these denials keep their status and are no JSON-RPC errors. No client shows the reason,
/// which only the record has: whoever has a stolen credential does not learn what became known.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_suspended_agent_and_a_revoked_token_end_the_connection() {
    type Stop = fn(&mut Value, &str);
    let suspend: Stop = |policy, agent| policy["agents"][agent]["suspended"] = json!(true);
    let revoke: Stop = |policy, agent| {
        let entry = json!({ "issuer": "corp", "client": agent });
        policy["revoked"].as_array_mut().unwrap().push(entry);
    };
    for (stop, status, reason) in [(suspend, 403, "agent_suspended"), (revoke, 401, "token_revoked")] {
        let stop_all = |policy: &mut Value| {
            policy["revoked"] = json!([]);
            Client::ALL.iter().for_each(|client| stop(policy, &client.agent()));
        };
        let Some(guarded) = Guarded::start(Server::Python2, stop_all) else { return };
        for client in Client::ALL {
            let Some(lines) = guarded.perform(client, &token(client, ALL), &["list tools"]) else { continue };
            match client {
                Client::Python2 | Client::Python2Legacy => {
                    assert_eq!(lines, ["the session ended: error -32603 Server returned an error response"]);
                }
                Client::Python1 => assert_eq!(lines, [format!("the session ended: HTTP {status}")]),
                Client::Rust => assert!(lines[0].starts_with("the session ended: ") && lines.len() == 1, "{lines:?}"),
            }
            assert!(!lines.concat().contains("agent_suspended"), "{lines:?}");
            guarded.await_record(&json!({ "agent": client.agent(), "decision": "deny", "reason": reason }));
        }
    }
}

/// With `denials: http`, the reason reaches only users of SDK 2.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn denials_with_their_status_end_sessions_of_sdk_1() {
    let keep_status = |policy: &mut Value| policy["endpoints"][0]["rpc"]["denials"] = json!("http");
    let Some(guarded) = Guarded::start(Server::Python2, keep_status) else { return };
    let export = format!("call export_ledger: {}", denied("operation_not_allowed"));
    let limited = format!("call create_payment: {}", denied("rate_limited"));
    let created = format!("call create_payment: {CREATED}");
    for client in [Client::Python2, Client::Python2Legacy] {
        let steps = ["list tools", EXPORT, PAY, PAY, PAY, PAY];
        let Some(lines) = guarded.perform(client, &token(client, ALL), &steps) else { continue };
        let expected = [&export, &created, &created, &created, &limited, &"end".to_owned()];
        assert_eq!(lines[2..].iter().collect::<Vec<_>>(), expected, "{client:?}");
    }
    for (steps, last) in [(vec![EXPORT], "HTTP 403"), (vec![PAY, PAY, PAY, PAY], "HTTP 429")] {
        let client = Client::Python1;
        let Some(lines) = guarded.perform(client, &token(client, ALL), &steps) else { return };
        assert_eq!(lines.last().unwrap(), &format!("the session ended: {last}"), "{lines:?}");
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn clients_find_a_revision_that_the_policy_lists() {
    let list = |revisions: &'static [&'static str], methods: &'static [&'static str]| {
        move |policy: &mut Value| {
            policy["endpoints"][0]["rpc"]["revisions"] = json!(revisions);
            policy["endpoints"][0]["methods"] = json!(methods);
        }
    };
    let lists = "list tools: list_payments get_payment create_payment refund_payment";
    let Some(old) = Guarded::start(Server::Python2, list(&["2025-06-18", "2025-11-25"], &["POST", "GET", "DELETE"]))
    else {
        return;
    };
    // After a JSON-RPC error that lists revisions, the client in Rust would not begin a session.
    for client in Client::ALL {
        let Some(lines) = old.perform(client, &token(client, ALL), &["list tools"]) else { continue };
        let connected = if client == Client::Rust { "connect: done" } else { "connect: 2025-11-25" };
        assert_eq!(lines, [connected, lists, "end"], "{client:?}");
    }
    let Some(new) = Guarded::start(Server::Python2, list(&["2026-07-28"], &["POST"])) else { return };
    let Some(lines) = new.perform(Client::Python2, &token(Client::Python2, ALL), &["list tools"]) else { return };
    assert_eq!(lines, ["connect: 2026-07-28", lists, "end"]);
    let Some(lines) = new.perform(Client::Python1, &token(Client::Python1, ALL), &["list tools"]) else { return };
    assert_eq!(lines, ["the session ended: HTTP 400"]);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_subscription_delivers_changes() {
    let Some(guarded) = Guarded::start(Server::Python2, |_| ()) else { return };
    let steps = ["list tools", "listen", PAY, "await ResourcesListChanged"];
    let client = Client::Python2;
    let Some(lines) = guarded.perform(client, &token(client, ALL), &steps) else { return };
    let created = format!("call create_payment: {CREATED}");
    let expected = ["listen: subscribed", &created, "await ResourcesListChanged: arrived", "end"];
    assert_eq!(lines[2..], expected);
}

/// The definitions of another SDK differ from those that were reviewed.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_tool_whose_definition_changed_disappears() {
    let pinned = super::policy(Server::Python2)["endpoints"][0]["rpc"]["tools"].take();
    let pin = |policy: &mut Value| policy["endpoints"][0]["rpc"]["tools"] = pinned;
    let Some(guarded) = Guarded::start(Server::Python1, pin) else { return };
    let client = Client::Python2Legacy;
    let Some(lines) = guarded.perform(client, &token(client, ALL), &["list tools", PAY, GET]) else { return };
    let expected = [
        "connect: 2025-11-25".to_owned(),
        "list tools: list_payments get_payment".to_owned(),
        format!("call create_payment: {}", denied("tool_changed")),
        format!("call get_payment: {PAID}"),
        "end".to_owned(),
    ];
    assert_eq!(lines, expected);
    // The policy does not record outcomes, except for this.
    let names = json!(["create_payment", "refund_payment"]);
    let is_list = |record: &Value| {
        record["rpc"]["method"] == "tools/list"
            && record["outcome"]["tools_changed"] == names
            && record["decision"] == "allow"
    };
    let found = guarded.gate.envoy.await_access_log(|line| record_in(line).as_ref().is_some_and(is_list));
    assert!(found.is_ok(), "no record of a list names the tools that changed");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn lists_hide_tools_whose_scopes_the_token_lacks_if_the_policy_asks_for_it() {
    let granted = |policy: &mut Value| policy["endpoints"][0]["rpc"]["list"] = json!("granted");
    let Some(guarded) = Guarded::start(Server::Python2, granted) else { return };
    for client in Client::ALL {
        let Some(lines) = guarded.perform(client, &token(client, "payments:read"), &["list tools"]) else { continue };
        assert_eq!(lines[1], "list tools: list_payments get_payment", "{client:?}");
    }
}
