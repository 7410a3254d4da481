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
    /// The key by which requests are counted: `agent`, `issuer`, `source`, `endpoint` or `tool`, or a list of them for each combination.
    pub per: LimitKeySpec,
    /// The long-term rate of allowed requests, such as `60/1m`.
    pub rate: Rate,
    /// The number of requests that are allowed at once after an idle period.
    pub burst: u32,
    /// The numbers of the tiers, by a name of your choice. A request counts with the numbers of its tier, and with `rate` and `burst` if
    /// it has none of these.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, LimitNumbers>"))]
    pub tiers: BTreeMap<String, LimitNumbers>,
    /// Where the name of the tier is: `agent.ATTRIBUTE` or `token.CLAIM`. Required with `tiers`.
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

/// The parts of a limit's key: one part, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitKeySpec(pub Vec<Dimension>);

const PER_FORM: &str = "`agent`, `issuer`, `source`, `endpoint` or `tool`, or a list of them";

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
        match Dimension::deserialize(de::value::StrDeserializer::<E>::new(text)) {
            Ok(dimension) => Ok(LimitKeySpec(vec![dimension])),
            Err(_) => Err(E::custom(format!("invalid value `{}`; expected {PER_FORM}", text.escape_debug()))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(dimension) = seq.next_element()? {
            all.push(dimension);
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
        let one = generator.subschema_for::<Dimension>();
        schemars::json_schema!({
            "description": format!("What the limit counts by: {PER_FORM}."),
            "anyOf": [one.clone(), { "type": "array", "items": one }]
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
    /// other filters write into the same map (`kong`, `istio`, `higress`). After a change of the key, the tables start empty.
    pub key: Option<Secret>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { limits: 16_384, replay: 131_072, ed25519: 16, key: None }
    }
}
