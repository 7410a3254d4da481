//! A client of a provider: it reads documents and gets tokens with its own credentials (RFC 6749, section 4.4), bound to a key if it sends
//! a proof (RFC 9449).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callgate_kit::mint::SigningKey;
use callgate_testbed::client::{self, Request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::time::now;

/// A provider as its clients see it: the host in its URLs, and the address where it listens.
#[derive(Clone, Debug)]
pub struct Site {
    /// The value of `Host`.
    pub host: String,
    /// The loopback address.
    pub address: SocketAddr,
}

/// The parameters of a token request.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The client's id. Neither this nor the secret may need form encoding.
    pub client: &'a str,
    /// The client's secret, sent with HTTP Basic.
    pub secret: &'a str,
    /// The requested scopes, separated by spaces.
    pub scope: &'a str,
    /// The requested audience (RFC 8707).
    pub resource: Option<&'a str>,
    /// A proof for the token endpoint, to get a token that is bound to its key. [`prove`] creates it.
    pub proof: Option<&'a str>,
}

impl Site {
    /// Reads a JSON document.
    ///
    /// # Errors
    /// When the answer is not 200 with JSON.
    pub fn document(&self, path: &str) -> Result<Value> {
        let response = client::call(self.address, &Request::get(path).host(&self.host))?;
        ensure!(response.status == 200, "`{path}` answers {}: {}", response.status, response.text());
        serde_json::from_slice(&response.body).with_context(|| format!("`{path}` is not JSON"))
    }

    /// Gets an access token from the token endpoint at this path.
    ///
    /// # Errors
    /// When the provider refuses, with its answer.
    pub fn token(&self, path: &str, grant: &Grant<'_>) -> Result<String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials").append_pair("scope", grant.scope);
        if let Some(resource) = grant.resource {
            form.append_pair("resource", resource);
        }
        let basic = STANDARD.encode(format!("{}:{}", grant.client, grant.secret));
        let mut request = Request::post(path)
            .host(&self.host)
            .header("Authorization", format!("Basic {basic}"))
            .header("Content-Type", "application/x-www-form-urlencoded");
        if let Some(proof) = grant.proof {
            request = request.header("DPoP", proof);
        }
        let response = client::call(self.address, &request.body(form.finish()))?;
        ensure!(response.status == 200, "`{path}` answers {}: {}", response.status, response.text());
        let token = response.json().get("access_token").and_then(Value::as_str).map(ToOwned::to_owned);
        token.with_context(|| format!("`{path}` returns no token: {}", response.text()))
    }
}

/// Returns a proof of possession of a key, for a request and the token that it carries, if any (RFC 9449, section 4.2). Each proof has its
/// own `jti`.
pub fn prove(key: &SigningKey, method: &str, url: &str, token: Option<&str>) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (mut header, mut jwk) = (key.header(), key.public_jwk());
    for object in [&mut header, &mut jwk].into_iter().filter_map(Value::as_object_mut) {
        // The proof contains the key, which needs no id.
        object.remove("kid");
    }
    if let Some(jwk) = jwk.as_object_mut() {
        jwk.remove("alg");
    }
    if let Some(header) = header.as_object_mut() {
        header.insert("typ".to_owned(), json!("dpop+jwt"));
        header.insert("jwk".to_owned(), jwk);
    }
    let jti = format!("proof-{}-{}", now(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut claims = json!({ "jti": jti, "htm": method, "htu": url, "iat": now() });
    if let (Some(claims), Some(token)) = (claims.as_object_mut(), token) {
        claims.insert("ath".to_owned(), json!(URL_SAFE_NO_PAD.encode(Sha256::digest(token))));
    }
    key.sign(&header, &claims)
}

/// Returns the claims of a token without verifying it, for tests of what a provider writes.
///
/// # Errors
/// When it is not a JWT.
pub fn claims(token: &str) -> Result<Value> {
    part(token, 1)
}

/// Returns the header of a token without verifying it.
///
/// # Errors
/// When it is not a JWT.
pub fn header(token: &str) -> Result<Value> {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Result<Value> {
    let part = token.split('.').nth(index).context("the token is not a JWT")?;
    let json = URL_SAFE_NO_PAD.decode(part).context("a part of the token is not base64url")?;
    serde_json::from_slice(&json).context("a part of the token is not JSON")
}
