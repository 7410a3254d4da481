//! Tests of the lines of the signature base, for each component. Examples with a section are from RFC 9421.

use proptest::prelude::*;

use super::super::input::MOST_BYTES;
use super::*;
use crate::identity::signature::{Malformed, read};

/// Builds the base of a request to `https://www.example.com`. `Example-Dict`, `x-list` and `x-item` are known as structured.
fn base_of(method: &str, target: &str, headers: &[(&str, &[u8])], input: &str) -> Result<String, Problem> {
    let headers: Headers = headers.iter().copied().collect();
    let kinds = [("example-dict", FieldKind::Dictionary), ("x-list", FieldKind::List), ("x-item", FieldKind::Item)];
    let structured = StructuredFields::with(kinds.map(|(name, kind)| (name.into(), kind)));
    let message = Message {
        method: method.as_bytes(),
        scheme: "https",
        authority: "www.example.com",
        target: target.as_bytes(),
        headers: &headers,
        structured: &structured,
    };
    let input = format!("sig={input}");
    let signed = read(input.as_bytes(), b"sig=:AA==:").unwrap();
    base(&message, &signed[0].input).map_err(|unsignable| unsignable.problem)
}

/// Returns the value on the line of one component.
fn value(target: &str, headers: &[(&str, &[u8])], component: &str) -> Result<String, Problem> {
    let base = base_of("POST", target, headers, &format!("({component})"))?;
    let (line, last) = base.split_once('\n').unwrap();
    assert_eq!(last, format!("\"@signature-params\": ({component})"));
    Ok(line.strip_prefix(component).unwrap().strip_prefix(": ").unwrap().to_owned())
}

fn field(lines: &[&str], component: &str) -> Result<String, Problem> {
    let name = component.split('"').nth(1).unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (name, line.as_bytes())).collect();
    value("/", &lines, component)
}

fn query(query: &str, name: &str) -> Result<String, Problem> {
    value(&format!("/path{query}"), &[], &format!("\"@query-param\";name=\"{name}\""))
}

#[test]
fn builds_the_example_base_of_rfc_9421() {
    // Section 2.5, with the request of appendix B.2.
    let headers: &[(&str, &[u8])] = &[
        ("Host", b"example.com"),
        ("Date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", b"application/json"),
        ("Content-Length", b"18"),
        ("Cache-Control", b"max-age=60"),
        ("Cache-Control", b"   must-revalidate"),
    ];
    let input = "(\"@method\" \"@authority\" \"@path\" \"content-length\" \"content-type\" \"cache-control\")\
                 ;created=1618884473;keyid=\"test-key-rsa-pss\"";
    assert_eq!(
        base_of("POST", "/foo?param=Value&Pet=dog", headers, input).unwrap(),
        "\"@method\": POST\n\
         \"@authority\": www.example.com\n\
         \"@path\": /foo\n\
         \"content-length\": 18\n\
         \"content-type\": application/json\n\
         \"cache-control\": max-age=60, must-revalidate\n\
         \"@signature-params\": (\"@method\" \"@authority\" \"@path\" \"content-length\" \"content-type\" \
         \"cache-control\");created=1618884473;keyid=\"test-key-rsa-pss\""
    );
    assert_eq!(base_of("GET", "/", &[], "()").unwrap(), "\"@signature-params\": ()");
}

