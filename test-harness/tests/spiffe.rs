//! Valid and malformed JWT-SVIDs, as the gate and the package `spiffe` for Python read them. They share no code.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use callgate_kit::mint::{Algorithm, SigningKey};
use identity_provider::gate::Gate;
use serde_json::{Value, json};
use test_harness::paths;
use test_harness::python::Package;

use crate::envoy::clients::python;

const SPIFFE: Package<'_> =
    Package { folder: "spiffe", name: "spiffe", version: "0.3.2", file: "spiffe/svid/jwt_svid.py" };

const AUDIENCE: &str = "https://api.example.com";
const ID: &str = "spiffe://example.org/ns/prod/planner";

/// What the package does with a token.
#[derive(Clone, Copy)]
enum Library {
    /// The same as the gate.
    Same,
    /// It accepts what the gate rejects, and why the gate is stricter.
    Accepts(&'static str),
    /// It rejects what the gate accepts, and why the gate is right.
    Rejects(&'static str),
}
use Library::{Accepts, Rejects, Same};

/// Why the gate normalizes nothing.
const CASE: &str = "it compares without regard to case and returns another text than the token has";
/// The rule about the header's parameters (JWT-SVID, section 2).
const PARAMETERS: &str = "the specification allows only `alg`, `kid` and `typ`, and it ignores others";
/// The maximum length of an ID (SPIFFE-ID, section 2.3).
const LENGTH: &str = "it has no maximum length";

/// Returns subjects, what the gate decides, and what the package does.
fn subjects() -> Vec<(Value, &'static str, Library)> {
    let long = |bytes: usize| json!(format!("spiffe://example.org/{}", "a".repeat(bytes - 21)));
    let malformed = [
        "https://example.org/ns/prod/planner",
        "spiffes://example.org/ns/prod/planner",
        "example.org/ns/prod/planner",
        "spiffe:/example.org/ns/prod/planner",
        " spiffe://example.org/ns/prod/planner",
        "spiffe:///ns/prod/planner",
        "spiffe://example.org:443/ns/prod/planner",
        "spiffe://example.org:/ns/prod/planner",
        "spiffe://admin@example.org/ns/prod/planner",
        "spiffe://ex%61mple.org/ns/prod/planner",
        "spiffe://example.org.evil.example/ns/prod/planner",
        "spiffe://example.org./ns/prod/planner",
        "spiffe://prod.example.org/ns/prod/planner",
        "spiffe://evil.example/ns/prod/planner",
        "spiffe://example.org\\ns/prod/planner",
        "spiffe://example.org/",
        "spiffe://example.org/ns/prod/planner/",
        "spiffe://example.org/ns//prod/planner",
        "spiffe://example.org//ns/prod/planner",
        "spiffe://example.org/ns/./prod/planner",
        "spiffe://example.org/ns/dev/../prod/planner",
        "spiffe://example.org/ns/prod/planner/..",
        "spiffe://example.org/ns/prod/%70lanner",
        "spiffe://example.org/ns%2Fprod/planner",
        "spiffe://example.org/ns/prod/planner?x=1",
        "spiffe://example.org/ns/prod/planner?",
        "spiffe://example.org/ns/prod/planner#x",
        "spiffe://example.org/ns/prod/~planner",
        "spiffe://example.org/ns:prod/planner",
        "spiffe://example.org/ns/prod/*",
        "spiffe://example.org/ns/prod/plänner",
        "spiffe://example.org/ns/prod/planner\0",
        "spiffe://example.org/ns/prod/planner,spiffe://example.org/ns/jobs/build",
        "",
    ];
    let mut rows: Vec<_> = malformed.map(|sub| (json!(sub), "token_subject", Same)).to_vec();
    rows.extend([
        (json!(ID), "allow", Same),
        (json!("spiffe://example.org/Upper/a.b-c_d/..."), "allow", Same),
        (json!("spiffe://example.org/a"), "allow", Same),
        (long(2048), "allow", Same),
        (long(2049), "token_subject", Accepts(LENGTH)),
        (json!("SPIFFE://example.org/ns/prod/planner"), "token_subject", Accepts(CASE)),
        (json!("Spiffe://example.org/ns/prod/planner"), "token_subject", Accepts(CASE)),
        (json!("spiffe://Example.org/ns/prod/planner"), "token_subject", Accepts(CASE)),
        (json!(format!("{ID}\n")), "token_subject", Accepts("its expressions ignore a line break at the end")),
        (json!("spiffe://example.org"), "token_subject", Accepts("it leaves to its caller that this is no workload")),
        (json!(null), "token_claim", Same),
        (json!(7), "token_claim", Same),
        (json!([ID]), "token_claim", Same),
    ]);
    rows
}

/// Returns changes to the header, what the gate decides, and what the package does.
fn headers() -> Vec<(Value, &'static str, Library)> {
    vec![
        (json!({ "typ": null }), "allow", Same),
        (json!({ "typ": "JOSE" }), "allow", Same),
        (json!({ "typ": "jwt" }), "token_type", Same),
        (json!({ "typ": "at+jwt" }), "token_type", Same),
        (json!({ "typ": "application/jwt" }), "token_type", Same),
        (json!({ "typ": ["JWT"] }), "token_type", Same),
        (json!({ "typ": "" }), "token_type", Accepts("it reads an empty `typ` like none")),
        (json!({ "jku": "https://evil.example/jwks" }), "token_header", Accepts(PARAMETERS)),
        (json!({ "x5u": "https://evil.example/key.pem" }), "token_header", Accepts(PARAMETERS)),
        (json!({ "x5c": ["MIIB"] }), "token_header", Accepts(PARAMETERS)),
        (json!({ "cty": "JWT" }), "token_header", Accepts(PARAMETERS)),
        (json!({ "jwk": {} }), "token_header", Accepts(PARAMETERS)),
        (json!({ "crit": ["exp"] }), "token_header", Same),
        (json!({ "kid": "k2" }), "token_key", Same),
        (json!({ "kid": null }), "allow", Rejects("`kid` is optional, and the bundle has only one key")),
        (json!({ "alg": "EdDSA" }), "token_algorithm", Same),
        (json!({ "alg": "HS256" }), "token_algorithm", Same),
        (json!({ "alg": "none" }), "token_algorithm", Same),
        (json!({ "alg": "PS256" }), "token_algorithm", Same),
    ]
}

/// Returns changes to the claims at this time, what the gate decides, and what the package does.
fn claims(now: u64) -> Vec<(Value, &'static str, Library)> {
    let unlimited = "it does not limit the lifetime";
    vec![
        (json!({ "aud": AUDIENCE }), "allow", Same),
        (json!({ "aud": ["spiffe://example.org/db", AUDIENCE] }), "allow", Same),
        (json!({ "aud": null }), "token_claim", Same),
        (json!({ "aud": [] }), "token_audience", Same),
        (json!({ "aud": ["https://api.example"] }), "token_audience", Same),
        (json!({ "aud": [format!("{AUDIENCE}/")] }), "token_audience", Same),
        (json!({ "aud": [AUDIENCE, 7] }), "token_claim", Same),
        (json!({ "exp": null }), "token_claim", Same),
        (json!({ "exp": "soon" }), "token_time", Same),
        (json!({ "exp": (now + 200).to_string() }), "token_time", Accepts("it reads text as a number")),
        (json!({ "exp": now - 120, "iat": now - 300 }), "token_expired", Same),
        (json!({ "nbf": now + 180 }), "token_not_yet_valid", Same),
        (json!({ "iat": now + 180 }), "token_time", Accepts("it does not read `iat`")),
        (json!({ "iat": null }), "allow", Same),
        (json!({ "iat": null, "exp": now + 86_400 }), "token_lifetime", Accepts(unlimited)),
        (json!({ "exp": now + 86_400 }), "token_lifetime", Accepts(unlimited)),
        (json!({ "iss": "https://oidc.example.org" }), "allow", Same),
        (json!({ "iss": 7 }), "token_claim", Accepts("it does not read `iss`")),
    ]
}

/// Returns a policy that accepts every workload of the trust domain of this bundle.
fn policy(bundle: &Value) -> Value {
    json!({
        "callgate": "v1", "name": "spiffe", "mode": "enforce", "gateway": "envoy", "resource": AUDIENCE, "hosts": ["api.example.com"],
        "unregistered": "allow",
        "issuers": { "spire": {
            "profile": "jwt-svid", "trust_domain": "example.org", "algorithms": ["ES256"], "max_lifetime": "5m", "keys": { "jwks": bundle },
        } },
        "agents": {},
        "endpoints": [{ "id": "items", "methods": ["GET"], "path": "/items", "effect": "read", "scopes": "none" }],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": false } },
    })
}

/// Applies a merge patch to the members of an object.
fn with(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        let members = object.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    object
}

/// Returns the SPIFFE IDs that the package reads in the tokens. `None` for a token that it rejects.
fn read(python: &Path, bundle: &Value, tokens: &[String]) -> Vec<Option<String>> {
    let script = paths::root().join("test-harness/tests/spiffe/read.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(script).args(["example.org", AUDIENCE]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = format!("{bundle}\n{}\n", tokens.join("\n"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn the_gate_is_at_least_as_strict_as_the_package() {
    let Some(python) = python(SPIFFE) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k1");
    let bundle = json!({ "keys": [with(key.public_jwk(), &json!({ "use": "jwt-svid" }))], "spiffe_sequence": 1 });
    let gate = Gate::new(&policy(&bundle)).unwrap();

    let usual = json!({ "aud": [AUDIENCE], "sub": ID, "iat": now, "exp": now + 240 });
    let of_subject = |(sub, gate, package): (Value, _, _)| (json!({}), json!({ "sub": sub }), gate, package);
    let rows: Vec<_> = subjects()
        .into_iter()
        .map(of_subject)
        .chain(headers().into_iter().map(|(header, gate, package)| (header, json!({}), gate, package)))
        .chain(claims(now).into_iter().map(|(claims, gate, package)| (json!({}), claims, gate, package)))
        .collect();
    let tokens: Vec<String> = rows
        .iter()
        .map(|(header, claims, ..)| {
            let header = with(with(key.header(), &json!({ "typ": "JWT" })), header);
            key.sign(&header, &with(usual.clone(), claims))
        })
        .collect();
    let read = read(&python, &bundle, &tokens);
    assert_eq!(read.len(), rows.len());
    for ((header, claims, expected, package), (token, read)) in rows.iter().zip(tokens.iter().zip(read)) {
        let decided = gate.bearer("/items", token).unwrap();
        assert_eq!(decided, *expected, "{header} {claims}");
        let (accepts, why) = match package {
            Same => (decided == "allow", ""),
            Accepts(why) => (true, *why),
            Rejects(why) => (false, *why),
        };
        assert_eq!(read.is_some(), accepts, "{header} {claims} {why}");
        if decided == "allow" && accepts {
            assert_eq!(read.as_deref(), with(usual.clone(), claims)["sub"].as_str(), "{claims}");
        }
    }
}
