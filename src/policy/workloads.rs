//! Agents that are identified by SPIFFE IDs, or by other names in client certificates.

use super::agents::Agent;
use crate::document;
use crate::document::{CertificateName, Findings, Place};
use crate::identity::certificate::{VerifiedCertificate, is_spiffe};
use crate::identity::spiffe::SpiffePattern;
use crate::reason::Reason;
use crate::text::hash::PolicyMap;
use crate::text::sort;

/// The maximum length of a URI, in bytes: that of a SPIFFE ID.
const MOST_URI: usize = 2_048;
/// The maximum length of a DNS name and of its labels, in bytes (RFC 1035, section 2.3.4).
const MOST_NAME: usize = 253;
const MOST_LABEL: usize = 63;

/// The agents, by their positions in the order of names.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    by_id: PolicyMap<Box<str>, u32>,
    /// Classes, by the beginning of their IDs, which ends with a slash. No beginning contains another, or an ID of `by_id`.
    by_beginning: PolicyMap<Box<str>, u32>,
    /// The maximum number of segments in such a beginning, with the trust domain.
    deepest: usize,
    by_uri: PolicyMap<Box<str>, u32>,
    by_dns: PolicyMap<Box<str>, u32>,
}

impl Workloads {
    /// Adds the agent at this position of the list.
    pub(super) fn add(
        &mut self,
        agents: &[Agent],
        position: u32,
        identity: &document::Identity,
        document: &document::Document,
        place: &Place,
        findings: &mut Findings,
    ) {
        let spiffe = identity
            .spiffe
            .as_ref()
            .and_then(|pattern| self.add_spiffe(position, pattern, document, &place.field("spiffe"), findings));
        let name = identity
            .certificate
            .as_ref()
            .and_then(|name| self.add_name(position, name, document, &place.field("certificate"), findings));
        for (field, other) in [("spiffe", spiffe), ("certificate", name)] {
            if let Some(other) = other.and_then(|other| agents.get(other as usize)) {
                findings.error(
                    place.field(field),
                    format!("agent `{}` has the same; each credential must identify one agent", other.name),
                );
            }
        }
    }

    /// Rejects workloads that two agents describe, and proxies that an agent describes.
    pub(super) fn check(
        &self,
        agents: &[Agent],
        document: &document::Document,
        place: &Place,
        findings: &mut Findings,
    ) {
        let place_of = |agent: &Agent| place.field(&agent.name).field("identity").field("spiffe");
        for (wider, narrower) in self.overlaps() {
            if let Some((wider, narrower)) = agents.get(wider as usize).zip(agents.get(narrower as usize)) {
                findings.error(
                    place_of(narrower),
                    format!(
                        "agent `{}` describes this workload too, and each credential must identify one agent; write longer paths there",
                        wider.name
                    ),
                );
            }
        }
        for (name, identity) in
            document.agents.iter().filter_map(|(name, agent)| Some((name, agent.identity.as_ref()?)))
        {
            // The subject of a JWT-SVID is its SPIFFE ID.
            let issuer = identity.issuer.as_ref().and_then(|name| document.issuers.get(name));
            let subject = identity.subject.as_ref().filter(|_| issuer.is_some_and(|own| own.trust_domain.is_some()));
            let other = subject.and_then(|id| self.find(id)).and_then(|agent| agents.get(agent as usize));
            if let Some(other) = other.filter(|other| *other.name != **name) {
                findings.error(
                    place.field(name).field("identity").field("subject"),
                    format!(
                        "agent `{}` has this SPIFFE ID, and each credential must identify one agent; remove one of them",
                        other.name
                    ),
                );
            }
        }
        let proxies = document.tls.iter().flat_map(|tls| &tls.proxies);
        for (index, proxy) in proxies.enumerate() {
            if let Some(agent) = self.find(proxy).and_then(|agent| agents.get(agent as usize)) {
                findings.error(
                    place_of(agent),
                    format!(
                        "this describes the proxy in `tls.proxies[{index}]`, and all of its clients would be this agent; remove one of them"
                    ),
                );
            }
        }
    }