#[test]
fn builds_derived_components() {
    // Sections 2.2.1 to 2.2.7.
    for (component, target, expected) in [
        ("\"@method\"", "/path?param=value", "POST"),
        ("\"@target-uri\"", "/path?param=value", "https://www.example.com/path?param=value"),
        ("\"@authority\"", "/path?param=value", "www.example.com"),
        ("\"@scheme\"", "/path?param=value", "https"),
        ("\"@request-target\"", "/path?param=value", "/path?param=value"),
        ("\"@request-target\"", "*", "*"),
        ("\"@path\"", "/path?param=value", "/path"),
        ("\"@path\"", "/a%2Fb%20c?", "/a%2Fb%20c"),
        ("\"@path\"", "", "/"),
        ("\"@path\"", "?a", "/"),
        ("\"@query\"", "/path?param=value&foo=bar&baz=bat%2Dman", "?param=value&foo=bar&baz=bat%2Dman"),
        ("\"@query\"", "/path?queryString", "?queryString"),
        ("\"@query\"", "/path", "?"),
        ("\"@query\"", "/path?", "?"),
        ("\"@query\"", "/path??", "??"),
    ] {
        assert_eq!(value(target, &[], component).as_deref(), Ok(expected), "{component} of {target}");
    }
    for component in ["\"@request-target\"", "\"@path\"", "\"@target-uri\""] {
        assert_eq!(value("/caf\u{e9}", &[], component), Err(Problem::NotText));
        assert_eq!(value("/a\nb", &[], component), Err(Problem::NotText));
    }
    assert_eq!(base_of("GET\n", "/", &[], "(\"@method\")"), Err(Problem::NotText));
}

#[test]
fn joins_and_trims_field_lines() {
    // Section 2.1.
    assert_eq!(field(&["Tue, 20 Apr 2021 02:07:56 GMT"], "\"date\"").unwrap(), "Tue, 20 Apr 2021 02:07:56 GMT");
    assert_eq!(
        field(&["  Leading and trailing whitespace.\t "], "\"x-ows\"").unwrap(),
        "Leading and trailing whitespace."
    );
    assert_eq!(
        field(&["max-age=60", "   must-revalidate"], "\"cache-control\"").unwrap(),
        "max-age=60, must-revalidate"
    );
    assert_eq!(
        field(&["a=1,    b=2;x=1;y=2,   c=(a   b   c)"], "\"example-dict\"").unwrap(),
        "a=1,    b=2;x=1;y=2,   c=(a   b   c)"
    );
    assert_eq!(field(&["a\tb"], "\"x\"").unwrap(), "a\tb");
    for (lines, expected) in
        [(&[""][..], ""), (&["  "], ""), (&["", ""], ", "), (&["", "a"], ", a"), (&["a", ""], "a, ")]
    {
        assert_eq!(field(lines, "\"x\"").as_deref(), Ok(expected), "{lines:?}");
    }
    assert_eq!(value("/", &[("X-Mixed", b"1"), ("x-mixeD", b"2")], "\"x-mixed\"").unwrap(), "1, 2");
}

#[test]
fn reports_a_missing_field_as_absent() {
    for component in ["\"x\"", "\"x\";bs", "\"example-dict\";sf", "\"example-dict\";key=\"a\""] {
        assert_eq!(value("/", &[("y", b"a")], component), Err(Problem::Absent), "{component}");
    }
    // Pseudo-header fields cannot be covered.
    assert_eq!(value("/", &[(":path", b"/")], "\"path\""), Err(Problem::Absent));
}

#[test]
fn signs_values_that_are_not_text_only_with_bs() {
    for bad in [&b"caf\xc3\xa9"[..], b"\xff", b"a\0b", b"a\nb", b"a\r\n\"@method\": GET", b"\x7f", b"\x1b[0m"] {
        assert_eq!(value("/", &[("x", bad)], "\"x\""), Err(Problem::NotText), "{bad:?}");
        let wrapped = format!(":{}:", STANDARD.encode(bad));
        assert_eq!(value("/", &[("x", bad)], "\"x\";bs").unwrap(), wrapped);
    }
}

#[test]
fn rejects_a_covered_field_that_has_a_lookalike() {
    for (covered, other) in [("x-org", "x_org"), ("x-org", "X.Org"), ("x_org", "x-org"), ("x.org", "X_ORG")] {
        let component = format!("\"{covered}\"");
        assert_eq!(value("/", &[(covered, b"1")], &component).unwrap(), "1");
        for lines in [[(covered, &b"1"[..]), (other, b"2")], [(other, b"2"), (covered, b"1")]] {
            assert_eq!(value("/", &lines, &component), Err(Problem::Ambiguous), "{covered} beside {other}");
        }
        assert_eq!(value("/", &[(other, b"2")], &component), Err(Problem::Ambiguous));
    }
    assert_eq!(value("/", &[("x-org", b"1"), ("x-orgs", b"2")], "\"x-org\"").unwrap(), "1");
}

