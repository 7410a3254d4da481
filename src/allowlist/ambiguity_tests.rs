//! Tests of values with allowed escapes that an upstream could read as another path.

use super::*;

#[test]
fn rejects_escaped_values_that_lenient_upstreams_misread() {
    let texts = ["/f/admin", "/f/{x:text}:run", "/f/{x:text}", "/r/admin", "/r/{p...}", "/v{x:text}"];
    let judge = |path: &str| {
        let built = build(&texts).unwrap();
        let path = CanonicalPath::parse_with_text(path.as_bytes()).unwrap();
        built.table.find(&path).unwrap().check_opened_values()
    };
    for path in [
        "/f/plain",
        "/f/a%20b",
        "/f/a%2Fb",
        "/f/a%5Cb",
        "/f/a;v=1",
        "/f/100%25",
        "/f/a%2Fadmin",
        "/f/a%252Fb",
        "/f/a%2F...",
        "/r/a%2Fb/c",
        "/r/x/a%2Fadmin",
        "/r/x/admin;v",
        "/r/a/",
        "/f/a%2Fb:run",
        "/va%2Fb",
        "/f/..a%2Fb",
        "/f/x;/y".trim_end_matches("/y"),
        "/f/%2525",
    ] {
        assert_eq!(judge(path), Ok(()), "{path}");
    }
    for path in [
        "/f/..%2Fadmin",
        "/f/a%2F..%2Fadmin",
        "/f/%2Fadmin",
        "/f/a%2F",
        "/f/a%2F%2Fb",
        "/f/.%2Fadmin",
        "/f/..%5Cadmin",
        "/f/..;",
        "/f/..;x",
        "/f/;",
        "/f/;x",
        "/f/a%2F;",
        "/f/a%2F..;x",
        "/f/%252e%252e",
        "/f/%252E%252E%252Fadmin",
        "/f/a%252F..%252Fb",
        "/f/%255C",
        "/f/admin%2Fx",
        "/f/Admin%2Fx",
        "/f/admin;x",
        "/f/ADMIN;",
        "/f/admin%5Cx",
        "/f/%2561dmin",
        "/f/adm%2569n%252Fx",
        "/f/y%3Arun%2Fx",
        "/f/y:RUN;x",
        "/f/%2Fy:run",
        "/f/y%2F:run",
        "/r/admin%2Fx",
        "/r/admin;x/y",
        "/r/..;/admin",
        "/r/x/..%2Fy",
        "/r/x/%2F/y",
        "/r/x/%252e%252e/y",
        "/v%2F..%2Fadmin",
        "/v..%2Fx",
        "/v%2Fx",
    ] {
        assert_eq!(judge(path), Err(Reason::PathValueAmbiguous), "{path}");
    }
}

/// Returns the result for a path if the endpoint with this template number allows all escapes.
fn judge(texts: &[&str], number: u32, path: &str) -> Result<(), Reason> {
    let built = build(texts).unwrap();
    let path = CanonicalPath::parse_with_text(path.as_bytes()).unwrap();
    let found = built.table.find(&path).unwrap();
    assert!(found.endpoints().contains(&number), "{path:?} is another endpoint's: {:?}", found.endpoints());
    found.check_opened_values()
}

#[test]
fn rejects_values_that_read_as_the_path_of_another_endpoint() {
    let texts = [
        "/blob/{x:text}",
        "/blob/{x:text}/raw",
        "/blob/{x:text}/by/{n:int}",
        "/tree/{p...}",
        "/tree/{x}/raw",
        "/tree/{x}/{id:uuid}/y",
        "/m/{x:text}:run",
        "/m/{x:text}",
        "/all/{x:text}/k",
        "/all/{x:text}/{p...}",
        "/all/{x:text}/k/{p...}",
        "/s/{x:text}",
        "/s/{x:text}/v{n:int}",
    ];
    for (number, path) in [
        (11, "/s/a%2Fvb.json"),
        (0, "/blob/x"),
        (0, "/blob/x%2Fy"),
        (0, "/blob/x%2Frawer"),
        (0, "/blob/x%2Fy%2Frawer"),
        (0, "/blob/x%2Fby%2Fthem"),
        (0, "/blob/x%5Cy;raw"),
        (0, "/blob/raw"),
        (1, "/blob/x%2Fy/raw"),
        (3, "/tree/x%2Fy/raw"),
        (3, "/tree/x%2Fy%2F7"),
        (9, "/all/x%2Fy/z"),
    ] {
        assert_eq!(judge(&texts, number, path), Ok(()), "{path}");
    }
    for (number, path) in [
        (11, "/s/a%2Fv7.json"),
        (0, "/blob/x%2Fraw"),
        (0, "/blob/x%2fraw"),
        // Routers whose variables can contain slashes accept several segments as one value.
        (0, "/blob/x%2Fy%2Fraw"),
        (0, "/blob/x%2Fy%2Fz%2Fby%2F7"),
        (0, "/blob/x%5Craw"),
        (0, "/blob/x%5craw"),
        (0, "/blob/x%252Fraw"),
        (0, "/blob/x%252fraw"),
        (0, "/blob/x%2Fr%61w"),
        (0, "/blob/x%2Fr%2561w"),
        (0, "/blob/x%2FRAW"),
        (0, "/blob/x%2Fraw."),
        (0, "/blob/x%2Fraw%20"),
        (0, "/blob/x%2Fraw.json"),
        (0, "/blob/x%2Fraw;v=1"),
        (0, "/blob/x;v=1%2Fraw"),
        (0, "/blob/x%2Fraw%3Bv=1"),
        (0, "/blob/x%2Fraw%253Bv=1"),
        (0, "/blob/x;%2Fraw;"),
        (0, "/blob/x%2Fby%2F7"),
        (0, "/blob/x%2Fby%2F007"),
        (0, "/blob/x%2Fby%2F%2B7"),
        (0, "/blob/x%2Fby%5C7"),
        (3, "/tree/a;v/raw"),
        (3, "/tree/a%3Bv;w/raw"),
        (3, "/tree/a%2Fraw"),
        (3, "/tree/a%2F018f6b3e-7c1a-7cc2-98c8-0123456789ab/y"),
        (6, "/m/x;:run"),
        (6, "/m/x%3B;:run"),
        // The value matches another endpoint exactly, case-insensitively or leniently.
        (10, "/all/x%2Fy/k/z"),
        (9, "/all/x%2Fk/z"),
        (9, "/all/x%2FK/z"),
    ] {
        assert_eq!(judge(&texts, number, path), Err(Reason::PathValueAmbiguous), "{path}");
    }
}

