//! Who can reach what under a policy, with what it takes, and what a token reaches: the report of `callgate access`.
//!
//! What agents can reach comes from the compiled policy. What a token reaches comes from decisions: the engine decides a request to each
//! endpoint and operation that satisfies its bindings.
//!
//! The JSON form has these members, and further ones may be added:
//!
//! | Member | Content |
//! |---|---|
//! | `policy` | `file`, `name`, `version` |
//! | `token` | `null` without a token; else what is known about it: `verified` (whether its signature was verified), `issuer`, `client`, `subject`, `agent` (`null` for an unregistered client), `expires`, `bound` (whether its sender must prove to have a key or certificate), `rejected` (`null`, or `reason` and `title`), `notes` |
//! | `callers` | one entry for each agent; one in all with a token |
//! | `callers[].agent` | the name; `null` for unregistered clients, and for everyone |
//! | `callers[].kind` | `agent`, `unregistered`, `anyone` (public endpoints) or `token` |
//! | `callers[].each` | `workload` or `client` if the agent is a class of which each counts by itself in limits per agent; else `null` |
//! | `callers[].owner` | the owner in the policy, or `null` |
//! | `callers[].state` | `active`, `suspended` (also if an entry of `revoked` names the agent) or `expired` |
//! | `callers[].reaches` | the endpoints that it can reach |
//! | `reaches[].endpoint`, `.methods`, `.hosts`, `.path`, `.effect` | the endpoint |
//! | `reaches[].observed` | whether denials there are only recorded |
//! | `reaches[].agents` | the agents and groups that the endpoint lists, or `null` if it lists none |
//! | `reaches[].streams` | `recheck` if the credentials of open streams are checked again; else `null` |
//! | `reaches[].credentials` | the kinds of credentials of which one is needed; empty if none is |
//! | `reaches[].bound_token`, `.signature` | whether a token must be bound to a key; `required`, `optional` or `null` |
//! | `reaches[].scopes` | `all`: all are needed; `any`: lists, of each of which one is needed |
//! | `reaches[].bindings` | `part`, `operator`, `to` (a reference or a value as JSON), and `values`: the values where they are known |
//! | `reaches[].max_age`, `.max_lifetime` | seconds, or `null` |
//! | `reaches[].delegation` | `none`, `allowed` or `required` |
//! | `reaches[].limits` | `name`, `per`, `rate`, `burst`, and `numbers_of`: the tier or agent whose numbers these are, or `null` |
//! | `reaches[].operations` | of endpoints with `rpc`: `kind`, `name`, `effect`, `scopes`, `bindings` |
//! | `callers[].cannot_reach` | `endpoint`, `operation` (or `null`), `why` |

mod agents;
mod gate;
pub(crate) mod html;
mod issuer;
mod limits;
mod request;
mod roles;
pub(crate) mod table;
mod token;

use std::collections::BTreeMap;

use callgate::document::{DelegationAsked, Document, OperationEntry};
use callgate_kit::policy::Loaded;
use serde::Serialize;
use serde_json::Value;

pub(crate) use agents::agents;
use request::Known;
pub(crate) use token::{Given, token};

/// The report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) policy: PolicyName,
    pub(crate) token: Option<TokenFacts>,
    pub(crate) callers: Vec<Caller>,
}

/// The policy of a report.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyName {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) version: String,
}

impl PolicyName {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        Self {
            file: loaded.document.file().to_owned(),
            name: loaded.policy.name.to_string(),
            version: loaded.policy.version.to_string(),
        }
    }
}

/// What is known about a token.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TokenFacts {
    pub(crate) verified: bool,
    pub(crate) issuer: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) bound: bool,
    pub(crate) rejected: Option<Rejected>,
    pub(crate) notes: Vec<String>,
}

/// Why a token is rejected on every endpoint that needs one.
#[derive(Debug, Serialize)]
pub(crate) struct Rejected {
    pub(crate) reason: &'static str,
    pub(crate) title: &'static str,
}

/// A caller, with what it can reach.
#[derive(Debug, Serialize)]
pub(crate) struct Caller {
    pub(crate) agent: Option<String>,
    pub(crate) kind: Kind,
    /// The members of a class, each of which counts by itself.
    pub(crate) each: Option<&'static str>,
    pub(crate) owner: Option<String>,
    pub(crate) state: State,
    pub(crate) reaches: Vec<Reached>,
    pub(crate) cannot_reach: Vec<Excluded>,
}

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Agent,
    Anyone,
    Token,
    Unregistered,
}

/// Returns what the members of an agent's class are, each of which counts by itself. `None` if the agent is no class.
pub(crate) fn class_of(agent: &callgate::document::Agent) -> Option<&'static str> {
    let identity = agent.identity.as_ref()?;
    if identity.each.is_some() {
        return Some("client");
    }
    identity.spiffe.as_deref().filter(|id| id.ends_with("/*")).map(|_| "workload")
}

/// Whether a registration is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Active,
    Expired,
    Suspended,
}

/// An endpoint that a caller can reach, with what it takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reached {
    pub(crate) endpoint: String,
    pub(crate) methods: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
    pub(crate) effect: &'static str,
    pub(crate) observed: bool,
    pub(crate) agents: Option<Vec<String>>,
    pub(crate) streams: Option<&'static str>,
    pub(crate) credentials: Vec<&'static str>,
    pub(crate) bound_token: bool,
    pub(crate) signature: Option<&'static str>,
    pub(crate) scopes: Scopes,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) max_age: Option<u64>,
    pub(crate) max_lifetime: Option<u64>,
    pub(crate) delegation: &'static str,
    pub(crate) limits: Vec<limits::LimitNumbers>,
    pub(crate) operations: Vec<Operation>,
}

