//! Builds cases from their description in a file: merges requests with the defaults, and derives cases from other cases.

use std::collections::BTreeMap;

use callgate::document::Place;
use callgate::text::time::Timestamp;
use callgate::{Ground, Reason};
use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::certificate::Presented;
use super::fixtures::Fixtures;
use super::format::{self, Change, Decision};
use super::merge::merge;
use super::reader::Reader;
use super::request::{Request, Sign};
use super::signature::{self, Signing};
use super::token::Recipe;
use super::{Case, Policy};
use crate::sign::Digest;

/// Why a case with a client certificate is skipped in a real Envoy.
const WITHOUT_TLS: &str = "the listener of this run has no TLS";

/// Builds cases in order, so each one can refer to earlier cases.
pub(super) struct Deriver<'l, 'd> {
    pub(super) reader: &'l mut Reader<'d>,
    pub(super) fixtures: &'l Fixtures,
    pub(super) policies: &'l [Policy],
    /// The time at which every case begins.
    pub(super) now: Timestamp,
    /// API keys by name.
    pub(super) api_keys: &'l BTreeMap<String, Bytes>,
    /// The properties of every request, unless its case overrides them.
    pub(super) defaults: &'l Map<String, Value>,
    pub(super) cases: Vec<Case>,
}

impl Deriver<'_, '_> {
    /// Adds a case, or records what is wrong with it.
    pub(super) fn case(&mut self, place: &Place, value: &Value) {
        let Some(raw) = self.reader.read::<format::Case>(place, value) else { return };
        for (field, text) in [("name", &raw.name), ("intent", &raw.intent)] {
            if text.trim().is_empty() || text.contains('\n') {
                self.reader.error(&place.field(field), "write one line");
            }
        }
        if self.cases.iter().any(|case| case.name == raw.name) {
            self.reader.error(&place.field("name"), "another case has this name; choose another");
        }
        self.expectation(&place.field("expect"), &raw.expect);
        let Some(mut case) = (match (&raw.from, &raw.change) {
            (Some(from), Some(change)) => self.derived(place, &raw, from, change),
            (None, None) => self.own(place, &raw),
            _ => {
                self.reader.error(place, "`from` and `change` belong together; write both or neither");
                None
            }
        }) else {
            return;
        };
        case.position = self.reader.position(place);
        case.name = raw.name;
        case.intent = raw.intent;
        case.expect = raw.expect;
        case.skip_envoy = raw.skip.envoy;
        if case.skip_envoy.as_ref().is_some_and(|why| why.trim().is_empty()) {
            self.reader.error(&place.field("skip").field("envoy"), "write the reason why the case cannot run there");
        }
        let mut earlier = case.before.iter().filter_map(|index| self.cases.get(*index));
        if case.certificate.is_some() || earlier.any(|before| before.certificate.is_some()) {
            case.skip_envoy.get_or_insert_with(|| WITHOUT_TLS.to_owned());
        }
        if case.before.iter().any(|index| self.cases.get(*index).is_some_and(|before| before.policy != case.policy)) {
            self.reader
                .error(&place.field("before"), "the case named here has another policy; both need the same policy");
        }
        self.tampers(place, &case);
        self.cases.push(case);
    }

    /// Checks that `Signature-Input` contains the text to replace. Otherwise a typing error would silently turn the attack into a
    /// valid request.
    fn tampers(&mut self, place: &Place, case: &Case) {
        let Some((from, _)) = &case.signing.other_input else { return };
        let signing = Signing { other_input: None, ..case.signing.clone() };
        let call = Case { signing, ..case.clone() }.call(self.now);
        let mut inputs = call.lines.iter().filter(|(name, _)| name == b"signature-input");
        if !inputs.any(|(_, value)| String::from_utf8_lossy(value).contains(from.as_str())) {
            self.reader.error(place, format!("`Signature-Input` contains no `{from}` for `tamper` to replace"));
        }
    }

