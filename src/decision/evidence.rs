//! What an allowed request has shown, check by check.
//!
//! Each type says that one check passed. The check makes it where it passes, with `assertion()`, and nobody else does
//! (`each_check_asserts_its_own_evidence`). A [`Grant`](super::Grant) for a listed endpoint takes all of them, so that an evaluation
//! that leaves a check out does not compile. They take no room.

macro_rules! evidence {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[must_use]
        pub(crate) struct $name(());

        impl $name {
            /// The check passed: called where it does, and nowhere else.
            pub(crate) fn assertion() -> Self {
                Self(())
            }
        }
    )*};
}

evidence! {
    /// The identity has room in the headers that the upstream gets.
    IdentityFits
    /// A CORS preflight request has no escapes but those that some endpoint allows.
    PreflightAllowed
    /// The endpoint allows the escapes in the path, and no value is ambiguous by them.
    EscapesAllowed
    /// The request asks for no upgrade, or for one that the endpoint allows.
    UpgradeAllowed
    /// The body has no media type in which frameworks read parameters that nobody checked.
    MediaTypeAllowed
    /// The token is bound to a key, where the endpoint asks for that.
    TokenIsBound
    /// The request is signed as the endpoint asks, by its caller.
    SignatureSuffices
    /// The caller has the scopes that the endpoint asks for.
    ScopesGranted
    /// Every bound part of the request equals what is known of the caller.
    BindingsHold
    /// The body is the one that was signed, or nobody signed one, or none of it is forwarded before it was checked.
    BodySettled
    /// Nothing in the request was accepted before that is accepted once.
    NotReplayed
    /// Every limit had something left, and was charged.
    WithinLimits
}

/// What a request has shown by its head and its form. None where a check denied it, which is only observed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormEvidence {
    pub(crate) escapes: Option<EscapesAllowed>,
    pub(crate) upgrade: Option<UpgradeAllowed>,
    pub(crate) media_type: Option<MediaTypeAllowed>,
}

/// What a caller has shown to be allowed to send the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerEvidence {
    pub(crate) identity: Option<IdentityFits>,
    pub(crate) bound_token: Option<TokenIsBound>,
    pub(crate) signature: Option<SignatureSuffices>,
    pub(crate) scopes: Option<ScopesGranted>,
    pub(crate) bindings: Option<BindingsHold>,
}

/// What the last checks have shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FinalEvidence {
    pub(crate) replay: Option<NotReplayed>,
    pub(crate) limits: Option<WithinLimits>,
}

/// A request that passed every check of a listed endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authorized(());

impl Authorized {
    /// The evidence of all checks together; none where some is missing.
    pub(crate) fn by(
        form: FormEvidence,
        caller: CallerEvidence,
        body: Option<BodySettled>,
        last: FinalEvidence,
    ) -> Option<Self> {
        let FormEvidence { escapes: Some(_), upgrade: Some(_), media_type: Some(_) } = form else { return None };
        let CallerEvidence {
            identity: Some(_),
            bound_token: Some(_),
            signature: Some(_),
            scopes: Some(_),
            bindings: Some(_),
        } = caller
        else {
            return None;
        };
        let (FinalEvidence { replay: Some(_), limits: Some(_) }, Some(_)) = (last, body) else { return None };
        Some(Self(()))
    }
}

/// A request to a public endpoint that passed every check of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Public(());

impl Public {
    /// The evidence of all checks together; none where some is missing.
    pub(crate) fn by(form: FormEvidence, last: FinalEvidence) -> Option<Self> {
        let FormEvidence { escapes: Some(_), upgrade: Some(_), media_type: Some(_) } = form else { return None };
        let FinalEvidence { replay: Some(_), limits: Some(_) } = last else { return None };
        Some(Self(()))
    }
}
