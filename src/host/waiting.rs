//! Requests that wait for their bodies or for keys, and what a root context does for them: the timer ends requests whose bodies do
//! not arrive, and requests are evaluated again when keys have arrived.
//!
//! A timer belongs to a root context, but acts on streams. A waiting request is therefore shared between its stream, which
//! receives the body, and the list of its root context. This module makes no decisions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::exchange::{Exchange, Next, Output, send};
use super::failure::Failure;
use super::gate::Gate;
use super::{Host, HostError};
use crate::decision::Decision;
use crate::decision::answer::Answer;
use crate::evaluate::{Awaits, Engine, Need, Outcome, Pending};
use crate::request::certificate::ClientCertificate;
use crate::request::headers::Headers;

/// How often the timer checks the progress of bodies and of documents.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How often the timer looks for documents while requests wait for keys.
const HURRIED: Duration = Duration::from_millis(25);

/// The data that a waiting request borrows.
pub(super) struct Owned {
    pub(super) engine: Rc<Engine>,
    pub(super) headers: Headers,
    pub(super) certificate: Option<Rc<ClientCertificate>>,
}

/// `None` after the request was decided.
type Dependent<'a> = Option<Pending<'a>>;

self_cell::self_cell!(
    /// A waiting request, with the data for its decision.
    pub(super) struct WaitingRequest {
        owner: Owned,
        #[not_covariant]
        dependent: Dependent,
    }
);

impl WaitingRequest {
    /// Records that a period has passed. Returns whether the body takes too long.
    fn elapse(&mut self) -> bool {
        self.with_dependent_mut(|_, pending| {
            pending.as_mut().is_some_and(|pending| pending.elapse(PERIOD) == Need::Nothing)
        })
    }

    /// Denies the request because its body takes too long. Returns the answer to the client, or `None` if the body has arrived.
    fn time_out<H: Host>(&mut self, gate: &Gate<H>, output: &mut Output) -> Option<Answer> {
        self.with_dependent_mut(|_, pending| {
            let decision = pending.take()?.time_out(gate.now().ok());
            let record = gate.emit_record(&decision.record());
            let record = record.inspect_err(|error| log::error!("cannot write the record of a denial: {error}"));
            output.record = record.ok().flatten();
            Some(match decision {
                Decision::Deny(deny) => deny.answer(),
                // INVARIANT: a request in observation does not time out, and a request for what is published is not held.
                Decision::Allow(_) | Decision::Serve(_) => Answer::host_error(),
            })
        })
    }

    /// Returns whether the request is still undecided.
    fn is_pending(&self) -> bool {
        self.with_dependent(|_, pending| pending.is_some())
    }

    /// Returns whether the request waits for keys.
    fn waits_for_keys(&self) -> bool {
        self.with_dependent(|_, pending| pending.as_ref().is_some_and(|pending| pending.awaits() == Awaits::Keys))
    }

    /// Returns whether the request should be evaluated again.
    fn is_ready(&self) -> bool {
        self.with_dependent(|owned, pending| pending.as_ref().is_some_and(|pending| owned.engine.is_ready(pending)))
    }

    /// Evaluates the request again, and carries out what follows. `arrival` is what arrived meanwhile.
    fn retry<H: Host>(&mut self, mut exchange: Exchange<'_, H>, arrival: Arrival) -> Result<Next, Failure> {
        self.with_dependent_mut(|owned, slot| {
            let pending = slot.take().ok_or(Failure::Body)?;
            let mut pending = match exchange.gate.retry(&owned.engine, pending)? {
                Outcome::Decided(decision) => {
                    let next = exchange.apply(decision)?;
                    if matches!(next, Next::Forward) && arrival.trailers {
                        exchange.clean_trailers()?;
                    }
                    return Ok(next);
                }
                Outcome::Pending(pending) => pending,
            };
            if pending.awaits() == Awaits::Keys {
                *slot = Some(pending);
                return Ok(Next::Hold);
            }
            if let Some(allow) = pending.forwards() {
                // What the gateway has already shown to the filter is forwarded with the headers, and would never be checked.
                if arrival.size > 0 || arrival.ended {
                    return Err(Failure::Body);
                }
                exchange.forward_head(allow)?;
                *slot = Some(pending);
                return Ok(Next::Forward);
            }
            let need = exchange.read_body(&mut pending, Some(arrival.size))?;
            if need == Need::More && !arrival.ended {
                *slot = Some(pending);
                return Ok(Next::Hold);
            }
            let next = exchange.finish(pending)?;
            if matches!(next, Next::Forward) && arrival.trailers {
                exchange.clean_trailers()?;
            }
            Ok(next)
        })
    }
}

