//! What the gate is measured with: the quickstart's policy as it ships, and policies of any size made from it.

use anyhow::{Context as _, Result};
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use crate::client::Request;
use crate::quickstart::{self, HOST, Issuer, set};

/// The endpoint that is called: it asks for scopes of its own and of its effect, binds the path to the token and to the agent,
/// and refuses forms.
pub(super) const ENDPOINT: &str = "pulls.create";
const AGENT: &str = "coding-agent";
const SCOPES: &str = "code:read code:write pulls:write";

/// The quickstart's policy, in which no limit is ever reached: who waits is not measured.
pub(super) fn quickstart() -> Result<Value> {
    let mut policy = quickstart::policy()?;
    for limit in
        policy.get_mut("limits").and_then(Value::as_object_mut).into_iter().flat_map(|limits| limits.values_mut())
    {
        set(limit, "rate", "1000000/1s");
        set(limit, "burst", 1_000_000);
    }
    Ok(policy)
}

/// The same without its limits.
pub(super) fn without_limits() -> Result<Value> {
    let mut policy = quickstart()?;
    remove(&mut policy, "limits");
    let requirements = policy.get_mut("requirements").and_then(Value::as_object_mut);
    requirements.into_iter().flat_map(|requirements| requirements.values_mut()).for_each(|part| remove(part, "limits"));
    let endpoints = policy.get_mut("endpoints").and_then(Value::as_array_mut);
    endpoints.into_iter().flatten().for_each(|endpoint| remove(endpoint, "limits"));
    Ok(policy)
}

/// The same with a key for RS256, which the quickstart does not take.
pub(super) fn with_rs256(key: &SigningKey) -> Result<Value> {
    let mut policy = quickstart()?;
    let keys = policy.pointer_mut("/issuers/corp/keys/jwks/keys").and_then(Value::as_array_mut);
    keys.context("the issuer has no keys")?.push(key.public_jwk());
    let algorithms = policy.pointer_mut("/issuers/corp/algorithms").and_then(Value::as_array_mut);
    algorithms.context("the issuer has no algorithms")?.push(json!("RS256"));
    Ok(policy)
}

/// The quickstart with so many endpoints and agents in the place of its own. Each endpoint asks what `pulls.create` asks.
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

/// A policy [`of_size`] in which the first agent is another client.
pub(super) fn with_client(policy: &Value, client_id: &str) -> Result<Value> {
    let mut policy = policy.clone();
    let identity = policy.pointer_mut(&format!("/agents/{}/identity", client(0)));
    set(identity.context("the policy lacks its first agent")?, "client_id", client_id);
    Ok(policy)
}

/// The call of that client to the first endpoint.
pub(super) fn call_of_client(issuer: &Issuer, client_id: &str) -> Request {
    request(&prefix(0), &issuer.token(client_id, SCOPES))
}

/// An endpoint of a policy.
pub(super) fn endpoint<'p>(policy: &'p mut Value, id: &str) -> Result<&'p mut Value> {
    let endpoints = policy.get_mut("endpoints").and_then(Value::as_array_mut).context("the policy has no endpoints")?;
    let found = endpoints.iter_mut().find(|endpoint| endpoint.get("id").is_some_and(|own| own == id));
    found.with_context(|| format!("the policy has no endpoint `{id}`"))
}

/// The call that is measured: the coding agent opens a pull request. It has no body, since the answer comes from the listener
/// and a gateway closes a connection on which it answered before the body was there.
pub(super) fn call(token: &str) -> Request {
    request("/repos", token)
}

/// The calls of some of the agents of a policy [`of_size`], spread over all of it, each to an endpoint of its own.
pub(super) fn calls_of_size(issuer: &Issuer, size: usize, calls: usize) -> Vec<Request> {
    let spread = (0..calls).map(|call| call * size / calls);
    spread.map(|index| request(&prefix(index), &issuer.token(&client(index), SCOPES))).collect()
}

/// A token for the call that is measured. `serial` makes it another one.
pub(super) fn token(issuer: &Issuer, key: &SigningKey, serial: usize) -> String {
    issuer.sign(key, AGENT, SCOPES, |_, claims| set(claims, "jti", format!("{serial:08}")))
}

/// Removes a member of an object.
pub(super) fn remove(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
}

fn request(prefix: &str, token: &str) -> Request {
    Request::post(format!("{prefix}/acme/gateway/pulls"))
        .host(HOST)
        .bearer(token)
        .header("User-Agent", "agent/1.0")
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .header("Content-Length", "0")
}

/// A hundred services, each with its part of the endpoints.
fn prefix(index: usize) -> String {
    format!("/services/service-{}/resource-{index}", index % 100)
}

fn client(index: usize) -> String {
    format!("agent-{index}")
}
