//! 6. Checks that the body is the one whose digest is signed, or that there is none.

use super::awaited::{Awaited, AwaitedBody, KeptBody};
use super::content::ExpectedContent;
use super::{CheckDetails, Denied, Evaluation};
use crate::decision::coverage::may_be_empty;
use crate::decision::evidence::{BodySettled, CallerEvidence, FormEvidence};
use crate::decision::trace::Check;
use crate::decision::{BodySeen, Facts, Grant, Rule};
use crate::identity::signature::{is_signed, joined};
use crate::policy::{BodyCheck, Endpoint};
use crate::quota::held::HeldBytes;
use crate::reason::Reason;
use crate::request::digest::{ContentDigest, Hashing};

/// The `Retry-After` value, in seconds, of a request that is denied because too many bytes are held, or because the list of revoked
/// credentials became too old while the body arrived. Room may become free, and a list may arrive, at any time.
const RETRY_AFTER: u64 = 1;

/// What is known about the body after the headers were checked.
pub(super) enum BodyProgress {
    /// The body needs no further bytes. There is no evidence if it was rejected and the denial is only observed.
    Settled(Option<BodySettled>),
    /// The body has not arrived yet.
    Awaited(Awaited),
}

impl<'a> Evaluation<'a, '_> {
    /// Checks the body against its signed digest, or that there is no body. Returns what to wait for if the body has not
    /// arrived yet.
    pub(super) fn body(&mut self, endpoint: &'a Endpoint) -> Result<BodyProgress, Denied> {
        let Facts { policy, request, signature, head, .. } = &self.facts;
        let Some(signature) = signature.as_ref().filter(|_| !endpoint.streams && head.upgrade.count == 0) else {
            return Ok(BodyProgress::Settled(Some(BodySettled::assertion())));
        };
        if !signature.covers_digest {
            return Ok(if !request.end_of_stream && may_be_empty(self.facts) {
                BodyProgress::Awaited(Awaited::Nothing(Reason::ContentDigestMissing))
            } else {
                BodyProgress::Settled(Some(BodySettled::assertion()))
            });
        }
        let most = policy.signatures.max_body;
        let field = joined(request.headers, "content-digest").unwrap_or_default();
        let begun = match head.length() {
            Some(length) if length > most => Err(Reason::BodyTooLarge),
            _ => ContentDigest::parse(&field).map(|digest| digest.begin(most)),
        };
        let rule = body_rule(begun.as_ref().err());
        let begun =
            if begun.is_err() { self.record_check(Check::Body, rule, begun, |_| Vec::new())? } else { begun.ok() };
        match begun {
            Some(hashing) if self.facts.request.end_of_stream => {
                self.settle_body(Ok(hashing)).map(BodyProgress::Settled)
            }
            Some(hashing) => Ok(BodyProgress::Awaited(Awaited::Signed(Box::new(hashing)))),
            None => Ok(BodyProgress::Settled(None)),
        }
    }

    /// Returns what to wait for if the content of the body decides.
    pub(super) fn keep(&self, expected: ExpectedContent<'a>, progress: BodyProgress) -> BodyProgress {
        let Facts { request, head, .. } = &self.facts;
        let most = match expected {
            ExpectedContent::Json(content) => content.max_json,
            // The first byte ends the wait.
            ExpectedContent::Nothing => 0,
            ExpectedContent::Any | ExpectedContent::Unread => return progress,
        };
        let hashing = match progress {
            BodyProgress::Settled(Some(_)) if !request.end_of_stream => None,
            BodyProgress::Awaited(Awaited::Signed(hashing)) => Some(hashing),
            // There is no body, its first byte will be rejected, or the denial of its digest is only observed.
            other => return other,
        };
        let announced = head.length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        BodyProgress::Awaited(Awaited::Kept(Box::new(KeptBody::new(most, announced, hashing))))
    }

    /// Returns whether the first byte of a body will be rejected because the request is signed without a digest. Until then the
    /// request counts as one without a body.
    pub(super) fn has_no_body_yet(&self, endpoint: &Endpoint) -> bool {
        let asked = endpoint.signature.asked.is_some() && !endpoint.streams;
        asked && may_be_empty(self.facts) && is_signed(self.facts.request.headers)
    }

    /// Checks that the body is the one that was signed.
    pub(super) fn settle_body(&mut self, hashed: Result<Hashing, Reason>) -> Result<Option<BodySettled>, Denied> {
        let result = hashed.and_then(|hashing| {
            let seen = hashing.seen();
            hashing.finish().map(|()| seen)
        });
        let rule = body_rule(result.as_ref().err());
        let checked = self.record_check(Check::Body, rule, result, |seen| vec![("bytes", seen.to_string())])?;
        self.facts.body = checked.map(|_| BodySeen::Checked);
        Ok(checked.map(|_| BodySettled::assertion()))
    }

    /// Reserves memory for the bytes of the request that are known so far. Returns `None` if there is no room and the denial is
    /// only observed; such a request is forwarded without being held.
    pub(super) fn hold(&mut self, awaited: Awaited) -> Result<Option<Box<AwaitedBody>>, Denied> {
        let Facts { policy, request, .. } = &self.facts;
        let headers = request.headers.bytes();
        let announced = self.facts.head.length().unwrap_or_default();
        let agent = (&*policy.name, self.facts.agent.map_or("", |agent| &*agent.name));
        let bytes = headers.saturating_add(announced.saturating_mul(awaited.copies()));
        let reserve = |held: &HeldBytes| held.reserve(Some(agent), request.source, policy.held_bodies.shares, bytes);
        let Ok(reservation) = self.context.held.map(reserve).transpose() else {
            let full = Reason::HeldBytesFull;
            note_reason(self.facts, Some(&full));
            self.record_check(Check::Body, body_rule(Some(&full)), Err::<(), _>(full), |()| CheckDetails::new())?;
            return Ok(None);
        };
        Ok(Some(Box::new(AwaitedBody::new(awaited, reservation, headers))))
    }

    /// Prepares to check the body after the headers are forwarded. If the gateway does not report the end of a request, the
    /// filter gets no callback for an empty body, and a chunked body may turn out to be empty. The digest would then never be
    /// checked, so the body must have an announced length.
    pub(super) fn await_body(&mut self, awaited: Awaited) -> Result<Option<BodySettled>, Denied> {
        let Facts { policy, head, .. } = &self.facts;
        let announced = policy.features.tells_end || head.content_length.is_some() && !head.has_transfer_encoding;
        let result = if announced { Ok(()) } else { Err(Reason::BodyLengthMissing) };
        if self.record_check(Check::Body, Rule::Gate, result, |()| CheckDetails::new())?.is_none() {
            return Ok(None);
        }
        let signed = matches!(awaited, Awaited::Signed(_));
        self.awaited = self.hold(awaited)?;
        self.facts.body = self.awaited.as_ref().filter(|_| signed).map(|_| BodySeen::Awaited);
        Ok(self.awaited.as_ref().map(|_| BodySettled::assertion()))
    }

    /// Prepares to reject a body that was not announced. If the gateway does not report the end of a request, a request that
    /// announces no body is evaluated as one without a body. It must stay one if its signature covers no body, or if no media
    /// type shows that the body is not a form.
    pub(super) fn await_none(&mut self, endpoint: &Endpoint) {
        let Facts { policy, request, head, signature, .. } = &self.facts;
        let signed = signature.is_some() && !endpoint.streams && head.upgrade.count == 0;
        let untyped = endpoint.rejected_bodies.is_some() && head.content_type.count == 0;
        let matters = policy.features.body == BodyCheck::Late && !policy.features.tells_end && request.end_of_stream;
        if matters && (signed || untyped) && self.awaited.is_none() {
            let nothing = Awaited::Nothing(Reason::BodyLengthMissing);
            self.awaited = Some(Box::new(AwaitedBody::new(nothing, None, 0)));
        }
    }

    pub(super) fn resume(
        &mut self,
        body: Result<Awaited, Reason>,
        expected: ExpectedContent<'a>,
        form: FormEvidence,
        caller: CallerEvidence,
    ) -> Result<Option<Grant>, Denied> {
        let Some(endpoint) = self.facts.endpoint else { return Err(Denied) };
        let (settled, kept) = match body {
            Ok(Awaited::Kept(kept)) => {
                let KeptBody { bytes, hashing, .. } = *kept;
                let settled = match hashing {
                    Some(hashing) => self.settle_body(Ok(*hashing))?,
                    None => Some(BodySettled::assertion()),
                };
                (settled, Some(bytes))
            }
            Ok(Awaited::Signed(hashing)) => (self.settle_body(Ok(*hashing))?, None),
            // No byte arrived: the request has no body.
            Ok(Awaited::Nothing(_)) => {
                self.facts.request.end_of_stream = true;
                (Some(BodySettled::assertion()), Some(Vec::new()))
            }
            Err(Reason::JsonTooLarge) => {
                let is_unexpected = matches!(expected, ExpectedContent::Nothing);
                let reason = if is_unexpected { Reason::RpcMalformed } else { Reason::JsonTooLarge };
                self.reject_content(endpoint, reason)?;
                (None, None)
            }
            Err(reason) => {
                note_reason(self.facts, Some(&reason));
                (self.settle_body(Err(reason))?, None)
            }
        };
        // The replay table may already have evicted the nonce of a signature that expired while the request was held.
        let stale = self.facts.signature.as_ref().is_some_and(|signature| self.facts.request.now >= signature.until);
        if stale {
            let expired = Err::<(), _>(Reason::SignatureExpired);
            self.record_check(Check::Signature, Rule::Policy("signatures"), expired, |()| CheckDetails::new())?;
        }
        self.look_up_again()?;
        let (content, operation) = self.content(endpoint, expected, kept.as_deref())?;
        self.finish(endpoint, form, caller, settled, content, operation)
    }
}

/// Updates the facts that depend on the reason for rejecting a body, or a request after its body has arrived.
pub(super) fn note_reason(facts: &mut Facts<'_>, reason: Option<&Reason>) {
    match reason {
        // There is a body, and the answer asks the client to sign its digest.
        Some(Reason::ContentDigestMissing) => facts.body = Some(BodySeen::Unsigned),
        Some(Reason::HeldBytesFull | Reason::RevocationsUnavailable) => facts.retry_after = Some(RETRY_AFTER),
        _ => {}
    }
}

pub(super) fn body_rule<'a>(refused: Option<&Reason>) -> Rule<'a> {
    match refused {
        Some(Reason::BodyTooLarge) => Rule::Policy("max_body"),
        Some(Reason::HeldBytesFull | Reason::BodyTimeout) => Rule::Policy("held_bodies"),
        _ => Rule::Gate,
    }
}
