//! A policy in force, with what a VM keeps for it between calls.

use std::cell::{OnceCell, RefCell};
use std::ffi::OsString;
use std::fmt;

use super::host::{self, HostClock, HostError, SharedData};
use super::memory;
use super::metrics::Metrics;
use super::outcome;
use super::verify::{Verifier, verifier};
use crate::decision::Decision;
use crate::decision::record::Record;
use crate::document::Findings;
use crate::evaluate::shared::{OpenedState, PolicyState};
use crate::evaluate::{Context, Hold, Step, evaluate};
use crate::identity::token::{SecretLookup, Secrets, TokenCache};
use crate::policy::Policy;
use crate::policy::{ClockCall, Features, GATEWAY_VARIABLE, RecordPlace, Store, must_accept};
use crate::quota::Recent;
use crate::quota::held::HeldBytes;
use crate::request::call::{Call, DecisionId};
use crate::state::StoreError;
use crate::text::time::Timestamp;

/// What to tell the operator when what the workers share cannot be used.
const UNUSABLE: &str = "the map that the gateway's workers share cannot be used, holds something else under this policy's name, or has \
                        not enough room; give the gate's plugins a `vm_id` of their own, or on Kong a zone of the size that \
                        `callgate check` prints";

/// A policy in force, with what a VM keeps for it between calls. The policy and the tokens that were verified under it come
/// and go together.
pub(super) struct Gate {
    policy: Policy,
    verifier: Verifier,
    tokens: RefCell<TokenCache>,
    recent: Recent,
    /// What the policy shares with the other workers, once it is open; none where it counts no calls.
    shared: OnceCell<Option<PolicyState>>,
    store: SharedData,
    /// What this VM holds, under whichever policy.
    held: HeldBytes,
    metrics: Metrics,
    ids: RefCell<DecisionIds>,
}

thread_local! {
    /// A policy that is replaced and the one that replaces it hold requests at the same time.
    static HELD: HeldBytes = HeldBytes::default();
}

impl Drop for Gate {
    /// What it held last is told by no timer.
    fn drop(&mut self) {
        self.tell_held();
    }
}

/// Why a configuration was rejected, and whether the gateway must not be told so.
pub(super) struct Refused {
    why: Why,
    must_accept: bool,
}

enum Why {
    /// The host did not hand it over.
    Host(HostError),
    /// It is not the JSON of a policy at all.
    NotJson,
    /// The policy has mistakes.
    Policy(Findings),
    /// The policy is written for this gateway, and the environment names another.
    Gateway(&'static str, String),
    /// What the gateway's workers share cannot be used.
    Shared,
}

/// Something that a decision needs is missing.
pub(super) enum Failure {
    /// No policy has been taken.
    NoPolicy,
    /// What the gateway's workers share cannot be used.
    Shared,
    /// A host call failed.
    Host(HostError),
    /// The host's serialisation of the headers does not add up.
    Headers,
    /// The gateway does not tell what the client asked for.
    Target,
    /// The host does not hand over the body that it said it has.
    Body,
    /// The gate is in use by the call that is being decided, which can only be after a trap on a host that goes on with
    /// the same VM.
    InUse,
}

impl Gate {
    /// Reads and compiles the configuration, of which the host said how long it is.
    pub(super) fn configure(size: usize) -> Result<Self, Refused> {
        let variable = std::env::var_os(GATEWAY_VARIABLE).map(OsString::into_encoded_bytes);
        let variable = variable.as_deref();
        let json = host::plugin_configuration(size)
            .map_err(|error| Refused { why: Why::Host(error), must_accept: must_accept(b"", variable) })?;
        Self::compile(&json, variable).map_err(|why| Refused { why, must_accept: must_accept(&json, variable) })
    }

    fn compile(json: &[u8], variable: Option<&[u8]>) -> Result<Self, Why> {
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(Why::NotJson);
        }
        let compiled = Policy::from_json(json, &Environment).map_err(Why::Policy)?;
        for warning in &compiled.findings.warnings {
            log::warn!("{warning}");
        }
        let policy = compiled.policy;
        if let Some(other) = variable.filter(|name| *name != policy.features.name.as_bytes()) {
            return Err(Why::Gateway(policy.features.name, String::from_utf8_lossy(other).into_owned()));
        }
        memory::expect_overrun(policy.features.overrun);
        log::info!("policy `{}` is in force, version {}", policy.name, policy.version);
        let metrics = Metrics::define(&policy.features);
        let store = SharedData { zone: policy.features.store == Store::Zone };
        let shared = OnceCell::new();
        if policy.features.opens_store_early {
            let _ = shared.set(open(&policy, &store, &metrics)?);
        }
        Ok(Self {
            verifier: verifier(&policy),
            policy,
            shared,
            store,
            tokens: RefCell::new(TokenCache::new(TokenCache::DEFAULT_BYTES)),
            recent: Recent::default(),
            held: HELD.with(HeldBytes::clone),
            metrics,
            ids: RefCell::new(DecisionIds::default()),
        })
    }

