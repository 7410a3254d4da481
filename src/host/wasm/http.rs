//! One HTTP stream: the call is read, held where its body decides, and let go on or answered.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::answer;
use super::gate::{Failure, Gate, Written};
use super::host::{self, Map};
use super::waiting::{Awaiting, HeldCall, Owned, WaitingCall, WaitingCalls};
use crate::decision::answer::{Answer, DPOP_NONCE};
use crate::decision::upstream::Change;
use crate::decision::{Allow, Decision};
use crate::evaluate::{Step, Wait};
use crate::policy::{Features, HostName, RecordPlace};
use crate::quota::{RATE_LIMIT_HEADERS, Standings};
use crate::request::call::{Call, Source};
use crate::request::headers::Headers;

/// The address of the client, with its port; gateways join the segments of a property's path by zero bytes.
const SOURCE_ADDRESS: &[u8] = b"source\0address";
/// The same on gateways that know the variables of nginx and nothing else.
const REMOTE_ADDRESS: &[u8] = b"remote_addr";
/// Path and query as the client sent them, on gateways whose `:path` is decoded.
const REQUEST_TARGET: &[u8] = b"request\0path";

/// One HTTP stream.
pub(super) struct Http {
    /// The number of this context.
    id: u32,
    gate: Option<Rc<Gate>>,
    /// The call, while its body is awaited.
    awaited: Option<WaitingCall>,
    /// Where calls are listed whose bodies are awaited.
    waiting: Rc<WaitingCalls>,
    /// What the limits of the call had left for it, for the headers of the answer.
    standings: Standings,
    /// The nonce for the client's next proof, where it needs to be told.
    dpop_nonce: Option<String>,
    /// Whether the call was answered. A second answer is undefined behaviour in Envoy, and nothing may go on after one.
    replied: bool,
    /// The record, where it is to be completed when the call has ended.
    written: Option<Written>,
}

/// How a call goes on.
enum Turn {
    /// To the upstream.
    On,
    /// It is held.
    Held,
    /// The gate answers it.
    Answer(Answer),
}

impl Http {
    pub(super) fn new(id: u32, gate: Option<Rc<Gate>>, waiting: Rc<WaitingCalls>) -> Self {
        let standings = Standings::default();
        Self { id, gate, awaited: None, waiting, standings, dpop_nonce: None, replied: false, written: None }
    }

    /// Judges the head of a call.
    fn decide(&mut self, end_of_stream: bool) -> Result<Turn, Failure> {
        let gate = Rc::clone(self.gate.as_ref().ok_or(Failure::NoPolicy)?);
        let pairs = host::header_map_pairs(Map::RequestHeaders)?;
        let headers = match gate.features().listed_headers {
            Some(most) => Headers::decode_listed(pairs, most),
            None => Headers::decode(pairs),
        };
        let mut headers = headers.map_err(|_| Failure::Headers)?;
        if gate.features().host == HostName::Header {
            headers = headers.of_server(&host::property(REQUEST_TARGET)?.ok_or(Failure::Target)?);
        }
        #[cfg(feature = "panic-on-purpose")]
        panic_on_purpose(&headers);
        let awaited = HeldCall::try_new(Owned { gate, headers }, |Owned { gate, headers }| {
            let call = Call {
                headers,
                end_of_stream,
                source: source(gate.features()).map_err(|error| Err(error.into()))?,
                now: gate.now().map_err(Err)?,
                id: gate.decision_id().map_err(Err)?,
            };
            match gate.decide(call).map_err(Err)? {
                Step::Hold(hold) => Ok(Some(Awaiting::Held(hold))),
                Step::Decided(decision) => Err(self.carry_out(gate, decision)),
                Step::Late(late) => {
                    self.let_go(gate, late.decision()).map_err(Err)?;
                    Ok(Some(Awaiting::Late(late)))
                }
            }
        });
        match awaited {
            Ok(awaited) => {
                let goes_on = awaited.with_dependent(|_, awaiting| matches!(awaiting, Some(Awaiting::Late(_))));
                self.awaited = Some(WaitingCall::new(self.id, &self.waiting, awaited));
                Ok(if goes_on { Turn::On } else { Turn::Held })
            }
            Err(settled) => settled,
        }
    }

