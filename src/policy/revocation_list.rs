//! Reads a fetched list of revoked credentials.
//!
//! A signed list is a JWS in compact serialization (RFC 7515). Its header has exactly the members `typ`, which is
//! `callgate-revocations+jws`, `alg` and `kid`, which are those of the policy's `signed_by`. Its payload, which alone is an unsigned list,
//! is a JSON object with exactly these members:
//!
//! - `iat`: when the list was issued, in seconds since the epoch. It must not be earlier than that of the list before. A list with the same
//!   `iat` must revoke everything that the list before does.
//! - `exp`: when the list expires, at most an hour later.
//! - `aud`, which may be absent: for whom the list is, a text or an array of texts. It is compared with the policy's `audience`.
//! - `entries`: an array of objects with the same members as the items of the policy's `revoked`, all of them text.
//!
//! An entry with the name of an issuer or agent that the policy does not have is counted, and revokes nothing. It stays in the list, because
//! workers with another version of the policy use the same list. Anything else that is wrong invalidates the whole list.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::Policy;
use super::revocation::{ListKey, ListRules};
use super::revoked;
use crate::document::Revoked;
use crate::identity::crypto::{Algorithm, SoftwareVerifier, VerifySignature as _};
use crate::identity::revocation::{Builder, Entries};
use crate::identity::token::json;
use crate::text::time::Timestamp;

/// The maximum size of a list as it is fetched, in bytes.
pub(crate) const MOST_LIST_BYTES: usize = 16 << 20;
/// The maximum size of a list as it is published, in bytes. With what the store adds to it, it fits into 16 MiB.
pub(crate) const MOST_PUBLISHED_BYTES: usize = (16 << 20) - 64;
/// The maximum number of entries of a list.
const MOST_ENTRIES: usize = 200_000;
/// How long a list is valid at most, in seconds.
const MOST_LIFETIME: u64 = 3_600;
/// The maximum size of the header of a signed list.
const HEADER: json::Bounds = json::Bounds { bytes: 1_024, depth: 1 };
const TYPE: &str = "callgate-revocations+jws";
/// The maximum number of characters of a message about JSON, which may quote the list.
const MOST_MESSAGE: usize = 256;

/// A list that can be used.
#[derive(Debug)]
pub(crate) struct RevocationList {
    pub(crate) entries: Entries,
    /// When the list expires, in seconds since the epoch.
    pub(crate) expires: u64,
    /// The number of entries with names that the policy does not have.
    pub(crate) ignored: usize,
}

/// Why a list is not used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListFault {
    /// It exceeds the maximum size, as it is fetched or as it would be published.
    Size,
    /// It is not a compact JWS.
    Form,
    /// A member of the header is missing or has another value, or there is another member.
    Header(&'static str),
    /// The signature does not verify with the policy's key.
    Signature,
    /// It is not the JSON of a list.
    Json(String),
    /// Its `aud` does not contain the policy's `audience`.
    Audience,
    /// Its lifetime is longer than an hour, or negative.
    Lifetime,
    /// It has expired.
    Expired,
    /// Its `iat` is in the future.
    Early,
    /// It was issued before the list that is in use.
    Older,
    /// It was issued in the same second as the list that is in use, and lacks some of its entries.
    SameTime,
}

impl fmt::Display for ListFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(f, "it is larger than {} MiB", MOST_LIST_BYTES >> 20),
            Self::Form => f.write_str("it is not a signed list (a compact JWS), which `signed_by` requires"),
            Self::Header(member) => {
                write!(
                    f,
                    "the header of its signature has no valid `{member}`, or other members than `typ`, `alg` and `kid`"
                )
            }
            Self::Signature => f.write_str("its signature does not verify with `signed_by`"),
            Self::Json(why) => write!(f, "it is not a valid list: {why}"),
            Self::Audience => f.write_str("its `aud` does not contain the `audience` of `revocations`, so it is for other gates"),
            Self::Lifetime => f.write_str("its `exp` is not after its `iat`, or more than an hour after it"),
            Self::Expired => f.write_str("it has expired; its server must issue it again before its `exp`"),
            Self::Early => f.write_str("its `iat` is in the future"),
            Self::Older => f.write_str("it was issued before the list in use, so it may lack entries"),
            Self::SameTime => f.write_str(
                "it has the `iat` of the list in use and lacks some of its entries; a list without them needs a later `iat`",
            ),
        }
    }
}

