//! Compiles the bindings of the policy document. Both sides of a binding are parsed once and must exist.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{credentials, overrides};
use crate::allowlist::Template;
use crate::allowlist::{Binding, Bound, Side, rule};
use crate::document::names::{did_you_mean, is_plain_header};
use crate::document::{self, BindingRule, Operand, Operator};
use crate::document::{Findings, Place};
use crate::identity::token::ClaimName;
use crate::request::headers::name_begins_like;
use crate::request::is_plain_name;
use crate::request::json::pointer::{Pointer, PointerFault};

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
    let mut bindings = Vec::with_capacity(endpoint.bind.iter().len());
    for (left, rule) in endpoint.bind.iter() {
        let place = place.field("bind").field(left);
        let part = bound(left, document, template).map_err(|message| findings.error(place.clone(), message));
        let side = side(rule, document, attributes, &place, findings);
        if let (Ok(Some(part)), Some((side, right))) = (part, side) {
            bindings.push(Binding { part, operator: rule.operator, side, written: (left.into(), right) });
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
        Some(("body", pointer)) => match Pointer::parse(pointer) {
            Ok(pointer) => Ok(Some(Bound::Body(pointer))),
            Err(fault) => Err(pointer_fault(fault, pointer)),
        },
        _ => Err(format!(
            "`{shown}` is not a part of a request; expected `path.NAME`, `query.NAME`, `header.NAME` or `body./POINTER`"
        )),
    }
}

fn pointer_fault(fault: PointerFault, written: &str) -> String {
    let problem = match fault {
        PointerFault::Empty => {
            return "the whole body cannot be bound; write a pointer to a part of it, such as `body./owner`".into();
        }
        PointerFault::Malformed => "invalid JSON pointer",
        PointerFault::Long => "too many steps in the JSON pointer",
        PointerFault::Unprintable => "invalid character in the JSON pointer",
    };
    format!(
        "{problem} `{}`; expected at most 16 steps in printable ASCII, such as `/items/0/id` (RFC 6901), with `~1` for a slash in a \
         name and `~0` for a tilde",
        written.escape_debug()
    )
}

/// Compiles the known value, and returns it with its written form. A value with which the operator can never hold is an error.
pub(super) fn side(
    rule: &BindingRule,
    document: &document::Document,
    attributes: &BTreeSet<&str>,
    place: &Place,
    findings: &mut Findings,
) -> Option<(Side, Box<str>)> {
    let message = match &rule.operand {
        Operand::Reference(written) => match reference(written, rule.operator, attributes) {
            Ok(side) => {
                if let Side::Agent(name) = &side {
                    check_attribute(rule.operator, name, document, place, findings);
                }
                return Some((side, written.as_str().into()));
            }
            Err(message) => message,
        },
        Operand::Literal(value) => match literal_fault(rule.operator, value) {
            None => {
                check_items(value, place, findings);
                return Some((Side::Literal(Box::new(value.clone())), value.to_string().into()));
            }
            Some(message) => message,
        },
    };
    findings.error(place.clone(), message);
    None
}

fn literal_fault(operator: Operator, value: &Value) -> Option<String> {
    let message = match (operator, value.as_array()) {
        (Operator::In, None) => "`in` needs a list of values, or a reference to one; write `equals` for a single value",
        (Operator::In, Some(items)) if items.is_empty() => {
            "the list is empty, so every request would be denied; write at least one value"
        }
        (Operator::Equals | Operator::Prefix | Operator::AtMost, Some(_)) => {
            "a list of values belongs to the operator `in`; write one value"
        }
        _ if !rule::suits(operator, value) => return Some(unsuitable("this value", operator)),
        _ => return None,
    };
    Some(message.to_owned())
}

/// Reports each attribute that can never match, also if only an item of it cannot. The error is at the attribute, because it is one agent's
/// entry that has to change. Every attribute that compiles can equal something.
fn check_attribute(
    operator: Operator,
    name: &str,
    document: &document::Document,
    place: &Place,
    findings: &mut Findings,
) {
    if matches!(operator, Operator::Equals | Operator::In) {
        return;
    }
    for (agent, raw) in &document.agents {
        if raw.attributes.get(name).is_some_and(|value| !rule::suits(operator, value)) {
            let attribute = Place::root().field("agents").field(agent).field("attributes").field(name);
            let of_agent = format!("this value of agent `{}` for `{place}`", agent.escape_debug());
            findings.error(attribute, unsuitable(&of_agent, operator));
        }
    }
}

fn unsuitable(what: &str, operator: Operator) -> String {
    format!("`{}` never matches {what}; expected {}", operator.name(), rule::form(operator))
}

/// Warns about items of a list that look like references.
fn check_items(value: &Value, place: &Place, findings: &mut Findings) {
    let mut items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    if items.any(|item| item.starts_with("token.") || item.starts_with("agent.")) {
        findings.warn(
            place.clone(),
            "a list contains fixed values, and one of these looks like a reference; for the items of a claim or attribute, write it \
             without brackets, such as `{ in: agent.regions }`",
        );
    }
}

fn reference(written: &str, operator: Operator, attributes: &BTreeSet<&str>) -> Result<Side, String> {
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
            "`{shown}` is not an attribute of the caller; expected `token.CLAIM`, `token./pointer` or `agent.ATTRIBUTE`, or a fixed \
             value such as {}",
            literals(operator)
        )),
    }
}

/// Returns how a fixed value is written for an operator.
fn literals(operator: Operator) -> &'static str {
    match operator {
        Operator::Equals => "`{ equals: { literal: eu } }` or `{ in: [eu, us] }`",
        Operator::In => "`{ in: [eu, us] }`",
        Operator::Prefix => "`{ prefix: { literal: /srv/acme } }`",
        Operator::AtMost => "`{ at_most: 1000 }` or `{ at_most: { literal: \"99.50\" } }`",
    }
}

#[cfg(test)]
#[path = "bindings_tests.rs"]
mod tests;
