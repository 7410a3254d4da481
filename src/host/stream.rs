//! One HTTP stream: reads the request, holds it if the decision needs the body, and forwards or answers it.

use std::rc::Rc;

use super::gate::{Failure, Gate, PendingRecord};
use super::waiting::{Owned, Waiting, WaitingList, WaitingRequest};
use super::{Host, HostError, Map};
use crate::decision::answer::{Answer, DPOP_NONCE};
use crate::decision::upstream::Change;
use crate::decision::{Allow, Decision};
use crate::evaluate::{Awaits, Need, Outcome, Pending};
use crate::policy::{Features, HostName};
use crate::quota::{LimitStatuses, RATE_LIMIT_HEADERS};
use crate::request::headers::Headers;
use crate::request::incoming::{Request, Source};

/// The address of the client, with its port. Gateways separate the segments of a property's path by zero bytes.
const SOURCE_ADDRESS: &[u8] = b"source\0address";
/// The same on gateways that know only nginx variables.
const REMOTE_ADDRESS: &[u8] = b"remote_addr";
/// Path and query as the client sent them, on gateways that decode `:path`.
const REQUEST_TARGET: &[u8] = b"request\0path";

/// One HTTP stream.
pub(super) struct HttpStream<H: Host> {
    host: H,
    /// The id of this context.
    id: u32,
    gate: Option<Rc<Gate<H>>>,
    /// The request, while it waits for its body.
    waiting: Option<Waiting<H>>,
    /// The list of all requests that wait for their bodies.
    list: Rc<WaitingList<H>>,
    /// The state of the request's limits, for the headers of the response.
    limits: LimitStatuses,
    /// The nonce for the client's next proof, if the client needs one.
    dpop_nonce: Option<String>,
    /// Whether the filter answered the request. A second answer is undefined behavior in Envoy, and nothing may be forwarded
    /// after an answer.
    answered: bool,
    /// The record, if it must be completed when the stream has ended.
    record: Option<PendingRecord>,
}

/// What the gateway must do with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamAction {
    /// Forward the data.
    Continue,
    /// Hold the data.
    Pause,
}

/// What happens to a request after a phase.
enum Next {
    Forward,
    Hold,
    Answer(Answer),
}

impl<H: Host> HttpStream<H> {
    pub(super) fn new(host: H, id: u32, gate: Option<Rc<Gate<H>>>, list: Rc<WaitingList<H>>) -> Self {
        let limits = LimitStatuses::default();
        Self { host, id, gate, waiting: None, list, limits, dpop_nonce: None, answered: false, record: None }
    }

    /// Handles the headers of the request.
    pub(super) fn on_request_headers(&mut self, end_of_stream: bool) -> StreamAction {
        let next = self.decide(end_of_stream);
        self.act(next)
    }

    /// Handles a part of the body. The gateway holds `size` bytes of it.
    pub(super) fn on_request_body(&mut self, size: usize, end_of_stream: bool) -> StreamAction {
        if self.is_answered() {
            return StreamAction::Pause;
        }
        // A gateway that does not report the end of a request delivers the whole body in one callback.
        let at_once = self.gate.as_ref().is_some_and(|gate| !gate.features().tells_end);
        let next = self.receive_body(Some(size), end_of_stream || at_once);
        self.act(next)
    }

    /// Handles the trailers of the request. A body with trailers ends with these, not with its last byte.
    pub(super) fn on_request_trailers(&mut self) -> StreamAction {
        if self.is_answered() {
            return StreamAction::Pause;
        }
        let next = self.receive_body(None, true).and_then(|next| match next {
            Next::Forward => self.clean_trailers().map(|()| Next::Forward),
            other => Ok(other),
        });
        self.act(next)
    }

    /// Handles the headers of the response, before they are sent to the client.
    pub(super) fn on_response_headers(&mut self) -> StreamAction {
        // The request is already decided, so a missing header is only logged.
        if let Err(failure) = self.add_limits() {
            log::warn!("cannot add `RateLimit` to a response: {failure}");
        }
        if let Err(failure) = self.add_nonce() {
            log::warn!("cannot add the next nonce to a response: {failure}");
        }
        StreamAction::Continue
    }

