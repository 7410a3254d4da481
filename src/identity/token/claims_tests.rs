//! Tests of the claims of tokens with a valid signature.

use super::*;

#[test]
fn rejects_a_wrong_issuer_or_typ() {
    for iss in ["https://idp.example.com/", "HTTPS://idp.example.com", "https://evil.example.com", "", "corp"] {
        refused(&claiming(json!({ "iss": iss })), Reason::TokenIssuer);
    }
    for iss in [json!(null), json!(1), json!(["https://idp.example.com"])] {
        refused(&claiming(json!({ "iss": iss })), Reason::TokenClaim);
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        verify(&headed(json!({ "typ": typ }))).unwrap();
    }
    for typ in
        [json!(null), json!("JWT"), json!("jwt"), json!("at+jwt "), json!(""), json!("x/at+jwt"), json!(["at+jwt"])]
    {
        refused(&headed(json!({ "typ": typ })), Reason::TokenType);
    }
    for typ in ["application/application/at+jwt", "dpop+jwt", "logout+jwt", "txntoken+jwt", "wit+jwt"] {
        refused(&headed(json!({ "typ": typ })), Reason::TokenType);
    }
    refused(&sign_text(KEY, r#"{"typ":null,"alg":"ES256","kid":"p256"}"#, &claims().to_string()), Reason::TokenType);
}

#[test]
fn requires_the_claims_of_an_access_token() {
    for name in ["iss", "aud", "exp", "iat", "sub", "client_id", "jti"] {
        refused(&claiming(json!({ name: null })), Reason::TokenClaim);
        let changed = with(claims(), json!({ name: null })).to_string();
        let null = format!("{{\"{name}\":null,{}", &changed[1..]);
        let reason = if matches!(name, "exp" | "iat") { Reason::TokenTime } else { Reason::TokenClaim };
        refused(&sign_text(KEY, &header().to_string(), &null), reason);
    }
    for name in ["sub", "client_id", "jti"] {
        for value in [json!(""), json!(1), json!(["a"]), json!({ "a": 1 }), json!(true)] {
            refused(&claiming(json!({ name: value })), Reason::TokenClaim);
        }
    }
    for scope in [json!(["a"]), json!(1), json!({}), json!(true)] {
        refused(&claiming(json!({ "scope": scope })), Reason::TokenClaim);
    }
    assert!(verify(&claiming(json!({ "scope": null }))).unwrap().scopes().is_empty());
    assert!(verify(&claiming(json!({ "scope": "" }))).unwrap().scopes().is_empty());
    assert_eq!(verify(&claiming(json!({ "scope": " b  a " }))).unwrap().scopes(), ["a", "b"]);
    // Only a space separates scopes.
    assert_eq!(verify(&claiming(json!({ "scope": "a\tb,c" }))).unwrap().scopes(), ["a\tb,c"]);
}

#[test]
fn requires_the_exact_audience() {
    for aud in [json!([RESOURCE]), json!(["https://other.example.com", RESOURCE])] {
        verify(&claiming(json!({ "aud": aud }))).unwrap();
    }
    for aud in [
        json!(""),
        json!([]),
        json!("https://api.example.com/"),
        json!("https://api.example.com/v1"),
        json!("https://API.example.com"),
        json!("https://api.example.com https://other.example.com"),
        json!(["https://other.example.com"]),
    ] {
        refused(&claiming(json!({ "aud": aud })), Reason::TokenAudience);
    }
    for aud in
        [json!(1), json!({ "aud": RESOURCE }), json!([RESOURCE, 1]), json!([[RESOURCE]]), json!([RESOURCE, null])]
    {
        refused(&claiming(json!({ "aud": aud })), Reason::TokenClaim);
    }
}

#[test]
fn enforces_exact_time_limits() {
    let judge = |changes: Value| verify(&claiming(changes)).map(|_| ());
    // The clock skew is 60 s.
    for (name, changes, result) in [
        ("expired for less than the skew", json!({ "exp": NOW - 59 }), Ok(())),
        ("expired for the skew", json!({ "iat": NOW - 90, "exp": NOW - 60 }), Err(Reason::TokenExpired)),
        ("and a fraction less", json!({ "exp": NOW as f64 - 59.5 }), Ok(())),
        ("issued in the skew's future", json!({ "iat": NOW + 60 }), Ok(())),
        ("issued beyond it", json!({ "iat": NOW + 61 }), Err(Reason::TokenTime)),
        ("issued a fraction beyond it", json!({ "iat": NOW as f64 + 60.5 }), Err(Reason::TokenTime)),
        ("valid from the skew's future", json!({ "nbf": NOW + 60 }), Ok(())),
        ("valid from beyond it", json!({ "nbf": NOW + 61 }), Err(Reason::TokenNotYetValid)),
        ("valid from a fraction beyond it", json!({ "nbf": NOW as f64 + 60.5 }), Err(Reason::TokenNotYetValid)),
        ("the longest lifetime", json!({ "iat": NOW - 600, "exp": NOW + 3000 }), Ok(())),
        ("a second longer", json!({ "iat": NOW - 600, "exp": NOW + 3001 }), Err(Reason::TokenLifetime)),
        ("half a second longer", json!({ "iat": NOW - 600, "exp": NOW as f64 + 3000.5 }), Err(Reason::TokenLifetime)),
    ] {
        assert_eq!(judge(changes), result, "{name}");
    }
    for name in ["exp", "iat", "nbf"] {
        for value in [
            json!("1800000000"),
            json!(-1),
            json!(-0.5),
            json!(1e30),
            json!(u64::MAX),
            json!(18_446_744_074_u64),
            json!([NOW]),
            json!({}),
            json!(true),
        ] {
            assert_eq!(judge(json!({ name: value })), Err(Reason::TokenTime), "{name} {value}");
        }
    }
    // One lifetime is zero, which the skew would extend to 60 s, and one token expires before it is issued.
    for (changes, result) in [
        (json!({ "iat": NOW, "exp": NOW }), Err(Reason::TokenTime)),
        (json!({ "iat": NOW, "exp": NOW - 1 }), Err(Reason::TokenTime)),
        (json!({ "iat": NOW as f64 + 0.5, "exp": NOW }), Err(Reason::TokenTime)),
        (json!({ "iat": NOW, "exp": NOW as f64 + 0.5 }), Ok(())),
        (json!({ "iat": NOW, "exp": NOW + 1 }), Ok(())),
        (json!({ "nbf": NOW + 10, "exp": NOW + 10 }), Err(Reason::TokenTime)),
        (json!({ "nbf": NOW + 11, "exp": NOW + 10 }), Err(Reason::TokenTime)),
        (json!({ "nbf": NOW + 9, "exp": NOW + 10 }), Ok(())),
        // This reason also wins if another check would fail.
        (json!({ "iat": NOW - 90, "exp": NOW - 90 }), Err(Reason::TokenTime)),
        (json!({ "nbf": NOW + 90, "exp": NOW + 90 }), Err(Reason::TokenTime)),
    ] {
        assert_eq!(judge(changes.clone()), result, "{changes}");
    }
    // The latest possible time does not wrap around.
    assert_eq!(judge(json!({ "exp": 18_446_744_073_u64 })), Err(Reason::TokenLifetime));
    assert_eq!(judge(json!({ "iat": 0, "exp": NOW + 1 })), Err(Reason::TokenLifetime));
}

#[test]
fn rejects_bound_tokens_as_bearer_tokens() {
    for cnf in [json!({ "jkt": "a" }), json!({ "x5t#S256": "a" }), json!({}), json!("a"), json!([])] {
        refused(&claiming(json!({ "cnf": cnf })), Reason::TokenBound);
    }
    refused(&claims_text("\"cnf\":null"), Reason::TokenBound);
}

#[test]
fn allows_no_tolerance_with_a_clock_skew_of_zero() {
    let raw = json!({ "corp": {
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "jwks": { "keys": [with(KEY.jwk(), json!({ "kid": "p256" }))] } },
    } });
    let mut findings = crate::document::Findings::default();
    let issuers = Issuers::compile(
        &serde_json::from_value(raw).unwrap(),
        RESOURCE,
        Duration::ZERO,
        &crate::identity::token::testing::environment,
        &mut findings,
    );
    let judge = |changes: Value| {
        issuers
            .verify(&claiming(changes), at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new())
            .map(|_| ())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(judge(json!({ "exp": NOW + 1, "iat": NOW, "nbf": NOW })), Ok(()));
    assert_eq!(judge(json!({ "exp": NOW })), Err(Reason::TokenExpired));
    assert_eq!(judge(json!({ "iat": NOW + 1 })), Err(Reason::TokenTime));
    assert_eq!(judge(json!({ "nbf": NOW + 1 })), Err(Reason::TokenNotYetValid));
}

#[test]
fn tokens_can_be_bound_to_keys_and_to_certificates() {
    let issuers = issuers().with_certificate_bindings(true);
    let read = |cnf: &Value| {
        let token = claiming(json!({ "cnf": cnf }));
        let verified = issuers.verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new());
        let bindings = verified.map(|token| (token.bound_to().is_some(), token.certificate_bound_to().copied()));
        bindings.map_err(|refusal| refusal.reason)
    };
    let zeros = "A".repeat(43);
    let (key, certificate, both) =
        (json!({ "jkt": zeros }), json!({ "x5t#S256": zeros }), json!({ "jkt": zeros, "x5t#S256": zeros }));
    assert_eq!(read(&key), Ok((true, None)));
    assert_eq!(read(&certificate), Ok((false, Some([0; 32]))));
    assert_eq!(read(&both), Ok((true, Some([0; 32]))));
    for value in [
        json!("A".repeat(42)),
        json!("A".repeat(44)),
        json!(format!("{zeros}=")),
        json!("0".repeat(64)),
        json!(format!("{}B", "A".repeat(42))),
        json!(format!("{} ", "A".repeat(43))),
        json!(format!("+{}", "A".repeat(42))),
        json!(""),
        json!(null),
        json!([zeros]),
        json!(0),
    ] {
        assert_eq!(read(&json!({ "x5t#S256": value })), Err(Reason::TokenBound), "{value}");
        assert_eq!(read(&json!({ "jkt": zeros, "x5t#S256": value })), Err(Reason::TokenBound), "{value}");
        assert_eq!(read(&json!({ "jkt": value, "x5t#S256": zeros })), Err(Reason::TokenBound), "{value}");
    }
    for name in ["jwk", "kid", "x5t", "x5t#s256", "X5T#S256", "x5t#S512", "osc"] {
        let mut other = both.clone();
        other[name] = json!(zeros);
        assert_eq!(read(&other), Err(Reason::TokenBound), "{name}");
    }
    // Without `tls`, nothing compares certificates.
    for cnf in [certificate, both] {
        refused(&claiming(json!({ "cnf": cnf })), Reason::TokenBound);
    }
}
