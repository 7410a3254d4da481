//! A reader without leniency: it splits the path before decoding, compares fixed text byte by byte, and matches names exactly.
//!
//! It shares no code with the engine, so a bug in one is not repeated in the other.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::reading::{Parameter, Reading};

/// Header lines, with the method, the path and the host as pseudo-headers.
pub(super) type Lines = [(Vec<u8>, Vec<u8>)];

/// A route of the policy.
#[derive(Clone, Debug)]
struct Route {
    id: String,
    methods: Vec<String>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Fixed(String),
    Variable(String),
    Rest(String),
}

/// The routes of a policy.
#[derive(Clone, Debug)]
pub(super) struct Routes(Vec<Route>);

impl Routes {
    /// Reads the routes from a policy document.
    pub(super) fn of(policy: &Value) -> Result<Self> {
        let endpoints = policy.get("endpoints").and_then(Value::as_array).context("the policy has no endpoints")?;
        let route = |endpoint: &Value| {
            let path = endpoint.get("path")?.as_str()?;
            let methods =
                endpoint.get("methods")?.as_array()?.iter().filter_map(|method| Some(method.as_str()?.to_owned()));
            let segments = path.split('/').skip(1).map(Segment::of).collect();
            Some(Route { id: endpoint.get("id")?.as_str()?.to_owned(), methods: methods.collect(), segments })
        };
        let mut routes: Vec<Route> =
            endpoints.iter().map(route).collect::<Option<_>>().context("an endpoint lacks a field")?;
        // Fixed text precedes variables.
        routes.sort_by(|one, other| one.segments.cmp(&other.segments));
        Ok(Self(routes))
    }

    /// Reads a request.
    pub(super) fn read(&self, lines: &Lines) -> Reading {
        let (method, path, query) = start(lines);
        let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
        let found = self
            .0
            .iter()
            .filter(|route| route.methods.contains(&method))
            .find_map(|route| route.values(&segments).map(|values| (route.id.clone(), values)));
        let (route, values) = found.map_or((None, BTreeMap::new()), |(id, values)| (Some(id), values));
        Reading { route, values, ..echo(lines) }.normalized_with(&query)
    }
}

/// Reads a request to an unknown path.
pub(super) fn echo(lines: &Lines) -> Reading {
    let (method, path, query) = start(lines);
    Reading {
        method,
        path: decoded(&path),
        query: String::from_utf8_lossy(&query).into_owned(),
        org: header(lines, "x-org"),
        agent: header(lines, "x-callgate-agent"),
        ..Reading::default()
    }
    .normalized()
}

impl Reading {
    fn normalized_with(mut self, query: &[u8]) -> Self {
        self.tenant = parameter(query, "tenant").map(Parameter::Text);
        self.q = parameter(query, "q").map(Parameter::Text);
        self.normalized()
    }
}

impl Route {
    fn values(&self, path: &[&[u8]]) -> Option<BTreeMap<String, String>> {
        let mut values = BTreeMap::new();
        let mut rest = path;
        for segment in &self.segments {
            let (own, others) = rest.split_first()?;
            match segment {
                Segment::Fixed(text) if text.as_bytes() == *own => {}
                Segment::Variable(name) if !own.is_empty() => drop(values.insert(name.clone(), decoded(own))),
                Segment::Rest(name) => {
                    values.insert(name.clone(), decoded(&rest.join(&b'/')));
                    return Some(values);
                }
                Segment::Fixed(_) | Segment::Variable(_) => return None,
            }
            rest = others;
        }
        rest.is_empty().then_some(values)
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        let Some(variable) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return Self::Fixed(text.to_owned());
        };
        match variable.strip_suffix("...") {
            Some(name) => Self::Rest(name.to_owned()),
            None => Self::Variable(variable.split(':').next().unwrap_or_default().to_owned()),
        }
    }
}

/// Returns method, path and query.
fn start(lines: &Lines) -> (String, Vec<u8>, Vec<u8>) {
    let of = |name: &str| lines.iter().find(|(own, _)| own == name.as_bytes()).map(|(_, value)| value.as_slice());
    let target = of(":path").unwrap_or_default();
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let (path, query) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    (String::from_utf8_lossy(of(":method").unwrap_or_default()).into_owned(), path.to_vec(), query.to_vec())
}

/// Returns the joined lines of a header.
fn header(lines: &Lines, name: &str) -> Option<String> {
    let own = lines.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
    let values: Vec<_> = own.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Returns the first parameter with this name.
fn parameter(query: &[u8], name: &str) -> Option<String> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let own = decoded_parameter(parts.next().unwrap_or_default());
        (own == name).then(|| decoded_parameter(parts.next().unwrap_or_default()))
    })
}

/// Decodes a name or value of a query.
pub(super) fn decoded_parameter(bytes: &[u8]) -> String {
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    decoded(&spaced)
}

/// Percent-decodes once. Invalid escapes stay unchanged.
pub(super) fn decoded(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { others.get(2..).unwrap_or_default() } else { others };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(method: &str, target: &str) -> Reading {
        let endpoint = |id: &str, path: &str| json!({ "id": id, "methods": ["GET"], "path": path });
        let endpoints = [
            endpoint("get", "/blob/{key:text}"),
            endpoint("fixed", "/blob/x"),
            endpoint("raw", "/blob/{key}/raw"),
            endpoint("files", "/files/{path...}"),
        ];
        let line = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let lines = [line(":method", method), line(":path", target), line("X-Org", "acme")];
        Routes::of(&json!({ "endpoints": endpoints })).unwrap().read(&lines)
    }

    #[test]
    fn splits_before_it_decodes() {
        let rows = [
            ("/blob/x", Some("fixed"), None),
            ("/blob/%78", Some("get"), Some(("key", "x"))),
            ("/blob/x%2Fraw", Some("get"), Some(("key", "x/raw"))),
            ("/blob/x/raw", Some("raw"), Some(("key", "x"))),
            ("/files/a/b%20c/", Some("files"), Some(("path", "a/b c/"))),
            ("/blob/", None, None),
            ("/BLOB/x", None, None),
        ];
        for (path, route, value) in rows {
            let reading = read("GET", path);
            assert_eq!(reading.route.as_deref(), route, "{path}");
            let values = value.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(reading.values, values.into_iter().collect(), "{path}");
        }
        assert_eq!(read("POST", "/blob/x").route, None);
    }

    #[test]
    fn uses_the_first_parameter_with_exactly_that_name() {
        let text = |text: &str| Some(Parameter::Text(text.to_owned()));
        let reading = read("GET", "/blob/x?Tenant=a&tenant[]=b&tenant=c+%64&tenant=e&q=");
        assert_eq!((reading.tenant, reading.q, reading.org.as_deref()), (text("c d"), None, Some("acme")));
    }
}
