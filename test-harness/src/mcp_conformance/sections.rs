//! The sections of the specifications from which the requirements come.

/// A section of a specification.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    /// The revision of MCP, or the name of another specification.
    pub(super) specification: &'static str,
    /// The page, if there are several, and the heading.
    pub(super) title: &'static str,
    /// The URL, relative to the pages of the revision.
    path: &'static str,
}

impl Section {
    /// Returns the URL.
    pub(super) fn url(&self) -> String {
        if self.path.starts_with("https://") {
            return self.path.to_owned();
        }
        format!("https://modelcontextprotocol.io/specification/{}/{}", self.specification, self.path)
    }
}

const fn section(specification: &'static str, title: &'static str, path: &'static str) -> Section {
    Section { specification, title, path }
}

const fn of_2026(title: &'static str, path: &'static str) -> Section {
    section("2026-07-28", title, path)
}

const fn of_2025(title: &'static str, path: &'static str) -> Section {
    section("2025-11-25", title, path)
}

// Revision 2026-07-28: the transport.
pub(super) const ENDPOINT: Section =
    of_2026("Streamable HTTP, Security & Endpoint", "basic/transports/streamable-http");
pub(super) const SENDING: Section =
    of_2026("Streamable HTTP, Sending Messages", "basic/transports/streamable-http#sending-messages");
pub(super) const RECEIVING: Section =
    of_2026("Streamable HTTP, Receiving Messages", "basic/transports/streamable-http#receiving-messages");
pub(super) const CLOSING: Section =
    of_2026("Streamable HTTP, Cancellation", "basic/transports/streamable-http#cancellation");
pub(super) const VERSION_HEADER: Section =
    of_2026("Streamable HTTP, Protocol Version Header", "basic/transports/streamable-http#protocol-version-header");
pub(super) const STANDARD_HEADERS: Section =
    of_2026("Streamable HTTP, Standard Request Headers", "basic/transports/streamable-http#standard-request-headers");
pub(super) const VALUE_ENCODING: Section =
    of_2026("Streamable HTTP, Value Encoding", "basic/transports/streamable-http#value-encoding");
pub(super) const CUSTOM_HEADERS: Section = of_2026(
    "Streamable HTTP, Server Behavior for Custom Headers",
    "basic/transports/streamable-http#server-behavior-for-custom-headers",
);
pub(super) const CASE: Section =
    of_2026("Streamable HTTP, Case Sensitivity", "basic/transports/streamable-http#case-sensitivity");
pub(super) const VALIDATION: Section =
    of_2026("Streamable HTTP, Server Validation", "basic/transports/streamable-http#server-validation");
pub(super) const EARLIER: Section = of_2026(
    "Streamable HTTP, Earlier Streamable HTTP Revisions",
    "basic/transports/streamable-http#earlier-streamable-http-revisions",
);

// Revision 2026-07-28: messages and versions.
pub(super) const REQUESTS: Section = of_2026("Overview, Requests", "basic/index#requests");
pub(super) const RESULTS: Section = of_2026("Overview, Result Responses", "basic/index#result-responses");
pub(super) const ERRORS: Section = of_2026("Overview, Error Responses", "basic/index#error-responses");
pub(super) const ERROR_CODES: Section = of_2026("Overview, Error Codes", "basic/index#error-codes");
pub(super) const STATELESSNESS: Section = of_2026("Overview, Statelessness", "basic/index#statelessness");
pub(super) const META: Section = of_2026("Overview, `_meta`", "basic/index#meta");
pub(super) const NEGOTIATION: Section =
    of_2026("Versioning, Protocol Version Negotiation", "basic/versioning#protocol-version-negotiation");
pub(super) const COMPATIBILITY: Section = of_2026(
    "Versioning, Backward Compatibility",
    "basic/versioning#backward-compatibility-with-initialization-based-versions",
);
pub(super) const ROUND_TRIPS: Section =
    of_2026("Multi Round-Trip Requests, Client Requirements", "basic/patterns/mrtr#client-requirements-basic-workflow");
pub(super) const SUBSCRIPTIONS: Section =
    of_2026("Subscriptions, Acknowledgment", "basic/patterns/subscriptions#acknowledgment");

// Revision 2026-07-28: lists and tools.
pub(super) const TOOLS: Section = of_2026("Tools, Capabilities", "server/tools#capabilities");
pub(super) const TOOL_SECURITY: Section =
    of_2026("Tools, Security Considerations", "server/tools#security-considerations");
pub(super) const PROMPTS: Section = of_2026("Prompts, Capabilities", "server/prompts#capabilities");
pub(super) const PROMPT_SECURITY: Section = of_2026("Prompts, Security", "server/prompts#security");
pub(super) const RESOURCES: Section = of_2026("Resources, Capabilities", "server/resources#capabilities");
pub(super) const RESOURCE_SECURITY: Section =
    of_2026("Resources, Security Considerations", "server/resources#security-considerations");
pub(super) const TOOL_NAMES: Section = of_2026("Tools, Tool Names", "server/tools#tool-names");
pub(super) const CACHE_SCOPE: Section =
    of_2026("Caching, Cache Scope Field", "server/utilities/caching#cache-scope-field");
pub(super) const TIME_TO_LIVE: Section =
    of_2026("Caching, Time-to-Live (TTL) Field", "server/utilities/caching#time-to-live-ttl-field");
pub(super) const PAGINATION: Section =
    of_2026("Pagination, Implementation Guidelines", "server/utilities/pagination#implementation-guidelines");

// Revision 2026-07-28: authorization.
pub(super) const TOKEN_REQUIREMENTS: Section =
    of_2026("Authorization, Token Requirements", "basic/authorization#token-requirements");
