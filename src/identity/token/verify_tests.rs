#![expect(clippy::string_slice, reason = "the texts that tests cut are ASCII")]

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::{NOW, RESOURCE, SECRET, Signs, at, b64, compile, compile_with, not_needed, sign, sign_text, with};
use super::{ClaimName, FetchedKeys, Issuers, MAX_TOKEN_BYTES, TokenCache};
use crate::identity::crypto::testing::Asking;
use crate::identity::crypto::{Algorithm, BadSignature, SoftwareVerifier, VerifySignature, VerifyingKey};
use crate::reason::Reason;

const KEY: Signs = Signs::P256(1);

/// Counts the signatures that were verified.
#[derive(Default)]
struct Counting(Cell<usize>);

impl VerifySignature for Counting {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        SoftwareVerifier.verify(key, algorithm, message, signature)
    }
}

/// Returns one issuer of RFC 9068 tokens with keys of every public type, and one of HS256 tokens.
fn issuers() -> Issuers {
    let key = |signs: Signs, kid: &str| with(signs.jwk(), json!({ "kid": kid }));
    compile(&json!({
        "corp": {
            "issuer": "https://idp.example.com",
            "profile": "at+jwt",
            "algorithms": ["ES256", "ES384", "Ed25519", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            "keys": { "jwks": { "keys": [
                key(KEY, "p256"),
                key(Signs::P256(2), "p256-2"),
                key(Signs::P384(1), "p384"),
                key(Signs::Ed25519(1), "ed25519"),
                with(key(Signs::Rsa, "rsa"), json!({ "use": "sig" })),
            ] } },
            "max_lifetime": "1h",
        },
        "internal": {
            "issuer": "https://internal.example.com",
            "profile": "at+jwt",
            "algorithms": ["HS256"],
            "keys": { "secret": { "env": "SECRET" } },
            "max_lifetime": "1h",
        },
    }))
}

fn header() -> Value {
    json!({ "typ": "at+jwt", "alg": "ES256", "kid": "p256" })
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example.com", "aud": RESOURCE, "sub": "agent-7", "client_id": "coding-agent", "jti": "1",
        "iat": NOW - 60, "exp": NOW + 300, "scope": "code:read code:write",
    })
}

fn verify(token: &[u8]) -> Result<std::rc::Rc<super::VerifiedToken>, Reason> {
    issuers()
        .verify(token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new())
        .map_err(|refusal| refusal.reason)
}

#[track_caller]
fn refused(token: &[u8], reason: Reason) {
    let verifier = Counting::default();
    let mut cache = TokenCache::default();
    let issuers = issuers();
    let result =
        issuers.verify(token, at(0), &verifier, &mut cache, &FetchedKeys::new()).map_err(|refusal| refusal.reason);
    assert!(
        !issuers.diagnose(None, token, reason, at(0), &FetchedKeys::new()).is_empty(),
        "{reason:?}: {}",
        token.escape_ascii()
    );
    assert_eq!(result.map(|_| ()), Err(reason), "{}", token.escape_ascii());
    assert!(cache.is_empty(), "a failure is not remembered");
    assert_eq!(verifier.0.get(), usize::from(reason == Reason::TokenSignature), "the signature comes last");
}

/// Returns a signed token with these changes in its claims.
fn claiming(changes: Value) -> Vec<u8> {
    sign(KEY, &header(), &with(claims(), changes))
}

/// Returns a signed token with these changes in its header.
fn headed(changes: Value) -> Vec<u8> {
    sign(KEY, &with(header(), changes), &claims())
}

/// Returns a token whose claims begin with this text.
fn claims_text(text: &str) -> Vec<u8> {
    sign_text(KEY, &header().to_string(), &format!("{{{text},{}", &claims().to_string()[1..]))
}

fn header_text(text: &str) -> Vec<u8> {
    sign_text(KEY, &format!("{{{text},{}", &header().to_string()[1..]), &claims().to_string())
}

