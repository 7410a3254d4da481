//! How streams are split, in every spelling and for every division into chunks.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// Passes a stream in these chunks. Returns what is forwarded, and the data of each event.
fn pass<'s>(
    chunks: impl IntoIterator<Item = &'s [u8]>,
    most: usize,
    change: &dyn Fn(Option<&[u8]>) -> Change,
) -> (Vec<u8>, Vec<Option<Vec<u8>>>) {
    let mut stream = EventStream::new(most, None);
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let mut check = |data: Result<&[u8], Lost>| {
            assert_ne!(data, Err(Lost::NoRoom));
            let data = data.ok();
            seen.push(data.map(<[u8]>::to_vec));
            change(data)
        };
        stream.push(chunk, &mut check, &mut out);
        assert!(stream.held.bytes().len() <= most);
    }
    (out, seen)
}

fn keep(_: Option<&[u8]>) -> Change {
    Change::Keep
}

/// Returns what is forwarded of a stream, and the data of its events as text.
fn kept(stream: &str) -> (String, Vec<String>) {
    let (out, seen) = pass([stream.as_bytes()], 1000, &keep);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(out), seen.into_iter().map(|data| text(data.unwrap())).collect())
}

/// Returns a stream after the data of each event became `[1]`.
fn replaced(stream: &str) -> String {
    let (out, _) = pass([stream.as_bytes()], 1000, &|_| Change::ReplaceData(b"[1]".to_vec()));
    String::from_utf8(out).unwrap()
}

#[test]
fn forwards_complete_events_byte_for_byte() {
    for (stream, data) in [
        ("data: a\n\n", &["a"][..]),
        ("data:a\n\n", &["a"]),
        ("data:  a \n\n", &[" a "]),
        ("data\n\n", &[""]),
        ("data:\n\n", &[""]),
        ("data: \n\n", &[""]),
        ("data: a\r\n\r\n", &["a"]),
        ("data: a\r\r", &["a"]),
        ("data: a\r\n\n", &["a"]),
        ("data: a\n\r\n", &["a"]),
        ("data: a\r\n\r", &["a"]),
        ("data: a\n\rdata: b\r\n\r\n", &["a", "b"]),
        ("data: a\ndata:b\ndata\ndata: c\n\n", &["a\nb\n\nc"]),
        ("data: a\n: ping\nid: 1\ndata: b\n\n", &["a\nb"]),
        ("id: 7\nevent: message\nretry: 10\ndata: {\"a\":1}\n\n", &["{\"a\":1}"]),
        ("data: a:b: c\n\n", &["a:b: c"]),
        (": ping\n\n", &[]),
        (":\n", &[]),
        (":", &[]),
        ("\n\n\r\n\r\r", &[]),
        ("id: 1\n\n", &[]),
        ("event: x\nid\n\ndata: a\n\n", &["a"]),
        ("", &[]),
    ] {
        let (out, seen) = kept(stream);
        let complete = if stream == ":" { "" } else { stream };
        assert_eq!(
            (out.as_str(), seen.as_slice()),
            (complete, &data.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..]),
            "{stream:?}"
        );
    }
}

#[test]
fn an_event_that_the_stream_ends_in_is_not_forwarded() {
    for end in [
        "data: secret",
        "data: secret\n",
        "data: secret\r",
        "data: secret\r\n",
        "data: secret\ndata: more\n",
        "id: 1\ndata: secret\n",
        "id: 1\n",
        ": half a comment with a secret",
        "secret",
        "\u{feff}",
    ] {
        let (out, seen) = kept(&format!("data: a\n\n{end}"));
        assert_eq!((out.as_str(), seen.as_slice()), ("data: a\n\n", &["a".to_owned()][..]), "{end:?}");
        assert_eq!(kept(end), (String::new(), Vec::new()), "{end:?}");
    }
}

