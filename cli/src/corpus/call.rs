//! A request in the bytes that an engine is given.

use callgate::time::Timestamp;

use super::format::{Body, Request};
use super::token::{About, Recipe};

/// A request in bytes. No two engines are given anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Vec<u8>,
    /// Path and query.
    pub target: Vec<u8>,
    /// The host, unless the request names none.
    pub host: Option<Vec<u8>>,
    /// Header lines in the order they are sent, without those above.
    pub lines: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the request ends with its headers.
    pub end_of_stream: bool,
    /// The address that it comes from, where the case names one.
    pub source: Option<String>,
}

impl Call {
    /// All lines as a gateway hands them to the filter, pseudo-headers first.
    #[must_use]
    pub fn all_lines(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pseudo = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let mut lines =
            vec![pseudo(":method", &self.method), pseudo(":scheme", b"https"), pseudo(":path", &self.target)];
        lines.extend(self.host.as_deref().map(|host| pseudo(":authority", host)));
        lines.extend(self.lines.iter().cloned());
        lines
    }

    /// The request of a case. What a proof is told apart from others by is the case's name.
    pub(super) fn new(
        request: &Request,
        token: Option<&Recipe>,
        proof: Option<&Recipe>,
        name: &str,
        now: Timestamp,
    ) -> Self {
        let method = request.method.as_ref().map_or_else(|| b"GET".to_vec(), |method| method.0.clone());
        let host = request.host.as_ref().map(|host| host.0.clone());
        let token = token.map(|token| token.mint(now));
        let mut lines = Vec::with_capacity(request.headers.len() + 2);
        let usual = if proof.is_some() { "DPoP {token}" } else { "Bearer {token}" };
        match (&token, request.authorization.as_deref()) {
            (Some(token), form) => lines.push(authorization(form.unwrap_or(usual), token)),
            (None, Some(form)) => lines.push(authorization(form, b"")),
            (None, None) => {}
        }
        if let Some(proof) = proof {
            let about = About {
                jti: name,
                method: &method,
                host: host.as_deref().unwrap_or_default(),
                target: &request.path.0,
                token: token.as_deref(),
            };
            lines.push((b"dpop".to_vec(), proof.prove(about, now)));
        }
        lines.extend(request.headers.iter().map(|(name, value)| (name.0.clone(), value.0.clone())));
        Self {
            method,
            target: request.path.0.clone(),
            host,
            lines,
            end_of_stream: request.body == Body::None,
            source: request.source.clone(),
        }
    }
}

fn authorization(form: &str, token: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let value = match form.split_once("{token}") {
        Some((before, after)) => [before.as_bytes(), token, after.as_bytes()].concat(),
        None => form.as_bytes().to_vec(),
    };
    (b"authorization".to_vec(), value)
}
