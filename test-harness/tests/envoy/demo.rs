//! The output of `cargo demo` is correct, and its Envoy exposes no secret.

use std::fs;

use serde_json::Value;
use test_harness::demo::Demo;
use test_harness::paths;

#[test]
fn every_demo_request_has_the_documented_result() {
    let demo = Demo::start().unwrap();
    for outcome in demo.call_all().unwrap() {
        assert!(
            outcome.is_expected(),
            "{}: expected {:?}, got {:?}, {:?}",
            outcome.title,
            outcome.expected,
            outcome.got,
            outcome.upstream
        );
    }
    // After requests with tokens, neither the tokens nor private keys appear in Envoy's admin output.
    let dump = ["/config_dump?include_eds", "/server_info", "/stats", "/clusters"]
        .map(|page| demo.admin(page).unwrap())
        .concat();
    for name in ["es256", "ed25519"] {
        let jwk = fs::read_to_string(paths::root().join(format!("examples/quickstart/keys/{name}.jwk.json"))).unwrap();
        let jwk: Value = serde_json::from_str(&jwk).unwrap();
        assert!(dump.contains(jwk["x"].as_str().unwrap()), "the dump has the policy");
        assert!(!dump.contains(jwk["d"].as_str().unwrap()));
    }
    assert!(!dump.contains("eyJ"), "a token begins so");
}
