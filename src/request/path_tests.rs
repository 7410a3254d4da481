use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::fuzzing;

fn parse(path: &str) -> Result<CanonicalPath<'_>, Reason> {
    CanonicalPath::parse(path.as_bytes())
}

#[test]
fn accepts_canonical_paths_unchanged() {
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/Admin",
        "/a-._~b",
        "/!$&'()*+,=:@",
        "/a%20b",
        "/caf%C3%A9",
        "/caf%c3%a9",
        "/caf%c3%A9",
        "/a%3ab",
        "/%20",
        "/%E2%84%AA",
        "/%F0%9F%94%91",
        "/...",
        "/.well-known/x",
        "/a..b",
        "/~user",
        "/a%3Fb",
        "/a%23b",
        "/%3Cscript%3E",
        "/%22",
        "/%EF%BB%BF",
    ] {
        let canonical = parse(path).unwrap();
        assert_eq!(canonical.as_str(), path);
        assert!(canonical.restricted().is_empty(), "{path}");
    }
}

#[test]
fn reports_the_reason_for_each_invalid_path() {
    use Reason::*;
    for (path, reason) in [
        ("", PathNotOriginForm),
        ("*", PathNotOriginForm),
        ("v1", PathNotOriginForm),
        ("https://api.example.com/v1", PathNotOriginForm),
        ("%2Fv1", PathNotOriginForm),
        ("\\v1", PathNotOriginForm),
        ("/a b", PathCharacter),
        ("/a\tb", PathCharacter),
        ("/a\0", PathCharacter),
        ("/a\r\nb", PathCharacter),
        ("/a\u{7f}", PathCharacter),
        ("/a#b", PathCharacter),
        ("/a\\b", PathCharacter),
        ("/a?b", PathCharacter),
        ("/\"", PathCharacter),
        ("/<a>", PathCharacter),
        ("/a|b", PathCharacter),
        ("/{id}", PathCharacter),
        ("/[0]", PathCharacter),
        ("/a^b`c", PathCharacter),
        ("/caf\u{e9}", PathCharacter),
        ("//", PathEmptySegment),
        ("//evil.example/v1", PathEmptySegment),
        ("/a//b", PathEmptySegment),
        ("/a//", PathEmptySegment),
        ("/.", PathDotSegment),
        ("/..", PathDotSegment),
        ("/a/./b", PathDotSegment),
        ("/a/../b", PathDotSegment),
        ("/a/..", PathDotSegment),
        ("/%", PathEscapeMalformed),
        ("/%4", PathEscapeMalformed),
        ("/%G0", PathEscapeMalformed),
        ("/%+1", PathEscapeMalformed),
        ("/% 41", PathEscapeMalformed),
        ("/%u0041", PathEscapeMalformed),
        ("/%/41", PathEscapeMalformed),
        ("/%41dmin", PathEscapeUnreserved),
        ("/%2e%2e/admin", PathDotSegment),
        ("/%2E", PathDotSegment),
        ("/.%2E/", PathDotSegment),
        ("/a/%2e.", PathDotSegment),
        ("/a/..%20", PathDotSegment),
        ("/a/.%20./b", PathDotSegment),
        ("/a/%20%2E", PathDotSegment),
        ("/%2E%2E%2E", PathEscapeUnreserved),
        ("/%2ehidden", PathEscapeUnreserved),
        ("/%7Euser", PathEscapeUnreserved),
        ("/%7euser", PathEscapeUnreserved),
        ("/%00", PathEscapeControl),
        ("/%09", PathEscapeControl),
        ("/%0D%0A", PathEscapeControl),
        ("/%0d%0a", PathEscapeControl),
        ("/%1F", PathEscapeControl),
        ("/%7F", PathEscapeControl),
        ("/%C2%80", PathEscapeControl),
        ("/%C2%85", PathEscapeControl),
        ("/%FF", PathEscapeNotUtf8),
        // Overlong forms of `/`, `.` and NUL, surrogates, and code points beyond Unicode.
        ("/%C0%AF", PathEscapeNotUtf8),
        ("/%C0%AE%C0%AE/", PathEscapeNotUtf8),
        ("/%C0%80", PathEscapeNotUtf8),
        ("/%E0%80%AF", PathEscapeNotUtf8),
        ("/%F0%80%80%AF", PathEscapeNotUtf8),
        ("/%ED%A0%80", PathEscapeNotUtf8),
        ("/%F4%90%80%80", PathEscapeNotUtf8),
        ("/%C3", PathEscapeNotUtf8),
        ("/%C3/%A9", PathEscapeNotUtf8),
        ("/%A9%C3", PathEscapeNotUtf8),
    ] {
        assert_eq!(parse(path), Err(reason), "{path:?}");
    }
    assert_eq!(CanonicalPath::parse(b"/caf\xe9"), Err(PathCharacter));
}

