//! The cost of a signature: a signed request compared with the same request with only its token.
//!
//! Unlike a verified token, a signature cannot be cached, so each request pays for its algorithm, and also for parsing the fields,
//! rebuilding the signature base, and the replay table. Signatures are created just before each round, outside of the measurement.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use callgate::Headers;
use callgate::identity::signature::{Message, StructuredFields};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::sign::{self, Digest, Input, content_digest, text_parameter};
use serde_json::{Value, json};

use super::callee::Callee;
use super::compared::{self, Row};
use super::load::Clients;
use super::native;
use super::report::Measured;
use super::{Built, Size, policies, rows};
use crate::client::Request;
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::progress;
use crate::quickstart::{HOST, Issuer, set};

const VARIABLE: &str = "CALLGATE_BENCH_SIGNING";
const SECRET: &str = "a secret of thirty-two bytes, or more";
const BODY: usize = 4096;

/// Whether a request has a body, and the key of its signature.
struct Signed {
    body: bool,
    signer: Option<usize>,
}

const ROWS: [Row<Signed>; 19] = [
    row("signed_bare", "", "bare", false, None, ""),
    row("native_eddsa", "jwt_authn alone, Ed25519", "native_eddsa", false, None, "signed_bare"),
    row("native_ecdsa", "jwt_authn alone, ES256", "native_ecdsa", false, None, "signed_bare"),
    row("unsigned", "", "signed", false, None, ""),
    row("signed_hmac", "Wasm, a signature with hmac-sha256, beyond the token", "signed", false, Some(0), "unsigned"),
    row("signed_ed25519", "Wasm, a signature with ed25519, beyond the token", "signed", false, Some(1), "unsigned"),
    row(
        "signed_es256",
        "Wasm, a signature with ecdsa-p256-sha256, beyond the token",
        "signed",
        false,
        Some(2),
        "unsigned",
    ),
    row("unsigned_4k", "", "signed_4k", true, None, ""),
    row("signed_hmac_4k", "Wasm, hmac-sha256 with a body of 4 KiB", "signed_4k", true, Some(0), "unsigned_4k"),
    row("signed_ed25519_4k", "Wasm, ed25519 with a body of 4 KiB", "signed_4k", true, Some(1), "unsigned_4k"),
    row("signed_es256_4k", "Wasm, ecdsa-p256-sha256 with a body of 4 KiB", "signed_4k", true, Some(2), "unsigned_4k"),
    row(MODULE, "", "module", false, None, ""),
    row(
        "module_signed_hmac",
        "module, a signature with hmac-sha256, beyond the token",
        "module",
        false,
        Some(0),
        MODULE,
    ),
    row(
        "module_signed_ed25519",
        "module, a signature with ed25519, beyond the token",
        "module",
        false,
        Some(1),
        MODULE,
    ),
    row(
        "module_signed_es256",
        "module, a signature with ecdsa-p256-sha256, beyond the token",
        "module",
        false,
        Some(2),
        MODULE,
    ),
    row(MODULE_4K, "", "module_4k", true, None, ""),
    row("module_signed_hmac_4k", "module, hmac-sha256 with a body of 4 KiB", "module_4k", true, Some(0), MODULE_4K),
    row("module_signed_ed25519_4k", "module, ed25519 with a body of 4 KiB", "module_4k", true, Some(1), MODULE_4K),
    row(
        "module_signed_es256_4k",
        "module, ecdsa-p256-sha256 with a body of 4 KiB",
        "module_4k",
        true,
        Some(2),
        MODULE_4K,
    ),
];
/// The base rows of the module.
const MODULE: &str = "module_unsigned";
const MODULE_4K: &str = "module_unsigned_4k";

const fn row(
    name: &'static str,
    what: &'static str,
    listener: &'static str,
    body: bool,
    signer: Option<usize>,
    over: &'static str,
) -> Row<Signed> {
    Row { name, what, listener, calls: Signed { body, signer }, over }
}

/// Measures signed requests relative to the same requests without a signature, and `jwt_authn` with the same algorithms for comparison.
pub(super) fn measure(built: &Built, size: &Size) -> Result<Vec<Measured>> {
    let callee = Callee::start()?;
    let issuer = Issuer::new()?;
    let signers = signers()?;
    let envoy = start(built, &callee, &issuer, &signers)?;
    let ed25519 = rows::as_eddsa(&issuer.ed25519)?;
    let tokens = [policies::token(&issuer, &issuer.es256, 0), policies::token(&issuer, &ed25519, 0)];
    let count = size.calls.min(200);
    let mut serial = 0;
    let calls = |row: &Row<Signed>| -> Result<Vec<Vec<u8>>> {
        let [token, of_ed25519] = &tokens;
        let token = if row.name == "native_eddsa" { of_ed25519 } else { token };
        let signer = row.calls.signer.and_then(|signer| signers.get(signer));
        let first = serial;
        serial += count;
        (first..serial).map(|serial| call(row.calls.body, token, signer, serial)).collect()
    };
    let connect = |row: &Row<Signed>| Clients::connect(envoy.listener(row.listener)?, size.connections);
    compared::measure("signed, round", &envoy, size, &ROWS, connect, calls)
}

