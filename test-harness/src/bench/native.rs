//! The comparison for Callgate: Envoy's own filters, configured to do as much of the same job as they can.
//!
//! The chain is generated from the policy that Callgate is measured with, so both enforce the same endpoints, agents and limits per agent.
//! Rules that native filters cannot express directly are expanded if possible, and otherwise omitted.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use callgate::document::HEADER_PREFIX;
use serde_json::{Map, Value, json};

use crate::envoy;
use crate::quickstart::set;

/// The namespace and key under which `jwt_authn` stores the claims.
const CLAIMS: [&str; 2] = ["envoy.filters.http.jwt_authn", "corp"];
/// The namespace and key under which `rbac` stores the name of the matching policy.
const FITTED: [&str; 2] = ["envoy.filters.http.rbac", "enforced_effective_policy_id"];
/// The organization of all agents. Native filters cannot compare a path with a claim.
const ORGANISATION: &str = "acme";

/// Returns the chain of native filters: token, authorization, limits, identity headers.
pub(super) fn chain(policy: &Value, jwks: &Value, cached: bool) -> Result<Vec<Value>> {
    let rules = rules(policy)?;
    Ok(vec![jwt_authn(jwks, cached), rbac(&rules), local_ratelimit(policy, &rules)?, header_mutation()])
}

/// The permission of one agent for one endpoint.
struct Rule<'p> {
    agent: &'p str,
    endpoint: &'p str,
    effect: &'p str,
    methods: Vec<&'p str>,
    /// A regular expression for the path, or for path and query if the query is bound.
    path: String,
    target: Option<String>,
    /// The request needs one scope of each list.
    scopes: Vec<Vec<&'p str>>,
}

impl Rule<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.endpoint, self.agent)
    }
}

/// Returns a rule for each agent at each endpoint that is not public, because the allowed values in a path depend on the agent.
fn rules(policy: &Value) -> Result<Vec<Rule<'_>>> {
    let agents = policy.get("agents").and_then(Value::as_object).context("the policy has no agents")?;
    let endpoints = policy.get("endpoints").and_then(Value::as_array).context("the policy has no endpoints")?;
    let protected = endpoints.iter().filter(|endpoint| endpoint.get("access").is_none());
    let rules = protected.flat_map(|endpoint| agents.iter().map(|(name, agent)| rule(policy, endpoint, name, agent)));
    rules.collect::<Option<_>>().context("the policy has a form that the comparison does not support")
}

fn rule<'p>(policy: &'p Value, endpoint: &'p Value, agent: &'p str, registration: &Value) -> Option<Rule<'p>> {
    let text = |name: &str| endpoint.get(name)?.as_str();
    let effect = text("effect")?;
    let repositories = registration.pointer("/attributes/repositories").map(texts).unwrap_or_default();
    let asked = policy.pointer(&format!("/requirements/{effect}/scopes"));
    let scopes = asked.into_iter().chain(endpoint.get("scopes")).flat_map(|scopes| match scopes.get("any") {
        Some(any) => vec![texts(any)],
        None => texts(scopes).into_iter().map(|scope| vec![scope]).collect(),
    });
    let path = expression(text("path")?, &repositories);
    let bound = endpoint.pointer("/bind/query.org").map(|_| format!(r"{path}\?([^#]*&)?org={ORGANISATION}(&.*)?"));
    Some(Rule {
        agent,
        endpoint: text("id")?,
        effect,
        methods: texts(endpoint.get("methods")?),
        target: bound,
        path,
        scopes: scopes.collect(),
    })
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns an expression for the paths of a template, limited to the repositories that one agent may access.
fn expression(template: &str, repositories: &[&str]) -> String {
    let mut written = String::new();
    let mut rest = template;
    while let Some((fixed, (variable, after))) =
        rest.split_once('{').and_then(|(fixed, rest)| Some((fixed, rest.split_once('}')?)))
    {
        written += fixed;
        written += &match variable {
            "owner" => ORGANISATION.to_owned(),
            "repo" => format!("({})", repositories.join("|")),
            _ if variable.ends_with("...") => ".+".to_owned(),
            _ if variable.ends_with(":int") => "[0-9]+".to_owned(),
            _ => "[^/]+".to_owned(),
        };
        rest = after;
    }
    written + rest
}

