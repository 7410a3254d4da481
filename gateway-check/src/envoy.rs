//! Checks Envoy's own configuration: bootstraps, listeners, filter chains and connection managers.

use super::Check;
use super::bypass::{BypassRoute, Targets, is_loopback};
use super::filters::Chain;
use super::finding::Code;
use super::view::View;

/// The bytes that Envoy buffers for a connection by default.
const USUAL_BUFFER: u64 = 1 << 20;

impl<'a> Check<'a> {
    pub(super) fn envoys(&mut self) {
        for bootstrap in self.world.bootstraps.clone() {
            self.bootstrap(&bootstrap);
        }
        for listener in self.world.listeners.clone() {
            self.listener(&listener);
        }
        for filter in self.world.fragments.clone() {
            if let Some(config) = filter.get("typed_config") {
                self.checked_gate(filter.text("name"), &config);
            }
        }
        for cluster in self.world.clusters.clone() {
            self.cluster(&cluster);
        }
        for bootstrap in self.world.bootstraps.clone() {
            self.tags(&bootstrap);
        }
        // Checks gates that no chain in these files uses.
        for extension in self.world.extensions.values().flatten().cloned().collect::<Vec<_>>() {
            let Some(config) = extension.get("typed_config") else { continue };
            if !self.gates.iter().any(|gate| gate.view.document.file() == config.document.file()) {
                self.checked_gate(extension.text("name"), &config);
            }
        }
    }

    fn bootstrap(&mut self, bootstrap: &View<'a>) {
        if let Some(admin) = bootstrap.path("admin.address") {
            let open = match (admin.path("socket_address.address"), admin.get("pipe")) {
                (Some(address), _) => !address.value.as_str().is_some_and(is_loopback),
                (None, pipe) => pipe.is_none(),
            };
            if open {
                let message = "anyone who reaches this address can read the policy and terminate the process; write `address: \
                               127.0.0.1`";
                self.add(Code::AdminExposed, &admin, message);
            }
        }
        let discovery = bootstrap.path("dynamic_resources.lds_config");
        if let Some(discovery) = discovery.filter(|_| !self.world.discovered_listeners) {
            let message = "the listeners come from a source that is not among the files; give that file too";
            self.add(Code::Hidden, &discovery, message);
        }
    }

    fn listener(&mut self, listener: &View<'a>) {
        for chain in listener.each("filter_chains").iter().chain(&listener.get("default_filter_chain")) {
            self.filter_chain(chain, listener);
        }
        if let Some(api) = listener.path("api_listener.api_listener") {
            let before = self.gates.len();
            let (_, manager) = api.open();
            self.read_connection(&api);
            self.connection_manager(&manager, listener);
            self.certificates(&api, before);
        }
        if let Some(hidden) = listener.get("fcds_config") {
            self.add(
                Code::Hidden,
                &hidden,
                "the filter chains come from a source that is not among the files; give that file too",
            );
        }
        for filter in listener.each("listener_filters") {
            let (type_name, content) =
                filter.get("typed_config").map_or_else(|| ("", filter.clone()), |config| config.open());
            if type_name.contains("udp_proxy") || filter.text("name").is_some_and(|name| name.contains("udp_proxy")) {
                self.passes_bytes(&filter, &content);
            }
        }
    }

    fn filter_chain(&mut self, chain: &View<'a>, listener: &View<'a>) {
        let before = self.gates.len();
        self.read_connection(chain);
        self.network_filters(chain, listener);
        self.certificates(chain, before);
        self.passing_of_connection(chain, before);
    }

    fn network_filters(&mut self, chain: &View<'a>, listener: &View<'a>) {
        for filter in chain.each("filters") {
            let configs = self.configs(&filter);
            if configs.is_empty() && filter.get("config_discovery").is_some() {
                let message = "this filter comes from ECDS, which is not among the files; give that file too";
                self.add(Code::Hidden, &filter, message);
            }
            let configs = if configs.is_empty() { vec![filter.clone()] } else { configs };
            for config in configs {
                let (type_name, content) = config.open();
                let name = filter.text("name").unwrap_or_default();
                match (type_name.rsplit('.').next().unwrap_or_default(), name) {
                    ("HttpConnectionManager", _) | ("", "envoy.filters.network.http_connection_manager") => {
                        self.connection_manager(&content, listener);
                    }
                    (kind, name) if passes_bytes(kind, name) => self.passes_bytes(&filter, &content),
                    (kind, name) if stays(kind, name) => {}
                    (kind, name) => {
                        let named = if kind.is_empty() { name } else { kind };
                        let message = format!(
                            "unknown filter `{named}`; make sure that it does not forward bytes to an upstream, because the gate \
                             checks no request in them"
                        );
                        self.add(Code::NotChecked, &filter, message);
                    }
                }
            }
        }
    }

