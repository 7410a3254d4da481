use super::*;
use crate::document;

const POLICY: &str = r#"callgate: v1
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
agents:
  worker:
    owner: platform@example.com
    identity: { issuer: corp, client_id: worker }
endpoints:
  - id: reports
    methods: [GET]
    path: /reports
    effect: read
    scopes: [reports:read]
upstream: { authorization: remove }
audit: { log: { allow: false, deny: true } }
"#;

fn loaded(text: &str) -> Result<Loaded, Diagnostics> {
    compile(document::parse("p", text.as_bytes()).unwrap(), &not_needed)
}

fn errors(text: &str) -> Vec<String> {
    loaded(text).unwrap_err().as_slice().iter().map(ToString::to_string).collect()
}

#[test]
fn loads_a_policy_without_its_secrets_and_lists_their_names() {
    let loaded = loaded(POLICY).unwrap();
    assert_eq!(&*loaded.policy.name, "gate");
    assert_eq!(loaded.secrets.into_iter().collect::<Vec<_>>(), ["CALLGATE_TEST_NOT_SET"]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn canonical_json_compiles_to_the_same_policy() {
    let first = loaded(POLICY).unwrap();
    assert!(first.policy_json.starts_with(r#"{"agents":{"worker":{"identity":{"client_id":"worker","issuer":"corp"}"#));
    let second = loaded(&first.policy_json).unwrap();
    assert_eq!(second.policy_json, first.policy_json);
    assert_eq!(second.policy.version, first.policy.version);
    let from_bytes = Policy::from_json(first.policy_json.as_bytes(), &not_needed).unwrap();
    assert_eq!(from_bytes.policy.version, first.policy.version);
}

#[test]
fn reports_all_engine_errors_with_their_positions() {
    let text = POLICY
        .replace("name: gate", "name: no gate")
        .replace("issuer: corp", "issuer: crop")
        .replace("[reports:read]", "['reports:*']");
    let errors = errors(&text);
    let starts = ["p:2:1: name: ", "p:17:17: agents.worker.identity.issuer: ", "p:23:5: endpoints[0].scopes: "];
    assert_eq!(errors.len(), starts.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn reports_structure_errors_before_semantic_errors() {
    let text = POLICY.replace("name: gate", "name: no gate").replace("effect: read", "effekt: read");
    assert_eq!(
        errors(&text),
        [
            "p:19:5: endpoints[0].effect: required field is missing; what the request does to the API's data",
            "p:22:5: endpoints[0].effekt: unknown field; did you mean `effect`?",
        ]
    );
}

#[test]
fn schema_finds_every_structure_error_the_engine_rejects() {
    // If the schema accepted what the engine rejects, the mistakes would be reported one at a time and with other messages.
    for (from, to) in [
        ("agents:", "requirements: { reed: {} }\nagents:"),
        ("hosts: [api.example.com]", "hosts: {}"),
        ("max_lifetime: 15m", "max_lifetime: 1w"),
        ("effect: read", "effect: Read"),
        ("scopes: [reports:read]", "scopes: all"),
        ("deny: true", "deny: 1"),
        ("env: CALLGATE_TEST_NOT_SET", "env: [A]"),
    ] {
        let document = document::parse("p", POLICY.replace(from, to).as_bytes()).unwrap();
        assert_eq!(structure::check(&document).len(), 1, "{to}");
        Policy::from_value(document.value().clone(), &not_needed).unwrap_err();
    }
}

#[test]
fn rejects_a_policy_that_the_filter_could_not_parse() {
    let deep = format!("attributes: {{ a: {}1{} }}", "[".repeat(40), "]".repeat(40));
    let errors = errors(&POLICY.replace("owner: platform", &format!("{deep}\n    owner: platform")));
    assert!(errors.len() == 1 && errors[0].starts_with("p:1:1: the policy is not JSON"), "{errors:?}");
}

#[test]
fn reports_fields_without_a_value_with_their_positions() {
    let text = POLICY.replace("effect: read", "effect: read\n    hosts:").replace("audit:", "clock_skew: ~\naudit:");
    let message = "this field has no value; write one, or remove the field";
    assert_eq!(
        errors(&text),
        [format!("p:23:5: endpoints[0].hosts: {message}"), format!("p:26:1: clock_skew: {message}")]
    );
}

#[test]
fn reads_secrets_from_the_environment_if_set() {
    assert!(environment("CALLGATE_TEST_NOT_SET") == SecretLookup::NotNeeded);
    assert!(environment("PATH") == SecretLookup::Found(std::env::var("PATH").unwrap().into_bytes()));
}
