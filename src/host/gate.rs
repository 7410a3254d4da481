//! A policy in force, with the state that a VM keeps for it between callbacks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::certificates::RecentCertificates;
use super::failure::{Failure, Refused, Why};
use super::metrics::Metrics;
use super::verify::verifier;
use super::{Host, HostClock, HostError, completion};
use crate::allowlist::operations::Operation;
use crate::decision::record::Record;
use crate::decision::{Decision, ListRules};
use crate::evaluate::shared::OtherSizes;
use crate::evaluate::{DocumentEvent, Engine, Outcome, Pending, Services, Undecided};
use crate::identity::token::{SecretLookup, TokenCache};
use crate::policy::{ENVOY_MODULE, Endpoint, Features, GATEWAY_VARIABLE, Policy, RecordPlace, Store, must_accept};
use crate::quota::WaitingRequests;
use crate::quota::held::{HeldBytes, Reservation};
use crate::reason::Reason;
use crate::request::incoming::{DecisionId, Request};
use crate::response::filter::AnswerFault;
use crate::response::list::Removed;
use crate::text::time::Timestamp;

/// Creates an engine.
pub(super) type NewEngine = fn(Arc<Policy>, Services) -> Engine;

/// A policy in force, with the state that a VM keeps for it between requests. A new policy starts with an empty cache of
/// verified tokens.
pub(super) struct Gate<H: Host> {
    pub(super) host: H,
    pub(super) engine: Rc<Engine>,
    pub(super) metrics: Metrics<H>,
    ids: RefCell<DecisionIds>,
    /// The client certificates that this VM read last.
    pub(super) certificates: RecentCertificates,
    /// Whether the gateway forwarded a request that the filter held.
    bypassed: Cell<bool>,
    /// Whether the gateway forwarded data of a stream that is checked again, without showing it to the filter.
    pub(super) unchecked: Cell<bool>,
}

thread_local! {
    /// Shared by all policies of the VM, because a policy and its successor may hold requests at the same time.
    static HELD: HeldBytes = HeldBytes::default();
    static WAITING: WaitingRequests = WaitingRequests::default();
}

impl<H: Host> Drop for Gate<H> {
    /// Reports the held bytes a last time, because no timer does so later.
    fn drop(&mut self) {
        self.tell_held();
    }
}

impl<H: Host> Gate<H> {
    /// Reads and compiles the configuration. The host reports its `size` in bytes.
    pub(super) fn configure(host: H, size: usize) -> Result<Self, Refused> {
        let variable = host.variable(GATEWAY_VARIABLE);
        let variable = variable.as_deref();
        let json = host
            .configuration(size)
            .map_err(|error| Refused { why: Why::Host(error), must_accept: must_accept(b"", variable) })?;
        compile(&host, &json, variable, None)
            .and_then(|policy| Self::new(host, policy, Engine::new))
            .map_err(|why| Refused { why, must_accept: must_accept(&json, variable) })
    }

    /// Puts a policy in force. `engine` creates its engine.
    pub(super) fn new(host: H, policy: Arc<Policy>, engine: NewEngine) -> Result<Self, Why> {
        host.expect_overrun(policy.features.overrun);
        log::info!("policy `{}` is active, version {}", policy.name, policy.version);
        let mut secret = [0; 16];
        // A policy with a table key needs no random bytes, and Kong must not get host calls while it configures the filter.
        if policy.fetches() || policy.keeps_state() && policy.tables_key.is_none() {
            host.random(&mut secret).map_err(Why::Host)?;
        }
        let metrics = Metrics::define(host.clone(), &policy.features);
        let services = Services {
            verifier: verifier(&host, &policy),
            store: host.store(policy.features.store == Store::Zone),
            clock: Box::new(HostClock(host.clone())),
            secret,
            waiting: WAITING.with(WaitingRequests::clone),
            held: Some(HELD.with(HeldBytes::clone)),
            token_cache: TokenCache::DEFAULT_BYTES,
        };
        let opens_early = policy.features.opens_store_early;
        let gate = Self {
            host,
            engine: Rc::new(engine(policy, services)),
            metrics,
            ids: RefCell::default(),
            certificates: RecentCertificates::default(),
            bypassed: Cell::default(),
            unchecked: Cell::default(),
        };
        if opens_early {
            gate.open().map_err(Why::Undecided)?;
        }
        Ok(gate)
    }

