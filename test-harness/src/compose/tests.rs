//! Checks of the composition that need no engine.

use std::fs;

use serde_json::Value;

use super::*;
use crate::envoy;

const BASES: [&Base; 6] =
    [&images::BASE, &images::BUILD, &images::ENVOY, &images::PROMETHEUS, &images::GRAFANA, &images::KONG];

fn text(file: &str) -> String {
    fs::read_to_string(paths::root().join("test-harness").join(file)).unwrap()
}

/// Returns the services, including the settings that they inherit from others.
fn services() -> Vec<(String, Value)> {
    let file: Value = serde_saphyr::from_str(&text("docker-compose.yml")).unwrap();
    file["services"].as_object().unwrap().iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn service(name: &str) -> Value {
    services().into_iter().find(|(own, _)| own == name).unwrap().1
}

#[test]
fn compose_files_take_every_base_image_as_a_parameter() {
    let (compose, dockerfile) = (text("docker-compose.yml"), text("docker/Dockerfile"));
    for base in BASES {
        let parameter = format!("${{{}:-{}}}", base.variable, base.public);
        assert_eq!(compose.matches(&parameter).count(), 1, "{parameter}");
    }
    let parameters = compose.matches("_IMAGE:-").count();
    assert_eq!(parameters, BASES.len(), "an image is not known to `cargo harness compose`");
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("ARG ")) {
        let (variable, public) = line.split_once('=').unwrap();
        assert!(BASES.iter().any(|base| (base.variable, base.public) == (variable, public)), "{line}");
    }
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        assert!(line.starts_with("${"), "{line}");
    }
}

#[test]
fn envoy_image_matches_the_pinned_release() {
    let version = envoy::pinned_version().unwrap();
    let minor = version.rsplit_once('.').unwrap().0;
    assert_eq!(images::ENVOY.public, format!("envoyproxy/envoy:v{minor}-latest"));
}

#[test]
fn every_profile_has_a_tester_that_waits_for_healthy_services() {
    for profile in Profile::value_variants() {
        let tester = service(profile.services()[0]);
        let profiles: Vec<_> = tester["profiles"].as_array().into_iter().flatten().collect();
        let expected = if *profile == Profile::Corpus { vec![] } else { vec![profile.name()] };
        assert_eq!(profiles, expected);
        assert!(tester["depends_on"].as_object().unwrap().values().all(|on| on["condition"] == "service_healthy"));
    }
    let ports: Vec<_> = services()
        .into_iter()
        .flat_map(|(_, service)| service["ports"].as_array().cloned().unwrap_or_default())
        .collect();
    assert!(
        !ports.is_empty() && ports.iter().all(|port| port.as_str().unwrap().starts_with("127.0.0.1:")),
        "{ports:?}"
    );
}

#[test]
fn containers_run_with_least_privilege() {
    for (name, service) in services() {
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        for forbidden in ["privileged", "pid", "ipc", "cap_add", "devices"] {
            assert_eq!(service.get(forbidden), None, "{name}");
        }
        let network = service["network_mode"].as_str();
        assert!(network.is_none_or(|network| network.starts_with("service:")), "{name}");
        // It is not known for certain which paths Grafana writes to.
        if name != "grafana" {
            assert_eq!(service["read_only"], true, "{name}");
            let user = service["user"].as_str().unwrap();
            assert!(user != "root" && !user.starts_with('0'), "{name}: {user}");
        }
    }
}

#[test]
fn mounted_files_exist_and_are_read_only() {
    let volumes =
        services().into_iter().flat_map(|(_, service)| service["volumes"].as_array().cloned().unwrap_or_default());
    let mounts: Vec<String> =
        volumes.map(|volume| volume.as_str().unwrap().to_owned()).filter(|volume| volume.starts_with('.')).collect();
    assert!(mounts.len() > 5, "{mounts:?}");
    for mount in mounts {
        let (source, _) = mount.split_once(':').unwrap();
        assert!(mount.ends_with(":ro"), "{mount}");
        assert!(paths::root().join("test-harness").join(source).is_file(), "{mount}");
    }
}

#[test]
fn services_wait_for_health_checks_instead_of_sleeping() {
    for file in ["docker-compose.yml", "docker/Dockerfile", "docker/gateway.sh", "docker/healthy.sh"] {
        assert!(!text(file).contains("sleep"), "{file}");
    }
    for (name, service) in services() {
        for (on, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(how["condition"], "service_healthy", "{name} waits for {on}");
            let other = services().into_iter().find(|(own, _)| own == on).unwrap().1;
            assert!(other.get("healthcheck").is_some(), "{name} waits for {on}, whose health nobody checks");
        }
    }
}

#[test]
fn project_name_is_stable_for_a_checkout() {
    let name = project();
    assert!(name.starts_with("callgate-") && name.len() == "callgate-".len() + 8, "{name}");
    assert_eq!(name, project());
}

#[test]
fn reports_a_port_in_use_before_starting() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = free("CALLGATE_TEST_UNSET_PORT", port).unwrap_err().to_string();
    assert_eq!(error, format!("port {port} is already in use; set CALLGATE_TEST_UNSET_PORT to another port"));
    drop(taken);
    free("CALLGATE_TEST_UNSET_PORT", port).unwrap();
}