    /// Handles the end of the stream.
    pub(super) fn on_log(&mut self) {
        // The body never arrived completely. If the headers were forwarded, the record has their decision; if they were held,
        // nothing was forwarded.
        let waiting = self.waiting.take();
        self.record = self.record.take().or_else(|| waiting.as_ref()?.take_record());
        let Some(gate) = &self.gate else { return };
        if let Some(mut request) = waiting.and_then(|waiting| waiting.take()) {
            request.with_dependent_mut(|_, pending| {
                let Some(pending) = pending.take() else { return };
                match gate.emit_record(&pending.abandon(gate.now().ok()).record()) {
                    Ok(record) => self.record = record,
                    Err(error) => log::error!("cannot write the record of a request: {error}"),
                }
            });
        }
        if let Some(record) = self.record.take() {
            gate.complete(record);
        }
    }

    /// Evaluates the headers of a request.
    fn decide(&mut self, end_of_stream: bool) -> Result<Next, Failure> {
        let gate = Rc::clone(self.gate.as_ref().ok_or(Failure::NoPolicy)?);
        let pairs = self.host.header_pairs(Map::RequestHeaders)?;
        let headers = match gate.features().listed_headers {
            Some(most) => Headers::decode_listed(pairs, most),
            None => Headers::decode(pairs),
        };
        let mut headers = headers.map_err(|_| Failure::Headers)?;
        if gate.features().host == HostName::Header {
            headers = as_sent(&headers, &self.host.property(REQUEST_TARGET)?.ok_or(Failure::Target)?);
        }
        #[cfg(feature = "panic-on-purpose")]
        panic_on_purpose(&headers);
        let owned = Owned { engine: Rc::clone(&gate.engine), headers };
        let waiting = WaitingRequest::try_new(owned, |Owned { engine, headers }| {
            let request = Request {
                headers,
                end_of_stream,
                source: self.source(gate.features()).map_err(|error| Err(error.into()))?,
                now: gate.now().map_err(Err)?,
                id: gate.decision_id().map_err(Err)?,
            };
            match gate.decide(engine, request).map_err(Err)? {
                Outcome::Decided(decision) => Err(self.apply(&gate, decision)),
                Outcome::Pending(pending) => {
                    if let Some(allow) = pending.forwards() {
                        self.forward_head(&gate, allow).map_err(Err)?;
                    }
                    Ok(Some(pending))
                }
            }
        });
        match waiting {
            Ok(request) => {
                let forwards = request
                    .with_dependent(|_, pending| pending.as_ref().is_some_and(|pending| pending.forwards().is_some()));
                self.waiting = Some(Waiting::new(self.id, &self.list, gate, request));
                Ok(if forwards { Next::Forward } else { Next::Hold })
            }
            Err(settled) => settled,
        }
    }

    /// Reads the part of the body that has arrived: all of it up to `size`, or as much as there is. `ends` means that no more
    /// will arrive. Until then, nothing of the body is forwarded.
    fn receive_body(&mut self, size: Option<usize>, ends: bool) -> Result<Next, Failure> {
        let Some(mut request) = self.waiting.as_ref().and_then(Waiting::take) else { return Ok(Next::Forward) };
        let need = request.with_dependent_mut(|_, pending| match pending {
            Some(pending) => self.read_body(pending, size),
            None => Ok(Need::Nothing),
        })?;
        if need == Need::More && !ends {
            if let Some(waiting) = &self.waiting {
                waiting.put_back(request);
            }
            return Ok(Next::Hold);
        }
        self.waiting = None;
        let gate = Rc::clone(self.gate.as_ref().ok_or(Failure::NoPolicy)?);
        request.with_dependent_mut(|_, pending| {
            let pending = pending.take().ok_or(Failure::Body)?;
            let forwarded = pending.forwards().is_some();
            match gate.resume(pending)? {
                // The headers were changed when they were forwarded.
                decision @ Decision::Allow(_) if forwarded => {
                    self.record = gate.emit_record(&decision.record())?;
                    Ok(Next::Forward)
                }
                decision => self.apply(&gate, decision),
            }
        })
    }

