//! Streams that are silent for a while continue afterwards.

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Bootstrap, Options};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::envoy::fixture::{Gate, HOST, policy, token, wasm_only};
use crate::envoy::grpc::Client;

/// Longer than the 15 s after which Envoy ends a route's requests by default.
const SILENCE: Duration = Duration::from_secs(20);

/// The shipped configuration restricts the module's callbacks. The module still frees the memory of each stream.
#[test]
fn ended_streams_leave_no_memory_in_the_vm() {
    if !wasm_only("it has no VM; `cargo harness soak` watches the memory of the process") {
        return;
    }
    let grows = |change: &dyn Fn(&mut Bootstrap)| {
        let gate = Gate::start_with(&policy(), change, &Options::default());
        let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
        let refused = Request::get("/items/1").host(HOST);
        let mut send = |calls| {
            for _ in 0..calls {
                assert_eq!(connection.call(&refused).unwrap().status, 401);
            }
        };
        send(1_000);
        let before = linear_memory(gate.envoy.process());
        // A leaked stream would take a hundred bytes, so these requests would need several pages of 64 KiB.
        send(3_000);
        linear_memory(gate.envoy.process()) != before
    };
    assert!(!grows(&|_| ()));
    let without_delete = |bootstrap: &mut Bootstrap| {
        let allowed = &mut bootstrap.gate().unwrap()["capability_restriction_config"]["allowed_capabilities"];
        allowed.as_object_mut().unwrap().remove("proxy_on_delete").unwrap();
    };
    assert!(grows(&without_delete), "this would not have been seen");
}

/// Returns the writable parts of V8's Wasm memories. Each is followed by gigabytes of inaccessible addresses.
pub(crate) fn linear_memory(process: u32) -> Vec<u64> {
    const GUARD: u64 = 1 << 31;
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let maps: Vec<_> = maps
        .lines()
        .map(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            (address(start), address(end), rest.starts_with("rw-p"))
        })
        .collect();
    let is_guarded = |pair: &&[(u64, u64, bool)]| matches!(pair, [(_, end, true), (start, guarded, false)] if end == start && guarded - start >= GUARD);
    let memories: Vec<u64> = maps.windows(2).filter(is_guarded).map(|pair| pair[0].1 - pair[0].0).collect();
    assert!(!memories.is_empty(), "no memory of a VM was found");
    memories
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn silent_streams_stay_open() {
    let gate = Gate::start(&policy());
    let address = gate.envoy.api().unwrap();
    let token = token("chat");

    let events = {
        let request = Request::get("/stream/events")
            .host(HOST)
            .bearer(&token)
            .header("Accept", "text/event-stream")
            .header("X-Silence", SILENCE.as_secs().to_string());
        thread::spawn(move || {
            let mut connection = Connection::open(address).unwrap();
            connection.send(&request.to_bytes()).unwrap();
            assert_eq!(connection.read_head().unwrap().status, 200);
            let silent = Instant::now();
            connection.read_until(b"data: awake\n\n").unwrap();
            assert!(silent.elapsed() > SILENCE - Duration::from_secs(1));
        })
    };

    let socket = {
        let token = token.clone();
        async move {
            let mut request = format!("ws://{HOST}/stream/socket").into_client_request().unwrap();
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut socket, _) = client_async(request, stream).await.unwrap();
            for message in ["before", "after"] {
                socket.send(Message::text(message)).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(message));
                if message == "before" {
                    tokio::time::sleep(SILENCE).await;
                }
            }
        }
    };

    let grpc = async move {
        let mut client = Client::connect(address).await;
        let messages = stream::iter([Bytes::from("before")]).chain(stream::once(async {
            tokio::time::sleep(SILENCE).await;
            Bytes::from("after")
        }));
        let mut answers = client.streaming("/echo.Echo/Chat", Some(&token), messages).await.unwrap();
        for message in ["before", "after"] {
            assert_eq!(answers.message().await.unwrap().unwrap(), message);
        }
        assert_eq!(answers.message().await.unwrap(), None);
    };

    let both = async { tokio::join!(socket, grpc) };
    tokio::time::timeout(SILENCE * 3, both).await.unwrap();
    events.join().unwrap();
    assert_eq!(gate.upstream.count(), 3);
}
