//! Reads one entry of a list of revoked credentials, in the policy or in a fetched list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::api_keys::decode;
use super::expiry::parse_expiry;
use crate::document::Revoked;
use crate::identity::revocation::{Entry, Kind, Mark};
use crate::text::time::Timestamp;

/// The maximum length of the reason of an entry, in bytes.
const MOST_REASON: usize = 128;

/// An entry, and the names in it that must be those of a policy.
#[derive(Debug)]
pub(super) struct Read<'r> {
    pub(super) entry: Entry<'r>,
    pub(super) issuer: Option<&'r str>,
    pub(super) tenant: Option<&'r str>,
    /// The field with the name of an agent, and the name.
    pub(super) agent: Option<(&'static str, &'r str)>,
}

/// What is wrong with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The field. Empty for the entry as a whole.
    pub(super) field: &'static str,
    pub(super) message: String,
}

/// Reads an entry. Names are not looked up.
pub(super) fn read(raw: &Revoked) -> Result<Read<'_>, Fault> {
    let (kind, field, value) = only(raw)?;
    let issuer = raw.issuer.as_deref();
    let tenant = raw.tenant.as_deref();
    check_issuer(kind, field, issuer, tenant)?;
    for (field, value) in [("issuer", issuer), ("tenant", tenant), (field, Some(value))] {
        if value == Some("") {
            return Err(fault(field, "the value is empty; write the exact value"));
        }
    }
    let of_issuer = issuer.unwrap_or_default();
    let mark = match kind {
        Kind::Token => Mark::of_hash(&decode(value).ok_or_else(|| fault(field, HEXADECIMAL))?),
        Kind::Thumbprint => Mark::of_hash(&thumbprint(value).ok_or_else(|| fault(field, THUMBPRINT))?),
        // No field names an endpoint: a policy publishes those that it suspends.
        Kind::Agent | Kind::Actor | Kind::Endpoint => Mark::of_name(value),
        Kind::Jti | Kind::Subject | Kind::Client | Kind::Kid => Mark::of_value(of_issuer, tenant, value),
        Kind::Issuer => Mark::of_issuer(of_issuer, tenant),
    };
    let entry = Entry {
        kind,
        mark,
        issued_before: time("issued_before", raw.issued_before.as_deref())?,
        until: time("until", raw.until.as_deref())?,
        reason: reason(raw.reason.as_deref())?,
    };
    let agent = matches!(kind, Kind::Agent | Kind::Actor).then_some((field, value));
    Ok(Read { entry, issuer, tenant, agent })
}

const HEXADECIMAL: &str = "invalid hash; expected SHA-256 of the token's `header.payload` in 64 hexadecimal digits";
const THUMBPRINT: &str =
    "invalid thumbprint; expected SHA-256 in base64url without padding (43 characters) or in 64 hexadecimal digits";

/// Returns what an entry names: its kind, the field, and the value.
fn only(raw: &Revoked) -> Result<(Kind, &'static str, &str), Fault> {
    let named = [
        (Kind::Token, "token_sha256", &raw.token_sha256),
        (Kind::Jti, "jti", &raw.jti),
        (Kind::Subject, "subject", &raw.subject),
        (Kind::Client, "client", &raw.client),
        (Kind::Agent, "agent", &raw.agent),
        (Kind::Actor, "actor", &raw.actor),
        (Kind::Kid, "kid", &raw.kid),
        (Kind::Thumbprint, "thumbprint", &raw.thumbprint),
    ];
    let mut named = named.into_iter().filter_map(|(kind, field, value)| Some((kind, field, value.as_deref()?)));
    match (named.next(), named.next(), raw.issuer.as_deref()) {
        (Some(only), None, _) => Ok(only),
        (Some((_, first, _)), Some((_, second, _)), _) => {
            Err(fault(second, &format!("an entry names one thing, and this one has `{first}` too; write two entries")))
        }
        (None, _, Some(issuer)) => Ok((Kind::Issuer, "issuer", issuer)),
        (None, ..) => Err(fault(
            "",
            "the entry names nothing; write one of `token_sha256`, `jti`, `subject`, `client`, `agent`, `actor`, `kid`, `thumbprint` and \
             `issuer`",
        )),
    }
}

/// Checks that an entry has an issuer and a tenant where they have a meaning.
fn check_issuer(kind: Kind, field: &'static str, issuer: Option<&str>, tenant: Option<&str>) -> Result<(), Fault> {
    let is_of_issuer = matches!(kind, Kind::Jti | Kind::Subject | Kind::Client | Kind::Kid | Kind::Issuer);
    match (issuer, tenant) {
        (None, _) if is_of_issuer => {
            Err(fault(field, "`issuer` is missing; write the name of the issuer that assigned this value"))
        }
        (Some(_), _) if !is_of_issuer => {
            Err(fault("issuer", &format!("`{field}` applies to the credentials of all issuers; remove this")))
        }
        (_, Some(_)) if !matches!(kind, Kind::Subject | Kind::Client | Kind::Issuer) => {
            Err(fault("tenant", &format!("`{field}` applies to all tenants; remove this")))
        }
        _ => Ok(()),
    }
}

/// Reads the thumbprint of a key or a certificate, or the hash of an API key.
fn thumbprint(text: &str) -> Option<[u8; 32]> {
    decode(text).or_else(|| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok())
}

/// Reads a time. A day means its end, in UTC.
fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Fault> {
    let read = |text| {
        parse_expiry(text).ok_or_else(|| {
            fault(
                field,
                "invalid time; expected a moment such as `2026-11-30T14:00:00Z`, or a day such as `2026-11-30`",
            )
        })
    };
    text.map(read).transpose()
}

fn reason(text: Option<&str>) -> Result<Option<&str>, Fault> {
    let fits = |text: &str| text.len() <= MOST_REASON && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match text {
        Some(text) if text.trim().is_empty() || !fits(text) => {
            Err(fault("reason", &format!("invalid reason; expected at most {MOST_REASON} printable ASCII characters")))
        }
        text => Ok(text),
    }
}

fn fault(field: &'static str, message: &str) -> Fault {
    Fault { field, message: message.to_owned() }
}

#[cfg(test)]
#[path = "revoked_tests.rs"]
mod tests;
