//! What is rejected, each with the ways around the rule that somebody could try.

use proptest::prelude::*;

use super::*;
use crate::request::json::Json;

const REQUEST: JsonBounds = JsonBounds { bytes: 1 << 16, depth: 64, names: Names::Folded };
const ANSWER: JsonBounds = JsonBounds { names: Names::Exact, ..REQUEST };

/// Returns the fault of a document. It must not depend on where the document and its strings begin, because they are read in steps of
/// sixteen bytes.
fn fault(document: &[u8], bounds: JsonBounds) -> Option<JsonFault> {
    let fault = Json::parse(document, bounds).err();
    for length in 0..34 {
        let spaces = b" ".repeat(length);
        let padded = [spaces.as_slice(), document, &spaces].concat();
        let found = Json::parse(&padded, bounds).err();
        assert_eq!(found, fault, "{} after {length} spaces", document.escape_ascii());
        let inside = [format!("[\"{}\",", "x".repeat(length)).as_bytes(), document, b"]"].concat();
        let whole = Json::parse(&inside, bounds).err();
        let is_alone = !document.trim_ascii().is_empty() && !document.contains(&b',');
        assert!(whole == fault || !is_alone, "{} in an array", document.escape_ascii());
    }
    fault
}

fn rejects(fault_expected: JsonFault, documents: &[&[u8]]) {
    for document in documents {
        assert_eq!(fault(document, REQUEST), Some(fault_expected), "{}", document.escape_ascii());
    }
}

#[test]
fn accepts_what_every_decoder_reads_alike() {
    for document in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0e-0",
        "1e999",
        "-1E+05",
        "10.50",
        "\"\"",
        "\"\u{7f}\u{80}\u{2028}\u{feff}\u{10ffff}\"",
        r#""\"\\\/\b\f\n\r\t\u0000\u007F\uFFFF\ud83d\uDE00""#,
        "[]",
        "{}",
        "[ ]",
        "{\t}",
        " \r\n\t[ 1 , 2 ]\t\n\r ",
        r#"{ "a" : { "a" : [ { "a" : null } , { "a" : 1 } ] } , "b" : { "a" : 1 } }"#,
        r#"{"":1}"#,
        r#"{"a":1,"á":2,"а":3,"a ":4,"aa":5,"":6}"#,
        r#"{"user_name":1,"userName":2,"__proto__":3}"#,
    ] {
        assert_eq!(fault(document.as_bytes(), REQUEST), None, "{document}");
        let trimmed = document.trim_matches([' ', '\t', '\n', '\r']);
        assert_eq!(Json::parse(document.as_bytes(), REQUEST).unwrap().text(), trimmed, "the text is kept");
    }
}

#[test]
fn rejects_everything_but_one_value_in_utf_8() {
    rejects(
        JsonFault::Malformed,
        &[
            b"",
            b" ",
            b"{} {}",
            b"{}{}",
            b"1 2",
            b"{}\0",
            b"\0{}",
            b"{}]",
            b"{}}",
            b"[]]",
            b"{} x",
            b"{}\xff",
            b"{} // c",
            b"// c\n{}",
            b"/**/{}",
            b"{/**/}",
            b"# c\n{}",
            b")]}'\n{}",
            // Byte order marks, UTF-16, UTF-32, UTF-7 and other encodings.
            b"\xef\xbb\xbf{}",
            b" \xef\xbb\xbf{}",
            b"{}\xef\xbb\xbf",
            b"\xfe\xff\0{\0}",
            b"\xff\xfe{\0}\0",
            b"\0{\0}",
            b"{\0}\0",
            b"\0\0\0{\0\0\0}",
            b"{\0\0\0}\0\0\0",
            b"+AHsAfQ-",
            b"\x1e{}\n",
            // White space of other formats.
            b"\x0b{}",
            b"{}\x0b",
            b"\x0c{}",
            b"{}\x0c",
            b"\xc2\xa0{}",
            b"{}\xc2\xa0",
            b"{}\xc2\x85",
            b"{}\xe2\x80\xa8",
            b"[1,\xc2\xa02]",
            // Invalid UTF-8: overlong, cut, surrogates, out of range.
            b"\"\xff\"",
            b"\"\x80\"",
            b"\"\xc0\xa2\"",
            b"\"\xc0\x80\"",
            b"\"\xe0\x80\xaf\"",
            b"\"\xf0\x80\x80\xaf\"",
            b"\"\xc3\"",
            b"\"\xe2\x82\"",
            b"\"\xed\xa0\x80\"",
            b"\"\xed\xa0\xbd\xed\xb8\x80\"",
            b"\"\xf4\x90\x80\x80\"",
            b"\"\xf8\x88\x80\x80\x80\"",
            b"{\"\xff\":1}",
            b"{\"a\xed\xa0\x80\":1}",
        ],
    );
}

