//! Open streams (`streams: recheck`): checks the credential of an allowed request again while data flows, and ends the stream if the
//! credential is no longer accepted.
//!
//! A stream is checked at most once per [`INTERVAL`]. An error inside a check ends it. Streams of other endpoints have no such state.

use std::time::Duration;

use super::Host;
use super::exchange::send;
use super::failure::Failure;
use super::gate::Gate;
use super::stream::RESPONSE_SIZE;
use crate::decision::Allow;
use crate::decision::answer::Answer;
use crate::evaluate::Recheck;
use crate::reason::Reason;
use crate::request::incoming::DecisionId;
use crate::text::time::Timestamp;

/// The minimum time between two checks of a stream.
const INTERVAL: Duration = Duration::from_secs(1);

/// An allowed request whose data still flows.
pub(super) struct OpenStream {
    recheck: Recheck,
    /// The decision that allowed the request.
    id: DecisionId,
    /// When the credential was last checked.
    checked: Timestamp,
    /// Whether the response of the upstream has begun. The client cannot get another one then.
    responding: bool,
    /// Whether the response has a body, and the filter has seen no part of it.
    awaits_body: bool,
    /// Why the stream was ended.
    ended: Option<Reason>,
}

impl OpenStream {
    /// Returns the state of an allowed request whose stream is checked again, or `None` for other requests, such as those that are only
    /// observed.
    ///
    /// # Errors
    /// [`Failure::Unchecked`] if the gateway does not show the data of such streams to the filter.
    #[inline]
    pub(super) fn new<H: Host>(allow: &Allow<'_>, gate: &Gate<H>) -> Result<Option<Box<Self>>, Failure> {
        if allow.is_rechecked() { Self::begin(allow, gate) } else { Ok(None) }
    }

    /// Not inlined, because most endpoints do not check open streams.
    #[inline(never)]
    fn begin<H: Host>(allow: &Allow<'_>, gate: &Gate<H>) -> Result<Option<Box<Self>>, Failure> {
        let Some(recheck) = allow.recheck() else { return Ok(None) };
        if gate.unchecked.get() {
            return Err(Failure::Unchecked);
        }
        let (id, checked) = (allow.facts.request.id, allow.facts.request.now);
        Ok(Some(Box::new(Self { recheck, id, checked, responding: false, awaits_body: false, ended: None })))
    }

    /// Notes that a response begins. If the stream has ended, it is Callgate's own.
    pub(super) fn on_response_headers(&mut self, end_of_stream: bool) {
        self.responding = self.ended.is_none();
        self.awaits_body = self.responding && !end_of_stream;
    }

    /// Notes that a part of the response's body has arrived.
    pub(super) fn on_response_body(&mut self) {
        self.awaits_body = false;
    }

    /// Handles the end of a stream that was not ended by Callgate: reports a response whose body was not shown to the filter, because the
    /// configuration withholds the callback for it. From now on, requests whose streams must be checked again are denied.
    pub(super) fn on_log<H: Host>(&self, host: &H, gate: &Gate<H>) {
        let size = if self.awaits_body { host.property(RESPONSE_SIZE).ok().flatten() } else { None };
        if size.and_then(|size| gate.features().numbers.count(&size)).is_some_and(|size| size > 0) {
            gate.unchecked.set(true);
            log::error!("{}", Failure::Unchecked);
        }
    }

    /// Returns the reason for which the stream was ended.
    pub(super) fn ended(&self) -> Option<Reason> {
        self.ended
    }

    /// Returns whether data of the response must be held, because the stream was ended after the response had begun.
    pub(super) fn holds_response(&self) -> bool {
        self.ended.is_some() && self.responding
    }

    /// Checks the credential again if that is due, and ends the stream if it is no longer accepted. Returns whether the stream was ended.
    ///
    /// The gateway sends the answer to the client if the response has not begun, and otherwise resets the stream.
    pub(super) fn end_if_due<H: Host>(&mut self, host: &H, gate: &Gate<H>) -> bool {
        let Err(reason) = self.check(gate) else { return false };
        self.ended = Some(reason);
        gate.metrics.tell_stream_ended();
        log::info!("the open stream of decision {} is ended: {}", self.id, reason.code());
        send(host, &Answer::ended(reason));
        true
    }

    fn check<H: Host>(&mut self, gate: &Gate<H>) -> Result<(), Reason> {
        let now = gate.now().map_err(|failure| {
            log::error!("an open stream cannot be checked again: {failure}");
            Reason::HostError
        })?;
        // A clock that was set back does not postpone the check.
        if now >= self.checked && now < self.checked.plus(INTERVAL) {
            return Ok(());
        }
        self.checked = now;
        gate.engine.recheck(&self.recheck, now)
    }
}
