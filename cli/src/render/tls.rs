//! What validates client certificates in front of a policy with `tls`, as each gateway describes it.
//!
//! The filter cannot distinguish a certificate that the gateway validated from one that it did not. Every configuration here therefore
//! names authorities, in files or secrets of these names that the user has to provide.

use serde_json::{Map, Value, json};

use callgate_kit::policy::Loaded;

/// The folder of the certificates in images of Envoy.
const FOLDER: &str = "/etc/envoy/tls";
/// The name of the authorities for certificates of clients.
const AUTHORITIES: &str = "clients-ca";

/// Returns the SPIFFE trust domains whose certificates the policy accepts; `None` if certificates identify nobody.
fn domains(loaded: &Loaded) -> Option<Vec<&str>> {
    let tls = loaded.document.value().get("tls")?;
    let domains = tls.get("trust_domains").and_then(Value::as_array).into_iter().flatten();
    Some(domains.filter_map(Value::as_str).collect())
}

/// Returns whether the policy needs client certificates.
pub(super) fn is_used(loaded: &Loaded) -> bool {
    domains(loaded).is_some()
}

/// Returns why a gateway that has one list of authorities cannot be configured for this policy, if it cannot.
pub(super) fn shared(loaded: &Loaded, gateway: &str) -> Option<String> {
    let domains = domains(loaded).filter(|domains| domains.len() > 1)?;
    Some(format!(
        "the policy accepts {} trust domains, which {gateway} validates with the same authorities; write a policy and a listener for each",
        domains.len()
    ))
}

/// Returns the network filter that passes the certificate of a connection to the dynamic module, to which Envoy itself gives only its
/// digest; `None` if the module is not used, or the policy needs no certificates.
pub(super) fn passing_filter(loaded: &Loaded) -> Option<Value> {
    (super::is_module(loaded) && is_used(loaded)).then(|| {
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
    })
}

/// Returns why the form of the configuration cannot have that filter, if the policy needs it.
pub(super) fn not_passed(loaded: &Loaded) -> Option<String> {
    passing_filter(loaded).map(|_| {
        "the policy reads certificates of clients, and Envoy Gateway has no resource for the filter that passes them to the module; use \
         the Wasm filter (`--for envoy-gateway`), or remove `tls`"
            .to_owned()
    })
}

/// Returns Envoy's `transport_socket` of a filter chain; `None` if the policy needs no certificates.
pub(super) fn transport_socket(loaded: &Loaded) -> Option<Value> {
    let domains = domains(loaded)?;
    let file = |name: &str| json!({ "filename": format!("{FOLDER}/{name}") });
    let validation = if domains.len() > 1 {
        let bundle = |domain: &&str| json!({ "name": domain, "trust_bundle": file(&format!("{domain}.crt")) });
        json!({ "custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
                "trust_domains": domains.iter().map(bundle).collect::<Vec<_>>(),
            },
        } })
    } else {
        json!({ "trusted_ca": file(&format!("{AUTHORITIES}.crt")), "trust_chain_verification": "VERIFY_TRUST_CHAIN" })
    };
    Some(json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": { "tls_minimum_protocol_version": "TLSv1_2" },
                "tls_certificates": [{ "certificate_chain": file("server.crt"), "private_key": file("server.key") }],
                "validation_context": validation,
            },
        },
    }))
}

/// Returns the `tls` of Envoy Gateway's `ClientTrafficPolicy`; `None` if the policy needs no certificates.
pub(super) fn client_validation(loaded: &Loaded) -> Option<(String, Value)> {
    let authorities = json!([{ "group": "", "kind": "ConfigMap", "name": AUTHORITIES }]);
    is_used(loaded).then(|| ("tls".to_owned(), json!({ "clientValidation": { "caCertificateRefs": authorities } })))
}

/// Returns the `spec` of Istio's `Gateway` for the hosts of the policy. `labels` select the proxies with the gate.
pub(super) fn istio_gateway(loaded: &Loaded, labels: &Value) -> Map<String, Value> {
    let hosts = loaded.document.value().get("hosts").cloned().unwrap_or_default();
    let mut spec = Map::new();
    spec.insert("selector".to_owned(), labels.clone());
    spec.insert(
        "servers".to_owned(),
        json!([{
            "port": { "number": 443, "name": "https", "protocol": "HTTPS" },
            "hosts": hosts,
            "tls": { "mode": "MUTUAL", "credentialName": "api", "minProtocolVersion": "TLSV1_2" },
        }]),
    );
    spec
}

/// Returns the `spec` of Istio's `PeerAuthentication` for workloads. `labels` select those with the gate.
pub(super) fn peer_authentication(labels: &Value) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("selector".to_owned(), json!({ "matchLabels": labels }));
    spec.insert("mtls".to_owned(), json!({ "mode": "STRICT" }));
    spec
}
