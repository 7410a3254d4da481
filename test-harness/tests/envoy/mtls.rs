//! `envoy/mtls.yaml`: which clients reach the gate, and what the API learns about the certificate.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use test_harness::client::{Connection, Request, Response};

use crate::envoy::shipped::{Copied, decides};

/// An authority that issues certificates for servers and programs.
struct Authority(Issuer<'static, KeyPair>, String);

/// A certificate with its key.
struct Identity(rcgen::Certificate, KeyPair);

impl Authority {
    fn new() -> Self {
        let mut parameters = named("an authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self(Issuer::new(parameters, key), pem)
    }

    fn sign(&self, name: SanType) -> Identity {
        let mut parameters = named("a program");
        parameters.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        Identity(parameters.signed_by(&key, &self.0).unwrap(), key)
    }

    fn program(&self, uri: &str) -> Identity {
        self.sign(SanType::URI(uri.try_into().unwrap()))
    }
}

/// Each certificate needs its own name: one with the issuer's name would look self-signed.
fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// Sends a request over TLS 1.3. A client whose certificate is rejected learns this from its first read.
fn call(
    address: SocketAddr,
    servers: &CertificateDer<'static>,
    identity: Option<&Identity>,
    request: &Request,
) -> anyhow::Result<Response> {
    let mut roots = RootCertStore::empty();
    roots.add(servers.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity(certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            config.with_client_auth_cert(vec![certificate.der().clone()], key)?
        }
    };
    let session = ClientConnection::new(Arc::new(config), "api.example.com".try_into()?)?;
    Connection::over(StreamOwned::new(session, TcpStream::connect(address)?)).call(request)
}

#[test]
fn mtls_requires_a_certificate_and_overwrites_a_forged_xfcc() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let copied = Copied::new();
    let folder = copied.folder.path().to_str().unwrap().to_owned();
    let Identity(certificate, key) = servers.sign(SanType::DnsName("api.example.com".try_into().unwrap()));
    for (name, text) in
        [("server.crt", certificate.pem()), ("server.key", key.serialize_pem()), ("clients-ca.crt", clients.1.clone())]
    {
        fs::write(copied.folder.path().join(name), text).unwrap();
    }
    let file = copied.file(
        "mtls.yaml",
        &[
            ("address: 0.0.0.0, port_value: 10443", "address: 127.0.0.1, port_value: 0"),
            ("/etc/envoy/tls/server.crt", &format!("{folder}/server.crt")),
            ("/etc/envoy/tls/server.key", &format!("{folder}/server.key")),
            ("/etc/envoy/tls/clients-ca.crt", &format!("{folder}/clients-ca.crt")),
        ],
    );
    let (envoy, upstream) = copied.start(&file, 1);
    let address = envoy.api().unwrap();
    let roots = {
        let mut pem = servers.1.as_bytes();
        <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_reader(&mut pem).unwrap()
    };
    let reporter = clients.program("spiffe://example.com/reporter");
    decides(&envoy, &upstream, |request| call(address, &roots, Some(&reporter), request).unwrap());

    let forged = "URI=spiffe://example.com/admin";
    let status = |mark| Request::get("/v1/status").host("api.example.com").header("X-Mark", mark);
    let request = status("forged").header("X-Forwarded-Client-Cert", forged);
    assert_eq!(call(address, &roots, Some(&reporter), &request).unwrap().status, 200);
    let seen = upstream.saw("x-mark", "forged").unwrap();
    let told: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-forwarded-client-cert").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.contains("URI=spiffe://example.com/reporter") && !told[0].1.contains("admin"), "{told:?}");
    let line = envoy.await_access_log(|line| line["status"] == 200).unwrap();
    assert_eq!(line["client_certificate"], "spiffe://example.com/reporter");

    // No other client reaches the HTTP layer.
    let strangers = [
        ("no certificate", None),
        ("one of another authority", Some(Authority::new().program("spiffe://example.com/reporter"))),
        ("one that the servers' authority signed", Some(servers.program("spiffe://example.com/reporter"))),
        ("one of another trust domain", Some(clients.program("spiffe://other.example/reporter"))),
        ("one that names no program", Some(clients.sign(SanType::DnsName("example.com".try_into().unwrap())))),
    ];
    for (who, identity) in strangers {
        let answer = call(address, &roots, identity.as_ref(), &status("stranger"));
        assert!(answer.is_err(), "{who}: {answer:?}");
    }
    assert_eq!(upstream.saw("x-mark", "stranger"), None);
}
