//! Checks routes: which of them reach an upstream without the gate, and how requests are changed after it.

use callgate::OVERRIDE_HEADERS;
use callgate::document::HEADER_PREFIX;
use callgate::request::headers::{name_begins_like, name_reads_as};

use super::Check;
use super::bypass::{BypassRoute, Targets};
use super::filters::Chain;
use super::finding::Code;
use super::view::View;

/// Which gates of a chain are enabled at a level of the routes: the configuration, a virtual host or a route.
#[derive(Debug, Clone)]
struct Switched<'a> {
    on: Vec<bool>,
    /// The last setting that disabled a gate.
    off: Option<View<'a>>,
}

/// The retry conditions under which no part of the request has been sent, so a retry cannot repeat a change.
const BEFORE_THE_CALL: [&str; 3] = ["connect-failure", "refused-stream", "reset-before-request"];

impl<'a> Check<'a> {
    /// Checks the routes of a chain's requests. `first` is true for the chain of requests without an upgrade.
    pub(super) fn routes_of(&mut self, manager: &View<'a>, chain: &Chain<'a>, first: bool) {
        let before = self.bypasses.len();
        let mut seen = false;
        let scoped = manager.get("scoped_routes");
        let listed =
            scoped.as_ref().map(|scoped| scoped.each("scoped_route_configurations_list.scoped_route_configurations"));
        let mut configurations: Vec<View<'a>> = manager.get("route_config").into_iter().collect();
        let mut names: Vec<View<'a>> = manager.path("rds.route_config_name").into_iter().collect();
        let scopes = listed
            .unwrap_or_default()
            .into_iter()
            .chain(self.world.scopes.iter().filter(|_| scoped.is_some()).cloned());
        for scope in scopes {
            configurations.extend(scope.get("route_configuration"));
            names.extend(scope.get("route_configuration_name"));
        }
        for name in names {
            match name.value.as_str().and_then(|name| self.world.routes.get(name)) {
                Some(routes) => configurations.extend(routes.iter().cloned()),
                None if first => {
                    seen = true;
                    let message = "these routes come from a source that is not among the files; give that file too";
                    self.add(Code::Hidden, &name, message);
                }
                None => seen = true,
            }
        }
        let unseen = seen || configurations.is_empty();
        if let Some(scoped) = scoped.filter(|_| configurations.is_empty() && first) {
            self.add(
                Code::Hidden,
                &scoped,
                "these routes come from a source that is not among the files; give that file too",
            );
        }
        for configuration in configurations {
            self.route_configuration(&configuration, chain, first);
        }
        if unseen {
            // Routes that are not among the files may disable one of the gates, or none.
            self.one_adapter(chain, &chain.enabled());
        }
        if chain.gates.is_empty() {
            self.without_gate(chain, before, unseen);
        }
    }

    /// Merges the findings about the routes of a chain without a gate: together they are a single bypass.
    fn without_gate(&mut self, chain: &Chain<'a>, before: usize, unseen: bool) {
        let ways = self.bypasses.split_off(before);
        let (mut targets, mut hosts) = (Targets::default(), Vec::new());
        for way in &ways {
            targets.add(&way.targets);
            hosts.extend(way.hosts.iter().cloned());
        }
        targets.unknown |= unseen;
        if targets.is_empty() {
            return;
        }
        if chain.hidden {
            let message =
                "the gate may be among the filters from ECDS, which are not among the files; give those files too";
            return self.add(Code::GateHidden, &chain.filters, message);
        }
        let message = "requests reach an upstream through these filters without the gate; add the gate before the router, as \
                       `callgate render --for envoy` prints it";
        let view = chain.filters.clone();
        self.bypasses.push(BypassRoute {
            code: Code::ChainWithoutGate,
            view,
            targets,
            hosts,
            message: message.to_owned(),
        });
    }

