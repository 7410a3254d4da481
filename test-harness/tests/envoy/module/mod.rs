//! What only the dynamic module has. These tests use the module in every run, for any value of `CALLGATE_ADAPTER`.

mod panics;
mod parity;
mod symbols;
mod updates;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};
use test_harness::build::Flavor;
use test_harness::client::Request;
use test_harness::envoy::{Adapter, Bootstrap, MODULE_RELEASES, Options, release};
use tonic::Code;

use crate::envoy::fixture::{Gate, HOST, claims, good, policy, token};
use crate::envoy::grpc::Client;

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| Adapter::Module.build(Flavor::Release).unwrap());

/// Returns the module that ships.
fn library() -> &'static Path {
    &LIBRARY
}

/// Starts a gate with the module.
fn start(policy: &Value, change: impl FnOnce(&mut Bootstrap), options: &Options) -> Gate {
    Gate::try_start(library(), &policy.to_string(), change, options).unwrap()
}

/// Returns why Envoy does not start with this policy.
#[track_caller]
fn refusal(policy: &str, change: impl FnOnce(&mut Bootstrap), options: &Options) -> String {
    match Gate::try_start(library(), policy, change, options) {
        Ok(_) => panic!("Envoy started"),
        Err(error) => format!("{error:#}"),
    }
}

#[track_caller]
fn assert_decides(gate: &Gate) {
    let asked = gate.ask(good());
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), Some("robot"));
    gate.ask(Request::get("/items/1").host(HOST)).assert_denied(401, "credentials_missing");
    gate.ask(Request::get("/nowhere").host(HOST).bearer(&token("none"))).assert_denied(403, "endpoint_not_allowed");
}

#[test]
fn the_module_decides() {
    assert_decides(&start(&policy(), |_| (), &Options::default()));
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn the_module_loads_and_decides_in_every_supported_version() {
    for version in MODULE_RELEASES {
        println!("Envoy {version}");
        let options = Options { binary: Some(release(version).unwrap()), ..Options::default() };
        assert_decides(&start(&policy(), |_| (), &options));
    }
}

/// Envoy's answers of a module have the status OK unless the module states another one.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_denials_have_their_status() {
    let gate = start(&policy(), |_| (), &Options::default());
    let mut client = Client::connect(gate.envoy.api().unwrap()).await;
    for (path, token, code, reason) in [
        ("/echo.Echo/Say", None, Code::Unauthenticated, "credentials_missing"),
        ("/echo.Echo/Say", Some(token("items:read")), Code::PermissionDenied, "insufficient_scope"),
        ("/echo.Other/Say", Some(token("chat")), Code::PermissionDenied, "endpoint_not_allowed"),
    ] {
        let status = client.unary(path, token.as_deref(), "hello").await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().starts_with(reason), "{status:?}");
    }
    assert_eq!(client.unary("/echo.Echo/Say", Some(&token("chat")), "hello").await.unwrap(), "hello");
    assert_eq!(gate.upstream.count(), 1);
}

const VARIABLE: &str = "CALLGATE_TEST_OF_THE_MODULE";
const SECRET: &str = "a-secret-that-only-a-listed-name-makes-visible";

/// Returns the test policy with an issuer whose secret is in the environment.
fn with_secret() -> Value {
    let mut policy = policy();
    policy["issuers"]["shared"] = json!({
        "issuer": "https://shared.example.com", "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "15m",
        "keys": { "secret": { "env": VARIABLE } },
    });
    policy["agents"]["other"] =
        json!({ "owner": "o@example.com", "identity": { "issuer": "shared", "client_id": "robot" } });
    policy
}

/// The module could read every variable of Envoy.
#[test]
fn a_policy_reads_only_the_variables_that_the_configuration_lists() {
    let options = Options { environment: vec![(VARIABLE.to_owned(), SECRET.to_owned())], ..Options::default() };
    let without: [&[&str]; 3] = [&[], &["PATH"], &["CALLGATE_TEST_OF_THE"]];
    for listed in without {
        let unlisted = |bootstrap: &mut Bootstrap| bootstrap.set_environment(listed).unwrap();
        let message = refusal(&with_secret().to_string(), unlisted, &options);
        assert!(message.contains("issuers.shared.keys.secret"), "{listed:?}: {message}");
        assert!(!message.contains(SECRET), "{message}");
    }

    let listed = |bootstrap: &mut Bootstrap| bootstrap.set_environment(&[VARIABLE]).unwrap();
    let gate = start(&with_secret(), listed, &options);
    let jwk = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let mut claims = claims("items:read");
    claims["iss"] = json!("https://shared.example.com");
    let token = SigningKey::from_jwk(&jwk).unwrap().sign(&json!({ "alg": "HS256", "typ": "at+jwt" }), &claims);
    gate.ask(Request::get("/items/1").host(HOST).bearer(&token)).assert_allowed();
    let shown = [gate.envoy.log(), gate.envoy.admin("/config_dump").unwrap()].concat();
    assert!(shown.contains(VARIABLE) && !shown.contains(SECRET));
}
