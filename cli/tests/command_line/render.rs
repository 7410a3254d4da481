use std::collections::BTreeSet;

use callgate_cli::capabilities::CAPABILITIES;
use callgate_cli::document;

use crate::{callgate, file, json, quickstart};

/// The filter's entry, read back from YAML.
fn rendered(path: &str) -> serde_json::Value {
    let text = callgate(&format!("render {path} --for envoy")).fine();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    document::parse("rendered", text.as_bytes()).unwrap().value()[0].clone()
}

#[test]
fn the_policy_arrives_as_a_string_of_json() {
    let filter = rendered("examples/quickstart/policy.yaml");
    assert_eq!(filter["name"], "callgate");
    let config = &filter["typed_config"]["config"];
    assert_eq!(config["failure_policy"], "FAIL_RELOAD");
    assert_eq!(
        config["reload_config"]["backoff"],
        serde_json::json!({ "base_interval": "0.1s", "max_interval": "1s" })
    );
    let allowed = config["capability_restriction_config"]["allowed_capabilities"].as_object().unwrap();
    assert_eq!(allowed.keys().map(String::as_str).collect::<BTreeSet<_>>(), CAPABILITIES.iter().copied().collect());
    assert_eq!(config["configuration"]["@type"], "type.googleapis.com/google.protobuf.StringValue");
    let policy = document::parse("policy", quickstart().as_bytes()).unwrap();
    assert_eq!(json(config["configuration"]["value"].as_str().unwrap()), *policy.value());
}

#[test]
fn every_text_survives_the_quoting() {
    let hostile = r#"it's \"quoted\" # not a comment: \u0085\u2028\u007f\ufeff %{x} \\ \t \u{1F600}"#
        .replace("\\u{1F600}", "\u{1F600}");
    let text = quickstart().replace("purpose: opens and updates pull requests", &format!("purpose: \"{hostile}\""));
    let path = file("quoting.yaml", &text);
    let value = rendered(&path)["typed_config"]["config"]["configuration"]["value"].clone();
    let written = document::parse("policy", text.as_bytes()).unwrap();
    assert_eq!(json(value.as_str().unwrap()), *written.value());
    assert!(
        json(value.as_str().unwrap())["agents"]["coding-agent"]["purpose"]
            .as_str()
            .unwrap()
            .starts_with("it's \"quoted\" #")
    );
}

#[test]
fn secrets_are_named_to_the_gateway() {
    let policy = r#"
callgate: v1
name: gate
mode: enforce
gateway: envoy
resource: https://api.example.com
hosts: [api.example.com]
issuers:
  corp:
    issuer: https://idp.example.com
    profile: at+jwt
    algorithms: [HS256]
    max_lifetime: 15m
    keys: { secret: { env: CALLGATE_TEST_NOT_SET } }
agents: { a: { owner: o, identity: { issuer: corp, client_id: a } } }
endpoints: [{ id: a, methods: [GET], path: /a, effect: read, scopes: none }]
upstream: { authorization: remove }
audit: { log: { allow: false, deny: true } }
"#;
    let filter = rendered(&file("secret.yaml", policy));
    let vm = &filter["typed_config"]["config"]["vm_config"];
    assert_eq!(vm["environment_variables"]["host_env_keys"], serde_json::json!(["CALLGATE_TEST_NOT_SET"]));
    assert_eq!(vm["code"]["local"]["filename"], "/etc/envoy/callgate.wasm");
}

#[test]
fn other_gateways_are_not_supported_yet() {
    for gateway in ["istio", "envoy-gateway", "higress", "kong"] {
        let err = callgate(&format!("render examples/quickstart/policy.yaml --for {gateway}")).failed(1);
        assert_eq!(
            err,
            format!("callgate: `--for {gateway}` is not supported yet: this version renders for `envoy`\n")
        );
    }
}
