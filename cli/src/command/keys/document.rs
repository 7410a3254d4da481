//! Finds the keys in a document, or recognizes which other document was given instead of a key set.

use callgate::identity::token::json::{self, Bounds};
use serde_json::{Map, Value};

/// Deeper documents are no key sets: a set contains keys, and a key contains lists.
const MAX_DEPTH: u8 = 16;

/// The keys of a document, which is a key set or a single key.
pub(super) struct Keys {
    pub(super) keys: Vec<Map<String, Value>>,
    /// Whether the document is a key instead of a set.
    pub(super) is_single: bool,
    /// The version of the set, if it is a SPIFFE bundle.
    pub(super) spiffe_sequence: Option<u64>,
}

/// Reads the keys in a document.
///
/// # Errors
/// Returns what the document is, and what to fetch instead.
pub(super) fn read(bytes: &[u8]) -> Result<Keys, String> {
    // A byte order mark is skipped to recognize pages only: the engine reads no JSON with one.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    match text {
        [] => return Err("the document is empty; fetch the key set again".to_owned()),
        [b'<', ..] => {
            return Err(
                "this is an HTML or XML page, not a key set; fetch the `jwks_uri` that the issuer's discovery \
                        document contains (`ISSUER/.well-known/openid-configuration`)"
                    .to_owned(),
            );
        }
        _ if text.starts_with(b"-----BEGIN") => return Err(pem(text)),
        _ => {}
    }
    let document = json::parse(bytes, Bounds { bytes: bytes.len(), depth: MAX_DEPTH })
        .map_err(|error| format!("the document is not JSON that every reader understands the same way: {error}"))?;
    let Value::Object(mut document) = document else {
        return Err("this is not a key set; expected a JSON object with the list `keys`".to_owned());
    };
    let spiffe_sequence = match document.get("spiffe_sequence") {
        None => None,
        Some(number) => Some(number.as_u64().ok_or_else(|| {
            "`spiffe_sequence` is not a number, so this is no valid SPIFFE bundle; fetch the bundle again".to_owned()
        })?),
    };
    match document.remove("keys") {
        Some(Value::Array(keys)) => {
            let keys = keys.into_iter().enumerate().map(|(index, key)| match key {
                Value::Object(key) => Ok(key),
                _ => Err(format!("`keys[{index}]` is not a JSON object; fetch the key set again")),
            });
            Ok(Keys { keys: keys.collect::<Result<_, _>>()?, is_single: false, spiffe_sequence })
        }
        Some(_) => Err("`keys` is not a list; fetch the key set again".to_owned()),
        None if document.contains_key("kty") => Ok(Keys { keys: vec![document], is_single: true, spiffe_sequence }),
        None => Err(other(&document)),
    }
}

/// Returns what a JSON object without keys is.
fn other(document: &Map<String, Value>) -> String {
    if let Some(uri) = document.get("jwks_uri").and_then(Value::as_str) {
        return format!("this is a discovery document, not a key set; fetch its `jwks_uri`: {uri}");
    }
    let is_pem = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("-----BEGIN"));
    if !document.is_empty() && document.values().all(is_pem) {
        return "these are keys or certificates in PEM, not a key set; fetch the `jwks_uri` of the issuer, which has the \
                keys as JWKs"
            .to_owned();
    }
    "this is not a key set, because it has no `keys`; fetch the `jwks_uri` that the issuer's discovery document contains"
        .to_owned()
}

/// Returns what to do instead of giving PEM.
fn pem(text: &[u8]) -> String {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.windows(b"PRIVATE KEY".len()).any(|part| part == b"PRIVATE KEY") {
        return super::review::leaked("this is a private key");
    }
    "this is a key or certificate in PEM, not a key set; fetch the `jwks_uri` of the issuer, which has the keys as JWKs"
        .to_owned()
}