    /// Returns the policy.
    pub(super) fn policy(&self) -> &Policy {
        self.engine.policy()
    }

    /// Decides a request with this gate's engine.
    pub(super) fn decide<'a>(&self, engine: &'a Engine, request: Request<'a>) -> Result<Outcome<'a>, Failure> {
        if !engine.is_open() {
            self.open()?;
        }
        let outcome = engine.decide(request)?;
        self.tell_tokens();
        if let Outcome::Decided(decision) = &outcome {
            self.metrics.tell_limits(decision.facts().store_stats());
        }
        Ok(outcome)
    }

    /// Decides a request whose body has arrived.
    pub(super) fn resume<'a>(&self, pending: Pending<'a>) -> Result<Decision<'a>, Failure> {
        let decides = pending.forwards().is_none();
        let decision = self.engine.resume(pending, self.now()?)?;
        if decides {
            self.tell_tokens();
            self.metrics.tell_limits(decision.facts().store_stats());
        }
        Ok(decision)
    }

    /// Evaluates a request again that waits for keys.
    pub(super) fn retry<'a>(&self, engine: &'a Engine, pending: Pending<'a>) -> Result<Outcome<'a>, Failure> {
        let outcome = engine.retry(pending, self.now()?)?;
        self.tell_tokens();
        if let Outcome::Decided(decision) = &outcome {
            self.metrics.tell_limits(decision.facts().store_stats());
        }
        Ok(outcome)
    }

    /// Logs and counts what happened to the documents.
    pub(super) fn tell_documents(&self, events: &[DocumentEvent]) {
        for event in events {
            match event {
                DocumentEvent::Fetched | DocumentEvent::RevocationsFetched => {}
                DocumentEvent::KeysChanged { .. } | DocumentEvent::RevocationsChanged { .. } => log::info!("{event}"),
                _ => log::warn!("{event}"),
            }
            self.metrics.tell_document(event);
        }
    }

    /// Notes whether the definition of a tool matches its pins, for all workers.
    pub(super) fn note_definition(&self, endpoint: &Endpoint, operation: &Operation, changed: bool) {
        match self.engine.note_definition(endpoint, operation, changed) {
            Ok(false) => {}
            Ok(true) if changed => {
                self.metrics.tell_tool_changed();
                log::warn!(
                    "{}: the server's definition of `{}` matches none of the pins; the tool is hidden, and requests for it are denied",
                    operation.place,
                    operation.name.escape_debug()
                );
            }
            Ok(true) => log::info!(
                "{}: the server's definition of `{}` matches again",
                operation.place,
                operation.name.escape_debug()
            ),
            // The list does not contain the tool in any case. A store that fails also fails when the flag is read, so requests for the tool
            // are denied. Otherwise other workers wrote the opposite value before each attempt: the server lists different definitions at
            // once, and the last list decides in any case. The next list that has the definition tries again.
            Err(error) => log::error!("cannot tell other workers that a tool has changed: {error}"),
        }
    }

    /// Returns a reservation of no bytes for the part of an answer that is kept until it can be checked.
    pub(super) fn answer_reservation(&self, rules: &ListRules) -> Reservation {
        HELD.with(|held| rules.reservation(self.policy(), held))
    }

    /// Logs and counts an answer that was replaced, or lost an event.
    pub(super) fn tell_answer_fault(&self, endpoint: &Endpoint, fault: AnswerFault) {
        self.metrics.tell_answer_replaced();
        log::warn!("{}: {}", endpoint.place, fault.message());
    }

    /// Reports the ages of the fetched keys and of the list of revoked credentials, and how many requests wait for them.
    pub(super) fn tell_keys(&self) {
        if self.policy().fetches() {
            self.metrics.tell_keys(self.engine.document_age(), self.engine.waiting_requests());
            self.metrics.tell_revocations(self.engine.list_age());
        }
    }

    fn tell_tokens(&self) {
        if let Some(usage) = self.engine.token_usage() {
            self.metrics.tell_tokens(usage);
        }
    }

    /// Reports the number of bytes that this VM holds for requests and answers.
    pub(super) fn tell_held(&self) {
        self.metrics.tell_held(self.engine.held_bytes());
    }

    /// Opens the shared state if it is not open yet. On some gateways the first request does that. Every request is denied
    /// until it succeeds. A table whose size differs from the policy keeps its size.
    fn open(&self) -> Result<(), Undecided> {
        let OtherSizes { limits, replay } = self.engine.open()?;
        if let Some(entries) = limits {
            self.metrics.tell_other_size();
            log::warn!(
                "`tables.limits` keeps {entries} entries until the gateway restarts, because the table exists; the policy requires {}",
                self.policy().table_entries()
            );
        }
        if let Some(entries) = replay {
            self.metrics.tell_other_shares();
            log::warn!(
                "each agent's share of `tables.replay` keeps {entries} entries until the gateway restarts, because the table exists; \
                 the policy asks for another"
            );
        }
        if self.engine.ignores_newer() {
            log::warn!(
                "after an update, open connections that keep this policy do not apply what the new one revokes and suspends, because the \
                 workers' shared map cannot be used; the filter needs `proxy_get_shared_data` and `proxy_set_shared_data`"
            );
        }
        Ok(())
    }

    /// Denies requests from now on that must be held, because the gateway forwards them.
    pub(super) fn deny_held_requests(&self) {
        self.bypassed.set(true);
    }

    /// Returns whether requests are denied that must be held.
    pub(super) fn denies_held_requests(&self) -> bool {
        self.bypassed.get()
    }

    /// Returns the features of the gateway.
    pub(super) fn features(&self) -> &Features {
        &self.policy().features
    }

    /// Returns the time from the clock that the gateway provides.
    pub(super) fn now(&self) -> Result<Timestamp, Failure> {
        Ok(self.host.now(self.features().clock)?)
    }

    /// Returns the id for the next decision.
    pub(super) fn decision_id(&self) -> Result<DecisionId, Failure> {
        let DecisionId(random) = self.ids.try_borrow_mut().map_err(|_| Undecided::InUse)?.next(&self.host)?;
        if self.features().unpredictable {
            return Ok(DecisionId(random));
        }
        // Two workers with the same random numbers still differ in the time of their decisions.
        Ok(DecisionId(random ^ u128::from(self.now()?.as_nanos()) << 64))
    }

    /// Stores the record of a decision where the access log finds it, and writes it to the gateway's log if the policy requires
    /// that. Returns the record if it must be completed when the request has ended.
    pub(super) fn emit_record(&self, record: &Record<'_>) -> Result<Option<PendingRecord>, HostError> {
        let json = record.to_json();
        let (outcome, reason) = record.outcome();
        let written = self.put(&json);
        // If the record cannot be stored, an allowed request is denied instead, and the denial is counted.
        if written.is_ok() || outcome == "deny" {
            self.metrics.count(outcome, reason);
            if self.policy().logs(outcome != "allow") {
                self.host.log_record(&json);
            }
        }
        let completes = self.policy().records_outcome() && self.policy().features.record != RecordPlace::Nowhere;
        written.map(|()| completes.then_some(PendingRecord(json)))
    }

    /// Stores the record of a request whose body is still to be checked. The decision is counted and logged after that check.
    pub(super) fn emit_provisional(&self, record: &Record<'_>) -> Result<(), HostError> {
        self.put(&record.to_json())
    }

    /// Adds the outcome of the request to its record: what the gateway reports, or the reason for which its stream was `ended`, and the
    /// tools that were hidden from the answer because they `changed`. The gateway writes the access log after this.
    pub(super) fn complete(&self, record: Option<PendingRecord>, ended: Option<Reason>, changed: Option<&Removed>) {
        let names = || changed.into_iter().flat_map(Removed::changed);
        // The record of a stream that was ended has its end, and that of a list the tools that changed, even if the policy does not record
        // outcomes.
        let must_complete = ended.is_some() || names().next().is_some();
        let stored = || if must_complete { self.stored_record() } else { None };
        let Some(PendingRecord(json)) = record.or_else(stored) else { return };
        let outcome = completion::of_the_stream(&self.host, self.policy().features.numbers).with_tools_changed(names());
        let outcome = match ended {
            Some(reason) => outcome.ended_for(reason),
            None => outcome,
        };
        if let Err(error) = self.put(&outcome.complete(json)) {
            log::warn!("cannot add the outcome to a record: {error}");
        }
    }

    /// Returns the record that is stored for the current stream.
    fn stored_record(&self) -> Option<PendingRecord> {
        let RecordPlace::Property(path) = self.policy().features.record else { return None };
        self.host.property(path.as_bytes()).ok().flatten().map(PendingRecord)
    }

    /// Stores a record where the access log finds it.
    fn put(&self, json: &[u8]) -> Result<(), HostError> {
        match self.policy().features.record {
            RecordPlace::Property(path) => self.host.set_property(path.as_bytes(), json),
            RecordPlace::Nowhere => Ok(()),
        }
    }

    /// Records a request that could not be decided, with the data that the host still provides.
    pub(super) fn record_undecided(&self) -> Option<PendingRecord> {
        let now = self.now().ok();
        let written = self.emit_record(&Record::undecided(self.policy(), now, self.decision_id().ok()));
        written.unwrap_or_else(|error| {
            log::error!("cannot write the record of a denial: {error}");
            None
        })
    }
}

