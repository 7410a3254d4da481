//! The module's object for a stream: passes hooks to the code for all gateways, and then carries out what that recorded.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callgate::Answer;
use callgate::host::{HttpStream, StreamAction};

use crate::clock;
use crate::config::Shared;
use crate::host::Envoy;
use crate::io::{Io, Reply};
#[cfg(feature = "panic-on-purpose")]
use crate::on_purpose::Asked;
use crate::properties;
use crate::timer::Alarm;
use crate::worker::Worker;

/// The event with which the timer calls the hook `scheduled`.
const WAKE: u64 = 0;
/// How much of a second must have passed. Timers fire a little early or late.
const ALMOST: Duration = Duration::from_millis(900);
/// The time within which a stream must be woken if it waits for its body. One that waits for keys is woken earlier.
const BODY_PERIOD: Duration = Duration::from_secs(1);

/// What a hook is about, which decides how a defect ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client can still get a response of the module.
    BeforeResponse,
    /// The response has begun.
    Response,
    /// Envoy or one of its filters, such as the module, is about to send a response without the upstream's data.
    Reply,
    /// Nothing is sent any more.
    End,
}

/// A stream.
pub(crate) struct Stream {
    io: Rc<Io>,
    worker: Rc<Worker>,
    /// `None` after the stream has ended.
    http: RefCell<Option<HttpStream<Envoy>>>,
    alarm: RefCell<Option<Alarm>>,
    /// When the last second began that counts toward the time of a body. `None` if the stream does not wait.
    second: Cell<Option<Instant>>,
    /// How soon the stream must be woken. `None` if it does not wait.
    waits: Cell<Option<Duration>>,
    /// Whether a defect ended the stream.
    is_broken: Cell<bool>,
    #[cfg(feature = "panic-on-purpose")]
    asked: Asked,
}

impl Stream {
    pub(crate) fn new(config: &Arc<Shared>, io: Io) -> Self {
        let worker = Worker::of(config);
        let http = RefCell::new(worker.stream());
        let (alarm, second, waits, is_broken) = (RefCell::default(), Cell::default(), Cell::default(), Cell::default());
        Self {
            io: Rc::new(io),
            worker,
            http,
            alarm,
            second,
            waits,
            is_broken,
            #[cfg(feature = "panic-on-purpose")]
            asked: Asked::default(),
        }
    }

    /// Handles the headers of the request.
    pub(crate) fn request_headers(&self, end_of_stream: bool) -> StreamAction {
        #[cfg(feature = "panic-on-purpose")]
        self.asked.read(&self.io);
        self.request(|http| http.on_request_headers(end_of_stream))
    }

    /// Handles a part of the request's body.
    pub(crate) fn request_body(&self, end_of_stream: bool) -> StreamAction {
        // Without a size, the engine finds that the body is incomplete and denies the request.
        let size = self.io.request_size().unwrap_or(0);
        self.io.request.add(size.saturating_sub(self.io.held.get()));
        let action = self.request(|http| {
            #[cfg(feature = "panic-on-purpose")]
            self.asked.panic_in("body");
            http.on_request_body(size, end_of_stream)
        });
        self.io.held.set(if action == StreamAction::Pause { size } else { 0 });
        action
    }

    /// Handles the trailers of the request.
    pub(crate) fn request_trailers(&self) -> StreamAction {
        self.request(|http| {
            #[cfg(feature = "panic-on-purpose")]
            self.asked.panic_in("trailers");
            http.on_request_trailers()
        })
    }

    /// Handles the headers of the response.
    pub(crate) fn response_headers(&self, end_of_stream: bool) -> StreamAction {
        self.io.response.began.set(true);
        self.io.response.ended.set(end_of_stream);
        self.response(|http| {
            #[cfg(feature = "panic-on-purpose")]
            self.asked.panic_in("response");
            http.on_response_headers(end_of_stream)
        })
    }

    /// Handles a part of the response's body.
    pub(crate) fn response_body(&self, end_of_stream: bool) -> StreamAction {
        let action = match self.io.find_response_part(end_of_stream) {
            Ok(size) => self.response(|http| {
                #[cfg(feature = "panic-on-purpose")]
                self.asked.panic_in("response-body");
                http.on_response_body(size, end_of_stream)
            }),
            // The stream has ended.
            Err(_) => StreamAction::Pause,
        };
        if action == StreamAction::Continue {
            self.io.pass_response_part();
            self.io.response.ended.set(end_of_stream);
        }
        action
    }

    /// Notes the end of a response with trailers.
    pub(crate) fn response_trailers(&self) -> StreamAction {
        self.io.response.ended.set(true);
        #[cfg(feature = "panic-on-purpose")]
        self.asked.panic_in("response-trailers");
        // Trailers would release what is held of a response that must not continue.
        let is_ended = self.is_broken.get() || self.io.answered().is_some();
        if is_ended { StreamAction::Pause } else { StreamAction::Continue }
    }

    /// Notes that Envoy, or one of its filters, sends a response.
    pub(crate) fn local_reply(&self, details: &[u8]) {
        #[cfg(feature = "panic-on-purpose")]
        self.asked.panic_in("local-reply");
        // No other hook of this stream reads it now.
        if let Ok(mut last) = self.io.reply_details.try_borrow_mut() {
            *last = Some(details.to_vec());
        }
    }

    /// Evaluates a request again that waits.
    pub(crate) fn wake(&self) {
        // Envoy or another filter has answered. A second response would cut off that one.
        if self.io.response.began.get() {
            self.alarm.take();
            return;
        }
        let second_has_passed = self.second_has_passed();
        let woken = self.enter(|http| {
            #[cfg(feature = "panic-on-purpose")]
            self.asked.panic_in("wake");
            http.on_wake(second_has_passed);
            http.wakes_after()
        });
        let Some(waits) = woken else { return };
        // Envoy may end the stream in what follows.
        self.wait(waits);
        if let Some(reply) = self.io.take_reply() {
            self.io.send(&reply);
        } else if self.io.take_continue() {
            self.io.clear_route();
            self.io.resume();
        }
    }

