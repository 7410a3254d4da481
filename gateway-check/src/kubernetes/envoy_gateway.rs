//! Checks Envoy Gateway: policies that install the gate, and other policies that change the requests that it sees or forwards.

use super::{Check, GATEWAY_API};
use crate::bypass::{BypassRoute, Targets};
use crate::finding::Code;
use crate::module;
use crate::policy;
use crate::view::View;
use crate::world::Object;

/// The group of its policies.
pub(super) const GROUP: &str = "gateway.envoyproxy.io";

impl<'a> Check<'a> {
    pub(super) fn envoy_gateway(&mut self) {
        let policies: Vec<Object<'a>> = self.world.of_kind(GROUP, "EnvoyExtensionPolicy").cloned().collect();
        let mut gates: Vec<&Object<'a>> = Vec::new();
        for policy in &policies {
            if self.extension_policy(policy) {
                gates.push(policy);
            }
        }
        if !gates.is_empty() {
            self.untargeted(&gates);
            self.merged_policies(&gates);
            // A policy for a route replaces the policy of its gateway.
            for policy in policies.iter().filter(|policy| {
                !gates.iter().any(|gate| {
                    gate.view.place == policy.view.place && std::ptr::eq(gate.view.document, policy.view.document)
                })
            }) {
                let routes: Vec<View<'a>> = targets(&policy.view)
                    .into_iter()
                    .filter(|target| target.text("kind").is_some_and(|kind| kind.ends_with("Route")))
                    .collect();
                if policy.view.path("spec.merge_type").is_none() {
                    for route in routes {
                        let message = "a policy for a route replaces its gateway's policy, and this one has no gate; add the \
                                       gate here too, or write `mergeType`";
                        self.way(Code::RouteWithoutGate, &route, message);
                    }
                }
            }
        }
        for object in self.world.objects.clone().iter().filter(|object| object.group == GROUP) {
            match object.kind {
                "ClientTrafficPolicy" => self.client_traffic(&object.view),
                "BackendTrafficPolicy" => self.backend_traffic(&object.view),
                "HTTPRouteFilter" => self.route_filter(&object.view),
                _ => {}
            }
        }
    }

    fn way(&mut self, code: Code, view: &View<'a>, message: &str) {
        let (targets, message) = (Targets::unknown(), message.to_owned());
        self.bypasses.push(BypassRoute { code, view: view.clone(), targets, hosts: Vec::new(), message });
    }

    /// Checks an extension policy and returns whether it installs the gate.
    fn extension_policy(&mut self, policy: &Object<'a>) -> bool {
        let mut gated = false;
        for wasm in policy.view.each("spec.wasm") {
            if is_wasm_gate(&wasm) {
                gated = true;
                self.extension(&wasm);
            } else if gated {
                let message = "this extension runs after the gate and can change the request; put it before the gate";
                self.add(Code::FilterAfterGate, &wasm, message);
            }
        }
        self.extension_modules(policy, gated) || gated
    }

    /// Checks the dynamic modules of an extension policy and returns whether one of them is the gate. `gated` states whether the policy
    /// also has the gate as a Wasm filter.
    fn extension_modules(&mut self, policy: &Object<'a>, gated: bool) -> bool {
        let mut found = false;
        for entry in policy.view.each("spec.dynamic_module") {
            if is_module_gate(&entry) {
                found = true;
                self.module_extension(&entry);
                self.registered(&entry);
                if gated {
                    let message = "this policy has the gate as a Wasm filter and as a dynamic module, so each request is decided and \
                                   counted twice; remove one of them";
                    self.add(Code::BothAdapters, &entry, message);
                }
            } else if found {
                let message = "this extension runs after the gate and can change the request; put it before the gate";
                self.add(Code::FilterAfterGate, &entry, message);
            }
        }
        found
    }

    /// Checks the places where an `EnvoyProxy` registers the module of an entry.
    fn registered(&mut self, entry: &View<'a>) {
        let proxies: Vec<Object<'a>> = self.world.of_kind(GROUP, "EnvoyProxy").cloned().collect();
        let modules = proxies.iter().flat_map(|proxy| proxy.view.each("spec.dynamic_modules"));
        let modules: Vec<View<'a>> = modules.filter(|module| module.text("name") == entry.text("name")).collect();
        if modules.is_empty() {
            let message = "no `EnvoyProxy` among the files registers this module, so it is unknown where it comes from and whether \
                           it is unloaded; give that file too";
            self.add(Code::Hidden, entry, message);
        }
        for module in modules {
            self.stays_loaded(&module, "do_not_close", "doNotClose: true");
            let remote = module.path("source.remote").or_else(|| {
                let is_remote = |source: &View<'a>| source.is("type", "Remote", 1);
                module.get("source").filter(is_remote)
            });
            if let Some(remote) = remote {
                self.remote_module(
                    &remote,
                    "mount the file in the proxy's container, and write `local: { path: ... }`",
                );
            }
        }
    }

