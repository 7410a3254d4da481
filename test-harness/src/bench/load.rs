//! The load generator: connections that stay open, and requests on all of them at once.
//!
//! A burst is sent on every connection before the first response is read. The gateway is therefore busy from the first request to the last,
//! independent of their cost, and wakes up about once per burst in every row. The load generator's own cost is not counted.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::client::Transport;

const PATIENCE: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 32;
/// The end of a response in the chunked transfer coding.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Open connections to one listener.
pub(super) struct Clients {
    connections: Vec<Box<dyn Transport>>,
    buffer: Vec<u8>,
}

impl Clients {
    pub(super) fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let open = || -> Result<Box<dyn Transport>> {
            let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
            stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
            stream.set_nodelay(true).context("cannot set an option of the socket")?;
            Ok(Box::new(stream))
        };
        Self::open(connections, open)
    }

    /// Opens as many connections in another way.
    pub(super) fn open(connections: usize, open: impl Fn() -> Result<Box<dyn Transport>>) -> Result<Self> {
        let connections = (0..connections).map(|_| open()).collect::<Result<_>>()?;
        Ok(Self { connections, buffer: vec![0; MOST_BYTES] })
    }

    /// Sends these requests, in one burst on all connections after the other.
    ///
    /// # Errors
    /// When a response has an unexpected status or is missing.
    pub(super) fn call<'r>(
        &mut self,
        requests: impl IntoIterator<Item = &'r [u8]>,
        expected: impl Fn(u16) -> bool,
    ) -> Result<()> {
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let mut sent = 0;
            for (connection, request) in self.connections.iter_mut().zip(requests.by_ref()) {
                connection.write_all(request).context("cannot send")?;
                sent += 1;
            }
            for connection in self.connections.iter_mut().take(sent) {
                let status = answer(connection.as_mut(), &mut self.buffer)?;
                ensure!(expected(status), "unexpected response to a request: {status}");
            }
        }
        Ok(())
    }
}

/// Returns whether the status is that of a successful response.
pub(super) fn is_ok(status: u16) -> bool {
    status == 200
}

/// Reads one complete response and returns its status.
fn answer(connection: &mut dyn Transport, buffer: &mut [u8]) -> Result<u16> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        ensure!(!room.is_empty(), "a response is longer than {MOST_BYTES} bytes");
        match connection.read(room).context("cannot receive")? {
            0 => bail!("the connection ended before a response"),
            length => filled += length,
        }
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let read = buffer.get(..filled).unwrap_or_default();
        if let httparse::Status::Complete(head) = parsed.parse(read).context("the response is not HTTP")? {
            let header = |name| parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            if header("transfer-encoding").is_some() {
                // No response of these measurements contains a line like that of the last chunk.
                if read.get(head..).is_some_and(|body| body.ends_with(LAST_CHUNK)) {
                    return parsed.code.context("the response has no status");
                }
                continue;
            }
            let length = header("content-length");
            let length = length.and_then(|length| std::str::from_utf8(length.value).ok()?.parse::<usize>().ok());
            let whole = head + length.context("the response has no length")?;
            ensure!(filled <= whole, "received more bytes than one response");
            if filled == whole {
                return parsed.code.context("the response has no status");
            }
        }
    }
}
