//! Checks a declarative `kong.yml`: which routes reach a service without the gate, and which plugins respond before it.
//!
//! Kong runs its plugins first, then the filters of the service, then those of the route.

use super::Check;
use super::bypass::{BypassRoute, Targets};
use super::finding::Code;
use super::gate::{Adapter, Gate};
use super::policy;
use super::view::View;

/// Plugins that send requests themselves, or return upstream content, before any filter runs.
const ANSWERING: [&str; 16] = [
    "ai-proxy",
    "ai-proxy-advanced",
    "ai-semantic-cache",
    "aws-lambda",
    "azure-functions",
    "confluent",
    "degraphql",
    "forward-proxy",
    "graphql-proxy-cache-advanced",
    "kafka-upstream",
    "openwhisk",
    "post-function",
    "pre-function",
    "proxy-cache",
    "proxy-cache-advanced",
    "request-callout",
];

/// A route with everything that affects its requests.
struct Routed<'a> {
    route: View<'a>,
    service: View<'a>,
}

impl<'a> Check<'a> {
    pub(super) fn kongs(&mut self) {
        for kong in self.world.kongs.clone() {
            self.kong(&kong);
        }
    }

    fn kong(&mut self, kong: &View<'a>) {
        let services = kong.each("services");
        let mut routes = Vec::new();
        for service in &services {
            routes.extend(service.each("routes").into_iter().map(|route| Routed { route, service: service.clone() }));
        }
        for route in kong.each("routes") {
            let service = services.iter().find(|service| refers(&route, "service", service));
            match service {
                Some(service) => routes.push(Routed { route, service: service.clone() }),
                None if route.get("service").is_some() => {
                    self.add(
                        Code::NotUnderstood,
                        &route,
                        "this route refers to a service that is not in the file; give the whole configuration",
                    );
                }
                None => {}
            }
        }
        for filter in self.chains(kong, &services, &routes).into_iter().flat_map(|chain| chain.each("filters")) {
            if is_gate(&filter) {
                self.kong_gate(&filter);
            }
        }
        let global = kong.each("plugins");
        for plugin in global.iter().filter(|plugin| is_gate(plugin)) {
            self.kong_gate(plugin);
        }
        for routed in &routes {
            self.kong_route(kong, routed, &global);
        }
    }

