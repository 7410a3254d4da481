//! Requests that wait for their bodies, and the timer that ends those whose bodies do not arrive.
//!
//! A timer belongs to a root context, and what it acts on to a stream. So a waiting request is shared between its stream, which
//! takes the body, and the list of its root context. Nothing is decided here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::answer;
use super::gate::{Gate, Written};
use super::host::{self, HostError};
use crate::decision::Decision;
use crate::decision::answer::Answer;
use crate::evaluate::{Hold, Late, Wait};
use crate::request::headers::Headers;

/// How often bodies are looked at that make no progress.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// What a call that is held borrows.
pub(super) struct Owned {
    pub(super) gate: Rc<Gate>,
    pub(super) headers: Headers,
}

/// None once the body has come.
type Dependent<'a> = Option<Awaiting<'a>>;

/// A call whose body is awaited.
pub(super) enum Awaiting<'a> {
    /// Nothing of it went on.
    Held(Hold<'a>),
    /// Its head went on.
    Late(Late<'a>),
}

impl<'a> Awaiting<'a> {
    pub(super) fn seen(&self) -> u64 {
        match self {
            Self::Held(hold) => hold.seen(),
            Self::Late(late) => late.seen(),
        }
    }

    pub(super) fn update(&mut self, part: &[u8]) -> Wait {
        match self {
            Self::Held(hold) => hold.update(part),
            Self::Late(late) => late.update(part),
        }
    }

    fn elapse(&mut self, period: Duration) -> Wait {
        match self {
            Self::Held(hold) => hold.elapse(period),
            Self::Late(late) => late.elapse(period),
        }
    }

    fn time_out(self, gate: &Gate) -> Decision<'a> {
        match self {
            Self::Held(hold) => hold.time_out(gate.now().ok()),
            Self::Late(late) => late.time_out(),
        }
    }
}

self_cell::self_cell!(
    /// A call whose body is awaited, with what it is decided by.
    pub(super) struct HeldCall {
        owner: Owned,
        #[not_covariant]
        dependent: Dependent,
    }
);

impl HeldCall {
    /// Lets a period pass; whether the body takes too long by now.
    fn elapse(&mut self) -> bool {
        self.with_dependent_mut(|_, awaiting| {
            awaiting.as_mut().is_some_and(|awaiting| awaiting.elapse(PERIOD) == Wait::Ends)
        })
    }

    /// Denies the request, whose body takes too long: what the client is told, and the record. None where the body has come.
    fn time_out(&mut self) -> Option<(Answer, Option<Written>)> {
        self.with_dependent_mut(|owner, awaiting| {
            let decision = awaiting.take()?.time_out(&owner.gate);
            let written = owner.gate.write_down(&decision.record());
            let written = written.inspect_err(|error| log::error!("a denial is not written down: {error}"));
            let answer = match decision {
                Decision::Deny(deny) => deny.answer(),
                // INVARIANT: a request that is only observed does not time out.
                Decision::Allow(_) => Answer::host_error(),
            };
            Some((answer, written.ok().flatten()))
        })
    }
}

/// The requests of a root context that wait for their bodies, by the numbers of their streams.
#[derive(Default)]
pub(super) struct WaitingCalls(RefCell<BTreeMap<u32, Weak<Shared>>>);

/// What a waiting request's stream and the timer share.
struct Shared {
    call: RefCell<Option<HeldCall>>,
    /// Whether the timer answered it.
    answered: Cell<bool>,
    /// The record of that, where it is to be completed when the stream has ended.
    written: Cell<Option<Written>>,
}

/// A request that waits for its body, as its stream has it. The timer knows it until this is dropped.
pub(super) struct WaitingCall {
    stream: u32,
    list: Rc<WaitingCalls>,
    shared: Rc<Shared>,
}

impl WaitingCalls {
    /// Lets a period pass, and answers those whose bodies take too long. `root` is the context whose timer fired.
    pub(super) fn tick(&self, root: u32) -> Result<(), HostError> {
        let overdue: Vec<_> = self
            .0
            .borrow()
            .iter()
            .filter_map(|(stream, shared)| {
                let shared = shared.upgrade()?;
                let late =
                    shared.call.try_borrow_mut().is_ok_and(|mut call| call.as_mut().is_some_and(HeldCall::elapse));
                late.then_some((*stream, shared))
            })
            .collect();
        if overdue.is_empty() {
            return Ok(());
        }
        for (stream, shared) in overdue {
            // Record and answer are those of the stream.
            if let Err(error) = host::set_effective_context(stream) {
                log::error!("a request whose body takes too long is not answered: {error}");
                continue;
            }
            let Some(mut call) = shared.call.take() else { continue };
            if let Some((answer, written)) = call.time_out() {
                shared.answered.set(true);
                shared.written.set(written);
                answer::send(&answer);
            }
        }
        host::set_effective_context(root)
    }
}

impl WaitingCall {
    pub(super) fn new(stream: u32, list: &Rc<WaitingCalls>, call: HeldCall) -> Self {
        let shared = Shared { call: RefCell::new(Some(call)), answered: Cell::default(), written: Cell::default() };
        let shared = Rc::new(shared);
        list.0.borrow_mut().insert(stream, Rc::downgrade(&shared));
        Self { stream, list: Rc::clone(list), shared }
    }

    /// Takes the request out, unless the timer has ended its wait.
    pub(super) fn take(&self) -> Option<HeldCall> {
        self.shared.call.take()
    }

    /// Puts the request back, which waits for more of its body.
    pub(super) fn put_back(&self, call: HeldCall) {
        self.shared.call.replace(Some(call));
    }

    /// Whether the timer answered the request.
    pub(super) fn is_answered(&self) -> bool {
        self.shared.answered.get()
    }

    /// The record of that answer.
    pub(super) fn take_record(&self) -> Option<Written> {
        self.shared.written.take()
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.list.0.borrow_mut().remove(&self.stream);
    }
}
