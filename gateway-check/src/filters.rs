//! Checks the filters of a connection manager in order: which one is the gate, and how the filters after it can change a request
//! that was already decided.

use super::Check;
use super::finding::Code;
use super::gate::{self, Gate};
use super::view::View;

/// The filter chain for one kind of request.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    /// The list of its filters.
    pub(super) filters: View<'a>,
    pub(super) gates: Vec<Placed<'a>>,
    /// The filters before the first gate. Each has the part of its type that names it, and its configuration.
    ahead: Vec<(View<'a>, &'a str, View<'a>)>,
    /// Whether the chain contains a filter that cannot be seen and may be the gate.
    pub(super) hidden: bool,
    /// Whether a filter can change a request so that its final route differs from the route that enabled the gates.
    pub(super) reroutes: bool,
}

impl Chain<'_> {
    /// Returns which gates are enabled unless a route changes that.
    pub(super) fn enabled(&self) -> Vec<bool> {
        self.gates.iter().map(|placed| placed.on).collect()
    }
}

/// A gate in a chain.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    /// The name by which routes refer to the gate.
    pub(super) name: &'a str,
    /// Whether the gate is enabled unless a route disables it.
    pub(super) on: bool,
    pub(super) gate: Gate<'a>,
}

/// How a filter can affect a request that passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Method, path, host and body stay unchanged.
    Harmless,
    /// The parts of the request that it can change.
    Changes(&'static str),
    /// It makes only the changes in its configuration.
    Mutates,
    Unknown,
}

/// Returns the effect of a filter. `kind` is the part of its type that names it.
fn effect(kind: &str) -> Effect {
    match kind {
        "adaptive_concurrency"
        | "admission_control"
        | "alpn"
        | "api_key_auth"
        | "bandwidth_limit"
        | "basic_auth"
        | "buffer"
        | "cache"
        | "cache_v2"
        | "connect_grpc_bridge"
        | "cors"
        | "credential_injector"
        | "csrf"
        | "custom_response"
        | "dynamic_forward_proxy"
        | "fault"
        | "file_system_buffer"
        | "gcp_authn"
        | "geoip"
        | "grpc_field_extraction"
        | "grpc_stats"
        | "grpc_web"
        | "header_to_metadata"
        | "health_check"
        | "ip_tagging"
        | "istio_stats"
        | "json_to_metadata"
        | "jwt_authn"
        | "kill_request"
        | "local_ratelimit"
        | "oauth2"
        | "on_demand"
        | "original_src"
        | "peer_metadata"
        | "proto_message_extraction"
        | "rate_limit_quota"
        | "ratelimit"
        | "rbac"
        | "router"
        | "set_filter_state"
        | "set_metadata"
        | "stateful_session"
        | "tap"
        | "thrift_to_metadata"
        | "upstream_codec" => Effect::Harmless,
        "header_mutation" | "compressor" => Effect::Mutates,
        "lua" | "wasm" | "golang" | "dynamic_modules" => Effect::Changes("runs code that can change the whole request"),
        "ext_proc" => Effect::Changes("lets a service change headers and body"),
        "ext_authz" => Effect::Changes("lets a service set headers, including the path"),
        "grpc_json_transcoder" | "grpc_json_reverse_transcoder" => Effect::Changes("changes path and body"),
        "grpc_http1_bridge" | "grpc_http1_reverse_bridge" | "decompressor" | "proto_api_scrubber" | "transform" => {
            Effect::Changes("changes the body")
        }
        "aws_lambda" | "aws_request_signing" => Effect::Changes("can change the host or the request"),
        "composite" | "match_delegate" | "filter_chain" => {
            Effect::Changes("inserts filters that depend on the request")
        }
        "mcp_router" => Effect::Changes("sends its own requests"),
        _ => Effect::Unknown,
    }
}

/// Returns the part of a filter's type that names it, such as `lua`. A filter without a configuration is identified by its own
/// name.
fn kind<'a>(filter: &View<'a>, type_name: &'a str) -> &'a str {
    let named = filter.text("name").unwrap_or_default();
    let from = if type_name.is_empty() { named } else { type_name };
    if let Some((_, rest)) = from.split_once("filters.http.") {
        return rest.split_once(".v").map_or(rest, |(kind, _)| kind);
    }
    match from {
        "io.istio.http.peer_metadata.Config" => "peer_metadata",
        "stats.PluginConfig" | "istio.stats" => "istio_stats",
        _ if from.starts_with("istio.envoy.config.filter.http.alpn.") => "alpn",
        _ => from,
    }
}

