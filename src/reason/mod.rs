//! Why a call was denied: one exhaustive list, and the one place that says what each reason means to a client.
//!
//! A reason's code is stable: it stands in records, metrics, answers and test cases. How a reason becomes an HTTP
//! response is [`answer`](crate::decision::answer)'s business.

/// Why a call was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    // Reading the request.
    /// More than one `Host` (or `:authority` and `Host`).
    DuplicateHost,
    /// More than one `Authorization`.
    DuplicateAuthorization,
    /// More than one `DPoP`.
    DuplicateDpop,
    /// More than one `Content-Length`.
    DuplicateContentLength,
    /// A header whose name some servers read as that of a header that frames, describes or authenticates the request.
    HeaderLookalike,
    /// A `Connection` header that names anything but `close`, `keep-alive`, `upgrade`, `te`, `http2-settings`.
    ConnectionNomination,
    /// So many headers that the gateway may not have shown all of them to the filter.
    TooManyHeaders,
    /// More than one line of a header that has to be removed, on a gateway that can only replace the first.
    UnremovableHeader,
    /// A header or query parameter that overrides the method or the path.
    MethodOverride,
    /// A query parameter `access_token`.
    QueryCredential,
    /// A query parameter that the policy lists in `refuse_query`.
    QueryRefused,
    // Canonical form.
    /// A method that is no token (RFC 9110, section 5.6.2).
    MethodMalformed,
    /// The method `CONNECT`.
    MethodConnect,
    /// Neither `:authority` nor `Host`.
    HostMissing,
    /// A host with a trailing dot, user information, a malformed port or characters that no host has.
    HostMalformed,
    /// A request target that does not start with `/` (RFC 9112, section 3.2.1).
    PathNotOriginForm,
    /// A byte that RFC 3986 does not allow in a path: control bytes, spaces, `#`, `\\`, bytes beyond ASCII; and `[ ] ^ |` outside the
    /// values of text variables.
    PathCharacter,
    /// `//` in the path.
    PathEmptySegment,
    /// A segment `.` or `..`, escaped or not, or one of dots and spaces.
    PathDotSegment,
    /// A `%` that two hexadecimal digits do not follow.
    PathEscapeMalformed,
    /// A percent-encoded unreserved character (RFC 3986, section 2.3) outside the values of text variables.
    PathEscapeUnreserved,
    /// An escape that decodes to a control character.
    PathEscapeControl,
    /// Escapes that decode to invalid UTF-8.
    PathEscapeNotUtf8,
    /// `%2F`, `%5C`, `%25` or `;` where the endpoint does not allow it.
    PathEscapeNotAllowed,
    /// A value with an allowed escape that a lenient upstream would read as another path, or as the path of another endpoint.
    PathValueAmbiguous,
    /// A query byte that is not printable ASCII, or `#`.
    QueryCharacter,
    /// A `%` in the query that two hexadecimal digits do not follow.
    QueryEscapeMalformed,
    // The credential.
    /// No `Authorization` header where the endpoint is not public.
    CredentialsMissing,
    /// An authorization scheme that the policy does not take.
    CredentialsScheme,
    /// A token longer than 16 KiB (16,384 bytes).
    TokenTooLong,
    /// A token that is no compact JWS in strict base64url.
    TokenMalformed,
    /// A token of five parts (JWE).
    TokenEncrypted,
    /// A header or claims that are no JSON object, repeat a name, are not UTF-8, nest too deep or are too large.
    TokenJson,
    /// `crit`, `b64`, `jwk`, `zip` in the header, or `jku`, `x5u`, `x5c` where the issuer does not ignore them.
    TokenHeader,
    /// `none`, an algorithm that the issuer does not list, or one that does not fit the key.
    TokenAlgorithm,
    /// No issuer of the policy has exactly this `iss`.
    TokenIssuer,
    /// A `typ` that the profile does not take.
    TokenType,
    /// No key of the issuer has this `kid`, or there is no `kid` and not exactly one key fits.
    TokenKey,
    /// A claim that is required is absent, has the wrong type, or another value than those taken.
    TokenClaim,
    /// `aud` does not contain the issuer's audience.
    TokenAudience,
    /// A time that is no number, negative or absurd; an `iat` in the future; an `exp` that is not after `iat`, or an `nbf` that is
    /// not before `exp`.
    TokenTime,
    /// `exp` has passed.
    TokenExpired,
    /// `nbf` is in the future.
    TokenNotYetValid,
    /// `exp` − `iat` is longer than the issuer's `max_lifetime`.
    TokenLifetime,
    /// A token that is bound to a key (RFC 9449) and sent as a bearer token, or with a `cnf` that nobody here can check.
    TokenBound,
    /// A token that is bound to no key, under the scheme `DPoP` or where the policy takes no other.
    TokenUnbound,
    /// The signature does not verify with the issuer's key.
    TokenSignature,
    // The proof of possession.
    /// A token that is bound to a key, without a proof.
    DpopMissing,
    /// A proof that is no compact JWS of JSON objects in strict base64url, or too long.
    DpopMalformed,
    /// A `typ` other than `dpop+jwt`, or `crit`, `b64`, `zip`, `jku`, `x5u`, `x5c` in the proof's header.
    DpopHeader,
    /// `none`, an algorithm that the policy does not list, or one that does not fit the proof's key.
    DpopAlgorithm,
    /// A `jwk` that is absent, malformed, weak, not for signatures, or holds a private or secret key.
    DpopKey,
    /// The proof is made with another key than the token is bound to.
    DpopBinding,
    /// `jti`, `htm`, `htu`, `iat` or `ath` is absent or no such value.
    DpopClaim,
    /// `htm` is not the method.
    DpopMethod,
    /// `htu` is not the URI of the call.
    DpopTarget,
    /// `ath` is not the hash of the token.
    DpopToken,
    /// The proof is too old or made in the future, or its `exp` or `nbf` does not allow it now.
    DpopTime,
    /// The proof carries no nonce that the gate gave out lately.
    DpopNonce,
    /// The signature does not verify with the key that the token is bound to.
    DpopSignature,
    /// The proof was used before.
    DpopReplayed,
    /// Too many credentials from this source address failed: no more signatures are computed for it for a while.
    CredentialsLimited,
    // The caller.
    /// The credential is good and belongs to no agent of the policy.
    AgentUnknown,
    /// The credential fits more than one agent.
    AgentAmbiguous,
    /// The agent's registration is suspended.
    AgentSuspended,
    /// The agent's registration has expired.
    AgentExpired,
    /// An identity that does not fit a header; it is refused rather than cut.
    IdentityTooLong,
    // The endpoint.
    /// No endpoint has this host, path and method.
    EndpointNotAllowed,
    /// An `Upgrade` that the endpoint does not list.
    UpgradeNotAllowed,
    /// An upgrade with `Content-Length` or `Transfer-Encoding`.
    UpgradeWithBody,
    /// A form body where the endpoint refuses forms.
    FormBody,
    /// A JSON body where the endpoint rejects it, because its upstream merges JSON with the query.
    JsonBody,
    /// More than one `Content-Type` on an endpoint that rejects forms or other bodies that upstreams merge with the query.
    ContentTypeAmbiguous,
    // The signature.
    /// No signature with the tag that is asked for, where the endpoint asks for one.
    SignatureMissing,
    /// `Signature-Input` or `Signature` is malformed, has a label or a component twice, or a label that the other lacks.
    SignatureMalformed,
    /// More than one signature could be the one asked for.
    SignatureAmbiguous,
    /// No key of the policy has this `keyid`.
    SignatureKey,
    /// The key is not valid yet, or not any more.
    SignatureKeyTime,
    /// `alg` is not the key's algorithm.
    SignatureAlgorithm,
    /// `created`, `keyid`, or the `nonce` or `expires` that is asked for is missing, or is no value that it can have.
    SignatureParameters,
    /// `created` is in the future.
    SignatureNotYetValid,
    /// The signature is too old, or `expires` has passed.
    SignatureExpired,
    /// A component that is asked for is not covered.
    SignatureCoverage,
    /// A covered component that the request does not have, or has in a form that cannot be signed.
    SignatureComponent,
    /// The signature does not verify with the key.
    SignatureFailed,
    /// The signer is another agent than the token's.
    SignatureSigner,
    // The body.
    /// A body came, and no digest of it is signed.
    ContentDigestMissing,
    /// `Content-Digest` is malformed.
    ContentDigestMalformed,
    /// The body is not the one that was signed.
    ContentDigestMismatch,
    /// The body is larger than what is held until its digest has been checked.
    BodyTooLarge,
    /// A signed body, or one of which nothing was known, that the call's head does not announce with its length, on a gateway
    /// that does not tell otherwise whether one comes.
    BodyLengthMissing,
    /// The call ended while it was held for its body, of which not all had come. Nobody is left to be answered.
    BodyIncomplete,
    /// The body made no progress for `hold_timeout`, or was not complete after `total_timeout`, while the request was held.
    BodyTimeout,
    /// The share of held bytes of the agent or of its source, or the worker as a whole, has no room for the request.
    HeldBytesFull,
    /// `Early-Data: 1` on a call that is not safe to repeat (RFC 8470).
    EarlyData,
    /// A token that is bound to no key, where the endpoint asks for one that is.
    ProofRequired,
    // Scopes and bindings.
    /// A scope is missing; the challenge names all that it takes.
    InsufficientScope,
    /// A query with more than 256 parameters where one of them is bound: some upstreams ignore those behind a limit.
    TooManyParameters,
    /// A bound query parameter or header that occurs twice, has a raw `+` or invalid UTF-8, or that another name reads as.
    BindingAmbiguous,
    /// A bound part of the call is missing or does not equal the claim or attribute.
    BindingMismatch,
    // Limits.
    /// A limit has nothing left for this call, or could not be counted because too many calls came at once.
    RateLimited,
    // Replay.
    /// The message was used before: a nonce, or a signature without one, is good for one call.
    SignatureReplayed,
    /// So many messages of this agent could still come again that no more can be told apart from them.
    ReplayShareFull,
    /// The message was made before the gate can tell whether it was used, as just after a restart.
    ReplayTableYoung,
    /// Too many calls of this agent came at once to tell whether this one was used.
    ReplayContended,
    // The gate itself.
    /// The gateway did not give the filter what it needs to decide.
    HostError,
}

