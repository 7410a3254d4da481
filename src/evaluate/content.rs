//! 6. Checks the content of a body where it decides: its media type, its JSON, and the parts of it that are bound to the caller.
//!
//! The media type and the announced length are checked before the body is held. How JSON is read does not belong here.

use super::{CheckDetails, Denied, Evaluation};
use crate::decision::Rule;
use crate::decision::evidence::{ContentAllowed, OperationAllowed};
use crate::decision::trace::Check;
use crate::policy::{Content, Endpoint};
use crate::reason::Reason;
use crate::request::headers::{Headers, name_is, name_reads_as};
use crate::request::json::{Json, JsonBounds, JsonFault, Names};

/// The maximum nesting depth of a body.
const DEPTH: u8 = 64;

/// What the body must contain, after the headers were checked.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExpectedContent<'a> {
    /// Anything.
    Any,
    /// JSON, or nothing at all.
    Json(&'a Content),
    /// No body.
    Nothing,
    /// Nothing is read, because a check of the headers denied the request and the denial is only observed.
    Unread,
}

impl<'a> Evaluation<'a, '_> {
    /// Checks by the headers whether the body can be the JSON that the endpoint requires.
    pub(super) fn content_form(&mut self, endpoint: &'a Endpoint) -> Result<ExpectedContent<'a>, Denied> {
        let Some(content) = &endpoint.content else { return Ok(ExpectedContent::Any) };
        // In enforcement, nothing of the request would be kept.
        if self.observing && !self.facts.denials.is_empty() {
            return Ok(ExpectedContent::Unread);
        }
        if let Some(rpc) = &endpoint.rpc {
            match self.rpc_form(endpoint, rpc, content)? {
                ExpectedContent::Json(_) => {}
                other => return Ok(other),
            }
        }
        // Without a body, only the bound parts are missing.
        if self.facts.request.end_of_stream {
            return Ok(ExpectedContent::Json(content));
        }
        let head = &self.facts.head;
        let is_json = head.content_type.only().is_some_and(is_json_in_utf8);
        let reason = if !is_json || has_coding(self.facts.request.headers) {
            Reason::JsonMediaType
        } else if head.length().is_some_and(|length| length > content.most_bytes()) {
            Reason::JsonTooLarge
        } else {
            return Ok(ExpectedContent::Json(content));
        };
        self.reject_content(endpoint, reason)?;
        Ok(ExpectedContent::Unread)
    }

    /// Checks the content of the body, if it is known, and the operations that it asks for.
    pub(super) fn content(
        &mut self,
        endpoint: &'a Endpoint,
        expected: ExpectedContent<'a>,
        body: Option<&[u8]>,
    ) -> Result<(Option<ContentAllowed>, Option<OperationAllowed>), Denied> {
        let content = match expected {
            ExpectedContent::Any | ExpectedContent::Nothing => {
                let allowed = body.is_some() || matches!(expected, ExpectedContent::Any);
                let operation = self.operation(endpoint, expected, None)?;
                return Ok((allowed.then(ContentAllowed::assertion), operation));
            }
            ExpectedContent::Json(content) => content,
            ExpectedContent::Unread => return Ok((None, None)),
        };
        let Some(body) = body else { return Ok((None, None)) };
        let mut json = None;
        if !body.is_empty() {
            let bounds = JsonBounds { bytes: content.max_json, depth: DEPTH, names: Names::Folded };
            let parsed = Json::parse(body, bounds).map_err(reason);
            let rule = content_rule(endpoint, parsed.as_ref().err());
            json = self.record_check(Check::Content, rule, parsed, |_| vec![("bytes", body.len().to_string())])?;
            if json.is_none() {
                return Ok((None, None));
            }
        }
        let mut all_fit = true;
        for binding in &content.bindings {
            let value = json.map_or(Ok(None), |json| binding.value_in(json));
            let rule = Rule::Binding(endpoint.position, &binding.written.0);
            all_fit &= self.binding(rule, binding, value)?;
        }
        let operation = self.operation(endpoint, expected, json)?;
        Ok((all_fit.then(ContentAllowed::assertion), operation))
    }

    /// Records that the body cannot be the JSON that the endpoint requires.
    pub(super) fn reject_content(&mut self, endpoint: &'a Endpoint, reason: Reason) -> Result<(), Denied> {
        let mut details = CheckDetails::new();
        if self.context.trace.is_some() {
            match (reason, &endpoint.content) {
                (Reason::JsonMediaType, _) => details.push(("expected", MEDIA_TYPE.to_owned())),
                (Reason::JsonTooLarge, Some(content)) => details.push(("most bytes", content.max_json.to_string())),
                _ => {}
            }
        }
        let rule = content_rule(endpoint, Some(&reason));
        self.record_check_with_details(Check::Content, rule, Err::<(), _>(reason), details)?;
        Ok(())
    }
}

/// The accepted headers, for explanations.
const MEDIA_TYPE: &str =
    "one `Content-Type: application/json`, alone or with `charset=utf-8`, and no `Content-Encoding` but `identity`";

fn content_rule<'a>(endpoint: &Endpoint, refused: Option<&Reason>) -> Rule<'a> {
    match refused {
        Some(Reason::JsonTooLarge) => Rule::Endpoint(endpoint.position, "max_json"),
        // Its messages are JSON, whether or not a part of the body is bound.
        _ if endpoint.rpc.is_some() => Rule::Endpoint(endpoint.position, "rpc"),
        _ => Rule::Endpoint(endpoint.position, "bind"),
    }
}

fn reason(fault: JsonFault) -> Reason {
    match fault {
        JsonFault::Ambiguous => Reason::JsonAmbiguous,
        JsonFault::Deep | JsonFault::LongNumber => Reason::JsonTooDeep,
        JsonFault::Long => Reason::JsonTooLarge,
        JsonFault::Malformed => Reason::JsonMalformed,
    }
}

/// Returns whether a media type is `application/json` (RFC 8259, section 11), without parameters or with `charset=utf-8` alone. Another
/// parameter could hide a charset that only some parsers find.
fn is_json_in_utf8(value: &[u8]) -> bool {
    fn trim(text: &str) -> &str {
        text.trim_matches([' ', '\t'])
    }
    let Ok(text) = str::from_utf8(value) else { return false };
    let (kind, parameter) = text.split_once(';').map_or((text, None), |(kind, rest)| (kind, Some(trim(rest))));
    let is_utf8 = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            name.eq_ignore_ascii_case("charset") && unquoted.eq_ignore_ascii_case("utf-8")
        })
    };
    trim(kind).eq_ignore_ascii_case("application/json") && parameter.is_none_or(is_utf8)
}

/// Returns whether the body is, or may be, encoded in another way than JSON (RFC 9110, section 8.4). Gateways join two lines to a list, so
/// a second one is rejected in any case.
fn has_coding(headers: &Headers) -> bool {
    const NAME: &str = "content-encoding";
    // Some servers read `Content_Encoding` as the same header.
    let mut lines = headers.as_long_as(NAME.as_bytes()).filter(|(name, _)| name_reads_as(name, NAME));
    match (lines.next(), lines.next()) {
        (None, _) => false,
        (Some((name, value)), None) => !name_is(name, NAME) || !value.eq_ignore_ascii_case(b"identity"),
        (Some(_), Some(_)) => true,
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
