use serde_json::Value;

use crate::{callgate, file, json, run};

const KEY: &str = "@examples/quickstart/keys/ed25519.jwk.json";
const URL: &str = "https://api.example.com/items?x=1";

fn signed(arguments: &str) -> (Value, String) {
    let printed = json(&callgate(&format!("sign {URL} --key {KEY} --format json {arguments}")).fine());
    let base = printed.get("base").and_then(Value::as_str);
    (printed.get("headers").unwrap().clone(), base.unwrap().to_owned())
}

#[test]
fn covers_the_usually_required_components_by_default() {
    let (headers, base) = signed("--created 1000000 --nonce n1");
    let parameters = r#"("@method" "@authority" "@path" "@query");created=1000000;nonce="n1";keyid="corp-ed25519""#;
    assert_eq!(headers["Signature-Input"], format!("sig={parameters}"));
    assert_eq!(
        base,
        format!(
            "\"@method\": GET\n\"@authority\": api.example.com\n\"@path\": /items\n\"@query\": ?x=1\n\"@signature-params\": {parameters}"
        )
    );
    // Ed25519 signatures are deterministic.
    assert_eq!(signed("--created 1000000 --nonce n1").0, headers);
    assert_ne!(signed("--created 1000000").0, signed("--created 1000000").0, "nonces are fresh");
    assert!(!signed("--no-nonce").1.contains("nonce"));
}

#[test]
fn signs_a_body_by_its_content_digest() {
    let body = file("sign-body.json", r#"{"hello": "world"}"#);
    let (headers, base) = signed(&format!("-X POST -H content-type:text/plain --body @{body} --token t.t.t"));
    assert_eq!(headers["Content-Digest"], "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    for line in ["\"authorization\": Bearer t.t.t", "\"content-digest\": sha-256=:X48E", "\"content-type\": text/plain"]
    {
        assert!(base.contains(line), "{base}");
    }
    let (headers, _) = signed(&format!("-X POST --body @{body} --digest sha-512 --digest sha-256"));
    let digest = headers["Content-Digest"].as_str().unwrap();
    assert!(digest.starts_with("sha-512=:WZDPaVn/") && digest.contains(", sha-256=:X48E"), "{digest}");
}

#[test]
fn options_choose_components_and_parameters() {
    let (headers, base) = signed(
        "--cover @method --cover @query-param;name=\"x\" --also x-a -H x-a:1 --label mine --tag app --keyid k --created 10 --expires 20 --no-nonce",
    );
    assert_eq!(
        headers["Signature-Input"],
        r#"mine=("@method" "@query-param";name="x" "x-a");created=10;expires=20;keyid="k";tag="app""#
    );
    assert!(base.contains("\"@query-param\";name=\"x\": 1\n\"x-a\": 1\n"), "{base}");
}

#[test]
fn curl_output_does_not_contain_the_token() {
    let body = file("sign-curl.json", "{}");
    let printed = callgate(&format!("sign {URL} -X POST --key {KEY} --token env:PATH --body @{body} --curl"));
    let printed = printed.fine();
    assert!(printed.starts_with("curl -X POST -H \"Authorization: Bearer ${PATH}\" "), "{printed}");
    assert!(printed.contains(" -H 'Content-Type:' --data-binary "), "{printed}");
    assert!(printed.trim().ends_with(&format!("'{URL}'")), "{printed}");
}

#[test]
fn signs_with_a_secret_or_a_pem_key() {
    let secret = "a secret of thirty-two bytes, or more";
    let printed = run(&["sign", URL, "--secret", secret, "--keyid", "k", "--format", "json"], "").fine();
    assert!(json(&printed)["headers"]["Signature"].as_str().unwrap().starts_with("sig=:"), "{printed}");
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----";
    let printed = run(&["sign", URL, "--key", "-"], pem).fine();
    assert!(printed.contains(";keyid=\""), "a PEM is named by its thumbprint: {printed}");
}

#[test]
fn reports_why_a_request_cannot_be_signed() {
    for (arguments, message) in [
        (
            format!("sign {URL}"),
            "callgate: arguments: no signing key; give one with --key, or a secret with --secret\n",
        ),
        (
            format!("sign /items --key {KEY}"),
            "callgate: /items: invalid URL; expected an absolute URL, such as `https://api.example.com/items?page=2`\n",
        ),
        (
            format!("sign {URL} --key {KEY} --also x-absent"),
            "callgate: cannot sign this request: `\"x-absent\"`: the request does not have it\n",
        ),
        (
            format!("sign {URL} --key {KEY} --also @method"),
            "callgate: cannot sign this request: a component is covered twice\n",
        ),
        (
            format!("sign {URL} --key {KEY} --algorithm hmac-sha256"),
            "callgate: examples/quickstart/keys/ed25519.jwk.json: `hmac-sha256` cannot be used with this key, which signs with `ed25519`\n",
        ),
        (format!("sign {URL} --key @missing"), "callgate: --key: missing does not exist\n"),
        (
            format!("sign {URL} --key nonsense"),
            "callgate: --key: the argument is neither a JWK nor PEM; give one of these, or a secret with --secret\n",
        ),
        (
            format!("sign {URL} --secret short --keyid k"),
            "callgate: the argument: the secret has 5 bytes; use 32 or more, such as from `callgate keygen hmac`\n",
        ),
    ] {
        assert_eq!(callgate(&arguments).failed(1), message);
    }
}
