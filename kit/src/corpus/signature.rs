//! Signatures as cases describe them, and how requests are signed at a given time.

use std::collections::BTreeMap;
use std::sync::Arc;

use callgate::Headers;
use callgate::document::FieldType;
use callgate::identity::crypto::{Algorithm, PublicJwk};
use callgate::identity::signature::{FieldKind, Message, StructuredFields};
use callgate::text::time::Timestamp;
use serde_json::Value;

use super::call::Call;
use super::moment::{fill, fill_text};
use super::request::{Forged, Sign};
use super::token;
use crate::mint::SigningKey;
use crate::sign::{self, Covered, Digest, Input, content_digest, text_parameter};

/// How a request is signed, and how its signature is then changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Signing {
    pub(super) sign: Option<Recipe>,
    pub(super) cosign: Option<Recipe>,
    /// The token that replaces the request's token after signing.
    pub(super) other_token: Option<token::Recipe>,
    /// Replaces the first text in `Signature-Input` with the second.
    pub(super) other_input: Option<(String, String)>,
    pub(super) forged: Option<Forged>,
}

/// All inputs of a signature.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) written: Sign,
    pub(super) key: Arc<SigningKey>,
    pub(super) sign_with: Option<Arc<SigningKey>>,
    pub(super) digests: Vec<Digest>,
}

/// Signs a request.
pub(super) fn sign(call: &mut Call, signing: &Signing, now: Timestamp) {
    let recipes = || signing.sign.iter().chain(&signing.cosign);
    // The digest of an unspecified body is unknown.
    if let Some(recipe) = recipes().next().filter(|recipe| !call.body.is_empty() && !recipe.digests.is_empty()) {
        let value = content_digest(&call.whole_body(), &recipe.digests);
        call.lines.push((b"content-digest".to_vec(), value.into_bytes()));
    }
    let signed: Vec<_> = recipes().map(|recipe| recipe.lines(call, signing.forged, now)).collect();
    for (mut input, signature) in signed {
        if let Some((from, to)) = &signing.other_input {
            input = input.replace(from, to);
        }
        for (name, value) in [("signature-input", input), ("signature", signature)] {
            if !value.is_empty() {
                call.lines.push((name.as_bytes().to_vec(), value.into_bytes()));
            }
        }
    }
}

impl Recipe {
    /// Returns the values of `Signature-Input` and `Signature`.
    fn lines(&self, call: &Call, forged: Option<Forged>, now: Timestamp) -> (String, String) {
        let written = &self.written;
        let headers: Headers = call.all_lines().into_iter().collect();
        let scheme = written.scheme.as_deref().unwrap_or("https");
        let host = String::from_utf8_lossy(call.host.as_deref().unwrap_or_default()).to_lowercase();
        let port = if scheme == "https" { ":443" } else { ":80" };
        let authority = written.authority.as_deref().unwrap_or(host.strip_suffix(port).unwrap_or(&host));
        let structured = structured(&written.structured);
        let target = [written.prefix.as_bytes(), &call.target].concat();
        let message = Message {
            method: &call.method,
            scheme,
            authority,
            target: &target,
            headers: &headers,
            structured: &structured,
        };
        let input = Input {
            label: written.label.as_deref().unwrap_or("sig").to_owned(),
            components: self.components(call, &headers),
            parameters: self.parameters(now),
        };
        // An input that a verifier cannot parse, or that has no base, is signed as well: a test must not pass only because it was
        // unsigned.
        let base = input.base(&message).unwrap_or_else(|_| input.field());
        let key = self.sign_with.as_deref().unwrap_or(&self.key);
        let signature = forge(forged, key, base.as_bytes());
        let member = sign::signature_field(&input.label, &signature);
        let form = |form: &Option<String>, name: &str, value: &str| {
            form.as_deref().map_or_else(|| value.to_owned(), |form| form.replace(name, value))
        };
        (form(&written.input, "{input}", &input.field()), form(&written.signature, "{signature}", &member))
    }