    /// Checks a filter that forwards bytes to an upstream without parsing them as HTTP.
    fn passes_bytes(&mut self, filter: &View<'a>, content: &View<'a>) {
        let weighted = content.each("weighted_clusters.clusters");
        let names =
            content.text("cluster").into_iter().chain(weighted.iter().filter_map(|cluster| cluster.text("name")));
        let mut targets = Targets::default();
        names.for_each(|name| targets.add(&Targets::cluster(name)));
        targets.unknown = targets.is_empty();
        self.bypasses.push(BypassRoute {
            code: Code::TcpBesideGate,
            view: filter.clone(),
            targets,
            hosts: Vec::new(),
            message: "bytes are forwarded here without being parsed as HTTP, so the gate checks no request in them; remove this, \
                      or use a separate upstream"
                .to_owned(),
        });
    }

    pub(super) fn connection_manager(&mut self, manager: &View<'a>, listener: &View<'a>) {
        let filters = manager.get("http_filters").unwrap_or_else(|| manager.clone());
        let chain = self.chain(&filters);
        if !chain.gates.is_empty() {
            self.trust(manager);
            self.normalization(manager);
            self.internal(manager);
            self.buffers(&chain, listener);
            self.logs(manager, listener);
            self.answers(manager);
        }
        self.routes_of(manager, &chain, true);
        for upgrade in manager.each("upgrade_configs") {
            if let Some(filters) = upgrade.get("filters").filter(|filters| !filters.items().is_empty()) {
                let chain = self.chain(&filters);
                self.routes_of(manager, &chain, false);
            }
        }
    }

    /// Checks where the client's source address comes from.
    pub(super) fn trust(&mut self, manager: &View<'a>) {
        if let Some(extensions) = manager.get("original_ip_detection_extensions") {
            let message = "the source address comes from an extension, which must not trust headers from clients; write \
                           `use_remote_address: true` instead";
            self.add(Code::AddressTrust, &extensions, message);
        } else if !manager.affirms("use_remote_address") {
            let message =
                "the source address is taken from the client's X-Forwarded-For; write `use_remote_address: true`";
            self.add(Code::AddressNotTrusted, manager, message);
        }
        if let Some(hops) = manager.get("xff_num_trusted_hops")
            && manager.number("xff_num_trusted_hops") != Some(0)
        {
            let message = "this trusts entries of X-Forwarded-For, which is correct only behind exactly that many of your own \
                           proxies; write `0` if clients connect directly";
            self.add(Code::AddressTrust, &hops, message);
        }
        if let Some(skips) = manager.says("skip_xff_append") {
            let message =
                "upstreams receive the client's X-Forwarded-For; remove this, unless your own proxy sets that header";
            self.add(Code::AddressTrust, &skips, message);
        }
    }

    /// Checks which clients Envoy treats as internal: they can request retries with `x-envoy-retry-on`.
    fn internal(&mut self, manager: &View<'a>) {
        let Some(config) = manager.get("internal_address_config") else { return };
        if config.says("unix_sockets").is_some() || !config.each("cidr_ranges").is_empty() {
            let message = "clients from these addresses can enable retries with `x-envoy-retry-on`, even for requests that must \
                           not be repeated; remove this";
            self.add(Code::Repeated, &config, message);
        }
    }

    /// Checks settings that change a request before the gate sees it.
    pub(super) fn normalization(&mut self, manager: &View<'a>) {
        const LATER: &str = "the gate rejects paths that are not canonical, but with this setting it checks another path than \
                             the client sent";
        for field in ["normalize_path", "merge_slashes"] {
            if let Some(rewrites) = manager.says(field) {
                self.add(Code::PathNormalized, &rewrites, format!("{LATER}; write `{field}: false`"));
            }
        }
        let slashes = "path_with_escaped_slashes_action";
        if let Some(action) = manager.get(slashes) {
            let kept = ["IMPLEMENTATION_SPECIFIC_DEFAULT", "KEEP_UNCHANGED", "REJECT_REQUEST"];
            if !(0..).zip(kept).any(|(number, name)| manager.is(slashes, name, number)) {
                self.add(Code::PathNormalized, &action, format!("{LATER}; write `{slashes}: KEEP_UNCHANGED`"));
            }
        }
        if let Some(options) = manager.get("path_normalization_options") {
            self.add(Code::PathNormalized, &options, format!("{LATER}; remove this"));
        }
        self.runtime(manager, LATER);
        let stripped = [
            manager.says("strip_matching_host_port"),
            manager.says("strip_any_host_port"),
            manager.says("strip_trailing_host_dot"),
            manager.path("http_protocol_options.default_host_for_http_10"),
        ];
        for place in stripped.into_iter().flatten() {
            let message =
                "the gate receives another host than the client sent, so signatures over it fail; remove this";
            self.add(Code::HostStripped, &place, message);
        }
        let underscores = "common_http_protocol_options.headers_with_underscores_action";
        if manager.is(underscores, "DROP_HEADER", 2)
            && let Some(action) = manager.path(underscores)
        {
            let message = "headers with underscores are dropped before the gate can reject ambiguous names; write \
                           `REJECT_REQUEST`, or remove this";
            self.add(Code::UnderscoresDropped, &action, message);
        }
    }

