//! Compiles the allowlist: the endpoints, and one lookup table for each set of hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::signatures::SignatureRule;
use super::{bindings, dpop, hosts, limits};
use crate::allowlist::{Binding, Origin, ScopesWanted};
use crate::allowlist::{Remark, Table, Template};
use crate::document;
use crate::document::names::{check_distinct, check_name, check_scope};
use crate::document::{Findings, Place};
use crate::request::EscapeSet;
use crate::text::ascii::is_token;
use crate::text::hash::PolicyMap;

/// An entry of the allowlist.
#[derive(Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// The endpoint's name in the policy.
    pub id: Box<str>,
    /// The endpoint's position in the policy's list, counted from 0.
    pub position: u32,
    /// The endpoint's place in the policy, such as `endpoints[3]`.
    pub(crate) place: Box<str>,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) access: Access,
    /// The field that requires a key-bound token, if there is one.
    pub(crate) needs_bound_token: Option<Origin>,
    pub(crate) scopes: ScopesWanted,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) escapes: EscapeSet,
    pub(crate) websocket: bool,
    /// The bodies that are rejected because the upstream merges them with the query, if there are any.
    pub(crate) rejected_bodies: Option<RejectedBodies>,
    /// Whether a request must have exactly one `Content-Type`, because another rule depends on it.
    pub(crate) one_content_type: bool,
    pub(crate) streams: bool,
    pub(crate) signature: SignatureRule,
    /// The limits that apply to a request, by their positions in the policy.
    pub(crate) limits: Vec<u32>,
    /// The number of requests that one request counts as.
    pub(crate) cost: u32,
    pub(crate) observe: bool,
}

/// The media types of bodies that an endpoint rejects. A body without a media type is rejected as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RejectedBodies {
    /// The field that requires the rejection.
    pub(crate) origin: Origin,
    pub(crate) forms: bool,
    pub(crate) json: bool,
}

/// The callers that an endpoint allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Authenticated callers.
    Known,
    /// Anyone. A credential that the policy could verify must be valid.
    Public,
    /// Anyone. The upstream handles credentials.
    PublicUnverified,
}

/// The allowlist, by host.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    pub(crate) list: Vec<Endpoint>,
    /// The table of each host. Hosts with the same endpoints share one.
    by_host: PolicyMap<Box<str>, usize>,
    tables: Vec<Table>,
    /// All escapes that any endpoint allows.
    pub(crate) escapes: EscapeSet,
    /// Whether any path has a variable whose values may contain characters that are valid only in text values.
    pub(crate) take_text: bool,
}

impl Endpoints {
    pub(super) fn table(&self, host: &str) -> Option<&Table> {
        self.tables.get(*self.by_host.get(host)?)
    }

    pub(super) fn compile(document: &document::Document, hosts: &[String], findings: &mut Findings) -> Self {
        let place = Place::root().field("endpoints");
        let mut compiled = Self::default();
        let mut templates = Vec::with_capacity(document.endpoints.len());
        if document.endpoints.is_empty() {
            findings.error(place.clone(), "an empty allowlist denies every call: write at least one endpoint");
        }
        let mut ids = HashMap::new();
        let mut attributes = BTreeSet::new();
        for attribute in document.agents.values().flat_map(|agent| agent.attributes.keys()) {
            attributes.insert(attribute.as_str());
        }
        for (index, raw) in document.endpoints.iter().enumerate() {
            let place = place.index(index);
            if let Some(first) = ids.insert(raw.id.as_str(), index) {
                let message = format!(
                    "endpoint `{}` has the same id: choose another",
                    Place::root().field("endpoints").index(first)
                );
                findings.error(place.field("id"), message);
            }
            let template =
                Template::parse(&raw.path).map_err(|message| findings.error(place.field("path"), message)).ok();
            let compiling = Compiling { document, raw, place: &place, attributes: &attributes };
            let endpoint = compiling.endpoint(index, template.as_ref(), findings);
            raw.allow_escapes.iter().for_each(|escape| compiled.escapes.insert(*escape));
            compiled.take_text |= template.as_ref().is_some_and(takes_text);
            compiled.list.push(endpoint);
            templates.push(template);
        }
        compiled.build_tables(document, hosts, &templates, findings);
        compiled
    }

