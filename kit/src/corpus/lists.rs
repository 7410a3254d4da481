//! Lists of revoked credentials, as cases state them. Their times are relative to `now`, so a list is made when it is served.

use std::sync::Arc;

use callgate::Timestamp;
use callgate::document::Place;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fixtures::Fixtures;
use super::merge::merge;
use super::moment::fill;
use super::reader::Reader;
use crate::mint::SigningKey;

/// More entries than any list that the gate accepts.
const MOST_TIMES: usize = 1 << 18;
/// What begins a time in an entry.
const AT: &str = "at ";

/// A list of revoked credentials.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// A merge patch to a list without entries that is issued now.
    payload: Map<String, Value>,
    /// How often the entries are repeated.
    times: usize,
    /// A merge patch to the header.
    header: Map<String, Value>,
    /// The key that signs. `None` for a list without a signature.
    key: Option<Arc<SigningKey>>,
    /// Another key that signs, while the header still names `key`.
    sign_with: Option<Arc<SigningKey>>,
}

/// A list as a person writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    list: Map<String, Value>,
    #[serde(default)]
    times: Option<usize>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    sign_with: Option<String>,
}

impl List {
    pub(super) fn read(reader: &mut Reader<'_>, fixtures: &Fixtures, place: &Place, document: &Value) -> Option<Self> {
        let Written { list, times, header, key, sign_with } = reader.read(place, document)?;
        let times = times.unwrap_or(1);
        if times > MOST_TIMES {
            reader.error(&place.field("times"), format!("entries can be repeated at most {MOST_TIMES} times"));
            return None;
        }
        let key = match key {
            Some(name) => Some(fixtures.key(reader, &place.field("key"), &name)?),
            None => None,
        };
        let sign_with = match sign_with {
            Some(name) => Some(fixtures.key(reader, &place.field("sign_with"), &name)?),
            None => None,
        };
        Some(Self { payload: list, times, header, key, sign_with })
    }

    /// Returns the list as it is served at this time.
    pub(super) fn make(&self, now: Timestamp) -> Vec<u8> {
        let mut payload = Map::from_iter([
            ("iat".to_owned(), json!("now")),
            ("exp".to_owned(), json!("now+10m")),
            ("entries".to_owned(), json!([])),
        ]);
        merge(&mut payload, &self.payload);
        let mut payload = fill(&moments(&Value::Object(payload), now), now);
        if let Some(Value::Array(entries)) = payload.get_mut("entries") {
            *entries = std::iter::repeat_n(entries.clone(), self.times).flatten().collect();
        }
        let Some(key) = &self.key else { return payload.to_string().into_bytes() };
        let mut header = Map::from_iter([("typ".to_owned(), json!("callgate-revocations+jws"))]);
        if let Value::Object(own) = key.header() {
            header.extend(own);
        }
        merge(&mut header, &self.header);
        self.sign_with.as_ref().unwrap_or(key).sign(&Value::Object(header), &payload).into_bytes()
    }
}

/// Replaces `at now-5m` and similar text by the moment in RFC 3339, which entries state.
fn moments(value: &Value, now: Timestamp) -> Value {
    match value {
        Value::String(text) => {
            let offset = text.strip_prefix(AT).map(|offset| fill(&json!(offset), now));
            let seconds = offset.and_then(|offset| i64::try_from(offset.as_u64()?).ok());
            let moment = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            moment.map_or_else(|| value.clone(), |moment| json!(moment.to_string()))
        }
        Value::Array(items) => items.iter().map(|item| moments(item, now)).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), moments(value, now))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mint::Algorithm;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn list(payload: Value) -> List {
        let payload = payload.as_object().unwrap().clone();
        List { payload, times: 1, header: Map::new(), key: None, sign_with: None }
    }

    #[test]
    fn a_list_is_issued_now_and_has_the_stated_members() {
        let made = |payload| serde_json::from_slice::<Value>(&list(payload).make(NOW)).unwrap();
        assert_eq!(made(json!({})), json!({ "iat": 1_000_000, "exp": 1_000_600, "entries": [] }));
        let entries = json!([{ "agent": "a", "until": "at now+1m" }]);
        let expected = json!([{ "agent": "a", "until": "1970-01-12T13:47:40Z" }]);
        assert_eq!(made(json!({ "iat": null, "entries": entries })), json!({ "exp": 1_000_600, "entries": expected }));
    }

    #[test]
    fn entries_are_repeated() {
        let three = List { times: 3, ..list(json!({ "entries": [{ "agent": "a" }] })) };
        let made: Value = serde_json::from_slice(&three.make(NOW)).unwrap();
        assert_eq!(made["entries"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_signed_list_is_a_jws_with_its_type() {
        let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k"));
        let signed = List { key: Some(key), ..list(json!({})) };
        let made = String::from_utf8(signed.make(NOW)).unwrap();
        assert_eq!(made.split('.').count(), 3);
    }
}