    /// The policy.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides a call.
    pub(super) fn decide<'a>(&'a self, call: Call<'a>) -> Result<Step<'a>, Failure> {
        let step = self.judging(|context| evaluate(&self.policy, call, context))?;
        if let Step::Decided(decision) = &step {
            self.metrics.tell_limits(decision.facts().shared_use());
        }
        Ok(step)
    }

    /// Decides a call whose body has come.
    pub(super) fn finish<'a>(&'a self, hold: Hold<'a>) -> Result<Decision<'a>, Failure> {
        let now = self.now()?;
        let decision = self.judging(|context| hold.finish(now, context))?;
        self.metrics.tell_limits(decision.facts().shared_use());
        Ok(decision)
    }

    fn judging<T>(&self, judge: impl FnOnce(Context<'_>) -> T) -> Result<T, Failure> {
        let mut tokens = self.tokens.try_borrow_mut().map_err(|_| Failure::InUse)?;
        let state = self.shared()?;
        let store = state.map(|state| state.store(&self.store));
        let shared = state.zip(store.as_ref()).map(|(state, store)| state.shared(store, &HostClock));
        let judged = judge(Context {
            verifier: &self.verifier,
            cache: &mut tokens,
            recent: &self.recent,
            shared,
            replay: state.and_then(PolicyState::replay),
            held: Some(&self.held),
            trace: None,
        });
        self.metrics.tell_tokens(tokens.usage());
        Ok(judged)
    }

    /// Tells the gateway how many bytes of requests this VM holds.
    pub(super) fn tell_held(&self) {
        self.metrics.tell_held(self.held.total());
    }

    /// What the policy shares with the other workers. It is opened by the first request where it was not before; until that
    /// succeeds every request is denied.
    fn shared(&self) -> Result<Option<&PolicyState>, Failure> {
        if let Some(state) = self.shared.get() {
            return Ok(state.as_ref());
        }
        let opened = open(&self.policy, &self.store, &self.metrics).map_err(|why| match why {
            Why::Host(error) => Failure::Host(error),
            Why::NotJson | Why::Policy(_) | Why::Gateway(..) | Why::Shared => Failure::Shared,
        })?;
        Ok(self.shared.get_or_init(|| opened).as_ref())
    }

    /// What the gateway offers.
    pub(super) fn features(&self) -> &Features {
        &self.policy.features
    }

    /// The moment, by the clock that the gateway has.
    pub(super) fn now(&self) -> Result<Timestamp, Failure> {
        let now = match self.features().clock {
            ClockCall::Host => host::now(),
            ClockCall::Wasi => host::wasi_now(),
        };
        Ok(Timestamp::from_nanos(now?))
    }

    /// A name for the next decision.
    pub(super) fn decision_id(&self) -> Result<DecisionId, Failure> {
        let DecisionId(random) = self.ids.try_borrow_mut().map_err(|_| Failure::InUse)?.next()?;
        if self.features().unpredictable {
            return Ok(DecisionId(random));
        }
        // Two workers that began alike went on at other moments.
        Ok(DecisionId(random ^ u128::from(self.now()?.as_nanos()) << 64))
    }

    /// Writes a decision down: where the access log finds it, and in the gateway's log where the policy asks for that. What
    /// comes back is the record where it is to be completed when the call has ended.
    pub(super) fn write_down(&self, record: &Record<'_>) -> Result<Option<Written>, HostError> {
        let json = record.to_json();
        let (outcome, reason) = record.outcome();
        let written = self.put(&json);
        // A call that goes on only when it is written down does not, and is counted as what becomes of it.
        if written.is_ok() || outcome == "deny" {
            self.metrics.count(outcome, reason);
            if self.policy.logs(outcome != "allow") {
                host::log(host::Level::Info, &String::from_utf8_lossy(&json));
            }
        }
        let completes = self.policy.records_outcome() && self.policy.features.record != RecordPlace::Nowhere;
        written.map(|()| completes.then_some(Written(json)))
    }

    /// Writes down what was decided about a call whose body is still to be checked. It is counted, and goes to the gateway's
    /// log, when that is done.
    pub(super) fn note(&self, record: &Record<'_>) -> Result<(), HostError> {
        self.put(&record.to_json())
    }

    /// Completes a record that was written down with how the call went on. The access log is written after this.
    pub(super) fn complete(&self, Written(json): Written) {
        let outcome = outcome::of_the_stream(self.policy.features.numbers);
        if let Err(error) = self.put(&outcome.complete(json)) {
            log::warn!("a record stays without its outcome: {error}");
        }
    }

    /// Puts a record where the access log finds it.
    fn put(&self, json: &[u8]) -> Result<(), HostError> {
        match self.policy.features.record {
            RecordPlace::Property(path) => host::set_property(path.as_bytes(), json),
            RecordPlace::Nowhere => Ok(()),
        }
    }

    /// Writes down a call that could not be decided, with as much as the host still gives.
    pub(super) fn write_down_undecided(&self) -> Option<Written> {
        let now = self.now().ok();
        let written = self.write_down(&Record::undecided(&self.policy, now, self.decision_id().ok()));
        written.unwrap_or_else(|error| {
            log::error!("a denial is not written down: {error}");
            None
        })
    }
}

/// A record that was written down and is to be completed.
pub(super) struct Written(Vec<u8>);

/// Opens what the workers share for a policy. A table of another size than the policy asks for goes on as it is.
fn open(policy: &Policy, store: &SharedData, metrics: &Metrics) -> Result<Option<PolicyState>, Why> {
    if !policy.keeps_state() {
        return Ok(None);
    }
    let mut secret = [0; 16];
    host::random(&mut secret).map_err(Why::Host)?;
    let opened = PolicyState::open(policy, store, &HostClock, secret).map_err(|StoreError| Why::Shared)?;
    let Some(OpenedState { state, limits_other_size, replay_other_size }) = opened else { return Ok(None) };
    if let Some(entries) = limits_other_size {
        metrics.tell_other_size();
        log::warn!(
            "`tables.limits` stays at {entries} until the gateway restarts, since the table exists: the policy asks for {}",
            policy.table_entries()
        );
    }
    if let Some(entries) = replay_other_size {
        metrics.tell_other_shares();
        log::warn!(
            "each agent's share of `tables.replay` stays at {entries} until the gateway restarts, since the table exists: \
             the policy asks for another"
        );
    }
    Ok(Some(state))
}

/// Random names for decisions, fetched from the host a batch at a time.
#[derive(Default)]
struct DecisionIds(Vec<DecisionId>);

impl DecisionIds {
    fn next(&mut self) -> Result<DecisionId, HostError> {
        const BATCH: usize = 32;
        if let Some(id) = self.0.pop() {
            return Ok(id);
        }
        let mut bytes = [[0; 16]; BATCH];
        host::random(bytes.as_flattened_mut())?;
        let [first, rest @ ..] = bytes.map(|id| DecisionId(u128::from_le_bytes(id)));
        self.0.extend(rest);
        Ok(first)
    }
}

/// The environment variables that the gateway passes to the VM.
struct Environment;

impl Secrets for Environment {
    fn resolve(&self, name: &str) -> SecretLookup {
        match std::env::var_os(name) {
            Some(value) if !value.is_empty() => SecretLookup::Found(value.into_encoded_bytes()),
            _ => SecretLookup::Missing,
        }
    }
}

impl Refused {
    /// Whether the gateway must not be told so, and every request is denied instead: it would leave the API open.
    pub(super) fn must_accept(&self) -> bool {
        self.must_accept
    }

