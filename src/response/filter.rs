//! One response, from its headers to its last chunk.
//!
//! The adapter passes what it receives and forwards what it gets back. Whatever happens in between, an item that was not checked is not
//! among it: the state in which nothing is forwarded is the first one, and that after each end.

use super::events::{Change, EventStream, Lost, escape_line_ends};
use super::held::Held;
use super::list::{self, Filtered, Listed, Removed};
use super::object_end::{ObjectEnd, Progress, is_blank};
use crate::quota::held::Reservation;
use crate::request::incoming::DecisionId;

/// The headers of a response that decide how its body is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseHead<'h> {
    /// The status code.
    pub(crate) status: u16,
    /// `Content-Type`. If there are several lines, all of them, joined with commas.
    pub(crate) content_type: Option<&'h [u8]>,
    /// `Content-Encoding`. If there are several lines, all of them, joined with commas.
    pub(crate) content_encoding: Option<&'h [u8]>,
    /// `Content-Length` in bytes, if known.
    pub(crate) content_length: Option<u64>,
    /// Whether the response has no body.
    pub(crate) end_of_stream: bool,
}

/// What to do with the headers of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderAction {
    /// Send [`ResponseFilter::error`] instead of the response.
    Reject(AnswerFault),
    /// Remove `Content-Length`, `ETag` and other headers about the bytes of the body, and pass all chunks to the filter.
    Replace,
    /// Forward them as they are. Chunks, if there are any, are passed to the filter.
    Untouched,
}

/// The reason why an answer, or an event of it, is replaced by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerFault {
    /// It has a content coding.
    Coded,
    /// It has a media type that MCP does not use, or whose header clients could read as that of another one.
    MediaType,
    /// The worker has no room to keep it until it is complete.
    NotHeld,
    /// It is longer than `max_answer`.
    TooLarge,
    /// It ended before its JSON-RPC message did, and trailers followed, so nothing could be sent instead of it.
    #[cfg_attr(
        not(any(test, target_arch = "wasm32", feature = "adapter")),
        expect(dead_code, reason = "only adapters notice it")
    )]
    Unfinished,
    /// It is not one JSON-RPC message that all readers read alike.
    Unreadable,
}

impl AnswerFault {
    /// Returns the code in the error's `data`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Coded | Self::MediaType | Self::Unfinished | Self::Unreadable => "answer_unreadable",
            Self::NotHeld => "answer_not_held",
            Self::TooLarge => "answer_too_large",
        }
    }

    /// Returns what is wrong, for the client and the gateway's log.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Coded => "the server's answer has a content coding, so it cannot be checked",
            Self::MediaType => "the server's answer is neither JSON nor an event stream",
            Self::NotHeld => "the gateway has no room to hold the server's answer until it is checked; try again later",
            Self::TooLarge => "the server's answer is too large to be checked",
            Self::Unfinished => {
                "the server's answer ended before its JSON-RPC message did, so nothing of it was forwarded"
            }
            Self::Unreadable => "the server's answer is not one unambiguous JSON-RPC message",
        }
    }
}

/// The filter of one response.
///
/// It keeps at most `max_answer` bytes between chunks, and charges them to its reservation. What it returns for a chunk is at most
/// `max_answer` bytes longer than three times the chunk, except for one error. It is that long only if strings contain characters at which some readers end lines.
#[derive(Debug)]
pub(crate) struct ResponseFilter {
    body: Body,
    answers: Answers,
    /// The charge of the body, before its headers are known.
    charge: Option<Reservation>,
}

/// How the body is read.
#[derive(Debug)]
enum Body {
    /// Nothing is forwarded.
    Discarded,
    /// It cannot contain a list that a client would read.
    Forwarded,
    Events(EventStream),
    /// An object that is not complete.
    Json(Held, ObjectEnd),
    /// The object was forwarded, or another one instead of it. Only white space may follow.
    JsonEnded {
        /// Whether the object is that of the server. The white space after it is forwarded then too.
        is_untouched: bool,
    },
}

/// What all messages of a response share.
#[derive(Debug)]
struct Answers {
    /// The JSON text of the request's id.
    id: Option<Box<str>>,
    /// The decision about the request.
    decision: DecisionId,
    max_answer: usize,
    removed: Removed,
    fault: Option<AnswerFault>,
}

impl ResponseFilter {
    /// Creates the filter of a response to a request with this id, as JSON text. `max_answer` limits an answer in JSON, and each event of a
    /// stream, in bytes.
    pub(crate) fn new(max_answer: usize, id: Option<&str>, decision: DecisionId) -> Self {
        let answers =
            Answers { id: id.map(Into::into), decision, max_answer, removed: Removed::default(), fault: None };
        Self { body: Body::Discarded, answers, charge: None }
    }

