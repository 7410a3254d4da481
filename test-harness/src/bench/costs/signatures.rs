//! Requests with signature fields. Strangers know the names of keys.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::kinds::{Kind, Party, SECRETS, charged, free};
use crate::client::Request;
use crate::quickstart::{HOST, set};

/// The length of the longest field that the gate reads, in bytes.
const LONGEST: usize = 16 * 1024;
const PATH: &str = "/jobs/7";

/// Returns the keys of the agent that is identified by signatures, in the policy's format.
pub(super) fn keys() -> Result<Value> {
    let public = |algorithm, kid| -> Result<Value> {
        let key = SigningKey::generate(algorithm).map_err(|error| anyhow!("no key: {error}"))?;
        let mut jwk = key.public_jwk();
        set(&mut jwk, "kid", kid);
        Ok(json!({ "jwk": jwk }))
    };
    let hmac = json!({ "secret": { "env": SECRETS[0].0 }, "keyid": "hmac" });
    Ok(json!([public(Algorithm::Ed25519, "ed")?, public(Algorithm::Es256, "es")?, hmac]))
}

/// Returns a request for a path with these fields.
fn signed(path: &str, input: &str, signature: &str) -> Request {
    Request::get(path).host(HOST).header("Signature-Input", input).header("Signature", signature)
}

