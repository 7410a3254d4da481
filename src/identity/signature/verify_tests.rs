//! Tests of the choice of a request's signature and of its requirements, and tests that everything else is rejected.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::Signer as _;
use serde_json::json;

use super::*;
use crate::identity::crypto::testing::Asking;
use crate::identity::crypto::{Algorithm, SoftwareVerifier, VerifyingKey};
use crate::identity::signature::base;
use crate::identity::signature::{FieldKind, StructuredFields, accept_signature};
use crate::policy::Policy;
use crate::testing;

const NOW: u64 = 1_800_000_000;
const SEED: [u8; 32] = [7; 32];

/// Returns the secret of a variable: the variable's name, repeated.
fn secret(name: &str) -> Vec<u8> {
    name.repeat(32).into_bytes()
}

fn ed25519() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&SEED)
}

fn thumbprint() -> String {
    VerifyingKey::ed25519(ed25519().verifying_key().as_bytes()).unwrap().thumbprint().unwrap().to_string()
}

/// Agents `a` and `b` have secrets with these names. `a` also has an Ed25519 key, and `b` has one expired and one future key.
fn policy() -> Policy {
    let public = URL_SAFE_NO_PAD.encode(ed25519().verifying_key().as_bytes());
    let policy = testing::document(json!({
        "agents": {
            "a": { "owner": "a@example.com", "signing_keys": [
                { "secret": { "env": "A" }, "keyid": "a" },
                { "jwk": { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": public } },
            ] },
            "b": { "owner": "b@example.com", "signing_keys": [
                { "secret": { "env": "B" }, "keyid": "b" },
                { "secret": { "env": "OLD" }, "keyid": "old", "not_after": "2027-01-15T08:00:00Z" },
                { "secret": { "env": "NEW" }, "keyid": "new", "not_before": "2027-01-15T08:00:01Z" },
            ] },
        },
        "endpoints": [
            { "id": "x", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": "none", "authenticate": "signature", "replay": false },
        ],
    }));
    testing::compile(policy, &testing::own_name)
}

fn own() -> Profile {
    Profile { tag: None, max_age: 60, clock_ahead: 5, nonce: false, cover: Vec::new(), web_bot_auth: None }
}

fn web_bot_auth(agent: SignatureAgent) -> Profile {
    Profile { tag: Some(WEB_BOT_AUTH.into()), max_age: 86_400, web_bot_auth: Some(agent), ..own() }
}

fn message<'m>(headers: &'m Headers, structured: &'m StructuredFields) -> Message<'m> {
    Message { method: b"GET", scheme: "https", authority: "api.example.com", target: b"/x?y=1", headers, structured }
}

/// A label, the signature's components and parameters, and the name of the secret. An empty name means the Ed25519 key.
type Made<'t> = (&'t str, &'t str, &'t str);

/// Builds a request with these signatures.
fn signed(others: &[(&str, &str)], signatures: &[Made<'_>]) -> Headers {
    let structured = StructuredFields::default();
    let mut lines: Vec<(String, String)> =
        others.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut made = Vec::new();
    for (label, input, name) in signatures {
        let input = format!("{label}={input}");
        let placeholder = format!("{label}=:AA==:");
        let read = read(input.as_bytes(), placeholder.as_bytes()).unwrap();
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        let base = base(&message(&headers, &structured), &read[0].input).unwrap();
        let signature = match *name {
            "" => ed25519().sign(base.as_bytes()).to_bytes().to_vec(),
            name => hmac_sha256::HMAC::mac(base.as_bytes(), secret(name)).to_vec(),
        };
        made.push(("Signature-Input".to_owned(), input.clone()));
        made.push(("Signature".to_owned(), format!("{label}=:{}:", STANDARD.encode(signature))));
    }
    lines.extend(made);
    lines.iter().map(|(name, value)| (name, value)).collect()
}

/// The result for a request: the key's name, the value that identifies a replay, whether it covers the digest, and the missing coverage.
type Verdict = Result<(String, ReplayId, bool, Option<MissingCoverage>), Reason>;

struct Test<'t> {
    profile: Profile,
    cover: &'t [&'t str],
    further: &'t [&'t str],
    now: Timestamp,
}

