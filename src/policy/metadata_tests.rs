use serde_json::{Value, json};

use super::super::tests::{compile, errors, with};
use crate::policy::Policy;
use crate::reason::Challenge;
use crate::request::{CanonicalPath, Host};

const ISSUER: &str = "https://idp.example.com";

fn metadata(members: Value) -> Value {
    crate::testing::with(json!({ "authorization_servers": [ISSUER] }), members)
}

fn policy(changes: &[(&str, Value)]) -> Policy {
    compile(with(&[&[("/metadata", metadata(json!({})))], changes].concat())).unwrap().policy
}

fn warnings(members: Value) -> Vec<String> {
    let compiled = compile(with(&[("/metadata", metadata(members))])).unwrap();
    compiled.findings.warnings.iter().map(ToString::to_string).collect()
}

fn document_at(policy: &Policy, host: &str, path: &str) -> Option<Value> {
    let (host, path) = (Host::parse(host.as_bytes()).unwrap(), CanonicalPath::parse(path.as_bytes()).unwrap());
    let metadata = policy.resources.metadata_at(&host, &path)?;
    Some(serde_json::from_str(&metadata.document).unwrap())
}

fn parameters(policy: &Policy, challenge: Challenge) -> &str {
    policy.resources.own().metadata.as_deref().map_or("", |metadata| metadata.parameters(challenge))
}

#[test]
fn the_document_states_what_the_policy_states() {
    let at = |policy: &Policy| document_at(policy, "api.example.com", "/.well-known/oauth-protected-resource").unwrap();
    let least = json!({
        "resource": "https://api.example.com", "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"]
    });
    assert_eq!(at(&policy(&[])), least);
    let all = metadata(json!({
        "scopes": ["w", "r"], "initial_scopes": ["r"], "documentation": "https://developer.example.com/a?b#c"
    }));
    let dpop = json!({ "required": false, "algorithms": ["ES256", "Ed25519"] });
    let limits = json!({ "calls": { "per": "agent", "rate": "1/1s", "burst": 1 } });
    let requirements = json!({ "write": { "scopes": ["w"], "limits": ["calls"] }, "read": { "limits": ["calls"] } });
    let full = policy(&[("/metadata", all), ("/dpop", dpop), ("/limits", limits), ("/requirements", requirements)]);
    assert_eq!(
        at(&full),
        json!({
            "resource": "https://api.example.com", "authorization_servers": [ISSUER], "scopes_supported": ["w", "r"],
            "bearer_methods_supported": ["header"], "resource_documentation": "https://developer.example.com/a?b#c",
            "dpop_signing_alg_values_supported": ["ES256", "Ed25519", "EdDSA"], "dpop_bound_access_tokens_required": false
        })
    );
}

#[test]
fn with_client_certificates_the_document_offers_tokens_that_are_bound_to_them() {
    let at = |policy: &Policy| document_at(policy, "api.example.com", "/.well-known/oauth-protected-resource").unwrap();
    let tls = json!({ "client_certificates": "validated" });
    let bound = policy(&[("/tls", tls), ("/endpoints/2/token", json!("bound"))]);
    assert_eq!(at(&bound)["tls_client_certificate_bound_access_tokens"], true);
    assert_eq!(at(&policy(&[])).get("tls_client_certificate_bound_access_tokens"), None);
}

/// RFC 9728, section 2: the member states whether the resource *always* requires DPoP-bound tokens.
#[test]
fn dpop_is_required_only_if_no_token_that_is_bound_to_a_certificate_is_accepted_instead() {
    let at = |policy: &Policy| document_at(policy, "api.example.com", "/.well-known/oauth-protected-resource").unwrap();
    let tls = json!({ "client_certificates": "validated" });
    let limits = json!({ "calls": { "per": "agent", "rate": "1/1s", "burst": 1 } });
    let requirements = json!({ "write": { "scopes": ["w"], "limits": ["calls"] }, "read": { "limits": ["calls"] } });
    let shared = [("/limits", limits), ("/requirements", requirements)];
    for (required, has_tls, stated) in
        [(true, false, true), (true, true, false), (false, false, false), (false, true, false)]
    {
        let mut changes = vec![("/dpop", json!({ "required": required, "algorithms": ["ES256"] }))];
        changes.extend(has_tls.then(|| ("/tls", tls.clone())));
        let document = at(&policy(&[&changes[..], &shared[..]].concat()));
        assert_eq!(document["dpop_bound_access_tokens_required"], stated, "{required} {has_tls}");
        assert_eq!(document["dpop_signing_alg_values_supported"], json!(["ES256"]));
        assert_eq!(document.get("tls_client_certificate_bound_access_tokens").is_some(), has_tls);
    }
}

