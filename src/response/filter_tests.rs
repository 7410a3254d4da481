//! Whole responses: what their headers decide, and what is forwarded of their chunks.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::fuzzing;
use crate::quota::held::{HeldBytes, Shares};
use crate::request::json::Json;
use crate::response::list::{ListKind, Shown};

const DECISION: DecisionId = DecisionId(7);

/// Shows everything but `hidden`.
struct Hiding;

impl Listed for Hiding {
    fn shows(&self, _: ListKind, name: &str, _: Json<'_>) -> Shown {
        if name == "hidden" { Shown::No } else { Shown::Yes }
    }

    fn is_changed_by_spelling(&self, _: ListKind, _: &str) -> bool {
        false
    }
}

const HEAD: ResponseHead<'_> = ResponseHead {
    status: 200,
    content_type: Some(b"application/json"),
    content_encoding: None,
    content_length: None,
    end_of_stream: false,
};

const EVENTS: ResponseHead<'_> = ResponseHead { content_type: Some(b"text/event-stream"), ..HEAD };

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden"},{"name":"a"}]}}"#;
const SHOWN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}"#;

const UNREADABLE: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the server's answer is not one unambiguous JSON-RPC message","data":{"code":"answer_unreadable","status":502,"decision":"00000000000000000000000000000007"}}}"#;
const TOO_LARGE: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the server's answer is too large to be checked","data":{"code":"answer_too_large","status":502,"decision":"00000000000000000000000000000007"}}}"#;

fn filter_for(head: &ResponseHead<'_>, id: Option<&str>) -> ResponseFilter {
    let mut filter = ResponseFilter::new(1000, id, DECISION);
    assert_eq!(filter.on_headers(head), HeaderAction::Replace);
    filter
}

const NOT_HELD: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the gateway has no room to hold the server's answer until it is checked; try again later","data":{"code":"answer_not_held","status":502,"decision":"00000000000000000000000000000007"}}}"#;

/// Returns what is forwarded of a body, which is received in chunks of this size.
fn pass(filter: &mut ResponseFilter, body: &[u8], size: usize) -> String {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend(filter.on_chunk(chunk, false, &Hiding));
    }
    out.extend(filter.on_chunk(b"", true, &Hiding));
    assert!(filter.on_chunk(b"more", false, &Hiding).is_empty(), "nothing follows the end");
    String::from_utf8(out).unwrap()
}

fn json(body: impl AsRef<[u8]>) -> String {
    pass(&mut filter_for(&HEAD, Some("7")), body.as_ref(), 10)
}

fn events(body: impl AsRef<[u8]>) -> String {
    pass(&mut filter_for(&EVENTS, Some("7")), body.as_ref(), 10)
}

