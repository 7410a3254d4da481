//! Every form of an ID that the SPIFFE-ID specification accepts or rejects.

use proptest::prelude::*;

use super::*;

/// A valid ID with this many bytes.
fn id_of_length(bytes: usize) -> String {
    let start = "spiffe://example.org/";
    format!("{start}{}", "a".repeat(bytes - start.len()))
}

#[test]
fn reads_the_parts_of_valid_ids() {
    let longest_domain = "d".repeat(255);
    for (domain, path) in [
        ("example.org", "/a"),
        ("example.org", "/ns/prod/sa/agent"),
        ("example.org", "/9eebccd2-12bf-40a6-b262-65fe0487d453"),
        ("example.org", "/Upper/CASE/is/another/path"),
        ("example.org", "/a.b-c_d/..."),
        ("example.org", "/.hidden/..x/x../-/_"),
        ("1.2.3.4", "/a"),
        ("localhost", "/a"),
        ("a_b-c.d", "/a"),
        ("-", "/a"),
        ("..", "/a"),
        (longest_domain.as_str(), "/a"),
    ] {
        let text = format!("spiffe://{domain}{path}");
        let id = SpiffeId::parse(&text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((id.as_str(), id.trust_domain(), id.path()), (text.as_str(), domain, path));
    }
}

#[test]
fn rejects_every_malformed_id() {
    for text in [
        "",
        "spiffe",
        "spiffe:",
        "spiffe:/",
        "spiffe://",
        "spiffe:///",
        "spiffe:///path",
        "spiffe:example.org/path",
        "spiffe:/example.org/path",
        "//example.org/path",
        "example.org/path",
        "https://example.org/path",
        "spiffes://example.org/path",
        "xspiffe://example.org/path",
        // The scheme in another case.
        "SPIFFE://example.org/path",
        "Spiffe://example.org/path",
        "spiffE://example.org/path",
        // The trust domain.
        "spiffe://Example.org/path",
        "spiffe://example.ORG/path",
        "spiffe://example.org:443/path",
        "spiffe://example.org:/path",
        "spiffe://user@example.org/path",
        "spiffe://user:password@example.org/path",
        "spiffe://@example.org/path",
        "spiffe://exa%6dple.org/path",
        "spiffe://[::1]/path",
        "spiffe://exämple.org/path",
        "spiffe://exam ple.org/path",
        "spiffe://example.org\\path/a",
        "spiffe://example.org\0/path",
        "spiffe://*/path",
        "spiffe://*.example.org/path",
        // The path.
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org//",
        "spiffe://example.org//path",
        "spiffe://example.org/path/",
        "spiffe://example.org/path//",
        "spiffe://example.org/a//b",
        "spiffe://example.org/.",
        "spiffe://example.org/..",
        "spiffe://example.org/./path",
        "spiffe://example.org/path/.",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/path/..",
        "spiffe://example.org/path%2f",
        "spiffe://example.org/pa%74h",
        "spiffe://example.org/%",
        "spiffe://example.org/pa th",
        "spiffe://example.org/päth",
        "spiffe://example.org/path\n",
        "spiffe://example.org/path\0",
        "spiffe://example.org/a+b",
        "spiffe://example.org/a~b",
        "spiffe://example.org/a:b",
        "spiffe://example.org/a@b",
        "spiffe://example.org/a;b",
        "spiffe://example.org/a=b",
        "spiffe://example.org/a,b",
        "spiffe://example.org/a!b",
        "spiffe://example.org/a*",
        "spiffe://example.org/*",
        "spiffe://example.org/a\\b",
        // A query or a fragment.
        "spiffe://example.org?query",
        "spiffe://example.org/path?query",
        "spiffe://example.org/path?",
        "spiffe://example.org#fragment",
        "spiffe://example.org/path#fragment",
        "spiffe://example.org/path#",
        // White space around it.
        " spiffe://example.org/path",
        "spiffe://example.org/path ",
        "spiffe://example.org/path,spiffe://example.org/other",
    ] {
        assert_eq!(SpiffeId::parse(text), None, "{text:?}");
    }
}

#[test]
fn bounds_the_length_of_an_id_and_of_its_trust_domain() {
    assert!(SpiffeId::parse(&id_of_length(2048)).is_some());
    assert!(SpiffeId::parse(&id_of_length(2049)).is_none());
    assert!(SpiffeId::parse(&format!("spiffe://{}/a", "d".repeat(256))).is_none());
}

#[test]
fn accepts_only_bare_names_of_trust_domains() {
    for name in ["example.org", "a", "a_b", "1.2.3.4"] {
        assert!(is_trust_domain(name), "{name}");
    }
    for name in ["", "Example.org", "example.org/", "example.org:443", "spiffe://example.org", "exämple", "a b", "*"] {
        assert!(!is_trust_domain(name), "{name}");
    }
    assert!(is_trust_domain(&"d".repeat(255)));
    assert!(!is_trust_domain(&"d".repeat(256)));
}

#[test]
fn a_pattern_is_exact_or_a_class() {
    for (text, is_class) in [
        ("spiffe://example.org/a", false),
        ("spiffe://example.org/ns/prod/a", false),
        ("spiffe://example.org/*", true),
        ("spiffe://example.org/ns/prod/*", true),
    ] {
        let pattern = SpiffePattern::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((pattern.as_str(), pattern.is_class(), pattern.trust_domain()), (text, is_class, "example.org"));
    }
    for text in [
        "",
        "*",
        "/*",
        "spiffe://*",
        "spiffe:///*",
        "spiffe://example.org",
        "spiffe://example.org*",
        "spiffe://example.org/a*",
        "spiffe://example.org/a/b*",
        "spiffe://example.org/a/**",
        "spiffe://example.org/*/b",
        "spiffe://example.org/*/*",
        "spiffe://example.org//*",
        "spiffe://example.org/a//*",
        "spiffe://example.org/../*",
        "spiffe://Example.org/*",
        "spiffe://*.example.org/a",
        "example.org/*",
    ] {
        assert_eq!(SpiffePattern::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_class_ends_at_a_whole_segment_and_has_one_more() {
    let matches = |pattern: &str, id: &str| {
        let (pattern, id) = (SpiffePattern::parse(pattern).expect(pattern), SpiffeId::parse(id).expect(id));
        pattern.matches(&id)
    };
    for (pattern, id, expected) in [
        ("spiffe://example.org/a", "spiffe://example.org/a", true),
        ("spiffe://example.org/a", "spiffe://example.org/A", false),
        ("spiffe://example.org/a", "spiffe://example.org/a/b", false),
        ("spiffe://example.org/a", "spiffe://example.org/ab", false),
        ("spiffe://example.org/a", "spiffe://example.com/a", false),
        ("spiffe://example.org/a/*", "spiffe://example.org/a/b", true),
        ("spiffe://example.org/a/*", "spiffe://example.org/a/b/c", true),
        ("spiffe://example.org/a/*", "spiffe://example.org/a", false),
        ("spiffe://example.org/a/*", "spiffe://example.org/ab", false),
        ("spiffe://example.org/a/*", "spiffe://example.org/ab/c", false),
        ("spiffe://example.org/a/*", "spiffe://example.org/x/a/b", false),
        ("spiffe://example.org/a/*", "spiffe://example.com/a/b", false),
        ("spiffe://example.org/*", "spiffe://example.org/a", true),
        ("spiffe://example.org/*", "spiffe://example.org.evil/a", false),
        ("spiffe://example.org/*", "spiffe://example.or/a", false),
    ] {
        assert_eq!(matches(pattern, id), expected, "{pattern} {id}");
    }
}

proptest! {
    /// Everything that is accepted consists of its parts, and of nothing that another reader could interpret differently.
    #[test]
    fn an_accepted_id_has_only_one_reading(
        text in "(spiffe|Spiffe|https)(://|:/|:)[a-z0-9._@:%A-]{0,12}(/[a-zA-Z0-9._%?#~*-]{0,4}){0,4}"
    ) {
        if let Some(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(&format!("spiffe://{}{}", id.trust_domain(), id.path()), &text);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/:._-".contains(&b)));
            prop_assert_eq!(text.matches(':').count(), 1);
            prop_assert!(id.path().split('/').skip(1).all(|segment| !["", ".", ".."].contains(&segment)));
            prop_assert!(!id.trust_domain().contains(|c: char| c.is_uppercase()));
        }
    }

    /// A class matches what is below it, and an ID matches nothing but itself.
    #[test]
    fn a_pattern_matches_whole_segments(base in "[a-b]{1,2}(/[a-b]{1,2}){0,2}", other in "[a-b]{1,2}(/[a-b]{1,2}){0,3}") {
        let [base, other] = [base, other].map(|path| format!("spiffe://example.org/{path}"));
        let id = SpiffeId::parse(&other).expect("it is valid");
        let matches = |pattern: &str| SpiffePattern::parse(pattern).expect("it is valid").matches(&id);
        prop_assert_eq!(matches(&base), base == other);
        let [base_segments, segments] = [&base, &other].map(|text| text.split('/').collect::<Vec<_>>());
        let is_below = segments.len() > base_segments.len() && segments.starts_with(&base_segments);
        prop_assert_eq!(matches(&format!("{base}/*")), is_below);
    }
}
