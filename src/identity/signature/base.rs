//! The signature base: the exact bytes that a signature covers (RFC 9421, section 2.5).

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::component::{Component, Name};
use super::fields::CoveredFields;
use super::input::Input;
use super::structured::{FieldKind, StructuredFields, member, serialised};
use crate::request::headers::Headers;
use crate::request::{Query, percent, split_target};
use crate::text::ascii::are_printable;

/// A request as Callgate sees it. No field comes from a header with which a client could state a different value.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// The method, as received.
    pub method: &'m [u8],
    /// The scheme, in lower case.
    pub scheme: &'m str,
    /// Host and port, in lower case, without the scheme's default port.
    pub authority: &'m str,
    /// Path and query, as received.
    pub target: &'m [u8],
    /// All field lines.
    pub headers: &'m Headers,
    /// Which fields are structured.
    pub structured: &'m StructuredFields,
}

/// A covered component that this request does not have, or that cannot be written as a line of the signature base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsignable {
    /// Its identifier.
    pub component: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The request does not have it.
    Absent,
    /// It occurs more than once, or another field has a name that some servers read as the same name.
    Ambiguous,
    /// It is not ASCII text on one line.
    NotText,
    /// The field is malformed, or is not known to be structured as the component requires.
    NotStructured,
    /// A covered query parameter, in a query with more than 1,024 parameters.
    TooMany,
    /// `cookie`: HTTP/2 clients and gateways split and join it in different ways.
    Cookie,
}

impl fmt::Display for Unsignable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Absent => "the request does not have it",
            Problem::Ambiguous => "it occurs more than once, or some servers read another name as the same name",
            Problem::NotText => "its value is not printable ASCII",
            Problem::NotStructured => "it is malformed, or not known to be a structured field",
            Problem::TooMany => "the query has more than 1,024 parameters",
            Problem::Cookie => "`cookie` cannot be signed, because gateways split and join it",
        };
        write!(f, "`{}`: {problem}", self.component)
    }
}

impl std::error::Error for Unsignable {}

/// Rebuilds the signature base.
///
/// # Errors
/// [`Unsignable`] for the first component that cannot be written as a line.
pub fn base(message: &Message<'_>, input: &Input<'_>) -> Result<String, Unsignable> {
    // INVARIANT: the base contains only printable ASCII, tabs and line ends.
    base_bytes(message, input).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Rebuilds the signature base as the bytes that are signed.
///
/// # Errors
/// [`Unsignable`] for the first component that cannot be written as a line.
pub(crate) fn base_bytes(message: &Message<'_>, input: &Input<'_>) -> Result<Vec<u8>, Unsignable> {
    // Most signatures cover a token, so the base is rarely short.
    let mut base = Vec::with_capacity(1024);
    let parameters = OnceCell::new();
    let fields = input.components.iter().filter_map(|component| match &component.name {
        Name::Field(name) => Some(&**name),
        _ => None,
    });
    let fields = CoveredFields::gather(message.headers, fields);
    for component in &input.components {
        push(&mut base, input.identifier(component));
        push(&mut base, ": ");
        push_value(&mut base, message, component, &parameters, &fields)
            .map_err(|problem| Unsignable { component: input.identifier(component).to_owned(), problem })?;
        base.push(b'\n');
    }
    push(&mut base, "\"@signature-params\": ");
    push(&mut base, input.parameters());
    Ok(base)
}

fn push(base: &mut Vec<u8>, text: &str) {
    base.extend_from_slice(text.as_bytes());
}

/// The parameters of the query, parsed at most once even if several are covered.
type Parameters<'q> = OnceCell<Result<BTreeMap<String, Value<'q>>, Problem>>;

fn push_value<'m>(
    base: &mut Vec<u8>,
    message: &Message<'m>,
    component: &Component<'_>,
    parameters: &Parameters<'m>,
    fields: &CoveredFields<'m, '_>,
) -> Result<(), Problem> {
    let query = || split_target(message.target).1;
    match &component.name {
        Name::Method => push_text(base, message.method),
        Name::TargetUri => {
            for part in [message.scheme, "://", message.authority] {
                push(base, part);
            }
            push_text(base, message.target)
        }
        Name::Authority => push_text(base, message.authority.as_bytes()),
        Name::Scheme => push_text(base, message.scheme.as_bytes()),
        Name::RequestTarget => push_text(base, message.target),
        Name::Path => {
            let (path, _) = split_target(message.target);
            push_text(base, if path.is_empty() { b"/" } else { path })
        }
        Name::Query => {
            base.push(b'?');
            push_text(base, query().unwrap_or_default())
        }
        Name::QueryParam => {
            let parameters =
                parameters.get_or_init(|| read_parameters(query())).as_ref().map_err(|problem| *problem)?;
            match component.parameter.as_deref().and_then(|name| parameters.get(name)) {
                None => Err(Problem::Absent),
                Some(Value::Several) => Err(Problem::Ambiguous),
                Some(Value::One(value)) => {
                    push(base, &form_encoded(value)?);
                    Ok(())
                }
            }
        }
        Name::Field(name) => push_field(base, message, component, name, fields),
    }
}

