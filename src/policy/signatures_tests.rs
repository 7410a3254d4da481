//! Messages about the settings for signed requests. Each row breaks or weakens a valid policy in one place.

use serde_json::{Value, json};

use super::tests::{compile, errors, signed, with};

#[test]
fn reports_each_error_about_signatures_at_its_location() {
    let limit = ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } }));
    let limited = ("/endpoints/1/limits", json!(["calls"]));
    let required = ("/endpoints/1/signature", json!("required"));
    let good = [limit.clone(), limited.clone(), required.clone()];
    compile(signed(&good)).unwrap();
    let rows: &[(&[(&str, Value)], &str)] = &[
        (&[("/signatures", json!({ "max_age": "2h" }))], "signatures.max_age: invalid duration"),
        (&[("/signatures", json!({ "max_age": "0s" }))], "signatures.max_age: invalid duration"),
        (&[("/signatures", json!({ "clock_ahead": "2m" }))], "signatures.clock_ahead: invalid duration"),
        (&[("/signatures", json!({ "tag": "web-bot-auth" }))], "signatures.tag: this tag is reserved for Web Bot Auth"),
        (&[("/signatures", json!({ "tag": "" }))], "signatures.tag: invalid tag"),
        (
            &[("/signatures", json!({ "cover": ["@method", "cookie"] }))],
            "signatures.cover[1]: cookies cannot be signed",
        ),
        (&[("/signatures", json!({ "cover": ["@status"] }))], "signatures.cover[0]: `@status` is not a component"),
        (
            &[("/signatures", json!({ "cover": ["@path", "@path"] }))],
            "signatures.cover[1]: component `@path` is listed twice",
        ),
        (
            &[("/signatures", json!({ "structured_fields": { "X-A": "item" } }))],
            "signatures.structured_fields.X-A: invalid header name",
        ),
        (&[("/web_bot_auth", json!({ "max_age": "48h" }))], "web_bot_auth.max_age: signatures of Web Bot Auth"),
        (
            &[("/external_url", json!("https://api.example.com/v1/"))],
            "external_url: invalid URL `https://api.example.com/v1/`",
        ),
        (
            &[("/endpoints/2/replay", json!(false))],
            "endpoints[2].replay: a replayed request to this endpoint takes effect again",
        ),
        (
            &[("/endpoints/1/signature", Value::Null), ("/endpoints/1/replay", json!(false))],
            "endpoints[1].replay: requests without a signature have no replay protection",
        ),
        (&[("/endpoints/0/signature", json!("required"))], "endpoints[0].signature: requests to a public endpoint"),
        (
            &[("/endpoints/1/signature", json!("optional")), ("/endpoints/1/authenticate", json!("signature"))],
            "endpoints[1].signature: the signature authenticates the agent",
        ),
        (
            &[
                ("/requirements/read", json!({ "authenticate": "signature" })),
                ("/endpoints/1/authenticate", json!("token")),
            ],
            "endpoints[1].authenticate: this contradicts the requirements",
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
        nobody.iter().any(|error| error.starts_with("endpoints[1]: this endpoint requires signatures")),
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
            "endpoints[1].replay: anyone who sees a signed request",
        ),
        (
            vec![("/signatures", json!({ "max_age": "30s" })), limited.clone()],
            "signatures: no endpoint requires a signature, so this has no effect",
        ),
        (vec![("/body_check", json!("after_headers")), limited], "body_check: this gateway holds requests until"),
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

#[test]
fn accepts_a_canonical_path_in_the_external_url() {
    let external = |url: &str| {
        let compiled = compile(with(&[("/external_url", json!(url))]));
        compiled.map(|compiled| compiled.policy.path_of_client("/x").into_owned()).ok()
    };
    for (url, path) in [
        ("https://api.example.com", "/x"),
        ("https://api.example.com/v1", "/v1/x"),
        ("http://[::1]:8080/a/b.c", "/a/b.c/x"),
        ("https://api.example.com/caf%C3%A9", "/caf%C3%A9/x"),
        ("https://api.example.com/a:b@c", "/a:b@c/x"),
    ] {
        assert_eq!(external(url).as_deref(), Some(path), "{url}");
    }
    for wrong in [
        "/", "/v1/", "//v1", "/v1//a", "/.", "/v1/..", "/%2E%2e", "/%61", "/a%2Fb", "/a;b", "/a%5Cb", "/a%25b", "/a?b",
        "/a?", "/a#b", "/a b", "/a\\b", "/a%", "/a%0D", "/\u{e9}", "/[a]",
    ] {
        assert_eq!(external(&format!("https://api.example.com{wrong}")), None, "{wrong}");
    }
}
