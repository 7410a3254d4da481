//! One HTTP stream: reads the request, holds it if the decision needs the body, and forwards or answers it.

use std::rc::Rc;
#[cfg(any(test, feature = "adapter"))]
use std::time::Duration;

use super::exchange::{Exchange, Next, Output, send};
use super::failure::Failure;
use super::gate::Gate;
use super::recheck::OpenStream;
use super::request;
use super::response::{FilteredResponse, HeadersChecked};
use super::waiting::{Arrival, Owned, Waiting, WaitingList, WaitingRequest};
use super::{Host, Map};
use crate::decision::answer::{Answer, DPOP_NONCE};
use crate::evaluate::{Need, Outcome};
use crate::quota::RATE_LIMIT_HEADERS;
use crate::request::headers::Headers;
use crate::request::incoming::Request;

/// The address of the upstream. It exists once the gateway has chosen where to forward the request to.
pub(super) const UPSTREAM_ADDRESS: &[u8] = b"upstream\0address";
/// The size of the response's body that the client got.
pub(super) const RESPONSE_SIZE: &[u8] = b"response\0size";

/// One HTTP stream.
pub struct HttpStream<H: Host> {
    host: H,
    /// The id of this context.
    id: u32,
    gate: Option<Rc<Gate<H>>>,
    /// The request, while it waits for its body.
    waiting: Option<Waiting<H>>,
    /// The list of all requests that wait for their bodies.
    list: Rc<WaitingList<H>>,
    /// What the later phases need to know about the decision.
    output: Output,
    /// The filter of the response, if the caller does not see all items of lists.
    response: Option<FilteredResponse>,
}

/// What the gateway must do with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAction {
    /// Forward the data.
    Continue,
    /// Hold the data.
    Pause,
}

impl<H: Host> HttpStream<H> {
    pub(super) fn new(host: H, id: u32, gate: Option<Rc<Gate<H>>>, list: Rc<WaitingList<H>>) -> Self {
        Self { host, id, gate, waiting: None, list, output: Output::default(), response: None }
    }

    /// Handles the headers of the request.
    pub fn on_request_headers(&mut self, end_of_stream: bool) -> StreamAction {
        let next = self.decide(end_of_stream);
        self.act(next)
    }

    /// Handles a part of the body. The gateway holds `size` bytes of it.
    pub fn on_request_body(&mut self, size: usize, end_of_stream: bool) -> StreamAction {
        self.collect();
        if self.output.answered || self.waits_for_keys(Arrival { size, ended: end_of_stream, trailers: false }) {
            return StreamAction::Pause;
        }
        if self.waiting.is_none() && self.must_end() {
            return StreamAction::Pause;
        }
        // A gateway that does not report the end of a request delivers the whole body in one callback.
        let at_once = self.gate.as_ref().is_some_and(|gate| !gate.features().tells_end);
        let next = self.receive_body(Some(size), end_of_stream || at_once);
        self.act(next)
    }

    /// Handles the trailers of the request. A body with trailers ends with these, not with its last byte.
    pub fn on_request_trailers(&mut self) -> StreamAction {
        self.collect();
        if self.output.answered || self.waits_for_keys(Arrival { size: 0, ended: true, trailers: true }) {
            return StreamAction::Pause;
        }
        let next = self.receive_body(None, true).and_then(|next| match next {
            Next::Forward => self.exchange()?.clean_trailers().map(|()| Next::Forward),
            other => Ok(other),
        });
        self.act(next)
    }

    /// Handles the headers of the response, before they are sent to the client.
    pub fn on_response_headers(&mut self, end_of_stream: bool) -> StreamAction {
        self.collect();
        if self.was_forwarded_while_held() {
            return self.fail(&Failure::Bypassed);
        }
        if let Some(open) = &mut self.output.open {
            open.on_response_headers(end_of_stream);
        }
        if let Some(action) = self.filter_response(end_of_stream) {
            return action;
        }
        // The request is already decided, so a missing header is only logged.
        if let Err(failure) = self.add_limits() {
            log::warn!("cannot add `RateLimit` to a response: {failure}");
        }
        if let Err(failure) = self.add_nonce() {
            log::warn!("cannot add the next nonce to a response: {failure}");
        }
        StreamAction::Continue
    }

    /// Handles a part of the response's body, in which the gateway has `size` bytes.
    pub fn on_response_body(&mut self, size: usize, end_of_stream: bool) -> StreamAction {
        if let Some(open) = &mut self.output.open {
            open.on_response_body();
        }
        if self.must_end() {
            return StreamAction::Pause;
        }
        let (Some(gate), Some(response)) = (&self.gate, &mut self.response) else { return StreamAction::Continue };
        if let Err(failure) = response.on_body(&self.host, gate, size, end_of_stream) {
            log::error!("a part of an answer is removed because the host failed: {failure}");
            if let Err(error) = self.host.set_response_body(size, b"") {
                log::error!(
                    "a stream is ended, because a part of an answer that was not checked cannot be removed: {error}"
                );
                // Gateways reset a stream whose response has begun.
                if !std::mem::replace(&mut self.output.answered, true) {
                    send(&self.host, &Answer::host_error());
                }
                return StreamAction::Pause;
            }
        }
        StreamAction::Continue
    }

