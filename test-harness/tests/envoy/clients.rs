//! Client libraries that share no code with the gate. Each signs with its defaults, and its request is allowed after at most one more round
//! trip with the information in the response.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::sign::JOINED_BY_ENVOY;
use serde_json::{Value, json};
use test_harness::client::Request;
use test_harness::paths;
use test_harness::python::Package;

use crate::envoy::fixture::{Gate, HOST, KEY, claims, header, policy, shared};
use crate::envoy::signing::LIBRARY;

const SIGNED_REQUESTS: Package<'_> = Package {
    folder: "requests-http-signature",
    name: "requests-http-signature",
    version: "2.0.0",
    file: "requests_http_signature/__init__.py",
};
const BOUND_REQUESTS: Package<'_> = Package {
    folder: "requests_oauth2client",
    name: "requests_oauth2client",
    version: "1.8.0",
    file: "requests_oauth2client/__init__.py",
};

/// If this variable is `1`, a package that cannot be installed is a failure. Otherwise the tests that need it print a line and test nothing.
const REQUIRE_PARTIES: &str = "CALLGATE_REQUIRE_PARTIES";

/// Returns a Python with this package, or `None` if it cannot be installed.
///
/// # Panics
/// If it cannot be installed and [`REQUIRE_PARTIES`] is set.
pub(crate) fn python(package: Package<'_>) -> Option<PathBuf> {
    match package.install() {
        Ok(installed) => Some(installed.python),
        Err(error) => {
            let is_required = env::var(REQUIRE_PARTIES).is_ok_and(|value| value == "1");
            assert!(!is_required, "{REQUIRE_PARTIES} is set, and {} cannot be installed: {error:#}", package.name);
            // Bypasses the print macros, because the test runner shows their output only for failed tests.
            let _ = writeln!(io::stderr(), "not run: {} cannot be installed: {error:#}", package.name);
            None
        }
    }
}

