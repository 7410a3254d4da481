//! Verification that a request has the required signature, by a key of the policy.

use std::borrow::Cow;
use std::time::Duration;

use sfv::{Dictionary, Item, ListEntry, Parser, StringRef};

use super::base::{Message, base_bytes};
use super::coverage::{Coverage, SignatureAgent, covered_agent};
use super::fields::joined;
use super::input::{Input, Signed, read};
use super::keys::{SigningKey, SigningKeys};
use crate::identity::crypto::{BadSignature, Signer, VerifySignature, sha256};
use crate::reason::Reason;
use crate::request::headers::Headers;
use crate::text::time::Timestamp;

/// The tag of Web Bot Auth (draft-ietf-webbotauth-httpsig-protocol-01).
pub(crate) const WEB_BOT_AUTH: &str = "web-bot-auth";

/// The maximum length of `Signature-Agent`, in bytes: enough for a few URIs.
const MOST_AGENT_BYTES: usize = 4 * 1024;

/// The set of rules that a signature must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProfileName {
    /// The policy's own rules.
    Own,
    /// The rules of Web Bot Auth.
    WebBotAuth,
}

/// The requirements that apply to signatures of all requests.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// The required tag. A signature with another tag is ignored, because it is for another recipient.
    pub(crate) tag: Option<Box<str>>,
    /// How many seconds after `created` a signature is accepted.
    pub(crate) max_age: u64,
    /// How many seconds a client's clock may be ahead.
    pub(crate) clock_ahead: u64,
    /// Whether a nonce is required.
    pub(crate) nonce: bool,
    /// The components that every request must cover. `@query` is only required if the request has a query.
    pub(crate) cover: Vec<Box<str>>,
    /// The additional requirement of Web Bot Auth.
    pub(crate) web_bot_auth: Option<SignatureAgent>,
}

/// The requirements for the signature of one request.
pub(crate) struct Asked<'a, 'c> {
    pub(crate) name: ProfileName,
    pub(crate) profile: &'a Profile,
    pub(crate) keys: &'a SigningKeys,
    /// The coverage that the policy requires of every request. It is checked before the signature.
    pub(crate) coverage: &'c Coverage<'a>,
    /// The additional coverage that the matched endpoint requires. A signature without it still identifies the agent.
    pub(crate) further: &'c Coverage<'a>,
    pub(crate) now: Timestamp,
}

/// A verified signature. Only [`Asked::verify`] creates one.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedSignature<'a> {
    /// The rules that it satisfies.
    pub(crate) profile: ProfileName,
    /// The key that signed it.
    pub(crate) key: &'a SigningKey,
    /// The value that identifies a replay of this signature.
    pub(crate) once: ReplayId,
    /// Its creation time, as stated by the client.
    pub(crate) created: Timestamp,
    /// The first time at which it is no longer accepted.
    pub(crate) until: Timestamp,
    /// Whether it covers `content-digest`.
    pub(crate) covers_digest: bool,
    /// A component that the endpoint requires and the signature does not cover.
    pub(crate) lacks: Option<MissingCoverage>,
}

/// A component that the endpoint requires and a signature does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingCoverage {
    /// The digest of the body.
    Digest,
    /// Another component.
    Component,
}

/// The value by which a repeated signature is recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplayId {
    /// The nonce that its signer chose.
    Nonce(Box<str>),
    /// The SHA-256 hash of the signature base. The bytes of the signature cannot be used, because other valid signatures can be derived
    /// from them.
    Base([u8; 32]),
}

/// Returns whether a request contains a signature field.
pub(crate) fn is_signed(headers: &Headers) -> bool {
    [&b"signature-input"[..], b"signature"]
        .iter()
        .any(|name| headers.as_long_as(name).any(|(own, _)| own.eq_ignore_ascii_case(name)))
}

/// The two request fields that carry signatures, with their lines joined. They are read once, for any number of profiles.
pub(crate) struct SignatureFields<'h> {
    input: Option<Cow<'h, [u8]>>,
    signature: Option<Cow<'h, [u8]>>,
}

