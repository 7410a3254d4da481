//! The inventory of agents, compiled to find the agent of a credential with a few lookups.

mod overlap;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::actors::Actors;
use super::claim_identities::{ClaimIdentities, ClaimIdentity};
use super::expiry::parse_expiry;
use super::identity_checks::{check_class, check_issuer_is_written, check_tenant};
use super::reach;
use super::workloads::{self, Workloads};
use crate::allowlist::Ceiling;
use crate::document;
use crate::document::names::{check_distinct, check_name, check_scope, did_you_mean};
use crate::document::{Findings, Place, Profile};
use crate::identity::certificate::VerifiedCertificate;
use crate::identity::revocation::Mark;
use crate::identity::token::{Chain, IssuerId, Issuers, VerifiedToken};
use crate::reason::Reason;
use crate::text::hash::PolicyMap;
use crate::text::time::Timestamp;

/// A registered agent.
#[derive(Debug)]
#[non_exhaustive]
pub struct Agent {
    /// The agent's name in the policy.
    pub name: Box<str>,
    /// The agent's position in the order of names.
    pub(crate) position: u32,
    /// Scopes that its own requests have in addition to those of their token.
    pub(crate) scopes: Vec<Box<str>>,
    /// The scopes that these scopes include.
    implied: Vec<String>,
    /// Whether the entry describes many clients or workloads, each of which is a separate agent.
    pub(crate) is_class: bool,
    /// Attributes that bindings can refer to.
    pub(crate) attributes: BTreeMap<String, Value>,
    expires: Option<Timestamp>,
    suspended: bool,
    /// What the agent gets at most. `None` if nothing is restricted.
    pub(crate) at_most: Option<Box<Ceiling>>,
    /// Computed when it is first needed.
    mark: OnceLock<Mark>,
}

/// All agents, by credential.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    list: Vec<Agent>,
    by_issuer: PolicyMap<IssuerId, ByTenant>,
    pub(super) actors: Actors,
    workloads: Workloads,
}

/// The agents of one issuer.
#[derive(Debug, Default)]
struct ByTenant {
    /// The agents of an issuer without tenants.
    own: ByIdentity,
    by_tenant: PolicyMap<Box<str>, ByIdentity>,
}

#[derive(Debug, Default)]
struct ByIdentity {
    by_client: PolicyMap<Box<str>, ByClient>,
    by_subject: PolicyMap<Box<str>, u32>,
    by_claims: ClaimIdentities,
}

#[derive(Debug, Default)]
struct ByClient {
    /// The agent that has this client with any subject.
    any_subject: Option<u32>,
    by_subject: PolicyMap<Box<str>, u32>,
}

impl Agents {
    pub(super) fn compile(document: &document::Document, issuers: &Issuers, findings: &mut Findings) -> Self {
        let place = Place::root().field("agents");
        let mut agents = Self::default();
        for (name, agent) in &document.agents {
            let place = place.field(name);
            if let Some(position) = agents.add(name, agent, issuers, &place, findings) {
                match &agent.identity {
                    Some(identity) => {
                        check_class(agent, identity, &place, findings);
                        workloads::check_class(agent, identity, &place, findings);
                        agents.index(position, identity, document, issuers, &place.field("identity"), findings);
                    }
                    None if agent.signing_keys.is_some() || agent.api_keys.is_some() => {}
                    None => findings.error(
                        place.field("identity"),
                        "nothing identifies this agent; write the `identity` in its tokens or its certificate, `signing_keys` or `api_keys`",
                    ),
                }
            }
        }
        agents.check_reachable(&place, findings);
        agents.actors = Actors::compile(document, issuers, findings);
        reach::set_ceilings(&mut agents.list, document, findings);
        agents.workloads.check(&agents.list, document, &place, findings);
        agents
    }