pub(super) const TOKEN_HANDLING: Section =
    of_2026("Authorization, Token Handling", "basic/authorization#token-handling");
pub(super) const SCOPE_SELECTION: Section =
    of_2026("Authorization, Scope Selection Strategy", "basic/authorization#scope-selection-strategy");
pub(super) const SCOPE_ERRORS: Section = of_2026(
    "Authorization, Runtime Insufficient Scope Errors",
    "basic/authorization#runtime-insufficient-scope-errors",
);
pub(super) const REFRESH_TOKENS: Section =
    of_2026("Authorization, Refresh Tokens", "basic/authorization#refresh-tokens");
pub(super) const ERROR_HANDLING: Section =
    of_2026("Authorization, Error Handling", "basic/authorization#error-handling");
pub(super) const PRIVILEGE: Section = of_2026(
    "Authorization, Access Token Privilege Restriction",
    "basic/authorization/security-considerations#access-token-privilege-restriction",
);
pub(super) const SERVER_LOCATION: Section = of_2026(
    "Authorization, Authorization Server Location",
    "basic/authorization/authorization-server-discovery#authorization-server-location",
);
pub(super) const DISCOVERY: Section = of_2026(
    "Authorization, Protected Resource Metadata Discovery Requirements",
    "basic/authorization/authorization-server-discovery#protected-resource-metadata-discovery-requirements",
);

// The revisions before 2026-07-28.
pub(super) const OLDEST_SENDING: Section = section(
    "2025-06-18",
    "Transports, Sending Messages to the Server",
    "basic/transports#sending-messages-to-the-server",
);
pub(super) const LEGACY_SECURITY: Section =
    of_2025("Transports, Security Warning", "basic/transports#security-warning");
pub(super) const LEGACY_SENDING: Section =
    of_2025("Transports, Sending Messages to the Server", "basic/transports#sending-messages-to-the-server");
pub(super) const LEGACY_LISTENING: Section = of_2025(
    "Transports, Listening for Messages from the Server",
    "basic/transports#listening-for-messages-from-the-server",
);
pub(super) const LEGACY_STREAMS: Section =
    of_2025("Transports, Multiple Connections", "basic/transports#multiple-connections");
pub(super) const RESUMABILITY: Section =
    of_2025("Transports, Resumability and Redelivery", "basic/transports#resumability-and-redelivery");
pub(super) const SESSIONS: Section = of_2025("Transports, Session Management", "basic/transports#session-management");
pub(super) const LEGACY_VERSION: Section =
    of_2025("Transports, Protocol Version Header", "basic/transports#protocol-version-header");
pub(super) const HIJACKING: Section =
    of_2025("Security Best Practices, Session Hijacking", "basic/security_best_practices#session-hijacking");
pub(super) const LEGACY_TOOLS: Section = of_2025("Tools, Listing Tools", "server/tools#listing-tools");
pub(super) const LEGACY_RESOURCES: Section = of_2025("Resources, Subscriptions", "server/resources#subscriptions");

// The specifications below MCP.
pub(super) const JSON_OBJECTS: Section =
    section("RFC 8259", "section 4, Objects", "https://www.rfc-editor.org/rfc/rfc8259#section-4");
pub(super) const JSON_TEXTS: Section =
    section("RFC 8259", "section 2, JSON Grammar", "https://www.rfc-editor.org/rfc/rfc8259#section-2");
pub(super) const JSON_ENCODING: Section =
    section("RFC 8259", "section 8.1, Character Encoding", "https://www.rfc-editor.org/rfc/rfc8259#section-8.1");
pub(super) const JSON_PARSERS: Section =
    section("RFC 8259", "section 9, Parsers", "https://www.rfc-editor.org/rfc/rfc8259#section-9");
pub(super) const FIELD_NAMES: Section =
    section("RFC 9110", "section 5.1, Field Names", "https://www.rfc-editor.org/rfc/rfc9110#section-5.1");
pub(super) const FIELD_LINES: Section =
    section("RFC 9110", "section 5.3, Field Order", "https://www.rfc-editor.org/rfc/rfc9110#section-5.3");
pub(super) const FIELD_VALUES: Section =
    section("RFC 9110", "section 5.5, Field Values", "https://www.rfc-editor.org/rfc/rfc9110#section-5.5");
pub(super) const CONTENT_CODING: Section =
    section("RFC 9110", "section 8.4, Content-Encoding", "https://www.rfc-editor.org/rfc/rfc9110#section-8.4");
pub(super) const TRANSFORMATIONS: Section =
    section("RFC 9110", "section 7.7, Message Transformations", "https://www.rfc-editor.org/rfc/rfc9110#section-7.7");
pub(super) const CHUNKS: Section =
    section("RFC 9112", "section 7.1, Chunked Transfer Coding", "https://www.rfc-editor.org/rfc/rfc9112#section-7.1");
pub(super) const INCOMPLETE: Section =
    section("RFC 9112", "section 8, Handling Incomplete Messages", "https://www.rfc-editor.org/rfc/rfc9112#section-8");
pub(super) const CREDENTIALS: Section =
    section("RFC 6750", "section 3.1, Error Codes", "https://www.rfc-editor.org/rfc/rfc6750#section-3.1");
pub(super) const METADATA_REQUEST: Section = section(
    "RFC 9728",
    "section 3.1, Protected Resource Metadata Request",
    "https://www.rfc-editor.org/rfc/rfc9728#section-3.1",
);
pub(super) const METADATA_VALIDATION: Section = section(
    "RFC 9728",
    "section 3.3, Protected Resource Metadata Validation",
    "https://www.rfc-editor.org/rfc/rfc9728#section-3.3",
);
pub(super) const EVENT_STREAM: Section = section(
    "HTML",
    "Parsing an event stream",
    "https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream",
);
