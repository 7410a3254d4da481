//! JSON as the lines of all clients have it: without spaces, and with the members of objects in alphabetical order.

use std::collections::BTreeMap;

use serde_json::Value;

/// Writes a value. `serde_json` keeps the order of members only if a dependency switches that on.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), text(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
