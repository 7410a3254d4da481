//! Answers of MCP servers that are larger or stranger than any client expects: Envoy survives them, and no client sees a list that was not
//! filtered.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use test_harness::client::Connection;
use test_harness::envoy::{Bootstrap, Options, oldest};
use tokio::time::timeout;

use crate::envoy::fixture::{Gate, HOST, adapter, mcp_request, policy, token};
use crate::envoy::http2::exchange;
use crate::envoy::operating::until;

/// The tool that the policy does not list.
const HIDDEN: &str = "drop_everything";
const LISTED: &str = "look_up";
/// More than every limit of the policy and of the gateway.
const HUGE: usize = 16 << 20;
/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the client waits for bytes that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A response as the server sends it.
struct Sent {
    name: &'static str,
    status: &'static str,
    head: &'static str,
    /// The chunks of the body, or the whole body if its length is announced.
    chunks: Vec<Vec<u8>>,
    ending: Ending,
    /// Whether the client gets the filtered list.
    is_filtered: bool,
}

/// How a response ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Length,
    LastChunk,
    Trailers,
    Break,
}

fn list(tools: impl Iterator<Item = Value>) -> Vec<u8> {
    let result = json!({ "tools": tools.collect::<Vec<_>>() });
    json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string().into_bytes()
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

fn both() -> Vec<u8> {
    list([tool(HIDDEN), tool(LISTED)].into_iter())
}

/// Returns a list with the hidden tool that has at least this many bytes.
fn list_of(bytes: usize) -> Vec<u8> {
    let mut large = tool(HIDDEN);
    large["description"] = json!("a".repeat(bytes));
    list([large, tool(LISTED)].into_iter())
}

fn event(data: &[u8]) -> Vec<u8> {
    [b"event: message\ndata: ", data, b"\n\n"].concat()
}

fn pieces(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

const JSON: &str = "content-type: application/json\r\n";
const EVENTS: &str = "content-type: text/event-stream\r\n";
const CODED_JSON: &str = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
const CODED_EVENTS: &str = "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n";

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns what a client reads in a body if it decodes gzip even if no header names it, and even if it is not complete.
fn read(body: &[u8]) -> String {
    let mut decoded = Vec::new();
    // What was decoded before an error remains.
    let _ = GzDecoder::new(body).read_to_end(&mut decoded);
    String::from_utf8_lossy(if decoded.is_empty() { body } else { &decoded }).into_owned()
}

fn answers() -> Vec<Sent> {
    let sent =
        |name, head, chunks, ending, is_filtered| Sent { name, status: "200 OK", head, chunks, ending, is_filtered };
    let empty = |name, status, ending| Sent { status, ..sent(name, JSON, vec![both()], ending, false) };
    let comments = ": nothing\n\n".repeat(HUGE / 11);
    let many: Vec<u8> = (0..20_000).flat_map(|_| event(&both())).collect();
    vec![
        sent("a list", JSON, vec![both()], Ending::Length, true),
        sent("a list in chunks of one byte", JSON, pieces(&both(), 1), Ending::LastChunk, true),
        sent("a list of 700 KiB", JSON, vec![list_of(700 << 10)], Ending::Length, true),
        sent("a list of 700 KiB in chunks", JSON, pieces(&list_of(700 << 10), 1 << 10), Ending::LastChunk, true),
        sent("a list of 16 MiB", JSON, vec![list_of(HUGE)], Ending::Length, false),
        sent("a list of 16 MiB in chunks", JSON, pieces(&list_of(HUGE), 64 << 10), Ending::LastChunk, false),
        sent("a list of 16 MiB in one chunk", JSON, vec![list_of(HUGE)], Ending::LastChunk, false),
        sent("a list that ends in the middle", JSON, pieces(&both()[..60], 40), Ending::Break, false),
        // The document is complete, and only the end of the body is missing.
        sent("a list without the end of the body", JSON, pieces(&both(), 40), Ending::Break, true),
        sent("an event", EVENTS, vec![event(&both())], Ending::LastChunk, true),
        sent("an event in chunks of one byte", EVENTS, pieces(&event(&both()), 1), Ending::LastChunk, true),
        sent("an event of 700 KiB", EVENTS, pieces(&event(&list_of(700 << 10)), 7 << 10), Ending::LastChunk, true),
        sent("an event of 16 MiB", EVENTS, pieces(&event(&list_of(HUGE)), 64 << 10), Ending::LastChunk, false),
        sent("a line of 16 MiB that does not end", EVENTS, pieces(&vec![b'd'; HUGE], 64 << 10), Ending::Break, false),
        sent("20,000 lists", EVENTS, pieces(&many, 64 << 10), Ending::LastChunk, true),
        sent("20,000 lists in one chunk", EVENTS, vec![many], Ending::LastChunk, true),
        sent("16 MiB of comments", EVENTS, pieces(comments.as_bytes(), 64 << 10), Ending::LastChunk, false),
        sent("16 MiB of line ends", EVENTS, pieces(&vec![b'\r'; HUGE], 64 << 10), Ending::LastChunk, false),
        sent("half an event", EVENTS, vec![event(&both()), b"data: {\"jsonrpc\"".to_vec()], Ending::LastChunk, true),
        sent("an event and trailers", EVENTS, vec![event(&both())], Ending::Trailers, true),
        // Over HTTP/1.1, Envoy drops trailers unless it is configured to forward them.
        sent("a list and trailers", JSON, vec![both()], Ending::Trailers, true),
        sent("a coded list", CODED_JSON, vec![zipped(&both())], Ending::Length, false),
        sent("a coded list in chunks", CODED_JSON, pieces(&zipped(&both()), 7), Ending::LastChunk, false),
        sent("a coded event", CODED_EVENTS, vec![zipped(&event(&both()))], Ending::LastChunk, false),
        sent("a list with the header of a coding", CODED_JSON, vec![both()], Ending::Length, false),
        sent("a coded list without the header", JSON, vec![zipped(&both())], Ending::Length, false),
        sent("a coded event without the header", EVENTS, vec![zipped(&event(&both()))], Ending::LastChunk, false),
        // These responses have no content (RFC 9110, sections 15.3.5 and 15.4.5), whatever follows their headers.
        empty("204 and a list", "204 No Content", Ending::Length),
        empty("204 and a list in a chunk", "204 No Content", Ending::LastChunk),
        empty("304 and a list", "304 Not Modified", Ending::Length),
        empty("304 and a list in a chunk", "304 Not Modified", Ending::LastChunk),
    ]
}

/// Starts a server that sends the answer with the number in `X-Answer`.
fn serve(answers: Arc<Vec<Sent>>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // The gateway may close the connection first.
            thread::spawn(move || drop(answer(stream, &answers)));
        }
    });
    address
}

