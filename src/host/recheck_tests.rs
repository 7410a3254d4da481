//! Tests of open streams, independent of the gateway. Their tokens expire; which other credentials end a stream is tested with the engine.

use serde_json::{Value, json};

use super::Map;
use super::fake::Fake;
use super::root::Root;
use super::stream::{HttpStream, StreamAction};
use crate::testing::{self, NOW, SECRET};

/// The lifetime of the tokens, in seconds.
const LIFETIME: u64 = 600;
/// When the tokens have expired, in seconds after they were issued.
const LATER: u64 = LIFETIME;

fn document(mode: &str, outcome: bool) -> Value {
    let endpoint = |id: &str| json!({ "id": id, "methods": ["GET", "POST"], "path": format!("/{id}"), "effect": "read", "scopes": "none", "mode": mode });
    let mut open = endpoint("open");
    open["streams"] = json!("recheck");
    testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("agent") },
        "endpoints": [open, endpoint("other")],
        "audit": { "log": { "allow": false, "deny": false }, "outcome": outcome },
        "clock_skew": "0s",
    }))
}

fn credential() -> String {
    testing::bearer(json!({ "exp": NOW + LIFETIME }))
}

struct Worker {
    host: Fake,
    root: Root<Fake>,
}

impl Worker {
    fn new(document: &Value) -> Self {
        let host = Fake::default();
        host.0.seconds.set(NOW);
        host.0.variables.borrow_mut().insert("SECRET".into(), SECRET.to_vec());
        host.0.configuration.replace(document.to_string().into_bytes());
        let mut root = Root::new(host.clone(), 1);
        let mistakes = crate::policy::Policy::from_value(document.clone(), &testing::one_secret).err();
        assert!(root.on_configure(document.to_string().len()), "{mistakes:?}");
        Self { host, root }
    }

    fn enforcing() -> Self {
        Self::new(&document("enforce", true))
    }

    /// Returns the stream of a request.
    fn request(&self, path: &str) -> (HttpStream<Fake>, StreamAction) {
        self.host.set(
            Map::RequestHeaders,
            &[
                (":method", "POST"),
                (":path", path),
                (":authority", "api.example.com"),
                ("authorization", &credential()),
            ],
        );
        let mut stream = self.root.stream(2);
        let action = stream.on_request_headers(false);
        (stream, action)
    }

    /// Returns the stream of an allowed request whose response has begun.
    fn open(&self, path: &str) -> HttpStream<Fake> {
        let (mut stream, action) = self.request(path);
        assert_eq!(action, StreamAction::Continue);
        assert_eq!(self.respond(&mut stream), StreamAction::Continue);
        stream
    }

    fn respond(&self, stream: &mut HttpStream<Fake>) -> StreamAction {
        self.host.set(Map::ResponseHeaders, &[(":status", "200"), ("content-type", "text/event-stream")]);
        stream.on_response_headers(false)
    }

    fn after(&self, seconds: u64) {
        self.host.0.seconds.set(NOW + seconds);
    }

    fn answers(&self) -> Vec<(u16, String)> {
        self.host.0.sent.borrow().iter().map(|sent| (sent.status, sent.details.clone())).collect()
    }

    fn ended(&self) -> i64 {
        let metrics = self.host.0.metrics.borrow();
        metrics.iter().find(|(name, _)| name == "callgate.streams.ended").map_or(0, |(_, value)| *value)
    }
}

fn expired() -> [(u16, String); 1] {
    [(401, "callgate_token_expired".to_owned())]
}

#[test]
fn ends_an_open_stream_with_the_next_data_after_its_token_has_expired() {
    for (outcome, of_response) in [(true, true), (false, true), (true, false), (false, false)] {
        let worker = Worker::new(&document("enforce", outcome));
        let mut stream = worker.open("/open");
        let mut data =
            || if of_response { stream.on_response_body(5, false) } else { stream.on_request_body(5, false) };
        worker.after(2);
        assert_eq!(data(), StreamAction::Continue);
        worker.after(LATER);
        assert_eq!((data(), data()), (StreamAction::Pause, StreamAction::Pause), "nothing more is forwarded");
        assert_eq!(worker.answers(), expired(), "a second answer is undefined behavior in Envoy");
        assert_eq!(worker.ended(), 1);
        stream.on_log();
        let record = worker.host.record().unwrap();
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["outcome"]["ended"], "token_expired", "outcome: {outcome}");
    }
}