#[test]
fn returns_the_claims_of_a_valid_token() {
    let token = claiming(json!({ "org": { "id": "acme" }, "scope": "b a b" }));
    let verified = verify(&token).unwrap();
    assert_eq!(verified.issuer_name(), "corp");
    assert_eq!(Some(verified.issuer_id()), issuers().id("corp"));
    assert_eq!(verified.iss(), "https://idp.example.com");
    assert_eq!(verified.client(), Some("coding-agent"));
    assert_eq!(verified.subject(), Some("agent-7"));
    assert_eq!(verified.scopes(), ["a", "b"]);
    assert!(
        verified.has_scope("a") && !verified.has_scope("A") && !verified.has_scope("") && !verified.has_scope("a b")
    );
    assert_eq!(verified.claim(&ClaimName::parse("/org/id").unwrap()), Some(&json!("acme")));
    assert_eq!(verified.claims()["jti"], "1");
    assert_eq!(verified.expires(), at(300));
    assert_eq!(verified.token_hash().len(), 16);
    let signed = &token[..token.iter().rposition(|byte| *byte == b'.').unwrap()];
    let full = hmac_sha256::Hash::hash(signed);
    assert_eq!(verified.token_hash(), format!("{:016x}", u64::from_be_bytes(full[..8].try_into().unwrap())));
}

#[test]
fn verifies_every_algorithm() {
    for (algorithm, key, kid) in [
        ("ES256", KEY, "p256"),
        ("ES384", Signs::P384(1), "p384"),
        ("Ed25519", Signs::Ed25519(1), "ed25519"),
        ("EdDSA", Signs::Ed25519(1), "ed25519"),
        ("RS256", Signs::Rsa, "rsa"),
        ("RS384", Signs::Rsa, "rsa"),
        ("RS512", Signs::Rsa, "rsa"),
        ("PS256", Signs::Rsa, "rsa"),
        ("PS384", Signs::Rsa, "rsa"),
        ("PS512", Signs::Rsa, "rsa"),
    ] {
        let token = sign(key, &with(header(), json!({ "alg": algorithm, "kid": kid })), &claims());
        verify(&token).unwrap_or_else(|reason| panic!("{algorithm}: {reason:?}"));
    }
    let internal = with(claims(), json!({ "iss": "https://internal.example.com" }));
    let header = json!({ "typ": "at+jwt", "alg": "HS256" });
    let token = sign(Signs::Secret(SECRET), &header, &internal);
    assert_eq!(verify(&token).unwrap().issuer_name(), "internal");
    // `kid` is not used to choose a secret.
    verify(&sign(Signs::Secret(SECRET), &with(header.clone(), json!({ "kid": "any" })), &internal)).unwrap();
    refused(&sign(Signs::Secret(b"another secret of thirty-two byte"), &header, &internal), Reason::TokenSignature);
    // If a policy is only checked there is no secret, and every token is rejected.
    let (unset, _) = compile_with(
        &json!({ "internal": {
            "issuer": "https://internal.example.com", "profile": "at+jwt", "algorithms": ["HS256"],
            "keys": { "secret": { "env": "SECRET" } }, "max_lifetime": "1h",
        } }),
        &not_needed,
    );
    let result = unset
        .verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new())
        .map_err(|refusal| refusal.reason);
    assert_eq!(result.unwrap_err(), Reason::TokenKey);
}

#[test]
fn requires_three_parts_of_strict_base64url() {
    let token = String::from_utf8(claiming(json!({}))).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    for malformed in [
        String::new(),
        ".".to_owned(),
        format!("{header}.{claims}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{header}.{claims}.{signature}.{signature}.{signature}.{signature}"),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}="),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}=="),
        format!("{header}.{}\n{}.{signature}", &claims[..4], &claims[4..]),
        format!("{header}.{claims}.+{}", &signature[1..]),
        format!("{header}.{claims}.{}/{}", &signature[..8], &signature[9..]),
        format!("{header}.{claims}.{}", &signature[..signature.len() - 1]),
        format!("{header}.{claims}.{signature}\u{e9}"),
        format!("Bearer {token}"),
        format!("{token},{token}"),
    ] {
        refused(malformed.as_bytes(), Reason::TokenMalformed);
    }
    refused(&[&token.as_bytes()[..8], &[0xff, 0], &token.as_bytes()[10..]].concat(), Reason::TokenMalformed);
    refused(format!("{token}.a.b").as_bytes(), Reason::TokenEncrypted);
    refused(b"....", Reason::TokenEncrypted);
    refused(b"..", Reason::TokenJson);
    refused(format!("{header}.{claims}.").as_bytes(), Reason::TokenSignature);
}

