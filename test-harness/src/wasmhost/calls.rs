//! Calls that the module makes to other servers, and the responses that a test gives.
//!
//! Nothing is sent. A call stays outstanding until the test answers it or lets it fail, however much time passes.

use std::time::Duration;

use wasmtime::{Caller, Linker};

use super::guest::{Guest, Stop};
use super::pairs::{self, Pairs};
use super::profile::HttpCalls;
use super::proxy::{host_calls, unrestricted};
use super::state::{State, status};
use super::vm::Vm;

/// The ABI's number for the headers of the response to a call.
pub(super) const CALL_HEADERS: u32 = 6;
/// The callback that reports the result of a call.
pub(super) const CALL_RESPONSE: &str = "proxy_on_http_call_response";

/// The pseudo-headers that a call must have.
const REQUIRED: [&str; 3] = [":method", ":path", ":authority"];

/// A call to another server that has no response yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// The number that the gateway gave to the call.
    pub id: u32,
    /// The context that made the call. The call ends with it.
    pub context: u32,
    /// The cluster, or the address on a gateway without clusters.
    pub upstream: String,
    /// The header lines, pseudo-headers included.
    pub headers: Pairs,
    /// The body.
    pub body: Vec<u8>,
    /// How long the gateway waits for the response. `None` if it does not end the call.
    pub timeout: Option<Duration>,
}

impl HttpCall {
    /// Returns the first value of a header line as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        pairs::values(&self.headers, name).first().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// The result of a call, as the module sees it in the callback.
#[derive(Debug)]
pub(super) struct Response {
    /// The context that made the call.
    pub(super) context: u32,
    /// `None` if the map is not accessible.
    pub(super) headers: Option<Pairs>,
    pub(super) body: Option<Vec<u8>>,
}

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_calls! { linker, "env";
        fn proxy_http_call(
            guest,
            upstream: u32,
            upstream_size: u32,
            headers: u32,
            headers_size: u32,
            body: u32,
            body_size: u32,
            trailers: u32,
            trailers_size: u32,
            timeout: u32,
            id_at: u32
        ) {
            let upstream = guest.read(upstream, upstream_size)?;
            let headers = pairs::decode(&guest.read(headers, headers_size)?);
            let body = guest.read(body, body_size)?;
            guest.read(trailers, trailers_size)?;
            let id = make(guest, &upstream, headers, body, timeout)?;
            guest.write(id_at, &id.to_le_bytes())
        }
    }
    Ok(())
}

/// Makes a call, and returns its number.
fn make(guest: &mut Guest<'_>, upstream: &[u8], headers: Pairs, body: Vec<u8>, timeout: u32) -> Result<u32, Stop> {
    let calls = guest.quirks().http_calls;
    let state = unrestricted(guest)?;
    let wrong = || Stop::Status(status::BAD_ARGUMENT);
    let upstream = String::from_utf8(upstream.to_vec()).map_err(|_| wrong())?;
    match calls {
        HttpCalls::Clusters if !state.clusters.contains(&upstream) => return Err(wrong()),
        HttpCalls::Addresses { callbacks } if !callbacks.contains(&state.callback) => {
            return Err(Stop::misuse("a call in a callback that allows none"));
        }
        HttpCalls::Clusters | HttpCalls::Addresses { .. } => {}
    }
    // The host interprets the timeout as a signed number.
    let is_negative = i32::try_from(timeout).is_err();
    if is_negative || REQUIRED.iter().any(|name| pairs::values(&headers, name).is_empty()) {
        return Err(wrong());
    }
    let context = state.context().ok_or_else(wrong)?;
    state.http_calls_made += 1;
    let id = state.http_calls_made;
    let timeout = Some(Duration::from_millis(timeout.into())).filter(|timeout| !timeout.is_zero());
    state.http_calls.insert(id, HttpCall { id, context, upstream, headers, body, timeout });
    Ok(id)
}

impl Vm {
    /// Gives the gateway a cluster with this name. Calls to other clusters fail. A gateway without clusters calls any address.
    pub fn add_cluster(&mut self, name: &str) {
        self.store.data_mut().clusters.insert(name.to_owned());
    }

    /// Returns the outstanding calls, oldest first.
    #[must_use]
    pub fn http_calls(&self) -> Vec<HttpCall> {
        self.store.data().http_calls.values().cloned().collect()
    }

    /// Reports the response to a call. [`Vm::look`] then finds what the module did with the streams that waited for it.
    ///
    /// If the server cannot be reached or takes too long, Envoy makes a response with the status 503 or 504.
    ///
    /// # Errors
    /// When there is no such call, or the module traps.
    pub fn answer_call(&mut self, id: u32, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<(), String> {
        let mut lines = pairs::from_text(&[(":status", status.to_string().as_str())]);
        lines.extend(pairs::from_text(headers));
        let counted = lines.len();
        let has_body = !body.is_empty() || self.store.data().quirks().http_calls == HttpCalls::Clusters;
        self.report(id, counted, Some(lines), has_body.then(|| body.to_vec()))
    }

    /// Reports that a call failed without a response, for example because the response was too large.
    ///
    /// # Errors
    /// When there is no such call, or the module traps.
    pub fn fail_call(&mut self, id: u32) -> Result<(), String> {
        let lines = match self.store.data().quirks().http_calls {
            HttpCalls::Clusters => None,
            HttpCalls::Addresses { .. } => Some(pairs::from_text(&[(":dispatch_status", "broken connection")])),
        };
        self.report(id, 0, lines, None)
    }

    /// Calls the module with the result of a call. `counted` is the number of header lines that the gateway states.
    fn report(&mut self, id: u32, counted: usize, headers: Option<Pairs>, body: Option<Vec<u8>>) -> Result<(), String> {
        self.begin(None);
        let call = self.store.data_mut().http_calls.remove(&id).ok_or_else(|| format!("there is no call {id}"))?;
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (counted, size) = (number(counted), number(body.as_ref().map_or(0, Vec::len)));
        self.store.data_mut().response = Some(Response { context: call.context, headers, body });
        let called = self.in_context(call.context, |vm| {
            vm.callback::<_, ()>(CALL_RESPONSE, (call.context, id, counted, size, 0_u32))
        });
        self.store.data_mut().response = None;
        called
    }
}
