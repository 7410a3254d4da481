//! For whom and through whom a request was made: the member `chain` of a record.
//!
//! It is read as plain JSON, because a later version may add to it, and the record must remain readable.

use serde_json::Value;

use super::record::Record;

/// The name of the member.
pub(super) const MEMBER: &str = "chain";

impl Record {
    /// Returns for whom and through whom the request was made, the current actor first, such as `ann via coder via planner`. The text is
    /// not escaped. `None` if the record has no chain.
    #[must_use]
    pub fn chain(&self) -> Option<String> {
        let items = self.more.get(MEMBER)?.as_array()?;
        let names: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
        names.filter(|names| !names.is_empty()).map(|names| names.join(" via "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_is_described_from_the_subject_to_the_first_actor() {
        let chain = |value: Value| {
            let mut record = Record::default();
            record.more.insert(MEMBER.to_owned(), value);
            record.chain()
        };
        assert_eq!(chain(json!(["ann", "coder", "planner"])).as_deref(), Some("ann via coder via planner"));
        assert_eq!(chain(json!(["ann"])).as_deref(), Some("ann"));
        for none in [json!([]), json!("ann"), json!(["ann", 1]), json!({}), json!(null)] {
            assert_eq!(chain(none), None);
        }
        assert_eq!(Record::default().chain(), None);
    }
}
