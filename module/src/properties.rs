//! The properties of a stream, as the code for all gateways reads them.
//!
//! Envoy provides few attributes to modules. Sizes and durations are counted by the filter itself, and how a stream ended is concluded from
//! what the filter saw. What cannot be known has no value, and records leave it out.

use std::sync::OnceLock;

use callgate::host::{BAD_ARGUMENT, HostError};

use crate::io::Io;
use crate::{abi, clock};

/// Where another filter of the chain puts the certificate of the client, as URL-encoded PEM (`%DOWNSTREAM_PEER_CERT%`): Envoy does not
/// provide it to modules. The engine checks it against the digest, which Envoy provides, so another value cannot identify anybody, and one
/// that is missing counts as a certificate that cannot be read.
const PEER_CERTIFICATE: &[u8] = b"callgate.peer_certificate";

/// What Envoy puts before the names of properties that filters set, so one format of the access log prints them with both adapters.
const NAMESPACE: &[u8] = b"wasm.";

/// The bit of Envoy's response flags for a client that disconnected.
const CLIENT_GONE: u64 = 1 << 14;

/// The details of responses that Envoy itself sends, by their beginning, with the bits of its response flags. Where several flags are
/// possible, one with the same meaning for records stands for all.
const OWN_RESPONSES: [(&[u8], u64); 12] = [
    (b"direct_response", 0),
    (b"request_payload_too_large", 0),
    (b"no_healthy_upstream", 1 << 1),
    (b"response_timeout", 1 << 2),
    (b"upstream_response_timeout", 1 << 2),
    (b"upstream_per_try", 1 << 2),
    (b"upstream_reset_before_response_started", 1 << 6),
    (b"upstream_reset_after_response_started", 1 << 6),
    (b"route_not_found", 1 << 8),
    (b"stream_idle_timeout", 1 << 16),
    (b"request_overall_timeout", 1 << 16),
    (b"max_duration_timeout", 1 << 16),
];

/// Returns a property, or `None` if it has no value. Numbers have 64 bits, little-endian, and durations are in nanoseconds.
pub(crate) fn read(io: &Io, path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    match path {
        b"source\0address" => io.attribute(abi::SOURCE_ADDRESS),
        b"upstream\0address" => io.attribute(abi::UPSTREAM_ADDRESS),
        b"connection\0sha256_peer_certificate_digest" => io.attribute(abi::PEER_CERTIFICATE_DIGEST),
        b"connection\0peer_certificate" => {
            // The filter stores a text for a client without a certificate too.
            if io.attribute(abi::PEER_CERTIFICATE_DIGEST)?.is_none_or(|digest| digest.is_empty()) {
                return Ok(None);
            }
            Ok(io.filter_state(PEER_CERTIFICATE)?.map(|pem| decode_url(&pem)))
        }
        b"request\0duration" => {
            // The engine reads numbers as signed ones. The largest is 292 years.
            Ok(number(
                u64::try_from(clock::instant().saturating_duration_since(io.began).as_nanos()).unwrap_or_default(),
            ))
        }
        b"request\0total_size" => {
            let maps = [abi::REQUEST_HEADERS, abi::REQUEST_TRAILERS];
            Ok(number(io.request.bytes.get().saturating_add(line_bytes(io, &maps)?)))
        }
        b"response\0total_size" => {
            Ok(number(response_bytes(io).saturating_add(line_bytes(io, &[abi::RESPONSE_HEADERS])?)))
        }
        b"response\0size" => Ok(number(response_bytes(io))),
        b"response\0code" => Ok(io.number(abi::RESPONSE_CODE)?.and_then(number)),
        b"response\0flags" => Ok(flags(io).and_then(number)),
        b"response\0code_details" => details(io),
        name if !name.contains(&0) => own(io, &[NAMESPACE, name].concat()),
        _ => Ok(None),
    }
}

/// Sets a property that has one segment.
pub(crate) fn set(io: &Io, path: &[u8], value: &[u8]) -> Result<(), HostError> {
    if path.contains(&0) {
        return Err(HostError { call: "http_set_filter_state_bytes", status: BAD_ARGUMENT });
    }
    put(io, [NAMESPACE, path].concat(), value, replaces(io)?)
}

/// Stores a value now, or when the stream ends if Envoy stores only the first one.
fn put(io: &Io, key: Vec<u8>, value: &[u8], replaces: bool) -> Result<(), HostError> {
    if replaces {
        return io.set_filter_state(&key, value);
    }
    // Only records are stored, under one key.
    io.kept.replace(Some((key, value.to_vec())));
    Ok(())
}

