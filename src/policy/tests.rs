//! Messages about errors in a policy. Each row breaks a valid policy in one place.

use serde_json::{Value, json};

use super::Policy;
use crate::document::Findings;
use crate::testing::not_needed;

fn good() -> Value {
    json!({
        "callgate": "v1",
        "name": "payments",
        "mode": "enforce",
        "gateway": "envoy",
        "resource": "https://api.example.com",
        "hosts": ["api.example.com", "api.example.com:8443"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com",
            "profile": "at+jwt",
            "algorithms": ["ES256"],
            "max_lifetime": "15m",
            "keys": { "jwks": { "keys": [{
                "kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig",
                // The generator of P-256 and its double are points of the curve that anybody can verify.
                "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
                "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
            }] } }
        } },
        "agents": { "a": {
            "owner": "o@example.com",
            "identity": { "issuer": "corp", "client_id": "a" },
            "attributes": { "tenant": "t1" }
        } },
        "requirements": { "write": { "scopes": ["w"] } },
        "endpoints": [
            { "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public" },
            { "id": "get", "methods": ["GET"], "path": "/x/{id}", "effect": "read", "scopes": "none",
              "bind": { "path.id": "token.org", "query.tenant": "agent.tenant", "header.x-org": "token./org/id" } },
            { "id": "put", "methods": ["PUT"], "path": "/x/{id}", "effect": "write" }
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": true } }
    })
}

pub(super) fn compile(policy: Value) -> Result<super::Compiled, Findings> {
    Policy::from_value(policy, &not_needed)
}

/// Sets the member at a JSON pointer, or removes it if the value is null.
pub(super) fn with(changes: &[(&str, Value)]) -> Value {
    let mut policy = good();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match policy.pointer_mut(parent).unwrap() {
            Value::Object(members) if value.is_null() => drop(members.remove(name)),
            Value::Object(members) => drop(members.insert(name.to_owned(), value.clone())),
            Value::Array(items) if name == "-" => items.push(value.clone()),
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{pointer} {other}"),
        }
    }
    policy
}

/// Returns the `dpop` section with these members changed.
fn dpop(changes: Value) -> Value {
    let mut dpop = json!({ "required": false, "algorithms": ["ES256"] });
    dpop.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    dpop
}

/// Returns all errors of the changed policy.
pub(super) fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    match compile(with(changes)) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.errors.iter().map(ToString::to_string).collect(),
    }
}

/// Asserts that the changed policy has exactly one error, at this place.
#[track_caller]
pub(super) fn one_error(changes: &[(&str, Value)], place: &str, says: &str) {
    let errors = errors(changes);
    assert!(
        errors.len() == 1 && errors[0].starts_with(&format!("{place}: ")) && errors[0].contains(says),
        "{place} {errors:#?}"
    );
}

#[test]
fn a_valid_policy_compiles_without_findings() {
    let compiled = compile(good()).unwrap();
    assert_eq!(compiled.findings, Findings::default());
    assert_eq!(compiled.policy.endpoints().len(), 3);
    assert_eq!(compiled.policy.agents(), 1);
    assert_eq!(compiled.policy.version.len(), 64);
}

/// By the positions of its fields, a list could be read as a struct.
#[test]
fn lists_are_not_read_as_objects() {
    for (pointer, place, list) in [
        ("/upstream", "upstream", json!(["remove"])),
        ("/agents/a/identity", "agents.a.identity", json!(["corp", "a"])),
        ("/audit/log", "audit.log", json!([false, true])),
    ] {
        let errors = errors(&[(pointer, list)]);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with(place) && errors[0].contains("invalid type: sequence, expected struct"),
            "{errors:?}"
        );
    }
}