#[test]
fn headers_decide_how_the_body_is_read() {
    use AnswerFault::{Coded, MediaType, TooLarge};
    use HeaderAction::{Reject, Replace, Untouched};
    for (status, content_type, with_id, without_id) in [
        (200, "application/json", Replace, Replace),
        (200, "Application/JSON ; charset=UTF-8", Replace, Replace),
        (200, "application/json;charset=\"utf-8\"", Replace, Replace),
        (200, "text/event-stream", Replace, Replace),
        (200, " text/event-stream; charset=utf-8 ", Replace, Replace),
        (404, "application/json", Replace, Replace),
        (500, "text/event-stream", Replace, Replace),
        // Some clients look for a media type at the beginning of the header, or anywhere in it.
        (200, "application/json; charset=utf-16", Reject(MediaType), Reject(MediaType)),
        (200, "application/json; x=text/event-stream", Reject(MediaType), Reject(MediaType)),
        (200, "text/plain; x=text/EVENT-stream", Reject(MediaType), Reject(MediaType)),
        (200, "application/json, text/event-stream", Reject(MediaType), Reject(MediaType)),
        (200, "application/json-seq", Reject(MediaType), Reject(MediaType)),
        (400, "application/json; charset=utf-7", Reject(MediaType), Reject(MediaType)),
        (400, "text/html, application/json", Reject(MediaType), Reject(MediaType)),
        // Other types are errors if they succeed, and no answer if none is expected.
        (200, "text/plain", Reject(MediaType), Replace),
        (200, "application/problem+json", Reject(MediaType), Replace),
        (200, "", Reject(MediaType), Replace),
        (202, "", Reject(MediaType), Replace),
        (299, "text/html", Reject(MediaType), Replace),
        (300, "text/html", Untouched, Untouched),
        (401, "application/problem+json", Untouched, Untouched),
        (404, "text/html", Untouched, Untouched),
        (503, "", Untouched, Untouched),
        (204, "text/plain", Untouched, Untouched),
        (304, "application/json", Untouched, Untouched),
    ] {
        let content_type = Some(content_type.as_bytes()).filter(|value| !value.is_empty());
        for (id, expected) in [(Some("1"), with_id), (None, without_id)] {
            let head = ResponseHead { status, content_type, ..HEAD };
            let mut filter = ResponseFilter::new(1000, id, DECISION);
            assert_eq!(filter.on_headers(&head), expected, "{head:?}");
            let rejected = if let Reject(fault) = expected { Some(fault) } else { None };
            assert_eq!(filter.fault(), rejected);
            if let Some(fault) = rejected {
                assert!(filter.error(fault).starts_with(b"{\"jsonrpc\":\"2.0\","));
                assert!(filter.on_chunk(LIST.as_bytes(), true, &Hiding).is_empty(), "nothing is forwarded");
            }
            let ended = ResponseHead { end_of_stream: true, content_encoding: Some(b"gzip"), ..head };
            assert_eq!(ResponseFilter::new(1000, id, DECISION).on_headers(&ended), Untouched, "without a body");
        }
    }
    for (coding, expected) in [
        ("identity", Replace),
        (" Identity", Replace),
        ("gzip", Reject(Coded)),
        ("br", Reject(Coded)),
        ("", Reject(Coded)),
        ("identity, gzip", Reject(Coded)),
        ("gzip, identity", Reject(Coded)),
        ("identity,identity", Reject(Coded)),
    ] {
        for head in [HEAD, EVENTS, ResponseHead { status: 404, ..HEAD }] {
            let head = ResponseHead { content_encoding: Some(coding.as_bytes()), ..head };
            assert_eq!(ResponseFilter::new(1000, None, DECISION).on_headers(&head), expected, "{head:?}");
        }
        let page = ResponseHead { status: 404, content_type: None, content_encoding: Some(coding.as_bytes()), ..HEAD };
        assert_eq!(ResponseFilter::new(1000, None, DECISION).on_headers(&page), Untouched);
    }
    for (length, expected) in [(0, Replace), (1000, Replace), (1001, Reject(TooLarge)), (u64::MAX, Reject(TooLarge))] {
        let head = |head: ResponseHead<'static>| ResponseHead { content_length: Some(length), ..head };
        assert_eq!(ResponseFilter::new(1000, None, DECISION).on_headers(&head(HEAD)), expected);
        assert_eq!(
            ResponseFilter::new(1000, None, DECISION).on_headers(&head(EVENTS)),
            Replace,
            "an event may be shorter"
        );
    }
}

#[test]
fn forwards_nothing_of_which_the_headers_are_unknown() {
    assert!(ResponseFilter::new(1000, None, DECISION).on_chunk(LIST.as_bytes(), true, &Hiding).is_empty());
    for head in [
        ResponseHead { end_of_stream: true, ..HEAD },
        ResponseHead { status: 204, ..HEAD },
        ResponseHead { status: 304, ..EVENTS },
    ] {
        let mut filter = ResponseFilter::new(1000, None, DECISION);
        assert_eq!(filter.on_headers(&head), HeaderAction::Untouched);
        assert!(filter.on_chunk(LIST.as_bytes(), true, &Hiding).is_empty(), "{head:?}");
    }
}

#[test]
fn forwards_error_pages_and_discards_bodies_that_nobody_expects() {
    let mut filter = ResponseFilter::new(4, Some("1"), DECISION);
    let page = ResponseHead { status: 502, content_type: Some(b"text/html"), ..HEAD };
    assert_eq!(filter.on_headers(&page), HeaderAction::Untouched);
    assert_eq!(filter.on_chunk(b"<html>", false, &Hiding), b"<html>");
    assert_eq!(filter.on_chunk(b"</html>", true, &Hiding), b"</html>");
    let accepted = ResponseHead { status: 202, content_type: None, ..HEAD };
    let mut filter = filter_for(&accepted, None);
    assert!(filter.on_chunk(LIST.as_bytes(), false, &Hiding).is_empty());
    assert_eq!(filter.fault(), None);
}

