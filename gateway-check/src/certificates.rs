//! Checks the listeners in front of a gate whose policy identifies clients by their certificates: whether a listener validates
//! certificates, and with which authorities. The gate itself cannot distinguish a certificate that was validated from one that was not.

use std::collections::BTreeSet;

use super::Check;
use super::fetched::has_authority;
use super::finding::Code;
use super::view::View;

/// The transport sockets of listeners that start with TLS.
const TLS: [&str; 2] = [".tls.v3.DownstreamTlsContext", ".quic.v3.QuicDownstreamTransport"];
/// The transport sockets that start without TLS.
const STARTS_PLAIN: &str = "StartTlsConfig";
/// The validator that has separate authorities for each trust domain.
const SPIFFE: &str = ".SPIFFECertValidatorConfig";

impl<'a> Check<'a> {
    /// Checks the TLS of a filter chain with the gates that were found in it: all after the first `before` ones.
    pub(super) fn certificates(&mut self, chain: &View<'a>, before: usize) {
        let found = self.gates.iter().skip(before);
        let policies: BTreeSet<BTreeSet<String>> =
            found.filter_map(|gate| gate.facts.as_ref()?.certificates.clone()).collect();
        for domains in &policies {
            self.client_tls(chain, domains);
        }
    }

    /// Reports a place where clients present no certificate.
    pub(super) fn certificates_unseen(&mut self, view: &View<'a>, why: &str) {
        self.add(Code::CertificatesUnseen, view, format!("certificates identify nobody here: {why}"));
    }

    /// Reports authorities that are shared by several trust domains of the policy.
    pub(super) fn trust_domains_shared(&mut self, view: &View<'a>, domains: &BTreeSet<String>, instead: &str) {
        if domains.len() > 1 {
            let message = format!(
                "the policy accepts {} trust domains, and an authority of one can issue certificates of the others here; {instead}",
                domains.len()
            );
            self.add(Code::TrustDomainsShared, view, message);
        }
    }

    fn client_tls(&mut self, chain: &View<'a>, domains: &BTreeSet<String>) {
        let instead = "write a `transport_socket` with a `DownstreamTlsContext`, or reject such connections";
        let Some(socket) = chain.get("transport_socket") else {
            return self.certificates_unseen(chain, &format!("connections have no TLS; {instead}"));
        };
        let contexts = socket.find(&TLS);
        if contexts.is_empty() || !socket.find(&[STARTS_PLAIN]).is_empty() {
            self.certificates_unseen(&socket, &format!("connections may have no TLS; {instead}"));
        }
        for context in contexts {
            let context = context.get("downstream_tls_context").unwrap_or(context);
            self.client_validation(&context, domains);
        }
    }

    fn client_validation(&mut self, context: &View<'a>, domains: &BTreeSet<String>) {
        let validation = self.validation(context);
        for part in &validation.visible {
            let untrusted = part.is("trust_chain_verification", "ACCEPT_UNTRUSTED", 1);
            if let Some(accepts) = part.get("trust_chain_verification").filter(|_| untrusted) {
                let message = "anyone can make a certificate with the name of an agent, because those of unknown authorities are \
                               accepted; remove this";
                self.add(Code::CertificatesUnvalidated, &accepts, message);
            }
            if let Some(expired) = part.says("allow_expired_certificate") {
                let message = "certificates are accepted after they expired; remove this";
                self.add(Code::CertificatesUnvalidated, &expired, message);
            }
        }
        if let Some(custom) = validation.visible.iter().find_map(|part| part.get("custom_validator_config")) {
            return self.validator(&custom, domains);
        }
        let place = validation.visible.first().unwrap_or(context).clone();
        if let Some(hidden) = &validation.hidden {
            let message = "the authorities whose certificates are accepted come from a source that is not among the files; make \
                           sure that they are your own";
            self.add(Code::Hidden, hidden, message);
        } else if validation.visible.is_empty() && context.says("require_client_certificate").is_none() {
            let why = "clients are not asked for a certificate; write `require_client_certificate: true`, and a \
                       `validation_context` with `trusted_ca`";
            return self.certificates_unseen(context, why);
        } else if !validation.visible.iter().any(has_authority) {
            let message = "without authorities, Envoy asks for no certificate and lets every client in; write a \
                           `validation_context` with `trusted_ca`";
            return self.add(Code::CertificatesUnvalidated, &place, message);
        }
        let instead =
            "write the validator `envoy.tls.cert_validator.spiffe`, with the authorities of each trust domain";
        self.trust_domains_shared(&place, domains, instead);
    }

    fn validator(&mut self, custom: &View<'a>, domains: &BTreeSet<String>) {
        let (kind, config) = custom.get("typed_config").map_or_else(|| ("", custom.clone()), |config| config.open());
        if !kind.ends_with(SPIFFE) {
            let message =
                "this validator is not checked; make sure that it accepts only certificates of your own authorities";
            return self.add(Code::NotChecked, custom, message);
        }
        if let Some(bundles) = config.get("trust_bundles") {
            let message =
                "the trust domains of this validator are not read here; make sure that they are those of the policy";
            return self.add(Code::Hidden, &bundles, message);
        }
        let listed: BTreeSet<&str> =
            config.each("trust_domains").iter().filter_map(|domain| domain.text("name")).collect();
        // A policy without trust domains reads no SPIFFE IDs.
        if domains.is_empty() {
            return;
        }
        for lacking in domains.iter().filter(|domain| !listed.contains(domain.as_str())) {
            let message = format!(
                "the policy accepts the trust domain `{lacking}`, which this validator does not have; add it here, or remove it \
                 from the policy"
            );
            self.add(Code::TrustDomainsDiffer, custom, message);
        }
        for more in listed.iter().filter(|domain| !domains.contains(**domain)) {
            let message = format!(
                "this validator has the trust domain `{more}`, which the policy does not accept; remove it here, or add it to the \
                 policy"
            );
            self.add(Code::TrustDomainsDiffer, custom, message);
        }
    }
}
