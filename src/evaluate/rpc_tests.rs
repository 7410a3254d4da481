//! Tests of messages through the whole evaluation. The corpus has the messages; here is what its cases cannot state.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::decision::trace::{Check, Trace};
use crate::decision::{Decision, Rule};
use crate::document::Place;
use crate::evaluate::{Need, Outcome, Pending};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request};
use crate::testing::{self, NOW, Worker};
use crate::text::time::Timestamp;

const JSON: (&str, &str) = ("content-type", "application/json");

fn rpc() -> Value {
    json!({
        "protocol": "mcp", "revisions": ["2025-11-25", "2026-07-28"], "origins": ["https://chat.example.com"],
        "lifecycle_limits": ["life"],
        "tools": [
            { "name": "search", "effect": "read", "scopes": "none" },
            { "name": "create", "effect": "write", "scopes": ["w"], "limits": ["each"], "cost": 3,
              "bind": { "argument./owner": "token.org", "argument./a.b": { "at_most": 9 } } },
            { "name": "pinned", "effect": "read", "scopes": "none", "pin": ["0a".repeat(32)] }
        ],
        "resources": [
            { "uri": "urn:a", "effect": "read", "scopes": "none", "limits": ["each"] },
            { "uri": "notes://{name}", "effect": "read", "scopes": "none", "bind": { "uri.name": "token.org" } }
        ],
        "prompts": [{ "name": "greet", "effect": "read", "scopes": "none", "bind": { "argument./team": "token.org" } }],
        "methods": [{ "name": "tasks/get", "effect": "read", "scopes": "none", "bind": { "params./taskId": "token.org" } }]
    })
}

fn document(changes: Value) -> Value {
    let limit = |per: Value| json!({ "per": per, "rate": "1/1h", "burst": 6 });
    testing::with(
        testing::document(json!({
            "issuers": { "corp": testing::issuer() },
            "agents": { "a": testing::agent("agent") },
            "limits": { "all": limit(json!("agent")), "each": limit(json!(["agent", "tool"])), "life": limit(json!("agent")) },
            "endpoints": [
                { "id": "mcp", "methods": ["POST", "GET"], "path": "/mcp", "effect": "read", "scopes": "none",
                  "limits": ["all"], "max_json": "4KiB", "rpc": rpc() }
            ]
        })),
        changes,
    )
}

fn worker() -> Worker {
    Worker::new(testing::policy(document(json!({}))))
}

