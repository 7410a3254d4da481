//! The engine's host: Envoy, for the current stream or configuration of one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use callgate::host::{
    AnswerHeaders, BAD_ARGUMENT, ClockCall, Host, HostError, Kind, Map, Monotonic, SharedStore, TableVerifier,
    Timestamp, VerifySignature, check_value,
};

use crate::abi::{self, EnvoyConfig};
use crate::clock::{self, START};
use crate::config::Shared;
use crate::io::{FAILED, Io, NOT_FOUND, Reply};
use crate::main_thread::Response;
use crate::metrics::{self, Labelled};
use crate::store::ProcessStore;
use crate::verifier::NativeVerifier;
use crate::{main_thread, properties, timer};

/// The status of an error for a function that this host does not have.
const NOT_IMPLEMENTED: i32 = 12;

/// The monotonic clock starts far from zero, because times before the start of the process are computed from it.
const BEFORE_START: u64 = 30 * 24 * 3_600 * 1_000;

/// What the functions of the host apply to.
#[derive(Clone)]
pub(crate) enum Target {
    /// Nothing: a worker creates or drops its state.
    Nothing,
    /// A stream, in one of its hooks.
    Stream(Rc<Io>),
    /// A configuration, in one of its hooks on the main thread.
    Config(EnvoyConfig),
    /// The same, while the result of a call is handled.
    Called(EnvoyConfig, Rc<Response>),
}

/// Envoy, as one thread uses it for one configuration.
#[derive(Clone)]
pub(crate) struct Envoy(Rc<Context>);

struct Context {
    config: Arc<Shared>,
    target: RefCell<Target>,
    /// The period of the configuration's timer.
    period: Cell<Option<Duration>>,
    /// The metrics that the code for all gateways defined. It knows them by their positions.
    metrics: RefCell<Vec<Labelled>>,
}

/// Puts the previous target back when a hook has finished.
pub(crate) struct Entered<'e> {
    envoy: &'e Envoy,
    previous: Target,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let previous = std::mem::replace(&mut self.previous, Target::Nothing);
        drop(self.envoy.0.target.replace(previous));
    }
}

impl Envoy {
    pub(crate) fn new(config: Arc<Shared>) -> Self {
        Self(Rc::new(Context {
            config,
            target: RefCell::new(Target::Nothing),
            period: Cell::default(),
            metrics: RefCell::default(),
        }))
    }

    /// Makes something the target of all functions, until the result is dropped.
    pub(crate) fn enter(&self, target: Target) -> Entered<'_> {
        Entered { envoy: self, previous: self.0.target.replace(target) }
    }

    /// Returns the period of the configuration's timer, if the policy needs one.
    pub(crate) fn period(&self) -> Option<Duration> {
        self.0.period.get()
    }

    fn target(&self) -> Target {
        self.0.target.borrow().clone()
    }

    /// Returns the current stream.
    fn stream(&self, call: &'static str) -> Result<Rc<Io>, HostError> {
        match &*self.0.target.borrow() {
            Target::Stream(io) => Ok(Rc::clone(io)),
            _ => Err(HostError { call, status: NOT_FOUND }),
        }
    }

    /// Returns the response to a call that is being handled.
    fn response(&self, call: &'static str) -> Result<Rc<Response>, HostError> {
        match &*self.0.target.borrow() {
            Target::Called(_, response) => Ok(Rc::clone(response)),
            _ => Err(HostError { call, status: NOT_FOUND }),
        }
    }
}

/// Returns Envoy's number of a map of a stream.
fn number(call: &'static str, map: Map) -> Result<u32, HostError> {
    match map {
        Map::RequestHeaders => Ok(abi::REQUEST_HEADERS),
        Map::RequestTrailers => Ok(abi::REQUEST_TRAILERS),
        Map::ResponseHeaders => Ok(abi::RESPONSE_HEADERS),
        Map::CallHeaders => Err(HostError { call, status: BAD_ARGUMENT }),
    }
}

impl Host for Envoy {
    fn header_pairs(&self, map: Map) -> Result<Vec<u8>, HostError> {
        const CALL: &str = "http_get_headers";
        if map == Map::CallHeaders {
            return Ok(self.response(CALL)?.header_pairs());
        }
        self.stream(CALL)?.serialized(number(CALL, map)?)
    }

    fn has_header(&self, map: Map, name: &[u8]) -> Result<bool, HostError> {
        const CALL: &str = "http_get_header";
        self.stream(CALL)?.value(number(CALL, map)?, name, |value| value.is_some())
    }