impl Default for Test<'_> {
    fn default() -> Self {
        Self { profile: own(), cover: &["@method"], further: &[], now: Timestamp::from_secs(NOW) }
    }
}

impl Test<'_> {
    fn judge(&self, headers: &Headers) -> Verdict {
        self.judge_with(headers, &SoftwareVerifier)
    }

    fn judge_with(&self, headers: &Headers, verifier: &dyn VerifySignature) -> Verdict {
        let policy = policy();
        let (mut coverage, mut further) = (Coverage::default(), Coverage::default());
        self.cover.iter().for_each(|name| coverage.ask(name));
        self.further.iter().for_each(|name| further.ask(name));
        if let Some(agent) = self.profile.web_bot_auth {
            coverage.ask_agent(agent);
        }
        let asked = Asked {
            name: if self.profile.web_bot_auth.is_some() { ProfileName::WebBotAuth } else { ProfileName::Own },
            profile: &self.profile,
            keys: &policy.signing_keys,
            coverage: &coverage,
            further: &further,
            now: self.now,
        };
        let structured = StructuredFields::default();
        let verified = asked.verify(&message(headers, &structured), &SignatureFields::of(headers).read(), verifier)?;
        assert!(verified.profile == asked.name && verified.created.as_secs() <= verified.until.as_secs());
        Ok((verified.key.keyid.to_string(), verified.once, verified.covers_digest, verified.lacks))
    }

    fn key(&self, signatures: &[Made<'_>]) -> Result<String, Reason> {
        self.judge(&signed(&[], signatures)).map(|(key, ..)| key)
    }
}

fn key(input: &str, name: &str) -> Result<String, Reason> {
    Test::default().key(&[("sig", input, name)])
}

/// A verifier that accepts every signature, for tests in which it must not be called.
struct MustNotBeAsked;

impl VerifySignature for MustNotBeAsked {
    fn verify(&self, _: &VerifyingKey, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        panic!("nothing is to be computed")
    }
}

#[test]
fn accepts_valid_hmac_and_ed25519_signatures() {
    assert_eq!(key("(\"@method\");created=1800000000;keyid=\"a\"", "A").unwrap(), "a");
    assert_eq!(key("(\"@method\");created=1800000000;keyid=\"ed\"", "").unwrap(), "ed");
    assert_eq!(key("(\"@method\");created=1800000000;keyid=\"ed\";alg=\"ed25519\";unknown", "").unwrap(), "ed");
}

#[test]
fn rejects_any_change_to_a_signed_request() {
    let input = "(\"@method\" \"x\" \"@query-param\";name=\"y\");created=1800000000;keyid=\"a\"";
    let good = signed(&[("x", "1")], &[("sig", input, "A")]);
    let test = Test::default();
    assert!(test.judge(&good).is_ok());
    let changed = |from: &str, to: &str| -> Headers {
        good.iter()
            .map(|(name, value)| (name, std::str::from_utf8(value).unwrap().replacen(from, to, 1).into_bytes()))
            .collect()
    };
    for (from, to, reason) in [
        ("1800000000", "1800000001", Reason::SignatureFailed),
        ("keyid=\"a\"", "keyid=\"b\"", Reason::SignatureFailed),
        ("keyid=\"a\"", "keyid=\"a\";x", Reason::SignatureFailed),
        ("\"@method\" \"x\"", "\"x\" \"@method\"", Reason::SignatureFailed),
        ("\"@method\" \"x\"", "\"@method\"", Reason::SignatureFailed),
        ("sig=:", "sig=:AAAA", Reason::SignatureFailed),
        ("name=\"y\"", "name=\"z\"", Reason::SignatureComponent),
        ("\"x\"", "\"z\"", Reason::SignatureComponent),
    ] {
        assert_eq!(test.judge(&changed(from, to)).unwrap_err(), reason, "{from} {to}");
    }
    let other_value = good.iter().map(|(name, value)| (name, if name == b"x" { &b"2"[..] } else { value })).collect();
    assert_eq!(test.judge(&other_value).unwrap_err(), Reason::SignatureFailed);
    let second = good.iter().chain([(&b"x"[..], &b"1"[..])]).collect();
    assert_eq!(test.judge(&second).unwrap_err(), Reason::SignatureFailed);
    // The label is not signed and has no meaning.
    assert!(test.judge(&changed("sig=", "other=")).is_ok());
}

