//! Tests files that belong together, and the different forms of configurations.

use std::path::PathBuf;
use std::slice::from_ref;

use callgate_gateway_check::{Code, Finding, check};
use callgate_kit::document;
use serde_json::{Value, json};

use crate::{folder, found, marked, written};

/// Returns the neighbour of a file in this folder, which has no findings.
fn neighbour(case: &str) -> String {
    marked(&std::fs::read_to_string(folder().join(case)).unwrap()).1
}

/// Returns the listener of a configuration.
fn listener(text: &str) -> Value {
    let documents = document::parse_configuration("listener.yaml", text.as_bytes()).unwrap();
    let mut listener = documents[0].value().pointer("/static_resources/listeners/0").unwrap().clone();
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    listener
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code.name()).collect()
}

fn codes_of(name: &str, text: &str) -> Vec<&'static str> {
    codes(&found(&[written(name, text)]))
}

/// Returns a plain gate in front of one API, as YAML, with the first occurrence of `from` replaced by `to`.
fn gated(from: &str, to: &str) -> String {
    let text = neighbour("path_rewritten.yaml");
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1)
}

/// Returns the routes of the plain gate as an RDS response, with settings for the gate at the virtual host.
fn routes(filters: &str) -> String {
    format!(
        "resources:\n- '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: api\n  virtual_hosts:\n  \
         - name: api\n    domains: ['*']\n    typed_per_filter_config: {filters}\n    routes: [{{ match: {{ prefix: / }}, route: {{ cluster: api }} }}]\n"
    )
}

const OFF: &str = "{ callgate: { '@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true } }";

#[test]
fn finds_routes_from_another_file_by_name() {
    let listener = folder().join("hidden.yaml");
    let fine = written("rds-fine.yaml", &routes("{}"));
    assert_eq!(codes(&found(&[listener.clone(), fine])), Vec::<&str>::new());
    let off = written("rds-off.yaml", &routes(OFF));
    assert_eq!(codes(&found(&[listener.clone(), off])), ["route_without_gate"]);
    let other = written("rds-other.yaml", &routes("{}").replace("name: api\n  virtual", "name: other\n  virtual"));
    assert_eq!(codes(&found(&[listener, other])), ["hidden"]);
}

