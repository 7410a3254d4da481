//! The operation that a JSON-RPC message asked for: the member `rpc` of a record.
//!
//! It is read as plain JSON, because a later version may add to it, and the record must remain readable.

use serde_json::Value;

use super::record::Record;

/// The name of the member.
pub(super) const MEMBER: &str = "rpc";

/// The parts that name the operation.
const NAMES: [&str; 3] = ["tool", "uri", "prompt"];

impl Record {
    /// Returns the tool that was to be used.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.more.get(MEMBER)?.get("tool")?.as_str()
    }

    /// Returns what to group records by: the tool, the prompt or the method. URIs are left out, because there are too many.
    pub(super) fn operation_group(&self) -> Option<&str> {
        let rpc = self.more.get(MEMBER)?;
        ["tool", "prompt", "method"].iter().find_map(|part| rpc.get(*part)?.as_str())
    }

    /// Returns the method and what it is for, such as `tools/call create_payment`.
    pub(super) fn operation_name(&self) -> Option<String> {
        self.more.get(MEMBER).and_then(named)
    }
}

/// Describes the member `rpc` of a record with all its parts, such as `tools/call create_payment, id 7`. The text is not escaped.
#[must_use]
pub fn operation(rpc: &Value) -> Option<String> {
    let parts = rpc.as_object()?.iter().filter(|(name, _)| *name != "method" && !NAMES.contains(&name.as_str()));
    let parts = parts.map(|(name, value)| format!("{name} {}", plain(value)));
    let all: Vec<String> = named(rpc).into_iter().chain(parts).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn named(rpc: &Value) -> Option<String> {
    let parts = ["method"].iter().chain(&NAMES).filter_map(|part| rpc.get(*part)).map(plain);
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Returns text as it is, and any other value as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_described_with_all_its_parts() {
        for (rpc, words) in [
            (
                json!({ "method": "tools/call", "tool": "pay", "id": 7, "session": "9f86" }),
                "tools/call pay, id 7, session 9f86",
            ),
            (json!({ "method": "resources/read", "uri": "file:///a", "id": "x" }), "resources/read file:///a, id x"),
            (json!({ "method": "subscriptions/listen", "uri": "a:b", "uris": 3 }), "subscriptions/listen a:b, uris 3"),
            (json!({ "method": "prompts/get", "prompt": "p" }), "prompts/get p"),
            (json!({ "id": null, "later": [1] }), "id null, later [1]"),
            (json!({ "method": 1, "tool": {} }), "1 {}"),
        ] {
            assert_eq!(operation(&rpc).as_deref(), Some(words));
        }
        for none in [json!({}), json!("tools/call"), json!(null), json!(["method"])] {
            assert_eq!(operation(&none), None);
        }
    }

    #[test]
    fn records_are_grouped_by_operation_but_not_by_uri() {
        let group = |rpc: Value| {
            let mut record = Record::default();
            record.more.insert(MEMBER.to_owned(), rpc);
            (record.operation_group().map(str::to_owned), record.tool().map(str::to_owned))
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(group(json!({ "method": "tools/call", "tool": "pay" })), (own("pay"), own("pay")));
        assert_eq!(group(json!({ "method": "prompts/get", "prompt": "p" })), (own("p"), None));
        assert_eq!(group(json!({ "method": "resources/read", "uri": "a:b" })), (own("resources/read"), None));
        assert_eq!(group(json!("pay")), (None, None));
        assert_eq!(Record::default().operation_group(), None);
    }
}
