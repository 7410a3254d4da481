//! What Callgate is compared with: Envoy's own filters, configured to do as much of the same job as they can.

use serde_json::{Value, json};

/// The namespace and key under which `jwt_authn` leaves the claims.
const CLAIMS: [&str; 2] = ["envoy.filters.http.jwt_authn", "corp"];

/// The chain of native filters: token, who may do what, rate, identity headers.
pub(super) fn chain(jwks: &Value, cached: bool) -> Vec<Value> {
    vec![jwt_authn(jwks, cached), rbac(), local_ratelimit(), header_mutation()]
}

/// A question to a service of one's own for every call.
pub(super) fn ext_authz(cluster: &str) -> Value {
    filter(
        "ext_authz",
        "ext_authz.v3.ExtAuthz",
        json!({ "http_service": { "server_uri": { "uri": "http://allow-all", "cluster": cluster, "timeout": "5s" } } }),
    )
}

pub(super) fn jwt_authn(jwks: &Value, cached: bool) -> Value {
    let mut provider = json!({
        "issuer": "https://idp.example.com",
        "audiences": ["https://api.example.com"],
        "local_jwks": { "inline_string": jwks.to_string() },
        "payload_in_metadata": CLAIMS[1],
    });
    if cached && let Some(provider) = provider.as_object_mut() {
        provider.insert("jwt_cache_config".into(), json!({ "jwt_cache_size": 1000 }));
    }
    filter(
        "jwt_authn",
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": { "corp": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        }),
    )
}

/// Holds a request until its body is there.
pub(super) fn buffer() -> Value {
    filter("buffer", "buffer.v3.Buffer", json!({ "max_request_bytes": 1 << 20 }))
}

/// One endpoint, one agent, its organisation and its scope. That the path's owner is the token's organisation cannot be said:
/// both are written out.
fn rbac() -> Value {
    let claim = |name: &str, value: Value| {
        let [namespace, key] = CLAIMS;
        json!({ "metadata": {
            "filter": namespace,
            "path": [{ "key": key }, { "key": name }],
            "value": { "string_match": value },
        } })
    };
    let principals = json!({ "and_ids": { "ids": [
        claim("client_id", json!({ "exact": "coding-agent" })),
        claim("org", json!({ "exact": "acme" })),
        claim("scope", json!({ "contains": "pulls:write" })),
    ] } });
    let permissions = json!({ "and_rules": { "rules": [
        { "header": { "name": ":method", "string_match": { "exact": "POST" } } },
        { "url_path": { "path": { "safe_regex": { "regex": "/repos/acme/(gateway|website)/pulls" } } } },
    ] } });
    let policy = json!({ "permissions": [permissions], "principals": [principals] });
    filter("rbac", "rbac.v3.RBAC", json!({ "rules": { "action": "ALLOW", "policies": { "pulls.create": policy } } }))
}

/// A bucket that never runs empty, with the headers that tell what is left in it.
fn local_ratelimit() -> Value {
    let always =
        |key: &str| json!({ "runtime_key": key, "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        json!({
            "stat_prefix": "limit",
            "token_bucket": { "max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s" },
            "filter_enabled": always("bench.enabled"),
            "filter_enforced": always("bench.enforced"),
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        }),
    )
}

/// The same headers as Callgate sets.
fn header_mutation() -> Value {
    let [namespace, key] = CLAIMS;
    let claim = |name: &str| format!("%DYNAMIC_METADATA({namespace}:{key}:{name})%");
    let headers = [
        ("agent", claim("client_id")),
        ("issuer", "corp".to_owned()),
        ("client", claim("client_id")),
        ("subject", claim("sub")),
        ("scopes", claim("scope")),
        ("endpoint", "pulls.create".to_owned()),
        ("decision", "%REQ(X-REQUEST-ID)%".to_owned()),
        ("policy", "quickstart".to_owned()),
    ];
    let set = headers.map(|(name, value)| {
        let header = json!({ "key": format!("x-callgate-{name}"), "value": value });
        json!({ "append": { "header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" } })
    });
    filter("header_mutation", "header_mutation.v3.HeaderMutation", json!({ "mutations": { "request_mutations": set } }))
}

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    if let Some(config) = config.as_object_mut() {
        config.insert("@type".into(), json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}")));
    }
    json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": config })
}