#[test]
fn finds_a_filter_delivered_over_ecds_by_name() {
    let hidden = folder().join("gate_hidden.yaml");
    let gate = listener(&neighbour("path_rewritten.yaml"));
    let config =
        gate.pointer("/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config").unwrap().to_string();
    let with = |file: &str, name: &str, configs: &[String]| {
        let extension = |config: &String| {
            let config: Value = serde_json::from_str(config).unwrap();
            json!({ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": name, "typed_config": config })
        };
        let resources: Vec<Value> = configs.iter().map(extension).collect();
        let file = written(file, &json!({ "resources": resources }).to_string());
        codes(&found(&[hidden.clone(), file]))
    };
    let open = config.replace("FAIL_RELOAD", "FAIL_OPEN");
    let other = config.replace("http.wasm.v3.Wasm", "http.lua.v3.Lua");
    assert_eq!(with("ecds-fine.json", "callgate", from_ref(&config)), Vec::<&str>::new());
    assert_eq!(with("ecds-open.json", "callgate", &[open]), ["fail_open"]);
    assert_eq!(with("ecds-both.json", "callgate", &[other, config.clone()]), ["gate_conditional"]);
    assert_eq!(with("ecds-other.json", "another", &[config]), ["gate_hidden"]);
}

#[test]
fn reads_a_dynamic_module_delivered_over_ecds_and_enabled_by_a_route() {
    let hidden = folder().join("gate_hidden.yaml");
    let text = neighbour("module_unloaded.yaml");
    let gate = listener(&text);
    let config = gate.pointer("/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config").unwrap().clone();
    let with = |file: &str, config: &Value| {
        let extension = json!({ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "callgate", "typed_config": config });
        let file = written(file, &json!({ "resources": [extension] }).to_string());
        codes(&found(&[hidden.clone(), file]))
    };
    assert_eq!(with("module-ecds.json", &config), Vec::<&str>::new());
    let mut unloaded = config;
    unloaded["dynamic_module_config"].as_object_mut().unwrap().remove("do_not_close");
    assert_eq!(with("module-ecds-unloaded.json", &unloaded), ["module_unloaded"]);

    // Envoy Gateway writes filters that are off unless a route enables them.
    let off =
        text.replacen("          - name: callgate\n", "          - name: callgate\n            disabled: true\n", 1);
    assert_eq!(codes_of("module-off.yaml", &off), ["route_without_gate"]);
    let on = "                route: { cluster: api }\n                typed_per_filter_config:\n                  callgate: { '@type': \
              type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {} }\n";
    let on = off.replacen("                route: { cluster: api }\n", on, 1);
    assert_eq!(codes_of("module-on.yaml", &on), Vec::<&str>::new());
}

#[test]
fn modules_from_different_files_share_no_counters() {
    let text = neighbour("module_state_shared.yaml").replace("\"name\":\"other\"", "\"name\":\"api\"");
    assert_eq!(codes_of("module-shared.yaml", &text), ["state_shared"]);
    let (first, second) = text.split_once("port_value: 10001").unwrap();
    let second = second.replace("libcallgate-0.1.0.so", "libcallgate-0.2.0.so");
    assert_eq!(codes_of("module-apart.yaml", &format!("{first}port_value: 10001{second}")), Vec::<&str>::new());
}

/// Both gates of this file have the same library.
#[test]
fn a_library_is_the_same_under_its_name_and_as_a_file() {
    const FILE: &str = "module: { local: { filename: /etc/envoy/libcallgate-0.1.0.so } }";
    let text = std::fs::read_to_string(folder().join("module_state_shared.yaml")).unwrap();
    let (before, after) = text.rsplit_once(FILE).unwrap();
    let second = |library: &str| [before, library, after].concat();
    let cases: [(&str, &[&str]); 4] = [
        ("name: callgate-0.1.0", &["state_shared"]),
        ("module: { local: { filename: /opt/libcallgate-0.1.0.so } }", &["state_shared"]),
        ("name: callgate-0.2.0", &[]),
        ("module: { local: { filename: /etc/envoy/libcallgate-0.2.0.so } }", &[]),
    ];
    for (library, expected) in cases {
        assert_eq!(codes_of("library.yaml", &second(library)), expected, "{library}");
    }
}

#[test]
fn a_rendered_module_is_read_on_its_own() {
    let list = neighbour("module_unloaded.yaml");
    let list = list.split("          http_filters:\n").nth(1).unwrap();
    assert_eq!(codes_of("module-fragment.yaml", list), Vec::<&str>::new());
    let open = list.replace("do_not_close: true", "do_not_close: false");
    assert_eq!(codes_of("module-fragment-open.yaml", &open), ["module_unloaded"]);
}

#[test]
fn ecds_default_config_does_not_count_as_the_gate() {
    let text = gated(
        "          - name: envoy.filters.http.router\n",
        "          - name: later\n            config_discovery:\n              config_source: { ads: {} }\n              default_config: { \"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua }\n          - name: envoy.filters.http.router\n",
    );
    assert_eq!(codes_of("default.yaml", &text), ["filter_after_gate"]);
}

#[test]
fn reports_scoped_routes_and_vhds_as_hidden_unless_given() {
    let rds = std::fs::read_to_string(folder().join("hidden.yaml")).unwrap();
    let (before, rest) = rds.split_once("          rds:").unwrap();
    let (_, after) = rest.split_once("          http_filters:").unwrap();
    let with = |routes: &str| format!("{before}{routes}          http_filters:{after}");
    let scoped = with(
        "          scoped_routes: { name: s, scope_key_builder: {}, scoped_rds: { scoped_rds_config_source: { ads: {} } } }\n",
    );
    assert_eq!(codes_of("scoped.yaml", &scoped), ["hidden"]);
    let vhds = with("          route_config: { name: api, vhds: { config_source: { ads: {} } } }\n");
    assert_eq!(codes_of("vhds.yaml", &vhds), ["hidden"]);
    let host = routes(OFF)
        .replace(
            "route.v3.RouteConfiguration\n  name: api\n  virtual_hosts:\n  - name: api\n",
            "route.v3.VirtualHost\n    name: api/x\n",
        )
        .replace("- '@type'", "-   '@type'");
    let files = [written("vhds.yaml", &vhds), written("vhds-host.yaml", &host)];
    assert_eq!(codes(&found(&files)), ["route_without_gate"]);
}

#[test]
fn reads_listeners_from_discovery_responses_and_dumps() {
    let bootstrap = "dynamic_resources: { lds_config: { path_config_source: { path: lds.yaml } } }\n";
    let bootstrap = written("lds-bootstrap.yaml", bootstrap);
    assert_eq!(codes(&found(from_ref(&bootstrap))), ["no_gate", "hidden"]);
    let open = listener(&neighbour("path_rewritten.yaml").replace("FAIL_RELOAD", "FAIL_OPEN"));
    let response = written("lds-response.json", &json!({ "resources": [open] }).to_string());
    assert_eq!(codes(&found(&[bootstrap, response])), ["fail_open"]);
    let named =
        json!({ "@type": "type.googleapis.com/envoy.service.discovery.v3.Resource", "name": "api", "resource": open });
    assert_eq!(codes_of("resource.json", &json!({ "resources": [named] }).to_string()), ["fail_open"]);
    let mut untyped = open.clone();
    untyped.as_object_mut().unwrap().remove("@type");
    let dump = json!({ "configs": [
        { "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": { "static_resources": { "listeners": [untyped] } } },
        { "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": [{ "listener": open }] },
        { "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump" },
    ] });
    assert_eq!(codes_of("dump.json", &dump.to_string()), ["fail_open"], "once, though it stands there twice");
    let dynamic = json!({ "configs": [
        { "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{ "active_state": { "listener": open } }] },
    ] });
    assert_eq!(codes_of("dynamic.json", &dynamic.to_string()), ["fail_open"]);
}

#[test]
fn treats_an_invalid_policy_as_covering_every_host() {
    let website = neighbour("other_upstream.yaml")
        .replace("other: {}", &format!("{} }}", OFF.trim_matches(['{', '}', ' '])))
        .replace("api.example.com:443", "www.example.com");
    assert_eq!(codes_of("read.yaml", &website), ["other_upstream"]);
    let unread = website.replace("\"mode\":\"enforce\"", "\"mode\":\"enforced\"");
    assert_eq!(codes_of("unread.yaml", &unread), ["route_without_gate", "policy_wrong"]);
}

#[test]
fn redirects_and_direct_responses_need_no_gate() {
    for answer in ["redirect: { https_redirect: true }", "direct_response: { status: 404 }"] {
        let text = std::fs::read_to_string(folder().join("chain_without_gate.yaml")).unwrap();
        let text = text.replacen(
            "match: { prefix: \"/\" }, route: { cluster: api } }] }] } #",
            &format!("match: {{ prefix: \"/\" }}, {answer} }}] }}] }} #"),
            1,
        );
        assert_eq!(codes_of("answer.yaml", &text), Vec::<&str>::new(), "{answer}");
    }
}

#[test]
fn allows_the_ignore_tag_only_in_envoy_files() {
    let ignored = gated("static_resources:", "!ignore shared: { mode: &m enforce }\nstatic_resources:");
    assert_eq!(codes_of("ignored.yaml", &ignored), Vec::<&str>::new());
    let kong = neighbour("kong_tcp_beside_gate.yaml");
    assert_eq!(codes_of("kong-fine.yaml", &kong), Vec::<&str>::new());
    let hides = kong.replacen("routes:\n", "!ignore plugins: []\n  routes:\n", 1);
    assert!(codes_of("kong-ignored.yaml", &hides).contains(&"not_understood"), "{hides}");
}

#[test]
fn follows_yaml_aliases_and_merge_keys() {
    let text = gated(
        "                  cluster: api\n",
        "                  <<: &action { cluster: api, prefix_rewrite: /internal }\n",
    );
    assert_eq!(codes_of("merged.yaml", &text), ["path_rewritten"]);
    let own = text.replace("timeout: 30s", "prefix_rewrite: ~");
    assert_eq!(codes_of("own.yaml", &own), Vec::<&str>::new(), "a field of its own comes first");
}

#[test]
fn marks_findings_that_a_comment_accepts() {
    let text = gated(
        "                  timeout: 30s",
        "                  # callgate: accept path_rewritten: the API lives there\n                  prefix_rewrite: /internal",
    );
    let findings = found(&[written("accepted.yaml", &text)]);
    assert_eq!(codes(&findings), ["path_rewritten"]);
    assert_eq!(findings[0].accepted.as_deref(), Some("the API lives there"));
    let other = text.replace("accept path_rewritten", "accept host_rewritten");
    assert_eq!(codes_of("accepted-other.yaml", &other), ["accepted_nothing", "path_rewritten"]);
    let bare = text.replace(": the API lives there", "");
    assert_eq!(codes_of("accepted-bare.yaml", &bare), ["accepted_nothing", "path_rewritten"]);
}

#[test]
fn reports_a_policy_that_differs_from_the_given_one() {
    let file = written("gate.yaml", &gated("timeout: 30s", "timeout: 31s"));
    let text = std::fs::read_to_string(&file).unwrap();
    let json = text.lines().find_map(|line| line.trim().strip_prefix("value: '")?.strip_suffix('\'')).unwrap();
    let check = |json: &str| {
        let path = written("named.json", json);
        let loaded = callgate_kit::policy::load(path).unwrap();
        codes(&check(from_ref(&file), Some(&loaded)).unwrap())
    };
    assert_eq!(check(json), Vec::<&str>::new());
    assert_eq!(check(&json.replace("\"gateway\":\"envoy\"", "\"gateway\":\"envoy-gateway\"")), Vec::<&str>::new());
    assert_eq!(check(&json.replace("\"/v1\"", "\"/v2\"")), ["policy_of_another"]);
    assert_eq!(check(&json.replace("\"name\":\"api\"", "\"name\":\"other\"")), ["policy_of_another"]);
}

#[test]
fn reads_a_rendered_filter_list_on_its_own() {
    let list = neighbour("path_rewritten.yaml");
    let list = list.split("          http_filters:\n").nth(1).unwrap();
    assert_eq!(codes_of("fragment.yaml", list), Vec::<&str>::new());
    assert_eq!(codes_of("fragment-open.yaml", &list.replace("FAIL_RELOAD", "FAIL_OPEN")), ["fail_open"]);
}

#[test]
fn reports_unreadable_files() {
    let wrong = |text: &str| check(&[written("wrong.yaml", text)], None).unwrap_err().to_string();
    assert!(wrong("a: [").contains("wrong.yaml:1:"), "{}", wrong("a: ["));
    assert!(wrong("a: 1\na: 2\n").contains("already at line 1"));
    assert!(wrong("").contains("the file is empty"));
    assert!(check(&[PathBuf::from("missing.yaml")], None).unwrap_err().to_string().contains("does not exist"));
    assert!(codes_of("strange.yaml", "what: is this\n").contains(&Code::NotUnderstood.name()));
}

#[test]
fn reports_shared_state_only_within_one_process() {
    let plain = neighbour("path_rewritten.yaml");
    let other = plain.replace("\"/v1\"", "\"/v2\"");
    let files = [written("process.yaml", &plain), written("process-other.yaml", &other)];
    assert_eq!(codes(&found(&files)), Vec::<&str>::new());
    let response = json!({ "resources": [listener(&other)] }).to_string();
    let files = [written("process.yaml", &plain), written("process-listener.json", &response)];
    assert_eq!(codes(&found(&files)), ["state_shared"]);
}

/// Returns a listener whose chain has both forms of the gate, under different names.
fn with_both_forms() -> Value {
    let text = std::fs::read_to_string(folder().join("both_adapters.yaml")).unwrap();
    let mut both = listener(&text);
    both.pointer_mut(FILTERS).unwrap()[1]["name"] = json!("callgate-module");
    both
}

const FILTERS: &str = "/filter_chains/0/filters/0/typed_config/http_filters";
const HOST: &str = "/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0";

#[test]
fn both_forms_of_the_gate_in_different_chains_are_no_finding() {
    let [mut wasm, mut module] = [with_both_forms(), with_both_forms()];
    wasm.pointer_mut(FILTERS).unwrap().as_array_mut().unwrap().remove(1);
    module.pointer_mut(FILTERS).unwrap().as_array_mut().unwrap().remove(0);
    module["name"] = json!("module");
    let listeners = json!({ "resources": [wasm, module] }).to_string();
    assert_eq!(codes_of("both-forms-listeners.json", &listeners), Vec::<&str>::new());
    let mut chains = wasm.clone();
    chains["filter_chains"][0]["filter_chain_match"] = json!({ "server_names": ["wasm.example.com"] });
    let second = module["filter_chains"][0].clone();
    chains["filter_chains"].as_array_mut().unwrap().push(second);
    let chains = json!({ "resources": [chains] }).to_string();
    assert_eq!(codes_of("both-forms-chains.json", &chains), Vec::<&str>::new());
    let one = json!({ "resources": [with_both_forms()] }).to_string();
    assert_eq!(codes_of("both-forms-chain.json", &one), ["both_adapters"]);
}

#[test]
fn both_forms_of_the_gate_on_different_routes_are_no_finding() {
    let of = |file: &str, first: Value, second: Value, module_is_off: bool| {
        let mut both = with_both_forms();
        both.pointer_mut(FILTERS).unwrap()[1]["disabled"] = json!(module_is_off);
        let route = |path: &str, settings: &Value| json!({ "match": { "prefix": path }, "route": { "cluster": "api" }, "typed_per_filter_config": settings });
        both.pointer_mut(HOST).unwrap()["routes"] = json!([route("/one/", &first), route("/", &second)]);
        codes_of(file, &json!({ "resources": [both] }).to_string())
    };
    let set = |name: &str, disabled: bool| {
        let config = json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": disabled, "config": {},
        });
        json!({ name: config })
    };
    let [no_wasm, no_module] = ["callgate", "callgate-module"].map(|name| set(name, true));
    assert_eq!(of("both-forms-routes.json", no_wasm.clone(), no_module, false), Vec::<&str>::new());
    assert_eq!(of("both-forms-route.json", no_wasm.clone(), json!({}), false), ["both_adapters"]);
    // A module that is disabled in the chain runs only where a route enables it.
    assert_eq!(of("both-forms-off.json", json!({}), json!({}), true), Vec::<&str>::new());
    assert_eq!(of("both-forms-on.json", set("callgate-module", false), json!({}), true), ["both_adapters"]);
    let mut instead = set("callgate-module", false);
    instead["callgate"] = no_wasm["callgate"].clone();
    assert_eq!(of("both-forms-instead.json", instead, json!({}), true), Vec::<&str>::new());
}

#[test]
fn both_forms_of_the_gate_are_found_where_routes_are_not_among_the_files() {
    let mut both = with_both_forms();
    let manager = both.pointer_mut("/filter_chains/0/filters/0/typed_config").unwrap().as_object_mut().unwrap();
    manager.remove("route_config");
    manager.insert("rds".to_owned(), json!({ "route_config_name": "api", "config_source": { "ads": {} } }));
    let found = codes_of("both-forms-rds.json", &json!({ "resources": [both] }).to_string());
    assert!(found.contains(&"both_adapters") && found.contains(&"hidden"), "{found:?}");
}

#[test]
fn merged_policies_are_those_for_a_route_and_its_own_gateway() {
    let case = "envoy_gateway_both_adapters_merged.yaml";
    let text = std::fs::read_to_string(folder().join(case)).unwrap();
    let found = |file: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        codes_of(file, &text.replace(from, to)).contains(&"both_adapters")
    };
    assert!(found("merged.yaml", "name: api", "name: api"));
    assert!(found("merged-json.yaml", "mergeType: StrategicMerge", "mergeType: JSONMerge"));
    assert!(!found("merged-gateway.yaml", "parentRefs: [{ name: public }]", "parentRefs: [{ name: other }]"));
    // The files do not have this route, so its gateway is unknown.
    assert!(found("merged-unknown.yaml", "kind: HTTPRoute, name: api", "kind: HTTPRoute, name: unknown"));
    let target = "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: public }]";
    let selector = "targetSelectors: [{ group: gateway.networking.k8s.io, kind: Gateway, matchLabels: { a: b } }]";
    assert!(found("merged-selected.yaml", target, selector));
    let section = target.replace("name: public", "name: public, sectionName: https");
    assert!(found("merged-section.yaml", target, &section));
    let parent = text.replace(target, &section).replace("[{ name: public }]", "[{ name: public, sectionName: http }]");
    assert!(!codes_of("merged-other-section.yaml", &parent).contains(&"both_adapters"));
}