    fn build_tables(
        &mut self,
        document: &document::Document,
        hosts: &[String],
        templates: &[Option<Template>],
        findings: &mut Findings,
    ) {
        let place = Place::root().field("endpoints");
        let mut by_members: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        let mut warned = BTreeSet::new();
        for host in hosts {
            let members: Vec<u32> = document
                .endpoints
                .iter()
                .zip(0u32..)
                .filter(|(raw, _)| raw.hosts.as_ref().is_none_or(|own| own.contains(host)))
                .map(|(_, index)| index)
                .collect();
            if members.is_empty() {
                findings.warn(
                    Place::root().field("hosts"),
                    format!("no endpoint answers for `{host}`: every call to it is denied"),
                );
            }
            if let Some(table) = by_members.get(&members) {
                self.by_host.insert(host.as_str().into(), *table);
                continue;
            }
            let entries: Vec<_> =
                members.iter().filter_map(|index| Some((*index, templates.get(*index as usize)?.as_ref()?))).collect();
            self.check_methods(&entries, &place, findings);
            let path_of = |remark: &Remark| place.index(remark.endpoint as usize).field("path");
            let table = match Table::build(entries.iter().copied(), document.format_suffixes) {
                Ok(built) => {
                    built.warnings.into_iter().for_each(|remark| findings.warn(path_of(&remark), remark.message));
                    self.warn_of_collisions(&built.table, &entries, &mut warned, findings);
                    built.table
                }
                Err(remarks) => {
                    remarks.into_iter().for_each(|remark| findings.error(path_of(&remark), remark.message));
                    Table::default()
                }
            };
            by_members.insert(members, self.tables.len());
            self.by_host.insert(host.as_str().into(), self.tables.len());
            self.tables.push(table);
        }
    }

    /// Warns about each endpoint whose values an upstream can read as paths of other endpoints, once for all sets of hosts.
    fn warn_of_collisions(
        &self,
        table: &Table,
        entries: &[(u32, &Template)],
        warned: &mut BTreeSet<u32>,
        findings: &mut Findings,
    ) {
        let mut budget = MAX_COMPARED;
        for (index, template) in entries {
            let Some(endpoint) = self.list.get(*index as usize).filter(|endpoint| !endpoint.escapes.is_empty()) else {
                continue;
            };
            let others = table.reads_as(*index, template, endpoint.escapes, &mut budget);
            if others.is_empty() || !warned.insert(*index) {
                continue;
            }
            let template_of = |other: &u32| {
                let at = entries.binary_search_by_key(other, |(index, _)| *index).ok()?;
                entries.get(at).map(|(_, template)| format!("`{template}`"))
            };
            let named: Vec<String> = others.iter().filter_map(template_of).take(COLLISIONS_NAMED).collect();
            let more = match others.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            findings.warn(
                Place::root().field("endpoints").index(*index as usize).field("allow_escapes"),
                format!(
                    "an upstream that decodes values of this path can read them as {}{more}; such requests are rejected with \
                     `path_value_ambiguous`, so allow only escapes that clients need",
                    named.join(", ")
                ),
            );
        }
    }

    /// Checks that two endpoints with the same template have no method in common.
    fn check_methods(&self, entries: &[(u32, &Template)], place: &Place, findings: &mut Findings) {
        let mut taken: BTreeMap<_, &Endpoint> = BTreeMap::new();
        for (index, template) in entries {
            let Some(endpoint) = self.list.get(*index as usize) else { continue };
            for method in &endpoint.methods {
                let first = taken.insert((template.segments(), method), endpoint);
                if let Some(first) = first.filter(|first| first.position != endpoint.position) {
                    findings.error(
                        place.index(endpoint.position as usize).field("methods"),
                        format!(
                            "`{method}` on this path is endpoint `{}` already: a call belongs to one endpoint",
                            first.id
                        ),
                    );
                }
            }
        }
    }
}

/// The maximum number of paths that a warning names.
const COLLISIONS_NAMED: usize = 3;
/// The maximum number of comparisons for warnings about one set of hosts.
const MAX_COMPARED: u32 = 200_000;

