//! The response to one request: filters the lists of MCP servers in it.
//!
//! Headers of the response are changed before its body arrives, and the body is replaced chunk by chunk, so a gateway never holds a
//! response. The filter keeps a part of it, which counts toward what the worker may hold until it is forwarded or the stream ends. What
//! clients see is decided elsewhere.

use super::failure::Failure;
use super::gate::Gate;
use super::{Host, Map, completion};
use crate::decision::{ListRules, VisibleItems};
use crate::request::headers::{Headers, name_is};
use crate::response::filter::{AnswerFault, HeaderAction, ResponseFilter, ResponseHead};
use crate::response::list::Removed;

/// Headers about the bytes of the body as the upstream sent them. Without them, clients neither wait for missing bytes nor use a cached
/// list of somebody else.
const ABOUT_BYTES: [&str; 7] =
    ["accept-ranges", "content-digest", "content-length", "content-md5", "digest", "etag", "repr-digest"];

/// The filter of a response whose lists are not shown completely.
pub(super) struct FilteredResponse {
    rules: ListRules,
    filter: ResponseFilter,
    /// Whether chunks of the body must arrive.
    pub(super) awaits_body: bool,
}

/// What happens to a response after its headers.
pub(super) enum HeadersChecked {
    /// It is forwarded, and its body may still change.
    Forward,
    /// This JSON-RPC error is sent instead.
    Replace(Vec<u8>),
}

impl FilteredResponse {
    /// Returns the filter of the response to a request, or `None` if the policy no longer has the endpoint, which cannot happen.
    pub(super) fn new<H: Host>(rules: ListRules, gate: &Gate<H>) -> Option<Self> {
        let (_, rpc) = rules.endpoint(gate.policy())?;
        let filter = ResponseFilter::new(rpc.max_answer, rules.id(), rules.decision());
        let filter = filter.charging(gate.answer_reservation(&rules));
        Some(Self { rules, filter, awaits_body: false })
    }

    /// Handles the headers.
    pub(super) fn on_headers<H: Host>(
        &mut self,
        host: &H,
        gate: &Gate<H>,
        end_of_stream: bool,
    ) -> Result<HeadersChecked, Failure> {
        let headers = Headers::decode(host.header_pairs(Map::ResponseHeaders)?).map_err(|_| Failure::Headers)?;
        let (content_type, content_encoding) = (joined(&headers, "content-type"), joined(&headers, "content-encoding"));
        let head = ResponseHead {
            // Without a readable status, the answer counts as a success, which is filtered.
            status: value(&headers, ":status")
                .and_then(|status| str::from_utf8(status).ok()?.parse().ok())
                .unwrap_or(200),
            content_type: content_type.as_deref(),
            content_encoding: content_encoding.as_deref(),
            content_length: value(&headers, "content-length")
                .and_then(|length| str::from_utf8(length).ok()?.parse().ok()),
            end_of_stream,
        };
        Ok(match self.filter.on_headers(&head) {
            HeaderAction::Reject(fault) => {
                if let Some((endpoint, _)) = self.rules.endpoint(gate.policy()) {
                    gate.tell_answer_fault(endpoint, fault);
                }
                HeadersChecked::Replace(self.filter.error(fault))
            }
            HeaderAction::Untouched => HeadersChecked::Forward,
            HeaderAction::Replace => {
                for (name, _) in headers.iter().filter(|(name, _)| ABOUT_BYTES.iter().any(|own| name_is(name, own))) {
                    host.remove_header(Map::ResponseHeaders, name)?;
                }
                self.awaits_body = true;
                HeadersChecked::Forward
            }
        })
    }

    /// Handles a chunk of the body.
    pub(super) fn on_body<H: Host>(
        &mut self,
        host: &H,
        gate: &Gate<H>,
        size: usize,
        end_of_stream: bool,
    ) -> Result<(), Failure> {
        let chunk = if size == 0 { Vec::new() } else { host.response_body(size)? };
        if chunk.len() != size {
            return Err(Failure::Body);
        }
        self.awaits_body = false;
        let before = self.filter.fault();
        let (endpoint, rpc) = self.rules.endpoint(gate.policy()).ok_or(Failure::Body)?;
        let items = VisibleItems::new(&self.rules, rpc);
        let out = self.filter.on_chunk(&chunk, end_of_stream, &items);
        // The definitions are noted before the client can see the list.
        for (operation, changed) in items.seen() {
            gate.note_definition(endpoint, operation, changed);
        }
        if out != chunk {
            host.set_response_body(size, &out)?;
        }
        if let Some(fault) = self.filter.fault().filter(|_| before.is_none()) {
            gate.tell_answer_fault(endpoint, fault);
        }
        Ok(())
    }

    /// Handles the end of the stream. An answer with trailers has no last chunk, so only the end of the stream shows that it was not
    /// complete. The client got an empty body, because nothing can be added after the last byte. If the client, the upstream or a timeout
    /// cut the answer, the gateway itself reports that.
    pub(super) fn on_log<H: Host>(&self, host: &H, gate: &Gate<H>) {
        if self.filter.is_unfinished()
            && completion::is_complete(host, gate.features().numbers)
            && let Some((endpoint, _)) = self.rules.endpoint(gate.policy())
        {
            gate.tell_answer_fault(endpoint, AnswerFault::Unfinished);
        }
    }

    /// Returns what was removed from the lists.
    pub(super) fn removed(&self) -> &Removed {
        self.filter.removed()
    }
}

fn value<'h>(headers: &'h Headers, name: &str) -> Option<&'h [u8]> {
    headers.iter().find(|(own, _)| name_is(own, name)).map(|(_, value)| value)
}

/// Joins all lines of a header with commas. Returns `None` if there is no line.
fn joined(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers.iter().filter(|(own, _)| name_is(own, name)).map(|(_, value)| value).collect();
    (!lines.is_empty()).then(|| lines.join(&b","[..]))
}
