//! Whether a request is signed as it was asked for, by a key of the policy.

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

/// The longest `Signature-Agent` that is read, in bytes: a few URIs.
const MOST_AGENT_BYTES: usize = 4 * 1024;

/// Which rules a signature is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProfileName {
    /// The policy's own.
    Own,
    /// Web Bot Auth's.
    WebBotAuth,
}

/// How signatures are judged, whatever the call.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// Signatures with another tag are for somebody else.
    pub(crate) tag: Option<Box<str>>,
    /// Seconds after `created` in which a signature is taken.
    pub(crate) max_age: u64,
    /// Seconds that a client's clock may be ahead.
    pub(crate) clock_ahead: u64,
    /// Whether a nonce is asked for.
    pub(crate) nonce: bool,
    /// The components that are asked for whatever the call; `@query` only where there is one.
    pub(crate) cover: Vec<Box<str>>,
    /// What Web Bot Auth asks for beside that.
    pub(crate) web_bot_auth: Option<SignatureAgent>,
}

/// What is asked of the signature of one call.
pub(crate) struct Asked<'a, 'c> {
    pub(crate) name: ProfileName,
    pub(crate) profile: &'a Profile,
    pub(crate) keys: &'a SigningKeys,
    /// What every call of the policy asks for: judged before anything is computed.
    pub(crate) coverage: &'c Coverage<'a>,
    /// What the matched endpoint asks for beside that. Who calls is known without it.
    pub(crate) further: &'c Coverage<'a>,
    pub(crate) now: Timestamp,
}

/// A signature that was verified: only [`Asked::verify`] makes one.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedSignature<'a> {
    /// The rules that it was judged by.
    pub(crate) profile: ProfileName,
    /// The key that made it.
    pub(crate) key: &'a SigningKey,
    /// What makes this signature one of a kind.
    pub(crate) once: ReplayId,
    /// When it says that it was made.
    pub(crate) created: Timestamp,
    /// From when on it is not taken any more.
    pub(crate) until: Timestamp,
    /// Whether it covers `content-digest`.
    pub(crate) covers_digest: bool,
    /// What the endpoint asks for and it does not cover.
    pub(crate) lacks: Option<MissingCoverage>,
}

/// What a signature does not cover, though the endpoint asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingCoverage {
    /// The digest of the body.
    Digest,
    /// Another component.
    Component,
}

/// What a signature may be used once by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplayId {
    /// The nonce that its signer chose.
    Nonce(Box<str>),
    /// The SHA-256 hash of its base. Its own bytes would not do: others can be made from them that verify too.
    Base([u8; 32]),
}

/// Whether a request carries anything that could be a signature.
pub(crate) fn is_signed(headers: &Headers) -> bool {
    [&b"signature-input"[..], b"signature"]
        .iter()
        .any(|name| headers.as_long_as(name).any(|(own, _)| own.eq_ignore_ascii_case(name)))
}

/// The two fields of a request that carry signatures, their lines joined: read once, whatever the number of profiles by which they
/// are judged.
pub(crate) struct SignatureFields<'h> {
    input: Option<Cow<'h, [u8]>>,
    signature: Option<Cow<'h, [u8]>>,
}

impl<'h> SignatureFields<'h> {
    /// The fields of these lines.
    pub(crate) fn of(headers: &'h Headers) -> Self {
        Self { input: joined(headers, "signature-input"), signature: joined(headers, "signature") }
    }

    /// The signatures in them.
    ///
    /// # Errors
    /// [`Reason::SignatureMissing`] where there are none, [`Reason::SignatureMalformed`] where they cannot be read.
    pub(crate) fn read(&self) -> Result<Vec<Signed<'_>>, Reason> {
        match (&self.input, &self.signature) {
            (None, None) => Err(Reason::SignatureMissing),
            (Some(input), Some(signature)) => read(input, signature).map_err(|_| Reason::SignatureMalformed),
            _ => Err(Reason::SignatureMalformed),
        }
    }
}

/// Whether what the signature covers of `Signature-Agent` is an `https` URI.
///
/// A member with parameters is ignored, as the draft says. Its earlier versions had one parameter, `type`.
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
    /// Verifies the one of a request's signatures that could be the one asked for.
    ///
    /// # Errors
    /// The reason why there is none. Nothing is computed before everything else is as it was asked for.
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
        // What does not depend on the key comes first, for a `keyid` that is unknown as well: else the answer to a thin signature
        // would tell which keys the policy has.
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

    /// The signature that could be the one asked for: with the tag that is asked for, by a key of this policy. Others are for
    /// other readers. Of two nobody could say which was meant, and a request that is signed twice could be sent once with each.
    ///
    /// Where the policy has none of the keys, the first signature that names one is returned without a key.
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
                // One `keyid` twice is ambiguous even where it is unknown, so that the answer does not tell whether it is.
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
            // The draft knows keys by their thumbprints alone, and no shared secrets.
            Some(_) => self.keys.find_by_thumbprint(keyid),
            None => self.keys.find(keyid),
        }
    }

    /// When the signature was made and until when it is taken.
    fn window(&self, input: &Input<'_>) -> Result<(Timestamp, Timestamp), Reason> {
        let Profile { max_age, clock_ahead, web_bot_auth, .. } = self.profile;
        let seconds = |value: i64| u64::try_from(value).map_err(|_| Reason::SignatureParameters);
        let created = seconds(input.created.ok_or(Reason::SignatureParameters)?)?;
        let expires = input.expires.map(seconds).transpose()?;
        if web_bot_auth.is_some() && expires.is_none() {
            return Err(Reason::SignatureParameters);
        }
        // SF integers have 15 digits: nothing here overflows.
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
