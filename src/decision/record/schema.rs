//! The parts of the JSON Schema of records that are not derived from their types.

use super::{Ended, Ground, Record};
use crate::reason::Reason;

impl Record<'_> {
    /// Returns the JSON Schema of a record.
    #[must_use]
    pub fn schema() -> schemars::Schema {
        /// Removes `null` from a type, because members without a value are absent.
        fn without_null(schema: &mut schemars::Schema) {
            if let Some(serde_json::Value::Array(kinds)) = schema.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    schema.insert("type".to_owned(), only);
                }
            }
            let forms = schema.get("anyOf").and_then(serde_json::Value::as_array);
            let own = forms.and_then(|forms| match forms.as_slice() {
                [own, null] if null.get("type").is_some_and(|kind| kind == "null") => own.get("$ref").cloned(),
                _ => None,
            });
            if let Some(own) = own {
                schema.remove("anyOf");
                schema.insert("$ref".to_owned(), own);
            }
        }
        let settings = schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .with_transform(schemars::transform::RecursiveTransform(without_null));
        let mut schema = settings.into_generator().into_root_schema_for::<Record<'_>>();
        crate::document::schema::publish(&mut schema, "Callgate decision record", "record.schema.json");
        schema
    }
}

/// Returns the schema of all reasons and grounds.
pub(super) fn reasons(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let codes: Vec<_> =
        Ground::RECORDED.iter().map(|grant| grant.code()).chain(Reason::ALL.iter().map(|r| r.code())).collect();
    schemars::json_schema!({ "type": "string", "enum": codes })
}

/// Returns the schema of the ways in which a request ends.
pub(super) fn endings(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let others = generator.subschema_for::<Ended>();
    let callgate = denials(generator);
    schemars::json_schema!({ "anyOf": [others, callgate] })
}

/// Returns the schema of all reasons.
pub(super) fn denials(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    schemars::json_schema!({ "type": "string", "enum": codes })
}