fn answer(mut stream: TcpStream, answers: &[Sent]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let number = loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((_, rest)) = text.split_once("x-answer: ")
            && text.ends_with('}')
        {
            break rest.split("\r\n").next().unwrap().parse::<usize>().unwrap();
        }
    };
    let sent = &answers[number];
    let framing = match sent.ending {
        Ending::Length => format!("content-length: {}\r\n", sent.chunks[0].len()),
        _ => "transfer-encoding: chunked\r\n".to_owned(),
    };
    write!(stream, "HTTP/1.1 {}\r\n{}{framing}connection: close\r\n\r\n", sent.status, sent.head)?;
    for chunk in &sent.chunks {
        if sent.ending == Ending::Length {
            stream.write_all(chunk)?;
        } else {
            write!(stream, "{:x}\r\n", chunk.len())?;
            stream.write_all(chunk)?;
            stream.write_all(b"\r\n")?;
        }
    }
    match sent.ending {
        Ending::LastChunk => stream.write_all(b"0\r\n\r\n"),
        Ending::Trailers => stream.write_all(b"0\r\nx-checksum: 1\r\n\r\n"),
        Ending::Length | Ending::Break => Ok(()),
    }
}

fn mcp_policy() -> Value {
    let mut policy = policy();
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
        "rpc": {
            "protocol": "mcp", "revisions": ["2025-11-25"], "max_answer": "768KiB",
            "tools": [{ "name": LISTED, "effect": "read", "scopes": "none" }],
        },
    }));
    policy
}

