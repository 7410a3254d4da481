//! How a request went on after it was decided, added to its record when it has ended.

use serde::Serialize;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

use crate::request::shown::bounded_to;

/// The longest word that a gateway has for an ending, in bytes.
const MOST_DETAILS: usize = 256;

/// What the gateway says of a request that has ended; it may not say everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct Ending<'e> {
    /// The status of the answer; 0 for none.
    pub status: Option<u64>,
    /// Bytes from the client.
    pub received: Option<u64>,
    /// Bytes to the client.
    pub sent: Option<u64>,
    /// From the first byte of the request to the end of the stream, in nanoseconds.
    pub duration: Option<u64>,
    /// Envoy's response flags, as a set of bits.
    pub flags: Option<u64>,
    /// Envoy's details of the response code.
    pub details: Option<&'e [u8]>,
}

/// How a request went on.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "Outcome"))]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The status of the answer, where one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 100, max = 999)))]
    status: Option<u64>,
    /// Bytes that came from the client: header lines as they went on, and the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_received: Option<u64>,
    /// Bytes that went to the client: header lines, body and trailers.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
    /// From the beginning of the request to the end of the request, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// How the request ended; absent where the gateway does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// The gateway's own word for it, escaped; `callgate_<reason>` where the gate answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The client got the whole answer, be it the upstream's or the gate's.
    Complete,
    /// The client went away, or broke the protocol, before the answer was whole.
    ClientGone,
    /// A time limit of the gateway ended it: the upstream did not answer in time, or nothing moved for too long.
    Timeout,
    /// The upstream could not be reached, or broke off.
    UpstreamFailed,
    /// The gateway itself refused or ended it.
    Gateway,
}

impl Ended {
    /// Envoy tells by bits how a response came about; they are numbered as in its `CoreResponseFlag`.
    fn of_flags(flags: u64) -> Self {
        let any = |bits: &[u32]| bits.iter().any(|bit| flags & (1 << bit) != 0);
        // A delay that was injected (9) and an answer from a cache (20) end nothing.
        let telling = flags & !(1 << 9 | 1 << 20);
        match telling {
            0 => Self::Complete,
            // DC, DPE, DR.
            _ if any(&[14, 18, 28]) => Self::ClientGone,
            // UT, SI, UMSDR, DT.
            _ if any(&[2, 16, 21, 22]) => Self::Timeout,
            // UH, LR, UR, UF, UC, UO, URX, UPE, DF.
            _ if any(&[1, 3, 4, 5, 6, 7, 15, 23, 26]) => Self::UpstreamFailed,
            _ => Self::Gateway,
        }
    }
}

impl Completion {
    /// What a record says of an ending.
    #[must_use]
    pub fn new(ending: &Ending<'_>) -> Self {
        Self {
            status: ending.status.filter(|status| (100..=999).contains(status)),
            bytes_received: ending.received,
            bytes_sent: ending.sent,
            duration_ms: ending.duration.map(|nanoseconds| nanoseconds / 1_000_000),
            ended: ending.flags.map(Ended::of_flags),
            details: ending.details.map(|details| bounded_to(details, MOST_DETAILS).into_owned()),
        }
    }

    /// Adds the outcome to a record's JSON, which is kept as text between the decision and the end of the request.
    #[must_use]
    pub fn complete(&self, mut record: Vec<u8>) -> Vec<u8> {
        // INVARIANT: a record is an object with members, since it always names its decision; an outcome holds only strings
        // and numbers, which JSON can always carry.
        if record.pop_if(|last| *last == b'}').is_some() {
            record.extend_from_slice(b",\"outcome\":");
            record.extend(serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec()));
            record.push(b'}');
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_outcome_is_the_last_member_of_the_record() {
        let ending = Ending {
            status: Some(200),
            received: Some(10),
            sent: Some(20),
            duration: Some(5_999_999),
            flags: Some(0),
            details: Some(b"via_upstream\n"),
        };
        let record = Completion::new(&ending).complete(br#"{"decision":"allow"}"#.to_vec());
        let outcome = json!({
            "status": 200, "bytes_received": 10, "bytes_sent": 20, "duration_ms": 5, "ended": "complete",
            "details": "via_upstream\\n",
        });
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record, json!({ "decision": "allow", "outcome": outcome }));
    }

    #[test]
    fn what_the_gateway_does_not_say_is_absent() {
        let record = Completion::new(&Ending { status: Some(0), ..Ending::default() }).complete(b"{\"a\":1}".to_vec());
        assert_eq!(record, b"{\"a\":1,\"outcome\":{}}");
    }

    #[test]
    fn flags_say_how_it_ended() {
        for (bits, ended) in [
            (&[][..], Ended::Complete),
            (&[9, 20], Ended::Complete),
            (&[14], Ended::ClientGone),
            (&[28, 4], Ended::ClientGone),
            (&[2], Ended::Timeout),
            (&[16], Ended::Timeout),
            (&[5, 15], Ended::UpstreamFailed),
            (&[6], Ended::UpstreamFailed),
            (&[8], Ended::Gateway),
            (&[63], Ended::Gateway),
        ] {
            assert_eq!(Ended::of_flags(bits.iter().fold(0, |flags, bit| flags | 1 << bit)), ended, "{bits:?}");
        }
    }
}
