//! Signatures between workloads, to the extent that they are plain RFC 9421 (draft-ietf-wimse-http-signature).

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::conformance::{Case, Key, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::engines::Engines;
use super::message::Message;
use super::parse;
use super::report::{Checked, Outcome};

const LABEL: &str = "wimse";
const TOKENS: &str = "the gate does not accept Workload Identity Tokens or Workload Proof Tokens";

#[derive(Deserialize)]
struct File {
    httpsig_request: Signed,
    wpt_request: Option<Value>,
}

#[derive(Deserialize)]
struct Signed {
    message: String,
    signature_base: String,
    caller_jwk: Map<String, Value>,
    signature_valid: bool,
}

pub(super) fn run(text: &str, engines: &mut Engines) -> Result<Vec<Checked>> {
    let File { httpsig_request: signed, wpt_request } = parse(text)?;
    let message = Message::parse(&signed.message);
    let request = message.request("https");
    let case = Case::Base { message: request, label: LABEL.to_owned() };
    let mut signature = None;
    let base = engines.check(&case, |verdict| match verdict {
        Verdict::Accepted(read) => {
            signature = read["signature"].as_str().map(str::to_owned);
            (read["base"] == *signed.signature_base).then_some(Outcome::Passed)
        }
        Verdict::Refused(_) | Verdict::Broken(_) => None,
    });
    let mut checked = vec![Checked::new("httpsig_request base", base)];
    // The signature names no key, because the accompanying token does. So this case checks the signature only.
    let mut key = signed.caller_jwk;
    key.remove("d");
    let algorithm = key.get("alg").and_then(Value::as_str).context("the key has no algorithm")?.to_owned();
    let case = Case::Verify {
        key: Key::Jwk(key),
        algorithm,
        message: STANDARD.encode(&signed.signature_base),
        signature: signature.unwrap_or_default(),
    };
    let verified = engines.check(&case, |verdict| {
        (matches!(verdict, Verdict::Accepted(_)) == signed.signature_valid).then_some(Outcome::Passed)
    });
    checked.push(Checked::new("httpsig_request signature", verified));
    checked.extend(wpt_request.map(|_| Checked::new("wpt_request", Outcome::Skipped(TOKENS))));
    Ok(checked)
}
