//! Checks Istio: gateways and their plugins, virtual services, patches of Envoy's configuration, and the mesh's settings.

use serde_json::Value;

use super::{Check, GATEWAY_API, is_read, selects};
use crate::bypass::{BypassRoute, Targets};
use crate::finding::Code;
use crate::gate;
use crate::plugin::{ISTIO, Plugin};
use crate::view::View;
use crate::world::Object;
use callgate_kit::document;

/// The group of Istio's routing.
pub(super) const NETWORKING: &str = "networking.istio.io";

/// The retry conditions under which no part of the request has reached the upstream, so a retry cannot repeat a change.
const BEFORE_THE_CALL: [&str; 3] = ["connect-failure", "refused-stream", "reset-before-request"];

impl<'a> Check<'a> {
    pub(super) fn istio(&mut self, plugins: &[Plugin<'a>]) {
        let patches: Vec<Object<'a>> = self.world.of_kind(NETWORKING, "EnvoyFilter").cloned().collect();
        let mut patched = Vec::new();
        for patch in &patches {
            if self.envoy_filter(patch) {
                patched.push(patch.view.path("spec.workload_selector.labels"));
            }
        }
        for gateway in self.world.of_kind(NETWORKING, "Gateway").cloned().collect::<Vec<_>>() {
            let labels = gateway.view.path("spec.selector");
            let selected =
                plugins.iter().filter(|plugin| plugin.is_gate && plugin.object.group == ISTIO).any(|plugin| {
                    plugin.spec.get("target_refs").is_none()
                        && selects(plugin.spec.path("selector.match_labels").as_ref(), labels.as_ref())
                });
            if !selected && !patched.iter().any(|selector| selects(selector.as_ref(), labels.as_ref())) {
                let message =
                    "no plugin with the gate selects the proxies of this gateway; give the plugin their labels";
                self.without_plugin(&gateway.view, message);
            }
            for server in gateway.view.each("spec.servers") {
                let protocol = server.text("port.protocol").unwrap_or_default().to_ascii_uppercase();
                let passes =
                    ["PASSTHROUGH", "AUTO_PASSTHROUGH"].iter().any(|mode| server.text("tls.mode") == Some(mode));
                if passes || !matches!(protocol.as_str(), "HTTP" | "HTTPS" | "HTTP2" | "GRPC" | "GRPC-WEB") {
                    self.tcp_route(
                        &server,
                        "bytes of this server are forwarded without being parsed as HTTP; write `protocol: \
                                             HTTPS`, and terminate TLS here",
                    );
                }
            }
        }
        if plugins.iter().any(|plugin| plugin.is_gate && plugin.object.group == ISTIO) {
            for gateway in self.world.of_kind(GATEWAY_API, "Gateway").cloned().collect::<Vec<_>>() {
                if gateway.view.text("spec.gateway_class_name").is_some_and(|class| class.starts_with("istio")) {
                    self.targeted(&gateway, plugins);
                }
            }
        }
        for service in self.world.of_kind(NETWORKING, "VirtualService").cloned().collect::<Vec<_>>() {
            self.virtual_service(&service);
        }
        for object in self.world.objects.clone() {
            match (object.group, object.kind) {
                ("install.istio.io", "IstioOperator") => {
                    if let Some(mesh) = object.view.path("spec.mesh_config") {
                        self.mesh(&mesh, None);
                    }
                }
                ("", "ConfigMap") => {
                    self.nested(&object);
                    for (_, text) in object
                        .view
                        .get("data")
                        .map(|data| data.fields())
                        .unwrap_or_default()
                        .iter()
                        .filter(|(name, _)| *name == "mesh")
                    {
                        let parsed = document::parse_configuration(
                            text.document.file(),
                            text.value.as_str().unwrap_or_default().as_bytes(),
                        );
                        match parsed {
                            Ok(documents) => documents.iter().for_each(|mesh| self.mesh(&View::root(mesh), Some(text))),
                            Err(_) => self.add(
                                Code::NotUnderstood,
                                text,
                                "the mesh's configuration cannot be read; write it in YAML",
                            ),
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Checks an Envoy configuration inside a resource, which has no positions.
    fn nested(&mut self, map: &Object<'a>) {
        for (_, text) in map.view.get("data").map(|data| data.fields()).unwrap_or_default() {
            if text.value.as_str().is_some_and(|text| {
                ["http_filters", "httpFilters", "_format_version"].iter().any(|mark| text.contains(mark))
            }) {
                self.add(
                    Code::NotChecked,
                    &text,
                    "the configuration in this ConfigMap is not checked; give it as a separate file",
                );
            }
        }
    }

    fn without_plugin(&mut self, view: &View<'a>, message: &str) {
        self.bypasses.push(BypassRoute {
            code: Code::ChainWithoutGate,
            view: view.clone(),
            targets: Targets::unknown(),
            hosts: Vec::new(),
            message: message.to_owned(),
        });
    }

    /// Checks a gateway of the Gateway API that Istio runs.
    fn targeted(&mut self, gateway: &Object<'a>, plugins: &[Plugin<'a>]) {
        let of = |plugin: &&Plugin<'a>| plugin.is_gate && plugin.object.group == ISTIO;
        let named = plugins.iter().filter(of).any(|plugin| {
            let targets = plugin.spec.each("target_refs");
            let selected = plugin.spec.path("selector.match_labels");
            let by_label = selected.as_ref().is_none_or(|labels| {
                labels.value.get("gateway.networking.k8s.io/gateway-name").and_then(Value::as_str) == Some(gateway.name)
            });
            if targets.is_empty() {
                by_label
            } else {
                targets.iter().any(|target| target.text("name") == Some(gateway.name))
            }
        });
        if !named {
            self.without_plugin(&gateway.view, "no plugin with the gate names this gateway; add it to `targetRefs`");
        }
    }

    fn virtual_service(&mut self, service: &Object<'a>) {
        for kind in ["tcp", "tls"] {
            for route in service.view.each(&format!("spec.{kind}")) {
                self.tcp_route(
                    &route,
                    "bytes of this route are forwarded without being parsed as HTTP; remove the route, or use \
                                        a separate upstream",
                );
            }
        }
        for route in service.view.each("spec.http") {
            if let Some(delegate) = route.get("delegate") {
                let named = |object: &Object<'_>| Some(object.name) == delegate.text("name");
                if !self.world.of_kind(NETWORKING, "VirtualService").any(named) {
                    self.add(
                        Code::Hidden,
                        &delegate,
                        "the routes of these requests are not among the files; give that file too",
                    );
                }
            }
            if ["redirect", "direct_response", "delegate"].iter().any(|field| route.get(field).is_some()) {
                continue;
            }
            self.http_route(&route);
        }
    }

    fn http_route(&mut self, route: &View<'a>) {
        let matches = route.each("match");
        let reads =
            !matches.is_empty() && matches.iter().all(|matched| matched.text("method.exact").is_some_and(is_read));
        for (field, code, message) in [
            (
                "rewrite.uri",
                Code::PathRewritten,
                "the upstream receives another path than the policy allowed; write the policy's paths so that no rewrite is \
                 needed",
            ),
            (
                "rewrite.uri_regex_rewrite",
                Code::PathRewritten,
                "the upstream receives another path than the policy allowed; write the policy's paths so that no rewrite is \
                 needed",
            ),
            (
                "rewrite.authority",
                Code::HostRewritten,
                "the upstream receives another host than the gate allowed; remove this if possible",
            ),
        ] {
            if let Some(rewrite) = route.path(field) {
                self.add(code, &rewrite, message);
            }
        }
        for mirror in [route.get("mirror"), route.get("mirrors")].into_iter().flatten().filter(|_| !reads) {
            self.add(
                Code::Mirrored,
                &mirror,
                "requests that change something are also sent to another upstream; match only methods that read, or remove this",
            );
        }
        match route.get("retries") {
            _ if reads => {}
            None => {
                let message = "Istio retries requests by default, including requests that may have changed something; write \
                               `retries: { attempts: 0 }`";
                self.add(Code::Repeated, route, message);
            }
            Some(retries) if retries.number("attempts") != Some(0) => {
                let on = retries.text("retry_on").unwrap_or("unavailable");
                if !on.split(',').all(|condition| BEFORE_THE_CALL.contains(&condition.trim())) {
                    let message = "a request that may have changed something is retried; write `retryOn: \
                                   connect-failure,refused-stream`, or `attempts: 0`";
                    self.add(Code::Repeated, &retries, message);
                }
            }
            Some(_) => {}
        }
        let parts: Vec<View<'a>> = std::iter::once(route.clone()).chain(route.each("route")).collect();
        for part in parts {
            for change in ["set", "add"] {
                for (name, header) in
                    part.path(&format!("headers.request.{change}")).map(|set| set.fields()).unwrap_or_default()
                {
                    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
                        self.add(
                            Code::HostRewritten,
                            &header,
                            "the upstream receives another host than the gate allowed; remove this if possible",
                        );
                    } else {
                        self.header(name, &header);
                    }
                }
            }
            for removed in part.each("headers.request.remove") {
                if let Some(name) = removed.value.as_str() {
                    self.header(name, &removed);
                }
            }
        }
    }

    /// Checks a patch of Envoy's configuration, and returns whether it installs the gate.
    fn envoy_filter(&mut self, filter: &Object<'a>) -> bool {
        let mut gated = false;
        let patches = filter.view.each("spec.config_patches");
        let delivered: Vec<View<'a>> = (patches.iter())
            .filter(|patch| patch.text("apply_to") == Some("EXTENSION_CONFIG"))
            .filter_map(|patch| patch.path("patch.value"))
            .collect();
        for extension in &delivered {
            self.patched_filter(extension, &[]);
        }
        for patch in patches {
            let Some(value) = patch.path("patch.value") else {
                if patch.is("patch.operation", "REMOVE", 3) {
                    let named = patch.path("match.listener.filter_chain.filter.sub_filter.name");
                    if let Some(name) =
                        named.filter(|name| name.value.as_str().is_some_and(|name| name.contains("callgate")))
                    {
                        self.without_plugin(&name, "this removes the gate; delete this patch");
                    }
                }
                continue;
            };
            let applies = patch.text("apply_to").unwrap_or_default();
            match applies {
                "HTTP_FILTER" => gated |= self.patched_filter(&value, &delivered),
                "NETWORK_FILTER" => {
                    let (_, manager) =
                        value.get("typed_config").map_or_else(|| ("", value.clone()), |config| config.open());
                    if let Some(filters) = manager.get("http_filters") {
                        gated |= filters
                            .items()
                            .into_iter()
                            .fold(false, |gated, filter| self.patched_filter(&filter, &delivered) | gated);
                    }
                    self.patched_manager(&manager);
                }
                "HTTP_ROUTE" | "VIRTUAL_HOST" | "ROUTE_CONFIGURATION" => self.patched_route(&value),
                "CLUSTER" | "EXTENSION_CONFIG" | "LISTENER_FILTER" | "BOOTSTRAP" => {}
                _ => {
                    let message = "this patch is not checked; make sure that it opens no way around the gate";
                    self.add(Code::NotChecked, &value, message);
                }
            }
        }
        gated
    }

    /// Returns whether a filter is the gate. `delivered` contains the extensions that come with it over ECDS.
    fn patched_filter(&mut self, filter: &View<'a>, delivered: &[View<'a>]) -> bool {
        if filter.get("typed_config").is_none() && filter.get("config_discovery").is_some() {
            let named = |extension: &&View<'a>| extension.text("name") == filter.text("name");
            return match delivered.iter().find(named) {
                Some(extension) => self.patched_filter(extension, &[]),
                None => {
                    let message = "this filter comes from ECDS, which is not among the files; give that file too";
                    self.add(Code::Hidden, filter, message);
                    false
                }
            };
        }
        let config = filter.get("typed_config").unwrap_or_else(|| filter.clone());
        if self.checked_gate(filter.text("name"), &config).is_some() {
            for field in ["disabled", "is_optional"] {
                if let Some(off) = filter.says(field) {
                    self.add(Code::GateOptional, &off, format!("the gateway may skip the gate; remove `{field}`"));
                }
            }
            return true;
        }
        if gate::contains_gate(&config) {
            let message = "the gate is inside another filter, which can skip it; add it as a separate filter";
            self.add(Code::GateConditional, filter, message);
            return true;
        }
        // Only the proxy knows the filter's position in the chain.
        let (type_name, content) =
            filter.get("typed_config").map_or_else(|| ("", filter.clone()), |config| config.open());
        self.behind(filter, type_name, &content);
        false
    }

    fn patched_manager(&mut self, manager: &View<'a>) {
        if manager.get("use_remote_address").is_some() {
            self.trust(manager);
        }
        self.normalization(manager);
    }

    fn patched_route(&mut self, value: &View<'a>) {
        for (name, config) in value.get("typed_per_filter_config").map(|filters| filters.fields()).unwrap_or_default() {
            let (_, content) = config.open();
            if name.contains("callgate") && content.says("disabled").is_some() {
                self.bypasses.push(BypassRoute {
                    code: Code::RouteWithoutGate,
                    view: config,
                    targets: Targets::unknown(),
                    hosts: Vec::new(),
                    message: "this disables the gate for these routes; remove it".to_owned(),
                });
            }
        }
        self.after_the_gate(value, value);
    }

    /// Checks the mesh's settings. If they were embedded as text, `at` is the position of that text.
    fn mesh(&mut self, mesh: &View<'_>, at: Option<&View<'a>>) {
        let mut found = Vec::new();
        let normalization = "path_normalization.normalization";
        if let Some(value) = mesh.path(normalization).filter(|_| !mesh.is(normalization, "NONE", 2)) {
            found.push((
                Code::PathNormalized,
                value,
                "the gate checks another path than the client sent; write `normalization: NONE`",
            ));
        }
        if let Some(hops) = mesh
            .path("default_config.gateway_topology.num_trusted_proxies")
            .filter(|hops| hops.value.as_u64() != Some(0))
        {
            found.push((
                Code::AddressTrust,
                hops,
                "this trusts entries of X-Forwarded-For, which is correct only behind exactly that many of your own proxies",
            ));
        }
        if let Some(retries) =
            mesh.get("default_http_retry_policy").filter(|retries| retries.number("attempts") != Some(0))
        {
            found.push((
                Code::Repeated,
                retries,
                "requests that may have changed something are retried; write `attempts: 0`",
            ));
        }
        for (code, view, message) in found {
            let message = message.to_owned();
            match at {
                Some(at) => self.report.add(code, at, format!("{}: {message}", view.place)),
                None => self.report.add(code, &view, message),
            }
        }
    }
}
