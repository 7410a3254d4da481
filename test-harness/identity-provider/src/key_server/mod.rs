//! An issuer's documents, served as a test wants them: the key set, the OpenID discovery document and the authorization server metadata of
//! RFC 8414, correct or with any of the faults in [`Behavior`].

mod answer;
mod behavior;
mod documents;
mod weak;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_testbed::upstream::Seen;
use serde_json::{Value, json};

use crate::listener::Listener;
use crate::time::now;
pub use behavior::Behavior;
use behavior::Serving;
use documents::Document;
pub use weak::mint as mint_with_weak_key;

/// The path of the key set.
pub const JWKS: &str = "/jwks";
/// The path of the OpenID discovery document, for an issuer without a path.
pub const OPENID: &str = "/.well-known/openid-configuration";
/// The path of the metadata of RFC 8414, for an issuer without a path.
pub const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// The issuer of [`KeyServer::start`].
const ISSUER: &str = "https://idp.example.com";
/// In seconds.
const LIFETIME: u64 = 300;

/// A running key server. It stops when it is dropped.
pub struct KeyServer {
    state: Arc<Mutex<State>>,
    listener: Listener,
}

impl KeyServer {
    /// Starts a correct server on a free loopback port, for the issuer `https://idp.example.com`, with one ES256 key.
    ///
    /// # Errors
    /// When no port, thread or random number is available.
    pub fn start() -> Result<Self> {
        Self::start_as(ISSUER)
    }

