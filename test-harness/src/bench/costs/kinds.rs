//! The kinds of requests, and the policy that they are sent to, which enables everything that a stranger can reach.

use anyhow::{Context as _, Result, anyhow};
use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::super::{fetched, policies};
use super::{heads, signatures, tokens};
use crate::client::Request;
use crate::quickstart::{self, HOST, Issuer, set};

/// The policy's secrets, by their variables: one of an agent, and one of an issuer.
pub(super) const SECRETS: [(&str, &str); 2] = [
    ("CALLGATE_COSTS_AGENT", "a secret of thirty-two bytes, or more"),
    ("CALLGATE_COSTS_ISSUER", "another secret of thirty-two bytes or more"),
];
/// The issuer whose tokens are signed with a secret.
pub(super) const INTERNAL: &str = "https://internal.example.com";
/// The issuer whose keys are fetched.
pub(super) const FETCHED: &str = "https://fetched.example.com";
/// The header in which the policy expects API keys.
pub(super) const API_KEY: &str = "x-api-key";
/// The path of most requests.
pub(super) const PATH: &str = "/repos/acme/gateway/pulls";

/// A kind of request.
pub(super) struct Kind {
    pub(super) what: &'static str,
    pub(super) request: Request,
    /// The code of the expected response.
    pub(super) code: &'static str,
    pub(super) charged: Charged,
}

/// Whether the request counts toward the limit on failed credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Charged {
    Yes,
    No,
}

/// Creates a kind that is rejected without counting toward the limit.
pub(super) fn free(what: &'static str, code: &'static str, request: &Request) -> Kind {
    Kind { what, request: request.clone(), code, charged: Charged::No }
}

/// Creates a kind whose signature is verified, or whose key is unknown. It counts toward the limit.
pub(super) fn charged(what: &'static str, code: &'static str, request: &Request) -> Kind {
    Kind { charged: Charged::Yes, ..free(what, code, request) }
}

/// Returns a request for the most common path, without a credential.
pub(super) fn request() -> Request {
    Request::get(PATH).host(HOST)
}

/// The keys that the policy knows, and the tokens that strangers could have.
pub(super) struct Party {
    pub(super) issuer: Issuer,
    pub(super) keys: Vec<SigningKey>,
    pub(super) policy: Value,
    /// A token with an invalid signature.
    pub(super) forged: String,
    /// A token of an agent, bound to a key that a thief does not have.
    pub(super) stolen: String,
    pub(super) client: SigningKey,
    pub(super) secret: SigningKey,
    /// The key set of the issuer whose keys are fetched: as many keys as are tried for a token that names none.
    pub(super) key_set: Value,
}

impl Party {
    pub(super) fn new() -> Result<Self> {
        let issuer = Issuer::new()?;
        let generate = |algorithm: Algorithm, kid: &str| -> Result<SigningKey> {
            Ok(SigningKey::generate(algorithm).map_err(|error| anyhow!("no key: {error}"))?.with_kid(kid))
        };
        let rsa = generate(Algorithm::Rs256, "corp-rs256")?;
        let mut keys =
            vec![issuer.es256.clone(), generate(Algorithm::Es384, "corp-es384")?, issuer.ed25519.clone(), rsa.clone()];
        // One RSA key serves for all of these algorithms, because that does not affect the cost.
        for algorithm in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512] {
            let key = rsa.clone().with_algorithm(algorithm).map_err(|error| anyhow!("no key: {error}"))?;
            keys.push(key.with_kid(format!("corp-{}", algorithm.jose_name())));
        }
        let client = generate(Algorithm::Es256, "client")?;
        let bound = |_: &mut Value, claims: &mut Value| {
            set(claims, "cnf", json!({ "jkt": client.thumbprint() }));
        };
        let stolen = issuer.with("coding-agent", "code:read", bound);
        let forged = tokens::forged(&policies::token(&issuer, &issuer.es256, 0));
        let policy = policy(&keys)?;
        let secret =
            SigningKey::from_secret(SECRETS[1].1.as_bytes(), None).map_err(|error| anyhow!("no secret: {error}"))?;
        let fetched = ["rsa1", "rsa2", "rsa3", "rsa4"].map(fetched::rsa_key);
        let key_set = json!({ "keys": fetched });
        Ok(Self { issuer, keys, policy, forged, stolen, client, secret, key_set })
    }
}