/// The scopes that are needed.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Scopes {
    pub(crate) all: Vec<String>,
    pub(crate) any: Vec<Vec<String>>,
}

/// A part of the request that is bound.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Binding {
    pub(crate) part: String,
    pub(crate) operator: &'static str,
    pub(crate) to: String,
    pub(crate) values: Option<Value>,
}

/// An operation that a caller can use.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Operation {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) effect: &'static str,
    pub(crate) scopes: Scopes,
    pub(crate) bindings: Vec<Binding>,
}

/// An endpoint or operation that a caller cannot reach.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Excluded {
    pub(crate) endpoint: String,
    pub(crate) operation: Option<String>,
    pub(crate) why: String,
}

/// The policy that is reported on.
pub(crate) struct Subject<'a> {
    pub(crate) loaded: &'a Loaded,
    /// The document as written, with types.
    pub(crate) document: Document,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// The only endpoint to report, by its `id`.
    pub(crate) endpoint: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// Reads the document of a policy that compiled.
    ///
    /// # Errors
    /// Fails only if the document cannot be read a second time.
    pub(crate) fn new(loaded: &'a Loaded, time: u64, endpoint: Option<&'a str>) -> Result<Self, serde_json::Error> {
        Ok(Self { loaded, document: serde_json::from_str(&loaded.policy_json)?, time, endpoint })
    }

    /// Returns the endpoints to report, compiled and as written.
    fn endpoints(&self) -> impl Iterator<Item = (&callgate::policy::Endpoint, &callgate::document::Endpoint)> {
        let only = self.endpoint;
        let all = self.loaded.policy.endpoints().iter().zip(&self.document.endpoints);
        all.filter(move |(endpoint, _)| only.is_none_or(|only| *endpoint.id == *only))
    }

    /// Reports whether every request to an endpoint is forwarded, and denials are only recorded.
    fn observes(&self, endpoint: &callgate::policy::Endpoint) -> bool {
        endpoint.observes() || self.document.mode == callgate::document::Mode::Observe
    }

    /// Returns what an endpoint asks of requests for somebody else.
    fn delegation(&self, raw: &callgate::document::Endpoint) -> DelegationAsked {
        let of_effect = || self.document.requirements.get(&raw.effect).and_then(|asked| asked.delegation);
        raw.delegation.or_else(of_effect).unwrap_or(DelegationAsked::None)
    }

    /// Returns what an operation of an endpoint asks in addition.
    fn delegation_of(&self, raw: &callgate::document::Endpoint, entry: &OperationEntry<'_>) -> Option<DelegationAsked> {
        let of_effect = self.document.requirements.get(&entry.effect).and_then(|asked| asked.delegation);
        of_effect.filter(|_| entry.effect != raw.effect)
    }

    /// Returns the attributes of an agent.
    fn attributes(&self, agent: Option<&str>) -> Option<&BTreeMap<String, Value>> {
        self.document.agents.get(agent?).map(|agent| &agent.attributes)
    }

    /// Describes an endpoint that a caller can reach, without its operations.
    fn reached(
        &self,
        endpoint: &callgate::policy::Endpoint,
        raw: &callgate::document::Endpoint,
        agent: Option<&str>,
        known: Known<'_>,
    ) -> Reached {
        let public = endpoint.is_public();
        let (all, any) = endpoint.required_scopes();
        Reached {
            endpoint: raw.id.clone(),
            methods: raw.methods.clone(),
            hosts: raw.hosts.clone().unwrap_or_default(),
            path: raw.path.clone(),
            effect: raw.effect.name(),
            observed: self.observes(endpoint),
            agents: raw.agents.clone(),
            streams: raw.streams.map(|callgate::document::Streams::Recheck| "recheck"),
            credentials: if public {
                Vec::new()
            } else {
                endpoint.accepted_credentials().iter().map(|kind| kind.name()).collect()
            },
            bound_token: endpoint.requires_bound_token(),
            signature: endpoint.asks_signature().map(|asked| match asked {
                callgate::document::SignatureAsked::Required => "required",
                callgate::document::SignatureAsked::Optional => "optional",
            }),
            scopes: scopes(all, any),
            bindings: bindings(raw.bind.iter(), endpoint.bindings(), known),
            max_age: endpoint.max_age().map(|most| most.as_secs()),
            max_lifetime: endpoint.max_lifetime().map(|most| most.as_secs()),
            delegation: match self.delegation(raw) {
                DelegationAsked::Allowed => "allowed",
                DelegationAsked::Required => "required",
                DelegationAsked::None => "none",
            },
            limits: endpoint
                .limits(&self.loaded.policy)
                .filter_map(|name| {
                    limits::numbers(&self.document, self.loaded.document.value(), name, agent, known.claims)
                })
                .collect(),
            operations: Vec::new(),
        }
    }
}

fn scopes(all: Vec<&str>, any: Vec<Vec<&str>>) -> Scopes {
    let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
    Scopes { all: owned(all), any: any.into_iter().map(owned).collect() }
}

/// Describes bindings: `raw` as the document has them, and `written` as the compiled policy shows them.
fn bindings<'b>(
    raw: impl Iterator<Item = (&'b str, &'b callgate::document::BindingRule)>,
    written: impl Iterator<Item = (&'b str, &'static str, &'b str)>,
    known: Known<'_>,
) -> Vec<Binding> {
    let rules: BTreeMap<&str, &callgate::document::BindingRule> = raw.collect();
    let described = written.map(|(part, operator, to)| Binding {
        part: part.to_owned(),
        operator,
        to: to.to_owned(),
        values: rules.get(part).and_then(|rule| known.value(rule)),
    });
    described.collect()
}