    fn route_configuration(&mut self, configuration: &View<'a>, chain: &Chain<'a>, first: bool) {
        let start = Switched { on: chain.enabled(), off: None };
        let switched = self.switched(configuration, chain, &start);
        let mut hosts = configuration.each("virtual_hosts");
        if let Some(discovery) = configuration.get("vhds") {
            let prefix = format!("{}/", configuration.text("name").unwrap_or_default());
            let given = self.world.hosts.iter().filter(|(name, _)| name.starts_with(&prefix));
            let given: Vec<View<'a>> = given.flat_map(|(_, hosts)| hosts.clone()).collect();
            if given.is_empty() && first {
                self.add(
                    Code::Hidden,
                    &discovery,
                    "the virtual hosts come from a source that is not among the files; give that file too",
                );
            }
            hosts.extend(given);
        }
        if first && !chain.gates.is_empty() {
            self.headers_of(configuration);
            self.repeats(configuration, None, false);
        }
        for host in hosts {
            self.virtual_host(&host, chain, &switched, first);
        }
    }

    fn virtual_host(&mut self, host: &View<'a>, chain: &Chain<'a>, outer: &Switched<'a>, first: bool) {
        let switched = self.switched(host, chain, outer);
        let domains: Vec<String> =
            host.each("domains").iter().filter_map(|domain| domain.value.as_str()).map(str::to_owned).collect();
        let domains = if domains.is_empty() { vec!["*".to_owned()] } else { domains };
        let mut routes = host.each("routes");
        if let Some(matcher) = host.get("matcher") {
            routes.extend(matcher.find(&[".route.v3.Route"]));
            routes.extend(matcher.find(&[".route.v3.RouteList"]).iter().flat_map(|list| list.each("routes")));
        }
        let mut gated = false;
        for route in &routes {
            gated |= self.route(route, host, chain, &switched, first, &domains);
        }
        if first && gated {
            self.headers_of(host);
            self.unanswered(host, chain);
        }
    }

    /// Reports hosts whose requests reach a gate that denies all of them because its policy does not name the host.
    fn unanswered(&mut self, host: &View<'a>, chain: &Chain<'a>) {
        let facts: Vec<_> = chain.gates.iter().filter_map(|placed| placed.gate.facts.as_ref()).collect();
        if facts.is_empty() {
            return;
        }
        for domain in host.each("domains") {
            let name = domain.value.as_str().unwrap_or_default().to_ascii_lowercase();
            let bare = name.strip_suffix(":443").or_else(|| name.strip_suffix(":80")).unwrap_or(&name);
            let named = facts.iter().any(|facts| facts.hosts.iter().any(|host| host == &name || host == bare));
            if !named && !name.contains('*') {
                let message = format!(
                    "requests for `{name}` reach the gate and are denied, because its policy does not list this host; add it to \
                     the policy's `hosts`, or remove it here"
                );
                self.report.add(Code::HostNotInPolicy, &domain, message);
            }
        }
    }