impl<'h> SignatureFields<'h> {
    /// Collects the two fields from these headers.
    pub(crate) fn of(headers: &'h Headers) -> Self {
        Self { input: joined(headers, "signature-input"), signature: joined(headers, "signature") }
    }

    /// Parses the signatures.
    ///
    /// # Errors
    /// [`Reason::SignatureMissing`] if there are none, [`Reason::SignatureMalformed`] if they cannot be parsed.
    pub(crate) fn read(&self) -> Result<Vec<Signed<'_>>, Reason> {
        match (&self.input, &self.signature) {
            (None, None) => Err(Reason::SignatureMissing),
            (Some(input), Some(signature)) => read(input, signature).map_err(|_| Reason::SignatureMalformed),
            _ => Err(Reason::SignatureMalformed),
        }
    }
}

/// Returns whether the covered part of `Signature-Agent` is an `https` URI.
///
/// A member with parameters is ignored, as the draft requires. Its earlier versions had one parameter, `type`.
fn names_agent(headers: &Headers, input: &Input<'_>, form: SignatureAgent) -> bool {
    let is_uri = |item: &Item| {
        let uri = item.bare_item.as_string().map(StringRef::as_str).unwrap_or_default();
        let host = uri.strip_prefix("https://").unwrap_or_default();
        let plain = match form {
            SignatureAgent::Member => item.params.is_empty(),
            SignatureAgent::Legacy => item.params.keys().all(|name| name.as_str() == "type"),
        };
        plain && !host.is_empty() && !host.starts_with(['/', '?', '#'])
    };
    let is_uri_entry = |entry: &ListEntry| matches!(entry, ListEntry::Item(item) if is_uri(item));
    let (Some(component), Some(value)) = (covered_agent(input, form), joined(headers, "signature-agent")) else {
        return false;
    };
    if value.len() > MOST_AGENT_BYTES {
        return false;
    }
    if component.key.is_none() && value.starts_with(b"\"") {
        return Parser::new(&value).parse::<Item>().is_ok_and(|item| is_uri(&item));
    }
    let Ok(dictionary) = Parser::new(&value).parse::<Dictionary>() else { return false };
    match &component.key {
        Some(key) => dictionary.get(&**key).is_some_and(is_uri_entry),
        None => dictionary.values().any(is_uri_entry),
    }
}