#[test]
fn the_path_of_the_resource_follows_the_well_known_path() {
    for (resource, path) in [
        ("https://api.example.com", "/.well-known/oauth-protected-resource"),
        ("https://api.example.com/", "/.well-known/oauth-protected-resource"),
        ("https://API.example.com:443", "/.well-known/oauth-protected-resource"),
        ("https://api.example.com/v1/mcp", "/.well-known/oauth-protected-resource/v1/mcp"),
        ("https://api.example.com/caf%C3%A9", "/.well-known/oauth-protected-resource/caf%c3%a9"),
    ] {
        let policy = policy(&[("/resource", json!(resource))]);
        assert_eq!(document_at(&policy, "api.example.com", path).unwrap()["resource"], resource);
        assert_eq!(document_at(&policy, "api.example.com:8443", path), None, "{resource}");
        for other in [format!("{path}/"), format!("{path}x"), "/.well-known".to_owned(), "/v1/mcp".to_owned()] {
            assert_eq!(document_at(&policy, "api.example.com", &other), None, "{other}");
        }
    }
    let port = policy(&[("/resource", json!("https://api.example.com:8443"))]);
    assert!(document_at(&port, "api.example.com:8443", "/.well-known/oauth-protected-resource").is_some());
    assert!(document_at(&port, "api.example.com", "/.well-known/oauth-protected-resource").is_none());
}

#[test]
fn behind_an_external_url_every_host_serves_the_document() {
    let policy = policy(&[
        ("/external_url", json!("https://public.example.com")),
        ("/resource", json!("https://public.example.com/v1")),
    ]);
    for host in ["api.example.com", "api.example.com:8443"] {
        assert!(document_at(&policy, host, "/.well-known/oauth-protected-resource/v1").is_some(), "{host}");
    }
    assert_eq!(
        parameters(&policy, Challenge::Bare),
        ", resource_metadata=\"https://public.example.com/.well-known/oauth-protected-resource/v1\""
    );
}

#[test]
fn challenges_announce_the_metadata_and_the_initial_scopes() {
    let link = ", resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource\"";
    let initial = policy(&[("/metadata", metadata(json!({ "initial_scopes": ["r", "w"] })))]);
    for challenge in [Challenge::Bare, Challenge::InvalidToken, Challenge::InvalidProof, Challenge::UseNonce] {
        assert_eq!(parameters(&initial, challenge), format!("{link}, scope=\"r w\""));
        assert_eq!(parameters(&policy(&[]), challenge), link);
    }
    assert_eq!(parameters(&initial, Challenge::InsufficientScope), link);
    let without = compile(with(&[])).unwrap().policy;
    assert!(without.resources.own().metadata.is_none());
}

/// A policy whose resource has metadata, and these resources under bases.
fn resources(members: &[Value]) -> Vec<(&'static str, Value)> {
    let endpoints = ["/v1/x", "/mcp", "/mcp/admin"].iter().enumerate().map(|(index, path)| {
        json!({ "id": format!("e{index}"), "methods": ["GET"], "path": path, "effect": "read", "scopes": "none" })
    });
    vec![
        ("/metadata", metadata(json!({ "initial_scopes": ["r"] }))),
        ("/endpoints", endpoints.collect()),
        ("/resources", json!(members)),
    ]
}