#[test]
fn reports_each_error_at_its_location() {
    let rows: &[(&[(&str, Value)], &str)] = &[
        (&[("/name", json!("a b"))], "name: `a b` is not a valid name for a policy"),
        (&[("/name", json!(""))], "name: `` is not a valid name"),
        (&[("/_rules_", json!([]))], "_rules_: `matchRules` of a Higress `WasmPlugin`"),
        (&[("/resource", json!("api.example.com"))], "resource: invalid resource `api.example.com`"),
        (&[("/resource", json!("https://a\"b"))], "resource: invalid resource `https://a\\\"b`"),
        (&[("/help", json!(""))], "help: invalid help"),
        (&[("/help", json!("team\n@example.com"))], "help: invalid help"),
        (&[("/help", json!("h".repeat(257)))], "help: invalid help"),
        (&[("/hosts", json!([]))], "hosts: without a host"),
        (
            &[("/hosts/0", json!("API.example.com"))],
            "hosts[0]: `API.example.com` is not in canonical form; write `api.example.com`",
        ),
        (&[("/hosts/0", json!("api.example.com:443"))], "hosts[0]: `api.example.com:443` is not in canonical form"),
        (&[("/hosts/0", json!("*.example.com"))], "hosts[0]: hosts are compared exactly"),
        (&[("/hosts/0", json!("api.example.com."))], "hosts[0]: invalid host `api.example.com.`"),
        (&[("/hosts/1", json!("api.example.com"))], "hosts[1]: host `api.example.com` is listed twice"),
        (&[("/clock_skew", json!("16m"))], "clock_skew: must not exceed `15m`"),
        (&[("/reject_query", json!(["Token"]))], "reject_query[0]: parameters are compared"),
        (&[("/audit/headers", json!({ "prefix": "x-" }))], "audit.headers.prefix: invalid prefix `x-`"),
        (&[("/audit/headers", json!({ "prefix": "X-Gate-" }))], "audit.headers.prefix: invalid prefix `X-Gate-`"),
        (
            &[("/audit/headers", json!({ "prefix": "x-request-id" }))],
            "audit.headers.prefix: invalid prefix `x-request-id`",
        ),
        (&[("/audit/headers", json!({ "prefix": "x-envoy-" }))], "audit.headers.prefix: invalid prefix `x-envoy-`"),
        (&[("/audit/include", json!(["X-Run"]))], "audit.include[0]: invalid header name `X-Run`"),
        (&[("/audit/include", json!([":path"]))], "audit.include[0]: invalid header name `:path`"),
        (&[("/audit/include", json!(["a", "a"]))], "audit.include[1]: header `a` is listed twice"),
        (&[("/audit/include", json!(["cookie"]))], "audit.include[0]: `cookie` can contain a credential"),
        (&[("/audit/include", json!(["proxy_authorization"]))], "audit.include[0]: `proxy_authorization` can contain"),
        (&[("/audit/include", json!(["x_callgate.a"]))], "audit.include[0]: `x_callgate.a` begins with the prefix"),
        (
            &[("/audit/include", (0..17).map(|n| json!(format!("x-{n}"))).collect())],
            "audit.include: too many headers; expected at most 16",
        ),
        (&[("/external_url", json!("api.example.com"))], "external_url: invalid URL `api.example.com`"),
        (
            &[("/external_url", json!("https://api.example.com/"))],
            "external_url: invalid URL `https://api.example.com/`",
        ),
        (
            &[("/external_url", json!("https://api.example.com:443"))],
            "external_url: invalid URL `https://api.example.com:443`",
        ),
        (&[("/external_url", json!("https://API.example.com"))], "external_url: invalid URL `https://API.example.com`"),
        (&[("/external_url", json!("https://me@example.com"))], "external_url: invalid URL `https://me@example.com`"),
        (&[("/external_url", json!("https://"))], "external_url: invalid URL `https://`"),
        (&[("/dpop", json!({ "algorithms": ["ES256"] }))], "dpop: missing field `required`"),
        (&[("/dpop", dpop(json!({ "algorithms": [] })))], "dpop.algorithms: every proof would be rejected"),
        (&[("/dpop", dpop(json!({ "algorithms": ["HS256"] })))], "dpop.algorithms[0]: a proof shows"),
        (
            &[("/dpop", dpop(json!({ "algorithms": ["ES256", "ES256"] })))],
            "dpop.algorithms[1]: `ES256` is listed twice",
        ),
        (&[("/dpop", dpop(json!({ "max_age": "0s" })))], "dpop.max_age: every proof would be rejected"),
        (&[("/dpop", dpop(json!({ "max_age": "11m" })))], "dpop.max_age: proofs are stored for this time"),
        (&[("/dpop", dpop(json!({ "clock_ahead": "61s" })))], "dpop.clock_ahead: proofs could be created that long"),
        (&[("/endpoints/1/token", json!("bound"))], "endpoints[1].token: such tokens are not accepted without `dpop`"),
        (
            &[("/requirements/write/token", json!("bound"))],
            "requirements.write.token: such tokens are not accepted without `dpop`",
        ),
        (
            &[("/dpop", dpop(json!({}))), ("/endpoints/0/token", json!("bound"))],
            "endpoints[0].token: a public endpoint needs no token",
        ),
        (
            &[("/dpop", dpop(json!({}))), ("/requirements/read", json!({ "token": "bound" }))],
            "endpoints[0].effect: this effect requires a key-bound token",
        ),
        (&[("/agents", json!({}))], "agents: without an agent, every request is denied"),
        (&[("/agents/a/owner", json!(" "))], "agents.a.owner: `owner` is required"),
        (
            &[("/agents/a/identity/issuer", json!("crop"))],
            "agents.a.identity.issuer: unknown issuer `crop`; did you mean `corp`?",
        ),
        (
            &[("/endpoints/0/hosts", json!(["api.exampel.com"]))],
            "endpoints[0].hosts[0]: `api.exampel.com` is not one of the policy's hosts; did you mean `api.example.com`?",
        ),
        (
            &[("/endpoints/1/bind", json!({ "path.di": "token.org" }))],
            "endpoints[1].bind[\"path.di\"]: unknown path variable `di`; did you mean `id`?",
        ),
        (
            &[("/endpoints/1/bind", json!({ "path.id": "agent.tennant" }))],
            "endpoints[1].bind[\"path.id\"]: no agent has the attribute `tennant`; did you mean `tenant`?",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["EdDSA"]))],
            "issuers.corp.algorithms[0]: `EdDSA` is not accepted; write `Ed25519`",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["Ed448"]))],
            "issuers.corp.algorithms[0]: `Ed448` is not accepted; use `Ed25519`",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["ES512"]))],
            "issuers.corp.algorithms[0]: `ES512` is not accepted; use `ES384`",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["ES256K"]))],
            "issuers.corp.algorithms[0]: `ES256K` is not accepted; use `ES256`",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["HS384"]))],
            "issuers.corp.algorithms[0]: `HS384` is not accepted; use `HS256`",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["HS512"]))],
            "issuers.corp.algorithms[0]: `HS512` is not accepted; use `HS256`",
        ),
        (&[("/issuers/corp/algorithms", json!(["none"]))], "issuers.corp.algorithms[0]: `none` is not accepted"),
        (
            &[("/issuers/corp/algorithms", json!(["es256"]))],
            "issuers.corp.algorithms[0]: `es256` is not an algorithm; did you mean `ES256`?",
        ),
        (
            &[("/issuers/corp/algorithms", json!(["RSA-OAEP"]))],
            "issuers.corp.algorithms[0]: `RSA-OAEP` is not an algorithm; expected one of `ES256`, `ES384`",
        ),
        (
            &[("/dpop", dpop(json!({ "algorithms": ["EdDSA"] })))],
            "dpop.algorithms[0]: `EdDSA` is not accepted; write `Ed25519`",
        ),
        (
            &[("/agents/a/identity/issuer", json!("x"))],
            "agents.a.identity.issuer: unknown issuer `x`; expected a name from `issuers`",
        ),
        (&[("/agents/a/identity/client_id", json!(""))], "agents.a.identity.client_id: the value is empty"),
        (&[("/agents/a/identity/client_id", Value::Null)], "agents.a.identity: every client of this issuer"),
        (&[("/agents/a/scopes", json!(["a:*"]))], "agents.a.scopes[0]: `a:*` looks like a pattern"),
        (&[("/agents/a/scopes", json!(["a b"]))], "agents.a.scopes[0]: invalid scope `a b`"),
        (&[("/agents/a/expires", json!("soon"))], "agents.a.expires: invalid date `soon`"),
        (&[("/agents/a/attributes/tenant", json!(true))], "agents.a.attributes.tenant: invalid attribute"),
        (&[("/agents/a/attributes/tenant", json!([]))], "agents.a.attributes.tenant: invalid attribute"),
        (
            &[("/agents/b", json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": "a" } }))],
            "agents.b.identity: agent `a` has the same identity",
        ),
        (
            &[(
                "/agents/b",
                json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": "a", "subject": "s" } }),
            )],
            "agents.b.identity: a token that matches this also matches agent `a`",
        ),
        (&[("/requirements/write/scopes", json!([]))], "requirements.write.scopes: an empty list requires nothing"),
        (&[("/requirements/write/scopes", json!(["*"]))], "requirements.write.scopes: `*` looks like a pattern"),
        (&[("/endpoints", json!([]))], "endpoints: an empty allowlist"),
        (&[("/endpoints/0/id", json!("a/b"))], "endpoints[0].id: `a/b` is not a valid name for an endpoint"),
        (&[("/endpoints/1/id", json!("health"))], "endpoints[1].id: endpoint `endpoints[0]` has the same id"),
        (&[("/endpoints/0/methods", json!([]))], "endpoints[0].methods: an endpoint without a method"),
        (&[("/endpoints/0/methods", json!(["get"]))], "endpoints[0].methods[0]: methods are compared exactly"),
        (&[("/endpoints/0/methods", json!(["GET", "GET"]))], "endpoints[0].methods[1]: method `GET` is listed twice"),
        (&[("/endpoints/0/methods", json!(["CONNECT"]))], "endpoints[0].methods[0]: `CONNECT` opens a tunnel"),
        (&[("/endpoints/0/methods", json!(["*"]))], "endpoints[0].methods[0]: invalid method `*`"),
        (
            &[("/endpoints/2/methods", json!(["GET"]))],
            "endpoints[2].methods: endpoint `get` already matches `GET` on this path",
        ),
        (&[("/endpoints/0/hosts", json!([]))], "endpoints[0].hosts: an endpoint without a host"),
        (
            &[("/endpoints/0/hosts", json!(["other"]))],
            "endpoints[0].hosts[0]: `other` is not one of the policy's hosts; expected a host from `hosts`",
        ),
        (&[("/endpoints/0/path", json!("health"))], "endpoints[0].path: a path begins with a slash"),
        (&[("/endpoints/0/scopes", json!(["a"]))], "endpoints[0].scopes: a public endpoint cannot check scopes"),
        (&[("/endpoints/0/effect", json!("write"))], "endpoints[0].effect: this effect requires scopes"),
        (
            &[("/endpoints/0/bind", json!({ "query.a": "token.a" }))],
            "endpoints[0].bind: a public endpoint does not identify clients",
        ),
        (
            &[("/endpoints/1/credentials", json!("ignore"))],
            "endpoints[1].credentials: this applies only to public endpoints",
        ),
        (&[("/endpoints/1/scopes", Value::Null)], "endpoints[1].scopes: `scopes` is required"),
        (&[("/endpoints/1/scopes", json!({}))], "endpoints[1].scopes: an empty list requires nothing"),
        (&[("/endpoints/1/scopes", json!(["a", "a"]))], "endpoints[1].scopes.all[1]: scope `a` is listed twice"),
        (&[("/endpoints/1/allow_escapes", json!(["%2F"]))], "endpoints[1].allow_escapes: no variable of this path"),
        (&[("/endpoints/2/upgrade", json!("websocket"))], "endpoints[2].upgrade: a WebSocket handshake"),
        (
            &[("/mode", json!("observe")), ("/endpoints/0/mode", json!("enforce"))],
            "endpoints[0].mode: the policy's `mode: observe` denies nothing",
        ),
        (
            &[("/requirements/write/form_bodies", json!("reject")), ("/endpoints/2/form_bodies", json!("allow"))],
            "endpoints[2].form_bodies: the requirements of this effect reject form bodies",
        ),
        (
            &[("/endpoints/1/bind", json!({ "path.x": "token.a" }))],
            "endpoints[1].bind[\"path.x\"]: unknown path variable `x`",
        ),
        (
            &[("/endpoints/1/bind", json!({ "body.x": "token.a" }))],
            "endpoints[1].bind[\"body.x\"]: invalid JSON pointer `x`",
        ),
        (
            &[("/endpoints/1/bind", json!({ "cookie.x": "token.a" }))],
            "endpoints[1].bind[\"cookie.x\"]: `cookie.x` is not a part of a request",
        ),
        (
            &[("/endpoints/1/bind", json!({ "query.a[]": "token.a" }))],
            "endpoints[1].bind[\"query.a[]\"]: the parameter name `a[]` is ambiguous",
        ),
        (
            &[("/endpoints/1/bind", json!({ "header.X-Org": "token.a" }))],
            "endpoints[1].bind[\"header.X-Org\"]: header names are compared in lower case",
        ),
        (
            &[("/endpoints/1/bind", json!({ "header.x_org": "token.a" }))],
            "endpoints[1].bind[\"header.x_org\"]: invalid header name `x_org`",
        ),
        (
            &[("/endpoints/1/bind", json!({ "header.authorization": "token.a" }))],
            "endpoints[1].bind[\"header.authorization\"]: `authorization` is used by the connection or the gate",
        ),
        (
            &[("/endpoints/1/bind", json!({ "header.x-callgate-agent": "token.a" }))],
            "endpoints[1].bind[\"header.x-callgate-agent\"]: `x-callgate-agent` is used by the connection or the gate",
        ),
        (
            &[("/endpoints/1/bind", json!({ "path.id": "agent.x" }))],
            "endpoints[1].bind[\"path.id\"]: no agent has the attribute `x`",
        ),
        (
            &[("/endpoints/1/bind", json!({ "path.id": "acme" }))],
            "endpoints[1].bind[\"path.id\"]: `acme` is not an attribute of the caller",
        ),
        (
            &[("/endpoints/1/bind", json!({ "path.id": "token." }))],
            "endpoints[1].bind[\"path.id\"]: invalid claim name",
        ),
        (&[("/issuers", json!({})), ("/agents", json!({}))], "issuers: without an issuer, no agent"),
        (&[("/extra", json!(1))], "extra: unknown field `extra`"),
        (&[("/endpoints/1/scope", json!("none"))], "endpoints[1].scope: unknown field `scope`"),
        (
            &[("/failed_credentials", json!({ "rate": "1/1s", "burst": 5 }))],
            "failed_credentials: this field was renamed; write `auth_failure_limit`",
        ),
        (&[("/mode", json!("enforced"))], "mode: unknown variant `enforced`"),
        (&[("/upstream/authorization", Value::Null)], "upstream: missing field `authorization`"),
    ];
    let mut wrong = Vec::new();
    for (changes, expected) in rows {
        let errors = errors(changes);
        if !errors.iter().any(|error| error.starts_with(expected)) {
            wrong.push(format!("{changes:?}\n  expected {expected}\n  got {errors:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rejects_null_fields() {
    let mut policy = good();
    policy["endpoints"][0]["hosts"] = Value::Null;
    policy["clock_skew"] = Value::Null;
    let errors = compile(policy).unwrap_err().errors;
    let places: Vec<&str> = errors.iter().map(|error| error.place.as_str()).collect();
    assert_eq!(places, ["clock_skew", "endpoints[0].hosts"]);
}

#[test]
fn unknown_members_of_a_key_set_can_be_null() {
    let mut policy = good();
    let keys = policy["issuers"].as_object_mut().unwrap().values_mut().next().unwrap();
    keys["keys"]["jwks"]["issued"] = Value::Null;
    compile(policy).unwrap();
}

#[test]
fn reports_all_semantic_errors_at_once() {
    let errors = errors(&[
        ("/name", json!("")),
        ("/hosts/0", json!("API")),
        ("/endpoints/0/methods", json!([])),
        ("/agents/a/owner", json!("")),
    ]);
    assert!(errors.len() >= 4, "{errors:#?}");
}

#[test]
fn messages_have_no_final_period_and_no_type_names() {
    for errors in
        [errors(&[("/name", json!(""))]), errors(&[("/hosts/0", json!("API"))]), errors(&[("/clock_skew", json!("x"))])]
    {
        for error in errors {
            let (_, message) = error.split_once(": ").unwrap();
            assert!(!message.ends_with('.') && !message.contains("::") && !message.contains("struct "), "{message}");
        }
    }
}

#[test]
fn warns_about_settings_that_may_be_unintended() {
    let warnings = |changes: &[(&str, Value)]| {
        let findings = compile(with(changes)).unwrap().findings;
        findings.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(warnings(&[("/clock_skew", json!("5m"))])[0].starts_with("clock_skew: this extends the lifetime"));
    assert!(
        warnings(&[
            ("/endpoints/0/hosts", json!(["api.example.com"])),
            ("/endpoints/1/hosts", json!(["api.example.com"])),
            ("/endpoints/2/hosts", json!(["api.example.com"])),
        ])[0]
            .starts_with("hosts: no endpoint has the host `api.example.com:8443`")
    );
}

/// Returns the valid policy with a signing agent and these changes.
pub(super) fn signed(changes: &[(&str, Value)]) -> Value {
    let mut policy = with(changes);
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    policy["agents"]["a"]["signing_keys"] = json!([{ "jwk": key }]);
    policy
}

#[test]
fn rejects_a_policy_that_is_not_json() {
    let told = |bytes: &[u8]| Policy::from_json(bytes, &not_needed).unwrap_err().errors[0].to_string();
    assert!(told(b"\x0a\x03foo").starts_with("the document: the policy is not JSON"));
    assert!(told(b"{\"a\":1,\"a\":2}").contains("not JSON"));
    assert!(told(b"").contains("not JSON"));
}

/// Returns the errors of a policy with two limits, which apply unless the changes remove them.
fn limited(changes: &[(&str, Value)]) -> Vec<String> {
    let limits = json!({
        "slow": { "per": "agent", "rate": "60/1m", "burst": 10 },
        "open": { "per": ["source", "endpoint"], "rate": "5/1s", "burst": 5 }
    });
    let mut all =
        vec![("/limits", limits), ("/endpoints/0/limits", json!(["open"])), ("/endpoints/1/limits", json!(["slow"]))];
    all.extend(changes.iter().cloned());
    errors(&all)
}

#[test]
fn rejects_invalid_limits() {
    assert_eq!(limited(&[]), Vec::<String>::new());
    for (pointer, value, place, says) in [
        ("/limits/slow/rate", json!("2000000/1s"), "limits.slow.rate", "at most a million requests per second"),
        ("/limits/slow/rate", json!("1/366d"), "limits.slow.rate", "within a year"),
        ("/limits/slow/burst", json!(0), "limits.slow.burst", "denies every request"),
        ("/limits/slow/per", json!([]), "limits.slow.per", "expected `agent`, `issuer`"),
        ("/limits/slow/per", json!(["agent", "agent"]), "limits.slow.per[1]", "is listed twice"),
        (
            "/limits/a b",
            json!({ "per": "agent", "rate": "1/1s", "burst": 1 }),
            "limits[\"a b\"]",
            "is not a valid name for a limit",
        ),
        ("/endpoints/1/limits", json!(["fast"]), "endpoints[1].limits[0]", "unknown limit `fast`"),
        ("/endpoints/1/limits", json!(["slow", "slow"]), "endpoints[1].limits[1]", "is listed twice"),
        (
            "/endpoints/0/limits",
            json!(["slow"]),
            "endpoints[0].limits[0]",
            "a public endpoint does not identify clients",
        ),
        ("/endpoints/1/cost", json!(0), "endpoints[1].cost", "are not limited"),
        ("/endpoints/1/cost", json!(11), "endpoints[1].cost", "the burst of `slow` is 10"),
        ("/endpoints/2/cost", json!(2), "endpoints[2].cost", "no limit is charged here"),
        ("/requirements/write/limits", json!(["fast"]), "requirements.write.limits[0]", "unknown limit `fast`"),
        ("/requirements/read", json!({ "limits": ["slow"] }), "endpoints[1].limits[0]", "already charge `slow`"),
        ("/tables", json!({ "limits": 7 }), "tables.limits", "expected 8 to 1048576"),
        ("/tables", json!({ "limits": 1_048_577 }), "tables.limits", "expected 8 to 1048576"),
        ("/tables", json!({ "replay": 63 }), "tables.replay", "expected 64 to 1048576"),
        ("/tables", json!({ "replay": 1_048_577 }), "tables.replay", "expected 64 to 1048576"),
        (
            "/auth_failure_limit",
            json!({ "rate": "1/1s", "burst": 0 }),
            "auth_failure_limit.burst",
            "denies every request",
        ),
        (
            "/auth_failure_limit",
            json!({ "rate": "1/1s", "burst": 1, "sources": { "203.0.113.7": { "rate": "1/1s", "burst": 1 } } }),
            "auth_failure_limit.sources[\"203.0.113.7\"]",
            "invalid network",
        ),
        (
            "/auth_failure_limit",
            json!({ "rate": "1/1s", "burst": 1, "sources": { "203.0.113.7/24": { "rate": "1/1s", "burst": 1 } } }),
            "auth_failure_limit.sources[\"203.0.113.7/24\"]",
            "write `203.0.113.0/24`",
        ),
    ] {
        let errors = limited(&[(pointer, value)]);
        assert!(
            errors.iter().any(|error| error.starts_with(&format!("{place}: ")) && error.contains(says)),
            "{pointer} {errors:?}"
        );
    }
}

#[test]
fn errors_about_malformed_limits_name_the_expected_value() {
    for (pointer, value, says) in [
        ("/limits/slow/rate", json!("60 per minute"), "expected a whole number of requests, `/` and a duration"),
        (
            "/limits/slow/per",
            json!("everybody"),
            "invalid value `everybody`; expected `agent`, `issuer`, `source`, `endpoint`, `tool`, `token.CLAIM` or",
        ),
        ("/limits/slow/per", json!(["everybody"]), "invalid value `everybody`; expected `agent`"),
        ("/limits/slow/burst", json!(-1), "invalid value"),
        ("/limits/slow/window", json!("1m"), "unknown field `window`"),
        ("/auth_failure_limit", json!({ "rate": "1/1s" }), "missing field `burst`"),
    ] {
        let errors = limited(&[(pointer, value)]);
        assert!(errors.len() == 1 && errors[0].contains(says), "{pointer} {errors:?}");
    }
}

#[test]
fn warns_about_an_unused_limit() {
    let compiled =
        compile(with(&[("/limits", json!({ "idle": { "per": "agent", "rate": "1/1s", "burst": 1 } }))])).unwrap();
    let warnings: Vec<_> = compiled.findings.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.starts_with("limits.idle: nothing is charged")), "{warnings:?}");
}
