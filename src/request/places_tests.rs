//! Tokens in headers and subprotocols, and everything that could be read as one.

use proptest::prelude::*;

use super::*;

fn places() -> OtherPlaces {
    OtherPlaces { headers: vec!["x-jwt".into(), "cf-token".into()], protocol_prefix: Some("bearer.".into()) }
}

/// Returns the token, how many there are, and what was rejected.
fn read(lines: &[(&str, &str)]) -> (Option<Result<String, Reason>>, u32, Vec<Reason>) {
    let (places, headers) = (places(), lines.iter().copied().collect::<Headers>());
    let mut refused = Vec::new();
    let found = places.read(&headers, |reason| refused.push(reason));
    let token = |carried: Carried<'_>| {
        let credential = carried.credential()?;
        assert_eq!(credential.scheme, Scheme::Bearer);
        Ok(String::from_utf8(credential.token.to_vec()).unwrap())
    };
    (found.first.map(token), found.count, refused)
}

#[test]
fn reads_a_token_from_a_header() {
    let token = |lines: &[(&str, &str)]| read(lines);
    assert_eq!(token(&[("x-jwt", " t ")]), (Some(Ok("t".to_owned())), 1, vec![]));
    assert_eq!(token(&[("X-JWT", "t")]), (Some(Ok("t".to_owned())), 1, vec![]));
    assert_eq!(token(&[("cf-token", "t")]), (Some(Ok("t".to_owned())), 1, vec![]));
    assert_eq!(token(&[("x-jwt", "")]), (Some(Ok(String::new())), 1, vec![]));
    assert_eq!(token(&[("authorization", "Bearer t"), ("x-jwts", "t"), ("cookie", "x-jwt=t")]), (None, 0, vec![]));
}

#[test]
fn counts_every_token() {
    for lines in [
        &[("x-jwt", "t"), ("x-jwt", "t")][..],
        &[("x-jwt", "t"), ("X-Jwt", "")],
        &[("x-jwt", "t"), ("cf-token", "t")],
        &[("x-jwt", "t"), ("sec-websocket-protocol", "chat, bearer.t")],
        &[("sec-websocket-protocol", "bearer.t, bearer.t")],
        &[("sec-websocket-protocol", "bearer.t, BEARER.t")],
        &[("sec-websocket-protocol", "bearer.t, \"bearer.t\"")],
        &[("sec-websocket-protocol", "bearer.t;bearer.u")],
        &[("sec-websocket-protocol", "bearer.t"), ("sec-websocket-protocol", "bearer.t")],
        // The second line has no token, but the upstream would get both lines in another form.
        &[("sec-websocket-protocol", "bearer.t"), ("sec-websocket-protocol", "chat")],
        &[("sec-websocket-protocol", "chat"), ("Sec-WebSocket-Protocol", "bearer.t")],
    ] {
        assert!(read(lines).1 > 1, "{lines:?}");
    }
    let two_lines_without_token = [("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "superchat")];
    assert_eq!(read(&two_lines_without_token), (None, 0, vec![]));
}

#[test]
fn rejects_lookalikes_of_the_configured_headers() {
    for name in ["x_jwt", "X.Jwt", "x~jwt", "cf_token", "sec_websocket_protocol", "Sec-WebSocket.Protocol"] {
        assert_eq!(read(&[(name, "bearer.t")]), (None, 0, vec![Reason::HeaderLookalike]), "{name}");
        assert_eq!(read(&[(name, "")]), (None, 0, vec![Reason::HeaderLookalike]), "{name}");
    }
    assert_eq!(read(&[("x-jw", ""), ("x-jwt-", ""), ("sec-websocket-protocols", "bearer.t")]), (None, 0, vec![]));
}

#[test]
fn reads_a_token_from_a_list_of_subprotocols() {
    let token = |value: &str| read(&[("sec-websocket-protocol", value)]).0;
    for (value, expected) in [
        ("bearer.t", Some(Ok("t"))),
        ("chat, bearer.t", Some(Ok("t"))),
        ("bearer.t,chat", Some(Ok("t"))),
        (" , chat ,\tbearer.a.b.c ,", Some(Ok("a.b.c"))),
        ("bearer.", Some(Ok(""))),
        ("bearer.bearer.t", Some(Ok("bearer.t"))),
        ("", None),
        ("chat", None),
        ("bearer", None),
        ("chat.bearer.t", None),
        ("xbearer.t", None),
        ("BEARER.t", Some(Err(Reason::TokenMalformed))),
        ("Bearer.t, chat", Some(Err(Reason::TokenMalformed))),
        ("\"bearer.t\"", Some(Err(Reason::TokenMalformed))),
        ("chat bearer.t", Some(Err(Reason::TokenMalformed))),
        ("chat;bearer.t", Some(Err(Reason::TokenMalformed))),
        ("bearer.t u", Some(Err(Reason::TokenMalformed))),
        ("bearer.t, a b", Some(Err(Reason::TokenMalformed))),
        ("bearer.t, \u{e9}", Some(Err(Reason::TokenMalformed))),
    ] {
        assert_eq!(token(value), expected.map(|token| token.map(str::to_owned)), "{value:?}");
    }
}

#[test]
fn removes_the_token_alone_from_a_list_of_subprotocols() {
    let rest = |value: &str| {
        let headers: Headers = [(PROTOCOLS, value)].into_iter().collect();
        places().read(&headers, |_| {}).first.unwrap().rest()
    };
    assert_eq!(rest("bearer.t"), None);
    assert_eq!(rest(",bearer.t, "), None);
    assert_eq!(rest("chat, bearer.t").as_deref(), Some("chat"));
    assert_eq!(rest("v2.chat ,bearer.t,,chat").as_deref(), Some("v2.chat, chat"));
    assert_eq!(rest("bearer.t, Bearer.u, chat").as_deref(), Some("chat"));
    let headers: Headers = [("x-jwt", "t")].into_iter().collect();
    assert_eq!(places().read(&headers, |_| {}).first.unwrap().rest(), None);
}

proptest! {
    #[test]
    fn no_remaining_subprotocol_contains_a_token(value in "[a-z]{0,3}(bearer\\.|BEARER\\.|,| |;|\"|chat|\t){0,12}") {
        let headers: Headers = [(PROTOCOLS, &value)].into_iter().collect();
        let places = places();
        let found = places.read(&headers, |_| {});
        if let Some(rest) = found.first.and_then(|carried| carried.rest()) {
            let headers: Headers = [(PROTOCOLS, &rest)].into_iter().collect();
            prop_assert_eq!(places.read(&headers, |_| {}).count, 0, "{}", rest);
        }
    }
}
