//! Messages that two readers could read differently do not reach the server with a meaning that the gateway did not check.
//!
//! The specification requires that headers and body agree, because components with different sources of truth are a vulnerability. A message
//! with two meanings has the same effect. A gateway passes if it rejects the message, or forwards it with one meaning.

use std::io::Write as _;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::messages::{FORBIDDEN, MODERN, TOOL};
use super::scenario::Need::Bodies;
use super::scenario::{Check, Scenario, must, should};
use super::sections::{CONTENT_CODING, JSON_ENCODING, JSON_OBJECTS, JSON_PARSERS, JSON_TEXTS, VALIDATION};
use super::sent::Sent;
use super::suite::Suite;
use super::upstream::succeeds;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Returns a posted body whose headers are those of a request for a tool.
fn raw(suite: &Suite, body: impl AsRef<[u8]>) -> Sent {
    suite.mirrored(MODERN, "tools/call", Some(TOOL), body)
}

/// Returns the text of a request with these parameters in addition to the metadata.
fn with_parameters(parameters: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{META},{parameters}}}}}"#)
}

fn keeps_away(suite: &Suite, bodies: &[String]) -> Result<Check> {
    let mut last = Check::failed("");
    for body in bodies {
        last = suite.keeps_away(&raw(suite, body), FORBIDDEN)?;
        if !last.passed {
            break;
        }
    }
    Ok(last)
}