    fn components(&self, call: &Call, headers: &Headers) -> Vec<String> {
        let Sign { cover, also, except, .. } = &self.written;
        let all = |names: &[String]| names.iter().map(|name| Covered::written(name)).collect::<Vec<_>>();
        let mut components = match cover {
            Some(cover) => all(cover),
            None => sign::usual(&call.target, headers, !call.body.is_empty()),
        };
        let except = all(except);
        components.retain(|component| !except.contains(component));
        components.extend(all(also));
        components
    }

    fn parameters(&self, now: Timestamp) -> Vec<String> {
        let Sign { created, expires, nonce, alg, keyid, tag, parameters, .. } = &self.written;
        if let Some(parameters) = parameters {
            let filled = |text: &String| String::from_utf8_lossy(&fill_text(text.as_bytes(), now)).into_owned();
            return parameters.iter().map(filled).collect();
        }
        let moment = |name: &str, text: &str| match fill(&Value::String(text.to_owned()), now) {
            Value::String(text) => format!("{name}={text}"),
            number => format!("{name}={number}"),
        };
        let own = || self.key.kid().map(str::to_owned).or_else(|| thumbprint(&self.key)).unwrap_or_default();
        let keyid = match keyid.as_deref() {
            None => own(),
            Some("thumbprint") => thumbprint(&self.key).unwrap_or_default(),
            Some(keyid) => keyid.to_owned(),
        };
        let nonce = nonce.as_ref().map(|nonce| String::from_utf8_lossy(&nonce.0).into_owned());
        let said = |text: &Option<String>| text.clone().filter(|text| text != "none");
        let moments = [("created", Some(created.as_deref().unwrap_or("now"))), ("expires", expires.as_deref())];
        let moments =
            moments.into_iter().filter_map(|(name, text)| Some(moment(name, text.filter(|text| *text != "none")?)));
        let texts = [("nonce", said(&nonce)), ("alg", said(alg)), ("keyid", said(&Some(keyid))), ("tag", said(tag))];
        let texts = texts.into_iter().filter_map(|(name, text)| Some(text_parameter(name, &text?)));
        moments.chain(texts).collect()
    }
}

/// Returns a key's thumbprint, or `None` for a secret.
fn thumbprint(key: &SigningKey) -> Option<String> {
    let jwk = key.public_jwk();
    Some(PublicJwk::read(jwk.as_object()?).ok()?.key.thumbprint()?.to_string())
}

fn structured(written: &BTreeMap<String, FieldType>) -> StructuredFields {
    StructuredFields::with(written.iter().map(|(name, kind)| (name.as_str().into(), FieldKind::from(*kind))))
}

/// Returns the signature with an attacker's change.
fn forge(forged: Option<Forged>, key: &SigningKey, base: &[u8]) -> Vec<u8> {
    let mut signature = key.signature(base);
    match forged {
        None => {}
        Some(Forged::Bit) => {
            // Flips a bit in the middle, because the first bits of an RSA signature must stay below the modulus.
            let middle = signature.len() / 2;
            if let Some(byte) = signature.get_mut(middle) {
                *byte ^= 1;
            }
        }
        Some(Forged::Longer) => signature.push(0),
        Some(Forged::Empty) => signature.clear(),
        Some(Forged::Zeros) => signature.fill(0),
        Some(Forged::Twin) => match key.algorithm() {
            Algorithm::Es256 => {
                if let Ok(own) = p256::ecdsa::Signature::from_slice(&signature) {
                    let (r, s) = own.split_scalars();
                    if let Ok(twin) = p256::ecdsa::Signature::from_scalars(*r, -*s) {
                        signature = twin.to_bytes().to_vec();
                    }
                }
            }
            Algorithm::Es384 => {
                if let Ok(own) = p384::ecdsa::Signature::from_slice(&signature) {
                    let (r, s) = own.split_scalars();
                    if let Ok(twin) = p384::ecdsa::Signature::from_scalars(*r, -*s) {
                        signature = twin.to_bytes().to_vec();
                    }
                }
            }
            // PSS uses a new salt for each signature; the other algorithms have no second form.
            _ => {}
        },
    }
    signature
}
