//! Certificates for tests: with the names that a test chooses, and a signature that nobody verifies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ClientCertificate;

/// The contents of a certificate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Certificate<'t> {
    pub(crate) uris: &'t [&'t str],
    pub(crate) dns: &'t [&'t str],
    pub(crate) is_authority: bool,
    /// The first byte of the key usage. Without it, there is no such extension.
    pub(crate) key_usage: Option<u8>,
    /// The dates. Without them, the validity ends in 2049.
    pub(crate) dates: Option<&'t [Vec<u8>]>,
    /// Extensions in addition.
    pub(crate) extensions: &'t [Vec<u8>],
}

impl Certificate<'_> {
    /// Returns the certificate as a gateway passes it on.
    pub(crate) fn presented(&self) -> ClientCertificate {
        let der = self.der();
        ClientCertificate::new(pem(&der).as_bytes(), sha256_hex(&der).as_bytes())
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let algorithm = element(0x30, &[element(0x06, &[b"\x2b\x65\x70".to_vec()])]);
        let name = element(0x30, &[]);
        let usual = ["260101000000Z", "491231235959Z"].map(|date| element(0x17, &[date.as_bytes().to_vec()]));
        let key = [&[0][..], &[7; 32]].concat();
        let signed = element(
            0x30,
            &[
                element(0xa0, &[element(0x02, &[vec![2]])]),
                element(0x02, &[vec![1]]),
                algorithm.clone(),
                name.clone(),
                element(0x30, self.dates.unwrap_or(&usual)),
                name,
                element(0x30, &[algorithm.clone(), element(0x03, &[key])]),
                element(0xa3, &[element(0x30, &self.all_extensions())]),
            ],
        );
        element(0x30, &[signed, algorithm, element(0x03, &[vec![0; 65]])])
    }

    fn all_extensions(&self) -> Vec<Vec<u8>> {
        let uris = self.uris.iter().map(|uri| element(0x86, &[uri.as_bytes().to_vec()]));
        let dns = self.dns.iter().map(|name| element(0x82, &[name.as_bytes().to_vec()]));
        let names: Vec<_> = uris.chain(dns).collect();
        let mut all = Vec::new();
        if !names.is_empty() {
            all.push(extension(&[0x55, 0x1d, 0x11], &element(0x30, &names)));
        }
        if self.is_authority {
            all.push(extension(&[0x55, 0x1d, 0x13], &element(0x30, &[element(0x01, &[vec![0xff]])])));
        }
        if let Some(bits) = self.key_usage {
            all.push(extension(&[0x55, 0x1d, 0x0f], &element(0x03, &[vec![0, bits]])));
        }
        all.extend(self.extensions.iter().cloned());
        all
    }
}

/// Returns an extension, which is critical.
pub(crate) fn extension(id: &[u8], value: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x06, &[id.to_vec()]), element(0x01, &[vec![0xff]]), element(0x04, &[value.to_vec()])])
}

/// Returns an element in DER.
pub(crate) fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let value = parts.concat();
    let length = match u16::try_from(value.len()).unwrap() {
        short @ ..=0x7f => vec![short as u8],
        short @ ..=0xff => vec![0x81, short as u8],
        long => [&[0x82][..], &long.to_be_bytes()].concat(),
    };
    [vec![tag], length, value].concat()
}

pub(crate) fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

pub(crate) fn sha256_hex(der: &[u8]) -> String {
    hmac_sha256::Hash::hash(der).iter().map(|byte| format!("{byte:02x}")).collect()
}
