//! The operation of a JSON-RPC message: whether a decision needs its body, how it is shown, and the operations with similar names.

use callgate::document::nearest;
use callgate_kit::records;
use serde_json::Value;

/// The name of the fact in the explanation.
const NAME: &str = "nearest";

/// Returns whether the endpoint that a record names decides by the content of the body of such a request.
pub(super) fn needs_body(document: &Value, record: &Value) -> bool {
    let Some(endpoint) = endpoint(document, record) else { return false };
    // Other methods of JSON-RPC belong to sessions, and have no message.
    let has_message = endpoint.get("rpc").is_some() && record.get("method").is_some_and(|method| method == "POST");
    let mut bindings = endpoint.get("bind").and_then(Value::as_object).into_iter().flatten();
    has_message || bindings.any(|(part, _)| part.starts_with("body."))
}

/// Describes the operation of a record, such as `tools/call create_payment, id 7`.
pub(super) fn described(record: &Value) -> Option<String> {
    records::operation(record.get("rpc")?)
}

/// Returns the listed operation whose name is most similar to the one that a record names.
pub(super) fn fact(document: &Value, record: &Value) -> Option<(&'static str, String)> {
    let rpc = record.get("rpc")?;
    let lists = [("tool", "tools"), ("prompt", "prompts"), ("uri", "resources"), ("method", "methods")];
    let (asked, list) = lists.iter().find_map(|(part, list)| Some((rpc.get(*part)?.as_str()?, *list)))?;
    let identifier = if list == "resources" { "uri" } else { "name" };
    let listed = endpoint(document, record)?.get("rpc")?.get(list)?.as_array()?;
    let names = listed.iter().filter_map(|entry| entry.get(identifier)?.as_str());
    Some((NAME, format!("`{}`", nearest(asked, names)?)))
}

/// Returns the endpoint that a record names.
fn endpoint<'d>(document: &'d Value, record: &Value) -> Option<&'d Value> {
    let id = record.get("endpoint")?;
    document.get("endpoints")?.as_array()?.iter().find(|endpoint| endpoint.get("id") == Some(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({ "endpoints": [
            { "id": "health" },
            { "id": "pay", "bind": { "path.x": "token.x", "body./owner": "token.org" } },
            { "id": "list", "bind": { "path.body": "token.x" } },
            { "id": "tools", "rpc": {
                "tools": [{ "name": "create_payment" }, { "name": "refund_payment" }],
                "prompts": [{ "name": "reconcile" }],
                "resources": [{ "uri": "file:///a" }],
            } },
        ] })
    }

    #[test]
    fn bodies_are_needed_where_they_decide() {
        for (endpoint, method, needed) in [
            ("tools", "POST", true),
            ("tools", "GET", false),
            ("tools", "DELETE", false),
            ("pay", "POST", true),
            ("pay", "GET", true),
            ("list", "POST", false),
            ("health", "POST", false),
            ("other", "POST", false),
        ] {
            let record = json!({ "endpoint": endpoint, "method": method });
            assert_eq!(needs_body(&document(), &record), needed, "{record}");
        }
        assert!(!needs_body(&document(), &json!({ "method": "POST" })));
        assert!(!needs_body(&json!({}), &json!({ "endpoint": "tools", "method": "POST" })));
    }

    #[test]
    fn similar_operations_of_the_same_list_are_suggested() {
        let fact = |rpc: Value| fact(&document(), &json!({ "endpoint": "tools", "rpc": rpc })).map(|(_, text)| text);
        for (rpc, suggested) in [
            (json!({ "method": "tools/call", "tool": "Create_Payment" }), Some("`create_payment`")),
            (json!({ "method": "tools/call", "tool": "refund_payments" }), Some("`refund_payment`")),
            (json!({ "method": "prompts/get", "prompt": "reconcile2" }), Some("`reconcile`")),
            (json!({ "method": "resources/read", "uri": "file:///b" }), Some("`file:///a`")),
            (json!({ "method": "tools/call", "tool": "reconcile" }), None),
            (json!({ "method": "tasks/get" }), None),
            (json!({}), None),
        ] {
            assert_eq!(fact(rpc.clone()).as_deref(), suggested, "{rpc}");
        }
        assert_eq!(super::fact(&document(), &json!({ "endpoint": "tools" })), None);
    }
}
