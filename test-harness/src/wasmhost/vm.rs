//! One VM: its start, its root contexts and their configurations, and what tests read from it.
//!
//! The callbacks of a stream, and how a gateway shows a request to the module, belong in `stream`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use wasmtime::{Instance, Store, WasmParams, WasmResults};

use super::foreign::Answer;
use super::module::Module;
use super::profile::Refused;
use super::shared::SharedData;
use super::state::{Fault, Log, State};

/// More instructions than any request or configuration needs. An endless loop ends here with a trap.
pub(super) const FUEL: u64 = 50_000_000_000;

/// A running module. Root contexts and the module's state live as long as this value.
pub struct Vm {
    pub(super) store: Store<State>,
    instance: Instance,
    next_context: u32,
    first_root: Root,
    /// Set by the first trap. A gateway would discard this VM.
    trapped: bool,
}

/// A root context: one configuration in a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root(pub(super) u32);

/// The module rejected its configuration.
#[derive(Debug)]
pub struct ConfigureFailed {
    /// The log lines of the attempt.
    pub logs: Vec<Log>,
    /// The trap, if there was one.
    pub trap: Option<String>,
}

impl Vm {
    /// Starts a VM with one root context.
    ///
    /// # Errors
    /// When the module traps or rejects the configuration.
    pub fn start(module: &Module, config: &[u8], environment: &[(String, String)]) -> Result<Self, ConfigureFailed> {
        let shared = SharedData::of(module.profile().quirks().store);
        Self::start_beside(module, config, environment, &shared)
    }

    /// Starts a VM next to others with the same shared state, as a gateway starts its workers' VMs.
    ///
    /// # Errors
    /// See [`Vm::start`].
    pub fn start_beside(
        module: &Module,
        config: &[u8],
        environment: &[(String, String)],
        shared: &SharedData,
    ) -> Result<Self, ConfigureFailed> {
        if !shared.is_aligned() {
            let trap = Some("nginx does not start: the size of a zone must be a multiple of 4096".to_owned());
            return Err(ConfigureFailed { logs: Vec::new(), trap });
        }
        // Each worker gets other random numbers.
        let random = shared.next_worker();
        let state = State {
            profile: module.profile(),
            answer: module.answer(),
            environment: environment.to_vec(),
            shared: shared.clone(),
            random,
            ..State::default()
        };
        let mut store = Store::new(module.instance().module().engine(), state);
        let trap = |error: wasmtime::Error| ConfigureFailed { logs: Vec::new(), trap: Some(format!("{error:?}")) };
        store.set_fuel(FUEL).map_err(trap)?;
        let instance = module.instance().instantiate(&mut store).map_err(trap)?;
        let memory = instance.get_memory(&mut store, "memory");
        let allocate = instance.get_typed_func(&mut store, "proxy_on_memory_allocate").map_err(trap)?;
        let state = store.data_mut();
        state.memory = memory;
        state.allocate = Some(allocate);
        let mut vm = Self { store, instance, next_context: 1, first_root: Root(1), trapped: false };
        vm.begin(None);
        vm.store.data_mut().initializing = true;
        let initialized = vm.callback::<_, ()>("_initialize", ());
        vm.store.data_mut().initializing = false;
        initialized.map_err(|trap| vm.configure_failed(Some(trap)))?;
        let root = vm.create_root()?;
        let started = vm.in_context(root.0, |vm| vm.callback::<_, u32>("proxy_on_vm_start", (root.0, 0_u32)));
        started.map_err(|trap| vm.configure_failed(Some(trap)))?;
        vm.configure(root, config, None)?;
        vm.first_root = root;
        Ok(vm)
    }

    /// Adds a root context, as a second listener does. It has no configuration yet.
    ///
    /// # Errors
    /// When the module traps.
    pub fn create_root(&mut self) -> Result<Root, ConfigureFailed> {
        let root = Root(self.context_id());
        self.begin(None);
        let created = self.callback::<_, ()>("proxy_on_context_create", (root.0, 0_u32));
        created.map(|()| root).map_err(|trap| self.configure_failed(Some(trap)))
    }

    /// Configures a root context for the first time, or again, as hosts that keep the context do.
    ///
    /// # Errors
    /// When the module traps or rejects the configuration.
    pub fn configure(&mut self, root: Root, config: &[u8], fault: Option<Fault>) -> Result<(), ConfigureFailed> {
        self.begin(fault);
        self.store.data_mut().configuration = Some(config.to_vec());
        let size = u32::try_from(config.len()).unwrap_or(u32::MAX);
        let taken = self.in_context(root.0, |vm| vm.callback::<_, u32>("proxy_on_configure", (root.0, size)));
        self.store.data_mut().configuration = None;
        match taken {
            Ok(0) if self.store.data().quirks().refused != Refused::KeepsTheLast => {
                self.trapped = true;
                let what = match self.store.data().quirks().refused {
                    Refused::LeavesTheApiOpen => "the chain does not load, and requests are forwarded without it",
                    Refused::AnswersWithErrors | Refused::KeepsTheLast => {
                        "the plugin does not load, and the response is 503"
                    }
                };
                Err(self.configure_failed(Some(what.into())))
            }
            Ok(0) => Err(self.configure_failed(None)),
            Ok(_) => Ok(()),
            Err(trap) => Err(self.configure_failed(Some(trap))),
        }
    }