#[test]
fn rejects_what_only_lenient_decoders_accept() {
    rejects(
        JsonFault::Malformed,
        &[
            b"[1,]",
            b"[,1]",
            b"[,]",
            b"[1,,2]",
            b"[1 2]",
            b"[1",
            b"[",
            b"[1}",
            b"{]",
            b"{",
            b"{\"a\":1,}",
            b"{,\"a\":1}",
            b"{\"a\":1,,\"b\":2}",
            b"{\"a\":1 \"b\":2}",
            b"{\"a\" 1}",
            b"{\"a\":}",
            b"{\"a\"}",
            b"{\"a\",1}",
            b"{\"a\"::1}",
            b"{\"a\":1:2}",
            b"{\"a\":1;\"b\":2}",
            b"{\"a\":1]",
            b"{\"a\":1",
            b"{\"a\":1,",
            b"{\"a\":",
            b"{\"a\"=1}",
            b"{\"a\"=>1}",
            b"{a:1}",
            b"{'a':1}",
            b"{1:1}",
            b"{null:1}",
            b"{[]:1}",
            b"{{}:1}",
            b"'a'",
            b"`a`",
            b"\xe2\x80\x9ca\xe2\x80\x9d",
            b"a",
            b"True",
            b"TRUE",
            b"None",
            b"Null",
            b"undefined",
            b"tru",
            b"nul",
            b"f",
            b"true_",
            b"null_",
            b"true1",
            b"nullfalse",
            b"[true false]",
        ],
    );
}

#[test]
fn rejects_numbers_in_other_notations() {
    rejects(
        JsonFault::Malformed,
        &[
            b"+1",
            b"01",
            b"00",
            b"-01",
            b"-",
            b"--1",
            b"- 1",
            b"-+1",
            b".5",
            b"-.5",
            b"1.",
            b"1.e1",
            b"1..2",
            b"1.2.3",
            b"1e",
            b"1e+",
            b"1e-",
            b"1e+-1",
            b"1e1.5",
            b"1e1e1",
            b"1 e1",
            b"1f",
            b"1n",
            b"1L",
            b"0x10",
            b"0b1",
            b"0o7",
            b"1_000",
            b"1,000",
            b"1'000",
            b"NaN",
            b"nan",
            b"Infinity",
            b"-Infinity",
            b"inf",
            b"\xd9\xa1",
            b"\xef\xbc\x91",
            b"1\xef\xbc\x91",
            b"\xe2\x88\x921",
            b"1\0",
        ],
    );
}

#[test]
fn rejects_long_numbers_wherever_they_are() {
    let digits = "1".repeat(128);
    for (longest, too_long) in [
        (digits.clone(), format!("{digits}1")),
        (format!("-{}", "9".repeat(127)), format!("-{digits}")),
        (format!("0.{}", "0".repeat(126)), format!("0.{}", "0".repeat(127))),
        (format!("1e{}", "0".repeat(126)), format!("1e{}", "0".repeat(127))),
        (format!("1E+{}", "9".repeat(125)), format!("1E+{}", "9".repeat(126))),
    ] {
        assert_eq!(longest.len(), 128);
        for place in ["$", "[$]", "[1,$ ]", "{\"a\":$}", "{\"a\":[{\"b\": $ }]}"] {
            let document = |number: &str| place.replace('$', number).into_bytes();
            assert_eq!(fault(&document(&longest), REQUEST), None, "{longest} in {place}");
            assert_eq!(fault(&document(&too_long), REQUEST), Some(JsonFault::LongNumber), "{too_long} in {place}");
            assert_eq!(fault(&document(&too_long), ANSWER), Some(JsonFault::LongNumber), "{too_long} in {place}");
        }
    }
    // The first fault counts.
    let nested = |levels: usize| format!("{}{digits}1", "[".repeat(levels));
    assert_eq!(Json::parse(nested(64).as_bytes(), REQUEST), Err(JsonFault::LongNumber));
    assert_eq!(Json::parse(nested(65).as_bytes(), REQUEST), Err(JsonFault::Deep));
    // A string may have as many digits.
    assert_eq!(fault(format!("\"{digits}{digits}\"").as_bytes(), REQUEST), None);
}

