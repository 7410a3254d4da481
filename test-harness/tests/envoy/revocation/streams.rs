//! Streams that are open when their credential ends: an event stream, a WebSocket and a gRPC stream.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Bootstrap, Options};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{Feed, await_everywhere, entry, now, rechecking, revoking, start, token, with};
use crate::envoy::fixture::{Gate, HOST, KEY, claims, header, mark, record, wasm_only};
use crate::envoy::grpc::Client;
use crate::envoy::limits::counted;
use crate::envoy::operating::until;

/// Within this time of the next data, a stream ends.
const ENDED: Duration = Duration::from_secs(2);
/// The time between two parts of the data of a stream.
const EVERY: Duration = Duration::from_millis(200);
/// Much longer than a stream of these tests is open.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what the machine does at the same time.
const SLACK: Duration = Duration::from_millis(500);

/// Opens an event stream. Returns its connection, from which the head was read.
pub(super) fn open_events(address: SocketAddr, token: &str, mark: &str) -> Connection {
    let request = Request::get("/stream/events")
        .host(HOST)
        .bearer(token)
        .header("Accept", "text/event-stream")
        .header("X-Every", EVERY.as_millis().to_string())
        .header("X-Mark", mark);
    let mut connection = Connection::open(address).unwrap();
    connection.send(&request.to_bytes()).unwrap();
    assert_eq!(connection.read_head().unwrap().status, 200);
    connection.read_until(b"data: tick\n\n").unwrap();
    connection
}

/// Reads events until the stream ends, and returns when.
pub(super) fn end_of_events(connection: &mut Connection) -> Instant {
    let start = Instant::now();
    while connection.read_until(b"data: tick\n\n").is_ok() {
        assert!(start.elapsed() < PATIENCE, "the stream does not end");
    }
    Instant::now()
}

/// Sends messages over a WebSocket until it ends, and returns when.
async fn end_of_socket(address: SocketAddr, token: String) -> Instant {
    let mut request = format!("ws://{HOST}/stream/socket").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "the WebSocket does not end");
        let sent = socket.send(Message::text("tick")).await;
        if sent.is_err() || !matches!(socket.next().await, Some(Ok(message)) if message.is_text()) {
            return Instant::now();
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Sends messages over a gRPC stream until it ends, and returns when.
async fn end_of_grpc(address: SocketAddr, token: String) -> Instant {
    let mut client = Client::connect(address).await;
    let messages = stream::unfold((), |()| async {
        tokio::time::sleep(EVERY).await;
        Some((Bytes::from("tick"), ()))
    });
    let mut answers = client.streaming("/echo.Echo/Chat", Some(&token), messages).await.unwrap();
    let start = Instant::now();
    while let Ok(Some(_)) = answers.message().await {
        assert!(start.elapsed() < PATIENCE, "the gRPC stream does not end");
    }
    Instant::now()
}

/// Opens one stream of each kind, and ends their credential. `ends` returns when no new request was accepted any more. Returns how long
/// after that the streams ended, in the order event stream, WebSocket, gRPC, and the mark of the event stream.
fn ended_after(gate: &Gate, token: &str, ends: impl FnOnce() -> Instant) -> ([Duration; 3], String) {
    let address = gate.envoy.api().unwrap();
    let mark = mark();
    let mut events = open_events(address, token, &mark);
    let events = thread::spawn(move || end_of_events(&mut events));
    let (socket, grpc) = (token.to_owned(), token.to_owned());
    let others = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::join!(end_of_socket(address, socket), end_of_grpc(address, grpc)) })
    });
    // All of them are open, and have been checked again.
    thread::sleep(Duration::from_millis(1_500));
    assert!(!events.is_finished() && !others.is_finished(), "a stream ended early: {}", gate.envoy.log_tail());
    let ended = ends();
    let (socket, grpc) = others.join().unwrap();
    let times = [events.join().unwrap(), socket, grpc].map(|end| end.saturating_duration_since(ended));
    (times, mark)
}

