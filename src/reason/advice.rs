//! What the developer of a client does about each reason, for answers and the reference.
//!
//! The texts go to anyone who sends a request, so they must not reveal what a policy contains. Each is in one of two files, in the order of
//! the reasons.

mod request;
mod sender;

use super::Reason;

// Every reason has its advice in exactly one of the two files.
const _: () = {
    let mut reasons = Reason::ALL;
    while let [first, rest @ ..] = reasons {
        assert!(first.advice_on_sender().is_some() != first.advice_on_request().is_some());
        reasons = rest;
    }
};

impl Reason {
    /// Returns what the developer of the client does about this reason.
    #[must_use]
    pub fn advice(self) -> &'static str {
        self.advice_on_sender().or_else(|| self.advice_on_request()).unwrap_or_default()
    }
}