    /// Reports gateways and routes that no policy with the gate targets.
    fn untargeted(&mut self, gates: &[&Object<'a>]) {
        let named = |kind: &str, name: &str| {
            let names = |target: &View<'_>| target.text("kind") == Some(kind) && target.text("name") == Some(name);
            gates.iter().any(|gate| targets(&gate.view).iter().any(names))
        };
        let selected = gates.iter().any(|gate| gate.view.path("spec.target_selectors").is_some());
        let mut bare: Vec<&str> = Vec::new();
        for gateway in
            self.world.of_kind(GATEWAY_API, "Gateway").filter(|gateway| !selected && !named("Gateway", gateway.name))
        {
            bare.push(gateway.name);
        }
        let routes: Vec<Object<'a>> = self
            .world
            .objects
            .iter()
            .filter(|object| object.group == GATEWAY_API && matches!(object.kind, "HTTPRoute" | "GRPCRoute"))
            .cloned()
            .collect();
        for route in &routes {
            let parents: Vec<View<'a>> = route.view.each("spec.parent_refs");
            let through = |parent: &View<'_>| parent.text("name").is_some_and(|name| named("Gateway", name));
            if !selected && !named(route.kind, route.name) && !parents.iter().all(through) {
                self.way(
                    Code::RouteWithoutGate,
                    &route.view,
                    "neither this route nor its gateway is in the `targetRefs` of the gate; add one of them",
                );
            }
        }
        // A gateway needs no policy of its own if all of its routes are targeted.
        for gateway in self
            .world
            .of_kind(GATEWAY_API, "Gateway")
            .filter(|gateway| bare.contains(&gateway.name))
            .cloned()
            .collect::<Vec<_>>()
        {
            let served = routes.iter().any(|route| {
                route.view.each("spec.parent_refs").iter().any(|parent| parent.text("name") == Some(gateway.name))
            });
            if !served {
                self.way(
                    Code::ChainWithoutGate,
                    &gateway.view,
                    "this gateway is not in the `targetRefs` of the gate; add it",
                );
            }
        }
    }

    fn client_traffic(&mut self, policy: &View<'a>) {
        if let Some(action) = policy.path("spec.path.escaped_slashes_action") {
            let kept = ["KeepUnchanged", "RejectRequest"].iter().any(|name| action.value.as_str() == Some(name));
            if !kept {
                let message =
                    "the gate checks another path than the client sent; write `escapedSlashesAction: KeepUnchanged`";
                self.add(Code::PathNormalized, &action, message);
            }
        }
        if let Some(detection) = policy.path("spec.clientIPDetection") {
            let message =
                "the source address is read from a header, which is correct only behind your own proxies that set it";
            self.add(Code::AddressTrust, &detection, message);
        }
        if policy.text("spec.headers.with_underscores_action") == Some("DropHeader")
            && let Some(action) = policy.path("spec.headers.with_underscores_action")
        {
            let message = "headers with underscores are dropped before the gate can reject ambiguous names; write \
                           `RejectRequest`";
            self.add(Code::UnderscoresDropped, &action, message);
        }
    }

    fn backend_traffic(&mut self, policy: &View<'a>) {
        if let Some(retry) = policy.path("spec.retry").filter(|retry| retry.number("num_retries") != Some(0)) {
            let triggers = retry.each("retry_on.triggers");
            let safe = ["connect-failure", "refused-stream", "reset-before-request"];
            let all_safe = !triggers.is_empty()
                && triggers.iter().all(|trigger| trigger.value.as_str().is_some_and(|name| safe.contains(&name)));
            if !all_safe || retry.path("retry_on.http_status_codes").is_some() {
                let message = "a request that may have changed something is retried; write `connect-failure` and \
                               `refused-stream` as its only triggers, or `numRetries: 0`";
                self.add(Code::Repeated, &retry, message);
            }
        }
    }

    fn route_filter(&mut self, filter: &View<'a>) {
        if let Some(path) = filter.path("spec.url_rewrite.path") {
            self.add(
                Code::PathRewritten,
                &path,
                "the upstream receives another path than the policy allowed; write the policy's paths so that no rewrite is \
                 needed",
            );
        }
        if let Some(host) = filter.path("spec.url_rewrite.hostname") {
            if host.text("type") == Some("Header") {
                self.add(
                    Code::ClientPicksUpstream,
                    &host,
                    "a header that clients can send sets the host for the upstream; write a fixed value",
                );
            } else {
                self.add(
                    Code::HostRewritten,
                    &host,
                    "the upstream receives another host than the gate allowed; remove this if possible",
                );
            }
        }
    }
}

/// Returns whether a Wasm filter of an extension policy is the gate.
pub(super) fn is_wasm_gate(wasm: &View<'_>) -> bool {
    wasm.get("config").is_some_and(|config| policy::is_policy(config.value))
        || names_gate(wasm.text("name"))
        || names_gate(wasm.text("code.image.url"))
}

/// Returns whether a dynamic module of an extension policy is the gate.
pub(super) fn is_module_gate(entry: &View<'_>) -> bool {
    entry.get("config").is_some_and(|config| module::is_configuration(config.value))
        || names_gate(entry.text("name"))
        || names_gate(entry.text("filter_name"))
}

fn names_gate(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.contains("callgate"))
}

/// What a policy is for.
pub(super) fn targets<'a>(policy: &View<'a>) -> Vec<View<'a>> {
    let mut targets = policy.each("spec.target_refs");
    targets.extend(policy.path("spec.target_ref"));
    targets
}
