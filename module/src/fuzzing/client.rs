//! One stream: its hooks, and what must hold for it.

use serde_json::Value;

use super::input::Input;
use super::samples::{self, ANSWERS, HIDDEN, LIST, SAMPLES};
use super::{Reached, require};
use crate::abi::{self, CONTINUE};
use crate::fake_envoy::{Connection, Gateway, RawLines};

/// How far something has passed the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Before,
    Begun,
    Ended,
}

/// A stream.
pub(super) struct Client {
    pub(super) connection: Connection,
    /// Whether Envoy moves the last part of a body behind what it holds before it calls the hook, as some versions do.
    moves_last: bool,
    /// Whether the policy forwards only what it allows.
    enforces: bool,
    /// Whether the request has the right credential.
    has_credential: bool,
    request: Progress,
    /// The body, and how much of it was passed.
    body: Vec<u8>,
    passed: usize,
    /// Whether a hook let the request pass.
    is_let_through: bool,
    /// Whether Envoy forwarded the request although the filter held it, as a wrong configuration makes it.
    is_bypassed: bool,
    /// What was seen of the request when it was first forwarded.
    is_forwarded: bool,
    is_answered: bool,
    woken: bool,
    response: Progress,
    /// Whether Envoy or another filter answers.
    is_local: bool,
    answer: Vec<u8>,
    /// Whether the upstream's status is 200. Errors that are no JSON are not filtered.
    is_success: bool,
    /// How much of the answer was passed, and what the client got.
    answered: usize,
    got: Vec<u8>,
}

impl Client {
    pub(super) fn open(input: &mut Input<'_>, gateway: &Gateway, policy: usize) -> Self {
        let lines = samples::request(input, policy);
        let body = samples::body(input, &lines).to_vec();
        let bearer = SAMPLES.bearers[usize::from(policy == 1)].as_bytes();
        let has_credential = lines.iter().any(|(name, value)| name == b"authorization" && value == bearer);
        let connection = Connection::default();
        connection.set_lines(abi::REQUEST_HEADERS, lines);
        if input.rarely() {
            connection.0.source.replace(Some(input.bytes().to_vec()));
        }
        for (switch, bit) in
            [(&connection.0.ends_at_once, 1), (&connection.0.encodes_at_once, 2), (&connection.0.fails_at_once, 4)]
        {
            // Most streams have none of these.
            switch.set(input.flag() && input.byte() & bit != 0);
        }
        let connection = gateway.open(connection);
        Self {
            connection,
            moves_last: input.flag(),
            enforces: policy + 1 < SAMPLES.configurations.len(),
            has_credential,
            request: Progress::Before,
            body,
            passed: 0,
            is_let_through: false,
            is_bypassed: false,
            is_forwarded: false,
            is_answered: false,
            woken: false,
            response: Progress::Before,
            is_local: false,
            answer: Vec::new(),
            is_success: false,
            answered: 0,
            got: Vec::new(),
        }
    }

    /// Carries out one event.
    pub(super) fn step(&mut self, event: u8, input: &mut Input<'_>) {
        if self.connection.is_over() {
            return;
        }
        match event {
            5..=7 => self.request(input),
            8 | 9 => {
                // What usually follows: all of the next part.
                let usual = &mut Input::new(&[]);
                if self.request == Progress::Ended { self.respond(usual) } else { self.request(usual) }
            }
            10 | 11 => self.respond(input),
            12 | 13 => {
                // Envoy calls the hook only if the stream has a scheduler.
                if self.connection.schedulers().0 > 0 {
                    let before = self.connection.0.continued.get();
                    self.connection.wake(0);
                    self.woken |= self.connection.0.continued.get() > before;
                }
            }
            14 if input.rarely() => self.connection.end(),
            14 if input.rarely() => {
                self.is_bypassed |= !self.is_forwarded;
                self.connection.set_upstream("192.0.2.9:80");
            }
            _ => self.answer_locally(input),
        }
    }

