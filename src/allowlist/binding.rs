//! Bindings: a part of the request, and the known value that decides which values of it are accepted.
//!
//! How the two are compared does not belong here, but to the operators in `rule.rs`.

use std::borrow::Cow;

use serde_json::Value;

use super::table::{Capture, Found};
use crate::document::Operator;
use crate::identity::token::ClaimName;
use crate::reason::Reason;
use crate::request::Query;
use crate::request::headers::{Headers, name_is, name_reads_as};
use crate::request::json::pointer::Pointer;

/// A part of the request, and the known value with which it is compared.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// The part of the request.
    pub(crate) part: Bound,
    /// The comparison.
    pub(crate) operator: Operator,
    /// The source of the known value.
    pub(crate) side: Side,
    /// Both sides as the policy writes them, for explanations. Literals are written as JSON.
    pub(crate) written: (Box<str>, Box<str>),
}

/// The bound part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A variable of the path template, by its position.
    Path(usize),
    /// A query parameter, by its decoded name.
    Query(Box<str>),
    /// A header, by its name in lower case.
    Header(Box<str>),
    /// An argument of a tool or prompt, by a pointer into the arguments.
    Argument(Pointer),
    /// A parameter of a method, by a pointer into the parameters.
    Params(Pointer),
    /// A variable of a resource's URI, by its position.
    Uri(usize),
}

/// The source of the value with which a bound part is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// A claim of the token, by name or JSON pointer.
    Token(ClaimName),
    /// An attribute of the agent.
    Agent(Box<str>),
    /// The value itself, the same for every caller.
    Literal(Box<Value>),
}

impl Binding {
    /// Returns the value of the bound part of a request, or `None` if it is missing.
    ///
    /// # Errors
    /// [`Reason::BindingAmbiguous`] if two readers could read different values.
    pub(crate) fn value<'v>(
        &self,
        found: &Found<'_, 'v>,
        query: &Query<'v>,
        headers: &'v Headers,
    ) -> Result<Option<Cow<'v, str>>, Reason> {
        match &self.part {
            Bound::Path(position) => Ok(found.value(*position).map(Capture::decoded)),
            Bound::Query(name) => query.bound(name),
            Bound::Header(name) => Ok(bound_header(headers, name)?.map(Cow::Borrowed)),
            // Only operations bind these, and a missing part fits nothing.
            Bound::Argument(_) | Bound::Params(_) | Bound::Uri(_) => Ok(None),
        }
    }

    /// Returns the bound header, if a header is bound.
    pub(crate) fn header(&self) -> Option<&str> {
        match &self.part {
            Bound::Header(name) => Some(name),
            Bound::Argument(_) | Bound::Params(_) | Bound::Path(_) | Bound::Query(_) | Bound::Uri(_) => None,
        }
    }
}

/// Returns the value of a bound header, or `None` if it is missing.
///
/// # Errors
/// [`Reason::BindingAmbiguous`] if it occurs twice, is not UTF-8, or has a name that only some servers read as the bound one. Such a
/// header has a value for these servers only.
pub(crate) fn bound_header<'h>(headers: &'h Headers, name: &str) -> Result<Option<&'h str>, Reason> {
    let mut lines = headers.iter().filter(|(line, _)| name_reads_as(line, name));
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some((line, value)), None) if name_is(line, name) => {
            std::str::from_utf8(value).map(Some).map_err(|_| Reason::BindingAmbiguous)
        }
        _ => Err(Reason::BindingAmbiguous),
    }
}