#[test]
fn rejects_two_covered_fields_that_look_alike() {
    let line = (&b"1"[..], "(\"x-org\" \"x_org\")");
    assert_eq!(base_of("GET", "/", &[("x-org", line.0)], line.1), Err(Problem::Ambiguous));
    assert_eq!(base_of("GET", "/", &[("x-org", line.0), ("x_org", line.0)], line.1), Err(Problem::Ambiguous));
}

#[test]
fn matches_many_fields_by_their_own_names() {
    let names: Vec<_> = (0..60).map(|number| format!("x-field-{number}")).collect();
    let values: Vec<_> = (0..60).map(|number| format!("value {number}")).collect();
    let lines: Vec<_> =
        names.iter().rev().zip(values.iter().rev()).map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let covered: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let base = base_of("GET", "/", &lines, &format!("({})", covered.join(" "))).unwrap();
    let expected: Vec<_> = covered.iter().zip(&values).map(|(name, value)| format!("{name}: {value}")).collect();
    assert!(base.starts_with(&expected.join("\n")), "{base}");
}

#[test]
fn limits_the_number_of_query_parameters() {
    let many = |count: usize| format!("?a=1{}", "&b".repeat(count));
    assert_eq!(query(&many(1_023), "a").unwrap(), "1");
    assert_eq!(query(&many(1_024), "a"), Err(Problem::TooMany));
    // The whole query is one value, regardless of the number of its parameters.
    assert!(value(&format!("/path{}", many(1_024)), &[], "\"@query\"").is_ok());
}

#[test]
fn signs_the_authority_as_the_host_field() {
    for headers in [&[][..], &[("host", &b"other.example"[..])], &[(":authority", b"www.example.com")]] {
        assert_eq!(value("/", headers, "\"host\"").unwrap(), "www.example.com");
        assert_eq!(value("/", headers, "\"host\";bs").unwrap(), ":d3d3LmV4YW1wbGUuY29t:");
        for parameter in ["sf", "key=\"a\""] {
            assert_eq!(value("/", headers, &format!("\"host\";{parameter}")), Err(Problem::NotStructured));
        }
    }
}

#[test]
fn cookies_cannot_be_signed() {
    for component in ["\"cookie\"", "\"cookie\";bs", "\"cookie\";sf"] {
        assert_eq!(value("/", &[("cookie", b"a=b")], component), Err(Problem::Cookie));
    }
}

#[test]
fn serializes_structured_fields_strictly() {
    // Section 2.1.1.
    assert_eq!(
        field(&["a=1,    b=2;x=1;y=2,   c=(a   b   c)"], "\"example-dict\";sf").unwrap(),
        "a=1, b=2;x=1;y=2, c=(a b c)"
    );
    for (component, lines, expected) in [
        ("\"example-dict\";sf", &["a=?1 ,b", "c=1.50"][..], "a, b, c=1.5"),
        ("\"x-list\";sf", &["a,  (b   c);d", "\"e\""], "a, (b c);d, \"e\""),
        ("\"x-item\";sf", &["  7;  a=?1"], "7;a"),
        ("\"content-digest\";sf", &["sha-256=:AAAA:"], "sha-256=:AAAA:"),
        ("\"client-cert\";sf", &[":AAAA:"], ":AAAA:"),
    ] {
        assert_eq!(field(lines, component).as_deref(), Ok(expected), "{component}");
    }
    let long = format!("a={}", "a".repeat(MOST_BYTES));
    for (component, lines) in [
        ("\"date\";sf", &["Tue, 20 Apr 2021 02:07:56 GMT"][..]),
        ("\"x-unknown\";sf", &["1"]),
        ("\"x-list\";key=\"a\"", &["a"]),
        ("\"x-unknown\";key=\"a\"", &["a"]),
        ("\"x-item\";sf", &["1", "2"]),
        ("\"x-item\";sf", &["1 2"]),
        ("\"x-item\";sf", &[""]),
        ("\"x-list\";sf", &[""]),
        ("\"example-dict\";sf", &[""]),
        ("\"example-dict\";sf", &["a=1,"]),
        ("\"example-dict\";sf", &["A=1"]),
        ("\"example-dict\";sf", &["a=caf\u{e9}"]),
        ("\"example-dict\";sf", &[&long]),
        ("\"example-dict\";key=\"a\"", &[&long]),
    ] {
        assert_eq!(field(lines, component), Err(Problem::NotStructured), "{component}");
    }
}

