use proptest::prelude::*;

use super::*;
use crate::fuzzing;

const HOST: &str = "api.example.com";

/// Returns the differences for each near endpoint, by template.
fn near(templates: &[&str], method: &str, host: &str, path: &str) -> Vec<(String, Vec<String>)> {
    let parsed: Vec<Template> = templates.iter().map(|text| Template::parse(text).unwrap()).collect();
    let listed: Vec<Listed> = parsed
        .iter()
        .map(|template| Listed { hosts: vec![HOST, "b.example.com"], methods: vec!["GET", "HEAD"], template })
        .collect();
    let path = CanonicalPath::parse_with_text(path.as_bytes()).unwrap();
    nearest(&Asked { method, host, path }, &listed, FormatSuffixes::Reject)
        .into_iter()
        .map(|near| (templates[near.endpoint].to_owned(), near.misses))
        .collect()
}

#[test]
fn names_the_segment_that_does_not_match() {
    for (template, path, miss) in [
        ("/items/{id:uuid}", "/items/42", "`42` is not a uuid"),
        ("/pulls/{n:int}", "/pulls/007", "`007` is not an int"),
        ("/slugs/{s:slug}", "/slugs/a.b", "`a.b` is not a slug"),
        ("/items/{sku}", "/items/ab@12", "`ab@12` needs `{sku:text}`"),
        ("/items/{sku}", "/items/%7Eab", "`%7Eab` needs `{sku:text}`"),
        ("/items/{sku}", "/items/a%2fb", "`a%2fb` needs `{sku:text}` and `allow_escapes`"),
        ("/v{n:int}/x", "/va/x", "`a` is not an int"),
        ("/m/{model}:run", "/m/:run", "`{model}` is empty in `:run`"),
        ("/m/{model}:run", "/m/x:tune", "`x:tune` does not end with `:run`"),
        ("/m/v{n:int}", "/m/7", "`7` does not begin with `v`"),
        ("/users/{id}", "/user/7", "`user` is not `users`"),
        ("/users/{id}", "/Users/7", "`Users` is not `users`, because paths are case-sensitive"),
        ("/a%3Ab/{id}", "/a:b/7", "`a:b` is not spelled `a%3Ab`"),
        ("/users/{id}", "/users/7/", "trailing slash"),
        ("/users/{id}/", "/users/7", "the trailing slash is missing"),
        ("/users/{id}/", "/users/7/keys", "`keys` comes after the last slash"),
        ("/users/{id}", "/users", "the path ends before `{id}`"),
        ("/users/{id}", "/users/", "the path ends before `{id}`"),
        ("/users/{id}", "/users/7/keys", "`keys` is one segment too many"),
        ("/users/{id}", "/users/7/keys/1/x", "`keys` and 2 more segments are too many"),
        ("/files/{p...}", "/files", "the path ends before `{p...}`"),
    ] {
        assert_eq!(near(&[template], "GET", HOST, path), [(template.to_owned(), vec![miss.to_owned()])], "{path}");
    }
}

#[test]
fn names_a_host_and_method_that_do_not_match() {
    assert_eq!(
        near(&["/users/{id}"], "POST", "other.example.com", "/users/7"),
        [(
            "/users/{id}".to_owned(),
            vec![
                "host `other.example.com` is not `api.example.com` or `b.example.com`".to_owned(),
                "method `POST` is not `GET` or `HEAD`".to_owned()
            ]
        )]
    );
}

#[test]
fn names_the_endpoint_that_takes_precedence() {
    let texts = [
        "/users/settings",
        "/users/{id}",
        "/users/{id}/keys",
        "/m/{x}:run",
        "/m/{x:text}",
        "/f/{x:int}/a",
        "/f/{p...}",
        "/r",
        "/r/{p...}",
    ];
    for (path, template, miss) in [
        ("/r/", "/r/{p...}", "the path without its last slash is listed next to it"),
        ("/users/Settings", "/users/{id}", "`Settings` equals the static `settings` next to it"),
        ("/users/settings.", "/users/{id}", "`settings.` equals the static `settings` next to it"),
        (
            "/users/settings.json",
            "/users/{id}",
            "`settings.json` is the static `settings` next to it with a format suffix; `format_suffixes: ignore` accepts it",
        ),
        ("/m/x%3Arun", "/m/{x:text}", "`x%3Arun` reads as `{name}:run` next to it"),
        (
            "/users/settings/keys",
            "/users/{id}/keys",
            "`settings` belongs to `/users/settings`, which is more specific and decides alone",
        ),
        ("/f/7/b", "/f/{p...}", "`7` belongs to `/f/{x:int}/a`, which is more specific and decides alone"),
    ] {
        let near = near(&texts, "GET", HOST, path);
        assert!(near.contains(&(template.to_owned(), vec![miss.to_owned()])), "{path} {near:?}");
    }
}

#[test]
fn lists_few_endpoints_with_the_nearest_first() {
    let texts =
        ["/a/b/c/{x}", "/users/{id:uuid}", "/users/{id:uuid}/keys", "/users/me", "/users/{id:uuid}/keys/{k}", "/x"];
    let names = |path: &str| near(&texts, "GET", HOST, path).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("/users/7"), ["/users/{id:uuid}", "/users/me"]);
    assert_eq!(names("/users/ne"), ["/users/{id:uuid}", "/users/me"]);
    assert!(names("/nothing/like/it").is_empty());
    assert!(names("/users/7/keyz").len() <= MAX_NAMED);
    assert!(near(&[], "GET", HOST, "/").is_empty());
}

#[test]
fn truncates_and_escapes_request_text() {
    let long = format!("/items/{}@", "x".repeat(10_000));
    let said = near(&["/items/{sku}"], "GET", HOST, &long).remove(0).1.remove(0);
    assert_eq!(said, format!("`{}…` needs `{{sku:text}}`", "x".repeat(64)));
    let said = near(&["/items/{sku}"], "G\u{1b}[31m\u{202e}", HOST, "/items/7").remove(0).1.remove(0);
    assert_eq!(said, "method `G\\u{1b}[31m\\u{202e}` is not `GET` or `HEAD`");
}

proptest! {
    #[test]
    fn explains_any_request_with_few_exact_differences(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
        fuzzing::nearest(&bytes);
    }
}
