//! Tokens as cases describe them, and how they are minted for a given time.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::text::time::Timestamp;
use serde_json::{Map, Value, json};

use super::bytes::Bytes;
use super::format::TokenMutation;
use super::merge::merge;
use super::moment::{fill, fill_text};
use crate::mint::SigningKey;

const FORM: &str = "{header}.{claims}.{signature}";

/// All inputs of a token.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipe {
    pub(super) key: Option<Arc<SigningKey>>,
    pub(super) sign_with: Option<Arc<SigningKey>>,
    /// Merge patches to the key's header. They stay separate because one of them may remove a member that the key provides.
    pub(super) header: Vec<Map<String, Value>>,
    /// Merge patches to the default claims. A proof has default claims; a token has none.
    pub(super) claims: Vec<Map<String, Value>>,
    pub(super) raw_header: Option<Bytes>,
    pub(super) raw_claims: Option<Bytes>,
    pub(super) alter: Option<TokenMutation>,
    pub(super) form: Option<String>,
    pub(super) text: Option<Bytes>,
}

/// The request that a proof of possession is for (RFC 9449, section 4.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The unique id of the proof.
    pub(super) jti: &'a str,
    pub(super) method: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) target: &'a [u8],
    /// The token that is sent with the proof.
    pub(super) token: Option<&'a [u8]>,
}

impl Recipe {
    /// Returns the token as it is sent in a request.
    pub(super) fn mint(&self, now: Timestamp) -> Vec<u8> {
        let header = self.key.as_ref().map(|key| key.header());
        self.mint_from(header.unwrap_or_default(), Value::default(), now)
    }

    /// Returns the proof as it is sent in a request. It is valid unless the recipe changes it.
    pub(super) fn prove(&self, about: About<'_>, now: Timestamp) -> Vec<u8> {
        let mut header = self.key.as_ref().map(|key| key.header()).unwrap_or_default();
        let mut jwk = self.key.as_ref().map(|key| key.public_jwk()).unwrap_or_default();
        for object in [&mut header, &mut jwk] {
            // The key of a proof needs no id.
            object.as_object_mut().and_then(|object| object.remove("kid"));
        }
        jwk.as_object_mut().and_then(|jwk| jwk.remove("alg"));
        if let Value::Object(header) = &mut header {
            header.insert("typ".to_owned(), json!("dpop+jwt"));
            header.insert("jwk".to_owned(), jwk);
        }
        let path = about.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let text = String::from_utf8_lossy;
        let mut claims = json!({
            "jti": about.jti,
            "htm": text(about.method),
            "htu": format!("https://{}{}", text(about.host), text(path)),
            "iat": "now",
        });
        if let (Some(token), Value::Object(claims)) = (about.token, &mut claims) {
            claims.insert("ath".to_owned(), json!(encode(&hmac_sha256::Hash::hash(token))));
        }
        self.mint_from(header, claims, now)
    }

    fn mint_from(&self, header: Value, claims: Value, now: Timestamp) -> Vec<u8> {
        if let Some(text) = &self.text {
            return text.0.clone();
        }
        let (header, claims) = (patched(header, &self.header), patched(claims, &self.claims));
        let claims = fill(&Value::Object(claims), now);
        let header_bytes = match &self.raw_header {
            Some(raw) => fill_text(&raw.0, now),
            None => Value::Object(header.clone()).to_string().into_bytes(),
        };
        let claims_bytes = match &self.raw_claims {
            Some(raw) => fill_text(&raw.0, now),
            None => claims.to_string().into_bytes(),
        };
        let signed = match self.sign_with.as_ref().or(self.key.as_ref()) {
            Some(key) => key.sign_raw(&header_bytes, &claims_bytes),
            None => format!("{}.{}.", encode(&header_bytes), encode(&claims_bytes)),
        };
        let mut parts = signed.split('.').map(str::to_owned);
        let mut parts: [String; 3] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        if let Some(alter) = &self.alter {
            altered(alter, &mut parts, header, claims, now);
        }
        let [header, claims, signature] = parts;
        self.form
            .as_deref()
            .unwrap_or(FORM)
            .replace("{header}", &header)
            .replace("{claims}", &claims)
            .replace("{signature}", &signature)
            .into_bytes()
    }
}

