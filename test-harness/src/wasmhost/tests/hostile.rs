//! Requests that no gateway's codec lets through, or that try to crash the filter.

use super::*;

/// Asserts that a request is rejected and that the VM survives, and returns the reason.
#[track_caller]
fn refused(vm: &mut Vm, request: &Request) -> String {
    let outcome = vm.request(request);
    let details = answer(&outcome).details.clone();
    assert_alive(vm);
    details.strip_prefix("callgate_").unwrap().to_owned()
}

/// Pseudo-random numbers (xorshift64*), the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next().to_le_bytes()[7]).collect()
    }
}

#[test]
fn rejects_targets_that_http_codecs_reject() {
    let mut vm = start(&policy());
    for (path, reason) in [
        ("", "path_not_origin_form"),
        ("items/7", "path_not_origin_form"),
        ("*", "path_not_origin_form"),
        ("https://api.example.com/items/7", "path_not_origin_form"),
        ("/items/7#fragment", "path_character"),
        ("/items/ü", "path_character"),
        ("/items/7 8", "path_character"),
        ("/items/7\n", "path_character"),
        ("/items/7?a=#", "query_character"),
        ("/items/7?ü", "query_character"),
    ] {
        let mut request = good();
        request.headers[1].1 = path.as_bytes().to_vec();
        assert_eq!(refused(&mut vm, &request), reason, "{path:?}");
    }
}

#[test]
fn rejects_missing_or_non_text_headers() {
    let mut vm = start(&policy());
    refused(&mut vm, &Request { headers: Pairs::new(), ..good() });
    for missing in 0..3 {
        let mut request = good();
        request.headers.remove(missing);
        refused(&mut vm, &request);
    }
    for position in 0..3 {
        let mut request = good();
        request.headers[position].1 = b"\xff\xfe\x00\x80".to_vec();
        refused(&mut vm, &request);
    }
    let mut request = good();
    request.headers[4].1 = b"Bearer \xff\xff.\x80.\xc0\xaf".to_vec();
    refused(&mut vm, &request);
}

#[test]
fn forwards_irrelevant_headers_with_any_bytes() {
    let mut vm = start(&policy());
    let lines = bytes(&[
        (b"\xff\xfe", b"a"),
        (b"x-a", b"\xff\x80\xc0\xaf"),
        (b"", b""),
        (b"\x00", b"\x01"),
        ("ü".as_bytes(), "ü".as_bytes()),
    ]);
    let mut request = good();
    request.headers.extend(lines.clone());
    let outcome = vm.request(&request);
    for (name, value) in lines {
        assert!(upstream(&outcome).contains(&(name, value)));
    }
    assert_alive(&mut vm);
}

#[test]
fn strips_only_callgate_headers_among_two_thousand() {
    let mut vm = start(&policy());
    let mut request = good();
    for n in 0..1000 {
        request.headers.push((format!("x-{n}").into_bytes(), b"v".to_vec()));
        request.headers.push((format!("x_callgate_{n}").into_bytes(), b"v".to_vec()));
    }
    let outcome = vm.request(&request);
    let headers = upstream(&outcome);
    assert_eq!(headers.iter().filter(|(name, _)| name.starts_with(b"x_callgate_")).count(), 0);
    assert_eq!(headers.iter().filter(|(_, value)| value == b"v").count(), 1000);
    assert_eq!(pairs::values(headers, ":path"), [b"/items/7"]);
    assert_alive(&mut vm);
}

#[test]
fn rejects_tokens_of_absurd_size_and_shape() {
    let mut vm = start(&policy());
    let nested = |depth: usize| format!("{{\"iss\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let sign = |claims: &str| KEY.sign_raw(br#"{"typ":"at+jwt","alg":"ES256","kid":"k1"}"#, claims.as_bytes());
    let many_claims = (0..10_000).map(|n| format!("\"c{n}\":{n}")).collect::<Vec<_>>().join(",");
    let tokens = [
        "a".repeat(60 * 1024),
        format!("{}.{}.{}", "A".repeat(20_000), "A".repeat(20_000), "A".repeat(20_000)),
        ".".repeat(60_000),
        sign(&nested(20_000)),
        sign(&format!("{{{many_claims}}}")),
        sign(&format!("{{\"iss\":\"{}\"}}", "\\u0041".repeat(9_000))),
        sign(&format!("{{\"exp\":{}}}", "9".repeat(30_000))),
        sign("{\"exp\":1e999999999}"),
        sign("{\"exp\":-0.0,\"iat\":1e308,\"nbf\":null}"),
        sign("{\"aud\":{\"a\":[]},\"iss\":7,\"scope\":[[]],\"client_id\":{}}"),
        sign("\u{feff}{}"),
        sign(""),
        sign("null"),
        String::new(),
    ];
    for token in tokens {
        let request = request("GET", "/items/7", &[("authorization", &format!("Bearer {token}"))]);
        refused(&mut vm, &request);
    }
}

#[test]
fn survives_random_bytes_in_each_header_it_reads() {
    let mut vm = start(&policy());
    let mut random = Random(0x5eed);
    for name in [
        ":authority",
        ":path",
        ":method",
        ":scheme",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "dpop",
        "host",
        "origin",
        "access-control-request-method",
        "traceparent",
        "transfer-encoding",
        "upgrade",
        "x-callgate-agent",
        "x-http-method-override",
        "x-request-id",
        "x-forwarded-for",
    ] {
        for _ in 0..60 {
            let mut request = good();
            request.headers.retain(|(own, _)| own != name.as_bytes());
            request.headers.push((name.as_bytes().to_vec(), random.bytes(200)));
            let outcome = vm.request(&request);
            assert!(matches!(outcome.verdict, Verdict::Continue { .. } | Verdict::Reply(_)), "{name}: {outcome:?}");
        }
        assert_alive(&mut vm);
    }
}

#[test]
fn survives_random_changes_to_a_valid_token_and_path() {
    let mut vm = start(&policy());
    let mut random = Random(0xfeed);
    for line in [1, 4] {
        for _ in 0..300 {
            let mut request = good();
            let value = &mut request.headers[line].1;
            let at = random.below(value.len());
            let byte = random.next().to_le_bytes()[7];
            let changed = value[at] != byte;
            value[at] = byte;
            let outcome = vm.request(&request);
            match &outcome.verdict {
                // The change results in another item, or in another case of the scheme.
                Verdict::Continue { .. } => assert!(!changed || line == 1 || at < "Bearer".len(), "{request:?}"),
                Verdict::Reply(_) => {}
                other => panic!("{request:?}: {other:?}"),
            }
        }
        assert_alive(&mut vm);
    }
}

#[test]
fn survives_random_property_values_and_times() {
    let mut vm = start(&policy());
    let mut random = Random(0xdeed);
    for _ in 0..200 {
        let properties = [(b"source\0address".to_vec(), random.bytes(60))].into();
        let outcome = vm.request(&Request { source: None, properties, now: random.next(), ..good() });
        assert!(matches!(outcome.verdict, Verdict::Continue { .. } | Verdict::Reply(_)), "{outcome:?}");
    }
    assert_alive(&mut vm);
}
