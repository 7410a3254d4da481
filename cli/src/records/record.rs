//! A record as it is read back.
//!
//! Records of other versions of the module are read as well: members that nobody here knows are passed over, and of those
//! that are known all but a few may be absent.

use callgate::Reason;
use serde::Deserialize;
use serde_json::Value;

/// A record as it is read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`docs/record.md` says what the members are")]
pub struct Record {
    pub decision: String,
    pub reason: String,
    pub rule: String,
    pub would_deny: Vec<WouldDeny>,
    pub id: Option<String>,
    pub time_ms: Option<u64>,
    pub agent: Option<String>,
    pub issuer: Option<String>,
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
}

/// A reason for which a call would have been denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`docs/record.md` says what the members are")]
pub struct WouldDeny {
    pub reason: String,
    pub rule: String,
}

/// How a call went on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "`docs/record.md` says what the members are")]
pub struct Outcome {
    pub status: Option<u64>,
    pub bytes_received: Option<u64>,
    pub bytes_sent: Option<u64>,
    pub duration_ms: Option<u64>,
    pub ended: Option<String>,
    pub details: Option<String>,
}

impl Record {
    /// Reads a record; none where the value is something else.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        let record: Self = serde_json::from_value(value).ok()?;
        let decided = matches!(record.decision.as_str(), "allow" | "deny" | "observe");
        (decided && !record.reason.is_empty() && !record.policy_version.is_empty()).then_some(record)
    }

    /// Whether the record has this id, or one that begins so. The answer's `instance` is taken as well.
    #[must_use]
    pub fn has_id(&self, wanted: &str) -> bool {
        let wanted = wanted.strip_prefix("urn:callgate:decision:").unwrap_or(wanted);
        self.id.as_ref().is_some_and(|id| id.starts_with(wanted))
    }

    /// Who called, in the most telling way that is known.
    #[must_use]
    pub fn who(&self) -> String {
        let issuer = self.issuer.as_deref().unwrap_or("?");
        match (&self.agent, &self.client, &self.subject, &self.source) {
            (Some(agent), ..) => agent.clone(),
            (_, Some(client), ..) => format!("client {client} of {issuer}"),
            (_, _, Some(subject), _) => format!("subject {subject} of {issuer}"),
            (.., Some(source)) => source.clone(),
            _ => "unknown".to_owned(),
        }
    }

    /// What was called: the endpoint, or else method and path.
    #[must_use]
    pub fn what(&self) -> String {
        let path = self.path.as_ref().or(self.raw_path.as_ref());
        match (&self.endpoint, &self.method, path) {
            (Some(endpoint), ..) => endpoint.clone(),
            (_, Some(method), Some(path)) => format!("{method} {path}"),
            (.., Some(path)) => path.clone(),
            _ => "unknown".to_owned(),
        }
    }
}

/// What a reason means; none for a ground on which a call goes on, and for codes of other versions.
#[must_use]
pub fn meaning(code: &str) -> Option<&'static str> {
    Reason::ALL.iter().find(|reason| reason.code() == code).map(|reason| reason.row().title)
}