    /// Checks runtime keys that take effect if the connection manager does not set the field.
    fn runtime(&mut self, manager: &View<'a>, why: &str) {
        let unset = |field: &str| manager.get(field).is_none();
        let keys = [
            ("normalize_path", unset("normalize_path"), "normalize_path"),
            (
                "path_with_escaped_slashes_action",
                unset("path_with_escaped_slashes_action")
                    || manager.is("path_with_escaped_slashes_action", "IMPLEMENTATION_SPECIFIC_DEFAULT", 0),
                "path_with_escaped_slashes_action",
            ),
        ];
        let ours = |view: &View<'_>| std::ptr::eq(view.document, manager.document);
        let bootstraps: Vec<View<'a>> = self.world.bootstraps.iter().filter(|view| ours(view)).cloned().collect();
        for layer in bootstraps.iter().flat_map(|bootstrap| bootstrap.each("layered_runtime.layers")) {
            for (key, open, field) in keys.iter().filter(|(_, open, _)| *open) {
                debug_assert!(*open, "only what the manager leaves open");
                let dotted = layer.get("static_layer").and_then(|values| {
                    values
                        .get(&format!("http_connection_manager.{key}"))
                        .or_else(|| values.path(&format!("http_connection_manager.{key}")))
                });
                if let Some(set) = dotted {
                    self.add(
                        Code::PathNormalized,
                        &set,
                        format!("{why}; write `{field}` in the connection manager, and remove this"),
                    );
                } else if layer.get("rtds_layer").is_some() || layer.get("disk_layer").is_some() {
                    let message = format!(
                        "the runtime comes from a source that is not among the files and can change how paths are parsed; write \
                         `{field}` in the connection manager"
                    );
                    self.add(Code::Hidden, manager, message);
                }
            }
        }
    }

    fn buffers(&mut self, chain: &Chain<'a>, listener: &View<'a>) {
        let facts = || chain.gates.iter().filter_map(|placed| placed.gate.facts.as_ref());
        let body = facts().filter_map(|facts| facts.body).max().unwrap_or_default();
        // The filter sets a whole answer at once. Envoy crashes if a filter that holds answers sets more than this limit. This filter holds
        // none, and its longer answers passed in tests, so this is a warning.
        let answer = facts().filter_map(|facts| facts.answer).max().unwrap_or_default();
        let most = body.max(answer);
        let field = listener.get("per_connection_buffer_limit_bytes");
        let buffered =
            if field.is_some() { listener.number("per_connection_buffer_limit_bytes") } else { Some(USUAL_BUFFER) };
        if buffered.is_none_or(|buffered| buffered < most) {
            let what = if body < answer { "filters answers" } else { "holds bodies" };
            let message = format!(
                "the policy {what} of up to {most} bytes; write `per_connection_buffer_limit_bytes: {most}` or more"
            );
            self.add(Code::BufferTooSmall, &field.unwrap_or_else(|| listener.clone()), message);
        }
    }

    /// Checks what a cluster does to requests after all filters of the listener.
    fn cluster(&mut self, cluster: &View<'a>) {
        if self.gated.is_empty() || !cluster.text("name").is_some_and(|name| self.gated.contains(name)) {
            return;
        }
        self.chosen_hosts(cluster);
        for options in cluster.find(&[".http.v3.HttpProtocolOptions"]) {
            for filter in options.each("http_filters") {
                let (type_name, content) =
                    filter.get("typed_config").map_or_else(|| ("", filter.clone()), |config| config.open());
                self.behind(&filter, type_name, &content);
            }
            self.repeats(&options, None, false);
        }
    }
}

/// Returns whether a network filter forwards all input to an upstream without interpreting it.
fn passes_bytes(kind: &str, name: &str) -> bool {
    let kinds = [
        "TcpProxy",
        "ThriftProxy",
        "DubboProxy",
        "GenericProxy",
        "RedisProxy",
        "RocketmqProxy",
        "SipProxy",
        "KafkaMesh",
        "SmtpProxy",
    ];
    let names = ["tcp_proxy", "thrift_proxy", "dubbo_proxy", "generic_proxy", "redis_proxy", "kafka_mesh"];
    kinds.contains(&kind) || (kind.is_empty() && names.iter().any(|suffix| name.ends_with(suffix)))
}

/// Returns whether a network filter leaves the destination of bytes to other filters, or responds itself.
fn stays(kind: &str, name: &str) -> bool {
    let kinds = [
        "RBAC",
        "RateLimit",
        "LocalRateLimit",
        "ExtAuthz",
        "ConnectionLimit",
        "DirectResponse",
        "Config",
        "Echo",
        "SniCluster",
        "FilterConfig",
        "ZooKeeperProxy",
        "MySQLProxy",
        "PostgresProxy",
        "MongoProxy",
        "KafkaBroker",
        "MetadataExchange",
        "Wasm",
        "ExternalProcessor",
        "NetworkExternalProcessor",
        "GeoipFilter",
    ];
    let names = [
        "rbac",
        "ratelimit",
        "local_ratelimit",
        "ext_authz",
        "echo",
        "direct_response",
        "connection_limit",
        "sni_cluster",
    ];
    kinds.contains(&kind) || (kind.is_empty() && names.iter().any(|suffix| name.ends_with(suffix)))
}
