//! Limits and the tables behind them, as a person writes them.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::Secret;
use super::scalar::Rate;

/// How often a caller may call.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Whose calls are counted together: `agent`, `issuer`, `source` or `endpoint`, or a list of them for each combination.
    pub per: LimitKeySpec,
    /// How many calls pass in the long run, such as `60/1m`.
    pub rate: Rate,
    /// How many calls pass at once from rest.
    pub burst: u32,
    /// Whether clients are told of this limit in `RateLimit` and `RateLimit-Policy`; `true` when absent.
    #[serde(default = "yes")]
    pub headers: bool,
}

pub(super) fn yes() -> bool {
    true
}

/// One thing that tells callers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// The agent; a caller that is not registered counts by its issuer, client and subject.
    Agent,
    /// The issuer of the credential.
    Issuer,
    /// The source address; an IPv6 address counts as its /64.
    Source,
    /// The endpoint.
    Endpoint,
}

/// What tells callers apart: one thing, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitKeySpec(pub Vec<Dimension>);

const PER_FORM: &str = "`agent`, `issuer`, `source` or `endpoint`, or a list of them";

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
            Err(_) => Err(E::custom(format!("`{}` tells nobody apart: write {PER_FORM}", text.escape_debug()))),
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
        "PerAsked".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Dimension>();
        schemars::json_schema!({
            "description": format!("What tells callers apart: {PER_FORM}."),
            "anyOf": [one.clone(), { "type": "array", "items": one }]
        })
    }
}

/// How often credentials from one source address may fail. Signers who verified something from there within ten minutes are served
/// beyond it, each until as many of its own have failed.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FailedCredentials {
    /// How many credentials may fail in the long run, such as `10/1m`.
    pub rate: Rate,
    /// How many may fail at once from rest.
    pub burst: u32,
    /// Networks such as `203.0.113.7/32`, behind whose addresses many agents stand, with a rate of their own for each address.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceRate>,
}

/// How often credentials from an address of a network may fail.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SourceRate {
    /// How many credentials may fail in the long run.
    pub rate: Rate,
    /// How many may fail at once from rest.
    pub burst: u32,
}

/// The sizes of tables. `limits` and `replay` are shared by all workers and keep the size they were made with until the gateway
/// restarts; `ed25519` is of each worker.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// How many source addresses and unregistered callers have a place at a time, over all limits; 16,384 when absent. Each
    /// takes 16 bytes.
    pub limits: u32,
    /// How many messages that may be used only once are remembered, over all agents that send such: each has an equal part, in
    /// whole slots of 64; 131,072 when absent. Each takes 16 bytes.
    pub replay: u32,
    /// How many Ed25519 keys of the policy have a table that takes the verification of a signature to less than half, those that
    /// are used most; 16 when absent, 0 for none. Each takes 328 KB in each worker, made when the key was used a few times.
    pub ed25519: u32,
    /// A secret of 32 or more random bytes, the same for all workers: what they share is kept under names that nobody else can
    /// foresee, and what is read back is only believed where it was written with this key. Needed where the gateway's own random
    /// numbers can be foreseen or other filters write into the same map (`kong`, `istio`, `higress`). With another key the tables
    /// begin anew.
    pub key: Option<Secret>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { limits: 16_384, replay: 131_072, ed25519: 16, key: None }
    }
}