#[test]
fn json_is_collected_and_filtered() {
    for size in [1, 7, 1000] {
        let mut filter = filter_for(&HEAD, Some("1"));
        let mut forwarded: Vec<_> =
            LIST.as_bytes().chunks(size).map(|chunk| filter.on_chunk(chunk, false, &Hiding)).collect();
        assert_eq!(forwarded.pop().unwrap(), SHOWN.as_bytes(), "the end of the body may not be told");
        assert!(forwarded.iter().all(Vec::is_empty), "nothing is forwarded before");
        for (chunk, end) in [(" ", false), ("\r\n\t", false), ("\n", true)] {
            assert!(filter.on_chunk(chunk.as_bytes(), end, &Hiding).is_empty(), "nothing is forwarded after it");
        }
        assert_eq!((filter.removed().count(ListKind::Tools), filter.fault()), (1, None));
    }
    let mut filter = filter_for(&HEAD, None);
    assert_eq!(filter.on_chunk(LIST.as_bytes(), true, &Hiding), SHOWN.as_bytes(), "the last chunk may contain all");
    let other = " {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[],\"x\":\"\u{2028}\"}}\n";
    assert_eq!(json(other), other, "an answer that is not changed is forwarded byte for byte");
    assert_eq!(filter_for(&HEAD, None).on_chunk(other.as_bytes(), true, &Hiding), other.as_bytes());
    assert_eq!(json(format!("{LIST}{}", " ".repeat(5000))), SHOWN, "the limit is that of the answer");
    assert_eq!(json(""), "");
    assert_eq!(json(" \r\n"), "");
}

#[test]
fn an_answer_is_unfinished_until_its_end_or_an_error_is_forwarded() {
    let (first, rest) = LIST.split_at(20);
    let mut filter = filter_for(&HEAD, Some("7"));
    for (chunk, is_unfinished) in [("", false), (" \n", false), (first, true), ("", true), (rest, false), ("\n", false)]
    {
        filter.on_chunk(chunk.as_bytes(), false, &Hiding);
        assert_eq!(filter.is_unfinished(), is_unfinished, "{chunk:?}");
    }
    for (chunk, end) in [("[", false), ("{", true)] {
        let mut filter = filter_for(&HEAD, Some("7"));
        assert_eq!(filter.on_chunk(chunk.as_bytes(), end, &Hiding), UNREADABLE.as_bytes());
        assert!(!filter.is_unfinished(), "{chunk}");
    }
}

#[test]
fn nothing_of_what_follows_an_answer_is_forwarded() {
    for after in ["x", "{}", LIST, "]", "\0", "\u{feff}", "\u{c}", " , "] {
        let mut filter = filter_for(&HEAD, Some("7"));
        assert_eq!(filter.on_chunk(LIST.as_bytes(), false, &Hiding), SHOWN.as_bytes());
        for (chunk, end) in [(" ", false), (after, false), (LIST, false), ("", true)] {
            assert!(filter.on_chunk(chunk.as_bytes(), end, &Hiding).is_empty(), "{after:?}");
        }
        assert_eq!(filter.fault(), Some(AnswerFault::Unreadable), "{after:?}");

        for end in [true, false] {
            let mut filter = filter_for(&HEAD, Some("7"));
            let both = format!("{LIST} {after}");
            assert_eq!(filter.on_chunk(both.as_bytes(), end, &Hiding), UNREADABLE.as_bytes(), "{after:?}");
            assert!(filter.on_chunk(LIST.as_bytes(), true, &Hiding).is_empty());
        }
    }
}

#[test]
fn an_answer_without_its_end_becomes_an_error() {
    for length in 1..LIST.len() {
        let begin = &LIST.as_bytes()[..length];
        assert_eq!(json(begin), UNREADABLE, "{length}");
        assert_eq!(filter_for(&HEAD, Some("7")).on_chunk(begin, true, &Hiding), UNREADABLE.as_bytes(), "{length}");
    }
}

