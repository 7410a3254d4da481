use proptest::prelude::*;

use super::*;
use crate::fuzzing;

fn query(text: &str) -> Query<'_> {
    Query::parse(Some(text.as_bytes())).unwrap()
}

#[test]
fn accepts_ordinary_queries() {
    for text in [
        "",
        "a=1&b=2",
        "url=https://x.example//y",
        "f[]=1&f[0]=2",
        "a=%2f%2F%25%00%FF",
        "&&=&",
        "a={\"b\":1}|\\^`",
        "?",
        "~",
    ] {
        assert_eq!(query(text).as_str(), text);
    }
    assert_eq!(Query::parse(None), Ok(Query::default()));
}

#[test]
fn reports_the_reason_for_each_invalid_query() {
    for (text, reason) in [
        ("a=1#b", Reason::QueryCharacter),
        ("a b", Reason::QueryCharacter),
        ("a\0", Reason::QueryCharacter),
        ("a\tb", Reason::QueryCharacter),
        ("a\u{7f}", Reason::QueryCharacter),
        ("caf\u{e9}", Reason::QueryCharacter),
        ("%", Reason::QueryEscapeMalformed),
        ("a=%4", Reason::QueryEscapeMalformed),
        ("a=%zz", Reason::QueryEscapeMalformed),
        ("%u0061ccess_token", Reason::QueryEscapeMalformed),
    ] {
        assert_eq!(Query::parse(Some(text.as_bytes())), Err(reason), "{text}");
    }
    assert_eq!(Query::parse(Some(b"\xff")), Err(Reason::QueryCharacter));
}

#[test]
fn returns_raw_parameters_and_decoded_names() {
    let parsed = query("a=1&&b&c==&%64=%65&%FF=");
    let parameters: Vec<_> = parsed.parameters().collect();
    assert_eq!(parameters, [("a", Some("1")), ("b", None), ("c", Some("=")), ("%64", Some("%65")), ("%FF", Some(""))]);
    assert_eq!(parsed.names_decoded().collect::<Vec<_>>(), ["a", "b", "c", "d", "\u{fffd}"]);
}

#[test]
fn rejects_parameter_names_in_every_reading() {
    let spellings = [
        "access_token=x",
        "access_token",
        "access_token=",
        "a=1&access_token=x",
        "ACCESS_TOKEN=x",
        "%61ccess_token=x",
        "access%5Ftoken=x",
        "access%5ftoken=x",
        "access-token=x",
        "access.token=x",
        "access+token=x",
        "access%20token=x",
        "access_token[]=x",
        "access_token[0]=x",
        "access_token%5B%5D=x",
        "access_token[a][b]=x",
        "[access_token]=x",
        "access_token]=x",
        "access[token=x",
        "+access_token=x",
        "%20access_token=x",
        "%20+access_token",
        "%09access_token",
        "access_token%00=x",
        "access_token%00.png=x",
        "a=1;access_token=x",
        ";access_token",
        "a;access_token[]=1",
        "a=1&&access_token",
    ];
    for text in spellings {
        assert_eq!(query(text).reject_names(&RejectedNames::new(&[""; 0])), Err(Reason::QueryCredential), "{text}");
        let other = text.to_ascii_lowercase().replace("access", "my").replace("%61ccess", "my");
        if other.contains("my") {
            assert_eq!(query(&other).reject_names(&RejectedNames::new(&[""; 0])), Ok(()), "{other}");
            assert_eq!(
                query(&other).reject_names(&RejectedNames::new(&["my_token"])),
                Err(Reason::QueryRefused),
                "{other}"
            );
        }
    }
    for text in [
        "_method=DELETE",
        "_METHOD=x",
        "%5Fmethod=x",
        "+_method",
        "+method",
        "a;%20method=x",
        "[+method",
        "_method[]=x",
        "-method=x",
        "X-HTTP-Method-Override=PUT",
        "x_http_method_override=PUT",
        "x.http.method=PUT",
        "X-Method-Override",
    ] {
        assert_eq!(query(text).reject_names(&RejectedNames::new(&[""; 0])), Err(Reason::MethodOverride), "{text}");
    }
}

#[test]
fn accepts_names_that_only_resemble_rejected_ones() {
    for text in [
        "",
        "token=x",
        "access_tokens=x",
        "my_access_token=x",
        "accesstoken=x",
        "a=access_token",
        "a[access_token]=x",
        "method=PUT",
        "x-original-url=/",
        "%2561ccess_token=x",
        "acce%C5%BF%C5%BF_token=x",
        "access_token_type=x",
        "=access_token",
    ] {
        assert_eq!(query(text).reject_names(&RejectedNames::new(&["secret"])), Ok(()), "{text}");
    }
}

