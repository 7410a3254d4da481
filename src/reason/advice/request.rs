//! Advice on what requests ask for: endpoints, signatures, bodies, reach, scopes, messages, limits and replays.

use crate::reason::Reason;

impl Reason {
    /// Returns the advice on a reason that depends on the endpoint, or on what the request contains.
    pub(super) const fn advice_on_request(self) -> Option<&'static str> {
        Some(match self {
            Self::EndpointNotAllowed => {
                "Compare method, host and path with the documentation of the API. Do not try other spellings; ask \
                 the operator to add the endpoint if the agent needs it."
            }
            Self::UpgradeNotAllowed => {
                "Connect to the WebSocket endpoint of the API with `Upgrade: websocket` alone. Disable upgrades to \
                 h2c in your HTTP library."
            }
            Self::UpgradeWithBody => {
                "Send the handshake as `GET` without `Content-Length`, `Transfer-Encoding` and body. Send data \
                 after the 101 response."
            }
            Self::FormBody => {
                "Send the body in the format that the API documents, and set its `Content-Type`, such as \
                 `application/json`."
            }
            Self::JsonBody => {
                "Send the parameters in the query, or use another format that the API documents for this endpoint. \
                 Omit `Content-Type` from requests without a body."
            }
            Self::ContentTypeAmbiguous => {
                "Send one `Content-Type` header with one media type and without a comma in its parameters."
            }
            Self::SignatureMissing => {
                "Sign the request as `Accept-Signature` in the answer lists it, with the same `tag`. Compare the \
                 result with what `callgate sign` prints."
            }
            Self::SignatureMalformed => {
                "Use a library for RFC 9421, not for one of the earlier drafts. Compare the two headers with what \
                 `callgate sign` prints for the same request."
            }
            Self::SignatureAmbiguous => {
                "Send one signature with the required `tag`. Remove the previous `Signature` and `Signature-Input` \
                 before you sign again."
            }
            Self::SignatureKey => {
                "Compare `keyid` in your `Signature-Input` with the name under which your key is registered. Have a \
                 new key registered before you sign with it."
            }
            Self::SignatureKeyTime => {
                "Sign with the key that is valid now. Ask the operator which of your keys the policy accepts and \
                 until when."
            }
            Self::SignatureAlgorithm => {
                "Omit `alg`, or write the name from RFC 9421, section 6.2.2 that belongs to your key."
            }
            Self::SignatureParameters => {
                "Add the parameters that `Accept-Signature` in the answer lists. Use a new random `nonce` for every \
                 request, retries included."
            }
            Self::SignatureNotYetValid => {
                "Synchronize your clock. Write `created` in seconds, at the moment when you send the request."
            }
            Self::SignatureExpired => "Sign right before you send, and sign every retry again. Synchronize your clock.",
            Self::SignatureCoverage => {
                "Cover every component that `Accept-Signature` in the answer lists, and sign after all headers are \
                 set. Once you are authenticated, the next denial can list more components that the endpoint needs."
            }
            Self::SignatureComponent => {
                "Cover only components that you send and that no proxy changes. Never cover `cookie`."
            }
            Self::SignatureFailed => {
                "Check that `keyid` and `alg` are those of a key that is registered for your agent and valid now. Then compare \
                 your signature base with what `callgate verify` computes: sign the URL that you send the request to, send each \
                 covered header as one line, and sign last."
            }
            Self::SignatureSigner => "Sign with the key that is registered for the agent whose token you send.",
            Self::ContentDigestMissing => {
                "Send `Content-Digest` with the SHA-256 or SHA-512 digest of the body, and cover `content-digest`."
            }
            Self::ContentDigestMalformed => {
                "Write `Content-Digest` as `sha-256=:BASE64:`, where `BASE64` encodes the 32 bytes of the digest. \
                 `callgate sign` prints the header for a body."
            }
            Self::ContentDigestMismatch => {
                "Serialize and compress the body once, and compute the digest over exactly the bytes that you send."
            }
            Self::BodyTooLarge => "Send a smaller body, or split it into several signed requests.",
            Self::BodyLengthMissing => {
                "Send `Content-Length`: give your HTTP library the complete body in place of a stream."
            }
            Self::BodyIncomplete => {
                "Send the request again, and sign it again if the signature is about to expire. Raise the client's \
                 timeout for large uploads."
            }
            Self::BodyTimeout => {
                "Produce the body before you open the request, and send it without pauses. Sign the retry again."
            }
            Self::HeldBytesFull => {
                "Wait for `Retry-After` (1 s) and send the request again. Send fewer large bodies in parallel."
            }
            Self::EarlyData => {
                "Send the request again after the TLS handshake is complete; many HTTP clients do this by \
                 themselves after a 425. Use early data for safe methods only."
            }
            Self::ProofRequired => {
                "Request a token with a DPoP proof at the token endpoint. Send it as `Authorization: DPoP TOKEN`, \
                 with a new proof in `DPoP` for each request."
            }
            Self::DelegationNotAllowed => "Send the request with a token that the agent got for itself.",
            Self::DelegationRequired => {
                "Exchange the user's token for one in which this agent is the actor (RFC 8693), and send that."
            }
            Self::EndpointSuspended => "Ask the operator of the API when the endpoint will be available again.",
            Self::AgentNotListed | Self::AgentCeiling => {
                "Ask the owner of the agent whether it is meant to send this request. Another token does not help."
            }
            Self::TokenTooOld => "Request a new token, and send the request again.",
            Self::TokenTooLongLived => "Request a token with a shorter lifetime for requests of this kind.",
            Self::InsufficientScope => {
                "Request a new token with the scopes in the challenge. If the authorization server does not grant them, or you \
                 send no token, ask the operator."
            }
            Self::TooManyParameters => {
                "Send at most 256 parameters in one request. Split the list into several requests, or send it in \
                 the body if the API supports that."
            }
            Self::BindingAmbiguous => {
                "Send the bound parameter or header exactly once, in the spelling that the API documents. Write \
                 `%20` for a space and `%2B` for a plus sign."
            }
            Self::BindingMismatch => {
                "Use values that your token or the operator allows: your own tenant, a path below yours, an amount \
                 up to your maximum. Request a separate token for each tenant. Do not let the agent try other values."
            }
            Self::JsonMediaType => {
                "Send the body as JSON in UTF-8, with one `Content-Type: application/json` header, and do not compress it."
            }
            Self::JsonTooLarge => "Send a smaller body, or split it into several requests.",
            Self::JsonMalformed => {
                "Create the body with a JSON library: one value in UTF-8, without a byte order mark, comments or trailing commas."
            }
            Self::JsonAmbiguous => {
                "Write each name once in an object, in the spelling that the API documents. Do not send two names that differ only \
                 in case."
            }
            Self::JsonTooDeep => {
                "Nest at most 64 objects and arrays. Send numbers of more than 128 characters as text, if the API accepts that."
            }
            Self::OriginNotAllowed => {
                "Send the request from a program instead of a web page, or ask the operator to add the origin of your page."
            }
            Self::SessionMethod => {
                "Send each message with `POST`. To use sessions, send an earlier revision in `MCP-Protocol-Version`, if the endpoint \
                 supports one."
            }
            Self::RpcMalformed => {
                "Send one JSON-RPC 2.0 object as the body: `jsonrpc` is `2.0`, `id` is text or an integer, and `params` is an object. \
                 Do not send batches."
            }
            Self::ClientResponse => {
                "Do not declare capabilities such as sampling, elicitation and roots, to which the server would send requests."
            }
            Self::RpcRevision => {
                "Choose a revision that the answer lists in `supported`, and send it in `MCP-Protocol-Version` and in the body. If the \
                 answer lists none, begin a session with `initialize`, to which the server answers with a revision that it supports."
            }
            Self::RpcHeaderMismatch => {
                "Let the MCP library set `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and the `Mcp-Param` headers, each once and from \
                 the message that it sends."
            }
            Self::OperationNotAllowed => {
                "Use only the tools, resources and prompts that the server lists, with the exact names. Ask the operator to add an \
                 operation that the agent needs, and do not let the agent try other names."
            }
            Self::ToolChanged => "Do not use the tool until the operator has reviewed its new definition.",
            Self::RateLimited => {
                "Wait for `Retry-After`, then retry with back-off and jitter. Without `Retry-After`, the request counts as more than the \
                 limit ever allows: divide it, for example into several subscriptions. Spread requests over time, and follow `RateLimit` \
                 before the limit is exhausted."
            }
            Self::SignatureReplayed => {
                "Sign every attempt again, with a new random `nonce`. If you never received the first response, \
                 check whether that request took effect before you repeat it."
            }
            Self::ReplayShareFull => {
                "Wait for `Retry-After`, then sign the request or create the DPoP proof again. Send fewer requests \
                 at once."
            }
            Self::ReplayTableYoung => {
                "Wait for `Retry-After`, then sign the request or create the DPoP proof again; the same message is \
                 never accepted. Synchronize your clock if this repeats."
            }
            Self::ReplayContended => "Wait for `Retry-After` (1 s), add some jitter and send the request again.",
            Self::HostError => {
                "Retry later with back-off. Report the time of the request to the operator, and the decision ID if \
                 the answer has one."
            }
            _ => return None,
        })
    }
}