/// Returns the quickstart's policy with every kind of key, proofs of possession, and agents that are identified by signatures or API keys
/// alone.
fn policy(keys: &[SigningKey]) -> Result<Value> {
    let mut policy = quickstart::policy_with_keys()?;
    let public = |key: &SigningKey| {
        let mut jwk = key.public_jwk();
        set(&mut jwk, "alg", key.algorithm().jose_name());
        jwk
    };
    let jwks: Vec<_> = keys.iter().skip(1).filter(|key| key.kid() != Some("corp-ed25519")).map(public).collect();
    let known = policy.pointer_mut("/issuers/corp/keys/jwks/keys").and_then(Value::as_array_mut);
    known.context("the issuer has no keys")?.extend(jwks);
    let issuer = policy.pointer_mut("/issuers/corp").context("there is no issuer")?;
    set(issuer, "algorithms", keys.iter().map(|key| json!(key.algorithm().jose_name())).collect::<Vec<_>>());
    let issuers = policy.get_mut("issuers").context("there are no issuers")?;
    let internal = json!({
        "issuer": INTERNAL, "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "15m",
        "keys": { "secret": { "env": SECRETS[1].0 } },
    });
    set(issuers, "internal", internal);
    let fetched = json!({
        "issuer": FETCHED, "profile": "at+jwt", "algorithms": ["ES256", "RS256", "PS256"], "max_lifetime": "15m",
        "keys": { "remote": { "url": format!("{FETCHED}/jwks"), "cluster": policies::KEY_CLUSTER } },
    });
    set(issuers, "fetched", fetched);
    set(&mut policy, "api_keys", json!({ "header": API_KEY }));
    set(&mut policy, "dpop", json!({ "required": false, "algorithms": ["ES256", "Ed25519", "RS256"] }));
    set(&mut policy, "reject_query", json!(["_method", "access_token", "api_key", "x-http-method-override", "token"]));
    let limits = policy.get_mut("limits").context("there are no limits")?;
    set(limits, "few", json!({ "per": "agent", "rate": "60/1h", "burst": 10 }));
    set(policy.get_mut("requirements").context("nothing is required")?, "read", json!({ "limits": ["few"] }));
    set(&mut policy, "tables", json!({ "replay": 1 << 20 }));
    let signing = signatures::keys()?;
    let agents = policy.get_mut("agents").context("there are no agents")?;
    set(agents, "robot", json!({ "owner": "platform@example.com", "scopes": ["code:read"], "signing_keys": signing }));
    // Nobody knows the key with this hash.
    let api_keys = json!([{ "sha256": "0f".repeat(32), "not_after": "9999-12-31" }]);
    set(agents, "keyed", json!({ "owner": "platform@example.com", "scopes": ["code:read"], "api_keys": api_keys }));
    let endpoints = policy.get_mut("endpoints").and_then(Value::as_array_mut).context("there are no endpoints")?;
    endpoints.push(json!({
        "id": "jobs", "methods": ["GET"], "path": "/jobs/{id:text}", "effect": "read", "scopes": "none",
        "authenticate": "signature",
    }));
    endpoints.push(json!({
        "id": "pages", "methods": ["GET"], "path": "/pages/{page...}", "effect": "read", "scopes": "none",
        "authenticate": "web-bot-auth",
    }));
    endpoints.push(json!({
        "id": "keyed", "methods": ["GET"], "path": "/keyed/{id:text}", "effect": "read", "scopes": "none", "authenticate": "api-key",
    }));
    Ok(policy)
}

/// Returns every kind, with the reference request first.
pub(super) fn all(party: &Party) -> Result<Vec<Kind>> {
    let plain = free("no credential: the measure", "credentials_missing", &request());
    let mut kinds = vec![plain];
    kinds.extend(tokens::kinds(party));
    kinds.extend(heads::kinds());
    kinds.extend(signatures::kinds(party)?);
    Ok(kinds)
}
