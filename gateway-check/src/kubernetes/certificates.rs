//! Checks the listeners of Istio and Envoy Gateway in front of a gate whose policy identifies clients by their certificates. The
//! authorities themselves are in secrets, which are not read.

use std::collections::BTreeSet;

use super::envoy_gateway::{GROUP, targets};
use super::istio::NETWORKING;
use super::{Check, GATEWAY_API, selects};
use crate::finding::Code;
use crate::plugin::{ISTIO, Plugin};
use crate::view::View;
use crate::world::Object;

/// The group of Istio's security resources.
const SECURITY: &str = "security.istio.io";
/// The namespace whose settings apply to a whole mesh.
const ROOT: &str = "istio-system";
/// The option of a listener of the Gateway API that Istio reads.
const ISTIO_MODE: &str = "gateway.istio.io/tls-terminate-mode";
/// Every other validator of Istio and Envoy Gateway has the same authorities for all certificates.
const SEPARATELY: &str = "use a separate listener and policy for each trust domain";

/// A resource of Istio with a gate whose policy identifies clients by their certificates.
struct Installed<'a> {
    spec: View<'a>,
    namespace: &'a str,
    /// The labels of the proxies.
    labels: Option<View<'a>>,
    domains: BTreeSet<String>,
}

impl Installed<'_> {
    fn selects(&self, gateway: &Object<'_>) -> bool {
        if gateway.group == NETWORKING {
            let proxies = gateway.view.path("spec.selector");
            return self.spec.get("target_refs").is_none() && selects(self.labels.as_ref(), proxies.as_ref());
        }
        let targets = self.spec.each("target_refs");
        if targets.is_empty() {
            let name = "gateway.networking.k8s.io/gateway-name";
            let named = |labels: &View<'_>| labels.value.get(name).is_some_and(|named| named == gateway.name);
            return self.labels.as_ref().is_none_or(named);
        }
        targets.iter().any(|target| target.text("name") == Some(gateway.name))
    }
}

