use super::super::tests::resources;
use super::*;

/// Returns the template that matches a URI, and the values of its variables.
fn found(resources: &Resources, uri: &str) -> Option<(String, Vec<String>)> {
    let (resource, values) = resources.find(uri)?;
    Some((resource.name.to_string(), values.iter().map(ToString::to_string).collect()))
}

#[test]
fn the_most_specific_template_matches_alone() {
    let resources = resources(
        &[
            "file:///reports/{team}/{file...}",
            "file:///reports/shared/{file}",
            "file:///reports/all",
            "greeting://{name}",
            "db://{table:slug}/rows/{id:int}",
            "https://wiki.example.com/pages/{page}",
            "config://app",
            "urn:isbn:0451450523",
            "db://orders/rows?limit=10",
        ],
        &[],
    );
    for (uri, template, values) in [
        ("file:///reports/blue/a", "file:///reports/{team}/{file...}", &["blue", "a"][..]),
        ("file:///reports/blue/a/b%20c", "file:///reports/{team}/{file...}", &["blue", "a/b c"]),
        ("file:///reports/shared/a", "file:///reports/shared/{file}", &["a"]),
        ("file:///reports/all", "file:///reports/all", &[]),
        ("greeting://Ada", "greeting://{name}", &["Ada"]),
        ("db://orders/rows/7", "db://{table:slug}/rows/{id:int}", &["orders", "7"]),
        ("https://wiki.example.com/pages/Home", "https://wiki.example.com/pages/{page}", &["Home"]),
        ("config://app", "config://app", &[]),
        ("urn:isbn:0451450523", "urn:isbn:0451450523", &[]),
        ("db://orders/rows?limit=10", "db://orders/rows?limit=10", &[]),
    ] {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        assert_eq!(found(&resources, uri), Some((template.to_owned(), values)), "{uri}");
    }
    for uri in [
        "",
        "file",
        "file:",
        "file://",
        "file:///",
        "/reports/blue/a",
        "FILE:///reports/blue/a",
        "File:///reports/blue/a",
        " file:///reports/blue/a",
        "file:///reports/blue/a ",
        "file:/reports/blue/a",
        "file://reports/blue/a",
        "file://localhost/reports/blue/a",
        "file:////reports/blue/a",
        "file:///reports//a",
        "file:///reports/blue/../red/a",
        "file:///reports/blue/%2e%2e/red/a",
        "file:///reports/blue/..",
        "file:///reports/./blue/a",
        "file:///reports/blue%2Fa/b",
        "file:///reports/blue/a%2F..%2Fred",
        "file:///reports/blue/a%5Cb",
        "file:///reports/blue/a%252Fb",
        "file:///reports/blue;v=1/a",
        "file:///reports/blue/a%00",
        "file:///reports/blue/a\0",
        "file:///reports/blue/a\\b",
        "file:///reports/bl%75e/a",
        "file:///reports/bl\u{fc}e/a",
        "file:///reports/blue/a?x",
        "file:///reports/blue/a#x",
        "file:///reports/blue",
        // What a server could read as a listed resource next to the variable.
        "file:///reports/Shared/a",
        "file:///reports/sh%61red/a",
        "file:///reports/shared/a/b",
        "file:///reports/ALL",
        "file:///reports/all/",
        "greeting://",
        "greeting://Ada/",
        "greeting://Ada:80",
        "greeting://me@Ada",
        "greeting://..",
        "greeting:Ada",
        "greeting:///Ada",
        "db://orders/rows/07",
        "db://orders/rows?limit=11",
        "db://orders/rows?LIMIT=10",
        "https://wiki.example.com:443/pages/Home",
        "https://WIKI.example.com/pages/Home",
        "https://user@wiki.example.com/pages/Home",
        "https://wiki.example.com.evil.example/pages/Home",
        "http://wiki.example.com/pages/Home",
        "urn:ISBN:0451450523",
        "URN:isbn:0451450523",
        "urn:isbn:04514505230",
        "config://App",
    ] {
        assert_eq!(found(&resources, uri), None, "{uri:?}");
    }
}

