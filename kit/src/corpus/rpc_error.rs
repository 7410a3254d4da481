//! The JSON-RPC errors with which the gate denies messages, derived from the policy and the request independently of the engine.

use callgate::Reason;
use serde_json::{Value, json};

use super::call::Call;
use super::format::RpcError;

/// Reasons that deny a request after its credential was verified, but before its caller is known.
const WITHOUT_A_CALLER: [&str; 6] =
    ["actor_mismatch", "actor_unknown", "agent_ambiguous", "agent_expired", "agent_suspended", "agent_unknown"];

/// The maximum length of a revision that an answer repeats, in bytes.
const MOST_REPEATED: usize = 64;

/// A denied message.
pub(super) struct DeniedMessage<'j> {
    document: &'j Value,
    record: &'j Value,
    call: &'j Call,
    reason: Reason,
    /// The HTTP status that belongs to the reason.
    status: u16,
    /// The field `rpc` of the endpoint.
    rpc: &'j Value,
}

impl<'j> DeniedMessage<'j> {
    /// Returns the denied message if its client expects a JSON-RPC error. Clients without a valid credential, and clients that send no
    /// message, expect a problem (RFC 9457) instead. `status` belongs to the reason.
    pub(super) fn of(
        document: &'j Value,
        record: &'j Value,
        call: &'j Call,
        reason: Reason,
        status: u16,
    ) -> Option<Self> {
        let id = record.get("endpoint")?;
        let endpoints = document.get("endpoints")?.as_array()?;
        let rpc = endpoints.iter().find(|endpoint| endpoint.get("id") == Some(id))?.get("rpc")?;
        let has_credential = ["agent", "issuer"].iter().any(|member| record.get(*member).is_some());
        let is_known = has_credential && !WITHOUT_A_CALLER.contains(&reason.code());
        // Only clients of 2026 and later know the error for an unlisted revision.
        let revisions = rpc.get("revisions").and_then(Value::as_array).into_iter().flatten();
        let knows_error = revisions.filter_map(Value::as_str).any(|revision| revision >= "2026");
        let expects_error =
            call.method == b"POST" && is_known && status != 401 && (knows_error || reason.code() != "rpc_revision");
        expects_error.then_some(Self { document, record, call, reason, status, rpc })
    }

    /// Returns the HTTP status of the answer.
    pub(super) fn http_status(&self) -> u16 {
        let is_mcp = self.rpc.get("protocol") == Some(&json!("mcp"));
        let keeps_status = match self.reason.code() {
            "origin_not_allowed" | "insufficient_scope" => true,
            "rpc_revision" | "rpc_header_mismatch" if is_mcp => true,
            // A message without an id has no result, so its sender looks at the status.
            _ => !self.was_read() || self.rpc.get("denials") == Some(&json!("http")),
        };
        if keeps_status { self.status } else { 200 }
    }

    /// Returns the differences between the answer and the error that the case and the policy demand.
    pub(super) fn differences(
        &self,
        stated: Option<&RpcError>,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
    ) -> Vec<String> {
        let mut found = Vec::new();
        if !headers.iter().any(|(name, value)| name == "content-type" && value == b"application/json") {
            found.push("the response is not `application/json`".to_owned());
        }
        let wanted = self.error(stated);
        let got: Value = serde_json::from_slice(body).unwrap_or_default();
        if got != wanted {
            found.push(format!("expected the JSON-RPC error {wanted}, got {got}"));
        }
        found
    }

    fn error(&self, stated: Option<&RpcError>) -> Value {
        let disclosed = self.reason.disclosed();
        let mut data = json!({
            "code": disclosed.code,
            "status": self.status,
            "detail": disclosed.detail,
            "decision": self.record.get("id"),
        });
        let is_revision = self.reason.code() == "rpc_revision";
        for (name, value) in [
            ("help", self.document.get("help").cloned()),
            ("supported", self.rpc.get("revisions").cloned().filter(|_| is_revision)),
            ("requested", self.unlisted_revision().filter(|_| is_revision)),
        ] {
            if let (Some(value), Some(data)) = (value, data.as_object_mut()) {
                data.insert(name.to_owned(), value);
            }
        }
        let code = stated.and_then(|stated| stated.code).unwrap_or_else(|| self.code());
        let mut error = json!({
            "jsonrpc": "2.0",
            "error": { "code": code, "message": disclosed.title, "data": data },
        });
        let usual = || self.message().and_then(|message| message.get("id").cloned()).filter(|_| self.was_read());
        let id = stated.and_then(|stated| stated.id.clone()).or_else(usual).filter(|id| !id.is_null());
        if let (Some(id), Some(error)) = (id, error.as_object_mut()) {
            error.insert("id".to_owned(), id);
        }
        error
    }

