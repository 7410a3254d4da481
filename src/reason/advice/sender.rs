//! Advice on the form of requests, and on the credentials and the registration of their senders.

use crate::reason::Reason;

impl Reason {
    /// Returns the advice on a reason that was found before the endpoint: the form of the request, its credential, or its agent.
    pub(super) const fn advice_on_sender(self) -> Option<&'static str> {
        Some(match self {
            Self::DuplicateHost => "Send the host once. Let the HTTP library set it from the URL.",
            Self::DuplicateAuthorization => {
                "Send exactly one `Authorization` header. Put a credential for a proxy into `Proxy-Authorization`."
            }
            Self::DuplicateCredentials => {
                "Send one credential, and send it once: a token in one place, or an API key in its own header."
            }
            Self::DuplicateDpop => {
                "Replace the `DPoP` header with a new proof for each attempt. Do not append a second line."
            }
            Self::DuplicateContentLength => {
                "Let the HTTP library compute `Content-Length`, and do not set the header yourself."
            }
            Self::HeaderLookalike => "Spell header names with hyphens, such as `Content-Type`, or remove the header.",
            Self::ConnectionNomination => {
                "Name only `close`, `keep-alive`, `upgrade`, `te` or `http2-settings` in `Connection`, or leave the \
                 header to the HTTP library."
            }
            Self::TooManyHeaders => {
                "Send fewer headers. Behind Kong, at most 95 are accepted, including those that proxies add."
            }
            Self::UnremovableHeader => {
                "Do not send headers that the gate sets itself, and send each override header at most once."
            }
            Self::MethodOverride => "Send the real method and path, and remove the header or parameter.",
            Self::QueryCredential => {
                "Send the token in `Authorization: Bearer TOKEN`. Treat a token that was in a URL as exposed, and \
                 request a new one."
            }
            Self::QueryRefused => {
                "Remove the parameter. Ask the operator of the API for an alternative if you need its effect."
            }
            Self::MethodMalformed => "Send a registered method in upper case, such as `GET` or `POST`.",
            Self::MethodConnect => {
                "Remove the gateway from the proxy settings of the client. Send requests to the URL of the API."
            }
            Self::HostMissing => "Send a `Host` header with the host of the API's URL.",
            Self::HostMalformed => {
                "Use the host exactly as the API documents it, without a dot at the end and without user \
                 information. Leave out the port if it is the default."
            }
            Self::PathNotOriginForm => {
                "Send the path alone, starting with `/`. Remove the gateway from the proxy settings of the client."
            }
            Self::PathCharacter => {
                "Percent-encode every value before you put it into the path, and check that all placeholders are \
                 filled."
            }
            Self::PathEmptySegment => "Join base URL and path with one slash, and check that no path value is empty.",
            Self::PathDotSegment => {
                "Resolve dot segments in the client before you send the request. Reject values that are `.` or \
                 `..`."
            }
            Self::PathEscapeMalformed => {
                "Encode a literal percent sign as `%25`. Encode each value once, with the URL function of your \
                 language."
            }
            Self::PathEscapeUnreserved => {
                "Send unreserved characters as they are. Use a percent-encoding function that follows RFC 3986."
            }
            Self::PathEscapeControl => {
                "Remove white space and control characters from values before you encode them. Send binary data in \
                 the body, or as base64url."
            }
            Self::PathEscapeNotUtf8 => {
                "Encode text as UTF-8 first and percent-encode the bytes then. Send binary values as hexadecimal \
                 digits or base64url."
            }
            Self::PathEscapeNotAllowed => {
                "Encode each value exactly once, and follow the API's documentation for values with slashes."
            }
            Self::PathValueAmbiguous => {
                "Write the fixed parts of the path exactly as the API's documentation does, including case and without \
                 escapes. Use an identifier without slashes, backslashes and semicolons, if the API has one, and remove \
                 slashes from the start and end of the value."
            }
            Self::QueryCharacter => {
                "Build the query with the URL function of your language, such as `URLSearchParams` or \
                 `urllib.parse.urlencode`."
            }
            Self::QueryEscapeMalformed => {
                "Encode a literal percent sign as `%25`, and build the query with the URL function of your \
                 language."
            }
            Self::CredentialsMissing => {
                "Send `Authorization: Bearer TOKEN`, or a credential of another scheme that `WWW-Authenticate` \
                 lists. Send the token in another header only if the API's documentation asks for it."
            }
            Self::CredentialsScheme => {
                "Send `Authorization: Bearer TOKEN`, or use another scheme that `WWW-Authenticate` in the response \
                 lists."
            }
            Self::TokenTooLong => {
                "Request a token with fewer scopes or for one audience only. Tell the owner of the identity \
                 provider if it does not get smaller."
            }
            Self::TokenMalformed => {
                "Print the value that your program sends and compare it with the token that the issuer returned. \
                 Request a JWT for this API's audience if the token has no dots."
            }
            Self::TokenEncrypted => {
                "Request an access token for this API, with its identifier as the audience or resource."
            }
            Self::TokenJson => {
                "Request a new token from the issuer. If your program creates the token, use a JWT library."
            }
            Self::TokenHeader => {
                "Send the access token that the issuer returned. A DPoP proof belongs in the `DPoP` header."
            }
            Self::TokenAlgorithm => {
                "Request a new token. If you choose the algorithm at the identity provider, choose one that the API \
                 accepts."
            }
            Self::TokenIssuer => "Request the token from the authorization server of this API and this environment.",
            Self::TokenType => "Send the `access_token` of the token response, not the `id_token`.",
            Self::TokenKey => {
                "Request a new token once. If it fails in the same way, report it to the operator of the API."
            }
            Self::KeysUnavailable => "Wait for `Retry-After`, and send the request again with the same token.",
            Self::TokenClaim => {
                "Send the access token for this API. Report it to the operator if the token comes from the right \
                 authorization server."
            }
            Self::TokenAudience => {
                "Request a token for this API: set `audience`, `resource` or the API's scope in the token request. \
                 `realm` in `WWW-Authenticate` is the identifier of the resource that the request addresses."
            }
            Self::TokenTime => {
                "Request a new token. If your program creates the token, write whole seconds since 1970 as numbers."
            }
            Self::TokenExpired => {
                "Request a new token before `exp`, and retry once with a new token after a 401 with \
                 `invalid_token`."
            }
            Self::TokenNotYetValid => "Wait until the time in `nbf`, or request a token that is valid now.",
            Self::TokenLifetime => {
                "Request tokens with a shorter lifetime, if you can choose it. Otherwise report it to the operator."
            }
            Self::TokenBound => {
                "Send `Authorization: DPoP TOKEN` and a new proof in `DPoP`, if `WWW-Authenticate` lists `DPoP`. \
                 Otherwise request a token that is not bound to a key."
            }
            Self::TokenSignature => {
                "Send the token exactly as the issuer returned it. Request a new one if it was stored or copied."
            }
            Self::TokenUnbound => {
                "Send a DPoP proof with the token request (RFC 9449, section 5), and check that `token_type` in the \
                 response is `DPoP`. If `WWW-Authenticate` lists `Bearer`, you can send an unbound token with that \
                 scheme."
            }
            Self::DpopMissing => {
                "Create a proof for this request with the key of the token, and send it in the header `DPoP`."
            }
            Self::DpopMalformed => "Create proofs with a DPoP or JWT library, and send exactly one proof per request.",
            Self::DpopHeader => "Write `typ: dpop+jwt` and only `alg` and `jwk` into the proof's header.",
            Self::DpopAlgorithm => {
                "Choose an algorithm from `algs` in `WWW-Authenticate`. Create a key of that type and request a \
                 token that is bound to it."
            }
            Self::DpopKey => {
                "Write only the public members (`kty`, `crv`, `x`, `y`, or `n` and `e`) into `jwk`. If a private \
                 key was sent, it is exposed: create a new key and request a new token."
            }
            Self::DpopBinding => {
                "Keep key and token together: sign the proof with the key that was used in the token request. After \
                 a change of the key, request a new token."
            }
            Self::DpopClaim => {
                "Write all five claims into the proof: `ath` is the base64url-encoded SHA-256 hash of the access \
                 token, without padding."
            }
            Self::DpopMethod => {
                "Create a new proof for each request, with the method in upper case, exactly as it is sent."
            }
            Self::DpopTarget => {
                "Write the full URL of this request into `htu`, without query and fragment, and create a new proof \
                 after a redirect."
            }
            Self::DpopToken => {
                "Compute `ath` for each request as base64url(SHA-256(token)) without padding, over the exact token \
                 in `Authorization`."
            }
            Self::DpopTime => {
                "Synchronize the clock, and create the proof just before you send the request. Create a new one for \
                 each retry."
            }
            Self::DpopNonce => {
                "Take the nonce from `DPoP-Nonce`, write it into the claim `nonce` of a new proof, and send the \
                 request again. Also store the nonce of other responses, and keep it apart from that of the \
                 authorization server."
            }
            Self::DpopSignature => {
                "Sign the finished header and claims with a JWT library, using the private key that belongs to \
                 `jwk`."
            }
            Self::DpopReplayed => {
                "Create a new proof with a random `jti`, such as a UUID, for every request and every retry."
            }
            Self::ApiKeyUnknown | Self::ApiKeyExpired => {
                "Check that you send the whole API key of this environment, in the header that the API documents, without \
                 quotes or spaces. If it was replaced or has expired, ask the operator for a new one."
            }
            Self::TokenSubject => {
                "Request a JWT-SVID of the trust domain that this API accepts, and check the registration of the \
                 workload at the SPIFFE server."
            }
            Self::DelegationMalformed => {
                "Exchange the token again with fewer agents in between, and report the chain to the authorization \
                 server's operator if it has only a few."
            }
            Self::CertificateBinding => {
                "Send the token over a connection with the client certificate that it was issued for. Request a new \
                 token after the certificate was renewed."
            }
            Self::CertificateName => {
                "Use the client certificate that is registered for this API. A certificate with a SPIFFE ID has exactly \
                 one URI among its subject alternative names."
            }
            Self::TokenRevoked => "Stop using this credential, and ask its owner why it was revoked.",
            Self::RevocationsUnavailable => "Wait for `Retry-After`, and send the request again with the same token.",
            Self::CredentialsLimited => {
                "Stop the retries and wait for `Retry-After`. Replace or correct the credential before you send the \
                 next request."
            }
            Self::AgentUnknown => {
                "Check that you send the token of the client that is registered for this API. Ask the operator to \
                 register a new client with its exact issuer, client ID and subject. Do not retry with the same \
                 client."
            }
            Self::AgentAmbiguous => {
                "The request itself is not wrong. Report the decision ID in `instance` to the operator."
            }
            Self::AgentSuspended => {
                "Stop sending requests and contact the operator. A new token or another key does not help."
            }
            Self::AgentExpired => {
                "Ask the owner of the agent to have the registration renewed. A new token does not help."
            }
            Self::ActorUnknown => {
                "Check that the agent which acts for the user is registered for this API as an actor."
            }
            Self::ActorMismatch => {
                "Exchange the token with the credentials of the agent that sends it, and send it with the key or \
                 certificate of that agent."
            }
            Self::CertificateAgent => "Use the token and the client certificate of the same agent.",
            Self::IdentityTooLong => {
                "Request a token with fewer scopes. If you cannot choose them, report the decision ID in `instance` \
                 to the operator."
            }
            _ => return None,
        })
    }
}