    /// Builds a case that is not derived from another.
    fn own(&mut self, place: &Place, raw: &format::Case) -> Option<Case> {
        let mut request = self.defaults.clone();
        if let Some(own) = &raw.request {
            merge(&mut request, own);
        }
        let request: Request = self.reader.read(&place.field("request"), &Value::Object(request))?;
        let mut documents = self.fixtures.documents().clone();
        documents.add(self.reader, self.fixtures, &place.field("documents"), &raw.documents);
        let policy = self.policy(&place.field("policy"), raw.policy.as_deref())?;
        Some(Case {
            name: String::new(),
            intent: String::new(),
            documents,
            position: self.reader.position(place),
            policy,
            at: raw.at.unwrap_or_default(),
            before: self.before(&place.field("before"), &raw.before)?,
            token: self.token(&place.field("request").field("token"), request.token.as_deref())?,
            proof: self.proof(&place.field("request").field("proof"), request.proof.as_deref())?,
            api_key: self.api_key(&place.field("request").field("api_key"), request.api_key.as_deref(), policy)?,
            certificate: self
                .certificate(&place.field("request").field("certificate"), request.certificate.as_deref())?,
            signing: self.signing(&place.field("request"), &request)?,
            request,
            expect: raw.expect.clone(),
            skip_envoy: None,
            from: None,
        })
    }

    /// Builds a case that differs from another in one thing.
    fn derived(&mut self, place: &Place, raw: &format::Case, from: &str, change: &Value) -> Option<Case> {
        let differs = !(raw.before.is_empty() && raw.documents.is_empty());
        if raw.request.is_some() || raw.policy.is_some() || raw.at.is_some() || differs {
            self.reader.error(place, "a case with `from` may differ only in `change`; move the differences there");
            return None;
        }
        let base = self.above(&place.field("from"), from)?;
        let place = place.field("change");
        if change.as_object().is_none_or(|change| change.len() != 1) {
            self.reader.error(&place, "write the one difference, such as `{ path: /other }`");
            return None;
        }
        let change: Change = self.reader.read(&place, change)?;
        let mut case = Case { from: Some(base), ..self.cases.get(base)?.clone() };
        self.apply(&place, change, &mut case)?;
        Some(case)
    }

    fn apply(&mut self, place: &Place, change: Change, case: &mut Case) -> Option<()> {
        let request = &mut case.request;
        match change {
            Change::Method(method) => request.method = Some(method),
            Change::Path(path) => request.path = path,
            Change::Host(host) => request.host = host,
            Change::Token(name) => {
                case.token = self.token(&place.field("token"), name.as_deref())?;
                request.token = name;
            }
            Change::Proof(name) => {
                case.proof = self.proof(&place.field("proof"), name.as_deref())?;
                request.proof = name;
            }
            Change::ApiKey(name) => request.api_key = name,
            Change::Certificate(name) => {
                case.certificate = self.certificate(&place.field("certificate"), name.as_deref())?;
                request.certificate = name;
            }
            Change::InProof(change) => {
                let place = place.field("in_proof");
                let Some(proof) = &mut case.proof else {
                    self.reader.error(&place, "the other case has no proof to change");
                    return None;
                };
                return self.apply_to_token(&place, *change, proof);
            }
            Change::Authorization(form) => request.authorization = Some(form),
            Change::Carrier(carrier) => request.carrier = Some(carrier),
            Change::Header(line) => request.headers.push(line),
            Change::Without(name) => {
                let before = request.headers.len();
                request.headers.retain(|(own, _)| !own.0.eq_ignore_ascii_case(name.as_bytes()));
                if request.headers.len() == before {
                    self.reader.error(&place.field("without"), "the other case has no header of this name");
                }
            }
            Change::Body(body) => request.body = body,
            Change::Sign(None) => request.sign = None,
            Change::Sign(Some(patch)) => {
                let Some(sign) = &mut request.sign else {
                    self.reader
                        .error(&place.field("sign"), "the other case is not signed; use a signed case in `from`");
                    return None;
                };
                merge(sign, &self.one(&place.field("sign"), patch)?);
            }
            Change::Cosign(sign) => request.cosign = Some(sign),
            Change::Tamper(tamper) => {
                let tamper = Value::Object(self.one(&place.field("tamper"), tamper)?);
                request.tamper = self.reader.read(&place.field("tamper"), &tamper)?;
            }
            Change::Source(source) => request.source = source,
            Change::Policy(name) => case.policy = self.policy(&place.field("policy"), Some(&name))?,
            Change::At(at) => case.at = at,
            Change::Before(names) => case.before = self.before(&place.field("before"), &names)?,
            Change::Documents(documents) => {
                let place = place.field("documents");
                let documents = self.one(&place, documents)?;
                case.documents.add(self.reader, self.fixtures, &place, &documents);
            }
            of_the_token => {
                let Some(token) = &mut case.token else {
                    self.reader.error(place, "the other case has no token to change");
                    return None;
                };
                return self.apply_to_token(place, of_the_token, token);
            }
        }
        case.signing = self.signing(place, &case.request)?;
        // Another policy may expect keys elsewhere.
        case.api_key = self.api_key(&place.field("api_key"), case.request.api_key.as_deref(), case.policy)?;
        Some(())
    }

