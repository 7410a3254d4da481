//! Mutual TLS for tests and measurements: authorities, certificates with any names, listeners that ask for them, and clients that present
//! them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::quickstart::{HOST, set};

const PATIENCE: Duration = Duration::from_secs(60);

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A name in a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Name<'n> {
    /// A URI, such as a SPIFFE ID.
    Uri(&'n str),
    /// A DNS name.
    Dns(&'n str),
}

/// A certificate with its private key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// An open TLS connection of a client.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    /// Creates an authority. Each one needs another name: Envoy looks for the certificate of an issuer by its name.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn new(name: &str) -> Result<Self> {
        let mut parameters = named(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("no key can be generated")?;
        let certificate = parameters.self_signed(&key).context("the authority cannot sign its certificate")?;
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// Issues a certificate with these names.
    ///
    /// # Errors
    /// When a name is not ASCII.
    pub fn issue(&self, names: &[Name<'_>]) -> Result<Identity> {
        self.issue_with(names, |_| ())
    }

    /// Issues a certificate that expired some years ago.
    ///
    /// # Errors
    /// See [`Self::issue`].
    pub fn issue_expired(&self, names: &[Name<'_>]) -> Result<Identity> {
        self.issue_with(names, |parameters| parameters.not_after = date_time_ymd(2020, 1, 1))
    }

    /// Returns the certificate of the authority in PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn issue_with(&self, names: &[Name<'_>], change: impl FnOnce(&mut CertificateParams)) -> Result<Identity> {
        // A certificate with the name of its issuer would look self-signed.
        let mut parameters = named("a program");
        // Envoy's validator for SPIFFE rejects a certificate without the use of its key.
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = match *name {
                Name::Uri(uri) => SanType::URI(uri.try_into().context("a URI is not ASCII")?),
                Name::Dns(dns) => SanType::DnsName(dns.try_into().context("a DNS name is not ASCII")?),
            };
            parameters.subject_alt_names.push(name);
        }
        change(&mut parameters);
        let key = KeyPair::generate().context("no key can be generated")?;
        let certificate = parameters.signed_by(&key, &self.issuer).context("the authority cannot sign")?;
        Ok(Identity { certificate, key })
    }
}

impl Identity {
    /// Returns the certificate in PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Returns the private key in PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Returns the SHA-256 of the certificate.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.certificate.der()).into()
    }

    /// Returns the value of `x5t#S256` for the certificate (RFC 8705, section 3.1).
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.sha256())
    }
}

/// Returns the TLS of a listener: its own certificate, and the validation context for those of clients, if it has one. With `required`, a
/// client must present a certificate.
pub fn listener_tls(server: &Identity, validation: Option<Value>, required: bool) -> Value {
    let mut common = json!({
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [{
            "certificate_chain": { "inline_string": server.pem() },
            "private_key": { "inline_string": server.key_pem() },
        }],
    });
    if let Some(validation) = validation {
        set(&mut common, "validation_context", validation);
    }
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": required,
            "common_tls_context": common,
        },
    })
}

/// Returns a validation context with the certificates of these authorities.
pub fn trusting(authorities: &[&Authority]) -> Value {
    let certificates: String = authorities.iter().map(|authority| authority.pem()).collect();
    json!({ "trusted_ca": { "inline_string": certificates } })
}

/// Returns a validation context with the authority of each SPIFFE trust domain.
pub fn trusting_domains(domains: &[(&str, &Authority)]) -> Value {
    let domains = domains
        .iter()
        .map(|(name, authority)| json!({ "name": name, "trust_bundle": { "inline_string": authority.pem() } }));
    json!({ "custom_validator_config": {
        "name": "envoy.tls.cert_validator.spiffe",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            "trust_domains": domains.collect::<Vec<_>>(),
        },
    } })
}

/// Connects to a listener over TLS 1.3 with one protocol of `http/1.1` and `h2`. The handshake runs with the first request: a client whose
/// certificate is rejected learns that from its first read.
///
/// # Errors
/// When nothing listens at the address, or the certificates are not usable.
pub fn connect(
    address: SocketAddr,
    servers: &Authority,
    identity: Option<&Identity>,
    protocol: &str,
) -> Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(servers.certificate.der().clone()).context("the authority of the server is not usable")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            config.with_client_auth_cert(vec![certificate.der().clone()], key)?
        }
    };
    config.alpn_protocols = vec![protocol.into()];
    let session = ClientConnection::new(Arc::new(config), HOST.try_into()?)?;
    let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
    stream.set_nodelay(true).context("cannot set an option of the socket")?;
    Ok(StreamOwned::new(session, stream))
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}
