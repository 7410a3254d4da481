//! The schema of a record, generated from the engine's types.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

/// Returns the JSON Schema of the decision record.
#[must_use]
pub fn schema() -> Value {
    callgate::Record::schema().to_value()
}

/// Returns the violations of the schema in a record; empty if the record is as documented.
#[must_use]
pub fn faults(record: &Value) -> Vec<String> {
    static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(&schema()).ok());
    let Some(validator) = &*VALIDATOR else { return vec!["the schema of records is none".to_owned()] };
    let told = |error: jsonschema::ValidationError<'_>| match error.instance_path().as_str() {
        "" => error.to_string(),
        place => format!("{place}: {error}"),
    };
    validator.iter_errors(record).map(told).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "decision": "allow",
            "reason": "allowed",
            "policy": "p",
            "policy_version": "0".repeat(64),
            "module_version": "0.1.0",
            "outcome": { "status": 200, "ended": "complete" },
        })
    }

    #[test]
    fn schema_accepts_only_valid_records() {
        assert_eq!(faults(&record()), [""; 0]);
        let mut ended = record();
        ended["outcome"]["ended"] = json!("token_revoked");
        assert_eq!(faults(&ended), [""; 0]);
        let mut changed = record();
        changed["outcome"]["tools_changed"] = json!(["refund_payment"]);
        assert_eq!(faults(&changed), [""; 0]);
        for (member, value) in [
            ("decision", json!("perhaps")),
            ("reason", json!("because")),
            ("agent", Value::Null),
            ("token", json!("eyJhbGciOiJub25lIn0")),
            ("surprise", json!(1)),
            ("outcome", json!({ "ended": "well" })),
            ("outcome", json!({ "ended": "allowed" })),
            ("outcome", json!({ "tools_changed": "refund_payment" })),
            ("headers", json!({ "x": 1 })),
            ("would_deny", json!([{ "reason": "allowed" }])),
        ] {
            let mut record = record();
            record[member] = value;
            assert_ne!(faults(&record), [""; 0], "{record}");
        }
        for member in ["decision", "reason", "policy", "policy_version", "module_version"] {
            let mut record = record();
            record.as_object_mut().unwrap().remove(member);
            assert_ne!(faults(&record), [""; 0], "{member}");
        }
    }
}
