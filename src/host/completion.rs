//! Reads the outcome of a stream that has ended.

use super::Host;
use crate::decision::record::{Completion, Ended, Ending};
use crate::policy::Numbers;

/// Returns the outcome of the stream. Values that the gateway does not provide are left out. The request is over, so missing
/// values cannot lead to a denial.
pub(super) fn of_the_stream(host: &impl Host, numbers: Numbers) -> Completion {
    let count = |path| numbers.count(&property(host, path)?);
    // A gateway that writes numbers as text has neither flags nor details, and logs an error for each query.
    let more = numbers == Numbers::Binary;
    let details = if more { property(host, b"response\0code_details") } else { None };
    Completion::new(&Ending {
        status: count(b"response\0code"),
        received: count(b"request\0total_size"),
        sent: count(b"response\0total_size"),
        duration: property(host, b"request\0duration").and_then(|duration| numbers.nanoseconds(&duration)),
        flags: if more { count(b"response\0flags") } else { None },
        details: details.as_deref(),
    })
}

/// Returns whether nothing cut the stream: neither the client, nor the upstream, nor a timeout. A gateway that writes numbers as text does
/// not report that, and ends every complete body with a last chunk.
pub(super) fn is_complete(host: &impl Host, numbers: Numbers) -> bool {
    let flags = || numbers.count(&property(host, b"response\0flags")?);
    numbers == Numbers::Binary && flags().is_none_or(|flags| Ended::of_flags(flags) == Ended::Complete)
}

fn property(host: &impl Host, path: &[u8]) -> Option<Vec<u8>> {
    host.property(path).ok().flatten()
}
