//! The documents that the gate fetches, as cases state them. No engine sends anything: it gets these results instead.

use std::collections::BTreeMap;

use callgate::Timestamp;
use callgate::document::Place;
use callgate::{CallResult, DocumentCall};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::bytes::Bytes;
use super::fixtures::Fixtures;
use super::lists::List;
use super::reader::Reader;

/// More keys than any set that the gate accepts.
const MOST_REPEATED: u64 = 1_000;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// A response.
    Response {
        /// The status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// Nothing: the connection ends.
    Unavailable,
}

/// The answer to a request for a document that a case does not state.
static NOT_FOUND: Published = Published::Response { status: 404, body: Vec::new() };

/// The documents of a case, by authority and path of their URLs.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    published: BTreeMap<String, Published>,
    /// Lists of revoked credentials. They state times, so they are published [at](Documents::at) a time.
    lists: BTreeMap<String, List>,
}

impl Documents {
    /// Returns what the server answers to a request for this path.
    #[must_use]
    pub fn get(&self, authority: &str, path: &str) -> &Published {
        self.published.get(&format!("{authority}{path}")).unwrap_or(&NOT_FOUND)
    }

    /// Returns the documents with the lists of revoked credentials, made for this `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let mut documents = self.clone();
        for (name, list) in &self.lists {
            let published = Published::Response { status: 200, body: list.make(now) };
            documents.published.insert(name.clone(), published);
        }
        documents
    }

    /// Returns the result of a call of an engine.
    pub(super) fn result(&self, call: &DocumentCall) -> CallResult<'_> {
        let header = |name: &str| call.headers().find(|(own, _)| *own == name).map_or("", |(_, value)| value);
        match self.get(header(":authority"), header(":path")) {
            Published::Response { status, body } => CallResult::Response { status: *status, etag: None, body },
            Published::Unavailable => CallResult::NoResponse,
        }
    }

    /// Adds documents by their URLs. `null` removes one.
    pub(super) fn add<'w>(
        &mut self,
        reader: &mut Reader<'_>,
        fixtures: &Fixtures,
        place: &Place,
        written: impl IntoIterator<Item = (&'w String, &'w Value)>,
    ) {
        for (url, document) in written {
            let place = place.field(url);
            let Some(name) = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme)) else {
                reader.error(&place, "invalid URL; expected one such as `https://idp.example.com/jwks`");
                continue;
            };
            self.published.remove(name);
            self.lists.remove(name);
            if document.get("list").is_some() {
                self.lists.extend(List::read(reader, fixtures, &place, document).map(|list| (name.to_owned(), list)));
            } else if !document.is_null() {
                self.published
                    .extend(read(reader, fixtures, &place, document).map(|document| (name.to_owned(), document)));
            }
        }
    }
}

/// A response as a person writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    /// The status, `200` when absent.
    #[serde(default)]
    status: Option<u16>,
    /// A key set: JWKs, names of keys for their public JWKs, and `{ repeat: [KEY, TIMES] }`.
    #[serde(default)]
    keys: Option<Vec<Value>>,
    /// The body of any other document.
    #[serde(default)]
    body: Option<Bytes>,
}

fn read(reader: &mut Reader<'_>, fixtures: &Fixtures, place: &Place, document: &Value) -> Option<Published> {
    if document == "unavailable" {
        return Some(Published::Unavailable);
    }
    if !document.is_object() {
        reader.error(
            place,
            "expected `{ keys: [...] }`, `{ list: {...} }`, `{ status: 404, body: ... }` or `unavailable`",
        );
        return None;
    }
    let Response { status, keys, body } = reader.read(place, document)?;
    let body = match (keys, body) {
        (Some(keys), None) => {
            let place = place.field("keys");
            let mut set = Vec::new();
            for (index, key) in keys.iter().enumerate() {
                set.extend(key_of_set(reader, fixtures, &place.index(index), key)?);
            }
            json!({ "keys": set }).to_string().into_bytes()
        }
        (None, body) => body.unwrap_or_default().0,
        (Some(_), Some(_)) => {
            reader.error(place, "`keys` and `body` cannot be combined; keep one of them");
            return None;
        }
    };
    Some(Published::Response { status: status.unwrap_or(200), body })
}

/// Returns the keys of a set that an item stands for.
fn key_of_set(reader: &mut Reader<'_>, fixtures: &Fixtures, place: &Place, item: &Value) -> Option<Vec<Value>> {
    let (key, times) = item.as_object().and_then(repeated).unwrap_or((item, 1));
    let jwk = match key {
        Value::String(name) => fixtures.key(reader, place, name)?.public_jwk(),
        Value::Object(_) => key.clone(),
        _ => {
            reader.error(place, "expected a JWK, the name of a key, or `{ repeat: [KEY, TIMES] }`");
            return None;
        }
    };
    Some(vec![jwk; times])
}

/// Returns the key of `{ repeat: [KEY, TIMES] }`, and how often it is repeated.
fn repeated(item: &Map<String, Value>) -> Option<(&Value, usize)> {
    let [key, times] = item.get("repeat")?.as_array()?.as_slice() else { return None };
    let times = times.as_u64().filter(|times| *times <= MOST_REPEATED)?;
    Some((key, usize::try_from(times).ok()?))
}