    /// Passes the next part of the request.
    fn request(&mut self, input: &mut Input<'_>) {
        // After a response of Envoy itself, no more of the request is passed.
        if self.is_local || self.request == Progress::Ended {
            return;
        }
        let rest = self.body[self.passed..].to_vec();
        let status = if self.request == Progress::Before {
            let end = if rest.is_empty() { !input.rarely() } else { input.rarely() };
            if end {
                self.body.truncate(self.passed);
            }
            self.request = if end { Progress::Ended } else { Progress::Begun };
            self.connection.request_headers(end)
        } else if input.rarely() {
            self.body.truncate(self.passed);
            self.request = Progress::Ended;
            let trailers = samples::vary(input, vec![(b"x-callgate-agent".to_vec(), b"admin".to_vec())]);
            self.connection.set_lines(abi::REQUEST_TRAILERS, trailers);
            let status = self.connection.request_trailers();
            if status == CONTINUE && self.enforces && !self.connection.is_over() {
                let lines = self.connection.lines(abi::REQUEST_TRAILERS);
                require(!lines.iter().any(|(name, _)| name == b"x-callgate-agent"), "a trailer names the agent");
            }
            status
        } else {
            let size = if input.flag() { usize::from(input.byte()).min(rest.len()) } else { rest.len() };
            let chunk = &rest[..size];
            let end = chunk.len() == rest.len() && !input.rarely();
            let is_first = self.passed == 0;
            self.passed += chunk.len();
            self.request = if end { Progress::Ended } else { Progress::Begun };
            if is_first && input.rarely() {
                self.connection.buffered_request_bytes(chunk, end)
            } else {
                self.connection.request_bytes(chunk, end, end && self.moves_last)
            }
        };
        if status == CONTINUE {
            require(!self.is_answered, "a request is forwarded after its answer");
            self.is_let_through = true;
        }
    }

    /// Passes the next part of a response.
    fn respond(&mut self, input: &mut Input<'_>) {
        let is_answered = !self.connection.0.sent.borrow().is_empty();
        // A response is that of the upstream, or begun by `answer_locally`.
        if self.response == Progress::Ended
            || (is_answered && self.got.is_empty() && !self.connection.0.responded.get())
        {
            return;
        }
        if self.response == Progress::Before {
            if !self.is_forwarded || self.connection.0.responded.get() || is_answered {
                return;
            }
            self.connection.set_upstream("192.0.2.9:80");
            self.answer = if input.rarely() { input.bytes().to_vec() } else { input.one_of(&ANSWERS).to_vec() };
            let end = input.rarely();
            self.response = if end { Progress::Ended } else { Progress::Begun };
            let lines = samples::response(input);
            self.is_success =
                lines.iter().find(|(name, _)| name == b":status").is_some_and(|(_, value)| value == b"200");
            if self.connection.respond(lines, end) != CONTINUE {
                require(self.has_ended_response(), "a response is held without an answer");
                self.response = Progress::Ended;
            }
            return;
        }
        if input.rarely() {
            self.response = Progress::Ended;
            self.connection.response_trailers();
            return;
        }
        let rest = self.answer[self.answered..].to_vec();
        let size = if input.flag() { usize::from(input.byte()).min(rest.len()) } else { rest.len() };
        let chunk = &rest[..size];
        let end = chunk.len() == rest.len() && !input.rarely();
        self.answered += chunk.len();
        self.response = if end { Progress::Ended } else { Progress::Begun };
        match self.connection.response_bytes(chunk, end, end && self.moves_last) {
            Some(bytes) => self.got.extend(bytes),
            None => {
                require(self.has_ended_response(), "a part of a response is held");
                self.response = Progress::Ended;
            }
        }
    }

    /// Returns whether the module sent something instead of a response, or reset it.
    fn has_ended_response(&self) -> bool {
        !self.connection.0.sent.borrow().is_empty() || self.connection.0.resets.get() > 0 || self.connection.is_over()
    }

    /// Answers as Envoy or another filter.
    fn answer_locally(&mut self, input: &mut Input<'_>) {
        let connection = &self.connection;
        let is_answered = !connection.0.sent.borrow().is_empty() || connection.0.responded.get();
        if self.request == Progress::Before || is_answered || self.response != Progress::Before {
            return;
        }
        self.is_local = true;
        let details = if input.flag() { input.bytes() } else { b"request_payload_too_large" };
        connection.local_reply(413, details);
        if connection.is_over() {
            return;
        }
        let end = input.flag();
        self.response = if end { Progress::Ended } else { Progress::Begun };
        if connection.respond(vec![(b":status".to_vec(), b"413".to_vec())], end) != CONTINUE {
            self.response = Progress::Ended;
        }
    }

