use crate::{callgate, file, json};

const KEY: &str = "@examples/quickstart/keys/ed25519.jwk.json";
const SIGN: &str = "sign https://api.example.com/items -X POST -H content-type:application/json --body {\"a\":1}";

/// Writes a signed request to a file as a message.
fn message(name: &str, change: impl Fn(String) -> String) -> String {
    let headers = callgate(&format!("{SIGN} --created 1000000 --nonce n1 --key {KEY}")).fine();
    let head = format!("POST /items HTTP/1.1\nHost: api.example.com\nContent-Type: application/json\n{headers}");
    file(name, change(format!("{head}\n{{\"a\":1}}")))
}

#[test]
fn accepts_a_valid_signature() {
    let message = message("verify-fine.http", |message| message);
    let printed = callgate(&format!("verify --request @{message} --key {KEY}")).fine();
    assert!(
        printed.starts_with(
            "valid    signature `sig` by `corp-ed25519` (ed25519), created 1970-01-12T13:46:40Z\n      \"@method\": POST\n"
        ),
        "{printed}"
    );
    let printed = json(&callgate(&format!("verify --request @{message} --key {KEY} --format json")).fine());
    assert_eq!((&printed["verified"], &printed["problem"]), (&true.into(), &serde_json::Value::Null));
}

#[test]
fn detects_a_changed_request() {
    for (name, from, to, problem) in [
        ("path", "POST /items ", "POST /other ", "the signature does not verify; the client signed another base"),
        ("body", "{\"a\":1}", "{\"a\":2}", "the body does not match its signed digest"),
        (
            "parameter",
            "created=1000000",
            "created=1000001",
            "the signature does not verify; the client signed another base",
        ),
        (
            "header",
            "Content-Type: application/json\n",
            "",
            "the signature base cannot be computed: `\"content-type\"`: the request does not have it",
        ),
    ] {
        let message = message(&format!("verify-{name}.http"), |message| message.replacen(from, to, 1));
        let ran = callgate(&format!("verify --request @{message} --key {KEY}"));
        assert_eq!((ran.code, ran.err.as_str()), (2, ""), "{name}");
        assert!(ran.out.contains(problem), "{name}: {}", ran.out);
    }
}

#[test]
fn compares_signature_bases_by_component() {
    let base = callgate(&format!("{SIGN} --created 1000000 --nonce n1 --key {KEY} --base")).fine();
    let base = file("verify-base.txt", base);
    let message = message("verify-differs.http", |message| message.replace("POST /items ", "POST /v1/items "));
    let ran = callgate(&format!("verify --request @{message} --key {KEY} --base {base}"));
    assert_eq!(ran.code, 2);
    let wanted = "      \"@path\" differs\n        the client signed   /items\n        the gate computes   /v1/items\n        expected: the path as sent, not decoded\n";
    assert!(ran.out.ends_with(wanted), "{}", ran.out);
    let ran = callgate(&format!(
        "verify --request @{message} --key {KEY} --base {base} --external-url http://localhost:10000 --format json"
    ));
    let differences = json(&ran.out)["differences"].clone();
    let components: Vec<_> =
        differences.as_array().unwrap().iter().map(|one| one["component"].as_str().unwrap()).collect();
    assert_eq!(components, ["\"@authority\"", "\"@path\""]);
}

#[test]
fn reports_a_base_that_differs_in_line_breaks_or_key() {
    let base = callgate(&format!("{SIGN} --created 1000000 --nonce n1 --key {KEY} --base")).fine();
    let message = message("verify-bit.http", |message| message);
    let other = file(
        "verify-other.jwk.json",
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    );
    let same = file("verify-same.txt", &base);
    let ran = callgate(&format!("verify --request @{message} --key @{other} --base {same}"));
    assert!(ran.out.contains("the client signed with another key or another algorithm"), "{}", ran.out);
    let ended = file("verify-ended.txt", format!("{base}\n"));
    let ran = callgate(&format!("verify --request @{message} --key @{other} --base {ended}"));
    assert!(ran.out.contains("differ only in line breaks"), "{}", ran.out);
}

/// Returns a policy with one agent that signs with the test's key.
fn policy(name: &str) -> String {
    policy_with(name, "")
}

