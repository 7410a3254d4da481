//! Requests that wait for their bodies, and the timer that ends those whose bodies do not arrive.
//!
//! A timer belongs to a root context, but acts on streams. A waiting request is therefore shared between its stream, which
//! receives the body, and the list of its root context. This module makes no decisions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::gate::{Gate, PendingRecord};
use super::stream::send;
use super::{Host, HostError};
use crate::decision::Decision;
use crate::decision::answer::Answer;
use crate::evaluate::{Engine, Need, Pending};
use crate::request::headers::Headers;

/// How often the timer checks the progress of bodies.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// The data that a waiting request borrows.
pub(super) struct Owned {
    pub(super) engine: Rc<Engine>,
    pub(super) headers: Headers,
}

/// `None` after the body has arrived.
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

    /// Denies the request because its body takes too long. Returns the answer to the client and the record, or `None` if the
    /// body has arrived.
    fn time_out<H: Host>(&mut self, gate: &Gate<H>) -> Option<(Answer, Option<PendingRecord>)> {
        self.with_dependent_mut(|_, pending| {
            let decision = pending.take()?.time_out(gate.now().ok());
            let record = gate.emit_record(&decision.record());
            let record = record.inspect_err(|error| log::error!("cannot write the record of a denial: {error}"));
            let answer = match decision {
                Decision::Deny(deny) => deny.answer(),
                // INVARIANT: a request in observation does not time out.
                Decision::Allow(_) => Answer::host_error(),
            };
            Some((answer, record.ok().flatten()))
        })
    }
}

/// The requests of a root context that wait for their bodies, by stream id.
pub(super) struct WaitingList<H: Host>(RefCell<BTreeMap<u32, Weak<Shared<H>>>>);

/// The state of a waiting request that its stream shares with the timer.
struct Shared<H: Host> {
    gate: Rc<Gate<H>>,
    request: RefCell<Option<WaitingRequest>>,
    /// Whether the timer answered the request.
    answered: Cell<bool>,
    /// The record of that answer, if it must be completed when the stream has ended.
    record: Cell<Option<PendingRecord>>,
}

/// The stream's handle to a request that waits for its body. The timer checks the request until the handle is dropped.
pub(super) struct Waiting<H: Host> {
    stream: u32,
    list: Rc<WaitingList<H>>,
    shared: Rc<Shared<H>>,
}

impl<H: Host> Default for WaitingList<H> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<H: Host> WaitingList<H> {
    /// Records that a period has passed, and answers the requests whose bodies take too long. `root` is the context of the
    /// timer.
    pub(super) fn tick(&self, host: &H, root: u32) -> Result<(), HostError> {
        let overdue: Vec<_> = self
            .0
            .borrow()
            .iter()
            .filter_map(|(stream, shared)| {
                let shared = shared.upgrade()?;
                let late = shared
                    .request
                    .try_borrow_mut()
                    .is_ok_and(|mut request| request.as_mut().is_some_and(WaitingRequest::elapse));
                late.then_some((*stream, shared))
            })
            .collect();
        if overdue.is_empty() {
            return Ok(());
        }
        for (stream, shared) in overdue {
            // The record and the answer belong to the stream.
            if let Err(error) = host.set_effective_context(stream) {
                log::error!("cannot answer a request whose body takes too long: {error}");
                continue;
            }
            let Some(mut request) = shared.request.take() else { continue };
            if let Some((answer, record)) = request.time_out(&shared.gate) {
                shared.answered.set(true);
                shared.record.set(record);
                send(host, &answer);
            }
        }
        host.set_effective_context(root)
    }
}

impl<H: Host> Waiting<H> {
    pub(super) fn new(stream: u32, list: &Rc<WaitingList<H>>, gate: Rc<Gate<H>>, request: WaitingRequest) -> Self {
        let request = RefCell::new(Some(request));
        let shared = Rc::new(Shared { gate, request, answered: Cell::default(), record: Cell::default() });
        list.0.borrow_mut().insert(stream, Rc::downgrade(&shared));
        Self { stream, list: Rc::clone(list), shared }
    }

    /// Takes the request out, unless the timer has already answered it.
    pub(super) fn take(&self) -> Option<WaitingRequest> {
        self.shared.request.take()
    }

    /// Puts the request back to wait for more of its body.
    pub(super) fn put_back(&self, request: WaitingRequest) {
        self.shared.request.replace(Some(request));
    }

    /// Returns whether the timer answered the request.
    pub(super) fn is_answered(&self) -> bool {
        self.shared.answered.get()
    }

    /// Returns the record of the timer's answer.
    pub(super) fn take_record(&self) -> Option<PendingRecord> {
        self.shared.record.take()
    }
}

impl<H: Host> Drop for Waiting<H> {
    fn drop(&mut self) {
        self.list.0.borrow_mut().remove(&self.stream);
    }
}