    /// Returns every filter chain of the file, at any level.
    fn chains(&self, kong: &View<'a>, services: &[View<'a>], routes: &[Routed<'a>]) -> Vec<View<'a>> {
        let mut chains = kong.each("filter_chains");
        chains.extend(services.iter().flat_map(|service| service.each("filter_chains")));
        chains.extend(routes.iter().flat_map(|routed| routed.route.each("filter_chains")));
        chains
    }

    fn kong_gate(&mut self, filter: &View<'a>) {
        let facts = match filter.get("config") {
            Some(config) => self.policy(&config, &["kong", "portable"]),
            None => {
                self.add(Code::PolicyWrong, filter, "this gate has no policy; write it as `config`");
                None
            }
        };
        self.gates.push(Gate { view: filter.clone(), adapter: Adapter::Wasm, vm_id: None, facts });
    }

    fn kong_route(&mut self, kong: &View<'a>, routed: &Routed<'a>, global: &[View<'a>]) {
        let Routed { route, service } = routed;
        let name = service.text("name").or_else(|| service.text("id")).unwrap_or_default();
        let targets = if name.is_empty() { Targets::unknown() } else { Targets::cluster(name) };
        let streams = ["tcp", "tls", "udp", "tls_passthrough"];
        let protocols: Vec<View<'a>> = route.each("protocols").into_iter().chain(service.get("protocol")).collect();
        if let Some(stream) =
            protocols.iter().find(|protocol| protocol.value.as_str().is_some_and(|name| streams.contains(&name)))
        {
            let message =
                "bytes are forwarded here without being parsed as HTTP; remove this route, or use a separate upstream"
                    .to_owned();
            return self.bypasses.push(BypassRoute {
                code: Code::TcpBesideGate,
                view: stream.clone(),
                targets,
                hosts: Vec::new(),
                message,
            });
        }
        let filters: Vec<View<'a>> = [("service", service), ("route", route)]
            .into_iter()
            .flat_map(|(kind, owner)| {
                let top = kong.each("filter_chains").into_iter().filter(move |chain| refers(chain, kind, owner));
                top.chain(owner.each("filter_chains")).collect::<Vec<_>>()
            })
            .filter(enabled)
            .flat_map(|chain| chain.each("filters"))
            .filter(enabled)
            .collect();
        let plugins = || {
            let own = route.each("plugins").into_iter().chain(service.each("plugins"));
            let reaches = |plugin: &&View<'a>| {
                (plugin.get("route").is_none() || refers(plugin, "route", route))
                    && (plugin.get("service").is_none() || refers(plugin, "service", service))
            };
            own.chain(global.iter().filter(reaches).cloned()).filter(enabled).collect::<Vec<_>>()
        };
        let everybody = |plugin: &View<'_>| plugin.get("consumer").is_none() && plugin.get("consumer_group").is_none();
        let gate = filters.iter().position(is_gate);
        if gate.is_none() && !plugins().iter().any(|plugin| is_gate(plugin) && everybody(plugin)) {
            let hosts: Vec<String> =
                route.each("hosts").iter().filter_map(|host| host.value.as_str()).map(str::to_owned).collect();
            let hosts = if hosts.is_empty() { vec!["*".to_owned()] } else { hosts };
            let message = "requests of this route reach its service without the gate; write a filter chain with the gate for the \
                           service".to_owned();
            return self.bypasses.push(BypassRoute {
                code: Code::RouteWithoutGate,
                view: route.clone(),
                targets,
                hosts,
                message,
            });
        }
        self.gated.extend(targets.clusters);
        for other in filters.iter().skip(gate.map_or(0, |gate| gate + 1)).filter(|filter| !is_gate(filter)) {
            let message = "this filter runs after the gate and can change the request; put it before the gate";
            self.add(Code::FilterAfterGate, other, message);
        }
        for plugin in
            plugins().iter().filter(|plugin| plugin.text("name").is_some_and(|name| ANSWERING.contains(&name)))
        {
            let message = "Kong runs plugins before filters, and this plugin responds or calls an upstream itself, so the gate \
                           is never called; remove it from routes with the gate";
            self.add(Code::AnsweredBeforeGate, plugin, message);
        }
        self.kong_rewrites(route, service);
    }

    /// Checks how the path at the upstream can differ from the path that the gate checked.
    fn kong_rewrites(&mut self, route: &View<'a>, service: &View<'a>) {
        let strips = route.get("strip_path").is_none() || route.says("strip_path").is_some();
        let prefix = |path: &View<'_>| path.value.as_str().is_none_or(|path| path != "/");
        if let Some(path) = route.each("paths").into_iter().find(|path| strips && prefix(path)) {
            let message = "Kong removes this from the path that the gate allowed; write `strip_path: false`";
            self.add(Code::PathRewritten, &path, message);
        }
        let path = service.get("path").or_else(|| service.get("url"));
        let has_path = |text: &str| {
            text.split_once("://")
                .map_or(text, |(_, rest)| rest)
                .split_once('/')
                .is_some_and(|(_, path)| !path.is_empty())
        };
        if let Some(path) = path.filter(|path| path.value.as_str().is_none_or(has_path)) {
            self.add(
                Code::PathRewritten,
                &path,
                "Kong puts this before the path that the gate allowed; write the service without a path",
            );
        }
    }
}

/// Returns whether this filter or plugin is the gate.
fn is_gate(filter: &View<'_>) -> bool {
    filter.text("name").is_some_and(|name| name.contains("callgate"))
        || filter.get("config").is_some_and(|config| policy::is_policy(config.value))
}

/// Returns whether an entity is enabled, which is the default, in an unambiguous form.
fn enabled(entity: &View<'_>) -> bool {
    entity.get("enabled").is_none() || entity.affirms("enabled")
}

/// Returns whether an entity refers to another by its name or its id.
fn refers(entity: &View<'_>, field: &str, owner: &View<'_>) -> bool {
    let Some(reference) = entity.get(field) else { return false };
    let named = reference.value.as_str().or_else(|| reference.text("name")).or_else(|| reference.text("id"));
    named.is_some() && (named == owner.text("name") || named == owner.text("id"))
}
