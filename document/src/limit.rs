//! The `limits`, `auth_failure_limit` and `tables` sections of the policy document.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

#[cfg(feature = "schema")]
use super::form;
use super::scalar::Rate;
use super::{LimitNumbers, Secret};

/// The rate at which a caller may send requests.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The key by which requests are counted: `agent`, `issuer`, `source`, `endpoint` or `tool`, a value of the caller (`token.CLAIM` or
    /// `agent.ATTRIBUTE`), or a list of these for each combination, with at most two values of the caller. Text, integers and booleans of
    /// at most 256 bytes are such values, and each type counts by itself. Values of a claim count separately for each issuer and tenant.
    /// Requests without such a value count together. Clients may choose claims, so an endpoint that charges a limit by claim must charge
    /// a limit without claims and `source` as well, such as one per `issuer`.
    pub per: LimitKeySpec,
    /// The long-term rate of allowed requests, such as `60/1m`.
    pub rate: Rate,
    /// The number of requests that are allowed at once after an idle period.
    pub burst: u32,
    /// The numbers of the tiers, by a name of your choice. A request counts with the numbers of its tier, and with `rate` and `burst` if
    /// it has none of these. Requests of different tiers with the same key count together.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, LimitNumbers>"))]
    pub tiers: BTreeMap<String, LimitNumbers>,
    /// Where the name of the tier is: `agent.ATTRIBUTE` or `token.CLAIM`. Required with `tiers`. Use only a claim that the issuer
    /// controls, because a client that chooses its value chooses the numbers.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::BindingValue>"))]
    pub tier: Option<String>,
    /// Whether clients see this limit in `RateLimit` and `RateLimit-Policy`. Default: `true`.
    #[serde(default = "yes")]
    pub headers: bool,
}

pub(super) fn yes() -> bool {
    true
}

/// One part of a limit's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// The agent. An unregistered caller is counted by its issuer, tenant, client and subject, and a client of an entry with
    /// `each: client` by its client.
    Agent,
    /// The issuer of the credential, and its tenant if the issuer has `tenants`.
    Issuer,
    /// The source address. An IPv6 address counts as its /64.
    Source,
    /// The endpoint.
    Endpoint,
    /// The operation of an endpoint with `rpc`: the endpoint, the kind of the operation (tool, resource, prompt or method) and its name.
    Tool,
}

/// One part of a limit's key, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitKeyPart {
    /// A property of the request.
    Dimension(Dimension),
    /// A value of the caller: `token.CLAIM` or `agent.ATTRIBUTE`.
    Reference(String),
}

/// The parts of a limit's key: one part, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitKeySpec(pub Vec<LimitKeyPart>);

impl LimitKeySpec {
    /// Reports whether the key has this property of the request.
    #[must_use]
    pub fn has(&self, dimension: Dimension) -> bool {
        self.0.contains(&LimitKeyPart::Dimension(dimension))
    }

    /// Returns the values of the caller in the key.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            LimitKeyPart::Reference(written) => Some(written.as_str()),
            LimitKeyPart::Dimension(_) => None,
        })
    }

    /// Reports whether the key has a claim of the token.
    #[must_use]
    pub fn has_claim(&self) -> bool {
        self.references().any(|written| written.starts_with("token."))
    }
}

const PER_FORM: &str =
    "`agent`, `issuer`, `source`, `endpoint`, `tool`, `token.CLAIM` or `agent.ATTRIBUTE`, or a list of them";

impl<'de> Deserialize<'de> for LimitKeyPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PartVisitor)
    }
}

struct PartVisitor;

impl Visitor<'_> for PartVisitor {
    type Value = LimitKeyPart;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PER_FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.starts_with("token.") || text.starts_with("agent.") {
            return Ok(LimitKeyPart::Reference(text.to_owned()));
        }
        match Dimension::deserialize(de::value::StrDeserializer::<E>::new(text)) {
            Ok(dimension) => Ok(LimitKeyPart::Dimension(dimension)),
            Err(_) => Err(E::custom(format!("invalid value `{}`; expected {PER_FORM}", text.escape_debug()))),
        }
    }
}

impl<'de> Deserialize<'de> for LimitKeySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PerVisitor)
    }
}

struct PerVisitor;

