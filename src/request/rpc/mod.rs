//! JSON-RPC 2.0 messages, and what MCP adds to them in headers.
//!
//! A body is one message or none: batches are rejected, and so are messages that two readers could read differently. Which operations are
//! allowed does not belong here.

pub(crate) mod headers;
mod id;
pub(crate) mod revision;

use std::borrow::Cow;

pub(crate) use id::RpcId;

use super::json::{Json, JsonFault};
use crate::reason::Reason;

/// A message that a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'t> {
    /// A message with an id, to which the server responds.
    Request(RpcRequest<'t>),
    /// A message without an id.
    Notification(RpcRequest<'t>),
    /// The client's response to a request of the server.
    Response,
}

/// A message with a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcRequest<'t> {
    /// The id. `None` for notifications.
    pub(crate) id: Option<RpcId<'t>>,
    pub(crate) method: Cow<'t, str>,
    /// The parameters: an object, an array, or absent.
    pub(crate) params: Option<Json<'t>>,
}

/// The reason why a message is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RpcFault {
    /// A name has another spelling that some decoders read as one that decides.
    Ambiguous,
    /// A header of MCP occurs twice, is missing, or does not agree with the body.
    HeaderMismatch,
    /// The document is not one JSON-RPC 2.0 message.
    Malformed,
    /// The message is in a revision of MCP that the endpoint does not list.
    Revision,
}

impl RpcFault {
    /// Returns the reason for the denial.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Ambiguous => Reason::JsonAmbiguous,
            Self::Malformed => Reason::RpcMalformed,
            Self::HeaderMismatch => Reason::RpcHeaderMismatch,
            Self::Revision => Reason::RpcRevision,
        }
    }
}

impl From<JsonFault> for RpcFault {
    /// A document was checked before it is read. Only its names can still be ambiguous.
    fn from(fault: JsonFault) -> Self {
        match fault {
            JsonFault::Ambiguous => Self::Ambiguous,
            JsonFault::Deep | JsonFault::Long | JsonFault::LongNumber | JsonFault::Malformed => Self::Malformed,
        }
    }
}

/// Reads a message from a document that was parsed with [`Names::Folded`](super::json::Names::Folded). Members that JSON-RPC does not
/// define are ignored, as servers ignore them.
///
/// # Errors
/// [`RpcFault::Ambiguous`] and [`RpcFault::Malformed`].
pub(crate) fn read(document: Json<'_>) -> Result<Message<'_>, RpcFault> {
    let version = document.member("jsonrpc")?.and_then(Json::string);
    if version.as_deref() != Some("2.0") {
        return Err(RpcFault::Malformed);
    }
    let (method, id, params) = (document.member("method")?, document.member("id")?, document.member("params")?);
    let (result, error) = (document.member("result")?, document.member("error")?);
    let Some(method) = method else {
        // An error may concern a message whose id could not be read (JSON-RPC 2.0, section 5).
        let has_id = id.is_some_and(|id| RpcId::read(id).is_some() || error.is_some() && id.is_null());
        let is_response = result.is_some() != error.is_some() && params.is_none() && has_id;
        return if is_response { Ok(Message::Response) } else { Err(RpcFault::Malformed) };
    };
    let method = method.string().ok_or(RpcFault::Malformed)?;
    let has_params = params.is_none_or(|params| params.is_object() || params.is_array());
    if result.is_some() || error.is_some() || !has_params {
        return Err(RpcFault::Malformed);
    }
    match id {
        None => Ok(Message::Notification(RpcRequest { id: None, method, params })),
        Some(id) => {
            let id = RpcId::read(id).ok_or(RpcFault::Malformed)?;
            Ok(Message::Request(RpcRequest { id: Some(id), method, params }))
        }
    }
}

impl<'t> RpcRequest<'t> {
    /// Returns the parameter with this name, which may be `null`. Returns `None` if there is none, or if the parameters are an array.
    ///
    /// # Errors
    /// [`RpcFault::Ambiguous`] if a parameter has another spelling of the name.
    pub(crate) fn param(&self, name: &str) -> Result<Option<Json<'t>>, RpcFault> {
        Ok(self.params.map(|params| params.member(name)).transpose()?.flatten())
    }

    /// Returns the text of the parameter with this name, or `None` if it is not text.
    ///
    /// # Errors
    /// Same as [`param`](Self::param).
    pub(crate) fn text_param(&self, name: &str) -> Result<Option<Cow<'t, str>>, RpcFault> {
        Ok(self.param(name)?.and_then(Json::string))
    }

    /// Returns the arguments of a tool or prompt, or `None` if they are absent or no object.
    ///
    /// # Errors
    /// Same as [`param`](Self::param).
    pub(crate) fn arguments(&self) -> Result<Option<Json<'t>>, RpcFault> {
        Ok(self.param("arguments")?.filter(|arguments| arguments.is_object()))
    }
}

#[cfg(test)]
mod tests;
