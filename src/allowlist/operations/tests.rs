use serde_json::{Value, json};

use super::*;
use crate::allowlist::binding::{Bound, Side};
use crate::document::{FormatSuffixes, Operator};
use crate::request::json::{Json, JsonBounds, Names};
use crate::request::rpc::{self, Message, RpcRequest};

const JUNE: McpRevision = McpRevision::V2025_06_18;
const NOVEMBER: McpRevision = McpRevision::V2025_11_25;
const STATELESS: McpRevision = McpRevision::V2026_07_28;

fn operation(kind: OperationKind, name: &str, bindings: Vec<Binding>) -> Operation {
    Operation {
        kind,
        name: name.into(),
        effect: Effect::Read,
        scopes: ScopesWanted::default(),
        bindings,
        limits: Vec::new(),
        cost: 1,
        headers: Vec::new(),
        pins: Vec::new(),
        place: "".into(),
        delegation: None,
        reach: None,
    }
}

/// Returns a binding of a part to a value.
fn bound(part: Bound, value: Value) -> Binding {
    Binding {
        part,
        operator: Operator::Equals,
        side: Side::Literal(Box::new(value)),
        written: ("part".into(), "value".into()),
    }
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

/// Returns the resources with these templates, all with these bindings.
pub(super) fn resources(templates: &[&str], bindings: &[Binding]) -> Resources {
    let parsed: Vec<_> = (0..).zip(templates.iter().map(|text| UriTemplate::parse(text).unwrap())).collect();
    let lookup = Lookup::build(&parsed, FormatSuffixes::Reject);
    assert!(lookup.errors.is_empty(), "{:?}", lookup.errors);
    let list = templates.iter().map(|text| operation(OperationKind::Resource, text, bindings.to_vec())).collect();
    Resources::new(list, lookup)
}

fn server() -> Rpc {
    let owner = bound(Bound::Argument(pointer("/owner")), json!("acme"));
    let team = bound(Bound::Argument(pointer("/team")), json!("blue"));
    let task = bound(Bound::Params(pointer("/taskId")), json!("t1"));
    Rpc {
        protocol: RpcProtocol::Mcp,
        revisions: vec![JUNE, NOVEMBER, STATELESS],
        origins: vec!["https://chat.example.com".into()],
        denials: RpcDenials::Rpc,
        client_responses: false,
        list: RpcList::Reachable,
        max_answer: 1024,
        lifecycle_limits: Vec::new(),
        tools: vec![
            operation(OperationKind::Tool, "pay", vec![owner]),
            operation(OperationKind::Tool, "Pay", Vec::new()),
        ],
        resources: resources(
            &["file:///reports/{team}/{file...}", "urn:isbn:1", "file:///reports/shared/{file}"],
            &[bound(Bound::Uri(0), json!("blue"))],
        ),
        prompts: vec![operation(OperationKind::Prompt, "summarize", vec![team])],
        methods: vec![
            operation(OperationKind::Method, "tasks/get", vec![task]),
            operation(OperationKind::Method, "acme/ask", Vec::new()),
            operation(OperationKind::Method, "notifications/acme", Vec::new()),
            // The policy's compiler rejects these two, and the lookup does not depend on that.
            operation(OperationKind::Method, "tools/call", Vec::new()),
            operation(OperationKind::Method, "sampling/createMessage", Vec::new()),
        ],
    }
}

fn json(text: &str) -> Json<'_> {
    let bounds = JsonBounds { bytes: 1 << 20, depth: 64, names: Names::Folded };
    Json::parse(text.as_bytes(), bounds).unwrap_or_else(|fault| panic!("{fault:?} for {text}"))
}

fn message(text: &str) -> RpcRequest<'_> {
    match rpc::read(json(text)).unwrap_or_else(|fault| panic!("{fault:?} for {text}")) {
        Message::Request(request) | Message::Notification(request) => request,
        Message::Response => panic!("{text}"),
    }
}

