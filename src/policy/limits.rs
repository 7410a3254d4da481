//! Compiles limits, and collects the limits of an endpoint from all fields that name them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{limit_values, replay};
use crate::document::names::{check_distinct, check_name, did_you_mean};
use crate::document::{self, Dimension, LimitKeyPart};
use crate::document::{Findings, Place};
use crate::quota::{Allowed, AuthFailureLimit, Gcra, Limit, LimitKey, policy_member};
use crate::state::SlotKind;
use crate::text::hash::hash_of;
use crate::text::sort;

/// A list with more networks than this belongs in a firewall.
const MOST_SOURCES: usize = 1_024;
/// The maximum number of entries of one identity that are stored together, including one entry per endpoint for limits per
/// endpoint. Half of the slot stays free for the entries of another identity whose key the host may confuse with this one.
const MOST_TOGETHER: usize = SlotKind::Own.most_entries() / 2;
/// The size of the table in entries: from one slot to 16 MiB.
const TABLE: RangeInclusive<u32> = 8..=1_048_576;

/// All limits of a policy.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// The limits, in the order of their names.
    pub(crate) list: Vec<Limit>,
    pub(crate) auth_failure_limit: Option<AuthFailureLimit>,
    /// The number of entries for identities that the policy does not name.
    pub(crate) table: u32,
}

impl Limits {
    pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Self {
        let place = Place::root().field("limits");
        let limit = |(name, raw): (&String, &document::Limit)| {
            let place = place.field(name);
            check_name("a limit", name, &place, findings);
            let per = per(&raw.per, &place.field("per"), findings);
            let key = limit_values::key(&raw.per, document, &place.field("per"), findings);
            let limit = limit(name, per, raw.rate, raw.burst, raw.headers, &place, findings)?;
            Some(limit_values::vary(limit, key, raw, document, &place, findings))
        };
        let mut list: Vec<_> = document.limits.iter().filter_map(limit).collect();
        limit_values::check_agents(document, findings);
        keep_together(&mut list, document);
        check_used(document, findings);
        for (effect, requirement) in &document.requirements {
            let place = Place::root().field("requirements").field(effect.name()).field("limits");
            check_names(&requirement.limits, document, &place, findings);
        }
        let auth_failure_limit = auth_failure_limit(document, findings);
        check_table("limits", document.tables.limits, TABLE, findings);
        check_table("replay", document.tables.replay, replay::TABLE, findings);
        Self { list, auth_failure_limit, table: document.tables.limits }
    }

    /// Reports whether the policy has any limit.
    pub(crate) fn any(&self) -> bool {
        !self.list.is_empty() || self.auth_failure_limit.is_some()
    }
}

/// Checks the size of a table against its bounds.
fn check_table(name: &str, entries: u32, bounds: RangeInclusive<u32>, findings: &mut Findings) {
    if !bounds.contains(&entries) {
        findings.error(
            Place::root().field("tables").field(name),
            format!("invalid number of entries; expected {} to {}", bounds.start(), bounds.end()),
        );
    }
}

/// Returns the limits of an endpoint by their positions, those of its effect first.
pub(super) fn of_endpoint(
    document: &document::Document,
    endpoint: &document::Endpoint,
    place: &Place,
    findings: &mut Findings,
) -> Vec<u32> {
    let of_effect = document.requirements.get(&endpoint.effect).map_or(&[][..], |asked| &asked.limits);
    check_names(&endpoint.limits, document, &place.field("limits"), findings);
    for (index, name) in endpoint.limits.iter().enumerate() {
        if of_effect.contains(name) {
            findings.error(
                place.field("limits").index(index),
                format!("the requirements of this effect already charge `{}`; remove one of them", name.escape_debug()),
            );
        }
    }
    check_tool_limits(document, endpoint, of_effect, place, findings);
    let public = endpoint.access.is_some();
    let counts_callers = |name: &String| {
        let per = document.limits.get(name).map_or(&[][..], |limit| &limit.per.0);
        per.iter().any(|part| match part {
            LimitKeyPart::Dimension(dimension) => matches!(dimension, Dimension::Agent | Dimension::Issuer),
            LimitKeyPart::Reference(_) => true,
        })
    };
    for (index, name) in endpoint.limits.iter().enumerate().filter(|(_, name)| public && counts_callers(name)) {
        findings.error(
            place.field("limits").index(index),
            format!("`{name}` counts by client, but a public endpoint does not identify clients; use a limit per `source` or \
                     `endpoint`"),
        );
    }
    // Limits that the effect applies to authenticated callers do not apply to public endpoints.
    let of_effect = of_effect.iter().filter(|name| !(public && counts_callers(name)));
    let asked: Vec<_> = of_effect.chain(&endpoint.limits).collect();
    check_cost(document, endpoint.cost, &asked, place, findings);
    limit_values::check_claims(document, &asked, &asked, &place.field("limits"), findings);
    positions(document, &asked)
}