/// Stores the value that was kept until the stream ends. Envoy writes the access log after this.
pub(crate) fn put_kept(io: &Io) -> Result<(), HostError> {
    let kept = io.kept.take();
    kept.map_or(Ok(()), |(key, value)| io.set_filter_state(&key, &value))
}

/// Returns a value that the module stored.
fn own(io: &Io, key: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    let kept = io.kept.borrow().as_ref().filter(|(own, _)| own == key).map(|(_, value)| value.clone());
    if kept.is_some() { Ok(kept) } else { io.filter_state(key) }
}

/// Returns whether Envoy lets the module replace a value of the filter state. Envoy had a check against that until April 2026, and with it
/// the record that the access log prints could not get its outcome. The first stream finds out, with a key that nothing else uses.
fn replaces(io: &Io) -> Result<bool, HostError> {
    const PROBE: &[u8] = b"callgate.probe";
    static REPLACES: OnceLock<bool> = OnceLock::new();
    if let Some(replaces) = REPLACES.get() {
        return Ok(*replaces);
    }
    io.set_filter_state(PROBE, b"1")?;
    io.set_filter_state(PROBE, b"2")?;
    let replaced = io.filter_state(PROBE)?.is_some_and(|value| value == b"2");
    if !replaced {
        log::info!(
            "this Envoy does not replace values of the filter state, so each record is stored when its stream ends"
        );
    }
    Ok(*REPLACES.get_or_init(|| replaced))
}

/// Encodes a number.
fn number(value: u64) -> Option<Vec<u8>> {
    Some(value.to_le_bytes().to_vec())
}

/// Returns the size of the lines in these maps as Envoy counts them: names and values.
fn line_bytes(io: &Io, maps: &[u32]) -> Result<u64, HostError> {
    let mut bytes: usize = 0;
    for map in maps {
        io.lines(*map, |lines| {
            for line in lines {
                bytes = bytes.saturating_add(line.size());
            }
        })?;
    }
    Ok(bytes as u64)
}

/// Returns the size of the response's body.
fn response_bytes(io: &Io) -> u64 {
    io.answered().unwrap_or_else(|| io.response.bytes.get())
}

/// Returns Envoy's response flags, as far as they follow from what the filter saw.
fn flags(io: &Io) -> Option<u64> {
    if io.answered().is_some() {
        return Some(0);
    }
    if let Some(details) = io.reply_details.borrow().as_deref() {
        return OWN_RESPONSES.iter().find(|(beginning, _)| details.starts_with(beginning)).map(|(_, flags)| *flags);
    }
    match (io.response.began.get(), io.response.ended.get()) {
        (_, true) => Some(0),
        // If the upstream fails, or something takes too long, Envoy reports a response, even if another one has begun.
        (_, false) => Some(CLIENT_GONE),
    }
}

/// Returns the details of the response.
fn details(io: &Io) -> Result<Option<Vec<u8>>, HostError> {
    if let Some(details) = io.reply_details.borrow().as_ref() {
        return Ok(Some(details.clone()));
    }
    let from_upstream = io.response.ended.get() && io.attribute(abi::UPSTREAM_ADDRESS)?.is_some();
    Ok(from_upstream.then(|| b"via_upstream".to_vec()))
}

