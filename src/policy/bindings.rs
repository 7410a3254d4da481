//! Compiles the bindings of the policy document. Both sides of a binding are parsed once and must exist.

use std::collections::BTreeSet;

use super::{credentials, overrides};
use crate::allowlist::Template;
use crate::allowlist::{Binding, Bound, Side};
use crate::document;
use crate::document::names::{did_you_mean, is_plain_header};
use crate::document::{Findings, Place};
use crate::identity::token::ClaimName;
use crate::request::headers::name_begins_like;
use crate::request::is_plain_name;

/// Headers that do not express the caller's intent, or that Callgate itself reads.
const NEVER_BOUND: [&str; 8] =
    ["authorization", "connection", "content-length", "cookie", "host", "te", "transfer-encoding", "upgrade"];

pub(super) fn compile(
    document: &document::Document,
    endpoint: &document::Endpoint,
    template: Option<&Template>,
    attributes: &BTreeSet<&str>,
    place: &Place,
    findings: &mut Findings,
) -> Vec<Binding> {
    let mut bindings = Vec::with_capacity(endpoint.bind.len());
    for (left, right) in &endpoint.bind {
        let place = place.field("bind").field(left);
        let part = bound(left, document, template).map_err(|message| findings.error(place.clone(), message));
        let side = side(right, attributes).map_err(|message| findings.error(place.clone(), message));
        if let (Ok(Some(part)), Ok(side)) = (part, side) {
            bindings.push(Binding { part, side, written: (left.as_str().into(), right.as_str().into()) });
        }
    }
    bindings
}

/// Parses the bound part. Returns `None` if the template did not compile and its variables are unknown.
fn bound(written: &str, document: &document::Document, template: Option<&Template>) -> Result<Option<Bound>, String> {
    let shown = written.escape_debug();
    match written.split_once('.') {
        Some(("path", name)) => {
            let Some(template) = template else { return Ok(None) };
            template.position(name).map(|position| Some(Bound::Path(position))).ok_or_else(|| {
                let names = template.variables().iter().map(|variable| &*variable.name);
                format!(
                    "unknown path variable `{}`; {}",
                    name.escape_debug(),
                    did_you_mean(name, names, "expected a variable of the path")
                )
            })
        }
        Some(("query", name)) if is_plain_name(name) => Ok(Some(Bound::Query(name.into()))),
        Some(("query", name)) => Err(format!(
            "the parameter name `{}` is ambiguous; expected at most 128 bytes of visible ASCII without `& ; = + % # [ ]`",
            name.escape_debug()
        )),
        Some(("header", name)) => {
            let lower = name.to_ascii_lowercase();
            if !is_plain_header(&lower) {
                Err(format!("invalid header name `{}`; expected letters, digits and hyphens", name.escape_debug()))
            } else if lower != name {
                Err(format!("header names are compared in lower case; write `header.{lower}`"))
            } else if NEVER_BOUND.contains(&name) || name_begins_like(name.as_bytes(), &document.audit.headers.prefix) {
                Err(format!("`{name}` is used by the connection or the gate; bind another header"))
            } else if credentials::carry(name, document) {
                Err(format!("`{name}` carries tokens (`credentials_from`); bind another header"))
            } else if overrides::is_listed(name, document) {
                Err(format!("`{name}` is an override header, which is rejected in every request; bind another header"))
            } else {
                Ok(Some(Bound::Header(name.into())))
            }
        }
        _ => Err(format!("`{shown}` is not a part of a request; expected `path.NAME`, `query.NAME` or `header.NAME`")),
    }
}

fn side(written: &str, attributes: &BTreeSet<&str>) -> Result<Side, String> {
    let shown = written.escape_debug();
    match written.split_once('.') {
        Some(("token", claim)) => ClaimName::parse(claim).map(Side::Token).map_err(|fault| fault.to_string()),
        Some(("agent", name)) if attributes.contains(name) => Ok(Side::Agent(name.into())),
        Some(("agent", name)) => Err(format!(
            "no agent has the attribute `{}`; {}",
            name.escape_debug(),
            did_you_mean(name, attributes.iter().copied(), "add it to the agents that may use this endpoint")
        )),
        _ => Err(format!(
            "`{shown}` is not an attribute of the caller; expected `token.CLAIM`, `token./pointer` or `agent.ATTRIBUTE`"
        )),
    }
}
