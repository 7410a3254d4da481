//! Embeds Callgate in a service: the engine decides each request before the service handles it.
//!
//! An engine belongs to one worker, so the service runs on one thread. A service with several threads creates one engine per
//! thread; the engines share one `Arc<Policy>` and one store.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use callgate::Secrets;
use callgate::state::StoreError;
use callgate::{
    Answer, Clock, Decision, DecisionId, Engine, Headers, HeldBytes, Need, Outcome, Pending, Policy, Request, Services,
    Source, Timestamp,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

/// The policy of the example.
pub const POLICY: &[u8] = include_bytes!("../policy.json");

/// The time within which a body must arrive if the decision needs it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A header line: name and value.
pub type Line = (Vec<u8>, Vec<u8>);

/// The system clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Result<Timestamp, StoreError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| StoreError)?;
        u64::try_from(since.as_nanos()).map(Timestamp::from_nanos).map_err(|_| StoreError)
    }
}

/// The gate for the requests of one worker.
pub struct Gate {
    engine: Engine,
    ids: RandomState,
    decided: Cell<u64>,
}

impl Gate {
    /// Creates a gate from a policy. `secrets` provides the secrets that the policy names.
    ///
    /// # Errors
    /// Reports all mistakes in the policy.
    pub fn new(policy: &[u8], secrets: &dyn Secrets) -> Result<Self> {
        let policy = Policy::from_json(policy, secrets)?.policy;
        let ids = RandomState::new();
        let secret = [ids.hash_one("names").to_le_bytes(), ids.hash_one("of the shared state").to_le_bytes()].concat();
        let services = Services::in_memory(SystemClock, *secret.first_chunk().unwrap_or(&[0; 16]));
        let services = Services { held: Some(HeldBytes::default()), ..services };
        let engine = Engine::new(policy, services);
        // Opens the replay table at startup: it rejects signatures that may have been used before it existed.
        engine.open()?;
        Ok(Self { engine, ids, decided: Cell::new(0) })
    }

    /// Decides a request and passes it to `handle` with the headers that the gate forwards. Requests that are denied or cannot be
    /// decided, and those for the metadata of the API, get a response from the gate. Every decision is written to standard output.
    pub async fn handle(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        handle: impl AsyncFnOnce(Vec<Line>) -> Response<Full<Bytes>>,
    ) -> Response<Full<Bytes>> {
        match self.decide(request, peer).await {
            Ok(lines) => handle(lines).await,
            Err(answer) => response(&answer),
        }
    }

    async fn decide(&self, request: hyper::Request<Incoming>, peer: SocketAddr) -> Result<Vec<Line>, Answer> {
        let (head, body) = request.into_parts();
        // Uses the target exactly as the client sent it: the gate rejects a target with an authority, which another server could
        // use instead of `Host`.
        let mut lines = vec![line(":method", head.method.as_str()), line(":path", head.uri.to_string())];
        lines.extend(head.headers.iter().map(|(name, value)| line(name.as_str(), value.as_bytes())));
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        let request = Request {
            headers: &headers,
            end_of_stream: body.is_end_stream(),
            source: Source::parse(peer.to_string().as_bytes()),
            certificate: None,
            now: now()?,
            id: self.next_id(),
        };
        let decision = match self.engine.decide(request).map_err(|_| Answer::host_error())? {
            Outcome::Decided(decision) => decision,
            Outcome::Pending(pending) => self.finish(pending, body).await?,
        };
        println!("{}", String::from_utf8_lossy(&decision.record().to_json()));
        match decision {
            Decision::Allow(allow) => {
                let mut forwarded = lines.clone();
                allow.changes().iter().for_each(|change| change.apply(&mut forwarded));
                Ok(forwarded)
            }
            Decision::Serve(serve) => Err(serve.answer()),
            Decision::Deny(deny) => Err(deny.answer()),
        }
    }

    /// Decides a request that depends on its body. The engine limits how much of the body is read.
    async fn finish<'a>(&self, mut pending: Pending<'a>, mut body: Incoming) -> Result<Decision<'a>, Answer> {
        let read = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                if frame.data_ref().is_some_and(|part| pending.receive(part) == Need::Nothing) {
                    break;
                }
            }
            true
        };
        match timeout(BODY_TIMEOUT, read).await {
            Ok(true) => self.engine.resume(pending, now()?).map_err(|_| Answer::host_error()),
            Ok(false) => Ok(pending.abandon(now().ok())),
            Err(_) => Ok(pending.time_out(now().ok())),
        }
    }

    fn next_id(&self) -> DecisionId {
        let number = self.decided.get() + 1;
        self.decided.set(number);
        DecisionId(u128::from(self.ids.hash_one(number)) << 64 | u128::from(number))
    }
}

fn line(name: &str, value: impl AsRef<[u8]>) -> Line {
    (name.as_bytes().to_vec(), value.as_ref().to_vec())
}

fn now() -> Result<Timestamp, Answer> {
    SystemClock.now().map_err(|StoreError| Answer::host_error())
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body.clone()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Serves the requests that the gate allows until the program ends.
///
/// # Errors
/// Fails if the runtime or the listener cannot be used.
pub fn serve(listener: std::net::TcpListener, gate: Gate) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gate = Rc::new(gate);
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = listener.accept().await?;
            let gate = Rc::clone(&gate);
            spawn_local(async move {
                let service =
                    service_fn(async |request| Ok::<_, hyper::Error>(gate.handle(request, peer, hello).await));
                // A client that closes its connection early is not an error of the service.
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

/// Handles an allowed request: returns the headers that the gate added.
async fn hello(lines: Vec<Line>) -> Response<Full<Bytes>> {
    let shown = lines.iter().filter(|(name, _)| name.starts_with(b"x-callgate-"));
    let text =
        shown.map(|(name, value)| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii())).collect::<String>();
    Response::new(Full::from(text))
}