    fn read_body(&self, pending: &mut Pending<'_>, size: Option<usize>) -> Result<Need, Failure> {
        let Awaits::Body { received } = pending.awaits();
        let received = usize::try_from(received).unwrap_or(usize::MAX);
        let more = size.map_or(usize::MAX, |size| size.saturating_sub(received));
        if more == 0 {
            return Ok(Need::More);
        }
        let part = self.host.request_body(received, more)?;
        match size {
            Some(_) if part.len() != more => Err(Failure::Body),
            _ => Ok(pending.receive(&part)),
        }
    }

    /// Forwards the headers of a request whose body is still to be checked.
    fn forward_head(&mut self, gate: &Gate<H>, allow: &Allow<'_>) -> Result<(), Failure> {
        self.change(allow)?;
        self.limits = allow.facts().limits().clone();
        // A request without a record must not be forwarded.
        Ok(gate.emit_provisional(&allow.record())?)
    }

    /// Changes the headers for the upstream, and keeps the nonce for the response to the client.
    fn change(&mut self, allow: &Allow<'_>) -> Result<(), Failure> {
        allow.each_change(|change| self.change_header(&change))?;
        self.dpop_nonce = allow.facts().dpop_nonce().map(str::to_owned);
        Ok(())
    }

    /// Makes one change. Each change is a separate host call. The alternative, one call with all lines, writes every line
    /// again; and Envoy treats more than 1,024 lines as none and would forward the request without any header. Envoy looks up
    /// the route once, after the last change.
    fn change_header(&self, change: &Change<'_>) -> Result<(), HostError> {
        let map = Map::RequestHeaders;
        match change {
            Change::Remove(name) => self.host.remove_header(map, name),
            Change::Clear(name) => self.host.replace_header(map, name, b""),
            Change::Set(name, value) => self.host.replace_header(map, name.as_bytes(), value.as_bytes()),
            Change::Add(name, value) => self.host.add_header(map, name.as_bytes(), value.as_bytes()),
        }
    }

    /// Carries out a decision.
    fn apply(&mut self, gate: &Gate<H>, mut decision: Decision<'_>) -> Result<Next, Failure> {
        if let Decision::Allow(allow) = &decision {
            self.change(allow)?;
        }
        let record = gate.emit_record(&decision.record());
        match &mut decision {
            Decision::Allow(allow) => {
                // A request without a record must not be forwarded.
                self.record = record?;
                self.limits = allow.take_limits();
                Ok(Next::Forward)
            }
            Decision::Deny(deny) => {
                match record {
                    Ok(record) => self.record = record,
                    Err(error) => log::error!("cannot write the record of a denial: {error}"),
                }
                Ok(Next::Answer(deny.answer()))
            }
        }
    }

    fn act(&mut self, next: Result<Next, Failure>) -> StreamAction {
        match next {
            Ok(Next::Forward) => StreamAction::Continue,
            Ok(Next::Hold) => StreamAction::Pause,
            Ok(Next::Answer(answer)) => self.answer(&answer),
            Err(failure) => self.fail(&failure),
        }
    }

    /// Removes trailers that imitate headers which Callgate sets or checks.
    fn clean_trailers(&self) -> Result<(), Failure> {
        let policy = self.gate()?.policy();
        let trailers = Headers::decode(self.host.header_pairs(Map::RequestTrailers)?).map_err(|_| Failure::Headers)?;
        for (name, _) in trailers.iter().filter(|(name, _)| policy.removes_trailer(name)) {
            self.host.remove_header(Map::RequestTrailers, name)?;
        }
        Ok(())
    }

