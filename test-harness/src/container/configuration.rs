//! The configuration of the gateways in containers: the files that users copy, adapted to the composition.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{API, UPSTREAM, observability, scale};
use crate::corpus;
use crate::envoy::{Bootstrap, child};
use crate::paths;

/// The path of the filter in the images.
const MODULE: &str = "/etc/envoy/callgate.wasm";
/// The port of the admin interface, for the health check inside the container.
const ADMIN: u16 = 9901;
/// The port that exposes the metrics to Prometheus.
const METRICS: u16 = 9902;

/// Writes all configurations.
pub(super) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let suites = corpus::envoy::told_apart(&corpus::envoy::without_documents(corpus::suites()?));
    let (corpus, environment) = corpus::envoy::bootstrap(Path::new(MODULE), &suites, nowhere())?;
    placed(corpus)?.write(&folder.join("corpus.json"))?;
    gate(&scale::policy()?)?.write(&folder.join("gate.json"))?;
    payments()?.write(&folder.join("payments.json"))?;
    save(&folder.join("front.json"), &front()?.to_string())?;
    let export = |(name, value): &(String, String)| format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
    save(&folder.join("environment.sh"), &environment.iter().map(export).collect::<String>())
}

/// Returns the configuration of a gateway behind the front.
fn gate(policy: &Value) -> Result<Bootstrap> {
    let mut gate = Bootstrap::new(Path::new(MODULE), &policy.to_string(), nowhere())?;
    *child(gate.manager()?, "/xff_num_trusted_hops")? = json!(1);
    // Identifies the gate, so the tester can count the allowed requests of each.
    let name = json!([{ "header": { "key": scale::GATE, "value": "%HOSTNAME%" } }]);
    if let Some(host) = gate.virtual_hosts()?.first_mut().and_then(Value::as_object_mut) {
        host.insert("response_headers_to_add".to_owned(), name);
    }
    placed(gate)
}

/// Returns the configuration of a gateway that watches a file for its listeners, as the alerts on updates expect, and that exposes its
/// metrics.
fn payments() -> Result<Bootstrap> {
    let mut gateway = Bootstrap::new(Path::new(MODULE), &observability::policy()?.to_string(), nowhere())?;
    if let Some(host) = gateway.virtual_hosts()?.first_mut().and_then(Value::as_object_mut) {
        host.insert("domains".to_owned(), json!([observability::HOST]));
    }
    let mut gateway = placed(gateway)?;
    gateway.add_listener(json!({
        "name": "metrics",
        "address": everywhere(METRICS),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "metrics",
                "route_config": { "virtual_hosts": [{
                    "name": "metrics",
                    "domains": ["*"],
                    // Exposes nothing else of the admin interface, which can end the process.
                    "routes": [{ "match": { "path": "/stats/prometheus" }, "route": { "cluster": "admin" } }],
                }] },
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    },
                }],
            },
        }] }],
    }))?;
    gateway.add_cluster(json!({
        "name": "admin",
        "load_assignment": { "cluster_name": "admin", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": socket("127.0.0.1", ADMIN) } },
        ] }] },
    }))?;
    Ok(gateway.dynamic())
}

/// Returns `envoy/front.yaml` with two gates, and a second listener that distributes requests without hashing.
fn front() -> Result<Value> {
    let file = paths::root().join("envoy/front.yaml");
    let yaml = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut front: Value = serde_saphyr::from_str(&yaml).with_context(|| format!("{} is not YAML", file.display()))?;
    *child(&mut front, "/admin/address")? = socket("127.0.0.1", ADMIN);

    let hashed = child(&mut front, "/static_resources/listeners/0")?;
    *child(hashed, "/address")? = everywhere(API);
    let mut spread = hashed.clone();
    *child(&mut spread, "/name")? = json!("spread");
    *child(&mut spread, "/address")? = everywhere(scale::SPREAD);
    const ROUTE: &str = "/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0/route";
    let route = child(&mut spread, ROUTE)?.as_object_mut().context("the route of the front is not an object")?;
    route.remove("hash_policy").context("the front has no hash policy")?;
    route.insert("cluster".to_owned(), json!("spread"));

    let gates = child(&mut front, "/static_resources/clusters/0")?;
    let endpoints = child(gates, "/load_assignment/endpoints/0/lb_endpoints")?;
    *endpoints = scale::GATES.map(|gate| json!({ "endpoint": { "address": socket(gate, API) } })).into_iter().collect();
    let mut in_turn = gates.clone();
    *child(&mut in_turn, "/name")? = json!("spread");
    *child(&mut in_turn, "/lb_policy")? = json!("ROUND_ROBIN");

    for (list, item) in [("listeners", spread), ("clusters", in_turn)] {
        let list = child(&mut front, &format!("/static_resources/{list}"))?;
        list.as_array_mut().context("the front has no lists")?.push(item);
    }
    Ok(front)
}

/// Returns the configuration with the addresses of the composition: listeners on all addresses, with ports counted up from the first one,
/// the admin interface on loopback, and the upstream by name.
fn placed(mut bootstrap: Bootstrap) -> Result<Bootstrap> {
    *bootstrap.at("/admin/address")? = socket("127.0.0.1", ADMIN);
    *bootstrap.at("/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address")? =
        socket(UPSTREAM.0, UPSTREAM.1);
    let listeners = bootstrap.at("/static_resources/listeners")?.as_array_mut().context("there are no listeners")?;
    for (listener, port) in listeners.iter_mut().zip(API..) {
        *child(listener, "/address")? = everywhere(port);
    }
    Ok(bootstrap)
}

fn everywhere(port: u16) -> Value {
    socket("0.0.0.0", port)
}

fn socket(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

/// A placeholder that [`placed`] replaces.
fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn save(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_contain_no_details_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for name in ["corpus.json", "gate.json", "payments.json", "listeners.json", "front.json"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            let json: Value = serde_json::from_str(&text).unwrap();
            assert!(!text.contains(r#""port_value":0"#), "{name}");
            let own = folder.path().to_str().unwrap();
            assert_eq!(text.contains(own), name == "payments.json", "{name}");
            if let Some(admin) = json.pointer("/admin/address/socket_address/address") {
                assert_eq!(admin, "127.0.0.1", "{name}");
            }
        }
    }

    #[test]
    fn front_configuration_keeps_the_shipped_listener() {
        let front = front().unwrap();
        let at = |pointer: &str| front.pointer(pointer).unwrap().clone();
        assert_eq!(at("/static_resources/listeners/0/name"), "front");
        let route = "/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0/route";
        assert_eq!(
            at(&format!("/static_resources/listeners/0{route}/hash_policy/0/header/header_name")),
            "authorization"
        );
        assert_eq!(front.pointer(&format!("/static_resources/listeners/1{route}/hash_policy")), None);
        assert_eq!(at("/static_resources/clusters/0/lb_policy"), "RING_HASH");
        assert_eq!(at("/static_resources/clusters/1/lb_policy"), "ROUND_ROBIN");
    }
}
