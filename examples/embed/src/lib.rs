//! Callgate inside a service: each request is decided by the engine before it is handled.
//!
//! An engine belongs to one worker, so the service runs on one thread. A service with more threads makes an engine for each, which share
//! one `Arc<Policy>` and one store.

use std::cell::Cell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use callgate::identity::crypto::SoftwareVerifier;
use callgate::identity::token::{SecretLookup, Secrets, TokenCache};
use callgate::state::{MemoryStore, StoreError};
use callgate::{
    Answer, Clock, Decision, DecisionId, Engine, Headers, HeldBytes, Outcome, Policy, Request, Services, Source,
    Timestamp,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

/// The policy of the example.
pub const POLICY: &[u8] = include_bytes!("../policy.json");

/// More of a body than this is not read, in bytes.
const MOST_BODY: usize = 1024 * 1024;

/// Secrets come from the environment, as in a gateway.
struct Environment;

impl Secrets for Environment {
    fn resolve(&self, name: &str) -> SecretLookup {
        std::env::var(name).map_or(SecretLookup::Missing, |value| SecretLookup::Found(value.into_bytes()))
    }
}

/// The clock of the system.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Result<Timestamp, StoreError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| StoreError)?;
        u64::try_from(since.as_nanos()).map(Timestamp::from_nanos).map_err(|_| StoreError)
    }
}

/// The gate in front of one worker's requests.
pub struct Gate {
    engine: Engine,
    ids: RandomState,
    decided: Cell<u64>,
}

impl Gate {
    /// A gate for a policy.
    ///
    /// # Errors
    /// Every mistake in the policy.
    pub fn new(policy: &[u8]) -> Result<Self> {
        let policy = Policy::from_json(policy, &Environment).map_err(|findings| anyhow!("{findings}"))?.policy;
        let ids = RandomState::new();
        let random = |number: u64| u128::from(ids.hash_one(number)) << 64 | u128::from(ids.hash_one(!number));
        let services = Services {
            verifier: Box::new(SoftwareVerifier),
            store: Rc::new(MemoryStore::default()),
            clock: Box::new(SystemClock),
            secret: random(0).to_le_bytes(),
            held: Some(HeldBytes::default()),
            token_cache: TokenCache::DEFAULT_BYTES,
        };
        Ok(Self { engine: Engine::new(policy, services), ids, decided: Cell::new(0) })
    }

    /// Decides a request, and hands it to `handle` with its headers as the gate forwards them. A request that is denied, or cannot be
    /// decided, is answered.
    pub async fn handle<F>(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        handle: F,
    ) -> Response<Full<Bytes>>
    where
        F: AsyncFnOnce(Vec<(Vec<u8>, Vec<u8>)>) -> Response<Full<Bytes>>,
    {
        match self.decide(request, peer).await {
            Ok(lines) => handle(lines).await,
            Err(answer) => response(&answer),
        }
    }

    async fn decide(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Answer> {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut lines = vec![
            (b":method".to_vec(), head.method.as_str().as_bytes().to_vec()),
            (b":path".to_vec(), target.as_bytes().to_vec()),
        ];
        lines.extend(
            head.headers.iter().map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())),
        );
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        let request = Request {
            headers: &headers,
            end_of_stream: body.is_end_stream(),
            source: Source::parse(peer.to_string().as_bytes()),
            now: SystemClock.now().map_err(|_| Answer::host_error())?,
            id: self.next_id(),
        };
        let decision = match self.engine.decide(request).map_err(|_| Answer::host_error())? {
            Outcome::Decided(decision) => decision,
            Outcome::Pending(mut pending) => {
                let body = Limited::new(body, MOST_BODY).collect().await.map_err(|_| Answer::host_error())?;
                let _ = pending.receive(&body.to_bytes());
                let now = SystemClock.now().map_err(|_| Answer::host_error())?;
                self.engine.resume(pending, now).map_err(|_| Answer::host_error())?
            }
        };
        match decision {
            Decision::Allow(allow) => {
                let changes = allow.changes();
                let mut forwarded = lines.clone();
                changes.iter().for_each(|change| change.apply(&mut forwarded));
                Ok(forwarded)
            }
            Decision::Deny(deny) => Err(deny.answer()),
        }
    }

    fn next_id(&self) -> DecisionId {
        let number = self.decided.get() + 1;
        self.decided.set(number);
        let mut hasher = self.ids.build_hasher();
        hasher.write_u64(number);
        DecisionId(u128::from(hasher.finish()) << 64 | u128::from(number))
    }
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

/// Serves requests that the gate allows, until the program ends.
///
/// # Errors
/// When the runtime or the listener cannot be used.
pub fn serve(listener: std::net::TcpListener, gate: Gate) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let gate = Rc::new(gate);
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = listener.accept().await?;
            let gate = Rc::clone(&gate);
            spawn_local(async move {
                let service =
                    service_fn(async |request| Ok::<_, hyper::Error>(gate.handle(request, peer, hello).await));
                // A client that breaks its connection off is nobody's failure.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// What the service does with a request: it shows what the gate found out.
async fn hello(lines: Vec<(Vec<u8>, Vec<u8>)>) -> Response<Full<Bytes>> {
    let shown = lines.iter().filter(|(name, _)| name.starts_with(b"x-callgate-"));
    let text =
        shown.map(|(name, value)| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii())).collect::<String>();
    Response::new(Full::from(text))
}