#[test]
fn detects_restricted_escapes_in_either_case() {
    use Escape::*;
    for (path, expected) in [
        ("/a%2Fb", vec![Slash]),
        ("/a%2fb%5c", vec![Slash, Backslash]),
        ("/%2F", vec![Slash]),
        ("/..%5Cb", vec![Backslash]),
        ("/%252e%252e/b", vec![Percent]),
        ("/..;/b", vec![Semicolon]),
        ("/;", vec![Semicolon]),
        ("/%3B", vec![]),
        ("/%2F;%25%5C", vec![Slash, Backslash, Percent, Semicolon]),
    ] {
        let restricted = parse(path).unwrap().restricted();
        assert_eq!(restricted, expected.iter().copied().collect(), "{path}");
        for escape in [Slash, Backslash, Percent, Semicolon] {
            assert_eq!(restricted.contains(escape), expected.contains(&escape), "{path}");
        }
    }
}

#[test]
fn allows_needless_escapes_and_brackets_only_in_text_values() {
    use Reason::*;
    for (path, reason) in [
        ("/%7Euser", PathEscapeUnreserved),
        ("/m%65", PathEscapeUnreserved),
        ("/a%2Ejson", PathEscapeUnreserved),
        ("/%2E%2E%2E", PathEscapeUnreserved),
        ("/%2E%2e%2Fx", PathEscapeUnreserved),
        ("/%25%32e", PathEscapeUnreserved),
        ("/a[0]/%7E", PathCharacter),
        ("/a|b", PathCharacter),
        ("/a^b", PathCharacter),
    ] {
        let path = CanonicalPath::parse_with_text(path.as_bytes()).unwrap();
        assert_eq!(path.text_only(), Some(reason), "{path:?}");
    }
    for path in
        ["/%2e%2e", "/%2E", "/.%2e/a", "/a/%2E%20", "/%41%00", "/[%", "/[ ]", "/{x}", "/`", "/\"", "/<a>", "/%C3%2E"]
    {
        assert!(CanonicalPath::parse_with_text(path.as_bytes()).is_err(), "{path}");
    }
    assert_eq!(parse("/caf%c3%a9").unwrap().text_only(), None);
}

#[test]
fn checks_whether_an_escape_set_is_a_subset() {
    let set = |escapes: &[Escape]| escapes.iter().copied().collect::<EscapeSet>();
    let both = set(&[Escape::Slash, Escape::Percent]);
    assert!(set(&[]).is_subset(set(&[])) && set(&[Escape::Slash]).is_subset(both) && both.is_subset(both));
    assert!(!both.is_subset(set(&[Escape::Slash])) && !set(&[Escape::Semicolon]).is_subset(both));
}

#[test]
fn the_query_begins_at_the_first_question_mark() {
    assert_eq!(split_target(b"/a"), (&b"/a"[..], None));
    assert_eq!(split_target(b"/a?"), (&b"/a"[..], Some(&b""[..])));
    assert_eq!(split_target(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
    assert_eq!(split_target(b"?b"), (&b""[..], Some(&b"b"[..])));
    assert_eq!(split_target(b""), (&b""[..], None));
}

#[test]
fn parses_a_long_path_in_linear_time() {
    let path = "/%C3%A9a".repeat(1 << 17);
    let started = Instant::now();
    assert!(parse(&path).is_ok());
    assert!(started.elapsed().as_secs() < 5);
}

proptest! {
    #[test]
    fn accepts_only_canonical_paths_among_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzzing::path(&bytes);
    }

    #[test]
    fn accepts_only_canonical_paths_among_path_like_texts(text in "(/|%[0-9A-Fa-f]{2}|%25|%2F|%C3%A9|\\.|\\.\\.|;|[a-zA-Z0-9:@!]|\\\\|#| ){0,24}") {
        fuzzing::path(text.as_bytes());
        fuzzing::path(format!("/{text}").as_bytes());
    }

    #[test]
    fn the_fast_check_agrees_with_the_full_parser(text in "(/|\\.|\\.\\.|-|_|~|;|[a-zA-Z0-9]{1,12}){0,12}") {
        for path in [text.clone(), format!("/{text}")] {
            prop_assert_eq!(parse(&path), CanonicalPath::judge(path.as_bytes()), "{}", path);
        }
    }

    #[test]
    fn accepts_segments_with_required_escapes(segments in proptest::collection::vec("([a-zA-Z0-9:@~-]|%20|%C3%A9|%3F|%E2%82%AC){1,6}", 1..5)) {
        let path = format!("/{}", segments.join("/"));
        prop_assert!(parse(&path).is_ok());
        fuzzing::path(path.as_bytes());
    }
}
