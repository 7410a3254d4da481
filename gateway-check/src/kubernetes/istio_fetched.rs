//! Checks the services of Istio from which a gate fetches documents.

use super::Check;
use super::istio::NETWORKING;
use crate::fetched::{elsewhere, is_address, is_same_host};
use crate::finding::Code;
use crate::view::View;
use callgate::policy::FetchedHost;

impl<'a> Check<'a> {
    /// Checks the service whose cluster a policy names, as in `outbound|443||idp.example.com`, and returns whether a resource
    /// describes it.
    pub(crate) fn fetched_service(&mut self, host: &FetchedHost) -> bool {
        let parts: Vec<&str> = host.upstream.split('|').collect();
        let ["outbound", port, _, service] = *parts.as_slice() else { return false };
        let Ok(port) = port.parse::<u64>() else { return false };
        let has = |list: &[View<'a>]| list.iter().any(|name| name.value.as_str() == Some(service));
        let entries: Vec<View<'a>> = (self.world.of_kind(NETWORKING, "ServiceEntry"))
            .filter(|entry| has(&entry.view.each("spec.hosts")))
            .map(|entry| entry.view.clone())
            .collect();
        for entry in &entries {
            if !entry.each("spec.ports").iter().any(|own| own.number("number") == Some(port)) {
                let message =
                    format!("the policy fetches from port {port} of this service, which does not have it; add it");
                self.add(Code::FetchClusterMissing, entry, message);
            }
            self.fetched_endpoints(entry, service, port, host);
            if host.tls {
                self.fetched_rules(entry, service, port, host);
            }
        }
        !entries.is_empty()
    }

    fn fetched_endpoints(&mut self, entry: &View<'a>, service: &str, port: u64, host: &FetchedHost) {
        let endpoints = entry.each("spec.endpoints");
        let differs = |name: &str| !is_same_host(name, &host.host);
        let other = endpoints.iter().find(|endpoint| endpoint.text("address").is_none_or(differs));
        if let Some(endpoint) = other {
            let message = elsewhere(host, endpoint.text("address").unwrap_or_default());
            self.add(Code::FetchElsewhere, endpoint, message);
        } else if (endpoints.is_empty() && differs(service)) || port != u64::from(host.port) {
            self.add(Code::FetchElsewhere, entry, elsewhere(host, &format!("{service}:{port}")));
        }
    }

    /// Checks the rules by which the proxy connects to a service.
    fn fetched_rules(&mut self, entry: &View<'a>, service: &str, port: u64, host: &FetchedHost) {
        let rules = self.world.of_kind(NETWORKING, "DestinationRule");
        let rules = rules.filter(|rule| rule.view.text("spec.host") == Some(service));
        let settings: Vec<View<'a>> = rules
            .filter_map(|rule| {
                let own = rule.view.each("spec.traffic_policy.port_level_settings");
                let own = own.iter().find(|settings| settings.number("port.number") == Some(port));
                own.map_or_else(|| rule.view.path("spec.traffic_policy.tls"), |settings| settings.get("tls"))
            })
            .collect();
        if settings.is_empty() {
            self.without_tls(entry, "write a `DestinationRule` with `tls: { mode: SIMPLE }` for this host");
        }
        for tls in settings {
            self.fetched_rule(&tls, host);
        }
    }

    fn fetched_rule(&mut self, tls: &View<'a>, host: &FetchedHost) {
        let name = &host.host;
        if !tls.is("mode", "SIMPLE", 1) && !tls.is("mode", "MUTUAL", 2) {
            return self.without_tls(tls, "write `mode: SIMPLE`");
        }
        if let Some(skips) = tls.says("insecure_skip_verify") {
            self.add(Code::FetchUnverified, &skips, "the certificate of the server is not verified; remove this");
        } else if tls.get("ca_certificates").is_none() && tls.get("credential_name").is_none() {
            let message = "without a setting, older releases of Istio do not verify the certificate of the server; write \
                           `caCertificates: system`";
            self.add(Code::FetchUnverified, tls, message);
        }
        let names = tls.each("subject_alt_names");
        if !names.iter().any(|own| own.value.as_str().is_some_and(|own| is_same_host(own, name))) {
            let message = format!(
                "the certificate may be for another host than that of the URL; write `subjectAltNames: [{name}]`"
            );
            self.add(Code::FetchNameUnverified, tls, message);
        }
        if !is_address(name) && !tls.text("sni").is_some_and(|sni| is_same_host(sni, name)) {
            let message = format!("the server is not told which host's certificate to send; write `sni: {name}`");
            self.add(Code::FetchNameUnverified, tls, message);
        }
    }
}
