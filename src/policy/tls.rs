//! Compiles `tls`: the rules for client certificates.

use super::endpoint::{Access, Endpoint};
use crate::document::names::check_distinct;
use crate::document::{self, Authenticate, ClientCertificates};
use crate::document::{Findings, Place};
use crate::identity::certificate::CertificateRules;
use crate::identity::spiffe::{SpiffeId, SpiffePattern, is_trust_domain};

impl CertificateRules {
    /// Returns `None` for a policy in which certificates identify nobody.
    pub(super) fn compile(
        document: &document::Document,
        endpoints: &[Endpoint],
        findings: &mut Findings,
    ) -> Option<Self> {
        let raw = document.tls.as_ref()?;
        // The only value. Another one would need other rules.
        let ClientCertificates::Validated = raw.client_certificates;
        let place = Place::root().field("tls");
        let of_domains = place.field("trust_domains");
        check_distinct("trust domain", &raw.trust_domains, &of_domains, findings);
        for (index, domain) in raw.trust_domains.iter().enumerate() {
            if !is_trust_domain(domain) {
                findings.error(
                    of_domains.index(index),
                    format!(
                        "invalid trust domain `{}`; expected the part of SPIFFE IDs between `spiffe://` and the next slash, such as \
                         `example.org`",
                        domain.escape_debug()
                    ),
                );
            }
        }
        let of_proxies = place.field("proxies");
        check_distinct("proxy", &raw.proxies, &of_proxies, findings);
        for (index, proxy) in raw.proxies.iter().enumerate() {
            if SpiffeId::parse(proxy).is_none() {
                findings.error(
                    of_proxies.index(index),
                    format!(
                        "invalid SPIFFE ID `{}`; expected the ID in the proxy's certificate, such as `spiffe://example.org/ns/edge/proxy`",
                        proxy.escape_debug()
                    ),
                );
            }
        }
        let texts = |texts: &[String]| -> Vec<Box<str>> { texts.iter().map(|text| text.as_str().into()).collect() };
        let accepts =
            |endpoint: &Endpoint| endpoint.access == Access::Known && endpoint.accepts(Authenticate::Certificate);
        let has_name =
            |agent: &document::Agent| agent.identity.as_ref().is_some_and(|identity| identity.certificate.is_some());
        Some(Self {
            trust_domains: texts(&raw.trust_domains),
            proxies: texts(&raw.proxies),
            takes_other_names: document.agents.values().any(has_name),
            alone: endpoints.iter().any(accepts),
        })
    }
}

/// Returns whether an agent can be identified by a client certificate. An ID of a trust domain that only an issuer has is accepted in
/// JWT-SVIDs, not in certificates.
pub(super) fn is_known_by_certificate(document: &document::Document, agent: &document::Agent) -> bool {
    let Some(identity) = &agent.identity else { return false };
    let is_of_tls = |domain: &str| document.tls.iter().flat_map(|tls| &tls.trust_domains).any(|own| own == domain);
    let is_of_issuer =
        |domain: &str| document.issuers.values().any(|issuer| issuer.trust_domain.as_deref() == Some(domain));
    let is_accepted = |id: &String| {
        // What neither accepts, and what is no ID, is an error of the agent.
        SpiffePattern::parse(id).is_none_or(|id| is_of_tls(id.trust_domain()) || !is_of_issuer(id.trust_domain()))
    };
    identity.certificate.is_some() || identity.spiffe.as_ref().is_some_and(is_accepted)
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