#[test]
fn rejects_stray_bits_in_base64url() {
    // A P-256 signature of 64 bytes takes 86 characters. The last character carries two bits.
    let token = claiming(json!({}));
    let (&last, rest) = token.split_last().unwrap();
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = ALPHABET.iter().position(|&b| b == last).unwrap();
    assert_eq!(value & 0xf, 0);
    for low in 1..16 {
        refused(&[rest, &[ALPHABET[value | low]]].concat(), Reason::TokenMalformed);
    }
}

#[test]
fn limits_token_size_and_json_depth() {
    let padded = |pad: usize| claiming(json!({ "pad": "a".repeat(pad) }));
    let overhead = padded(3000).len() - 4000;
    // Four characters encode three bytes.
    let fits = padded((MAX_TOKEN_BYTES - overhead) / 4 * 3);
    assert!(fits.len() <= MAX_TOKEN_BYTES && fits.len() > MAX_TOKEN_BYTES - 8, "{}", fits.len());
    verify(&fits).unwrap();
    let long = padded((MAX_TOKEN_BYTES - overhead) / 4 * 3 + 9);
    assert!(long.len() > MAX_TOKEN_BYTES && long.len() < MAX_TOKEN_BYTES + 16);
    refused(&long, Reason::TokenTooLong);
    refused(&vec![b'.'; 60 * 1024], Reason::TokenTooLong);

    // The claims object itself is one level.
    let nested = |depth: usize| claims_text(&format!("\"deep\":{}1{}", "[".repeat(depth), "]".repeat(depth)));
    verify(&nested(31)).unwrap();
    refused(&nested(32), Reason::TokenJson);
    refused(&nested(5000), Reason::TokenJson);
    refused(&claims_text(&format!("\"deep\":{}", "[".repeat(5000))), Reason::TokenJson);
    refused(&header_text(&format!("\"deep\":{}1{}", "{\"a\":".repeat(200), "}".repeat(200))), Reason::TokenJson);
}

#[test]
fn rejects_ambiguous_json() {
    for twice in [
        r#""iss":"https://evil.example.com""#,
        r#""\u0069ss":"https://idp.example.com""#,
        r#""exp":9999999999"#,
        r#""e\u0078p":1"#,
        r#""aud":["https://api.example.com"]"#,
        r#""scope":"admin""#,
        r#""x":{"y":1,"y":1}"#,
        r#""x":"\ud800""#,
        r#""x":1e400"#,
        r#""x":NaN"#,
        r#""x":01"#,
    ] {
        refused(&claims_text(twice), Reason::TokenJson);
    }
    for twice in [r#""alg":"none""#, r#""al\u0067":"HS256""#, r#""kid":"p256""#, r#""typ":"at+jwt""#] {
        refused(&header_text(twice), Reason::TokenJson);
    }
    for claims in ["", "null", "[]", "\"iss\"", "{}{}", "\u{feff}{}", "{\"iss\":\"a\"", "{'iss':'a'}"] {
        refused(&sign_text(KEY, &header().to_string(), claims), Reason::TokenJson);
        refused(&sign_text(KEY, claims, &self::claims().to_string()), Reason::TokenJson);
    }
}

#[test]
fn rejects_unsupported_header_parameters() {
    let jwk = Signs::P256(9).jwk();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("jwk", jwk.clone()),
        ("jku", json!("https://evil.example.com/jwks")),
        ("x5u", json!("https://evil.example.com/cert")),
        ("x5c", json!(["MIIB"])),
    ] {
        refused(&headed(json!({ name: value })), Reason::TokenHeader);
        refused(&header_text(&format!("\"{name}\":null")), Reason::TokenHeader);
    }
    // A key inside the token does not verify it, even if it is the right key.
    let token = sign(Signs::P256(9), &with(header(), json!({ "jwk": jwk, "kid": null })), &claims());
    refused(&token, Reason::TokenHeader);
    verify(&headed(json!({ "x5t": "AAAA", "x5t#S256": "AAAA", "cty": "x", "anything": [1] }))).unwrap();

    let ignoring = compile(&json!({ "corp": {
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "jwks": { "keys": [with(KEY.jwk(), json!({ "kid": "p256" }))] } }, "ignore_header": ["jku", "x5c"],
    } }));
    let verify = |token: &[u8]| {
        ignoring
            .verify(token, at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new())
            .map(|_| ())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(verify(&headed(json!({ "jku": "https://evil.example.com", "x5c": ["MIIB"] }))), Ok(()));
    assert_eq!(verify(&headed(json!({ "x5u": "https://evil.example.com" }))), Err(Reason::TokenHeader));
    // An ignored header parameter is not used: the key is still the issuer's.
    let forged = sign(Signs::P256(9), &with(header(), json!({ "jku": "https://evil.example.com" })), &claims());
    assert_eq!(verify(&forged), Err(Reason::TokenSignature));
}