/// Returns the positions of limits in the policy.
pub(super) fn positions(document: &document::Document, names: &[&String]) -> Vec<u32> {
    let position = |name: &&String| document.limits.keys().zip(0..).find(|(known, _)| known == name);
    names.iter().filter_map(position).map(|(_, position)| position).collect()
}

/// Reports whether a limit counts by the operation.
pub(super) fn counts_tools(document: &document::Document, name: &str) -> bool {
    document.limits.get(name).is_some_and(|limit| limit.per.has(Dimension::Tool))
}

/// Rejects limits that count by operation on an endpoint that has none.
fn check_tool_limits(
    document: &document::Document,
    endpoint: &document::Endpoint,
    of_effect: &[String],
    place: &Place,
    findings: &mut Findings,
) {
    if endpoint.rpc.is_some() {
        return;
    }
    for (index, name) in endpoint.limits.iter().enumerate().filter(|(_, name)| counts_tools(document, name)) {
        findings.error(
            place.field("limits").index(index),
            format!("`{name}` counts by tool, but this endpoint has no `rpc`; use a limit per `endpoint`"),
        );
    }
    if let Some(name) = of_effect.iter().find(|name| counts_tools(document, name)) {
        findings.error(
            place.field("effect"),
            format!(
                "`{name}` in the requirements of this effect counts by tool, but this endpoint has no `rpc`; remove `tool` from its \
                 `per`, or charge it where operations are listed"
            ),
        );
    }
}

/// Reports limits that can never be charged with this cost.
pub(super) fn check_burst(
    document: &document::Document,
    cost: u32,
    limits: &[&String],
    place: &Place,
    findings: &mut Findings,
) {
    for name in limits {
        if let Some(limit) = document.limits.get(*name).filter(|limit| limit.burst < cost) {
            findings.error(
                place.clone(),
                format!("the burst of `{name}` is {}, so requests of this cost are always denied; write less, or a larger burst", limit.burst),
            );
        }
        limit_values::check_burst(document, cost, name, place, findings);
    }
}

/// Checks the cost of a request that charges these limits.
pub(super) fn check_cost(
    document: &document::Document,
    cost: Option<u32>,
    limits: &[&String],
    place: &Place,
    findings: &mut Findings,
) {
    let Some(cost) = cost else { return };
    let place = place.field("cost");
    if cost == 0 {
        findings.error(place, "requests without a cost are not limited; remove `limits` for that, or write 1 or more");
        return;
    }
    check_burst(document, cost, limits, &place, findings);
    if limits.is_empty() {
        findings.error(place, "no limit is charged here; remove `cost`, or write `limits`");
    }
}

