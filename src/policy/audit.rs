//! What is written down, and how the upstream is told who calls.

use super::error::{Findings, Place};
use super::names::{check_distinct, is_token};
use super::raw;
use crate::headers::name_begins_like;
use crate::record::header_is_secret;

/// More headers than these make a record a copy of the request.
const MOST_INCLUDED: usize = 16;

/// What is written down.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) logs_allow: bool,
    pub(crate) logs_deny: bool,
    pub(crate) query_values: bool,
    /// Names of headers, in lower case.
    pub(crate) include: Vec<Box<str>>,
    pub(crate) outcome: bool,
}

impl Audit {
    pub(super) fn compile(raw: &raw::Audit, findings: &mut Findings) -> Self {
        check_prefix(&raw.headers.prefix, findings);
        check_included(&raw.include, &raw.headers.prefix, findings);
        Self {
            logs_allow: raw.log.allow,
            logs_deny: raw.log.deny,
            query_values: raw.query == raw::AuditQuery::Values,
            include: raw.include.iter().map(|name| name.as_str().into()).collect(),
            outcome: raw.outcome,
        }
    }
}

fn check_prefix(prefix: &str, findings: &mut Findings) {
    let plain = prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    // Lines that begin with the prefix never reach the upstream: a prefix must not take other headers with it.
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
                "`{}` is no prefix of our own: write `x-`, a name of lower-case letters and digits, and `-`, such as `x-callgate-`",
                prefix.escape_debug()
            ),
        );
    }
}

fn check_included(names: &[String], prefix: &str, findings: &mut Findings) {
    let place = Place::root().field("audit").field("include");
    check_distinct("header", names, &place, findings);
    if names.len() > MOST_INCLUDED {
        findings.error(place.clone(), format!("a record repeats at most {MOST_INCLUDED} headers: write fewer"));
    }
    for (index, name) in names.iter().enumerate() {
        let shown = name.escape_debug();
        let message = if !is_token(name.as_bytes()) || *name != name.to_ascii_lowercase() {
            format!(
                "`{shown}` is not how headers are compared: write a header's name in lower case, such as `x-agent-run-id`"
            )
        } else if header_is_secret(name) {
            format!(
                "`{shown}` may carry a credential, and a record never holds one: name a header that identifies and proves nothing"
            )
        } else if name_begins_like(name.as_bytes(), prefix) {
            format!(
                "`{shown}` begins with the prefix of our own headers, which are removed and never read: name another"
            )
        } else {
            continue;
        };
        findings.error(place.index(index), message);
    }
}