    /// Checks what must hold after each event.
    pub(super) fn check(&mut self, reached: &mut Reached) {
        let envoy = &self.connection.0;
        let answers = envoy.sent.borrow().len();
        require(answers <= 1, "a stream has two answers");
        // Envoy resets a stream instead, and this is how an open stream is ended whose credential is no longer accepted.
        require(envoy.late.get() == 0 || self.is_forwarded, "an answer is sent after a response has begun");
        if answers > 0 && !self.is_answered {
            self.is_answered = true;
            reached.answered += 1;
            reached.ended_inside += u32::from(envoy.ends_at_once.get());
        }
        let is_forwarded = self.is_let_through || envoy.continued.get() > 0 || !envoy.forwarded.borrow().is_empty();
        require(envoy.continued.get() <= 1, "a request continues twice");
        if is_forwarded && !self.is_forwarded {
            self.is_forwarded = true;
            reached.forwarded += 1;
            reached.woken += u32::from(self.woken);
            if self.enforces {
                self.check_forwarded(reached);
            }
        }
        if answers == 0 && self.request == Progress::Ended && self.is_let_through {
            require(*envoy.forwarded.borrow() == self.body, "a body is not forwarded as it was received");
        }
        let is_listing = self.body == LIST && self.enforces && self.is_success && ANSWERS.contains(&&*self.answer);
        if is_listing && self.connection.record()["endpoint"] == "mcp" {
            require(!contains(&self.got, HIDDEN), "a hidden tool is forwarded");
            reached.filtered += u32::from(self.answer == ANSWERS[0] && contains(&self.got, b"look"));
        }
        if self.connection.is_over() {
            let (created, deleted) = self.connection.schedulers();
            require(created == deleted, "a stream leaves a scheduler");
            let is_recorded = self.connection.record()["decision"].is_string();
            require(self.request == Progress::Before || self.is_answered || is_recorded, "a stream has no record");
        }
    }

    /// Checks a request that is forwarded, with what was seen of it, and without the code that decided it.
    fn check_forwarded(&self, reached: &mut Reached) {
        let record = self.connection.record();
        let lines = self.connection.lines(abi::REQUEST_HEADERS);
        let facts = Facts {
            record: &record,
            lines: &lines,
            has_credential: self.has_credential,
            body: (self.request == Progress::Ended).then_some(&self.body),
        };
        if let Some(problem) = facts.problem() {
            let lines: Vec<_> =
                lines.iter().map(|(name, value)| [name, value].map(|text| text.escape_ascii().to_string())).collect();
            require(false, &format!("{problem}: {record} {lines:?}, body {}", self.body.escape_ascii()));
        }
        require(!self.is_answered, "an answered request is forwarded");
        reached.checked += u32::from(record["endpoint"] == "json");
    }
}

/// What is known about a request that is forwarded.
pub(super) struct Facts<'f> {
    pub(super) record: &'f Value,
    pub(super) lines: &'f RawLines,
    pub(super) has_credential: bool,
    /// The body, if all of it was received.
    pub(super) body: Option<&'f Vec<u8>>,
}

impl Facts<'_> {
    /// Returns why the request must not be forwarded.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.record["decision"] != "allow" {
            return Some("a request is forwarded that is not allowed");
        }
        let count = |name: &[u8]| self.lines.iter().filter(|(own, _)| own == name).count();
        let is_public = self.record["endpoint"] == "health";
        // What no caller was verified with is not removed.
        if !is_public && count(b"authorization") > 0 {
            return Some("the credential is forwarded");
        }
        if count(b"x-callgate-endpoint") != 1 {
            return Some("the endpoint is not forwarded once");
        }
        if !is_public && !self.has_credential {
            return Some("a request without the credential is forwarded");
        }
        let method = self.lines.iter().find(|(name, _)| name == b":method").map(|(_, method)| &method[..]);
        let has_checked_body = match self.record["endpoint"].as_str() {
            Some("json") => true,
            Some("mcp") => method == Some(b"POST"),
            _ => false,
        };
        if !has_checked_body {
            return None;
        }
        let Some(body) = self.body else { return Some("a request is forwarded before its body was checked") };
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Some("a body that is no JSON is forwarded");
        };
        let is_allowed = if self.record["endpoint"] == "json" {
            body["owner"] == "acme"
        } else {
            body["method"] != "tools/call" || body["params"]["name"] == "look"
        };
        (!is_allowed).then_some("a body is forwarded that is not allowed")
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}