impl<'a> Check<'a> {
    /// Reads the filters of a chain.
    pub(super) fn chain(&mut self, filters: &View<'a>) -> Chain<'a> {
        let mut chain =
            Chain { filters: filters.clone(), gates: Vec::new(), ahead: Vec::new(), hidden: false, reroutes: false };
        for filter in filters.items() {
            self.filter(&filter, &mut chain);
        }
        self.certificate_passed(&chain);
        // Filters in front of a gate matter only if there is a gate.
        for (filter, kind, content) in std::mem::take(&mut chain.ahead).iter().filter(|_| !chain.gates.is_empty()) {
            self.ahead(filter, kind, content);
        }
        chain
    }

    /// Reports a request that passes through the gate in both of its forms. `on` states which gates of the chain are enabled for it.
    pub(super) fn one_adapter(&mut self, chain: &Chain<'a>, on: &[bool]) {
        let mut gates = chain.gates.iter().zip(on).filter(|(_, on)| **on).map(|(placed, _)| &placed.gate);
        let Some(first) = gates.next() else { return };
        if let Some(other) = gates.find(|gate| gate.adapter != first.adapter) {
            let message = "requests pass through the gate as a Wasm filter and as a dynamic module, so each is decided and counted \
                           twice; remove one of them";
            self.add(Code::BothAdapters, &other.view, message);
        }
    }

    /// Records the `vm_id` of a Wasm filter that is not the gate.
    fn foreign_module(&mut self, content: &View<'a>) {
        for wasm in content.find(&[gate::WASM]) {
            if let Some(machine) = wasm.path("config.vm_config.vm_id") {
                self.foreign.extend(machine.value.as_str().map(|id| (id, machine.clone())));
            }
        }
    }

    fn filter(&mut self, filter: &View<'a>, chain: &mut Chain<'a>) {
        let name = filter.text("name").unwrap_or_default();
        let configs = self.configs(filter);
        if configs.is_empty() && filter.get("config_discovery").is_some() {
            chain.hidden = true;
            chain.reroutes = true;
            if chain.gates.is_empty() {
                return;
            }
            let message = format!(
                "the configuration of `{name}` after the gate comes from ECDS, which is not among the files; give that file too"
            );
            return self.add(Code::Hidden, filter, message);
        }
        let before = chain.gates.len();
        for config in &configs {
            if let Some(gate) = self.checked_gate(filter.text("name"), config) {
                chain.gates.push(Placed { name, on: filter.says("disabled").is_none(), gate });
            } else if gate::contains_gate(config) {
                let message = "the gate is inside another filter, which can skip it; add it to `http_filters` directly";
                self.add(Code::GateConditional, filter, message);
                return;
            }
        }
        let gates = chain.gates.len() - before;
        if gates > 0 {
            if let Some(optional) = filter.says("is_optional") {
                let message = "if Envoy cannot load the gate, it continues without it; remove `is_optional`";
                self.add(Code::GateOptional, &optional, message);
            }
            if gates < configs.len() {
                let message = "this filter is not always the gate; write no `default_config`, and only one configuration with \
                               its name";
                self.add(Code::GateConditional, filter, message);
            }
            return;
        }
        let (type_name, content) = configs.first().map_or_else(|| ("", filter.clone()), View::open);
        self.metadata(kind(filter, type_name), &content);
        self.foreign_module(&content);
        chain.reroutes |= matches!(effect(kind(filter, type_name)), Effect::Changes(_) | Effect::Unknown);
        if chain.gates.is_empty() {
            chain.ahead.push((filter.clone(), kind(filter, type_name), content));
            return;
        }
        self.behind(filter, type_name, &content);
    }

    /// Checks a filter that processes a request after the decision.
    pub(super) fn behind(&mut self, filter: &View<'a>, type_name: &'a str, content: &View<'a>) {
        let (type_name, content) = if type_name.ends_with("ExtensionWithMatcher") {
            content.path("extension_config.typed_config").map_or((type_name, content.clone()), |inner| inner.open())
        } else {
            (type_name, content.clone())
        };
        let kind = kind(filter, type_name);
        self.writes(filter, kind, &content);
        match effect(kind) {
            Effect::Harmless => {}
            Effect::Changes(what) => {
                let message = format!(
                    "`{kind}` after the gate {what}, so the upstream can receive another request than the gate allowed; put it \
                     before the gate"
                );
                self.add(Code::FilterAfterGate, filter, message);
            }
            Effect::Mutates if kind == "compressor" => {
                if let Some(requests) = content.get("request_direction_config") {
                    let message = "bodies are compressed after the gate, so the upstream does not receive the signed body; \
                                   remove this";
                    self.add(Code::FilterAfterGate, &requests, message);
                }
            }
            Effect::Mutates => self.mutations(&content),
            Effect::Unknown => {
                let message = format!(
                    "unknown filter `{kind}` after the gate; make sure that it changes neither method, path, host nor body"
                );
                self.add(Code::UnknownFilterAfterGate, filter, message);
            }
        }
        if kind == "router" {
            for upstream in content.each("upstream_http_filters") {
                let (type_name, content) =
                    upstream.get("typed_config").map_or_else(|| ("", upstream.clone()), |config| config.open());
                self.behind(&upstream, type_name, &content);
            }
        }
    }

    /// Checks how a `header_mutation` filter, or a route's settings for it, changes requests.
    pub(super) fn mutations(&mut self, content: &View<'a>) {
        if let Some(query) = content.path("mutations.query_parameter_mutations") {
            let message = "the query is changed after the gate decided; put this filter before the gate";
            self.add(Code::FilterAfterGate, &query, message);
        }
        for mutation in content.each("mutations.request_mutations") {
            let written = mutation.path("append.header.key").or_else(|| mutation.get("remove"));
            match written.as_ref().and_then(|header| header.value.as_str()) {
                Some(name) if name.starts_with(':') || name.eq_ignore_ascii_case("host") => {
                    let message =
                        format!("`{name}` is changed after the gate decided; put this filter before the gate");
                    self.add(Code::FilterAfterGate, &mutation, message);
                }
                Some(name) => self.header(name, &mutation),
                None => {
                    let message = "unknown mutation; make sure that it changes neither method, path, host nor body";
                    self.add(Code::UnknownFilterAfterGate, &mutation, message);
                }
            }
        }
    }

    /// Returns the visible configurations of a filter: usually one, or with ECDS also a default.
    pub(super) fn configs(&self, filter: &View<'a>) -> Vec<View<'a>> {
        if let Some(config) = filter.get("typed_config") {
            return vec![config];
        }
        let Some(discovery) = filter.get("config_discovery") else { return Vec::new() };
        let named = filter.text("name").and_then(|name| self.world.extensions.get(name));
        let discovered = named.into_iter().flatten().filter_map(|extension| extension.get("typed_config"));
        discovered.chain(discovery.get("default_config")).collect()
    }
}
