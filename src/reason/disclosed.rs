//! What an answer discloses about the reason for a denial.

use super::{Reason, Row};

/// The page of the reference that describes every reason. The code follows.
const REFERENCE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/reference/reasons.md#");

/// What an answer discloses about a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disclosed {
    /// The code in the answer's `code` and `type`.
    pub code: &'static str,
    /// The title of the problem.
    pub title: &'static str,
    /// What the developer of the client does about it.
    pub detail: &'static str,
}

impl Disclosed {
    /// Returns the type of the problem (RFC 9457, section 3.1.1): the URL of its description.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{REFERENCE}{}", self.code)
    }
}

/// The code that answers disclose for every reason that concerns the registration of an agent.
pub const AGENT_REFUSED: &str = "agent_refused";
const AGENT_REFUSED_DETAIL: &str = "Check that you use the credential that is registered for this API, and ask the owner of the agent whether \
                                    its registration is active. A new token for the same client does not help.";

impl Reason {
    /// Returns what the answer discloses about the reason.
    ///
    /// Reasons that would reveal to an unauthenticated client which agents or keys the policy has share one code and one title,
    /// and their rows share status and challenge. The record, the metrics and the access log contain the exact code.
    #[must_use]
    pub fn disclosed(self) -> Disclosed {
        match self {
            Self::AgentUnknown
            | Self::AgentAmbiguous
            | Self::AgentSuspended
            | Self::AgentExpired
            | Self::ActorUnknown => {
                Disclosed { code: AGENT_REFUSED, title: self.row().title, detail: AGENT_REFUSED_DETAIL }
            }
            // All of these depend on whether the policy has the key that `keyid` names.
            Self::SignatureKey | Self::SignatureKeyTime | Self::SignatureAlgorithm => Self::SignatureFailed.disclosed(),
            // Whether the policy once accepted a key is not for those who try keys.
            Self::ApiKeyExpired => Self::ApiKeyUnknown.disclosed(),
            other => {
                let Row { code, title, .. } = other.row();
                Disclosed { code, title, detail: other.advice() }
            }
        }
    }
}