    /// Checks a route and returns whether its requests pass through a gate.
    fn route(
        &mut self,
        route: &View<'a>,
        host: &View<'a>,
        chain: &Chain<'a>,
        outer: &Switched<'a>,
        first: bool,
        domains: &[String],
    ) -> bool {
        let switched = self.switched(route, chain, outer);
        let mut gated = false;
        let mut leaves = vec![(switched.clone(), targets(route), route.clone())];
        if let Some(action) = route.get("route") {
            let weighted = action.each("weighted_clusters.clusters");
            if !weighted.is_empty() {
                let read = |cluster: &View<'a>| {
                    let targets = cluster.text("name").map_or_else(Targets::unknown, Targets::cluster);
                    (cluster.clone(), targets)
                };
                let read: Vec<_> = weighted.iter().map(read).collect();
                leaves = Vec::new();
                for (cluster, targets) in read {
                    leaves.push((self.switched(&cluster, chain, &switched), targets, cluster));
                }
            }
        }
        for (switched, targets, view) in leaves {
            self.one_adapter(chain, &switched.on);
            if targets.is_empty() {
                if let Some(off) = switched.off.filter(|_| chain.reroutes && !switched.on.contains(&true)) {
                    let message = "the first route of a request determines which gates are enabled, and a filter of this chain \
                                   can make it select another route; enable the gate here too, or move that filter";
                    self.add(Code::GateConditional, &off, message);
                }
                continue;
            }
            if switched.on.contains(&true) {
                self.gated.extend(targets.clusters);
                gated = true;
                continue;
            }
            let view = switched.off.unwrap_or(view);
            let message = "requests of this route are forwarded without the gate; remove `disabled`, or enable the gate where it \
                           is disabled by default";
            let hosts = domains.to_vec();
            self.bypasses.push(BypassRoute {
                code: Code::RouteWithoutGate,
                view,
                targets,
                hosts,
                message: message.to_owned(),
            });
        }
        if first && gated {
            self.after_the_gate(route, host);
        }
        gated
    }

    /// Applies the settings of a part of the routes to the gates of a chain.
    fn switched(&mut self, part: &View<'a>, chain: &Chain<'a>, outer: &Switched<'a>) -> Switched<'a> {
        let mut switched = outer.clone();
        let Some(filters) = part.get("typed_per_filter_config") else { return switched };
        for (placed, on) in chain.gates.iter().zip(&mut switched.on) {
            let Some((_, config)) = filters.fields().into_iter().find(|(name, _)| *name == placed.name) else {
                continue;
            };
            let (type_name, content) = config.open();
            if type_name == "envoy.config.route.v3.FilterConfig" {
                *on = content.says("disabled").is_none();
            } else {
                *on = false;
                let message = "unknown configuration of the gate; write a `FilterConfig`, or remove this";
                self.report.add(Code::NotUnderstood, &config, message.to_owned());
            }
            switched.off = if *on { None } else { Some(config) };
        }
        if switched.on.contains(&true) {
            self.certificate_of_route(part, chain);
        }
        switched
    }

    /// Checks how a route changes requests that were already decided.
    pub(super) fn after_the_gate(&mut self, route: &View<'a>, host: &View<'a>) {
        self.headers_of(route);
        let Some(action) = route.get("route") else { return };
        for field in ["prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite"] {
            if let Some(rewrite) = action.get(field) {
                let message = "the upstream receives another path than the policy allowed; rewrite before the gate, or write the \
                               policy's paths so that no rewrite is needed";
                self.add(Code::PathRewritten, &rewrite, message);
            }
        }
        for field in ["host_rewrite_literal", "auto_host_rewrite", "host_rewrite_path_regex", "host_rewrite_path"] {
            if let Some(rewrite) = action.says(field) {
                let message = "the upstream receives another host than the gate allowed, which is correct only if it serves no \
                               other host; remove this if possible";
                self.add(Code::HostRewritten, &rewrite, message);
            }
        }
        for field in ["cluster_specifier_plugin", "inline_cluster_specifier_plugin"] {
            if let Some(plugin) = action.get(field) {
                let message = "code selects the upstream after the gate decided, from data that the client sent; name the \
                               cluster";
                self.add(Code::ClientPicksUpstream, &plugin, message);
            }
        }
        for field in ["host_rewrite_header", "cluster_header"] {
            if let Some(header) = action.get(field) {
                let message = "a header that clients can send selects the upstream after the gate; write a fixed value";
                self.add(Code::ClientPicksUpstream, &header, message);
            }
        }
        for cluster in action.each("weighted_clusters.clusters") {
            self.headers_of(&cluster);
            if let Some(header) = cluster.get("cluster_header") {
                let message = "a header that clients can send selects the upstream after the gate; write a fixed value";
                self.add(Code::ClientPicksUpstream, &header, message);
            }
            if let Some(rewrite) = cluster.get("host_rewrite_literal") {
                let message = "the upstream receives another host than the gate allowed; remove this if possible";
                self.add(Code::HostRewritten, &rewrite, message);
            }
        }
        let reads = route.get("match").is_some_and(|matched| reads(&matched));
        self.repeats(&action, Some(host), reads);
        for (_, config) in route.get("typed_per_filter_config").map(|filters| filters.fields()).unwrap_or_default() {
            let (type_name, content) = config.open();
            if type_name.ends_with("HeaderMutationPerRoute") {
                self.mutations(&content);
            }
        }
    }

    /// Checks what sends requests again or copies them. The host's settings apply to an action that has none.
    pub(super) fn repeats(&mut self, action: &View<'a>, host: Option<&View<'a>>, reads: bool) {
        if reads {
            return;
        }
        let said = |field: &str| action.get(field).or_else(|| host.and_then(|host| host.get(field)));
        if let Some(policy) = said("retry_policy") {
            let on = policy.text("retry_on").unwrap_or_default();
            let conditions: Vec<&str> =
                on.split(',').map(str::trim).filter(|condition| !condition.is_empty()).collect();
            let safe = conditions.iter().all(|condition| BEFORE_THE_CALL.contains(condition));
            if policy.number("num_retries") != Some(0) && !(safe && policy.get("retriable_status_codes").is_none()) {
                let message = "a request that may have changed something is retried; match only methods that read, or write \
                               `retry_on: connect-failure,refused-stream,reset-before-request`";
                self.add(Code::Repeated, &policy, message);
            }
        }
        for field in ["retry_policy_typed_config", "hedge_policy"] {
            if let Some(policy) = said(field) {
                self.add(
                    Code::Repeated,
                    &policy,
                    "a request that may change something can be sent twice; match only methods that read, or remove this",
                );
            }
        }
        if let Some(mirrors) = said("request_mirror_policies").filter(|mirrors| !mirrors.items().is_empty()) {
            let message = "requests that change something are also sent to another upstream; match only methods that read, or \
                           remove this";
            self.add(Code::Mirrored, &mirrors, message);
        }
    }

    /// Checks headers that are added or removed after the gate.
    fn headers_of(&mut self, part: &View<'a>) {
        for option in part.each("request_headers_to_add") {
            if let Some(name) = option.text("header.key") {
                self.header(name, &option);
            }
        }
        for removed in part.each("request_headers_to_remove") {
            if let Some(name) = removed.value.as_str() {
                self.header(name, &removed);
            }
        }
    }

    /// Checks a header that is changed after the gate.
    pub(super) fn header(&mut self, name: &str, view: &View<'a>) {
        let name = name.to_ascii_lowercase();
        let mut prefixes = self.gates.iter().filter_map(|gate| gate.facts.as_ref()).map(|facts| facts.prefix.as_str());
        // Some servers treat other characters in a header name as hyphens.
        let begins = |prefix: &str| name_begins_like(name.as_bytes(), prefix);
        let mut claims =
            self.gates.iter().filter_map(|gate| gate.facts.as_ref()).flat_map(|facts| &facts.claim_headers);
        let is_claim = claims.any(|claim| name_reads_as(name.as_bytes(), claim));
        if prefixes.any(begins) || begins(HEADER_PREFIX) || is_claim {
            let message = format!("`{name}` is set by the gate, and upstreams trust it; remove this");
            self.add(Code::IdentityHeaderChanged, view, message);
        } else if OVERRIDE_HEADERS.iter().any(|known| name_reads_as(name.as_bytes(), known)) {
            let message = format!("`{name}` changes the request for some servers after the gate decided; remove this");
            self.add(Code::IdentityHeaderChanged, view, message);
        }
    }
}