/// Returns a policy with one agent that signs with the test's key, with more fields for the key.
fn policy_with(name: &str, of_the_key: &str) -> String {
    file(
        name,
        r#"
callgate: v1
name: verify
mode: enforce
gateway: envoy
resource: https://api.example.com
hosts: [api.example.com]
issuers: {}
agents:
  robot:
    owner: platform@example.com
    signing_keys: [{ jwk: KEY }]
limits: { calls: { per: agent, rate: 60/1m, burst: 10 } }
endpoints:
  - { id: items.create, methods: [POST], path: /items, effect: write, scopes: none, authenticate: signature, limits: [calls] }
upstream: { authorization: remove }
audit: { log: { allow: false, deny: true } }
"#
        .replace("KEY", &(public_key() + of_the_key)),
    )
}

#[test]
fn takes_the_key_and_the_decision_from_a_policy() {
    let policy = policy("verify-policy.yaml");
    let fine = message("verify-policy.http", |message| message);
    let printed = callgate(&format!("verify --request @{fine} --policy {policy} --at 1000001")).fine();
    assert!(printed.ends_with("ALLOW allowed\n"), "{printed}");
    let ran = callgate(&format!("verify --request @{fine} --policy {policy} --at 1000061"));
    assert_eq!(ran.code, 2);
    assert!(ran.out.starts_with("valid  "), "{}", ran.out);
    assert!(
        ran.out.contains("DENY  signature_expired: the signature is too old\n      required signature: sig=("),
        "{}",
        ran.out
    );
    let unknown = message("verify-unknown.http", |message| message.replace("corp-ed25519", "nobody"));
    assert_eq!(
        callgate(&format!("verify --request @{unknown} --policy {policy}")).failed(1),
        "callgate: the policy has no key `nobody`\n"
    );
}

#[test]
fn reports_a_key_outside_its_validity_period() {
    let validity = ", not_before: \"1970-01-12T13:46:40Z\", not_after: \"1970-01-12T13:46:42Z\"";
    let policy = policy_with("verify-validity.yaml", validity);
    let message = message("verify-validity.http", |message| message);
    let ran = callgate(&format!("verify --request @{message} --policy {policy} --at 1000001"));
    assert!(ran.fine().ends_with("ALLOW allowed\n"));
    for (at, problem) in [
        (
            999_999,
            "`not_before` of the key `corp-ed25519`: the key is not yet valid at 1970-01-12T13:46:39Z; expected a time from \
             1970-01-12T13:46:40Z",
        ),
        (
            1_000_002,
            "`not_after` of the key `corp-ed25519`: the key is no longer valid at 1970-01-12T13:46:42Z; expected a time before \
             1970-01-12T13:46:42Z",
        ),
    ] {
        let ran = callgate(&format!("verify --request @{message} --policy {policy} --at {at} --format json"));
        assert_eq!(ran.code, 2, "{}", ran.out);
        let found = json(&ran.out);
        assert_eq!((&found["verified"], found["problem"].as_str()), (&false.into(), Some(problem)));
        assert_eq!(found["decision"]["allowed"], false);
    }
    let ran = callgate(&format!("verify --request @{message} --policy {policy} --at 1000002"));
    assert!(ran.out.starts_with("INVALID ") && ran.out.contains("DENY  signature_key_time: "), "{}", ran.out);
}

fn public_key() -> String {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart/keys/ed25519.jwk.json"))
            .unwrap();
    let mut key = json(&text);
    key.as_object_mut().unwrap().remove("d");
    key.to_string()
}

#[test]
fn rejects_unsigned_or_malformed_requests() {
    let unsigned = file("verify-unsigned.http", "GET /items HTTP/1.1\nHost: api.example.com\n\n");
    let broken =
        file("verify-broken.http", "GET /items HTTP/1.1\nHost: api.example.com\nSignature-Input: ((\nSignature: a\n\n");
    for (arguments, message) in [
        (
            format!("verify --request @{unsigned} --key {KEY}"),
            "the request is not signed; expected both `Signature-Input` and `Signature`",
        ),
        (
            format!("verify --request @{broken} --key {KEY}"),
            "the signature is malformed, and the gate responds with 400: `Signature-Input` and `Signature` are not valid dictionaries of signatures",
        ),
        (
            format!("verify --request nonsense --key {KEY}"),
            "the argument: line 1 is not a request line; expected a method, a target and `HTTP/1.1`, such as `GET /items HTTP/1.1`",
        ),
    ] {
        assert_eq!(callgate(&arguments).failed(1), format!("callgate: {message}\n"));
    }
}