impl ListRules {
    /// Reads a list.
    ///
    /// # Errors
    /// The first reason why the list is not used.
    pub(crate) fn read(&self, policy: &Policy, body: &[u8], now: Timestamp) -> Result<RevocationList, ListFault> {
        let (list, times) = self.read_at_any_time(policy, body)?;
        times.check(policy, now).map(|()| list)
    }

    /// Reads a list without comparing its times with the current time.
    ///
    /// # Errors
    /// The first reason why the list is not used.
    pub(crate) fn read_at_any_time(
        &self,
        policy: &Policy,
        body: &[u8],
    ) -> Result<(RevocationList, ListTimes), ListFault> {
        if body.len() > MOST_LIST_BYTES {
            return Err(ListFault::Size);
        }
        let payload = match &self.signed_by {
            Some(key) => Some(key.payload_of(body.trim_ascii())?),
            None => None,
        };
        let payload = payload.as_deref().unwrap_or(body);
        let mut deserializer = serde_json::Deserializer::from_slice(payload);
        let read = deserializer.deserialize_map(Payload { policy });
        let Read { times, audiences, builder, ignored } = read
            .and_then(|read| deserializer.end().map(|()| read))
            .map_err(|error| ListFault::Json(error.to_string().chars().take(MOST_MESSAGE).collect()))?;
        let is_for = |audience: &str| audiences.iter().any(|own| own == audience);
        if self.audience.as_deref().is_some_and(|audience| !is_for(audience)) {
            return Err(ListFault::Audience);
        }
        if times.exp <= times.iat || times.exp - times.iat > MOST_LIFETIME {
            return Err(ListFault::Lifetime);
        }
        let entries = builder.finish(times.iat);
        if entries.bytes().len() > MOST_PUBLISHED_BYTES {
            return Err(ListFault::Size);
        }
        Ok((RevocationList { entries, expires: times.exp, ignored }, times))
    }
}

/// The times of a list, in seconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListTimes {
    pub(crate) iat: u64,
    pub(crate) exp: u64,
}

impl ListTimes {
    /// Checks that a list is valid at this time.
    pub(crate) fn check(self, policy: &Policy, now: Timestamp) -> Result<(), ListFault> {
        let skew = policy.issuers.skew();
        if now >= Timestamp::from_secs(self.exp).plus(skew) {
            return Err(ListFault::Expired);
        }
        if Timestamp::from_secs(self.iat) > now.plus(skew) {
            return Err(ListFault::Early);
        }
        Ok(())
    }
}

impl ListKey {
    /// Verifies a signed list, and returns its payload.
    fn payload_of(&self, body: &[u8]) -> Result<Vec<u8>, ListFault> {
        let mut parts = body.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ListFault::Form);
        };
        if header.len() > HEADER.bytes * 2 {
            return Err(ListFault::Form);
        }
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| ListFault::Form);
        let algorithm = self.check_header(&decode(header)?)?;
        let signed = body.get(..header.len() + 1 + payload.len()).ok_or(ListFault::Form)?;
        let verified = SoftwareVerifier.verify(&self.key, algorithm, signed, &decode(signature)?);
        verified.map_err(|_| ListFault::Signature)?;
        decode(payload)
    }

    /// Checks the header. Returns the algorithm.
    fn check_header(&self, header: &[u8]) -> Result<Algorithm, ListFault> {
        let header = json::parse(header, HEADER).map_err(|_| ListFault::Form)?;
        let member = |name: &'static str| header.get(name).and_then(Value::as_str).ok_or(ListFault::Header(name));
        if member("typ")? != TYPE {
            return Err(ListFault::Header("typ"));
        }
        if member("kid")? != &*self.kid {
            return Err(ListFault::Header("kid"));
        }
        let algorithm = Algorithm::from_jose(member("alg")?).filter(|algorithm| *algorithm == self.algorithm);
        let has_others = header.as_object().is_none_or(|members| members.len() > 3);
        if has_others {
            return Err(ListFault::Header("crit"));
        }
        algorithm.ok_or(ListFault::Header("alg"))
    }
}

/// The payload of a list, while it is read. No more than one entry is in memory as it was written.
struct Read {
    times: ListTimes,
    /// The values of `aud`. Empty if it is absent.
    audiences: Vec<String>,
    builder: Builder,
    ignored: usize,
}