    /// Charges the reservation with the bytes that the filter keeps.
    pub(crate) fn charging(self, reservation: Reservation) -> Self {
        Self { charge: Some(reservation), ..self }
    }

    /// Decides by the headers how the body is read.
    ///
    /// Servers must answer requests with JSON or an event stream. Another successful answer is rejected if the request expects one. If it
    /// does not, like a notification, the body is discarded, because clients ignore it. The text of an unsuccessful one is shown to users,
    /// so it is forwarded.
    pub(crate) fn on_headers(&mut self, head: &ResponseHead<'_>) -> HeaderAction {
        self.body = Body::Discarded;
        // A body after 204 or 304 would not be part of the response (RFC 9110, section 6.4.1).
        if head.end_of_stream || matches!(head.status, 204 | 304) {
            return HeaderAction::Untouched;
        }
        let max_answer = self.answers.max_answer;
        let media_type = MediaType::read(head.content_type.unwrap_or_default());
        if media_type == MediaType::Other && !matches!(head.status, 200..300) {
            self.body = Body::Forwarded;
            return HeaderAction::Untouched;
        }
        let is_coded = head.content_encoding.is_some_and(|it| !it.trim_ascii().eq_ignore_ascii_case(b"identity"));
        let is_long = head.content_length.is_some_and(|length| length > max_answer as u64);
        let fault = match media_type {
            _ if is_coded => AnswerFault::Coded,
            MediaType::Json if is_long => AnswerFault::TooLarge,
            MediaType::Json => {
                self.body = Body::Json(Held::new(max_answer, self.charge.take()), ObjectEnd::default());
                return HeaderAction::Replace;
            }
            MediaType::Events => {
                self.body = Body::Events(EventStream::new(max_answer, self.charge.take()));
                return HeaderAction::Replace;
            }
            MediaType::Other if self.answers.id.is_none() => return HeaderAction::Replace,
            MediaType::Other | MediaType::Unclear => AnswerFault::MediaType,
        };
        self.answers.fault = Some(fault);
        HeaderAction::Reject(fault)
    }

    /// Receives a chunk of the body. Returns what is forwarded instead of it. `end` states that no chunk follows.
    ///
    /// An answer is forwarded with the chunk that completes it, because the last chunk of a body with trailers does not have `end`. Of what
    /// follows, only white space is forwarded, after an answer that is not changed. If other bytes follow in the same chunk, an error replaces
    /// the answer.
    pub(crate) fn on_chunk(&mut self, chunk: &[u8], end: bool, listed: &dyn Listed) -> Vec<u8> {
        let Self { body, answers, .. } = self;
        let mut out = Vec::new();
        let mut next = end.then_some(Body::Discarded);
        match body {
            Body::Discarded => {}
            Body::Forwarded => out.extend_from_slice(chunk),
            Body::Events(events) => events.push(chunk, &mut |data| answers.check_event(data, listed), &mut out),
            Body::Json(held, object) => {
                let progress = object.read(chunk);
                let count = match progress {
                    Progress::Ended(count) | Progress::Other(count) => count,
                    Progress::Unfinished => chunk.len(),
                };
                let (piece, after) = chunk.split_at_checked(count).unwrap_or((chunk, &[]));
                let fault = if held.push(piece) {
                    match progress {
                        Progress::Ended(_) if is_blank(after) => {
                            let is_untouched;
                            (out, is_untouched) = answers.check_document(held.take(), listed);
                            if is_untouched {
                                out.extend_from_slice(after);
                            }
                            next = Some(if end { Body::Discarded } else { Body::JsonEnded { is_untouched } });
                            None
                        }
                        Progress::Ended(_) | Progress::Other(_) => Some(AnswerFault::Unreadable),
                        // An answer that has no body, such as that to a notification.
                        Progress::Unfinished if end && is_blank(held.bytes()) => None,
                        Progress::Unfinished if end => Some(AnswerFault::Unreadable),
                        Progress::Unfinished => (!held.keep()).then_some(AnswerFault::NotHeld),
                    }
                } else {
                    Some(AnswerFault::TooLarge)
                };
                if let Some(fault) = fault {
                    out = answers.fail(fault);
                    next = Some(Body::Discarded);
                }
            }
            Body::JsonEnded { is_untouched } => {
                if !is_blank(chunk) {
                    answers.fault.get_or_insert(AnswerFault::Unreadable);
                    next = Some(Body::Discarded);
                } else if *is_untouched {
                    out = chunk.to_vec();
                }
            }
        }
        if let Some(next) = next {
            *body = next;
        }
        out
    }

    /// Returns the JSON-RPC error that replaces the answer.
    pub(crate) fn error(&self, fault: AnswerFault) -> Vec<u8> {
        self.answers.error(fault)
    }