    /// Takes what has come of the body of a call that awaits it: all of it up to `size`, or whatever there is. `ends` says that
    /// no more is to come. Until then nothing of the body goes on.
    fn take_body(&mut self, size: Option<usize>, ends: bool) -> Result<Turn, Failure> {
        let Some(mut awaited) = self.awaited.as_ref().and_then(WaitingCall::take) else { return Ok(Turn::On) };
        let taken = awaited.with_dependent_mut(|_, awaiting| {
            let Some(awaiting) = awaiting else { return Ok(Wait::Ends) };
            let seen = usize::try_from(awaiting.seen()).unwrap_or(usize::MAX);
            let more = size.map_or(usize::MAX, |size| size.saturating_sub(seen));
            if more == 0 {
                return Ok(Wait::Goes);
            }
            let part = host::request_body(seen, more)?;
            match size {
                Some(_) if part.len() != more => Err(Failure::Body),
                _ => Ok(awaiting.update(&part)),
            }
        })?;
        if taken == Wait::Goes && !ends {
            if let Some(waiting) = &self.awaited {
                waiting.put_back(awaited);
            }
            return Ok(Turn::Held);
        }
        self.awaited = None;
        awaited.with_dependent_mut(|owner, awaiting| match awaiting.take().ok_or(Failure::Body)? {
            Awaiting::Held(hold) => {
                let decision = owner.gate.finish(hold)?;
                self.carry_out(&owner.gate, decision)
            }
            Awaiting::Late(late) => match late.finish(None) {
                decision @ Decision::Allow(_) => {
                    self.written = owner.gate.write_down(&decision.record())?;
                    Ok(Turn::On)
                }
                decision @ Decision::Deny(_) => self.carry_out(&owner.gate, decision),
            },
        })
    }

    /// Lets the head of a call go on whose body is still to be checked.
    fn let_go(&mut self, gate: &Gate, decision: &Decision<'_>) -> Result<(), Failure> {
        if let Decision::Allow(allow) = decision {
            self.change(allow)?;
            self.standings = allow.facts().limits().clone();
        }
        // A call that cannot be written down does not go on.
        Ok(gate.note(&decision.record())?)
    }

    /// Changes the headers as the upstream is to see them, and keeps the nonce that the client is told with the answer.
    fn change(&mut self, allow: &Allow<'_>) -> Result<(), Failure> {
        allow.each_change(|change| apply(&change))?;
        self.dpop_nonce = allow.facts().dpop_nonce().map(str::to_owned);
        Ok(())
    }

    /// Carries a decision out.
    fn carry_out(&mut self, gate: &Gate, mut decision: Decision<'_>) -> Result<Turn, Failure> {
        if let Decision::Allow(allow) = &decision {
            self.change(allow)?;
        }
        let written = gate.write_down(&decision.record());
        match &mut decision {
            Decision::Allow(allow) => {
                // A call that cannot be written down does not go on.
                self.written = written?;
                self.standings = allow.take_limits();
                Ok(Turn::On)
            }
            Decision::Deny(deny) => {
                match written {
                    Ok(written) => self.written = written,
                    Err(error) => log::error!("a denial is not written down: {error}"),
                }
                Ok(Turn::Answer(deny.answer()))
            }
        }
    }

    /// What the gateway does next.
    fn turn(&mut self, turn: Result<Turn, Failure>) -> Action {
        match turn {
            Ok(Turn::On) => Action::Continue,
            Ok(Turn::Held) => Action::Pause,
            Ok(Turn::Answer(answer)) => self.reply(&answer),
            Err(failure) => self.fail(&failure),
        }
    }

    /// Removes the trailers that could pose as headers which the gate sets or has checked.
    fn clean_trailers(&self) -> Result<(), Failure> {
        let policy = self.gate()?.policy();
        let trailers = Headers::decode(host::header_map_pairs(Map::RequestTrailers)?).map_err(|_| Failure::Headers)?;
        for (name, _) in trailers.iter().filter(|(name, _)| policy.removes_trailer(name)) {
            host::remove_header(Map::RequestTrailers, name)?;
        }
        Ok(())
    }

    /// Tells the client of its limits, beside what the upstream says of its own.
    fn tell_limits(&self) -> Result<(), Failure> {
        if self.is_answered() || self.standings.is_empty() {
            return Ok(());
        }
        // Hardly any upstream has limits of its own, and reading all headers costs more than asking for two.
        let [policies, members] =
            RATE_LIMIT_HEADERS.map(|name| host::has_header(Map::ResponseHeaders, name.as_bytes()));
        let headers = if policies? || members? {
            Headers::decode(host::header_map_pairs(Map::ResponseHeaders)?).map_err(|_| Failure::Headers)?
        } else {
            Headers::default()
        };
        let theirs = RATE_LIMIT_HEADERS.map(|name| joined(&headers, name));
        let theirs = [theirs[0].as_deref(), theirs[1].as_deref()];
        for (name, value) in self.gate()?.policy().rate_limit_headers(&self.standings, theirs) {
            host::add_header(Map::ResponseHeaders, name.as_bytes(), value.as_bytes())?;
        }
        Ok(())
    }

