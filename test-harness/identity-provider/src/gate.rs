//! The engine without a gateway, with a policy that accepts one issuer's tokens.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow};
use callgate::{Decision, DecisionId, Engine, Headers, Outcome, Policy, Request, SecretLookup, Services, Timestamp};
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use crate::client::prove;
use crate::time::now;

/// The audience of the tokens.
pub const RESOURCE: &str = "https://api.example.com";
pub(crate) const HOST: &str = "api.example.com";

/// The client that the policy knows.
pub const CLIENT: &str = "robot";
/// The scope of every endpoint.
pub const SCOPE: &str = "items:read";

/// Returns a policy that accepts the RFC 9068 tokens of an issuer for the agent [`CLIENT`], as bearer tokens or bound to a key. The key
/// set is inline.
///
/// | Endpoint | Accepts |
/// |---|---|
/// | `GET /items/{id}` | every token with the scope [`SCOPE`] |
/// | `GET /tenants/{tenant}/items` | one whose claim `tenant` is this tenant |
pub fn policy(issuer: &str, jwks: &Value) -> Value {
    policy_with(issuer, &json!({ "jwks": jwks }))
}

/// Returns the same policy with another member `keys` of the issuer.
pub fn policy_with(issuer: &str, keys: &Value) -> Value {
    json!({
        "callgate": "v1",
        "name": "identity-provider",
        "mode": "enforce",
        "gateway": "envoy",
        "resource": RESOURCE,
        "hosts": [HOST],
        "issuers": {
            "corp": {
                "issuer": issuer,
                "profile": "at+jwt",
                "algorithms": ["ES256"],
                "max_lifetime": "15m",
                "keys": keys,
            },
        },
        "agents": {
            CLIENT: { "owner": "platform@example.com", "identity": { "issuer": "corp", "client_id": CLIENT } },
        },
        "dpop": { "required": false, "algorithms": ["ES256"] },
        "limits": { "calls": { "per": "agent", "rate": "1000/1m", "burst": 1000 } },
        "requirements": { "read": { "limits": ["calls"] } },
        "endpoints": [
            { "id": "items.get", "methods": ["GET"], "path": "/items/{id}", "effect": "read", "scopes": [SCOPE] },
            {
                "id": "tenants.items",
                "methods": ["GET"],
                "path": "/tenants/{tenant}/items",
                "effect": "read",
                "scopes": [SCOPE],
                "bind": { "path.tenant": "token.tenant" },
            },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": false } },
    })
}

/// An engine with a policy.
pub struct Gate {
    engine: Engine,
    clock: Rc<Cell<Timestamp>>,
    decided: Cell<u128>,
}

impl Gate {
    /// Creates an engine with this policy.
    ///
    /// # Errors
    /// When the policy does not compile, which includes a key set with a key that cannot be used.
    pub fn new(policy: &Value) -> Result<Self> {
        let no_secrets = |_: &str| SecretLookup::Missing;
        let compiled = Policy::from_value(policy.clone(), &no_secrets)
            .map_err(|findings| anyhow!("the policy does not compile:\n{findings}"))?;
        let clock = Rc::new(Cell::new(Timestamp::from_secs(0)));
        let engine = Engine::new(compiled.policy, Services::in_memory(Rc::clone(&clock), [0; 16]));
        // The clock is at zero, so the replay table counts as having always existed, and proofs are accepted at once.
        engine.open().context("the engine has no state")?;
        Ok(Self { engine, clock, decided: Cell::new(0) })
    }

    /// Decides a `GET` request with a bearer token. Returns `allow` or the reason of the denial.
    ///
    /// # Errors
    /// When the request cannot be decided.
    pub fn bearer(&self, path: &str, token: &str) -> Result<String> {
        self.decide(path, &[("authorization", &format!("Bearer {token}"))])
    }

    /// Decides a `GET` request with a token that is bound to a key, and a new proof of that key. Returns `allow` or the reason of the
    /// denial.
    ///
    /// # Errors
    /// When the request cannot be decided.
    pub fn bound(&self, path: &str, token: &str, key: &SigningKey) -> Result<String> {
        let proof = prove(key, "GET", &format!("{RESOURCE}{path}"), Some(token));
        self.decide(path, &[("authorization", &format!("DPoP {token}")), ("dpop", &proof)])
    }

    fn decide(&self, path: &str, credentials: &[(&str, &str)]) -> Result<String> {
        let now = Timestamp::from_secs(now());
        self.clock.set(now);
        self.decided.set(self.decided.get() + 1);
        let lines = [(":method", "GET"), (":path", path), (":authority", HOST)];
        let headers: Headers = lines.iter().chain(credentials).copied().collect();
        let request = Request {
            headers: &headers,
            end_of_stream: true,
            source: None,
            certificate: None,
            now,
            id: DecisionId(self.decided.get()),
        };
        match self.engine.decide(request).context("the request cannot be decided")? {
            Outcome::Decided(Decision::Allow(_)) => Ok("allow".to_owned()),
            Outcome::Decided(Decision::Deny(deny)) => Ok(deny.reason().code().to_owned()),
            Outcome::Decided(Decision::Serve(_)) => Err(anyhow!("the policy publishes nothing")),
            Outcome::Pending(_) => Err(anyhow!("the policy has no rule about bodies")),
        }
    }
}