fn credential() -> String {
    testing::bearer(json!({ "scope": "w", "org": "acme" }))
}

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// Passes the outcome of the headers of a request to `then`.
fn headers<T>(
    worker: &Worker,
    method: &str,
    extra: &[(&str, &str)],
    end_of_stream: bool,
    then: impl FnOnce(Outcome<'_>) -> T,
) -> T {
    let credential = credential();
    let lines = [
        (":method", method),
        (":path", "/mcp"),
        (":authority", "api.example.com"),
        ("authorization", credential.as_str()),
    ];
    let headers: Headers = lines.iter().chain(extra).copied().collect();
    worker.set_clock(NOW);
    let request =
        Request { headers: &headers, end_of_stream, source: None, certificate: None, now: now(), id: DecisionId(7) };
    then(worker.engine.decide(request).unwrap())
}

/// Passes the decision about a request to `then`.
fn decided<T>(
    worker: &Worker,
    method: &str,
    extra: &[(&str, &str)],
    body: &str,
    then: impl FnOnce(&Decision<'_>) -> T,
) -> T {
    headers(worker, method, extra, body.is_empty(), |outcome| match outcome {
        Outcome::Decided(decision) => then(&decision),
        Outcome::Pending(mut pending) => {
            let _ = pending.receive(body.as_bytes());
            then(&worker.engine.resume(pending, now()).unwrap())
        }
    })
}

/// Returns the reason for which a message is denied, or `None` if it is allowed.
fn reason(worker: &Worker, body: &str) -> Option<Reason> {
    decided(worker, "POST", &[JSON], body, |decision| match decision {
        Decision::Deny(deny) => Some(deny.reason()),
        Decision::Allow(_) | Decision::Serve(_) => None,
    })
}

/// Returns the status and the body of the answer to a denied request.
fn answer(worker: &Worker, method: &str, extra: &[(&str, &str)], body: &str) -> (u16, String) {
    decided(worker, method, extra, body, |decision| {
        let Decision::Deny(deny) = decision else { panic!("{body} is allowed") };
        let answer = deny.answer();
        (answer.status, answer.body)
    })
}

fn message(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

fn tool(name: &str, arguments: &Value) -> String {
    message("tools/call", &json!({ "name": name, "arguments": arguments }))
}

#[test]
fn answers_repeat_the_id_exactly_as_sent() {
    let worker = worker();
    for id in [
        "1",
        "0",
        "-7",
        "123456789012345678901234567890",
        "\"\"",
        "\"a\"",
        r#""\u0061""#,
        r#""a\/b\\\"""#,
        r#""\u2028\ud83d\ude00""#,
        "\"\u{2028}é\"",
    ] {
        let body = format!(r#"{{"method":"tools/call","params":{{"name":"x"}}, "id" : {id} ,"jsonrpc":"2.0"}}"#);
        let (status, answer) = answer(&worker, "POST", &[JSON], &body);
        assert_eq!(status, 200, "{id}");
        assert!(answer.starts_with(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{")), "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["data"]["code"], "operation_not_allowed");
    }
}

#[test]
fn answers_have_no_id_if_the_message_was_not_read() {
    let worker = worker();
    let good = tool("search", &json!({}));
    for (extra, body, status) in [
        (&[JSON][..], "{", 400),
        (&[JSON], "[]", 400),
        (&[JSON], &*good.replace("\"id\":1", "\"id\":1.0"), 400),
        (&[JSON], &*good.replace("2.0", "1.0"), 400),
        (&[], &*good, 415),
        (&[JSON, ("origin", "https://evil.example.com")], &*good, 403),
        (&[JSON, ("content-length", "5000")], &*good, 413),
    ] {
        let (answered, body) = answer(&worker, "POST", extra, body);
        assert_eq!(answered, status, "{body}");
        assert!(body.starts_with("{\"jsonrpc\":\"2.0\",\"error\":{"), "{body}");
    }
    let (status, body) = answer(&worker, "GET", &[("mcp-protocol-version", "2026-07-28")], "");
    assert_eq!(status, 405);
    assert!(body.contains("\"type\":"), "{body}");
}

#[test]
fn a_message_that_never_ends_is_answered_without_an_id_and_costs_nothing() {
    let worker = worker();
    let body = tool("create", &json!({ "owner": "acme", "a.b": 1 }));
    for _ in 0..3 {
        let (status, answer) = headers(&worker, "POST", &[JSON], false, |outcome| {
            let Outcome::Pending(mut pending) = outcome else { panic!("it is not held") };
            assert_eq!(pending.receive(&body.as_bytes()[..body.len() - 1]), Need::More);
            let Decision::Deny(deny) = Pending::time_out(pending, Some(now())) else { panic!("it is allowed") };
            (deny.answer().status, deny.answer().body)
        });
        assert_eq!(status, 408);
        assert!(answer.starts_with("{\"jsonrpc\":\"2.0\",\"error\":{\"code\":408,"), "{answer}");
    }
    assert_eq!(worker.held.total(), 0);
    assert_eq!([reason(&worker, &body), reason(&worker, &body)], [None, None]);
    assert_eq!(reason(&worker, &body), Some(Reason::RateLimited));
}

/// Returns the place of an entry of `rpc`.
fn entry(list: &str, index: usize) -> Place {
    Place::root().field("endpoints").index(0).field("rpc").field(list).index(index)
}

/// Returns the rule for which a message is denied.
fn rule(worker: &Worker, method: &str, extra: &[(&str, &str)], body: &str) -> String {
    decided(worker, method, extra, body, |decision| {
        let Decision::Deny(deny) = decision else { panic!("{body} is allowed") };
        deny.denial.rule.to_string()
    })
}

#[test]
fn rules_of_operations_are_places_of_the_policy() {
    let worker = worker();
    for (body, place) in [
        (tool("create", &json!({ "a.b": 1 })), entry("tools", 1).field("bind").field("argument./owner")),
        (
            tool("create", &json!({ "owner": "acme", "a.b": 10 })),
            entry("tools", 1).field("bind").field("argument./a.b"),
        ),
        (
            message("resources/read", &json!({ "uri": "notes://x" })),
            entry("resources", 1).field("bind").field("uri.name"),
        ),
        (
            message("prompts/get", &json!({ "name": "greet" })),
            entry("prompts", 0).field("bind").field("argument./team"),
        ),
        (message("tasks/get", &json!({})), entry("methods", 0).field("bind").field("params./taskId")),
        (tool("x", &json!({})), Place::root().field("endpoints").index(0).field("rpc")),
        ("{".to_owned(), Place::root().field("endpoints").index(0).field("rpc")),
    ] {
        assert_eq!(rule(&worker, "POST", &[JSON], &body), place.as_str(), "{body}");
    }
    assert_eq!(
        rule(&worker, "POST", &[JSON], &tool("create", &json!({}))),
        r#"endpoints[0].rpc.tools[1].bind["argument./a.b"]"#
    );
    let other = ("origin", "https://evil.example.com");
    assert_eq!(rule(&worker, "POST", &[JSON, other], "{}"), "endpoints[0].rpc.origins");
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(rule(&worker, "POST", &[JSON], response), "endpoints[0].rpc.client_responses");
    let older = ("mcp-protocol-version", "2025-06-18");
    assert_eq!(rule(&worker, "POST", &[JSON, older], &tool("search", &json!({}))), "endpoints[0].rpc.revisions");
    assert_eq!(rule(&worker, "GET", &[older], ""), "endpoints[0].rpc.revisions");
    assert_eq!(rule(&worker, "POST", &[JSON, ("content-length", "5000")], "{}"), "endpoints[0].max_json");
}

/// An operator looks for the rule of a record where `callgate check` reported the same field.
#[test]
fn findings_name_a_binding_of_an_operation_as_records_do() {
    let mut wrong = document(json!({}));
    wrong["endpoints"][0]["rpc"]["tools"][1]["bind"] = json!({ "argument./owner": "tokens.org" });
    let findings = Policy::from_value(wrong, &testing::one_secret).unwrap_err();
    let places: Vec<&str> = findings.errors.iter().map(|finding| finding.place.as_str()).collect();
    let rule = Rule::OperationBinding("endpoints[0].rpc.tools[1]", "argument./owner").to_string();
    assert_eq!(places, [rule]);
}

/// Returns what is known about a message: its method, what it names, the places of its operations, its limits with the names of the
/// operations by which they count and with what they are charged, and its cost.
fn facts(worker: &Worker, extra: &[(&str, &str)], body: &str) -> (String, String, Vec<String>, Vec<String>, u32) {
    decided(worker, "POST", extra, body, |decision| {
        let known = decision.facts().rpc.as_deref().unwrap();
        let named = known.named.as_ref().map_or_else(String::new, |(kind, name)| format!("{} {name}", kind.name()));
        let limits = known.charges.iter().map(|charge| {
            let name = &worker.engine.policy().limits.list[charge.limit as usize].name;
            let of = charge.operation.map(|operation| format!(" of {}", operation.name)).unwrap_or_default();
            format!("{name}{of}: {}", charge.cost)
        });
        let places = known.operations.iter().map(|(operation, _)| operation.place.to_string()).collect();
        (known.method.as_deref().unwrap_or_default().to_owned(), named, places, limits.collect(), known.cost)
    })
}

#[test]
fn a_message_is_charged_to_the_limits_of_its_operations() {
    let worker = worker();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let fact = |method: &str, named: &str, places: &[&str], limits: &[&str], cost| {
        (method.to_owned(), named.to_owned(), texts(places), texts(limits), cost)
    };
    for (body, expected) in [
        (message("tools/list", &json!({})), fact("tools/list", "", &[], &["all: 1", "life: 1"], 1)),
        (
            tool("create", &json!({ "owner": "acme", "a.b": 1 })),
            fact("tools/call", "tool create", &["endpoints[0].rpc.tools[1]"], &["all: 3", "each of create: 3"], 3),
        ),
        (tool("search", &json!({})), fact("tools/call", "tool search", &["endpoints[0].rpc.tools[0]"], &["all: 1"], 1)),
        (tool("x", &json!({})), fact("tools/call", "tool x", &[], &["all: 1", "life: 1"], 1)),
        (
            message("resources/read", &json!({ "uri": "notes://acme" })),
            fact("resources/read", "resource notes://acme", &["endpoints[0].rpc.resources[1]"], &["all: 1"], 1),
        ),
        (
            message("completion/complete", &json!({ "ref": { "type": "ref/prompt", "name": "greet" } })),
            fact("completion/complete", "prompt greet", &["endpoints[0].rpc.prompts[0]"], &["all: 1"], 1),
        ),
        (
            message("completion/complete", &json!({ "ref": { "type": "ref/resource", "uri": "x://{y}" } })),
            fact("completion/complete", "resource x://{y}", &[], &["all: 1", "life: 1"], 1),
        ),
        (
            message("completion/complete", &json!({ "ref": { "type": "ref/tool", "name": "search" } })),
            fact("completion/complete", "", &[], &["all: 1", "life: 1"], 1),
        ),
        ("{".to_owned(), fact("", "", &[], &["all: 1"], 1)),
    ] {
        assert_eq!(facts(&worker, &[JSON], &body), expected, "{body}");
    }
}

const STATELESS: [(&str, &str); 3] =
    [JSON, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];

/// Returns a subscription to resources.
fn listen(uris: &[&str]) -> String {
    let version = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    message("subscriptions/listen", &json!({ "_meta": version, "notifications": { "resourceSubscriptions": uris } }))
}

#[test]
fn a_message_with_several_operations_counts_as_all_of_them() {
    let worker = worker();
    let body = listen(&["urn:a", "notes://acme", "urn:a"]);
    let (_, _, places, limits, cost) = facts(&worker, &STATELESS, &body);
    assert_eq!(cost, 3);
    assert_eq!(places, ["endpoints[0].rpc.resources[0]", "endpoints[0].rpc.resources[1]"]);
    // A limit counts only the resources to which it applies.
    assert_eq!(limits, ["all: 3", "each of urn:a: 2"]);
    // Each limit is reported once, and six of `all` are enough for two such messages: the first is above.
    let reported = |worker: &Worker| {
        decided(worker, "POST", &STATELESS, &body, |decision| {
            let limits = decision.facts().limits();
            let denied = matches!(decision, Decision::Deny(_));
            (denied, limits.0.iter().map(|report| (report.position, report.status.remaining)).collect::<Vec<_>>())
        })
    };
    assert_eq!(reported(&worker), (false, vec![(0, 0), (1, 1)]));
    assert_eq!(reported(&worker), (true, vec![(0, 0), (1, 1)]));
    assert_eq!(reason(&worker, &message("resources/read", &json!({ "uri": "urn:a" }))), Some(Reason::RateLimited));
}

/// One message could otherwise subscribe to 64 resources of a template for the price of one.
#[test]
fn each_resource_of_a_subscription_counts() {
    let body = listen(&["notes://acme"; 4]);
    let worker = worker();
    let (_, _, places, limits, cost) = facts(&worker, &STATELESS, &body);
    assert_eq!(
        (places, limits, cost),
        (vec!["endpoints[0].rpc.resources[1]".to_owned()], vec!["all: 4".to_owned()], 4)
    );
    // Two of six are left.
    let answered = answer(&worker, "POST", &STATELESS, &body);
    assert!(answered.1.contains("rate_limited"), "{answered:?}");
    assert_eq!(reason(&worker, &message("resources/read", &json!({ "uri": "notes://acme" }))), None);
}

#[test]
fn a_limit_of_one_operation_is_not_charged_for_others() {
    let mut limited = document(json!({}));
    let resource = |uri: &str, cost: u32, limit: &str| json!({ "uri": uri, "effect": "read", "scopes": "none", "limits": [limit], "cost": cost });
    limited["endpoints"][0]["limits"] = json!([]);
    limited["endpoints"][0]["rpc"]["resources"] =
        json!([resource("urn:a", 2, "all"), resource("urn:b", 3, "each"), resource("urn:c", 1, "all")]);
    let worker = Worker::new(testing::policy(limited));
    let (_, _, _, limits, cost) = facts(&worker, &STATELESS, &listen(&["urn:a", "urn:b", "urn:c"]));
    assert_eq!((limits, cost), (vec!["all: 3".to_owned(), "each of urn:b: 3".to_owned()], 6));
    let read = |uri: &str| reason(&worker, &message("resources/read", &json!({ "uri": uri })));
    // Three of each limit are left.
    assert_eq!([read("urn:b"), read("urn:b")], [None, Some(Reason::RateLimited)]);
    assert_eq!([read("urn:a"), read("urn:c"), read("urn:c")], [None, None, Some(Reason::RateLimited)]);
}

/// Whether a sum of costs exceeds a burst depends on the message, so the policy compiles.
#[test]
fn a_message_that_costs_more_than_a_burst_is_not_asked_to_come_back() {
    let mut expensive = document(json!({}));
    let resource = |uri: &str| json!({ "uri": uri, "effect": "read", "scopes": "none", "cost": 4 });
    expensive["endpoints"][0]["rpc"]["resources"] = json!([resource("urn:a"), resource("urn:b")]);
    let worker = Worker::new(testing::policy(expensive));
    let denied = |uris: &[&str]| {
        decided(&worker, "POST", &STATELESS, &listen(uris), |decision| {
            let Decision::Deny(deny) = decision else { return None };
            let headers = deny.answer().headers;
            let retry_after = headers.into_iter().find(|(name, _)| *name == "retry-after").map(|(_, value)| value);
            Some((deny.reason(), retry_after))
        })
    };
    assert_eq!(denied(&["urn:a", "urn:b"]), Some((Reason::RateLimited, None)), "8 of a burst of 6");
    assert_eq!(denied(&["urn:a"]), None, "the denial was not charged");
    assert_eq!(denied(&["urn:a", "urn:b"]), Some((Reason::RateLimited, None)));
    // This one can be repeated later.
    assert_eq!(denied(&["urn:b"]), Some((Reason::RateLimited, Some("7200".to_owned()))));
}

#[test]
fn a_tool_whose_definition_changed_is_denied_on_all_workers() {
    let first = worker();
    let second = Worker::joining(testing::policy(document(json!({}))), Rc::clone(&first.store), NOW);
    let pinned = tool("pinned", &json!({}));
    assert_eq!([reason(&first, &pinned), reason(&second, &pinned)], [None, None]);

    let endpoint = &first.engine.policy().endpoints.list[0];
    let operation = &endpoint.rpc.as_deref().unwrap().tools[2];
    assert!(first.engine.note_definition(endpoint, operation, true).unwrap());
    assert!(!first.engine.note_definition(endpoint, operation, true).unwrap());
    let changed = Some(Reason::ToolChanged);
    assert_eq!([reason(&first, &pinned), reason(&second, &pinned)], [changed, changed]);
    assert_eq!(reason(&second, &tool("search", &json!({}))), None);
    assert_eq!(answer(&second, "POST", &[JSON], &pinned).0, 200);

    // Another pin starts without the denial.
    let mut repinned = document(json!({}));
    repinned["endpoints"][0]["rpc"]["tools"][2]["pin"] = json!(["0b".repeat(32)]);
    let third = Worker::joining(testing::policy(repinned), Rc::clone(&first.store), NOW);
    assert_eq!(reason(&third, &pinned), None);

    assert!(second.engine.note_definition(endpoint, operation, false).unwrap());
    assert_eq!(reason(&first, &pinned), None);
}

#[test]
fn a_changed_tool_is_denied_before_its_scopes_are_asked_for() {
    let mut scoped = document(json!({}));
    scoped["endpoints"][0]["rpc"]["tools"][2]["scopes"] = json!(["other"]);
    let worker = Worker::new(testing::policy(scoped));
    let endpoint = &worker.engine.policy().endpoints.list[0];
    let operation = &endpoint.rpc.as_deref().unwrap().tools[2];
    let pinned = tool("pinned", &json!({}));
    assert_eq!(reason(&worker, &pinned), Some(Reason::InsufficientScope));
    assert!(worker.engine.note_definition(endpoint, operation, true).unwrap());
    assert_eq!(reason(&worker, &pinned), Some(Reason::ToolChanged));
}

#[test]
fn records_show_ids_as_json() {
    let worker = worker();
    let uuid = "\"6f9619ff-8b86-4011-b42d-00c04fc964ff\"";
    let long = format!("\"{}\"", "a1B2".repeat(20));
    for (id, shown) in [
        ("1", "1"),
        ("\"a b\"", "\"a b\""),
        (uuid, uuid),
        (r#""\u001b[0m""#, r#""\u001b[0m""#),
        ("\"\u{202e}\"", r#"\"\xe2\x80\xae\""#),
        (&*long, "[82 bytes, sha256 "),
    ] {
        let body = tool("x", &json!({})).replace("\"id\":1", &format!("\"id\":{id}"));
        let record = decided(&worker, "POST", &[JSON], &body, |decision| decision.record().to_json());
        let record: Value = serde_json::from_slice(&record).unwrap();
        let recorded = record["rpc"]["id"].as_str().unwrap();
        assert!(recorded == shown || shown.starts_with('[') && recorded.starts_with(shown), "{recorded}");
    }
}

#[test]
fn records_show_a_resource_of_a_subscription_and_how_many_it_names() {
    let worker = worker();
    let long = format!("urn:{}", "a b ".repeat(100));
    for (uris, uri, count) in [
        (&["urn:a"][..], json!("urn:a"), Value::Null),
        (&["urn:a", "notes://acme"], json!("urn:a"), json!(2)),
        (&["urn:a", "notes://acme", "urn:x", "urn:y"], json!("urn:x"), json!(4)),
        (&["urn:a"; 70], json!("urn:a"), json!(70)),
        (&[&*long], Value::Null, Value::Null),
        (&[], Value::Null, Value::Null),
    ] {
        let record = decided(&worker, "POST", &STATELESS, &listen(uris), |decision| decision.record().to_json());
        let record: Value = serde_json::from_slice(&record).unwrap();
        let rpc = &record["rpc"];
        assert_eq!((&rpc["method"], &rpc["uris"]), (&json!("subscriptions/listen"), &count), "{record}");
        if uris == [&*long] {
            assert!(rpc["uri"].as_str().unwrap().starts_with("[404 bytes, sha256 "), "{record}");
        } else {
            assert_eq!(rpc["uri"], uri, "{record}");
        }
    }
    // An ambiguous name is the reason, and nothing is shown.
    let body = listen(&["urn:a"]).replace("resourceSubscriptions", "ResourceSubscriptions");
    let (denied, named) = decided(&worker, "POST", &STATELESS, &body, |decision| {
        let known = decision.facts().rpc.as_deref().unwrap();
        (matches!(decision, Decision::Deny(deny) if deny.reason() == Reason::JsonAmbiguous), known.named.is_some())
    });
    assert_eq!((denied, named), (true, false));
}

#[test]
fn explains_the_message_and_what_it_uses() {
    let worker = worker();
    let credential = credential();
    let lines = [
        (":method", "POST"),
        (":path", "/mcp"),
        (":authority", "api.example.com"),
        ("authorization", credential.as_str()),
        JSON,
    ];
    let headers: Headers = lines.iter().copied().collect();
    worker.set_clock(NOW);
    let request = Request {
        headers: &headers,
        end_of_stream: false,
        source: None,
        certificate: None,
        now: now(),
        id: DecisionId(7),
    };
    let mut trace = Trace::new();
    let Outcome::Pending(mut pending) = worker.engine.explain(request, &mut trace).unwrap() else {
        panic!("it is not held")
    };
    let _ = pending.receive(tool("create", &json!({ "owner": "globex", "a.b": 1 })).as_bytes());
    let _ = worker.engine.resume_explained(pending, now(), &mut trace).unwrap();
    let shown: Vec<_> = trace
        .into_iter()
        .filter(|traced| matches!(traced.check, Check::Message | Check::Binding))
        .map(|traced| {
            let details: Vec<_> = traced.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
            (traced.denied, traced.rule, details.join(", "))
        })
        .collect();
    let row = |denied, rule: &str, details: &str| (denied, rule.to_owned(), details.to_owned());
    assert_eq!(
        shown,
        [
            row(None, "endpoints[0].rpc", ""),
            row(None, "endpoints[0].rpc", "method tools/call, tool create, operation endpoints[0].rpc.tools[1]"),
            row(
                None,
                "endpoints[0].rpc.tools[1].bind[\"argument./a.b\"]",
                "part argument./a.b, is 1, must be at most 9"
            ),
            row(
                Some(Reason::BindingMismatch),
                "endpoints[0].rpc.tools[1].bind[\"argument./owner\"]",
                "part argument./owner, is globex, must be token.org, which is \"acme\""
            ),
        ]
    );
}