/// Decodes `%XX`. Everything else stays as it is.
fn decode_url(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut rest, mut decoded) = (text, Vec::with_capacity(text.len()));
    while let [byte, after @ ..] = rest {
        rest = after;
        let pair = match (byte, after) {
            (b'%', [high, low, behind @ ..]) => digit(*high).zip(digit(*low)).map(|pair| (pair, behind)),
            _ => None,
        };
        match pair {
            Some(((high, low), behind)) => {
                decoded.push(high << 4 | low);
                rest = behind;
            }
            None => decoded.push(*byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::Connection;

    fn count(io: &Io, path: &[u8]) -> Option<u64> {
        read(io, path).unwrap().map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
    }

    #[test]
    fn decodes_certificates() {
        assert_eq!(decode_url(b"-----BEGIN%20A-----%0AMII%2B%2F%3D%0a"), b"-----BEGIN A-----\nMII+/=\n");
        for same in ["", "abc", "%", "%2", "%zz", "a%"] {
            assert_eq!(decode_url(same.as_bytes()), same.as_bytes());
        }
    }

    #[test]
    fn maps_paths_to_attributes_and_filter_state() {
        let stream = Connection::default();
        let io = Io::new(stream.pointer());
        for (path, value) in
            [(&b"source\0address"[..], &b"192.0.2.1:80"[..]), (b"connection\0sha256_peer_certificate_digest", b"ab12")]
        {
            assert_eq!(read(&io, path).unwrap().as_deref(), Some(value));
        }
        for none in [&b"upstream\0address"[..], b"callgate", b"request\0id", b"\0"] {
            assert_eq!(read(&io, none).unwrap(), None, "{none:?}");
        }
        assert_eq!(read(&io, b"connection\0peer_certificate").unwrap(), None, "no filter provides it");
        stream.set_state("callgate.peer_certificate", "a%20b");
        assert_eq!(read(&io, b"connection\0peer_certificate").unwrap().as_deref(), Some(&b"a b"[..]));

        set(&io, b"callgate", b"{}").unwrap();
        assert_eq!(stream.state("wasm.callgate").as_deref(), Some("{}"));
        assert_eq!(read(&io, b"callgate").unwrap().as_deref(), Some(&b"{}"[..]));
        set(&io, b"a\0b", b"").unwrap_err();
    }

    #[test]
    fn counts_what_envoy_does_not_report() {
        let stream = Connection::default();
        stream.set_headers(abi::REQUEST_HEADERS, &[(":path", "/"), ("a", "bc")]);
        stream.set_headers(abi::RESPONSE_HEADERS, &[(":status", "200")]);
        let io = Io::new(stream.pointer());
        io.request.add(10);
        io.response.add(20);
        assert_eq!(count(&io, b"request\0total_size"), Some(10 + 6 + 3));
        assert_eq!((count(&io, b"response\0size"), count(&io, b"response\0total_size")), (Some(20), Some(30)));
        assert!(count(&io, b"request\0duration").unwrap() > 0);
    }

    #[test]
    fn concludes_how_a_stream_ended() {
        let stream = Connection::default();
        let io = Io::new(stream.pointer());
        assert_eq!(count(&io, b"response\0flags"), Some(CLIENT_GONE));
        io.response.began.set(true);
        assert_eq!(count(&io, b"response\0flags"), Some(CLIENT_GONE), "nothing else ends a response without a report");
        io.response.ended.set(true);
        assert_eq!(count(&io, b"response\0flags"), Some(0));
        assert_eq!(read(&io, b"response\0code_details").unwrap(), None, "there is no upstream");
        stream.set_upstream("192.0.2.9:8080");
        assert_eq!(read(&io, b"response\0code_details").unwrap().as_deref(), Some(&b"via_upstream"[..]));
        for (details, flags) in [
            ("upstream_response_timeout", Some(4)),
            ("upstream_reset_before_response_started{connection_timeout}", Some(64)),
            ("direct_response", Some(0)),
            ("something_new", None),
        ] {
            io.reply_details.replace(Some(details.into()));
            assert_eq!(count(&io, b"response\0flags"), flags, "{details}");
            assert_eq!(read(&io, b"response\0code_details").unwrap().as_deref(), Some(details.as_bytes()));
        }
    }

    #[test]
    fn a_value_that_cannot_be_replaced_is_stored_at_the_end() {
        let stream = Connection::default();
        let io = Io::new(stream.pointer());
        for value in [&b"first"[..], b"last"] {
            put(&io, b"wasm.callgate".to_vec(), value, false).unwrap();
            assert_eq!(read(&io, b"callgate").unwrap().as_deref(), Some(value));
            assert_eq!(stream.state("wasm.callgate"), None);
        }
        assert_eq!(read(&io, b"other").unwrap(), None);
        put_kept(&io).unwrap();
        assert_eq!(stream.state("wasm.callgate").as_deref(), Some("last"));
        stream.set_state("wasm.callgate", "unchanged");
        put_kept(&io).unwrap();
        assert_eq!(read(&io, b"callgate").unwrap().as_deref(), Some(&b"unchanged"[..]), "it is stored once");
    }

    #[test]
    fn a_stream_that_has_ended_is_an_error() {
        let stream = Connection::default();
        let io = Io::new(stream.pointer());
        io.end();
        for path in [&b"source\0address"[..], b"callgate", b"response\0code", b"request\0total_size"] {
            read(&io, path).unwrap_err();
        }
        set(&io, b"callgate", b"{}").unwrap_err();
    }
}
