//! The configuration to copy, started as it stands.

use std::collections::BTreeSet;
use std::fs;

use callgate_cli::capabilities::CAPABILITIES;
use test_harness::client::{self, Request};
use test_harness::envoy::{Bootstrap, Envoy, Options};
use test_harness::paths;

use crate::fixture::module;

#[test]
fn the_file_to_copy_allows_what_the_filter_needs_and_no_more() {
    let mut shipped = Bootstrap::new(module(), "{}", ([127, 0, 0, 1], 1).into()).unwrap();
    let allowed = shipped.gate().unwrap()["capability_restriction_config"]["allowed_capabilities"].clone();
    let allowed: BTreeSet<_> = allowed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(allowed, CAPABILITIES.iter().copied().collect());
}

/// Two ports, the module's place and, so that two runs do not meet, the address are the machine's; all else is the file's.
#[test]
fn the_file_to_copy_starts_and_decides() {
    let mut text = fs::read_to_string(paths::root().join("envoy/envoy.yaml")).unwrap();
    let module = module().to_str().unwrap();
    for (from, to) in [
        ("port_value: 9901", "port_value: 0"),
        ("address: 0.0.0.0, port_value: 10000", "address: 127.0.0.1, port_value: 0"),
        ("/etc/envoy/callgate.wasm", module),
    ] {
        assert_eq!(text.matches(from).count(), 1, "`{from}` is not there once");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    fs::write(&file, text).unwrap();
    let envoy = Envoy::start_file(&file, folder, &Options::default()).unwrap();
    let call = |path, host| client::call(envoy.api().unwrap(), &Request::get(path).host(host)).unwrap();

    let refused = call("/v1/reports", "api.example.com");
    assert_eq!((refused.status, refused.code().as_deref()), (401, Some("credentials_missing")));
    // Past the gate, and nobody listens behind it.
    assert_eq!(call("/v1/status", "api.example.com").status, 503);
    assert_eq!(call("/healthz", "api.example.com").status, 200);
    assert_eq!(call("/", "www.example.com").text(), "the website\n");

    let line = envoy.await_access_log(|line| line["status"] == 401).unwrap();
    assert_eq!(line["details"], "callgate_credentials_missing");
    assert!(line["callgate"].as_str().unwrap().contains(r#""reason":"credentials_missing""#), "{line}");
}
