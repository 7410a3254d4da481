//! Carries out the decision about one request: in a callback of its stream, or in one of the root context for a request that waits.

use super::failure::Failure;
use super::gate::{Gate, PendingRecord};
use super::recheck::OpenStream;
use super::{Host, HostError, Map};
use crate::decision::answer::Answer;
use crate::decision::upstream::Change;
use crate::decision::{Allow, Decision, ListRules};
use crate::evaluate::{Awaits, Need, Pending};
use crate::quota::LimitStatuses;
use crate::request::headers::Headers;

/// What the later phases of a request need to know about its decision.
#[derive(Default)]
pub(super) struct Output {
    /// The state of the request's limits, for the headers of the response.
    pub(super) limits: LimitStatuses,
    /// The nonce for the client's next proof, if the client needs one.
    pub(super) dpop_nonce: Option<String>,
    /// What the caller sees of the lists in the response, if they are filtered.
    pub(super) lists: Option<ListRules>,
    /// The stream, if its credential is checked again while data flows. It is boxed because the others should not reserve space for it.
    pub(super) open: Option<Box<OpenStream>>,
    /// Whether the filter answered the request. A second answer is undefined behavior in Envoy, and nothing may be forwarded
    /// after an answer.
    pub(super) answered: bool,
    /// The record, if it must be completed when the stream has ended.
    pub(super) record: Option<PendingRecord>,
}

/// What happens to a request after a phase.
pub(super) enum Next {
    Forward,
    Hold,
    Answer(Answer),
}

/// One request, in the context that the host calls affect.
pub(super) struct Exchange<'e, H: Host> {
    pub(super) host: &'e H,
    pub(super) gate: &'e Gate<H>,
    pub(super) output: &'e mut Output,
}

impl<H: Host> Exchange<'_, H> {
    /// Carries out a decision.
    pub(super) fn apply(&mut self, mut decision: Decision<'_>) -> Result<Next, Failure> {
        if let Decision::Allow(allow) = &decision {
            self.output.open = OpenStream::new(allow, self.gate)?;
            self.change(allow)?;
        }
        let record = self.gate.emit_record(&decision.record());
        match &mut decision {
            Decision::Allow(allow) => {
                // A request without a record must not be forwarded.
                self.output.record = record?;
                self.output.lists = allow.list_rules();
                self.output.limits = allow.take_limits();
                Ok(Next::Forward)
            }
            Decision::Serve(serve) => {
                // The gate does not answer without a record either.
                self.output.record = record?;
                Ok(Next::Answer(serve.answer()))
            }
            Decision::Deny(deny) => {
                match record {
                    Ok(record) => self.output.record = record,
                    Err(error) => log::error!("cannot write the record of a denial: {error}"),
                }
                Ok(Next::Answer(deny.answer()))
            }
        }
    }

    /// Forwards the headers of a request whose body is still to be checked.
    pub(super) fn forward_head(&mut self, allow: &Allow<'_>) -> Result<(), Failure> {
        self.output.open = OpenStream::new(allow, self.gate)?;
        self.change(allow)?;
        self.output.limits = allow.facts().limits().clone();
        // A request without a record must not be forwarded.
        Ok(self.gate.emit_provisional(&allow.record())?)
    }

    /// Decides a request whose body has arrived.
    pub(super) fn finish(&mut self, pending: Pending<'_>) -> Result<Next, Failure> {
        let forwarded = pending.forwards().is_some();
        match self.gate.resume(pending)? {
            // The headers were changed when they were forwarded.
            decision @ Decision::Allow(_) if forwarded => {
                self.output.record = self.gate.emit_record(&decision.record())?;
                Ok(Next::Forward)
            }
            decision => self.apply(decision),
        }
    }

    /// Reads the part of the body that has arrived: all of it up to `size`, or as much as there is.
    pub(super) fn read_body(&self, pending: &mut Pending<'_>, size: Option<usize>) -> Result<Need, Failure> {
        let Awaits::Body { received } = pending.awaits() else { return Ok(Need::More) };
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

    /// Removes trailers that imitate headers which Callgate sets or checks.
    pub(super) fn clean_trailers(&self) -> Result<(), Failure> {
        let policy = self.gate.policy();
        let trailers = Headers::decode(self.host.header_pairs(Map::RequestTrailers)?).map_err(|_| Failure::Headers)?;
        for (name, _) in trailers.iter().filter(|(name, _)| policy.removes_trailer(name)) {
            self.host.remove_header(Map::RequestTrailers, name)?;
        }
        Ok(())
    }

    /// Changes the headers for the upstream, and keeps the nonce for the response to the client.
    fn change(&mut self, allow: &Allow<'_>) -> Result<(), Failure> {
        allow.each_change(|change| self.change_header(&change))?;
        self.output.dpop_nonce = allow.facts().dpop_nonce().map(str::to_owned);
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

    /// Answers a request because the host failed.
    pub(super) fn fail(&mut self, failure: &Failure) {
        log::error!("a request is denied because the host failed: {failure}");
        self.output.record = self.gate.record_undecided();
        self.answer(&Answer::host_error());
    }

    /// Answers the request.
    pub(super) fn answer(&mut self, answer: &Answer) {
        self.output.answered = true;
        send(self.host, answer);
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
