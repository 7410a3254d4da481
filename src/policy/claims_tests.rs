//! Messages about forwarded claims. Each row breaks a valid policy in one place.

use serde_json::{Value, json};

use crate::policy::tests::{compile, with};

fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    let findings = compile(with(changes)).map_or_else(|findings| findings.errors, |_| Vec::new());
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn compiles_claims_by_name_or_pointer() {
    let claims = json!({ "x-user-email": "email", "x-user-team": "/org/team", "x-roles": "https://example.com/roles" });
    let policy = compile(with(&[("/upstream/claims", claims)])).unwrap().policy;
    let compiled: Vec<_> = policy.claims.iter().map(|claim| (&*claim.header, claim.claim.as_str())).collect();
    let expected = [("x-roles", "https://example.com/roles"), ("x-user-email", "email"), ("x-user-team", "/org/team")];
    assert_eq!(compiled, expected);
    assert!(policy.removes_trailer(b"X_User_Email"));
    assert!(compile(with(&[])).unwrap().policy.claims.is_empty());
}

#[test]
fn reports_each_error_about_claims_at_its_location() {
    let places = ("/credentials_from", json!([{ "header": "x-caller" }]));
    let include = ("/audit/include", json!(["x_run", "x-agent"]));
    for (header, expected) in [
        ("X-User", "invalid header name `X-User`"),
        ("x_user", "invalid header name `x_user`"),
        ("", "invalid header name ``"),
        (&"x".repeat(129), "invalid header name `xxx"),
        ("authorization", "`authorization` is set by clients or gateways"),
        ("cookie", "`cookie` is set by clients or gateways"),
        ("host", "`host` is set by clients or gateways"),
        ("content-length", "`content-length` is set by clients or gateways"),
        ("signature-input", "`signature-input` is set by clients or gateways"),
        ("transfer-encoding", "`transfer-encoding` is set by clients or gateways"),
        ("trailer", "`trailer` is set by clients or gateways"),
        ("x-real-ip", "`x-real-ip` is set by clients or gateways"),
        ("sec-websocket-protocol", "`sec-websocket-protocol` is set by clients or gateways"),
        ("x-callgate-agent", "`x-callgate-agent` is a header of the gateway or of the gate"),
        ("x-envoy-user", "`x-envoy-user` is a header of the gateway or of the gate"),
        ("x-original-url", "`x-original-url` is an override header"),
        ("x-org", "`x-org` is bound at an endpoint"),
        ("x-caller", "`x-caller` carries tokens"),
        ("x-run", "`x-run` is in `audit.include`"),
        ("x-agent", "`x-agent` is in `audit.include`"),
    ] {
        let errors = errors(&[("/upstream/claims", json!({ header: "email" })), places.clone(), include.clone()]);
        let found = |error: &String| error.starts_with("upstream.claims") && error.contains(expected);
        assert!(errors.iter().any(found), "{header}\n  got {errors:#?}");
    }
    for (claim, expected) in
        [("", "invalid claim name"), ("a\n", "invalid claim name"), ("/a~", "invalid JSON pointer")]
    {
        let errors = errors(&[("/upstream/claims", json!({ "x-user": claim }))]);
        let expected = format!("upstream.claims.x-user: {expected}");
        assert!(errors.iter().any(|error| error.starts_with(&expected)), "{claim:?}\n  got {errors:#?}");
    }
    let many: Value = (0..17).map(|number| (format!("x-{number}"), json!("email"))).collect();
    let many = errors(&[("/upstream/claims", many)]);
    assert!(many.iter().any(|error| error.starts_with("upstream.claims: too many claims; expected at most 16")));
}
