//! Guarantees for programs that embed the engine.

use std::error::Error;

use callgate::document::Findings;
use callgate::identity::crypto::{BadSignature, JwkError, KeyError, PemError};
use callgate::identity::signature::{Malformed, Unsignable};
use callgate::identity::token::{ClaimNameError, Refusal};
use callgate::request::headers::MalformedPairs;
use callgate::state::StoreError;
use callgate::{Policy, Undecided};

fn is_error<E: Error + Send + Sync + 'static>() {}
fn is_shared_by_threads<T: Send + Sync + 'static>() {}

#[test]
fn errors_implement_error_and_a_policy_is_send_and_sync() {
    is_error::<BadSignature>();
    is_error::<ClaimNameError>();
    is_error::<Findings>();
    is_error::<JwkError>();
    is_error::<KeyError>();
    is_error::<Malformed>();
    is_error::<MalformedPairs>();
    is_error::<PemError>();
    is_error::<Refusal>();
    is_error::<StoreError>();
    is_error::<Undecided>();
    is_error::<Unsignable>();
    is_shared_by_threads::<Policy>();
}