    /// What to tell the operator, one line for each mistake.
    pub(super) fn lines(&self) -> Vec<String> {
        match &self.why {
            Why::Host(error) => vec![format!("the configuration cannot be read: {error}")],
            Why::NotJson => vec![
                "the configuration is not a JSON object: deliver the policy's JSON as a `google.protobuf.StringValue` (a \
                 `google.protobuf.Struct` reaches a filter as protobuf bytes); `callgate render` prints it so"
                    .into(),
            ],
            Why::Gateway(policy, variable) => vec![format!(
                "gateway: the policy is written for `{policy}`, and the environment variable `{GATEWAY_VARIABLE}` is `{}`; \
                 expected the same gateway in both",
                variable.escape_debug()
            )],
            Why::Shared => vec![UNUSABLE.into()],
            Why::Policy(findings) => findings.errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy is in force"),
            Self::Shared => f.write_str(UNUSABLE),
            Self::Host(error) => error.fmt(f),
            Self::Headers => f.write_str("the gateway's list of headers does not add up"),
            Self::Target => f.write_str("`proxy_get_property` does not tell the path that the client asked for"),
            Self::Body => f.write_str("the gateway does not hand over the body that it said it has"),
            Self::InUse => f.write_str("an earlier call stopped the filter, and the gateway went on with it"),
        }
    }
}