#[test]
fn rejects_algorithms_that_are_not_allowed() {
    for none in
        ["none", "None", "NONE", "nOnE", "none ", "", "HS256", "HS384", "HS512", "es256", "ES256K", "ES512", "Ed448"]
    {
        let token = String::from_utf8(headed(json!({ "alg": none }))).unwrap();
        refused(token.as_bytes(), Reason::TokenAlgorithm);
        let unsigned = &token[..=token.rfind('.').unwrap()];
        refused(unsigned.as_bytes(), Reason::TokenAlgorithm);
    }
    refused(&headed(json!({ "alg": null })), Reason::TokenAlgorithm);
    refused(&headed(json!({ "alg": ["ES256"] })), Reason::TokenAlgorithm);
    refused(&headed(json!({ "alg": 256 })), Reason::TokenAlgorithm);
    // The algorithm fits another key of the issuer, but not the named key.
    for alg in ["ES384", "RS256", "PS256", "EdDSA"] {
        refused(&headed(json!({ "alg": alg })), Reason::TokenAlgorithm);
    }
}

#[test]
fn rejects_a_public_key_used_as_an_hmac_secret() {
    let public = issuers();
    let jwk = Signs::Rsa.jwk();
    let modulus = unb64(&jwk["n"]);
    let spki = VerifyingKey::rsa(&modulus, &unb64(&jwk["e"])).unwrap().spki_der().unwrap().to_vec();
    for guess in [spki, jwk.to_string().into_bytes(), modulus] {
        let guess: &'static [u8] = guess.leak();
        for alg in ["HS256", "RS256"] {
            let token = sign(Signs::Secret(guess), &with(header(), json!({ "alg": alg, "kid": "rsa" })), &claims());
            let result = public
                .verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new())
                .map_err(|refusal| refusal.reason);
            let expected = if alg == "HS256" { Reason::TokenAlgorithm } else { Reason::TokenSignature };
            assert_eq!(result.unwrap_err(), expected);
        }
    }
}

fn unb64(text: &Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

#[test]
fn selects_the_key_by_its_exact_kid() {
    for kid in ["", "P256", "p256 ", "p256\u{0}", "../p256", "/dev/null", "' OR '1'='1", "p256,p384", "0"] {
        refused(&headed(json!({ "kid": kid })), Reason::TokenKey);
    }
    for kid in [json!(1), json!(["p256"]), json!({ "kid": "p256" }), json!(true)] {
        refused(&headed(json!({ "kid": kid })), Reason::TokenKey);
    }
    // The name of another key selects that key.
    refused(&headed(json!({ "kid": "p256-2" })), Reason::TokenSignature);
}

#[test]
fn requires_a_single_fitting_key_without_a_kid() {
    let no_kid = |key: Signs, alg: &str| sign(key, &json!({ "typ": "at+jwt", "alg": alg }), &claims());
    refused(&no_kid(KEY, "ES256"), Reason::TokenKey);
    verify(&no_kid(Signs::P384(1), "ES384")).unwrap();
    verify(&no_kid(Signs::Ed25519(1), "EdDSA")).unwrap();
    verify(&no_kid(Signs::Rsa, "PS256")).unwrap();
    refused(&sign_text(KEY, r#"{"typ":"at+jwt","alg":"ES256","kid":null}"#, &claims().to_string()), Reason::TokenKey);
}

#[test]
fn treats_one_key_with_two_kids_as_one_key() {
    let key = |kid: &str| with(KEY.jwk(), json!({ "kid": kid }));
    let issuers = |keys: Value| {
        compile(&json!({ "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "jwks": { "keys": keys } },
        } }))
    };
    let verify = |issuers: &Issuers, kid: Value| {
        let token = headed(json!({ "kid": kid }));
        let result = issuers.verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new());
        result.map(|_| ()).map_err(|refusal| refusal.reason)
    };
    let twice = issuers(json!([key("a"), key("b")]));
    for kid in [json!("a"), json!("b"), json!(null)] {
        assert_eq!(verify(&twice, kid.clone()), Ok(()), "{kid}");
    }
    assert_eq!(verify(&twice, json!("c")), Err(Reason::TokenKey));
    // Without `kid`, a second, different key makes the choice ambiguous.
    let other = with(Signs::P256(2).jwk(), json!({ "kid": "c" }));
    let three = issuers(json!([key("a"), key("b"), other]));
    assert_eq!(verify(&three, json!(null)), Err(Reason::TokenKey));
    assert_eq!(verify(&three, json!("c")), Err(Reason::TokenSignature));
}

#[test]
fn ignores_an_encryption_key_with_the_same_kid() {
    let encryption = with(Signs::Rsa.jwk(), json!({ "kid": "p256", "use": "enc", "alg": "RSA-OAEP" }));
    let (issuers, findings) = compile_with(
        &json!({ "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256", "RS256"], "max_lifetime": "1h",
            "keys": { "jwks": { "keys": [
                encryption, with(KEY.jwk(), json!({ "kid": "p256", "use": "sig" })), with(Signs::Rsa.jwk(), json!({ "kid": "rsa" })),
            ] } },
        } }),
        &not_needed,
    );
    assert_eq!(findings.errors, []);
    let verify = |token: &[u8]| {
        issuers
            .verify(token, at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new())
            .map(|_| ())
            .map_err(|fault| fault.reason)
    };
    assert_eq!(verify(&headed(json!({}))), Ok(()));
    // The encryption key verifies nothing, although it has the same `kid`.
    let with_its_key = sign(Signs::Rsa, &with(header(), json!({ "alg": "RS256" })), &claims());
    assert_eq!(verify(&with_its_key), Err(Reason::TokenAlgorithm));
}