#[test]
fn templates_of_servers_belong_to_templates_of_the_policy() {
    let resources = resources(
        &[
            "file:///reports/{team}/{file...}",
            "greeting://{name}",
            "db://{table:slug}/rows/{id:int}",
            "item://{id:uuid}",
            "config://app",
            "shop://orders/{number:int}/{item:uuid}",
            "shop://carts/{cart:uuid}/{number:int}/{file...}",
            "shop://users/{user}/{number:int}",
        ],
        &[],
    );
    for (template, own) in [
        ("file:///reports/{team}/{file...}", Some("file:///reports/{team}/{file...}")),
        ("file:///reports/{t}/{+path}", Some("file:///reports/{team}/{file...}")),
        ("file:///reports/blue/{path}", Some("file:///reports/{team}/{file...}")),
        ("greeting://{user}", Some("greeting://{name}")),
        ("db://orders/rows/{row}", Some("db://{table:slug}/rows/{id:int}")),
        ("item://{item_id}", Some("item://{id:uuid}")),
        ("config://app", Some("config://app")),
        // Each variable has a kind that takes no value of the others.
        ("shop://orders/{order}/{item_id}", Some("shop://orders/{number:int}/{item:uuid}")),
        ("shop://orders/0/{item_id}", Some("shop://orders/{number:int}/{item:uuid}")),
        ("shop://carts/{id}/{n}/{+path}", Some("shop://carts/{cart:uuid}/{number:int}/{file...}")),
        ("shop://users/{u}/{n}", Some("shop://users/{user}/{number:int}")),
        ("shop://orders/{order}/x", None),
        ("shop://orders/{order}", None),
        ("shop://orders/{order}/{item}/{more}", None),
        ("shop://other/{order}/{item}", None),
        ("shop://orders/{order}/{?item}", None),
        ("file:///reports/{t}", None),
        ("file:///reports/{t}/a{?q}", None),
        ("file:///reports/{t}/{#f}", None),
        ("file:///reports/{t}{/path*}", None),
        ("file:///other/{t}", None),
        ("greeting://{user}/{more}", None),
        ("greeting://{user", None),
        ("greeting://user}", None),
        ("{+uri}", None),
        ("{scheme}://app", None),
        ("", None),
    ] {
        assert_eq!(resources.of_template(template).map(|resource| &*resource.name), own, "{template}");
    }
}

#[test]
fn rejects_templates_that_could_match_more_than_they_state() {
    for (text, says) in [
        ("", "has no scheme in lower case"),
        ("reports/{team}", "has no scheme in lower case"),
        ("/reports/{team}", "has no scheme in lower case"),
        ("FILE:///reports", "has no scheme in lower case"),
        ("{scheme}://app", "has no scheme in lower case"),
        ("1a://app", "has no scheme in lower case"),
        (":x", "has no scheme in lower case"),
        ("file:///a b", "contains a character that URIs cannot have"),
        ("file:///\u{e4}", "contains a character that URIs cannot have"),
        ("file://", "nothing follows the scheme"),
        ("file:///", "nothing follows the scheme"),
        ("greeting://", "nothing follows the scheme"),
        ("urn:", "nothing follows the scheme"),
        ("https://{host}/a", "a variable cannot take the host of a `https` URI"),
        ("https://{tenant}.example.com/a", "a variable cannot take the host"),
        ("file://{host}/a", "a variable cannot take the host"),
        ("urn:isbn:{number}", "a URI without `//` is compared as a whole"),
        ("mailto:{user}", "a URI without `//` is compared as a whole"),
        ("db://orders/{id}?limit=10", "a URI with a query or fragment is compared as a whole"),
        ("db://orders/rows{?limit}", "a URI with a query or fragment is compared as a whole"),
        ("db://orders/rows#{id}", "a URI with a query or fragment is compared as a whole"),
        ("db://orders//rows", "empty path segment"),
        ("file:////reports", "empty path segment"),
        ("db://orders/../rows", "no canonical path contains the segment"),
        ("db://orders/{a}{b}", "several variables"),
        ("db://{rest...}/rows", "it must be last"),
        ("db://orders/{x:number}", "unknown type"),
        ("db://orders/a%2Fb", "is not allowed in fixed text"),
    ] {
        let message = UriTemplate::parse(text).unwrap_err();
        assert!(message.contains(says), "{text}: {message}");
    }
}

#[test]
fn templates_are_compared_without_the_names_of_variables() {
    let parse = |text| UriTemplate::parse(text).unwrap();
    for (one, other, same) in [
        ("db://{a}/x", "db://{b}/x", true),
        ("db://{a}/x", "db://{a}/y", false),
        ("db://x/y", "db:///x/y", false),
        ("urn:a", "urn:a", true),
        ("urn:a", "urn:A", false),
        ("db://x?y", "db://x", false),
    ] {
        assert_eq!(parse(one).is_same_as(&parse(other)), same, "{one} {other}");
    }
    let template = parse("db://{table}/rows/{id:int}");
    assert_eq!(template.variables().collect::<Vec<_>>(), ["table", "id"]);
    assert_eq!((template.position("id"), template.position("x")), (Some(1), None));
    assert_eq!((parse("urn:a").variables().count(), parse("urn:a").position("a")), (0, None));
}

#[test]
fn reports_templates_that_conflict() {
    let templates = ["db://{a}/x", "db://{b:int}/y", "file:///{a}/x", "file:///{b}/y"];
    let templates: Vec<_> = (0..).zip(templates.map(|text| UriTemplate::parse(text).unwrap())).collect();
    let lookup = Lookup::build(&templates, FormatSuffixes::Reject);
    assert_eq!(lookup.errors.iter().map(|remark| remark.endpoint).collect::<Vec<_>>(), [1]);
    assert!(lookup.errors[0].message.contains("conflicting variable types"), "{:?}", lookup.errors);
    assert!(lookup.warnings.is_empty());
}
