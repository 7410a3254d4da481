//! Tests what `callgate render` prints for the servers from which a policy fetches keys.

use callgate_kit::document;
use serde_json::{Value, json};

use super::{all_parsed, at, configuration, gate, parsed, uncommented};
use crate::{callgate, file};

/// Returns a policy whose issuer has these `keys`.
fn policy(name: &str, gateway: &str, issuer: &str, keys: &str) -> String {
    let text = format!(
        r"
callgate: v1
name: gate
mode: enforce
gateway: {gateway}
resource: https://api.example.com
hosts: [api.example.com]
issuers:
  corp:
    issuer: {issuer}
    profile: at+jwt
    algorithms: [Ed25519]
    max_lifetime: 15m
    keys: {keys}
agents:
  a: {{ owner: o, identity: {{ issuer: corp, client_id: a }} }}
tables: {{ key: {{ env: CALLGATE_TEST_TABLES }} }}
endpoints: [{{ id: a, methods: [GET], path: /a, effect: read, scopes: none }}]
upstream: {{ authorization: remove }}
audit: {{ log: {{ allow: false, deny: true }} }}
"
    );
    file(name, text)
}

const ISSUER: &str = "https://idp.example.com/tenant";

/// Returns a policy that fetches the metadata of its issuer, and a key set from one of two hosts.
fn discovering(name: &str, gateway: &str, [idp, keys]: [&str; 2]) -> String {
    let field = if gateway == "kong" { "address" } else { "cluster" };
    let discover = format!(
        "{{ discover: {{ document: openid, {field}: '{idp}', key_hosts: {{ 'keys.example.com:8443': {{ {field}: '{keys}' }} }} }} }}"
    );
    policy(name, gateway, ISSUER, &discover)
}

/// Returns what Envoy needs for the policy of [`discovering`], as tests of other gateways expect it too.
fn expected(name: &str, host: &str, port: u16) -> Value {
    json!({
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "dns_lookup_family": "V4_PREFERRED",
        "circuit_breakers": {
            "thresholds": [{ "max_connections": 8, "max_pending_requests": 32, "max_requests": 32, "max_retries": 0 }],
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [
                { "endpoint": { "address": { "socket_address": { "address": host, "port_value": port } } } },
            ] }],
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": host,
                "common_tls_context": { "validation_context": {
                    "trusted_ca": { "filename": "/etc/ssl/certs/ca-certificates.crt" },
                    "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": host } }],
                } },
            },
        },
    })
}

fn clusters() -> Vec<Value> {
    vec![expected("idp", "idp.example.com", 443), expected("idp-keys", "keys.example.com", 8443)]
}

/// Checks that a configuration has no findings.
#[track_caller]
fn has_no_findings(name: &str, text: &str) {
    let path = file(name, text);
    assert_eq!(callgate(&format!("check --gateway {path}")).fine(), "no way around the gate found\n", "{text}");
}

#[test]
fn envoy_gets_a_cluster_for_each_server() {
    let policy = discovering("fetched-envoy.yaml", "envoy", ["idp", "idp-keys"]);
    let full = callgate(&format!("render {policy} --for envoy --full")).fine();
    let bootstrap = parsed(&full);
    let printed = at(&bootstrap, "/static_resources/clusters").as_array().unwrap();
    assert_eq!(printed[0]["name"], "api");
    assert_eq!(printed[1..], clusters());
    assert!(full.contains("# The filter fetches the keys of issuers from here."));
    has_no_findings("fetched-envoy-full.yaml", &full);

    let filter = callgate(&format!("render {policy} --for envoy")).fine();
    assert_eq!(parsed(&uncommented(&filter))["clusters"], json!(clusters()));

    let taken = discovering("fetched-taken.yaml", "envoy", ["api", "idp-keys"]);
    let err = callgate(&format!("render {taken} --for envoy --full")).failed(1);
    assert!(
        err.contains("the policy fetches from the cluster `api`, which is the API's in this configuration"),
        "{err}"
    );
}

#[test]
fn the_dynamic_module_gets_the_same_clusters() {
    let policy = discovering("fetched-envoy-module.yaml", "envoy-module", ["idp", "idp-keys"]);
    let full = callgate(&format!("render {policy} --for envoy-module --full")).fine();
    let bootstrap = parsed(&full);
    assert_eq!(at(&bootstrap, "/static_resources/clusters").as_array().unwrap()[1..], clusters());
    has_no_findings("fetched-envoy-module-full.yaml", &full);

    let filter = callgate(&format!("render {policy} --for envoy-module")).fine();
    assert_eq!(parsed(&uncommented(&filter))["clusters"], json!(clusters()));

    let resources = callgate(&format!("render {policy} --for envoy-module --as extension-policy --full")).fine();
    let proxy = &all_parsed(&resources)[1];
    let added = at(proxy, "/spec/bootstrap/jsonPatches").as_array().unwrap();
    assert_eq!(added.iter().map(|patch| patch["value"].clone()).collect::<Vec<_>>(), clusters());
    has_no_findings("fetched-envoy-module-resources.yaml", &resources);
}

