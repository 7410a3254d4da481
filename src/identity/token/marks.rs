//! What entries of lists of revoked credentials can name of a token.

use serde_json::Value;

use super::verified::VerifiedToken;
use crate::identity::revocation::{Kind, Mark};

impl VerifiedToken {
    /// Returns what an entry can name of the token itself: the token, its `jti`, subject, client and issuer, the names of the key that
    /// signed it, and the key that it is bound to. It is computed once for each token, and not for each request.
    ///
    /// An entry without tenant applies to all tenants of its issuer, so a token with a tenant has two marks of some kinds.
    pub(crate) fn marks(&self) -> &[(Kind, Mark)] {
        self.marks.get_or_init(|| self.compute_marks())
    }

    fn compute_marks(&self) -> Box<[(Kind, Mark)]> {
        let issuer = self.issuer_name();
        let mut marks = Vec::with_capacity(self.most_marks());
        marks.push((Kind::Token, Mark::of_hash(&self.signed_sha256)));
        if let Some(jti) = self.claims.get("jti").and_then(text) {
            marks.push((Kind::Jti, Mark::of_value(issuer, None, &jti)));
        }
        for tenant in [None, self.tenant()].into_iter().take(1 + usize::from(self.tenant().is_some())) {
            for (kind, value) in [(Kind::Subject, self.subject()), (Kind::Client, self.client())] {
                marks.extend(value.map(|value| (kind, Mark::of_value(issuer, tenant, value))));
            }
            marks.push((Kind::Issuer, Mark::of_issuer(issuer, tenant)));
        }
        marks.extend(self.kids.iter().map(|kid| (Kind::Kid, Mark::of_value(issuer, None, kid))));
        marks.extend(self.bound_to.map(|key| (Kind::Thumbprint, Mark::of_hash(&key.0))));
        marks.into_boxed_slice()
    }

    /// Returns the maximum number of marks: three values that have one, three that have two, and the names of the key.
    fn most_marks(&self) -> usize {
        3 + 2 * 3 + self.kids.len()
    }

    /// Returns an upper estimate of the memory that the marks use. It does not depend on whether they are computed yet.
    pub(super) fn marks_memory(&self) -> usize {
        self.most_marks() * size_of::<(Kind, Mark)>()
    }
}

/// Returns a `jti` as an entry names it. Some issuers write a number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
