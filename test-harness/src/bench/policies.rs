//! The policies for measuring the gate: the quickstart's policy with the keys of its issuer, and generated policies of any size.

use anyhow::{Context as _, Result};
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use crate::client::Request;
use crate::quickstart::{self, HOST, Issuer, set};

/// The endpoint that is called. It requires its own scopes and those of its effect, binds the path to the token and to the agent, and
/// rejects forms.
pub(super) const ENDPOINT: &str = "pulls.create";
pub(super) const AGENT: &str = "coding-agent";
pub(super) const SCOPES: &str = "code:read code:write pulls:write";
/// The gateway's cluster for the server from which the gate fetches keys.
pub(super) const KEY_CLUSTER: &str = "idp";

/// Returns the quickstart's policy with limits that are never reached, because rejected requests are not measured.
pub(super) fn quickstart() -> Result<Value> {
    let mut policy = quickstart::policy_with_keys()?;
    raise_limits(&mut policy);
    Ok(policy)
}

/// Raises the limits of a policy beyond the number of requests.
pub(super) fn raise_limits(policy: &mut Value) {
    for limit in
        policy.get_mut("limits").and_then(Value::as_object_mut).into_iter().flat_map(|limits| limits.values_mut())
    {
        set(limit, "rate", "1000000/1s");
        set(limit, "burst", 1_000_000);
    }
}

/// Returns the policy without its limits.
pub(super) fn without_limits() -> Result<Value> {
    let mut policy = quickstart()?;
    remove(&mut policy, "limits");
    let requirements = policy.get_mut("requirements").and_then(Value::as_object_mut);
    requirements.into_iter().flat_map(|requirements| requirements.values_mut()).for_each(|part| remove(part, "limits"));
    let endpoints = policy.get_mut("endpoints").and_then(Value::as_array_mut);
    endpoints.into_iter().flatten().for_each(|endpoint| remove(endpoint, "limits"));
    Ok(policy)
}

/// Returns the policy with a key for RS256, which the quickstart does not accept.
pub(super) fn with_rs256(key: &SigningKey) -> Result<Value> {
    let mut policy = quickstart()?;
    let keys = policy.pointer_mut("/issuers/corp/keys/jwks/keys").and_then(Value::as_array_mut);
    keys.context("the issuer has no keys")?.push(key.public_jwk());
    accept_rs256(&mut policy)?;
    Ok(policy)
}

/// Lets the issuer sign with RS256.
pub(super) fn accept_rs256(policy: &mut Value) -> Result<()> {
    let algorithms = policy.pointer_mut("/issuers/corp/algorithms").and_then(Value::as_array_mut);
    algorithms.context("the issuer has no algorithms")?.push(json!("RS256"));
    Ok(())
}

/// Returns the same policy with a URL instead of the issuer's keys, and the key set to publish there: those keys.
pub(super) fn with_fetched_keys(policy: &Value) -> Result<(Value, Value)> {
    let mut policy = policy.clone();
    let keys = policy.pointer_mut("/issuers/corp/keys").context("the issuer has no keys")?;
    let remote = json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": KEY_CLUSTER } });
    let mut inline = std::mem::replace(keys, remote);
    let key_set = inline.get_mut("jwks").context("the issuer has no key set")?.take();
    Ok((policy, key_set))
}

/// Returns the same policy, in which the coding agent may act for others.
pub(super) fn with_delegation(policy: &Value) -> Result<Value> {
    let mut policy = policy.clone();
    set(&mut policy, "delegation", json!({ "max_depth": 2 }));
    let identity = policy.pointer_mut(&format!("/agents/{AGENT}/identity"));
    set(identity.context("the quickstart lacks the agent")?, "actor", json!({ "issuer": "corp", "sub": AGENT }));
    set(endpoint(&mut policy, ENDPOINT)?, "delegation", "allowed");
    Ok(policy)
}