    /// Reports the limits to the client, in addition to the upstream's.
    fn add_limits(&self) -> Result<(), Failure> {
        if self.is_answered() || self.limits.is_empty() {
            return Ok(());
        }
        // Few upstreams have limits of their own, and reading all headers costs more than two lookups.
        let [policies, members] =
            RATE_LIMIT_HEADERS.map(|name| self.host.has_header(Map::ResponseHeaders, name.as_bytes()));
        let headers = if policies? || members? {
            Headers::decode(self.host.header_pairs(Map::ResponseHeaders)?).map_err(|_| Failure::Headers)?
        } else {
            Headers::default()
        };
        let theirs = RATE_LIMIT_HEADERS.map(|name| joined(&headers, name));
        let theirs = [theirs[0].as_deref(), theirs[1].as_deref()];
        for (name, value) in self.gate()?.policy().rate_limit_headers(&self.limits, theirs) {
            self.host.add_header(Map::ResponseHeaders, name.as_bytes(), value.as_bytes())?;
        }
        Ok(())
    }

    /// Sends the client the nonce for its next proof, unless the upstream sets a nonce itself.
    fn add_nonce(&self) -> Result<(), Failure> {
        let Some(nonce) = self.dpop_nonce.as_ref().filter(|_| !self.is_answered()) else { return Ok(()) };
        if !self.host.has_header(Map::ResponseHeaders, DPOP_NONCE.as_bytes())? {
            self.host.add_header(Map::ResponseHeaders, DPOP_NONCE.as_bytes(), nonce.as_bytes())?;
        }
        Ok(())
    }

    /// Returns whether the filter answered the request, in a callback of the stream or of the timer.
    fn is_answered(&self) -> bool {
        self.answered || self.waiting.as_ref().is_some_and(Waiting::is_answered)
    }

    fn gate(&self) -> Result<&Gate<H>, Failure> {
        self.gate.as_deref().ok_or(Failure::NoPolicy)
    }

    fn fail(&mut self, failure: &Failure) -> StreamAction {
        log::error!("a request is denied because the host failed: {failure}");
        if let Some(gate) = &self.gate {
            self.record = gate.record_undecided();
        }
        self.answer(&Answer::host_error())
    }

    fn answer(&mut self, answer: &Answer) -> StreamAction {
        self.answered = true;
        send(&self.host, answer);
        StreamAction::Pause
    }

    /// Returns the source of the request, as far as the gateway provides it.
    fn source(&self, features: &Features) -> Result<Option<Source>, HostError> {
        let mut address = self.host.property(SOURCE_ADDRESS)?;
        if address.is_none() && features.knows_nginx_variables {
            address = self.host.property(REMOTE_ADDRESS)?;
        }
        Ok(address.and_then(|address| Source::parse(&address)))
    }
}

/// Answers the current stream.
pub(super) fn send(host: &impl Host, answer: &Answer) {
    let headers: Vec<_> = answer.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = answer.body.as_bytes();
    if let Err(error) = host.send_response(answer.status, &answer.details, &headers, body, answer.grpc_status) {
        // The request remains held until the gateway's own timeout ends it.
        log::error!("cannot answer a denied request: {error}");
    }
}

/// Returns the headers as the client sent them, for a server that decodes `:path` and puts its own name into `:authority`. Only
/// `Host` contains the client's host.
fn as_sent(headers: &Headers, target: &[u8]) -> Headers {
    headers.with_values(|name, value| match name {
        b":authority" => None,
        b":path" => Some(target),
        _ => Some(value),
    })
}

/// Joins all lines of a header into one list. Returns `None` if there is no line.
fn joined(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let lines: Vec<_> =
        headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// Stops the VM, for a test of the consequences of a panic. Never part of a release.
#[cfg(feature = "panic-on-purpose")]
#[expect(clippy::panic, reason = "this is its purpose")]
fn panic_on_purpose(headers: &Headers) {
    if headers.iter().any(|(name, _)| name == b"x-panic-on-purpose") {
        panic!("on purpose");
    }
}