    fn add_spiffe(
        &mut self,
        position: u32,
        text: &str,
        document: &document::Document,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<u32> {
        let Some(pattern) = SpiffePattern::parse(text) else {
            findings.error(
                place.clone(),
                format!(
                    "invalid SPIFFE ID `{}`; expected an ID such as `spiffe://example.org/ns/prod/agent`, or whole segments and `/*` for \
                     every workload below them",
                    text.escape_debug()
                ),
            );
            return None;
        };
        let domain = pattern.trust_domain();
        let of_tls = document.tls.as_ref().is_some_and(|tls| tls.trust_domains.iter().any(|own| own == domain));
        let of_issuer = document.issuers.values().any(|issuer| issuer.trust_domain.as_deref() == Some(domain));
        if !of_tls && !of_issuer {
            findings.error(
                place.clone(),
                format!(
                    "no credential of the trust domain `{domain}` is accepted; add it to `tls.trust_domains`, or write an issuer with \
                     `profile: jwt-svid` and this `trust_domain`"
                ),
            );
        }
        match text.strip_suffix('*').filter(|_| pattern.is_class()) {
            Some(beginning) => {
                self.deepest = self.deepest.max(beginnings(beginning).count());
                self.by_beginning.insert(beginning.into(), position)
            }
            None => self.by_id.insert(text.into(), position),
        }
    }

    fn add_name(
        &mut self,
        position: u32,
        name: &CertificateName,
        document: &document::Document,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<u32> {
        if document.tls.is_none() {
            findings.error(
                place.clone(),
                "client certificates identify nobody without `tls`; add it at the top level, or remove this",
            );
        }
        match (&name.uri, &name.dns) {
            (Some(uri), None) => {
                let place = place.field("uri");
                if is_spiffe(uri) {
                    findings.error(place, "this is a SPIFFE ID; write it as `identity.spiffe` instead");
                } else if !is_uri(uri) {
                    findings.error(
                        place,
                        format!(
                            "invalid URI; expected a scheme and at most {MOST_URI} visible ASCII characters, such as `urn:example:agent`"
                        ),
                    );
                }
                self.by_uri.insert(uri.as_str().into(), position)
            }
            (None, Some(dns)) => {
                if !is_dns_name(dns) {
                    findings.error(
                        place.field("dns"),
                        "invalid DNS name; expected labels of lower-case letters, digits, `-` and `_`, without a wildcard and without a dot at \
                         the end, such as `agent.example.com`",
                    );
                }
                self.by_dns.insert(dns.as_str().into(), position)
            }
            _ => {
                findings.error(
                    place.clone(),
                    "a certificate has one name that counts; write exactly one of `uri` and `dns`",
                );
                None
            }
        }
    }

    /// Returns the pairs of agents of which the first describes every workload of the second too, in the order of the agents.
    fn overlaps(&self) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for (text, narrower) in self.by_id.iter().chain(&self.by_beginning) {
            let wider = beginnings(text).filter(|beginning| **beginning != **text);
            let wider = wider.filter_map(|beginning| self.by_beginning.get(beginning));
            pairs.extend(wider.map(|wider| (*wider, *narrower)));
        }
        sort::sort(&mut pairs);
        pairs
    }

    /// Returns the agent with this SPIFFE ID.
    pub(super) fn find(&self, id: &str) -> Option<u32> {
        let exact = self.by_id.get(id).copied();
        exact.or_else(|| {
            let mut wider = beginnings(id).take(self.deepest);
            wider.find_map(|beginning| self.by_beginning.get(beginning).copied())
        })
    }

    /// Returns the agent that a certificate identifies.
    ///
    /// # Errors
    /// Returns [`Reason::AgentUnknown`], or [`Reason::AgentAmbiguous`] if its names are those of several agents.
    pub(super) fn find_certificate(&self, certificate: &VerifiedCertificate<'_>) -> Result<u32, Reason> {
        if let Some(id) = certificate.spiffe_id() {
            return self.find(id).ok_or(Reason::AgentUnknown);
        }
        let names = certificate.other_names().ok_or(Reason::AgentUnknown)?;
        let by_uri = names.uris.iter().filter_map(|uri| self.by_uri.get(uri));
        let mut fits = by_uri.chain(names.dns.iter().filter_map(|name| self.by_dns.get(name)));
        let position = fits.next().ok_or(Reason::AgentUnknown)?;
        if fits.any(|other| other != position) {
            return Err(Reason::AgentAmbiguous);
        }
        Ok(*position)
    }
}

/// Returns whether an entry describes every workload below a path.
pub(super) fn is_class(identity: &document::Identity) -> bool {
    identity.spiffe.as_deref().is_some_and(|id| id.ends_with("/*"))
}

/// Checks an entry that describes many workloads or many clients: nothing else identifies one of them.
pub(super) fn check_class(
    agent: &document::Agent,
    identity: &document::Identity,
    place: &Place,
    findings: &mut Findings,
) {
    let of_identity = place.field("identity");
    if identity.each.is_some() {
        for (field, is_written) in
            [("spiffe", identity.spiffe.is_some()), ("certificate", identity.certificate.is_some())]
        {
            if is_written {
                findings.error(
                    of_identity.field(field),
                    format!("`each: client` describes many clients; remove `{field}`, or remove `each`"),
                );
            }
        }
    }
    if !is_class(identity) {
        return;
    }
    let others = [
        (of_identity.field("issuer"), "issuer", identity.issuer.is_some()),
        (of_identity.field("certificate"), "certificate", identity.certificate.is_some()),
        (of_identity.field("actor"), "actor", identity.actor.is_some()),
        (place.field("signing_keys"), "signing_keys", agent.signing_keys.is_some()),
        (place.field("api_keys"), "api_keys", agent.api_keys.is_some()),
    ];
    for (place, field, _) in others.into_iter().filter(|(.., is_written)| *is_written) {
        findings.error(
            place,
            format!(
                "`spiffe` with `/*` describes many workloads, and `{field}` would identify none of them; remove it, or register that agent \
                 separately"
            ),
        );
    }
}

/// Returns the beginnings of a SPIFFE ID that end with a slash after the trust domain or after a segment.
fn beginnings(id: &str) -> impl Iterator<Item = &str> {
    id.match_indices('/').skip(2).filter_map(|(at, _)| id.get(..=at))
}

fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    };
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    text.len() <= MOST_URI && is_scheme(scheme) && !rest.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        (1..=MOST_LABEL).contains(&label.len()) && label.bytes().all(plain)
    };
    text.len() <= MOST_NAME && text.split('.').all(is_label)
}

#[cfg(test)]
#[path = "workloads_tests.rs"]
mod tests;