    /// Returns after which time [`on_wake`](Self::on_wake) must be called, in an adapter that wakes each stream separately. `None` if the
    /// stream does not wait.
    #[cfg(any(test, feature = "adapter"))]
    #[must_use]
    pub fn wakes_after(&self) -> Option<Duration> {
        self.waiting.as_ref()?.wakes_after()
    }

    /// Evaluates a request again that waits. `period_passed` is true once per second, which counts toward the time that a body may take.
    #[cfg(any(test, feature = "adapter"))]
    pub fn on_wake(&mut self, period_passed: bool) {
        if let Some(waiting) = &self.waiting {
            waiting.wake(&self.host, period_passed);
        }
        self.collect();
    }

    /// Handles the end of the stream.
    pub fn on_log(&mut self) {
        self.collect();
        let bypassed = self.was_forwarded_while_held();
        let unfiltered = self.was_not_filtered();
        let Some(gate) = &self.gate else { return };
        if bypassed {
            log::error!("{}", Failure::Bypassed);
        }
        if unfiltered {
            log::error!("{}", Failure::Unfiltered);
        }
        // The body or the keys never arrived. If the headers were forwarded, the record has their decision; if they were held,
        // nothing was forwarded.
        if let Some(mut request) = self.waiting.take().and_then(|waiting| waiting.take()) {
            request.with_dependent_mut(|_, pending| {
                let Some(pending) = pending.take() else { return };
                match gate.emit_record(&pending.abandon(gate.now().ok()).record()) {
                    Ok(record) => self.output.record = record,
                    Err(error) => log::error!("cannot write the record of a request: {error}"),
                }
            });
        }
        let open = self.output.open.as_deref();
        if let Some(open) = open.filter(|_| !self.output.answered) {
            open.on_log(&self.host, gate);
        }
        if let Some(response) = self.response.as_ref().filter(|_| !self.output.answered) {
            response.on_log(&self.host, gate);
        }
        let removed = self.response.as_ref().map(FilteredResponse::removed);
        gate.complete(self.output.record.take(), open.and_then(OpenStream::ended), removed);
    }

    /// Prepares to filter the lists in the response, if the caller does not see all of their items. Returns what happens to a response
    /// that cannot be filtered.
    fn filter_response(&mut self, end_of_stream: bool) -> Option<StreamAction> {
        let rules = self.output.lists.take().filter(|_| !self.output.answered)?;
        let gate = Rc::clone(self.gate.as_ref()?);
        let filtered = FilteredResponse::new(rules, &gate).ok_or(Failure::Body);
        let checked = filtered.and_then(|mut response| {
            let checked = response.on_headers(&self.host, &gate, end_of_stream)?;
            self.response = Some(response);
            Ok(checked)
        });
        match checked {
            Ok(HeadersChecked::Forward) => None,
            Ok(HeadersChecked::Replace(error)) => {
                self.output.answered = true;
                send(&self.host, &Answer::unreadable(error));
                Some(StreamAction::Pause)
            }
            Err(failure) => Some(self.fail(&failure)),
        }
    }

    /// Evaluates the headers of a request.
    fn decide(&mut self, end_of_stream: bool) -> Result<Next, Failure> {
        let gate = Rc::clone(self.gate.as_ref().ok_or(Failure::NoPolicy)?);
        let headers = request::headers(&self.host, gate.features())?;
        let certificate = if gate.policy().reads_certificates() { gate.certificates.read(&self.host)? } else { None };
        let owned = Owned { engine: Rc::clone(&gate.engine), headers, certificate };
        let waiting = WaitingRequest::try_new(owned, |Owned { engine, headers, certificate }| {
            let request = Request {
                headers,
                end_of_stream,
                source: request::source(&self.host, gate.features()).map_err(|error| Err(error.into()))?,
                certificate: certificate.as_deref(),
                now: gate.now().map_err(Err)?,
                id: gate.decision_id().map_err(Err)?,
            };
            match gate.decide(engine, request).map_err(Err)? {
                Outcome::Decided(decision) => Err(self.exchange().and_then(|mut exchange| exchange.apply(decision))),
                Outcome::Pending(pending) => {
                    match pending.forwards() {
                        Some(allow) => {
                            self.exchange().and_then(|mut exchange| exchange.forward_head(allow)).map_err(Err)?;
                        }
                        None if gate.denies_held_requests() => return Err(Err(Failure::Bypassed)),
                        None => {}
                    }
                    Ok(Some(pending))
                }
            }
        });
        match waiting {
            Ok(request) => {
                let forwards = request
                    .with_dependent(|_, pending| pending.as_ref().is_some_and(|pending| pending.forwards().is_some()));
                let waiting = Waiting::new(self.id, &self.list, gate, request);
                waiting.hurry(&self.host);
                self.waiting = Some(waiting);
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
            Some(pending) => self.exchange()?.read_body(pending, size),
            None => Ok(Need::Nothing),
        })?;
        if need == Need::More && !ends {
            if let Some(waiting) = &self.waiting {
                waiting.put_back(request);
            }
            return Ok(Next::Hold);
        }
        self.waiting = None;
        request.with_dependent_mut(|_, pending| self.exchange()?.finish(pending.take().ok_or(Failure::Body)?))
    }

