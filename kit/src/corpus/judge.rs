//! Compares what an engine did with what a case expects, and reports every difference in words.
//!
//! This module also checks the rules that every decision must follow: the format of a denial, and that only the gate's own headers
//! reach the upstream under its prefix.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::document::HEADER_PREFIX;
use callgate::request::headers::{name_begins_like, name_reads_as};
use callgate::{Challenge, Ground, Reason};
use serde_json::{Value, json};

use super::call::Call;
use super::format::{Decision, Expect};
use super::rpc_error::DeniedMessage;
use super::{Case, Policy, published};
use crate::{escape, records};

/// Headers of the connection. A gateway may change them even on a request that it otherwise forwards unchanged.
const OF_THE_CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "te", "transfer-encoding", "content-length", "upgrade"];

/// The headers that the gate adds for the upstream, without the prefix.
const OURS: [&str; 11] =
    ["agent", "issuer", "tenant", "client", "subject", "chain", "scopes", "endpoint", "decision", "policy", "observed"];

/// The observed result of a request in an engine.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The decision record.
    pub record: Value,
    /// The outcome of the request.
    pub end: End,
}

/// The outcome of a request.
#[derive(Clone, Debug)]
pub enum End {
    /// The gate sent the response itself.
    Answered {
        /// The status that the client sees.
        status: u16,
        /// Header lines, names in lower case.
        headers: Vec<(String, Vec<u8>)>,
        /// The body.
        body: Vec<u8>,
        /// The details of the response in the gateway's log, if there is a gateway.
        details: Option<String>,
    },
    /// The gate forwarded the request.
    Forwarded {
        /// Header lines as the upstream sees them, with method, path and host as pseudo-headers.
        lines: Vec<(Vec<u8>, Vec<u8>)>,
    },
}

/// Returns every difference between the observed result and the one that the case expects; empty if the case passed. `version` is
/// the policy's version as the native engine computes it.
#[must_use]
pub fn differences(case: &Case, policy: &Policy, version: &str, call: &Call, seen: &Seen) -> Vec<String> {
    let mut judge = Judge { expect: &case.expect, policy, version, call, record: &seen.record, found: Vec::new() };
    judge.schema();
    judge.decision();
    match &seen.end {
        End::Answered { status, headers, body, details } => judge.answer(*status, headers, body, details.as_deref()),
        End::Forwarded { lines } => judge.upstream(lines),
    }
    judge.found
}

struct Judge<'j> {
    expect: &'j Expect,
    policy: &'j Policy,
    version: &'j str,
    call: &'j Call,
    record: &'j Value,
    found: Vec<String>,
}

impl<'j> Judge<'j> {
    /// Checks the record against its schema, which applies to every decision.
    fn schema(&mut self) {
        let faults = records::faults(self.record);
        self.found.extend(faults.into_iter().map(|fault| format!("the record does not match its schema: {fault}")));
    }

