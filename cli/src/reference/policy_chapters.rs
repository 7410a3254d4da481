//! The chapters of the policy reference: which fields and definitions each has, and in which order.

/// A chapter of the page.
pub(super) struct Chapter {
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    /// The fields of the document that the example shows.
    pub(super) fields: &'static [&'static str],
    /// The definitions, in the order of the page.
    pub(super) definitions: &'static [&'static str],
}

/// The chapters, beginning with the document itself.
pub(super) const CHAPTERS: [Chapter; 19] = [
    Chapter {
        title: "The document",
        about: "The fields at the top level of a policy. Each of the following chapters describes one or more of them.",
        fields: &[
            "callgate",
            "name",
            "mode",
            "gateway",
            "resource",
            "resources",
            "hosts",
            "external_url",
            "help",
            "clock_skew",
            "preflight",
            "overrides",
            "override_headers",
            "reject_query",
            "format_suffixes",
            "unregistered",
        ],
        definitions: &[
            "FormatVersion",
            "Mode",
            "Gateway",
            "Resource",
            "Preflight",
            "Overrides",
            "FormatSuffixes",
            "Unregistered",
        ],
    },
    Chapter {
        title: "Metadata for clients",
        about: "What OAuth and MCP clients can read before they have a token: where to get one, and with which scopes. \
                [Let clients discover the API](../guides/let-clients-discover.md) shows how they use it.",
        fields: &["metadata"],
        definitions: &["Metadata"],
    },
    Chapter {
        title: "Issuers",
        about: "Who issues access tokens, where clients send them, and how Callgate verifies them.",
        fields: &["issuers", "credentials_from"],
        definitions: &[
            "Issuer",
            "Tenants",
            "Profile",
            "AlgorithmName",
            "Keys",
            "JwkSet",
            "RemoteKeys",
            "DiscoveredKeys",
            "MetadataDocument",
            "KeyHost",
            "Secret",
            "SecretEncoding",
            "Audience",
            "IgnorableHeader",
            "TokenShape",
            "DistinguishedBy",
            "ScopeClaim",
            "ScopeForm",
            "CredentialPlace",
        ],
    },
    Chapter {
        title: "Agents",
        about: "Who may send requests. A token, a signing key, an API key, a client certificate or several of these identify an agent.",
        fields: &["agents", "groups"],
        definitions: &["Agent", "Identity", "Each", "CertificateName", "AtMost", "SigningKey", "HttpAlgorithm"],
    },
    Chapter {
        title: "API keys",
        about: "Where clients send API keys, and the keys of an agent, for clients that support neither tokens nor signatures. An endpoint \
                or a requirement states whether it accepts them (`authenticate`).",
        fields: &["api_keys"],
        definitions: &["ApiKeys", "ApiKey"],
    },
    Chapter {
        title: "Client certificates",
        about: "What the gateway's listener does with the certificates of clients, such as those of SPIFFE workloads. An endpoint or a \
                requirement states whether a certificate identifies the caller (`authenticate`), and tokens can be bound to certificates \
                (RFC 8705).",
        fields: &["tls"],
        definitions: &["Tls", "ClientCertificates"],
    },
    Chapter {
        title: "Requirements",
        about: "What all endpoints with one effect require. An endpoint adds its own requirements.",
        fields: &["scope_implies", "requirements"],
        definitions: &[
            "Requirement",
            "Effect",
            "Scopes",
            "TokenRequirement",
            "SignatureRequirement",
            "Authentication",
            "Authenticate",
            "FormBodies",
        ],
    },
    Chapter {
        title: "Endpoints",
        about: "The allowlist of endpoints. A request that matches no endpoint is denied.",
        fields: &["endpoints"],
        definitions: &[
            "Endpoint",
            "BindingOperator",
            "BindingLiteral",
            "Access",
            "Credentials",
            "Escape",
            "Upgrade",
            "Body",
        ],
    },
    Chapter {
        title: "JSON-RPC and MCP",
        about: "The operations of an endpoint whose requests are JSON-RPC messages (`rpc`). They are a second allowlist inside the endpoint: \
                a message is allowed if its endpoint and its operation are.\n\n\
                <!-- not run: a part of a policy for the gateway `envoy` -->\n```yaml\n\
                - id: mcp\n  \
                  methods: [POST]\n  \
                  path: /mcp\n  \
                  effect: read\n  \
                  scopes: none\n  \
                  rpc:\n    \
                    protocol: mcp\n    \
                    revisions: [2026-07-28]\n    \
                    tools:\n      \
                      - name: create_payment\n        \
                        effect: write\n        \
                        scopes: [payments:write]\n        \
                        bind: { argument./owner: token.org, argument./amount: { at_most: 1000 } }\n    \
                    resources:\n      \
                      - { uri: \"file:///reports/{team}/{file...}\", effect: read, scopes: [reports:read], bind: { uri.team: token.team } }\n\
                ```",
        fields: &[],
        definitions: &[
            "Rpc",
            "RpcProtocol",
            "McpRevision",
            "RpcTool",
            "RpcResource",
            "RpcOperation",
            "RpcList",
            "RpcDenials",
            "ClientResponses",
        ],
    },
    Chapter {
        title: "Limits",
        about: "How often agents may send requests, and how often credentials from one source may fail.",
        fields: &["limits", "auth_failure_limit"],
        definitions: &["Limit", "LimitKey", "Dimension", "LimitNumbers", "AuthFailureLimit", "SourceRate"],
    },
    Chapter {
        title: "Request signatures",
        about: "How signatures of requests are verified. An endpoint or a requirement states whether a request must be signed \
                (`signature`), and whether a signature replaces the token (`authenticate`).",
        fields: &["signatures", "web_bot_auth"],
        definitions: &["Signatures", "SignatureNonce", "FieldType", "WebBotAuth", "SignatureAgentForm"],
    },
    Chapter {
        title: "Key-bound tokens",
        about: "How tokens that are bound to a key are accepted. An endpoint or a requirement states whether a token must be bound \
                (`token: bound`).",
        fields: &["dpop"],
        definitions: &["Dpop", "ProofNonce"],
    },
    Chapter {
        title: "Agents that act for others",
        about: "How tokens with a chain of actors (`act`, RFC 8693) are accepted. An endpoint or a requirement states whether such a token is \
                accepted or required (`delegation`). [Let agents act for users](../guides/delegate.md) explains it.",
        fields: &["delegation"],
        definitions: &["Delegation", "PriorActors", "ActorIdentity", "DelegationRequirement"],
    },
    Chapter {
        title: "Revocation",
        about: "The credentials that are rejected although they are valid: entries of the policy, and a list that the gate fetches. \
                `suspended` of agents, issuers and endpoints rejects everything of one of them, and an endpoint states whether open streams are \
                checked again (`streams`). [A token leaked](../guides/a-token-leaked.md) shows what to do in an emergency.",
        fields: &["revoked", "revocations"],
        definitions: &["Revoked", "Revocations", "RemoteRevocations", "OnStale", "Streams"],
    },
    Chapter {
        title: "Bodies",
        about: "How the bodies of signed requests are held until they are verified.",
        fields: &["max_body", "held_bodies", "body_check"],
        definitions: &["HeldBodies", "BodyCheck"],
    },
    Chapter {
        title: "Table sizes",
        about: "How much the filter remembers.",
        fields: &["tables"],
        definitions: &["Tables"],
    },
    Chapter {
        title: "Forwarding",
        about: "What the upstream receives, and what it does with it.",
        fields: &["upstream"],
        definitions: &["Upstream", "AuthorizationHeader", "MergedBody"],
    },
    Chapter {
        title: "Records and headers",
        about: "What the record of a decision contains, and the headers that identify the caller to the upstream.",
        fields: &["audit"],
        definitions: &["Audit", "AuditHeaders", "AuditLog", "AuditQuery", "AuditSubject"],
    },
    Chapter {
        title: "Scalars",
        about: "The forms of text values. `callgate check` checks more than the form: names that must be defined elsewhere in the \
                policy, ranges of durations and sizes, and values that contradict each other.",
        fields: &[],
        definitions: &[
            "Duration",
            "Size",
            "Rate",
            "Date",
            "KeyPrefix",
            "Sha256",
            "Name",
            "Scope",
            "Host",
            "Method",
            "PathTemplate",
            "BindingKey",
            "BindingValue",
            "OperationBindingKey",
            "JsonPointer",
            "ResourceUri",
            "McpParameter",
            "ClaimName",
            "HeaderName",
            "PlainHeaderName",
            "HeaderPrefix",
            "ProtocolPrefix",
            "ParameterName",
            "Component",
            "PrintableText",
            "ApiUrl",
            "BasePath",
            "PageUrl",
            "IssuerUrl",
            "ExternalUrl",
            "WebOrigin",
            "FetchedUrl",
            "Address",
            "Tenant",
            "TrustDomain",
            "SpiffeId",
            "SpiffePattern",
            "Network",
            "VariableName",
        ],
    },
];