    /// Returns how the request is signed, and how the signed request is then changed.
    fn signing(&mut self, place: &Place, request: &Request) -> Option<Signing> {
        let tamper = &request.tamper;
        let other_token = self.token(&place.field("tamper").field("token"), tamper.token.as_deref())?;
        let mut recipe = |field: &str, written: &Option<Map<String, Value>>| match written {
            None => Some(None),
            Some(written) => self.signature(&place.field(field), written).map(Some),
        };
        Some(Signing {
            sign: recipe("sign", &request.sign)?,
            cosign: recipe("cosign", &request.cosign)?,
            other_token,
            other_input: tamper.input.clone(),
            forged: tamper.signature,
        })
    }

    fn signature(&mut self, place: &Place, written: &Map<String, Value>) -> Option<signature::Recipe> {
        let written: Sign = self.reader.read(place, &Value::Object(written.clone()))?;
        let key = self.fixtures.key(self.reader, &place.field("key"), &written.key)?;
        let sign_with = match &written.sign_with {
            None => None,
            Some(name) => Some(self.fixtures.key(self.reader, &place.field("sign_with"), name)?),
        };
        let digests = match &written.digest {
            None => vec![Digest::Sha256],
            Some(names) => {
                let digests: Option<Vec<_>> = names.iter().map(|name| Digest::from_name(name)).collect();
                if digests.is_none() {
                    self.reader.error(
                        &place.field("digest"),
                        "expected `sha-256`, `sha-512` or nothing; write other digests in `headers`",
                    );
                }
                digests?
            }
        };
        Some(signature::Recipe { written, key, sign_with, digests })
    }

    fn apply_to_token(&mut self, place: &Place, change: Change, token: &mut Recipe) -> Option<()> {
        match change {
            Change::Claim(patch) => token.claims.push(self.one(&place.field("claim"), patch)?),
            Change::Jose(patch) => token.header.push(self.one(&place.field("jose"), patch)?),
            Change::Key(name) => token.key = Some(self.fixtures.key(self.reader, &place.field("key"), &name)?),
            Change::SignWith(name) => {
                token.sign_with = Some(self.fixtures.key(self.reader, &place.field("sign_with"), &name)?);
            }
            Change::RawHeader(raw) => token.raw_header = Some(raw),
            Change::RawClaims(raw) => token.raw_claims = Some(raw),
            Change::Alter(alter) => token.alter = Some(alter),
            Change::Form(form) => token.form = Some(form),
            // The other changes of a request were handled earlier.
            _ => {
                self.reader.error(place, "invalid change of a proof; expected a change that a token can have");
                return None;
            }
        }
        Some(())
    }

    fn one(&mut self, place: &Place, patch: Map<String, Value>) -> Option<Map<String, Value>> {
        if patch.len() != 1 {
            self.reader.error(place, "expected the one member that differs");
            return None;
        }
        Some(patch)
    }

    fn above(&mut self, place: &Place, name: &str) -> Option<usize> {
        let index = self.cases.iter().position(|case| case.name == name);
        if index.is_none() {
            self.reader.error(place, format!("no case above is called `{name}`"));
        }
        index
    }

    fn before(&mut self, place: &Place, names: &[String]) -> Option<Vec<usize>> {
        names.iter().enumerate().map(|(index, name)| self.above(&place.index(index), name)).collect()
    }

    fn policy(&mut self, place: &Place, name: Option<&str>) -> Option<usize> {
        let index = self.policies.iter().position(|policy| policy.name.as_deref() == name);
        if let (None, Some(name)) = (index, name) {
            self.reader.error(place, format!("unknown variant `{name}`; expected a name from `variants`"));
        }
        index
    }