/// What of a request arrived while it waits for keys.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrival {
    /// The bytes of the body that the gateway holds.
    pub(super) size: usize,
    /// Whether the request has ended.
    pub(super) ended: bool,
    /// Whether it has trailers.
    pub(super) trailers: bool,
}

/// The requests of a root context that wait, by stream id.
pub(super) struct WaitingList<H: Host> {
    requests: RefCell<BTreeMap<u32, Weak<Shared<H>>>>,
    /// The period of the timer. `None` if it does not run.
    period: Cell<Option<Duration>>,
}

/// The state of a waiting request that its stream shares with the root context.
struct Shared<H: Host> {
    gate: Rc<Gate<H>>,
    request: RefCell<Option<WaitingRequest>>,
    arrival: Cell<Arrival>,
    /// What the root context did for the request, until the stream takes it over.
    output: RefCell<Option<Output>>,
}

/// The stream's handle to a request that waits. The root context acts on the request until the handle is dropped.
pub(super) struct Waiting<H: Host> {
    stream: u32,
    list: Rc<WaitingList<H>>,
    shared: Rc<Shared<H>>,
}

impl<H: Host> Default for WaitingList<H> {
    fn default() -> Self {
        Self { requests: RefCell::default(), period: Cell::default() }
    }
}

impl<H: Host> WaitingList<H> {
    /// Starts the timer of the current root context, unless it runs. It is never stopped, because requests may still be held under
    /// the previous policy.
    pub(super) fn start_timer(&self, host: &H) -> Result<(), HostError> {
        if self.period.get().is_none() {
            host.set_tick_period(PERIOD)?;
            self.period.set(Some(PERIOD));
        }
        Ok(())
    }

    /// Makes the timer faster while requests wait for keys, and slower when none does any more.
    pub(super) fn adapt_timer(&self, host: &H) {
        let period = if self.select(WaitingRequest::waits_for_keys).is_empty() { PERIOD } else { HURRIED };
        if self.period.get().is_some_and(|own| own != period) {
            match host.set_tick_period(period) {
                Ok(()) => self.period.set(Some(period)),
                Err(error) => log::error!("cannot change the period of the timer: {error}"),
            }
        }
    }

    /// Records that a period has passed, and answers the requests whose bodies take too long. Returns whether it acted on a stream,
    /// which then is the target of host calls.
    pub(super) fn elapse(&self, host: &H) -> bool {
        let overdue: Vec<_> = self.shared().filter(|(_, shared)| shared.elapse()).collect();
        for (stream, shared) in &overdue {
            shared.time_out(host, *stream);
        }
        !overdue.is_empty()
    }

    /// Evaluates the requests again whose keys may have arrived, or that have waited too long. Returns whether it acted on a stream,
    /// which then is the target of host calls.
    pub(super) fn retry(&self, host: &H) -> bool {
        let ready = self.select(WaitingRequest::is_ready);
        for (stream, shared) in &ready {
            shared.retry(host, *stream);
        }
        !ready.is_empty()
    }

    /// Returns the requests for which `test` is true.
    fn select(&self, test: impl Fn(&WaitingRequest) -> bool) -> Vec<(u32, Rc<Shared<H>>)> {
        self.shared().filter(|(_, shared)| shared.is(&test)).collect()
    }

    /// Returns all requests. The list is copied, because a host call for one request can end others.
    fn shared(&self) -> impl Iterator<Item = (u32, Rc<Shared<H>>)> + use<H> {
        let all =
            self.requests.borrow().iter().filter_map(|(id, shared)| Some((*id, shared.upgrade()?))).collect::<Vec<_>>();
        all.into_iter()
    }
}

impl<H: Host> Shared<H> {
    /// Returns whether `test` is true for the request. A request that is decided already has no state any more.
    fn is(&self, test: impl Fn(&WaitingRequest) -> bool) -> bool {
        self.request.try_borrow().is_ok_and(|request| request.as_ref().is_some_and(test))
    }

    /// Records that a period has passed. Returns whether the body takes too long.
    fn elapse(&self) -> bool {
        // A gateway whose timers cannot act on streams has one only to fetch documents.
        self.gate.features().timers
            && self
                .request
                .try_borrow_mut()
                .is_ok_and(|mut request| request.as_mut().is_some_and(WaitingRequest::elapse))
    }

    /// Makes the stream of the request the target of the following host calls. Returns the request.
    fn enter(&self, host: &H, stream: u32) -> Option<WaitingRequest> {
        if let Err(error) = host.set_effective_context(stream) {
            log::error!("cannot act on a waiting request: {error}");
            return None;
        }
        self.request.take()
    }

