//! A small MCP server: it has the tools of `examples/mcp`, answers each request for one in the same way, and remembers what it received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::demo::MARK;
use crate::listener::bound;
use crate::quickstart::set;

/// A server. It stops when it is dropped.
pub(super) struct McpServer {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    /// The answer to `tools/list`.
    list: Value,
    /// The method and the tool of each message, by the mark of its request.
    received: Mutex<BTreeMap<String, String>>,
}

impl McpServer {
    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    /// When no port or thread is available.
    pub(super) fn start(list: Value) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the thread of the MCP server")?;
        let listener = bound(&runtime, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr().context("the MCP server has no address")?;
        let state = Arc::new(State { list, received: Mutex::default() });
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, runtime: Some(runtime) })
    }

    /// Returns the listening address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the method and the tool of the request with this mark, if it arrived.
    pub(super) fn saw(&self, mark: &str) -> Option<String> {
        self.state.received.lock().unwrap_or_else(PoisonError::into_inner).get(mark).cloned()
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the tasks is not allowed inside another runtime, and nothing depends on them.
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely there are no file descriptors left; some may be free a moment later.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            // The demo reports a request without an answer.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mark = request.headers().get(MARK).and_then(|mark| mark.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await?.to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
    let method = text("/method").unwrap_or_default();
    if let Some(mark) = mark {
        let received = [method, text("/params/name").unwrap_or_default()].join(" ").trim_end().to_owned();
        state.received.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, received);
    }
    let mut answer = match method {
        "tools/list" => state.list.clone(),
        _ => json!({ "jsonrpc": "2.0", "result": result(method, text("/params/uri")) }),
    };
    set(&mut answer, "id", message.get("id").cloned().unwrap_or_default());
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn result(method: &str, uri: Option<&str>) -> Value {
    match method {
        "tools/call" => json!({ "resultType": "complete", "content": [{ "type": "text", "text": "done" }] }),
        "resources/read" => json!({ "resultType": "complete", "contents": [{ "uri": uri, "text": "a receipt" }] }),
        _ => json!({ "resultType": "complete" }),
    }
}