struct Payload<'p> {
    policy: &'p Policy,
}

impl<'de> Visitor<'de> for Payload<'_> {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `iat`, `exp` and `entries`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let (mut iat, mut exp, mut aud, mut entries) = (None, None, None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "iat" if iat.is_none() => iat = Some(map.next_value::<u64>()?),
                "exp" if exp.is_none() => exp = Some(map.next_value::<u64>()?),
                "aud" if aud.is_none() => aud = Some(audiences::<A::Error>(map.next_value::<Value>()?)?),
                "entries" if entries.is_none() => {
                    entries = Some(map.next_value_seed(AllEntries { policy: self.policy })?);
                }
                "iat" | "exp" | "aud" | "entries" => {
                    return Err(A::Error::custom(format_args!("`{name}` occurs twice")));
                }
                _ => return Err(unknown(&name)),
            }
        }
        let iat = iat.ok_or_else(|| A::Error::missing_field("iat"))?;
        let exp = exp.ok_or_else(|| A::Error::missing_field("exp"))?;
        let (builder, ignored) = entries.ok_or_else(|| A::Error::missing_field("entries"))?;
        Ok(Read { times: ListTimes { iat, exp }, audiences: aud.unwrap_or_default(), builder, ignored })
    }
}

/// Reads the value of `aud`.
fn audiences<E: Error>(value: Value) -> Result<Vec<String>, E> {
    let text = |value| if let Value::String(text) = value { Some(text) } else { None };
    let audiences: Option<Vec<String>> = match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        value => text(value).map(|audience| vec![audience]),
    };
    audiences.ok_or_else(|| E::custom("`aud` is neither text nor an array of texts"))
}

/// Reads the entries one after another. Returns how many of them have names that the policy does not have.
struct AllEntries<'p> {
    policy: &'p Policy,
}

impl<'de> DeserializeSeed<'de> for AllEntries<'_> {
    type Value = (Builder, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AllEntries<'_> {
    type Value = (Builder, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut builder, mut ignored) = (Builder::default(), 0);
        while let Some(raw) = seq.next_element_seed(OneEntry)? {
            let index = builder.len();
            if index >= MOST_ENTRIES {
                return Err(A::Error::custom(format_args!("it has more than {MOST_ENTRIES} entries")));
            }
            let read = revoked::read(&raw).map_err(|fault| {
                let field = if fault.field.is_empty() { String::new() } else { format!(".{}", fault.field) };
                A::Error::custom(format_args!("entries[{index}]{field}: {}", fault.message))
            })?;
            let knows_issuer = read.issuer.is_none_or(|name| self.policy.issuers.id(name).is_some());
            let knows_agent = read.agent.is_none_or(|(_, name)| self.policy.agents.named(name).is_some());
            ignored += usize::from(!(knows_issuer && knows_agent));
            builder.add(read.entry);
        }
        Ok((builder, ignored))
    }
}

struct OneEntry;

impl<'de> DeserializeSeed<'de> for OneEntry {
    type Value = Revoked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Revoked, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneEntry {
    type Value = Revoked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry, which is an object")
    }

    /// Accepts text alone: an entry whose value is `null` could revoke more than was meant.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Revoked, A::Error> {
        let mut raw = Revoked::default();
        while let Some(name) = map.next_key::<String>()? {
            let member = match name.as_str() {
                "token_sha256" => &mut raw.token_sha256,
                "issuer" => &mut raw.issuer,
                "tenant" => &mut raw.tenant,
                "jti" => &mut raw.jti,
                "subject" => &mut raw.subject,
                "client" => &mut raw.client,
                "agent" => &mut raw.agent,
                "actor" => &mut raw.actor,
                "kid" => &mut raw.kid,
                "thumbprint" => &mut raw.thumbprint,
                "issued_before" => &mut raw.issued_before,
                "until" => &mut raw.until,
                "reason" => &mut raw.reason,
                _ => return Err(unknown(&name)),
            };
            if member.is_some() {
                return Err(A::Error::custom(format_args!("`{name}` occurs twice")));
            }
            *member = Some(map.next_value::<String>()?);
        }
        Ok(raw)
    }
}

fn unknown<E: Error>(name: &str) -> E {
    E::custom(format_args!("unknown member `{}`", name.escape_debug()))
}

#[cfg(test)]
#[path = "revocation_list_tests.rs"]
mod tests;