pub(super) fn kinds(party: &Party) -> Result<Vec<Kind>> {
    let now = party.issuer.now;
    let bytes = |length: usize| format!("sig=:{}:", STANDARD.encode(vec![7; length]));
    let by = |keyid: &str| format!(";created={now};keyid=\"{keyid}\"");
    let usual = |keyid: &str| format!("sig=(\"@method\" \"@authority\" \"@path\"){}", by(keyid));
    let covering =
        |components: &str, keyid: &str| format!("sig=(\"@method\" \"@authority\" \"@path\" {components}){}", by(keyid));
    let many = |part: &dyn Fn(usize) -> String, count: usize| (0..count).map(part).collect::<Vec<_>>().join(" ");
    let failed = "signature_failed";
    let mut kinds = vec![
        charged("a forged signature with hmac-sha256", failed, &signed(PATH, &usual("hmac"), &bytes(32))),
        charged("a forged signature with ed25519", failed, &signed(PATH, &usual("ed"), &bytes(64))),
        charged("a forged signature with ecdsa-p256-sha256", failed, &signed(PATH, &usual("es"), &bytes(64))),
        charged("a signature by a key that nobody has", failed, &signed(PATH, &usual("nobody"), &bytes(64))),
    ];

    // Fields that are long, or contain as many items as the gate reads.
    let labels = |components: usize| {
        let members = (0..8).map(|label| {
            format!("s{label}=({}){}", many(&|number| format!("\"x{number}\""), components), by("nobody"))
        });
        let signatures = (0..8).map(|label| format!("s{label}=:AAAA:"));
        (members.collect::<Vec<_>>().join(","), signatures.collect::<Vec<_>>().join(","))
    };
    let (input, signature) = labels(64);
    kinds.push(free(
        "eight signatures with 64 components each",
        "signature_ambiguous",
        &signed(PATH, &input, &signature),
    ));
    let (input, signature) = labels(150);
    kinds.push(free(
        "signatures with more components than are read",
        "signature_malformed",
        &signed(PATH, &input, &signature),
    ));
    let long = format!("sig=({}){}", many(&|_| "\"a\"".to_owned(), LONGEST / 4 - 20), by("ed"));
    kinds.push(free("one component again and again", "signature_malformed", &signed(PATH, &long, &bytes(64))));
    let parameters = (0..LONGEST / 7 - 20).fold(String::new(), |mut all, number| {
        let _ = write!(all, ";a{number:04}");
        all
    });
    let long = format!("sig=(\"@method\"){parameters}");
    kinds.push(free(
        "a signature with more parameters than are read",
        "signature_malformed",
        &signed(PATH, &long, &bytes(64)),
    ));
    let labels = (0..LONGEST / 7 - 20).map(|number| format!("a{number:04}")).collect::<Vec<_>>().join(",");
    kinds.extend([
        free("more labels than are read", "signature_malformed", &signed(PATH, &labels, &labels)),
        charged("a signature of 11 KiB", failed, &signed(PATH, &usual("ed"), &bytes(11 << 10))),
        free(
            "fields of 27 KiB each",
            "signature_malformed",
            &signed(PATH, &"x".repeat(27 << 10), &"x".repeat(27 << 10)),
        ),
        free(
            "fields that are no dictionaries",
            "signature_malformed",
            &signed(PATH, &"(".repeat(LONGEST), &"(".repeat(LONGEST)),
        ),
    ]);

    // Coverage of long fields.
    let dictionary = (0..1_500).map(|number| format!("a{number}=1")).collect::<Vec<_>>().join(",");
    let members = many(&|number| format!("\"priority\";key=\"a{number}\""), 61);
    kinds.push(charged(
        "a signature over 61 members of a dictionary of 14 KiB",
        failed,
        &signed(PATH, &covering(&members, "ed"), &bytes(64)).header("Priority", &dictionary),
    ));
    let digests = format!("sha-256=:{}:", "AAAA".repeat(4_000));
    kinds.push(charged(
        "a signature over fields that are serialized again",
        failed,
        &signed(PATH, &covering("\"content-digest\";sf \"repr-digest\";sf \"priority\";sf", "ed"), &bytes(64))
            .header("Content-Digest", &digests)
            .header("Repr-Digest", &digests)
            .header("Priority", &dictionary),
    ));
    let names = many(&|number| format!("\"x{number:04}\""), 61);
    let request = signed(PATH, &covering(&names, "ed"), &bytes(64));
    let request = (0..4_000).fold(request, |request, number| request.header(format!("x{number:04}"), "1"));
    kinds.push(charged("a signature over 61 of 4,000 lines", failed, &request));
    let request = signed(PATH, &covering("\"x-a\" \"x-a\";bs", "ed"), &bytes(64));
    let request = (0..5_000).fold(request, |request, _| request.header("x-a", "1"));
    kinds.push(charged("a signature over one field of 5,000 lines", failed, &request));
    let parameters = many(&|number| format!("\"@query-param\";name=\"a{number}\""), 60);
    let query = |count: usize| (0..count).map(|number| format!("a{number}=%C3%A9")).collect::<Vec<_>>().join("&");
    kinds.push(charged(
        "a signature over 60 of 1,000 query parameters",
        failed,
        &signed(&format!("{PATH}?{}", query(1_000)), &covering(&format!("\"@query\" {parameters}"), "ed"), &bytes(64)),
    ));
    kinds.push(free(
        "a signature over 60 of 3,000 query parameters",
        "signature_component",
        &signed(&format!("{PATH}?{}", query(3_000)), &covering(&format!("\"@query\" {parameters}"), "ed"), &bytes(64)),
    ));
    let target = format!("{PATH}?{}", "a".repeat(40 << 10));
    let all = "\"@target-uri\" \"@request-target\" \"@query\"";
    kinds.push(charged(
        "a signature over a target of 40 KiB",
        failed,
        &signed(&target, &covering(all, "ed"), &bytes(64)),
    ));
    let field = "x".repeat(40 << 10);
    let request = signed(PATH, &covering("\"x-a\" \"x-a\";bs", "hmac"), &bytes(32)).header("x-a", &field);
    kinds.push(charged("a signature over a field of 40 KiB", failed, &request));

    // Web Bot Auth.
    let agent = |field: &str| {
        let input = format!(
            "sig=(\"@authority\" \"signature-agent\";key=\"sig\");created={now};expires={};keyid=\"nobody\";tag=\"web-bot-auth\"",
            now + 60
        );
        signed("/pages/1", &input, &bytes(64)).header("Signature-Agent", field)
    };
    let others = (0..1_000).map(|number| format!("a{number}=\"https://x\"")).collect::<Vec<_>>();
    let short = others.get(..200).context("there are too few")?.join(",");
    kinds.extend([
        charged("a crawler with a Signature-Agent of 3 KiB", failed, &agent(&format!("sig=\"https://x\",{short}"))),
        free(
            "a crawler with a Signature-Agent of 15 KiB",
            "signature_coverage",
            &agent(&format!("sig=\"https://x\",{}", others.get(..950).context("there are too few")?.join(","))),
        ),
    ]);
    Ok(kinds)
}