    fn replace_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        const CALL: &str = "http_set_header";
        self.stream(CALL)?.set_header(number(CALL, map)?, name, value)
    }

    fn add_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        const CALL: &str = "http_add_header";
        self.stream(CALL)?.add_header(number(CALL, map)?, name, value)
    }

    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError> {
        const CALL: &str = "http_set_header";
        self.stream(CALL)?.set_header(number(CALL, map)?, name, b"")
    }

    fn property(&self, path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        properties::read(&*self.stream("http_filter_get_attribute_string")?, path)
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError> {
        properties::set(&*self.stream("http_set_filter_state_bytes")?, path, value)
    }

    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        self.stream("http_get_body_chunks")?.request_body(start, most)
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.stream("http_get_body_chunks")?.response_part(size)
    }

    fn set_response_body(&self, _: usize, bytes: &[u8]) -> Result<(), HostError> {
        self.stream("http_drain_body")?.replace_response_part(bytes)
    }

    fn continue_request(&self) -> Result<(), HostError> {
        self.stream("http_filter_continue_decoding")?.record_continue();
        Ok(())
    }

    fn call(&self, upstream: &str, headers: &[(&str, &str)], timeout: Duration) -> Result<u32, HostError> {
        const CALL: &str = "http_filter_config_http_callout";
        match self.target() {
            Target::Config(config) | Target::Called(config, _) => main_thread::call(config, upstream, headers, timeout),
            Target::Stream(_) | Target::Nothing => Err(HostError { call: CALL, status: NOT_FOUND }),
        }
    }

    fn call_body(&self, most: usize) -> Result<Vec<u8>, HostError> {
        Ok(self.response("http_filter_config_http_callout")?.body(most))
    }

    fn configuration(&self, _: usize) -> Result<Vec<u8>, HostError> {
        // The policy is compiled once for all threads, from what Envoy passes to the hook.
        Err(HostError { call: "configuration", status: NOT_IMPLEMENTED })
    }

    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.0.config.variable(name)
    }

    fn send_response(
        &self,
        status: u16,
        details: &str,
        headers: &AnswerHeaders<'_>,
        body: &[u8],
        grpc_status: Option<u32>,
    ) -> Result<(), HostError> {
        const CALL: &str = "http_send_response";
        for (_, value) in headers {
            check_value(CALL, value.as_bytes())?;
        }
        self.stream(CALL)?.record_reply(Reply {
            status,
            details: details.to_owned(),
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            body: body.to_vec(),
            grpc_status,
        });
        Ok(())
    }

    fn set_tick_period(&self, period: Duration) -> Result<(), HostError> {
        // Only the main thread has a timer for its configuration. Streams have their own alarms.
        if matches!(&*self.0.target.borrow(), Target::Config(_) | Target::Called(..)) {
            timer::start().map_err(|error| {
                log::error!("cannot start the thread of the timer: {error}");
                HostError { call: "thread", status: FAILED }
            })?;
            self.0.period.set(Some(period));
        }
        Ok(())
    }

    fn set_effective_context(&self, _: u32) -> Result<(), HostError> {
        // Each stream is the target of its own hooks.
        Ok(())
    }

    fn define_metric(&self, _: Kind, name: &str) -> Result<u32, HostError> {
        let error = HostError { call: "http_filter_config_define_counter", status: NOT_FOUND };
        let metric = Labelled::named(name).ok_or(error)?;
        let mut metrics = self.0.metrics.borrow_mut();
        let at = metrics.iter().position(|known| *known == metric).unwrap_or_else(|| {
            metrics.push(metric);
            metrics.len() - 1
        });
        u32::try_from(at).map_err(|_| error)
    }

    fn change_metric(&self, metric: u32, change: i64) -> Result<(), HostError> {
        const CALL: &str = "http_filter_increment_counter";
        let error = HostError { call: CALL, status: NOT_FOUND };
        let metrics = self.0.metrics.borrow();
        let metric = usize::try_from(metric).ok().and_then(|at| metrics.get(at)).ok_or(error)?;
        match &*self.0.target.borrow() {
            Target::Stream(io) if !io.is_over() => self.0.config.metrics().change(io.envoy(CALL)?, metric, change),
            _ => {
                metrics::change_later(metric, change);
                Ok(())
            }
        }
    }

    fn log_record(&self, json: &[u8]) {
        crate::logger::write(abi::INFO, &String::from_utf8_lossy(json));
    }

    fn now(&self, _: ClockCall) -> Result<Timestamp, HostError> {
        let error = HostError { call: "clock_gettime", status: FAILED };
        let since = clock::system().duration_since(UNIX_EPOCH).map_err(|_| error)?;
        u64::try_from(since.as_nanos()).map(Timestamp::from_nanos).map_err(|_| error)
    }

    fn monotonic(&self) -> Result<Monotonic, HostError> {
        let since = u64::try_from(clock::instant().saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX);
        Ok(Monotonic::from_millis(since.saturating_add(BEFORE_START)))
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError> {
        #[cfg(any(test, feature = "testing"))]
        if clock::stopped::fill(bytes) {
            return Ok(());
        }
        getrandom::fill(bytes).map_err(|_| HostError { call: "getrandom", status: FAILED })
    }

    fn verify_signature(&self, _: &[u8]) -> Result<Vec<u8>, HostError> {
        Err(HostError { call: "verify_signature", status: NOT_IMPLEMENTED })
    }

    fn native_verifier(&self, behind: TableVerifier) -> Result<Box<dyn VerifySignature>, TableVerifier> {
        Ok(Box::new(NativeVerifier::new(behind)))
    }

    fn store(&self, _: bool) -> Rc<dyn SharedStore> {
        Rc::new(ProcessStore)
    }

    fn expect_overrun(&self, _: usize) {}
}
