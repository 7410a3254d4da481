use super::*;
use crate::request::json::{JsonBounds, Names};

pub(super) fn json(text: &str) -> Json<'_> {
    let bounds = JsonBounds { bytes: 1 << 16, depth: 64, names: Names::Folded };
    Json::parse(text.as_bytes(), bounds).unwrap_or_else(|fault| panic!("{fault:?} for {text}"))
}

pub(super) fn request(text: &str) -> RpcRequest<'_> {
    match read(json(text)) {
        Ok(Message::Request(request) | Message::Notification(request)) => request,
        other => panic!("{other:?} for {text}"),
    }
}

#[test]
fn reads_requests_and_notifications() {
    let message =
        request(r#" {"params":{"name":"pay"},"id":"a\u0062","extra":[1],"method":"tools\/call","jsonrpc":"2.0"} "#);
    assert_eq!(message.id.unwrap().text(), r#""a\u0062""#, "the id stays as it was sent");
    assert_eq!(message.method, "tools/call");
    assert_eq!(message.text_param("name").unwrap().unwrap(), "pay");
    assert_eq!((message.text_param("uri"), message.param("names")), (Ok(None), Ok(None)));

    let message = read(json(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#)).unwrap();
    assert!(matches!(message, Message::Notification(RpcRequest { id: None, params: None, .. })), "{message:?}");
    let message = read(json(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1,2]}"#)).unwrap();
    assert!(matches!(&message, Message::Request(request) if request.params.unwrap().is_array()), "{message:?}");
}

#[test]
fn a_text_parameter_is_text_only() {
    let message = request(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1,"b":null,"c":["x"],"Name":"x"}}"#);
    assert_eq!(["a", "b", "c"].map(|name| message.text_param(name)), [Ok(None), Ok(None), Ok(None)]);
    assert!(message.param("b").unwrap().unwrap().is_null());
    assert_eq!(message.param("name"), Err(RpcFault::Ambiguous));
    let positional = request(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[{"name":"x"}]}"#);
    assert_eq!((positional.param("name"), positional.param("0")), (Ok(None), Ok(None)));
}

#[test]
fn accepts_only_ids_that_every_server_reads_alike() {
    let with = |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#);
    let longest = format!("\"{}\"", "a".repeat(254));
    for id in
        ["0", "1", "-7", "9007199254740993", "18446744073709551616", "\"\"", "\"1\"", "\"\\ud83d\\ude00\"", &longest]
    {
        assert_eq!(request(&with(id)).id.unwrap().text(), id);
    }
    let long = format!("\"{}\"", "a".repeat(255));
    for id in ["null", "1.0", "1.5", "1e0", "1E2", "-0", "0.0", "true", "[]", "[1]", "{}", &long] {
        assert_eq!(read(json(&with(id))), Err(RpcFault::Malformed), "{id}");
    }
}

#[test]
fn rejects_everything_that_is_not_one_message() {
    for text in [
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"m"},{"jsonrpc":"2.0","id":2,"method":"m"}]"#,
        "{}",
        "\"m\"",
        "null",
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.00","id":1,"method":"m"}"#,
        r#"{"jsonrpc":null,"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":["m"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":1}"#,
        // A server could take these for a response, and skip the method.
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null,"result":{}}"#,
    ] {
        assert_eq!(read(json(text)), Err(RpcFault::Malformed), "{text}");
    }
}

#[test]
fn rejects_other_spellings_of_members_that_are_read() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"Method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"METHOD":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method\u0000":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u0000method":"m"}"#,
        r#"{"Jsonrpc":"2.0","id":1,"method":"m"}"#,
        r#"{"j\u017fonrpc":"2.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","ID":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","\u0130d":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","Params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","Result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","ERROR":{}}"#,
    ] {
        assert_eq!(read(json(text)), Err(RpcFault::Ambiguous), "{text}");
    }
    assert!(read(json(r#"{"jsonrpc":"2.0","id":1,"method":"m","meth":1,"idx":2,"_meta":{}}"#)).is_ok());
}

#[test]
fn recognizes_responses_of_clients() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"a","result":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no"}}"#,
    ] {
        assert_eq!(read(json(text)), Ok(Message::Response), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1.0,"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#,
    ] {
        assert_eq!(read(json(text)), Err(RpcFault::Malformed), "{text}");
    }
}

#[test]
fn faults_have_their_reasons() {
    for (fault, code) in [
        (RpcFault::Ambiguous, "json_ambiguous"),
        (RpcFault::Malformed, "rpc_malformed"),
        (RpcFault::HeaderMismatch, "rpc_header_mismatch"),
        (RpcFault::Revision, "rpc_revision"),
    ] {
        assert_eq!(fault.reason().code(), code);
    }
    assert_eq!(RpcFault::from(JsonFault::Deep), RpcFault::Malformed);
}