/// A router with backtracking finds a template that Callgate's own lookup does not find.
#[test]
fn looks_up_readings_with_backtracking() {
    let texts = ["/b/{x:text}", "/b/{x:text}/a/c", "/b/{x:text}/{y}/raw", "/{p...}"];
    assert_eq!(judge(&texts, 0, "/b/x"), Ok(()));
    for path in ["/b/x%2Fa%2Fraw", "/b/x%2Fanything"] {
        assert_eq!(judge(&texts, 0, path), Err(Reason::PathValueAmbiguous), "{path}");
    }
    // A less specific template is not preferred if this one matches in both readings.
    assert_eq!(judge(&["/r/{p...}", "/{p...}"], 0, "/r/a%2Fb"), Ok(()));
}

#[test]
fn checks_long_paths_with_escapes_in_linear_time() {
    let texts = ["/r/{p...}", "/r/{x}/{y}/{z:int}", "/r/{x}/{y:text}:run", "/r/{x}/b/c"];
    for value in ["a%2Fb%5Cc%25%32F;d%3Be.f", "%25", "%2F.a", ";.", "a%2F"] {
        let started = Instant::now();
        let _ = judge(&texts, 0, &format!("/r/x;{}", value.repeat(1 << 13)));
        assert!(started.elapsed().as_secs() < 10, "{value} took {:?}", started.elapsed());
    }
}

#[test]
fn finds_templates_reachable_through_allowed_escapes() {
    use crate::document::Escape::{self, Percent, Semicolon, Slash};
    let rows: [(&[&str], &[Escape], &[u32]); 14] = [
        (&["/blob/{x:text}", "/blob/{x:text}/raw"], &[Slash], &[1]),
        (&["/blob/{x:text}", "/blob/{x:text}/raw"], &[Semicolon], &[]),
        (&["/blob/{x:text}", "/blob/{y:text}/raw", "/blob/a/b/c", "/blob/a", "/tree/{x}"], &[Slash], &[1, 2]),
        (&["/blob/{x:text}", "/{p...}"], &[Slash], &[1]),
        (&["/r/{p...}", "/{p...}"], &[Slash], &[]),
        (&["/r/{p...}", "/r/{x}/raw"], &[Slash], &[1]),
        (&["/r/{p...}", "/r/{x}/raw"], &[Semicolon], &[1]),
        (&["/m/{x:text}:run", "/m/{x:text}"], &[Semicolon], &[1]),
        (&["/m/{x:text}:run", "/m/{x:text}"], &[Slash], &[]),
        (&["/raw/{x:text}", "/raw/secret"], &[Semicolon], &[1]),
        (&["/raw/{x:text}", "/raw/secret"], &[Percent], &[1]),
        (&["/raw/{x:text}", "/raw/secret"], &[Slash], &[]),
        (&["/g/{x:text}/i", "/g/{x:text}/{y}/i", "/g/{x:text}"], &[Slash], &[1]),
        (&["/g/{x:text}/b/{p...}", "/g/{x:text}/{y}/{q...}"], &[Slash], &[1]),
    ];
    for (texts, escapes, expected) in rows {
        let parsed = templates(texts);
        let table = Table::build((0..).zip(&parsed), FormatSuffixes::Reject).unwrap().table;
        let escapes: EscapeSet = escapes.iter().copied().collect();
        let mut budget = 1_000;
        assert_eq!(table.reads_as(0, &parsed[0], escapes, &mut budget), expected, "{texts:?} {escapes:?}");
        assert!((1..1_000).contains(&budget));
        assert!(table.reads_as(0, &parsed[0], escapes, &mut 0).is_empty(), "nothing is visited without a budget");
    }
}
