//! The servers from which a policy fetches documents, such as the keys of an issuer, as each gateway describes them.
//!
//! Whoever answers in place of such a server chooses the keys that the gate trusts. For an `https` URL, every configuration here
//! therefore accepts only a certificate for the host of the URL, from an authority that the gateway's system trusts.

use std::net::IpAddr;

use callgate::policy::FetchedHost;
use serde_json::{Map, Value, json};

use callgate_kit::policy::Loaded;

/// The certificates of the authorities that the system trusts, in images based on Debian or Alpine, such as Envoy's and Kong's.
pub(super) const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How the name of a cluster starts that Istio and Higress generate for a port of a service: `outbound|443||idp.example.com`.
const OUTBOUND: &str = "outbound|";

/// The end of names of services that Kubernetes has. No resource has to describe them to a gateway.
const KUBERNETES: &str = ".svc.cluster.local";

/// Returns the servers, one for each name that the gateway has for them. A gateway cannot have two clusters with the same name.
pub(super) fn hosts(loaded: &Loaded) -> Vec<FetchedHost> {
    let mut hosts: Vec<FetchedHost> = loaded.policy.fetched_hosts().into_iter().collect();
    hosts.dedup_by(|later, earlier| later.upstream == earlier.upstream);
    hosts
}

/// Returns Envoy's clusters.
pub(super) fn clusters(loaded: &Loaded) -> Vec<Value> {
    hosts(loaded).iter().map(cluster).collect()
}

fn cluster(host: &FetchedHost) -> Value {
    let FetchedHost { upstream, tls, host, port } = host;
    let address = json!({ "socket_address": { "address": host, "port_value": port } });
    let mut cluster = json!({
        "name": upstream,
        "type": "STATIC",
        "connect_timeout": "2s",
        // One worker fetches a document at a time, and the filter itself decides when to try again.
        "circuit_breakers": {
            "thresholds": [{ "max_connections": 8, "max_pending_requests": 32, "max_requests": 32, "max_retries": 0 }],
        },
        "load_assignment": {
            "cluster_name": upstream,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    });
    let Some(fields) = cluster.as_object_mut() else { return cluster };
    if !is_address(host) {
        fields.insert("type".to_owned(), json!("STRICT_DNS"));
        // The default waits for IPv6 addresses, and uses no others if there are any.
        fields.insert("dns_lookup_family".to_owned(), json!("V4_PREFERRED"));
    }
    if *tls {
        fields.insert("transport_socket".to_owned(), transport_socket(host));
    }
    cluster
}

fn transport_socket(host: &str) -> Value {
    let kind = if is_address(host) { "IP_ADDRESS" } else { "DNS" };
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "validation_context": {
                "trusted_ca": { "filename": AUTHORITIES },
                "match_typed_subject_alt_names": [{ "san_type": kind, "matcher": { "exact": host } }],
            },
        },
    });
    if let Some(fields) = context.as_object_mut().filter(|_| !is_address(host)) {
        fields.insert("sni".to_owned(), json!(host));
    }
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

/// Returns Istio's resources for the servers that are not in its cluster. `labels` select the proxies with the gate.
pub(super) fn istio(loaded: &Loaded, namespace: &str, labels: &Value) -> Vec<Value> {
    let hosts = hosts(loaded).into_iter().filter(|host| !host.host.ends_with(KUBERNETES));
    let resources = hosts.flat_map(|host| {
        let rule = host.tls.then(|| destination_rule(&host, namespace, labels));
        std::iter::once(service_entry(&host, namespace)).chain(rule)
    });
    resources.collect()
}

