//! Compiles the hosts of the policy and of each endpoint.

use crate::document;
use crate::document::names::{check_distinct, did_you_mean};
use crate::document::{Findings, Place};
use crate::request::Host;

/// Checks the policy's hosts and returns those that can be compared.
pub(super) fn compile(raw: &[String], findings: &mut Findings) -> Vec<String> {
    let place = Place::root().field("hosts");
    if raw.is_empty() {
        findings.error(place.clone(), "without a host, no request matches; write each host");
    }
    check_distinct("host", raw, &place, findings);
    let mut hosts = Vec::with_capacity(raw.len());
    for (index, host) in raw.iter().enumerate() {
        let place = place.index(index);
        match Host::parse(host.as_bytes()) {
            _ if host.contains('*') => findings.error(place, "hosts are compared exactly; write each host"),
            Ok(canonical) if canonical.as_str() == host => hosts.push(host.clone()),
            Ok(canonical) => findings.error(
                place,
                format!("`{}` is not in canonical form; write `{}`", host.escape_debug(), canonical.as_str()),
            ),
            Err(_) => findings.error(
                place,
                format!(
                    "invalid host `{}`; expected a name or address, with a port only if it is neither 80 nor 443",
                    host.escape_debug()
                ),
            ),
        }
    }
    hosts
}

/// Checks that the hosts of an endpoint belong to the policy.
pub(super) fn check_of_endpoint(
    raw: &document::Endpoint,
    document: &document::Document,
    place: &Place,
    findings: &mut Findings,
) {
    let Some(hosts) = &raw.hosts else { return };
    let place = place.field("hosts");
    if hosts.is_empty() {
        findings.error(
            place.clone(),
            "an endpoint without a host never matches; remove `hosts` to use all hosts of the policy",
        );
    }
    check_distinct("host", hosts, &place, findings);
    for (index, host) in hosts.iter().enumerate() {
        if !document.hosts.contains(host) {
            findings.error(
                place.index(index),
                format!(
                    "`{}` is not one of the policy's hosts; {}",
                    host.escape_debug(),
                    did_you_mean(host, document.hosts.iter().map(String::as_str), "expected a host from `hosts`")
                ),
            );
        }
    }
}
