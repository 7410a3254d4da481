//! Helpers for tests of several modules: policies, secrets, and a worker whose clock and store the tests control.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::decision::trace::Trace;
use crate::evaluate::{Context, Engine, Services};
use crate::identity::crypto::SoftwareVerifier;
use crate::identity::token::{SecretLookup, Secrets, TokenCache};
use crate::policy::Policy;
use crate::quota::Recent;
use crate::quota::held::HeldBytes;
use crate::state::{MemoryStore, SharedStore};
use crate::text::time::Timestamp;

/// A Friday in January 2027, in seconds.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const RESOURCE: &str = "https://api.example.com";
pub(crate) const SECRET: &[u8] = b"a secret of thirty-two bytes, or";

/// Returns [`SECRET`] for every variable.
pub(crate) fn one_secret(_: &str) -> SecretLookup {
    SecretLookup::Found(SECRET.to_vec())
}

/// Returns the variable's own name, repeated, for every variable.
pub(crate) fn own_name(name: &str) -> SecretLookup {
    SecretLookup::Found(name.repeat(32).into_bytes())
}

/// Returns the result for a policy that is only checked.
pub(crate) fn not_needed(_: &str) -> SecretLookup {
    SecretLookup::NotNeeded
}

/// Returns the object with these members set. `null` removes one.
pub(crate) fn with(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, value) in changes {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(&name);
        } else {
            object[name] = value;
        }
    }
    object
}

/// Returns a policy for Envoy without issuers, agents and endpoints, with these members set.
pub(crate) fn document(members: Value) -> Value {
    let empty = json!({
        "callgate": "v1", "name": "test", "mode": "enforce", "gateway": "envoy", "resource": RESOURCE, "hosts": ["api.example.com"],
        "issuers": {}, "agents": {}, "endpoints": [],
        "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
    });
    with(empty, members)
}

/// Returns an issuer whose tokens are signed with the secret in the variable `SECRET`.
pub(crate) fn issuer() -> Value {
    json!({
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "1h",
        "keys": { "secret": { "env": "SECRET" } },
    })
}

/// Returns the agent to which `corp` issues tokens for this client.
pub(crate) fn agent(client: &str) -> Value {
    json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": client } })
}

/// Returns the value of `Authorization` with a token of [`issuer`] with these claims. By default, it is a token for the client `agent` that
/// is issued at [`NOW`] for 15 minutes.
pub(crate) fn bearer(claims: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let usual = json!({
        "iss": "https://idp.example.com", "aud": RESOURCE, "sub": "s", "client_id": "agent",
        "iat": NOW, "exp": NOW + 900, "jti": "j"
    });
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "at+jwt" })), part(with(usual, claims)));
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(hmac_sha256::HMAC::mac(&signed, SECRET)))
}

/// Returns the agent that signs with the secret in the variable `S`, with the `keyid` `k`.
pub(crate) fn signer() -> Value {
    json!({ "owner": "o", "signing_keys": [{ "secret": { "env": "S" }, "keyid": "k" }] })
}

/// Compiles a document with [`SECRET`] in every variable.
pub(crate) fn policy(document: Value) -> Policy {
    compile(document, &one_secret)
}

/// Compiles a document with these secrets.
pub(crate) fn compile(document: Value, secrets: &dyn Secrets) -> Policy {
    Policy::from_value(document, secrets).unwrap_or_else(|findings| panic!("{findings:?}")).policy
}

/// A worker of a gateway.
pub(crate) struct Worker<S = MemoryStore> {
    pub(crate) engine: Engine,
    pub(crate) clock: Rc<Cell<Timestamp>>,
    pub(crate) store: Rc<S>,
    pub(crate) held: HeldBytes,
}

impl<S> Worker<S> {
    /// Sets the clock, in seconds.
    pub(crate) fn set_clock(&self, seconds: u64) {
        self.clock.set(Timestamp::from_secs(seconds));
    }
}

impl Worker {
    /// Creates a worker whose gateway has been running since time 0.
    pub(crate) fn new(policy: Policy) -> Self {
        Self::joining(policy, Rc::default(), 0)
    }
}

impl<S: SharedStore + 'static> Worker<S> {
    /// Creates a worker that starts at this time, in seconds. Other workers may have used the store before.
    pub(crate) fn joining(policy: impl Into<Arc<Policy>>, store: Rc<S>, since: u64) -> Self {
        let (clock, held) = (Rc::new(Cell::new(Timestamp::from_secs(since))), HeldBytes::default());
        let services = Services {
            store: Rc::clone(&store) as Rc<dyn SharedStore>,
            held: Some(held.clone()),
            ..Services::in_memory(Rc::clone(&clock), [1; 16])
        };
        let engine = Engine::new(policy, services);
        engine.open().unwrap();
        Self { engine, clock, store, held }
    }
}

/// Creates an evaluation without shared state.
pub(crate) fn alone<'c>(cache: &'c mut TokenCache, recent: &'c Recent, trace: Option<&'c mut Trace>) -> Context<'c> {
    Context {
        verifier: &SoftwareVerifier,
        cache,
        recent,
        shared: None,
        replay: None,
        documents: None,
        newest: None,
        held: None,
        trace,
    }
}