    /// Starts a correct server for another issuer. Its metadata is served at the paths that the specifications derive from the issuer.
    ///
    /// # Errors
    /// When no port, thread or random number is available.
    pub fn start_as(issuer: &str) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::new(issuer)?));
        let listener = {
            let state = Arc::clone(&state);
            Listener::start(move |stream| answer::serve(stream, Arc::clone(&state)))?
        };
        Ok(Self { state, listener })
    }

    /// Returns the listening address, for the gateway's cluster. It stays the same after [`close`](Self::close) and
    /// [`reopen`](Self::reopen).
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Returns the issuer, which is the `iss` of the tokens and the `issuer` of the metadata.
    pub fn issuer(&self) -> String {
        self.state().issuer.clone()
    }

    /// Returns the URL of the key set: `/jwks` at the authority of the issuer.
    pub fn jwks_uri(&self) -> String {
        self.state().jwks_uri()
    }

    /// Selects how all documents are served from now on, and drops what [`set_for`](Self::set_for) selected. Answers that began keep the
    /// earlier behavior, except those that it [holds](Behavior::Held).
    ///
    /// # Errors
    /// When a key that the behavior needs cannot be generated.
    pub fn set(&self, behavior: Behavior) -> Result<()> {
        let serving = Serving::new(behavior)?;
        let mut state = self.state();
        state.paths.clear();
        state.serving = serving;
        Ok(())
    }

    /// Selects how the document at one path is served from now on.
    ///
    /// # Errors
    /// When a key that the behavior needs cannot be generated.
    pub fn set_for(&self, path: &str, behavior: Behavior) -> Result<()> {
        let serving = Serving::new(behavior)?;
        self.state().paths.insert(path.to_owned(), serving);
        Ok(())
    }

    /// Returns how many requests for a path arrived, including those that were not answered.
    pub fn requests(&self, path: &str) -> u64 {
        self.state().counts.get(path).copied().unwrap_or_default()
    }

    /// Returns how many requests for a path were answered with 304.
    pub fn confirmations(&self, path: &str) -> u64 {
        self.state().confirmed.get(path).copied().unwrap_or_default()
    }

    /// Returns the latest request for a path, to see the headers that the gate sent.
    pub fn last_request(&self, path: &str) -> Option<Seen> {
        self.state().latest.get(path).cloned()
    }

    /// Closes the port and every connection. New connections are refused until [`reopen`](Self::reopen).
    pub fn close(&self) {
        self.listener.close();
    }

    /// Opens the same port again.
    ///
    /// # Errors
    /// When another process took the port in the meantime.
    pub fn reopen(&self) -> Result<()> {
        self.listener.reopen()
    }

    /// Publishes a new ES256 key, which signs from now on, next to the earlier ones. Returns its `kid`. With
    /// [`withdraw`](Self::withdraw) for the earlier key, this is a whole rotation.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn rotate(&self) -> Result<String> {
        let key = new_key()?;
        let kid = key.kid().unwrap_or_default().to_owned();
        let mut state = self.state();
        state.published.push(key.clone());
        state.signing = key;
        Ok(kid)
    }

    /// Publishes a key next to the others. It does not sign until [`sign_with`](Self::sign_with).
    pub fn publish(&self, key: SigningKey) {
        self.state().published.push(key);
    }

    /// Removes the keys with this `kid` from the key set. The signing key continues to sign, so that a test can send tokens whose key
    /// was withdrawn.
    pub fn withdraw(&self, kid: &str) {
        self.state().published.retain(|key| key.kid() != Some(kid));
    }

    /// Signs with this key from now on, whether it is published or not.
    pub fn sign_with(&self, key: SigningKey) {
        self.state().signing = key;
    }

    /// Returns the key that signs.
    pub fn signing_key(&self) -> SigningKey {
        self.state().signing.clone()
    }

    /// Returns the correct key set, whatever the behavior.
    pub fn jwks(&self) -> Value {
        self.state().jwks()
    }

    /// Returns a token (RFC 9068) with these claims, signed by the current key. Adds `iss`, `iat`, `exp` (in 5 minutes) and a unique `jti`
    /// unless the claims have them.
    pub fn mint(&self, claims: &Value) -> String {
        let state = self.state();
        let mut header = state.signing.header();
        if let Some(header) = header.as_object_mut() {
            header.insert("typ".to_owned(), json!("at+jwt"));
        }
        state.signing.sign(&header, &with_defaults(claims, &state.issuer))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// What the server publishes, how, and what it received.
struct State {
    issuer: String,
    signing: SigningKey,
    published: Vec<SigningKey>,
    serving: Serving,
    paths: BTreeMap<String, Serving>,
    counts: BTreeMap<String, u64>,
    /// The answers with 304.
    confirmed: BTreeMap<String, u64>,
    latest: BTreeMap<String, Seen>,
}

impl State {
    fn new(issuer: &str) -> Result<Self> {
        let key = new_key()?;
        Ok(Self {
            issuer: issuer.to_owned(),
            signing: key.clone(),
            published: vec![key],
            serving: Serving::default(),
            paths: BTreeMap::new(),
            counts: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            latest: BTreeMap::new(),
        })
    }

    fn jwks(&self) -> Value {
        let keys: Vec<_> = self.published.iter().map(SigningKey::public_jwk).collect();
        json!({ "keys": keys })
    }

    fn jwks_uri(&self) -> String {
        format!("{}{JWKS}", documents::origin(&self.issuer))
    }

    /// Counts a request.
    fn record(&mut self, path: &str, seen: Seen) {
        *self.counts.entry(path.to_owned()).or_default() += 1;
        self.latest.insert(path.to_owned(), seen);
    }

    /// Counts an answer with 304.
    fn confirm(&mut self, path: &str) {
        *self.confirmed.entry(path.to_owned()).or_default() += 1;
    }

    /// Returns how a document is served, and its text with the fault of that behavior; no text if there is no document at this path.
    fn serve(&self, path: &str) -> (Behavior, Option<String>) {
        let serving = self.paths.get(path).unwrap_or(&self.serving);
        (serving.behavior.clone(), self.text(path, serving))
    }

    /// Returns the text of the document at a path without a fault.
    fn correct(&self, path: &str) -> Option<String> {
        self.text(path, &Serving::default())
    }

    fn text(&self, path: &str, serving: &Serving) -> Option<String> {
        let document = Document::at(path, &self.issuer)?;
        let value = match document {
            Document::Jwks => self.jwks(),
            Document::Metadata => documents::metadata(&self.issuer, &self.jwks_uri()),
        };
        Some(serving.text(document, value))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Generates a key with a `kid` that no other key of this process has.
fn new_key() -> Result<SigningKey> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let kid = format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Ok(SigningKey::generate(Algorithm::Es256).context("cannot generate a key")?.with_kid(kid))
}

fn with_defaults(claims: &Value, issuer: &str) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let now = now();
    let jti = format!("token-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut all = json!({ "iss": issuer, "iat": now, "exp": now + LIFETIME, "jti": jti });
    if let (Some(all), Some(claims)) = (all.as_object_mut(), claims.as_object()) {
        all.extend(claims.clone());
    }
    all
}

#[cfg(test)]
mod tests;
