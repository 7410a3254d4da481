//! The issuer's key set, served to the gate as an identity provider serves it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::runtime::Runtime;

use crate::listener::{self, bound};
use crate::quickstart;

/// The path in the policy's URL.
const PATH: &str = "/jwks";

/// A server with the key set. It stops when it is dropped.
pub(super) struct KeyServer {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl KeyServer {
    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    /// When the key set cannot be read, or no port or thread is available.
    pub(super) fn start() -> Result<Self> {
        let keys = Bytes::from(quickstart::key_set()?.to_string());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the thread of the key server")?;
        let listener = bound(&runtime, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr().context("the key server has no address")?;
        runtime.spawn(listener::answer(listener, move |request| answer(request, &keys)));
        Ok(Self { address, runtime: Some(runtime) })
    }

    /// Returns the listening address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the tasks is not allowed inside another runtime, and nothing depends on them.
            runtime.shutdown_background();
        }
    }
}

fn answer(request: &Request<Incoming>, keys: &Bytes) -> Response<Full<Bytes>> {
    if request.uri().path() == PATH {
        return Response::new(Full::new(keys.clone()));
    }
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Request as Call};

    #[test]
    fn serves_the_key_set_at_the_url_of_the_policy() {
        let policy = quickstart::policy().unwrap();
        let url = policy["issuers"]["corp"]["keys"]["remote"]["url"].as_str().unwrap();
        let server = KeyServer::start().unwrap();
        let get = |path: &str| client::call(server.address(), &Call::get(path).host("idp.example.com")).unwrap();
        let published = get(url.strip_prefix("https://idp.example.com").unwrap());
        assert_eq!((published.status, published.json()), (200, quickstart::key_set().unwrap()));
        assert_eq!(get("/").status, 404);
    }
}
