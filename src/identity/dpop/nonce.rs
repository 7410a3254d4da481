//! Nonces that any worker can check and none has to remember (RFC 9449, section 9): each is a keyed hash of a span of time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::state::Namespace;
use crate::text::time::Timestamp;

/// A new nonce begins with each such span, and is good until the end of the next. Whoever got hold of a key for a moment cannot
/// make proofs for longer than that.
const SPAN_SECONDS: u64 = 60;

/// The nonces of one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nonces<'n> {
    namespace: &'n Namespace,
    span: u64,
}

/// How a good nonce stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitStatus {
    /// It was made in this span.
    Fresh,
    /// It ends with this span: its sender is to be told the next.
    Ending,
}

impl<'n> Nonces<'n> {
    pub(crate) fn new(namespace: &'n Namespace, now: Timestamp) -> Self {
        Self { namespace, span: now.as_secs() / SPAN_SECONDS }
    }

    /// The nonce that clients are told.
    pub(crate) fn current(&self) -> String {
        self.of(self.span)
    }

    /// How a nonce stands that a client sent; none where it is not, or no longer, one of the gate's.
    ///
    /// It is compared without care for how long that takes: whoever could guess at it is told it for the asking.
    pub(crate) fn judge(&self, sent: &str) -> Option<LimitStatus> {
        if sent == self.current() {
            return Some(LimitStatus::Fresh);
        }
        let before = self.span.checked_sub(1)?;
        (sent == self.of(before)).then_some(LimitStatus::Ending)
    }

    fn of(&self, span: u64) -> String {
        URL_SAFE_NO_PAD.encode(self.namespace.mark("dpop nonce", span))
    }
}
