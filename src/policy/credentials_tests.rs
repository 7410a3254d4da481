//! Messages about the places of tokens. Each row breaks a valid policy in one place.

use serde_json::{Value, json};

use crate::policy::tests::{compile, with};

fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    let findings = compile(with(changes)).map_or_else(|findings| findings.errors, |_| Vec::new());
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_tokens_from_authorization_by_default() {
    let policy = compile(with(&[])).unwrap().policy;
    assert!(policy.credentials.authorization && policy.credentials.others.is_none());
    assert_eq!(policy.header_with_token("t"), ("authorization", "Bearer t".to_owned()));
    let written = compile(with(&[("/credentials_from", json!(["authorization"]))])).unwrap().policy;
    assert!(written.credentials.authorization && written.credentials.others.is_none());
}

#[test]
fn compiles_the_other_places() {
    let policy = |places: Value| compile(with(&[("/credentials_from", places)])).unwrap().policy;
    let header = policy(json!([{ "header": "x-goog-iap-jwt-assertion" }]));
    assert!(!header.credentials.authorization);
    assert_eq!(header.credentials.headers().collect::<Vec<_>>(), ["x-goog-iap-jwt-assertion"]);
    assert_eq!(header.header_with_token("t"), ("x-goog-iap-jwt-assertion", "t".to_owned()));
    assert!(header.removes_trailer(b"X_Goog_Iap_Jwt_Assertion"));
    let socket = policy(json!([{ "websocket_protocol": "bearer." }]));
    assert_eq!(socket.header_with_token("t"), ("sec-websocket-protocol", "bearer.t".to_owned()));
    assert!(socket.removes_trailer(b"sec-websocket-protocol"));
    let all = policy(json!(["authorization", { "header": "x-jwt" }, { "header": "x-forwarded-access-token" }]));
    assert_eq!(all.header_with_token("t").0, "authorization");
}

#[test]
fn reports_each_error_about_places_at_its_location() {
    let place = |place: Value| json!(["authorization", place]);
    let header = |name: &str| place(json!({ "header": name }));
    let protocol = |prefix: &str| place(json!({ "websocket_protocol": prefix }));
    let many: Vec<Value> = (0..5).map(|number| json!({ "header": format!("x-{number}") })).collect();
    for (places, expected) in [
        (json!([]), "credentials_from: no token would ever be read"),
        (json!(["authorization", "authorization"]), "credentials_from[1]: this place is listed twice"),
        (json!([{ "header": "x-a" }, { "header": "x-a" }]), "credentials_from[1]: this place is listed twice"),
        (
            json!([{ "websocket_protocol": "a." }, { "websocket_protocol": "b." }]),
            "credentials_from[1]: subprotocols can have only one prefix",
        ),
        (json!(many), "credentials_from: too many headers; expected at most 4"),
        (json!(["cookie"]), "credentials_from[0]: unknown variant `cookie`"),
        (json!([{ "query": "access_token" }]), "credentials_from[0]"),
        (header("authorization"), "credentials_from[1].header: write `authorization`"),
        (header("Authorization"), "credentials_from[1].header: write `authorization`"),
        (header("cookie"), "credentials_from[1].header: browsers send cookies by themselves"),
        (header("sec-websocket-protocol"), "credentials_from[1].header: subprotocols are a list"),
        (header("X-Jwt"), "credentials_from[1].header: invalid header name `X-Jwt`"),
        (header("x_jwt"), "credentials_from[1].header: invalid header name `x_jwt`"),
        (header(""), "credentials_from[1].header: invalid header name ``"),
        (header(":path"), "credentials_from[1].header: invalid header name `:path`"),
        (header("host"), "credentials_from[1].header: `host` is set by clients or gateways"),
        (header("content-type"), "credentials_from[1].header: `content-type` is set by clients or gateways"),
        (header("content-md5"), "credentials_from[1].header: `content-md5` is set by clients or gateways"),
        (header("transfer-encoding"), "credentials_from[1].header: `transfer-encoding` is set by clients or gateways"),
        (header("proxy-authorization"), "credentials_from[1].header: `proxy-authorization` is set by clients"),
        (header("x-forwarded-for"), "credentials_from[1].header: `x-forwarded-for` is set by clients or gateways"),
        (header("x-forwarded-host"), "credentials_from[1].header: `x-forwarded-host` is set by clients or gateways"),
        (header("dpop"), "credentials_from[1].header: `dpop` is set by clients or gateways"),
        (header("signature"), "credentials_from[1].header: `signature` is set by clients or gateways"),
        (header("x-callgate-token"), "credentials_from[1].header: `x-callgate-token` is a header of the gateway"),
        (header("x-envoy-token"), "credentials_from[1].header: `x-envoy-token` is a header of the gateway"),
        (header("x-original-url"), "credentials_from[1].header: `x-original-url` is an override header"),
        (header("x-org"), "credentials_from[1].header: `x-org` is bound at an endpoint"),
        (protocol(""), "credentials_from[1].websocket_protocol: invalid prefix ``"),
        (protocol("bearer"), "credentials_from[1].websocket_protocol: invalid prefix `bearer`"),
        (protocol("a b."), "credentials_from[1].websocket_protocol: invalid prefix `a b.`"),
        (protocol("a,"), "credentials_from[1].websocket_protocol: invalid prefix `a,`"),
        (protocol(&"a.".repeat(33)), "credentials_from[1].websocket_protocol: invalid prefix `a.a."),
    ] {
        let errors = errors(&[("/credentials_from", places.clone())]);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{places}\n  got {errors:#?}");
    }
}

#[test]
fn other_fields_do_not_use_the_header_with_the_token() {
    let places = ("/credentials_from", json!([{ "header": "x-caller" }, { "websocket_protocol": "bearer." }]));
    for (change, expected) in [
        (
            ("/endpoints/1/bind", json!({ "header.x-caller": "token.a" })),
            "credentials_from[0].header: `x-caller` is bound",
        ),
        (
            ("/endpoints/1/bind", json!({ "header.sec-websocket-protocol": "token.a" })),
            "endpoints[1].bind[\"header.sec-websocket-protocol\"]: `sec-websocket-protocol` carries tokens",
        ),
        (("/override_headers", json!(["x-caller"])), "credentials_from[0].header: `x-caller` is an override header"),
        (("/audit/include", json!(["x-caller"])), "audit.include[0]: `x-caller` can contain a credential"),
        (("/audit/include", json!(["x_caller"])), "audit.include[0]: `x_caller` can contain a credential"),
        (
            ("/audit/include", json!(["sec-websocket-protocol"])),
            "audit.include[0]: `sec-websocket-protocol` can contain a credential",
        ),
        (
            ("/dpop", json!({ "required": false, "algorithms": ["ES256"] })),
            "credentials_from: key-bound tokens are accepted only as `Authorization: DPoP TOKEN`",
        ),
    ] {
        let errors = errors(&[places.clone(), change]);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}\n  got {errors:#?}");
    }
}

#[test]
fn warns_about_subprotocols_without_websockets() {
    let places = json!(["authorization", { "websocket_protocol": "bearer." }]);
    let findings = compile(with(&[("/credentials_from", places)])).unwrap().findings;
    let warnings: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.starts_with("credentials_from: no endpoint has")), "{warnings:?}");
}