fn mcp(members: Value) -> Value {
    crate::testing::with(
        json!({
            "base": "/mcp", "resource": "https://api.example.com/mcp",
            "metadata": { "authorization_servers": ["https://mcp.example.org"], "initial_scopes": ["tools"] }
        }),
        members,
    )
}

#[test]
fn each_resource_has_its_own_document_and_challenge() {
    let admin = json!({ "base": "/mcp/admin", "resource": "https://api.example.com/mcp/admin" });
    let compiled = compile(with(&resources(&[mcp(json!({})), admin]))).unwrap();
    let told: Vec<_> = compiled.findings.warnings.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|warning| warning.starts_with("resources[1]: other resources have `metadata`")),
        "{told:?}"
    );
    let policy = compiled.policy;
    let of = |path: &str| {
        let found = document_at(&policy, "api.example.com", &format!("/.well-known/oauth-protected-resource{path}"))?;
        Some(found["resource"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("").as_deref(), Some("https://api.example.com"));
    assert_eq!(of("/mcp").as_deref(), Some("https://api.example.com/mcp"));
    assert_eq!((of("/mcp/admin"), of("/mcp/x"), of("/v1")), (None, None, None));
    let challenge = |path: &str| {
        let path = CanonicalPath::parse(path.as_bytes()).unwrap();
        let metadata = policy.resource_of(&path).unwrap().metadata.as_ref();
        metadata.map(|metadata| metadata.parameters(Challenge::Bare).to_owned())
    };
    let url = "https://api.example.com/.well-known/oauth-protected-resource";
    assert_eq!(challenge("/v1/x").unwrap(), format!(", resource_metadata=\"{url}\", scope=\"r\""));
    for path in ["/mcp", "/mcp/unknown"] {
        assert_eq!(challenge(path).unwrap(), format!(", resource_metadata=\"{url}/mcp\", scope=\"tools\""), "{path}");
    }
    assert_eq!(challenge("/mcp/admin"), None, "no metadata of another resource");
}

#[test]
fn resources_with_one_identifier_share_their_metadata() {
    let events = json!({ "base": "/v1", "resource": "https://api.example.com/mcp" });
    let compiled = compile(with(&resources(&[mcp(json!({})), events]))).unwrap();
    let told: Vec<_> = compiled.findings.warnings.iter().map(ToString::to_string).collect();
    assert!(!told.iter().any(|warning| warning.contains("have `metadata`")), "{told:?}");
    let path = CanonicalPath::parse(b"/v1/x").unwrap();
    let metadata = compiled.policy.resource_of(&path).unwrap().metadata.as_deref().unwrap();
    assert_eq!(&*metadata.url, "https://api.example.com/.well-known/oauth-protected-resource/mcp");
}

#[test]
fn warns_about_each_resource_whose_clients_find_no_metadata() {
    let warnings = |changes: &[(&str, Value)]| -> Vec<String> {
        let findings = compile(with(changes)).unwrap().findings;
        let all = findings.warnings.iter().map(ToString::to_string);
        all.filter(|warning| warning.contains("have `metadata`")).collect()
    };
    let mut only_based = resources(&[mcp(json!({}))]);
    only_based.retain(|(pointer, _)| *pointer != "/metadata");
    assert_eq!(warnings(&only_based).len(), 1);
    let none = [("/resources", json!([mcp(json!({ "metadata": null }))])), resources(&[])[1].clone()];
    assert_eq!(warnings(&none), [""; 0]);
    // Metadata that are wrong are not missing.
    let slash = resources(&[mcp(json!({ "resource": "https://api.example.com/mcp/" }))]);
    let Err(findings) = compile(with(&slash)) else { panic!("the resource ends with a slash") };
    assert!(!findings.warnings.iter().any(|warning| warning.message.contains("have `metadata`")), "{findings}");
}

#[test]
fn rejects_metadata_of_resources_that_clients_would_not_find() {
    let of = |members: Value| errors(&resources(&[mcp(members)]));
    for (members, expected) in [
        (
            json!({ "resource": "https://api.example.com" }),
            "resources[0].metadata: another resource has its metadata at \
             `https://api.example.com/.well-known/oauth-protected-resource` too",
        ),
        (
            json!({ "resource": "https://api.example.com/mcp/" }),
            "resources[0].resource: clients disagree about the metadata URL of a resource that ends with a slash;",
        ),
        (
            json!({ "resource": "https://mcp.example.com/mcp" }),
            "resources[0].metadata: clients read the metadata on `mcp.example.com`",
        ),
        (
            json!({ "metadata": { "authorization_servers": [] } }),
            "resources[0].metadata.authorization_servers: clients could not find out where to get a token",
        ),
    ] {
        let found = of(members.clone());
        assert!(found.len() == 1 && found[0].starts_with(expected), "{members}: {found:?}");
    }
    let mut changes = resources(&[mcp(json!({}))]);
    changes.push(("/endpoints/0/path", json!("/.well-known/oauth-protected-resource/{base}")));
    let found = errors(&changes);
    assert!(found.len() == 1 && found[0].starts_with("endpoints[0].path: this path matches"), "{found:?}");
}

#[test]
fn rejects_metadata_that_clients_cannot_use() {
    let of = |members: Value| errors(&[("/metadata", metadata(members))]);
    let url = "expected an absolute `https` URL without query and fragment, such as `https://idp.example.com`";
    for (members, expected) in [
        (
            json!({ "authorization_servers": [] }),
            "metadata.authorization_servers: clients could not find out where to get a token; write at least one issuer".to_owned(),
        ),
        (
            json!({ "authorization_servers": [ISSUER, ISSUER] }),
            format!("metadata.authorization_servers[1]: authorization server `{ISSUER}` is listed twice; remove one"),
        ),
        (
            json!({ "authorization_servers": ["login.partner.example"] }),
            format!("metadata.authorization_servers[0]: invalid URL `login.partner.example`; {url}"),
        ),
        (
            json!({ "authorization_servers": ["https://login.partner.example/realms/agents?x"] }),
            format!("metadata.authorization_servers[0]: invalid URL `https://login.partner.example/realms/agents?x`; {url}"),
        ),
        (
            json!({ "authorization_servers": ["idp.example.com"] }),
            "metadata.authorization_servers[0]: invalid URL `idp.example.com`; expected".to_owned(),
        ),
        (
            json!({ "documentation": "http://developer.example.com" }),
            "metadata.documentation: invalid URL `http://developer.example.com`; expected an absolute `https` URL, such as \
             `https://developer.example.com/agents`"
                .to_owned(),
        ),
        (
            json!({ "scopes": ["a b"] }),
            "metadata.scopes[0]: invalid scope `a b`; expected visible ASCII without quotes and backslashes".to_owned(),
        ),
        (
            json!({ "initial_scopes": ["a\"b"] }),
            "metadata.initial_scopes[0]: invalid scope `a\\\"b`; expected visible ASCII".to_owned(),
        ),
        (
            json!({ "initial_scopes": ["a".repeat(513)] }),
            "metadata.initial_scopes: too long; expected at most 512 bytes, because every answer with status 401 repeats them".to_owned(),
        ),
        (
            json!({ "scopes": ["a".repeat(16 * 1024)] }),
            "metadata: the document for clients is too long (16".to_owned(),
        ),
        (
            json!({ "scopes": ["a", "a"] }),
            "metadata.scopes[1]: scope `a` is listed twice; remove one".to_owned(),
        ),
    ] {
        let found = of(members.clone());
        assert!(found.iter().any(|error| error.starts_with(&expected)), "{members}: {found:?}");
    }
    assert!(of(json!({ "initial_scopes": ["a".repeat(512)] })).is_empty());
    assert!(!of(json!({ "authorization_servers": null })).is_empty());
}

#[test]
fn rejects_a_resource_whose_metadata_clients_would_not_find() {
    let of = |changes: &[(&str, Value)]| errors(&[&[("/metadata", metadata(json!({})))], changes].concat());
    let resource = |resource: &str| of(&[("/resource", json!(resource))]);
    for (written, expected) in [
        ("https://api.example.com/?a", "resource: with `metadata`, the resource must not have a query; remove it"),
        ("https://api.example.com?a", "resource: with `metadata`, the resource must not have a query; remove it"),
        (
            "https://api.example.com/v1/",
            "resource: clients disagree about the metadata URL of a resource that ends with a slash;",
        ),
        (
            "https://api.example.com/v1/../x",
            "resource: with `metadata`, the path of the resource must be in canonical form",
        ),
        (
            "https://api.example.com/a%2Fb",
            "resource: with `metadata`, the path of the resource must be in canonical form",
        ),
        (
            "https://api.example.com/%61",
            "resource: with `metadata`, the path of the resource must be in canonical form",
        ),
        ("https://user@api.example.com", "resource: with `metadata`, the resource needs a valid host"),
        (
            "https://other.example.com",
            "metadata: clients read the metadata on `other.example.com`, the host of `resource`, which `hosts` does not name; write the \
             same host in both",
        ),
    ] {
        let found = resource(written);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{written}: {found:?}");
    }
    let external = of(&[("/external_url", json!("https://public.example.com"))]);
    assert!(external.len() == 1 && external[0].contains("which `external_url` does not name"), "{external:?}");
    // Without metadata, such resources are accepted.
    assert!(errors(&[("/resource", json!("https://other.example.com/v1/?a"))]).is_empty());
}

#[test]
fn rejects_endpoints_at_the_path_of_the_metadata() {
    let of = |path: &str, resource: &str| {
        errors(&[
            ("/metadata", metadata(json!({}))),
            ("/resource", json!(resource)),
            ("/endpoints/0/path", json!(path)),
        ])
    };
    let (root, v1) = ("https://api.example.com", "https://api.example.com/v1");
    for (path, resource) in [
        ("/.well-known/oauth-protected-resource", root),
        ("/.well-known/{name}", root),
        ("/.well-known/oauth-{name:slug}", root),
        ("/{folder:text}/{name:text}", root),
        ("/{folder}/oauth-protected-{name}", root),
        ("/{path...}", root),
        ("/.well-known/{path...}", v1),
        ("/.well-known/oauth-protected-resource/{base}", v1),
        ("/{a}/{b}/{c}", v1),
    ] {
        let found = of(path, resource);
        let expected = "endpoints[0].path: this path matches `/.well-known/oauth-protected-resource";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{path}: {found:?}");
    }
    for (path, resource) in [
        ("/.well-known/security.txt", root),
        ("/.well-known/oauth-protected-resource/{base}", root),
        ("/.well-known/oauth-protected-resource", v1),
        ("/.well-known/{name:int}", root),
        ("/{name:text}", root),
        ("/{a}/{b}", v1),
    ] {
        assert_eq!(of(path, resource), [""; 0], "{path}");
    }
    let elsewhere = [
        ("/metadata", metadata(json!({}))),
        ("/endpoints/0/path", json!("/{path...}")),
        ("/endpoints/0/hosts", json!(["api.example.com:8443"])),
    ];
    assert_eq!(errors(&elsewhere), [""; 0], "an endpoint on another host");
}

#[test]
fn warns_about_metadata_that_mislead_clients() {
    assert_eq!(
        warnings(json!({ "authorization_servers": [ISSUER, "https://login.partner.example/realms/agents"] })),
        [
            "metadata.authorization_servers[1]: no issuer of this policy is `https://login.partner.example/realms/agents`, so its tokens \
             are rejected; add it to `issuers`, or remove it here"
        ]
    );
    assert_eq!(
        warnings(json!({ "authorization_servers": ["https://idp.example.com/"] })),
        [
            "metadata.authorization_servers[0]: no issuer of this policy is `https://idp.example.com/`, so its tokens are rejected; did \
             you mean `https://idp.example.com`?"
        ]
    );
    assert_eq!(
        warnings(json!({ "scopes": ["r", "offline_access"] })),
        [
            "metadata.scopes[1]: this requests refresh tokens and is no permission of this API; leave it to clients and remove it"
        ]
    );
    // The reserved path is next to no variable in a warning.
    assert_eq!(warnings(json!({})), [""; 0]);
}
