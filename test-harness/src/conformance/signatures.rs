//! HTTP Message Signatures: the messages and the component examples of RFC 9421.

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callgate::conformance::{Case, Request, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engines::Engines;
use super::message::Message;
use super::parse;
use super::report::{Checked, Outcome};

/// A time at which all of the RFC's signatures are valid, in seconds since 1970.
const NOW: u64 = 1_618_884_485;
const RESPONSE: &str = "the gate verifies only requests, without trailers";
const PRIVATE: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

#[derive(Deserialize)]
struct File {
    keys: Vec<Map<String, Value>>,
    vectors: Vec<Vector>,
    component_examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    message: Printed,
    label: String,
    keyid: String,
    alg: String,
    signature_base: String,
    signature: String,
    expected: String,
}

#[derive(Deserialize)]
struct Printed {
    start_line: String,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Deserialize)]
struct Example {
    id: String,
    message: String,
    lines: Vec<String>,
}

pub(super) fn run(text: &str, engines: &mut Engines) -> Result<Vec<Checked>> {
    let File { keys, vectors, component_examples } = parse(text)?;
    let mut checked = Vec::new();
    for vector in &vectors {
        let key = keys.iter().find(|key| key.get("kid").is_some_and(|kid| *kid == vector.keyid.as_str()));
        let key = key.ok_or_else(|| anyhow!("{} is signed with an unknown key", vector.id))?;
        check(vector, key, engines, &mut checked);
    }
    for example in &component_examples {
        checked.extend(example.lines.iter().map(|line| check_line(example, line, engines)));
    }
    Ok(checked)
}

/// Checks the base, signature and digest of one message.
fn check(vector: &Vector, key: &Map<String, Value>, engines: &mut Engines, checked: &mut Vec<Checked>) {
    let Vector { id, message, label, alg, signature_base, signature, expected, .. } = vector;
    let printed = Message { start_line: Some(message.start_line.clone()), headers: message.headers.clone() };
    let request = printed.request("https");
    let case = Case::Base { message: request.clone(), label: label.clone() };
    let base = engines.check(&case, |verdict| match verdict {
        Verdict::Refused(_) if printed.is_response() => Some(Outcome::Refused(RESPONSE)),
        Verdict::Accepted(read) if read["base"] == **signature_base && read["signature"] == **signature => {
            Some(Outcome::Passed)
        }
        _ => None,
    });
    checked.push(Checked::new(format!("{id} base"), base));
    if printed.is_response() {
        return;
    }
    let case = signature_case(request, key, alg, signature_base);
    let verified = engines.check(&case, |verdict| {
        let as_expected = match verdict {
            Verdict::Accepted(read) => expected == "valid" && read["algorithm"] == **alg,
            Verdict::Refused(why) => expected == "invalid" && why == "signature_failed",
            Verdict::Broken(_) => false,
        };
        as_expected.then_some(Outcome::Passed)
    });
    checked.push(Checked::new(format!("{id} signature"), verified));
    let field = message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-digest"));
    if let Some((_, field)) = field {
        // The RFC prints two bodies with a line break that was not sent.
        let body = message.body.strip_prefix('\n').unwrap_or(&message.body);
        let case = Case::Digest { field: field.clone(), body: STANDARD.encode(body) };
        let matches =
            engines.check(&case, |verdict| matches!(verdict, Verdict::Accepted(_)).then_some(Outcome::Passed));
        checked.push(Checked::new(format!("{id} digest"), matches));
    }
}

/// Returns the case with the key as in a policy: without private members, and with a separate algorithm.
fn signature_case(message: Request, key: &Map<String, Value>, alg: &str, base: &str) -> Case {
    let tag = base.split_once(";tag=\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("kty") == "oct" {
        let secret = URL_SAFE_NO_PAD.decode(text("k")).unwrap_or_default();
        let key = json!({ "secret": { "env": "SECRET" }, "keyid": text("kid") });
        return Case::Signature { message, key, secret: Some(STANDARD.encode(secret)), tag, now: NOW };
    }
    let public: Map<_, _> =
        key.iter().filter(|(name, _)| !PRIVATE.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect();
    Case::Signature { message, key: json!({ "jwk": public, "algorithm": alg }), secret: None, tag, now: NOW }
}

/// Checks one line of the signature base.
fn check_line(example: &Example, line: &str, engines: &mut Engines) -> Checked {
    let message = Message::parse(&example.message);
    let component = component(line);
    let is_of_a_response = component == "\"@status\"" || component.ends_with(";tr");
    // The text of the messages does not state the scheme.
    let mut request = message.request(if example.id == "2.2.4-scheme" { "http" } else { "https" });
    request.headers.push(("signature-input".into(), format!("sig=({component})")));
    request.headers.push(("signature".into(), "sig=:AA==:".into()));
    let case = Case::Base { message: request, label: "sig".into() };
    let outcome = engines.check(&case, |verdict| match verdict {
        Verdict::Refused(_) if is_of_a_response => Some(Outcome::Refused(RESPONSE)),
        Verdict::Accepted(read) if read["base"].as_str()?.split('\n').next() == Some(line) && !is_of_a_response => {
            Some(Outcome::Passed)
        }
        _ => None,
    });
    Checked::new(format!("{} {component}", example.id), outcome)
}

/// Returns the identifier that precedes the line's value.
fn component(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|character: char| {
        quoted ^= character == '"';
        character == ':' && !quoted
    });
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    #[test]
    fn extracts_the_component_of_a_base_line() {
        assert_eq!(super::component("\"a\";key=\":b\": :c:"), "\"a\";key=\":b\"");
        assert_eq!(super::component("\"x-empty\": "), "\"x-empty\"");
    }
}