/// Returns the destinations of a route's requests; empty if the gateway responds itself.
fn targets(route: &View<'_>) -> Targets {
    let Some(action) = route.get("route") else {
        let answers = ["direct_response", "redirect", "filter_action", "non_forwarding_action"];
        return if answers.iter().any(|field| route.get(field).is_some()) {
            Targets::default()
        } else {
            Targets::unknown()
        };
    };
    action.text("cluster").map_or_else(Targets::unknown, Targets::cluster)
}

/// Returns whether a route matches only read requests.
fn reads(matched: &View<'_>) -> bool {
    let read = |method: &str| matches!(method, "GET" | "HEAD" | "OPTIONS");
    matched.each("headers").iter().filter(|header| header.text("name") == Some(":method")).any(|header| {
        if header.says("invert_match").is_some() {
            return false;
        }
        let exact = header.text("string_match.exact").or_else(|| header.text("exact_match"));
        let regex = header.text("string_match.safe_regex.regex").or_else(|| header.text("safe_regex_match.regex"));
        exact.is_some_and(read)
            || regex.is_some_and(|regex| {
                let regex = regex.trim_start_matches('^').trim_end_matches('$');
                let inner = regex.strip_prefix('(').and_then(|regex| regex.strip_suffix(')')).unwrap_or(regex);
                inner.split('|').all(read)
            })
    })
}
