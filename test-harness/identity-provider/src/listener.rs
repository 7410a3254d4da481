//! A port that a test can close and open again, and its connections.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Much longer than closing takes.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Serves one connection until it ends.
type Serve = Arc<dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A server on a loopback port. It stops when it is dropped.
pub(crate) struct Listener {
    address: SocketAddr,
    /// Keeps the port from others while it is closed. It never listens, so connections are refused.
    _reserved: TcpSocket,
    serve: Serve,
    runtime: Option<Runtime>,
    /// `None` while the port is closed.
    open: Mutex<Option<Open>>,
}

/// An open port.
struct Open {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Listener {
    /// Opens a free port. Each connection is served by the future that `serve` returns for it.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Result<Self> {
        // Uses a separate runtime, because a test's runtime may end or block while a gateway still sends requests.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the server's thread")?;
        let reserved = reserve().context("cannot reserve a port")?;
        let address = reserved.local_addr().context("the server has no address")?;
        let listener = bind(&runtime, address)?;
        let serve: Serve = Arc::new(move |stream| Box::pin(serve(stream)));
        let open = Mutex::new(Some(open(&runtime, listener, Arc::clone(&serve))));
        Ok(Self { address, _reserved: reserved, serve, runtime: Some(runtime), open })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection.
    pub(crate) fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Open { stop, stopped }) = open {
            // Both fail only if the server's task has already ended.
            let _ = stop.send(());
            let _ = stopped.recv_timeout(CLOSE_DEADLINE);
        }
    }

    /// Opens the same port again.
    pub(crate) fn reopen(&self) -> Result<()> {
        let runtime = self.runtime.as_ref().context("the server has ended")?;
        let mut current = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_none() {
            let listener = bind(runtime, self.address)?;
            *current = Some(open(runtime, listener, Arc::clone(&self.serve)));
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for the tasks is not allowed inside another runtime, and nothing depends on them.
            runtime.shutdown_background();
        }
    }
}

/// Returns a socket with a free port. Another socket can listen on it only if it names this port.
fn reserve() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(socket)
}

/// Binds without blocking, because blocking is not allowed inside another runtime.
fn bind(runtime: &Runtime, address: SocketAddr) -> Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true).context("cannot set an option of the socket")?;
    let _entered = runtime.enter();
    TcpListener::from_std(listener).context("cannot listen")
}

fn open(runtime: &Runtime, listener: TcpListener, serve: Serve) -> Open {
    let (stop, stopping) = oneshot::channel();
    let (ended, stopped) = mpsc::channel();
    runtime.spawn(async move {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(listener, serve, &mut connections) => {}
            // A dropped sender also means that nobody needs the port.
            _ = stopping => {}
        }
        connections.shutdown().await;
        let _ = ended.send(());
    });
    Open { stop, stopped }
}

async fn accept(listener: TcpListener, serve: Serve, connections: &mut JoinSet<()>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream));
            }
            // Most likely there are no file descriptors left; some may be free a moment later.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        // Forgets the connections that ended.
        while connections.try_join_next().is_some() {}
    }
}
