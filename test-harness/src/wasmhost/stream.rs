//! The way of one request through a VM: how the gateway shows its parts to the module, and the results.
//!
//! Differences between gateways are data and belong in `profile`. Streams that stay open while the host does other work are in `open`,
//! which calls the steps of this module.

use super::head;
use super::pairs::Pairs;
use super::profile::Body;
use super::request::{Outcome, Request, Verdict};
use super::state::{ForwardedBy, Stream};
use super::vm::{FUEL, Root, Vm};

/// The ABI's number for a callback result that lets the stream continue.
const CONTINUE: u32 = 0;
/// The suffix of the record's name, wherever the gateway stores it.
const RECORD: &[u8] = b"callgate";

impl Vm {
    /// Lets the first root context decide a request.
    pub fn request(&mut self, request: &Request) -> Outcome {
        self.request_on(self.first_root(), request)
    }

    /// Lets a root context decide a request.
    pub fn request_on(&mut self, root: Root, request: &Request) -> Outcome {
        let has_body = request.body.as_ref().is_some_and(|parts| parts.iter().any(|part| !part.is_empty()));
        let received = head::received(self.store.data().quirks(), &request.headers, has_body);
        let answered = received.as_ref().err().copied();
        let request = &Request { headers: received.unwrap_or_default(), ..request.clone() };
        let stream = self.arrive(root, request);
        let mut gone = None;
        let verdict = match answered {
            Some(status) => Verdict::Server(status),
            None => self.decide(root, stream, request, &mut gone).unwrap_or_else(Verdict::Trap),
        };
        self.outcome(verdict, gone)
    }

    /// Starts a stream for a request whose head the host has read. Returns its number.
    pub(super) fn arrive(&mut self, root: Root, request: &Request) -> u32 {
        self.begin(request.fault.clone());
        let number = self.context_id();
        let state = self.store.data_mut();
        state.clock = request.now;
        let quirks = state.quirks();
        let (headers, properties) = (head::shown(quirks, request), head::properties(quirks, request));
        let stream = Stream { number, root: root.0, headers: Some(headers), properties, ..Stream::default() };
        state.stream = Some(stream);
        number
    }

    /// Returns the observable results of a request that has ended.
    pub(super) fn outcome(&mut self, verdict: Verdict, gone: Option<Pairs>) -> Outcome {
        let fuel = self.fuel();
        let state = self.store.data_mut();
        let stream = state.stream.take().unwrap_or_default();
        let record = stream.written.iter().find(|(name, _)| name.ends_with(RECORD)).map(|(_, record)| {
            serde_json::from_slice(record).unwrap_or_else(|_| String::from_utf8_lossy(record).into_owned().into())
        });
        Outcome {
            verdict,
            gone,
            trailers: stream.trailers,
            answer: stream.answer,
            answer_body: stream.answer_body,
            record,
            logs: std::mem::take(&mut state.logs),
            calls: std::mem::take(&mut state.calls),
            fuel,
            fuel_at: std::mem::take(&mut state.fuel_left).into_iter().map(|left| FUEL - left).collect(),
        }
    }

    fn decide(
        &mut self,
        root: Root,
        stream: u32,
        request: &Request,
        gone: &mut Option<Pairs>,
    ) -> Result<Verdict, String> {
        self.callback::<_, ()>("proxy_on_context_create", (stream, root.0))?;
        let verdict = self.decode(stream, request)?;
        self.end(stream, request, verdict, gone)
    }

    /// Ends a stream: its response passes through the module, which then learns that the stream is over. The calls of the stream end
    /// with it.
    pub(super) fn end(
        &mut self,
        stream: u32,
        request: &Request,
        verdict: Verdict,
        gone: &mut Option<Pairs>,
    ) -> Result<Verdict, String> {
        let forwarded = matches!(verdict, Verdict::Continue { .. });
        let (mut lines, mut hidden) = (None, Pairs::new());
        self.with_stream(|stream| {
            lines = stream.forwarded.take();
            hidden = std::mem::take(&mut stream.hidden);
            stream.trailers = stream.trailers.take().filter(|_| forwarded);
        });
        *gone = lines.map(|mut lines| {
            lines.extend(hidden);
            head::forwarded(self.store.data().quirks(), request, lines)
        });
        // Envoy sends a local reply through the filters as well.
        let status = if let Verdict::Reply(reply) = &verdict { reply.status } else { 200 };
        if verdict != Verdict::Hang {
            let mut headers = vec![(b":status".to_vec(), status.to_string().into_bytes())];
            if forwarded {
                headers.extend(request.answer.iter().cloned());
            }
            let lines = u32::try_from(headers.len()).unwrap_or(u32::MAX);
            self.with_stream(|stream| stream.response_headers = Some(headers));
            let chunks = if forwarded { &request.answer_body[..] } else { &[] };
            let ends = u32::from(chunks.is_empty());
            self.callback::<_, u32>("proxy_on_response_headers", (stream, lines, ends))?;
            let mut replied = false;
            self.with_stream(|stream| {
                let headers = stream.response_headers.take();
                stream.answer = headers.filter(|_| forwarded);
                replied = stream.replied;
            });
            for (index, chunk) in chunks.iter().enumerate() {
                if replied {
                    break;
                }
                if let Some(at) = request.answer_at.filter(|_| index + 1 == chunks.len()) {
                    self.store.data_mut().clock = at;
                }
                let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                let end = u32::from(index + 1 == chunks.len() && !request.answer_trailers);
                self.with_stream(|stream| stream.response_body = Some(chunk.clone()));
                self.callback::<_, u32>("proxy_on_response_body", (stream, size, end))?;
                self.with_stream(|stream| {
                    let chunk = stream.response_body.take();
                    // The headers of the response were sent, so a local reply resets the stream.
                    replied = stream.replied;
                    stream.answer_body.extend(chunk.filter(|_| !replied));
                });
            }
        }
        self.callback::<_, u32>("proxy_on_done", stream)?;
        self.callback::<_, ()>("proxy_on_log", stream)?;
        self.callback::<_, ()>("proxy_on_delete", stream)?;
        self.store.data_mut().http_calls.retain(|_, call| call.context != stream);
        Ok(match verdict {
            Verdict::Continue { .. } => Verdict::Continue { headers: gone.take().unwrap_or_default() },
            other => other,
        })
    }

