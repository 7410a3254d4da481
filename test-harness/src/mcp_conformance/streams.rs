//! Event streams: nothing is changed, nothing is held back, and their end is passed on.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::messages::{self, RESOURCE, TOOL, event, progress};
use super::scenario::Need::Legacy;
use super::scenario::{Check, Scenario, must, should};
use super::sections::{
    CHUNKS, CLOSING, EVENT_STREAM, INCOMPLETE, LEGACY_SENDING, LEGACY_STREAMS, RECEIVING, SUBSCRIPTIONS,
};
use super::sent::Sent;
use super::suite::Suite;
use super::upstream::{Answer, Piece, Received, Script, always};

/// How long a server pauses before it sends what a client must not have to wait for.
const PAUSE: Duration = Duration::from_secs(3);
/// How soon an event must arrive that is followed by such a pause.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long the slower of two streams takes.
const SLOW: Duration = Duration::from_secs(1);
/// How soon the server must notice that a client is gone.
const SOON: Duration = Duration::from_secs(5);

fn call(suite: &Suite) -> Sent {
    suite.call(TOOL, json!({}))
}

/// Returns the event with the response to [`call`].
fn last() -> String {
    event(&messages::result(&json!(1), json!({ "content": messages::content("done") })))
}

/// Reads a whole stream. Returns whether its messages and its bytes are those that the server sent.
fn compare(suite: &Suite, sent: &Sent, pieces: Vec<Piece>) -> Result<(bool, bool)> {
    let mut whole = Vec::new();
    for piece in &pieces {
        if let Piece::Data(data) = piece {
            whole.extend_from_slice(data);
        }
    }
    let mut events = suite.open(sent, always(Answer::events(pieces)))?;
    events.read_to_end()?;
    let kind = events.head.header("content-type");
    ensure!(kind.is_some_and(|kind| kind.starts_with("text/event-stream")), "another content type");
    Ok((messages::messages_in(&events.bytes) == messages::messages_in(&whole), events.bytes == whole))
}

/// Checks that the messages of a stream arrive.
fn passes(suite: &Suite, sent: &Sent, pieces: Vec<Piece>) -> Result<Check> {
    Ok(match compare(suite, sent, pieces)? {
        (true, true) => Check::new(true, "the same stream"),
        (true, false) => Check::new(true, "the same messages, other bytes"),
        (false, _) => Check::failed("other messages"),
    })
}

/// Checks that a stream arrives byte for byte.
fn passes_exactly(suite: &Suite, sent: &Sent, pieces: Vec<Piece>) -> Result<Check> {
    let (_, is_same) = compare(suite, sent, pieces)?;
    Ok(Check::new(is_same, if is_same { "the same stream" } else { "other bytes" }))
}

/// Checks that this text arrives well before the pause that follows it ends.
fn arrives_at_once(suite: &Suite, text: &str) -> Result<Check> {
    let pieces = vec![Piece::text(text), Piece::Pause(PAUSE), Piece::text(last())];
    let started = Instant::now();
    let mut events = suite.open(&call(suite), always(Answer::events(pieces)))?;
    events.read_until(text)?;
    let is_early = started.elapsed() < AT_ONCE;
    Ok(Check::new(is_early, if is_early { "at once" } else { "held back" }))
}

/// Checks that the server notices when a client closes a stream whose first event it has read.
fn ends_with_client(suite: &Suite, sent: &Sent, rest: Vec<Piece>) -> Result<Check> {
    let first = event(&progress(1));
    let pieces = [vec![Piece::text(first.clone())], rest].concat();
    let mut events = suite.open(sent, always(Answer::events(pieces)))?;
    events.read_until(&first)?;
    drop(events);
    let is_noticed = suite.upstream.await_abandoned(SOON);
    Ok(Check::new(is_noticed, if is_noticed { "the server's stream ends" } else { "the server's stream continues" }))
}

/// Returns a script that answers the request with the id `a` with a slow stream, and all others with a fast one.
fn two_streams() -> Script {
    Arc::new(|received: &Received| {
        let id = received.json().get("id").cloned().unwrap_or_default();
        let end = event(&messages::result(&id, json!({ "content": messages::content("end") })));
        if id == "a" {
            let begin = event(&messages::notification("notifications/message", json!({ "data": "from-a" })));
            Answer::events(vec![Piece::text(begin), Piece::Pause(SLOW), Piece::text(end)])
        } else {
            Answer::events(vec![Piece::text(end)])
        }
    })
}

fn named(suite: &Suite, id: &str) -> Sent {
    suite.modern(&messages::request(id, "tools/call", json!({ "name": TOOL, "arguments": {} })))
}

