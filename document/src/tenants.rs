//! The tenants of an issuer whose `iss` contains a tenant.

use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

#[cfg(feature = "schema")]
use super::form;

/// The tenants whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Every tenant.
    Any,
    /// Only these tenants.
    OneOf(Vec<String>),
}

const TENANTS_FORM: &str = "a list of tenants, or `any`";

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TenantsVisitor)
    }
}

struct TenantsVisitor;

impl<'de> Visitor<'de> for TenantsVisitor {
    type Value = Tenants;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TENANTS_FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        // A single tenant is written in a list as well: otherwise a misspelled `any` would be a tenant.
        match text {
            "any" => Ok(Tenants::Any),
            _ => Err(E::custom(format!("invalid value `{}`; expected {TENANTS_FORM}", text.escape_debug()))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut tenants = Vec::new();
        while let Some(tenant) = seq.next_element()? {
            tenants.push(tenant);
        }
        Ok(Tenants::OneOf(tenants))
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Tenants {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tenants".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let tenant = generator.subschema_for::<form::Tenant>();
        schemars::json_schema!({
            "description": format!("The tenants whose tokens are accepted: {TENANTS_FORM}."),
            "anyOf": [{ "const": "any" }, { "type": "array", "items": tenant }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_any_tenant_or_a_list() {
        let read = |text: &str| serde_json::from_str::<Tenants>(text);
        assert_eq!(read("\"any\"").unwrap(), Tenants::Any);
        assert_eq!(read("[\"any\"]").unwrap(), Tenants::OneOf(vec!["any".to_owned()]));
        for wrong in ["\"Any\"", "\"acme\"", "7", "null", "[7]", "{}"] {
            read(wrong).unwrap_err();
        }
        assert!(read("\"ayn\"").unwrap_err().to_string().contains("invalid value `ayn`; expected a list of tenants"));
    }
}
