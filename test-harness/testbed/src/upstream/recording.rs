//! Lets another process ask which requests the upstream received: `/saw/HEADER/VALUE` returns the latest request with this header line, or
//! `null`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;

use super::{Memory, Seen, lock};
use crate::{client, listener};

/// A client for the upstream of another process.
#[derive(Debug)]
pub struct RecordingUpstream {
    address: SocketAddr,
}

impl RecordingUpstream {
    /// Creates a client for the upstream at this address.
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Returns the latest request with this header line. Neither part may need escaping in a path.
    ///
    /// # Errors
    /// When there is no response.
    pub fn saw(&self, name: &str, value: &str) -> Result<Option<Seen>> {
        let answer = client::call(self.address, &client::Request::get(format!("/saw/{name}/{value}")).host("witness"))
            .context("the upstream does not report its requests")?;
        ensure!(answer.status == 200, "the upstream responded with {} instead of its requests", answer.status);
        serde_json::from_slice(&answer.body).context("the report of the upstream is not JSON")
    }
}

/// Reports until the runtime ends.
pub(super) async fn serve(listener: TcpListener, memory: Arc<Mutex<Memory>>) {
    listener::answer(listener, move |request| tell(request, &memory)).await;
}

fn tell(request: &Request<Incoming>, memory: &Mutex<Memory>) -> Response<Full<Bytes>> {
    let asked = request.uri().path().strip_prefix("/saw/").and_then(|rest| rest.split_once('/'));
    let seen = asked.and_then(|(name, value)| lock(memory).saw(name, value));
    Response::new(Full::new(serde_json::to_vec(&seen).unwrap_or_default().into()))
}
