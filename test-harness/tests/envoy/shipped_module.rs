//! Starts the shipped configuration files of the dynamic module unchanged, as users copy them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use test_harness::build::{self, Flavor};
use test_harness::client::{self, Request};
use test_harness::envoy::Envoy;
use test_harness::upstream::Upstream;

use crate::envoy::fixture::HOST;
use crate::envoy::shipped::{Copied, await_count, decides, replace, report, token};

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| build::envoy_module(Flavor::Release).unwrap());

/// The module in the shipped files.
const SHIPPED: &str = concat!("/etc/envoy/libcallgate-", env!("CARGO_PKG_VERSION"), ".so");

/// Copies a file of `envoy/module/`.
fn copy(copied: &Copied, name: &str, changes: &[(&str, &str)]) -> PathBuf {
    fs::create_dir_all(copied.folder.path().join("module")).unwrap();
    copied.file(&format!("module/{name}"), changes)
}

/// Starts the configuration in which Envoy finds `discovered` in the folder. Also returns that file.
fn over(name: &str, discovered: &str) -> (Envoy, Upstream, PathBuf) {
    let copied = Copied::new();
    let folder = copied.folder.path().join("module");
    let folder = folder.to_str().unwrap().to_owned();
    let shipped = format!("path: /etc/envoy/{discovered}");
    let path = format!("path: {folder}/{discovered}");
    let watched = format!("path: {folder} }}");
    let file = copy(&copied, name, &[(shipped.as_str(), path.as_str()), ("path: /etc/envoy }", watched.as_str())]);
    let discovered = copy(&copied, discovered, &[(SHIPPED, LIBRARY.to_str().unwrap())]);
    let (envoy, upstream) = copied.start(&file, 2);
    (envoy, upstream, discovered)
}

fn code(envoy: &Envoy, request: &Request) -> Option<String> {
    client::call(envoy.api().unwrap(), request).unwrap().code()
}

#[test]
fn envoy_yaml_of_the_module_starts_and_enforces_the_policy() {
    let copied = Copied::new();
    let file = copy(&copied, "envoy.yaml", &[(SHIPPED, LIBRARY.to_str().unwrap())]);
    let (envoy, upstream) = copied.start(&file, 1);
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
    let call = |path, host| client::call(address, &Request::get(path).host(host)).unwrap();
    assert_eq!(call("/v1/status", HOST).status, 200);
    assert_eq!(call("/healthz", HOST).status, 200);
    assert_eq!(call("/", "www.example.com").text(), "the website\n");
}

#[test]
fn lds_listener_of_the_module_starts_enforces_and_can_be_replaced() {
    let (envoy, upstream, listeners) = over("lds.yaml", "lds-listeners.yaml");
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
    replace(&listeners, "reports:read", "reports:write");
    await_count(&envoy, "listener_manager.lds.update_success", 2);
    let asked = report().bearer(&token("reporter", "reports:read"));
    assert_eq!(code(&envoy, &asked).as_deref(), Some("insufficient_scope"));
    replace(&listeners, "\"mode\": \"enforce\"", "\"mode\": \"open\"");
    await_count(&envoy, "listener_manager.lds.update_rejected", 1);
    assert_eq!(code(&envoy, &asked).as_deref(), Some("insufficient_scope"));
}

#[test]
fn ecds_filter_of_the_module_starts_enforces_and_can_be_replaced() {
    const UPDATE: &str = "extension_config_discovery.http_filter.callgate";
    let (envoy, upstream, gate) = over("ecds.yaml", "ecds-callgate.yaml");
    let address = envoy.api().unwrap();
    decides(&envoy, &upstream, |request| client::call(address, request).unwrap());
    replace(&gate, "reports:read", "reports:write");
    await_count(&envoy, &format!("{UPDATE}.update_success"), 2);
    let asked = report().bearer(&token("reporter", "reports:read"));
    assert_eq!(code(&envoy, &asked).as_deref(), Some("insufficient_scope"));
    replace(&gate, "\"mode\": \"enforce\"", "\"mode\": \"open\"");
    await_count(&envoy, &format!("{UPDATE}.update_rejected"), 1);
    assert_eq!(code(&envoy, &asked).as_deref(), Some("insufficient_scope"));
}

/// `do_not_close` must be in every file: without it, the replacement of a listener would unload the library.
#[test]
fn every_shipped_file_with_the_module_keeps_it_loaded() {
    let folder = test_harness::paths::root().join("envoy/module");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let with_module = |file: &Path| fs::read_to_string(file).unwrap().contains("dynamic_module_config:");
    let files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|end| end == "yaml") && with_module(file)).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("do_not_close: true") && !text.contains("remote:"), "{}", file.display());
    }
}
