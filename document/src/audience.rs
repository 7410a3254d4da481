//! The audiences of tokens: those of an issuer, and the `resources` section of the policy document.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::Metadata;
#[cfg(feature = "schema")]
use super::form;

/// The audiences that tokens may have.
///
/// The word `absent` and an audience with that name are distinguished by their form: the word is a scalar, and names may be written in a
/// list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The tokens have no `aud`.
    Absent,
    /// `aud` contains at least one of these names.
    OneOf(Vec<String>),
}

const AUDIENCE_FORM: &str = "an audience, a list of audiences, or `absent` for tokens without `aud`";

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AudienceVisitor)
    }
}

struct AudienceVisitor;

impl<'de> Visitor<'de> for AudienceVisitor {
    type Value = Audience;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AUDIENCE_FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(if text == "absent" { Audience::Absent } else { Audience::OneOf(vec![text.to_owned()]) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element()? {
            names.push(name);
        }
        Ok(Audience::OneOf(names))
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Audience {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Audience".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let name = schemars::json_schema!({ "type": "string" });
        schemars::json_schema!({
            "description": format!(
                "What the `aud` of tokens contains: {AUDIENCE_FORM}. An audience whose name is `absent` is written in a list: `[absent]`."
            ),
            "anyOf": [name.clone(), { "type": "array", "items": name }]
        })
    }
}

/// A path prefix that is a separate resource, such as an MCP server next to other APIs. Tokens for the rest of the API are rejected
/// there, and tokens for this resource are rejected elsewhere.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The path under which the resource is, such as `/mcp`: this path and all paths below it. Only whole segments count, so `/mcpx` is
    /// not under `/mcp`. If several bases match, the longest one counts. A path that an upstream could read as one under another base,
    /// such as `/MCP`, `/%6Dcp` or `/mcp%2Fx`, is rejected with `path_value_ambiguous`.
    #[cfg_attr(feature = "schema", schemars(with = "form::BasePath"))]
    pub base: String,
    /// The identifier of the resource, an absolute `https` URL. The audience of every token must contain it, unless its issuer has an
    /// entry in `audience`.
    #[cfg_attr(feature = "schema", schemars(with = "form::ApiUrl"))]
    pub resource: String,
    /// The audiences of tokens for this resource, by the name of their issuer. Every issuer that has an `audience` needs an
    /// entry, because its tokens do not name the resource.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, Audience>"))]
    pub audience: BTreeMap<String, Audience>,
    /// What clients can read about this resource before they have a token. Default: nothing, and challenges under `base` announce no
    /// metadata.
    #[serde(default)]
    pub metadata: Option<Metadata>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_absent_audiences_from_audiences_called_absent() {
        let read = |text: &str| serde_json::from_str::<Audience>(text);
        let names = |names: &[&str]| Audience::OneOf(names.iter().map(|name| (*name).to_owned()).collect());
        for (text, audience) in [
            ("\"absent\"", Audience::Absent),
            ("[\"absent\"]", names(&["absent"])),
            ("\"Absent\"", names(&["Absent"])),
            ("\"orders\"", names(&["orders"])),
            ("[\"orders\",\"absent\"]", names(&["orders", "absent"])),
            ("[]", names(&[])),
        ] {
            assert_eq!(read(text).unwrap(), audience, "{text}");
        }
        for wrong in ["7", "{}", "[7]", "null", "[[\"orders\"]]", "true"] {
            read(wrong).unwrap_err();
        }
        assert!(read("7").unwrap_err().to_string().contains(AUDIENCE_FORM));
    }
}
