//! The certificate of the client, as far as the gateway provides it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::{Host, HostError};
use crate::request::certificate::ClientCertificate;

/// SHA-256 of the certificate's DER in hexadecimal digits. Gateways separate the segments of a property's path by zero bytes.
const DIGEST: &[u8] = b"connection\0sha256_peer_certificate_digest";
/// The certificate as PEM.
const PEM: &[u8] = b"connection\0peer_certificate";

/// The number of certificates that a VM remembers. The requests of a connection have the same one, and few connections are busy at once.
const MOST: usize = 16;

/// The certificates that a VM read last.
#[derive(Default)]
pub(super) struct RecentCertificates(RefCell<VecDeque<Rc<ClientCertificate>>>);

impl RecentCertificates {
    /// Returns the certificate that the client of the current stream presented. `None` if the gateway provides neither of its properties.
    ///
    /// With only one of them, the client presented a certificate that cannot be read. It must not look like none, because it could be that
    /// of another agent than the one of the request's token.
    ///
    /// The gateway computed the digest, so the certificate with a digest that is remembered need not be read again.
    pub(super) fn read(&self, host: &impl Host) -> Result<Option<Rc<ClientCertificate>>, HostError> {
        let Some(digest) = property(host, DIGEST)? else {
            return Ok(property(host, PEM)?.map(|pem| Rc::new(ClientCertificate::new(&pem, b""))));
        };
        let known = self
            .0
            .try_borrow()
            .ok()
            .and_then(|known| known.iter().find(|certificate| certificate.belongs_to(&digest)).map(Rc::clone));
        if known.is_some() {
            return Ok(known);
        }
        let pem = property(host, PEM)?.unwrap_or_default();
        let certificate = Rc::new(ClientCertificate::new(&pem, &digest));
        // What cannot be remembered is read again.
        if certificate.belongs_to(&digest)
            && let Ok(mut known) = self.0.try_borrow_mut()
        {
            known.truncate(MOST - 1);
            known.push_front(Rc::clone(&certificate));
        }
        Ok(Some(certificate))
    }
}

/// Returns a property that has a value.
fn property(host: &impl Host, path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    Ok(host.property(path)?.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::Fake;
    use crate::request::certificate::testing::{Certificate, pem, sha256_hex};

    fn with(digest: &str, pem: &str) -> Fake {
        let host = Fake::default();
        let mut properties = host.0.properties.borrow_mut();
        properties.insert(DIGEST.to_vec(), digest.as_bytes().to_vec());
        properties.insert(PEM.to_vec(), pem.as_bytes().to_vec());
        drop(properties);
        host
    }

    fn certificate(number: usize) -> (String, String) {
        let der = Certificate { uris: &[&format!("urn:example:{number}")], ..Certificate::default() }.der();
        (sha256_hex(&der), pem(&der))
    }

    #[test]
    fn only_a_connection_without_both_properties_has_no_certificate() {
        let read = |host: &Fake| RecentCertificates::default().read(host).unwrap();
        assert_eq!((read(&with("", "")), read(&Fake::default())), (None, None));
        let (digest, pem) = certificate(1);
        assert!(read(&with(&digest, &pem)).unwrap().belongs_to(digest.as_bytes()));
        let only = |path: &[u8], value: &str| {
            let host = Fake::default();
            host.0.properties.borrow_mut().insert(path.to_vec(), value.as_bytes().to_vec());
            host
        };
        for host in [with("", &pem), with(&digest, ""), only(PEM, &pem), only(DIGEST, &digest)] {
            let recent = RecentCertificates::default();
            let unreadable = recent.read(&host).unwrap().expect("there is a certificate");
            assert!(!unreadable.belongs_to(digest.as_bytes()) && !unreadable.belongs_to(b""), "{unreadable:?}");
            assert!(recent.0.borrow().is_empty());
        }
    }

    #[test]
    fn a_host_call_that_fails_is_an_error() {
        let host = Fake::default();
        host.0.fails.set(Some("property"));
        RecentCertificates::default().read(&host).unwrap_err();
    }

    #[test]
    fn remembers_the_last_certificates_by_their_digest() {
        let recent = RecentCertificates::default();
        let read = |number: usize, pem: bool| {
            let (digest, text) = certificate(number);
            let read = recent.read(&with(&digest, if pem { &text } else { "" })).unwrap();
            read.is_some_and(|certificate| certificate.belongs_to(digest.as_bytes()))
        };
        assert!((0..MOST).all(|number| read(number, true)));
        // The PEM is not read again.
        assert!((0..MOST).all(|number| read(number, false)));
        assert!(read(MOST, true));
        assert!(!read(0, false) && read(1, false) && read(MOST, false));
    }

    #[test]
    fn does_not_remember_a_certificate_with_another_digest() {
        let recent = RecentCertificates::default();
        let (digest, _) = certificate(1);
        let (_, other) = certificate(2);
        for _ in 0..2 {
            let read = recent.read(&with(&digest, &other)).unwrap().unwrap();
            assert!(!read.belongs_to(digest.as_bytes()));
        }
        assert!(recent.0.borrow().is_empty());
    }
}
