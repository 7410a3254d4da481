//! What is cut out of messages, and which messages are unreadable.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Hides names with `hidden`, and treats names with `changed` as changed.
struct ByName;

impl Listed for ByName {
    fn shows(&self, kind: ListKind, name: &str, definition: Json<'_>) -> Shown {
        let own = definition.member(kind.identifier()).unwrap().unwrap();
        assert_eq!(own.string().unwrap(), name, "the definition is that of the name");
        if name.contains("hidden") {
            Shown::No
        } else if name.contains("changed") {
            Shown::Changed
        } else {
            Shown::Yes
        }
    }

    fn is_changed_by_spelling(&self, _: ListKind, name: &str) -> bool {
        name.contains("changed")
    }
}

fn filtered(text: &str) -> (Filtered, Removed) {
    let mut removed = Removed::default();
    let filtered = filter(text.as_bytes(), 1 << 22, &ByName, &mut removed);
    (filtered, removed)
}

/// Returns the new text. Panics for another outcome.
fn changed(text: &str) -> String {
    match filtered(text).0 {
        Filtered::Changed(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?} for {text}"),
    }
}

#[test]
fn cuts_items_and_their_commas() {
    for (list, expected) in [
        (r#"[{"name":"hidden"}]"#, "[]"),
        (r#"[ {"name":"hidden"} ]"#, "[  ]"),
        (r#"[{"name":"hidden"},{"name":"hidden"}]"#, "[]"),
        (r#"[{"name":"hidden"},{"name":"a"}]"#, r#"[{"name":"a"}]"#),
        (r#"[{"name":"a"},{"name":"hidden"}]"#, r#"[{"name":"a"}]"#),
        (r#"[{"name":"a"},{"name":"hidden"},{"name":"b"}]"#, r#"[{"name":"a"},{"name":"b"}]"#),
        (
            r#"[{"name":"hidden"},{"name":"hidden"},{"name":"a"},{"name":"hidden"},{"name":"hidden"}]"#,
            r#"[{"name":"a"}]"#,
        ),
        (
            r#"[{"name":"hidden"},{"name":"a"},{"name":"hidden"},{"name":"hidden"},{"name":"b"},{"name":"hidden"}]"#,
            r#"[{"name":"a"},{"name":"b"}]"#,
        ),
        (
            "[\n  {\"name\":\"a\"} ,\n  {\"name\":\"hidden\"} ,\n  {\"name\":\"b\"}\n]",
            "[\n  {\"name\":\"a\"} ,\n  {\"name\":\"b\"}\n]",
        ),
        ("[\n  {\"name\":\"hidden\"} ,\n  {\"name\":\"b\"}\n]", "[\n  {\"name\":\"b\"}\n]"),
        ("[\n  {\"name\":\"b\"} ,\n  {\"name\":\"hidden\"}\n]", "[\n  {\"name\":\"b\"}\n]"),
    ] {
        for (before, after) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"tools":"#, "}}"),
            (
                " \r\n\t{ \"result\" : {\"nextCursor\":\"a,]\", \"tools\" : ",
                " , \"x\" : [1, 2.50, \"\\u0061\"] } , \"id\" : \"x\" }\n ",
            ),
        ] {
            assert_eq!(changed(&format!("{before}{list}{after}")), format!("{before}{expected}{after}"));
        }
    }
}

#[test]
fn filters_each_list_by_the_identifier_of_its_items() {
    let text = r#"{"result":{"resourceTemplates":[{"uriTemplate":"hidden://{x}","name":"a"},{"uriTemplate":"a://{x}","name":"hidden"}],"tools":[{"name":"a","title":"hidden"},{"name":"hidden","title":"a"}],"prompts":[{"name":"hidden"}],"resources":[{"uri":"hidden://a","name":"a"},{"name":"hidden","uri":"a://a"}]}}"#;
    let expected = r#"{"result":{"resourceTemplates":[{"uriTemplate":"a://{x}","name":"hidden"}],"tools":[{"name":"a","title":"hidden"}],"prompts":[],"resources":[{"name":"hidden","uri":"a://a"}]}}"#;
    assert_eq!(changed(text), expected);
    let (_, removed) = filtered(text);
    assert!(ListKind::ALL.into_iter().all(|kind| removed.count(kind) == 1), "{removed:?}");
    assert_eq!(removed.changed().count(), 0);
}

#[test]
fn every_spelling_of_a_name_is_read() {
    for item in [
        r#"{"name":"hidd\u0065n"}"#,
        r#"{"n\u0061me":"hidden"}"#,
        r#"{"\u006e\u0061\u006d\u0065":"\u0068idden","x":"a"}"#,
        "{\r\n\"name\"\t:\n\"hidden\" }",
    ] {
        assert_eq!(changed(&format!(r#"{{"result":{{"tools":[{item}]}}}}"#)), r#"{"result":{"tools":[]}}"#);
        let spelled = format!(r#"{{"r\u0065sult":{{"t\u006fols":[{item},{{"name":"a"}}]}}}}"#);
        assert_eq!(changed(&spelled), r#"{"r\u0065sult":{"t\u006fols":[{"name":"a"}]}}"#);
    }
}

#[test]
fn items_without_a_readable_identifier_are_removed() {
    for item in [
        "{}",
        "7",
        "null",
        "\"a\"",
        "[{\"name\":\"a\"}]",
        r#"{"name":7}"#,
        r#"{"name":null}"#,
        r#"{"name":["a"]}"#,
        r#"{"Name":"a"}"#,
        r#"{"name":"a","NAME":"b"}"#,
        r#"{"name":"a","name\u0000":"b"}"#,
        r#"{"title":"a","uri":"a"}"#,
    ] {
        let text = format!(r#"{{"result":{{"tools":[{{"name":"a"}},{item}]}}}}"#);
        assert_eq!(changed(&text), r#"{"result":{"tools":[{"name":"a"}]}}"#, "{item}");
        assert_eq!(filtered(&text).1.count(ListKind::Tools), 1);
    }
    for (text, kind) in [
        (r#"{"result":{"resources":[{"name":"a"}]}}"#, ListKind::Resources),
        (r#"{"result":{"resourceTemplates":[{"name":"a","uri":"a://a"}]}}"#, ListKind::ResourceTemplates),
        (r#"{"result":{"prompts":[{"uri":"a"}]}}"#, ListKind::Prompts),
    ] {
        assert!(changed(text).contains("[]") && filtered(text).1.count(kind) == 1, "{text}");
    }
}

#[test]
fn messages_without_lists_stay_as_they_are() {
    for text in [
        "{}",
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"hidden"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"tools":[{"name":"hidden"}],"Tools":1,"tOols":2}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x","data":{"tools":[{"name":"hidden"}]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        // Names that differ in case only are usual in schemas.
        r#"{"result":{"content":[],"structuredContent":{"tools":[{"name":"hidden"}],"Tools":[],"a":1,"A":2}}}"#,
        r#"{"result":{"capabilities":{"tools":{},"resources":{"subscribe":true},"prompts":{}},"cacheScope":"public"}}"#,
        r#"{"result":{"contents":[{"uri":"hidden://a","text":"x"}],"ttlMs":5,"cacheScope":"public"}}"#,
        r#"{"result":{"content":[{"type":"text","text":"{\"tools\":[{\"name\":\"hidden\"}]}"}]}}"#,
        // Lists in which everything is shown, or that are empty.
        r#"{"result":{"tools":[{"name":"a","inputSchema":{"properties":{"id":{},"ID":{},"name":{"name":"hidden"}}}}]}}"#,
        r#"{"result":{"tools":[],"resources":[ ],"prompts":null}}"#,
        r#"{"result":{"tools":[],"ttlMs":5,"cacheScope":"private"}}"#,
        // A server's own way to write numbers and strings is kept.
        " {\"result\" : {\"tools\": [ {\"name\":\"a\",\"x\":[1.0e+2,0.10,-0,\"\\/\\u00e9\"]} ] } } \r\n",
    ] {
        assert_eq!(filtered(text), (Filtered::Untouched, Removed::default()), "{text}");
    }
}

#[test]
fn messages_that_readers_could_read_differently_are_unreadable() {
    for text in [
        "",
        " ",
        "null",
        "7",
        "\"{}\"",
        // Batches.
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden"}]}}]"#,
        r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
        // Two values.
        r#"{"result":{}}{"result":{"tools":[]}}"#,
        r#"{"result":{}},"#,
        // Names twice, and names that some readers take for those.
        r#"{"result":{},"result":{"tools":[]}}"#,
        r#"{"result":{},"r\u0065sult":{"tools":[]}}"#,
        r#"{"result":{"tools":[],"tools":[{"name":"hidden"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","name":"hidden"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","inputSchema":{"type":"object","type":"array"}}]}}"#,
        r#"{"Result":{"tools":[{"name":"hidden"}]}}"#,
        r#"{"result\u0000":{"tools":[{"name":"hidden"}]}}"#,
        r#"{"result":{"Tools":[{"name":"hidden"}]}}"#,
        r#"{"result":{"tools":[],"TOOLS":[{"name":"hidden"}]}}"#,
        "{\"re\u{17f}ult\":{}}",
        r#"{"result":{"resourcetemplates":[]}}"#,
        r#"{"result":{"tools":[],"CacheScope":"public"}}"#,
        r#"{"id":1,"id":2,"result":{}}"#,
        // Other types.
        r#"{"result":[{"tools":[{"name":"hidden"}]}]}"#,
        r#"{"result":"x"}"#,
        r#"{"result":true}"#,
        r#"{"result":{"tools":{"a":{"name":"hidden"}}}}"#,
        r#"{"result":{"tools":"x"}}"#,
        r#"{"result":{"prompts":[],"resources":7}}"#,
        // Not JSON.
        "\u{feff}{\"result\":{}}",
        "{\"result\":{}}\0",
        "{\"result\":{\"tools\":[{\"name\":\"a\"},]}}",
        "{\"result\":{\"tools\":[{\"name\":\"\n\"}]}}",
        "{'result':{}}",
        "{\"result\":{\"tools\":[{\"name\":\"\\ud800\"}]}}",
        "{\"result\":{/**/}}",
        "{\"result\":NaN}",
        "{\"result\":",
        "data: {}",
    ] {
        assert_eq!(filtered(text), (Filtered::Unreadable, Removed::default()), "{text}");
    }
    let mut removed = Removed::default();
    assert_eq!(filter(b"{\"result\":\"\xff\"}", 100, &ByName, &mut removed), Filtered::Unreadable);
    assert_eq!(filter(b"{ }", 3, &ByName, &mut removed), Filtered::Untouched);
    assert_eq!(filter(b"{ }", 2, &ByName, &mut removed), Filtered::Unreadable);
    let deep = |levels: usize| format!("{{\"result\":{}{}}}", "{\"a\":".repeat(levels) + "1", "}".repeat(levels));
    assert_eq!(filtered(&deep(63)).0, Filtered::Untouched);
    assert_eq!(filtered(&deep(64)).0, Filtered::Unreadable);
}

#[test]
fn filtered_lists_are_private() {
    for (text, expected) in [
        (r#"{"result":{"tools":[],"cacheScope":"public"}}"#, r#"{"result":{"tools":[],"cacheScope":"private"}}"#),
        (
            r#"{"result":{"cacheScope" : "publi\u0063" , "tools":[{"name":"hidden"}],"ttlMs":1}}"#,
            r#"{"result":{"cacheScope" : "private" , "tools":[],"ttlMs":1}}"#,
        ),
        (r#"{"result":{"prompts":null,"cacheScope":null}}"#, r#"{"result":{"prompts":null,"cacheScope":"private"}}"#),
        (r#"{"result":{"tools":[],"cacheScope":{"a":[1]}}}"#, r#"{"result":{"tools":[],"cacheScope":"private"}}"#),
        (
            r#"{"result":{"ttlMs": 3600000 ,"tools":[]}}"#,
            r#"{"result":{"ttlMs": 3600000,"cacheScope":"private" ,"tools":[]}}"#,
        ),
        (r#"{"result":{"resources":[],"ttlMs":0}}"#, r#"{"result":{"resources":[],"ttlMs":0,"cacheScope":"private"}}"#),
    ] {
        assert_eq!(changed(text), expected);
    }
    // Before 2026, results have neither.
    assert_eq!(changed(r#"{"result":{"tools":[{"name":"hidden"}]}}"#), r#"{"result":{"tools":[]}}"#);
}

#[test]
fn reports_changed_definitions_by_name() {
    let text = r#"{"result":{"tools":[{"name":"changed 1"},{"name":"a"},{"name":"hidden"},{"name":"changed 2"},{"name":"changed 1"}]}}"#;
    assert_eq!(changed(text), r#"{"result":{"tools":[{"name":"a"}]}}"#);
    let (_, removed) = filtered(text);
    assert_eq!(removed.count(ListKind::Tools), 4);
    assert_eq!(removed.changed().collect::<Vec<_>>(), ["changed 1", "changed 2"]);

    let items: Vec<_> = (0..100).map(|n| json!({ "name": format!("changed {n}") })).collect();
    let long = json!({ "name": "changed".repeat(100) });
    let text = json!({ "result": { "tools": [long, items[0]], "prompts": items } }).to_string();
    let (_, removed) = filtered(&text);
    assert_eq!((removed.count(ListKind::Tools), removed.count(ListKind::Prompts)), (2, 100));
    assert_eq!(removed.changed().count(), MOST_CHANGED, "names are bounded");
    assert!(removed.changed().all(|name| name.len() <= LONGEST_NAME));
}

#[test]
fn an_ambiguous_identifier_does_not_hide_a_change() {
    for (item, names) in [
        (r#"{"name":"changed 1","Name":"changed 1"}"#, &["changed 1"][..]),
        (
            r#"{"name":"changed 1","NAME":"changed 2","name\u0000":"changed 3"}"#,
            &["changed 1", "changed 2", "changed 3"],
        ),
        (r#"{"Name":"changed 1"}"#, &["changed 1"]),
        (r#"{"name":"a","\u0000name":"changed 1","Name":7}"#, &["changed 1"]),
        (r#"{"name":"a","Name":"b"}"#, &[]),
        (r#"{"name":"a","Name":["changed 1"],"Title":"changed 1"}"#, &[]),
        (r#"{"title":"changed 1"}"#, &[]),
    ] {
        let text = format!(r#"{{"result":{{"tools":[{{"name":"a"}},{item}]}}}}"#);
        assert_eq!(changed(&text), r#"{"result":{"tools":[{"name":"a"}]}}"#, "{item}");
        let (_, removed) = filtered(&text);
        assert_eq!(removed.count(ListKind::Tools), 1, "{item}");
        assert_eq!(removed.changed().collect::<Vec<_>>(), names, "{item}");
    }
}

#[test]
fn long_lists_take_linear_time() {
    let started = Instant::now();
    for item in ["{\"name\":\"hidden\"}", "{\"name\":\"a\"}", "7", "{\"name\":\"a\"},{\"name\":\"hidden\"}"] {
        let items = vec![item; (1 << 20) / (item.len() + 1)].join(",");
        let text = format!("{{\"result\":{{\"tools\":[{items}],\"prompts\":[{items}]}}}}");
        let (filtered, _) = filtered(&text);
        assert_ne!(filtered, Filtered::Unreadable);
    }
    let names: String = (0..1 << 16).map(|n| format!("\"{n}\":{{}},")).collect();
    assert_eq!(filtered(&format!("{{\"result\":{{{names}\"tools\":[]}}}}")).0, Filtered::Untouched);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// Filters a message as a tree.
fn filtered_tree(mut message: Value) -> Value {
    let Some(result) = message.get_mut("result").and_then(Value::as_object_mut) else { return message };
    let mut has_list = false;
    for (list, identifier) in
        [("tools", "name"), ("resources", "uri"), ("resourceTemplates", "uriTemplate"), ("prompts", "name")]
    {
        has_list |= result.contains_key(list);
        if let Some(items) = result.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| {
                let name = item.get(identifier).and_then(Value::as_str);
                name.is_some_and(|name| !name.contains("hidden") && !name.contains("changed"))
            });
        }
    }
    if has_list && (result.contains_key("cacheScope") || result.contains_key("ttlMs")) {
        result.insert("cacheScope".to_owned(), json!("private"));
    }
    message
}

/// A message with lists of items, most of which have an identifier, and with other members.
fn message() -> impl Strategy<Value = Value> {
    let name = || prop_oneof!["[a-z\"\\\\\u{e9}/{}]{0,5}", "hidden|changed|hid\\\\u0064en"];
    let leaf = move || {
        prop_oneof![
            Just(json!(null)),
            any::<i32>().prop_map(Value::from),
            name().prop_map(Value::from),
            Just(json!({ "tools": [{ "name": "hidden" }] }))
        ]
    };
    let item = move || {
        let members = (proptest::option::weighted(0.9, name()), proptest::option::of(name()), leaf());
        prop_oneof![
            9 => members.prop_map(|(name, uri, other)| {
                let mut item = json!({ "description": other });
                for (member, value) in [("name", &name), ("uri", &uri), ("uriTemplate", &name)] {
                    if let Some(value) = value {
                        item[member] = value.as_str().into();
                    }
                }
                item
            }),
            1 => leaf(),
        ]
    };
    let list = move || proptest::option::of(proptest::collection::vec(item(), 0..7));
    let lists = (list(), list(), list(), list());
    let others = (proptest::option::of(prop_oneof![Just("public"), Just("private")]), any::<Option<u16>>(), leaf());
    (lists, others).prop_map(|((tools, resources, templates, prompts), (scope, ttl, other))| {
        let mut result = json!({ "nextCursor": other });
        let lists =
            [("tools", tools), ("resources", resources), ("resourceTemplates", templates), ("prompts", prompts)];
        for (member, list) in lists {
            if let Some(list) = list {
                result[member] = list.into();
            }
        }
        if let Some(scope) = scope {
            result["cacheScope"] = scope.into();
        }
        if let Some(ttl) = ttl {
            result["ttlMs"] = ttl.into();
        }
        json!({ "jsonrpc": "2.0", "id": 1, "result": result })
    })
}

proptest! {
    #[test]
    fn filters_like_a_tree(message in message(), is_pretty: bool) {
        let text = if is_pretty { format!("{message:#}") } else { message.to_string() };
        let expected = filtered_tree(message.clone());
        let changed = match filtered(&text).0 {
            Filtered::Changed(changed) => changed,
            other => {
                prop_assert_eq!(other, Filtered::Untouched, "{}", text);
                prop_assert_eq!(expected, message);
                return Ok(());
            }
        };
        let read: Value = serde_json::from_slice(&changed).unwrap();
        prop_assert_eq!(&read, &expected, "{}", text);
        prop_assert!(changed != text.as_bytes());
        prop_assert_eq!(filtered(str::from_utf8(&changed).unwrap()).0, Filtered::Untouched, "once is enough");
    }
}
