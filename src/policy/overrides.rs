//! Checks the headers that the policy adds to those by which a request could override its method or path.

use super::reserved::{self, MOST_NAME};
use crate::document;
use crate::document::names::{check_distinct, is_plain_header};
use crate::document::{Findings, Place};
use crate::request::head::OVERRIDE_HEADERS;

/// The maximum number of headers that a policy adds. Each one is compared with every header of a request.
const MOST_ADDED: usize = 32;

pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Vec<Box<str>> {
    let place = Place::root().field("override_headers");
    let names = &document.override_headers;
    check_distinct("header", names, &place, findings);
    if names.len() > MOST_ADDED {
        findings.error(place.clone(), format!("at most {MOST_ADDED} headers can be added; write fewer"));
    }
    for (index, name) in names.iter().enumerate() {
        let place = place.index(index);
        let shown = name.escape_debug();
        if !is_plain_header(name) || name.len() > MOST_NAME {
            findings.error(
                place,
                format!(
                    "invalid header name `{shown}`; expected at most {MOST_NAME} lower-case letters, digits and hyphens, such \
                     as `x-forwarded-prefix` (every other character of a header's name reads as a hyphen)"
                ),
            );
        } else if reserved::is_needed(name) {
            findings.error(
                place,
                format!("`{shown}` is set by gateways or needed by the gate; name a header that the upstream reads a method or \
                         path from"),
            );
        } else if reserved::is_of_the_gate(name, document) {
            findings.error(
                place,
                format!("`{shown}` is a header of the gateway or of the gate; name a header that clients send"),
            );
        } else if OVERRIDE_HEADERS.contains(&name.as_str()) {
            findings.warn(place, format!("`{shown}` is always in the list; remove it"));
        }
    }
    names.iter().map(|name| name.as_str().into()).collect()
}

/// Reports whether a header, given by its plain name, overrides the method or the path under this policy.
pub(super) fn is_listed(name: &str, document: &document::Document) -> bool {
    OVERRIDE_HEADERS.contains(&name) || document.override_headers.iter().any(|added| added == name)
}