fn literal(side: &Side) -> Option<&Value> {
    match side {
        Side::Literal(value) => Some(value),
        Side::Agent(_) | Side::Token(_) => None,
    }
}

/// Returns what a message asks for in a few words, and whether the bindings of its operations hold.
fn asked(rpc: &Rpc, revision: Option<McpRevision>, text: &str) -> Result<String, &'static str> {
    let found = rpc.find(revision, &message(text)).map_err(Reason::code)?;
    let operations = match found {
        Requested::Lifecycle => return Ok("lifecycle".to_owned()),
        Requested::List(kind) => return Ok(format!("{kind:?}")),
        Requested::Operations(operations) => operations,
    };
    assert!(!operations.is_empty());
    let mut names = Vec::new();
    for (operation, parts) in &operations {
        for binding in &operation.bindings {
            let value = parts.value(binding).map_err(Reason::code)?;
            let fits =
                value.zip(literal(&binding.side)).is_some_and(|(value, fact)| value.fits(binding.operator, fact));
            if !fits {
                return Err(Reason::BindingMismatch.code());
            }
        }
        names.push(format!("{} {}", operation.kind.name(), operation.name));
    }
    Ok(names.join(", "))
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

fn notification(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)
}

#[test]
fn finds_what_each_method_names() {
    let server = server();
    for (method, params, revisions, found) in [
        ("initialize", "{}", &[JUNE, NOVEMBER][..], "lifecycle"),
        ("ping", "{}", &[JUNE, NOVEMBER], "lifecycle"),
        ("server/discover", "{}", &[STATELESS], "lifecycle"),
        ("tools/list", "{}", &[JUNE, NOVEMBER, STATELESS], "Tools"),
        ("prompts/list", "{}", &[JUNE], "Prompts"),
        ("resources/list", r#"{"cursor":"x"}"#, &[STATELESS], "Resources"),
        ("resources/templates/list", "{}", &[NOVEMBER], "ResourceTemplates"),
        ("tools/call", r#"{"name":"pay","arguments":{"owner":"acme"}}"#, &[JUNE, NOVEMBER, STATELESS], "tool pay"),
        ("tools/call", r#"{"name":"Pay"}"#, &[JUNE], "tool Pay"),
        ("prompts/get", r#"{"name":"summarize","arguments":{"team":"blue"}}"#, &[STATELESS], "prompt summarize"),
        (
            "resources/read",
            r#"{"uri":"file:///reports/blue/a/b"}"#,
            &[JUNE, NOVEMBER, STATELESS],
            "resource file:///reports/{team}/{file...}",
        ),
        (
            "resources/subscribe",
            r#"{"uri":"file:///reports/blue/a"}"#,
            &[JUNE, NOVEMBER],
            "resource file:///reports/{team}/{file...}",
        ),
        ("tasks/get", r#"{"taskId":"t1"}"#, &[NOVEMBER, STATELESS], "method tasks/get"),
        ("acme/ask", "{}", &[JUNE, STATELESS], "method acme/ask"),
        ("subscriptions/listen", r#"{"notifications":{"toolsListChanged":true}}"#, &[STATELESS], "lifecycle"),
        ("subscriptions/listen", r#"{"notifications":{"resourceSubscriptions":[]}}"#, &[STATELESS], "lifecycle"),
    ] {
        for revision in revisions {
            let text = request(method, params);
            assert_eq!(asked(&server, Some(*revision), &text).as_deref(), Ok(found), "{revision:?} {text}");
        }
    }
    for method in ["notifications/cancelled", "notifications/initialized", "notifications/progress"] {
        assert_eq!(asked(&server, Some(NOVEMBER), &notification(method)).as_deref(), Ok("lifecycle"), "{method}");
    }
    let listed = asked(&server, Some(STATELESS), &notification("notifications/acme"));
    assert_eq!(listed.as_deref(), Ok("method notifications/acme"));
}

#[test]
fn denies_what_is_not_listed() {
    let server = server();
    for (method, params) in [
        ("tools/call", "{}"),
        ("tools/call", r#"{"name":"PAY"}"#),
        ("tools/call", r#"{"name":"pay "}"#),
        ("tools/call", r#"{"name":"pay\u0000"}"#),
        ("tools/call", r#"{"name":"p\u0430y"}"#),
        ("tools/call", r#"{"name":["pay"]}"#),
        ("tools/call", r#"{"name":null}"#),
        ("tools/call", r#"{"uri":"pay"}"#),
        ("tools/call", r#"{"name":"summarize"}"#),
        ("tools/call", r#"{"name":"tasks/get"}"#),
        ("prompts/get", r#"{"name":"pay"}"#),
        ("resources/read", r#"{"uri":"file:///reports"}"#),
        ("resources/read", r#"{"name":"urn:isbn:1"}"#),
        ("Tools/Call", r#"{"name":"pay","arguments":{"owner":"acme"}}"#),
        ("tools/call ", r#"{"name":"pay","arguments":{"owner":"acme"}}"#),
        ("tasks/list", "{}"),
        ("acme/Ask", "{}"),
        ("sampling/createMessage", "{}"),
        ("elicitation/create", "{}"),
        ("roots/list", "{}"),
        // Notifications have no id, and other messages have one.
        ("notifications/cancelled", "{}"),
        ("notifications/acme", "{}"),
    ] {
        for revision in [JUNE, NOVEMBER, STATELESS] {
            let text = request(method, params);
            assert_eq!(asked(&server, Some(revision), &text), Err("operation_not_allowed"), "{text}");
        }
    }
    for method in ["tools/call", "tools/list", "acme/ask", "ping", "initialize", "notifications/message"] {
        assert_eq!(asked(&server, Some(NOVEMBER), &notification(method)), Err("operation_not_allowed"), "{method}");
    }
    for method in ["initialize", "ping", "resources/subscribe", "logging/setLevel"] {
        let text = request(method, r#"{"uri":"urn:isbn:1"}"#);
        assert_eq!(asked(&server, Some(STATELESS), &text), Err("operation_not_allowed"), "{method}");
    }
    assert_eq!(asked(&server, Some(JUNE), &request("server/discover", "{}")), Err("operation_not_allowed"));
    assert_eq!(asked(&server, None, &request("tools/list", "{}")), Err("operation_not_allowed"));
}

#[test]
fn rejects_parameters_that_servers_read_differently() {
    let server = server();
    for (method, params) in [("tools/call", r#"["pay",{"owner":"acme"}]"#), ("tools/list", "[]"), ("acme/ask", "[1]")] {
        let text = request(method, params);
        assert_eq!(asked(&server, Some(NOVEMBER), &text), Err("rpc_malformed"), "{text}");
    }
    for (method, params) in [
        ("tools/call", r#"{"Name":"pay"}"#),
        ("tools/call", r#"{"name":"pay","Arguments":{"owner":"acme"}}"#),
        ("prompts/get", r#"{"name":"summarize","ARGUMENTS":{}}"#),
        ("resources/read", r#"{"URI":"urn:isbn:1"}"#),
        ("completion/complete", r#"{"Ref":{}}"#),
        ("completion/complete", r#"{"ref":{"Type":"ref/prompt","name":"summarize"}}"#),
    ] {
        let text = request(method, params);
        assert_eq!(asked(&server, Some(NOVEMBER), &text), Err("json_ambiguous"), "{text}");
    }
    for params in [
        "{}",
        r#"{"notifications":[]}"#,
        r#"{"notifications":{"resourceSubscriptions":"urn:isbn:1"}}"#,
        r#"{"notifications":{"resourceSubscriptions":null}}"#,
    ] {
        let text = request("subscriptions/listen", params);
        assert_eq!(asked(&server, Some(STATELESS), &text), Err("rpc_malformed"), "{text}");
    }
    let text = request("subscriptions/listen", r#"{"notifications":{"resourcesubscriptions":[]}}"#);
    assert_eq!(asked(&server, Some(STATELESS), &text), Err("json_ambiguous"));
}

#[test]
fn every_resource_of_a_subscription_must_be_listed() {
    let server = server();
    let listen = |uris: &str| {
        let params = format!(r#"{{"notifications":{{"resourceSubscriptions":[{uris}]}}}}"#);
        asked(&server, Some(STATELESS), &request("subscriptions/listen", &params))
    };
    let blue = r#""file:///reports/blue/a""#;
    let template = "resource file:///reports/{team}/{file...}";
    assert_eq!(listen(blue), Ok(template.to_owned()));
    assert_eq!(listen(&format!("{blue},{blue}")), Ok(format!("{template}, {template}")));
    assert_eq!(listen(&format!(r#"{blue},"file:///reports/red/a""#)), Err("binding_mismatch"));
    for other in ["\"file:///other\"", "7", "null", "[]", "\"\""] {
        assert_eq!(listen(&format!("{blue},{other}")), Err("operation_not_allowed"), "{other}");
    }
    assert!(listen(&vec![blue; 64].join(",")).is_ok());
    assert_eq!(listen(&vec![blue; 65].join(",")), Err("operation_not_allowed"));
}

#[test]
fn a_completion_needs_what_it_refers_to() {
    let mut server = server();
    let complete = |server: &Rpc, reference: &str, more: &str| {
        let params = format!(r#"{{"ref":{reference},"argument":{{"name":"team","value":"b"}}{more}}}"#);
        asked(server, Some(NOVEMBER), &request("completion/complete", &params))
    };
    let prompt = r#"{"type":"ref/prompt","name":"summarize"}"#;
    // The server reads neither of these as the argument that is completed.
    for more in
        ["", r#","arguments":{"team":"blue"}"#, r#","context":{"arguments":{"team":"blue"}}"#, r#","team":"blue""#]
    {
        assert_eq!(complete(&server, prompt, more), Err("binding_mismatch"), "{more}");
    }
    server.prompts = vec![operation(OperationKind::Prompt, "summarize", Vec::new())];
    assert_eq!(complete(&server, prompt, ""), Ok("prompt summarize".to_owned()));
    let reports = "resource file:///reports/{team}/{file...}";
    let uri = |uri: &str| format!(r#"{{"type":"ref/resource","uri":"{uri}"}}"#);
    assert_eq!(complete(&server, &uri("file:///reports/blue/a"), ""), Ok(reports.to_owned()));
    assert_eq!(complete(&server, &uri("file:///reports/red/a"), ""), Err("binding_mismatch"));
    assert_eq!(complete(&server, &uri("file:///reports/{team}/{+file}"), ""), Err("binding_mismatch"));
    server.resources = resources(&["file:///reports/{team}/{file...}"], &[]);
    assert_eq!(complete(&server, &uri("file:///reports/{team}/{+file}"), ""), Ok(reports.to_owned()));
    for reference in [
        &*uri("file:///other/{x}"),
        r#"{"type":"ref/prompt","name":"pay"}"#,
        r#"{"type":"ref/prompt","uri":"file:///reports/blue/a"}"#,
        r#"{"type":"ref/resource","name":"summarize"}"#,
        r#"{"type":"ref/tool","name":"summarize"}"#,
        r#"{"name":"summarize"}"#,
        r#""summarize""#,
        "[]",
    ] {
        assert_eq!(complete(&server, reference, ""), Err("operation_not_allowed"), "{reference}");
    }
    assert_eq!(asked(&server, Some(NOVEMBER), &request("completion/complete", "{}")), Err("operation_not_allowed"));
}

#[test]
fn bindings_compare_text_and_numbers_only() {
    let of = |part: &str, value: Value| {
        let mut server = server();
        server.tools = vec![operation(OperationKind::Tool, "pay", vec![bound(Bound::Argument(pointer(part)), value)])];
        server
    };
    for (pointer, value, arguments, result) in [
        ("/owner", json!("acme"), r#"{"owner":"acme"}"#, Ok(())),
        ("/owner", json!("acme"), r#"{"owner":"\u0061cme"}"#, Ok(())),
        ("/owner", json!("acme"), r#"{"owner":"Acme"}"#, Err("binding_mismatch")),
        ("/owner", json!("acme"), r#"{}"#, Err("binding_mismatch")),
        ("/owner", json!("acme"), r#"{"owner":["acme"]}"#, Err("binding_mismatch")),
        ("/owner", json!("acme"), r#"{"owner":{"acme":1}}"#, Err("binding_mismatch")),
        ("/owner", json!("null"), r#"{"owner":null}"#, Err("binding_mismatch")),
        ("/owner", json!("true"), r#"{"owner":true}"#, Err("binding_mismatch")),
        ("/owner", json!("acme"), r#"{"Owner":"acme"}"#, Err("json_ambiguous")),
        ("/owner", json!("acme"), r#"{"OWNER":"x"}"#, Err("json_ambiguous")),
        ("/owner", json!("acme"), r#"["acme"]"#, Err("binding_mismatch")),
        ("/0", json!("acme"), r#"["acme"]"#, Err("binding_mismatch")),
        ("/o/0/id", json!(42), r#"{"o":[{"id":42}]}"#, Ok(())),
        ("/o/0/id", json!(42), r#"{"o":[{"id":42.0}]}"#, Err("binding_mismatch")),
        ("/o/0/id", json!(42), r#"{"o":{"0":{"id":43}}}"#, Err("binding_mismatch")),
    ] {
        let text = request("tools/call", &format!(r#"{{"name":"pay","arguments":{arguments}}}"#));
        let result = result.map(|()| "tool pay".to_owned());
        assert_eq!(asked(&of(pointer, value), Some(JUNE), &text), result, "{pointer} {arguments}");
    }
    // Arguments elsewhere do not count.
    let text = request("tools/call", r#"{"name":"pay","owner":"acme","args":{"owner":"acme"}}"#);
    assert_eq!(asked(&of("/owner", json!("acme")), Some(JUNE), &text), Err("binding_mismatch"));
}

#[test]
fn parts_of_an_endpoint_are_missing_in_a_message() {
    let parts = Parts { captures: vec!["blue".into()], ..Parts::default() };
    for part in [Bound::Path(0), Bound::Query("a".into()), Bound::Header("x-a".into()), Bound::Uri(1)] {
        assert_eq!(parts.value(&bound(part, json!("blue"))), Ok(None));
    }
    assert_eq!(parts.value(&bound(Bound::Uri(0), json!("blue"))).unwrap().unwrap().shown(), "blue");
}

#[test]
fn json_rpc_methods_are_all_listed() {
    let a2a = Rpc { protocol: RpcProtocol::JsonRpc, revisions: Vec::new(), ..server() };
    for (text, result) in [
        (request("tasks/get", r#"{"taskId":"t1"}"#), Ok("method tasks/get")),
        (request("tasks/get", r#"{"taskId":"t2"}"#), Err("binding_mismatch")),
        (request("tasks/get", r#"["t1"]"#), Err("rpc_malformed")),
        (request("acme/ask", "[1,2]"), Ok("method acme/ask")),
        (notification("acme/ask"), Ok("method acme/ask")),
        (request("tools/call", r#"{"name":"pay"}"#), Ok("method tools/call")),
        (request("tools/list", "{}"), Err("operation_not_allowed")),
        (request("ping", "{}"), Err("operation_not_allowed")),
        (request("Acme/ask", "{}"), Err("operation_not_allowed")),
    ] {
        assert_eq!(asked(&a2a, None, &text).as_deref().map_err(|code| *code), result, "{text}");
    }
}

#[test]
fn finds_the_operation_of_a_listed_entry() {
    let server = server();
    let name = |kind, name: &str| server.listed(kind, name).map(|operation| &*operation.name);
    let reports = Some("file:///reports/{team}/{file...}");
    assert_eq!(name(ListKind::Tools, "pay"), Some("pay"));
    assert_eq!((name(ListKind::Tools, "summarize"), name(ListKind::Prompts, "summarize")), (None, Some("summarize")));
    assert_eq!(name(ListKind::Resources, "file:///reports/blue/a"), reports);
    assert_eq!(name(ListKind::Resources, "file:///reports/{team}/{file}"), None);
    assert_eq!(name(ListKind::ResourceTemplates, "file:///reports/{t}/{+path}"), reports);
    assert_eq!(name(ListKind::ResourceTemplates, "file:///other/{t}"), None);
    let kinds = [OperationKind::Tool, OperationKind::Tool, OperationKind::Resource, OperationKind::Resource];
    let all: Vec<_> = server.operations().map(|operation| operation.kind).collect();
    assert_eq!((all.len(), &all[..4]), (11, &kinds[..]));
}

#[test]
fn only_listed_web_pages_may_send_requests() {
    let server = server();
    let check = |lines: &[(&str, &str)]| server.check_origin(&lines.iter().copied().collect());
    for accepted in [&[][..], &[("origin", "https://chat.example.com")], &[("Origin", " https://chat.example.com")]] {
        assert_eq!(check(accepted), Ok(()), "{accepted:?}");
    }
    for value in [
        "null",
        "",
        "https://chat.example.com/",
        "https://chat.example.com:443",
        "http://chat.example.com",
        "https://Chat.example.com",
        "https://chat.example.com.evil.example",
        "https://chat.example.com, https://evil.example",
        "*",
    ] {
        assert_eq!(check(&[("origin", value)]), Err(Reason::OriginNotAllowed), "{value}");
    }
    let twice = [("origin", "https://chat.example.com"), ("origin", "https://chat.example.com")];
    assert_eq!(check(&twice), Err(Reason::OriginNotAllowed));
}

#[test]
fn sessions_and_client_responses_end_with_2026() {
    let mut server = server();
    let headers = |version: Option<&str>| -> Headers {
        version.map(|version| ("mcp-protocol-version", version)).into_iter().collect()
    };
    let cases = [
        (None, Ok(()), Ok(())),
        (Some("2025-06-18"), Ok(()), Ok(())),
        (Some("2026-07-28"), Err(Reason::SessionMethod), Err(Reason::ClientResponse)),
        (Some("2025-03-26"), Err(Reason::RpcRevision), Err(Reason::RpcRevision)),
    ];
    for (version, session, response) in cases {
        let headers = headers(version);
        let headers = McpHeaders::read(&headers).unwrap();
        server.client_responses = true;
        assert_eq!(
            (server.check_session(&headers), server.check_response(&headers)),
            (session, response),
            "{version:?}"
        );
        server.client_responses = false;
        assert_eq!(server.check_response(&headers), Err(Reason::ClientResponse), "{version:?}");
    }
}

#[test]
fn headers_of_requests_without_a_method_name_no_operation() {
    let server = Rpc { client_responses: true, ..server() };
    for (lines, result) in [
        (&[("mcp-protocol-version", "2025-11-25")][..], Ok(())),
        (&[("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/call"), ("mcp-name", "wipe")], Err(())),
        (&[("Mcp-Method", "tools/call")], Err(())),
        (&[("Mcp-Method", "")], Err(())),
        (&[("Mcp-Name", "wipe")], Err(())),
        (&[("Mcp-Name", "")], Err(())),
        (&[("Mcp-Session-Id", "s")], Ok(())),
    ] {
        let headers: Headers = lines.iter().copied().collect();
        let headers = McpHeaders::read(&headers).unwrap();
        let result = result.map_err(|()| Reason::RpcHeaderMismatch);
        assert_eq!((server.check_session(&headers), server.check_response(&headers)), (result, result), "{lines:?}");
    }
}
