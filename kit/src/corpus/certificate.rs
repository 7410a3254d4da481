//! Client certificates as cases describe them, and what a gateway reports about them.
//!
//! The gate does not verify a certificate's signature, because the gateway did. A fixed key and an empty signature are therefore enough, and
//! the same description always gives the same certificate.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::format::{Certificate, CertificateMutation};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
/// Ed25519 (RFC 8410, section 3).
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// A certificate that a client presents, as a gateway passes it to the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The text of the certificate.
    pub pem: Vec<u8>,
    /// The digest of the certificate, in hexadecimal digits unless the case describes another text.
    pub sha256: Vec<u8>,
    /// The digest in the form of `cnf`.
    thumbprint: String,
}

impl Presented {
    pub(super) fn new(written: &Certificate) -> Self {
        let der = written.der.as_ref().map_or_else(|| der(written), |der| der.0.clone());
        let hash = hmac_sha256::Hash::hash(&der);
        let own: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let pem = written.form.as_deref().unwrap_or("{pem}").replace("{pem}", &pem(&der));
        let pem = if written.percent_encoded { percent_encoded(&pem) } else { pem };
        Self {
            pem: pem.into_bytes(),
            sha256: written.digest.as_ref().map_or_else(|| own.into_bytes(), |digest| digest.0.clone()),
            thumbprint: URL_SAFE_NO_PAD.encode(hash),
        }
    }

    /// Returns what a token that is bound to the certificate contains (RFC 8705, section 3.1).
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }
}

fn der(written: &Certificate) -> Vec<u8> {
    let alter = written.alter;
    let algorithm = element(SEQUENCE, &[element(OBJECT_IDENTIFIER, &[ED25519.to_vec()])]);
    let nobody = element(SEQUENCE, &[]);
    let date = |text: &str| element(UTC_TIME, &[text.as_bytes().to_vec()]);
    let not_after = if alter == Some(CertificateMutation::Expired) { "260601000000Z" } else { "270101000000Z" };
    let version = if alter == Some(CertificateMutation::Version) { 0 } else { 2 };
    let signed = element(
        SEQUENCE,
        &[
            element(0xa0, &[element(INTEGER, &[vec![version]])]),
            element(INTEGER, &[vec![written.serial]]),
            algorithm.clone(),
            nobody.clone(),
            element(SEQUENCE, &[date("260101000000Z"), date(not_after)]),
            nobody,
            element(SEQUENCE, &[algorithm.clone(), element(BIT_STRING, &[[&[0][..], &[7; 32]].concat()])]),
            element(0xa3, &[element(SEQUENCE, &extensions(written))]),
        ],
    );
    let mut der = element(SEQUENCE, &[signed, algorithm, element(BIT_STRING, &[vec![0; 65]])]);
    match alter {
        Some(CertificateMutation::Cut) => {
            der.pop();
        }
        Some(CertificateMutation::Longer) => der.push(0),
        Some(CertificateMutation::Version | CertificateMutation::TwoExtensions | CertificateMutation::Expired)
        | None => {}
    }
    der
}

fn extensions(written: &Certificate) -> Vec<Vec<u8>> {
    let uris = written.uri.iter().map(|uri| element(0x86, std::slice::from_ref(&uri.0)));
    let dns = written.dns.iter().map(|name| element(0x82, std::slice::from_ref(&name.0)));
    let names: Vec<_> = uris.chain(dns).collect();
    let mut all = Vec::new();
    if written.ca {
        let constraints = element(SEQUENCE, &[element(BOOLEAN, &[vec![0xff]])]);
        all.push(extension(BASIC_CONSTRAINTS, constraints));
    }
    if written.alter == Some(CertificateMutation::TwoExtensions) {
        all.extend(names.iter().map(|name| extension(SUBJECT_ALT_NAME, element(SEQUENCE, std::slice::from_ref(name)))));
    } else if !names.is_empty() {
        all.push(extension(SUBJECT_ALT_NAME, element(SEQUENCE, &names)));
    }
    all
}

/// Returns a critical extension.
fn extension(id: &[u8], value: Vec<u8>) -> Vec<u8> {
    let id = element(OBJECT_IDENTIFIER, &[id.to_vec()]);
    element(SEQUENCE, &[id, element(BOOLEAN, &[vec![0xff]]), element(OCTET_STRING, &[value])])
}

/// Returns an element in DER (X.690, section 8.1).
fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let value = parts.concat();
    let bytes = value.len().to_be_bytes();
    let length = bytes.iter().position(|byte| *byte != 0).and_then(|first| bytes.get(first..)).unwrap_or(&[0]);
    let mut element = vec![tag];
    match length {
        [short @ ..=0x7f] => element.push(*short),
        long => {
            // At most eight bytes, so the sum fits.
            element.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            element.extend_from_slice(long);
        }
    }
    element.extend(value);
    element
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn percent_encoded(text: &str) -> String {
    let encode = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => character.to_string(),
        other => format!("%{:02X}", u32::from(other)),
    };
    text.chars().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use callgate::ClientCertificate;

    use super::*;

    fn presented(written: serde_json::Value) -> Presented {
        Presented::new(&serde_json::from_value(written).unwrap())
    }

    fn is_read(presented: &Presented) -> bool {
        ClientCertificate::new(&presented.pem, &presented.sha256).belongs_to(&presented.sha256)
    }

    #[test]
    fn the_engine_reads_described_certificates() {
        for good in [
            serde_json::json!({}),
            serde_json::json!({ "uri": ["spiffe://example.org/a", "urn:a:b"], "dns": ["a"], "ca": true, "serial": 7 }),
            serde_json::json!({ "uri": [{ "repeat": ["u", 9_000] }] }),
            serde_json::json!({ "uri": ["spiffe://example.org/a"], "percent_encoded": true }),
            serde_json::json!({ "uri": ["spiffe://example.org/a"], "alter": "expired" }),
        ] {
            assert!(is_read(&presented(good.clone())), "{good}");
        }
        for bad in [
            serde_json::json!({ "alter": "cut" }),
            serde_json::json!({ "alter": "longer" }),
            serde_json::json!({ "alter": "version" }),
            serde_json::json!({ "uri": ["urn:a:b", "urn:a:c"], "alter": "two_extensions" }),
            serde_json::json!({ "der": "x" }),
            serde_json::json!({ "form": "{pem}{pem}" }),
            serde_json::json!({ "digest": "00" }),
            serde_json::json!({ "uri": [{ "hex": "00" }] }),
        ] {
            assert!(!is_read(&presented(bad.clone())), "{bad}");
        }
    }

    #[test]
    fn the_same_description_gives_the_same_certificate() {
        let of = |serial: u8| presented(serde_json::json!({ "uri": ["spiffe://example.org/a"], "serial": serial }));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1).thumbprint(), of(2).thumbprint());
        assert_eq!(of(1).thumbprint().len(), 43);
    }
}
