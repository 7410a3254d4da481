//! The gate's decisions about HTTP/2: about requests of an ordinary client, and about header blocks that no such client would send.
//!
//! The tests also fix which header blocks Envoy rejects before they reach the gate. If Envoy stops rejecting one, the gate must do so.

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

/// Sends a request on a new connection with prior knowledge of HTTP/2, as an ordinary client does.
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

/// Sends a request with prior knowledge of HTTP/2, as an ordinary client does.
async fn ask(gate: &Gate, target: &str, lines: &[(&str, &str)]) -> Asked {
    let mark = mark();
    let request = hyper::Request::get(format!("http://{HOST}{target}")).header("x-mark", &mark);
    let request = lines.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = exchange(gate, request.body(Full::<Bytes>::default()).unwrap()).await;
    gate.asked(&mark, response)
}

#[tokio::test(flavor = "multi_thread")]
async fn decides_http_2_requests_as_over_http_1() {
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
async fn joins_cookie_crumbs_and_rejects_two_credentials() {
    let gate = shared();
    let authorization = format!("Bearer {}", token("items:read"));
    let good = ("authorization", authorization.as_str());

    let asked = ask(gate, "/items/1", &[good, ("cookie", "a=1"), ("cookie", "b=2")]).await;
    assert_eq!(asked.assert_allowed().header("cookie"), Some("a=1; b=2"));

    // Envoy joins the lines into one, which contains no valid token.
    ask(gate, "/items/1", &[good, good]).await.assert_denied(401, "token_malformed");
    let basic = ("authorization", "Basic YTpi");
    ask(gate, "/items/1", &[basic, good]).await.assert_denied(401, "token_malformed");
    // Credentials that are not tokens are allowed on a public path. An unverified token next to them is not.
    ask(gate, "/status", &[basic]).await.assert_allowed();
    ask(gate, "/status", &[basic, ("authorization", "Bearer bad")]).await.assert_denied(401, "token_malformed");
}

/// The lines of a header block, in order.
#[derive(Clone)]
struct Block(Vec<(Vec<u8>, Vec<u8>)>);

impl Block {
    /// Returns a request that the policy allows.
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

    /// Replaces the value of an existing line.
    fn but(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let line = self.0.iter_mut().find(|(own, _)| own == name.as_bytes()).unwrap();
        line.1 = value.as_ref().to_vec();
        self
    }

    /// Inserts a line in front of all others.
    fn led_by(mut self, name: &str, value: &str) -> Self {
        self.0.insert(0, (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        self
    }
}

/// Returns a line of the access log by its number, for requests without a mark. Envoy writes it shortly after the response.
fn nth_line(gate: &Gate, number: usize) -> Option<Value> {
    (0..500).find_map(|_| {
        let line = gate.envoy.access_log().get(number).cloned();
        if line.is_none() {
            thread::sleep(Duration::from_millis(20));
        }
        line
    })
}

/// The expected effect of a header block.
enum Expected {
    /// The API receives the request, with the host that the gate checked.
    Allowed,
    /// The gate denies the request with this status and reason.
    Denied(u16, &'static str),
    /// Envoy responds itself, with this status and with this detail in its access log.
    Answered(u16, &'static str),
    /// Envoy closes the connection, with this detail in its access log.
    Ended(&'static str),
}

/// A line that Envoy's HTTP/2 codec rejects.
const LINE: Expected = Expected::Ended("http2.invalid.header.field");
/// Lines that are not a request for Envoy's HTTP/2 codec.
const REQUEST: Expected = Expected::Ended("http2.violation.of.messaging.rule");

#[test]
fn handles_header_blocks_that_only_http_2_can_carry() {
    use Expected::{Allowed, Answered, Denied};
    let good = Block::good;
    let spaced = format!(" Bearer {}", token("items:read"));
    let cases = [
        ("nothing odd", good(), Allowed),
        // Hosts.
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
        // Paths.
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
        // Methods.
        ("no method", good().without(":method"), REQUEST),
        ("a method with a space", good().but(":method", "GET /status"), LINE),
        ("a method in lower case", good().but(":method", "get"), Denied(403, "endpoint_not_allowed")),
        ("a tunnel", good().but(":method", "CONNECT"), REQUEST),
        ("a tunnel for a protocol", good().but(":method", "CONNECT").led_by(":protocol", "websocket"), LINE),
        ("no scheme", good().without(":scheme"), REQUEST),
        ("a scheme that the connection is not", good().but(":scheme", "https"), Allowed),
        // Lines that exist in HTTP/1.1 but not in HTTP/2, and lines that exist in neither.
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

    // By default, Envoy keeps a connection half open for a second when it closes it.
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
