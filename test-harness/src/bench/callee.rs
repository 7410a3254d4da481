//! The service for `ext_authz`. It allows everything and does as little as a server can. Its response sets the headers that the gate sets
//! for the upstream, since no other filter could.
//!
//! Its threads have a distinct name, by which their CPU time is found: that time is part of the cost of the extra hop.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cpu;

const NAME: &str = "allow-all";
const ALLOWED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\
    x-callgate-agent: coding-agent\r\n\
    x-callgate-issuer: corp\r\n\
    x-callgate-client: coding-agent\r\n\
    x-callgate-subject: coding-agent\r\n\
    x-callgate-scopes: code:read code:write pulls:write\r\n\
    x-callgate-endpoint: pulls.create\r\n\
    x-callgate-decision: 0b63c4a61f0e4a399d3b51f4f2f2f6a1\r\n\
    x-callgate-policy: quickstart\r\n\r\n";

/// A running service. Its threads end with the process.
pub(super) struct Callee {
    address: SocketAddr,
}

impl Callee {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let address = listener.local_addr().context("cannot listen")?;
        let accept = move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // Without a thread, the connection closes and the request that waits for it fails.
                let _ = thread::Builder::new().name(NAME.into()).spawn(move || serve(stream));
            }
        };
        thread::Builder::new().name(NAME.into()).spawn(accept).context("cannot start a thread")?;
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the CPU time that the service has used so far.
    pub(super) fn cpu() -> Result<Duration> {
        cpu::of_threads(std::process::id(), |thread| thread == NAME)
    }
}

/// Answers each head. Envoy sends no body with it.
fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 16 << 10];
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match stream.read(room) {
            Ok(length) if length > 0 => filled += length,
            _ => return,
        }
        if buffer.get(..filled).is_some_and(|read| read.ends_with(b"\r\n\r\n")) {
            filled = 0;
            if stream.write_all(ALLOWED).is_err() {
                return;
            }
        }
    }
}