#[test]
fn requires_both_signature_fields() {
    let test = Test::default();
    let lines = |lines: &[(&str, &str)]| lines.iter().copied().collect::<Headers>();
    assert_eq!(test.judge(&lines(&[])).unwrap_err(), Reason::SignatureMissing);
    assert_eq!(
        test.judge(&lines(&[("signature", ""), ("signature-input", "")])).unwrap_err(),
        Reason::SignatureMissing
    );
    for wrong in [
        &[("signature", "a=:AA==:")][..],
        &[("signature-input", "a=()")],
        &[("signature", "a=:AA==:"), ("signature-input", "b=()")],
        &[("signature", "a=:AA==:"), ("signature-input", "a=()"), ("signature-input", "")],
        &[("signature", "x"), ("signature-input", "x")],
    ] {
        assert!(is_signed(&lines(wrong)));
        assert_eq!(test.judge(&lines(wrong)).unwrap_err(), Reason::SignatureMalformed, "{wrong:?}");
    }
    assert!(!is_signed(&lines(&[("signature-agent", "x"), ("x-signature", "y")])));
    assert!(is_signed(&lines(&[("SIGNATURE", "")])));
}

#[test]
fn selects_the_only_signature_that_matches() {
    let good = ("sig", "(\"@method\");created=1800000000;keyid=\"a\"", "A");
    let test = Test::default();
    // Signatures with an unknown key, with another tag, and with neither `keyid` nor tag.
    for other in [
        ("x", "(\"@method\");created=1800000000;keyid=\"unknown\"", "X"),
        ("x", "(\"@method\");created=1800000000;keyid=\"b\";tag=\"other\"", "B"),
        ("x", "();created=1", "X"),
        ("x", "()", "X"),
    ] {
        assert_eq!(test.key(&[good, other]).as_deref(), Ok("a"), "{other:?}");
        assert_eq!(test.key(&[other, good]).as_deref(), Ok("a"), "{other:?}");
    }
    // Two signatures match, whether or not they verify.
    for other in [
        ("x", "(\"@method\");created=1800000000;keyid=\"b\"", "B"),
        ("x", "(\"@method\");created=1800000000;keyid=\"a\"", "A"),
        ("x", "();created=1;keyid=\"ed\"", "X"),
    ] {
        assert_eq!(test.key(&[good, other]), Err(Reason::SignatureAmbiguous), "{other:?}");
    }
}

#[test]
fn rejects_an_unknown_or_missing_keyid() {
    assert_eq!(key("(\"@method\");created=1800000000;keyid=\"unknown\"", "A"), Err(Reason::SignatureKey));
    assert_eq!(key("(\"@method\");created=1800000000;keyid=\"A\"", "A"), Err(Reason::SignatureKey));
    assert_eq!(key("(\"@method\");created=1800000000;keyid=\"\"", "A"), Err(Reason::SignatureKey));
    assert_eq!(key("(\"@method\");created=1800000000", "A"), Err(Reason::SignatureParameters));
    // The policy names the key by another `keyid` than its thumbprint.
    let input = format!("(\"@method\");created=1800000000;keyid=\"{}\"", thumbprint());
    assert_eq!(key(&input, ""), Err(Reason::SignatureKey));
}