/// Returns everything that the client sees of a body, whether or not it ends properly.
fn ask(address: SocketAddr, number: usize, token: &str) -> String {
    let request = mcp_request(token)
        .header("X-Answer", number.to_string())
        .body(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = Connection::over(stream.try_clone().unwrap());
    connection.send(&request.to_bytes()).unwrap();
    let Ok(head) = connection.read_head() else { return String::new() };
    if matches!(head.status, 204 | 304) {
        // The connection stays open, and nothing should follow.
        stream.set_read_timeout(Some(SILENCE)).unwrap();
    }
    let mut body = Vec::new();
    while let Ok(part) = connection.read_part(&head) {
        body.extend_from_slice(&part);
        if part.is_empty() || head.header("content-length").is_some() {
            break;
        }
    }
    read(&body)
}

#[test]
fn hostile_answers_stop_neither_the_gateway_nor_the_filter() {
    survives(&Options::default());
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn hostile_answers_do_not_stop_the_oldest_gateway() {
    survives(&Options { binary: Some(oldest(adapter()).unwrap()), ..Options::default() });
}

/// With each limit of the gateway's buffers: that of the shipped configuration, and one that is less than a list.
fn survives(options: &Options) {
    let answers = Arc::new(answers());
    let server = serve(Arc::clone(&answers));
    for limit in [None, Some(32 << 10)] {
        let changed = |bootstrap: &mut Bootstrap| {
            bootstrap.set_upstream(server).unwrap();
            if let Some(limit) = limit {
                bootstrap.at("/static_resources/listeners/0").unwrap()["per_connection_buffer_limit_bytes"] =
                    json!(limit);
            }
        };
        let mut gate = Gate::start_with(&mcp_policy(), changed, options);
        let token = token("items:read");
        let address = gate.envoy.api().unwrap();
        for (number, sent) in answers.iter().enumerate() {
            let text = ask(address, number, &token);
            let place = || {
                format!("{}, with a limit of {limit:?}: {:?}", sent.name, text.chars().take(300).collect::<String>())
            };
            assert!(!text.contains(HIDDEN), "the hidden tool is shown for {}", place());
            assert_eq!(text.contains(LISTED), sent.is_filtered, "{}", place());
            assert!(gate.envoy.is_running(), "Envoy ended after {}", place());
        }
        // The same worker still decides.
        assert!(ask(address, 0, &token).contains(LISTED));
    }
}

/// A body of which every part is known.
type Parts = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// An answer over HTTP/2: its media type, its chunks before the trailers, and what the client sees.
struct WithTrailers(&'static str, Vec<Vec<u8>>, Seen);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Error,
    List,
    Nothing,
}

fn answers_with_trailers() -> Vec<WithTrailers> {
    let (json, events) = ("application/json", "text/event-stream");
    let unfinished = both()[..both().len() - 1].to_vec();
    vec![
        WithTrailers(json, vec![both()], Seen::List),
        WithTrailers(json, pieces(&both(), 1), Seen::List),
        WithTrailers(json, pieces(&list_of(700 << 10), 16 << 10), Seen::List),
        WithTrailers(json, vec![both(), b"\r\n".to_vec(), b" ".to_vec()], Seen::List),
        WithTrailers(json, vec![b"[]".to_vec()], Seen::Error),
        WithTrailers(json, pieces(&list_of(HUGE), 16 << 10), Seen::Error),
        WithTrailers(json, vec![unfinished], Seen::Nothing),
        WithTrailers(events, vec![event(&both())], Seen::List),
        WithTrailers(events, vec![both()], Seen::Nothing),
    ]
}

/// Starts a server for HTTP/2 that sends the answer with the number in `X-Answer`.
async fn serve_with_trailers() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The gateway may close the connection first.
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer_with_trailers)));
        }
    });
    address
}

async fn answer_with_trailers(request: hyper::Request<Incoming>) -> Result<hyper::Response<Parts>, Infallible> {
    let number: usize = request.headers()["x-answer"].to_str().unwrap().parse().unwrap();
    request.into_body().collect().await.unwrap();
    let WithTrailers(media_type, chunks, _) = answers_with_trailers().swap_remove(number);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    let mut frames: Vec<_> = chunks.into_iter().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))).collect();
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = hyper::Response::new(StreamBody::new(stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static(media_type));
    Ok(response)
}

