//! What an accepted document is read as, and comparisons with another parser.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::fuzzing;

const REQUEST: JsonBounds = JsonBounds { bytes: 1 << 16, depth: 64, names: Names::Folded };
const ANSWER: JsonBounds = JsonBounds { names: Names::Exact, ..REQUEST };

fn read(text: &str) -> Json<'_> {
    Json::parse(text.as_bytes(), REQUEST).unwrap_or_else(|fault| panic!("{fault:?} for {text:?}"))
}

#[test]
fn reads_each_kind_of_value() {
    let document = read(
        r#" { "object" : {"a":1} , "array":[ 1 ,"]", [2,"}"] ],"string":"a\"\\\u0041\ud83d\ude00é,}","plain":"x","number":-1.50e+2,"true":true,"false":false,"null":null,"empty":{},"none":[]}  "#,
    );
    let member = |name: &str| document.member(name).unwrap().unwrap();
    assert!(document.is_object() && member("object").is_object() && member("empty").is_object());
    assert!(member("array").is_array() && member("none").is_array() && member("null").is_null());
    assert_eq!(member("string").string().unwrap(), "a\"\\A😀é,}");
    assert!(matches!(member("plain").string(), Some(Cow::Borrowed("x"))));
    assert_eq!(member("number").number(), Some("-1.50e+2"));
    assert_eq!((member("true").text(), member("false").text()), ("true", "false"));
    let items: Vec<_> = member("array").items().map(Json::text).collect();
    assert_eq!(items, ["1", "\"]\"", "[2,\"}\"]"]);
    assert_eq!(
        member("object").members().map(|(name, value)| (name.text(), value.text())).collect::<Vec<_>>(),
        [("\"a\"", "1")]
    );
    assert_eq!(document.members().count(), 10);

    // A value of another kind is not converted.
    for (name, value) in document.members() {
        let kinds = [
            value.is_object(),
            value.is_array(),
            value.is_null(),
            value.string().is_some(),
            value.number().is_some(),
            matches!(value.text(), "true" | "false"),
        ];
        assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1, "{name:?}");
        assert!(value.is_object() || value.members().count() == 0 && value.member("a") == Ok(None), "{name:?}");
        assert!(value.is_array() || value.items().count() == 0, "{name:?}");
    }
    assert!(read("\"null\"").string().is_some() && !read("\"null\"").is_null());
    assert_eq!(read("\"1\"").number(), None);
}