impl<'a> Asked<'a, '_> {
    /// Verifies the one signature of a request that can satisfy the requirements.
    ///
    /// # Errors
    /// The reason why there is no such signature. The cryptographic check runs only after all other checks have passed.
    pub(crate) fn verify(
        &self,
        message: &Message<'_>,
        signed: &Result<Vec<Signed<'_>>, Reason>,
        verifier: &dyn VerifySignature,
    ) -> Result<VerifiedSignature<'a>, Reason> {
        let signed = signed.as_ref().map_err(|reason| *reason)?;
        let (signed, key) = self.choose(signed)?;
        let input = &signed.input;
        let signer = key.map(|key| Signer::Key(&key.keyid));
        verifier.admit(signer.as_slice()).map_err(|BadSignature| Reason::CredentialsLimited)?;
        // Checks that do not depend on the key come first, and also apply if the `keyid` is unknown. Otherwise the answer to a signature
        // with missing components would reveal which keys the policy has.
        let (created, until) = self.window(input)?;
        if self.profile.nonce && input.nonce.is_none() {
            return Err(Reason::SignatureParameters);
        }
        if self.coverage.missing(input).is_some() {
            return Err(Reason::SignatureCoverage);
        }
        let lacks = self.further.missing(input).map(|name| match name {
            "content-digest" => MissingCoverage::Digest,
            _ => MissingCoverage::Component,
        });
        let base = base_bytes(message, input).map_err(|_| Reason::SignatureComponent)?;
        if let Some(form) = self.coverage.agent()
            && !names_agent(message.headers, input, form)
        {
            return Err(Reason::SignatureCoverage);
        }
        let Some(key) = key else {
            verifier.unknown_key();
            return Err(Reason::SignatureKey);
        };
        if input.alg.as_deref().is_some_and(|alg| Some(alg) != key.algorithm.http_name()) {
            return Err(Reason::SignatureAlgorithm);
        }
        if !key.is_valid(self.now) {
            return Err(Reason::SignatureKeyTime);
        }
        verifier
            .verify(&key.key, key.algorithm, &base, &signed.signature)
            .map_err(|BadSignature| Reason::SignatureFailed)?;
        let once = match &input.nonce {
            Some(nonce) => ReplayId::Nonce((**nonce).into()),
            None => ReplayId::Base(sha256(&base)),
        };
        let covers_digest = input.components.iter().any(|c| c.is_whole() && c.name.as_str() == "content-digest");
        Ok(VerifiedSignature { profile: self.name, key, once, created, until, covers_digest, lacks })
    }

    /// Returns the signature that can satisfy the requirements: with the required tag, by a key of this policy. Other signatures are for
    /// other recipients. Two candidates are ambiguous, and a request that is signed twice could be sent once with each signature, so both
    /// are rejected.
    ///
    /// If the policy has none of the keys, the result is the first signature that names a key, without a key.
    fn choose<'s, 'i>(&self, signed: &'s [Signed<'i>]) -> Result<(&'s Signed<'i>, Option<&'a SigningKey>), Reason> {
        let tag = self.profile.tag.as_deref();
        let mut tagged = signed.iter().filter(|signed| signed.input.tag.as_deref() == tag).peekable();
        if tagged.peek().is_none() {
            return Err(Reason::SignatureMissing);
        }
        let mut chosen: Option<(&Signed<'i>, Option<&'a SigningKey>)> = None;
        for candidate in tagged {
            let Some(keyid) = candidate.input.keyid.as_deref() else { continue };
            let key = self.key(keyid);
            chosen = match chosen {
                Some((_, Some(_))) if key.is_some() => return Err(Reason::SignatureAmbiguous),
                // A repeated `keyid` is ambiguous even if it is unknown, so the answer does not reveal whether the policy has the key.
                Some((first, None)) if first.input.keyid == candidate.input.keyid => {
                    return Err(Reason::SignatureAmbiguous);
                }
                Some(known) if key.is_none() => Some(known),
                _ => Some((candidate, key)),
            };
        }
        chosen.ok_or(Reason::SignatureParameters)
    }

    fn key(&self, keyid: &str) -> Option<&'a SigningKey> {
        match self.profile.web_bot_auth {
            // The draft identifies keys only by their thumbprints, and has no shared secrets.
            Some(_) => self.keys.find_by_thumbprint(keyid),
            None => self.keys.find(keyid),
        }
    }

    /// Returns when the signature was created and until when it is accepted.
    fn window(&self, input: &Input<'_>) -> Result<(Timestamp, Timestamp), Reason> {
        let Profile { max_age, clock_ahead, web_bot_auth, .. } = self.profile;
        let seconds = |value: i64| u64::try_from(value).map_err(|_| Reason::SignatureParameters);
        let created = seconds(input.created.ok_or(Reason::SignatureParameters)?)?;
        let expires = input.expires.map(seconds).transpose()?;
        if web_bot_auth.is_some() && expires.is_none() {
            return Err(Reason::SignatureParameters);
        }
        // Integers of structured fields have at most 15 digits and `Timestamp` saturates, so nothing here overflows.
        let oldest = created.saturating_add(*max_age);
        let until = Timestamp::from_secs(expires.map_or(oldest, |expires| expires.min(oldest)));
        let created = Timestamp::from_secs(created);
        if created > self.now.plus(Duration::from_secs(*clock_ahead)) {
            return Err(Reason::SignatureNotYetValid);
        }
        if self.now >= until {
            return Err(Reason::SignatureExpired);
        }
        Ok((created, until))
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
