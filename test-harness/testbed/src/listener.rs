//! Accepts connections, for every server of this package.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Binds without blocking, because blocking is not allowed inside another runtime.
///
/// # Errors
/// When the port is in use.
pub(crate) fn bound(runtime: &Runtime, address: SocketAddr) -> Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true).context("cannot set an option of the socket")?;
    let _entered = runtime.enter();
    TcpListener::from_std(listener).context("cannot listen")
}

/// Accepts connections until the runtime ends, and serves each in a task.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely there are no file descriptors left; some may be free a moment later.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(serve(stream));
    }
}

/// Answers requests over HTTP/1.1 until the runtime ends.
pub(crate) async fn answer<A>(listener: TcpListener, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
{
    let serve = move |stream: TcpStream| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request);
                async { Ok::<_, Infallible>(response) }
            });
            // A client that does not wait for the response does not need it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    };
    accept(listener, serve).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Request as Call};

    #[test]
    fn answers_every_request_of_every_connection() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = bound(&runtime, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let path = |request: &Request<Incoming>| Response::new(Full::new(Bytes::from(request.uri().path().to_owned())));
        runtime.spawn(answer(listener, path));
        // A connection that sends nothing does not keep the others waiting.
        let _silent = std::net::TcpStream::connect(address).unwrap();
        let mut connection = client::Connection::open(address).unwrap();
        for path in ["/a", "/b"] {
            assert_eq!(connection.call(&Call::get(path).host("a.example")).unwrap().text(), path);
            assert_eq!(client::call(address, &Call::get(path).host("a.example")).unwrap().text(), path);
        }
    }
}
