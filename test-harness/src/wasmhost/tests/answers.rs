//! Answers of MCP servers, whose lists are filtered.

use super::*;

const MESSAGE: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"drop_everything"},{"name":"look_up"}]}}"#;
const SHOWN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"look_up"}]}}"#;

fn mcp() -> Value {
    let mut policy = policy();
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
        "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"],
                 "tools": [{ "name": "look_up", "effect": "read", "scopes": "none" }] },
    }));
    policy
}

/// Returns a request for the list, whose answer arrives in these chunks.
fn listing(chunks: Vec<Vec<u8>>, trailers: bool) -> Request {
    let bearer = format!("Bearer {}", mint(&claims()));
    let lines = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    Request {
        end_of_stream: false,
        body: Some(vec![MESSAGE.to_vec()]),
        answer: pairs::from_text(&[("content-type", "application/json")]),
        answer_body: chunks,
        answer_trailers: trailers,
        ..request("POST", "/mcp", &lines)
    }
}

/// Returns the body that the client gets.
#[track_caller]
fn received(vm: &mut Vm, chunks: Vec<Vec<u8>>, trailers: bool) -> String {
    let outcome = vm.request(&listing(chunks, trailers));
    upstream(&outcome);
    String::from_utf8(outcome.answer_body.concat()).unwrap()
}

#[test]
fn a_list_is_filtered_whether_or_not_trailers_follow() {
    let mut vm = start(&mcp());
    for trailers in [false, true] {
        for size in [1, 50, 1000] {
            let chunks = |text: &str| text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(received(&mut vm, chunks(LIST), trailers), SHOWN, "{size} {trailers}");
            assert_eq!(received(&mut vm, chunks(&format!("{LIST}\r\n")), trailers), SHOWN, "{size} {trailers}");
        }
        let more = vec![LIST.as_bytes().to_vec(), LIST.as_bytes().to_vec()];
        assert_eq!(received(&mut vm, more, trailers), SHOWN, "nothing follows the answer");
    }
    assert_alive(&mut vm);
}

#[test]
fn answers_that_wait_leave_no_bytes_behind() {
    let mut policy = mcp();
    policy["max_body"] = json!("1KiB");
    policy["held_bodies"] = json!({ "agent_bytes": "256KiB" });
    let mut vm = start(&policy);
    // Together they are more than the share, and the answers with trailers never end properly.
    let begin = format!("{},\"x\":\"{}", LIST.strip_suffix("}}").unwrap(), "x".repeat(100 << 10));
    for _ in 0..10 {
        for trailers in [false, true] {
            let body = received(&mut vm, vec![begin.clone().into_bytes(), b"x".to_vec()], trailers);
            assert_eq!(body.contains("answer_unreadable"), !trailers, "{body}");
            assert!(!body.contains("answer_not_held"), "{body}");
        }
    }
    assert_alive(&mut vm);
}