#[test]
fn rejects_other_spellings_of_the_name_that_is_read() {
    let null = read(r#"{"method":null}"#).member("method").unwrap().unwrap();
    assert!(null.is_null(), "a member that is null is there");
    for (document, expected) in [
        (r#"{"method":1}"#, Ok(Some("1"))),
        (r#"{"m\u0065thod":1}"#, Ok(Some("1"))),
        (r#"{"x":0,"\u006d\u0065\u0074\u0068\u006f\u0064":1,"y":2}"#, Ok(Some("1"))),
        (r#"{"methods":1,"metho":2,"x":{"method":3}}"#, Ok(None)),
        (r#"{"Method":1}"#, Err(JsonFault::Ambiguous)),
        (r#"{"x":0,"METHOD":1}"#, Err(JsonFault::Ambiguous)),
        (r#"{"method\u0000":1}"#, Err(JsonFault::Ambiguous)),
        (r#"{"\u0000method":1}"#, Err(JsonFault::Ambiguous)),
        (r#"{"method\u0000s":1}"#, Err(JsonFault::Ambiguous)),
        (r#"{"m\u0065th\u004fd":1}"#, Err(JsonFault::Ambiguous)),
        ("[{\"method\":1}]", Ok(None)),
        ("\"method\"", Ok(None)),
    ] {
        assert_eq!(read(document).member("method").map(|value| value.map(Json::text)), expected, "{document}");
    }
    // In answers, names may differ in case only, unless one of them is read.
    let answer = Json::parse(br#"{"id":1,"ID":2,"tools":[]}"#, ANSWER).unwrap();
    assert_eq!(answer.member("tools").unwrap().unwrap().text(), "[]");
    assert_eq!(answer.member("id"), Err(JsonFault::Ambiguous));
    assert_eq!(answer.member("Id"), Err(JsonFault::Ambiguous));
    assert_eq!(read("{\"\u{212a}ey\":1}").member("key"), Err(JsonFault::Ambiguous));
    assert_eq!(read("{\"reque\u{17f}tState\":1}").member("requestState"), Err(JsonFault::Ambiguous));
}

#[test]
fn follows_pointers() {
    let document = r#"{"a":{"b":[10,{"c":"x"},null],"":5,"0":6,"~/":7},"A b":8,"list":[[1,2],[3]]}"#;
    let at = |pointer: &str| {
        let pointer = Pointer::parse(pointer).unwrap();
        read(document).at(&pointer).map(|value| value.map(Json::text))
    };
    for (pointer, value) in [
        ("/a/b/0", Some("10")),
        ("/a/b/1/c", Some("\"x\"")),
        ("/a/b/2", Some("null")),
        ("/a/", Some("5")),
        ("/a/0", Some("6")),
        ("/a/~0~1", Some("7")),
        ("/A b", Some("8")),
        ("/list/1/0", Some("3")),
        ("/a/b/3", None),
        ("/a/b/-", None),
        ("/a/b/-1", None),
        ("/a/b/00", None),
        ("/a/b/+1", None),
        ("/a/b/c", None),
        ("/a/b/2/x", None),
        ("/a/b/0/0", None),
        ("/a/1", None),
        ("/", None),
        ("/a/b/", None),
        ("/a/b/99999999999999999999", None),
    ] {
        assert_eq!(at(pointer), Ok(value), "{pointer}");
    }
    assert_eq!(at("/LIST/0"), Err(JsonFault::Ambiguous));
    assert_eq!(at("/a/B/0"), Err(JsonFault::Ambiguous));
    assert_eq!(at("/b/LIST"), Ok(None), "what is not on the way does not matter");
}

#[test]
fn a_value_knows_its_place() {
    let text = r#" [ {"name":"a"} , {"name":"a"} ] "#;
    let document = read(text);
    let items: Vec<_> = document.items().collect();
    assert_eq!(items[0], items[1], "values are equal if their texts are");
    assert_eq!((items[0].offset_in(document), items[1].offset_in(document)), (2..14, 17..29));
    assert_eq!(document.offset_in(document), 0..document.text().len());
    let name = items[1].member("name").unwrap().unwrap();
    assert_eq!(document.text().get(name.offset_in(document)), Some("\"a\""));
    assert_eq!(name.offset_in(items[1]), 8..11);
    // Of another document, everything is cut rather than nothing.
    let copy = text.to_owned();
    for (value, whole) in [(read(&copy), document), (document, read(&copy)), (document, items[1]), (items[0], items[1])]
    {
        assert_eq!(value.offset_in(whole), 0..whole.text().len());
    }
}

/// Returns documents of about this length that take much time if a step is quadratic.
fn hostile_documents(length: usize) -> [String; 9] {
    let members = |count: usize, member: &dyn Fn(usize) -> String| {
        format!("{{{}}}", (0..count).map(member).collect::<Vec<_>>().join(","))
    };
    [
        members(length / 10, &|number| format!("\"{number:x}\":0")),
        members(length / 10, &|number| format!("\"{:x}\":0", length - number)),
        members(length / 14, &|number| format!("\"{number:x}\\u0000!\":0")),
        members(length / 200, &|number| format!("\"{number:0>200}\":0")),
        format!("[{}{{}}]", "{\"\":0},".repeat(length / 7)),
        format!("[{}{{}}]", "{\"a\":{\"b\":{}}},".repeat(length / 15)),
        format!("[{}0]", " \n".repeat(length / 2)),
        format!("\"{}\"", "\\ud83d\\ude00".repeat(length / 12)),
        "[".repeat(63) + &"\"\\\"\",".repeat(length / 5) + "1" + &"]".repeat(63),
    ]
}

#[test]
fn reads_hostile_documents_in_linear_time() {
    let bounds = JsonBounds { bytes: usize::MAX, ..REQUEST };
    let started = Instant::now();
    for document in hostile_documents(1 << 20) {
        let value = Json::parse(document.as_bytes(), bounds).unwrap();
        assert!(value.members().count() + value.items().count() > 0 || value.string().is_some());
        assert_eq!(value.member("absent"), Ok(None));
    }
    for document in hostile_documents(1 << 16) {
        let value = Json::parse(document.as_bytes(), bounds).unwrap();
        // Each step of a pointer, and each level of the canonical form, reads what is below it once.
        let pointer = Pointer::parse(&"/12345678".repeat(16)).unwrap();
        assert_eq!(value.at(&pointer), Ok(None));
        let mut length = 0;
        canonical::canonical(value, &mut |piece| length += piece.len()).unwrap();
        assert!(length <= document.len());
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn agrees_with_a_lenient_parser_about_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzzing::json_body(&bytes);
    }

    #[test]
    fn agrees_with_a_lenient_parser_about_text_like_json(
        text in "(\\{|\\}|\\[|\\]|,|:|\"|\\\\|\\\\u|0|1|-|\\.|e|true|null|\"a\"|\"A\":|\"a\":1|\"\\\\u0061\":| |\\PC){0,24}",
    ) {
        fuzzing::json_body(text.as_bytes());
    }

    #[test]
    fn agrees_with_a_lenient_parser_about_documents(document in document()) {
        fuzzing::json_body(document.as_bytes());
    }

    #[test]
    fn agrees_with_a_lenient_parser_about_cut_and_changed_documents(
        document in document(),
        place: prop::sample::Index,
        changed: Option<u8>,
    ) {
        let mut bytes = document.into_bytes();
        let place = place.index(bytes.len());
        match changed {
            Some(byte) => bytes[place] = byte,
            None => bytes.truncate(place),
        }
        fuzzing::json_body(&bytes);
    }
}

/// Documents in many spellings. Some names are equal, or read as equal by some decoders.
fn document() -> impl Strategy<Value = String> {
    let string = || {
        let piece = "[ -!#-\\[\\]-~]|\\PC|\\\\[\"\\\\/bfnrt]|\\\\u00[0-7][0-9a-fA-F]|\\\\u[1-9a-c][0-9a-f]{3}|\\\\ud83d\\\\uDE0[0-9]";
        let piece = piece.prop_filter("unescaped", |piece| !matches!(piece.as_str(), "\"" | "\\"));
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
    };
    let name = prop_oneof![
        string(),
        "\"(k|K|\u{212a}|\\\\u212a|\\\\u004b|s|\u{17f}|i|\u{131}|a|\\\\u0000|\u{3c3}|\u{3c2}){1,2}\"",
        "\"[a-z]{1,3}\"",
    ];
    let leaf = prop_oneof!["true|false|null", "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,4})?", string()];
    let space = || "[ \t\r\n]{0,2}";
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let member = (space(), name.clone(), space(), inner.clone())
            .prop_map(|(before, name, after, value)| format!("{before}{name}{after}:{before}{value}{after}"));
        prop_oneof![
            (proptest::collection::vec(inner, 0..6), space())
                .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))),
            (proptest::collection::vec(member, 0..6), space())
                .prop_map(|(members, space)| format!("{space}{{{space}{}}}{space}", members.join(","))),
        ]
    })
}