const SHARES: Shares = Shares { worker: 10_000, agent: 6_000, source: 10_000 };

/// Returns the filter of an answer to an agent.
fn charging(held: &HeldBytes, agent: &str, head: &ResponseHead<'_>) -> ResponseFilter {
    let mut filter = ResponseFilter::new(4_000, Some("7"), DECISION).charging(held.reserve_nothing(
        Some(("p", agent)),
        None,
        SHARES,
    ));
    assert_eq!(filter.on_headers(head), HeaderAction::Replace);
    filter
}

#[test]
fn all_answers_together_have_a_bound() {
    for (head, begin, error) in [
        (HEAD, "{\"x\":\"".to_owned() + &"x".repeat(990), NOT_HELD.to_owned()),
        (EVENTS, "data: ".to_owned() + &"x".repeat(990), format!("data: {NOT_HELD}\n\n")),
    ] {
        let held = HeldBytes::default();
        let mut filters = Vec::new();
        for (agent, most) in [("slow", 5), ("other", 4), ("third", 0)] {
            for number in 0..8 {
                let mut filter = charging(&held, agent, &head);
                let out = String::from_utf8(filter.on_chunk(begin.as_bytes(), false, &Hiding)).unwrap();
                let (expected, fault) = if number < most { ("", None) } else { (&*error, Some(AnswerFault::NotHeld)) };
                assert_eq!((&*out, filter.fault()), (expected, fault), "{agent} {number}");
                filters.push(filter);
                assert!(held.total() <= SHARES.worker);
            }
        }
        assert_eq!(held.total(), 9 * 1024);
        // One that needs no room is still forwarded.
        let whole = if head.content_type == HEAD.content_type { LIST.to_owned() } else { format!("data: {LIST}\n\n") };
        let out = charging(&held, "third", &head).on_chunk(whole.as_bytes(), true, &Hiding);
        assert_eq!(String::from_utf8(out).unwrap(), whole.replace(LIST, SHOWN));
        // A cancelled stream releases its bytes, and so does one that ends.
        drop(filters.remove(0));
        assert_eq!(held.total(), 8 * 1024);
        for filter in &mut filters {
            filter.on_chunk(b"", true, &Hiding);
        }
        assert_eq!(held.total(), 0, "the streams have ended");
    }
}

#[test]
fn only_what_waits_is_charged() {
    let held = HeldBytes::default();
    let mut filter = charging(&held, "a", &HEAD);
    let (first, rest) = LIST.split_at(40);
    assert!(filter.on_chunk(first.as_bytes(), false, &Hiding).is_empty());
    assert_eq!(held.total(), 1024);
    assert_eq!(filter.on_chunk(rest.as_bytes(), false, &Hiding), SHOWN.as_bytes());
    assert_eq!(held.total(), 0, "it is forwarded, although the stream has not ended");

    let mut filter = charging(&held, "a", &EVENTS);
    for _ in 0..3 {
        assert!(filter.on_chunk(b"data: {\"a\"", false, &Hiding).is_empty());
        assert_eq!(held.total(), 1024);
        assert_eq!(filter.on_chunk(b":1}\n\n", false, &Hiding), b"data: {\"a\":1}\n\n");
        assert_eq!(held.total(), 0, "an idle stream holds nothing");
    }
    filter.on_chunk(("data: {\"a\":1}\n\n".repeat(100) + "data: ").as_bytes(), false, &Hiding);
    assert!((1..=4096).contains(&held.total()), "{}", held.total());
    filter.on_chunk(&[b'x'; 5_000], false, &Hiding);
    assert_eq!((filter.fault(), held.total()), (Some(AnswerFault::TooLarge), 0), "what is dropped needs no room");
}