fn service_entry(host: &FetchedHost, namespace: &str) -> Value {
    let (name, protocol) = if host.tls { ("https", "HTTPS") } else { ("http", "HTTP") };
    let mut spec = Map::new();
    spec.insert("hosts".to_owned(), json!([service(host)]));
    spec.insert("exportTo".to_owned(), json!(["."]));
    spec.insert("location".to_owned(), json!("MESH_EXTERNAL"));
    spec.insert("resolution".to_owned(), json!(if is_address(&host.host) { "STATIC" } else { "DNS" }));
    spec.insert("ports".to_owned(), json!([{ "number": host.port, "name": name, "protocol": protocol }]));
    if service(host) != host.host {
        spec.insert("endpoints".to_owned(), json!([{ "address": host.host }]));
    }
    resource("ServiceEntry", host, namespace, spec)
}

fn destination_rule(host: &FetchedHost, namespace: &str, labels: &Value) -> Value {
    let mut tls = json!({ "mode": "SIMPLE", "subjectAltNames": [host.host], "caCertificates": "system" });
    if let Some(fields) = tls.as_object_mut().filter(|_| !is_address(&host.host)) {
        fields.insert("sni".to_owned(), json!(host.host));
    }
    let mut spec = Map::new();
    spec.insert("host".to_owned(), json!(service(host)));
    spec.insert("exportTo".to_owned(), json!(["."]));
    // Other programs of the namespace may connect to the host over TLS themselves.
    spec.insert("workloadSelector".to_owned(), json!({ "matchLabels": labels }));
    spec.insert(
        "trafficPolicy".to_owned(),
        json!({ "connectionPool": { "tcp": { "connectTimeout": "2s" } }, "tls": tls }),
    );
    resource("DestinationRule", host, namespace, spec)
}

fn resource(kind: &str, host: &FetchedHost, namespace: &str, spec: Map<String, Value>) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": { "name": format!("callgate-{}", label(service(host))), "namespace": namespace },
        "spec": spec,
    })
}

/// Returns Higress's `McpBridge`, which is the only one in its namespace, or `None` for a policy that fetches nothing.
pub(super) fn mcp_bridge(loaded: &Loaded, namespace: &str) -> Option<Value> {
    let hosts = hosts(loaded).into_iter().filter(|host| !host.host.ends_with(KUBERNETES));
    let registries: Vec<Value> = hosts.map(|host| registry(&host)).collect();
    (!registries.is_empty()).then(|| {
        json!({
            "apiVersion": "networking.higress.io/v1",
            "kind": "McpBridge",
            "metadata": { "name": "default", "namespace": namespace },
            "spec": { "registries": registries },
        })
    })
}

fn registry(host: &FetchedHost) -> Value {
    let service = service(host);
    let name = service.strip_suffix(".dns").map_or_else(|| label(&host.host).replace('.', "-"), str::to_owned);
    let mut registry = json!({ "name": name, "type": "dns", "domain": host.host, "port": host.port });
    if let Some(fields) = registry.as_object_mut().filter(|_| host.tls) {
        fields.insert("protocol".to_owned(), json!("https"));
        fields.insert("sni".to_owned(), json!(host.host));
    }
    registry
}

/// Returns a sentence for each server that the policy names otherwise than the gateway does. `suffix` ends the names of services
/// there.
pub(super) fn renamed(loaded: &Loaded, suffix: &str) -> String {
    let form = |host: &&FetchedHost| !host.upstream.starts_with(OUTBOUND) || !service(host).ends_with(suffix);
    let sentence = |host: &FetchedHost| {
        let name = if suffix.is_empty() { host.host.clone() } else { label(&host.host).replace('.', "-") + suffix };
        format!(
            "\nThe policy names the cluster `{}` for `{}`, which does not exist then: write `{OUTBOUND}{}||{name}`.",
            host.upstream, host.host, host.port
        )
    };
    hosts(loaded).iter().filter(form).map(sentence).collect()
}

/// Returns the name of the service in the name of a cluster, or otherwise the host.
fn service(host: &FetchedHost) -> &str {
    let name = host.upstream.strip_prefix(OUTBOUND).and_then(|rest| rest.rsplit('|').next());
    name.filter(|name| !name.is_empty()).unwrap_or(&host.host)
}

/// Returns text as a part of the name of a Kubernetes resource.
fn label(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' }).collect()
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}