#[test]
fn requires_the_tag_of_the_profile() {
    let tagged = Test { profile: Profile { tag: Some("mine".into()), ..own() }, ..Test::default() };
    let with = |tag: &str| format!("(\"@method\");created=1800000000;keyid=\"a\"{tag}");
    for (tag, of_tagged, of_untagged) in [
        (";tag=\"mine\"", Ok("a".to_owned()), Err(Reason::SignatureMissing)),
        (";tag=\"other\"", Err(Reason::SignatureMissing), Err(Reason::SignatureMissing)),
        (";tag=\"\"", Err(Reason::SignatureMissing), Err(Reason::SignatureMissing)),
        (";tag=\"Mine\"", Err(Reason::SignatureMissing), Err(Reason::SignatureMissing)),
        ("", Err(Reason::SignatureMissing), Ok("a".to_owned())),
    ] {
        assert_eq!(tagged.key(&[("sig", &with(tag), "A")]), of_tagged, "{tag}");
        assert_eq!(key(&with(tag), "A"), of_untagged, "{tag}");
    }
    let both = [("x", &*with(";tag=\"mine\""), "A"), ("y", &*with(""), "A")];
    assert_eq!(tagged.key(&both).unwrap(), "a");
}

#[test]
fn requires_the_algorithm_of_the_key() {
    for (alg, keyid, name, reason) in [
        ("hmac-sha256", "a", "A", None),
        ("ed25519", "ed", "", None),
        ("ed25519", "a", "A", Some(Reason::SignatureAlgorithm)),
        ("hmac-sha256", "ed", "", Some(Reason::SignatureAlgorithm)),
        ("Ed25519", "ed", "", Some(Reason::SignatureAlgorithm)),
        ("EdDSA", "ed", "", Some(Reason::SignatureAlgorithm)),
        ("HS256", "a", "A", Some(Reason::SignatureAlgorithm)),
        ("none", "a", "A", Some(Reason::SignatureAlgorithm)),
        ("", "a", "A", Some(Reason::SignatureAlgorithm)),
    ] {
        let verdict = key(&format!("(\"@method\");created=1800000000;keyid=\"{keyid}\";alg=\"{alg}\""), name);
        assert_eq!(verdict.err(), reason, "{alg} {keyid}");
    }
    // The public key cannot be used as a secret, even if a signature claims HMAC.
    let public = ed25519().verifying_key().to_bytes();
    let good = signed(&[], &[("sig", "(\"@method\");created=1800000000;keyid=\"ed\"", "")]);
    let forged: Headers = good
        .iter()
        .map(|(name, value)| match name {
            b"Signature" => {
                let input = "\"@method\": GET\n\"@signature-params\": (\"@method\");created=1800000000;keyid=\"ed\"";
                (name, format!("sig=:{}:", STANDARD.encode(hmac_sha256::HMAC::mac(input, public))).into_bytes())
            }
            _ => (name, value.to_vec()),
        })
        .collect();
    assert_eq!(Test::default().judge(&forged).unwrap_err(), Reason::SignatureFailed);
}

#[test]
fn rejects_a_key_outside_its_validity_period() {
    let verdict = |name: &str, now: u64| {
        let input = format!("(\"@method\");created={now};keyid=\"{}\"", name.to_lowercase());
        Test { now: Timestamp::from_secs(now), ..Test::default() }.key(&[("sig", &input, name)]).err()
    };
    assert_eq!(verdict("OLD", NOW - 1), None);
    assert_eq!(verdict("OLD", NOW), Some(Reason::SignatureKeyTime));
    assert_eq!(verdict("NEW", NOW), Some(Reason::SignatureKeyTime));
    assert_eq!(verdict("NEW", NOW + 1), None);
}