fn push_field(
    base: &mut Vec<u8>,
    message: &Message<'_>,
    component: &Component<'_>,
    name: &str,
    fields: &CoveredFields<'_, '_>,
) -> Result<(), Problem> {
    if name == "cookie" {
        return Err(Problem::Cookie);
    }
    let field = fields.get(name).ok_or(Problem::Absent)?;
    if field.is_ambiguous() {
        return Err(Problem::Ambiguous);
    }
    // The gateway converts `Host` to `:authority`, but a client may have signed it as `host`.
    let authority = [message.authority.as_bytes()];
    let is_host = name == "host";
    if component.bs {
        let start = base.len();
        for line in if is_host { &authority[..] } else { field.lines() } {
            let separator = if base.len() == start { ":" } else { ", :" };
            push(base, separator);
            push(base, &STANDARD.encode(line));
            base.push(b':');
        }
        return if base.len() == start { Err(Problem::Absent) } else { Ok(()) };
    }
    let value = if is_host { Some(message.authority.as_bytes()) } else { field.value() }.ok_or(Problem::Absent)?;
    let kind = || message.structured.kind(name);
    let written = match (&component.key, component.sf) {
        (Some(key), _) if kind() == Some(FieldKind::Dictionary) => {
            let dictionary = field.dictionary().ok_or(Problem::NotStructured)?;
            member(dictionary, key).ok_or(Problem::Absent)?
        }
        (Some(_), _) => return Err(Problem::NotStructured),
        (None, true) => {
            let kind = kind().ok_or(Problem::NotStructured)?;
            serialised(kind, value).ok_or(Problem::NotStructured)?
        }
        (None, false) => return push_text(base, value),
    };
    push(base, &written);
    Ok(())
}

/// Appends a value that needs no encoding.
fn push_text(base: &mut Vec<u8>, value: &[u8]) -> Result<(), Problem> {
    let printable = are_printable(value) || value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if !printable {
        return Err(Problem::NotText);
    }
    base.extend_from_slice(value);
    Ok(())
}

/// The maximum number of query parameters if a signature covers one: each is decoded and encoded again.
const MOST_PARAMETERS: usize = 1_024;

/// The value of a query parameter, or the fact that there are several.
enum Value<'q> {
    One(&'q str),
    Several,
}

/// Maps the names of query parameters to their values. Both are decoded as a form and encoded again (RFC 9421, section 2.2.8).
fn read_parameters(query: Option<&[u8]>) -> Result<BTreeMap<String, Value<'_>>, Problem> {
    let query = Query::parse(query).map_err(|_| Problem::NotText)?;
    if query.parameters().nth(MOST_PARAMETERS).is_some() {
        return Err(Problem::TooMany);
    }
    let mut parameters = BTreeMap::new();
    for (name, value) in query.parameters() {
        let value = Value::One(value.unwrap_or_default());
        parameters.entry(form_encoded(name)?).and_modify(|value| *value = Value::Several).or_insert(value);
    }
    Ok(parameters)
}

/// Decodes a part of a form, and percent-encodes all characters except those that form encoding leaves unchanged.
fn form_encoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent::decode(spaced.as_bytes());
    // A lossy conversion would replace bytes that are not UTF-8, so two different values would look the same.
    let decoded = std::str::from_utf8(&decoded).map_err(|_| Problem::NotText)?;
    let mut encoded = String::with_capacity(decoded.len());
    for byte in decoded.bytes() {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'A' + (value - 10) });
            encoded.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    Ok(encoded)
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
