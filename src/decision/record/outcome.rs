//! The outcome of a request after its decision. It is added to the record when the request has ended.

use serde::Serialize;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

use crate::reason::Reason;
use crate::request::shown::{bounded_to, visible};

/// The maximum length of a gateway's details of an ending, in bytes.
const MOST_DETAILS: usize = 256;

/// What the gateway reports about a request that has ended. Some gateways do not report everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct Ending<'e> {
    /// The status of the answer. 0 if there was none.
    pub status: Option<u64>,
    /// Bytes received from the client.
    pub received: Option<u64>,
    /// Bytes sent to the client.
    pub sent: Option<u64>,
    /// The time from the first byte of the request to the end of the stream, in nanoseconds.
    pub duration: Option<u64>,
    /// Envoy's response flags, as a set of bits.
    pub flags: Option<u64>,
    /// Envoy's response code details.
    pub details: Option<&'e [u8]>,
}

/// The outcome of a request.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "Outcome"))]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The status of the answer, if one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 100, max = 999)))]
    status: Option<u64>,
    /// Bytes received from the client: header lines as forwarded, and the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_received: Option<u64>,
    /// Bytes sent to the client: header lines, body and trailers.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
    /// The time from the start of the request to its end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// How the request ended, or the code of the reason for which Callgate ended its open stream (`streams: recheck`). It is absent if
    /// the gateway does not report this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::endings"))]
    ended: Option<EndedBy>,
    /// The gateway's own details of the ending, escaped. They are `callgate_<reason>` if Callgate answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// The tools that were removed from lists in the answer, because the definitions that the server listed match none of their pins: at
    /// most 16 names, escaped as in `client`. If there are any, the record has its outcome even if the policy does not ask for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools_changed: Vec<String>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The client received the complete answer, from the upstream or from Callgate.
    Complete,
    /// The client disconnected or violated the protocol before the answer was complete.
    ClientGone,
    /// A timeout of the gateway ended the request: the upstream did not answer in time, or the stream was idle for too long.
    Timeout,
    /// The upstream could not be reached, or closed the connection early.
    UpstreamFailed,
    /// The gateway itself rejected or ended the request.
    Gateway,
}

/// Who ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum EndedBy {
    /// The gateway, the client or the upstream.
    Others(Ended),
    /// Callgate ended an open stream. The text is the code of the reason.
    Callgate(&'static str),
}

impl Ended {
    /// Classifies an ending by Envoy's response flags. The bits are numbered as in its `CoreResponseFlag`.
    pub(crate) fn of_flags(flags: u64) -> Self {
        let any = |bits: &[u32]| bits.iter().any(|bit| flags & (1 << bit) != 0);
        // An injected delay (9) and an answer from a cache (20) end nothing.
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
    /// Builds the outcome from what the gateway reports.
    #[must_use]
    pub fn new(ending: &Ending<'_>) -> Self {
        Self {
            status: ending.status.filter(|status| (100..=999).contains(status)),
            bytes_received: ending.received,
            bytes_sent: ending.sent,
            duration_ms: ending.duration.map(|nanoseconds| nanoseconds / 1_000_000),
            ended: ending.flags.map(|flags| EndedBy::Others(Ended::of_flags(flags))),
            details: ending.details.map(|details| bounded_to(details, MOST_DETAILS).into_owned()),
            tools_changed: Vec::new(),
        }
    }

    /// Returns the outcome with the names of the tools that were hidden because they changed.
    #[must_use]
    pub fn with_tools_changed<'n>(self, names: impl Iterator<Item = &'n str>) -> Self {
        Self { tools_changed: names.map(|name| visible(name).into_owned()).collect(), ..self }
    }

    /// Returns the outcome of a stream that Callgate ended for this reason. The gateway's flags do not show it.
    #[must_use]
    pub fn ended_for(self, reason: Reason) -> Self {
        Self { ended: Some(EndedBy::Callgate(reason.code())), ..self }
    }

    /// Adds the outcome to a record's JSON. Between the decision and the end of the request, the record is kept as text.
    #[must_use]
    pub fn complete(&self, mut record: Vec<u8>) -> Vec<u8> {
        // INVARIANT: a record is an object with members, because it always contains its decision. An outcome contains only
        // strings, numbers and a list of strings, which JSON can always represent.
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
    fn appends_the_outcome_as_the_last_member() {
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
    fn omits_members_that_the_gateway_does_not_report() {
        let record = Completion::new(&Ending { status: Some(0), ..Ending::default() }).complete(b"{\"a\":1}".to_vec());
        assert_eq!(record, b"{\"a\":1,\"outcome\":{}}");
    }

    #[test]
    fn names_the_reason_for_which_a_stream_was_ended() {
        let ending = Ending { flags: Some(0), ..Ending::default() };
        let record = Completion::new(&ending).ended_for(Reason::TokenRevoked).complete(b"{\"a\":1}".to_vec());
        assert_eq!(record, b"{\"a\":1,\"outcome\":{\"ended\":\"token_revoked\"}}");
    }

    #[test]
    fn names_the_tools_that_changed() {
        let ending = Ending { status: Some(200), ..Ending::default() };
        let changed = Completion::new(&ending).with_tools_changed(["pay", "re\u{202e}fund"].into_iter());
        let record = changed.complete(b"{\"a\":1}".to_vec());
        let shown = r#"{"a":1,"outcome":{"status":200,"tools_changed":["pay","re\\u{202e}fund"]}}"#;
        assert_eq!(String::from_utf8(record).unwrap(), shown);
    }

    #[test]
    fn maps_response_flags_to_how_the_request_ended() {
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