#[test]
fn servers_without_tls_or_with_an_address_get_what_they_need() {
    let remote = |name: &str, url: &str| {
        let policy = policy(name, "envoy", ISSUER, &format!("{{ remote: {{ url: '{url}', cluster: idp }} }}"));
        let ran = callgate(&format!("render {policy} --for envoy --full"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        has_no_findings(&format!("full-{name}"), &ran.out);
        at(&parsed(&ran.out), "/static_resources/clusters/1").clone()
    };
    let plain = remote("fetched-http.yaml", "http://idp.internal/jwks");
    assert_eq!(plain.get("transport_socket"), None);
    assert_eq!(
        plain.pointer("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value"),
        Some(&json!(80))
    );

    let address = remote("fetched-address.yaml", "https://[fd00::1]:8443/jwks");
    assert_eq!((&address["type"], address.get("dns_lookup_family")), (&json!("STATIC"), None));
    let context = at(&address, "/transport_socket/typed_config");
    assert_eq!(context.get("sni"), None);
    assert_eq!(
        at(context, "/common_tls_context/validation_context/match_typed_subject_alt_names"),
        &json!([{ "san_type": "IP_ADDRESS", "matcher": { "exact": "fd00::1" } }])
    );
}

#[test]
fn istio_gets_a_service_entry_and_a_rule_for_each_server() {
    let policy = discovering(
        "fetched-istio.yaml",
        "istio",
        ["outbound|443||idp.example.com", "outbound|8443||keys.example.com"],
    );
    let digest = "ab".repeat(32);
    let printed = callgate(&format!("render {policy} --for istio --namespace edge --sha256 {digest}")).fine();
    assert!(!printed.contains("does not exist then"), "{printed}");
    let comments = all_parsed(&uncommented(&printed));
    let resources = &comments[1..];
    let kinds: Vec<_> = resources.iter().map(|resource| resource["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceEntry", "DestinationRule", "ServiceEntry", "DestinationRule"]);
    assert!(resources.iter().all(|resource| resource["metadata"]["namespace"] == "edge"));
    assert_eq!(
        resources[2]["spec"],
        json!({
            "hosts": ["keys.example.com"],
            "exportTo": ["."],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS",
            "ports": [{ "number": 8443, "name": "https", "protocol": "HTTPS" }],
        })
    );
    assert_eq!(
        resources[3]["spec"],
        json!({
            "host": "keys.example.com",
            "exportTo": ["."],
            "workloadSelector": { "matchLabels": { "istio": "ingressgateway" } },
            "trafficPolicy": {
                "connectionPool": { "tcp": { "connectTimeout": "2s" } },
                "tls": {
                    "mode": "SIMPLE",
                    "sni": "keys.example.com",
                    "subjectAltNames": ["keys.example.com"],
                    "caCertificates": "system",
                },
            },
        })
    );
    let resources: String = resources.iter().map(|resource| format!("---\n{resource}\n")).collect();
    has_no_findings("fetched-istio-full.yaml", &format!("{}{resources}", configuration(&printed)));

    let other = discovering("fetched-istio-other.yaml", "istio", ["idp", "outbound|8443||keys.example.com"]);
    let printed = callgate(&format!("render {other} --for istio")).fine();
    assert!(printed.contains("## The policy names the cluster `idp` for `idp.example.com`, which does not exist then: write `outbound|443||idp.example.com`.\n"), "{printed}");
    assert_eq!(printed.matches("does not exist then").count(), 1);
}

#[test]
fn patches_of_istio_contain_the_clusters() {
    let policy = discovering("fetched-patches.yaml", "envoy", ["idp", "idp-keys"]);
    let digest = "ab".repeat(32);
    let printed = callgate(&format!("render {policy} --for istio --as envoy-filter --sha256 {digest}")).fine();
    let filter = parsed(configuration(&printed));
    let patches = at(&filter, "/spec/configPatches").as_array().unwrap();
    let added: Vec<Value> = patches
        .iter()
        .filter(|patch| patch["applyTo"] == "CLUSTER" && patch["match"]["context"] == "GATEWAY")
        .map(|patch| patch["patch"]["value"].clone())
        .collect();
    assert_eq!(added, clusters());
    has_no_findings("fetched-patches-full.yaml", configuration(&printed));
}

#[test]
fn envoy_gateway_gets_the_clusters_in_its_bootstrap() {
    let policy = discovering("fetched-envoy-gateway.yaml", "envoy-gateway", ["idp", "idp-keys"]);
    let render = format!("render {policy} --for envoy-gateway --sha256 {}", "ab".repeat(32));
    let full = callgate(&format!("{render} --full")).fine();
    let resources = all_parsed(&full);
    let bootstrap = at(&resources[1], "/spec/bootstrap");
    let patches: Vec<Value> = clusters()
        .into_iter()
        .map(|cluster| json!({ "op": "add", "path": "/static_resources/clusters/-", "value": cluster }))
        .collect();
    assert_eq!(bootstrap, &json!({ "type": "JSONPatch", "jsonPatches": patches }));
    has_no_findings("fetched-envoy-gateway-full.yaml", &full);
    let commented = callgate(&render).fine();
    assert_eq!(all_parsed(&(configuration(&commented).to_owned() + &uncommented(&commented))), resources);
}

#[test]
fn higress_gets_a_registry_for_each_server() {
    let policy = discovering("fetched-higress.yaml", "higress", ["outbound|443||idp.dns", "idp-keys"]);
    let printed = callgate(&format!("render {policy} --for higress")).fine();
    let comments = all_parsed(&uncommented(&printed));
    assert_eq!(
        comments[1],
        json!({
            "apiVersion": "networking.higress.io/v1",
            "kind": "McpBridge",
            "metadata": { "name": "default", "namespace": "higress-system" },
            "spec": { "registries": [
                { "name": "keys-example-com", "type": "dns", "domain": "keys.example.com", "port": 8443, "protocol": "https", "sni": "keys.example.com" },
                { "name": "idp", "type": "dns", "domain": "idp.example.com", "port": 443, "protocol": "https", "sni": "idp.example.com" },
            ] },
        })
    );
    assert!(printed.contains("## The policy names the cluster `idp-keys` for `keys.example.com`, which does not exist then: write `outbound|8443||keys-example-com.dns`.\n"), "{printed}");
}

#[test]
fn kong_gets_a_zone_and_settings_for_connections() {
    let policy = discovering("fetched-kong.yaml", "kong", ["idp.example.com:443", "10.0.0.1:8443"]);
    let settings = callgate(&format!("render {policy} --for kong --as kong.conf")).fine();
    for line in [
        "nginx_wasm_shm_kv_callgate_documents = 1m",
        "nginx_wasm_tls_verify_cert = on",
        "nginx_wasm_tls_verify_host = on",
        "nginx_wasm_tls_trusted_certificate = /etc/ssl/certs/ca-certificates.crt",
        "nginx_wasm_resolver = 127.0.0.1 ipv6=off",
    ] {
        assert!(settings.lines().any(|own| own == line), "{line}: {settings}");
    }
    let checked = callgate(&format!("check {policy}")).fine();
    assert!(checked.contains("documents  1m for `nginx_wasm_shm_kv_callgate_documents`"), "{checked}");

    let remote = "{ remote: { url: 'http://10.0.0.1/jwks', address: '10.0.0.1:80' } }";
    let policy = self::policy("fetched-kong-http.yaml", "kong", ISSUER, remote);
    let settings = callgate(&format!("render {policy} --for kong --as kong.conf")).out;
    assert!(settings.contains("\nnginx_wasm_shm_kv_callgate_documents = 1m\n"), "{settings}");
    assert!(!settings.contains("nginx_wasm_tls") && !settings.contains("nginx_wasm_resolver"), "{settings}");
}

#[test]
fn the_credential_for_a_key_set_is_passed_to_the_gateway() {
    let remote =
        "{ remote: { url: 'https://idp.example.com/jwks', cluster: idp, authorization: { env: CALLGATE_TEST_IDP } } }";
    let policy = policy("fetched-credential.yaml", "envoy", ISSUER, remote);
    let printed = callgate(&format!("render {policy} --for envoy")).fine();
    let filter = document::parse("rendered", configuration(&printed).as_bytes()).unwrap();
    let vm = &gate(filter.value()).unwrap()["vm_config"];
    assert_eq!(vm["environment_variables"]["host_env_keys"], json!(["CALLGATE_TEST_IDP", "CALLGATE_TEST_TABLES"]));
}