/// Returns the quickstart with this many generated endpoints and agents instead of its own. Each endpoint has the requirements of
/// `pulls.create`.
pub(super) fn of_size(size: usize) -> Result<Value> {
    let mut policy = quickstart()?;
    let endpoint = endpoint(&mut policy, ENDPOINT)?.clone();
    let agent = policy.pointer(&format!("/agents/{AGENT}")).context("the quickstart lacks the agent")?.clone();
    let endpoints = (0..size).map(|index| {
        let mut endpoint = endpoint.clone();
        set(&mut endpoint, "id", format!("pulls.create-{index}"));
        set(&mut endpoint, "path", format!("{}/{{owner}}/{{repo}}/pulls", prefix(index)));
        endpoint
    });
    let agents = (0..size).map(|index| {
        let mut agent = agent.clone();
        set(&mut agent, "identity", json!({ "issuer": "corp", "client_id": client(index) }));
        (client(index), agent)
    });
    let agents = Value::Object(agents.collect());
    let endpoints = endpoints.collect::<Vec<_>>();
    set(&mut policy, "endpoints", endpoints);
    set(&mut policy, "agents", agents);
    Ok(policy)
}

/// Returns a policy from [`of_size`] in which the first agent has another client id.
pub(super) fn with_client(policy: &Value, client_id: &str) -> Result<Value> {
    let mut policy = policy.clone();
    let identity = policy.pointer_mut(&format!("/agents/{}/identity", client(0)));
    set(identity.context("the policy lacks its first agent")?, "client_id", client_id);
    Ok(policy)
}

/// Returns that client's request to the first endpoint.
pub(super) fn call_of_client(issuer: &Issuer, client_id: &str) -> Request {
    request(&prefix(0), &issuer.token(client_id, SCOPES))
}

/// Returns an endpoint of a policy.
pub(super) fn endpoint<'p>(policy: &'p mut Value, id: &str) -> Result<&'p mut Value> {
    let endpoints = policy.get_mut("endpoints").and_then(Value::as_array_mut).context("the policy has no endpoints")?;
    let found = endpoints.iter_mut().find(|endpoint| endpoint.get("id").is_some_and(|own| own == id));
    found.with_context(|| format!("the policy has no endpoint `{id}`"))
}

/// Returns the measured request: the coding agent opens a pull request. It has no body, because the listener itself responds, and a gateway
/// closes a connection if it responds before the body is complete.
pub(super) fn call(token: &str) -> Request {
    request("/repos", token)
}

/// Returns the measured request without its token.
pub(super) fn call_without_token() -> Request {
    with_headers(Request::post("/repos/acme/gateway/pulls").host(HOST))
}

/// Returns requests of some agents of a policy from [`of_size`], spread over the whole policy, each to a different endpoint.
pub(super) fn calls_of_size(issuer: &Issuer, size: usize, calls: usize) -> Vec<Request> {
    let spread = (0..calls).map(|call| call * size / calls);
    spread.map(|index| request(&prefix(index), &issuer.token(&client(index), SCOPES))).collect()
}

/// Returns a token for the measured request. Each `serial` produces a different token.
pub(super) fn token(issuer: &Issuer, key: &SigningKey, serial: usize) -> String {
    issuer.sign(key, AGENT, SCOPES, |_, claims| set(claims, "jti", format!("{serial:08}")))
}

/// Returns a token for the same request, made for a user by a planner through the coding agent.
pub(super) fn delegated_token(issuer: &Issuer, key: &SigningKey) -> String {
    issuer.sign(key, AGENT, SCOPES, |_, claims| {
        set(claims, "sub", "user-7");
        set(claims, "act", json!({ "sub": AGENT, "act": { "sub": "planner" } }));
    })
}

/// Removes a member of an object.
pub(super) fn remove(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
}

fn request(prefix: &str, token: &str) -> Request {
    with_headers(Request::post(format!("{prefix}/acme/gateway/pulls")).host(HOST).bearer(token))
}

fn with_headers(request: Request) -> Request {
    request
        .header("User-Agent", "agent/1.0")
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .header("Content-Length", "0")
}

/// Distributes the endpoints over a hundred services.
fn prefix(index: usize) -> String {
    format!("/services/service-{}/resource-{index}", index % 100)
}

fn client(index: usize) -> String {
    format!("agent-{index}")
}