#[test]
fn enforces_the_validity_window_to_the_nanosecond() {
    let created = i64::try_from(NOW).unwrap();
    let verdict = |parameters: &str, now: Timestamp| {
        let input = format!("(\"@method\");{parameters};keyid=\"a\"");
        Test { now, ..Test::default() }.key(&[("sig", &input, "A")]).err()
    };
    let at = |offset: i64, nanos: u64| {
        let seconds = created.checked_add(offset).unwrap();
        Timestamp::from_nanos(u64::try_from(seconds).unwrap() * 1_000_000_000 + nanos)
    };
    let alone = format!("created={created}");
    for (now, reason) in [
        (at(0, 0), None),
        (at(59, 999_999_999), None),
        (at(60, 0), Some(Reason::SignatureExpired)),
        (at(3_600, 0), Some(Reason::SignatureExpired)),
        (at(-5, 0), None),
        (at(-6, 999_999_999), Some(Reason::SignatureNotYetValid)),
        (Timestamp::from_secs(0), Some(Reason::SignatureNotYetValid)),
    ] {
        assert_eq!(verdict(&alone, now), reason, "{now:?}");
    }
    let until = |seconds: i64| format!("created={created};expires={}", created + seconds);
    for (expires, now, reason) in [
        (30, at(29, 999_999_999), None),
        (30, at(30, 0), Some(Reason::SignatureExpired)),
        // `expires` can shorten the time that the policy allows, but not extend it.
        (3_600, at(60, 0), Some(Reason::SignatureExpired)),
        (0, at(0, 0), Some(Reason::SignatureExpired)),
        (-1, at(0, 0), Some(Reason::SignatureExpired)),
    ] {
        assert_eq!(verdict(&until(expires), now), reason, "{expires} {now:?}");
    }
    for (parameters, reason) in [
        ("x=1", Reason::SignatureParameters),
        ("expires=1800000030", Reason::SignatureParameters),
        ("created=-1", Reason::SignatureParameters),
        ("created=1800000000;expires=-1", Reason::SignatureParameters),
        ("created=0", Reason::SignatureExpired),
        ("created=999999999999999", Reason::SignatureNotYetValid),
        ("created=1800000000000", Reason::SignatureNotYetValid),
    ] {
        assert_eq!(verdict(parameters, at(0, 0)), Some(reason), "{parameters}");
    }
    assert_eq!(verdict("created=1800000000;expires=999999999999999", at(0, 0)), None);
}

#[test]
fn requires_a_nonce_if_the_profile_does() {
    let asks = Test { profile: Profile { nonce: true, ..own() }, ..Test::default() };
    let input = "(\"@method\");created=1800000000;keyid=\"a\"";
    assert_eq!(asks.key(&[("sig", input, "A")]), Err(Reason::SignatureParameters));
    let with = format!("{input};nonce=\"n-1\"");
    let headers = signed(&[], &[("sig", &with, "A")]);
    assert_eq!(asks.judge(&headers).unwrap().1, ReplayId::Nonce("n-1".into()));
    assert_eq!(Test::default().judge(&headers).unwrap().1, ReplayId::Nonce("n-1".into()));
}

#[test]
fn identifies_a_signature_without_a_nonce_by_its_base() {
    let once = |input: &str, label: &str, others: &[(&str, &str)]| {
        Test::default().judge(&signed(others, &[(label, input, "A")])).unwrap().1
    };
    let input = "(\"@method\");created=1800000000;keyid=\"a\"";
    let first = once(input, "sig", &[]);
    // The label and the unsigned parts do not change the identity of a signature.
    assert_eq!(first, once(input, "other", &[("x", "1")]));
    assert_ne!(first, once("(\"@method\");created=1800000001;keyid=\"a\"", "sig", &[]));
    assert_ne!(first, once("(\"@method\" \"@path\");created=1800000000;keyid=\"a\"", "sig", &[]));
    let base = "\"@method\": GET\n\"@signature-params\": (\"@method\");created=1800000000;keyid=\"a\"";
    assert_eq!(first, ReplayId::Base(hmac_sha256::Hash::hash(base.as_bytes())));
}

/// Returns what is missing from a signature over these components.
fn missing(covered: &str, asked: &[&str]) -> Option<String> {
    let input = format!("sig=({covered})");
    let signed = read(input.as_bytes(), b"sig=:AA==:").unwrap();
    let mut coverage = Coverage::default();
    asked.iter().for_each(|name| coverage.ask(name));
    coverage.missing(&signed[0].input).map(str::to_owned)
}

