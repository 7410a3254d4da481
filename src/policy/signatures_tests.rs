//! Messages about the settings for signed requests. Each row breaks or weakens a valid policy in one place.

use serde_json::{Value, json};

use super::tests::{compile, errors, signed};

#[test]
fn reports_each_error_about_signatures_at_its_location() {
    let limit = ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } }));
    let limited = ("/endpoints/1/limits", json!(["calls"]));
    let required = ("/endpoints/1/signature", json!("required"));
    let good = [limit.clone(), limited.clone(), required.clone()];
    compile(signed(&good)).unwrap();
    let rows: &[(&[(&str, Value)], &str)] = &[
        (&[("/signatures", json!({ "max_age": "2h" }))], "signatures.max_age: a signature that is taken for so long"),
        (&[("/signatures", json!({ "max_age": "0s" }))], "signatures.max_age: a signature that is taken for so long"),
        (&[("/signatures", json!({ "clock_ahead": "2m" }))], "signatures.clock_ahead: a signature that is taken"),
        (&[("/signatures", json!({ "tag": "web-bot-auth" }))], "signatures.tag: this tag is Web Bot Auth's"),
        (&[("/signatures", json!({ "tag": "" }))], "signatures.tag: a tag is text"),
        (&[("/signatures", json!({ "cover": ["@method", "cookie"] }))], "signatures.cover[1]: gateways split and join"),
        (&[("/signatures", json!({ "cover": ["@status"] }))], "signatures.cover[0]: `@status` is no component"),
        (
            &[("/signatures", json!({ "cover": ["@path", "@path"] }))],
            "signatures.cover[1]: component `@path` stands twice",
        ),
        (
            &[("/signatures", json!({ "structured_fields": { "X-A": "item" } }))],
            "signatures.structured_fields.X-A: this is no name of a header",
        ),
        (&[("/web_bot_auth", json!({ "max_age": "48h" }))], "web_bot_auth.max_age: Web Bot Auth's signatures live"),
        (&[("/external_url", json!("https://api.example.com/v1"))], "external_url: `https://api.example.com/v1` is no"),
        (
            &[("/external_url", json!("https://API.example.com"))],
            "external_url: `https://API.example.com` is no scheme",
        ),
        (&[("/max_body", json!("0KiB"))], "max_body: the gateway holds this much"),
        (&[("/max_body", json!("65MiB"))], "max_body: the gateway holds this much"),
        (&[("/max_body", json!("1MB"))], "max_body: `1MB` is no size"),
        (&[("/endpoints/1/limits", json!([]))], "endpoints[1].limits: each call here is remembered"),
        (&[("/endpoints/2/replay", json!(false))], "endpoints[2].replay: what is sent again here happens again"),
        (
            &[("/endpoints/1/signature", Value::Null), ("/endpoints/1/replay", json!(false))],
            "endpoints[1].replay: nothing is remembered of calls without a signature",
        ),
        (&[("/endpoints/0/signature", json!("required"))], "endpoints[0].signature: nobody signs calls to a public"),
        (
            &[("/endpoints/1/signature", json!("optional")), ("/endpoints/1/authenticate", json!("signature"))],
            "endpoints[1].signature: the signature proves who calls here",
        ),
        (
            &[
                ("/requirements/read", json!({ "authenticate": "signature" })),
                ("/endpoints/1/authenticate", json!("token")),
            ],
            "endpoints[1].authenticate: the requirements of this effect say otherwise",
        ),
    ];
    for (changes, expected) in rows {
        let changes: Vec<_> = good.iter().chain(*changes).cloned().collect();
        let errors: Vec<_> =
            compile(signed(&changes)).map_or_else(|findings| findings.errors, |_| Vec::new()).into_iter().collect();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.starts_with(expected)), "expected {expected}\n  got {errors:#?}");
    }
    let nobody = errors(&[limit, limited, required]);
    assert!(
        nobody.iter().any(|error| error.starts_with("endpoints[1]: this endpoint asks for signatures")),
        "{nobody:?}"
    );
}

#[test]
fn warns_about_weak_signature_settings() {
    let limit = ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } }));
    let warnings = |changes: &[(&str, Value)]| {
        let changes: Vec<_> = [limit.clone()].iter().chain(changes).cloned().collect();
        let findings = compile(signed(&changes)).unwrap_or_else(|findings| panic!("{findings:?}")).findings;
        findings.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let limited = ("/endpoints/1/limits", json!(["calls"]));
    let required = ("/endpoints/1/signature", json!("required"));
    for (changes, expected) in [
        (
            vec![("/signatures", json!({ "cover": ["@method"] })), limited.clone(), required.clone()],
            "signatures.cover: a signature that does not cover `@authority`",
        ),
        (
            vec![("/endpoints/1/replay", json!(false)), limited.clone(), required],
            "endpoints[1].replay: whoever sees a signed call",
        ),
        (
            vec![("/signatures", json!({ "max_age": "30s" })), limited.clone()],
            "signatures: no endpoint asks for a signature",
        ),
        (vec![("/body_check", json!("after_headers")), limited], "body_check: this gateway holds requests back"),
        (
            vec![
                ("/endpoints/2/authenticate", json!("web-bot-auth")),
                ("/endpoints/2/limits", json!(["calls"])),
                ("/tables", json!({ "replay": 1_048_576 })),
                ("/limits/calls/rate", json!("1/1m")),
            ],
            "endpoints[2].authenticate: Web Bot Auth signs neither method nor path nor body",
        ),
    ] {
        let warnings = warnings(&changes);
        assert!(
            warnings.iter().any(|warning| warning.starts_with(expected)),
            "expected {expected}\n  got {warnings:#?}"
        );
    }
}