#[test]
fn a_client_without_a_response_gets_an_answer() {
    let worker = Worker::enforcing();
    let (mut stream, _) = worker.request("/open");
    worker.after(LATER);
    assert_eq!(stream.on_request_body(5, false), StreamAction::Pause);
    assert_eq!(worker.answers(), expired());
    // The gateway passes the filter's answer through the filter.
    assert_eq!(worker.respond(&mut stream), StreamAction::Continue);
    assert_eq!(stream.on_response_body(5, true), StreamAction::Continue);
    assert_eq!(worker.ended(), 1);
}

#[test]
fn checks_a_stream_at_most_once_per_second() {
    let worker = Worker::enforcing();
    worker.after(LIFETIME - 1);
    worker.host.0.nanos.set(500_000_000);
    let mut stream = worker.open("/open");
    worker.after(LIFETIME);
    for (nanos, action) in
        [(0, StreamAction::Continue), (499_999_999, StreamAction::Continue), (500_000_000, StreamAction::Pause)]
    {
        worker.host.0.nanos.set(nanos);
        assert_eq!(stream.on_response_body(1, false), action, "the token has expired, {nanos} ns ago");
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_postpone_the_check() {
    let worker = Worker::enforcing();
    worker.after(LIFETIME - 1);
    let mut stream = worker.open("/open");
    for (after, action) in [(0, StreamAction::Continue), (LIFETIME, StreamAction::Pause)] {
        worker.after(after);
        assert_eq!(stream.on_response_body(1, false), action, "{after}");
    }
    assert_eq!(worker.answers(), expired());
}

#[test]
fn other_streams_are_not_checked_again() {
    for (mode, path) in [("enforce", "/other"), ("observe", "/open")] {
        let worker = Worker::new(&document(mode, true));
        let mut stream = worker.open(path);
        worker.after(LATER);
        assert_eq!(stream.on_response_body(5, false), StreamAction::Continue, "{mode} {path}");
        assert_eq!(stream.on_request_body(5, false), StreamAction::Continue, "{mode} {path}");
        assert!(worker.answers().is_empty());
        stream.on_log();
        assert_eq!(worker.host.record().unwrap()["outcome"].get("ended"), None);
    }
}

#[test]
fn an_open_stream_that_cannot_be_checked_is_ended() {
    let worker = Worker::enforcing();
    let mut stream = worker.open("/open");
    worker.host.0.fails.set(Some("now"));
    assert_eq!(stream.on_response_body(5, false), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
}

#[test]
fn nothing_is_forwarded_after_the_end_even_if_the_gateway_cannot_end_the_stream() {
    let worker = Worker::enforcing();
    let mut stream = worker.open("/open");
    worker.after(LATER);
    worker.host.0.fails.set(Some("send_response"));
    for _ in 0..3 {
        assert_eq!(stream.on_response_body(5, false), StreamAction::Pause);
        assert_eq!(stream.on_request_body(5, false), StreamAction::Pause);
    }
    assert_eq!(worker.ended(), 1);
}

/// A gateway does so whose configuration lacks the capability for the bodies of responses.
#[test]
fn a_gateway_that_hides_the_data_of_streams_gets_no_more_of_them() {
    let worker = Worker::enforcing();
    let mut stream = worker.open("/open");
    worker.host.0.properties.borrow_mut().insert(b"response\0size".to_vec(), 99_i64.to_le_bytes().to_vec());
    stream.on_log();
    assert_eq!(worker.request("/open").1, StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
    assert_eq!(worker.request("/other").1, StreamAction::Continue);
    // A stream whose data was shown proves the opposite of nothing.
    let worker = Worker::enforcing();
    let mut stream = worker.open("/open");
    stream.on_response_body(99, true);
    worker.host.0.properties.borrow_mut().insert(b"response\0size".to_vec(), 99_i64.to_le_bytes().to_vec());
    stream.on_log();
    assert_eq!(worker.request("/open").1, StreamAction::Continue);
}