#[test]
fn rejects_signatures_from_other_keys_or_tokens() {
    refused(&sign(Signs::P256(3), &header(), &claims()), Reason::TokenSignature);
    refused(&sign(Signs::P256(2), &header(), &claims()), Reason::TokenSignature);
    verify(&sign(Signs::P256(2), &with(header(), json!({ "kid": "p256-2" })), &claims())).unwrap();
    // Header and claims of two tokens cannot be combined, and another signature by the same key does not match.
    let split =
        |token: Vec<u8>| -> Vec<String> { String::from_utf8(token).unwrap().split('.').map(str::to_owned).collect() };
    let (a, b) = (split(claiming(json!({}))), split(claiming(json!({ "sub": "admin" }))));
    refused(format!("{}.{}.{}", a[0], b[1], a[2]).as_bytes(), Reason::TokenSignature);
    refused(format!("{}.{}.{}", a[0], a[1], b[2]).as_bytes(), Reason::TokenSignature);
    refused(
        format!("{}.{}.{}", b64(with(header(), json!({ "x": 1 })).to_string()), a[1], a[2]).as_bytes(),
        Reason::TokenSignature,
    );
    // Forms of a signature that other verifiers accept: DER, zeros, too long, too short.
    let raw = unb64(&json!(a[2]));
    let der = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
    let zero = [0; 32];
    for signature in [
        der.as_bytes(),
        &[&zero, &raw[32..]].concat(),
        &[&raw[..32], &zero].concat(),
        &[0; 64],
        &[0xff; 64],
        &[&raw[..], &[0]].concat(),
        &[&[0], &raw[..]].concat(),
        &raw[..63],
        &[],
    ] {
        refused(format!("{}.{}.{}", a[0], a[1], b64(signature)).as_bytes(), Reason::TokenSignature);
    }
}