    /// Returns the code of JSON-RPC 2.0 (section 5.1) or of MCP, or else the HTTP status.
    fn code(&self) -> i64 {
        match self.reason.code() {
            "json_malformed" => -32700,
            "rpc_malformed" => -32600,
            "rpc_header_mismatch" => -32020,
            "rpc_revision" => -32022,
            _ => self.status.into(),
        }
    }

    /// Returns whether the request was read as far as its id.
    fn was_read(&self) -> bool {
        self.record.pointer("/rpc/id").is_some()
    }

    fn message(&self) -> Option<Value> {
        serde_json::from_slice(&self.call.whole_body()).ok()
    }

    /// Returns the first revision that the request names and that the endpoint does not list.
    fn unlisted_revision(&self) -> Option<Value> {
        let line = self.call.lines.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"mcp-protocol-version"));
        let of_header = line.and_then(|(_, value)| Some(std::str::from_utf8(value).ok()?.trim().to_owned()));
        let message = self.message().filter(|message| message.get("method") == Some(&json!("initialize")));
        let of_body =
            message.and_then(|message| message.pointer("/params/protocolVersion")?.as_str().map(str::to_owned));
        let listed = self.rpc.get("revisions").and_then(Value::as_array);
        let is_listed = |version: &str| listed.into_iter().flatten().any(|listed| listed == version);
        let is_repeated = |version: &String| {
            version.len() <= MOST_REPEATED && version.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let mut named = of_header.into_iter().chain(of_body);
        named.find(|version| is_repeated(version) && !is_listed(version)).map(Value::String)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, body: &str, version: Option<&str>) -> Call {
        let line = |value: &str| (b"mcp-protocol-version".to_vec(), value.as_bytes().to_vec());
        Call {
            method: method.as_bytes().to_vec(),
            target: b"/mcp".to_vec(),
            host: None,
            lines: version.map(line).into_iter().collect(),
            end_of_stream: false,
            body: vec![body.as_bytes().to_vec()],
            slow: super::super::Offset::default(),
            source: None,
            certificate: None,
        }
    }

    fn document(denials: &str) -> Value {
        json!({ "endpoints": [
            { "id": "plain" },
            { "id": "mcp", "rpc": { "protocol": "mcp", "denials": denials, "revisions": ["2025-11-25", "2026-07-28"] } },
            { "id": "old", "rpc": { "protocol": "mcp", "denials": denials, "revisions": ["2025-11-25"] } },
        ] })
    }

    fn record(endpoint: &str, rpc: Value) -> Value {
        json!({ "id": "0a", "agent": "coder", "endpoint": endpoint, "rpc": rpc })
    }

    fn reason(code: &str) -> Reason {
        *Reason::ALL.iter().find(|reason| reason.code() == code).unwrap()
    }

    /// Returns the HTTP status of an answer, or `None` for a problem.
    fn status(denials: &str, record: &Value, method: &str, code: &str) -> Option<u16> {
        let (document, call) = (document(denials), call(method, "{}", None));
        let status = reason(code).row().status;
        DeniedMessage::of(&document, record, &call, reason(code), status).map(|denied| denied.http_status())
    }

    #[test]
    fn only_known_clients_that_post_messages_get_errors() {
        let read = record("mcp", json!({ "id": "1" }));
        assert_eq!(status("rpc", &read, "POST", "operation_not_allowed"), Some(200));
        assert_eq!(status("rpc", &read, "GET", "session_method"), None);
        assert_eq!(status("rpc", &read, "POST", "agent_suspended"), None);
        assert_eq!(status("rpc", &read, "POST", "dpop_replayed"), None);
        assert_eq!(status("rpc", &record("plain", Value::Null), "POST", "binding_mismatch"), None);
        let old = record("old", json!({ "id": "1" }));
        assert_eq!(status("rpc", &old, "POST", "rpc_revision"), None);
        assert_eq!(status("rpc", &old, "POST", "rpc_header_mismatch"), Some(400));
        let unknown = json!({ "id": "0a", "endpoint": "mcp" });
        assert_eq!(status("rpc", &unknown, "POST", "header_lookalike"), None);
    }

    #[test]
    fn the_status_depends_on_the_reason_and_on_whether_the_message_was_read() {
        let (read, unread) = (record("mcp", json!({ "id": "1" })), record("mcp", json!({})));
        for (code, of_read, of_unread) in [
            ("operation_not_allowed", 200, 403),
            ("rate_limited", 200, 429),
            ("json_malformed", 200, 400),
            ("rpc_malformed", 200, 400),
            ("rpc_revision", 400, 400),
            ("rpc_header_mismatch", 400, 400),
            ("origin_not_allowed", 403, 403),
            ("insufficient_scope", 403, 403),
        ] {
            assert_eq!(status("rpc", &read, "POST", code), Some(of_read), "{code}");
            assert_eq!(status("rpc", &unread, "POST", code), Some(of_unread), "{code}");
            assert_eq!(status("http", &read, "POST", code), Some(of_unread), "{code}");
        }
    }

    /// Returns the error that a denial demands.
    fn error(code: &str, body: &str, version: Option<&str>, rpc: Value, stated: Option<Value>) -> Value {
        let (document, call, record) = (document("rpc"), call("POST", body, version), record("mcp", rpc));
        let stated: Option<RpcError> = stated.map(|stated| serde_json::from_value(stated).unwrap());
        let status = reason(code).row().status;
        DeniedMessage::of(&document, &record, &call, reason(code), status).unwrap().error(stated.as_ref())
    }

    #[test]
    fn the_error_repeats_the_id_of_a_message_that_was_read() {
        let body = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"ping"}"#;
        let read = error("operation_not_allowed", body, None, json!({ "id": "\"a\\u0062\"" }), None);
        assert_eq!((&read["id"], &read["error"]["code"]), (&json!("ab"), &json!(403)));
        assert_eq!(read["error"]["data"]["status"], 403);
        assert_eq!(read["error"]["data"]["decision"], "0a");
        let unread = error("rpc_malformed", body, None, json!({}), None);
        assert_eq!((unread.get("id"), &unread["error"]["code"]), (None, &json!(-32600)));
        let stated =
            error("operation_not_allowed", body, None, json!({ "id": "1" }), Some(json!({ "id": 7, "code": 1 })));
        assert_eq!((&stated["id"], &stated["error"]["code"]), (&json!(7), &json!(1)));
        let stated = error("operation_not_allowed", body, None, json!({ "id": "1" }), Some(json!({ "id": null })));
        assert_eq!(stated.get("id"), None);
    }

    #[test]
    fn the_error_names_supported_revisions_and_the_requested_one() {
        let initialize = |version: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}"}}}}"#)
        };
        let long = "1".repeat(65);
        for (header, body, requested) in [
            (Some("2025-03-26"), "2025-11-25", Some("2025-03-26")),
            (Some(" 2025-03-26"), "2025-11-25", Some("2025-03-26")),
            (None, "2024-11-05", Some("2024-11-05")),
            (Some("2025-11-25"), "2024-11-05", Some("2024-11-05")),
            (Some(long.as_str()), "2025-11-25", None),
            (None, "2025\u{2010}03\u{2010}26", None),
        ] {
            let error = error("rpc_revision", &initialize(body), header, json!({ "id": "1" }), None);
            let data = &error["error"]["data"];
            assert_eq!(data["supported"], json!(["2025-11-25", "2026-07-28"]));
            assert_eq!(data.get("requested").and_then(Value::as_str), requested, "{header:?} {body}");
        }
        let other = error("rpc_header_mismatch", &initialize("2024-11-05"), None, json!({ "id": "1" }), None);
        assert_eq!(other["error"]["data"].get("supported"), None);
    }

    #[test]
    fn reports_another_answer() {
        let (document, call) = (document("rpc"), call("POST", r#"{"id":1}"#, None));
        let record = record("mcp", json!({ "id": "1" }));
        let denied = DeniedMessage::of(&document, &record, &call, reason("rate_limited"), 429).unwrap();
        let found =
            denied.differences(None, &[("content-type".to_owned(), b"application/problem+json".to_vec())], b"{}");
        assert_eq!(found.len(), 2, "{found:?}");
        let json = [("content-type".to_owned(), b"application/json".to_vec())];
        assert_eq!(denied.differences(None, &json, denied.error(None).to_string().as_bytes()), [""; 0]);
    }
}