#[test]
fn signs_one_member_of_a_dictionary() {
    // Section 2.1.2.
    let line = &["  a=1, b=2;x=1;y=2, c=(a   b    c), d"];
    for (key, expected) in [("a", "1"), ("d", "?1"), ("b", "2;x=1;y=2"), ("c", "(a b c)")] {
        assert_eq!(field(line, &format!("\"example-dict\";key=\"{key}\"")).as_deref(), Ok(expected));
        assert_eq!(field(line, &format!("\"example-dict\";sf;key=\"{key}\"")).as_deref(), Ok(expected));
    }
    for key in ["e", "A", "", "a b"] {
        assert_eq!(field(line, &format!("\"example-dict\";key=\"{key}\"")), Err(Problem::Absent));
    }
    assert_eq!(field(&["a=1", "b=()"], "\"example-dict\";key=\"b\"").unwrap(), "()");
    assert_eq!(field(&["a=1 b=2"], "\"example-dict\";key=\"a\""), Err(Problem::NotStructured));
}

#[test]
fn rejects_a_duplicate_dictionary_member() {
    for lines in [&["a=1, a=2"][..], &["a=1", "b=2", "a=1"]] {
        for component in ["\"example-dict\";sf", "\"example-dict\";key=\"a\"", "\"example-dict\";key=\"b\""] {
            assert_eq!(field(lines, component), Err(Problem::NotStructured), "{lines:?} {component}");
        }
    }
}

#[test]
fn wraps_each_field_line_separately() {
    // Section 2.1.3.
    let several = &["value, with, lots", "of, commas"];
    assert_eq!(field(several, "\"example-header\";bs").unwrap(), ":dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:");
    assert_eq!(
        field(&["value, with, lots, of, commas"], "\"example-header\";bs").unwrap(),
        ":dmFsdWUsIHdpdGgsIGxvdHMsIG9mLCBjb21tYXM=:"
    );
    assert_eq!(field(several, "\"example-header\"").unwrap(), "value, with, lots, of, commas");
    assert_eq!(field(&[""], "\"x\";bs").unwrap(), "::");
    assert_eq!(field(&[" a ", ""], "\"x\";bs").unwrap(), ":YQ==:, ::");
}

