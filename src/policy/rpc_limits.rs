//! Collects the limits of operations, and of requests that name none, on endpoints with `rpc`.

use super::limit_values::check_claims;
use super::limits::{check_burst, check_cost, check_names, counts_tools, positions};
use crate::document;
use crate::document::{Findings, Place};

/// Returns the limits of an operation by their positions: those of its effect and its own, without those that the endpoint charges for each
/// request. `of_endpoint` has the latter by their positions.
pub(super) fn of_operation(
    document: &document::Document,
    endpoint: &document::Endpoint,
    of_endpoint: &[u32],
    operation: &document::OperationEntry<'_>,
    place: &Place,
    findings: &mut Findings,
) -> Vec<u32> {
    let of_effect = document.requirements.get(&operation.effect).map_or(&[][..], |asked| &asked.limits);
    check_names(operation.limits, document, &place.field("limits"), findings);
    let charged = names_of(document, of_endpoint);
    check_not_charged(operation.limits, &charged, "the endpoint already charges", &place.field("limits"), findings);
    let of_effect: Vec<&String> = of_effect.iter().filter(|name| !charged.contains(name)).collect();
    let by_effect = "the requirements of this effect already charge";
    check_not_charged(operation.limits, &of_effect, by_effect, &place.field("limits"), findings);
    let mut own = of_effect;
    own.extend(operation.limits.iter().filter(|name| !charged.contains(name)));
    let all: Vec<&String> = charged.iter().chain(&own).copied().collect();
    check_claims(document, &own, &all, &place.field("limits"), findings);
    match (operation.cost, endpoint.cost) {
        (Some(_), _) => {
            check_cost(document, operation.cost, &all, place, findings);
        }
        (None, Some(cost)) => check_burst(document, cost, &own, &place.field("limits"), findings),
        (None, None) => {}
    }
    positions(document, &own)
}

/// Returns the limits of requests that name no operation by their positions, without those that the endpoint charges for each request.
pub(super) fn of_lifecycle(
    document: &document::Document,
    endpoint: &document::Endpoint,
    of_endpoint: &[u32],
    names: &[String],
    place: &Place,
    findings: &mut Findings,
) -> Vec<u32> {
    check_names(names, document, place, findings);
    let charged = names_of(document, of_endpoint);
    check_not_charged(names, &charged, "the endpoint already charges", place, findings);
    for (index, name) in names.iter().enumerate().filter(|(_, name)| counts_tools(document, name)) {
        findings.error(
            place.index(index),
            format!("`{name}` counts by tool, but these requests name none; use a limit without `tool`"),
        );
    }
    let own: Vec<&String> = names.iter().filter(|name| !charged.contains(name)).collect();
    let all: Vec<&String> = charged.iter().chain(&own).copied().collect();
    check_claims(document, &own, &all, place, findings);
    if let Some(cost) = endpoint.cost {
        check_burst(document, cost, &own, place, findings);
    }
    positions(document, &own)
}

/// Returns the names of limits by their positions.
fn names_of<'d>(document: &'d document::Document, positions: &[u32]) -> Vec<&'d String> {
    document.limits.keys().zip(0..).filter(|(_, position)| positions.contains(position)).map(|(name, _)| name).collect()
}

/// Reports the limits that are charged already.
fn check_not_charged(names: &[String], charged: &[&String], by: &str, place: &Place, findings: &mut Findings) {
    for (index, name) in names.iter().enumerate().filter(|(_, name)| charged.contains(name)) {
        findings.error(place.index(index), format!("{by} `{}`; remove one of them", name.escape_debug()));
    }
}