    fn add(
        &mut self,
        name: &str,
        raw: &document::Agent,
        issuers: &Issuers,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<u32> {
        check_name("an agent", name, place, findings);
        if raw.owner.trim().is_empty() {
            findings.error(place.field("owner"), "`owner` is required; name a person or team to contact");
        }
        let scopes_place = place.field("scopes");
        check_distinct("scope", &raw.scopes, &scopes_place, findings);
        for (index, scope) in raw.scopes.iter().enumerate() {
            check_scope(scope, &scopes_place.index(index), findings);
        }
        for (attribute, value) in &raw.attributes {
            let place = place.field("attributes").field(attribute);
            check_name("an attribute", attribute, &place, findings);
            if !is_attribute(value) {
                findings.error(
                    place,
                    "invalid attribute; expected text that is not empty, a whole number, or a list of these",
                );
            }
        }
        let expires = raw.expires.as_deref().and_then(|text| {
            let expiry = parse_expiry(text);
            if expiry.is_none() {
                findings.error(
                    place.field("expires"),
                    format!("invalid date `{}`; expected `2027-06-30` or `2027-06-30T12:00:00Z`", text.escape_debug()),
                );
            }
            expiry
        });
        let position = u32::try_from(self.list.len()).ok()?;
        self.list.push(Agent {
            name: name.into(),
            position,
            scopes: raw.scopes.iter().map(|s| s.as_str().into()).collect(),
            implied: issuers.implied_scopes().of(raw.scopes.iter().map(String::as_str)),
            is_class: raw
                .identity
                .as_ref()
                .is_some_and(|identity| identity.each.is_some() || workloads::is_class(identity)),
            attributes: raw.attributes.clone(),
            expires,
            suspended: raw.suspended,
            at_most: None,
            mark: OnceLock::new(),
        });
        Some(position)
    }

    fn index(
        &mut self,
        position: u32,
        identity: &document::Identity,
        document: &document::Document,
        issuers: &Issuers,
        place: &Place,
        findings: &mut Findings,
    ) {
        self.workloads.add(&self.list, position, identity, document, place, findings);
        let Some(name) = &identity.issuer else { return check_issuer_is_written(identity, place, findings) };
        let Some((issuer, raw_issuer)) = issuers.id(name).zip(document.issuers.get(name)) else {
            return findings.error(
                place.field("issuer"),
                format!(
                    "unknown issuer `{}`; {}",
                    name.escape_debug(),
                    did_you_mean(name, document.issuers.keys().map(String::as_str), "expected a name from `issuers`")
                ),
            );
        };
        for (field, value) in [("client_id", &identity.client_id), ("subject", &identity.subject)] {
            if value.as_deref() == Some("") {
                return findings.error(place.field(field), "the value is empty; write the exact value");
            }
        }
        let names_clients = raw_issuer.names_clients();
        let needs_client = [("client_id", identity.client_id.is_some()), ("each", identity.each.is_some())];
        if let Some((field, _)) = needs_client.into_iter().find(|(_, needs)| *needs && !names_clients) {
            let instead = match raw_issuer.profile {
                Profile::JwtSvid => "write `spiffe`, or `subject`",
                Profile::AccessToken | Profile::Jwt => "add `token.client` to that issuer, or write `subject`",
            };
            findings
                .error(place.field(field), format!("tokens of `{}` contain no client; {instead}", name.escape_debug()));
        }
        if !check_tenant(identity, name, issuer, issuers, place, findings) {
            return;
        }
        let index = self.by_issuer.entry(issuer).or_default();
        let index = match &identity.tenant {
            None => &mut index.own,
            Some(tenant) => index.by_tenant.entry(tenant.as_str().into()).or_default(),
        };
        let taken = match (&identity.client_id, &identity.subject) {
            _ if !identity.claims.is_empty() => {
                let Some(identity) = ClaimIdentity::read(position, identity, place, findings) else { return };
                index.by_claims.add(identity)
            }
            (Some(client), None) => {
                index.by_client.entry(client.as_str().into()).or_default().any_subject.replace(position)
            }
            (Some(client), Some(subject)) => index
                .by_client
                .entry(client.as_str().into())
                .or_default()
                .by_subject
                .insert(subject.as_str().into(), position),
            (None, Some(subject)) => index.by_subject.insert(subject.as_str().into(), position),
            // The agent is only an actor.
            (None, None) if identity.actor.is_some() => return,
            (None, None) => {
                return findings.error(
                    place.clone(),
                    "every client of this issuer would be this agent; write `client_id`, `subject`, `claims` or several of them",
                );
            }
        };
        if let Some(other) = taken.and_then(|other| self.list.get(other as usize)) {
            findings.error(
                place.clone(),
                format!("agent `{}` has the same identity; each credential must identify one agent", other.name),
            );
        }
    }

    /// Returns the agents in the order of their names.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Agent> {
        self.list.iter()
    }

    /// Returns the agent at a position in the order of names.
    pub(crate) fn get(&self, position: u32) -> Option<&Agent> {
        self.list.get(position as usize)
    }