/// What a reason means to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Stable name in records, metrics and test cases.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The title of the problem (RFC 9457, section 3.1.3), for people.
    pub title: &'static str,
    /// Which challenge goes with the answer.
    pub challenge: Challenge,
}

/// What an answer discloses of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disclosed {
    /// The code in the answer's `code` and `type`.
    pub code: &'static str,
    /// The title of the problem.
    pub title: &'static str,
}

/// What an answer asks the client for: a challenge in `WWW-Authenticate` (RFC 6750, section 3), or a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// None.
    No,
    /// A challenge without an error, for a call without credentials.
    Bare,
    /// `error="invalid_token"`.
    InvalidToken,
    /// `error="invalid_dpop_proof"` (RFC 9449, section 7.1).
    InvalidProof,
    /// `error="use_dpop_nonce"` (RFC 9449, section 9), with the nonce in `DPoP-Nonce`.
    UseNonce,
    /// `error="insufficient_scope"` with the scopes that the call takes.
    InsufficientScope,
    /// `Accept-Signature` with what a signature has to cover (RFC 9421, section 5.1).
    Signature,
}

impl Reason {
    /// Every reason, in the order of the checks.
    pub const ALL: &[Self] = &[
        Self::DuplicateHost,
        Self::DuplicateAuthorization,
        Self::DuplicateDpop,
        Self::DuplicateContentLength,
        Self::HeaderLookalike,
        Self::ConnectionNomination,
        Self::TooManyHeaders,
        Self::UnremovableHeader,
        Self::MethodOverride,
        Self::QueryCredential,
        Self::QueryRefused,
        Self::MethodMalformed,
        Self::MethodConnect,
        Self::HostMissing,
        Self::HostMalformed,
        Self::PathNotOriginForm,
        Self::PathCharacter,
        Self::PathEmptySegment,
        Self::PathDotSegment,
        Self::PathEscapeMalformed,
        Self::PathEscapeUnreserved,
        Self::PathEscapeControl,
        Self::PathEscapeNotUtf8,
        Self::PathEscapeNotAllowed,
        Self::PathValueAmbiguous,
        Self::QueryCharacter,
        Self::QueryEscapeMalformed,
        Self::CredentialsMissing,
        Self::CredentialsScheme,
        Self::TokenTooLong,
        Self::TokenMalformed,
        Self::TokenEncrypted,
        Self::TokenJson,
        Self::TokenHeader,
        Self::TokenAlgorithm,
        Self::TokenIssuer,
        Self::TokenType,
        Self::TokenKey,
        Self::TokenClaim,
        Self::TokenAudience,
        Self::TokenTime,
        Self::TokenExpired,
        Self::TokenNotYetValid,
        Self::TokenLifetime,
        Self::TokenBound,
        Self::TokenSignature,
        Self::TokenUnbound,
        Self::DpopMissing,
        Self::DpopMalformed,
        Self::DpopHeader,
        Self::DpopAlgorithm,
        Self::DpopKey,
        Self::DpopBinding,
        Self::DpopClaim,
        Self::DpopMethod,
        Self::DpopTarget,
        Self::DpopToken,
        Self::DpopTime,
        Self::DpopNonce,
        Self::DpopSignature,
        Self::DpopReplayed,
        Self::CredentialsLimited,
        Self::AgentUnknown,
        Self::AgentAmbiguous,
        Self::AgentSuspended,
        Self::AgentExpired,
        Self::IdentityTooLong,
        Self::EndpointNotAllowed,
        Self::UpgradeNotAllowed,
        Self::UpgradeWithBody,
        Self::FormBody,
        Self::JsonBody,
        Self::ContentTypeAmbiguous,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureAmbiguous,
        Self::SignatureKey,
        Self::SignatureKeyTime,
        Self::SignatureAlgorithm,
        Self::SignatureParameters,
        Self::SignatureNotYetValid,
        Self::SignatureExpired,
        Self::SignatureCoverage,
        Self::SignatureComponent,
        Self::SignatureFailed,
        Self::SignatureSigner,
        Self::ContentDigestMissing,
        Self::ContentDigestMalformed,
        Self::ContentDigestMismatch,
        Self::BodyTooLarge,
        Self::BodyLengthMissing,
        Self::BodyIncomplete,
        Self::BodyTimeout,
        Self::HeldBytesFull,
        Self::EarlyData,
        Self::ProofRequired,
        Self::InsufficientScope,
        Self::TooManyParameters,
        Self::BindingAmbiguous,
        Self::BindingMismatch,
        Self::RateLimited,
        Self::SignatureReplayed,
        Self::ReplayShareFull,
        Self::ReplayTableYoung,
        Self::ReplayContended,
        Self::HostError,
    ];