#[test]
fn rejects_malformed_strings_in_values_and_in_names() {
    let control = (0..0x20_u8).map(|byte| vec![byte]);
    let known = b"\"\\/bfnrtu";
    let unknown = (0..=0x7f_u8).filter(|byte| !known.contains(byte)).map(|byte| vec![b'\\', byte]);
    let others = [
        r"\u",
        r"\u0",
        r"\u00",
        r"\u004",
        r"\u 041",
        r"\u+041",
        r"\u-041",
        r"\u004g",
        r"\u0x41",
        r"\u{41}",
        r"\U0041",
        r"\x41",
        r"\101",
        r"\u004１",
        r"\é",
        // One half of a surrogate pair, reversed, doubled, and pairs with something in between.
        r"\ud800",
        r"\uDBFF",
        r"\udc00",
        r"\uDFFF",
        r"\ud83d\ud83d",
        r"\ude00\ud83d",
        r"\ud83d\u0041",
        r"\ud83d\ue000",
        r"\ud83d\uffff",
        r"\ud83d \ude00",
        r"\ud83d\n\ude00",
        r"\ud83dude00",
        r"\ud83d\Ude00",
        r"\ud83d\ude0",
        r"\ud83d\\ude00",
        r"\ud83d\ude00\ude00",
        r"\ud83dx",
        r"\ud83d\",
    ];
    for text in control.chain(unknown).chain(others.iter().map(|text| text.as_bytes().to_vec())) {
        for before in 0..18 {
            let text = [b"x".repeat(before).as_slice(), &text].concat();
            for (start, end) in [("\"", "\""), ("{\"", "\":1}"), ("{\"a\":\"", "\"}"), ("[\"", "x\"]")] {
                let document = [start.as_bytes(), &text, end.as_bytes()].concat();
                for bounds in [REQUEST, ANSWER] {
                    let found = Json::parse(&document, bounds).err();
                    assert_eq!(found, Some(JsonFault::Malformed), "{}", document.escape_ascii());
                }
            }
        }
    }
    // Strings that do not end.
    rejects(
        JsonFault::Malformed,
        &[b"\"", b"\"a", b"\"\\", b"\"\\\"", b"\"\\u00", b"\"\\ud83d\\ude0", b"{\"a", b"[\"a]"],
    );
}

#[test]
fn enforces_the_exact_length() {
    let of_length = |length: usize| format!("\"{}\"", "a".repeat(length - 2)).into_bytes();
    assert!(Json::parse(&of_length(1 << 16), REQUEST).is_ok());
    assert_eq!(Json::parse(&of_length((1 << 16) + 1), REQUEST), Err(JsonFault::Long));
    // White space counts, and a long document is not read at all.
    let padded = [b"1".as_slice(), &b" ".repeat(1 << 16)].concat();
    assert_eq!(Json::parse(&padded, REQUEST), Err(JsonFault::Long));
    assert!(Json::parse(&padded[..1 << 16], REQUEST).is_ok());
    assert_eq!(Json::parse(&b"\xff".repeat((1 << 16) + 1), REQUEST), Err(JsonFault::Long));
    assert_eq!(Json::parse(b"1", JsonBounds { bytes: 0, ..REQUEST }), Err(JsonFault::Long));
    assert_eq!(Json::parse(b"", JsonBounds { bytes: 0, ..REQUEST }), Err(JsonFault::Malformed));
}

#[test]
fn enforces_the_exact_depth() {
    let nested = |depth: usize, open: &str, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\": ", " } ]")] {
        let levels = open.matches(['[', '{']).count();
        let fits = nested(64 / levels, open, close);
        assert_eq!(Json::parse(fits.as_bytes(), REQUEST).err(), None, "{open}");
        let deeper = nested(64 / levels + 1, open, close);
        assert_eq!(Json::parse(deeper.as_bytes(), REQUEST), Err(JsonFault::Deep), "{open}");
        assert_eq!(Json::parse(deeper.as_bytes(), JsonBounds { depth: u8::MAX, ..REQUEST }), Err(JsonFault::Deep));
    }
    let empty = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(empty(64).as_bytes(), REQUEST).is_ok());
    assert_eq!(Json::parse(empty(65).as_bytes(), REQUEST), Err(JsonFault::Deep));
    let shallow = JsonBounds { depth: 1, ..REQUEST };
    assert!(Json::parse(b"[[]]", shallow).is_err() && Json::parse(b"[1]", shallow).is_ok());
    assert_eq!(Json::parse(b"[]", JsonBounds { depth: 0, ..REQUEST }), Err(JsonFault::Deep));
    assert!(Json::parse(b"\"[[[\"", JsonBounds { depth: 0, ..REQUEST }).is_ok());
    // Depth counts what is open, not what was opened.
    let broad = format!("[{}[]]", "[[]],{\"a\":{}},".repeat(1_000));
    assert!(Json::parse(broad.as_bytes(), JsonBounds { depth: 3, ..REQUEST }).is_ok());
    // Brackets that do not close, or close something else.
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let document = open.repeat(100_000).into_bytes();
        assert_eq!(Json::parse(&document, JsonBounds { bytes: usize::MAX, ..REQUEST }), Err(JsonFault::Deep));
    }
    rejects(JsonFault::Malformed, &[b"[[[", b"[{]}", b"{\"a\":[}]", b"]", b"}"]);
}

