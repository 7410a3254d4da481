//! The endpoints that a request nearly matches, and the mismatch with each.

use callgate::allowlist::{Asked, Listed, Template, nearest};
use callgate::document::FormatSuffixes;
use callgate::request::{CanonicalPath, Host, split_target};
use serde_json::Value;

/// The name of these facts in the explanation.
const NAME: &str = "nearest";

/// An endpoint of the policy document.
struct Endpoint<'a> {
    id: &'a str,
    methods: Vec<&'a str>,
    hosts: Vec<&'a str>,
    template: Template,
}

/// Returns one fact for each of the nearest endpoints of a policy document, the nearest first; empty if the request is not
/// canonical.
pub(super) fn facts(document: &Value, method: &str, host: &str, target: &str) -> Vec<(&'static str, String)> {
    let (path, _) = split_target(target.as_bytes());
    let (Ok(host), Ok(path)) = (Host::parse(host.as_bytes()), CanonicalPath::parse_with_text(path)) else {
        return Vec::new();
    };
    let endpoints: Vec<Endpoint<'_>> = document
        .get("endpoints")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|endpoint| Endpoint::read(document, endpoint))
        .collect();
    let listed: Vec<Listed<'_>> = endpoints
        .iter()
        .map(|Endpoint { methods, hosts, template, .. }| Listed {
            hosts: hosts.clone(),
            methods: methods.clone(),
            template,
        })
        .collect();
    let suffixes = match document.get("format_suffixes").and_then(Value::as_str) {
        Some("ignore") => FormatSuffixes::Ignore,
        Some(_) | None => FormatSuffixes::Reject,
    };
    let near =
        nearest(&Asked { method, host: host.as_str(), path }, &listed, suffixes).into_iter().filter_map(|near| {
            let Endpoint { id, methods, template, .. } = endpoints.get(near.endpoint)?;
            Some((NAME, format!("`{id}` ({} {template}): {}", methods.join(", "), near.misses.join("; "))))
        });
    near.collect()
}

impl<'a> Endpoint<'a> {
    fn read(document: &'a Value, endpoint: &'a Value) -> Option<Self> {
        let hosts = endpoint.get("hosts").or_else(|| document.get("hosts"));
        Some(Self {
            id: endpoint.get("id")?.as_str()?,
            methods: texts(endpoint.get("methods")),
            hosts: texts(hosts),
            template: Template::parse(endpoint.get("path")?.as_str()?).ok()?,
        })
    }
}

fn texts(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}