#[test]
fn comments_and_events_are_forwarded_with_the_chunk_that_completes_them() {
    let mut stream = EventStream::new(100, None);
    for (chunk, expected) in [
        (": ping\n", ": ping\n"),
        (": pi", ""),
        ("ng\r", ": ping\r"),
        ("\n", "\n"),
        ("\r\n", "\r\n"),
        ("data: a\n", ""),
        // A comment within an event waits for its end.
        (": ping\n", ""),
        ("\r", "data: a\n: ping\n\r"),
        ("\ndata: b\r\n\r", "\ndata: b\r\n\r"),
        ("\n", "\n"),
        ("data: c\r", ""),
        ("\n", ""),
        ("\n", "data: c\r\n\n"),
    ] {
        let mut out = Vec::new();
        stream.push(chunk.as_bytes(), &mut |_| Change::Keep, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{chunk:?}");
    }
}

#[test]
fn the_byte_order_mark_is_not_part_of_the_first_line() {
    let (out, seen) = kept("\u{feff}data: a\n\ndata: b\n\n");
    assert_eq!((out.as_str(), seen), ("data: a\n\ndata: b\n\n", vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(kept("\u{feff}: ping\n").0, ": ping\n");
    assert_eq!(kept("\u{feff}\ndata: a\n\n").0, "\ndata: a\n\n");
    assert_eq!(kept("\u{feff}\r\ndata: a\n\n").0, "\r\ndata: a\n\n");
    // Elsewhere, it belongs to the name.
    for stream in ["\u{feff}\u{feff}data: a\n\n", "id: 1\n\u{feff}data: a\n\n", ": ping\n\u{feff}data: a\n\n"] {
        let (out, seen) = kept(stream);
        assert!(!out.contains("data") && seen.is_empty(), "{stream:?}");
    }
}

#[test]
fn lines_that_a_reader_could_take_for_data_are_dropped() {
    for line in [
        "Data: x",
        "DATA: x",
        " data: x",
        "data : x",
        "data\t: x",
        "dat\u{430}: x",
        "data\0: x",
        "\0data: x",
        "datas: x",
        "x",
        "{\"jsonrpc\":\"2.0\"}",
        "\tdata: x",
        // Python ends lines at these, so a reader sees a second line.
        ": x\u{2028}data: x",
        ": x\u{2029}data: x",
        ": x\u{85}data: x",
        ": x\u{b}data: x",
        ": x\u{c}data: x",
        ": x\u{1c}data: x",
        "id: 1\u{2028}data: x",
        "event: a\u{1e}data: x",
        "retry: 1\u{1d}data: x",
        "id: 1\0",
        ": caf\u{e9}",
    ] {
        let (out, seen) = kept(&format!("id: 1\ndata: a\n{line}\n: ping\r\n\r\n{line}\n\n"));
        assert_eq!(out, "id: 1\ndata: a\n: ping\n\n\n\n", "{line:?}");
        assert_eq!(seen, ["a"], "{line:?}");
    }
    let (out, _) = pass([b"data: a\n: \xff\nid: \xc2\n\n".as_slice()], 100, &keep);
    assert_eq!(out, b"data: a\n\n");
}

#[test]
fn a_removed_line_joins_no_events() {
    // Without the line between them, CR and LF would end one line, and the event would go on.
    assert_eq!(kept("data: a\rx\n\ndata: b\n\n").0, "data: a\n\ndata: b\n\n");
    assert_eq!(kept("data: a\r\u{85}\n\r\ndata: b\n\n").0, "data: a\n\n\ndata: b\n\n");
    assert_eq!(replaced("id: 1\rdata: a\n\ndata: b\r\ndata: c\n\n"), "id: 1\ndata: [1]\n\ndata: [1]\n\n");
    let (out, _) = pass([b"id: 1\rdata: a\n\n".as_slice()], 100, &|_| Change::RemoveData);
    assert_eq!(out, b"id: 1\n\n");
}

#[test]
fn replaced_data_is_in_one_line_between_the_other_lines() {
    for (stream, expected) in [
        ("data: a\n\n", "data: [1]\n\n"),
        ("data:a\r\rdata\r\n\r\n", "data: [1]\n\ndata: [1]\n\n\n"),
        (
            "id: 1\r\ndata: a\r\nevent: e\r\ndata: b\r\n: c\r\nretry: 5\r\n\r\n",
            "id: 1\ndata: [1]\nevent: e\n: c\nretry: 5\n\n\n",
        ),
        ("id: 1\n\n: c\n\ndata: a\ndata: b\n\n", "id: 1\n\n: c\n\ndata: [1]\n\n"),
        ("Data: a\ndata: b\n\n", "data: [1]\n\n"),
    ] {
        assert_eq!(replaced(stream), expected, "{stream:?}");
    }
    let change = |_: Option<&[u8]>| Change::ReplaceData(b"{\n\"a\":\r\n1}".to_vec());
    assert_eq!(pass([b"data: a\n\n".as_slice()], 100, &change).0, b"data: { \"a\":  1}\n\n");
    let remove = |_: Option<&[u8]>| Change::RemoveData;
    let (out, _) = pass([b"id: 1\ndata: a\n: c\ndata: b\n\ndata: c\r\n\r\n".as_slice()], 100, &remove);
    assert_eq!(out, b"id: 1\n: c\n\n\n\n");
}

#[test]
fn events_over_the_limit_are_skipped_to_their_end() {
    let (long, half) = ("x".repeat(60), "x".repeat(25));
    let error = |data: Option<&[u8]>| match data {
        None => Change::ReplaceData(b"{}".to_vec()),
        Some(_) => Change::Keep,
    };
    for (event, end) in [
        (format!("data: {long}\n\n"), ""),
        (format!("data: {long}\r\n\r\n"), "\n"),
        (format!("data: {long}\r\r"), ""),
        (format!("data: {long}\ndata: secret\nid: 1\n\n"), ""),
        (format!("id: 1\ndata: {}\ndata: {}\n\n", half, half), ""),
        (format!("data: {}\n\n", "\u{e9}".repeat(30)), ""),
        (format!("data: {long}{long}{long}\n: secret\n\n"), ""),
        ("data\n".repeat(11) + "\n", ""),
        (format!(": {long}\nid: 1\n\n"), ""),
    ] {
        let stream = format!("data: a\n\n{event}data: b\n\n");
        let expected = format!("data: a\n\ndata: {{}}\n\n{end}data: b\n\n");
        for size in [1, 2, 3, 7, 50, 1000] {
            let (out, seen) = pass(stream.as_bytes().chunks(size), 50, &error);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{stream:?}");
            assert_eq!(seen, [Some(b"a".to_vec()), None, Some(b"b".to_vec())]);
        }
        let (out, _) =
            pass([stream.as_bytes()], 50, &|data| if data.is_none() { Change::RemoveData } else { Change::Keep });
        assert_eq!(String::from_utf8(out).unwrap(), format!("data: a\n\n{end}data: b\n\n"));
    }
    // The limit itself is allowed.
    let stream = format!("data: {}\n\n", "x".repeat(42));
    assert_eq!(pass([stream.as_bytes()], 50, &error).0, stream.as_bytes());
    assert_ne!(pass([stream.as_bytes()], 49, &error).0, stream.as_bytes());
}

#[test]
fn long_streams_take_linear_time() {
    let started = Instant::now();
    let line = format!("data: {}\n\n", "x".repeat(2 << 20));
    let many = "data:\n".repeat(1 << 18) + "\n";
    let small = "data: {}\r\n\r\n".repeat(1 << 16);
    let comments = ": x\n".repeat(1 << 18);
    for stream in [line, many, small, comments] {
        for size in [1, 1000, usize::MAX] {
            let (out, _) = pass(stream.as_bytes().chunks(size), 4 << 20, &keep);
            assert_eq!(out.len(), stream.len());
        }
        // What exceeds the limit is not searched again.
        pass(stream.as_bytes().chunks(1), 64, &keep);
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn escapes_the_characters_at_which_some_readers_end_lines() {
    for (json, expected) in [
        ("\"a\u{2028}b\u{2029}c\u{85}d\"", Some("\"a\\u2028b\\u2029c\\u0085d\"")),
        ("\"\\\\\u{2028}\"", Some("\"\\\\\\u2028\"")),
        ("\"a\"", None),
        ("\"\u{e9}\u{2027}\u{202a}\"", None),
    ] {
        let escaped = escape_line_ends(json);
        assert_eq!(escaped.as_deref(), expected);
        let read = |text: &str| serde_json::from_str::<String>(text).unwrap();
        assert!(escaped.is_none_or(|escaped| read(&escaped) == read(json)));
    }
}

proptest! {
    #[test]
    fn the_division_into_chunks_does_not_matter(
        stream in "(data: ?[a\"{}]{0,9}|data|id: 1|Data: x|: ?c|\u{feff}|\u{2028}|event:e|\r|\n|\r\n|\n\n|\r\n\r\n){0,40}",
        sizes in proptest::collection::vec(1..9_usize, 1..9),
        most in 1..60_usize,
    ) {
        let change = |data: Option<&[u8]>| match data {
            None => Change::ReplaceData(b"too long".to_vec()),
            Some(data) if data.contains(&b'a') => Change::ReplaceData(b"replaced".to_vec()),
            Some(data) if data.contains(&b'"') => Change::RemoveData,
            Some(_) => Change::Keep,
        };
        let stream = stream.as_bytes();
        let mut chunks = Vec::new();
        let mut rest = stream;
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let whole = pass([stream], most, &change);
        prop_assert_eq!(&pass(chunks, most, &change), &whole);
        prop_assert_eq!(&pass(stream.chunks(1), most, &change), &whole);
    }
}