impl<'de> Visitor<'de> for PerVisitor {
    type Value = LimitKeySpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PER_FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        PartVisitor.visit_str(text).map(|part| LimitKeySpec(vec![part]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(part) = seq.next_element()? {
            all.push(part);
        }
        Ok(LimitKeySpec(all))
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for LimitKeySpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LimitKey".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let property = generator.subschema_for::<Dimension>();
        let value = generator.subschema_for::<form::BindingValue>();
        schemars::json_schema!({
            "description": format!("What the limit counts by: {PER_FORM}."),
            "anyOf": [
                property.clone(),
                value.clone(),
                { "type": "array", "items": { "anyOf": [property, value] } }
            ]
        })
    }
}

/// The rate at which credentials from one source address may fail verification. Signers whose credential from that address was
/// verified within the last ten minutes may exceed this rate, until the same number of their own credentials has failed.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AuthFailureLimit {
    /// The long-term rate of failed credentials, such as `10/1m`.
    pub rate: Rate,
    /// The number of credentials that may fail at once after an idle period.
    pub burst: u32,
    /// The networks whose addresses many agents share, such as `203.0.113.7/32`. Each address in such a network has this rate
    /// instead.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Network, SourceRate>"))]
    pub sources: BTreeMap<String, SourceRate>,
}

/// The rate at which credentials from one address of a network may fail.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SourceRate {
    /// The long-term rate of failed credentials.
    pub rate: Rate,
    /// The number of credentials that may fail at once after an idle period.
    pub burst: u32,
}

/// The sizes of tables. All workers share `limits` and `replay`, which keep their initial size until the gateway restarts. Each
/// worker has its own `ed25519` tables.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// The number of source addresses and unregistered callers that all limits together track at the same time. Default: 16,384.
    /// Each entry uses 16 bytes.
    pub limits: u32,
    /// The number of proofs and signatures that are remembered to detect replays. All agents that send them have equal partitions,
    /// in whole slots of 64. Default: 131,072. Each entry uses 16 bytes.
    pub replay: u32,
    /// The number of Ed25519 keys of the policy that have a precomputed table, which reduces the time to verify a signature by more
    /// than half. The most frequently used keys get one. Default: 16; 0 disables the tables. Each table uses 328 KB per worker
    /// and is created after the key was used a few times.
    pub ed25519: u32,
    /// A secret of 32 or more random bytes, the same for all workers. It makes the names of shared entries unpredictable, and
    /// entries are accepted only if they were written with it. It is required if the gateway's random numbers are predictable or
    /// other filters write into the same map (`kong`, `istio`, `higress`). After a change of the key, the tables start empty. On `istio`
    /// and `higress`, open connections with an older policy apply what a newer one revokes and suspends only if both have the same key.
    pub key: Option<Secret>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { limits: 16_384, replay: 131_072, ed25519: 16, key: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<LimitKeyPart>, String> {
        serde_json::from_str::<LimitKeySpec>(json).map(|key| key.0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_has_properties_of_the_request_and_values_of_the_caller() {
        let dimension = LimitKeyPart::Dimension;
        let reference = |text: &str| LimitKeyPart::Reference(text.to_owned());
        for (json, parts) in [
            (r#""agent""#, vec![dimension(Dimension::Agent)]),
            (r#""token.org""#, vec![reference("token.org")]),
            (r#""agent.team""#, vec![reference("agent.team")]),
            (
                r#"["issuer", "token./org/id", "tool"]"#,
                vec![dimension(Dimension::Issuer), reference("token./org/id"), dimension(Dimension::Tool)],
            ),
            ("[]", vec![]),
        ] {
            assert_eq!(read(json), Ok(parts), "{json}");
        }
    }

    #[test]
    fn errors_name_the_expected_form() {
        for json in [r#""Agent""#, r#""token""#, r#""client.org""#, r#"["agent", "tokens.org"]"#, r#""""#] {
            let error = read(json).unwrap_err();
            assert!(
                error.contains("expected `agent`, `issuer`, `source`, `endpoint`, `tool`, `token.CLAIM`"),
                "{error}"
            );
        }
        assert!(read("5").unwrap_err().contains("expected `agent`, `issuer`"));
        assert!(read(r#"[5]"#).unwrap_err().contains("expected `agent`, `issuer`"));
    }

    #[test]
    fn tells_claims_from_attributes() {
        let key = |json: &str| serde_json::from_str::<LimitKeySpec>(json).unwrap();
        let both = key(r#"["agent", "agent.team", "token.org"]"#);
        assert_eq!(both.references().collect::<Vec<_>>(), ["agent.team", "token.org"]);
        assert!(both.has(Dimension::Agent) && !both.has(Dimension::Issuer) && both.has_claim());
        assert!(!key(r#"["agent.team", "source"]"#).has_claim());
    }
}
