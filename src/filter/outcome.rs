//! What the gateway says of a stream that has ended.

use super::host;
use crate::record::{Ending, Outcome};

/// How the stream went on. What the gateway does not tell is left out: the call is over, and nobody is left to be refused.
pub(super) fn of_the_stream() -> Outcome {
    let details = property(b"response\0code_details");
    Outcome::new(&Ending {
        status: number(b"response\0code"),
        received: number(b"request\0total_size"),
        sent: number(b"response\0total_size"),
        duration: number(b"request\0duration"),
        flags: number(b"response\0flags"),
        details: details.as_deref(),
    })
}

fn property(path: &[u8]) -> Option<Vec<u8>> {
    host::property(path).ok().flatten()
}

/// Numbers and durations are 64 bits, little-endian.
fn number(path: &[u8]) -> Option<u64> {
    property(path)?.try_into().ok().map(i64::from_le_bytes)?.try_into().ok()
}