/// Assigns an entry to every limit that is stored with the others of the same identity. If there are too many, limits per
/// endpoint are stored separately first.
fn keep_together(list: &mut [Limit], document: &document::Document) {
    let of_effect =
        |effect: document::Effect| document.requirements.get(&effect).map_or(&[][..], |asked| &asked.limits);
    let charges_anywhere = |endpoint: &document::Endpoint, name: &str| {
        let operations = endpoint.rpc.iter().flat_map(|rpc| rpc.operations());
        let of_operations = operations.flat_map(|operation| of_effect(operation.effect).iter().chain(operation.limits));
        let of_lifecycle = endpoint.rpc.iter().flat_map(|rpc| &rpc.lifecycle_limits);
        let of_endpoint = of_effect(endpoint.effect).iter().chain(&endpoint.limits);
        of_endpoint.chain(of_operations).chain(of_lifecycle).any(|own| own == name)
    };
    let operations = |endpoint: &document::Endpoint| endpoint.rpc.iter().flat_map(|rpc| rpc.operations()).count() + 1;
    let entries = |limit: &Limit| {
        if !limit.per.has(LimitKey::AGENT) {
            1
        } else if limit.per.has(LimitKey::TOOL) {
            // An operation may charge the limit where its endpoint does not.
            document.endpoints.iter().filter(|endpoint| endpoint.rpc.is_some()).map(operations).sum()
        } else if limit.per.has(LimitKey::ENDPOINT) {
            document.endpoints.iter().filter(|endpoint| charges_anywhere(endpoint, &limit.name)).count()
        } else {
            1
        }
    };
    let kinds: Vec<(LimitKey, usize)> = list.iter().map(|limit| (limit.per, entries(limit))).collect();
    let sum = |wanted: &dyn Fn(LimitKey) -> bool| -> usize {
        kinds.iter().filter(|(per, _)| wanted(*per)).map(|(_, entries)| entries).sum()
    };
    for limit in list {
        let own = limit.per;
        if own.has(LimitKey::CLAIM.with(LimitKey::ATTRIBUTE)) {
            // Its state has a key for each value of the caller.
            continue;
        }
        let (agent, tool) = (own.has(LimitKey::AGENT), own.has(LimitKey::TOOL));
        // Limits per operation of anybody else have their own keys, because the operations of a message may differ.
        let fits = sum(&|per| per == own) <= MOST_TOGETHER && !tool && !(agent && own.has(LimitKey::ENDPOINT));
        // An agent's limits per endpoint and operation are stored together with those over all endpoints.
        let parts = LimitKey::ENDPOINT.with(LimitKey::TOOL);
        let fits_all = sum(&|per| per.without(parts) == own.without(parts)) <= MOST_TOGETHER;
        limit.name_hash = (fits || agent && fits_all).then(|| hash_of(&limit.name));
    }
}

pub(super) fn check_names(names: &[String], document: &document::Document, place: &Place, findings: &mut Findings) {
    check_distinct("limit", names, place, findings);
    for (index, name) in names.iter().enumerate() {
        if !document.limits.contains_key(name) {
            findings.error(
                place.index(index),
                format!(
                    "unknown limit `{}`; {}",
                    name.escape_debug(),
                    did_you_mean(name, document.limits.keys().map(String::as_str), "expected a name from `limits`")
                ),
            );
        }
    }
}

fn check_used(document: &document::Document, findings: &mut Findings) {
    let asked = document.requirements.values().flat_map(|requirement| &requirement.limits);
    let mut names = BTreeSet::new();
    for name in asked.chain(document.endpoints.iter().flat_map(|endpoint| &endpoint.limits)) {
        names.insert(name);
    }
    for rpc in document.endpoints.iter().filter_map(|endpoint| endpoint.rpc.as_deref()) {
        for name in rpc.operations().flat_map(|operation| operation.limits).chain(&rpc.lifecycle_limits) {
            names.insert(name);
        }
    }
    for name in document.limits.keys().filter(|name| !names.contains(name)) {
        findings.warn(
            Place::root().field("limits").field(name),
            "nothing is charged to this limit; name it in `limits` of an endpoint or of `requirements`",
        );
    }
}