#[test]
fn normalizes_the_encoding_of_query_parameters() {
    // Section 2.2.8.
    let plain = "?param=value&foo=bar&baz=batman&qux=";
    for (name, expected) in [("baz", "batman"), ("qux", ""), ("param", "value")] {
        assert_eq!(query(plain, name).as_deref(), Ok(expected));
    }
    let encoded =
        "?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something";
    for (name, expected) in [
        ("var", "this%20is%20a%20big%0Amultiline%20value"),
        ("bar", "with%20plus%20whitespace"),
        ("fa%C3%A7ade%22%3A%20", "something"),
    ] {
        assert_eq!(query(encoded, name).as_deref(), Ok(expected));
    }
    for (text, name, expected) in [
        ("?a", "a", ""),
        ("?a=b=c", "a", "b%3Dc"),
        ("?a=%2b%2B+", "a", "%2B%2B%20"),
        ("?a=*-._~!'()", "a", "*-._%7E%21%27%28%29"),
        ("?%61=%62", "a", "b"),
        ("?=x", "", "x"),
        ("?&&a=1&&", "a", "1"),
        ("?a=1;b=2", "a", "1%3Bb%3D2"),
        ("?a+b=1", "a%20b", "1"),
        ("?a=1&A=2", "A", "2"),
        ("?a=%3F&b?=1", "b%3F", "1"),
    ] {
        assert_eq!(query(text, name).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn rejects_ambiguous_query_parameters() {
    for text in ["?a=1&a=1", "?a=1&a=2", "?a&b&%61", "?a=1&a"] {
        assert_eq!(query(text, "a"), Err(Problem::Ambiguous), "{text}");
    }
    assert_eq!(query("?a=1&a=2&b=3", "b").unwrap(), "3");
    // A covered name must be in its only valid encoding.
    for (text, name) in [
        ("", "a"),
        ("?", "a"),
        ("?b=1", "a"),
        ("?a=1", "A"),
        ("?a=1", "%61"),
        ("?a%20b=1", "a b"),
        ("?%C3%A7=1", "%c3%a7"),
    ] {
        assert_eq!(query(text, name), Err(Problem::Absent), "{text}");
    }
    // A lossy conversion would replace all bytes that are not UTF-8 by the same character.
    for text in ["?a=%FF", "?a=%C0%AF", "?a=1&%FF=2", "?a=%ED%A0%80", "?a=%", "?a=%4", "?a=%zz", "?a=caf\u{e9}", "?a=#"]
    {
        assert_eq!(query(text, "a"), Err(Problem::NotText), "{text}");
    }
}

#[test]
fn names_the_component_that_cannot_be_signed() {
    let headers: Headers = [("x", "1")].into_iter().collect();
    let structured = StructuredFields::default();
    let message = Message {
        method: b"GET",
        scheme: "https",
        authority: "a",
        target: b"/",
        headers: &headers,
        structured: &structured,
    };
    let signed = read(b"sig=(\"x\" \"y\";bs \"z\")", b"sig=:AA==:").unwrap();
    let unsignable = base(&message, &signed[0].input).unwrap_err();
    assert_eq!(unsignable, Unsignable { component: "\"y\";bs".into(), problem: Problem::Absent });
    assert_eq!(unsignable.to_string(), "`\"y\";bs`: the request does not have it");
}

/// Generates a component name, with or without parameters, often of a field that the request has.
fn component() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("@method".to_owned()),
        Just("@path".to_owned()),
        Just("@query".to_owned()),
        Just("@target-uri".to_owned()),
        Just("x-a".to_owned()),
        Just("x-b".to_owned()),
        Just("host".to_owned()),
        "[a-z_.@-]{1,8}",
    ];
    let parameter = prop_oneof![Just(""), Just(";bs"), Just(";sf"), Just(";key=\"a\""), Just(";name=\"a\"")];
    (name, parameter).prop_map(|(name, parameter)| format!("\"{name}\"{parameter}"))
}

proptest! {
    #[test]
    fn writes_one_line_per_component_for_any_request(
        target: Vec<u8>,
        method: Vec<u8>,
        values in proptest::collection::vec(("x-[ab]|X_A|date", any::<Vec<u8>>()), 0..6),
        components in proptest::collection::vec(component(), 0..6),
    ) {
        let headers: Headers = values.iter().map(|(name, value)| (name, value)).collect();
        let structured = StructuredFields::with([("x-a".into(), FieldKind::Dictionary), ("x-b".into(), FieldKind::List)]);
        let message = Message {
            method: &method, scheme: "https", authority: "a.example", target: &target, headers: &headers, structured: &structured,
        };
        let input = format!("sig=({});created=1", components.join(" "));
        match read(input.as_bytes(), b"sig=:AA==:") {
            Err(malformed) => prop_assert!(matches!(malformed, Malformed::Component | Malformed::DuplicateComponent)),
            Ok(signed) => {
                if let Ok(base) = base(&message, &signed[0].input) {
                    prop_assert!(base.is_ascii());
                    prop_assert_eq!(base.lines().count(), components.len() + 1);
                    for (line, component) in base.lines().zip(&components) {
                        let rest = line.strip_prefix(component.as_str());
                        prop_assert!(rest.is_some_and(|rest| rest.starts_with(": ")));
                    }
                }
            }
        }
    }
}
