//! The parts of a message that bindings of operations compare.

use std::borrow::Cow;

use crate::allowlist::binding::{Binding, Bound, BoundValue};
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
    /// Returns the value of a bound part, or `None` if it is missing.
    ///
    /// # Errors
    /// [`Reason::JsonAmbiguous`] if the message has another spelling of a name in the pointer.
    pub(crate) fn value(&self, binding: &Binding) -> Result<Option<BoundValue<'_>>, Reason> {
        match &binding.part {
            Bound::Argument(pointer) => at(self.arguments, pointer),
            Bound::Params(pointer) => at(self.params, pointer),
            Bound::Uri(position) => {
                Ok(self.captures.get(*position).map(|value| BoundValue::Text(Cow::Borrowed(&**value))))
            }
            // The endpoint binds these, and a missing part fits nothing.
            Bound::Body(_) | Bound::Header(_) | Bound::Path(_) | Bound::Query(_) => Ok(None),
        }
    }
}

fn at<'t>(part: Option<Json<'t>>, pointer: &Pointer) -> Result<Option<BoundValue<'t>>, Reason> {
    let Some(part) = part else { return Ok(None) };
    Ok(part.at(pointer).map_err(|_| Reason::JsonAmbiguous)?.map(BoundValue::from))
}
