//! Compiles the allowlist: the list of endpoints, and one lookup table for each set of hosts.
//!
//! Checks that compare endpoints belong here. Checks of a single endpoint belong in `endpoint`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::endpoint::{Compiling, Endpoint, takes_text};
use super::reach::AgentNames;
use super::resources::Resources;
use crate::allowlist::{Remark, Table, Template};
use crate::document;
use crate::document::{Findings, Place};
use crate::request::EscapeSet;
use crate::text::hash::PolicyMap;

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

    /// Returns the maximum size of a JSON body that decides, in bytes, or `None` if no endpoint requires one.
    pub(super) fn largest_json(&self) -> Option<u64> {
        self.list.iter().filter_map(|endpoint| endpoint.content.as_ref()).map(|content| content.most_bytes()).max()
    }

    /// Returns the maximum size of an answer whose lists are filtered, in bytes, or `None` if there is none.
    pub(super) fn largest_answer(&self) -> Option<u64> {
        let filtered =
            self.list.iter().filter_map(|endpoint| endpoint.rpc.as_deref()).filter(|rpc| rpc.filters_lists());
        filtered.map(|rpc| rpc.max_answer as u64).max()
    }

    pub(super) fn compile(
        document: &document::Document,
        hosts: &[String],
        resources: &Resources,
        findings: &mut Findings,
    ) -> Self {
        let place = Place::root().field("endpoints");
        let mut compiled = Self::default();
        let mut templates = Vec::with_capacity(document.endpoints.len());
        if document.endpoints.is_empty() {
            findings.error(place.clone(), "an empty allowlist denies every request; write at least one endpoint");
        }
        let mut ids = HashMap::new();
        let mut attributes = BTreeSet::new();
        for attribute in document.agents.values().flat_map(|agent| agent.attributes.keys()) {
            attributes.insert(attribute.as_str());
        }
        let names = AgentNames::new(document);
        for (index, raw) in document.endpoints.iter().enumerate() {
            let place = place.index(index);
            if let Some(first) = ids.insert(raw.id.as_str(), index) {
                let message = format!(
                    "endpoint `{}` has the same id; choose another",
                    Place::root().field("endpoints").index(first)
                );
                findings.error(place.field("id"), message);
            }
            let template =
                Template::parse(&raw.path).map_err(|message| findings.error(place.field("path"), message)).ok();
            let compiling = Compiling { document, raw, place: &place, attributes: &attributes, names: &names };
            let endpoint = compiling.endpoint(index, template.as_ref(), findings);
            raw.allow_escapes.iter().for_each(|escape| compiled.escapes.insert(*escape));
            compiled.take_text |= template.as_ref().is_some_and(takes_text);
            compiled.list.push(endpoint);
            templates.push(template);
        }
        compiled.build_tables(document, hosts, resources, &templates, findings);
        compiled
    }

    fn build_tables(
        &mut self,
        document: &document::Document,
        hosts: &[String],
        resources: &Resources,
        templates: &[Option<Template>],
        findings: &mut Findings,
    ) {
        let place = Place::root().field("endpoints");
        let mut by_members: BTreeMap<(Vec<u32>, Vec<&str>), usize> = BTreeMap::new();
        let (mut warned, mut refused) = (BTreeSet::new(), BTreeSet::new());
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
                    format!("no endpoint has the host `{host}`, so every request to it is denied"),
                );
            }
            let members = (members, resources.reserved_on(host));
            if let Some(table) = by_members.get(&members) {
                self.by_host.insert(host.as_str().into(), *table);
                continue;
            }
            let (numbers, reserved) = &members;
            let entries: Vec<_> =
                numbers.iter().filter_map(|index| Some((*index, templates.get(*index as usize)?.as_ref()?))).collect();
            self.check_methods(&entries, &place, findings);
            check_reserved(&entries, reserved, &mut refused, findings);
            let path_of = |remark: &Remark| place.index(remark.endpoint as usize).field("path");
            let mut table = match Table::build(entries.iter().copied(), document.format_suffixes) {
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
            // Reserved paths cause no warnings, which concern endpoints.
            reserved.iter().for_each(|path| table.reserve(path));
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
                            "endpoint `{}` already matches `{method}` on this path; a request must match only one endpoint",
                            first.id
                        ),
                    );
                }
            }
        }
    }
}

/// Checks that no endpoint matches a path that Callgate answers itself. Reports each endpoint once for all sets of hosts.
fn check_reserved(
    entries: &[(u32, &Template)],
    reserved: &[&str],
    refused: &mut BTreeSet<u32>,
    findings: &mut Findings,
) {
    for (index, template) in entries {
        let taken = reserved.iter().find(|path| template.takes(path));
        if let Some(path) = taken.filter(|_| refused.insert(*index)) {
            findings.error(
                Place::root().field("endpoints").index(*index as usize).field("path"),
                format!(
                    "this path matches `{path}`, where Callgate itself answers with the metadata of the resource; write a path that does \
                     not match it, or remove `metadata`"
                ),
            );
        }
    }
}

/// The maximum number of paths that a warning names.
const COLLISIONS_NAMED: usize = 3;
/// The maximum number of comparisons for warnings about one set of hosts.
const MAX_COMPARED: u32 = 200_000;

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
