use super::super::tests::{json, request};
use super::*;

const STATELESS: McpRevision = McpRevision::V2026_07_28;
const EARLIER: McpRevision = McpRevision::V2025_11_25;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{}}}"#;

/// Compares these headers with a message.
fn agree(lines: &[(&str, &str)], message: &str, revision: McpRevision) -> Result<(), RpcFault> {
    let headers: Headers = lines.iter().copied().collect();
    McpHeaders::read(&headers)?.agree(&request(message), revision)
}

#[test]
fn finds_headers_in_any_case_without_white_space() {
    let headers: Headers = [
        ("MCP-Protocol-Version", " 2026-07-28\t"),
        ("mcp-method", "\t \ttools/call"),
        ("MCP-NAME", "a b"),
        ("mcp-names", "x"),
    ]
    .into_iter()
    .collect();
    let read = McpHeaders::read(&headers).unwrap();
    assert_eq!(
        (read.version, read.method, read.name),
        (Some(&b"2026-07-28"[..]), Some(&b"tools/call"[..]), Some(&b"a b"[..]))
    );
    assert_eq!(McpHeaders::read(&Headers::default()), Ok(McpHeaders::default()));
    // Only these two characters are white space in a header.
    assert_eq!((trimmed(b" \t"), trimmed(b"\x0ba\n ")), (&b""[..], &b"\x0ba\n"[..]));
}

#[test]
fn rejects_a_header_that_occurs_twice_or_under_a_lookalike() {
    for lines in [
        [("mcp-method", "tools/call"), ("mcp-method", "tools/call")],
        [("mcp-method", "tools/call"), ("Mcp-Method", "tools/list")],
        [("mcp-method", "tools/call"), ("mcp_method", "tools/list")],
        [("mcp_method", "tools/call"), ("mcp-name", "pay")],
        [("mcp-method", "tools/call"), ("Mcp.Name", "pay")],
        [("mcp-protocol-version", "2025-11-25"), ("mcp-protocol_version", "2025-11-25")],
        [("mcp protocol version", "2025-11-25"), ("accept", "*/*")],
        [("mcp-name", ""), ("mcp-name", "pay")],
    ] {
        assert_eq!(agree(&lines, CALL, EARLIER), Err(RpcFault::HeaderMismatch), "{lines:?}");
    }
}

#[test]
fn compares_headers_whenever_they_are_present() {
    let listing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let reading = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","name":"x"}}"#;
    let nameless = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7,"uri":"pay"}}"#;
    let subscribing = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///a"}}"#;
    let task = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}"#;
    for (lines, message, agrees) in [
        (&[("mcp-method", "tools/call"), ("mcp-name", "pay")][..], CALL, true),
        (&[("mcp-method", "tools/call"), ("mcp-name", "Pay")], CALL, false),
        (&[("mcp-method", "Tools/Call"), ("mcp-name", "pay")], CALL, false),
        (&[("mcp-method", "tools/list"), ("mcp-name", "pay")], CALL, false),
        (&[("mcp-method", "tools/call, tools/call"), ("mcp-name", "pay")], CALL, false),
        (&[("mcp-method", "tools/call"), ("mcp-name", "")], CALL, false),
        (&[("mcp-method", ""), ("mcp-name", "pay")], CALL, false),
        (&[("mcp-method", "tools/list")], listing, true),
        (&[("mcp-method", "tools/list"), ("mcp-name", "pay")], listing, false),
        (&[("mcp-method", "resources/read"), ("mcp-name", "file:///a")], reading, true),
        (&[("mcp-method", "resources/read"), ("mcp-name", "x")], reading, false),
        (&[("mcp-method", "tools/call"), ("mcp-name", "7")], nameless, false),
        (&[("mcp-method", "tools/call"), ("mcp-name", "pay")], nameless, false),
        (&[("mcp-method", "resources/subscribe"), ("mcp-name", "file:///a")], subscribing, true),
        (&[("mcp-method", "resources/subscribe"), ("mcp-name", "file:///b")], subscribing, false),
        (&[("mcp-method", "tasks/get"), ("mcp-name", "t")], task, true),
        (&[("mcp-method", "tasks/get"), ("mcp-name", "u")], task, false),
    ] {
        for revision in [EARLIER, STATELESS] {
            assert_eq!(agree(lines, message, revision).is_ok(), agrees, "{lines:?} {message}");
        }
    }
}

#[test]
fn requests_of_stateless_revisions_need_the_headers() {
    let listing = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    for (lines, message, agrees) in [
        (&[][..], CALL, false),
        (&[("mcp-method", "tools/call")], CALL, false),
        (&[("mcp-name", "pay")], CALL, false),
        (&[("mcp-method", "tools/list")], listing, true),
        (&[], listing, false),
        (&[], notification, true),
        (&[("mcp-method", "notifications/cancelled")], notification, true),
    ] {
        assert_eq!(agree(lines, message, STATELESS).is_ok(), agrees, "{lines:?} {message}");
        assert_eq!(agree(lines, message, EARLIER), Ok(()), "{lines:?} {message}");
    }
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
    assert!(agree(&[("mcp-method", "tools/call")], notification, STATELESS).is_err());
    let spelled = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"pay"}}"#;
    assert_eq!(agree(&[], spelled, EARLIER), Err(RpcFault::Ambiguous));
}

