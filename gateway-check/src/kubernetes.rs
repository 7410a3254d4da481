//! Checks Kubernetes resources: which gateways contain the gate, and what routes do apart from it.

mod certificates;
mod envoy_gateway;
mod istio;
mod istio_auth;
mod istio_fetched;
mod merged;

use super::Check;
use super::finding::Code;
use super::view::View;
use super::world::{Object, adds_cluster};

/// The group of the Gateway API.
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Groups of resources that have no effect on requests after the gate, or that this module checks.
const KNOWN: [&str; 24] = [
    "", // the core
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "rbac.authorization.k8s.io",
    "apiextensions.k8s.io",
    "admissionregistration.k8s.io",
    "networking.k8s.io",
    "coordination.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "discovery.k8s.io",
    "certificates.k8s.io",
    "cert-manager.io",
    "monitoring.coreos.com",
    "security.istio.io",
    "telemetry.istio.io",
    "networking.istio.io",
    "install.istio.io",
    "extensions.istio.io",
    "extensions.higress.io",
    "gateway.envoyproxy.io",
    GATEWAY_API,
];

impl<'a> Check<'a> {
    pub(super) fn kubernetes(&mut self) {
        let plugins = self.plugins();
        self.istio(&plugins);
        self.istio_auth(&plugins);
        self.istio_certificates(&plugins);
        self.envoy_gateway();
        self.envoy_gateway_certificates();
        for route in self.world.objects.clone() {
            match (route.group, route.kind) {
                (GATEWAY_API, "HTTPRoute" | "GRPCRoute") => self.gateway_api_route(&route),
                (GATEWAY_API, "TCPRoute" | "TLSRoute" | "UDPRoute") => {
                    self.tcp_route(
                        &route.view,
                        "bytes of this route are forwarded without being parsed as HTTP; remove the route, or use a separate \
                         upstream",
                    );
                }
                ("networking.k8s.io", "Ingress") => self.ingress(&route),
                (group, kind) if !KNOWN.contains(&group) || matches!(kind, "EnvoyPatchPolicy" | "EnvoyProxy") => {
                    let plain = kind == "EnvoyProxy"
                        && route.view.path("spec.filter_order").is_none()
                        && route.view.path("spec.bootstrap").is_none_or(|bootstrap| only_adds_clusters(&bootstrap));
                    if !plain {
                        let message = format!(
                            "`{kind}` can change the gateway's behavior and is not checked here; make sure that it opens no way \
                             around the gate"
                        );
                        self.add(Code::NotChecked, &route.view, message);
                    }
                }
                _ => {}
            }
        }
    }

    /// Checks a route of the Gateway API.
    fn gateway_api_route(&mut self, route: &Object<'a>) {
        for rule in route.view.each("spec.rules") {
            let backends = rule.each("backend_refs");
            let filters =
                rule.each("filters").into_iter().chain(backends.iter().flat_map(|backend| backend.each("filters")));
            let matches = rule.each("matches");
            let read = |matched: &View<'_>| matched.text("method").is_some_and(is_read);
            let reads = !matches.is_empty() && matches.iter().all(read);
            for filter in filters.collect::<Vec<_>>() {
                self.gateway_api_filter(&filter, reads);
            }
            if let Some(retry) = rule.get("retry").filter(|retry| !reads && retry.number("attempts") != Some(0)) {
                self.add(
                    Code::Repeated,
                    &retry,
                    "a request that may have changed something is retried; match only methods that read, or remove this",
                );
            }
        }
    }

    fn gateway_api_filter(&mut self, filter: &View<'a>, reads: bool) {
        if let Some(mirror) = filter.get("request_mirror").filter(|_| !reads) {
            self.add(
                Code::Mirrored,
                &mirror,
                "requests that change something are also sent to another upstream; match only methods that read, or remove this",
            );
        }
        if let Some(path) = filter.path("url_rewrite.path") {
            self.add(
                Code::PathRewritten,
                &path,
                "the upstream receives another path than the policy allowed; write the policy's paths so that no rewrite is \
                 needed",
            );
        }
        if let Some(host) = filter.path("url_rewrite.hostname") {
            self.add(
                Code::HostRewritten,
                &host,
                "the upstream receives another host than the gate allowed; remove this if possible",
            );
        }
        for change in ["set", "add"] {
            for header in filter.each(&format!("request_header_modifier.{change}")) {
                if let Some(name) = header.text("name") {
                    self.header(name, &header);
                }
            }
        }
        for removed in filter.each("request_header_modifier.remove") {
            if let Some(name) = removed.value.as_str() {
                self.header(name, &removed);
            }
        }
        if let Some(reference) = filter.get("extension_ref") {
            let known =
                reference.text("kind").is_some_and(|kind| self.world.objects.iter().any(|object| object.kind == kind));
            if !known {
                self.add(
                    Code::Hidden,
                    &reference,
                    "the configuration of this filter is not among the files; give that file too",
                );
            }
        }
    }

    fn ingress(&mut self, ingress: &Object<'a>) {
        let annotations =
            ingress.view.path("metadata.annotations").map(|annotations| annotations.fields()).unwrap_or_default();
        for (name, annotation) in annotations {
            let kind = name.rsplit('/').next().unwrap_or_default();
            match kind {
                "rewrite-target" | "rewrite-path" => {
                    self.add(
                        Code::PathRewritten,
                        &annotation,
                        "the upstream receives another path than the policy allowed; remove this",
                    );
                }
                "upstream-vhost" => self.add(
                    Code::HostRewritten,
                    &annotation,
                    "the upstream receives another host than the gate allowed; remove this if possible",
                ),
                "mirror-target-service" | "mirror-target" => {
                    self.add(
                        Code::Mirrored,
                        &annotation,
                        "requests that change something are also sent to another upstream; remove this",
                    );
                }
                "proxy-next-upstream" if annotation.value.as_str().is_some_and(|on| on.contains("non_idempotent")) => {
                    self.add(
                        Code::Repeated,
                        &annotation,
                        "a request that may have changed something is retried; remove `non_idempotent`",
                    );
                }
                _ => {}
            }
        }
    }

    /// Reports bytes that are forwarded without the gate.
    fn tcp_route(&mut self, view: &View<'a>, message: &str) {
        self.bypasses.push(super::bypass::BypassRoute {
            code: Code::TcpBesideGate,
            view: view.clone(),
            targets: super::bypass::Targets::unknown(),
            hosts: Vec::new(),
            message: message.to_owned(),
        });
    }
}

/// Returns whether changes of Envoy Gateway's bootstrap are limited to further clusters.
fn only_adds_clusters(bootstrap: &View<'_>) -> bool {
    bootstrap.text("type") == Some("JSONPatch")
        && bootstrap.get("value").is_none()
        && bootstrap.each("json_patches").iter().all(adds_cluster)
}

fn is_read(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// Returns whether a proxy with these labels is selected. An empty selector selects every proxy.
fn selects(labels: Option<&View<'_>>, of: Option<&View<'_>>) -> bool {
    let Some(labels) = labels else { return true };
    let of = of.and_then(|of| of.value.as_object());
    labels.fields().iter().all(|(name, wanted)| of.is_some_and(|of| of.get(*name) == Some(wanted.value)))
}