/// Runs a client once, and returns the status of each exchange with the code of its denial.
pub(super) fn exchanges(
    gate: &Gate,
    python: &PathBuf,
    script: &str,
    arguments: &[&str],
    variables: &[(&str, String)],
) -> Vec<String> {
    let script = paths::root().join("test-harness/tests/envoy/clients").join(script);
    let gateway = format!("http://{}", gate.envoy.api().unwrap());
    let start = Instant::now();
    loop {
        let mut command = Command::new(python);
        command.arg("-B").arg(&script).args(arguments).env("GATEWAY", &gateway).envs(variables.iter().cloned());
        let output = command.output().unwrap();
        let (printed, complaint) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
        // A new replay table cannot determine yet whether a message was used before.
        if !printed.contains("replay_table_young") || start.elapsed() > Duration::from_secs(20) {
            assert!(output.status.success(), "{printed}{complaint}");
            return printed.lines().map(|line| line.trim().to_owned()).collect();
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Returns a policy with agents that have a key of each kind that libraries sign with, and with endpoints that accept only their
/// signatures.
fn signed_policy(signatures: &Value) -> (Value, BTreeMap<&'static str, SigningKey>) {
    let mut policy = policy();
    policy["issuers"] = json!({});
    policy["agents"] = json!({});
    let mut keys = BTreeMap::new();
    for (name, algorithm) in
        [("ed25519", Algorithm::Ed25519), ("ecdsa-p256", Algorithm::Es256), ("ecdsa-p384", Algorithm::Es384)]
    {
        let key = SigningKey::generate(algorithm).unwrap().with_kid(name);
        policy["agents"][name] = json!({
            "owner": "platform@example.com",
            "scopes": ["items:read", "items:write"],
            "signing_keys": [{ "jwk": key.public_jwk() }],
        });
        keys.insert(name, key);
    }
    policy["signatures"] = signatures.clone();
    policy["limits"] = json!({ "calls": { "per": "agent", "rate": "10/1s", "burst": 100 } });
    policy["requirements"] = json!({
        "read": { "authenticate": "signature", "limits": ["calls"] },
        "write": { "authenticate": "signature", "limits": ["calls"] },
    });
    policy["endpoints"]
        .as_array_mut()
        .unwrap()
        .retain(|endpoint| ["items.get", "items.create"].iter().any(|id| endpoint["id"] == **id));
    (policy, keys)
}

/// Tests every kind of key and request, with a policy that requires little and with one that requires much.
fn signs_as_asked(package: Package<'_>, script: &str) {
    let Some(python) = python(package) else { return };
    for (signatures, first_of_get, first_of_post) in [
        (json!({}), None, Some("403 signature_coverage")),
        (json!({ "tag": "items", "nonce": "required" }), Some("403 signature_missing"), Some("403 signature_missing")),
    ] {
        let (policy, keys) = signed_policy(&signatures);
        let gate = Gate::start(&policy);
        for (agent, key) in &keys {
            for (method, path, first) in [("GET", "/items/1?page=2", first_of_get), ("POST", "/items", first_of_post)] {
                let variables = [("KEY", key.private_jwk().to_string())];
                let exchanges = exchanges(&gate, &python, script, &[method, path], &variables);
                let expected: Vec<_> = first.into_iter().chain(["200"]).collect();
                assert_eq!(exchanges, expected, "{script} {agent} {method} {signatures}");
                assert_eq!(gate.upstream.seen().last().unwrap().header("x-callgate-agent"), Some(*agent));
            }
        }
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn http_message_signatures_satisfies_accept_signature() {
    signs_as_asked(LIBRARY, "plain.py");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn requests_http_signature_satisfies_accept_signature() {
    signs_as_asked(SIGNED_REQUESTS, "signed_requests.py");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn requests_oauth2client_completes_the_nonce_round_trip() {
    let Some(python) = python(BOUND_REQUESTS) else { return };
    for required in [false, true] {
        let mut policy = policy();
        policy["dpop"] = json!({ "required": required, "algorithms": ["ES256", "Ed25519"], "nonce": "required" });
        policy["limits"] = json!({ "calls": { "per": "agent", "rate": "10/1s", "burst": 100 } });
        policy["requirements"] = json!({ "read": { "limits": ["calls"] }, "write": { "limits": ["calls"] } });
        let gate = Gate::start(&policy);
        for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
            let key = SigningKey::generate(algorithm).unwrap();
            let mut claims = claims("items:read");
            claims["cnf"] = json!({ "jkt": key.thumbprint() });
            let mut private = key.private_jwk();
            if algorithm == Algorithm::Ed25519 {
                // The library uses the algorithm's older name (RFC 8037).
                private["alg"] = json!("EdDSA");
            }
            let variables = [("KEY", private.to_string()), ("TOKEN", KEY.sign(&header(), &claims))];
            let exchanges = exchanges(&gate, &python, "bound_requests.py", &["/items/1?page=2"], &variables);
            // The second request already includes the nonce.
            assert_eq!(exchanges, ["401 dpop_nonce", "200", "200"], "{required} {algorithm:?}");
            assert_eq!(gate.upstream.seen().last().unwrap().header("x-callgate-agent"), Some("robot"));
        }
    }
}

#[test]
fn envoy_joins_exactly_the_headers_that_verify_warns_about() {
    let gate = shared();
    // The lines of the last four headers are not joined.
    for name in JOINED_BY_ENVOY.into_iter().chain(["accept-language", "content-digest", "signature", "x-a"]) {
        let asked = gate.ask(Request::get("/status").host(HOST).header(name, "a").header(name, "b"));
        let seen = asked.seen.unwrap_or_else(|| panic!("{name}: {:?}", asked.response));
        let values: Vec<_> =
            seen.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect();
        let expected = if JOINED_BY_ENVOY.contains(&name) { &["a,b"][..] } else { &["a", "b"] };
        assert_eq!(values, expected, "{name}");
    }
}