/// The gateway tells the filter no end of such a body. The shipped configuration uses the protocol of the client for the server too.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_if_trailers_follow_them() {
    let server = serve_with_trailers().await;
    let changed = |bootstrap: &mut Bootstrap| bootstrap.set_upstream(server).unwrap();
    let mut gate = Gate::start_with(&mcp_policy(), changed, &Options::default());
    let authorization = format!("Bearer {}", token("items:read"));
    for (number, WithTrailers(media_type, _, seen)) in answers_with_trailers().into_iter().enumerate() {
        let request = hyper::Request::post(format!("http://{HOST}/mcp"))
            .header("x-answer", number)
            .header("authorization", &authorization)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .body(Full::<Bytes>::from(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#))
            .unwrap();
        let response = exchange(&gate, request).await;
        let text = response.text();
        let place = format!("{number}, {media_type}: {:?}", text.chars().take(300).collect::<String>());
        assert_eq!(response.status, 200, "{place}");
        assert!(!text.contains(HIDDEN), "{place}");
        assert_eq!(text.contains(LISTED), seen == Seen::List, "{place}");
        assert_eq!(text.contains(r#""error""#), seen == Seen::Error, "{place}");
        assert_eq!(text.trim().is_empty(), seen == Seen::Nothing, "{place}");
        assert!(gate.envoy.is_running(), "Envoy ended after {place}");
    }
    // The client of an unfinished answer sees no error. Only the operator learns of it, and only of that answer.
    let unfinished = "the server's answer ended before its JSON-RPC message did";
    until("the filter has logged it", || gate.envoy.log().contains(unfinished));
    assert_eq!(gate.envoy.log().matches(unfinished).count(), 1, "{}", gate.envoy.log_tail());
}

/// Starts a server for HTTP/2 that sends a list after the status in `X-Status`.
async fn serve_after_status() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The gateway may close the connection first.
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer_with_status)));
        }
    });
    address
}

async fn answer_with_status(request: hyper::Request<Incoming>) -> Result<hyper::Response<Parts>, Infallible> {
    let status = request.headers()["x-status"].to_str().unwrap().parse().unwrap();
    request.into_body().collect().await.unwrap();
    let frames: Vec<_> = pieces(&both(), 40).into_iter().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))).collect();
    let mut response = hyper::Response::new(StreamBody::new(stream::iter(frames)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    Ok(response)
}

/// In HTTP/2, the frames of a body are part of the response whatever its status is, so the gateway may show them to the filter.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_follows_a_status_without_content_over_http_2() {
    let server = serve_after_status().await;
    let changed = |bootstrap: &mut Bootstrap| bootstrap.set_upstream(server).unwrap();
    let mut gate = Gate::start_with(&mcp_policy(), changed, &Options::default());
    let authorization = format!("Bearer {}", token("items:read"));
    for status in ["204", "304", "200"] {
        let request = hyper::Request::post(format!("http://{HOST}/mcp"))
            .header("x-status", status)
            .header("authorization", &authorization)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .body(Full::<Bytes>::from(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#))
            .unwrap();
        let text = read(&shown(&gate, request).await);
        assert!(!text.contains(HIDDEN), "{status}: {text}");
        // The last one shows that the server sends the list.
        assert_eq!(text.contains(LISTED), status == "200", "{status}: {text}");
        assert!(gate.envoy.is_running(), "Envoy ended after {status}");
    }
}

/// Returns everything that a client over HTTP/2 sees of a body, whether or not the gateway ends the stream properly.
async fn shown(gate: &Gate, request: hyper::Request<Full<Bytes>>) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(gate.envoy.api().unwrap()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut seen = Vec::new();
    let receive = async {
        if let Ok(response) = sender.send_request(request).await {
            let mut body = response.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(data) = frame.data_ref() {
                    seen.extend_from_slice(data);
                }
            }
        }
    };
    // Without a limit, a response that never ends would block the tests instead of failing this one.
    timeout(PATIENCE, receive).await.unwrap();
    connection.abort();
    seen
}