#[test]
fn an_event_without_room_is_dropped_to_its_end() {
    let held = HeldBytes::default();
    let all = held.reserve(None, None, SHARES, SHARES.worker).unwrap();
    let mut filter = charging(&held, "a", &EVENTS);
    let mut pass = |chunk: &str| String::from_utf8(filter.on_chunk(chunk.as_bytes(), false, &Hiding)).unwrap();
    assert_eq!(pass("data: {\"a\":1}\n\ndata: {\"x\""), format!("data: {{\"a\":1}}\n\ndata: {NOT_HELD}\n\n"));
    assert_eq!(pass(":1}\ndata: 2\n"), "");
    assert_eq!(pass("\ndata: {\"b\":1}\n\n"), "data: {\"b\":1}\n\n");
    drop(all);
    assert_eq!(pass("data: {\"c\""), "");
    assert_eq!(pass(":1}\n\n"), "data: {\"c\":1}\n\n");
    assert_eq!(filter.fault(), Some(AnswerFault::NotHeld));
}

#[test]
fn json_that_cannot_be_checked_becomes_an_error() {
    let double = LIST.replace("\"tools\"", "\"tools\":[],\"tools\"");
    let batch = format!("[{LIST}]");
    let marked = format!("\u{feff}{LIST}");
    for body in [double.as_str(), &batch, &marked, "<html>", "event: message\ndata: {}\n\n", "\0", "null"] {
        assert_eq!(json(body), UNREADABLE, "{body}");
    }
    assert_eq!(json(b"\x1f\x8b\x08\0\0\0\0\0\0\x03"), UNREADABLE, "a coding that is not announced");
    assert_eq!(json(b"{\"result\":\"\xff\"}"), UNREADABLE);

    let padded = |length: usize| format!("{{\"result\":{{\"x\":\"{}\"}}}}", "x".repeat(length - 19));
    assert_eq!(json(padded(1000)), padded(1000));
    assert_eq!(json(padded(1001)), TOO_LARGE);
    assert_eq!(json(padded(50_000)), TOO_LARGE, "it is sent once");
    let mut filter = filter_for(&HEAD, Some("7"));
    assert_eq!(filter.on_chunk(padded(1001).as_bytes(), true, &Hiding), TOO_LARGE.as_bytes());
    assert_eq!(filter.fault(), Some(AnswerFault::TooLarge));
}

#[test]
fn an_error_has_the_id_of_the_request_as_it_was_sent() {
    for (id, expected) in [
        (Some("7"), ",\"id\":7,\"error\""),
        (Some("\"a\\u0062\\\"\""), ",\"id\":\"a\\u0062\\\"\",\"error\""),
        (None, "\"2.0\",\"error\""),
    ] {
        let body = pass(&mut filter_for(&HEAD, id), b"x", 10);
        assert!(body.contains(expected), "{body}");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["error"]["data"]["code"], "answer_unreadable");
        assert_eq!(value["error"]["data"]["decision"], "00000000000000000000000000000007");
    }
}

#[test]
fn each_event_is_filtered() {
    let other = "id: 3\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";
    let prime = "id: 1\r\ndata:\r\n\r\n";
    let stream = format!("{prime}: ping\n\n{other}id: 4\nevent: message\ndata: {LIST}\n\n{other}");
    let expected = format!("{prime}: ping\n\n{other}id: 4\nevent: message\ndata: {SHOWN}\n\n{other}");
    for size in [1, 5, 64, 1000] {
        let mut filter = filter_for(&EVENTS, Some("7"));
        assert_eq!(pass(&mut filter, stream.as_bytes(), size), expected);
        assert_eq!((filter.removed().count(ListKind::Tools), filter.fault()), (1, None));
    }
    let mut filter = filter_for(&EVENTS, None);
    let chunk = format!("data: {LIST}\n\ndata: {LIST}");
    assert_eq!(filter.on_chunk(chunk.as_bytes(), false, &Hiding), format!("data: {SHOWN}\n\n").into_bytes());
    assert_eq!(filter.on_chunk(b"\n\n", false, &Hiding), format!("data: {SHOWN}\n\n").into_bytes());
    assert_eq!(filter.removed().count(ListKind::Tools), 2);
}