/// Checks both orders of a member that is there under two names: the second with the tool that is not allowed.
fn keeps_away_twice(suite: &Suite, name: &str) -> Result<Check> {
    let (right, wrong) = (format!(r#""name":"{TOOL}""#), format!(r#"{name}:"{FORBIDDEN}""#));
    let orders = [[&right, &wrong], [&wrong, &right]];
    keeps_away(suite, &orders.map(|[first, second]| with_parameters(&format!("{first},{second}"))))
}

pub(super) const SCENARIOS: &[Scenario] = &[
    should(
        "ambiguous.name",
        JSON_OBJECTS,
        &[Bodies],
        "A message with `name` twice does not reach the server with a name that was not checked",
        |suite| keeps_away_twice(suite, r#""name""#),
    ),
    should(
        "ambiguous.escaped-name",
        JSON_OBJECTS,
        &[Bodies],
        "The same, with one of them escaped: `\\u006eame`",
        |suite| keeps_away_twice(suite, r#""\u006eame""#),
    ),
    should(
        "ambiguous.name-in-another-case",
        JSON_OBJECTS,
        &[Bodies],
        "The same, with `Name`: decoders that ignore case read it as `name`",
        |suite| keeps_away_twice(suite, r#""Name""#),
    ),
    should(
        "ambiguous.name-with-nul",
        JSON_OBJECTS,
        &[Bodies],
        "The same, with a NUL at the end, at which readers in C stop",
        |suite| keeps_away_twice(suite, r#""name\u0000""#),
    ),
    should(
        "ambiguous.name-alone-in-another-case",
        JSON_OBJECTS,
        &[Bodies],
        "A message with only `Name` does not reach the server as a request for a tool that was not checked",
        |suite| keeps_away(suite, &[with_parameters(&format!(r#""Name":"{FORBIDDEN}""#))]),
    ),
    should(
        "ambiguous.parameters",
        JSON_OBJECTS,
        &[Bodies],
        "A message with `params` twice, in any case, does not reach the server with parameters that were not checked",
        |suite| {
            let begin = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","#;
            let parameters = |name: &str, tool: &str| format!(r#"{name}:{{{META},"name":"{tool}","arguments":{{}}}}"#);
            let bodies = [r#""params""#, r#""Params""#, r#""param\u017f""#].map(|name| {
                let (right, wrong) = (parameters(r#""params""#, TOOL), parameters(name, FORBIDDEN));
                [format!("{begin}{right},{wrong}}}"), format!("{begin}{wrong},{right}}}")]
            });
            keeps_away(suite, &bodies.concat())
        },
    ),
    should(
        "ambiguous.method",
        JSON_OBJECTS,
        &[Bodies],
        "A message with `method` twice does not reach the server with a method that was not checked",
        |suite| {
            let end = format!(r#""params":{{{META},"name":"{TOOL}"}}}}"#);
            let (right, wrong) = (r#""method":"tools/call""#, format!(r#""method":"{FORBIDDEN}""#));
            let begin = r#"{"jsonrpc":"2.0","id":1,"#;
            let bodies = [format!("{begin}{right},{wrong},{end}"), format!("{begin}{wrong},{right},{end}")];
            keeps_away(suite, &bodies)
        },
    ),
    should(
        "ambiguous.arguments",
        JSON_OBJECTS,
        &[Bodies],
        "Arguments with a member twice do not reach the server with both, at any depth",
        |suite| {
            let name = format!(r#""name":"{TOOL}""#);
            let deep = format!(r#"{name},"arguments":{{"a":[{{"b":1,"b":"{FORBIDDEN}"}}]}}"#);
            let flat = format!(r#"{name},"arguments":{{"b":1}},"arguments":{{"b":"{FORBIDDEN}"}}"#);
            keeps_away(suite, &[with_parameters(&deep), with_parameters(&flat)])
        },
    ),
    should(
        "ambiguous.version",
        JSON_OBJECTS,
        &[Bodies],
        "A message with the revision twice does not reach the server with both",
        |suite| {
            let both = META
                .replace(r#"07-28","#, &format!(r#"07-28","io.modelcontextprotocol/protocolVersion":"{FORBIDDEN}","#));
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{both},"name":"{TOOL}"}}}}"#);
            keeps_away(suite, &[body])
        },
    ),
    must(
        "ambiguous.not-json",
        JSON_TEXTS,
        &[Bodies],
        "Text that only lenient readers accept is rejected: comments, trailing commas, `NaN`, a second value",
        |suite| {
            let good = with_parameters(&format!(r#""name":"{TOOL}""#));
            let bodies = [
                ("comment", good.replacen("{", &format!("{{/*{FORBIDDEN}*/"), 1)),
                ("comma", good.replacen("}}", "},}", 1)),
                ("quotes", good.replace('"', "'")),
                ("NaN", good.replacen(":1,", ":NaN,", 1)),
                ("second value", format!("{good}{good}")),
                ("second line", format!("{good}\n{good}")),
                ("control character", good.replacen(TOOL, "get\nweather", 1)),
                ("zero", good.replacen(":1,", ":01,", 1)),
                ("empty", String::new()),
            ];
            suite.denies_all(&bodies.map(|(what, body)| (what, raw(suite, body))))
        },
    ),
    must(
        "ambiguous.encoding",
        JSON_ENCODING,
        &[Bodies],
        "Text that is not UTF-8 is rejected: invalid bytes, overlong forms, surrogates, UTF-16, and a byte order mark",
        |suite| {
            let good = with_parameters(&format!(r#""name":"{TOOL}","arguments":{{"a":"MARK"}}"#));
            let with = |bytes: &[u8]| {
                let (before, after) = good.split_once("MARK").unwrap_or_default();
                raw(suite, [before.as_bytes(), bytes, after.as_bytes()].concat())
            };
            let utf_16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let requests = [
                ("invalid", with(b"\xff")),
                ("cut", with(b"\xe4\xb8")),
                ("overlong", with(b"\xc0\xaf")),
                ("surrogate", with(b"\xed\xa0\x80")),
                ("UTF-16", raw(suite, utf_16)),
                ("byte order mark", raw(suite, format!("\u{feff}{good}"))),
            ];
            suite.denies_all(&requests)
        },
    ),
    should(
        "ambiguous.media-type",
        VALIDATION,
        &[Bodies],
        "A message with another media type or character set than JSON in UTF-8 is rejected",
        |suite| {
            let good = suite.call(TOOL, json!({}));
            let types = [
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/json; charset=utf-16",
                "application/json, text/plain",
            ];
            let mut requests = types.map(|name| (name, good.clone().set("content-type", name))).to_vec();
            requests.push(("none", good.clone().without("content-type")));
            requests.push(("two", good.add("Content-Type", "text/plain")));
            suite.denies_all(&requests)
        },
    ),
    must(
        "ambiguous.coding",
        CONTENT_CODING,
        &[Bodies],
        "A compressed message is rejected, or checked and forwarded",
        |suite| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(with_parameters(&format!(r#""name":"{FORBIDDEN}""#)).as_bytes())?;
            suite.denies(&raw(suite, encoder.finish()?).add("Content-Encoding", "gzip"))
        },
    ),
    should(
        "ambiguous.depth",
        JSON_PARSERS,
        &[Bodies],
        "A message that is nested deeper than a reader can follow does no harm: the next request is forwarded",
        |suite| {
            let depth = 10_000;
            let nested = format!(r#""name":"{TOOL}","arguments":{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            // It may be rejected or forwarded.
            suite.exchange(&raw(suite, with_parameters(&nested)), succeeds())?;
            suite.forwards(&suite.call(TOOL, json!({})))
        },
    ),
];