/// Asserts that the record of a stream states why it was ended.
fn assert_recorded(gate: &Gate, mark: &str, reason: &str) {
    let line = gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap();
    let record = record(&line);
    assert_eq!((&record["decision"], &record["outcome"]["ended"]), (&json!("allow"), &json!(reason)), "{record}");
    assert_eq!(line["details"], format!("callgate_{reason}"));
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn open_streams_end_when_their_token_is_revoked_or_expires() {
    let feed = Feed::start();
    let gate = start(&revoking(&feed), &feed);
    let other = token("other");
    await_everywhere(&gate, &with(&other), 200, None);
    let address = gate.envoy.api().unwrap();
    let mut open = open_events(address, &other, "other");

    let revoked = token("revoked");
    let (times, mark) = ended_after(&gate, &revoked, || {
        feed.publish(&json!([entry("revoked")]));
        await_everywhere(&gate, &with(&revoked), 401, Some("token_revoked"));
        Instant::now()
    });
    println!("after the token was revoked on every worker: events, WebSocket, gRPC ended after {times:?}");
    assert!(times.iter().all(|time| *time <= ENDED + SLACK), "{times:?}");
    assert_recorded(&gate, &mark, "token_revoked");

    // The clock skew of the policy is zero.
    let expires = now() + 5;
    let (times, mark) = ended_after(&gate, &expiring(expires), || {
        while now() < expires {
            thread::sleep(Duration::from_millis(5));
        }
        Instant::now()
    });
    println!("after the token had expired: events, WebSocket, gRPC ended after {times:?}");
    assert!(times.iter().all(|time| *time <= ENDED + SLACK), "{times:?}");
    assert_recorded(&gate, &mark, "token_expired");

    open.read_until(b"data: tick\n\n").unwrap();
    assert_eq!(counted(&gate, "callgate.streams.ended"), 6);
}

/// Returns a token that expires at this time.
fn expiring(expires: u64) -> String {
    let mut claims: Value = claims("items:read chat");
    claims["jti"] = json!("expiring");
    claims["exp"] = json!(expires);
    KEY.sign(&header(), &claims)
}

/// Streams of an endpoint without `streams: recheck` stay open, as the documentation states.
#[test]
fn other_streams_outlive_their_credential() {
    let mut policy = rechecking();
    policy["endpoints"][2].as_object_mut().unwrap().remove("streams").unwrap();
    let gate = Gate::start(&policy);
    let expires = now() + 2;
    let mut events = open_events(gate.envoy.api().unwrap(), &expiring(expires), "long");
    while now() < expires + 2 {
        events.read_until(b"data: tick\n\n").unwrap();
    }
    assert_eq!(counted(&gate, "callgate.streams.ended"), 0);
}

/// A configuration without the callback for the bodies of responses would leave such streams open without anybody noticing.
#[test]
fn a_gateway_that_hides_the_data_of_streams_gets_no_more_of_them() {
    if !wasm_only("Envoy restricts no callbacks of it") {
        return;
    }
    let hide = |bootstrap: &mut Bootstrap| {
        let allowed = &mut bootstrap.gate().unwrap()["capability_restriction_config"]["allowed_capabilities"];
        allowed.as_object_mut().unwrap().remove("proxy_on_response_body").unwrap();
    };
    // Each worker notices it by itself.
    let gate = Gate::start_with(&rechecking(), hide, &Options { concurrency: 1, ..Options::default() });
    let mark = mark();
    drop(open_events(gate.envoy.api().unwrap(), &token("first"), &mark));
    gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap();
    until("the filter has seen it", || gate.envoy.log().contains("`streams: recheck`"));
    let events =
        Request::get("/stream/events").host(HOST).bearer(&token("second")).header("Accept", "text/event-stream");
    let asked = gate.ask(events);
    assert_eq!(asked.response.status, 500, "{asked:?}");
    assert_eq!(gate.call(&with(&token("third"))).status, 200, "other endpoints are not affected");
}