    /// Shows the request to the module, as far as the gateway does, until the module answers or everything may be forwarded.
    fn decode(&mut self, stream: u32, request: &Request) -> Result<Verdict, String> {
        let quirks = self.store.data().quirks();
        if let Some(reply) = self.show_head(stream, request)? {
            return Ok(reply);
        }
        if self.holds() && quirks.body != Body::WithTheHead {
            return Ok(Verdict::Hang);
        }
        if let Some(reply) = self.show_body(stream, request)? {
            return Ok(reply);
        }
        if let Some(trailers) = &request.trailers
            && let Some(reply) = self.show_trailers(stream, trailers)?
        {
            return Ok(reply);
        }
        if self.holds() {
            return Ok(Verdict::Hang);
        }
        // Some gateways forward nothing before they have everything.
        self.with_stream(|stream| stream.forward(ForwardedBy::Headers));
        Ok(Verdict::Continue { headers: Pairs::new() })
    }

    /// Shows the head to the module. Returns the result if the module answers.
    pub(super) fn show_head(&mut self, stream: u32, request: &Request) -> Result<Option<Verdict>, String> {
        let ends = request.end_told.unwrap_or(request.end_of_stream && self.store.data().quirks().tells_the_end());
        let headers = self.store.data().stream.as_ref().and_then(|stream| stream.headers.as_ref());
        let headers = headers.map_or(0, |lines| u32::try_from(lines.len()).unwrap_or(u32::MAX));
        let action = self.callback("proxy_on_request_headers", (stream, headers, u32::from(ends)))?;
        Ok(self.go_on(action, ForwardedBy::Headers))
    }

    /// Shows a part of the body to the module, together with the held parts that arrived earlier. Returns the result if the module answers.
    pub(super) fn show_part(&mut self, stream: u32, part: &[u8], ends: bool) -> Result<Option<Verdict>, String> {
        let mut size = 0;
        self.with_stream(|stream| {
            let shown = stream.body.get_or_insert_default();
            shown.extend_from_slice(part);
            size = u32::try_from(shown.len()).unwrap_or(u32::MAX);
            if stream.body_on_disk {
                stream.body = None;
            }
        });
        let action = self.callback("proxy_on_request_body", (stream, size, u32::from(ends)))?;
        Ok(self.go_on(action, ForwardedBy::Body))
    }

    /// Shows the trailers to the module, if the gateway does. Returns the result if the module answers.
    pub(super) fn show_trailers(&mut self, stream: u32, trailers: &Pairs) -> Result<Option<Verdict>, String> {
        if !self.store.data().quirks().trailers {
            return Ok(None);
        }
        self.with_stream(|stream| stream.trailers = Some(trailers.clone()));
        let lines = u32::try_from(trailers.len()).unwrap_or(u32::MAX);
        let action = self.callback("proxy_on_request_trailers", (stream, lines))?;
        Ok(self.go_on(action, ForwardedBy::Trailers))
    }

    /// Shows the body as the gateway does: held parts are buffered, and shown again with the parts that follow.
    fn show_body(&mut self, stream: u32, request: &Request) -> Result<Option<Verdict>, String> {
        let Some(body) = &request.body else { return Ok(None) };
        self.with_stream(|stream| stream.body_on_disk = request.body_on_disk);
        let whole = [body.concat()];
        let parts = match self.store.data().quirks().body {
            Body::Never => return Ok(None),
            Body::Whole if whole[0].is_empty() => return Ok(None),
            Body::Whole => &whole[..],
            Body::WithTheHead | Body::AfterTheHead if body.is_empty() => &[Vec::new()],
            Body::WithTheHead | Body::AfterTheHead => body,
        };
        for (number, part) in (1..).zip(parts) {
            let last = number == parts.len();
            let ends = last && (request.trailers.is_none() || !self.store.data().quirks().trailers);
            self.store.data_mut().clock = request.body_at.filter(|_| last).unwrap_or(request.now);
            let reply = self.show_part(stream, part, ends)?;
            if reply.is_some() {
                return Ok(reply);
            }
        }
        Ok(None)
    }

    /// Applies a callback's result. A local reply stops the stream regardless of the callback's result.
    fn go_on(&mut self, action: u32, by: ForwardedBy) -> Option<Verdict> {
        let at_once = self.store.data().quirks().body != Body::Whole;
        let stream = self.store.data_mut().stream.as_mut()?;
        if let Some(reply) = stream.reply.take() {
            return Some(Verdict::Reply(reply));
        }
        stream.held = action != CONTINUE;
        if !stream.held {
            if at_once {
                stream.forward(by);
            }
            stream.body = None;
        }
        None
    }

    /// Returns whether the module holds what it was shown last of the current stream.
    fn holds(&self) -> bool {
        self.store.data().stream.as_ref().is_some_and(|stream| stream.held)
    }

    fn with_stream(&mut self, change: impl FnOnce(&mut Stream)) {
        if let Some(stream) = &mut self.store.data_mut().stream {
            change(stream);
        }
    }
}
