//! The shipped filter in situations that cannot be produced in a gateway.

mod answers;
mod calls;
mod configure;
mod faults;
mod gateways;
mod holds;
mod hostile;
mod interface;
mod keys;
mod limits;
mod lists;
mod outcome;
mod quirks;
mod recheck;
mod stream;
mod verify;

use std::path::PathBuf;
use std::sync::LazyLock;

use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::{HostProfile, Level, Module, Outcome, Pairs, Reply, Request, Verdict, Vm, pairs};
use crate::build::{self, Flavor};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| build::filter(Flavor::Release).unwrap());
static MODULE: LazyLock<Module> = LazyLock::new(|| Module::load(&FILE).unwrap());
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k1"));

/// The time at which the requests of these tests arrive, in seconds since 1970.
const NOW: u64 = 1_795_000_000;

/// Returns a policy with one endpoint for registered agents, one that is observed and one that is public.
fn policy() -> Value {
    json!({
        "callgate": "v1",
        "name": "test",
        "mode": "enforce",
        "gateway": "envoy",
        "resource": "https://api.example.com",
        "hosts": ["api.example.com"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com",
            "profile": "at+jwt",
            "algorithms": ["ES256"],
            "max_lifetime": "15m",
            "keys": { "jwks": { "keys": [KEY.public_jwk()] } },
        } },
        "agents": { "builder": { "owner": "a@example.com", "identity": { "issuer": "corp", "client_id": "builder" } } },
        "requirements": { "read": {} },
        "endpoints": [
            { "id": "items", "methods": ["GET", "POST"], "path": "/items/{id}", "effect": "read", "scopes": ["items:read"] },
            { "id": "watched", "methods": ["GET"], "path": "/watched", "effect": "read", "scopes": ["watch"], "mode": "observe" },
            { "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public" },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "headers": { "prefix": "x-callgate-" }, "log": { "allow": false, "deny": true } },
    })
}

/// Returns the test policy with some of its top-level members replaced.
fn policy_with(members: Value) -> Value {
    let mut policy = policy();
    for (name, member) in members.as_object().unwrap() {
        policy[name] = member.clone();
    }
    policy
}

fn start(policy: &Value) -> Vm {
    Vm::start(&MODULE, policy.to_string().as_bytes(), &[]).unwrap()
}

/// Starts a worker of another gateway with the policy for it. All records also go to the log, because some gateways have no other place for
/// them.
fn start_under(profile: HostProfile, policy: &Value) -> Vm {
    let mut policy = policy.clone();
    policy["gateway"] = json!(profile.quirks().gateway);
    Vm::start(&MODULE.under(profile), policy.to_string().as_bytes(), &[]).unwrap()
}

/// Returns the claims of a token that the test policy accepts.
fn claims() -> Value {
    json!({
        "iss": "https://idp.example.com",
        "aud": "https://api.example.com",
        "sub": "builder",
        "client_id": "builder",
        "scope": "items:read",
        "jti": "t1",
        "iat": NOW - 60,
        "exp": NOW + 300,
    })
}

fn mint(claims: &Value) -> String {
    KEY.sign(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" }), claims)
}

/// Returns a request with the pseudo-header fields of HTTP, followed by these lines.
fn request(method: &str, path: &str, lines: &[(&str, &str)]) -> Request {
    let mut headers = pairs::from_text(&[
        (":authority", "api.example.com"),
        (":path", path),
        (":method", method),
        (":scheme", "https"),
    ]);
    headers.extend(pairs::from_text(lines));
    Request { headers, now: NOW * 1_000_000_000, ..Request::default() }
}

/// Returns a request that the test policy allows.
fn good() -> Request {
    request("GET", "/items/7", &[("authorization", &format!("Bearer {}", mint(&claims())))])
}

fn bytes(lines: &[(&[u8], &[u8])]) -> Pairs {
    lines.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Returns the forwarded lines. Fails the test if the request was not forwarded.
#[track_caller]
fn upstream(outcome: &Outcome) -> &Pairs {
    match &outcome.verdict {
        Verdict::Continue { headers } => headers,
        other => panic!("it does not go on: {other:?}, {:?}", outcome.logs),
    }
}

/// Returns the module's response. Fails the test if there is none.
#[track_caller]
fn answer(outcome: &Outcome) -> &Reply {
    match &outcome.verdict {
        Verdict::Reply(reply) => reply,
        other => panic!("it is not answered: {other:?}, {:?}", outcome.logs),
    }
}

/// Returns the reason in the record of a decision.
#[track_caller]
fn reason(outcome: &Outcome) -> &str {
    outcome.record.as_ref().and_then(|record| record["reason"].as_str()).unwrap_or_else(|| panic!("{outcome:?}"))
}

/// Asserts that the VM still decides correctly.
#[track_caller]
fn assert_alive(vm: &mut Vm) {
    let outcome = vm.request(&good());
    assert_eq!(pairs::values(upstream(&outcome), "x-callgate-agent"), [b"builder"]);
    assert_eq!(answer(&vm.request(&request("GET", "/items/7", &[]))).details, "callgate_credentials_missing");
}
