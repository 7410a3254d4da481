//! Reads the requirements that a policy has for its gateway.

use std::collections::BTreeSet;

use callgate::document::HEADER_PREFIX;
use callgate::policy::FetchedHost;
use serde_json::Value;

use super::Check;
use super::finding::Code;
use super::view::View;
use callgate_kit::diagnostic::Severity;
use callgate_kit::policy::{self, Loaded, not_needed};
use callgate_kit::{document, escape};

/// The properties of a compiled policy that concern the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) gateway: String,
    pub(super) hosts: Vec<String>,
    pub(super) secrets: BTreeSet<String>,
    /// The servers from which the policy fetches documents.
    pub(super) fetched: BTreeSet<FetchedHost>,
    /// The size limit of the bodies for which requests are held, in bytes; `None` if no request is held.
    pub(super) body: Option<u64>,
    /// The size limit of the answers that are filtered, in bytes; `None` if none is.
    pub(super) answer: Option<u64>,
    /// Whether the policy filters the lists in answers of MCP servers.
    pub(super) filters_answers: bool,
    /// The SPIFFE trust domains whose certificates the policy accepts; `None` if certificates identify nobody.
    pub(super) certificates: Option<BTreeSet<String>>,
    /// Whether open streams are checked again.
    pub(super) rechecks_streams: bool,
    /// The prefix of the gate's headers, in lower case.
    pub(super) prefix: String,
    /// The headers, other than `Authorization`, in which clients send tokens and API keys, in lower case.
    pub(super) credential_headers: Vec<String>,
    /// The headers in which the upstream gets claims, in lower case.
    pub(super) claim_headers: Vec<String>,
    /// The document without its `gateway`, which changes when the policy is rendered for another one.
    rest: Value,
}

impl Facts {
    pub(super) fn of(loaded: &Loaded) -> Self {
        let document = loaded.document.value();
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let hosts = document.get("hosts").and_then(Value::as_array);
        let mut rest = document.clone();
        if let Some(fields) = rest.as_object_mut() {
            fields.remove("gateway");
        }
        Self {
            name: loaded.policy.name.to_string(),
            version: loaded.policy.version.to_string(),
            gateway: text("/gateway").unwrap_or_default().to_owned(),
            hosts: hosts.into_iter().flatten().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect(),
            secrets: loaded.secrets.clone(),
            fetched: loaded.policy.fetched_hosts(),
            body: loaded.policy.largest_held_body(),
            answer: loaded.policy.largest_filtered_answer(),
            filters_answers: callgate_kit::capabilities::filters_answers(document),
            certificates: document.get("tls").map(|tls| {
                let domains = tls.get("trust_domains").and_then(Value::as_array).into_iter().flatten();
                domains.filter_map(Value::as_str).map(str::to_owned).collect()
            }),
            rechecks_streams: callgate_kit::capabilities::rechecks_streams(document),
            prefix: text("/audit/headers/prefix").unwrap_or(HEADER_PREFIX).to_ascii_lowercase(),
            credential_headers: loaded.policy.credential_headers().map(str::to_owned).collect(),
            claim_headers: loaded.policy.claim_headers().map(str::to_owned).collect(),
            rest,
        }
    }

    /// Returns whether both make the same decisions.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.rest == other.rest
    }
}

/// Returns whether a value is meant to be a Callgate policy.
pub(super) fn is_policy(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key("callgate"),
        Value::String(text) => serde_json::from_str::<Value>(text).is_ok_and(|value| value.get("callgate").is_some()),
        _ => false,
    }
}

/// Returns the text of a value, which is text or the data itself.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

impl<'a> Check<'a> {
    /// Compiles the policy at this place, which is text or the policy itself, and reports what does not fit the gateway.
    /// `gateways` are the values of `gateway` that fit.
    pub(super) fn policy(&mut self, view: &View<'a>, gateways: &[&str]) -> Option<Facts> {
        self.policy_text(view, &text(view.value), gateways)
    }

    /// Does the same for a policy that is a part of the value at this place.
    pub(super) fn policy_text(&mut self, view: &View<'a>, text: &str, gateways: &[&str]) -> Option<Facts> {
        if !serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()) {
            self.add(
                Code::PolicyWrong,
                view,
                "not a policy in JSON; write the output of `callgate render` for this gateway",
            );
            return None;
        }
        let loaded = document::parse(view.document.file(), text.as_bytes())
            .and_then(|document| policy::compile(document, &not_needed));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(wrong) => {
                for error in wrong.as_slice().iter().filter(|error| error.severity == Severity::Error) {
                    let place = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) };
                    self.add(Code::PolicyWrong, view, format!("the policy does not compile: {place}{}", error.message));
                }
                return None;
            }
        };
        let facts = Facts::of(&loaded);
        if loaded.document.value().get("mode").and_then(Value::as_str) == Some("observe") {
            let message = "this policy denies nothing; when its records show no surprises, write `mode: enforce`";
            self.add(Code::ObserveMode, view, message);
        }
        if !gateways.contains(&facts.gateway.as_str()) {
            let message = format!(
                "this policy was written for `gateway: {}`; render it for `{}`",
                escape::text(&facts.gateway),
                gateways.first().copied().unwrap_or_default()
            );
            self.add(Code::PolicyOfAnother, view, message);
        }
        let expected = self.expected.as_ref();
        if expected.is_some_and(|expected| expected.name == facts.name && !expected.same(&facts)) {
            let message = "this policy has the same name as the policy given on the command line, but differs from it; render \
                           that policy again";
            self.add(Code::PolicyOfAnother, view, message);
        }
        Some(facts)
    }
}
