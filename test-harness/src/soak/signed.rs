//! Signed requests, which fill the replay table during the whole run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use callgate::Headers;
use callgate::identity::signature::{Message, StructuredFields};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::sign::{Covered, Input, text_parameter};
use serde_json::{Value, json};

use super::HOST;
use crate::client::Request;
use crate::quickstart::{now, set};

/// The path of the endpoint that requires a signature.
const PATH: &str = "/signed/1";
const KEYID: &str = "signer";
/// The pause between two signed requests, which keeps them below their limit. The size of the replay table bounds that limit.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Generates the key of the agent that signs its requests.
pub(super) fn key() -> Result<SigningKey> {
    SigningKey::generate(Algorithm::Ed25519).map_err(|error| anyhow!("no key can be generated: {error}"))
}

/// Returns that agent's entry in the policy.
pub(super) fn agent(key: &SigningKey) -> Value {
    let mut jwk = key.public_jwk();
    set(&mut jwk, "kid", KEYID);
    json!({ "owner": "platform@example.com", "scopes": ["items:read"], "signing_keys": [{ "jwk": jwk }] })
}

/// Returns a request with a signature that no other request has.
pub(super) fn request(key: &SigningKey) -> Result<Request> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nonce = format!("soak-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
    let input = Input {
        label: "sig".into(),
        components: ["@method", "@authority", "@path"].into_iter().map(Covered::written).collect(),
        parameters: vec![
            format!("created={}", now()?),
            text_parameter("keyid", KEYID),
            text_parameter("nonce", &nonce),
        ],
    };
    let message = Message {
        method: b"GET",
        scheme: "https",
        authority: HOST,
        target: PATH.as_bytes(),
        headers: &Headers::default(),
        structured: &StructuredFields::default(),
    };
    let base = input.base(&message).map_err(|unsigned| anyhow!("{unsigned}"))?;
    let request = Request::get(PATH).host(HOST);
    Ok(request.header("Signature-Input", input.field()).header("Signature", input.signature(key, &base)))
}
