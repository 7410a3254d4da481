//! Tests what `callgate render` prints for a policy that identifies clients by their certificates.

use serde_json::{Value, json};

use super::{all_parsed, at, parsed, shipped, uncommented};
use crate::{callgate, file};

const CHAIN: &str = "/static_resources/listeners/0/filter_chains/0";
const VALIDATION: &str = "/typed_config/common_tls_context/validation_context";

/// Returns a policy with these trust domains.
fn policy(name: &str, gateway: &str, domains: &str) -> String {
    let text = format!(
        r"
callgate: v1
name: gate
mode: enforce
gateway: {gateway}
resource: https://api.example.com
hosts: [api.example.com]
tls: {{ client_certificates: validated, trust_domains: [{domains}] }}
issuers:
  corp:
    issuer: https://idp.example.com
    profile: at+jwt
    algorithms: [ES256]
    max_lifetime: 15m
    keys:
      jwks:
        keys:
          - kty: EC
            crv: P-256
            kid: k
            alg: ES256
            x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU
            y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0
agents:
  a: {{ owner: o, identity: {{ issuer: corp, client_id: a }} }}
endpoints: [{{ id: a, methods: [GET], path: /a, effect: read, scopes: none }}]
upstream: {{ authorization: remove }}
audit: {{ log: {{ allow: false, deny: true }} }}
"
    )
    .replace("            y: ", "            \"y\": ");
    file(name, text)
}

/// Checks that a configuration has no findings.
#[track_caller]
fn has_no_findings(name: &str, text: &str) {
    let path = file(name, text);
    assert_eq!(callgate(&format!("check --gateway {path}")).fine(), "no way around the gate found\n", "{text}");
}

#[test]
fn envoy_gets_a_listener_that_validates_certificates() {
    let policy = policy("tls-envoy.yaml", "envoy", "example.com");
    let full = callgate(&format!("render {policy} --for envoy --full")).fine();
    let bootstrap = parsed(&full);
    let socket = at(&bootstrap, &format!("{CHAIN}/transport_socket"));
    // The same as in the shipped file, which also accepts only certificates with a SPIFFE ID.
    let mut of_mtls = at(&parsed(&shipped("envoy/mtls.yaml")), &format!("{CHAIN}/transport_socket")).clone();
    let validation = of_mtls.pointer_mut(VALIDATION).unwrap().as_object_mut().unwrap();
    assert!(validation.remove("match_typed_subject_alt_names").is_some());
    assert_eq!(*socket, of_mtls);
    assert!(full.contains("# The policy identifies clients by their certificates."));
    assert_eq!(at(&bootstrap, &format!("{CHAIN}/filters/0/name")), "envoy.filters.network.http_connection_manager");
    has_no_findings("tls-envoy-full.yaml", &full);

    let filter = callgate(&format!("render {policy} --for envoy")).fine();
    assert_eq!(parsed(&uncommented(&filter))["transport_socket"], *socket);
    let without = callgate("render envoy/policy.yaml --for envoy").fine();
    assert!(!without.contains("transport_socket"), "{without}");
}

/// The network filter that passes certificates to the dynamic module.
fn passing() -> Value {
    json!({
        "name": "peer-certificate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
            "on_downstream_tls_handshake": [{
                "object_key": "callgate.peer_certificate",
                "factory_key": "envoy.string",
                "format_string": { "text_format_source": { "inline_string": "%DOWNSTREAM_PEER_CERT%" } },
            }],
        },
    })
}