fn per(asked: &document::LimitKeySpec, place: &Place, findings: &mut Findings) -> LimitKey {
    let mut per = LimitKey::default();
    if asked.0.is_empty() {
        findings.error(
            place.clone(),
            "the list is empty; expected `agent`, `issuer`, `source`, `endpoint`, `tool`, `token.CLAIM` or `agent.ATTRIBUTE`",
        );
    }
    for (index, part) in asked.0.iter().enumerate() {
        if asked.0.iter().take(index).any(|earlier| earlier == part) {
            findings.error(place.index(index), "this is listed twice; remove one");
        }
        per = per.with(match part {
            LimitKeyPart::Dimension(Dimension::Agent) => LimitKey::AGENT,
            LimitKeyPart::Dimension(Dimension::Issuer) => LimitKey::ISSUER,
            LimitKeyPart::Dimension(Dimension::Source) => LimitKey::SOURCE,
            LimitKeyPart::Dimension(Dimension::Endpoint) => LimitKey::ENDPOINT,
            LimitKeyPart::Dimension(Dimension::Tool) => LimitKey::TOOL,
            LimitKeyPart::Reference(written) if written.starts_with("token.") => LimitKey::CLAIM,
            LimitKeyPart::Reference(_) => LimitKey::ATTRIBUTE,
        });
    }
    per
}

fn limit(
    name: &str,
    per: LimitKey,
    rate: document::Rate,
    burst: u32,
    told: bool,
    place: &Place,
    findings: &mut Findings,
) -> Option<Limit> {
    let gcra = gcra(rate, burst, place, findings)?;
    let told = told.then(|| policy_member(name, gcra));
    Some(Limit { name: name.into(), per, gcra, name_hash: None, told, varied: None })
}

/// Compiles a rate and a burst.
pub(super) fn gcra(rate: document::Rate, burst: u32, place: &Place, findings: &mut Findings) -> Option<Gcra> {
    if burst == 0 {
        findings.error(
            place.field("burst"),
            "a burst of 0 denies every request; write the number of requests allowed at once",
        );
        return None;
    }
    // Spans are whole seconds of 64 bits. A span that overflows is rejected by `Gcra::new`.
    let span = u64::try_from(rate.span.as_nanos()).unwrap_or(u64::MAX);
    let gcra = Gcra::new(rate.calls, span, burst);
    if gcra.is_none() {
        findings.error(
            place.field("rate"),
            "rate or burst out of range; expected at most a million requests per second, and a burst that refills within a year",
        );
    }
    gcra
}

fn auth_failure_limit(document: &document::Document, findings: &mut Findings) -> Option<AuthFailureLimit> {
    // No limit in the policy can have this name, because names contain no spaces.
    const NAME: &str = "failed credentials";
    let raw = document.auth_failure_limit.as_ref()?;
    let place = Place::root().field("auth_failure_limit");
    let allowed = |rate, burst, place: &Place, findings: &mut Findings| {
        let source = LimitKey::SOURCE;
        let signer = source.with(LimitKey::SIGNER);
        let source = limit(NAME, source, rate, burst, false, place, findings)?;
        Some(Allowed {
            signer: Limit { name: source.name.clone(), per: signer, told: None, varied: None, ..source },
            source,
        })
    };
    let usual = allowed(raw.rate, raw.burst, &place, findings);
    let place = place.field("sources");
    if raw.sources.len() > MOST_SOURCES {
        findings.error(
            place.clone(),
            format!("too many networks; expected at most {MOST_SOURCES} (use a firewall for more)"),
        );
    }
    let mut sources = Vec::with_capacity(raw.sources.len());
    for (text, own) in &raw.sources {
        let place = place.field(text);
        let own = allowed(own.rate, own.burst, &place, findings);
        match text.parse::<IpNet>() {
            Ok(network) if network.trunc() == network => sources.extend(own.map(|own| (network, own))),
            Ok(network) => {
                findings.error(place, format!("the address has bits beyond its prefix; write `{}`", network.trunc()))
            }
            Err(_) => findings.error(
                place,
                format!(
                    "invalid network `{}`; expected an address and a prefix length, such as `203.0.113.7/32`",
                    text.escape_debug()
                ),
            ),
        }
    }
    sort::sort_by_key(&mut sources, |(network, _)| std::cmp::Reverse(network.prefix_len()));
    Some(AuthFailureLimit { usual: usual?, sources })
}
