use super::*;

#[test]
fn parses_templates_into_segments_and_variables() {
    let template = Template::parse("/repos/{owner}/{repo:slug}/v{n:int}/{m-1}:run/caf%C3%A9/{path...}").unwrap();
    let variables: Vec<_> = template.variables().iter().map(|variable| (&*variable.name, variable.kind)).collect();
    assert_eq!(
        variables,
        [
            ("owner", Kind::Unreserved),
            ("repo", Kind::Slug),
            ("n", Kind::Int),
            ("m-1", Kind::Unreserved),
            ("path", Kind::Rest)
        ]
    );
    assert_eq!(template.position("n"), Some(2));
    assert_eq!(template.position("N"), None);
    let variable =
        |beginning: &str, kind, end: &str| Segment::Variable { beginning: beginning.into(), kind, end: end.into() };
    assert_eq!(
        template.segments(),
        [
            Segment::Fixed("repos".into()),
            variable("", Kind::Unreserved, ""),
            variable("", Kind::Slug, ""),
            variable("v", Kind::Int, ""),
            variable("", Kind::Unreserved, ":run"),
            Segment::Fixed("caf%C3%A9".into()),
            Segment::Rest,
        ]
    );
}

#[test]
fn a_trailing_slash_is_a_segment() {
    let segments = |text: &str| Template::parse(text).unwrap().segments().len();
    assert_eq!((segments("/"), segments("/a"), segments("/a/"), segments("/{x}/")), (1, 1, 2, 2));
}

#[test]
fn templates_that_differ_only_in_names_are_equal() {
    let same = |one: &str, other: &str| Template::parse(one).unwrap().is_same_as(&Template::parse(other).unwrap());
    assert!(same("/a/{x}/{y:int}", "/a/{owner}/{n:int}"));
    assert!(same("/a/{x...}", "/a/{y...}"));
    for (one, other) in [("/a/{x}", "/a/{x:int}"), ("/a", "/a/"), ("/a", "/A"), ("/a{x}", "/{x}a"), ("/{x}", "/{x...}")]
    {
        assert!(!same(one, other), "{one} {other}");
    }
}