#[test]
fn decodes_the_value_of_a_bound_parameter() {
    for (text, expected) in [
        ("org=acme", Some("acme")),
        ("a=1&org=acme&b=2", Some("acme")),
        ("org=a%20b", Some("a b")),
        ("org=a%2Bb", Some("a+b")),
        ("org=a%3Bb", Some("a;b")),
        ("org=a=b", Some("a=b")),
        ("org=%2541", Some("%41")),
        ("org=caf%C3%A9", Some("caf\u{e9}")),
        ("org=acme%00", Some("acme\0")),
        ("org=", Some("")),
        ("org", Some("")),
        ("a=1+2&org=acme", Some("acme")),
        ("a=1;b=2&org=acme", Some("acme")),
        ("", None),
        ("organization=acme", None),
        ("a=org", None),
        ("a[org]=acme", None),
    ] {
        assert_eq!(query(text).bound("org").unwrap().as_deref(), expected, "{text}");
    }
}

#[test]
fn rejects_ambiguous_bound_parameters() {
    for text in [
        "org=acme&org=evil",
        "org=acme&org",
        "org&org=acme",
        "org=acme&%6Frg=evil",
        // nginx does not see this parameter.
        "%6Frg=acme",
        "or%67=acme",
        "org=a+b",
        "org=acme+",
        "org=%FF",
        "org=%C0%AF",
        "org=acme;x=1",
        "org=acme&a=1;org=evil",
        "a=1;org=evil",
        "org;x=1",
        "org=acme&Org=evil",
        "ORG=evil",
        "org=acme&org[]=evil",
        "org[0]=evil",
        "org[x]=evil",
        "org%5B%5D=evil",
        "[org]=evil",
        "org]=evil",
        "+org=evil",
        "%20org=evil",
        "%09org",
        "org%00=evil",
        "org%00x=evil",
        "org=acme&ORG[]=evil",
    ] {
        assert_eq!(query(text).bound("org"), Err(Reason::BindingAmbiguous), "{text}");
    }
    for text in [
        "tenant_id=1",
        "tenant.id=1",
        "tenant+id=1",
        "tenant%20id=1",
        "tenant[id=1",
        "Tenant-Id=1",
        "tenant-id=1&tenant_id=1",
    ] {
        assert_eq!(query(text).bound("tenant-id"), Err(Reason::BindingAmbiguous), "{text}");
    }
}

#[test]
fn allows_at_most_255_parameters_next_to_a_bound_one() {
    let with = |others: usize, other: &str| format!("{}org=acme", other.repeat(others));
    for other in ["a&", "a=1&", "&", "a&&"] {
        let allowed = (MOST_PARAMETERS - 1) / other.matches('&').count();
        assert_eq!(query(&with(allowed, other)).bound("org").unwrap().as_deref(), Some("acme"), "{other}");
        for more in [allowed + 1, 1_000, 20_000] {
            assert_eq!(query(&with(more, other)).bound("org"), Err(Reason::TooManyParameters), "{more} {other}");
        }
    }
    // Some parsers also separate parameters at a semicolon.
    assert_eq!(query(&format!("org=acme&a={}", ";".repeat(255))).bound("org"), Err(Reason::TooManyParameters));
    assert!(query(&format!("org=acme&a={}", ";".repeat(254))).bound("org").is_ok());
}

#[test]
fn binds_only_plain_names() {
    for name in ["org", "tenant-id", "$filter", "a.b", "_x", "a:b", "~"] {
        assert!(is_plain_name(name), "{name}");
    }
    for name in ["", "a b", "a+b", "f[x]", "f]", "a&b", "a=b", "a;b", "a%20b", "a#b", "caf\u{e9}", "a\0"] {
        assert!(!is_plain_name(name), "{name}");
    }
}

proptest! {
    #[test]
    fn agrees_with_the_reference_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzzing::query(&bytes);
    }

    #[test]
    fn agrees_with_the_reference_on_query_like_texts(text in "(org|ORG|access_token|_?method|__x-y|from_|x-y|x_y|&|=|;|\\?|\\+|\\.|\\[|\\]|%20|%00|%FF|%6F|[a-z]){0,16}") {
        fuzzing::query(text.as_bytes());
    }

    #[test]
    fn returns_any_escaped_value_unchanged(value: String, others in proptest::collection::vec("[a-n]{1,4}=[a-z]{0,3}", 0..4)) {
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mut pieces = others.clone();
        pieces.insert(others.len() / 2, format!("org={escaped}"));
        let text = pieces.join("&");
        let bound = query(&text).bound("org").unwrap();
        prop_assert_eq!(bound.as_deref(), Some(value.as_str()));
    }
}
