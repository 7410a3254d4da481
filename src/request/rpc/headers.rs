//! The headers in which MCP clients repeat parts of the body, for proxies that do not read bodies.
//!
//! Decisions are based on the body. The headers are compared with it, because a proxy or server behind the gate may act on them.

use std::borrow::Cow;
use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{RpcFault, RpcRequest};
use crate::document::McpRevision;
use crate::request::headers::{Headers, folded_name, name_is, name_reads_as};
use crate::request::json::pointer::Pointer;
use crate::request::json::{Json, number};
use crate::text::ascii::are_printable;

/// The beginning of the names of headers that repeat an argument of a tool.
const PARAMETER: &[u8] = b"mcp-param-";

/// The headers of MCP that every request may have, without white space at their ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct McpHeaders<'h> {
    /// `MCP-Protocol-Version`.
    pub(super) version: Option<&'h [u8]>,
    /// `Mcp-Method`.
    method: Option<&'h [u8]>,
    /// `Mcp-Name`.
    name: Option<&'h [u8]>,
}

impl<'h> McpHeaders<'h> {
    /// Finds the headers of MCP.
    ///
    /// # Errors
    /// [`RpcFault::HeaderMismatch`] if one occurs twice, or under a name that only some servers read as its own.
    pub(crate) fn read(headers: &'h Headers) -> Result<Self, RpcFault> {
        Ok(Self {
            version: line(headers, "mcp-protocol-version")?,
            method: line(headers, "mcp-method")?,
            name: line(headers, "mcp-name")?,
        })
    }

    /// Checks a request whose body has no method: `Mcp-Method` and `Mcp-Name` repeat nothing of it. A proxy behind the gate that reads only
    /// headers would act on an operation that was not decided.
    ///
    /// # Errors
    /// [`RpcFault::HeaderMismatch`] if one of them is present, even if it is empty.
    pub(crate) fn name_nothing(&self) -> Result<(), RpcFault> {
        if self.method.is_some() || self.name.is_some() { Err(RpcFault::HeaderMismatch) } else { Ok(()) }
    }

    /// Checks that `Mcp-Method` and `Mcp-Name` agree with the body. Both are compared if they are present. Requests of stateless revisions
    /// must have them; for notifications, no revision states that they must.
    ///
    /// # Errors
    /// [`RpcFault::HeaderMismatch`], or [`RpcFault::Ambiguous`] for another spelling of the parameter that `Mcp-Name` repeats.
    pub(crate) fn agree(&self, request: &RpcRequest<'_>, revision: McpRevision) -> Result<(), RpcFault> {
        let is_required = revision.is_stateless() && request.id.is_some();
        // Only names and arguments may be encoded.
        if self.method.map_or(is_required, |method| method != request.method.as_bytes()) {
            return Err(RpcFault::HeaderMismatch);
        }
        match &*request.method {
            "prompts/get" | "tools/call" => compare(self.name, request.text_param("name")?.as_deref(), is_required),
            "resources/read" => compare(self.name, request.text_param("uri")?.as_deref(), is_required),
            // Some clients send the header with every request that has such a parameter.
            _ if self.name.is_some() => {
                let mut named = None;
                for parameter in ["name", "uri", "taskId"] {
                    if named.is_none() {
                        named = request.text_param(parameter)?;
                    }
                }
                compare(self.name, named.as_deref(), false)
            }
            _ => Ok(()),
        }
    }
}

/// Checks that the headers which repeat arguments of a tool agree with the arguments. `mapped` has what follows `Mcp-Param-` in the name of
/// each header, and the pointer to the argument. An argument that is absent, `null`, an object or an array has no header. A header may be
/// missing unless `is_required`.
///
/// # Errors
/// [`RpcFault::HeaderMismatch`], or [`RpcFault::Ambiguous`] for another spelling of a name in a pointer.
pub(crate) fn agree_with_arguments(
    headers: &Headers,
    mapped: &[(Box<str>, Pointer)],
    arguments: Option<Json<'_>>,
    is_required: bool,
) -> Result<(), RpcFault> {
    for (name, pointer) in mapped {
        let name = [PARAMETER, name.as_bytes()].concat();
        let reads_as = |line: &[u8]| folded_name(line).eq(folded_name(&name));
        let lines = headers.as_long_as(&name).filter(|(line, _)| reads_as(line));
        let header = only(lines, |line| line.eq_ignore_ascii_case(&name))?;
        let argument = arguments.map(|arguments| arguments.at(pointer)).transpose()?.flatten();
        let argument = argument.filter(|argument| !(argument.is_null() || argument.is_object() || argument.is_array()));
        let agrees = match (header, argument) {
            (None, None) => true,
            (None, Some(_)) => !is_required,
            (Some(_), None) => false,
            (Some(header), Some(argument)) => decoded(header).is_some_and(|text| repeats(&text, argument)),
        };
        if !agrees {
            return Err(RpcFault::HeaderMismatch);
        }
    }
    Ok(())
}

/// Returns the value of a header, or `None` if it is missing. `name` is in lower case with hyphens.
fn line<'h>(headers: &'h Headers, name: &str) -> Result<Option<&'h [u8]>, RpcFault> {
    let lines = headers.as_long_as(name.as_bytes()).filter(|(line, _)| name_reads_as(line, name));
    only(lines, |line| name_is(line, name))
}

/// Returns the value of the only line, without the white space at its ends (OWS; RFC 9110, section 5.6.3).
fn only<'h>(
    mut lines: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    is_exact: impl Fn(&[u8]) -> bool,
) -> Result<Option<&'h [u8]>, RpcFault> {
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some((line, value)), None) if is_exact(line) => Ok(Some(trimmed(value))),
        _ => Err(RpcFault::HeaderMismatch),
    }
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Compares a header with the text in the body that it repeats.
fn compare(header: Option<&[u8]>, expected: Option<&str>, is_required: bool) -> Result<(), RpcFault> {
    let agrees = match (header, expected) {
        (None, expected) => !is_required || expected.is_none(),
        (Some(header), Some(expected)) => decoded(header).is_some_and(|text| text == expected),
        (Some(_), None) => false,
    };
    if agrees { Ok(()) } else { Err(RpcFault::HeaderMismatch) }
}

/// Returns the text that a header stands for: its value, or the text that the value encodes as `=?base64?TEXT?=`. Returns `None` for a
/// value that is not printable ASCII, which servers decode differently, and for any other beginning of an encoded text.
fn decoded(value: &[u8]) -> Option<Cow<'_, str>> {
    const BEGINNING: &str = "=?base64?";
    let text = str::from_utf8(value).ok().filter(|text| are_printable(text.as_bytes()))?;
    if !text.get(..BEGINNING.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(BEGINNING)) {
        return Some(Cow::Borrowed(text));
    }
    let encoded = text.strip_prefix(BEGINNING)?.strip_suffix("?=")?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned)
}

/// Returns whether a text is what a client writes for an argument. Numbers are compared by their value.
fn repeats(text: &str, argument: Json<'_>) -> bool {
    match (argument.string(), argument.number()) {
        (Some(string), _) => string == text,
        (None, Some(number)) => !text.contains(['e', 'E']) && number::compare(number, text) == Some(Ordering::Equal),
        (None, None) => argument.text() == text,
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