    fn decision(&mut self) {
        let wanted = match self.expect.decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
            Decision::Observe => "observe",
        };
        let (decision, reason) = (self.of_record("decision"), self.of_record("reason"));
        if decision != wanted {
            let wanted_reason = self.expect.reason.as_ref().or(self.expect.would_deny.first());
            let because = wanted_reason.map(|code| format!(" (`{code}`)")).unwrap_or_default();
            self.found.push(format!("expected `{wanted}`{because}, got `{decision}` (`{reason}`)"));
            return;
        }
        if let Some(code) = self.expect.reason.as_ref().filter(|code| **code != reason) {
            self.found.push(format!("expected the reason `{code}`, got `{reason}`"));
        }
        if self.expect.decision == Decision::Observe {
            let members = self.record.get("would_deny").and_then(Value::as_array).into_iter().flatten();
            let got: Vec<&str> = members.filter_map(|denial| denial.get("reason")?.as_str()).collect();
            if got != self.expect.would_deny {
                let (wanted, got) = (list(&self.expect.would_deny), list(&got));
                self.found.push(format!("expected the reasons {wanted} in `would_deny`, got {got}"));
            }
        }
        for (name, wanted) in &self.expect.record {
            let got = self.record.get(name).unwrap_or(&Value::Null);
            if got != wanted {
                self.found.push(format!("expected `{name}` in the record to be {wanted}, got {got}"));
            }
        }
    }

    fn of_record(&self, name: &str) -> String {
        self.record.get(name).and_then(Value::as_str).unwrap_or("nothing").to_owned()
    }

    fn answer(&mut self, status: u16, headers: &[(String, Vec<u8>)], body: &[u8], details: Option<&str>) {
        let code = self.of_record("reason");
        if self.of_record("decision") == "allow" && code == Ground::Metadata.code() {
            if self.expect.reason.as_ref() != Some(&code) {
                self.found.push(format!("the gate responded itself; expected `{code}` in `reason` for that"));
            }
            self.status(status, self.expect.status.unwrap_or(published::status(self.call)));
            self.details(&code, details);
            self.found.extend(published::differences(&self.policy.document, self.call, headers, body));
            self.headers(headers);
            return;
        }
        let Some(reason) = Reason::ALL.iter().find(|reason| reason.code() == code) else {
            self.found.push("the gate responded, but its record contains no denial".to_owned());
            return;
        };
        let grpc = headers.iter().any(|(name, _)| name == "grpc-status");
        let of_reason = self.expect.status_of_reason.unwrap_or(reason.row().status);
        let message = DeniedMessage::of(&self.policy.document, self.record, self.call, *reason, of_reason);
        // A gRPC client receives the denial in headers, with the status 200.
        let message = message.filter(|_| !grpc);
        let usual = message.as_ref().map_or(if grpc { 200 } else { of_reason }, DeniedMessage::http_status);
        self.status(status, self.expect.status.unwrap_or(usual));
        self.details(&code, details);
        if self.expect.rpc.is_some() && message.is_none() {
            self.found.push("the response is not a JSON-RPC error, but the case expects one".to_owned());
        }
        if let Some(message) = message {
            self.found.extend(message.differences(self.expect.rpc.as_ref(), headers, body));
        } else if !grpc {
            self.problem(*reason, headers, body);
        } else if !self.expect.headers.contains_key("grpc-status") {
            self.found.push("the response is gRPC, but the case does not expect `grpc-status`".to_owned());
        }
        self.challenge(*reason, headers);
        self.headers(headers);
    }

    fn status(&mut self, got: u16, wanted: u16) {
        if got != wanted {
            self.found.push(format!("expected the status {wanted}, got {got}"));
        }
    }

    fn details(&mut self, code: &str, details: Option<&str>) {
        let wanted = format!("callgate_{code}");
        if let Some(details) = details.filter(|details| *details != wanted) {
            self.found.push(format!("expected the details `{wanted}`, got `{}`", escape::text(details)));
        }
    }

    /// Checks the headers that the case states.
    fn headers(&mut self, headers: &[(String, Vec<u8>)]) {
        for (name, wanted) in &self.expect.headers {
            let got: Vec<_> = headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value).collect();
            match (wanted, got.as_slice()) {
                (None, []) => {}
                (Some(wanted), [got]) if wanted.as_bytes() == got.as_slice() => {}
                (wanted, got) => {
                    let wanted = wanted.as_deref().map_or("none".to_owned(), |wanted| format!("`{wanted}`"));
                    self.found.push(format!("expected `{name}` in the response: {wanted}, got {}", values(got)));
                }
            }
        }
    }

    /// Checks that a denial is a problem (RFC 9457) with the members that every denial has.
    fn problem(&mut self, reason: Reason, headers: &[(String, Vec<u8>)], body: &[u8]) {
        if !headers.iter().any(|(name, value)| name == "content-type" && value == b"application/problem+json") {
            self.found.push("the response is not `application/problem+json`".to_owned());
        }
        let disclosed = reason.disclosed();
        let mut wanted = json!({
            "type": format!("https://github.com/callgate/callgate/blob/main/docs/reference/reasons.md#{}", disclosed.code),
            "title": disclosed.title,
            "detail": disclosed.detail,
            "status": reason.row().status,
            "code": disclosed.code,
            "instance": format!("urn:callgate:decision:{}", self.of_record("id")),
        });
        if let (Some(help), Some(wanted)) = (self.policy.document.get("help"), wanted.as_object_mut()) {
            wanted.insert("help".to_owned(), help.clone());
        }
        let got: Value = serde_json::from_slice(body).unwrap_or_default();
        if self.call.method != b"HEAD" && got != wanted {
            self.found.push(format!("expected the problem {wanted}, got {got}"));
        }
    }

    /// Returns the challenge with every scheme that the policy accepts. The first scheme carries the error: the one that the
    /// request used, or the one that the error belongs to. A challenge that is followed by scopes names only that scheme.
    fn schemes(&self, error: &str, of_dpop: bool, scopes_follow: bool) -> String {
        let realm = published::realm(&self.policy.document, self.call);
        let more =
            if scopes_follow { String::new() } else { published::parameters(&self.policy.document, self.call, false) };
        let named = |name: &str, error: &str| format!("{name} realm=\"{realm}\"{error}{more}");
        let Some(dpop) = self.policy.document.get("dpop") else { return named("Bearer", error) };
        let only_dpop = dpop.get("required") == Some(&Value::Bool(true));
        let algs = format!(", algs=\"{}\"", published::proof_algorithms(dpop).join(" "));
        match of_dpop || published::used_dpop(self.call) {
            // The case itself states the scopes that follow.
            is_dpop if scopes_follow => named(if only_dpop || is_dpop { "DPoP" } else { "Bearer" }, error),
            _ if only_dpop => named("DPoP", error) + &algs,
            true => format!("{}{algs}, {}", named("DPoP", error), named("Bearer", "")),
            false => format!("{}, {}{algs}", named("Bearer", error), named("DPoP", "")),
        }
    }

    /// Checks the challenge of a reason (RFC 6750, section 3; RFC 9449, section 7.1). The case itself states the scopes of a
    /// challenge.
    fn challenge(&mut self, reason: Reason, headers: &[(String, Vec<u8>)]) {
        let (error, of_dpop) = match reason.row().challenge {
            Challenge::No | Challenge::Signature => (None, false),
            Challenge::Bare => (Some(""), false),
            Challenge::InvalidToken => (Some(", error=\"invalid_token\""), false),
            Challenge::InvalidProof => (Some(", error=\"invalid_dpop_proof\""), true),
            Challenge::UseNonce => (Some(", error=\"use_dpop_nonce\""), true),
            Challenge::InsufficientScope => (Some(", error=\"insufficient_scope\", scope="), false),
        };
        let scopes_follow = reason.row().challenge == Challenge::InsufficientScope;
        let wanted = error.map(|error| self.schemes(error, of_dpop, scopes_follow));
        let nonces = headers.iter().filter(|(name, _)| name == "dpop-nonce").count();
        let wanted_nonces = usize::from(reason.row().challenge == Challenge::UseNonce);
        if nonces != wanted_nonces {
            self.found.push(format!("expected {wanted_nonces} `dpop-nonce` headers in the response, got {nonces}"));
        }
        let got: Vec<_> =
            headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, value)| value).collect();
        let more = published::parameters(&self.policy.document, self.call, true);
        let same = match (&wanted, got.as_slice()) {
            (None, []) => true,
            (Some(wanted), [got]) if scopes_follow => {
                got.starts_with(wanted.as_bytes()) && String::from_utf8_lossy(got).contains(&more)
            }
            (Some(wanted), [got]) => wanted.as_bytes() == got.as_slice(),
            _ => false,
        };
        if !same {
            let wanted = wanted.map_or("none".to_owned(), |wanted| format!("`{wanted}`"));
            self.found.push(format!("expected the challenge {wanted}, got {}", values(&got)));
        }
        self.wanted_signature(reason, headers);
    }

    /// Checks `Accept-Signature`, which states the signature that the gate requires. It accompanies denials that concern a
    /// signature, and challenges if a signature alone would be enough.
    fn wanted_signature(&mut self, reason: Reason, headers: &[(String, Vec<u8>)]) {
        let wanted = match reason.row().challenge {
            Challenge::Signature => true,
            Challenge::Bare | Challenge::InvalidToken | Challenge::InvalidProof | Challenge::UseNonce => {
                published::takes_signatures_alone(&self.policy.document)
            }
            Challenge::No | Challenge::InsufficientScope => false,
        };
        let got: Vec<_> =
            headers.iter().filter(|(name, _)| name == "accept-signature").map(|(_, value)| value).collect();
        let stated = matches!(got.as_slice(), [value] if value.starts_with(b"sig=("));
        if stated != wanted || !wanted && !got.is_empty() {
            let wanted =
                if wanted { "one `accept-signature` with the required signature" } else { "no `accept-signature`" };
            self.found.push(format!("expected {wanted} in the response, got {}", values(&got)));
        }
    }

    fn upstream(&mut self, lines: &[(Vec<u8>, Vec<u8>)]) {
        for (name, wanted) in &self.expect.upstream.has {
            let got: Vec<_> = lines.iter().filter(|(own, _)| name_reads_as(own, name)).collect();
            if !matches!(got.as_slice(), [(own, value)] if own == name.as_bytes() && *value == wanted.0) {
                let got: Vec<_> = got.iter().map(|(_, value)| value).collect();
                let wanted = escape::text(&String::from_utf8_lossy(&wanted.0)).to_string();
                self.found.push(format!("expected `{name}: {wanted}` at the upstream, got {}", values(&got)));
            }
        }
        for name in &self.expect.upstream.lacks {
            if let Some((own, _)) = lines.iter().find(|(own, _)| name_reads_as(own, name)) {
                let own = String::from_utf8_lossy(own);
                self.found.push(format!("expected no `{name}` at the upstream, got `{}`", escape::text(&own)));
            }
        }
        self.our_headers(lines);
        if self.expect.decision == Decision::Observe || self.is_observed() {
            self.as_it_came(lines);
        }
    }

    /// Returns whether the policy or the matching endpoint only observes. The upstream then receives even allowed requests as it
    /// did without the gate.
    fn is_observed(&self) -> bool {
        let document = &self.policy.document;
        let endpoint = self.of_record("endpoint");
        let endpoints = document.get("endpoints").and_then(Value::as_array).into_iter().flatten();
        let mut matched = endpoints.filter(|own| own.get("id").and_then(Value::as_str) == Some(&endpoint));
        let observes = |part: &Value| part.get("mode").and_then(Value::as_str) == Some("observe");
        observes(document) || matched.any(observes)
    }

    /// Checks that the upstream sees each of the gate's headers once, and nothing else under the prefix.
    fn our_headers(&mut self, lines: &[(Vec<u8>, Vec<u8>)]) {
        let prefix = self.prefix();
        let ours: Vec<_> = lines.iter().filter(|(name, _)| name_begins_like(name, prefix)).collect();
        for (name, _) in &ours {
            let known =
                name.strip_prefix(prefix.as_bytes()).is_some_and(|rest| OURS.iter().any(|own| own.as_bytes() == rest));
            let once = ours.iter().filter(|(other, _)| other == name).count() == 1;
            if !known || !once {
                let name = String::from_utf8_lossy(name);
                self.found.push(format!("unexpected or repeated header `{}` at the upstream", escape::text(&name)));
            }
        }
        let version = self.version.get(..12).unwrap_or_default();
        let label = self.policy.document.get("name").and_then(Value::as_str).map(|name| format!("{name}@{version}"));
        let observed = (self.expect.decision == Decision::Observe).then(|| "1".to_owned());
        let of_record = |name: &str| self.record.get(name).and_then(Value::as_str).map(str::to_owned);
        for (rest, wanted) in [
            ("decision", of_record("id")),
            ("policy", label),
            ("endpoint", of_record("endpoint")),
            ("observed", observed),
        ] {
            let name = format!("{prefix}{rest}");
            let got = ours.iter().find(|(own, _)| own == name.as_bytes()).map(|(_, value)| value.as_slice());
            if got != wanted.as_deref().map(str::as_bytes) {
                let wanted = wanted.as_deref().unwrap_or("none");
                self.found.push(format!("expected `{name}: {wanted}` at the upstream, got {}", values(got.as_slice())));
            }
        }
        // The upstream never learns an unverified identity. The identity of a denied client is recorded, but not forwarded either.
        for member in ["agent", "issuer", "tenant", "client", "subject"] {
            let name = format!("{prefix}{member}");
            let forwarded = ours.iter().any(|(own, _)| own == name.as_bytes());
            let recorded = self.record.get(member).is_some();
            if forwarded && !recorded || recorded && !forwarded && self.expect.decision == Decision::Allow {
                self.found.push(format!("`{name}` at the upstream does not match `{member}` in the record"));
            }
        }
    }

    /// Checks that an observed request is forwarded with all of its original lines, except those that imitate the gate's headers or
    /// headers with forwarded claims.
    fn as_it_came(&mut self, lines: &[(Vec<u8>, Vec<u8>)]) {
        let prefix = self.prefix();
        let claims = self.policy.document.pointer("/upstream/claims").and_then(Value::as_object);
        let claims = claims.into_iter().flat_map(|claims| claims.keys());
        for (name, value) in self.call.all_lines() {
            let changes = OF_THE_CONNECTION.iter().any(|own| name_reads_as(&name, own)) || name == b":scheme";
            if changes || name_begins_like(&name, prefix) || claims.clone().any(|claim| name_reads_as(&name, claim)) {
                continue;
            }
            if !lines.iter().any(|(own, got)| own.eq_ignore_ascii_case(&name) && *got == value) {
                let name = String::from_utf8_lossy(&name);
                self.found.push(format!("`{}` is missing or changed at the upstream", escape::text(&name)));
            }
        }
    }

    fn prefix(&self) -> &'j str {
        self.policy.document.pointer("/audit/headers/prefix").and_then(Value::as_str).unwrap_or(HEADER_PREFIX)
    }
}

fn list<T: AsRef<str>>(codes: &[T]) -> String {
    if codes.is_empty() {
        return "nothing".to_owned();
    }
    codes.iter().map(|code| format!("`{}`", code.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Formats the values of a header for people; a value that is not text is written in base64.
fn values<V: AsRef<[u8]>>(values: &[V]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    let shown = values.iter().map(|value| match std::str::from_utf8(value.as_ref()) {
        Ok(text) => format!("`{}`", escape::text(text)),
        Err(_) => format!("base64 {}", STANDARD.encode(value)),
    });
    shown.collect::<Vec<_>>().join(" and ")
}