#[test]
fn rejects_a_name_that_occurs_twice() {
    let documents: &[&str] = &[
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"name":1,"n\u0061me":2}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"\n":1,"\u000A":2}"#,
        r#"{"😀":1,"\ud83d\uDE00":2}"#,
        r#"{"\u00e9":1,"é":2}"#,
        r#"{"":1,"":2}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"[[[{"a":1,"a":2}]]]"#,
        r#"[{"a":1},{"b":{"c":[{"d":1,"e":{},"d":2}]}}]"#,
        // The other members of the same name are inside or outside of this object.
        r#"{"a":{"b":1},"c":{"b":1},"a":1}"#,
        r#"{"a":{"a":{"a":1},"a":2}}"#,
        r#"{"a":[{"b":1,"c":2}],"b":1,"d":{"a":1},"b":1}"#,
        r#"{"a":"a","b":"a","a":{}}"#,
    ];
    for document in documents {
        for bounds in [REQUEST, ANSWER] {
            assert_eq!(Json::parse(document.as_bytes(), bounds), Err(JsonFault::Ambiguous), "{document}");
        }
    }
}

#[test]
fn rejects_names_in_a_request_that_some_decoders_read_as_equal() {
    let documents: &[&str] = &[
        r#"{"account":1,"Account":2}"#,
        r#"{"ACCOUNT":1,"b":2,"aCCOUNT":3}"#,
        r#"{"x":[{"a":{"b":1,"B":2}}]}"#,
        r#"{"a":1,"\u0041":2}"#,
        "{\"key\":1,\"\u{212a}ey\":2}",
        r#"{"key":1,"\u212aEY":2}"#,
        "{\"message\":1,\"me\u{17f}sage\":2}",
        "{\"title\":1,\"T\u{130}tle\":2}",
        "{\"title\":1,\"t\u{131}tle\":2}",
        "{\"\u{3c3}\":1,\"\u{3c2}\":2}",
        "{\"\u{b5}\":1,\"\u{3bc}\":2}",
        "{\"\u{1e9e}\":1,\"\u{df}\":2}",
        "{\"\u{1c5}\":1,\"\u{1c4}\":2}",
        "{\"\u{13a0}\":1,\"\u{ab70}\":2}",
        "{\"\u{10400}\":1,\"\u{10428}\":2}",
        r#"{"\ud801\udc00":1,"\ud801\udc28":2}"#,
        r#"{"a":1,"a\u0000":2}"#,
        r#"{"a":1,"\u0000a":2}"#,
        r#"{"ab":1,"a\u0000b":2}"#,
        r#"{"AB":1,"a\u0000b\u0000":2}"#,
        // Decoders in C end the name at the NUL.
        r#"{"amount":1,"amount\u0000x":2}"#,
        r#"{"amount":1,"Amount\u0000\u0000":2}"#,
        r#"{"a\u0000b":1,"a\u0000c":2}"#,
        r#"{"":1,"\u0000":2}"#,
        r#"{"":1,"\u0000a":2}"#,
    ];
    for document in documents {
        assert_eq!(Json::parse(document.as_bytes(), REQUEST), Err(JsonFault::Ambiguous), "{document}");
        assert!(Json::parse(document.as_bytes(), ANSWER).is_ok(), "{document}");
    }
    for document in
        [r#"{"a\u0000":1}"#, r#"{"\u0000":1}"#, r#"{"\u0000a":1,"b\u0000a":2}"#, r#"{"a":{"A":1},"b":[{"A":1}]}"#]
    {
        assert!(Json::parse(document.as_bytes(), REQUEST).is_ok(), "{document}");
    }
}

#[test]
fn finds_a_repeated_name_among_many_at_any_place() {
    for count in [2, 3, 23, 24, 25, 26, 31, 64, 100] {
        let object = |names: &[String]| {
            let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":{{\"m0\":0}}")).collect();
            format!("{{\"other\":[1],\"m-x\":{{{}}}}}", members.join(","))
        };
        let mut names: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
        assert_eq!(Json::parse(object(&names).as_bytes(), REQUEST).err(), None, "{count}");
        for (one, other) in (0..count).flat_map(|one| [0, one / 2, count - 1].map(|other| (one, other))) {
            if one == other {
                continue;
            }
            let kept = std::mem::replace(&mut names[one], format!("M{other}"));
            let document = object(&names);
            let parsed = Json::parse(document.as_bytes(), REQUEST);
            assert_eq!(parsed, Err(JsonFault::Ambiguous), "{one} and {other} of {count}");
            assert!(Json::parse(document.as_bytes(), ANSWER).is_ok());
            names[one] = kept;
        }
    }
}

proptest! {
    #[test]
    fn sorts_like_the_library(mut numbers in proptest::collection::vec(0..40_u64, 0..80)) {
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sort(&mut numbers, |one, other| one < other);
        prop_assert_eq!(numbers, sorted);
    }
}
