//! Project Wycheproof's signatures, with every encoding of the key that a group has.

use anyhow::{Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::conformance::{Case, Key, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::engines::Engines;
use super::parse;
use super::report::{Checked, Outcome};

const TRUNCATED: &str = "truncated tags are not used in HTTP signatures";
const SHORT: &str = "a secret under 32 bytes is not accepted as a key";
const EXPONENT: &str = "an RSA key with an exponent other than 65537 is not accepted";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    algorithm: String,
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    public_key: Value,
    public_key_pem: Option<String>,
    #[serde(alias = "keyJwk")]
    public_key_jwk: Option<Map<String, Value>>,
    key_size: Option<u64>,
    tag_size: Option<u64>,
    tests: Vec<Test>,
}

impl Group {
    fn of_key(&self, member: &str) -> Option<&str> {
        self.public_key.get(member)?.as_str()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u64,
    comment: String,
    key: Option<String>,
    msg: String,
    #[serde(alias = "tag")]
    sig: String,
    result: String,
}

pub(super) fn run(text: &str, engines: &mut Engines) -> Result<Vec<Checked>> {
    let File { algorithm, number_of_tests, test_groups } = parse(text)?;
    let mut checked = Vec::new();
    for group in &test_groups {
        let algorithm = jose_name(&algorithm, group)?;
        for test in &group.tests {
            let outcomes: Vec<_> = keys(group, test)?
                .into_iter()
                .map(|key| check(group, test, key, algorithm, engines))
                .collect::<Result<_>>()?;
            let worst = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Failed(_))).or(outcomes.first());
            let Some(outcome) = worst else { bail!("test {} has no key", test.tc_id) };
            checked.push(Checked::new(format!("{} {}", test.tc_id, test.comment), outcome.clone()));
        }
    }
    ensure!(checked.len() == number_of_tests, "the file has {} tests and states {number_of_tests}", checked.len());
    Ok(checked)
}

fn jose_name(algorithm: &str, group: &Group) -> Result<&'static str> {
    Ok(match (algorithm, group.of_key("curve")) {
        ("EDDSA", Some("edwards25519")) => "Ed25519",
        ("ECDSA", Some("secp256r1")) => "ES256",
        ("ECDSA", Some("secp384r1")) => "ES384",
        ("HMACSHA256", _) => "HS256",
        ("RSASSA-PSS", _) => "PS512",
        ("RSASSA-PKCS1-v1_5", _) => "RS256",
        (other, curve) => bail!("unknown algorithm {other} with {curve:?}"),
    })
}

fn keys(group: &Group, test: &Test) -> Result<Vec<Key>> {
    let pem = group.public_key_pem.iter().cloned().map(Key::Pem);
    let jwk = group.public_key_jwk.iter().cloned().map(Key::Jwk);
    let secret = test.key.iter().map(|key| Ok(Key::Secret(base64(key)?)));
    pem.chain(jwk).map(Ok).chain(secret).collect()
}

fn check(group: &Group, test: &Test, key: Key, algorithm: &str, engines: &mut Engines) -> Result<Outcome> {
    let case = Case::Verify {
        key,
        algorithm: algorithm.to_owned(),
        message: base64(&test.msg)?,
        signature: base64(&test.sig)?,
    };
    let unfit = if group.key_size.is_some_and(|bits| bits < 256) && test.key.is_some() {
        Some(SHORT)
    } else {
        (group.of_key("publicExponent") == Some("03")).then_some(EXPONENT)
    };
    let truncated = group.tag_size.is_some_and(|bits| bits < 256);
    Ok(engines.check(&case, |verdict| match (verdict, test.result.as_str()) {
        (Verdict::Refused(why), _) if why.starts_with("key: ") => unfit.map(Outcome::Refused),
        (Verdict::Refused(_), "valid") => truncated.then_some(Outcome::Refused(TRUNCATED)),
        // Signatures that are only acceptable must be rejected.
        (Verdict::Refused(_), "invalid" | "acceptable") => Some(Outcome::Passed),
        (Verdict::Accepted(_), "valid") => (unfit.is_none() && !truncated).then_some(Outcome::Passed),
        _ => None,
    }))
}

fn base64(hex: &str) -> Result<String> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()
        .unwrap_or_default();
    ensure!(digits.len() == hex.len() && digits.len().is_multiple_of(2), "`{hex}` is not hexadecimal");
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    Ok(STANDARD.encode(bytes))
}