#[test]
fn a_list_is_filtered_however_its_event_is_written() {
    let lines = LIST.replace(',', ",\ndata:").replace(":[", ":\ndata\ndata: [");
    let joined = "{\"jsonrpc\":\"2.0\", \"id\":1, \"result\":{\"tools\":  [{\"name\":\"a\"}]}}";
    for (stream, expected) in [
        (format!("data: {lines}\n\n"), format!("data: {joined}\n\n")),
        (format!("data: {}\r\r", lines.replace('\n', "\r")), format!("data: {joined}\n\n")),
        (format!("data: {}\n\n", lines.replace('\n', "\n: c\r\n")), format!("data: {joined}\n{}\n", ": c\n".repeat(5))),
        (format!("\u{feff}data:{LIST}\r\n\r\n"), format!("data: {SHOWN}\n\n\n")),
        (format!("event: x\ndata: {LIST}\n\n"), format!("event: x\ndata: {SHOWN}\n\n")),
        (format!("data: {}\n\n", LIST.replace("hidden", "h\\u0069dden")), format!("data: {SHOWN}\n\n")),
        // What is not data to conforming readers is not forwarded.
        (format!("Data: {LIST}\n\n"), "\n".to_owned()),
        (format!("data : {LIST}\n\n"), "\n".to_owned()),
        (format!("{LIST}\n\n"), "\n".to_owned()),
        (format!("\u{feff}\u{feff}data: {LIST}\n\n"), "\n".to_owned()),
        (format!(": \u{2028}data: {LIST}\n\n"), "\n".to_owned()),
        (format!("id: \u{85}data: {LIST}\n\n"), "\n".to_owned()),
        // An event without its end.
        (format!("data: {LIST}\n"), String::new()),
        (format!("data: {LIST}"), String::new()),
    ] {
        assert_eq!(events(&stream), expected, "{stream:?}");
    }
}

#[test]
fn strings_contain_nothing_at_which_a_reader_ends_lines() {
    // A reader that ends lines there would see a second event.
    let message =
        |end: &str| format!("{{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":\"{end}{end}data: {{}}{end}{end}\"}}");
    for (end, escaped) in [("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029"), ("\u{85}", "\\u0085")] {
        assert_eq!(
            events(format!("id: 1\ndata: {}\n\n", message(end))),
            format!("id: 1\ndata: {}\n\n", message(escaped))
        );
    }
    let list = LIST.replace("\"a\"", "\"a\u{2028}\"");
    assert_eq!(events(format!("data: {list}\n\n")), format!("data: {}\n\n", SHOWN.replace("\"a\"", "\"a\\u2028\"")));
    // The new event must not exceed the limit either.
    let long = format!("data: {}\n\n", message(&"\u{2028}".repeat(60)));
    assert!(long.len() < 1000);
    assert_eq!(events(long), format!("data: {TOO_LARGE}\n\n"));
}

#[test]
fn an_event_that_cannot_be_checked_becomes_one_error() {
    let good = "data: {\"method\":\"x\"}\n\n";
    let long = format!("data: {{\"result\":\"{}\"}}\n\n", "x".repeat(1000));
    for (bad, error) in [
        ("data: x\n\n", UNREADABLE),
        ("data: [DONE]\n\n", UNREADABLE),
        ("data: [{\"result\":{\"tools\":[]}}]\n\n", UNREADABLE),
        ("data: {\"result\":{\"tools\":[],\"tools\":[]}}\n\n", UNREADABLE),
        ("data: {\"result\":{\"to\ndata: ols\":[]}}\n\n", UNREADABLE),
        ("data: \u{feff}{}\n\n", UNREADABLE),
        ("data: {}\0\n\n", UNREADABLE),
        (long.as_str(), TOO_LARGE),
    ] {
        let stream = format!("{good}{bad}{good}");
        assert_eq!(events(&stream), format!("{good}data: {error}\n\n{good}"), "{bad:?}");
        let mut filter = filter_for(&EVENTS, None);
        let out = pass(&mut filter, stream.as_bytes(), 10);
        assert_eq!(out.replace("\n\n\n", "\n\n"), format!("{good}{good}"), "there is no request to answer");
        assert!(filter.fault().is_some());
    }
    assert_eq!(events("id: 1\ndata: x\nevent: e\n\n"), format!("id: 1\ndata: {UNREADABLE}\nevent: e\n\n"));
    // A request has one answer, and errors are longer than what causes them.
    let out = events("data: x\n\n".repeat(1000) + good);
    assert_eq!(out, format!("data: {UNREADABLE}\n\n{}{good}", "\n".repeat(999)));
    assert_eq!(events(b"data: {\"x\":\"\xff\"}\n\n"), format!("data: {UNREADABLE}\n\n"));
}