#[test]
fn one_component_can_cover_others() {
    let all = &["@scheme", "@authority", "@path", "@query", "@request-target", "@target-uri"];
    assert_eq!(missing("\"@target-uri\"", all), None);
    assert_eq!(missing("\"@scheme\" \"@authority\" \"@path\" \"@query\"", all), None);
    assert_eq!(missing("\"@scheme\" \"@authority\" \"@request-target\"", all), None);
    for (covered, asked, lacking) in [
        ("\"@request-target\"", &["@path", "@query"][..], None),
        ("\"@request-target\"", &["@authority"], Some("@authority")),
        ("\"@target-uri\"", &["@method"], Some("@method")),
        ("\"@path\"", &["@request-target"], Some("@request-target")),
        ("\"@path\" \"@query\"", &["@target-uri"], Some("@target-uri")),
        ("\"@authority\" \"@path\" \"@query\"", &["@target-uri"], Some("@target-uri")),
        ("\"@query-param\";name=\"a\"", &["@query"], Some("@query")),
        ("\"host\"", &["@authority"], Some("@authority")),
        ("\"@authority\"", &["host"], Some("host")),
        ("", &["@method"], Some("@method")),
        ("", &[], None),
        ("\"x\"", &["x", "y", "z"], Some("y")),
        ("\"x\";bs", &["x"], None),
        ("\"x\";sf", &["x"], None),
        ("\"x\";key=\"a\"", &["x"], Some("x")),
        ("\"x-y\"", &["x_y"], Some("x_y")),
    ] {
        assert_eq!(missing(covered, asked).as_deref(), lacking, "{covered}");
    }
}

#[test]
fn checks_coverage_before_verifying_the_signature() {
    let input = "(\"@method\" \"x\");created=1800000000;keyid=\"a\"";
    let headers = signed(&[("x", "1")], &[("sig", input, "A")]);
    let asks = |cover| Test { cover, ..Test::default() };
    assert!(asks(&["@method", "x"]).judge(&headers).is_ok());
    let thin = asks(&["@method", "x", "@path"]).judge_with(&headers, &MustNotBeAsked);
    assert_eq!(thin.unwrap_err(), Reason::SignatureCoverage);
    assert_eq!(asks(&[]).key(&[("sig", "();created=1800000000;keyid=\"a\"", "A")]).unwrap(), "a");
    for (input, reason) in [
        ("(\"@method\");created=1800000000;keyid=\"a\";alg=\"ed25519\"", Reason::SignatureAlgorithm),
        ("(\"@method\");created=1700000000;keyid=\"a\"", Reason::SignatureExpired),
        ("(\"@method\");keyid=\"a\"", Reason::SignatureParameters),
    ] {
        let headers = signed(&[], &[("sig", input, "A")]);
        assert_eq!(Test::default().judge_with(&headers, &MustNotBeAsked).unwrap_err(), reason);
    }
}

#[test]
fn reports_coverage_that_the_endpoint_misses_separately() {
    let input = "(\"@method\" \"content-digest\");created=1800000000;keyid=\"a\"";
    let headers = signed(&[("content-digest", "sha-256=:AAAA:")], &[("sig", input, "A")]);
    let lacks =
        |further| Test { further, ..Test::default() }.judge(&headers).map(|(.., digest, lacks)| (digest, lacks));
    assert_eq!(lacks(&["content-digest"]), Ok((true, None)));
    assert_eq!(lacks(&["content-digest", "content-type"]), Ok((true, Some(MissingCoverage::Component))));
    let bare = signed(&[], &[("sig", "(\"@method\");created=1800000000;keyid=\"a\"", "A")]);
    let test = Test { further: &["content-digest", "x"], ..Test::default() };
    assert_eq!(
        test.judge(&bare).map(|(.., digest, lacks)| (digest, lacks)),
        Ok((false, Some(MissingCoverage::Digest)))
    );
    // One member of the field is not the whole field.
    let member = "(\"@method\" \"content-digest\";key=\"sha-256\");created=1800000000;keyid=\"a\"";
    let headers = signed(&[("content-digest", "sha-256=:AAAA:")], &[("sig", member, "A")]);
    assert_eq!(
        test.judge(&headers).map(|(.., digest, lacks)| (digest, lacks)),
        Ok((false, Some(MissingCoverage::Digest)))
    );
}

