//! The field `authenticate` of endpoints and requirements.

use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A kind of credential that authenticates the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Authenticate {
    /// An access token.
    Token,
    /// A request signature without a token. The agent has the scopes that the policy grants it.
    Signature,
    /// A Web Bot Auth signature without a token.
    WebBotAuth,
    /// An API key. The agent has the scopes that the policy grants it.
    ApiKey,
    /// A client certificate that the gateway validated (see `tls`). The agent has the scopes that the policy grants it.
    Certificate,
}

impl Authenticate {
    /// Returns the kind's name in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Signature => "signature",
            Self::WebBotAuth => "web-bot-auth",
            Self::ApiKey => "api-key",
            Self::Certificate => "certificate",
        }
    }

    /// Returns whether this is the signature of a request.
    pub fn is_signature(self) -> bool {
        match self {
            Self::Signature | Self::WebBotAuth => true,
            Self::Token | Self::ApiKey | Self::Certificate => false,
        }
    }
}

/// The kinds of credentials of which one authenticates the caller: one kind, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication(pub Vec<Authenticate>);

const FORM: &str = "`token`, `signature`, `web-bot-auth`, `api-key` or `certificate`, or a list of them";

impl<'de> Deserialize<'de> for Authentication {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AuthenticationVisitor)
    }
}

struct AuthenticationVisitor;

impl<'de> Visitor<'de> for AuthenticationVisitor {
    type Value = Authentication;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match Authenticate::deserialize(de::value::StrDeserializer::<E>::new(text)) {
            Ok(kind) => Ok(Authentication(vec![kind])),
            Err(_) => Err(E::custom(format!("invalid value `{}`; expected {FORM}", text.escape_debug()))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(kind) = seq.next_element()? {
            all.push(kind);
        }
        Ok(Authentication(all))
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Authentication {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Authentication".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Authenticate>();
        schemars::json_schema!({
            "description": format!("The credentials of which one authenticates the caller: {FORM}."),
            "anyOf": [one.clone(), { "type": "array", "items": one }]
        })
    }
}
