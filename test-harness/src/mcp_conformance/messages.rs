//! The messages that clients and the server of the suite send.

use serde_json::{Value, json};

/// The revision without sessions.
pub(super) const MODERN: &str = "2026-07-28";
/// The newest revision with sessions.
pub(super) const LEGACY: &str = "2025-11-25";
/// The oldest revision of the suite.
pub(super) const OLDEST: &str = "2025-06-18";

/// A tool that every client may use.
pub(super) const TOOL: &str = "get_weather";
/// A tool with the parameters `region`, `limit` and `dry_run`, which are mirrored as `Region`, `Limit` and `Dry-Run`.
pub(super) const SQL_TOOL: &str = "execute_sql";
/// A tool that needs [`SCOPES`].
pub(super) const SCOPED_TOOL: &str = "send_report";
/// A tool whose name is not ASCII.
pub(super) const UNICODE_TOOL: &str = "météo";
/// The scopes that [`SCOPED_TOOL`] needs.
pub(super) const SCOPES: [&str; 2] = ["reports:read", "reports:send"];
/// A tool that no client may use.
pub(super) const FORBIDDEN: &str = "delete_everything";
/// A prompt that every client may use.
pub(super) const PROMPT: &str = "code_review";
/// A prompt that no client may use.
pub(super) const FORBIDDEN_PROMPT: &str = "leak_secrets";
/// A resource that every client may read, as everything below `file:///project/`.
pub(super) const RESOURCE: &str = "file:///project/src/main.rs";
/// A resource that no client may read.
pub(super) const FORBIDDEN_RESOURCE: &str = "file:///etc/passwd";

/// The member of `_meta` with the revision.
pub(super) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// Returns the metadata of a request.
pub(super) fn meta() -> Value {
    json!({
        VERSION_KEY: MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "mcp-conformance", "version": "1.0.0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// Returns a request of 2026-07-28. Adds the metadata to the parameters, unless they have their own.
pub(super) fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    let mut message = legacy(id, method, params);
    if let Some(params) = message.pointer_mut("/params").and_then(Value::as_object_mut) {
        params.entry("_meta").or_insert_with(meta);
    }
    message
}

/// Returns a request of a revision before 2026-07-28.
pub(super) fn legacy(id: impl Into<Value>, method: &str, params: Value) -> Value {
    let id: Value = id.into();
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Returns a notification.
pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// Returns the request that opens a session of a revision before 2026-07-28.
pub(super) fn initialize(revision: &str) -> Value {
    let params = json!({
        "protocolVersion": revision,
        "capabilities": {},
        "clientInfo": { "name": "mcp-conformance", "version": "1.0.0" },
    });
    legacy(1, "initialize", params)
}

/// Returns a result of a request. Adds the type of a complete result, unless the result has its own.
pub(super) fn result(id: &Value, mut result: Value) -> Value {
    if let Some(members) = result.as_object_mut() {
        members.entry("resultType").or_insert_with(|| json!("complete"));
    }
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// Returns an error response.
pub(super) fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// Returns the content of a tool's result.
pub(super) fn content(text: &str) -> Value {
    json!([{ "type": "text", "text": text }])
}

/// Returns a progress notification of the server.
pub(super) fn progress(progress: u64) -> Value {
    notification("notifications/progress", json!({ "progressToken": "p", "progress": progress }))
}

/// Returns an event of a stream.
pub(super) fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

/// Returns the messages in an event stream: the data of each event that is JSON.
pub(super) fn messages_in(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n").replace('\r', "\n");
    let data = text.split("\n\n").map(|event| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    });
    data.filter_map(|data| serde_json::from_str(&data).ok()).collect()
}

/// Returns the definition of a tool.
pub(super) fn tool(name: &str) -> Value {
    json!({
        "name": name,
        "title": "A tool",
        "description": "Does something — maybe 世界",
        "inputSchema": { "type": "object", "properties": { "x": { "type": "number", "maximum": 1.5e3 } } },
        "annotations": { "readOnlyHint": true },
        "_meta": { "com.example/cost": 3 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_messages_of_an_event_stream() {
        let first = progress(1);
        let begin = format!(": comment\r\n\r\nid: 1\r\ndata: {first}\r\n\r\n");
        let stream = begin + "retry: 5\n\ndata: {\"a\":\ndata:1}\n\ndata:\n\n";
        assert_eq!(messages_in(stream.as_bytes()), [first, json!({ "a": 1 })]);
    }

    #[test]
    fn requests_carry_the_revision_in_their_metadata() {
        let call = request(1, "tools/call", json!({ "name": TOOL }));
        assert_eq!(call["params"]["_meta"][VERSION_KEY], MODERN);
        let own = request(1, "tools/call", json!({ "_meta": { VERSION_KEY: LEGACY } }));
        assert_eq!(own["params"]["_meta"], json!({ VERSION_KEY: LEGACY }));
    }
}