#[test]
fn single_bytes_take_linear_time() {
    let started = Instant::now();
    for head in [HEAD, EVENTS] {
        for body in [
            LIST.repeat(2000),
            format!("{{\"x\":{}", LIST.repeat(2000)),
            format!("data: {LIST}\n\n").repeat(2000),
            "{\"x\":".to_owned() + &"[".repeat(1 << 16),
            "\r".repeat(1 << 16),
        ] {
            let mut filter = ResponseFilter::new(1 << 20, None, DECISION);
            filter.on_headers(&head);
            pass(&mut filter, body.as_bytes(), 1);
        }
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn a_document_may_be_divided_anywhere(
        before in "[ \\t\\r\\n]{0,3}",
        after in "[ \\t\\r\\n]{0,3}",
        cuts in proptest::collection::vec(0..200_usize, 0..8),
        is_told in any::<bool>(),
    ) {
        let document = before + &LIST.replace("\"id\":1", "\"id\":1,\"}\":\"]}\\\\\\\"}{[\",\"x\":[[],{\"y\":{}}]");
        let Filtered::Changed(expected) = list::filter(document.as_bytes(), 1000, &Hiding, &mut Removed::default()) else {
            return Err(TestCaseError::fail("the list is not filtered"));
        };
        let mut rest = document.clone() + &after;
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= rest.len()).collect();
        cuts.sort_unstable();
        let mut chunks: Vec<_> = cuts.into_iter().rev().map(|cut| rest.split_off(cut)).collect();
        chunks.push(rest);
        let mut filter = filter_for(&HEAD, Some("7"));
        let last = chunks.len() - 1;
        let chunks = chunks.iter().rev().enumerate();
        let out: Vec<_> =
            chunks.map(|(at, chunk)| filter.on_chunk(chunk.as_bytes(), is_told && at == last, &Hiding)).collect();
        prop_assert_eq!(out.concat(), expected);
        prop_assert_eq!(filter.fault(), None);
        prop_assert!(out.iter().filter(|out| !out.is_empty()).count() == 1, "it leaves at once");
    }

    #[test]
    fn agrees_with_a_second_implementation_about_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzzing::answers(&bytes);
    }

    #[test]
    fn agrees_with_a_second_implementation_about_streams(
        choice in "[\\x00-\\x7f]{2}",
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[{\"name\":\"a\"},{\"name\":\"hid\"},{\"name\":\"chg\"}]}}\n\n"),
                Just("data: {\"result\":{\"resources\":[{\"uri\":\"hid\"},7],\"cacheScope\":\"public\"}}\r\n\r\n"),
                Just("data: {\"result\":{\"prompts\":[],\ndata: \"ttlMs\":5}}\n\n"),
                Just("data: {\"result\":{\"content\":[\"\u{2028}\"]}}\r\r"),
                Just("data: {}\n"),
                Just("data: [1]\n\n"),
                Just("data:\n\n"),
                Just("data"),
                Just("Data: {}\n"),
                Just("id: 1\n"),
                Just("id\r"),
                Just("event: e\r\n"),
                Just("retry: 5\n"),
                Just(": c\n"),
                Just("\u{feff}"),
                Just("\u{85}"),
                Just("\n"),
                Just("\r"),
                Just("x"),
                Just(": xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
            ],
            0..20,
        ),
    ) {
        fuzzing::answers(format!("{choice}{}", pieces.concat()).as_bytes());
    }

    #[test]
    fn agrees_with_a_second_implementation_about_documents(
        choice in "[\\x00-\\x7f]{2}",
        pieces in proptest::collection::vec(
            "\\{|\\}|\\[|\\]|,|:|\"result\":\\{|\"(tools|resources|prompts|Tools)\":\\[|\\{\"(name|uri|Name)\":\"(a|hid|chg|h\\\\u0069d)\"\\}|\"cacheScope\":\"public\"|\"ttlMs\":1|null|1| ",
            0..16,
        ),
    ) {
        fuzzing::answers(format!("{choice}{}", pieces.concat()).as_bytes());
    }
}
