//! Compiles the places in which clients send access tokens.

use super::reserved;
use crate::document::{self, CredentialPlace};
use crate::document::{Findings, Place};
use crate::request::places::{CredentialPlaces, OtherPlaces, PROTOCOLS};
use crate::text::ascii::is_token;

/// The maximum number of headers that carry tokens. Each one is compared with every header of a request.
const MOST_HEADERS: usize = 4;
/// The maximum length of a prefix of subprotocols.
const MOST_PREFIX: usize = 64;

pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> CredentialPlaces {
    let place = Place::root().field("credentials_from");
    let (mut authorization, mut headers, mut protocol_prefix) = (false, Vec::new(), None);
    if document.credentials_from.is_empty() {
        findings.error(place.clone(), "no token would ever be read; list a place, such as `authorization`");
    }
    for (index, written) in document.credentials_from.iter().enumerate() {
        let own = place.index(index);
        if document.credentials_from.iter().take(index).any(|earlier| earlier == written) {
            findings.error(own, "this place is listed twice; remove one");
            continue;
        }
        match written {
            CredentialPlace::Authorization => authorization = true,
            CredentialPlace::Header(name) => {
                if is_header(name, document, &own.field("header"), findings) {
                    headers.push(name.as_str().into());
                }
            }
            CredentialPlace::WebsocketProtocol(prefix) => {
                check_prefix(prefix, &own.field("websocket_protocol"), findings);
                if protocol_prefix.replace(prefix.as_str().into()).is_some() {
                    findings.error(own, "subprotocols can have only one prefix for tokens; remove one");
                }
            }
        }
    }
    if headers.len() > MOST_HEADERS {
        findings.error(place.clone(), format!("too many headers; expected at most {MOST_HEADERS}"));
    }
    if document.dpop.is_some() && !authorization {
        findings.error(
            place.clone(),
            "key-bound tokens are accepted only as `Authorization: DPoP TOKEN`; add `authorization` to the list, or remove `dpop`",
        );
    }
    if protocol_prefix.is_some() && document.endpoints.iter().all(|endpoint| endpoint.upgrade.is_none()) {
        findings.warn(
            place,
            "no endpoint has `upgrade: websocket`, so no WebSocket client needs `websocket_protocol`; remove it",
        );
    }
    let others = !headers.is_empty() || protocol_prefix.is_some();
    CredentialPlaces { authorization, others: others.then_some(OtherPlaces { headers, protocol_prefix }) }
}

/// Reports whether tokens may be in a header other than `Authorization` that has this name.
pub(super) fn carry(name: &str, document: &document::Document) -> bool {
    document.credentials_from.iter().any(|place| match place {
        CredentialPlace::Authorization => false,
        CredentialPlace::Header(own) => own == name,
        CredentialPlace::WebsocketProtocol(_) => name == PROTOCOLS,
    })
}

fn is_header(name: &str, document: &document::Document, place: &Place, findings: &mut Findings) -> bool {
    let instead = match name.to_ascii_lowercase().as_str() {
        "authorization" => "write `authorization` instead of `{ header: authorization }`",
        "cookie" => {
            "browsers send cookies by themselves, also for requests that another site causes, so no token is read from them; \
             let clients send a header"
        }
        PROTOCOLS => "subprotocols are a list; write `{ websocket_protocol: PREFIX }`",
        _ => return reserved::check(name, "x-goog-iap-jwt-assertion", document, place, findings),
    };
    findings.error(place.clone(), instead);
    false
}

fn check_prefix(prefix: &str, place: &Place, findings: &mut Findings) {
    let ends = prefix.bytes().last().is_some_and(|last| !last.is_ascii_alphanumeric());
    if !ends || prefix.len() > MOST_PREFIX || !is_token(prefix.as_bytes()) {
        findings.error(
            place.clone(),
            format!(
                "invalid prefix `{}`; expected at most {MOST_PREFIX} characters of a token (RFC 9110) that end with neither a letter \
                 nor a digit, such as `bearer.`",
                prefix.escape_debug()
            ),
        );
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