#[test]
fn names_the_scheme_with_which_the_signature_verifies() {
    let sign = SIGN.replace("https://", "http://");
    let headers = callgate(&format!(
        "{sign} --created 1000000 --nonce n1 --key {KEY} --cover @target-uri --cover @method --cover content-digest"
    ))
    .fine();
    let head = format!("POST /items HTTP/1.1\nHost: api.example.com\nContent-Type: application/json\n{headers}");
    let message = file("verify-scheme.http", format!("{head}\n{{\"a\":1}}"));
    let ran = callgate(&format!("verify --request @{message} --key {KEY}"));
    assert_eq!(ran.code, 2);
    assert!(ran.out.contains("      it would verify with the scheme `http` instead of `https`\n"), "{}", ran.out);
    callgate(&format!("verify --request @{message} --key {KEY} --external-url http://api.example.com")).fine();
    // No variant verifies for a request whose path was not signed.
    let other = file("verify-scheme-other.http", format!("{head}\n{{\"a\":1}}").replace("/items ", "/other "));
    let ran = json(&callgate(&format!("verify --request @{other} --key {KEY} --format json")).out);
    assert_eq!((&ran["verified"], &ran["would_verify"]), (&false.into(), &serde_json::Value::Null));
}

#[test]
fn names_headers_whose_lines_envoy_joins() {
    let sign = "sign https://api.example.com/items -H accept:text/html -H accept:text/plain -H x-a:1";
    let headers =
        callgate(&format!("{sign} --created 1000000 --key {KEY} --cover @method --cover accept --cover x-a")).fine();
    let request = |lines: &str| format!("GET /items HTTP/1.1\nHost: api.example.com\n{lines}x-a: 1\n{headers}\n");
    let sent = file("verify-lines.http", request("Accept: text/html\nAccept: text/plain\n"));
    let printed = json(&callgate(&format!("verify --request @{sent} --key {KEY} --format json")).fine());
    let warning = printed["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("`accept` has several lines: Envoy joins them with `,`"), "{warning}");
    // The request as it arrives after Envoy joined the lines.
    let seen = file("verify-joined.http", request("Accept: text/html,text/plain\n"));
    let ran = callgate(&format!("verify --request @{seen} --key {KEY}"));
    assert_eq!(ran.code, 2);
    assert!(
        ran.out.contains("      it would verify with the lines of `accept` joined with `, `, as RFC 9421"),
        "{}",
        ran.out
    );
    let spaced = file("verify-spaced.http", request("Accept: text/html, text/plain\n"));
    let printed = json(&callgate(&format!("verify --request @{spaced} --key {KEY} --format json")).fine());
    assert_eq!(printed.get("warnings"), None);
    // A client that joins the lines as Envoy does.
    let sign = sign.replace("-H accept:text/html -H accept:text/plain", "-H accept:text/html,text/plain");
    let headers =
        callgate(&format!("{sign} --created 1000000 --key {KEY} --cover @method --cover accept --cover x-a")).fine();
    let lines = "Accept: text/html\nAccept: text/plain\n";
    let wrong = format!("GET /items HTTP/1.1\nHost: api.example.com\n{lines}x-a: 1\n{headers}\n");
    let wrong = file("verify-unspaced.http", wrong);
    let ran = callgate(&format!("verify --request @{wrong} --key {KEY}"));
    assert!(
        ran.out.contains("      it would verify with the lines of `accept` joined with `,`; RFC 9421"),
        "{}",
        ran.out
    );
}

#[test]
fn evaluates_the_policy_on_the_request_as_envoy_delivers_it() {
    let policy = policy("verify-joined-policy.yaml");
    let sign = "sign https://api.example.com/items -X POST --created 1000000";
    let lines = "-H accept:text/html -H accept:text/plain";
    for (name, signed, accept, decision) in [
        ("lines", lines, "Accept: text/html\nAccept: text/plain\n", "DENY  signature_failed"),
        ("line", "-H accept:text/html,text/plain", "Accept: text/html,text/plain\n", "ALLOW allowed"),
    ] {
        let headers = callgate(&format!("{sign} {signed} --key {KEY} --also accept")).fine();
        let request = format!("POST /items HTTP/1.1\nHost: api.example.com\n{accept}{headers}\n");
        let request = file(&format!("verify-joined-{name}.http"), request);
        let ran = callgate(&format!("verify --request @{request} --policy {policy} --at 1000001"));
        // In both cases the signature verifies for the given request.
        assert!(ran.out.starts_with("valid  ") && ran.out.contains(decision), "{name}: {}", ran.out);
    }
}
