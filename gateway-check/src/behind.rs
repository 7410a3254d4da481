//! Checks filters and clusters after the gate that are harmless in general but not in every configuration: they write headers that
//! upstreams trust, or let the client choose where its request goes.

use super::Check;
use super::finding::Code;
use super::view::View;

/// Keys of the filter state from which Envoy reads the address of the upstream.
const ADDRESSES: [&str; 6] = [
    "envoy.network.transport_socket.original_dst_address",
    "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names",
    "envoy.tcp_proxy.cluster",
    "envoy.upstream.dynamic_host",
    "envoy.upstream.dynamic_port",
];

impl<'a> Check<'a> {
    /// Checks the headers that a filter after the gate writes by its configuration.
    pub(super) fn writes(&mut self, filter: &View<'a>, kind: &str, content: &View<'a>) {
        match kind {
            "jwt_authn" => self.claims_as_headers(content),
            "credential_injector" => {
                for injected in content.find(&[".generic.v3.Generic"]) {
                    if let Some(name) = injected.get("header") {
                        self.header(name.value.as_str().unwrap_or_default(), &name);
                    }
                }
            }
            "ratelimit" => {
                let message = "the rate limit service can set request headers after the gate; make sure that it sets none of the \
                               gate's headers";
                self.add(Code::UnknownFilterAfterGate, filter, message);
            }
            "set_filter_state" => self.filter_state(content),
            "custom_response" => {
                for policy in content.find(&[".LocalResponsePolicy", ".RedirectPolicy"]) {
                    self.status(&policy);
                }
            }
            "tap" => self.tapped(filter),
            _ => {}
        }
    }

    fn claims_as_headers(&mut self, content: &View<'a>) {
        for (_, provider) in content.get("providers").map(|providers| providers.fields()).unwrap_or_default() {
            let claims = provider.each("claim_to_headers");
            let names = claims.iter().filter_map(|claim| claim.get("header_name"));
            let names = names.chain(provider.get("forward_payload_header"));
            for name in names.collect::<Vec<_>>() {
                self.header(name.value.as_str().unwrap_or_default(), &name);
            }
        }
    }

    fn filter_state(&mut self, content: &View<'a>) {
        for value in content.each("on_request_headers") {
            let key = value.text("object_key").or_else(|| value.text("factory_key")).unwrap_or_default();
            let from_client = value.value.to_string().contains("%REQ");
            if key.starts_with("wasm.callgate") {
                let message = "this overwrites the gate's record; remove it";
                self.add(Code::FilterAfterGate, &value, message);
            } else if from_client && ADDRESSES.contains(&key) {
                let message =
                    "a header from the client selects the upstream after the gate decided; write a fixed value";
                self.add(Code::ClientPicksUpstream, &value, message);
            }
        }
    }

    /// Checks a filter, in front of the gate or after it, that copies client input into metadata from which a load balancer chooses
    /// a host.
    pub(super) fn metadata(&mut self, kind: &str, content: &View<'a>) {
        if !matches!(kind, "header_to_metadata" | "json_to_metadata") {
            return;
        }
        let rules = [content.each("request_rules"), content.each("request_rules.rules")].concat();
        for rule in rules {
            for field in ["on_header_present", "on_header_missing", "on_present", "on_missing", "on_error"] {
                let Some(written) = rule.get(field) else { continue };
                let space = written.text("metadata_namespace").unwrap_or_default();
                if space == "envoy.lb" || self.chosen_by.contains(space) {
                    let message = "data from the client selects the upstream host, through the load balancer's metadata; select \
                                   the upstream by route";
                    self.add(Code::ClientPicksUpstream, &written, message);
                }
            }
        }
    }

    /// Reads the names of metadata by which clusters choose their hosts.
    pub(super) fn read_choices(&mut self) {
        for cluster in self.world.clusters.clone() {
            let hosts = cluster.find(&[".override_host.v3.OverrideHost"]);
            let sources = hosts.iter().flat_map(|host| host.each("override_host_sources"));
            let keys = sources.filter_map(|source| source.text("metadata.key"));
            self.chosen_by
                .extend(keys.chain(cluster.text("original_dst_lb_config.metadata_key.key")).map(str::to_owned));
        }
    }

    /// Checks a cluster that takes the address of its host from the request.
    pub(super) fn chosen_hosts(&mut self, cluster: &View<'a>) {
        if let Some(header) = cluster.path("original_dst_lb_config").and_then(|config| config.says("use_http_header")) {
            let message = "a header from the client sets the upstream address; remove `use_http_header`";
            self.add(Code::ClientPicksUpstream, &header, message);
        }
        for host in cluster.find(&[".override_host.v3.OverrideHost"]) {
            for source in host.each("override_host_sources") {
                if let Some(header) = source.get("header").filter(|header| header.value.as_str() != Some("")) {
                    let message = "a header from the client selects the upstream host; remove this source";
                    self.add(Code::ClientPicksUpstream, &header, message);
                }
            }
        }
        if !cluster.find(&[".dynamic_forward_proxy.v3.ClusterConfig"]).is_empty() {
            let message = "the host of the request selects the upstream, so only the policy's `hosts` limit the reachable \
                           upstreams; name the upstream in the cluster";
            self.add(Code::UpstreamByHost, cluster, message);
        }
        for socket in cluster.find(&[".transport_sockets.tap.v3.Tap"]) {
            self.tapped(&socket);
        }
    }

    /// Reports other modules that share the map in which the gate stores its counters.
    pub(super) fn foreign_modules(&mut self) {
        let ids: Vec<&str> = self.gates.iter().filter_map(|gate| gate.vm_id).filter(|id| !id.is_empty()).collect();
        for (id, view) in self.foreign.clone() {
            if ids.contains(&id) {
                let message = "another module has the gate's `vm_id`, so it can write to the gate's counters; give it its own \
                               `vm_id`";
                self.add(Code::StateShared, &view, message);
            }
        }
    }
}