/// Returns the filter that sends a check to an HTTP service for every request. The response sets the headers for the upstream.
pub(super) fn ext_authz(cluster: &str) -> Value {
    filter(
        "ext_authz",
        "ext_authz.v3.ExtAuthz",
        json!({ "http_service": {
            "server_uri": { "uri": "http://allow-all", "cluster": cluster, "timeout": "5s" },
            "authorization_response": { "allowed_upstream_headers": { "patterns": [{ "prefix": HEADER_PREFIX }] } },
        } }),
    )
}

/// Returns the filter that sends the check over gRPC to the cluster of this name, which is also the name in its counters.
pub(super) fn ext_authz_grpc(cluster: &str) -> Value {
    filter(
        "ext_authz",
        "ext_authz.v3.ExtAuthz",
        json!({
            "transport_api_version": "V3",
            "stat_prefix": cluster,
            "grpc_service": { "envoy_grpc": { "cluster_name": cluster }, "timeout": "5s" },
        }),
    )
}

/// Returns the cluster of a policy service, to which Envoy keeps one HTTP/2 connection.
pub(super) fn policy_service(name: &str, address: SocketAddr) -> Value {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let http2 = json!({ options: {
        "@type": format!("type.googleapis.com/{options}"),
        "explicit_http_config": { "http2_protocol_options": {} },
    } });
    let mut cluster = envoy::cluster(name, address);
    set(&mut cluster, "typed_extension_protocol_options", http2);
    cluster
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

/// Returns the filter that holds a request until its body is complete.
pub(super) fn buffer() -> Value {
    filter("buffer", "buffer.v3.Buffer", json!({ "max_request_bytes": 1 << 20 }))
}

/// Returns the filter that parses requests of MCP and rejects everything else that clients post.
pub(super) fn mcp() -> Value {
    filter("mcp", "mcp.v3.Mcp", json!({ "traffic_mode": "REJECT_NO_MCP" }))
}

/// Returns the authorization filter, which checks method, path and claims.
fn rbac(rules: &[Rule<'_>]) -> Value {
    let regex = |regex: &str| json!({ "safe_regex": { "regex": regex } });
    let claim = |name: &str, value: Value| {
        let [namespace, key] = CLAIMS;
        json!({ "metadata": {
            "filter": namespace,
            "path": [{ "key": key }, { "key": name }],
            "value": { "string_match": value },
        } })
    };
    let header = |name: &str, value: Value| json!({ "header": { "name": name, "string_match": value } });
    let policies = rules.iter().map(|rule| {
        let methods: Vec<_> = rule.methods.iter().map(|method| header(":method", json!({ "exact": method }))).collect();
        let mut call =
            vec![json!({ "or_rules": { "rules": methods } }), json!({ "url_path": { "path": regex(&rule.path) } })];
        call.extend(rule.target.iter().map(|target| header(":path", regex(target))));
        let mut caller =
            vec![claim("client_id", json!({ "exact": rule.agent })), claim("org", json!({ "exact": ORGANISATION }))];
        caller.extend(rule.scopes.iter().map(|one_of| {
            let words = regex(&format!("(.* )?({})( .*)?", one_of.join("|")));
            claim("scope", words)
        }));
        let policy = json!({
            "permissions": [{ "and_rules": { "rules": call } }],
            "principals": [{ "and_ids": { "ids": caller } }],
        });
        (rule.name(), policy)
    });
    let health =
        json!({ "permissions": [{ "url_path": { "path": { "exact": "/health" } } }], "principals": [{ "any": true }] });
    let policies: Map<_, _> = policies.chain([("health".to_owned(), health)]).collect();
    filter("rbac", "rbac.v3.RBAC", json!({ "rules": { "action": "ALLOW", "policies": policies } }))
}

/// Returns the limits for each agent, and for each of its endpoints that changes something, from the policy's limits. The response headers
/// report the remaining quota.
fn local_ratelimit(policy: &Value, rules: &[Rule<'_>]) -> Result<Value> {
    let always =
        |key: &str| json!({ "runtime_key": key, "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    let [calls, changes] = [bucket(policy, "calls")?, bucket(policy, "changes")?];
    let entry = |key: &str, value: &str, bucket: &Value| json!({ "entries": [{ "key": key, "value": value }], "token_bucket": bucket });
    let agents = policy.get("agents").and_then(Value::as_object).context("the policy has no agents")?;
    let changing = rules.iter().filter(|rule| rule.effect != "read");
    let descriptors: Vec<_> = agents
        .keys()
        .map(|agent| entry("agent", agent, &calls))
        .chain(changing.map(|rule| entry("endpoint", &rule.name(), &changes)))
        .collect();
    let counted = |key: &str, namespace: &str, path: &[&str]| {
        let path: Vec<_> = path.iter().map(|key| json!({ "key": key })).collect();
        json!({ "actions": [{ "metadata": {
            "descriptor_key": key,
            "metadata_key": { "key": namespace, "path": path },
        } }] })
    };
    let ([claims, issuer], [namespace, fitted]) = (CLAIMS, FITTED);
    Ok(filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        json!({
            "stat_prefix": "limit",
            // The filter requires this bucket but does not use it.
            "token_bucket": calls,
            "always_consume_default_token_bucket": false,
            "descriptors": descriptors,
            "rate_limits": [
                counted("agent", claims, &[issuer, "client_id"]),
                counted("endpoint", namespace, &[fitted]),
            ],
            "filter_enabled": always("bench.enabled"),
            "filter_enforced": always("bench.enforced"),
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        }),
    ))
}

/// Returns a limit of the policy as a token bucket.
fn bucket(policy: &Value, limit: &str) -> Result<Value> {
    let read = || {
        let limit = policy.pointer(&format!("/limits/{limit}"))?;
        let (calls, span) = limit.get("rate")?.as_str()?.split_once("/1")?;
        let seconds = match span {
            "s" => "1s",
            "m" => "60s",
            _ => return None,
        };
        let calls: u32 = calls.parse().ok()?;
        Some(json!({ "max_tokens": limit.get("burst")?, "tokens_per_fill": calls, "fill_interval": seconds }))
    };
    read().with_context(|| format!("the limit `{limit}` has a form that the comparison does not support"))
}

/// Returns the filter that sets the same headers as Callgate.
fn header_mutation() -> Value {
    let [namespace, key] = CLAIMS;
    let claim = |name: &str| format!("%DYNAMIC_METADATA({namespace}:{key}:{name})%");
    let headers = [
        ("agent", claim("client_id")),
        ("issuer", "corp".to_owned()),
        ("client", claim("client_id")),
        ("subject", claim("sub")),
        ("scopes", claim("scope")),
        ("endpoint", format!("%DYNAMIC_METADATA({}:{})%", FITTED[0], FITTED[1])),
        ("decision", "%REQ(X-REQUEST-ID)%".to_owned()),
        ("policy", "quickstart".to_owned()),
    ];
    let set = headers.map(|(name, value)| {
        let header = json!({ "key": format!("{HEADER_PREFIX}{name}"), "value": value });
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

#[cfg(test)]
mod tests {
    use super::super::callee::Callee;
    use super::super::{policies, rows};
    use super::*;
    use crate::build::{self, Flavor};
    use crate::client::{self, Request};
    use crate::envoy::{Bootstrap, Envoy, Options};
    use crate::quickstart::{self, HOST, Issuer};

    /// Otherwise the comparison would be with filters that do less than claimed.
    #[test]
    fn native_chain_allows_the_same_requests_as_the_gate() {
        let policy = quickstart::policy_with_keys().unwrap();
        let issuer = Issuer::new().unwrap();
        let callee = Callee::start().unwrap();
        let base = rows::base(&build::filter(Flavor::Release).unwrap(), &callee).unwrap();
        let jwks = json!({ "keys": [issuer.es256.public_jwk()] });
        let bootstrap = Bootstrap::joined(vec![
            ("native", base.with_filters(chain(&policy, &jwks, true).unwrap()).unwrap()),
            ("callgate", base.with_policy(&policy.to_string()).unwrap()),
        ])
        .unwrap();
        let envoy = Envoy::start(&bootstrap, &Options::default()).unwrap();
        let both = |request: &Request| {
            ["native", "callgate"].map(|name| client::call(envoy.listener(name).unwrap(), request).unwrap().status)
        };
        let all = "code:read code:write code:destroy pulls:write reviews:write pipelines:run";
        for (agent, scopes, method, target, passes) in [
            ("coding-agent", all, "GET", "/repos/acme/gateway", true),
            ("coding-agent", all, "GET", "/repos/acme/other", false),
            ("coding-agent", all, "GET", "/repos/globex/gateway", false),
            ("coding-agent", all, "PUT", "/repos/acme/gateway", false),
            ("review-agent", all, "GET", "/repos/acme/gateway", true),
            ("review-agent", all, "GET", "/repos/acme/website", false),
            ("nobody", all, "GET", "/repos/acme/gateway", false),
            ("coding-agent", all, "GET", "/repos/acme/gateway/contents/a/b", true),
            ("coding-agent", "code:write", "GET", "/repos/acme/gateway/contents/a/b", false),
            ("coding-agent", all, "GET", "/repos/acme/gateway/pulls/7", true),
            ("coding-agent", all, "GET", "/repos/acme/gateway/pulls/x", false),
            ("coding-agent", "code:write reviews:write", "POST", "/repos/acme/gateway/pulls/7/reviews", true),
            ("coding-agent", "code:write", "POST", "/repos/acme/gateway/pulls/7/reviews", false),
            ("coding-agent", "code:write pulls:write2", "POST", "/repos/acme/gateway/pulls", false),
            ("coding-agent", "pulls:write", "POST", "/repos/acme/gateway/pulls", false),
            ("coding-agent", "code:write", "DELETE", "/repos/acme/gateway/labels/x", false),
            ("coding-agent", all, "DELETE", "/repos/acme/gateway/labels/x", true),
            ("coding-agent", all, "GET", "/search/issues?q=x&org=acme", true),
            ("coding-agent", all, "GET", "/search/issues?q=x&org=globex", false),
            ("coding-agent", all, "POST", "/repos/acme/gateway/pipelines/x:run", true),
            ("coding-agent", all, "GET", "/admin", false),
        ] {
            let request = Request::new(method, target).host(HOST).bearer(&issuer.token(agent, scopes));
            let statuses = both(&request.header("Content-Length", "0"));
            assert_eq!(statuses.map(|status| status == 200), [passes; 2], "{agent} {method} {target}: {statuses:?}");
        }
        let token = policies::token(&issuer, &issuer.es256, 0);
        let statuses = (0..11).map(|_| both(&policies::call(&token))).collect::<Vec<_>>();
        let burst = [[200; 2]; 10];
        assert_eq!(statuses, [&burst[..], &[[429; 2]]].concat(), "the eleventh change within a minute");
        let other = Request::new("DELETE", "/repos/acme/gateway/labels/x")
            .host(HOST)
            .bearer(&issuer.token("coding-agent", all));
        assert_eq!(both(&other.header("Content-Length", "0")), [200; 2], "another endpoint has a limit of its own");
    }
}
