//! Configurations, most of them invalid: each invalid one is rejected with a message and never replaces a valid one.

use serde_json::json;

use super::*;
use crate::wasmhost::{ConfigureFailed, Fault};

/// Returns the module's messages about a configuration that it rejects.
#[track_caller]
fn refused(config: &[u8], environment: &[(&str, &str)]) -> Vec<String> {
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    match Vm::start(&MODULE, config, &environment) {
        Ok(_) => panic!("it is taken: {}", String::from_utf8_lossy(config)),
        Err(ConfigureFailed { trap: Some(trap), .. }) => panic!("{trap}"),
        Err(ConfigureFailed { logs, trap: None }) => {
            assert!(logs.iter().all(|log| log.level == Level::Error), "{logs:?}");
            assert!(!logs.is_empty(), "it is refused without a word: {}", String::from_utf8_lossy(config));
            logs.into_iter().map(|log| log.message).collect()
        }
    }
}

#[test]
fn explains_how_to_deliver_a_policy_that_is_not_json() {
    // A `google.protobuf.Struct` with one field, as Envoy serializes it.
    let structure = b"\x0a\x12\x0a\x08callgate\x12\x06\x1a\x04v1\x00\x00";
    for config in
        [b"".as_slice(), structure, b"callgate: v1\nname: a\n", b"null", b"\"text\"", b"[]", b"\xff\xfe", b"  \n"]
    {
        let lines = refused(config, &[]);
        assert!(lines.len() == 1 && lines[0].contains("StringValue"), "{lines:?}");
    }
}

#[test]
fn rejects_json_that_is_not_a_policy() {
    let whole = policy().to_string();
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let huge = format!("{{\"callgate\":{}}}", "9".repeat(100_000));
    let utf8 = [b"{\"callgate\":\"v1\",\"name\":\"\xff\"}".as_slice()].concat();
    let twice = whole.replacen("\"name\"", "\"mode\":\"enforce\",\"name\"", 1);
    for config in [
        b"{".as_slice(),
        b"{}",
        b"{}{}",
        &whole.as_bytes()[..whole.len() / 2],
        deep.as_bytes(),
        huge.as_bytes(),
        &utf8,
        twice.as_bytes(),
    ] {
        let lines = refused(config, &[]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

#[test]
fn logs_every_semantic_error_with_its_position() {
    let mut wrong = policy();
    wrong["hosts"] = json!([]);
    wrong["endpoints"][0]["scopes"] = json!(["*"]);
    wrong["agents"]["builder"]["identity"]["issuer"] = json!("nobody");
    let lines = refused(wrong.to_string().as_bytes(), &[]);
    for place in ["hosts: ", "endpoints[0].scopes", "agents.builder.identity"] {
        assert!(lines.iter().any(|line| line.starts_with(place)), "{place}: {lines:?}");
    }
}

#[test]
fn reads_secrets_from_the_environment_and_never_logs_them() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let mut policy = policy();
    policy["issuers"]["corp"]["algorithms"] = json!(["HS256"]);
    policy["issuers"]["corp"]["keys"] = json!({ "secret": { "env": "CALLGATE_TEST_SECRET" } });
    let policy = policy.to_string();
    for environment in [&[][..], &[("CALLGATE_TEST_SECRET", "")], &[("CALLGATE_TEST_SECRET", "too-short-a-secret")]] {
        let lines = refused(policy.as_bytes(), environment);
        assert!(lines.iter().all(|line| !line.contains("too-short")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("issuers.corp.keys.secret")), "{lines:?}");
    }
    let environment = [("CALLGATE_TEST_SECRET".to_owned(), SECRET.to_owned())];
    let mut vm = Vm::start(&MODULE, policy.as_bytes(), &environment).unwrap();
    let jwk = json!({ "kty": "oct", "alg": "HS256", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY" });
    let key = SigningKey::from_jwk(&jwk).unwrap();
    let token = key.sign(&json!({ "typ": "at+jwt", "alg": "HS256" }), &claims());
    upstream(&vm.request(&request("GET", "/items/7", &[("authorization", &format!("Bearer {token}"))])));
}

#[test]
fn an_invalid_configuration_never_replaces_a_valid_one() {
    let mut vm = start(&policy());
    let root = vm.first_root();
    for bad in [b"".as_slice(), b"{}", b"\x0a\x00"] {
        assert!(vm.configure(root, bad, None).is_err());
        assert_alive(&mut vm);
    }
    vm.configure(root, policy_with(json!({ "hosts": ["other.example.com"] })).to_string().as_bytes(), None).unwrap();
    assert_eq!(reason(&vm.request(&good())), "endpoint_not_allowed");
}

#[test]
fn denies_every_request_without_a_policy() {
    let mut vm = start(&policy());
    let empty = vm.create_root().unwrap();
    assert!(vm.configure(empty, b"{}", None).is_err());
    for request in [good(), request("GET", "/health", &[])] {
        let request = Request { end_of_stream: false, trailers: Some(Pairs::new()), ..request };
        assert_eq!(answer(&vm.request_on(empty, &request)).details, "callgate_host_error");
    }
}

#[test]
fn an_invalid_policy_for_kong_denies_every_request() {
    let wrong = policy_with(json!({ "gateway": "kong", "hosts": [] })).to_string();
    for config in [wrong.as_bytes(), &wrong.as_bytes()[..wrong.len() - 1]] {
        let mut vm = Vm::start(&MODULE, config, &[]).unwrap();
        let outcome = vm.request(&good());
        assert_eq!(answer(&outcome).details, "callgate_host_error");
    }
}

/// Such as an Envoy whose configuration does not allow the filter to use the map.
#[test]
fn a_policy_that_needs_no_shared_map_starts_without_one() {
    for status in [2, 10, 12] {
        let mut vm = start(&policy());
        let root = vm.first_root();
        let fault = Fault { call: "proxy_get_shared_data".to_owned(), nth: 1, status };
        vm.configure(root, policy().to_string().as_bytes(), Some(fault.clone())).unwrap();
        let warned = vm.logs().iter().any(|log| log.level == Level::Warn && log.message.contains("shared map"));
        assert!(warned, "{status}: {:?}", vm.logs());
        assert_alive(&mut vm);
        let revoking = policy_with(json!({ "revoked": [{ "issuer": "corp", "jti": "another" }] }));
        assert!(vm.configure(root, revoking.to_string().as_bytes(), Some(fault)).is_err(), "{status}");
        assert_alive(&mut vm);
    }
}
