//! The contents of records, and the headers that identify the caller to the upstream.

use std::fmt;

use super::credentials;
use crate::document;
use crate::document::names::check_distinct;
use crate::document::{Findings, Place};
use crate::identity::crypto::hmac_sha256;
use crate::identity::token::{Secrets, look_up};
use crate::request::headers::{folded_name, name_begins_like};
use crate::request::shown::header_is_secret;
use crate::text::ascii::is_token;

/// With more headers than this, a record becomes a copy of the request.
const MOST_INCLUDED: usize = 16;

/// The contents of records and logs.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) logs_allow: bool,
    pub(crate) logs_deny: bool,
    pub(crate) query_values: bool,
    /// Names of headers, in lower case.
    pub(crate) include: Vec<Box<str>>,
    pub(crate) outcome: bool,
    /// The key that subjects are hashed with. `None` if records show subjects unchanged.
    pub(crate) subject_key: Option<SubjectKey>,
}

/// The key that the subjects in records are hashed with. Its `Debug` output does not contain the key.
pub(crate) struct SubjectKey(Vec<u8>);

impl SubjectKey {
    /// The minimum length in bytes. A shorter key could be found by brute force.
    const MIN: usize = 32;

    /// Reads the key if the policy has `audit.subject: hash`. The variable may be missing if secrets are not looked up, as when a
    /// policy is only checked. Subjects are then hashed with an empty key, and no such hash is recorded.
    fn compile(raw: &document::Audit, secrets: &dyn Secrets, findings: &mut Findings) -> Option<Self> {
        let place = Place::root().field("audit").field("subject_key");
        match (raw.subject, &raw.subject_key) {
            (document::AuditSubject::Plain, None) => None,
            (document::AuditSubject::Plain, Some(_)) => {
                findings
                    .error(place, "nothing is hashed with this key; write `subject: hash` next to it, or remove it");
                None
            }
            (document::AuditSubject::Hash, None) => {
                findings.error(
                    place,
                    format!(
                        "`subject: hash` needs a key; write `{{ env: NAME }}` with a variable that contains {} random bytes or \
                         more",
                        Self::MIN
                    ),
                );
                None
            }
            (document::AuditSubject::Hash, Some(secret)) => {
                let bytes = look_up(secret, &place, secrets, findings).ok()?;
                if bytes.as_ref().is_some_and(|bytes| bytes.len() < Self::MIN) {
                    findings.error(
                        place.field("env"),
                        format!("the key has fewer than {} bytes after decoding; use a longer random one", Self::MIN),
                    );
                }
                Some(Self(bytes.map(|bytes| bytes.to_vec()).unwrap_or_default()))
            }
        }
    }

    /// Returns a subject as records show it.
    pub(crate) fn hash(&self, subject: &str) -> String {
        let hash = hmac_sha256(&self.0, subject.as_bytes());
        hash.iter().take(8).fold("hmac:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

/// The names of Callgate's headers, including the prefix.
#[derive(Debug)]
pub(crate) struct HeaderNames {
    /// The headers of agent, issuer, tenant, client, subject, scopes and chain, in this order.
    pub(crate) identity: [Box<str>; 7],
    pub(crate) endpoint: Box<str>,
    pub(crate) decision: Box<str>,
    pub(crate) policy: Box<str>,
    pub(crate) observed: Box<str>,
}

impl HeaderNames {
    pub(crate) fn new(prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}{name}").into_boxed_str();
        Self {
            identity: ["agent", "issuer", "tenant", "client", "subject", "scopes", "chain"].map(name),
            endpoint: name("endpoint"),
            decision: name("decision"),
            policy: name("policy"),
            observed: name("observed"),
        }
    }
}

impl Audit {
    pub(super) fn compile(document: &document::Document, secrets: &dyn Secrets, findings: &mut Findings) -> Self {
        let raw = &document.audit;
        check_prefix(&raw.headers.prefix, findings);
        check_included(document, findings);
        Self {
            logs_allow: raw.log.allow,
            logs_deny: raw.log.deny,
            query_values: raw.query == document::AuditQuery::Values,
            include: raw.include.iter().map(|name| name.as_str().into()).collect(),
            outcome: raw.outcome,
            subject_key: SubjectKey::compile(raw, secrets, findings),
        }
    }
}

fn check_prefix(prefix: &str, findings: &mut Findings) {
    let plain = prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    // Headers with the prefix are removed from requests, so the prefix must not match well-known headers.
    let takes_others = ["x-request-id", "x-forwarded-", "x-envoy-", "x-b3-"]
        .iter()
        .any(|known| known.starts_with(prefix) || prefix.starts_with(known));
    if !plain
        || !prefix.starts_with("x-")
        || !prefix.ends_with('-')
        || prefix.len() < 5
        || prefix.len() > 32
        || takes_others
    {
        findings.error(
            Place::root().field("audit").field("headers").field("prefix"),
            format!(
                "invalid prefix `{}`; expected `x-`, a name of lower-case letters and digits, and `-`, such as `{}`",
                prefix.escape_debug(),
                document::HEADER_PREFIX
            ),
        );
    }
}

fn check_included(document: &document::Document, findings: &mut Findings) {
    let (names, prefix) = (&document.audit.include, &document.audit.headers.prefix);
    let carries = |name: &str| {
        let folded: Vec<u8> = folded_name(name.as_bytes()).collect();
        str::from_utf8(&folded).is_ok_and(|folded| credentials::carry(folded, document))
    };
    let place = Place::root().field("audit").field("include");
    check_distinct("header", names, &place, findings);
    if names.len() > MOST_INCLUDED {
        findings.error(place.clone(), format!("too many headers; expected at most {MOST_INCLUDED}"));
    }
    for (index, name) in names.iter().enumerate() {
        let shown = name.escape_debug();
        let message = if !is_token(name.as_bytes()) || *name != name.to_ascii_lowercase() {
            format!("invalid header name `{shown}`; expected lower case, such as `x-agent-run-id`")
        } else if header_is_secret(name) || carries(name) {
            format!(
                "`{shown}` can contain a credential, and records never contain credentials; name a header that only identifies"
            )
        } else if name_begins_like(name.as_bytes(), prefix) {
            format!(
                "`{shown}` begins with the prefix of the gate's own headers, which are removed from requests; name another header"
            )
        } else {
            continue;
        };
        findings.error(place.index(index), message);
    }
}
