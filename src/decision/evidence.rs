//! Evidence that a request passed the checks.
//!
//! Each type proves that one check passed. Only that check creates it, with `assertion()`
//! (`each_check_asserts_its_own_evidence`). A [`Grant`](super::Grant) for a listed endpoint requires all of them, so an
//! evaluation that omits a check does not compile. The types have no size.

macro_rules! evidence {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[must_use]
        pub(crate) struct $name(());

        impl $name {
            /// States that the check passed. Only the check itself may call this.
            pub(crate) fn assertion() -> Self {
                Self(())
            }
        }
    )*};
}

evidence! {
    /// No credential of the request was revoked.
    NotRevoked
    /// The identity fits in the headers for the upstream.
    IdentityFits
    /// The endpoint is not suspended.
    EndpointActive
    /// The request asks for the metadata of a resource at its place, and no check denied it.
    MetadataRequested
    /// The CORS preflight request contains only escapes that some endpoint allows.
    PreflightAllowed
    /// The endpoint allows the escapes in the path, and they make no value ambiguous.
    EscapesAllowed
    /// The request has no upgrade, or one that the endpoint allows.
    UpgradeAllowed
    /// The body's media type is not one in which frameworks read unchecked parameters.
    MediaTypeAllowed
    /// The endpoint accepts the kind of credential that identified the caller, or the caller's signature decides.
    CredentialAccepted
    /// The endpoint accepts requests for somebody else, or the request is not one, and the endpoint accepts that.
    DelegationAccepted
    /// The token is bound to a key or a certificate, if the endpoint requires that.
    TokenIsBound
    /// The caller signed the request as the endpoint requires.
    SignatureSuffices
    /// The endpoint is open to the caller's agent and within its ceiling, and the credential is as fresh as the endpoint requires.
    WithinReach
    /// The caller has the scopes that the endpoint requires.
    ScopesGranted
    /// Every bound part of the request outside its body fits the caller.
    BindingsHold
    /// The body matches its signed digest, or needs no digest, or is not forwarded before it is checked.
    BodySettled
    /// The endpoint requires nothing of the content of the body, or the body is unambiguous JSON whose bound parts fit the caller.
    ContentAllowed
    /// The endpoint has no operations, or the request asks for listed ones that the caller may use, or for what belongs to the connection.
    OperationAllowed
    /// No nonce, signature or proof of the request was accepted before.
    NotReplayed
    /// No limit was exceeded, and all were charged.
    WithinLimits
}

/// Evidence from the form of the request. A field is `None` if the check denied the request and the denial is only observed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormEvidence {
    pub(crate) escapes: Option<EscapesAllowed>,
    pub(crate) upgrade: Option<UpgradeAllowed>,
    pub(crate) media_type: Option<MediaTypeAllowed>,
}

/// Evidence that the caller may send the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerEvidence {
    pub(crate) revocation: Option<NotRevoked>,
    pub(crate) identity: Option<IdentityFits>,
    pub(crate) credential: Option<CredentialAccepted>,
    pub(crate) delegation: Option<DelegationAccepted>,
    pub(crate) active: Option<EndpointActive>,
    pub(crate) bound_token: Option<TokenIsBound>,
    pub(crate) signature: Option<SignatureSuffices>,
    pub(crate) reach: Option<WithinReach>,
    pub(crate) scopes: Option<ScopesGranted>,
    pub(crate) bindings: Option<BindingsHold>,
}

/// Evidence from the last checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FinalEvidence {
    pub(crate) replay: Option<NotReplayed>,
    pub(crate) limits: Option<WithinLimits>,
}

/// Proves that a request passed every check of a listed endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authorized(());

impl Authorized {
    /// Combines the evidence of all checks. Returns `None` if any is missing.
    pub(crate) fn by(
        form: FormEvidence,
        caller: CallerEvidence,
        body: Option<BodySettled>,
        content: Option<ContentAllowed>,
        operation: Option<OperationAllowed>,
        last: FinalEvidence,
    ) -> Option<Self> {
        let FormEvidence { escapes: Some(_), upgrade: Some(_), media_type: Some(_) } = form else { return None };
        let CallerEvidence {
            revocation: Some(_),
            identity: Some(_),
            credential: Some(_),
            delegation: Some(_),
            active: Some(_),
            bound_token: Some(_),
            signature: Some(_),
            reach: Some(_),
            scopes: Some(_),
            bindings: Some(_),
        } = caller
        else {
            return None;
        };
        let (Some(_), Some(_), Some(_)) = (body, content, operation) else { return None };
        let FinalEvidence { replay: Some(_), limits: Some(_) } = last else {
            return None;
        };
        Some(Self(()))
    }
}

/// Proves that a request to a public endpoint passed every check of such an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Public(());

impl Public {
    /// Combines the evidence of all checks. Returns `None` if any is missing.
    pub(crate) fn by(
        form: FormEvidence,
        revocation: Option<NotRevoked>,
        active: Option<EndpointActive>,
        last: FinalEvidence,
    ) -> Option<Self> {
        let (Some(_), Some(_)) = (revocation, active) else { return None };
        let FormEvidence { escapes: Some(_), upgrade: Some(_), media_type: Some(_) } = form else { return None };
        let FinalEvidence { replay: Some(_), limits: Some(_) } = last else { return None };
        Some(Self(()))
    }
}