#[test]
fn web_bot_auth_requires_thumbprint_and_signature_agent() {
    let member = Test { profile: web_bot_auth(SignatureAgent::Member), cover: &["@authority"], ..Test::default() };
    let legacy = Test { profile: web_bot_auth(SignatureAgent::Legacy), cover: &["@authority"], ..Test::default() };
    let parameters =
        |keyid: &str, rest: &str| format!(";created=1800000000;keyid=\"{keyid}\"{rest};tag=\"web-bot-auth\"");
    let good = parameters(&thumbprint(), ";expires=1800003600");
    let dictionary = ("signature-agent", "sig1=\"https://bot.example/jwks\", other=\"https://other.example\"");
    let bare = ("signature-agent", "\"https://bot.example\"");
    let judge = |test: &Test<'_>, agent: (&str, &str), components: &str, parameters: &str, name: &str| {
        let input = format!("({components}){parameters}");
        test.judge(&signed(&[agent], &[("sig1", &input, name)])).map(|(key, ..)| key)
    };
    let own = "\"@authority\" \"signature-agent\";key=\"sig1\"";
    assert_eq!(judge(&member, dictionary, own, &good, "").as_deref(), Ok("ed"));
    assert_eq!(judge(&legacy, dictionary, own, &good, "").as_deref(), Ok("ed"));
    assert_eq!(
        judge(&member, dictionary, "\"@target-uri\" \"signature-agent\";key=\"sig1\"", &good, "").as_deref(),
        Ok("ed")
    );
    // The covered member belongs to another signature, or there is none.
    for components in
        ["\"@authority\"", "\"@authority\" \"signature-agent\";key=\"other\"", "\"@authority\" \"signature-agent\""]
    {
        let verdict = judge(&member, dictionary, components, &good, "");
        assert_eq!(verdict, Err(Reason::SignatureCoverage), "{components}");
    }
    let whole = "\"@authority\" \"signature-agent\"";
    assert_eq!(judge(&member, bare, whole, &good, ""), Err(Reason::SignatureCoverage));
    assert_eq!(judge(&legacy, bare, whole, &good, "").as_deref(), Ok("ed"));
    assert_eq!(judge(&legacy, bare, "\"@authority\"", &good, ""), Err(Reason::SignatureCoverage));
    assert_eq!(
        judge(&member, dictionary, "\"signature-agent\";key=\"sig1\"", &good, ""),
        Err(Reason::SignatureCoverage)
    );
    // Web Bot Auth does not use `keyid` values of the policy, and secrets have no thumbprint.
    for (keyid, name) in [("ed", ""), ("a", "A")] {
        let verdict = judge(&member, dictionary, own, &parameters(keyid, ";expires=1800003600"), name);
        assert_eq!(verdict, Err(Reason::SignatureKey), "{keyid}");
    }
    for (rest, reason) in [("", Reason::SignatureParameters), (";expires=1800000000", Reason::SignatureExpired)] {
        let verdict = judge(&member, dictionary, own, &parameters(&thumbprint(), rest), "");
        assert_eq!(verdict, Err(reason), "{rest}");
    }
    let untagged = good.replace(";tag=\"web-bot-auth\"", "");
    assert_eq!(judge(&member, dictionary, own, &untagged, ""), Err(Reason::SignatureMissing));
    // A member with parameters is ignored, and so is a value that is not an `https` URI.
    for value in [
        "sig1=\"https://bot.example\";a",
        "sig1=\"http://bot.example\"",
        "sig1=\"https://\"",
        "sig1=\"https:///x\"",
        "sig1=1",
        "sig1",
        "sig1=https",
        "sig1=(\"https://bot.example\")",
    ] {
        let verdict = judge(&member, ("signature-agent", value), own, &good, "");
        assert_eq!(verdict, Err(Reason::SignatureCoverage), "{value}");
    }
    for value in ["\"https://bot.example\";a", "\"http://bot.example\""] {
        let verdict = judge(&legacy, ("signature-agent", value), whole, &good, "");
        assert_eq!(verdict, Err(Reason::SignatureCoverage), "{value}");
    }
    // A covered `Signature-Agent` must be present.
    let headers = signed(&[dictionary], &[("sig1", &format!("({own}){good}"), "")]);
    let stripped = headers.iter().filter(|(name, _)| *name != b"signature-agent").collect();
    assert_eq!(member.judge(&stripped).unwrap_err(), Reason::SignatureComponent);
}

