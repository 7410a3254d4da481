//! How a reader interprets a request. A reader is a server, through its application's response, or the strict reader of
//! [`strict`](super::strict).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::strict::{decoded, decoded_parameter};

/// The description of a server that runs no endpoint.
pub(super) const NO_ROUTE: &str = "finds no route";

/// How a reader interprets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Reading {
    /// The endpoint that runs.
    pub(super) route: Option<String>,
    pub(super) method: String,
    /// The decoded path, including the prefix at which the application is mounted.
    pub(super) path: String,
    /// The raw query.
    pub(super) query: String,
    /// The decoded variables of the path.
    pub(super) values: BTreeMap<String, String>,
    pub(super) tenant: Option<Parameter>,
    pub(super) q: Option<Parameter>,
    /// The header `X-Org`.
    pub(super) org: Option<String>,
    /// The header `X-Callgate-Agent`.
    pub(super) agent: Option<String>,
}

/// A parameter: text, or a structure that a framework builds from several parameters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Parameter {
    Text(String),
    Structured(serde_json::Value),
}

impl Reading {
    /// Parses an application's response: JSON, or lines of names and values from a server without JSON.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let parsed = serde_json::from_slice(body).ok().or_else(|| Self::from_lines(&String::from_utf8_lossy(body)));
        parsed.map(Self::normalized)
    }

    fn from_lines(text: &str) -> Option<Self> {
        let mut reading = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            let value = value.to_owned();
            match name {
                "route" => reading.route = Some(value),
                "method" => reading.method = value,
                "path" => reading.path = value,
                "query" => reading.query = value,
                "tenant" => reading.tenant = Some(Parameter::Text(value)),
                "q" => reading.q = Some(Parameter::Text(value)),
                "org" => reading.org = Some(value),
                "agent" => reading.agent = Some(value),
                "rest" if !value.is_empty() => drop(reading.values.insert("path".to_owned(), value)),
                name if !value.is_empty() => drop(reading.values.insert(name.to_owned(), value)),
                _ => {}
            }
        }
        (!reading.method.is_empty()).then_some(reading)
    }

    /// Removes differences that readers cannot see: absent versus empty, and the space after the comma between joined header lines.
    pub(super) fn normalized(mut self) -> Self {
        let empty = |parameter: &Parameter| *parameter == Parameter::Text(String::new());
        self.route = self.route.filter(|route| !route.is_empty());
        self.tenant = self.tenant.filter(|value| !empty(value));
        self.q = self.q.filter(|value| !empty(value));
        let joined = |value: String| value.replace(", ", ",");
        self.org = self.org.filter(|value| !value.is_empty()).map(joined);
        self.agent = self.agent.filter(|value| !value.is_empty()).map(joined);
        self
    }

    /// Decodes the parameters, as the application does if its server does not.
    pub(super) fn with_decoded_parameters(mut self) -> Self {
        for parameter in [&mut self.tenant, &mut self.q] {
            if let Some(Parameter::Text(text)) = parameter {
                *text = decoded_parameter(text.as_bytes());
            }
        }
        self
    }

    /// Describes how this reading differs from the strict one, for requests to the endpoints of the policy. Returns `None` if it does not.
    pub(super) fn differs_from(&self, strict: &Self) -> Option<String> {
        if (&self.route, &self.method) != (&strict.route, &strict.method) {
            return Some(match &self.route {
                Some(route) if self.method == strict.method => format!("runs `{route}`"),
                Some(route) => format!("runs `{route}` with the method `{}`", self.method),
                None if strict.route.is_none() => return None,
                None => NO_ROUTE.to_owned(),
            });
        }
        self.route.as_ref()?;
        if self.values != strict.values {
            let values = self.values.iter().map(|(name, value)| format!("`{name}` as `{}`", shown(value)));
            return Some(format!("reads {}", values.collect::<Vec<_>>().join(", ")));
        }
        let mut text = String::new();
        let parameters = [("`tenant`", &self.tenant, &strict.tenant), ("`q`", &self.q, &strict.q)];
        let parameters = parameters.map(|(name, own, strict)| {
            (name, own.as_ref().map(Parameter::shown), strict.as_ref().map(Parameter::shown))
        });
        let headers = [("`X-Org`", &self.org, &strict.org), ("`X-Callgate-Agent`", &self.agent, &strict.agent)];
        let headers = headers.map(|(name, own, strict)| (name, own.clone(), strict.clone()));
        for (name, own, strict) in parameters.into_iter().chain(headers) {
            if own != strict {
                let separator = if text.is_empty() { "" } else { ", " };
                // Writing to a string does not fail.
                let _ = match own {
                    Some(own) => write!(text, "{separator}reads {name} as `{}`", shown(&own)),
                    None => write!(text, "{separator}finds no {name}"),
                };
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Describes how this reading differs from the strict one, for requests to paths that the application does not know. A server may
    /// decode needless escapes in the query.
    pub(super) fn echo_differs_from(&self, strict: &Self) -> Option<String> {
        let parts = |reading: &Self| {
            let query = decoded(reading.query.as_bytes());
            let agent = reading.agent.clone().unwrap_or_default();
            [("method", reading.method.clone()), ("path", reading.path.clone()), ("query", query), ("agent", agent)]
        };
        let both = parts(self).into_iter().zip(parts(strict));
        let different = both.filter(|(own, strict)| own != strict);
        let all: Vec<_> = different
            .map(|((name, own), (_, strict))| format!("reads the {name} `{}`, not `{}`", shown(&own), shown(&strict)))
            .collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl Parameter {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Structured(value) => value.to_string(),
        }
    }
}

/// Formats text for backticks in a table cell.
fn shown(text: &str) -> String {
    let escaped: String =
        text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    escaped.replace('|', "\\|").replace('`', "'")
}
