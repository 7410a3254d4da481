//! How long a revoked token is still accepted, under load: from the change of the list to the last accepted request on any worker.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use test_harness::client::Connection;
use test_harness::envoy::Adapter;
use tokio::net::TcpStream;

use super::{EFFECTIVE, Feed, await_everywhere, entry, revoking, start, token, with};
use crate::envoy::fixture::{Gate, HOST, adapter};
use crate::envoy::operating::until;
use crate::envoy::streams::linear_memory;

const ROUNDS: usize = 20;
/// Connections of each protocol. Each is served by one worker.
const CONNECTIONS: usize = 8;
/// A load that two cores can handle, with a token that every worker has in its cache.
const PAUSE: Duration = Duration::from_millis(10);

/// What one connection saw of the current token.
#[derive(Clone, Copy, Default)]
struct Seen {
    round: usize,
    accepted: u32,
    last_accepted: Option<Instant>,
    denied: u32,
}

/// Connections that send requests with the current token all the time.
struct Load {
    token: RwLock<(usize, String)>,
    seen: Vec<Mutex<Seen>>,
    done: AtomicBool,
}

impl Load {
    fn current(&self) -> (usize, String) {
        self.token.read().unwrap().clone()
    }

    fn note(&self, connection: usize, round: usize, status: u16) {
        let mut seen = self.seen[connection].lock().unwrap();
        if seen.round != round {
            *seen = Seen { round, ..Seen::default() };
        }
        match status {
            200 => {
                seen.accepted += 1;
                seen.last_accepted = Some(Instant::now());
            }
            401 => seen.denied += 1,
            other => panic!("{other}"),
        }
    }

    /// Waits until this is true of each connection in a round.
    fn until_each(&self, what: &str, round: usize, is_so: impl Fn(&Seen) -> bool) {
        until(what, || {
            self.seen.iter().all(|seen| {
                let seen = seen.lock().unwrap();
                seen.round == round && is_so(&seen)
            })
        });
    }

    fn over_http_1(&self, address: SocketAddr, connection: usize) {
        let mut open = Connection::open(address).unwrap();
        while !self.done.load(Ordering::Relaxed) {
            let (round, token) = self.current();
            self.note(connection, round, open.call(&with(&token)).unwrap().status);
            thread::sleep(PAUSE);
        }
    }

    async fn over_http_2(&self, address: SocketAddr, connection: usize) {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, open) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(open);
        while !self.done.load(Ordering::Relaxed) {
            let (round, token) = self.current();
            let request = hyper::Request::get(format!("http://{HOST}/items/1"))
                .header("authorization", format!("Bearer {token}"))
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let status = response.status().as_u16();
            response.into_body().collect().await.unwrap();
            self.note(connection, round, status);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Stops the load even if the test fails.
struct Stop<'d>(&'d AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_revoked_token_is_denied_on_every_worker_in_time() {
    let feed = Feed::start();
    let gate = start(&revoking(&feed), &feed);
    let address = gate.envoy.api().unwrap();
    await_everywhere(&gate, &with(&token("first")), 200, None);
    let load = Load {
        token: RwLock::new((0, token("round-0"))),
        seen: (0..2 * CONNECTIONS).map(|_| Mutex::default()).collect(),
        done: AtomicBool::new(false),
    };
    let mut entries = Vec::new();
    let mut times = Vec::new();
    thread::scope(|scope| {
        let stop = Stop(&load.done);
        for connection in 0..CONNECTIONS {
            let load = &load;
            scope.spawn(move || load.over_http_1(address, connection));
        }
        let load = &load;
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(futures_util::future::join_all(
                (CONNECTIONS..2 * CONNECTIONS).map(|connection| load.over_http_2(address, connection)),
            ));
        });
        for round in 1..=ROUNDS {
            let jti = format!("round-{round}");
            *load.token.write().unwrap() = (round, token(&jti));
            load.until_each("each connection is served", round, |seen| seen.accepted >= 5);
            entries.push(entry(&jti));
            feed.publish(&Value::Array(entries.clone()));
            let published = Instant::now();
            load.until_each("each connection is denied", round, |seen| seen.denied >= 1);
            // A worker that accepts the token once more is seen too.
            thread::sleep(Duration::from_millis(300));
            let last = load.seen.iter().filter_map(|seen| seen.lock().unwrap().last_accepted).max().unwrap();
            times.push(last.saturating_duration_since(published));
        }
        drop(stop);
    });
    let longest = times.iter().max().unwrap();
    println!("accepted after the change of the list, in {ROUNDS} rounds: at most {longest:?}; {times:?}");
    assert!(*longest <= EFFECTIVE, "{times:?}");
}

/// Bytes that a VM has in its linear memory, on average, or that the whole process has with the module.
fn memory(gate: &Gate) -> u64 {
    if adapter() == Adapter::Module {
        return gate.envoy.resident_memory().unwrap() << 10;
    }
    let memories = linear_memory(gate.envoy.process());
    memories.iter().sum::<u64>() / memories.len() as u64
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_list_of_100_000_entries_is_in_use_in_time() {
    const ENTRIES: usize = 100_000;
    let feed = Feed::start();
    let gate = start(&revoking(&feed), &feed);
    let (good, revoked) = (with(&token("good")), with(&token("revoked")));
    await_everywhere(&gate, &revoked, 200, None);
    let before = memory(&gate);
    let mut entries: Vec<Value> = (1..ENTRIES)
        .map(|number| json!({ "token_sha256": format!("{number:064x}"), "until": "2099-01-01T00:00:00Z" }))
        .collect();
    entries.push(entry("revoked"));
    feed.publish(&Value::Array(entries));
    let took = await_everywhere(&gate, &revoked, 401, Some("token_revoked"));
    for _ in 0..3 {
        feed.await_fetches(1);
    }
    let after = memory(&gate);
    println!(
        "{ENTRIES} entries: on every worker after {took:?}; {} MiB of memory, {} MiB before",
        after >> 20,
        before >> 20
    );
    assert!(took <= EFFECTIVE, "{took:?}");
    assert_eq!(gate.call(&good).status, 200);
    // The list itself has more than 12 MiB.
    assert!(after.saturating_sub(before) < 128 << 20, "{before} {after}");
}