#[test]
fn the_dynamic_module_gets_the_certificate_from_a_network_filter() {
    let policy = policy("tls-module.yaml", "envoy-module", "example.org");
    let full = callgate(&format!("render {policy} --for envoy-module --full")).fine();
    let bootstrap = parsed(&full);
    let filters = at(&bootstrap, &format!("{CHAIN}/filters")).as_array().unwrap();
    let names: Vec<&Value> = filters.iter().map(|filter| &filter["name"]).collect();
    assert_eq!(names, ["peer-certificate", "envoy.filters.network.http_connection_manager"]);
    assert_eq!(filters[0], passing());
    assert!(full.contains("# Passes the certificate of the client to the module"), "{full}");
    assert!(at(&bootstrap, CHAIN).get("transport_socket").is_some());
    has_no_findings("tls-module-full.yaml", &full);

    for form in ["filter", "ecds"] {
        let printed = callgate(&format!("render {policy} --for envoy-module --as {form}")).fine();
        assert_eq!(parsed(&uncommented(&printed))["filters"], json!([passing()]), "{printed}");
    }
    for arguments in ["--as extension-policy", "--as extension-policy --full"] {
        let error = callgate(&format!("render {policy} --for envoy-module {arguments}")).failed(1);
        assert!(error.contains("Envoy Gateway has no resource for the filter"), "{error}");
    }
    for (policy, gateway) in [(&*policy, "envoy"), ("envoy/policy.yaml", "envoy-module")] {
        let printed = callgate(&format!("render {policy} --for {gateway} --full")).fine();
        assert!(!printed.contains("peer_certificate"), "{gateway}: {printed}");
    }
}

#[test]
fn several_trust_domains_get_separate_authorities() {
    let policy = policy("tls-domains.yaml", "envoy", "example.org, partner.example");
    let full = callgate(&format!("render {policy} --for envoy --full")).fine();
    let validator =
        at(&parsed(&full), &format!("{CHAIN}/transport_socket{VALIDATION}/custom_validator_config")).clone();
    let bundle =
        |name: &str| json!({ "name": name, "trust_bundle": { "filename": format!("/etc/envoy/tls/{name}.crt") } });
    assert_eq!(validator["name"], "envoy.tls.cert_validator.spiffe");
    assert_eq!(validator["typed_config"]["trust_domains"], json!([bundle("example.org"), bundle("partner.example")]));
    has_no_findings("tls-domains-full.yaml", &full);
}

#[test]
fn istio_gets_a_gateway_or_a_peer_authentication() {
    let policy = policy("tls-istio.yaml", "istio", "example.org");
    let digest = "ab".repeat(32);
    for (arguments, kind, place, expected) in [
        ("--namespace edge", "Gateway", "/spec/servers/0/tls/mode", "MUTUAL"),
        ("--sidecar", "PeerAuthentication", "/spec/mtls/mode", "STRICT"),
    ] {
        let printed = callgate(&format!("render {policy} --for istio {arguments} --sha256 {digest}")).fine();
        let resources = all_parsed(&uncommented(&printed));
        let resource = resources.iter().find(|resource| resource["kind"] == kind).unwrap();
        assert_eq!(at(resource, place), expected, "{printed}");
        let plugin = all_parsed(&printed);
        let both = plugin.iter().chain([resource]).map(|resource| format!("---\n{resource}\n")).collect::<String>();
        assert_eq!(plugin[0]["metadata"]["namespace"], resource["metadata"]["namespace"]);
        has_no_findings(&format!("tls-{kind}.yaml"), &both);
    }
}

#[test]
fn envoy_gateway_gets_a_policy_for_clients() {
    let one = policy("tls-envoy-gateway.yaml", "envoy-gateway", "example.org");
    let digest = "ab".repeat(32);
    let full = callgate(&format!("render {one} --for envoy-gateway --full --sha256 {digest}")).fine();
    let resources = all_parsed(&full);
    let clients = resources.iter().find(|resource| resource["kind"] == "ClientTrafficPolicy").unwrap();
    let authorities = at(clients, "/spec/tls/clientValidation/caCertificateRefs");
    assert_eq!(authorities, &json!([{ "group": "", "kind": "ConfigMap", "name": "clients-ca" }]));
    has_no_findings("tls-envoy-gateway-full.yaml", &full);

    let without = callgate("render envoy/policy.yaml --for envoy-gateway --full").fine();
    let clients = all_parsed(&without);
    let clients: Vec<&Value> = clients.iter().filter(|resource| resource["kind"] == "ClientTrafficPolicy").collect();
    assert!(clients.len() == 1 && clients[0]["spec"].get("tls").is_none(), "{without}");
}