#[test]
fn accept_signature_lists_the_required_components() {
    let mut coverage = Coverage::default();
    ["@method", "@authority", "content-digest", "@method"].into_iter().for_each(|name| coverage.ask(name));
    assert_eq!(
        accept_signature("sig", &coverage, false, None),
        "sig=(\"@method\" \"@authority\" \"content-digest\");created;keyid"
    );
    let asked = accept_signature("sig", &coverage, true, Some("a \"b\""));
    assert_eq!(asked, "sig=(\"@method\" \"@authority\" \"content-digest\");created;keyid;nonce;tag=\"a \\\"b\\\"\"");
    let mut more = Coverage::default();
    more.ask("@authority");
    more.ask_agent(SignatureAgent::Member);
    coverage.join(more);
    assert_eq!(
        accept_signature("sig", &coverage, false, None),
        "sig=(\"@method\" \"@authority\" \"content-digest\" \"signature-agent\";key=\"sig\");created;keyid;expires"
    );
    let mut legacy = Coverage::default();
    legacy.ask_agent(SignatureAgent::Legacy);
    assert_eq!(accept_signature("sig", &legacy, false, None), "sig=(\"signature-agent\");created;keyid;expires");
    assert_eq!(accept_signature("sig", &Coverage::default(), false, None), "sig=();created;keyid");
    assert_eq!(StructuredFields::default().kind("accept-signature"), Some(FieldKind::Dictionary));
}

#[test]
fn checks_the_auth_failure_limit_before_building_the_base() {
    let judge = |input: &str, name: &str, admits| {
        let asking = Asking::new(admits);
        let reason = Test::default().judge_with(&signed(&[], &[("sig", input, name)]), &asking).map(drop);
        (reason, asking.asked.into_inner(), asking.unknown.get())
    };
    let good = "(\"@method\");created=1800000000;keyid=\"a\"";
    assert_eq!(judge(good, "A", true), (Ok(()), vec!["a".to_owned()], 0));
    assert_eq!(judge(good, "A", false), (Err(Reason::CredentialsLimited), vec!["a".to_owned()], 0));
    // The signature covers a field that the request does not have, but the request is rejected before that is detected.
    let lines = [
        ("signature-input", "sig=(\"@method\" \"x-absent\");created=1800000000;keyid=\"a\""),
        ("signature", "sig=:AA==:"),
    ];
    let absent = |admits| Test::default().judge_with(&lines.into_iter().collect(), &Asking::new(admits)).map(drop);
    assert_eq!(absent(true), Err(Reason::SignatureComponent));
    assert_eq!(absent(false), Err(Reason::CredentialsLimited));
    let unknown = "(\"@method\");created=1800000000;keyid=\"nobody\"";
    assert_eq!(judge(unknown, "A", false), (Err(Reason::CredentialsLimited), vec![String::new()], 0));
    assert_eq!(judge(unknown, "A", true), (Err(Reason::SignatureKey), vec![String::new()], 1));
}
