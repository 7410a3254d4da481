//! The reasons for denying a request. One table defines the enum, the list of all reasons and the meaning of each.
//!
//! The code of a reason is stable: records, metrics, answers and test cases contain it. [`answer`](crate::decision::answer)
//! maps reasons to HTTP responses.

mod advice;
mod define;
mod disclosed;
mod row;

use define::reasons;
pub use disclosed::AGENT_REFUSED;
pub use row::{Challenge, Row};

// Each reason once: status, code, challenge and title. If an issuer's rule denies the request, the issuer's field follows. The
// order is that of the checks and of the reference.
reasons! {
    // Reading the request.
    /// The request has more than one `Host`, or both `:authority` and `Host`.
    DuplicateHost = 400, "duplicate_host", No, "the request names its host more than once";
    /// The request has more than one `Authorization`.
    DuplicateAuthorization = 400, "duplicate_authorization", No,
        "the request carries more than one Authorization header";
    /// The request has credentials in more than one of the places where the policy expects them, or twice in one of them.
    DuplicateCredentials = 400, "duplicate_credentials", No, "the request carries more than one credential";
    /// The request has more than one `DPoP`.
    DuplicateDpop = 400, "duplicate_dpop", No, "the request carries more than one DPoP header";
    /// The request has more than one `Content-Length`.
    DuplicateContentLength = 400, "duplicate_content_length", No,
        "the request carries more than one Content-Length header";
    /// Some servers read the name of a header as that of another header, which frames, describes or authenticates the request.
    HeaderLookalike = 400, "header_lookalike", No,
        "a header's name could be read as the name of another header, such as Content-Length";
    /// A `Connection` header names anything but `close`, `keep-alive`, `upgrade`, `te`, `http2-settings`.
    ConnectionNomination = 400, "connection_nomination", No,
        "the Connection header names headers that a later hop would drop";
    /// The request has so many headers that the gateway may not have shown all of them to the filter.
    TooManyHeaders = 431, "too_many_headers", No, "the request has more headers than this gateway accepts";
    /// A header that must be removed has more than one line, and the gateway can only replace the first.
    UnremovableHeader = 400, "unremovable_header", No, "a header that must be removed occurs more than once";
    /// A header or query parameter overrides the method or the path.
    MethodOverride = 400, "method_override", No, "the request overrides its method or path";
    /// The query has a parameter `access_token`.
    QueryCredential = 400, "query_credential", No, "the query contains an access token; send it in the Authorization header";
    /// The query has a parameter that the policy lists in `reject_query`.
    QueryRefused = 400, "query_refused", No, "the query contains a parameter that the policy rejects";

    // Canonical form.
    /// The method is not a token (RFC 9110, section 5.6.2).
    MethodMalformed = 400, "method_malformed", No, "the method is not a token";
    /// The method is `CONNECT`.
    MethodConnect = 400, "method_connect", No, "the method CONNECT is not allowed";
    /// The request has neither `:authority` nor `Host`.
    HostMissing = 400, "host_missing", No, "the request names no host";
    /// The host has a trailing dot, user information, a malformed port or characters that hosts cannot have.
    HostMalformed = 400, "host_malformed", No, "the host is not in canonical form";
    /// The request target does not start with `/` (RFC 9112, section 3.2.1).
    PathNotOriginForm = 400, "path_not_origin_form", No, "the path does not start with a slash";
    /// The path contains a byte that RFC 3986 does not allow: control bytes, spaces, `#`, `\\`, bytes beyond ASCII; and
    /// `[ ] ^ |` outside the values of text variables.
    PathCharacter = 400, "path_character", No, "the path contains an invalid character";
    /// The path contains `//`.
    PathEmptySegment = 400, "path_empty_segment", No, "the path contains an empty segment";
    /// A segment is `.` or `..`, escaped or not, or consists of dots and spaces.
    PathDotSegment = 400, "path_dot_segment", No, "the path contains a dot segment";
    /// A `%` in the path is not followed by two hexadecimal digits.
    PathEscapeMalformed = 400, "path_escape_malformed", No, "the path contains a malformed escape";
    /// The path contains a percent-encoded unreserved character (RFC 3986, section 2.3) outside the values of text variables.
    PathEscapeUnreserved = 400, "path_escape_unreserved", No, "the path escapes a character that needs no escape";
    /// An escape decodes to a control character.
    PathEscapeControl = 400, "path_escape_control", No, "the path escapes a control character";
    /// Escapes decode to invalid UTF-8.
    PathEscapeNotUtf8 = 400, "path_escape_not_utf8", No, "the path's escapes are not UTF-8";
    /// The path contains `%2F`, `%5C`, `%25` or `;`, and the endpoint does not allow it.
    PathEscapeNotAllowed = 400, "path_escape_not_allowed", No, "the path contains an escape that no endpoint allows here";
    /// A lenient upstream could read a value with an allowed escape as another path, or as the path of another endpoint; or it could
    /// read the path as one of another of the policy's `resources`.
    PathValueAmbiguous = 400, "path_value_ambiguous", No, "a path value is ambiguous";
    /// The query contains a byte that is not printable ASCII, or `#`.
    QueryCharacter = 400, "query_character", No, "the query contains an invalid character";
    /// A `%` in the query is not followed by two hexadecimal digits.
    QueryEscapeMalformed = 400, "query_escape_malformed", No, "the query contains a malformed escape";

    // The credential.
    /// The request has no token in any place where the policy accepts one, and the endpoint is not public.
    CredentialsMissing = 401, "credentials_missing", Bare, "the request has no access token";
    /// The policy does not accept this authorization scheme.
    CredentialsScheme = 401, "credentials_scheme", Bare, "the authorization scheme is not accepted";
    /// The token is longer than 16 KiB (16,384 bytes).
    TokenTooLong = 401, "token_too_long", InvalidToken, "the access token is longer than 16 KiB";
    /// The token is not a compact JWS in strict base64url.
    TokenMalformed = 401, "token_malformed", InvalidToken, "the access token is malformed";
    /// The token has five parts (JWE).
    TokenEncrypted = 401, "token_encrypted", InvalidToken, "the access token is encrypted";
    /// The header or the claims are not a JSON object, repeat a name, are not UTF-8, are nested too deeply or are too large.
    TokenJson = 401, "token_json", InvalidToken, "the access token does not contain valid JSON";
    /// The header contains `crit`, `b64`, `jwk` or `zip`; or `jku`, `x5u` or `x5c`, and the issuer does not ignore them.
    TokenHeader = 401, "token_header", InvalidToken,
        "the access token's header has a member that is not accepted", issuer.ignore_header;
    /// The algorithm is `none`, is not listed for the issuer, or does not fit the key.
    TokenAlgorithm = 401, "token_algorithm", InvalidToken,
        "the access token's algorithm is not accepted", issuer.algorithms;
    /// No issuer of the policy has exactly this `iss`; or the tenant in `iss` is not accepted, or is not the one in the token's claim.
    TokenIssuer = 401, "token_issuer", InvalidToken, "the access token's issuer is unknown";
    /// The profile does not accept this `typ`.
    TokenType = 401, "token_type", InvalidToken, "the token has the wrong type", issuer.profile;
    /// No key of the issuer, and of the token's tenant, has this `kid`; or there is no `kid`, and not exactly one key fits.
    TokenKey = 401, "token_key", InvalidToken, "the access token was signed with an unknown key", issuer.keys;
    /// The keys of the token's issuer are fetched, and are not available or may have changed.
    KeysUnavailable = 503, "keys_unavailable", No,
        "the keys of the access token's issuer are not available at the moment; retry", issuer.keys;
    /// A required claim is absent, has the wrong type, or has a value that is not accepted.
    TokenClaim = 401, "token_claim", InvalidToken,
        "the access token has a missing or invalid claim", issuer.profile;
    /// `aud` does not contain an audience of the issuer for this resource; or there is an `aud`, and the issuer's tokens have none.
    TokenAudience = 401, "token_audience", InvalidToken,
        "the access token has the wrong audience", issuer.audience;
    /// A time is negative, implausible or not a number; `iat` is in the future; `exp` is not after `iat`; or `nbf` is not
    /// before `exp`.
    TokenTime = 401, "token_time", InvalidToken, "the access token has invalid time claims";
    /// `exp` has passed.
    TokenExpired = 401, "token_expired", InvalidToken, "the access token has expired";
    /// `nbf` is in the future.
    TokenNotYetValid = 401, "token_not_yet_valid", InvalidToken, "the access token is not valid yet";
    /// `exp` − `iat` is longer than the issuer's `max_lifetime`.
    TokenLifetime = 401, "token_lifetime", InvalidToken, "the access token's lifetime exceeds `max_lifetime`", issuer.max_lifetime;
    /// The token is bound to a key (RFC 9449) and was sent as a bearer token, or it has a `cnf` that Callgate cannot verify.
    TokenBound = 401, "token_bound", InvalidToken,
        "the access token is bound to a key, and the request has no accepted proof of it";
    /// The signature does not verify with the issuer's key.
    TokenSignature = 401, "token_signature", InvalidToken, "the access token's signature does not verify", issuer.keys;
    /// The token is bound to no key, and it was sent with the scheme `DPoP` or the policy requires bound tokens.
    TokenUnbound = 401, "token_unbound", InvalidToken, "the access token is not bound to a key";

    // The proof of possession.
    /// The token is bound to a key, and there is no proof.
    DpopMissing = 401, "dpop_missing", InvalidProof, "the request has no DPoP proof";
    /// The proof is not a compact JWS of JSON objects in strict base64url, or it is too long.
    DpopMalformed = 401, "dpop_malformed", InvalidProof, "the DPoP proof is malformed";
    /// The proof's header has a `typ` other than `dpop+jwt`, or contains `crit`, `b64`, `zip`, `jku`, `x5u` or `x5c`.
    DpopHeader = 401, "dpop_header", InvalidProof,
        "the DPoP proof's header has the wrong type or a member that is not accepted";
    /// The algorithm is `none`, is not listed in the policy, or does not fit the proof's key.
    DpopAlgorithm = 401, "dpop_algorithm", InvalidProof, "the DPoP proof's algorithm is not accepted";
    /// The `jwk` is absent, malformed, weak, not for signatures, or contains a private or secret key.
    DpopKey = 401, "dpop_key", InvalidProof, "the DPoP proof has no accepted public key";
    /// The proof was signed with another key than the token is bound to.
    DpopBinding = 401, "dpop_binding", InvalidProof, "the DPoP proof was made with a different key than the access token is bound to";
    /// `jti`, `htm`, `htu`, `iat` or `ath` is absent or invalid.
    DpopClaim = 401, "dpop_claim", InvalidProof, "the DPoP proof has a missing or invalid claim";
    /// `htm` is not the method of the request.
    DpopMethod = 401, "dpop_method", InvalidProof, "the DPoP proof is for another method";
    /// `htu` is not the URI of the request.
    DpopTarget = 401, "dpop_target", InvalidProof, "the DPoP proof is for another URI";
    /// `ath` is not the hash of the token.
    DpopToken = 401, "dpop_token", InvalidProof, "the DPoP proof is for another access token";
    /// The proof is too old or dated in the future, or its `exp` or `nbf` does not allow it now.
    DpopTime = 401, "dpop_time", InvalidProof, "the DPoP proof is too old, expired, or dated in the future";
    /// The proof contains no nonce that Callgate issued recently.
    DpopNonce = 401, "dpop_nonce", UseNonce, "the DPoP proof has no current nonce";
    /// The signature does not verify with the key that the token is bound to.
    DpopSignature = 401, "dpop_signature", InvalidProof, "the DPoP proof's signature does not verify";
    /// The proof was used before.
    DpopReplayed = 401, "dpop_replayed", InvalidProof, "the DPoP proof was used before; create one for each request";
    /// The policy has no such API key.
    ApiKeyUnknown = 401, "api_key_unknown", InvalidToken, "the API key is unknown or has expired";
    /// The API key is no longer valid.
    ApiKeyExpired = 401, "api_key_expired", InvalidToken, "the API key has expired";
    /// The subject of a JWT-SVID is not a SPIFFE ID of the issuer's trust domain.
    TokenSubject = 401, "token_subject", InvalidToken, "the token's subject is not an accepted SPIFFE ID", issuer.trust_domain;
    /// The token's chain of actors (`act`) is malformed, has a cycle, or is too long.
    DelegationMalformed = 401, "delegation_malformed", InvalidToken, "the access token's chain of actors is not accepted";
    /// The token is bound to another certificate than that of the connection, or the client presented none.
    CertificateBinding = 401, "certificate_binding", InvalidToken, "the access token is bound to another client certificate";
    /// The client's certificate does not have exactly one name that the policy can accept.
    CertificateName = 401, "certificate_name", Bare, "the client certificate does not name one accepted identity";
    /// The credential was revoked, or its issuer is suspended.
    TokenRevoked = 401, "token_revoked", InvalidToken, "the credential was revoked";
    /// There is no list of revoked credentials yet, or it is too old.
    RevocationsUnavailable = 503, "revocations_unavailable", No,
        "the list of revoked credentials is not available; retry later";
    /// Too many credentials from this source address failed. For a while, no more signatures are verified for it.
    CredentialsLimited = 429, "credentials_limited", No, "too many invalid credentials from this address";

    // The caller.
    /// The credential is valid and belongs to no agent of the policy.
    AgentUnknown = 403, "agent_unknown", No, "this agent is not allowed to use this API";
    /// The credential matches more than one agent.
    AgentAmbiguous = 403, "agent_ambiguous", No, "this agent is not allowed to use this API";
    /// The agent's registration is suspended.
    AgentSuspended = 403, "agent_suspended", No, "this agent is not allowed to use this API";
    /// The agent's registration has expired.
    AgentExpired = 403, "agent_expired", No, "this agent is not allowed to use this API";
    /// The current actor of the token is no agent of the policy, or none that may act for others, or a prior actor is no agent.
    ActorUnknown = 403, "actor_unknown", No, "this agent is not allowed to use this API";
    /// The token was issued to another client than its current actor, or another agent sent it.
    ActorMismatch = 403, "actor_mismatch", No, "the access token's actor is not the client that sends it";
    /// The client certificate belongs to another agent than the request's other credential.
    CertificateAgent = 403, "certificate_agent", No, "the client certificate belongs to another caller";
    /// The identity does not fit in a header, and must not be truncated.
    IdentityTooLong = 403, "identity_too_long", No, "the caller's identity is too long to be forwarded";

    // The endpoint.
    /// No endpoint has this host, path and method.
    EndpointNotAllowed = 403, "endpoint_not_allowed", No, "no endpoint in the policy matches this method and path";
    /// The endpoint does not list this `Upgrade`.
    UpgradeNotAllowed = 403, "upgrade_not_allowed", No, "this endpoint does not allow this connection upgrade";
    /// The request has an upgrade and `Content-Length` or `Transfer-Encoding`.
    UpgradeWithBody = 400, "upgrade_with_body", No, "an upgrade request must not have a body";
    /// The request has a form body, and the endpoint rejects forms.
    FormBody = 415, "form_body", No, "this endpoint does not accept form bodies";
    /// The request has a JSON body, and the endpoint rejects it because its upstream merges JSON with the query.
    JsonBody = 415, "json_body", No, "this endpoint does not accept JSON bodies";
    /// The request has more than one `Content-Type`, and the endpoint rejects forms or other bodies that upstreams merge with
    /// the query.
    ContentTypeAmbiguous = 400, "content_type_ambiguous", No, "the request carries more than one Content-Type";

    // The signature.
    /// The endpoint requires a signature, and the request has none with the required tag. If the signature is optional, the
    /// request has signatures, but none with the required tag.
    SignatureMissing = 403, "signature_missing", Signature, "the request is not signed";
    /// `Signature-Input` or `Signature` is malformed, contains a label or a component twice, or contains a label that the other
    /// one lacks.
    SignatureMalformed = 400, "signature_malformed", No, "the signature fields are malformed";
    /// More than one signature could be the required one.
    SignatureAmbiguous = 400, "signature_ambiguous", No, "more than one signature matches the required profile";
    /// No key of the policy has this `keyid`.
    SignatureKey = 403, "signature_key", Signature, "the signature's key is unknown";
    /// The key is not valid yet, or no longer valid.
    SignatureKeyTime = 403, "signature_key_time", Signature, "the signature's key is not valid at this time";
    /// `alg` is not the key's algorithm.
    SignatureAlgorithm = 403, "signature_algorithm", Signature, "the signature's algorithm does not match its key";
    /// `created`, `keyid`, or the required `nonce` or `expires` is missing or invalid.
    SignatureParameters = 403, "signature_parameters", Signature, "the signature lacks a required parameter";
    /// `created` is in the future.
    SignatureNotYetValid = 403, "signature_not_yet_valid", Signature, "the signature is dated in the future";
    /// The signature is too old, or `expires` has passed.
    SignatureExpired = 403, "signature_expired", Signature, "the signature is too old";
    /// A required component is not covered.
    SignatureCoverage = 403, "signature_coverage", Signature, "the signature does not cover all required components";
    /// The signature covers a component that the request does not have, or has in a form that cannot be signed.
    SignatureComponent = 400, "signature_component", No,
        "the signature covers a component that the request does not have";
    /// The signature does not verify with the key.
    SignatureFailed = 403, "signature_failed", Signature, "the signature does not verify";
    /// The signer is another agent than the token's.
    SignatureSigner = 403, "signature_signer", No, "the signature belongs to another caller";

    // The body.
    /// The request has a body, and no digest of it is signed.
    ContentDigestMissing = 403, "content_digest_missing", Signature, "the body's digest is not covered by the signature";
    /// `Content-Digest` is malformed.
    ContentDigestMalformed = 400, "content_digest_malformed", No, "the body's digest is malformed";
    /// The body does not match its signed digest.
    ContentDigestMismatch = 403, "content_digest_mismatch", No, "the body does not match its signed digest";
    /// The body is larger than the maximum that is held until its digest is checked.
    BodyTooLarge = 413, "body_too_large", No, "the body is too large to be checked";
    /// The gateway does not report the end of a request, and the headers do not announce the length of the body. There are two
    /// cases. A signed request has a body whose length is not announced, or has `Transfer-Encoding`. Or the headers announce no
    /// body, and one arrives, although the request is signed, or has no `Content-Type` on an endpoint that rejects forms or JSON.
    BodyLengthMissing = 411, "body_length_missing", No, "the request needs a Content-Length";
    /// The request was held for its body and ended before all of it arrived. No client is left to be answered.
    BodyIncomplete = 400, "body_incomplete", No, "the request ended before its body was complete";
    /// The body made no progress for `hold_timeout`, or was not complete after `total_timeout`, while the request was held.
    BodyTimeout = 408, "body_timeout", No, "the body did not arrive in time";
    /// There is no room for the request among the held bytes of the agent, of its source, or of the worker as a whole.
    HeldBytesFull = 503, "held_bytes_full", No,
        "too many bytes are held for this agent or address; retry later";
    /// The request has `Early-Data: 1` and is not safe to repeat (RFC 8470).
    EarlyData = 425, "early_data", No, "this request is not accepted in early data";
    /// The token is bound to no key, and the endpoint requires a bound token.
    ProofRequired = 403, "proof_required", No, "this request needs an access token that is bound to a key";

    // The reach of the caller.
    /// The token has an actor, and the endpoint does not allow delegation.
    DelegationNotAllowed = 403, "delegation_not_allowed", No, "this endpoint does not accept requests for somebody else";
    /// The token has no actor, and the endpoint requires one.
    DelegationRequired = 403, "delegation_required", No, "this endpoint accepts only requests for somebody else";
    /// The endpoint is suspended.
    EndpointSuspended = 403, "endpoint_suspended", No, "this endpoint is suspended";
    /// The endpoint or the operation lists the agents that may use it, and this is not one of them.
    AgentNotListed = 403, "agent_not_listed", No, "this agent may not use this endpoint";
    /// The agent's `at_most`, or that of a prior actor, excludes the request, regardless of the token's scopes.
    AgentCeiling = 403, "agent_ceiling", No, "this agent may not use this endpoint";
    /// The token was issued longer ago than the endpoint's `max_age`, or does not state when.
    TokenTooOld = 401, "token_too_old", InvalidToken, "the access token was issued too long ago for this request";
    /// The token's lifetime exceeds the endpoint's `max_lifetime`.
    TokenTooLongLived = 403, "token_too_long_lived", No, "the access token's lifetime is too long for this request";

    // Scopes and bindings.
    /// A scope is missing. The challenge lists all required scopes.
    InsufficientScope = 403, "insufficient_scope", InsufficientScope,
        "the access token lacks a required scope";
    /// The query has more than 256 parameters, and one of them is bound. Some upstreams ignore parameters after a certain
    /// number.
    TooManyParameters = 400, "too_many_parameters", No, "the query has more than 256 parameters";
    /// A bound query parameter or header occurs twice, contains a raw `+` or invalid UTF-8, or another name can be read as its
    /// name.
    BindingAmbiguous = 400, "binding_ambiguous", No, "a bound part of the request is ambiguous";
    /// A bound part of the request is missing, or does not fit the claim, attribute or literal. A part of a JSON body that is neither text
    /// nor a number fits nothing.
    BindingMismatch = 403, "binding_mismatch", No, "a bound part of the request is missing or not allowed for this caller";

    // The JSON body.
    /// The endpoint binds a part of the body, and the request does not have exactly one `Content-Type` that is `application/json` without
    /// a charset or with `utf-8`, or has a `Content-Encoding`.
    JsonMediaType = 415, "json_media_type", No, "this endpoint accepts only JSON in UTF-8 without a content coding";
    /// The body is larger than the endpoint's `max_json`.
    JsonTooLarge = 413, "json_too_large", No, "the JSON body is too large";
    /// The body is not one JSON value in UTF-8.
    JsonMalformed = 400, "json_malformed", No, "the body is not one valid JSON value";
    /// Two decoders could read the body differently: a name occurs twice in an object, or in two spellings that some decoders read as
    /// the same name, or a bound name is spelled differently.
    JsonAmbiguous = 400, "json_ambiguous", No, "the JSON body is ambiguous";
    /// Objects and arrays in the body are nested more than 64 levels deep, or a number has more than 128 characters.
    JsonTooDeep = 400, "json_too_deep", No, "the JSON body is nested too deeply, or has too long a number";
    // JSON-RPC and MCP.
    /// The request has an `Origin` that the endpoint does not list, or more than one.
    OriginNotAllowed = 403, "origin_not_allowed", No, "this endpoint does not accept requests of this web page";
    /// The request has another method than `POST`, and its revision of MCP has no sessions.
    SessionMethod = 405, "session_method", No, "this revision of MCP has no sessions; send every message with POST";
    /// The body is not one JSON-RPC 2.0 message: a batch, another `jsonrpc`, an `id` that is neither text nor an integer or is longer
    /// than 256 bytes, `params` that are no object, or a name in another spelling.
    RpcMalformed = 400, "rpc_malformed", No, "the body is not one JSON-RPC 2.0 message";
    /// The message is a client's response to a request of the server, and the endpoint or the revision of MCP does not allow them.
    ClientResponse = 403, "client_response", No, "this endpoint does not accept responses from clients";
    /// The message is in a revision of MCP that the endpoint does not list.
    RpcRevision = 400, "rpc_revision", No, "this endpoint does not support the requested revision of MCP";
    /// `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` or an `Mcp-Param` header is missing, occurs twice or does not agree with the
    /// body.
    RpcHeaderMismatch = 400, "rpc_header_mismatch", No, "a header does not agree with the message in the body";
    /// The endpoint does not list the tool, the resource, the prompt or the method of the message.
    OperationNotAllowed = 403, "operation_not_allowed", No, "this operation is not allowed on this endpoint";
    /// The server's definition of the tool is none of those that the policy accepts (`pin`).
    ToolChanged = 403, "tool_changed", No, "the definition of this tool has changed and is not accepted";

    // Limits.
    /// A limit is exhausted, or could not be charged because too many requests arrived at once.
    RateLimited = 429, "rate_limited", No, "the caller has exhausted a limit";

    // Replay.
    /// The message was used before. A nonce, or a signature without one, is accepted once.
    SignatureReplayed = 403, "signature_replayed", No,
        "the signature was used before; sign each request again, with a new nonce";
    /// The replay table has no room for this agent: it must remember too many earlier messages that are still valid.
    ReplayShareFull = 503, "replay_share_full", No,
        "the caller has too many recent requests for replays to be detected";
    /// The message was signed before the time from which Callgate can detect replays, for example just after a restart.
    ReplayTableYoung = 503, "replay_table_young", No,
        "the request was signed before replays could be detected; sign it again";
    /// Too many requests of this agent arrived at once to check whether this one is a replay.
    ReplayContended = 503, "replay_contended", No, "too many simultaneous requests for replays to be detected; retry";

    // Callgate itself.
    /// The gateway did not provide what the filter needs for a decision.
    HostError = 500, "host_error", No, "the gate could not decide this request";
}

impl Reason {
    /// Returns the stable code of the reason.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().code
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_titles_have_no_period() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let row = reason.row();
            assert_eq!(row.code.replace('_', ""), format!("{reason:?}").to_ascii_lowercase());
            assert!(row.code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{row:?}");
            assert!((400..600).contains(&row.status), "{row:?}");
            assert!(
                !row.title.ends_with('.') && row.title.starts_with(|c: char| c.is_lowercase() || c == 'C'),
                "{row:?}"
            );
        }
    }

    #[test]
    fn reasons_with_the_same_disclosed_code_have_equal_answers() {
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
    fn the_title_of_a_mismatch_names_no_operator() {
        let title = Reason::BindingMismatch.row().title;
        // A value can be in no list, below no path or above a maximum, and a literal belongs to no caller.
        assert!(["match", "equal", "belong"].iter().all(|word| !title.contains(word)), "{title}");
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
    fn only_unauthorized_answers_have_a_challenge() {
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