impl<'a> Check<'a> {
    /// Returns the trust domains of the gate in a part of a file, if its policy identifies clients by their certificates.
    fn domains_in(&self, part: &View<'a>) -> Option<BTreeSet<String>> {
        let within = |view: &View<'_>| {
            std::ptr::eq(view.document, part.document) && view.place.as_str().starts_with(part.place.as_str())
        };
        self.gates.iter().filter(|gate| within(&gate.view)).find_map(|gate| gate.facts.as_ref()?.certificates.clone())
    }

    pub(super) fn istio_certificates(&mut self, plugins: &[Plugin<'a>]) {
        let mut all = Vec::new();
        for plugin in plugins.iter().filter(|plugin| plugin.is_gate && plugin.object.group == ISTIO) {
            let labels = plugin.spec.path("selector.match_labels");
            all.push((plugin.spec.clone(), plugin.object.namespace, labels));
        }
        for patch in self.world.of_kind(NETWORKING, "EnvoyFilter") {
            if let Some(spec) = patch.view.get("spec") {
                let labels = spec.path("workload_selector.labels");
                all.push((spec, patch.namespace, labels));
            }
        }
        for (spec, namespace, labels) in all {
            if let Some(domains) = self.domains_in(&spec) {
                self.istio_listeners(&Installed { spec, namespace, labels, domains });
            }
        }
    }

    fn istio_listeners(&mut self, gate: &Installed<'a>) {
        let istio = |gateway: &&Object<'a>| {
            gateway.kind == "Gateway"
                && match gateway.group {
                    NETWORKING => true,
                    GATEWAY_API => {
                        gateway.view.text("spec.gateway_class_name").is_some_and(|class| class.starts_with("istio"))
                    }
                    _ => false,
                }
        };
        let gateways: Vec<Object<'a>> =
            self.world.objects.iter().filter(istio).filter(|gateway| gate.selects(gateway)).cloned().collect();
        for gateway in &gateways {
            for server in gateway.view.each("spec.servers") {
                self.istio_server(&server, &gate.domains);
            }
            for listener in gateway.view.each("spec.listeners") {
                let mode = listener.path("tls.options").and_then(|options| options.value.get(ISTIO_MODE)?.as_str());
                if !mode.is_some_and(|mode| matches!(mode, "MUTUAL" | "OPTIONAL_MUTUAL")) {
                    self.listener_certificates(gateway, &listener, None, &gate.domains);
                } else if let Some(tls) = listener.get("tls") {
                    self.trust_domains_shared(&tls, &gate.domains, SEPARATELY);
                }
            }
        }
        if gateways.is_empty() {
            self.mesh_certificates(gate);
        }
    }

    /// Checks a server of Istio's `Gateway`.
    fn istio_server(&mut self, server: &View<'a>, domains: &BTreeSet<String>) {
        let Some(tls) = server.get("tls") else {
            return self.certificates_unseen(server, "connections have no TLS; write `tls` with `mode: MUTUAL`");
        };
        // Such a server only redirects to another one.
        let redirects = server.text("port.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("HTTP"));
        if redirects && tls.affirms("https_redirect") {
            return;
        }
        if tls.is("mode", "ISTIO_MUTUAL", 4) {
            if domains.len() > 1 {
                let message = "the authorities of the mesh are not among the files; make sure that it validates each trust domain \
                               with the authorities of that trust domain";
                self.add(Code::Hidden, &tls, message);
            }
            return;
        }
        if !tls.is("mode", "MUTUAL", 2) && !tls.is("mode", "OPTIONAL_MUTUAL", 5) {
            return self.certificates_unseen(&tls, "clients are not asked for a certificate; write `mode: MUTUAL`");
        }
        let authorities = ["credential_name", "credential_names", "ca_certificates", "ca_cert_credential_name"];
        if !authorities.iter().any(|field| tls.get(field).is_some()) {
            let message = "this names no authorities, so no certificate can be validated; write `credentialName`";
            return self.add(Code::CertificatesUnvalidated, &tls, message);
        }
        self.trust_domains_shared(&tls, domains, SEPARATELY);
    }

    /// Checks a gate in the proxies of workloads, whose certificates the mesh validates.
    fn mesh_certificates(&mut self, gate: &Installed<'a>) {
        let specific = |object: &Object<'a>| match object.view.path("spec.selector.match_labels") {
            Some(labels) if !labels.fields().is_empty() => {
                (object.namespace == gate.namespace && selects(Some(&labels), gate.labels.as_ref())).then_some(0)
            }
            _ if object.namespace == gate.namespace => Some(1),
            _ => (object.namespace == ROOT).then_some(2),
        };
        let mut settings: Vec<(i32, View<'a>)> = (self.world.of_kind(SECURITY, "PeerAuthentication"))
            .filter_map(|object| Some((specific(object)?, object.view.clone())))
            .collect();
        settings.sort_by_key(|(order, _)| *order);
        let is_set = |view: &View<'a>| view.path("spec.mtls.mode").is_some() && !view.is("spec.mtls.mode", "UNSET", 0);
        let why = "clients without a certificate are accepted too; write `mode: STRICT`";
        for port in settings.iter().take(1).filter_map(|(_, view)| view.path("spec.port_level_mtls")) {
            for (_, own) in port.fields() {
                if !own.is("mode", "STRICT", 3) && !own.is("mode", "UNSET", 0) {
                    self.certificates_unseen(&own, why);
                }
            }
        }
        match settings.iter().find(|(_, view)| is_set(view)) {
            Some((_, view)) if view.is("spec.mtls.mode", "STRICT", 3) => {}
            Some((_, view)) => {
                let mode = view.path("spec.mtls").unwrap_or_else(|| view.clone());
                self.certificates_unseen(&mode, why);
            }
            None => {
                let message = "neither a `Gateway` with these proxies nor a `PeerAuthentication` for them is among the files, so it \
                               is unknown whether clients present certificates; give it too";
                self.add(Code::Hidden, &gate.spec, message);
            }
        }
    }

    pub(super) fn envoy_gateway_certificates(&mut self) {
        for policy in self.world.of_kind(GROUP, "EnvoyExtensionPolicy").cloned().collect::<Vec<_>>() {
            let Some(domains) = self.domains_in(&policy.view) else { continue };
            for name in self.gateways_of(&policy) {
                self.envoy_gateway_listeners(&policy, name, &domains);
            }
        }
    }

    /// Returns the names of the gateways that a policy is for, as far as they are known.
    fn gateways_of(&self, policy: &Object<'a>) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        if policy.view.path("spec.target_selectors").is_some() {
            names.extend(self.world.of_kind(GATEWAY_API, "Gateway").map(|gateway| gateway.name));
        }
        for target in targets(&policy.view) {
            let (Some(kind), Some(name)) = (target.text("kind"), target.text("name")) else { continue };
            if kind == "Gateway" {
                names.insert(name);
            }
            for route in self.world.of_kind(GATEWAY_API, kind).filter(|route| route.name == name) {
                names.extend(route.view.each("spec.parent_refs").iter().filter_map(|parent| parent.text("name")));
            }
        }
        names
    }

    fn envoy_gateway_listeners(&mut self, policy: &Object<'a>, name: &str, domains: &BTreeSet<String>) {
        let is_for = |target: &View<'a>, section: Option<&str>| {
            target.text("kind") == Some("Gateway")
                && target.text("name") == Some(name)
                && target.text("section_name") == section
        };
        let clients: Vec<View<'a>> =
            self.world.of_kind(GROUP, "ClientTrafficPolicy").map(|policy| policy.view.clone()).collect();
        // A policy for one listener replaces that for the whole gateway.
        let policy_for = |section: Option<&str>| {
            let by_label = |client: &&View<'a>| client.path("spec.target_selectors").is_some();
            let named = |section| clients.iter().find(|client| targets(client).iter().any(|one| is_for(one, section)));
            section
                .and_then(|section| named(Some(section)))
                .or_else(|| named(None))
                .or_else(|| clients.iter().find(by_label))
        };
        let gateways: Vec<Object<'a>> =
            self.world.of_kind(GATEWAY_API, "Gateway").filter(|gateway| gateway.name == name).cloned().collect();
        for gateway in &gateways {
            for listener in gateway.view.each("spec.listeners") {
                let validation =
                    policy_for(listener.text("name")).and_then(|client| client.path("spec.tls.client_validation"));
                self.listener_certificates(gateway, &listener, validation, domains);
            }
        }
        if gateways.is_empty() {
            match policy_for(None).map(|client| (client, client.path("spec.tls.client_validation"))) {
                Some((_, Some(validation))) => self.frontend_validation(&validation, domains),
                Some((client, None)) => {
                    let why = "clients are not asked for a certificate; write `tls.clientValidation`";
                    self.certificates_unseen(client, why);
                }
                None => {
                    let message = format!(
                        "neither the gateway `{name}` nor a `ClientTrafficPolicy` for it is among the files, so it is unknown whether \
                         clients present certificates; give them too"
                    );
                    self.add(Code::Hidden, &policy.view, message);
                }
            }
        }
    }

    /// Checks a listener of the Gateway API. `validation` is what a policy requires of client certificates.
    fn listener_certificates(
        &mut self,
        gateway: &Object<'a>,
        listener: &View<'a>,
        validation: Option<View<'a>>,
        domains: &BTreeSet<String>,
    ) {
        if listener.text("protocol") == Some("HTTP") {
            let why = "connections have no TLS; write `protocol: HTTPS`, or use a listener that the gate is not for";
            return self.certificates_unseen(listener, why);
        }
        let port = listener.number("port");
        let of_port = (gateway.view.each("spec.tls.frontend.per_port").into_iter())
            .find(|entry| entry.number("port") == port)
            .and_then(|entry| entry.path("tls.validation"));
        let found = validation
            .or_else(|| listener.path("tls.frontend_validation"))
            .or(of_port)
            .or_else(|| gateway.view.path("spec.tls.frontend.default.validation"));
        match found {
            Some(validation) => self.frontend_validation(&validation, domains),
            None => {
                let why = "clients are not asked for a certificate; write what validates them in front of the gate";
                self.certificates_unseen(listener, why);
            }
        }
    }

    /// Checks what validates the certificates of clients.
    fn frontend_validation(&mut self, validation: &View<'a>, domains: &BTreeSet<String>) {
        if let Some(mode) = validation.get("mode") {
            let validates = ["AllowValidOnly", "RequireAndVerify", "VerifyIfGiven"];
            if !validates.iter().any(|name| mode.value.as_str() == Some(name)) {
                let message = "anyone can make a certificate with the name of an agent, because those that do not validate are \
                               accepted; remove this";
                self.add(Code::CertificatesUnvalidated, &mode, message);
            }
        }
        let authorities = ["ca_certificate_refs", "spki_hashes", "certificate_hashes"];
        if authorities.iter().all(|field| validation.each(field).is_empty()) {
            let message = "this names no authorities, so no certificate can be validated; write `caCertificateRefs`";
            return self.add(Code::CertificatesUnvalidated, validation, message);
        }
        self.trust_domains_shared(validation, domains, SEPARATELY);
    }
}