fn takes_text(template: &Template) -> bool {
    template.variables().iter().any(|variable| variable.kind.takes_escapes())
}

/// The state while one endpoint is compiled.
struct Compiling<'a> {
    document: &'a document::Document,
    raw: &'a document::Endpoint,
    place: &'a Place,
    /// Attributes that at least one agent has.
    attributes: &'a BTreeSet<&'a str>,
}

impl Compiling<'_> {
    fn endpoint(&self, index: usize, template: Option<&Template>, findings: &mut Findings) -> Endpoint {
        let Self { document, raw, place, .. } = self;
        check_name("an endpoint", &raw.id, &place.field("id"), findings);
        self.check_methods(findings);
        hosts::check_of_endpoint(raw, document, place, findings);
        let access = self.access(findings);
        let bindings = bindings::compile(document, raw, template, self.attributes, place, findings);
        if access != Access::Known && !bindings.is_empty() {
            findings
                .error(place.field("bind"), "nobody is known on a public endpoint: remove `bind` or `access: public`");
        }
        let binds_query = bindings.iter().any(|b| matches!(b.part, crate::allowlist::Bound::Query(_)));
        let rejected_bodies = self.rejected_bodies(binds_query, findings);
        Endpoint {
            id: raw.id.as_str().into(),
            position: u32::try_from(index).unwrap_or(u32::MAX),
            place: place.as_str().into(),
            methods: raw.methods.iter().map(|method| method.as_str().into()).collect(),
            access,
            needs_bound_token: dpop::needs_bound_token(self.document, raw, place, findings),
            scopes: self.scopes(access, findings),
            rejected_bodies,
            one_content_type: rejected_bodies.is_some() || binds_query,
            bindings,
            escapes: self.escapes(template, findings),
            websocket: self.websocket(findings),
            streams: raw.body.is_some(),
            signature: SignatureRule::compile(self.document, raw, access, place, findings),
            limits: limits::of_endpoint(self.document, raw, place, findings),
            cost: raw.cost.unwrap_or(1),
            observe: self.observe(findings),
        }
    }

    fn check_methods(&self, findings: &mut Findings) {
        let place = self.place.field("methods");
        if self.raw.methods.is_empty() {
            findings.error(place.clone(), "an endpoint without a method can never match: write each method");
        }
        check_distinct("method", &self.raw.methods, &place, findings);
        for (index, method) in self.raw.methods.iter().enumerate() {
            let place = place.index(index);
            let upper = method.to_ascii_uppercase();
            // `*` is a valid token, but its author means any method.
            if !is_token(method.as_bytes()) || method.contains('*') {
                findings.error(
                    place,
                    format!("`{}` is no method: write each exactly, such as `GET`", method.escape_debug()),
                );
            } else if upper == "CONNECT" {
                findings.error(place, "`CONNECT` asks for a tunnel and is refused everywhere: remove it");
            } else if *method != upper {
                findings.error(place, format!("methods are compared exactly, and clients send `{upper}`: write that"));
            }
        }
    }

    fn access(&self, findings: &mut Findings) -> Access {
        match (self.raw.access, self.raw.credentials) {
            (None, None) => Access::Known,
            (None, Some(_)) => {
                findings.error(
                    self.place.field("credentials"),
                    "this is for public endpoints, and elsewhere credentials are always verified: remove it",
                );
                Access::Known
            }
            (Some(document::Access::Public), None | Some(document::Credentials::Verify)) => Access::Public,
            (Some(document::Access::Public), Some(document::Credentials::Ignore)) => Access::PublicUnverified,
        }
    }

    fn scopes(&self, access: Access, findings: &mut Findings) -> ScopesWanted {
        let place = self.place.field("scopes");
        let of_effect = self.document.requirements.get(&self.raw.effect).and_then(|asked| asked.scopes.as_ref());
        let own = self.raw.scopes.as_ref();
        if let Some(own) = own {
            check_scopes(own, &place, findings);
        }
        let mut wanted = ScopesWanted::default();
        if access != Access::Known {
            if own.is_some_and(|own| !own.none) {
                findings.error(place, "nobody has scopes on a public endpoint: remove `scopes` or `access: public`");
            } else if of_effect.is_some_and(|asked| !asked.none) {
                findings.error(
                    self.place.field("effect"),
                    "this effect asks for scopes, and nobody has any on a public endpoint: remove `access: public` or choose another effect",
                );
            }
            return wanted;
        }
        if own.is_none() && of_effect.is_none() {
            findings.error(
                place,
                "which scopes this call needs is not said: write a list of scopes, or `none` for any registered agent",
            );
        }
        of_effect.into_iter().for_each(|asked| wanted.add(Origin::Effect(self.raw.effect), asked));
        own.into_iter().for_each(|asked| wanted.add(Origin::Endpoint, asked));
        wanted
    }

    /// Returns the bodies that the endpoint rejects. `reject` rejects forms in every policy. Without a setting, the kinds that
    /// the upstream merges are rejected if a query parameter is bound.
    fn rejected_bodies(&self, binds_query: bool, findings: &mut Findings) -> Option<RejectedBodies> {
        let merges = |kind| self.document.upstream.merges.contains(&kind);
        let (forms, json) = (merges(document::MergedBody::Form), merges(document::MergedBody::Json));
        let refused = |origin| Some(RejectedBodies { origin, forms: true, json });
        let of_effect = self.document.requirements.get(&self.raw.effect).and_then(|asked| asked.form_bodies);
        match (self.raw.form_bodies, of_effect) {
            (Some(document::FormBodies::Allow), Some(document::FormBodies::Reject)) => {
                findings.error(
                    self.place.field("form_bodies"),
                    "the requirements of this effect reject form bodies, and both hold: remove one of the two",
                );
                None
            }
            (Some(document::FormBodies::Reject), _) => refused(Origin::Endpoint),
            (None, Some(document::FormBodies::Reject)) => refused(Origin::Effect(self.raw.effect)),
            (Some(document::FormBodies::Allow), _) | (None, Some(document::FormBodies::Allow)) => None,
            (None, None) => {
                let merged = RejectedBodies { origin: Origin::Endpoint, forms, json };
                (binds_query && (forms || json)).then_some(merged)
            }
        }
    }

    fn escapes(&self, template: Option<&Template>, findings: &mut Findings) -> EscapeSet {
        let place = self.place.field("allow_escapes");
        let mut escapes = EscapeSet::default();
        for (index, escape) in self.raw.allow_escapes.iter().enumerate() {
            if escapes.contains(*escape) {
                findings.error(place.index(index), "this escape stands twice: remove one");
            }
            escapes.insert(*escape);
        }
        if !escapes.is_empty() && template.is_some_and(|template| !takes_text(template)) {
            findings.error(
                place,
                "no variable of this path takes escapes: write `{name:text}` for the one that does, or remove this",
            );
        }
        escapes
    }

    fn websocket(&self, findings: &mut Findings) -> bool {
        let Some(document::Upgrade::Websocket) = self.raw.upgrade else { return false };
        if !self.raw.methods.iter().any(|method| method == "GET") {
            findings.error(
                self.place.field("upgrade"),
                "a WebSocket handshake is a `GET` (RFC 6455): add that method or remove `upgrade`",
            );
        }
        true
    }

    fn observe(&self, findings: &mut Findings) -> bool {
        if self.raw.mode == Some(document::Mode::Enforce) && self.document.mode == document::Mode::Observe {
            findings.error(
                self.place.field("mode"),
                "the policy's own `mode: observe` refuses nothing: write `enforce` there and `observe` on the other endpoints",
            );
        }
        self.raw.mode == Some(document::Mode::Observe)
    }
}

/// Checks the scopes that a field requires.
pub(super) fn check_scopes(asked: &document::ScopesAsked, place: &Place, findings: &mut Findings) {
    if !asked.none && asked.all.is_empty() && asked.any.is_empty() {
        findings.error(place.clone(), "an empty list asks for nothing without saying so: write `none`");
    }
    for (field, scopes) in [("all", &asked.all), ("any", &asked.any)] {
        for scope in scopes {
            check_scope(scope, place, findings);
        }
        check_distinct("scope", scopes, &place.field(field), findings);
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
