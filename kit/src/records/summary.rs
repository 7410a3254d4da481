//! Summarizes many records in few lines: who was allowed or denied what, why, how often and when.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::record::Record;
use crate::moment;

/// The most groups that are kept apart. Clients choose paths and must not be able to exhaust memory.
const MOST_GROUPS: usize = 10_000;
/// The longest text that identifies a group, in characters.
const MOST_TEXT: usize = 200;
/// The text of a group that collects everything beyond the limits.
const REST: &str = "(more)";

/// The properties that all records of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// `deny`, `observe` or `allow`.
    pub decision: String,
    /// The code of the reason.
    pub reason: String,
    /// Who sent the requests.
    pub who: String,
    /// What was requested.
    pub what: String,
}

/// A group of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The properties that the records have in common.
    #[serde(flatten)]
    pub key: Key,
    /// The number of records.
    pub count: u64,
    /// The time of the first record, in milliseconds since 1970-01-01 UTC.
    #[serde(serialize_with = "rfc_3339", skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The time of the last record, in milliseconds since 1970-01-01 UTC.
    #[serde(serialize_with = "rfc_3339", skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// The id of the last decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
}

/// Groups records as they are read.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    groups: BTreeMap<Key, Group>,
}

impl Summary {
    /// Adds a record.
    pub fn add(&mut self, record: &Record) {
        self.add_of(record, &record.who());
    }

    /// Adds a record under the chain of its request, or under the sender if it has no chain.
    pub fn add_by_chain(&mut self, record: &Record) {
        self.add_of(record, &record.chain().unwrap_or_else(|| record.who()));
    }

    fn add_of(&mut self, record: &Record, who: &str) {
        let (decision, reason) = (bounded(&record.decision), bounded(&record.reason));
        let mut key = Key { decision, reason, who: bounded(who), what: bounded(&record.what()) };
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            key.who = REST.to_owned();
            key.what = REST.to_owned();
            // The number of reasons is small, unless somebody forged the records.
            if self.groups.len() >= 2 * MOST_GROUPS && !self.groups.contains_key(&key) {
                key.reason = REST.to_owned();
            }
        }
        let group =
            self.groups.entry(key.clone()).or_insert(Group { key, count: 0, first: None, last: None, last_id: None });
        group.count += 1;
        if let Some(time) = record.time_ms {
            group.first = Some(group.first.map_or(time, |first| first.min(time)));
        }
        if record.time_ms >= group.last {
            group.last = record.time_ms;
            group.last_id = record.id.as_deref().map(bounded);
        }
    }

    /// Returns the groups: first denied requests, then those that would have been denied, then allowed ones; each sorted by size,
    /// largest first.
    #[must_use]
    pub fn groups(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        let rank = |decision: &str| ["deny", "observe", "allow"].iter().position(|known| *known == decision);
        groups.sort_by(|a, b| {
            let order = rank(&a.key.decision).cmp(&rank(&b.key.decision));
            order.then(b.count.cmp(&a.count)).then_with(|| a.key.cmp(&b.key))
        });
        groups
    }
}

/// Formats a time in milliseconds as RFC 3339.
#[must_use]
pub fn show(milliseconds: u64) -> String {
    moment::show(milliseconds / 1000)
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn rfc_3339<S: Serializer>(time: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(show).serialize(serializer)
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(decision: &str, agent: &str, path: &str, time: Option<u64>) -> Record {
        Record {
            decision: decision.into(),
            reason: "r".into(),
            agent: Some(agent.into()),
            method: Some("GET".into()),
            path: Some(path.into()),
            time_ms: time,
            id: time.map(|time| format!("id{time}")),
            ..Record::default()
        }
    }

    #[test]
    fn groups_equal_records_with_their_first_and_last_time() {
        let mut summary = Summary::default();
        for (decision, agent, time) in
            [("allow", "a", Some(9000)), ("deny", "b", Some(2000)), ("deny", "b", Some(1000)), ("deny", "b", None)]
        {
            summary.add(&record(decision, agent, "/x", time));
        }
        for _ in 0..9 {
            summary.add(&record("allow", "a", "/y", None));
        }
        let groups = summary.groups();
        let told: Vec<_> = groups.iter().map(|group| (&*group.key.decision, &*group.key.what, group.count)).collect();
        assert_eq!(told, [("deny", "GET /x", 3), ("allow", "GET /y", 9), ("allow", "GET /x", 1)]);
        assert_eq!((groups[0].first, groups[0].last), (Some(1000), Some(2000)));
        assert_eq!(groups[0].last_id.as_deref(), Some("id2000"));
        let json = serde_json::to_value(&groups[0]).unwrap();
        assert_eq!(json["first"], "1970-01-01T00:00:01Z");
    }

    #[test]
    fn groups_by_chain_separate_the_subjects_of_an_agent() {
        let mut of_chain = record("allow", "coder", "/x", None);
        let mut with = |names: &[&str], summary: &mut Summary| {
            of_chain.more.insert("chain".to_owned(), serde_json::json!(names));
            summary.add_by_chain(&of_chain);
        };
        let mut summary = Summary::default();
        with(&["ann", "coder"], &mut summary);
        with(&["ann", "coder"], &mut summary);
        with(&["bob", "coder"], &mut summary);
        summary.add_by_chain(&record("allow", "coder", "/x", None));
        let groups = summary.groups();
        let told: Vec<_> = groups.iter().map(|group| (&*group.key.who, group.count)).collect();
        assert_eq!(told, [("ann via coder", 2), ("bob via coder", 1), ("coder", 1)]);
    }

    #[test]
    fn limits_the_number_of_groups() {
        let mut summary = Summary::default();
        for number in 0..MOST_GROUPS + 100 {
            summary.add(&record("deny", "a", &format!("/{number}"), None));
        }
        for number in 0..3 * MOST_GROUPS {
            summary.add(&Record { reason: number.to_string(), ..record("deny", "a", "/", None) });
        }
        summary.add(&record("deny", &"long ".repeat(1000), "/", None));
        let groups = summary.groups();
        assert!(groups.len() <= 2 * MOST_GROUPS + 3, "{}", groups.len());
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 4 * MOST_GROUPS as u64 + 101);
        assert!(groups.iter().any(|group| group.key.what == REST && group.count == 101));
    }
}