#[test]
fn decodes_only_the_strict_form_of_encoded_values() {
    for (value, text) in [
        ("pay", Some("pay")),
        ("", Some("")),
        ("a?=", Some("a?=")),
        ("=?utf-8?b?cGF5?=", Some("=?utf-8?b?cGF5?=")),
        ("=?base64?cGF5?=", Some("pay")),
        ("=?base64?w6Q=?=", Some("\u{e4}")),
        ("=?base64??=", Some("")),
        // A text that looks like an encoded one is encoded once more.
        ("=?base64?PT9iYXNlNjQ/Y0dGNT89?=", Some("=?base64?cGF5?=")),
        ("=?BASE64?cGF5?=", None),
        ("=?base64?cGF5", None),
        ("=?base64?=", None),
        ("=?base64?cGF5?= ", None),
        ("=?base64?cGF5 ?=", None),
        ("=?base64?cGF?=", None),
        ("=?base64?w6R=?=", None),
        ("=?base64?w6Q?=", None),
        ("=?base64?_w==?=", None),
        ("=?base64?/w==?=", None),
        ("p\u{e4}y", None),
        ("pay\u{7f}", None),
        ("pa\ty", None),
    ] {
        assert_eq!(decoded(value.as_bytes()).as_deref(), text, "{value:?}");
    }
    assert_eq!(decoded(b"p\xe4y"), None);
    let umlaut = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\u00e4"}}"#;
    let lines = |name| [("mcp-method", "tools/call"), ("mcp-name", name)];
    assert_eq!(agree(&lines("=?base64?w6Q=?="), umlaut, STATELESS), Ok(()));
    assert_eq!(agree(&lines("\u{e4}"), umlaut, STATELESS), Err(RpcFault::HeaderMismatch));
    // Methods have no encoded form.
    let encoded = [("mcp-method", "=?base64?dG9vbHMvY2FsbA==?="), ("mcp-name", "=?base64?w6Q=?=")];
    assert_eq!(agree(&encoded, umlaut, STATELESS), Err(RpcFault::HeaderMismatch));
}

#[test]
fn compares_headers_of_arguments_by_type() {
    let arguments = r#"{"region":"eu west","count":42,"price":4.50,"dry":false,"none":null,"tags":["a"],"o":{"id":"7"},"sign":"-"}"#;
    let check = |name: &str, pointer: &str, lines: &[(&str, &str)], is_required| {
        let headers: Headers = lines.iter().copied().collect();
        let mapped = [(Box::<str>::from(name), Pointer::parse(pointer).unwrap())];
        agree_with_arguments(&headers, &mapped, Some(json(arguments)), is_required)
    };
    for (pointer, value, agrees) in [
        ("/region", "eu west", true),
        ("/region", "=?base64?ZXUgd2VzdA==?=", true),
        ("/region", "EU west", false),
        ("/region", "", false),
        ("/count", "42", true),
        ("/count", "42.0", true),
        ("/count", "042", false),
        ("/count", "+42", false),
        ("/count", "4.2e1", false),
        ("/count", "43", false),
        ("/price", "4.5", true),
        ("/dry", "false", true),
        ("/dry", "False", false),
        ("/dry", "0", false),
        ("/o/id", "7", true),
        // A client omits the header of what is absent or has no text.
        ("/none", "null", false),
        ("/none", "", false),
        ("/absent", "x", false),
        ("/tags", "[\"a\"]", false),
        ("/o", "{\"id\":\"7\"}", false),
    ] {
        let result = check("Region", pointer, &[("Mcp-Param-Region", value)], true);
        assert_eq!(result.is_ok(), agrees, "{pointer} {value}");
    }
    for pointer in ["/region", "/count", "/dry"] {
        assert_eq!(check("Region", pointer, &[], true), Err(RpcFault::HeaderMismatch), "{pointer}");
        assert_eq!(check("Region", pointer, &[], false), Ok(()), "{pointer}");
    }
    for pointer in ["/none", "/absent", "/tags", "/o", "/region/x"] {
        assert_eq!(check("Region", pointer, &[], true), Ok(()), "{pointer}");
    }
    assert_eq!(check("Region", "/Region", &[], false), Err(RpcFault::Ambiguous));
}

#[test]
fn headers_of_arguments_have_no_lookalikes() {
    let check = |name: &str, lines: &[(&str, &str)]| {
        let headers: Headers = lines.iter().copied().collect();
        let mapped = [(Box::<str>::from(name), Pointer::parse("/r").unwrap())];
        agree_with_arguments(&headers, &mapped, Some(json(r#"{"r":"eu"}"#)), false)
    };
    for lines in [
        &[("mcp-param-data_region", "eu")][..],
        &[("Mcp-Param-Data_Region", "eu")],
        &[("mcp-param-data_region", "eu"), ("mcp-param-dataregion", "us"), ("mcp-param-data-regions", "us")],
    ] {
        assert_eq!(check("Data_Region", lines), Ok(()), "{lines:?}");
    }
    for lines in [
        &[("mcp-param-data-region", "eu")][..],
        &[("mcp_param_data_region", "eu")],
        &[("mcp-param-data_region", "eu"), ("mcp-param-data-region", "us")],
        &[("mcp-param-data_region", "eu"), ("mcp-param-data_region", "eu")],
        &[("mcp-param-data_region", "us")],
    ] {
        assert_eq!(check("Data_Region", lines), Err(RpcFault::HeaderMismatch), "{lines:?}");
    }
    let mapped = [(Box::<str>::from("r"), Pointer::parse("/r").unwrap())];
    assert_eq!(agree_with_arguments(&Headers::default(), &mapped, None, true), Ok(()));
}