    /// Takes over what a callback of the root context did for this request while it waited.
    fn collect(&mut self) {
        if let Some(output) = self.waiting.as_ref().and_then(Waiting::take_output) {
            self.output = output;
        }
    }

    /// Notes what arrived for a request that waits for keys. Returns whether it does. Until the keys have arrived, everything of it
    /// is held.
    fn waits_for_keys(&self, arrival: Arrival) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.note(arrival))
    }

    /// Returns whether the gateway forwarded a request that the filter holds, because the configuration withholds the callback that
    /// would have held its body. From now on, requests that must be held are denied.
    fn was_forwarded_while_held(&self) -> bool {
        let (Some(gate), Some(waiting)) = (&self.gate, &self.waiting) else { return false };
        // If the host does not know the property, nothing shows that the request was forwarded. The answer to a request that was forwarded
        // has response headers too, and a second answer is undefined behavior in Envoy.
        let bypassed =
            waiting.is_held() && !self.output.answered && matches!(self.host.property(UPSTREAM_ADDRESS), Ok(Some(_)));
        if bypassed {
            gate.deny_held_requests();
        }
        bypassed
    }

    /// Returns whether the client got a body in which the filter should have filtered lists, because the configuration withholds the
    /// callback for it. From now on, messages are denied.
    fn was_not_filtered(&self) -> bool {
        let (Some(gate), Some(response)) = (&self.gate, &self.response) else { return false };
        if !response.awaits_body || self.output.answered {
            return false;
        }
        let size = self.host.property(RESPONSE_SIZE).ok().flatten();
        let bypassed = size.and_then(|size| gate.features().numbers.count(&size)).is_some_and(|size| size > 0);
        if bypassed {
            gate.deny_held_requests();
        }
        bypassed
    }

    /// Ends an open stream whose credential is no longer accepted. Returns whether it has ended. None of its data may be
    /// forwarded then.
    fn must_end(&mut self) -> bool {
        let Output { open: Some(open), answered, .. } = &mut self.output else { return false };
        if *answered {
            return open.holds_response();
        }
        *answered = self.gate.as_ref().is_some_and(|gate| open.end_if_due(&self.host, gate));
        *answered
    }

    fn exchange(&mut self) -> Result<Exchange<'_, H>, Failure> {
        let gate = self.gate.as_deref().ok_or(Failure::NoPolicy)?;
        Ok(Exchange { host: &self.host, gate, output: &mut self.output })
    }

    fn act(&mut self, next: Result<Next, Failure>) -> StreamAction {
        match next {
            Ok(Next::Forward) => StreamAction::Continue,
            Ok(Next::Hold) => StreamAction::Pause,
            Ok(Next::Answer(answer)) => {
                self.output.answered = true;
                send(&self.host, &answer);
                StreamAction::Pause
            }
            Err(failure) => self.fail(&failure),
        }
    }

    /// Reports the limits to the client, in addition to the upstream's.
    fn add_limits(&self) -> Result<(), Failure> {
        if self.output.answered || self.output.limits.is_empty() {
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
        for (name, value) in self.gate()?.policy().rate_limit_headers(&self.output.limits, theirs) {
            self.host.add_header(Map::ResponseHeaders, name.as_bytes(), value.as_bytes())?;
        }
        Ok(())
    }

    /// Sends the client the nonce for its next proof, unless the upstream sets a nonce itself.
    fn add_nonce(&self) -> Result<(), Failure> {
        let Some(nonce) = self.output.dpop_nonce.as_ref().filter(|_| !self.output.answered) else { return Ok(()) };
        if !self.host.has_header(Map::ResponseHeaders, DPOP_NONCE.as_bytes())? {
            self.host.add_header(Map::ResponseHeaders, DPOP_NONCE.as_bytes(), nonce.as_bytes())?;
        }
        Ok(())
    }

    fn gate(&self) -> Result<&Gate<H>, Failure> {
        self.gate.as_deref().ok_or(Failure::NoPolicy)
    }

    fn fail(&mut self, failure: &Failure) -> StreamAction {
        match self.exchange() {
            Ok(mut exchange) => exchange.fail(failure),
            Err(_) => {
                log::error!("a request is denied because the host failed: {failure}");
                self.output.answered = true;
                send(&self.host, &Answer::host_error());
            }
        }
        StreamAction::Pause
    }
}

/// Joins all lines of a header into one list. Returns `None` if there is no line.
fn joined(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let lines: Vec<_> =
        headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}
