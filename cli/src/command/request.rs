//! The request and key arguments of `callgate sign` and `callgate verify`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callgate::identity::crypto::Algorithm;
use clap::ValueEnum;
use serde_json::Value;

use super::Failure;
use callgate_kit::input::Input;
use callgate_kit::mint::SigningKey;
use callgate_kit::sign::Request;

/// A request.
#[derive(Debug, clap::Args)]
pub(super) struct RequestArguments {
    /// The URL that clients use
    #[arg(required_unless_present = "request")]
    pub(super) url: Option<String>,
    /// The method
    #[arg(long, short = 'X', default_value = "GET")]
    pub(super) method: String,
    /// A header line; can be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub(super) headers: Vec<(String, String)>,
    /// The access token: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, allow_hyphen_values = true)]
    pub(super) token: Option<Input>,
    /// The body, used unchanged: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, allow_hyphen_values = true)]
    pub(super) body: Option<Input>,
    /// The whole request as an HTTP/1.1 message: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, value_name = "MESSAGE", conflicts_with_all = ["url", "method", "headers", "token", "body"])]
    pub(super) request: Option<Input>,
    /// The scheme, host and path prefix that clients use, if they differ from the request's: `external_url` of the policy
    #[arg(long, value_name = "URL")]
    pub(super) external_url: Option<String>,
}

impl RequestArguments {
    /// Reads the request.
    pub(super) fn read(&self) -> Result<Request, Failure> {
        let trouble = |what: &str, why: String| Failure::Trouble(format!("{what}: {why}"));
        let mut request = match (&self.request, &self.url) {
            (Some(input), _) => {
                let message = input.bytes().map_err(|why| trouble("--request", why))?;
                Request::parse(&message, "https").map_err(|why| trouble(&input.to_string(), why))?
            }
            (None, Some(url)) => Request::new(&self.method, url).map_err(|why| trouble(url, why))?,
            // The argument definitions require one of the two.
            (None, None) => return Err(Failure::Trouble("arguments: no request; give a URL or --request".to_owned())),
        };
        for (name, value) in &self.headers {
            request.headers.push((name.clone(), value.clone().into_bytes()));
        }
        if let Some(token) = &self.token {
            let token = token.read().map_err(|why| trouble("--token", why))?;
            request.headers.insert(0, ("authorization".to_owned(), format!("Bearer {token}").into_bytes()));
        }
        if let Some(body) = &self.body {
            request.body = Some(body.bytes().map_err(|why| trouble("--body", why))?);
        }
        if let Some(url) = &self.external_url {
            request.seen_as(url).map_err(|why| trouble("--external-url", why))?;
        }
        Ok(request)
    }
}

/// A key.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArguments {
    /// The key, a JWK or PEM: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(super) key: Option<Input>,
    /// A secret for hmac-sha256 instead of a key: @FILE, - for standard input, env:NAME, or its text
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true, conflicts_with = "key")]
    pub(super) secret: Option<Input>,
    /// The encoding of the secret
    #[arg(long, value_enum, default_value_t = Encoding::Text, requires = "secret")]
    pub(super) secret_encoding: Encoding,
    /// The signature algorithm of an RSA key; other keys have only one
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm)]
    pub(super) algorithm: Option<Algorithm>,
}

/// The encoding of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Encoding {
    /// No encoding
    Text,
    /// Base64
    Base64,
    /// Base64url without padding
    Base64url,
    /// Hexadecimal digits
    Hex,
}

impl Encoding {
    /// Returns the secret's bytes, or `None` if the text is not in this encoding.
    pub(super) fn decode(self, text: String) -> Option<Vec<u8>> {
        match self {
            Self::Text => Some(text.into_bytes()),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64url => URL_SAFE_NO_PAD.decode(text).ok(),
            Self::Hex => {
                let pairs = text.as_bytes().chunks(2);
                let byte = |pair: &[u8]| match pair {
                    [high, low] => {
                        let digit = |byte: u8| char::from(byte).to_digit(16);
                        u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
                    }
                    _ => None,
                };
                pairs.map(byte).collect()
            }
        }
    }
}

/// The form in which a key was given.
pub(super) enum Given {
    /// A JWK.
    Jwk(Value),
    /// PEM.
    Pem(String),
    /// The bytes of a secret.
    Secret(Vec<u8>),
}

impl KeyArguments {
    /// Returns the key and its source, or `None` if no key was given.
    pub(super) fn given(&self) -> Result<Option<(Given, String)>, Failure> {
        if let Some(input) = &self.secret {
            let text = input.read().map_err(|why| Failure::Trouble(format!("--secret: {why}")))?;
            let secret = self.secret_encoding.decode(text).ok_or_else(|| {
                Failure::Trouble(format!("--secret: {input} is not in the encoding given by --secret-encoding"))
            })?;
            return Ok(Some((Given::Secret(secret), input.to_string())));
        }
        let Some(input) = &self.key else { return Ok(None) };
        let text = input.read().map_err(|why| Failure::Trouble(format!("--key: {why}")))?;
        let given = if text.contains("-----BEGIN ") {
            Given::Pem(text)
        } else {
            Given::Jwk(serde_json::from_str(&text).map_err(|_| {
                Failure::Trouble(format!(
                    "--key: {input} is neither a JWK nor PEM; give one of these, or a secret with --secret"
                ))
            })?)
        };
        Ok(Some((given, input.to_string())))
    }

    /// Returns the key as a signing key.
    pub(super) fn signing(&self) -> Result<SigningKey, Failure> {
        let Some((given, source)) = self.given()? else {
            return Err(Failure::Trouble(
                "arguments: no signing key; give one with --key, or a secret with --secret".to_owned(),
            ));
        };
        signing(&given, self.algorithm).map_err(|why| Failure::Trouble(format!("{source}: {why}")))
    }
}

/// Creates a signing key from the given form.
pub(super) fn signing(given: &Given, algorithm: Option<Algorithm>) -> Result<SigningKey, String> {
    let key = match given {
        Given::Pem(pem) => SigningKey::from_pem(pem, algorithm),
        Given::Secret(secret) => SigningKey::from_secret(secret, algorithm),
        Given::Jwk(jwk) => match (SigningKey::from_jwk(jwk), algorithm) {
            (Ok(_), None) if is_rsa(jwk) && jwk.get("alg").is_none() => {
                return Err("an RSA key has several algorithms; choose one with --algorithm: `rsa-pss-sha512` or \
                            `rsa-v1_5-sha256`"
                    .to_owned());
            }
            (Ok(key), Some(algorithm)) => key.with_algorithm(algorithm),
            (key, _) => key,
        },
    };
    let key = key.map_err(|error| error.to_string())?;
    match key.algorithm().http_name() {
        Some(_) => Ok(key),
        None => Err(format!(
            "`{}` cannot sign requests; choose another algorithm with --algorithm: `rsa-pss-sha512` or `rsa-v1_5-sha256`",
            key.algorithm().jose_name()
        )),
    }
}

fn is_rsa(jwk: &Value) -> bool {
    jwk.get("kty").and_then(Value::as_str) == Some("RSA")
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or("invalid header; expected `name: value`")?;
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    const NAMES: &str =
        "`ed25519`, `ecdsa-p256-sha256`, `ecdsa-p384-sha384`, `rsa-pss-sha512`, `rsa-v1_5-sha256` or `hmac-sha256`";
    Algorithm::from_http(name).ok_or_else(|| format!("unknown algorithm; expected {NAMES}"))
}