fn listens(suite: &Suite) -> Sent {
    let notifications = json!({ "toolsListChanged": true, "resourceSubscriptions": [RESOURCE] });
    suite.modern(&messages::request("l", "subscriptions/listen", json!({ "notifications": notifications })))
}

/// Returns a notification on the stream that [`listens`] opens.
fn subscribed(method: &str, mut parameters: Value) -> String {
    if let Some(parameters) = parameters.as_object_mut() {
        parameters.insert("_meta".to_owned(), json!({ "io.modelcontextprotocol/subscriptionId": "l" }));
    }
    event(&messages::notification(method, parameters))
}

pub(super) const SCENARIOS: &[Scenario] = &[
    must(
        "streams.unchanged",
        RECEIVING,
        &[],
        "Notifications and the response of a stream come back unchanged",
        |suite| {
            let pieces = vec![Piece::text(event(&progress(1))), Piece::text(event(&progress(2))), Piece::text(last())];
            passes(suite, &call(suite), pieces)
        },
    ),
    should(
        "streams.every-form",
        EVENT_STREAM,
        &[],
        "Ids, retry times, other fields, comments, several data lines, and all line ends come back unchanged",
        |suite| {
            let text = "\u{feff}id: 1\nretry: 500\ndata:\n\n: comment\n\nevent: other\ndata: a\ndata: b\nfuture: x\n\n\
                        data: c\r\n\r\ndata: d\r\rdata\n\nid\ndata:  e\n\n";
            passes_exactly(suite, &call(suite), vec![Piece::text(text), Piece::text(last())])
        },
    ),
    must(
        "streams.small-chunks",
        CHUNKS,
        &[],
        "A stream whose chunks end anywhere, inside characters and line ends too, comes back unchanged",
        |suite| {
            let message = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\r\n\
                           data: \"params\":{\"level\":\"info\",\"data\":\"世界\"}}\r\n\r\n";
            let text = format!(": 世界\r\n\r\n{}{message}{}", event(&progress(1)), last());
            let chunks = text.as_bytes().chunks(3);
            let pieces = chunks.flat_map(|chunk| [Piece::Data(chunk.to_vec()), Piece::Pause(Duration::from_millis(2))]);
            passes(suite, &call(suite), pieces.collect())
        },
    ),
    must(
        "streams.large-chunks",
        CHUNKS,
        &[],
        "A chunk with many events, and an event of 100 KiB, come back unchanged",
        |suite| {
            let many: String = (0..500).map(|number| event(&progress(number))).collect();
            let large = messages::notification("notifications/message", json!({ "data": "x".repeat(100 << 10) }));
            let pieces = vec![Piece::text(many), Piece::text(event(&large)), Piece::text(last())];
            passes(suite, &call(suite), pieces)
        },
    ),
    should("streams.begin-at-once", RECEIVING, &[], "The headers of a stream arrive before its first event", |suite| {
        let pieces = vec![Piece::Pause(PAUSE), Piece::text(last())];
        let started = Instant::now();
        let events = suite.open(&call(suite), always(Answer::events(pieces)))?;
        let is_early = started.elapsed() < AT_ONCE;
        drop(events);
        Ok(Check::new(is_early, if is_early { "at once" } else { "held back" }))
    }),
    should(
        "streams.events-at-once",
        RECEIVING,
        &[],
        "An event arrives when it was sent, not with the next one",
        |suite| arrives_at_once(suite, &event(&progress(1))),
    ),
    should(
        "streams.comments-at-once",
        RECEIVING,
        &[],
        "A comment that keeps a silent stream open arrives when it was sent",
        |suite| arrives_at_once(suite, ":\r\n\r\n"),
    ),
    should("streams.one-by-one", RECEIVING, &[], "Events that a server sends one by one arrive one by one", |suite| {
        let step = Duration::from_millis(400);
        let pieces = (0..4).flat_map(|number| [Piece::text(event(&progress(number))), Piece::Pause(step)]);
        let mut events = suite.open(&call(suite), always(Answer::events(pieces.collect())))?;
        events.read_until(&event(&progress(0)))?;
        let first = Instant::now();
        events.read_until(&event(&progress(3)))?;
        let are_apart = first.elapsed() > step * 2;
        Ok(Check::new(are_apart, if are_apart { "one by one" } else { "together" }))
    }),
    should("streams.silent", RECEIVING, &[], "A stream that is silent for 20 s continues", |suite| {
        let pieces = vec![Piece::text(event(&progress(1))), Piece::Pause(suite.silence), Piece::text(last())];
        passes(suite, &call(suite), pieces)
    }),
    must(
        "streams.cancelled",
        CLOSING,
        &[],
        "When a client closes a stream, the server's stream ends: closing cancels the request",
        |suite| ends_with_client(suite, &call(suite), vec![Piece::Pause(Duration::from_secs(60))]),
    ),
    must("streams.cancelled-while-sending", CLOSING, &[], "The same while the server sends events", |suite| {
        let busy = [Piece::Pause(Duration::from_millis(50)), Piece::text(event(&progress(2)))];
        ends_with_client(suite, &call(suite), (0..1_200).flat_map(|_| busy.clone()).collect())
    }),
    must(
        "streams.cancelled-subscription",
        SUBSCRIPTIONS,
        &[],
        "When a client closes the stream of a subscription, the server's stream ends",
        |suite| ends_with_client(suite, &listens(suite), vec![Piece::Pause(Duration::from_secs(60))]),
    ),
    should(
        "streams.broken",
        INCOMPLETE,
        &[],
        "A stream that the server breaks off does not end as if it were complete, and no event is made up",
        |suite| {
            let whole = event(&progress(1));
            let part = "data: {\"jsonrpc\":\"2.0\",\"id\":1,";
            let pieces = vec![Piece::text(whole.clone()), Piece::text(part), Piece::Pause(PAUSE / 10), Piece::Break];
            let mut events = suite.open(&call(suite), always(Answer::events(pieces)))?;
            let is_complete = events.read_to_end().is_ok();
            let has_only_that = [whole.as_bytes(), part.as_bytes()].concat().starts_with(&events.bytes);
            let seen = if is_complete { "a complete stream" } else { "a broken stream" };
            Ok(Check::new(!is_complete && has_only_that, seen))
        },
    ),
    must(
        "streams.concurrent",
        LEGACY_STREAMS,
        &[],
        "Two streams at the same time do not wait for each other, and each has only its own events",
        |suite| {
            let mut slow = suite.open(&named(suite, "a"), two_streams())?;
            slow.read_until("from-a")?;
            let started = Instant::now();
            let mut fast = suite.open_next(&named(suite, "b"))?;
            fast.read_to_end()?;
            let is_fast = started.elapsed() < SLOW;
            slow.read_to_end()?;
            let ids = |bytes: &[u8]| -> Vec<_> {
                messages::messages_in(bytes).iter().filter_map(|message| message.get("id").cloned()).collect()
            };
            let are_apart = is_fast && ids(&slow.bytes) == [json!("a")] && ids(&fast.bytes) == [json!("b")];
            Ok(Check::new(are_apart, if are_apart { "two streams" } else { "mixed" }))
        },
    ),
    must(
        "streams.subscription",
        SUBSCRIPTIONS,
        &[],
        "The stream of `subscriptions/listen` comes back unchanged, with the acknowledgment at once",
        |suite| {
            let notifications = json!({ "notifications": { "toolsListChanged": true } });
            let acknowledged = subscribed("notifications/subscriptions/acknowledged", notifications);
            let rest = [
                subscribed("notifications/tools/list_changed", json!({})),
                subscribed("notifications/resources/updated", json!({ "uri": RESOURCE })),
            ];
            let pieces = vec![Piece::text(acknowledged.clone()), Piece::Pause(PAUSE), Piece::text(rest.concat())];
            let started = Instant::now();
            let mut events = suite.open(&listens(suite), always(Answer::events(pieces)))?;
            events.read_until(&acknowledged)?;
            ensure!(started.elapsed() < AT_ONCE, "the acknowledgment is held back");
            events.read_to_end()?;
            let is_same = events.bytes == [acknowledged.as_bytes(), rest.concat().as_bytes()].concat();
            Ok(Check::new(is_same, if is_same { "the same stream" } else { "other bytes" }))
        },
    ),
    must(
        "streams.requests-of-the-server",
        LEGACY_SENDING,
        &[Legacy],
        "A request of the server on a stream of an earlier revision comes back",
        |suite| {
            let asks = messages::legacy("sampling-1", "sampling/createMessage", json!({ "maxTokens": 10 }));
            let sent = suite.legacy(&messages::legacy(1, "tools/call", json!({ "name": TOOL })));
            passes(suite, &sent, vec![Piece::text(event(&asks)), Piece::text(last())])
        },
    ),
    must(
        "streams.left-alone",
        CLOSING,
        &[],
        "A stream that a client leaves open is not canceled when another client closes its own",
        |suite| {
            let mut slow = suite.open(&named(suite, "a"), two_streams())?;
            slow.read_until("from-a")?;
            drop(suite.open_next(&named(suite, "b"))?);
            thread::sleep(Duration::from_millis(100));
            slow.read_to_end()?;
            let is_complete = slow.contains("\"end\"");
            Ok(Check::new(is_complete, if is_complete { "the whole stream" } else { "a part of the stream" }))
        },
    ),
];