    /// Returns whether a part of a JSON answer is kept that was not forwarded. A body with trailers has no last chunk, so after the end of the
    /// stream only this shows that the answer was not complete.
    #[cfg_attr(
        not(any(test, target_arch = "wasm32", feature = "adapter")),
        expect(dead_code, reason = "only adapters notice it")
    )]
    pub(crate) fn is_unfinished(&self) -> bool {
        matches!(&self.body, Body::Json(held, _) if !is_blank(held.bytes()))
    }

    /// Returns what was removed from lists.
    pub(crate) fn removed(&self) -> &Removed {
        &self.answers.removed
    }

    /// Returns the first reason why the answer, or an event of it, was replaced or removed.
    pub(crate) fn fault(&self) -> Option<AnswerFault> {
        self.answers.fault
    }
}

impl Answers {
    /// Returns what is forwarded instead of a JSON answer.
    fn check_document(&mut self, document: Vec<u8>, listed: &dyn Listed) -> (Vec<u8>, bool) {
        match list::filter(&document, self.max_answer, listed, &mut self.removed) {
            Filtered::Changed(text) => (text, false),
            Filtered::Unreadable => (self.fail(AnswerFault::Unreadable), false),
            Filtered::Untouched => (document, true),
        }
    }

    /// Decides about the data of an event.
    fn check_event(&mut self, data: Result<&[u8], Lost>, listed: &dyn Listed) -> Change {
        let data = match data {
            Ok(data) => data,
            Err(Lost::NoRoom) => return self.fail_event(AnswerFault::NotHeld),
            Err(Lost::TooLong) => return self.fail_event(AnswerFault::TooLarge),
        };
        if data.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n')) {
            // Servers send an event with an id and empty data, from which clients resume the stream.
            return Change::Keep;
        }
        let filtered = list::filter(data, self.max_answer, listed, &mut self.removed);
        let text = match &filtered {
            Filtered::Changed(text) => text.as_slice(),
            Filtered::Unreadable => return self.fail_event(AnswerFault::Unreadable),
            Filtered::Untouched => data,
        };
        match (str::from_utf8(text).ok().and_then(escape_line_ends), filtered) {
            (Some(escaped), _) if escaped.len() > self.max_answer => self.fail_event(AnswerFault::TooLarge),
            (Some(escaped), _) => Change::ReplaceData(escaped.into_bytes()),
            (None, Filtered::Changed(text)) => Change::ReplaceData(text),
            (None, _) => Change::Keep,
        }
    }

    /// Replaces an event by an error, if the request has an id. Only one event is replaced, because a request has one answer, and because
    /// many errors would be much longer than the events that cause them. The others lose their data.
    fn fail_event(&mut self, fault: AnswerFault) -> Change {
        let is_first = self.fault.is_none();
        let error = self.fail(fault);
        if is_first && self.id.is_some() { Change::ReplaceData(error) } else { Change::RemoveData }
    }

    /// Records a fault. Returns the error that replaces the answer.
    fn fail(&mut self, fault: AnswerFault) -> Vec<u8> {
        self.fault.get_or_insert(fault);
        self.error(fault)
    }

    /// Returns the error, whose `data` has what those of denials have. Its status is that of an unusable answer (RFC 9110, section 15.6.3).
    fn error(&self, fault: AnswerFault) -> Vec<u8> {
        let (before_id, id) = self.id.as_deref().map_or(("", ""), |id| (",\"id\":", id));
        let (message, code) = (fault.message(), fault.code());
        self.decision.with_text(|decision| {
            let pieces = [
                "{\"jsonrpc\":\"2.0\"",
                before_id,
                id,
                ",\"error\":{\"code\":-32603,\"message\":\"",
                message,
                "\",\"data\":{\"code\":\"",
                code,
                "\",\"status\":502,\"decision\":\"",
                decision,
                "\"}}}",
            ];
            pieces.concat().into_bytes()
        })
    }
}

/// How clients read a body by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaType {
    Events,
    Json,
    /// No client reads it as a message.
    Other,
    /// Some clients could read it as JSON or an event stream, because they look for the beginning of the header or for any part of it.
    Unclear,
}

impl MediaType {
    fn read(header: &[u8]) -> Self {
        const JSON: &[u8] = b"application/json";
        const EVENTS: &[u8] = b"text/event-stream";
        let mut parts = header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let essence = parts.next().unwrap_or_default();
        let is_plain = parts.all(|parameter| {
            [b"charset=utf-8".as_slice(), b"charset=\"utf-8\""].iter().any(|own| parameter.eq_ignore_ascii_case(own))
        });
        let contains = |own: &[u8]| header.windows(own.len()).any(|part| part.eq_ignore_ascii_case(own));
        if is_plain && essence.eq_ignore_ascii_case(JSON) {
            Self::Json
        } else if is_plain && essence.eq_ignore_ascii_case(EVENTS) {
            Self::Events
        } else if contains(JSON) || contains(EVENTS) {
            Self::Unclear
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
