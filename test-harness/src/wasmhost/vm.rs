//! One VM: its root contexts, and the streams that it decides.

use std::collections::BTreeMap;
use std::fmt;

use wasmtime::{Instance, Store, WasmParams, WasmResults};

use super::foreign::Answer;
use super::head;
use super::module::Module;
use super::pairs::Pairs;
use super::profile::{Body, Refused};
use super::request::{Outcome, Request, Verdict};
use super::shared::SharedData;
use super::state::{Fault, Log, State, Stream};

/// The ABI's number for a callback result that lets the stream continue.
const CONTINUE: u32 = 0;
/// More instructions than any request or configuration needs. An endless loop ends here with a trap.
const FUEL: u64 = 50_000_000_000;
/// The suffix of the record's name, wherever the gateway stores it.
const RECORD: &[u8] = b"callgate";

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

/// The progress of a request.
#[derive(Debug, Default)]
pub(super) struct Going {
    /// Whether the parts so far are held.
    held: bool,
    /// The forwarded header lines.
    headers: Option<Pairs>,
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
        let random = u64::try_from(shared.len()).unwrap_or_default();
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
        let started = vm.callback::<_, u32>("proxy_on_vm_start", (root.0, 0_u32));
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
        let state = self.store.data_mut();
        (state.configuration, state.root) = (Some(config.to_vec()), Some(root.0));
        let size = u32::try_from(config.len()).unwrap_or(u32::MAX);
        let taken = self.callback::<_, u32>("proxy_on_configure", (root.0, size));
        let state = self.store.data_mut();
        (state.configuration, state.root) = (None, None);
        match taken {
            Ok(0) if self.store.data().quirks().refused != Refused::KeepsTheLast => {
                self.trapped = true;
                let what = match self.store.data().quirks().refused {
                    Refused::LeavesTheApiOpen => "the chain does not load, and requests are forwarded without it",
                    Refused::AnswersWithErrors | Refused::KeepsTheLast => "the plugin does not load, and answers 503",
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
        answered.and_then(|_| answer.ok_or_else(|| "it gives no answer".into()))
    }

    /// Makes `verify_signature` always return this answer from now on.
    pub fn answer(&mut self, answer: Answer) {
        self.store.data_mut().answer = Some(answer);
    }

    /// Returns the root context that the VM was started with.
    #[must_use]
    pub fn first_root(&self) -> Root {
        self.first_root
    }

    /// Lets the first root context decide a request.
    pub fn request(&mut self, request: &Request) -> Outcome {
        self.request_on(self.first_root, request)
    }

    /// Lets a root context decide a request.
    pub fn request_on(&mut self, root: Root, request: &Request) -> Outcome {
        let has_body = request.body.as_ref().is_some_and(|parts| parts.iter().any(|part| !part.is_empty()));
        let received = head::received(self.store.data().quirks(), &request.headers, has_body);
        let answered = received.as_ref().err().copied();
        let request = &Request { headers: received.unwrap_or_default(), ..request.clone() };
        self.arrive(request);
        let mut gone = None;
        let verdict = match answered {
            Some(status) => Verdict::Server(status),
            None => self.decide(root, request, &mut gone).unwrap_or_else(Verdict::Trap),
        };
        self.outcome(verdict, gone)
    }

    /// Starts a stream for a request whose head the host has read.
    pub(super) fn arrive(&mut self, request: &Request) {
        self.begin(request.fault.clone());
        let state = self.store.data_mut();
        state.clock = request.now;
        let quirks = state.quirks();
        let (headers, properties) = (head::shown(quirks, request), head::properties(quirks, request));
        state.stream = Some(Stream { headers: Some(headers), properties, ..Stream::default() });
    }

    /// Returns the observable results of a request that has ended.
    pub(super) fn outcome(&mut self, verdict: Verdict, gone: Option<Pairs>) -> Outcome {
        let fuel = FUEL - self.store.get_fuel().unwrap_or(0);
        let state = self.store.data_mut();
        let stream = state.stream.take().unwrap_or_default();
        let record = stream.written.iter().find(|(name, _)| name.ends_with(RECORD)).map(|(_, record)| {
            serde_json::from_slice(record).unwrap_or_else(|_| String::from_utf8_lossy(record).into_owned().into())
        });
        Outcome {
            verdict,
            gone,
            trailers: stream.trailers,
            answer: stream.answer,
            record,
            logs: std::mem::take(&mut state.logs),
            calls: std::mem::take(&mut state.calls),
            fuel,
            fuel_at: std::mem::take(&mut state.fuel_left).into_iter().map(|left| FUEL - left).collect(),
        }
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

    fn decide(&mut self, root: Root, request: &Request, gone: &mut Option<Pairs>) -> Result<Verdict, String> {
        let stream = self.context_id();
        self.callback::<_, ()>("proxy_on_context_create", (stream, root.0))?;
        let mut going = Going::default();
        let verdict = self.decode(stream, request, &mut going)?;
        self.end(stream, request, verdict, going, gone)
    }

    /// Ends a stream: its response passes through the module, which then learns that the stream is over.
    pub(super) fn end(
        &mut self,
        stream: u32,
        request: &Request,
        verdict: Verdict,
        mut going: Going,
        gone: &mut Option<Pairs>,
    ) -> Result<Verdict, String> {
        let mut hidden = Pairs::new();
        self.with_stream(|stream| hidden = std::mem::take(&mut stream.hidden));
        *gone = going.headers.take().map(|mut lines| {
            lines.extend(hidden);
            head::forwarded(self.store.data().quirks(), request, lines)
        });
        // Envoy sends a local reply through the filters as well.
        let status = if let Verdict::Reply(reply) = &verdict { reply.status } else { 200 };
        if verdict != Verdict::Hang {
            let mut headers = vec![(b":status".to_vec(), status.to_string().into_bytes())];
            let forwarded = matches!(verdict, Verdict::Continue { .. });
            if forwarded {
                headers.extend(request.answer.iter().cloned());
            }
            let lines = u32::try_from(headers.len()).unwrap_or(u32::MAX);
            self.with_stream(|stream| stream.response_headers = Some(headers));
            self.callback::<_, u32>("proxy_on_response_headers", (stream, lines, 1_u32))?;
            self.with_stream(|stream| {
                let headers = stream.response_headers.take();
                stream.answer = headers.filter(|_| forwarded);
            });
        }
        self.callback::<_, u32>("proxy_on_done", stream)?;
        self.callback::<_, ()>("proxy_on_log", stream)?;
        self.callback::<_, ()>("proxy_on_delete", stream)?;
        Ok(match verdict {
            Verdict::Continue { .. } => Verdict::Continue { headers: gone.take().unwrap_or_default() },
            other => other,
        })
    }

    /// Shows the request to the module, as far as the gateway does, until the module answers or everything may be forwarded.
    fn decode(&mut self, stream: u32, request: &Request, going: &mut Going) -> Result<Verdict, String> {
        let quirks = self.store.data().quirks();
        if let Some(reply) = self.show_head(stream, request, going)? {
            return Ok(reply);
        }
        if going.held && quirks.body != Body::WithTheHead {
            return Ok(Verdict::Hang);
        }
        if let Some(reply) = self.show_body(stream, request, going)? {
            return Ok(reply);
        }
        if let Some(trailers) = request.trailers.as_ref().filter(|_| quirks.trailers) {
            self.with_stream(|stream| stream.trailers = Some(trailers.clone()));
            let lines = u32::try_from(trailers.len()).unwrap_or(u32::MAX);
            let action = self.callback("proxy_on_request_trailers", (stream, lines))?;
            let reply = self.go_on(action, going);
            if reply.is_some() || going.held {
                self.with_stream(|stream| stream.trailers = None);
            }
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
        if going.held {
            return Ok(Verdict::Hang);
        }
        self.with_stream(|stream| going.headers = going.headers.take().or_else(|| stream.headers.take()));
        Ok(Verdict::Continue { headers: Pairs::new() })
    }

    /// Shows the head to the module. Returns the result if the module answers.
    pub(super) fn show_head(
        &mut self,
        stream: u32,
        request: &Request,
        going: &mut Going,
    ) -> Result<Option<Verdict>, String> {
        let ends = request.end_told.unwrap_or(request.end_of_stream && self.store.data().quirks().tells_the_end());
        let headers = self.store.data().stream.as_ref().and_then(|stream| stream.headers.as_ref());
        let headers = headers.map_or(0, |lines| u32::try_from(lines.len()).unwrap_or(u32::MAX));
        let action = self.callback("proxy_on_request_headers", (stream, headers, u32::from(ends)))?;
        Ok(self.go_on(action, going))
    }

    /// Shows a part of the body to the module, together with the held parts that arrived earlier. Returns the result if the module answers.
    pub(super) fn show_part(
        &mut self,
        stream: u32,
        part: &[u8],
        ends: bool,
        going: &mut Going,
    ) -> Result<Option<Verdict>, String> {
        let mut size = 0;
        self.with_stream(|stream| {
            let shown = stream.body.get_or_insert_default();
            shown.extend_from_slice(part);
            size = u32::try_from(shown.len()).unwrap_or(u32::MAX);
            if stream.body_on_disk {
                stream.body = None;
            }
        });
        let action = self.callback("proxy_on_request_body", (stream, size, u32::from(ends)))?;
        Ok(self.go_on(action, going))
    }

    /// Shows the body as the gateway does: held parts are buffered, and shown again with the parts that follow.
    fn show_body(&mut self, stream: u32, request: &Request, going: &mut Going) -> Result<Option<Verdict>, String> {
        let Some(body) = &request.body else { return Ok(None) };
        self.with_stream(|stream| stream.body_on_disk = request.body_on_disk);
        let whole = [body.concat()];
        let parts = match self.store.data().quirks().body {
            Body::Never => return Ok(None),
            Body::Whole if whole[0].is_empty() => return Ok(None),
            Body::Whole => &whole[..],
            Body::WithTheHead | Body::AfterTheHead if body.is_empty() => &[Vec::new()],
            Body::WithTheHead | Body::AfterTheHead => body,
        };
        for (number, part) in (1..).zip(parts) {
            let last = number == parts.len();
            let ends = last && (request.trailers.is_none() || !self.store.data().quirks().trailers);
            self.store.data_mut().clock = request.body_at.filter(|_| last).unwrap_or(request.now);
            let reply = self.show_part(stream, part, ends, going)?;
            if reply.is_some() {
                return Ok(reply);
            }
        }
        Ok(None)
    }

    /// Applies a callback's result. A local reply stops the stream regardless of the callback's result.
    fn go_on(&mut self, action: u32, going: &mut Going) -> Option<Verdict> {
        let at_once = self.store.data().quirks().body != Body::Whole;
        let stream = self.store.data_mut().stream.as_mut()?;
        if let Some(reply) = stream.reply.take() {
            return Some(Verdict::Reply(reply));
        }
        going.held = action != CONTINUE;
        if !going.held {
            if at_once {
                going.headers = going.headers.take().or_else(|| stream.headers.take());
            }
            stream.body = None;
        }
        None
    }

    fn with_stream(&mut self, change: impl FnOnce(&mut Stream)) {
        if let Some(stream) = &mut self.store.data_mut().stream {
            change(stream);
        }
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

    pub(super) fn callback<P: WasmParams, R: WasmResults>(&mut self, name: &str, params: P) -> Result<R, String> {
        if self.trapped {
            return Err("this VM trapped before".into());
        }
        let function = self.instance.get_typed_func(&mut self.store, name);
        function.and_then(|function| function.call(&mut self.store, params)).map_err(|error| {
            self.trapped = true;
            format!("{name}: {error:?}")
        })
    }
}

impl fmt::Display for ConfigureFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.trap.as_deref().unwrap_or("the module does not take its configuration"))?;
        self.logs.iter().try_for_each(|log| write!(f, "\n{}", log.message))
    }
}

impl std::error::Error for ConfigureFailed {}