    /// Answers the request because its body takes too long.
    fn time_out(&self, host: &H, stream: u32) {
        let Some(mut request) = self.enter(host, stream) else { return };
        let mut output = Output::default();
        if let Some(answer) = request.time_out(&self.gate, &mut output) {
            output.answered = true;
            send(host, &answer);
            self.output.replace(Some(output));
        }
    }

    /// Evaluates the request again, and carries out what follows.
    fn retry(&self, host: &H, stream: u32) {
        let Some(mut request) = self.enter(host, stream) else { return };
        let mut output = Output::default();
        let gate = &*self.gate;
        let next = request.retry(Exchange { host, gate, output: &mut output }, self.arrival.get());
        let mut exchange = Exchange { host, gate, output: &mut output };
        let settled = match next {
            // It waits again, for newer keys or for its body.
            Ok(Next::Hold) => {
                self.request.replace(Some(request));
                return;
            }
            Ok(Next::Answer(answer)) => {
                exchange.answer(&answer);
                None
            }
            Ok(Next::Forward) => {
                // If its body is still to be checked, the stream continues with it.
                self.request.replace(request.is_pending().then_some(request));
                host.continue_request().err()
            }
            Err(failure) => {
                exchange.fail(&failure);
                None
            }
        };
        if let Some(error) = settled {
            exchange.fail(&error.into());
        }
        self.output.replace(Some(output));
    }
}

impl<H: Host> Waiting<H> {
    pub(super) fn new(stream: u32, list: &Rc<WaitingList<H>>, gate: Rc<Gate<H>>, request: WaitingRequest) -> Self {
        let request = RefCell::new(Some(request));
        let (arrival, output) = (Cell::default(), RefCell::default());
        let shared = Rc::new(Shared { gate, request, arrival, output });
        list.requests.borrow_mut().insert(stream, Rc::downgrade(&shared));
        Self { stream, list: Rc::clone(list), shared }
    }

    /// Makes the timer faster if the request waits for keys.
    pub(super) fn hurry(&self, host: &H) {
        if self.shared.request.borrow().as_ref().is_some_and(WaitingRequest::waits_for_keys) {
            self.list.adapt_timer(host);
        }
    }

    /// Returns after which time the request must be looked at again. `None` after it was decided.
    #[cfg(any(test, feature = "adapter"))]
    pub(super) fn wakes_after(&self) -> Option<Duration> {
        let waits = |for_keys| self.shared.is(|request| request.is_pending() && request.waits_for_keys() == for_keys);
        if waits(true) { Some(HURRIED) } else { waits(false).then_some(PERIOD) }
    }

    /// Acts on the request as the timer of a root context does: ends it if its body takes too long, and evaluates it again if its keys may
    /// have arrived. `period_passed` is true once per [`PERIOD`].
    #[cfg(any(test, feature = "adapter"))]
    pub(super) fn wake(&self, host: &H, period_passed: bool) {
        if self.shared.is(WaitingRequest::is_ready) {
            self.shared.retry(host, self.stream);
        }
        if period_passed && self.shared.elapse() {
            self.shared.time_out(host, self.stream);
        }
    }

    /// Notes what arrived for a request that waits for keys. Returns false if it does not wait for keys.
    pub(super) fn note(&self, arrival: Arrival) -> bool {
        let mut request = self.shared.request.borrow_mut();
        let Some(request) = request.as_mut().filter(|request| request.waits_for_keys()) else { return false };
        let before = self.shared.arrival.get();
        let size = before.size.max(arrival.size);
        let (ended, trailers) = (before.ended || arrival.ended, before.trailers || arrival.trailers);
        self.shared.arrival.set(Arrival { size, ended, trailers });
        request.with_dependent_mut(|_, pending| {
            // If the bytes are too many, the next tick denies the request.
            pending.as_mut().map(|pending| pending.buffered(size as u64))
        });
        true
    }

    /// Returns whether the request is undecided and none of it may have been forwarded.
    pub(super) fn is_held(&self) -> bool {
        let request = self.shared.request.borrow();
        request.as_ref().is_some_and(|request| {
            request.with_dependent(|_, pending| pending.as_ref().is_some_and(|pending| pending.forwards().is_none()))
        })
    }

    /// Takes the request out, unless it was already answered.
    pub(super) fn take(&self) -> Option<WaitingRequest> {
        self.shared.request.take()
    }

    /// Puts the request back to wait for more of its body.
    pub(super) fn put_back(&self, request: WaitingRequest) {
        self.shared.request.replace(Some(request));
    }

    /// Takes over what the root context did for the request.
    pub(super) fn take_output(&self) -> Option<Output> {
        self.shared.output.take()
    }
}

impl<H: Host> Drop for Waiting<H> {
    fn drop(&mut self) {
        self.list.requests.borrow_mut().remove(&self.stream);
    }
}