    /// The reason's stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// What the answer discloses of the reason.
    ///
    /// Reasons that would tell a stranger which agents or keys the policy has share one code and one title, and their rows share
    /// status and challenge. The record, the metrics and the access log have the exact code.
    #[must_use]
    pub fn disclosed(self) -> Disclosed {
        match self {
            Self::AgentUnknown | Self::AgentAmbiguous | Self::AgentSuspended | Self::AgentExpired => {
                Disclosed { code: "agent_refused", title: self.row().title }
            }
            // All of these depend on whether the policy has the key that `keyid` names.
            Self::SignatureKey | Self::SignatureKeyTime | Self::SignatureAlgorithm => Self::SignatureFailed.disclosed(),
            other => {
                let Row { code, title, .. } = other.row();
                Disclosed { code, title }
            }
        }
    }

    /// Which member of an issuer decided, where an issuer's rules did; empty where no single one.
    pub(crate) fn issuer_field(self) -> &'static str {
        match self {
            Self::TokenHeader => "ignore_header",
            Self::TokenAlgorithm => "algorithms",
            Self::TokenType | Self::TokenClaim => "profile",
            Self::TokenKey | Self::TokenSignature => "keys",
            Self::TokenAudience => "audience",
            Self::TokenLifetime => "max_lifetime",
            _ => "",
        }
    }

    /// The reason's row. No wildcard: a new reason does not compile until it is mapped.
    #[must_use]
    #[rustfmt::skip]
    pub fn row(self) -> Row {
        use Challenge::{Bare, InsufficientScope, InvalidProof, InvalidToken, No, Signature, UseNonce};
        let (code, status, title, challenge) = match self {
            Self::DuplicateHost => ("duplicate_host", 400, "the request names its host more than once", No),
            Self::DuplicateAuthorization => ("duplicate_authorization", 400, "the request carries more than one Authorization header", No),
            Self::DuplicateDpop => ("duplicate_dpop", 400, "the request carries more than one DPoP header", No),
            Self::DuplicateContentLength => ("duplicate_content_length", 400, "the request carries more than one Content-Length header", No),
            Self::HeaderLookalike => ("header_lookalike", 400, "a header's name could be read as the name of another header, such as Content-Length", No),
            Self::ConnectionNomination => ("connection_nomination", 400, "the Connection header names headers that a later hop would drop", No),
            Self::TooManyHeaders => ("too_many_headers", 431, "the request has more headers than this gateway accepts", No),
            Self::UnremovableHeader => ("unremovable_header", 400, "a header that must be removed occurs more than once", No),
            Self::MethodOverride => ("method_override", 400, "the request overrides its method or path", No),
            Self::QueryCredential => ("query_credential", 400, "access tokens are not taken from the query", No),
            Self::QueryRefused => ("query_refused", 400, "the query carries a parameter that is not taken here", No),
            Self::MethodMalformed => ("method_malformed", 400, "the method is not a token", No),
            Self::MethodConnect => ("method_connect", 400, "CONNECT is not taken", No),
            Self::HostMissing => ("host_missing", 400, "the request names no host", No),
            Self::HostMalformed => ("host_malformed", 400, "the host is not in canonical form", No),
            Self::PathNotOriginForm => ("path_not_origin_form", 400, "the path does not start with a slash", No),
            Self::PathCharacter => ("path_character", 400, "the path contains a character that paths do not have", No),
            Self::PathEmptySegment => ("path_empty_segment", 400, "the path contains an empty segment", No),
            Self::PathDotSegment => ("path_dot_segment", 400, "the path contains a dot segment", No),
            Self::PathEscapeMalformed => ("path_escape_malformed", 400, "the path contains a malformed escape", No),
            Self::PathEscapeUnreserved => ("path_escape_unreserved", 400, "the path escapes a character that needs no escape", No),
            Self::PathEscapeControl => ("path_escape_control", 400, "the path escapes a control character", No),
            Self::PathEscapeNotUtf8 => ("path_escape_not_utf8", 400, "the path's escapes are not UTF-8", No),
            Self::PathEscapeNotAllowed => ("path_escape_not_allowed", 400, "the path contains an escape that is not taken here", No),
            Self::PathValueAmbiguous => ("path_value_ambiguous", 400, "a path value could be read in more than one way", No),
            Self::QueryCharacter => ("query_character", 400, "the query contains a character that queries do not have", No),
            Self::QueryEscapeMalformed => ("query_escape_malformed", 400, "the query contains a malformed escape", No),
            Self::CredentialsMissing => ("credentials_missing", 401, "the call carries no access token", Bare),
            Self::CredentialsScheme => ("credentials_scheme", 401, "the authorization scheme is not taken", Bare),
            Self::TokenTooLong => ("token_too_long", 401, "the access token is longer than 16 KiB", InvalidToken),
            Self::TokenMalformed => ("token_malformed", 401, "the access token is malformed", InvalidToken),
            Self::TokenEncrypted => ("token_encrypted", 401, "the access token is encrypted", InvalidToken),
            Self::TokenJson => ("token_json", 401, "the access token does not hold well-formed JSON", InvalidToken),
            Self::TokenHeader => ("token_header", 401, "the access token's header asks for something that is not taken", InvalidToken),
            Self::TokenAlgorithm => ("token_algorithm", 401, "the access token's algorithm is not taken", InvalidToken),
            Self::TokenIssuer => ("token_issuer", 401, "the access token's issuer is not known", InvalidToken),
            Self::TokenType => ("token_type", 401, "the token is of another type", InvalidToken),
            Self::TokenKey => ("token_key", 401, "the key that signed the access token is not known", InvalidToken),
            Self::TokenClaim => ("token_claim", 401, "the access token lacks a claim or holds one that is not taken", InvalidToken),
            Self::TokenAudience => ("token_audience", 401, "the access token is meant for another audience", InvalidToken),
            Self::TokenTime => ("token_time", 401, "the access token has invalid time claims", InvalidToken),
            Self::TokenExpired => ("token_expired", 401, "the access token has expired", InvalidToken),
            Self::TokenNotYetValid => ("token_not_yet_valid", 401, "the access token is not valid yet", InvalidToken),
            Self::TokenLifetime => ("token_lifetime", 401, "the access token lives too long", InvalidToken),
            Self::TokenBound => ("token_bound", 401, "the access token is bound to a key and was sent without a proof that counts here", InvalidToken),
            Self::TokenSignature => ("token_signature", 401, "the access token's signature does not verify", InvalidToken),
            Self::TokenUnbound => ("token_unbound", 401, "the access token is not bound to a key", InvalidToken),
            Self::DpopMissing => ("dpop_missing", 401, "the call carries no DPoP proof", InvalidProof),
            Self::DpopMalformed => ("dpop_malformed", 401, "the DPoP proof is malformed", InvalidProof),
            Self::DpopHeader => ("dpop_header", 401, "the DPoP proof's header is of another type or asks for something that is not taken", InvalidProof),
            Self::DpopAlgorithm => ("dpop_algorithm", 401, "the DPoP proof's algorithm is not taken", InvalidProof),
            Self::DpopKey => ("dpop_key", 401, "the DPoP proof does not carry a public key that is taken", InvalidProof),
            Self::DpopBinding => ("dpop_binding", 401, "the DPoP proof is made with another key than the access token's", InvalidProof),
            Self::DpopClaim => ("dpop_claim", 401, "the DPoP proof lacks a claim or holds one that is not taken", InvalidProof),
            Self::DpopMethod => ("dpop_method", 401, "the DPoP proof is for another method", InvalidProof),
            Self::DpopTarget => ("dpop_target", 401, "the DPoP proof is for another URI", InvalidProof),
            Self::DpopToken => ("dpop_token", 401, "the DPoP proof is for another access token", InvalidProof),
            Self::DpopTime => ("dpop_time", 401, "the DPoP proof is too old, expired, or dated in the future", InvalidProof),
            Self::DpopNonce => ("dpop_nonce", 401, "the DPoP proof does not carry a current nonce", UseNonce),
            Self::DpopReplayed => ("dpop_replayed", 401, "the DPoP proof was used before: make one for each call", InvalidProof),
            Self::DpopSignature => ("dpop_signature", 401, "the DPoP proof's signature does not verify", InvalidProof),
            Self::CredentialsLimited => ("credentials_limited", 429, "too many credentials from this address failed", No),
            Self::AgentUnknown => ("agent_unknown", 403, "the caller may not call", No),
            Self::AgentAmbiguous => ("agent_ambiguous", 403, "the caller may not call", No),
            Self::AgentSuspended => ("agent_suspended", 403, "the caller may not call", No),
            Self::AgentExpired => ("agent_expired", 403, "the caller may not call", No),
            Self::IdentityTooLong => ("identity_too_long", 403, "the caller's identity is too long to be passed on", No),
            Self::EndpointNotAllowed => ("endpoint_not_allowed", 403, "this call is not on the allowlist", No),
            Self::UpgradeNotAllowed => ("upgrade_not_allowed", 403, "this endpoint does not upgrade the connection that way", No),
            Self::UpgradeWithBody => ("upgrade_with_body", 400, "an upgrade has no body", No),
            Self::FormBody => ("form_body", 415, "form bodies are not taken here", No),
            Self::JsonBody => ("json_body", 415, "a JSON body is not accepted here", No),
            Self::ContentTypeAmbiguous => ("content_type_ambiguous", 400, "the request carries more than one Content-Type", No),
            Self::SignatureMissing => ("signature_missing", 403, "the call is not signed", Signature),
            Self::SignatureMalformed => ("signature_malformed", 400, "the signature fields are malformed", No),
            Self::SignatureAmbiguous => ("signature_ambiguous", 400, "more than one signature could be the one asked for", No),
            Self::SignatureKey => ("signature_key", 403, "the signature's key is not known", Signature),
            Self::SignatureKeyTime => ("signature_key_time", 403, "the signature's key is not valid now", Signature),
            Self::SignatureAlgorithm => ("signature_algorithm", 403, "the signature's algorithm is not its key's", Signature),
            Self::SignatureParameters => ("signature_parameters", 403, "the signature lacks a parameter that is asked for", Signature),
            Self::SignatureNotYetValid => ("signature_not_yet_valid", 403, "the signature was made in the future", Signature),
            Self::SignatureExpired => ("signature_expired", 403, "the signature is too old", Signature),
            Self::SignatureCoverage => ("signature_coverage", 403, "the signature does not cover what is asked for", Signature),
            Self::SignatureComponent => ("signature_component", 400, "the signature covers something that the request does not have", No),
            Self::SignatureFailed => ("signature_failed", 403, "the signature does not verify", Signature),
            Self::SignatureSigner => ("signature_signer", 403, "the signature is another caller's", No),
            Self::ContentDigestMissing => ("content_digest_missing", 403, "the body's digest is not signed", Signature),
            Self::ContentDigestMalformed => ("content_digest_malformed", 400, "the body's digest is malformed", No),
            Self::ContentDigestMismatch => ("content_digest_mismatch", 403, "the body is not the one that was signed", No),
            Self::BodyTooLarge => ("body_too_large", 413, "the body is too large to be checked", No),
            Self::BodyLengthMissing => ("body_length_missing", 411, "the body needs a Content-Length here", No),
            Self::BodyIncomplete => ("body_incomplete", 400, "the call ended before its body had come", No),
            Self::BodyTimeout => ("body_timeout", 408, "the body did not arrive in time", No),
            Self::HeldBytesFull => ("held_bytes_full", 503, "too many bytes are held for requests of this agent or address: send the request again later", No),
            Self::EarlyData => ("early_data", 425, "this call is not taken in early data", No),
            Self::ProofRequired => ("proof_required", 403, "this call needs an access token that is bound to a key", No),
            Self::InsufficientScope => ("insufficient_scope", 403, "the access token lacks a scope that this call needs", InsufficientScope),
            Self::TooManyParameters => ("too_many_parameters", 400, "the query has more than 256 parameters", No),
            Self::BindingAmbiguous => ("binding_ambiguous", 400, "a bound part of the call could be read in more than one way", No),
            Self::BindingMismatch => ("binding_mismatch", 403, "the call is outside what the caller is bound to", No),
            Self::RateLimited => ("rate_limited", 429, "the caller has used up a limit", No),
            Self::SignatureReplayed => ("signature_replayed", 403, "the signature was used before: sign each call anew, with a nonce of its own", No),
            Self::ReplayShareFull => ("replay_share_full", 503, "the caller has too many calls on record to tell another from a repeated one", No),
            Self::ReplayTableYoung => ("replay_table_young", 503, "the call was signed before the gate could tell whether it is a repeated one: sign it anew", No),
            Self::ReplayContended => ("replay_contended", 503, "too many calls came at once to tell this one from a repeated one", No),
            Self::HostError => ("host_error", 500, "the gate could not decide this call", No),
        };
        Row { code, status, title, challenge }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_snake_case_and_titles_fit_a_sentence() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let row = reason.row();
            assert!(row.code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{row:?}");
            assert!((400..600).contains(&row.status), "{row:?}");
            assert!(
                !row.title.ends_with('.') && row.title.starts_with(|c: char| c.is_lowercase() || c == 'C'),
                "{row:?}"
            );
        }
    }

    #[test]
    fn reasons_with_one_disclosed_code_have_equal_answers() {
        for reason in Reason::ALL {
            let disclosed = reason.disclosed();
            for other in Reason::ALL.iter().filter(|other| other.disclosed().code == disclosed.code) {
                let (own, other_row) = (reason.row(), other.row());
                assert_eq!(disclosed, other.disclosed(), "{reason:?} {other:?}");
                assert_eq!(
                    (own.status, own.challenge),
                    (other_row.status, other_row.challenge),
                    "{reason:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn does_not_disclose_whether_a_key_is_known() {
        let failed = Reason::SignatureFailed.disclosed();
        assert_eq!(failed.code, "signature_failed");
        for reason in [Reason::SignatureKey, Reason::SignatureKeyTime, Reason::SignatureAlgorithm] {
            assert_eq!(reason.disclosed(), failed, "{reason:?}");
            assert_ne!(reason.code(), failed.code, "{reason:?}");
        }
    }

    #[test]
    fn unauthorized_answers_carry_a_challenge() {
        for reason in Reason::ALL {
            let row = reason.row();
            assert_eq!(
                row.status == 401,
                matches!(
                    row.challenge,
                    Challenge::Bare | Challenge::InvalidToken | Challenge::InvalidProof | Challenge::UseNonce
                ),
                "{row:?}"
            );
        }
    }
}
