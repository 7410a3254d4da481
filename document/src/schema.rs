//! The JSON Schema of the policy document, and the addresses of the published schemas.

use schemars::Schema;

use super::Document;

/// The folder in which the schemas are published.
const FOLDER: &str = "https://raw.githubusercontent.com/callgate/callgate/main/docs/reference/";

impl Document {
    /// Returns the JSON Schema of the policy document, with the patterns of its text values.
    #[must_use]
    pub fn schema() -> Schema {
        let mut schema = schemars::schema_for!(Document);
        publish(&mut schema, "Callgate policy", "policy.schema.json");
        schema
    }
}

/// Adds the title and the address of a schema that is published under this name.
pub fn publish(schema: &mut Schema, title: &str, file: &str) {
    schema.insert("$id".to_owned(), format!("{FOLDER}{file}").into());
    schema.insert("title".to_owned(), title.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_have_an_address_in_the_repository() {
        let repository = env!("CARGO_PKG_REPOSITORY").strip_prefix("https://github.com/").unwrap();
        assert_eq!(FOLDER, format!("https://raw.githubusercontent.com/{repository}/main/docs/reference/"));
        let schema = Document::schema();
        assert_eq!(schema.get("$id").unwrap(), &format!("{FOLDER}policy.schema.json"));
    }
}
