//! The configuration to copy, started as it stands.

use std::collections::BTreeSet;
use std::fs;

use callgate_cli::capabilities::CAPABILITIES;
use test_harness::client::{self, Request};
use test_harness::envoy::{Bootstrap, Envoy, Options};
use test_harness::paths;
use test_harness::upstream::Upstream;

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

#[test]
fn each_credential_meets_the_same_gate() {
    let gates = [Upstream::start().unwrap(), Upstream::start().unwrap()];
    let mut text = fs::read_to_string(paths::root().join("envoy/front.yaml")).unwrap();
    for (shipped, changed) in [
        ("port_value: 9902".to_owned(), "port_value: 0".to_owned()),
        ("address: 0.0.0.0, port_value: 10001".to_owned(), "address: 127.0.0.1, port_value: 0".to_owned()),
        ("port_value: 10000".to_owned(), format!("port_value: {}", gates[0].address().port())),
        ("port_value: 10010".to_owned(), format!("port_value: {}", gates[1].address().port())),
    ] {
        assert_eq!(text.matches(&shipped).count(), 1, "{shipped}");
        text = text.replace(&shipped, &changed);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.yaml");
    fs::write(&file, text).unwrap();
    let envoy = Envoy::start_file(&file, folder, &Options::default()).unwrap();
    let address = envoy.listener("front").unwrap();
    // Until the gates have shown that they are well.
    let start = std::time::Instant::now();
    while client::call(address, &Request::get("/healthz").host("api.example.com")).unwrap().status != 200 {
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut met = [0, 0];
    for credential in 0..16 {
        for call in 0..4 {
            let mark = format!("{credential}-{call}");
            let request =
                Request::get("/").host("api.example.com").bearer(&format!("t{credential}")).header("x-mark", &mark);
            assert_eq!(client::call(address, &request).unwrap().status, 200);
        }
        let of = |gate: &Upstream| {
            (0..4).filter(|call| gate.saw("x-mark", &format!("{credential}-{call}")).is_some()).count()
        };
        let seen = [of(&gates[0]), of(&gates[1])];
        assert!(seen == [4, 0] || seen == [0, 4], "{credential}: {seen:?}");
        met[usize::from(seen[1] == 4)] += 1;
    }
    assert!(met.iter().all(|count| *count > 0), "{met:?}");
}
