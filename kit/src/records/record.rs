//! A decision record that is read from a log.
//!
//! Records of other versions of the module can be read as well: all but a few members may be absent. Members that this code does
//! not use by name are kept, so a new member of the record is shown without a change here.

use callgate::Reason;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A record that was read from a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`docs/reference/record.md` says what the members are")]
pub struct Record {
    pub decision: String,
    pub reason: String,
    pub rule: String,
    pub would_deny: Vec<WouldDeny>,
    pub id: Option<String>,
    pub time_ms: Option<u64>,
    pub agent: Option<String>,
    pub issuer: Option<String>,
    pub tenant: Option<String>,
    pub client: Option<String>,
    pub subject: Option<String>,
    pub scopes: Vec<String>,
    pub token: Option<String>,
    pub endpoint: Option<String>,
    pub method: Option<String>,
    pub host: Option<String>,
    pub path: Option<String>,
    pub raw_path: Option<String>,
    pub query: Vec<String>,
    pub headers: std::collections::BTreeMap<String, String>,
    pub source: Option<String>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    pub policy: String,
    pub policy_version: String,
    pub module_version: String,
    pub outcome: Option<Outcome>,
    /// The members that are not used by name.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A reason that would have denied the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`docs/reference/record.md` says what the members are")]
pub struct WouldDeny {
    pub reason: String,
    pub rule: String,
}

/// How the request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`docs/reference/record.md` says what the members are")]
pub struct Outcome {
    pub status: Option<u64>,
    pub bytes_received: Option<u64>,
    pub bytes_sent: Option<u64>,
    pub duration_ms: Option<u64>,
    pub ended: Option<String>,
    pub details: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools_changed: Vec<String>,
}

impl Record {
    /// Reads a record; returns `None` if the value is something else.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        let record: Self = serde_json::from_value(value).ok()?;
        let decided = matches!(record.decision.as_str(), "allow" | "deny" | "observe");
        (decided && !record.reason.is_empty() && !record.policy_version.is_empty()).then_some(record)
    }

    /// Returns the record as JSON again, without the members that it does not have.
    ///
    /// # Errors
    /// No known case: every member has a form in JSON.
    pub fn to_value(&self) -> serde_json::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        if let Some(members) = value.as_object_mut() {
            members.retain(|_, member| {
                let is_empty = [Value::Null, Value::String(String::new()), Value::Array(Vec::new())].contains(member)
                    || member.as_object().is_some_and(Map::is_empty);
                !is_empty
            });
        }
        Ok(value)
    }

    /// Returns the members that are not used by name, in the order of the record's format; members of other versions come last.
    pub fn more(&self) -> impl Iterator<Item = (&str, &Value)> {
        let known = callgate::Record::MEMBERS.iter().filter_map(|name| self.more.get_key_value(*name));
        let others = self.more.iter().filter(|(name, _)| !callgate::Record::MEMBERS.contains(&name.as_str()));
        known.chain(others).map(|(name, value)| (name.as_str(), value))
    }

    /// Returns whether the record's id is `wanted` or begins with it. The `instance` of a response is accepted as well.
    #[must_use]
    pub fn has_id(&self, wanted: &str) -> bool {
        let wanted = wanted.strip_prefix("urn:callgate:decision:").unwrap_or(wanted);
        self.id.as_ref().is_some_and(|id| id.starts_with(wanted))
    }

    /// Returns whether the record has this token hash: the 16 digits of the member `token`, or a longer part of the same SHA-256.
    #[must_use]
    pub fn has_token(&self, wanted: &str) -> bool {
        let wanted = wanted.to_ascii_lowercase();
        self.token.as_ref().is_some_and(|token| wanted.starts_with(token.as_str()))
    }

    /// Returns the most specific known identity of the sender. Includes the subject if it differs from the agent and the client.
    #[must_use]
    pub fn who(&self) -> String {
        let issuer = self.issuer.as_deref().unwrap_or("?");
        let names = [self.agent.as_ref(), self.client.as_ref()];
        let subject = self.subject.as_ref().filter(|subject| !names.contains(&Some(*subject)));
        let of_subject = subject.map(|subject| format!(" (subject {subject})")).unwrap_or_default();
        match (&self.agent, &self.client, &self.subject, &self.source) {
            (Some(agent), ..) => format!("{agent}{of_subject}"),
            (_, Some(client), ..) => format!("client {client} of {issuer}{of_subject}"),
            (_, _, Some(subject), _) => format!("subject {subject} of {issuer}"),
            (.., Some(source)) => source.clone(),
            _ => "unknown".to_owned(),
        }
    }

    /// Returns what was requested: the endpoint, its operation and the host, or else method, host and path.
    #[must_use]
    pub fn what(&self) -> String {
        let operation = self.operation_group().map(|operation| format!(" ({operation})")).unwrap_or_default();
        match (&self.endpoint, &self.host) {
            (Some(endpoint), Some(host)) => format!("{endpoint}{operation} at {host}"),
            (Some(endpoint), None) => format!("{endpoint}{operation}"),
            (None, _) => self.request_line(),
        }
    }

    /// Returns method, host, path and operation, as far as they are known.
    #[must_use]
    pub fn request_line(&self) -> String {
        let path = self.path.as_ref().or(self.raw_path.as_ref());
        let host = self.host.as_deref().unwrap_or_default();
        let operation = self.operation_name().map(|operation| format!(" {operation}")).unwrap_or_default();
        match (&self.method, path) {
            (Some(method), Some(path)) => format!("{method} {host}{path}{operation}"),
            (_, Some(path)) => format!("{host}{path}{operation}"),
            _ => "unknown".to_owned(),
        }
    }
}

/// Returns the meaning of a reason code. Returns `None` for codes that allow a request and for codes of other versions.
#[must_use]
pub fn meaning(code: &str) -> Option<&'static str> {
    Reason::ALL.iter().find(|reason| reason.code() == code).map(|reason| reason.row().title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_fields_are_all_documented_members() {
        let read = serde_json::to_value(Record::default()).unwrap();
        let names: Vec<_> = read.as_object().unwrap().keys().collect();
        assert!(names.contains(&&"decision".to_owned()), "{names:?}");
        for name in names {
            assert!(callgate::Record::MEMBERS.contains(&name.as_str()), "{name}");
        }
    }
}