fn patched(object: Value, patches: &[Map<String, Value>]) -> Map<String, Value> {
    let mut object = match object {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    patches.iter().for_each(|patch| merge(&mut object, patch));
    object
}

fn altered(
    alter: &TokenMutation,
    parts: &mut [String; 3],
    mut header: Map<String, Value>,
    claims: Value,
    now: Timestamp,
) {
    let [header_part, claims_part, signature] = parts;
    match alter {
        TokenMutation::Claims(patch) => {
            if let (Value::Object(mut claims), Value::Object(patch)) =
                (claims, fill(&Value::Object(patch.clone()), now))
            {
                merge(&mut claims, &patch);
                *claims_part = encode(Value::Object(claims).to_string().as_bytes());
            }
        }
        TokenMutation::Header(patch) => {
            merge(&mut header, patch);
            *header_part = encode(Value::Object(header).to_string().as_bytes());
        }
        TokenMutation::Signature => {
            // Flips a bit in the middle, because the first bits of an RSA signature must stay below the modulus.
            let mut bytes = URL_SAFE_NO_PAD.decode(&*signature).unwrap_or_default();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            *signature = encode(&bytes);
        }
        TokenMutation::TrailingBits => {
            // The encoder leaves the lowest bits of the last character at zero, so the next character in base64url's alphabet sets
            // unused bits.
            if let Some(last) = signature.pop() {
                signature.push(char::from_u32(u32::from(last) + 1).unwrap_or(last));
            }
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mint::Algorithm;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn recipe() -> Recipe {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k1");
        Recipe {
            key: Some(Arc::new(key)),
            header: vec![object(json!({ "typ": "at+jwt" })), object(json!({ "kid": null }))],
            claims: vec![object(json!({ "exp": "now+5m" }))],
            ..Recipe::default()
        }
    }

    fn parts(recipe: &Recipe) -> Vec<String> {
        String::from_utf8(recipe.mint(NOW)).unwrap().split('.').map(str::to_owned).collect()
    }

    fn json_of(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn patches_apply_to_the_defaults_of_the_key() {
        let parts = parts(&recipe());
        assert_eq!(json_of(&parts[0]), json!({ "alg": "ES256", "typ": "at+jwt" }));
        assert_eq!(json_of(&parts[1]), json!({ "exp": 1_000_300 }));
    }

    #[test]
    fn mutations_change_either_the_content_or_the_signature() {
        // ECDSA signatures are deterministic (RFC 6979), so tokens can be compared part by part.
        let plain = recipe();
        let before = parts(&plain);
        let altered = |alter| parts(&Recipe { alter: Some(alter), ..plain.clone() });

        let claims = altered(TokenMutation::Claims(object(json!({ "scope": "admin", "nbf": "now" }))));
        assert_eq!(json_of(&claims[1]), json!({ "exp": 1_000_300, "scope": "admin", "nbf": 1_000_000 }));
        assert_eq!((&claims[0], &claims[2]), (&before[0], &before[2]));

        let header = altered(TokenMutation::Header(object(json!({ "alg": "none" }))));
        assert_eq!(json_of(&header[0]), json!({ "alg": "none", "typ": "at+jwt" }));
        assert_eq!(header[1..], before[1..]);

        let signature = altered(TokenMutation::Signature);
        assert_eq!(signature[..2], before[..2]);
        assert_eq!(URL_SAFE_NO_PAD.decode(&signature[2]).unwrap().len(), 64);
        assert_ne!(signature[2], before[2]);

        let trailing = altered(TokenMutation::TrailingBits);
        assert_eq!(trailing[..2], before[..2]);
        assert!(URL_SAFE_NO_PAD.decode(&trailing[2]).is_err());
    }

    #[test]
    fn form_places_the_token_parts() {
        let form = |form: &str| Recipe { form: Some(form.to_owned()), ..recipe() };
        assert_eq!(parts(&form("{header}.{claims}")).len(), 2);
        assert_eq!(parts(&form("{header}.{claims}."))[2], "");
        assert_eq!(Recipe { text: Some("a.b".into()), ..recipe() }.mint(NOW), b"a.b");
    }

    #[test]
    fn a_proof_is_valid_except_for_its_patches() {
        let about =
            About { jti: "case", method: b"GET", host: b"api.example.com", target: b"/a?b", token: Some(b"a.b.c") };
        let proof = |recipe: Recipe| String::from_utf8(recipe.prove(about, NOW)).unwrap();
        let plain = Recipe { header: Vec::new(), claims: Vec::new(), ..recipe() };
        let good = proof(plain.clone());
        let parts: Vec<_> = good.split('.').map(json_of).take(2).collect();
        let mut jwk = plain.key.as_ref().unwrap().public_jwk();
        jwk.as_object_mut().unwrap().retain(|name, _| name != "kid" && name != "alg");
        assert_eq!(parts[0], json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": jwk }));
        assert_eq!(parts[1]["ath"], encode(&hmac_sha256::Hash::hash(b"a.b.c")));
        assert_eq!(parts[1]["htu"], "https://api.example.com/a");
        assert_eq!(
            (&parts[1]["htm"], &parts[1]["jti"], &parts[1]["iat"]),
            (&json!("GET"), &json!("case"), &json!(1_000_000))
        );
        let claims = vec![object(json!({ "ath": null, "htm": "POST" }))];
        let header = vec![object(json!({ "jwk": { "d": "x" } }))];
        let other = proof(Recipe { header, claims, ..plain });
        let parts: Vec<_> = other.split('.').map(json_of).take(2).collect();
        assert_eq!((&parts[0]["jwk"]["d"], parts[1].get("ath"), &parts[1]["htm"]), (&json!("x"), None, &json!("POST")));
    }

    #[test]
    fn a_token_without_a_key_has_an_empty_signature() {
        let unsigned = Recipe { key: None, header: vec![object(json!({ "alg": "none" }))], ..recipe() };
        assert_eq!(parts(&unsigned)[2], "");
    }
}
