//! Bindings: a part of the request, and the known value that decides which values of it are accepted.
//!
//! How the two are compared does not belong here, but to the operators in `rule.rs`.

use std::borrow::Cow;

use serde_json::Value;

use super::rule;
use super::table::{Capture, Found};
use crate::document::Operator;
use crate::identity::token::ClaimName;
use crate::reason::Reason;
use crate::request::Query;
use crate::request::headers::{Headers, name_is, name_reads_as};
use crate::request::json::Json;
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
    /// A part of the JSON body.
    Body(Pointer),
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

/// The value of a bound part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BoundValue<'v> {
    /// Text: a value outside the body, or a string in the body, decoded.
    Text(Cow<'v, str>),
    /// A number in the body, as received.
    Number(&'v str),
    /// Another value in the body, which fits nothing. What it is, for explanations.
    Other(&'static str),
}

impl Binding {
    /// Returns the value of the bound part of a request, or `None` if it is missing. A part of the body is never there.
    ///
    /// # Errors
    /// [`Reason::BindingAmbiguous`] if two readers could read different values.
    pub(crate) fn value<'v>(
        &self,
        found: &Found<'_, 'v>,
        query: &Query<'v>,
        headers: &'v Headers,
    ) -> Result<Option<BoundValue<'v>>, Reason> {
        let text = match &self.part {
            Bound::Path(position) => found.value(*position).map(Capture::decoded),
            Bound::Query(name) => query.bound(name)?,
            Bound::Header(name) => bound_header(headers, name)?.map(Cow::Borrowed),
            Bound::Body(_) => None,
        };
        Ok(text.map(BoundValue::Text))
    }

    /// Returns the value of the bound part of a JSON body, or `None` if it is missing. A part outside the body is never there.
    ///
    /// # Errors
    /// [`Reason::JsonAmbiguous`] if a name on the way to the part is spelled differently than in the pointer.
    pub(crate) fn value_in<'v>(&self, body: Json<'v>) -> Result<Option<BoundValue<'v>>, Reason> {
        match &self.part {
            Bound::Body(pointer) => {
                let part = body.at(pointer).map_err(|_| Reason::JsonAmbiguous)?;
                Ok(part.map(BoundValue::from))
            }
            Bound::Path(_) | Bound::Query(_) | Bound::Header(_) => Ok(None),
        }
    }

    /// Returns the bound header, if a header is bound.
    pub(crate) fn header(&self) -> Option<&str> {
        match &self.part {
            Bound::Header(name) => Some(name),
            Bound::Path(_) | Bound::Query(_) | Bound::Body(_) => None,
        }
    }
}

impl<'v> From<Json<'v>> for BoundValue<'v> {
    fn from(value: Json<'v>) -> Self {
        match (value.string(), value.number()) {
            (Some(text), _) => Self::Text(text),
            (None, Some(number)) => Self::Number(number),
            (None, None) if value.is_object() => Self::Other("an object"),
            (None, None) if value.is_array() => Self::Other("an array"),
            (None, None) if value.is_null() => Self::Other("null, not text"),
            (None, None) => Self::Other("true or false, not text"),
        }
    }
}

impl BoundValue<'_> {
    /// Returns whether the value fits the fact.
    pub(crate) fn fits(&self, operator: Operator, fact: &Value) -> bool {
        match self {
            Self::Text(text) => rule::holds(operator, fact, text),
            Self::Number(number) => rule::number_holds(operator, fact, number),
            Self::Other(_) => false,
        }
    }

    /// Returns the value for explanations.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number,
            Self::Other(what) => what,
        }
    }

    /// Returns the form that both sides must have if the operator does not hold because one of them does not have it, for explanations.
    pub(crate) fn misfit(&self, operator: Operator, fact: Option<&Value>) -> Option<&'static str> {
        match self {
            Self::Text(text) => rule::misfit(operator, fact, text),
            Self::Number(number) => rule::number_misfit(operator, fact, number),
            Self::Other(_) => Some(rule::form(operator)),
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