    /// Returns the agent with this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Agent> {
        let at = self.list.binary_search_by(|agent| (*agent.name).cmp(name)).ok()?;
        self.list.get(at)
    }

    /// Returns the agent that a token identifies.
    ///
    /// # Errors
    /// Returns [`Reason::AgentUnknown`] or [`Reason::AgentAmbiguous`].
    pub(crate) fn find(&self, token: &VerifiedToken) -> Result<&Agent, Reason> {
        let (index, mut only) = self.known(token);
        let mut add = |found: u32| match only.replace(found) {
            Some(other) if other != found => Err(Reason::AgentAmbiguous),
            _ => Ok(()),
        };
        if let Some(index) = index {
            index.by_names(token).into_iter().flatten().try_for_each(&mut add)?;
            if !index.by_claims.is_empty() {
                index.by_claims.find(token).try_for_each(&mut add)?;
            }
        }
        only.and_then(|position| self.get(position)).ok_or(Reason::AgentUnknown)
    }

    /// Returns the agents of a token's issuer and tenant, and the position of the agent whose SPIFFE ID the token has.
    fn known(&self, token: &VerifiedToken) -> (Option<&ByIdentity>, Option<u32>) {
        let index = self.by_issuer.get(&token.issuer_id()).and_then(|index| match token.tenant() {
            None => Some(&index.own),
            Some(tenant) => index.by_tenant.get(tenant),
        });
        (index, token.spiffe_id().and_then(|id| self.workloads.find(id)))
    }

    /// Returns the positions of the agents that the client, the subject and the claims of a token identify. One can occur several times.
    pub(super) fn fits<'i>(&'i self, token: &'i VerifiedToken) -> impl Iterator<Item = u32> + 'i {
        let (index, workload) = self.known(token);
        let fits =
            |index: &'i ByIdentity| index.by_names(token).into_iter().flatten().chain(index.by_claims.find(token));
        index.into_iter().flat_map(fits).chain(workload)
    }

    /// Returns the agents that are actors of a token, as entries that revoke an actor name them.
    pub(crate) fn actors_of<'t>(
        &'t self,
        token: &'t VerifiedToken,
        issuers: &'t Issuers,
    ) -> impl Iterator<Item = &'t Agent> {
        let all = token.chain().map(Chain::actors).unwrap_or_default();
        all.iter()
            .flat_map(move |actor| self.actors.meant(token, actor, issuers))
            .filter_map(|position| self.get(position))
    }
}

impl Agents {
    /// Returns the agent that a client certificate identifies.
    ///
    /// # Errors
    /// Returns [`Reason::AgentUnknown`] or [`Reason::AgentAmbiguous`].
    pub(crate) fn find_certificate(&self, certificate: &VerifiedCertificate<'_>) -> Result<&Agent, Reason> {
        let position = self.workloads.find_certificate(certificate)?;
        self.get(position).ok_or(Reason::AgentUnknown)
    }
}

impl ByIdentity {
    /// Returns the agents that the client and the subject of a token of this issuer and tenant identify: by the client, by both, and by the
    /// subject.
    fn by_names(&self, token: &VerifiedToken) -> [Option<u32>; 3] {
        let by_client = token.client().and_then(|client| self.by_client.get(client));
        [
            by_client.and_then(|found| found.any_subject),
            by_client.zip(token.subject()).and_then(|(found, subject)| found.by_subject.get(subject).copied()),
            token.subject().and_then(|subject| self.by_subject.get(subject).copied()),
        ]
    }
}

impl Agent {
    /// Returns whether the registration meets a requirement of this scope: it has the scope, or one that includes it.
    pub(crate) fn grants(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| **own == *scope) || self.implied.iter().any(|included| included == scope)
    }

    /// Returns what entries of lists of revoked credentials name the agent by.
    pub(crate) fn mark(&self) -> Mark {
        *self.mark.get_or_init(|| Mark::of_name(&self.name))
    }

    /// Returns the scopes that the agent's scopes include.
    pub(crate) fn implied(&self) -> &[String] {
        &self.implied
    }

    /// Returns the end of the registration.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Checks that the registration is valid at this moment.
    ///
    /// # Errors
    /// Returns [`Reason::AgentSuspended`] or [`Reason::AgentExpired`].
    pub(crate) fn registered(&self, now: Timestamp) -> Result<(), Reason> {
        if self.suspended {
            return Err(Reason::AgentSuspended);
        }
        match self.expires {
            Some(expires) if now >= expires => Err(Reason::AgentExpired),
            _ => Ok(()),
        }
    }
}

fn is_attribute(value: &Value) -> bool {
    let scalar = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    match value {
        Value::Array(items) => !items.is_empty() && items.iter().all(scalar),
        other => scalar(other),
    }
}