    /// Passes a published test vector to a module that answers them, and returns the result that it logs.
    ///
    /// # Errors
    /// When the module traps or logs no result.
    pub fn conformance(&mut self, case: &[u8]) -> Result<String, String> {
        self.begin(None);
        self.store.data_mut().configuration = Some(case.to_vec());
        let size = u32::try_from(case.len()).unwrap_or(u32::MAX);
        let answered = self.callback::<_, u32>("callgate_conformance", size);
        let state = self.store.data_mut();
        state.configuration = None;
        let answer = state.logs.pop().filter(|_| answered == Ok(1)).map(|log| log.message);
        answered.and_then(|_| answer.ok_or_else(|| "the module returned no result".into()))
    }

    /// Makes `verify_signature` always return this answer from now on.
    pub fn answer(&mut self, answer: Answer) {
        self.store.data_mut().answer = Some(answer);
    }

    /// Returns the period of a root context's timer, or `None` if it does not run.
    #[must_use]
    pub fn period(&self, root: Root) -> Option<Duration> {
        let period = self.store.data().timers.get(&root.0).filter(|period| **period > 0);
        period.map(|period| Duration::from_millis((*period).into()))
    }

    /// Fires the timer of a root context, if it has one, after its period has passed. [`Vm::look`] then finds what the module did with
    /// waiting streams.
    ///
    /// # Errors
    /// When the module traps.
    pub fn tick(&mut self, root: Root) -> Result<bool, String> {
        self.begin(None);
        let Some(period) = self.period(root) else { return Ok(false) };
        self.pass(period);
        self.in_context(root.0, |vm| vm.callback::<_, ()>("proxy_on_tick", root.0)).map(|()| true)
    }

    /// Lets time pass. The time of day stays as it is: each request has its own.
    pub fn pass(&mut self, span: Duration) {
        self.store.data().shared.pass(span);
    }

    /// Sets the time of day, in nanoseconds since 1970, for callbacks without a request. Each request sets it again.
    pub fn set_clock(&mut self, now: u64) {
        self.store.data_mut().clock = now;
    }

    /// Returns the root context that the VM was started with.
    #[must_use]
    pub fn first_root(&self) -> Root {
        self.first_root
    }

    /// Returns the instructions since the last request, configuration, tick or response to a call began, as wasmtime counts fuel.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        FUEL - self.store.get_fuel().unwrap_or(0)
    }

    /// Returns the log lines since the last request or configuration began. Outcomes of requests take theirs away.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.store.data().logs
    }

    /// Returns the counters that the module defined.
    #[must_use]
    pub fn counters(&self) -> &BTreeMap<String, u64> {
        &self.store.data().counters
    }

    /// Returns the gauges that the module defined.
    #[must_use]
    pub fn gauges(&self) -> &BTreeMap<String, i64> {
        &self.store.data().gauges
    }

    /// Returns the size of the module's linear memory, in bytes. It never shrinks.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    pub(super) fn context_id(&mut self) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        id
    }

    /// Resets the counts of calls and instructions.
    pub(super) fn begin(&mut self, fault: Option<Fault>) {
        // This fails only if fuel is not counted.
        let _ = self.store.set_fuel(FUEL);
        let state = self.store.data_mut();
        state.fault = fault;
        state.calls.clear();
        state.fuel_left.clear();
        state.logs.clear();
    }

    fn configure_failed(&mut self, trap: Option<String>) -> ConfigureFailed {
        ConfigureFailed { logs: std::mem::take(&mut self.store.data_mut().logs), trap }
    }

    /// Lets calls act on this context: an open stream, or else a root context. No stream is selected afterwards.
    pub(super) fn in_context<T>(&mut self, context: u32, run: impl FnOnce(&mut Self) -> T) -> T {
        let state = self.store.data_mut();
        state.choose(Some(context));
        state.root = Some(context).filter(|_| state.stream.is_none());
        let result = run(self);
        let state = self.store.data_mut();
        state.choose(None);
        state.root = None;
        result
    }

    /// Calls the module. Another context that it selects is selected only until the callback returns.
    pub(super) fn callback<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &'static str,
        params: P,
    ) -> Result<R, String> {
        if self.trapped {
            return Err("this VM has already trapped".into());
        }
        let state = self.store.data_mut();
        state.callback = name;
        let own = state.number();
        let function = self.instance.get_typed_func(&mut self.store, name);
        let called = function.and_then(|function| function.call(&mut self.store, params));
        self.store.data_mut().choose(own);
        called.map_err(|error| {
            self.trapped = true;
            format!("{name}: {error:?}")
        })
    }
}

impl fmt::Display for ConfigureFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.trap.as_deref().unwrap_or("the module rejects its configuration"))?;
        self.logs.iter().try_for_each(|log| write!(f, "\n{}", log.message))
    }
}

impl std::error::Error for ConfigureFailed {}
