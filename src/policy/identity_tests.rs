//! Messages about errors in identities, tenants, audiences and included scopes. Each row breaks a valid policy in one place.

use serde_json::{Value, json};

use super::tests::{compile, errors, one_error, with};

fn identity(changes: Value) -> (&'static str, Value) {
    let mut identity = json!({ "issuer": "corp" });
    identity.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    ("/agents/a/identity", identity)
}

/// Turns the issuer into one with tenants.
fn tenants(tenants: Value) -> [(&'static str, Value); 2] {
    [("/issuers/corp/issuer", json!("https://idp.example.com/{tid}")), ("/issuers/corp/tenants", tenants)]
}

/// Turns the issuer into one whose tokens have no audience.
fn without_audience() -> [(&'static str, Value); 3] {
    let token = json!({
        "typ": ["JWT"], "distinguished_by": "claims", "claims": { "token_use": ["access"] }, "client": "client_id", "scopes": [],
    });
    [
        ("/issuers/corp/profile", json!("jwt")),
        ("/issuers/corp/token", token),
        ("/issuers/corp/audience", json!("absent")),
    ]
}

#[test]
fn tokens_without_audience_need_distinguishing_claims_and_registered_agents() {
    compile(with(&without_audience())).unwrap();
    let changed = |change: (&'static str, Value)| without_audience().into_iter().chain([change]).collect::<Vec<_>>();
    for by in ["audience", "typ"] {
        let changes = changed(("/issuers/corp/token/distinguished_by", json!(by)));
        let errors = errors(&changes);
        assert!(
            errors.iter().any(|error| error.starts_with("issuers.corp.audience: tokens without `aud`")),
            "{errors:?}"
        );
    }
    one_error(
        &[("/issuers/corp/audience", json!("absent"))],
        "issuers.corp.audience",
        "write `profile: jwt` with `distinguished_by: claims`",
    );
    one_error(
        &changed(("/unregistered", json!("allow"))),
        "issuers.corp.audience",
        "any client of this issuer could send requests",
    );
    // In a list, the word is a name.
    compile(with(&[("/issuers/corp/audience", json!(["absent"])), ("/unregistered", json!("allow"))])).unwrap();
    one_error(&[("/issuers/corp/audience", json!([]))], "issuers.corp.audience", "the list is empty");
    one_error(&[("/issuers/corp/audience", json!(["a", "a"]))], "issuers.corp.audience[1]", "is listed twice");
    one_error(&[("/issuers/corp/audience", json!(["a", ""]))], "issuers.corp.audience", "the value is empty");
    one_error(&[("/issuers/corp/audience", json!(7))], "issuers.corp.audience", "or `absent` for tokens without `aud`");
}

#[test]
fn agents_of_an_issuer_with_tenants_name_their_tenant() {
    let of_tenant = |tenant: Value| identity(json!({ "client_id": "a", "tenant": tenant }));
    let with_tenants =
        |listed: Value, change: (&'static str, Value)| tenants(listed).into_iter().chain([change]).collect::<Vec<_>>();
    compile(with(&with_tenants(json!(["acme"]), of_tenant(json!("acme"))))).unwrap();
    compile(with(&with_tenants(json!("any"), of_tenant(json!("acme"))))).unwrap();
    one_error(
        &with_tenants(json!("any"), identity(json!({ "client_id": "a" }))),
        "agents.a.identity",
        "may have the same identifier; write the `tenant`",
    );
    one_error(
        &with_tenants(json!(["acme"]), of_tenant(json!("globex"))),
        "agents.a.identity.tenant",
        "is not one of the tenants of `corp`",
    );
    one_error(
        &with_tenants(json!("any"), of_tenant(json!("Acme"))),
        "agents.a.identity.tenant",
        "invalid tenant `Acme`",
    );
    one_error(&[of_tenant(json!("acme"))], "agents.a.identity.tenant", "`corp` has no tenants");
    one_error(&tenants(json!("ayn")), "issuers.corp.tenants", "expected a list of tenants, or `any`");

    let mut open = with_tenants(json!("any"), of_tenant(json!("acme")));
    open.push(("/unregistered", json!("allow")));
    one_error(&open, "issuers.corp.tenants", "any client of any tenant could send requests");
    let mut listed = with_tenants(json!(["acme"]), of_tenant(json!("acme")));
    listed.push(("/unregistered", json!("allow")));
    compile(with(&listed)).unwrap();
}

#[test]
fn the_same_client_of_two_tenants_is_two_agents() {
    let agent = |tenant: &str| json!({ "owner": "o@example.com", "identity": { "issuer": "corp", "tenant": tenant, "client_id": "a" } });
    let two = |one: &str, other: &str| {
        let agents = json!({ "a": agent(one), "b": agent(other) });
        let mut changes = tenants(json!("any")).to_vec();
        changes.extend([("/agents", agents), ("/endpoints/1/bind", Value::Null)]);
        changes
    };
    compile(with(&two("acme", "globex"))).unwrap();
    one_error(&two("acme", "acme"), "agents.b.identity", "agent `a` has the same identity");
}

#[test]
fn an_identity_may_consist_of_claims() {
    for good in [
        json!({ "claims": { "repository": ["octo/app"] } }),
        json!({ "claims": { "/kubernetes.io/pod/name": ["coder-0"], "env": ["prod", "test"] } }),
        json!({ "client_id": "a", "claims": { "env": ["prod"] } }),
        json!({ "claims": { "env": ["prod"] }, "each": "client" }),
    ] {
        compile(with(&[identity(good)])).unwrap();
    }
    for (wrong, place, says) in [
        (json!({ "claims": { "env": [] } }), "agents.a.identity.claims.env", "a value is missing"),
        (json!({ "claims": { "env": [""] } }), "agents.a.identity.claims.env", "a value is missing"),
        (
            json!({ "claims": { "iss": ["x"] } }),
            "agents.a.identity.claims.iss",
            "all tokens of the issuer have this claim",
        ),
        (json!({ "claims": { "/aud": ["x"] } }), "agents.a.identity.claims[\"/aud\"]", "all tokens of the issuer"),
        (json!({ "claims": { "/a~": ["x"] } }), "agents.a.identity.claims[\"/a~\"]", "invalid JSON pointer"),
        (json!({}), "agents.a.identity", "write `client_id`, `subject`, `claims` or several of them"),
        (json!({ "claims": {} }), "agents.a.identity", "every client of this issuer would be this agent"),
        (
            json!({ "claims": { "env": ["prod"] }, "client_id": "a", "each": "client" }),
            "agents.a.identity.client_id",
            "`each: client` describes many clients; remove `client_id`",
        ),
        (
            json!({ "claims": { "env": ["prod"] }, "subject": "a", "each": "client" }),
            "agents.a.identity.subject",
            "remove `subject`",
        ),
        (
            json!({ "claims": { "env": ["prod"] }, "each": "subject" }),
            "agents.a.identity.each",
            "unknown variant `subject`",
        ),
    ] {
        one_error(&[identity(wrong)], place, says);
    }
    let all = errors(&[identity(json!({ "each": "client" }))]);
    assert!(all.iter().any(|error| error.starts_with("agents.a.identity.each: every client")), "{all:?}");
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let class = identity(json!({ "claims": { "env": ["prod"] }, "each": "client" }));
    one_error(
        &[class, ("/agents/a/signing_keys", json!([{ "jwk": key }]))],
        "agents.a.signing_keys",
        "which cannot share a key",
    );
}

#[test]
fn identities_by_claims_are_distinct() {
    let agents = |one: Value, other: Value| {
        let agent = |identity: (&str, Value)| json!({ "owner": "o@example.com", "identity": identity.1 });
        [
            ("/agents", json!({ "a": agent(identity(one)), "b": agent(identity(other)) })),
            ("/endpoints/1/bind", Value::Null),
        ]
    };
    let prod = || json!({ "claims": { "env": ["prod"] } });
    compile(with(&agents(prod(), json!({ "claims": { "env": ["test"] } })))).unwrap();
    compile(with(&agents(prod(), json!({ "client_id": "b" })))).unwrap();
    one_error(&agents(prod(), prod()), "agents.b.identity", "agent `a` has the same identity");
    let narrower = json!({ "client_id": "b", "claims": { "env": ["prod"] } });
    one_error(
        &agents(narrower.clone(), json!({ "client_id": "b" })),
        "agents.a.identity",
        "also matches agent `b`, which accepts tokens without these claims too",
    );
    compile(with(&agents(narrower, json!({ "client_id": "c" })))).unwrap();
}

#[test]
fn included_scopes_must_be_required_somewhere() {
    let implies = |implies: Value| [("/scope_implies", implies)];
    for good in [json!({ "admin": ["w"] }), json!({ "admin": ["x"], "x": ["w"] }), json!({})] {
        compile(with(&implies(good))).unwrap();
    }
    one_error(
        &implies(json!({ "admin": ["w", "read"] })),
        "scope_implies.admin[1]",
        "nothing in the policy requires the scope `read`",
    );
    one_error(&implies(json!({ "admin": ["W"] })), "scope_implies.admin[0]", "did you mean `w`?");
    let cycle = errors(&implies(json!({ "w": ["admin"], "admin": ["w"] })));
    assert!(cycle.len() == 2 && cycle.iter().all(|error| error.contains("includes itself")), "{cycle:?}");
}
