//! A request as the bytes that an engine receives.

use callgate::text::time::Timestamp;

use super::certificate::Presented;
use super::moment::Offset;
use super::request::{Body, Request};
use super::signature::{self, Signing};
use super::token::{About, Recipe};

/// The body of a request whose case states only that there is one.
const SOMETHING: &[u8] = b"body";

/// A request in bytes. Every engine receives the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Vec<u8>,
    /// Path and query.
    pub target: Vec<u8>,
    /// The host, or `None` if the request names none.
    pub host: Option<Vec<u8>>,
    /// The other header lines, in the order in which they are sent.
    pub lines: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the request ends with its headers.
    pub end_of_stream: bool,
    /// The body, in the chunks in which it arrives.
    pub body: Vec<Vec<u8>>,
    /// The time until the last chunk arrives.
    pub slow: Offset,
    /// The client's address, if the case names one.
    pub source: Option<String>,
    /// The certificate that the client presents.
    pub certificate: Option<Presented>,
}

impl Call {
    /// Returns all lines as a gateway passes them to the filter, pseudo-headers first.
    #[must_use]
    pub fn all_lines(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pseudo = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let mut lines =
            vec![pseudo(":method", &self.method), pseudo(":scheme", b"https"), pseudo(":path", &self.target)];
        lines.extend(self.host.as_deref().map(|host| pseudo(":authority", host)));
        lines.extend(self.lines.iter().cloned());
        lines
    }

    /// Builds the request of a case, without its certificate. The case's name serves as the `jti` of the proof.
    pub(super) fn new(
        request: &Request,
        token: Option<&Recipe>,
        proof: Option<&Recipe>,
        api_key: Option<&(Vec<u8>, Vec<u8>)>,
        signing: &Signing,
        name: &str,
        now: Timestamp,
    ) -> Self {
        let method = request.method.as_ref().map_or_else(|| b"GET".to_vec(), |method| method.0.clone());
        let host = request.host.as_ref().map(|host| host.0.clone());
        let token = token.map(|token| token.mint(now));
        let mut lines = Vec::with_capacity(request.headers.len() + 6);
        let usual = if proof.is_some() { "DPoP {token}" } else { "Bearer {token}" };
        match (&token, &request.carrier, request.authorization.as_deref()) {
            (token, Some((name, form)), authorization) => {
                lines.extend(token.as_ref().map(|token| (name.0.clone(), filled(form, token))));
                lines.extend(authorization.map(|form| (b"authorization".to_vec(), form.as_bytes().to_vec())));
            }
            (Some(token), None, form) => lines.push(authorization(form.unwrap_or(usual), token)),
            (None, None, Some(form)) => lines.push(authorization(form, b"")),
            (None, None, None) => {}
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
        lines.extend(api_key.cloned());
        lines.extend(request.headers.iter().map(|(name, value)| (name.0.clone(), value.0.clone())));
        let mut call = Self {
            method,
            target: request.path.0.clone(),
            host,
            lines,
            end_of_stream: true,
            body: Vec::new(),
            slow: Offset::default(),
            source: request.source.clone(),
            certificate: None,
        };
        call.take_body(&request.body);
        signature::sign(&mut call, signing, now);
        call.tamper(request, signing, now);
        call.measure(request.tamper.body.as_ref().unwrap_or(&request.body));
        call
    }

    /// Returns the whole body, with all chunks joined.
    #[must_use]
    pub fn whole_body(&self) -> Vec<u8> {
        self.body.concat()
    }

    fn take_body(&mut self, body: &Body) {
        self.slow = Offset::default();
        self.body = match body {
            Body::None => Vec::new(),
            Body::Open => vec![SOMETHING.to_vec()],
            Body::Whole(bytes) => vec![bytes.0.clone()],
            Body::Parts { parts, slow } => {
                self.slow = *slow;
                parts.iter().map(|part| part.0.clone()).collect()
            }
        };
        // A request with an empty body ends with its headers.
        self.end_of_stream = match body {
            Body::None => true,
            Body::Whole(bytes) => bytes.0.is_empty(),
            Body::Open | Body::Parts { .. } => false,
        };
    }

    /// Adds the length of a body in one piece, unless the case states it.
    fn measure(&mut self, body: &Body) {
        let says = |name: &[u8]| {
            [&b"content-length"[..], b"transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own))
        };
        if let Body::Whole(bytes) = body
            && !self.lines.iter().any(|(name, _)| says(name))
        {
            self.lines.push((b"content-length".to_vec(), bytes.0.len().to_string().into_bytes()));
        }
    }

    /// Applies the changes that are made to the request after it was signed.
    fn tamper(&mut self, request: &Request, signing: &Signing, now: Timestamp) {
        let tamper = &request.tamper;
        let put = |slot: &mut Vec<u8>, other: &Option<super::bytes::Bytes>| {
            if let Some(other) = other {
                slot.clone_from(&other.0);
            }
        };
        put(&mut self.method, &tamper.method);
        put(&mut self.target, &tamper.path);
        if let Some(host) = &tamper.host {
            self.host = Some(host.0.clone());
        }
        if let Some(token) = &signing.other_token {
            let token = token.mint(now);
            let line = match &request.carrier {
                Some((name, form)) => (name.0.clone(), filled(form, &token)),
                None => authorization("Bearer {token}", &token),
            };
            self.lines.retain(|(name, _)| *name != line.0);
            self.lines.insert(0, line);
        }
        if let Some(name) = &tamper.without {
            self.lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
        }
        if let Some((name, value)) = &tamper.replace {
            self.lines.retain(|(own, _)| !own.eq_ignore_ascii_case(&name.0));
            self.lines.push((name.0.clone(), value.0.clone()));
        }
        if let Some((name, value)) = &tamper.header {
            self.lines.push((name.0.clone(), value.0.clone()));
        }
        if let Some(body) = &tamper.body {
            self.take_body(body);
        }
    }
}

fn authorization(form: &str, token: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (b"authorization".to_vec(), filled(form, token))
}

fn filled(form: &str, token: &[u8]) -> Vec<u8> {
    match form.split_once("{token}") {
        Some((before, after)) => [before.as_bytes(), token, after.as_bytes()].concat(),
        None => form.as_bytes().to_vec(),
    }
}
