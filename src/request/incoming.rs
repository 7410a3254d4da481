//! A request as the host provides it, before evaluation.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Serialize, Serializer};

use crate::request::certificate::ClientCertificate;
use crate::request::headers::Headers;
use crate::text::ascii::hexadecimal;
use crate::text::time::Timestamp;

/// The data of a request that the host has when its headers arrive.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// All field lines, pseudo-headers included.
    pub headers: &'a Headers,
    /// Whether the stream ended with the headers, so there is no body.
    pub end_of_stream: bool,
    /// The source of the request, or `None` if the host does not know it.
    pub source: Option<Source>,
    /// The certificate that the client presented on the connection. `None` if there is none, if the gateway does not provide it, or if it did
    /// not validate the certificate.
    pub certificate: Option<&'a ClientCertificate>,
    /// The time of the request.
    pub now: Timestamp,
    /// The identifier of the decision on this request.
    pub id: DecisionId,
}

/// The address that a request comes from, without its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(IpAddr);

impl Source {
    /// Parses `192.0.2.1:1234`, `[2001:db8::1]:1234` or an address without a port. An IPv4-mapped IPv6 address is converted to the IPv4
    /// address.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self(address.to_canonical()));
        }
        let (address, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        let address = match address.strip_prefix('[') {
            Some(rest) => IpAddr::V6(rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
            None => IpAddr::V4(address.parse().ok()?),
        };
        Some(Self(address.to_canonical()))
    }
}

impl Source {
    /// Returns the network that counts as one source: an IPv4 address, or the /64 of an IPv6 address, because one host can use the whole
    /// /64.
    #[must_use]
    pub fn network(self) -> [u8; 16] {
        let mapped = match self.0 {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)),
        };
        mapped.octets()
    }

    /// Returns the address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Identifies one decision: in the record, in `instance` of the response and in the header to the upstream.
///
/// It is aligned to 8 bytes, because memory with the alignment of `u128` takes the allocator in Wasm several times as many instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(8))]
pub struct DecisionId(pub u128);

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Serialize for DecisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl DecisionId {
    /// Passes its digits to `take`. Generic formatting would divide 128-bit numbers, which takes thousands of instructions in Wasm.
    pub(crate) fn with_text<T>(self, take: impl FnOnce(&str) -> T) -> T {
        let digits = hexadecimal((self.0 >> 64) as u64, self.0 as u64);
        take(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_aligned_to_eight_bytes() {
        assert_eq!(align_of::<DecisionId>(), 8);
        assert_eq!(align_of::<Request<'_>>(), 8);
    }

    #[test]
    fn parses_source_addresses_without_the_port() {
        for (text, address) in [
            ("192.0.2.1:1234", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("0.10.255.0:0", "0.10.255.0"),
            ("255.255.255.255:65535", "255.255.255.255"),
            ("192.0.2.1:0080", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ] {
            assert_eq!(Source::parse(text.as_bytes()).unwrap().to_string(), address, "{text}");
        }
        for text in [
            "",
            "192.0.2.01:1",
            "192.0.2.256:1",
            "192.0.2:1",
            "192.0.2.1.1:1",
            "192.0.2.1:1x",
            "/run/envoy.sock",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "[2001:db8::1]",
            "example.com:80",
            "[1.2.3.4]:5",
        ] {
            assert_eq!(Source::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Source::parse(b"\xff"), None);
    }

    #[test]
    fn groups_ipv6_sources_by_their_64_bit_prefix() {
        let network = |text: &str| Source::parse(text.as_bytes()).unwrap().network();
        assert_eq!(network("2001:db8::1"), network("[2001:db8::ffff:1:2:3]:80"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("192.0.2.1:80"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn decision_ids_have_32_hexadecimal_digits() {
        assert_eq!(DecisionId(0).to_string(), "0".repeat(32));
        assert_eq!(DecisionId(0x0f1e << 112 | 0xab).to_string(), format!("0f1e{}ab", "0".repeat(26)));
    }
}
