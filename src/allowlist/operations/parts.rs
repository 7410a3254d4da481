//! The parts of a message that bindings of operations compare.

use std::borrow::Cow;

use serde_json::Value;

use super::Operation;
use crate::allowlist::binding::{Binding, Bound, Side};
use crate::allowlist::rule;
use crate::reason::Reason;
use crate::request::json::Json;
use crate::request::json::pointer::Pointer;

/// The parts of a message that concern one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts<'t> {
    /// The arguments of a tool or prompt.
    pub(crate) arguments: Option<Json<'t>>,
    /// The parameters of a method.
    pub(crate) params: Option<Json<'t>>,
    /// The values of the variables of a resource's URI, decoded, from left to right.
    pub(crate) captures: Vec<Box<str>>,
}

impl Parts<'_> {
    /// Returns the value of a bound part, or `None` if it is missing or has no single text: text and numbers have one, and `true`, `false`,
    /// `null`, objects and arrays have none.
    ///
    /// # Errors
    /// [`Reason::BindingAmbiguous`] if the message has another spelling of a name in the pointer.
    pub(crate) fn value(&self, binding: &Binding) -> Result<Option<Cow<'_, str>>, Reason> {
        match &binding.part {
            Bound::Argument(pointer) => at(self.arguments, pointer),
            Bound::Params(pointer) => at(self.params, pointer),
            Bound::Uri(position) => Ok(self.captures.get(*position).map(|value| Cow::Borrowed(&**value))),
            // Bindings of the endpoint, which the headers decide.
            Bound::Header(_) | Bound::Path(_) | Bound::Query(_) => Ok(None),
        }
    }
}

fn at<'t>(part: Option<Json<'t>>, pointer: &Pointer) -> Result<Option<Cow<'t, str>>, Reason> {
    let Some(part) = part else { return Ok(None) };
    let value = part.at(pointer).map_err(|_| Reason::BindingAmbiguous)?;
    Ok(value.and_then(|value| value.string().or_else(|| value.number().map(Cow::Borrowed))))
}

impl Binding {
    /// Checks the value of the bound part against the known value.
    ///
    /// # Errors
    /// [`Reason::BindingMismatch`] if one of them is missing, or the operator does not hold.
    pub(crate) fn check(&self, value: Option<&str>, fact: Option<&Value>) -> Result<(), Reason> {
        match (value, fact) {
            (Some(value), Some(fact)) if rule::holds(self.operator, fact, value) => Ok(()),
            _ => Err(Reason::BindingMismatch),
        }
    }
}

impl Operation {
    /// Checks all bindings of the operation. `known` returns the known value of a side for the caller.
    ///
    /// # Errors
    /// [`Reason::BindingAmbiguous`] or [`Reason::BindingMismatch`] of the first binding that does not hold.
    pub(crate) fn check(&self, parts: &Parts<'_>, known: impl Fn(&Side) -> Option<&Value>) -> Result<(), Reason> {
        self.bindings.iter().try_for_each(|binding| {
            let value = parts.value(binding)?;
            binding.check(value.as_deref(), known(&binding.side))
        })
    }
}
