//! What the gate makes of HTTP/2: of the calls of an ordinary client, and of header blocks that no such client would send.
//!
//! What Envoy refuses before the gate is pinned as well: where it stops doing so, the gate has to.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use test_harness::client::Response;
use test_harness::envoy::{Bootstrap, Options};
use test_harness::http2::call;

use crate::envoy::fixture::{Asked, Gate, HOST, mark, policy, shared, token};

/// Sends a request on a connection of its own, as an ordinary client does that knows what the server speaks.
pub(crate) async fn exchange<B>(gate: &Gate, request: hyper::Request<B>) -> Response
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = tokio::net::TcpStream::connect(gate.envoy.api().unwrap()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let response = Response {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    };
    connection.abort();
    response
}

/// Sends a call as an ordinary client does that knows what the server speaks.
async fn ask(gate: &Gate, target: &str, lines: &[(&str, &str)]) -> Asked {
    let mark = mark();
    let request = hyper::Request::get(format!("http://{HOST}{target}")).header("x-mark", &mark);
    let request = lines.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = exchange(gate, request.body(Full::<Bytes>::default()).unwrap()).await;
    gate.asked(&mark, response)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_client_is_decided_as_over_http_1() {
    let gate = shared();
    let authorization = format!("Bearer {}", token("items:read"));
    let good = ("authorization", authorization.as_str());

    let allowed = ask(gate, "/items/1?x=1", &[good]).await;
    let seen = allowed.assert_allowed();
    assert_eq!((seen.path.as_str(), seen.host.as_str()), ("/items/1?x=1", HOST));
    assert_eq!(seen.header("x-callgate-agent"), Some("robot"));

    ask(gate, "/items/1", &[]).await.assert_denied(401, "credentials_missing");
    ask(gate, "/items/1", &[("authorization", "Bearer a.b.c")]).await.assert_denied(401, "token_malformed");
    ask(gate, "/items/../items/1", &[good]).await.assert_denied(400, "path_dot_segment");
    ask(gate, "/items/1", &[good, ("x-http-method-override", "DELETE")]).await.assert_denied(400, "method_override");
}

#[tokio::test(flavor = "multi_thread")]
async fn crumbs_of_a_cookie_are_one_and_two_credentials_are_none() {
    let gate = shared();
    let authorization = format!("Bearer {}", token("items:read"));
    let good = ("authorization", authorization.as_str());

    let asked = ask(gate, "/items/1", &[good, ("cookie", "a=1"), ("cookie", "b=2")]).await;
    assert_eq!(asked.assert_allowed().header("cookie"), Some("a=1; b=2"));

    // Envoy joins the lines into one, in which no token can be read.
    ask(gate, "/items/1", &[good, good]).await.assert_denied(401, "token_malformed");
    let basic = ("authorization", "Basic YTpi");
    ask(gate, "/items/1", &[basic, good]).await.assert_denied(401, "token_malformed");
    // What has nothing to do with tokens may pass on a public path; a token that nobody verified may not pass beside it.
    ask(gate, "/status", &[basic]).await.assert_allowed();
    ask(gate, "/status", &[basic, ("authorization", "Bearer bad")]).await.assert_denied(401, "token_malformed");
}

/// The lines of a header block, in order.
#[derive(Clone)]
struct Block(Vec<(Vec<u8>, Vec<u8>)>);

impl Block {
    /// A call that the policy allows.
    fn good() -> Self {
        let block = Self(Vec::new()).with(":method", "GET").with(":scheme", "http").with(":path", "/items/1");
        block.with(":authority", HOST).with("authorization", format!("Bearer {}", token("items:read")))
    }

    fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(own, _)| own != name.as_bytes());
        self
    }

    /// The same with another value for a line that is there.
    fn but(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let line = self.0.iter_mut().find(|(own, _)| own == name.as_bytes()).unwrap();
        line.1 = value.as_ref().to_vec();
        self
    }

    /// The same with a line before all others.
    fn led_by(mut self, name: &str, value: &str) -> Self {
        self.0.insert(0, (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        self
    }
}

/// A line of the access log by its number, for calls that left no mark in it; it is written a moment after the answer.
fn nth_line(gate: &Gate, number: usize) -> Option<Value> {
    (0..500).find_map(|_| {
        let line = gate.envoy.access_log().get(number).cloned();
        if line.is_none() {
            thread::sleep(Duration::from_millis(20));
        }
        line
    })
}

/// What has to come of a header block.
enum Expected {
    /// The API gets it for the host that the gate judged.
    Allowed,
    /// The gate refuses with this status and reason.
    Denied(u16, &'static str),
    /// Envoy answers itself, with this status and this detail in its access log.
    Answered(u16, &'static str),
    /// Envoy ends the connection, with this detail in its access log.
    Ended(&'static str),
}

/// A line that its HTTP/2 codec does not take.
const LINE: Expected = Expected::Ended("http2.invalid.header.field");
/// Lines that are no request to its HTTP/2 codec.
const REQUEST: Expected = Expected::Ended("http2.violation.of.messaging.rule");

#[test]
fn header_blocks_that_only_http_2_can_carry() {
    use Expected::{Allowed, Answered, Denied};
    let good = Block::good;
    let spaced = format!(" Bearer {}", token("items:read"));
    let cases = [
        ("nothing odd", good(), Allowed),
        // Who is called.
        ("another host beside the authority", good().with("host", "www.example.com"), Allowed),
        ("a host in place of the authority", good().without(":authority").with("host", HOST), Allowed),
        (
            "and one that names another",
            good().without(":authority").with("host", "other.example.com"),
            Denied(403, "endpoint_not_allowed"),
        ),
        ("no authority", good().without(":authority"), REQUEST),
        ("an empty authority", good().but(":authority", ""), LINE),
        ("an authority with a user", good().but(":authority", "robot@api.example.com"), LINE),
        ("an authority with a path", good().but(":authority", "api.example.com/x"), LINE),
        ("two authorities", good().led_by(":authority", "www.example.com"), LINE),
        // What is called.
        ("the path of the server as a whole", good().but(":path", "*"), REQUEST),
        (
            "with the method that it is for",
            good().but(":path", "*").but(":method", "OPTIONS"),
            Answered(404, "absolute_path_rejected"),
        ),
        ("no path", good().without(":path"), REQUEST),
        ("an empty path", good().but(":path", ""), LINE),
        ("a path with scheme and host", good().but(":path", "http://www.example.com/items/1"), REQUEST),
        ("a path with a space", good().but(":path", "/items/1 2"), LINE),
        ("a path with a fragment", good().but(":path", "/items/1#x"), Answered(400, "path_normalization_failed")),
        ("a path that is not ASCII", good().but(":path", b"/items/\xff"), Denied(400, "path_character")),
        ("two paths", good().led_by(":path", "/status"), LINE),
        // How.
        ("no method", good().without(":method"), REQUEST),
        ("a method with a space", good().but(":method", "GET /status"), LINE),
        ("a method in lower case", good().but(":method", "get"), Denied(403, "endpoint_not_allowed")),
        ("a tunnel", good().but(":method", "CONNECT"), REQUEST),
        ("a tunnel for a protocol", good().but(":method", "CONNECT").led_by(":protocol", "websocket"), LINE),
        ("no scheme", good().without(":scheme"), REQUEST),
        ("a scheme that the connection is not", good().but(":scheme", "https"), Allowed),
        // Lines that HTTP/1.1 has and HTTP/2 has not, and lines that neither has.
        ("a pseudo-header of its own", good().led_by(":agent", "root"), LINE),
        ("a pseudo-header after the others", good().without(":path").with(":path", "/items/1"), LINE),
        ("a name in upper case", good().with("X-Callgate-Agent", "root"), LINE),
        ("a name with a space", good().with("authorization ", "Bearer x"), LINE),
        ("a name with a colon", good().with("x:a", "1"), LINE),
        ("a name with a line break", good().with("x-a\r\nx-callgate-agent", "root"), LINE),
        ("an empty name", good().with("", "1"), LINE),
        ("a value with a line break", good().with("x-a", "1\r\nx-callgate-agent: root"), LINE),
        ("a value with a NUL", good().with("x-a", b"a\0b"), LINE),
        ("a value that begins with a space", good().but("authorization", spaced), Denied(401, "token_malformed")),
        ("a nominated header", good().with("connection", "x-callgate-agent"), LINE),
        ("an upgrade", good().with("upgrade", "websocket"), LINE),
        ("a transfer coding", good().with("transfer-encoding", "chunked"), LINE),
        ("a transfer coding that is taken", good().with("te", "gzip"), LINE),
        ("two lengths", good().with("content-length", "0").with("content-length", "1"), LINE),
    ];

    // By default a connection that is ended stays half open for a second.
    let soon = |bootstrap: &mut Bootstrap| bootstrap.manager().unwrap()["delayed_close_timeout"] = json!("0.05s");
    let gate = Gate::start_with(&policy(), soon, &Options::default());
    let address = gate.envoy.api().unwrap();
    for (number, (name, block, expected)) in cases.into_iter().enumerate() {
        let mark = mark();
        let before = gate.upstream.count();
        let response = call(address, &block.with("x-mark", &mark).0, None).unwrap();
        let envoy_says = |wanted: &str| {
            let line = nth_line(&gate, number).unwrap_or_else(|| panic!("{name}: not in the access log"));
            assert_eq!((&line["details"], &line["callgate"]), (&json!(wanted), &json!([])), "{name}: {line}");
            assert_eq!(gate.upstream.count(), before, "{name}");
        };
        match (expected, response) {
            (Allowed, Some(response)) => {
                let asked = gate.asked(&mark, response);
                let seen = asked.assert_allowed();
                assert_eq!((seen.host.as_str(), seen.path.as_str()), (HOST, "/items/1"), "{name}");
                assert!(!seen.headers.iter().any(|(_, value)| value == "www.example.com"), "{name}: {seen:?}");
            }
            (Denied(status, reason), Some(response)) => gate.asked(&mark, response).assert_denied(status, reason),
            (Answered(status, details), Some(response)) => {
                assert_eq!(response.status, status, "{name}");
                envoy_says(details);
            }
            (Expected::Ended(details), None) => envoy_says(details),
            (_, response) => panic!("{name}: {response:?}, log: {:?}", gate.envoy.access_log().get(number)),
        }
    }
    assert_eq!(gate.envoy.stat("wasm.callgate.vm_reload").unwrap(), 0);
}
