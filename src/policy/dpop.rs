//! Compiles the rules for proofs of possession, and the endpoints' requirements on key-bound tokens.

use std::time::Duration;

use crate::allowlist::Origin;
use crate::document;
use crate::document::{Findings, Place};
use crate::identity::crypto::Algorithm;
use crate::identity::dpop::Rules;

/// The default maximum age of a proof.
const USUAL_AGE: Duration = Duration::from_secs(60);
/// The largest maximum age. Each proof is remembered for this time to prevent replays.
const MOST_AGE: Duration = Duration::from_secs(600);
/// The default for how far a client's clock may be ahead.
const USUAL_AHEAD: Duration = Duration::from_secs(5);
const MOST_AHEAD: Duration = Duration::from_secs(60);

pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Option<Rules> {
    check_asked(document, findings);
    let raw = document.dpop.as_ref()?;
    let place = Place::root().field("dpop");
    let algorithms = algorithms(&raw.algorithms, &place.field("algorithms"), findings);
    let max_age = raw.max_age.map_or(USUAL_AGE, document::Lifetime::duration);
    if max_age.is_zero() {
        findings.error(place.field("max_age"), "every proof would be rejected; write a maximum age, such as `60s`");
    } else if max_age > MOST_AGE {
        findings.error(
            place.field("max_age"),
            "proofs are stored for this time, and each is for one request; write `10m` or less, preferably `60s`",
        );
    }
    let clock_ahead = raw.clock_ahead.map_or(USUAL_AHEAD, document::Lifetime::duration);
    if clock_ahead > MOST_AHEAD {
        findings.error(
            place.field("clock_ahead"),
            "proofs could be created that long in advance; write `60s` or less, preferably `5s`",
        );
    }
    Some(Rules {
        required: raw.required,
        told: told(&algorithms).into(),
        algorithms,
        max_age,
        clock_ahead,
        nonce: raw.nonce == document::ProofNonce::Required,
    })
}

fn algorithms(raw: &[document::AlgorithmName], place: &Place, findings: &mut Findings) -> Vec<Algorithm> {
    if raw.is_empty() {
        findings.error(place.clone(), "every proof would be rejected; list the algorithms that clients use");
    }
    let mut algorithms = Vec::with_capacity(raw.len());
    for (index, name) in raw.iter().enumerate() {
        let algorithm = Algorithm::from(*name);
        let place = place.index(index);
        if algorithm == Algorithm::Hs256 {
            findings.error(
                place,
                "a proof shows possession of a private key, and this algorithm uses a shared secret; remove this",
            );
        } else if algorithms.contains(&algorithm) {
            findings.error(place, format!("`{}` is listed twice; remove one", algorithm.jose_name()));
        } else {
            algorithms.push(algorithm);
        }
    }
    algorithms
}

/// Returns the names of algorithms for a challenge. An algorithm with two names is listed with both, because clients look for the
/// one that they know.
fn told(algorithms: &[Algorithm]) -> String {
    let names = algorithms.iter().flat_map(|algorithm| {
        let second = (*algorithm == Algorithm::Ed25519).then_some("EdDSA");
        std::iter::once(algorithm.jose_name()).chain(second)
    });
    names.collect::<Vec<_>>().join(" ")
}

/// Returns the field that requires a key-bound token for an endpoint, if there is one.
pub(super) fn needs_bound_token(
    document: &document::Document,
    endpoint: &document::Endpoint,
    place: &Place,
    findings: &mut Findings,
) -> Option<Origin> {
    let of_effect = document.requirements.get(&endpoint.effect).and_then(|asked| asked.token);
    match (endpoint.token, of_effect, endpoint.access) {
        (None, None, _) => None,
        (Some(document::TokenAsked::Bound), _, None) => Some(Origin::Endpoint),
        (None, Some(document::TokenAsked::Bound), None) => Some(Origin::Effect(endpoint.effect)),
        (Some(_), _, Some(_)) => {
            findings
                .error(place.field("token"), "a public endpoint needs no token; remove `token` or `access: public`");
            None
        }
        (None, Some(_), Some(_)) => {
            findings.error(
                place.field("effect"),
                "this effect requires a key-bound token, but a public endpoint needs no token; remove `access: public` or choose \
                 another effect",
            );
            None
        }
    }
}

/// Rejects a policy that requires bound tokens without `dpop` or `tls`, which define how they are accepted.
fn check_asked(document: &document::Document, findings: &mut Findings) {
    if document.dpop.is_some() || document.tls.is_some() {
        return;
    }
    let root = Place::root();
    let effects = document.requirements.iter().filter(|(_, asked)| asked.token.is_some());
    let effects = effects.map(|(effect, _)| root.field("requirements").field(effect.name()));
    let endpoints = document.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.token.is_some());
    let endpoints = endpoints.map(|(index, _)| root.field("endpoints").index(index));
    for place in effects.chain(endpoints) {
        findings.error(
            place.field("token"),
            "such tokens are not accepted without `dpop` or `tls`; add one of them at the top level, or remove this",
        );
    }
}
