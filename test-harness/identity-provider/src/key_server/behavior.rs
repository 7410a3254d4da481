//! How the server serves its documents: correctly, or with one fault.

use std::time::Duration;

use anyhow::{Context as _, Result};
use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::documents::Document;
use super::{new_key, weak};

/// How a document is served. Every fault leaves everything else correct, so only the fault can be the reason why the gate rejects the
/// document: an answer with a wrong status contains the right keys, for example. Faults of key sets leave the metadata correct, and the
/// other way around.
#[derive(Clone, Debug, Default)]
pub enum Behavior {
    /// Without a fault.
    #[default]
    Correct,
    /// Does not answer until the test selects another behavior, which then applies to the requests that wait.
    Held,
    /// Waits before it sends the head.
    SlowHead(Duration),
    /// Sends the head and half of the body, then waits before it sends the rest.
    SlowBody(Duration),
    /// Answers 302. The document is at `/moved` followed by its path, and requests for it are counted there.
    Redirect,
    /// Answers with another status.
    Status(u16),
    /// Answers 200 with an error page in HTML.
    HtmlError,
    /// Announces the whole document, sends half of it and closes the connection.
    Truncated,
    /// Announces the whole document, sends half of it and resets the connection.
    Reset,
    /// Adds a member that fills the document up to a length. A document that is already longer stays as it is.
    Padded {
        /// The length in bytes.
        to: usize,
        /// Whether the answer announces the length. Otherwise it is chunked.
        content_length: bool,
    },
    /// Is not JSON: the closing brace is missing.
    InvalidJson,
    /// Serves exactly this text.
    Exactly(String),
    /// Serves exactly this text with a strong entity tag, and answers 304 to a request whose `If-None-Match` is this tag.
    Tagged(String),
    /// Answers 304 to every request, with or without a condition.
    NotModified,
    /// The key set is `{"keys":[]}`.
    NoKeys,
    /// The key set has this many keys. The keys of the issuer are the last ones.
    ManyKeys(usize),
    /// The key set begins with an RSA key of 1024 bits. [`super::mint_with_weak_key`] signs with it.
    WeakKey,
    /// The key set has another key with the `kid` of the issuer's latest key.
    RepeatedKid {
        /// Whether the other key comes before the issuer's own.
        first: bool,
    },
    /// The key set begins with a key for encryption (`use` is `enc`).
    EncryptionKey,
    /// The metadata has another `issuer`.
    Issuer(String),
    /// The metadata has another `jwks_uri`.
    JwksUri(String),
}

/// A behavior with the keys that it needs. They are generated once, because a set that changes with each request would look like a
/// rotation.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving {
    pub(super) behavior: Behavior,
    others: Vec<Value>,
}

impl Serving {
    pub(super) fn new(behavior: Behavior) -> Result<Self> {
        let others = match &behavior {
            Behavior::ManyKeys(count) => (0..*count).map(filler).collect::<Result<_>>()?,
            Behavior::WeakKey => vec![weak::public_jwk()?],
            Behavior::RepeatedKid { .. } => vec![new_key()?.public_jwk()],
            Behavior::EncryptionKey => vec![encryption_key()?],
            _ => Vec::new(),
        };
        Ok(Self { behavior, others })
    }

    /// Returns the text of a document with this behavior's fault.
    pub(super) fn text(&self, document: Document, mut value: Value) -> String {
        match (&self.behavior, document) {
            (Behavior::Exactly(text) | Behavior::Tagged(text), _) => return text.clone(),
            (Behavior::InvalidJson, _) => {
                let mut text = value.to_string();
                text.pop();
                return text;
            }
            (Behavior::Padded { to, .. }, _) => pad(&mut value, *to),
            (Behavior::Issuer(issuer), Document::Metadata) => set(&mut value, "issuer", json!(issuer)),
            (Behavior::JwksUri(uri), Document::Metadata) => set(&mut value, "jwks_uri", json!(uri)),
            (_, Document::Jwks) => {
                if let Some(keys) = value.pointer_mut("/keys").and_then(Value::as_array_mut) {
                    self.change(keys);
                }
            }
            _ => {}
        }
        value.to_string()
    }

    fn change(&self, keys: &mut Vec<Value>) {
        match self.behavior {
            Behavior::NoKeys => keys.clear(),
            Behavior::ManyKeys(count) => {
                let missing = count.saturating_sub(keys.len());
                keys.splice(..0, self.others.iter().take(missing).cloned());
            }
            Behavior::RepeatedKid { first } => {
                let kid = keys.last().and_then(|key| key.get("kid")).cloned().unwrap_or_default();
                let others = self.others.iter().cloned().map(|mut other| {
                    set(&mut other, "kid", kid.clone());
                    other
                });
                let at = if first { 0 } else { keys.len() };
                keys.splice(at..at, others);
            }
            _ => drop(keys.splice(..0, self.others.iter().cloned())),
        }
    }
}

/// Ed25519 keys are generated faster than others.
fn filler(index: usize) -> Result<Value> {
    let key = SigningKey::generate(Algorithm::Ed25519).context("cannot generate a key")?;
    Ok(key.with_kid(format!("other-{index}")).public_jwk())
}

fn encryption_key() -> Result<Value> {
    let mut jwk = new_key()?.with_kid("encryption").public_jwk();
    set(&mut jwk, "use", json!("enc"));
    set(&mut jwk, "alg", json!("ECDH-ES"));
    Ok(jwk)
}

fn pad(value: &mut Value, to: usize) {
    set(value, "padding", json!(""));
    let missing = to.saturating_sub(value.to_string().len());
    set(value, "padding", json!(" ".repeat(missing)));
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