/// Compiles a policy, and logs its warnings. `variable` is the value of [`GATEWAY_VARIABLE`]. `adapter` is the only gateway that a native
/// adapter runs in. The Wasm filter passes `None`: it runs in several, and cannot find out in which.
pub(super) fn compile<H: Host>(
    host: &H,
    json: &[u8],
    variable: Option<&[u8]>,
    adapter: Option<&'static str>,
) -> Result<Arc<Policy>, Why> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Why::NotJson);
    }
    let environment = |name: &str| match host.variable(name) {
        Some(value) if !value.is_empty() => SecretLookup::Found(value),
        _ => SecretLookup::Missing,
    };
    let compiled = Policy::from_json(json, &environment).map_err(Why::Policy)?;
    for warning in &compiled.findings.warnings {
        log::warn!("{warning}");
    }
    let policy = compiled.policy;
    let gateway = policy.features.name;
    if adapter.map_or(gateway == ENVOY_MODULE, |own| gateway != own) {
        return Err(Why::Adapter(gateway, adapter));
    }
    match variable.filter(|name| *name != gateway.as_bytes()) {
        Some(other) => Err(Why::Gateway(gateway, String::from_utf8_lossy(other).into_owned())),
        None => Ok(Arc::new(policy)),
    }
}

/// A stored record that must be completed.
pub(super) struct PendingRecord(Vec<u8>);

/// Random ids for decisions, fetched from the host in batches.
#[derive(Default)]
struct DecisionIds(Vec<DecisionId>);

impl DecisionIds {
    fn next(&mut self, host: &impl Host) -> Result<DecisionId, HostError> {
        const BATCH: usize = 32;
        if let Some(id) = self.0.pop() {
            return Ok(id);
        }
        let mut bytes = [[0; 16]; BATCH];
        host.random(bytes.as_flattened_mut())?;
        let [first, rest @ ..] = bytes.map(|id| DecisionId(u128::from_le_bytes(id)));
        self.0.extend(rest);
        Ok(first)
    }
}