    /// Tells the client the nonce for its next proof, unless the upstream has proofs and nonces of its own.
    fn tell_nonce(&self) -> Result<(), Failure> {
        let Some(nonce) = self.dpop_nonce.as_ref().filter(|_| !self.is_answered()) else { return Ok(()) };
        if !host::has_header(Map::ResponseHeaders, DPOP_NONCE.as_bytes())? {
            host::add_header(Map::ResponseHeaders, DPOP_NONCE.as_bytes(), nonce.as_bytes())?;
        }
        Ok(())
    }

    /// Whether the gate answered the call: when it was called, or when the timer did.
    fn is_answered(&self) -> bool {
        self.replied || self.awaited.as_ref().is_some_and(WaitingCall::is_answered)
    }

    fn gate(&self) -> Result<&Gate, Failure> {
        self.gate.as_deref().ok_or(Failure::NoPolicy)
    }

    fn fail(&mut self, failure: &Failure) -> Action {
        log::error!("a call is denied: {failure}");
        if let Some(gate) = &self.gate {
            self.written = gate.write_down_undecided();
        }
        self.reply(&Answer::host_error())
    }

    fn reply(&mut self, answer: &Answer) -> Action {
        self.replied = true;
        answer::send(answer);
        Action::Pause
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let turn = self.decide(end_of_stream);
        self.turn(turn)
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.is_answered() {
            return Action::Pause;
        }
        // A gateway that does not tell the end of a call hands over the whole body at once.
        let at_once = self.gate.as_ref().is_some_and(|gate| !gate.features().tells_end);
        let turn = self.take_body(Some(size), end_of_stream || at_once);
        self.turn(turn)
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        // The call was decided and answered; its answer merely says less.
        if let Err(failure) = self.tell_limits() {
            log::warn!("an answer does not tell of its limits: {failure}");
        }
        if let Err(failure) = self.tell_nonce() {
            log::warn!("an answer does not tell the next nonce: {failure}");
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if self.is_answered() {
            return Action::Pause;
        }
        // The body of a call with trailers ends with these, and not with its last byte.
        let turn = self.take_body(None, true).and_then(|turn| match turn {
            Turn::On => self.clean_trailers().map(|()| Turn::On),
            other => Ok(other),
        });
        self.turn(turn)
    }

    fn on_log(&mut self) {
        // A body that never came to its end: what went on was decided, and what was held did not go on.
        let waiting = self.awaited.take();
        self.written = self.written.take().or_else(|| waiting.as_ref()?.take_record());
        if let Some(mut awaited) = waiting.and_then(|waiting| waiting.take()) {
            awaited.with_dependent_mut(|owner, awaiting| {
                let decision = match awaiting.take() {
                    Some(Awaiting::Held(hold)) => hold.abandon(owner.gate.now().ok()),
                    Some(Awaiting::Late(late)) => late.abandon(),
                    None => return,
                };
                match owner.gate.write_down(&decision.record()) {
                    Ok(written) => self.written = written,
                    Err(error) => log::error!("a call is not written down: {error}"),
                }
            });
        }
        if let Some((gate, written)) = self.gate.as_ref().zip(self.written.take()) {
            gate.complete(written);
        }
    }
}

/// Where the call comes from, as far as the gateway says.
fn source(features: &Features) -> Result<Option<Source>, host::HostError> {
    let mut address = host::property(SOURCE_ADDRESS)?;
    if address.is_none() && features.record == RecordPlace::Nowhere {
        address = host::property(REMOTE_ADDRESS)?;
    }
    Ok(address.and_then(|address| Source::parse(&address)))
}

/// All lines of a header as one list; none where there is no line.
fn joined(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let lines: Vec<_> =
        headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// Makes one change. Each is a host call of its own: a call that hands over all lines at once writes them all anew, and Envoy
/// takes more than 1,024 of them for none at all, which would send the request on without a header. The route is looked up
/// once, after the last change.
fn apply(change: &Change<'_>) -> Result<(), host::HostError> {
    match change {
        Change::Remove(name) => host::remove_header(Map::RequestHeaders, name),
        Change::Clear(name) => host::replace_header(Map::RequestHeaders, name, b""),
        Change::Set(name, value) => host::replace_header(Map::RequestHeaders, name.as_bytes(), value.as_bytes()),
        Change::Add(name, value) => host::add_header(Map::RequestHeaders, name.as_bytes(), value.as_bytes()),
    }
}

/// Stops the VM, so that a test can show what a defect would cost. Never shipped.
#[cfg(feature = "panic-on-purpose")]
#[expect(clippy::panic, reason = "this is its purpose")]
fn panic_on_purpose(headers: &Headers) {
    if headers.iter().any(|(name, _)| name == b"x-panic-on-purpose") {
        panic!("on purpose");
    }
}
