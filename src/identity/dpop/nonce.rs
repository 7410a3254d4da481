//! Nonces that any worker can verify without storing them (RFC 9449, section 9): each is a keyed hash of a time span.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::state::Namespace;
use crate::text::time::Timestamp;

/// The length of a time span. A new nonce starts with each span and is valid until the end of the next. Someone who had access to a key
/// for a moment cannot create proofs for longer than that.
const SPAN_SECONDS: u64 = 60;

/// The nonces that are valid at one point in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nonces<'n> {
    namespace: &'n Namespace,
    span: u64,
}

/// The status of a valid nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceStatus {
    /// It belongs to the current span.
    Fresh,
    /// It expires at the end of the current span, so its sender needs the next one.
    Ending,
}

impl<'n> Nonces<'n> {
    pub(crate) fn new(namespace: &'n Namespace, now: Timestamp) -> Self {
        Self { namespace, span: now.as_secs() / SPAN_SECONDS }
    }

    /// Returns the nonce to send to clients.
    pub(crate) fn current(&self) -> String {
        self.of(self.span)
    }

    /// Returns the status of a nonce that a client sent, or `None` if Callgate did not issue it or it is expired.
    ///
    /// The comparison is not constant-time: a client that would guess a nonce can simply ask for one.
    pub(crate) fn judge(&self, sent: &str) -> Option<NonceStatus> {
        if sent == self.current() {
            return Some(NonceStatus::Fresh);
        }
        let before = self.span.checked_sub(1)?;
        (sent == self.of(before)).then_some(NonceStatus::Ending)
    }

    fn of(&self, span: u64) -> String {
        URL_SAFE_NO_PAD.encode(self.namespace.mark("dpop nonce", span))
    }
}