/// Returns a key of each kind, by the names that signatures use.
fn signers() -> Result<Vec<(&'static str, SigningKey)>> {
    let hmac = SigningKey::from_secret(SECRET.as_bytes(), None).map_err(|error| anyhow!("invalid secret: {error}"))?;
    let generate =
        |algorithm| SigningKey::generate(algorithm).map_err(|error| anyhow!("no key can be generated: {error}"));
    Ok(vec![("hmac", hmac), ("ed", generate(Algorithm::Ed25519)?), ("es", generate(Algorithm::Es256)?)])
}

fn start(built: &Built, callee: &Callee, issuer: &Issuer, signers: &[(&str, SigningKey)]) -> Result<Envoy> {
    let base = rows::base(&built.filter, callee)?;
    let module_base = rows::base(&built.module, callee)?;
    let policy = policy(signers)?;
    let gate = |base: &Bootstrap, vm: &str| -> Result<Bootstrap> {
        let mut gate = rows::gate(base, vm, &policy)?;
        gate.set_environment(&[VARIABLE])?;
        Ok(gate)
    };
    let native =
        |key: &SigningKey| base.with_filters(vec![native::jwt_authn(&json!({ "keys": [key.public_jwk()] }), false)]);
    let bootstrap = Bootstrap::joined(vec![
        ("bare", base.with_filters(Vec::new())?),
        ("native_eddsa", native(&rows::as_eddsa(&issuer.ed25519)?)?),
        ("native_ecdsa", native(&issuer.es256)?),
        ("signed", gate(&base, "signed")?),
        ("signed_4k", rows::buffered(gate(&base, "signed_4k")?)?),
        ("module", gate(&module_base, "module")?),
        ("module_4k", rows::buffered(gate(&module_base, "module_4k")?)?),
    ])?;
    let environment = vec![(VARIABLE.to_owned(), SECRET.to_owned())];
    let envoy = Envoy::start(&bootstrap, &Options { environment, ..Options::default() })?;
    // Until the replay table can distinguish fresh signatures from replayed ones.
    progress::during("waiting until signatures are accepted", || std::thread::sleep(std::time::Duration::from_secs(8)));
    Ok(envoy)
}

/// Returns the quickstart's policy with an agent that may sign its requests.
fn policy(signers: &[(&str, SigningKey)]) -> Result<Value> {
    let mut policy = policies::quickstart()?;
    for limit in policy.get_mut("limits").and_then(Value::as_object_mut).context("there are no limits")?.values_mut() {
        // As many requests as the replay table can store.
        set(limit, "rate", "1000/1s");
        set(limit, "burst", 200_000);
    }
    set(&mut policy, "tables", json!({ "replay": 1 << 20 }));
    set(policies::endpoint(&mut policy, policies::ENDPOINT)?, "signature", "optional");
    let keys = signers.iter().map(|(name, key)| match key.algorithm() {
        Algorithm::Hs256 => json!({ "secret": { "env": VARIABLE }, "keyid": name }),
        _ => {
            let mut jwk = key.public_jwk();
            set(&mut jwk, "kid", *name);
            json!({ "jwk": jwk })
        }
    });
    let keys: Vec<Value> = keys.collect();
    let agent = policy.pointer_mut("/agents/coding-agent").context("the quickstart lacks the agent")?;
    set(agent, "signing_keys", keys);
    Ok(policy)
}

/// Returns the request that is measured everywhere, signed or not, with or without a body.
fn call(has_body: bool, token: &str, signer: Option<&(&'static str, SigningKey)>, serial: usize) -> Result<Vec<u8>> {
    const PATH: &str = "/repos/acme/gateway/pulls";
    let body = vec![b'x'; if has_body { BODY } else { 0 }];
    let mut lines = vec![
        ("authorization", format!("Bearer {token}")),
        ("user-agent", "agent/1.0".to_owned()),
        ("accept", "application/json".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    if let Some((name, key)) = signer {
        // Covers exactly what the policy requires.
        let mut covered = vec!["@method", "@authority", "@path", "authorization"];
        if has_body {
            lines.push(("content-digest", content_digest(&body, &[Digest::Sha256])));
            covered.extend(["content-digest", "content-type"]);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set before 1970")?.as_secs();
        let input = Input {
            label: "sig".into(),
            components: covered.into_iter().map(sign::Covered::written).collect(),
            parameters: vec![
                format!("created={now}"),
                text_parameter("keyid", name),
                text_parameter("nonce", &format!("n{serial:016}")),
            ],
        };
        let headers: Headers = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let message = Message {
            method: b"POST",
            scheme: "https",
            authority: HOST,
            target: PATH.as_bytes(),
            headers: &headers,
            structured: &StructuredFields::default(),
        };
        let signed = input.base(&message).map_err(|unsigned| anyhow!("{unsigned}"))?;
        lines.push(("signature-input", input.field()));
        lines.push(("signature", input.signature(key, &signed)));
    }
    let request = Request::post(PATH).host(HOST);
    let request = lines.iter().fold(request, |request, (name, value)| request.header(name, value));
    Ok(if has_body { request.body(&body) } else { request.header("Content-Length", "0") }.to_bytes())
}
