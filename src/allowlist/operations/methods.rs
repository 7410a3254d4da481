//! The methods of MCP, and what each of them needs.
//!
//! Every method of the schemas is in the table, also those that only servers send. A method without a row for its revision is unknown.

use super::ListKind;
use crate::document::McpRevision;
use crate::document::McpRevision::{V2025_06_18 as JUNE, V2025_11_25 as NOVEMBER, V2026_07_28 as STATELESS};

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing more than the endpoint: it belongs to the connection.
    Lifecycle,
    /// Nothing more than the endpoint: the answer is a list.
    List(ListKind),
    /// The tool in `params.name`.
    Tool,
    /// The prompt in `params.name`.
    Prompt,
    /// The resource in `params.uri`.
    Resource,
    /// Each resource in `params.notifications.resourceSubscriptions`.
    Subscriptions,
    /// The prompt or resource in `params.ref`.
    Reference,
    /// A separate entry under `methods`.
    Entry,
    /// It is never accepted from clients, because only servers send it.
    Server,
}

/// A method, what it needs, and the first and the last revision that define it so.
type Row = (&'static str, Needs, McpRevision, McpRevision);

const METHODS: [Row; 35] = [
    ("completion/complete", Needs::Reference, JUNE, STATELESS),
    ("elicitation/create", Needs::Server, JUNE, STATELESS),
    ("initialize", Needs::Lifecycle, JUNE, NOVEMBER),
    ("logging/setLevel", Needs::Lifecycle, JUNE, NOVEMBER),
    ("notifications/cancelled", Needs::Lifecycle, JUNE, STATELESS),
    ("notifications/elicitation/complete", Needs::Server, NOVEMBER, NOVEMBER),
    ("notifications/initialized", Needs::Lifecycle, JUNE, NOVEMBER),
    ("notifications/message", Needs::Server, JUNE, STATELESS),
    ("notifications/progress", Needs::Lifecycle, JUNE, NOVEMBER),
    ("notifications/progress", Needs::Server, STATELESS, STATELESS),
    ("notifications/prompts/list_changed", Needs::Server, JUNE, STATELESS),
    ("notifications/resources/list_changed", Needs::Server, JUNE, STATELESS),
    ("notifications/resources/updated", Needs::Server, JUNE, STATELESS),
    ("notifications/roots/list_changed", Needs::Lifecycle, JUNE, NOVEMBER),
    ("notifications/subscriptions/acknowledged", Needs::Server, STATELESS, STATELESS),
    ("notifications/tasks/status", Needs::Entry, NOVEMBER, NOVEMBER),
    ("notifications/tools/list_changed", Needs::Server, JUNE, STATELESS),
    ("ping", Needs::Lifecycle, JUNE, NOVEMBER),
    ("prompts/get", Needs::Prompt, JUNE, STATELESS),
    ("prompts/list", Needs::List(ListKind::Prompts), JUNE, STATELESS),
    ("resources/list", Needs::List(ListKind::Resources), JUNE, STATELESS),
    ("resources/read", Needs::Resource, JUNE, STATELESS),
    ("resources/subscribe", Needs::Resource, JUNE, NOVEMBER),
    ("resources/templates/list", Needs::List(ListKind::ResourceTemplates), JUNE, STATELESS),
    ("resources/unsubscribe", Needs::Resource, JUNE, NOVEMBER),
    ("roots/list", Needs::Server, JUNE, STATELESS),
    ("sampling/createMessage", Needs::Server, JUNE, STATELESS),
    ("server/discover", Needs::Lifecycle, STATELESS, STATELESS),
    ("subscriptions/listen", Needs::Subscriptions, STATELESS, STATELESS),
    ("tasks/cancel", Needs::Entry, NOVEMBER, NOVEMBER),
    ("tasks/get", Needs::Entry, NOVEMBER, NOVEMBER),
    ("tasks/list", Needs::Entry, NOVEMBER, NOVEMBER),
    ("tasks/result", Needs::Entry, NOVEMBER, NOVEMBER),
    ("tools/call", Needs::Tool, JUNE, STATELESS),
    ("tools/list", Needs::List(ListKind::Tools), JUNE, STATELESS),
];

/// Returns what a method needs in a revision. An unknown method needs an entry.
pub(crate) fn needs(revision: McpRevision, method: &str) -> Needs {
    let row = METHODS.iter().find(|(name, _, first, last)| *name == method && (*first..=*last).contains(&revision));
    row.map_or(Needs::Entry, |(_, needs, ..)| *needs)
}

/// Returns whether a method has the name of a notification. Messages with such a method have no id, and all others have one.
pub(crate) fn is_notification(method: &str) -> bool {
    method.starts_with("notifications/")
}

/// Returns the method of MCP, other than those that need an entry, that a name has in any letter case.
pub(crate) fn defined(name: &str) -> Option<(&'static str, Needs)> {
    let mut rows = METHODS.iter().filter(|(_, needs, ..)| *needs != Needs::Entry);
    rows.find(|(method, ..)| method.eq_ignore_ascii_case(name)).map(|(method, needs, ..)| (*method, *needs))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    const ALL: [McpRevision; 3] = [JUNE, NOVEMBER, STATELESS];

    #[test]
    fn rows_are_in_order_and_do_not_overlap() {
        for pair in METHODS.windows(2) {
            let [(one, _, _, last), (other, _, first, _)] = pair else { panic!() };
            assert!(one < other || one == other && last < first, "{one} {other}");
        }
        assert!(METHODS.iter().all(|(_, _, first, last)| first <= last));
    }

    #[test]
    fn newer_revisions_with_sessions_have_every_method_of_earlier_ones() {
        for (method, ..) in METHODS.iter().filter(|(_, _, first, _)| *first == JUNE) {
            assert_eq!(needs(JUNE, method), needs(NOVEMBER, method), "{method}");
        }
    }

    #[test]
    fn unknown_methods_need_an_entry() {
        for method in
            ["", "tools/Call", "Tools/call", "tools/call ", "tools/call/", "tools", "tasks/update", "notifications/x"]
        {
            for revision in ALL {
                assert_eq!(needs(revision, method), Needs::Entry, "{method}");
            }
        }
        for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
            assert_eq!(needs(STATELESS, method), Needs::Entry, "{method}");
        }
        assert_eq!(needs(NOVEMBER, "server/discover"), Needs::Entry);
        assert_eq!(needs(NOVEMBER, "subscriptions/listen"), Needs::Entry);
    }

    #[test]
    fn finds_defined_methods_in_any_letter_case() {
        assert_eq!(defined("tools/call"), Some(("tools/call", Needs::Tool)));
        assert_eq!(defined("Logging/SetLevel"), Some(("logging/setLevel", Needs::Lifecycle)));
        assert_eq!(defined("sampling/createMessage"), Some(("sampling/createMessage", Needs::Server)));
        for free in ["tasks/get", "tasks/update", "notifications/tasks/status", "message/send", ""] {
            assert_eq!(defined(free), None, "{free}");
        }
        assert!(is_notification("notifications/x") && !is_notification("notification/x"));
    }

    /// Returns the methods of a schema, each with whether clients send it.
    fn methods_of(schema: &Value) -> BTreeMap<String, bool> {
        let definitions = schema.get("$defs").or_else(|| schema.get("definitions")).unwrap().as_object().unwrap();
        let method = |definition: &Value| Some(definition.pointer("/properties/method/const")?.as_str()?.to_owned());
        let mut sent = BTreeSet::new();
        for union in ["ClientRequest", "ClientNotification"] {
            let union = &definitions[union];
            // A union of one type is that type.
            sent.extend(method(union));
            for part in union.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
                let name = part["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                sent.extend(method(&definitions[name]));
            }
        }
        let all = definitions.values().filter_map(method);
        all.map(|method| (method.clone(), sent.contains(&method))).collect()
    }

    /// Compares the table with the schemas, if they are next to the workspace.
    #[test]
    fn every_method_of_the_schemas_has_a_row() {
        for revision in ALL {
            let file = format!("../shared/vectors/mcp/schema-{}.json", revision.name());
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let Ok(text) = std::fs::read(&path) else {
                eprintln!("not run: {} is not here", path.display());
                return;
            };
            let methods = methods_of(&serde_json::from_slice(&text).unwrap());
            let rows = METHODS.iter().filter(|(_, _, first, last)| (*first..=*last).contains(&revision));
            let rows: BTreeMap<String, bool> =
                rows.map(|(method, needs, ..)| ((*method).to_owned(), *needs != Needs::Server)).collect();
            assert!(methods.len() >= 20, "{methods:?}");
            assert_eq!(rows, methods, "{}", revision.name());
        }
    }
}
