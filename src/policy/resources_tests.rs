use serde_json::{Value, json};

use super::super::tests::{compile, errors, with};
use super::*;

/// Returns the base of the resource that a path belongs to, under these bases.
fn base_of(bases: &[&str], path: &str) -> Result<String, Reason> {
    let resource = |base: &&str| Resource {
        base: (*base).into(),
        identifier: "https://api.example.com".into(),
        audiences: Audiences(Vec::new()),
        metadata: None,
    };
    let mut based: Vec<_> = bases.iter().map(resource).collect();
    based.sort_by_key(|resource| std::cmp::Reverse(resource.base.len()));
    let resources = Resources { own: resource(&""), based };
    let path = CanonicalPath::parse_with_text(path.as_bytes()).unwrap();
    resources.of(&path).map(|resource| resource.base.to_string())
}

#[test]
fn the_longest_base_of_whole_segments_counts() {
    let bases = ["/mcp", "/mcp/admin", "/apis/Orders"];
    for (path, base) in [
        ("/mcp", "/mcp"),
        ("/mcp/", "/mcp"),
        ("/mcp/tools", "/mcp"),
        ("/mcp/admin", "/mcp/admin"),
        ("/mcp/admin/x", "/mcp/admin"),
        ("/mcp/administrator", "/mcp"),
        ("/mcpx", ""),
        ("/mcp-x", ""),
        ("/mcp.json", ""),
        ("/x/mcp", ""),
        ("/", ""),
        ("/apis", ""),
        ("/apis/Orders/7", "/apis/Orders"),
        ("/Other/MCP", ""),
        ("/caf%C3%A9/mcp", ""),
        ("/mcp/caf%C3%A9", "/mcp"),
        ("/mcp/a%2Fb", "/mcp"),
    ] {
        assert_eq!(base_of(&bases, path).as_deref(), Ok(base), "{path}");
    }
    assert_eq!(base_of(&[], "/MCP").as_deref(), Ok(""), "a policy with one resource has no ambiguous paths");
}

#[test]
fn rejects_paths_that_read_like_paths_under_another_base() {
    let bases = ["/mcp", "/mcp/admin", "/apis/Orders"];
    for path in [
        "/MCP",
        "/Mcp/tools",
        "/%6Dcp",
        "/%6dcp/tools",
        "/mcp%2Fx",
        "/mcp%5Cx",
        "/mcp%252Fx",
        "/%256Dcp/x",
        "/mcp;v=1",
        "/mcp;v=1/x",
        "/mcp%3Bv=1/x",
        "/mcp;a%2Fb/x",
        "/mcp%2E/x",
        "/mcp%20/x",
        "/%2Fmcp/x",
        "/x%2F",
        "/mcp/Admin/x",
        "/mcp/%61dmin",
        "/mcp%2Fadmin/x",
        "/mcp/admin;x",
        "/apis/orders",
        "/apis%2FOrders",
        "/mcp;a%2Fb/admin",
    ] {
        let expected = if path == "/x%2F" { Ok(String::new()) } else { Err(Reason::PathValueAmbiguous) };
        assert_eq!(base_of(&bases, path), expected, "{path}");
    }
}

fn resource(changes: Value) -> Value {
    let mut resource = json!({ "base": "/x", "resource": "https://api.example.com/x" });
    resource.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    resource
}

#[test]
fn compiles_the_audience_of_each_issuer() {
    let compiled =
        compile(with(&[("/resources", json!([resource(json!({ "audience": { "corp": ["a", "b"] } }))]))])).unwrap();
    let resources = &compiled.policy.resources;
    assert!(!resources.is_single());
    let path = CanonicalPath::parse(b"/x/7").unwrap();
    let names = |resource: &Resource| match &resource.audiences.0[0] {
        Audience::OneOf(names) => names.join(" "),
        Audience::Absent => "absent".to_owned(),
    };
    assert_eq!(names(compiled.policy.resource_of(&path).unwrap()), "a b");
    assert_eq!(names(resources.own()), "https://api.example.com");
    let compiled = compile(with(&[("/resources", json!([resource(json!({}))]))])).unwrap();
    assert_eq!(names(compiled.policy.resource_of(&path).unwrap()), "https://api.example.com/x");
    assert!(compile(with(&[])).unwrap().policy.resources.is_single());
}

#[test]
fn rejects_invalid_resources() {
    for (resources, place, says) in [
        (json!([resource(json!({ "base": "/x/" }))]), "resources[0].base", "invalid base `/x/`"),
        (json!([resource(json!({ "base": "x" }))]), "resources[0].base", "invalid base"),
        (json!([resource(json!({ "base": "/" }))]), "resources[0].base", "invalid base"),
        (json!([resource(json!({ "base": "" }))]), "resources[0].base", "invalid base"),
        (json!([resource(json!({ "base": "/x/../y" }))]), "resources[0].base", "invalid base"),
        (json!([resource(json!({ "base": "/%78" }))]), "resources[0].base", "invalid base"),
        (json!([resource(json!({ "base": "/x/{id}" }))]), "resources[0].base", "invalid base"),
        (json!([resource(json!({ "base": "/y" }))]), "resources[0].base", "no endpoint is under `/y`"),
        (json!([resource(json!({ "base": "/heal" }))]), "resources[0].base", "no endpoint is under"),
        (json!([resource(json!({ "resource": "http://a" }))]), "resources[0].resource", "invalid resource"),
        (json!([resource(json!({ "resource": "https://a/#x" }))]), "resources[0].resource", "invalid resource"),
        (
            json!([resource(json!({})), resource(json!({}))]),
            "resources[1].base",
            "`resources[0]` has the same base, apart from case",
        ),
        (
            json!([resource(json!({ "audience": { "crop": "a" } }))]),
            "resources[0].audience.crop",
            "unknown issuer `crop`; did you mean `corp`?",
        ),
        (json!([resource(json!({ "audience": { "corp": [] } }))]), "resources[0].audience.corp", "the list is empty"),
        (json!([resource(json!({ "audience": { "corp": "" } }))]), "resources[0].audience.corp", "the value is empty"),
        (
            json!([resource(json!({ "audience": { "corp": "absent" } }))]),
            "resources[0].audience.corp",
            "only an issuer with `audience: absent`",
        ),
    ] {
        let errors = errors(&[("/resources", resources)]);
        assert!(
            errors.len() == 1 && errors[0].starts_with(&format!("{place}: ")) && errors[0].contains(says),
            "{place} {errors:?}"
        );
    }
    let own = [("/resources", json!([resource(json!({}))])), ("/issuers/corp/audience", json!("api"))];
    let errors = errors(&own);
    assert!(
        errors.len() == 1 && errors[0].starts_with("resources[0].audience.corp: `issuers.corp` has an `audience`,"),
        "{errors:?}"
    );
}
