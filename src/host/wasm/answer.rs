//! Answers in the upstream's place.

use super::host;
use crate::decision::answer::Answer;

/// Answers the stream that is called.
pub(super) fn send(answer: &Answer) {
    let headers = answer.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let body = answer.body.as_bytes();
    if let Err(error) = host::send_local_response(answer.status, &answer.details, headers, body, answer.grpc_status) {
        // The call stays held until the gateway's own timeout ends it.
        log::error!("a denied call is not answered: {error}");
    }
}