    /// Completes the record. Envoy writes the access log after this, and passes nothing more to the module than the stream's end.
    pub(crate) fn complete(&self) {
        self.enter(|http| {
            #[cfg(feature = "panic-on-purpose")]
            self.asked.panic_in("complete");
            http.on_log();
        });
        self.finish();
    }

    /// Stores the record if that was postponed, and uses Envoy's object a last time: since version 1.40, Envoy calls the hook `destroy`
    /// later than it takes the object apart. Hooks that run around this one must find that the stream has ended.
    fn finish(&self) {
        self.alarm.take();
        if let Err(error) = properties::put_kept(&self.io) {
            log::error!("cannot store a record: {error}");
        }
        self.io.end();
    }

    /// Ends the stream. Envoy's object must not be used any more.
    pub(crate) fn end(&self) {
        self.io.end();
        #[cfg(feature = "panic-on-purpose")]
        self.asked.panic_in("destroy");
        self.alarm.take();
        // Hooks that run around this one do not use it any more.
        if let Ok(mut http) = self.http.try_borrow_mut() {
            let ended = http.take();
            drop(http);
            drop(ended);
        }
    }

    /// Makes new streams start with new caches, because a defect may have left those of this stream in a wrong state.
    pub(crate) fn retire_worker(&self) {
        self.worker.retire();
    }

    /// Ends the stream after a defect. Only this stream is lost.
    pub(crate) fn fail(&self, phase: Phase) {
        self.retire_worker();
        if phase == Phase::Reply {
            // Only the details are lost. The hooks that follow let the response pass: without it, the client would wait.
            return;
        }
        self.is_broken.set(true);
        self.io.take_reply();
        self.io.take_continue();
        self.alarm.take();
        let answer = Answer::host_error();
        match phase {
            // A response that has begun nevertheless is reset by Envoy.
            Phase::BeforeResponse if self.io.answered().is_none() => self.io.send(&Reply::from(answer)),
            // The module's response does not continue after this hook, and there is no second one.
            Phase::BeforeResponse | Phase::Response => self.io.reset(&answer.details),
            // What was recorded before is not lost.
            Phase::End => self.finish(),
            Phase::Reply => {}
        }
    }

    /// Passes a hook about the request to the code for all gateways.
    fn request(&self, hook: impl FnOnce(&mut HttpStream<Envoy>) -> StreamAction) -> StreamAction {
        let Some((action, waits)) = self.enter(|http| (hook(http), http.wakes_after())) else {
            if self.http.try_borrow().is_ok_and(|http| http.is_none()) {
                // Nothing can decide the request.
                self.fail(Phase::BeforeResponse);
            }
            return StreamAction::Pause;
        };
        if let Some(reply) = self.io.take_reply() {
            self.io.send(&reply);
            return StreamAction::Pause;
        }
        let action = if self.io.take_continue() { StreamAction::Continue } else { action };
        if action == StreamAction::Continue {
            self.io.clear_route();
        }
        self.wait(waits);
        action
    }

    /// Passes a hook about the response to the code for all gateways.
    fn response(&self, hook: impl FnOnce(&mut HttpStream<Envoy>) -> StreamAction) -> StreamAction {
        let Some(action) = self.enter(hook) else {
            // The response of a stream that a defect ended is not forwarded. If the stream is used at this moment, this response is the
            // module's own.
            return if self.is_broken.get() { StreamAction::Pause } else { StreamAction::Continue };
        };
        if let Some(reply) = self.io.take_reply() {
            self.io.send(&reply);
            return StreamAction::Pause;
        }
        action
    }

    /// Calls a function with the state of the stream. `None` if the stream has ended, is broken, or is used at this moment.
    fn enter<T>(&self, act: impl FnOnce(&mut HttpStream<Envoy>) -> T) -> Option<T> {
        if self.is_broken.get() {
            return None;
        }
        let mut http = self.http.try_borrow_mut().ok()?;
        let http = http.as_mut()?;
        let waits_for_keys = self.waits.get().is_some_and(|period| period < BODY_PERIOD);
        let _hook = self.worker.enter(&self.io, waits_for_keys);
        Some(act(http))
    }

    /// Has the stream woken after this time, if it waits.
    fn wait(&self, waits: Option<Duration>) {
        self.waits.set(waits);
        let Some(period) = waits.filter(|_| !self.io.is_over()) else {
            self.second.set(None);
            self.alarm.take();
            return;
        };
        if self.second.get().is_none() {
            self.second.set(Some(clock::instant()));
        }
        if period < BODY_PERIOD {
            self.worker.config().hurry();
        }
        let Ok(mut alarm) = self.alarm.try_borrow_mut() else { return };
        if alarm.is_none() {
            *alarm = self.io.envoy("http_filter_scheduler_new").ok().and_then(Alarm::of_stream);
        }
        let set = alarm.as_mut().map(|alarm| alarm.set(period, WAKE));
        if !matches!(set, Some(Ok(()))) {
            // The request remains held until the gateway's own timeout ends it.
            log::error!("a request that waits cannot be woken");
        }
    }

    /// Returns whether a second has passed since the last one that counted.
    fn second_has_passed(&self) -> bool {
        let now = clock::instant();
        let passed = self.second.get().is_none_or(|last| now.saturating_duration_since(last) >= ALMOST);
        if passed {
            self.second.set(Some(now));
        }
        passed
    }
}
