//! Serves the documents of cases to a real gateway. Each case has its own clusters, so cases with the same URLs do not affect each other.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use callgate_kit::corpus::{Documents, Published, Suite};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::clusters;

/// Servers with the documents of cases. They stop when this is dropped.
pub(super) struct Publisher {
    /// The address of each cluster.
    clusters: BTreeMap<String, SocketAddr>,
    runtime: Option<Runtime>,
}

impl Publisher {
    /// Starts a server for each case whose policy fetches. No two cases may have the same cluster.
    ///
    /// # Errors
    /// When no port or thread is available.
    pub(super) fn start(suites: &[Suite]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the publisher's thread")?;
        let mut addresses = BTreeMap::new();
        for suite in suites {
            for case in suite.cases.iter().filter(|case| case.skip_envoy.is_none()) {
                let policy = suite.policies.get(case.policy).context("unknown policy in a case")?;
                let clusters = clusters(&policy.document);
                if clusters.is_empty() {
                    continue;
                }
                let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).context("cannot listen")?;
                let address = listener.local_addr().context("the publisher has no address")?;
                runtime.spawn(serve(listener, Arc::new(case.documents.clone())));
                addresses.extend(clusters.into_iter().map(|cluster| (cluster, address)));
            }
        }
        Ok(Self { clusters: addresses, runtime: Some(runtime) })
    }

    /// Returns the address of each cluster.
    pub(super) fn clusters(&self) -> &BTreeMap<String, SocketAddr> {
        &self.clusters
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, documents: Arc<Documents>) {
    while let Ok((stream, _)) = listener.accept().await {
        let documents = Arc::clone(&documents);
        tokio::spawn(async move {
            let service = service_fn(move |request| std::future::ready(answer(&request, &documents)));
            // A broken connection is the gateway's concern.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Answers a request. An error ends the connection without a response.
fn answer(request: &Request<Incoming>, documents: &Documents) -> io::Result<Response<Full<Bytes>>> {
    let authority = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let now = super::envoy::now().map_err(io::Error::other)?;
    match documents.at(now).get(authority, path) {
        Published::Response { status, body } => {
            let mut response = Response::new(Full::new(Bytes::from(body.clone())));
            *response.status_mut() = StatusCode::from_u16(*status).map_err(io::Error::other)?;
            Ok(response)
        }
        Published::Unavailable => Err(io::ErrorKind::ConnectionReset.into()),
    }
}