#[test]
fn messages_suggest_a_correction() {
    for (text, message) in [
        ("users", "a path begins with a slash; write `/users`"),
        ("", "a path begins with a slash; write `/`"),
        ("/a?b={x}", "a path contains no query; check query parameters with `bind`"),
        ("/a//b", "empty path segment; write `/` instead of `//`"),
        ("//", "empty path segment; write `/` instead of `//`"),
        ("/{x}/{x:int}", "two variables are named `x`; use different names"),
        ("/{x...}/a", "`{x...}` matches the rest of the path; it must be last"),
        ("/{x...}/", "`{x...}` matches the rest of the path; it must be last"),
        ("/a{x...}", "`{x...}` matches whole segments; remove the text around it in `a{x...}`"),
        ("/{x", "`{x` has a `{` without `}`; write `{name}`"),
        ("/x}", "`x}` has a `}` without `{`; write `{name}`"),
        ("/{x}{y}", "`{x}{y}` has several variables or an unmatched brace; expected one `{name}` per segment"),
        ("/{x}-{y}", "`{x}-{y}` has several variables or an unmatched brace; expected one `{name}` per segment"),
        ("/{{x}}", "`{{x}}` has several variables or an unmatched brace; expected one `{name}` per segment"),
        ("/}{x}", "`}{x}` has several variables or an unmatched brace; expected one `{name}` per segment"),
        ("/{}", "invalid variable name `{}`; expected letters, digits, `_` and `-`, beginning with a letter"),
        ("/{a b}", "invalid variable name `{a b}`; expected letters, digits, `_` and `-`, beginning with a letter"),
        ("/{...}", "invalid variable name `{...}`; expected letters, digits, `_` and `-`, beginning with a letter"),
        (
            "/{1st:int}",
            "invalid variable name `{1st:int}`; expected letters, digits, `_` and `-`, beginning with a letter",
        ),
        (
            "/{x:number}",
            "unknown type `number`; expected `{x}`, `{x:int}`, `{x:slug}`, `{x:text}`, `{x:uuid}` or `{x...}`",
        ),
        ("/:id", "`:id` is fixed text here; write `{id}` for a variable"),
        ("/*", "`*` is fixed text here; write `{name}` for one segment"),
        ("/a/**", "`**` is fixed text here; write `{name...}` for the rest of the path"),
        ("/a/../b", "no canonical path contains the segment `..`; write the path that it resolves to"),
        ("/a b", "`a b` is not in canonical form; write `a%20b`"),
        ("/caf\u{e9}", "`caf\u{e9}` is not in canonical form; write `caf%C3%A9`"),
        ("/a\\b", "`a\\b` is not in canonical form; write `a%5Cb`"),
        ("/%41", "`%41` is not in canonical form; write the character itself"),
        ("/100%", "`100%` is not in canonical form; write two hexadecimal digits after each `%`"),
        ("/%00", "`%00` is not in canonical form; leave it out"),
        ("/%C3", "`%C3` is not in canonical form; leave it out"),
        (
            "/a%2Fb",
            "`a%2Fb` contains `%2F`, `%5C`, `%25` or `;`, which is not allowed in fixed text; match the segment with `{name:text}` and `allow_escapes`",
        ),
        (
            "/a;b",
            "`a;b` contains `%2F`, `%5C`, `%25` or `;`, which is not allowed in fixed text; match the segment with `{name:text}` and `allow_escapes`",
        ),
        ("/{x}%3Arun", "`%3Arun` has an escape next to a variable; match the whole segment with `{name:text}`"),
        ("/a {x}", "`a ` contains a character that is invalid in paths; remove it"),
        ("/{x};v", "`;v` contains a character that is invalid in paths; remove it"),
    ] {
        assert_eq!(Template::parse(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn accepts_escape_digits_of_either_case_in_fixed_text() {
    let template = Template::parse("/caf%c3%a9/{x}").unwrap();
    assert_eq!(template.as_str(), "/caf%c3%a9/{x}");
    assert!(template.is_same_as(&Template::parse("/caf%C3%A9/{y}").unwrap()));
    for text in ["/%2f", "/%5c", "/a[0]", "/a|b", "/%7e", "/{x}]", "/%2e%2E"] {
        assert!(Template::parse(text).is_err(), "{text}: what only text values may contain is no fixed text");
    }
}

#[test]
fn accepts_the_suggested_correction() {
    for text in ["/a b", "/caf\u{e9}", "/a|b", "/\"x\""] {
        let message = Template::parse(text).unwrap_err();
        let suggested = message.rsplit('`').nth(1).unwrap();
        assert!(Template::parse(&format!("/{suggested}")).is_ok(), "{message}");
    }
}

#[test]
fn limits_segments_and_variables() {
    let of = |count: usize, part: fn(usize) -> String| Template::parse(&(0..count).map(part).collect::<String>());
    assert!(of(MAX_SEGMENTS, |_| "/a".to_owned()).is_ok());
    assert!(of(MAX_SEGMENTS + 1, |_| "/a".to_owned()).is_err());
    assert!(of(MAX_VARIABLES, |n| format!("/{{x{n}}}")).is_ok());
    assert_eq!(
        of(MAX_VARIABLES + 1, |n| format!("/{{x{n}}}")),
        Err("path too long; expected at most 64 segments and 16 variables".to_owned())
    );
}

#[test]
fn a_template_takes_the_paths_that_it_matches_by_itself() {
    let takes = |template: &str, path: &str| Template::parse(template).unwrap().takes(path);
    for (template, path) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/caf%C3%A9", "/caf%c3%a9"),
        ("/{x}/b", "/a/b"),
        ("/v{n:int}:run", "/v7:run"),
        ("/{x:text}", "/a%2Fb"),
        ("/a/{x...}", "/a/b"),
        ("/a/{x...}", "/a/b/c/"),
        ("/{x...}", "/"),
    ] {
        assert!(takes(template, path), "{template} {path}");
    }
    for (template, path) in [
        ("/a", "/a/"),
        ("/a/", "/a"),
        ("/a/b", "/a"),
        ("/A", "/a"),
        ("/{x}", "/"),
        ("/{x}", "/a/b"),
        ("/{n:int}", "/a"),
        ("/v{n:int}", "/v"),
        ("/a/{x...}", "/a"),
    ] {
        assert!(!takes(template, path), "{template} {path}");
    }
}
