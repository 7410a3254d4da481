//! What the project knows about each reason beyond the engine: its meaning, its usual causes, and what the operator does.
//!
//! The texts are in `reasons.yaml`. The page `docs/reference/reasons.md` and `callgate reason` show them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use callgate::{AGENT_REFUSED, Challenge, Reason};
use callgate_kit::document;
use serde::Deserialize;

const TEXTS: &str = include_str!("reasons.yaml");

/// The texts about one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    meaning: String,
    causes: Vec<String>,
    operator: String,
}

/// Everything about one reason.
#[derive(Debug, serde::Serialize)]
pub(crate) struct About {
    /// The code in records, metrics and test cases.
    pub(crate) code: &'static str,
    /// The HTTP status of the denial.
    pub(crate) status: u16,
    /// The title in the answer.
    pub(crate) title: &'static str,
    /// The code in the answer, which differs if the exact one would disclose what the policy contains.
    pub(crate) disclosed: &'static str,
    /// What the answer asks the client for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) challenge: Option<&'static str>,
    /// What the gate saw, and why it denies that.
    pub(crate) meaning: &'static str,
    /// The usual causes.
    pub(crate) causes: &'static [String],
    /// What the developer of the client does.
    pub(crate) client: &'static str,
    /// What the operator of the gateway does.
    pub(crate) operator: &'static str,
}

impl About {
    /// Returns what is known about a reason. `None` only for a reason without texts, which a test excludes.
    pub(crate) fn new(reason: Reason) -> Option<Self> {
        static ALL: LazyLock<BTreeMap<String, Texts>> = LazyLock::new(|| {
            let read = document::parse("reasons.yaml", TEXTS.as_bytes()).ok();
            read.and_then(|read| serde_json::from_value(read.value().clone()).ok()).unwrap_or_default()
        });
        let row = reason.row();
        let texts = ALL.get(row.code)?;
        Some(Self {
            code: row.code,
            status: row.status,
            title: row.title,
            disclosed: reason.disclosed().code,
            challenge: challenge(row.challenge),
            meaning: &texts.meaning,
            causes: &texts.causes,
            client: reason.advice(),
            operator: &texts.operator,
        })
    }
}

/// Returns every reason that has this code, in records or in answers, also as the access log writes it (`callgate_<code>`). The one that
/// has it in records comes first.
pub(crate) fn with_code(code: &str) -> Vec<Reason> {
    let code = code.strip_prefix("callgate_").unwrap_or(code);
    let (exact, others): (Vec<_>, Vec<_>) = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| reason.code() == code || reason.disclosed().code == code)
        .partition(|reason| reason.code() == code);
    [exact, others].concat()
}

/// Returns every code, of records and of answers.
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    Reason::ALL.iter().map(|reason| reason.code()).chain([AGENT_REFUSED])
}

fn challenge(challenge: Challenge) -> Option<&'static str> {
    match challenge {
        Challenge::No => None,
        Challenge::Bare => Some("a challenge without an error"),
        Challenge::InvalidToken => Some("`invalid_token`"),
        Challenge::InvalidProof => Some("`invalid_dpop_proof`"),
        Challenge::UseNonce => Some("`use_dpop_nonce`"),
        Challenge::InsufficientScope => Some("`insufficient_scope`"),
        Challenge::Signature => Some("`Accept-Signature`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_texts_and_no_text_is_left_over() {
        let read = document::parse("reasons.yaml", TEXTS.as_bytes()).unwrap();
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let mut written: Vec<_> = read.value().as_object().unwrap().keys().map(String::as_str).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        written.sort_unstable();
        assert_eq!(written, sorted);
        for reason in Reason::ALL {
            let about = About::new(*reason).unwrap();
            assert!((1..=4).contains(&about.causes.len()), "{}", about.code);
            for text in about.causes.iter().map(String::as_str).chain([about.meaning, about.client, about.operator]) {
                assert!(text.ends_with('.') && !text.contains('\n'), "{}: {text}", about.code);
            }
        }
    }

    #[test]
    fn finds_reasons_by_the_code_of_a_record_of_an_answer_and_of_a_log() {
        assert_eq!(with_code("token_expired"), [Reason::TokenExpired]);
        assert_eq!(with_code("callgate_token_expired"), [Reason::TokenExpired]);
        let failed = with_code("signature_failed");
        assert_eq!((failed.first(), failed.len()), (Some(&Reason::SignatureFailed), 4));
        assert_eq!(with_code(AGENT_REFUSED).len(), 5);
        assert!(with_code("no_such").is_empty());
    }
}