    /// Returns the token of this name; `Some(None)` if no name is given.
    #[expect(clippy::option_option, reason = "an error is not the same as a request without a token")]
    fn token(&mut self, place: &Place, name: Option<&str>) -> Option<Option<Recipe>> {
        let Some(name) = name else { return Some(None) };
        let token = self.fixtures.token(name);
        if token.is_none() {
            self.reader.error(place, format!("unknown token `{name}`; expected a name from `tokens`"));
        }
        token.cloned().map(Some)
    }

    /// Returns the proof of this name; `Some(None)` if no name is given.
    #[expect(clippy::option_option, reason = "an error is not the same as a request without a proof")]
    fn proof(&mut self, place: &Place, name: Option<&str>) -> Option<Option<Recipe>> {
        let Some(name) = name else { return Some(None) };
        let proof = self.fixtures.proof(name);
        if proof.is_none() {
            self.reader.error(place, format!("unknown proof `{name}`; expected a name from `proofs`"));
        }
        proof.cloned().map(Some)
    }

    /// Returns the certificate of this name; `Some(None)` if no name is given.
    #[expect(clippy::option_option, reason = "an error is not the same as a request without a certificate")]
    fn certificate(&mut self, place: &Place, name: Option<&str>) -> Option<Option<Presented>> {
        let Some(name) = name else { return Some(None) };
        let certificate = self.fixtures.certificate(name);
        if certificate.is_none() {
            self.reader.error(place, format!("unknown certificate `{name}`; expected a name from `certificates`"));
        }
        certificate.cloned().map(Some)
    }

    /// Returns the header line with the API key of this name, in the place that the policy states; `Some(None)` if no name is given.
    #[expect(clippy::option_option, reason = "an error is not the same as a request without an API key")]
    fn api_key(&mut self, place: &Place, name: Option<&str>, policy: usize) -> Option<Option<(Vec<u8>, Vec<u8>)>> {
        let Some(name) = name else { return Some(None) };
        let Some(Bytes(key)) = self.api_keys.get(name) else {
            self.reader.error(place, format!("unknown API key `{name}`; expected a name from `api_keys`"));
            return None;
        };
        let header =
            self.policies.get(policy).and_then(|policy| policy.document.get("api_keys")?.get("header")?.as_str());
        Some(Some(match header {
            Some(header) => (header.as_bytes().to_vec(), key.clone()),
            None => (b"authorization".to_vec(), [b"Bearer ", &key[..]].concat()),
        }))
    }

    fn expectation(&mut self, place: &Place, expect: &format::Expect) {
        let mut codes: Vec<(Place, &String)> = Vec::new();
        if expect.decision == Decision::Deny {
            codes.extend(expect.reason.iter().map(|code| (place.field("reason"), code)));
        }
        let would_deny = place.field("would_deny");
        codes.extend(expect.would_deny.iter().enumerate().map(|(index, code)| (would_deny.index(index), code)));
        for (place, code) in codes {
            if !Reason::ALL.iter().any(|reason| reason.code() == code) {
                self.reader.error(&place, format!("`{code}` is not a reason code"));
            }
        }
        let answered = expect.status.is_some() || !expect.headers.is_empty() || expect.rpc.is_some();
        let upstream = !expect.upstream.has.is_empty() || !expect.upstream.lacks.is_empty();
        // The gate itself responds to a request for the metadata.
        let published = expect.reason.as_deref() == Some(Ground::Metadata.code());
        match expect.decision {
            Decision::Allow if published && upstream => {
                self.reader.error(&place.field("upstream"), "the gate itself responds to this request; remove this");
            }
            Decision::Allow if published && expect.would_deny.is_empty() => {}
            Decision::Deny if expect.reason.is_none() => {
                self.reader.error(place, "a denial needs a reason; write its code");
            }
            Decision::Deny if upstream => {
                self.reader
                    .error(&place.field("upstream"), "a denied request does not reach the upstream; remove this");
            }
            Decision::Allow | Decision::Observe if answered => {
                self.reader.error(place, "`status`, `headers` and `rpc` describe the gate's own response; remove them");
            }
            Decision::Observe if expect.would_deny.is_empty() => {
                self.reader.error(place, "write the codes of the denial in `would_deny`");
            }
            Decision::Allow | Decision::Deny if !expect.would_deny.is_empty() => {
                self.reader.error(&would_deny, "only an observed request has this; write `decision: observe`");
            }
            _ => {}
        }
    }
}
