//! Override headers, bound headers and merged bodies: valid policies, and each error at its place.

use serde_json::{Value, json};

use super::tests::{compile, signed, with};
use crate::policy::Policy;

fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    let findings = compile(with(changes)).map_or_else(|findings| findings.errors, |_| Vec::new());
    findings.iter().map(ToString::to_string).collect()
}

fn policy(changes: &[(&str, Value)]) -> Policy {
    compile(with(changes)).unwrap_or_else(|findings| panic!("{findings:?}")).policy
}

#[test]
fn rejects_invalid_or_reserved_override_headers() {
    let added = policy(&[("/override_headers", json!(["x-forwarded-prefix", "path-info", "7-up"]))]);
    assert_eq!(added.override_headers.len(), 3);
    for (name, expected) in [
        ("X-Prefix", "invalid header name `X-Prefix`"),
        ("x_prefix", "invalid header name `x_prefix`"),
        ("x~prefix", "invalid header name `x~prefix`"),
        ("-x", "invalid header name `-x`"),
        (":path", "invalid header name `:path`"),
        ("x prefix", "invalid header name `x prefix`"),
        ("", "invalid header name ``"),
        (&"x".repeat(129), "invalid header name `xxx"),
        ("authorization", "`authorization` is set by gateways or needed by the gate"),
        ("host", "`host` is set by gateways or needed by the gate"),
        ("content-type", "`content-type` is set by gateways or needed by the gate"),
        ("signature-input", "`signature-input` is set by gateways or needed by the gate"),
        ("signature", "`signature` is set by gateways or needed by the gate"),
        ("dpop", "`dpop` is set by gateways or needed by the gate"),
        ("x-request-id", "`x-request-id` is set by gateways or needed by the gate"),
        ("x-envoy-original-path", "`x-envoy-original-path` is a header of the gateway or of the gate"),
        ("x-callgate-agent", "`x-callgate-agent` is a header of the gateway or of the gate"),
    ] {
        let errors = errors(&[("/override_headers", json!(["x-prefix", name]))]);
        let expected = format!("override_headers[1]: {expected}");
        assert!(errors.iter().any(|error| error.starts_with(&expected)), "expected {expected}\n  got {errors:#?}");
    }
    let twice = errors(&[("/override_headers", json!(["x-a", "x-a"]))]);
    assert!(
        twice.iter().any(|error| error.starts_with("override_headers[1]: header `x-a` is listed twice")),
        "{twice:?}"
    );
    let many: Vec<String> = (0..33).map(|number| format!("x-{number}")).collect();
    let many = errors(&[("/override_headers", json!(many))]);
    assert!(many.iter().any(|error| error.starts_with("override_headers: at most 32 headers")), "{many:?}");
}

#[test]
fn warns_about_an_override_header_that_is_built_in() {
    let findings = compile(with(&[("/override_headers", json!(["script-name"]))])).unwrap().findings;
    let warnings: Vec<String> = findings.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["override_headers[0]: `script-name` is always in the list; remove it"]);
}

#[test]
fn rejects_ambiguous_headers_in_bindings_and_coverage() {
    let bound = |name: &str| {
        let left = format!("header.{name}");
        errors(&[
            ("/endpoints/1/bind", json!({ left: "token.a" })),
            ("/override_headers", json!(["x-forwarded-prefix"])),
        ])
    };
    assert_eq!(bound("x-org"), [""; 0]);
    for (name, expected) in [
        ("x~org", "invalid header name `x~org`"),
        ("X!Org", "invalid header name `X!Org`"),
        ("x.org", "invalid header name `x.org`"),
        ("-org", "invalid header name `-org`"),
        ("script-name", "`script-name` is an override header"),
        ("x-forwarded-prefix", "`x-forwarded-prefix` is an override header"),
    ] {
        let errors = bound(name);
        assert!(errors.iter().any(|error| error.contains(expected)), "expected {expected}\n  got {errors:#?}");
    }
    let limit = ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } }));
    let limited = ("/endpoints/1/limits", json!(["calls"]));
    let required = ("/endpoints/1/signature", json!("required"));
    let covered = |name: &str| {
        let cover = ("/signatures", json!({ "cover": ["@method", "@authority", "@path", "@query", name] }));
        compile(signed(&[limit.clone(), limited.clone(), required.clone(), cover])).map_err(|findings| findings.errors)
    };
    assert!(covered("x-trace").is_ok());
    for name in ["x_trace", "x~trace", "-trace"] {
        assert!(covered(name).is_err_and(|errors| errors[0].to_string().contains("is not a component")), "{name}");
    }
}

#[test]
fn limits_the_length_of_query_parameter_names() {
    let long = "n".repeat(128);
    let bound = format!("query.{long}");
    policy(&[("/reject_query", json!([long])), ("/endpoints/1/bind", json!({ bound: "token.a" }))]);
    let longer = "n".repeat(129);
    let bound = format!("query.{longer}");
    let found = errors(&[("/reject_query", json!([longer])), ("/endpoints/1/bind", json!({ bound: "token.a" }))]);
    assert!(found.iter().any(|error| error == "reject_query[0]: the name is too long; expected at most 128 bytes"));
    assert!(found.iter().any(|error| error.contains("is ambiguous")), "{found:?}");
}

#[test]
fn endpoints_reject_bodies_that_their_upstream_merges() {
    let rejected = |merges: Option<Value>, forms: Option<&str>, endpoint: usize| {
        let mut changes = Vec::new();
        changes.extend(merges.map(|merges| ("/upstream/merges", merges)));
        let place = format!("/endpoints/{endpoint}/form_bodies");
        changes.extend(forms.map(|forms| (place.as_str(), json!(forms))));
        let rejected = policy(&changes).endpoints()[endpoint].rejected_bodies;
        rejected.map(|rejected| (rejected.forms, rejected.json))
    };
    // The positions of an endpoint with a bound query and of one without.
    let (binds, other) = (1, 2);
    for (merges, by_default, refused) in [
        (None, Some((true, false)), Some((true, false))),
        (Some(json!(["form"])), Some((true, false)), Some((true, false))),
        (Some(json!(["form", "json"])), Some((true, true)), Some((true, true))),
        (Some(json!(["json"])), Some((false, true)), Some((true, true))),
        (Some(json!([])), None, Some((true, false))),
    ] {
        assert_eq!(rejected(merges.clone(), None, binds), by_default, "{merges:?}");
        assert_eq!(rejected(merges.clone(), None, other), None, "{merges:?}");
        for endpoint in [binds, other] {
            assert_eq!(rejected(merges.clone(), Some("reject"), endpoint), refused, "{merges:?}");
            assert_eq!(rejected(merges.clone(), Some("allow"), endpoint), None, "{merges:?}");
        }
    }
    let twice = errors(&[("/upstream/merges", json!(["json", "json"]))]);
    assert_eq!(twice, ["upstream.merges[1]: this kind is listed twice; remove one"]);
    let unknown = errors(&[("/upstream/merges", json!(["xml"]))]);
    assert!(unknown[0].starts_with("upstream.merges[0]: unknown variant `xml`"), "{unknown:?}");
}
