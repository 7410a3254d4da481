use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::fuzzing;
use crate::request::EscapeSet;

/// Templates, and the remarks about them by number.
type Remarks<'a> = (&'a [&'a str], &'a [(u32, &'a str)]);

fn templates(texts: &[&str]) -> Vec<Template> {
    texts.iter().map(|text| Template::parse(text).unwrap()).collect()
}

fn build(texts: &[&str]) -> Result<Built, Vec<Remark>> {
    Table::build((0..).zip(&templates(texts)), FormatSuffixes::Reject)
}

/// Returns the match for a path: the template of the first endpoint, and the values.
fn find(texts: &[&str], path: &str) -> Option<(String, Vec<String>)> {
    let built = build(texts).unwrap();
    let path = CanonicalPath::parse_with_text(path.as_bytes()).unwrap();
    let found = built.table.find(&path)?;
    let template = texts[found.endpoints()[0] as usize].to_owned();
    Some((template, found.values().map(|value| value.raw().to_owned()).collect()))
}

/// Asserts the match for each path. An empty template means no match.
fn assert_finds(texts: &[&str], rows: &[(&str, &str, &[&str])]) {
    for (path, template, values) in rows {
        let expected =
            (!template.is_empty()).then(|| (template.to_string(), values.iter().map(ToString::to_string).collect()));
        assert_eq!(find(texts, path), expected, "{path}");
    }
}

#[test]
fn matches_the_most_specific_segment() {
    assert_finds(
        &[
            "/",
            "/v1",
            "/v1/",
            "/v1/users/me",
            "/v1/users/{id}",
            "/v1/users/v{n:int}",
            "/v1/users/{id}:run",
            "/v1/{rest...}",
        ],
        &[
            ("/", "/", &[]),
            ("/v1", "/v1", &[]),
            ("/v1/", "/v1/", &[]),
            ("/v1/users/me", "/v1/users/me", &[]),
            ("/v1/users/7", "/v1/users/{id}", &["7"]),
            ("/v1/users/v7", "/v1/users/v{n:int}", &["7"]),
            ("/v1/users/vx", "/v1/users/{id}", &["vx"]),
            ("/v1/users/v07", "/v1/users/{id}", &["v07"]),
            ("/v1/users/x:run", "/v1/users/{id}:run", &["x"]),
            ("/v1/other", "/v1/{rest...}", &["other"]),
            ("/v1/other/a/b/", "/v1/{rest...}", &["other/a/b/"]),
            ("/v2", "", &[]),
            ("/v1/users", "", &[]),
            ("/v1/users/", "", &[]),
            ("/v1/users/me/", "", &[]),
            ("/v1/users/:run", "", &[]),
            ("/v1/users/a/b", "", &[]),
        ],
    );
}

#[test]
fn prefers_the_longest_fixed_part() {
    assert_finds(
        &["/a{x}", "/ab{x}", "/{x}.zip", "/a{x}.zip", "/{x}"],
        &[
            ("/ac", "/a{x}", &["c"]),
            ("/abc", "/ab{x}", &["c"]),
            ("/ab", "/a{x}", &["b"]),
            ("/a", "/{x}", &["a"]),
            ("/q.zip", "/{x}.zip", &["q"]),
            ("/aq.zip", "/a{x}.zip", &["q"]),
            ("/a.zip", "/{x}.zip", &["a"]),
        ],
    );
}

#[test]
fn rest_variable_matches_one_or_more_segments() {
    assert_finds(
        &["/f/{p...}"],
        &[
            ("/f/a", "/f/{p...}", &["a"]),
            ("/f/a%20b:/c@", "/f/{p...}", &["a%20b:/c@"]),
            ("/f/a/", "/f/{p...}", &["a/"]),
            ("/f/", "/f/{p...}", &[""]),
            ("/f", "", &[]),
        ],
    );
}

#[test]
fn lookup_does_not_backtrack() {
    assert_finds(
        &["/users/me", "/users/{id}/posts", "/pulls/{n}/comments", "/pulls/comments/{id}", "/x/{a}", "/x/{p...}"],
        &[
            ("/users/7/posts", "/users/{id}/posts", &["7"]),
            ("/users/me/posts", "", &[]),
            ("/pulls/7/comments", "/pulls/{n}/comments", &["7"]),
            ("/pulls/comments/comments", "/pulls/comments/{id}", &["comments"]),
            ("/x/a/b", "", &[]),
            ("/x/a:/b", "/x/{p...}", &["a:/b"]),
        ],
    );
}

#[test]
fn variables_do_not_match_lookalikes_of_siblings() {
    let texts = [
        "/v1/admin",
        "/v1/a:b",
        "/v1/caf%C3%A9",
        "/v1/{x:text}:run",
        "/v1/Job-{n:int}",
        "/v1/{x:text}",
        "/w/admin",
        "/w/{p...}",
    ];
    for path in [
        "/v1/Admin",
        "/v1/ADMIN",
        "/v1/A:b",
        "/v1/a%3Ab",
        "/v1/A%3AB",
        "/v1/Caf%C3%A9",
        "/v1/x%3Arun",
        "/v1/x:RUN",
        "/v1/job-7",
        "/v1/admin.",
        "/v1/admin%20",
        "/v1/Admin%20.%20",
        "/v1/job-7.",
        "/v1/x:run..",
        "/w/Admin",
        "/w/admin.",
        "/w/ADMIN/x",
    ] {
        assert_eq!(find(&texts, path), None, "{path}");
    }
    for (path, template) in [
        ("/v1/admin", "/v1/admin"),
        ("/v1/a:b", "/v1/a:b"),
        ("/v1/administrator", "/v1/{x:text}"),
        ("/v1/admin%20x", "/v1/{x:text}"),
        ("/v1/.admin", "/v1/{x:text}"),
        ("/v1/adm", "/v1/{x:text}"),
        ("/v1/job-x", "/v1/{x:text}"),
        ("/v1/Job-7", "/v1/Job-{n:int}"),
        ("/v1/x:run", "/v1/{x:text}:run"),
        // Only ASCII case is folded: no server treats the Kelvin sign, a long s, or a letter with an accent as the plain letter.
        ("/v1/CAF%C3%89", "/v1/{x:text}"),
        ("/v1/%EF%BD%81dmin", "/v1/{x:text}"),
        ("/w/x/Admin", "/w/{p...}"),
    ] {
        assert_eq!(find(&texts, path).map(|found| found.0), Some(template.to_owned()), "{path}");
    }
}

#[test]
fn distinguishes_listed_names_that_end_in_dots() {
    assert_finds(
        &["/a", "/a.", "/v{x}.", "/{x}"],
        &[
            ("/a", "/a", &[]),
            ("/a.", "/a.", &[]),
            ("/a..", "", &[]),
            ("/b.", "/{x}", &["b."]),
            ("/v1.", "/v{x}.", &["1"]),
            ("/v1", "/{x}", &["v1"]),
        ],
    );
}

#[test]
fn distinguishes_siblings_that_differ_in_case() {
    assert_finds(
        &["/Admin", "/admin", "/a{x}", "/A{x}", "/aB{x}", "/{x}"],
        &[
            ("/Admin", "/Admin", &[]),
            ("/admin", "/admin", &[]),
            ("/ADMIN", "", &[]),
            ("/ab", "/a{x}", &["b"]),
            ("/Ac", "/A{x}", &["c"]),
            ("/aBc", "/aB{x}", &["c"]),
            ("/abc", "", &[]),
            ("/ABc", "", &[]),
        ],
    );
}

#[test]
fn finds_all_endpoints_with_the_same_template() {
    let texts = templates(&["/a/{y}", "/b", "/a/{x}", "/a/{x}/c"]);
    let built =
        Table::build([(30, &texts[0]), (20, &texts[1]), (10, &texts[2]), (5, &texts[3])], FormatSuffixes::Reject)
            .unwrap();
    let path = CanonicalPath::parse(b"/a/7").unwrap();
    let found = built.table.find(&path).unwrap();
    assert_eq!(found.endpoints(), [10, 30]);
    assert_eq!(found.value(0).unwrap().raw(), "7");
    assert!(found.value(1).is_none() && found.value(99).is_none());
}

#[test]
fn decodes_values_once() {
    let built = build(&["/{x:text}/v{y:text}"]).unwrap();
    let path = CanonicalPath::parse(b"/caf%C3%A9%2541/v%E2%82%AC").unwrap();
    let found = built.table.find(&path).unwrap();
    assert_eq!(found.values().map(Capture::decoded).collect::<Vec<_>>(), ["caf\u{e9}%41", "\u{20ac}"]);
}

#[test]
fn no_variable_matches_a_listed_name_with_a_suffix() {
    let texts = [
        "/u/settings",
        "/u/v1.0",
        "/u/both",
        "/u/both.json",
        "/u/.hidden",
        "/u/caf%C3%A9",
        "/u/{x:text}:run",
        "/u/{x}.tar",
        "/u/v{n:int}",
        "/u/{x:text}",
        "/r/settings",
        "/r/{p...}",
    ];
    for path in [
        "/u/settings.json",
        "/u/Settings.JSON",
        "/u/settings.json.gz",
        "/u/settings.a.b.c.d.e.f.g.h.i.j.k",
        "/u/settings..json",
        "/u/settings.",
        "/u/settings%2Ejson",
        "/u/s%65ttings.json",
        "/u/settings%20.json",
        "/u/settings%3Ba.json",
        "/u/settings.json%3Ba",
        "/u/settings.%3Ba",
        "/u/v1.0.json",
        "/u/both.xml",
        "/u/BOTH.json",
        "/u/both.json.gz",
        "/u/.hidden.json",
        "/u/caf%c3%a9.json",
        "/u/settings.tar",
        "/u/x:run.json",
        "/u/x:RUN.json.gz",
        "/u/v7.json",
        "/r/settings.json",
        "/r/settings.json/x",
    ] {
        assert_eq!(find(&texts, path), None, "{path}");
    }
    for (path, template) in [
        ("/u/settings", "/u/settings"),
        ("/u/both.json", "/u/both.json"),
        ("/u/mysettings.json", "/u/{x:text}"),
        ("/u/settings-json", "/u/{x:text}"),
        ("/u/sett.ings", "/u/{x:text}"),
        ("/u/.json", "/u/{x:text}"),
        ("/u/hidden.json", "/u/{x:text}"),
        ("/u/v1.json.x".trim_end_matches(".json.x"), "/u/v{n:int}"),
        ("/u/x.tar", "/u/{x}.tar"),
        ("/u/x.tar.gz", "/u/{x:text}"),
        ("/r/x/settings.json", "/r/{p...}"),
    ] {
        assert_eq!(find(&texts, path).map(|found| found.0), Some(template.to_owned()), "{path}");
    }
}

#[test]
fn values_include_suffixes_if_the_policy_ignores_them() {
    let parsed = templates(&["/u/settings", "/u/{x:text}:run", "/u/{x:text}"]);
    let table = Table::build((0..).zip(&parsed), FormatSuffixes::Ignore).unwrap().table;
    let find =
        |path: &str| table.find(&CanonicalPath::parse(path.as_bytes()).unwrap()).map(|found| found.endpoints()[0]);
    assert_eq!(find("/u/settings.json"), Some(2));
    assert_eq!(find("/u/x:run.json"), Some(2));
    assert_eq!(find("/u/settings."), None, "a trailing dot is no suffix");
    assert_eq!(find("/u/SETTINGS"), None);
}

#[test]
fn matches_long_suffix_chains_in_linear_time() {
    let verbs: Vec<String> = (0..64).map(|n| format!("/u/{{x}}:{n:03}")).collect();
    let texts: Vec<&str> = verbs.iter().map(String::as_str).chain(["/u/settings", "/u/{x}"]).collect();
    let built = build(&texts).unwrap();
    for value in [".", "a.", ":007.", "settings."] {
        let path = format!("/u/{}", value.repeat(1 << 16));
        let started = Instant::now();
        let _ = built.table.find(&CanonicalPath::parse(path.as_bytes()).unwrap());
        assert!(started.elapsed().as_secs() < 5, "{value} took {:?}", started.elapsed());
    }
}

#[test]
fn compares_escape_digits_case_insensitively() {
    let texts = ["/caf%c3%a9/{x}", "/a%3Ab", "/{x:text}"];
    for (path, template) in
        [("/caf%C3%A9/1", texts[0]), ("/caf%c3%A9/1", texts[0]), ("/a%3ab", texts[1]), ("/x%3ab", texts[2])]
    {
        assert_eq!(find(&texts, path).map(|found| found.0), Some(template.to_owned()), "{path}");
    }
    for path in ["/a:b", "/A%3ab", "/caf%c3%a9", "/CAF%c3%a9"] {
        assert_eq!(find(&texts, path), None, "{path}");
    }
    let twice = templates(&["/caf%c3%a9", "/caf%C3%A9"]);
    let table = Table::build((0..).zip(&twice), FormatSuffixes::Reject).unwrap().table;
    assert_eq!(table.find(&CanonicalPath::parse(b"/caf%C3%a9").unwrap()).unwrap().endpoints(), [0, 1]);
}

#[test]
fn only_text_variables_match_needless_escapes_and_brackets() {
    let texts = ["/u/admin", "/u/{x:text}", "/p/{x}", "/t/{x:text}:run", "/f/locked", "/f/{p...}", "/s/a"];
    for (path, template) in [
        ("/u/%7Eme", "/u/{x:text}"),
        ("/u/a[0]", "/u/{x:text}"),
        ("/u/%61dministrator", "/u/{x:text}"),
        ("/u/%2e%2E%2e", "/u/{x:text}"),
        ("/t/a|b:run", "/t/{x:text}:run"),
        ("/f/%7Ea/b[1]/", "/f/{p...}"),
    ] {
        assert_eq!(find(&texts, path).map(|found| found.0), Some(template.to_owned()), "{path}");
    }
    for path in [
        "/%75/x",
        "/u/%61dmin",
        "/u/ADM%49N",
        "/u/admin%2e",
        "/p/%7Eme",
        "/p/a[0]",
        "/t/x:r%75n",
        "/f/l%6Fcked",
        "/f/l%6fcked/x",
        "/s/%61",
    ] {
        assert_eq!(find(&texts, path), None, "{path}");
    }
}

#[test]
fn reports_conflicting_templates() {
    let rows: [Remarks; 8] = [
        (
            &["/u/{id:int}/a", "/u/{name}/b"],
            &[(1, "conflicting variable types for the same path segment; expected the type in `/u/{id:int}/a`")],
        ),
        (
            &["/u/v{id}", "/u/v{id:int}"],
            &[(1, "conflicting variable types for the same path segment; expected the type in `/u/v{id}`")],
        ),
        (
            &["/{x}b", "/a{x}"],
            &[(1, "this path and `/{x}b` can match the same segment; make the fixed text of one longer")],
        ),
        (
            &["/ab{x}", "/a{x}b"],
            &[(1, "this path and `/ab{x}` can match the same segment; make the fixed text of one longer")],
        ),
        (
            &["/f/{p...}", "/f/{x:text}", "/f/{x:text}/b"],
            &[(
                0,
                "no path reaches `{name...}`, because `{name:text}` at the same position matches every segment; remove one of them",
            )],
        ),
        (
            &["/{a:int}", "/{a}", "/{a:uuid}"],
            &[
                (1, "conflicting variable types for the same path segment; expected the type in `/{a:int}`"),
                (2, "conflicting variable types for the same path segment; expected the type in `/{a:int}`"),
                (2, "conflicting variable types for the same path segment; expected the type in `/{a}`"),
            ],
        ),
        (
            &["/a{x}", "/b{x}", "/{x}c", "/{x}dc"],
            &[
                (2, "this path and `/a{x}` can match the same segment; make the fixed text of one longer"),
                (2, "this path and `/b{x}` can match the same segment; make the fixed text of one longer"),
            ],
        ),
        (&["/a{x}", "/A{x}", "/{x}", "/{p...}", "/a/{x:int}", "/b/{x:uuid}"], &[]),
    ];
    for (texts, expected) in rows {
        let errors = build(texts).err().unwrap_or_default();
        let seen: Vec<_> = errors.iter().map(|remark| (remark.endpoint, remark.message.as_str())).collect();
        assert_eq!(seen, expected, "{texts:?}");
    }
}

#[test]
fn limits_the_fixed_texts_next_to_a_variable() {
    let verbs = |count: usize| (0..count).map(|n| format!("/{{x}}:{n:03}")).collect::<Vec<_>>();
    let built = |texts: &[String]| build(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(built(&verbs(64)).is_ok());
    let with_plain = [verbs(64), vec!["/{x}".to_owned()]].concat();
    assert!(built(&with_plain).is_ok());
    assert_eq!(
        built(&verbs(65)).unwrap_err()[0].message,
        "too many different fixed texts around variables at the same position; expected at most 64, or one `{name:text}`"
    );
}

#[test]
fn warns_about_shadowed_templates() {
    let rows: [Remarks; 20] = [
        (&["/users/me/{x}", "/users/{id}/v{n:int}"], &[]),
        (
            &["/users/me/{x}", "/users/{id}/{v}:run"],
            &[(1, "requests that begin like `/users/me` never match this path; if they should, list it there too")],
        ),
        (&["/users/me/{p...}", "/users/me", "/users/{id}", "/users/{id}/{n:int}", "/users/{id}/v{n:int}/x"], &[]),
        (
            &["/users/me/{p}", "/users/{id}/{n:int}", "/users/{id}/{n:int}/x"],
            &[(2, "requests that begin like `/users/me` never match this path; if they should, list it there too")],
        ),
        (
            &["/users/me", "/users/{id}", "/users/{id}/posts"],
            &[(2, "requests that begin like `/users/me` never match this path; if they should, list it there too")],
        ),
        (&["/users/me", "/users/me/posts", "/users/{id}", "/users/{id}/posts"], &[]),
        (&["/users/me", "/users/me/{x}", "/users/{id}", "/users/{id}/posts"], &[]),
        (&["/users/me/{p...}", "/users/me", "/users/{id}", "/users/{id}/posts/{n:int}"], &[]),
        (&["/users/me", "/users/{id:int}/posts"], &[]),
        (
            &["/users/7", "/users/{id:int}/posts"],
            &[(1, "requests that begin like `/users/7` never match this path; if they should, list it there too")],
        ),
        (
            &["/users/me/a", "/users/{id}"],
            &[(1, "requests that begin like `/users/me` never match this path; if they should, list it there too")],
        ),
        (
            &["/a/b1", "/a/b2", "/a/b3", "/a/b4", "/a/b5", "/a/{x}/c"],
            &[(
                5,
                "requests that begin like `/a/b1`, `/a/b2`, `/a/b3` and 2 more never match this path; if they should, list it there too",
            )],
        ),
        (
            &["/f/{x}", "/f/{p...}"],
            &[(1, "requests that begin like `/f/{x}` never match this path; if they should, list it there too")],
        ),
        (
            &["/f/v{n:int}", "/f/{x}/y"],
            &[(1, "requests that begin like `/f/v{n:int}` never match this path; if they should, list it there too")],
        ),
        (&["/f/v{n:int}", "/f/{x:int}/y"], &[]),
        (
            &["/m/{x}:run", "/m/{x:text}", "/m/{x:text}/y"],
            &[(2, "requests that begin like `/m/{x}:run` never match this path; if they should, list it there too")],
        ),
        (&["/m/{x}:run", "/m/{x}", "/m/{x}/y"], &[]),
        (
            &["/m/{x:text}-run", "/m/{x:text}-re-run/y", "/m/{x:text}-run/y"],
            &[(
                0,
                "requests that begin like `/m/{x:text}-re-run` never match this path; if they should, list it there too",
            )],
        ),
        (&["/pulls/{n}/comments", "/pulls/comments/{id}"], &[]),
        (
            &["/r/health", "/r/{p...}"],
            &[(1, "requests that begin like `/r/health` never match this path; if they should, list it there too")],
        ),
    ];
    for (texts, expected) in rows {
        let warnings = build(texts).unwrap().warnings;
        let seen: Vec<_> = warnings.iter().map(|remark| (remark.endpoint, remark.message.as_str())).collect();
        assert_eq!(seen, expected, "{texts:?}");
    }
}

#[test]
fn an_empty_table_finds_nothing() {
    let built = Table::build([], FormatSuffixes::Reject).unwrap();
    assert!(built.table.find(&CanonicalPath::parse(b"/").unwrap()).is_none());
}

#[test]
fn builds_and_finds_ten_thousand_templates() {
    let texts: Vec<String> = (0..10_000)
        .map(|n| match n % 4 {
            0 => format!("/service-{}/items", n / 8),
            1 => format!("/service-{}/items/{{id}}", n / 8),
            2 => format!("/flat-{n}"),
            _ => format!("/v1/{{org}}/resource-{n}/{{id:int}}:run"),
        })
        .collect();
    let parsed: Vec<Template> = texts.iter().map(|text| Template::parse(text).unwrap()).collect();
    let started = Instant::now();
    let built = Table::build((0..).zip(&parsed), FormatSuffixes::Reject).unwrap();
    // An optimized native build takes some milliseconds. This only checks that the time is far from quadratic.
    assert!(started.elapsed().as_secs() < 5);
    for (n, text) in (0..).zip(&texts) {
        let path = text.replace("{id:int}", "7").replace("{id}", "x").replace("{org}", "acme");
        let found = built.table.find(&CanonicalPath::parse(path.as_bytes()).unwrap()).unwrap();
        assert!(found.endpoints().contains(&n), "{path}");
    }
}

proptest! {
    #[test]
    fn finds_the_same_templates_as_a_full_search(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
        fuzzing::lookup(&bytes);
    }
}

#[test]
fn rejects_an_empty_rest_if_the_parent_path_is_listed() {
    let built = build(&["/files", "/files/{p...}", "/files/a", "/open/{p...}", "/by/{x}", "/by/{x}/{p...}"]).unwrap();
    let found = |path: &str| {
        let path = CanonicalPath::parse(path.as_bytes()).unwrap();
        built.table.find(&path).map(|found| found.endpoints()[0])
    };
    for (path, number) in
        [("/files", 0), ("/files/b", 1), ("/files/b/", 1), ("/open/", 3), ("/by/7", 4), ("/by/7/a", 5)]
    {
        assert_eq!(found(path), Some(number), "{path}");
    }
    for path in ["/files/", "/files/a/", "/by/7/", "/open"] {
        assert_eq!(found(path), None, "{path}");
    }
}

#[path = "ambiguity_tests.rs"]
mod ambiguity;

#[test]
fn no_template_matches_a_reserved_path_in_any_reading() {
    let texts = ["/{name:text}", "/{a:text}/{b}/{c}", "/.known/listed", "/other"];
    let templates = templates(&texts);
    let mut table = Table::build((0..).zip(&templates), FormatSuffixes::Reject).unwrap().table;
    table.reserve("/.known/caf%c3%a9");
    let find = |path: &str| {
        let found = table.find(&CanonicalPath::parse_with_text(path.as_bytes()).unwrap())?;
        Some((found.endpoints()[0], found.check_opened_values()))
    };
    for path in ["/.known/caf%C3%A9", "/.known/caf%c3%A9"] {
        assert_eq!(find(path), Some((Table::RESERVED, Ok(()))), "{path}");
    }
    for path in ["/.known", "/.Known", "/.known/x/y", "/.known/caf%C3%A9/", "/.known/Caf%C3%A9"] {
        assert_eq!(find(path), None, "{path}");
    }
    assert_eq!(find("/.known%2Fcaf%C3%A9"), Some((0, Err(Reason::PathValueAmbiguous))));
    for (path, endpoint) in [("/x", 0), ("/x/y/z", 1), ("/.known/listed", 2), ("/other", 3)] {
        assert_eq!(find(path), Some((endpoint, Ok(()))), "{path}");
    }
    assert_eq!(find("/x%2Fcaf%C3%A9"), Some((0, Ok(()))));

    // A host without endpoints has an empty table.
    let mut empty = Table::default();
    empty.reserve("/a/b");
    assert_eq!(empty.find(&CanonicalPath::parse(b"/a/b").unwrap()).unwrap().endpoints(), [Table::RESERVED]);
    assert!(empty.find(&CanonicalPath::parse(b"/a").unwrap()).is_none());
}
