//! The `credentials_from` section of the policy document: the places in which clients send access tokens.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;

/// A place of a request in which an access token is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPlace {
    /// The `Authorization` header, with the scheme `Bearer` or, if the policy has `dpop`, `DPoP`.
    Authorization,
    /// A header with this name. Its value is the token alone, without a scheme.
    Header(String),
    /// A member of `Sec-WebSocket-Protocol` that begins with this prefix. The rest of the member is the token.
    WebsocketProtocol(String),
}

/// The places of a policy without `credentials_from`.
pub(super) fn authorization_alone() -> Vec<CredentialPlace> {
    vec![CredentialPlace::Authorization]
}

#[cfg(feature = "schema")]
impl JsonSchema for CredentialPlace {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CredentialPlace".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let header = generator.subschema_for::<form::PlainHeaderName>();
        let prefix = generator.subschema_for::<form::ProtocolPrefix>();
        let place = |name: &str, value: schemars::Schema| {
            schemars::json_schema!({
                "type": "object",
                "properties": { name: value },
                "required": [name],
                "additionalProperties": false
            })
        };
        schemars::json_schema!({
            "description": "`authorization`, `{ header: NAME }` or `{ websocket_protocol: PREFIX }`. `authorization` is the header \
                            `Authorization`, with the scheme `Bearer` or, if the policy has `dpop`, `DPoP`. The value of any other \
                            header is the token alone, without a scheme. In `Sec-WebSocket-Protocol`, the token is the rest of the \
                            member that begins with the prefix.",
            "anyOf": [
                { "const": "authorization" },
                place("header", header),
                place("websocket_protocol", prefix)
            ]
        })
    }
}