#[test]
fn caches_a_verified_token_and_rechecks_its_time() {
    let issuers = issuers();
    let mut cache = TokenCache::default();
    let counting = Counting::default();
    let token = claiming(json!({ "nbf": NOW - 10 }));
    let mut verify = |token: &[u8], offset: i64| {
        let result = issuers
            .verify(token, at(offset), &counting, &mut cache, &FetchedKeys::new())
            .map(|_| ())
            .map_err(|refusal| refusal.reason);
        (result, counting.0.get(), cache.len())
    };
    assert_eq!(verify(&token, 0), (Ok(()), 1, 1));
    assert_eq!(verify(&token, 359), (Ok(()), 1, 1));
    // A clock that steps back makes the token not yet valid, but the token stays in the cache.
    assert_eq!(verify(&token, -71), (Err(Reason::TokenNotYetValid), 1, 1));
    assert_eq!(verify(&token, -121), (Err(Reason::TokenTime), 1, 1));
    assert_eq!(verify(&token, 0), (Ok(()), 1, 1));
    // A token that differs in one byte of its signature is a different token.
    let mut other = token.clone();
    let at = other.len() - 40;
    other[at] = if other[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(verify(&other, 0), (Err(Reason::TokenSignature), 2, 1));
    assert_eq!(verify(&other, 0), (Err(Reason::TokenSignature), 3, 1));
    assert_eq!(verify(&token, 360), (Err(Reason::TokenExpired), 3, 0));
    assert_eq!(verify(&token, 360), (Err(Reason::TokenExpired), 3, 0));
    assert_eq!(verify(&token, 0), (Ok(()), 4, 1));
}

proptest! {
    #[test]
    fn rejects_any_altered_or_truncated_token(at in 0_usize..600, byte in any::<u8>(), cut in 0_usize..600) {
        let token = claiming(json!({}));
        let at = at % token.len();
        let mut changed = token.clone();
        changed[at] = byte;
        prop_assert_eq!(verify(&changed).is_ok(), changed == token);
        prop_assert!(verify(&token[..cut % token.len()]).is_err());
    }
}

#[test]
fn checks_the_auth_failure_limit_before_selecting_a_key() {
    let judge = |token: &[u8], admits| {
        let asking = Asking::new(admits);
        let result = issuers()
            .verify(token, at(0), &asking, &mut TokenCache::new(0), &FetchedKeys::new())
            .map_err(|refusal| refusal.reason);
        (result.map(drop), asking.asked.into_inner(), asking.unknown.get())
    };
    let good = "token of 87 bytes, corp Some(\"agent\") Some(\"user\")".to_owned();
    let token = claiming(json!({ "client_id": "agent", "sub": "user" }));
    assert_eq!(judge(&token, true), (Ok(()), vec![good.clone()], 0));
    assert_eq!(judge(&token, false), (Err(Reason::CredentialsLimited), vec![good.clone()], 0));
    let unknown = sign(KEY, &with(header(), json!({ "kid": "nobody" })), &with(claims(), json!({ "sub": "user" })));
    let (result, _, charged) = judge(&unknown, true);
    assert_eq!((result, charged), (Err(Reason::TokenKey), 1), "a key that nobody has is told");
    assert_eq!(judge(&unknown, false).0, Err(Reason::CredentialsLimited));
    // Rejecting a token for its form or header costs nothing.
    let (result, asked, charged) = judge(&headed(json!({ "typ": "JWT" })), false);
    assert_eq!((result, asked.len(), charged), (Err(Reason::TokenType), 0, 0));
}

#[test]
fn checks_the_auth_failure_limit_before_reading_long_tokens() {
    let asked = |token: &[u8]| {
        let asking = Asking::new(false);
        let refusal =
            issuers().verify(token, at(0), &asking, &mut TokenCache::new(0), &FetchedKeys::new()).unwrap_err();
        (refusal.reason, asking.asked.into_inner())
    };
    assert_eq!(asked(&[b'x'; 4_096]), (Reason::TokenMalformed, vec![]));
    assert_eq!(asked(&[b'x'; 4_097]), (Reason::CredentialsLimited, vec!["token of 0 bytes".to_owned()]));
    let long = claiming(json!({ "filler": "x".repeat(4_096) }));
    assert_eq!(asked(&long), (Reason::CredentialsLimited, vec!["token of 87 bytes".to_owned()]));
}

#[test]
fn notes_the_signer_once_per_five_minutes_and_source() {
    let token = issuers()
        .verify(&claiming(json!({})), at(0), &SoftwareVerifier, &mut TokenCache::new(0), &FetchedKeys::new())
        .unwrap();
    let source = |text: &str| crate::request::incoming::Source::parse(text.as_bytes());
    let (here, there) = (source("192.0.2.1"), source("192.0.2.2"));
    assert!(token.is_to_be_noted(here, at(0)) && !token.is_to_be_noted(here, at(299)));
    assert!(token.is_to_be_noted(here, at(300)) && !token.is_to_be_noted(here, at(599)));
    assert!(token.is_to_be_noted(there, at(300)) && token.is_to_be_noted(None, at(300)));
    assert!(token.is_to_be_noted(None, at(299)), "the clock was ahead");
}

#[path = "claims_tests.rs"]
mod claim;
