//! The written forms of text values, for the JSON Schema: a description, a pattern and examples.
//!
//! Editors check the patterns, and the policy reference shows the examples. The engine does not use them. Its own checks are stricter
//! and have better messages, so a pattern must accept every value that the engine accepts. The patterns use only the syntax that
//! ECMA-262 with the flag `u`, PCRE and Rust have in common.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Declares forms, each with its description, pattern and examples.
macro_rules! forms {
    ($($name:ident: $description:literal, $pattern:literal, [$($example:literal),+];)+) => {$(
        #[doc = $description]
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $description,
                    "type": "string",
                    "pattern": $pattern,
                    "examples": [$($example),+]
                })
            }
        }
    )+};
}

forms! {
    Address:
        "A host and its port.",
        r"^[!-.0-~]+:[1-9][0-9]{0,4}$",
        ["idp.example.com:443"];
    ApiUrl:
        "An absolute `https` URL without a fragment (RFC 8707).",
        r#"^https://[!$-.0-\[\]-~][!$-\[\]-~]*$"#,
        ["https://api.example.com", "https://example.com/orders"];
    BasePath:
        "A path prefix: `/` and a segment, once or several times, in letters, digits, `-`, `.`, `_` and `~`, without a slash at the end.",
        r"^(/[A-Za-z0-9._~-]+)+$",
        ["/mcp", "/apis/orders"];
    BindingKey:
        "A part of the request: `path.` and a variable of the path template, `query.` and a parameter, `header.` and a header in lower \
         case, or `body.` and a JSON pointer (RFC 6901) of at most 16 steps in printable ASCII.",
        r#"^(path\.[A-Za-z_][A-Za-z0-9_-]*|query\.[!"$'-*,-:<>-Z\\^-~]{1,128}|header\.[a-z0-9][a-z0-9-]*|body\.(/([ -.0-}]|~[01])*)+)$"#,
        ["path.owner", "query.org", "header.x-tenant", "body./owner", "body./items/0/id"];
    BindingValue:
        "A reference to a known value of the caller: `token.` and a claim, by name or JSON pointer, or `agent.` and an attribute of the \
         agent.",
        r"^(token\.[^\n]+|agent\.[A-Za-z0-9._-]{1,64})$",
        ["token.org", "token./org/id", "agent.repositories"];
    ClaimName:
        "A claim: its name, or a JSON pointer (RFC 6901) if the text begins with `/`.",
        r"^([^/\n][^\n]*|/([^~\n]|~[01])*)$",
        ["client_id", "https://api.example.com/roles", "/org/id"];
    Component:
        "A component of a signature (RFC 9421): a derived component, or a header in lower case with letters, digits and hyphens.",
        r"^(@(method|target-uri|authority|scheme|request-target|path|query)|[a-z0-9][a-z0-9-]*)$",
        ["@method", "@target-uri", "content-type"];
    Date:
        "A day in UTC, or a moment (RFC 3339) with `Z` or an offset. A day that ends a period is part of it.",
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$",
        ["2027-06-30", "2027-06-30T12:00:00Z", "2027-06-30T14:00:00+02:00"];
    ExternalUrl:
        "A scheme and a host in lower case, and at most a path without a slash at its end.",
        r"^https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?(/[!$%&'()*+,.0-:=@A-Z_a-z~-]+)*$",
        ["https://api.example.com", "https://example.com/orders", "http://localhost:8080"];
    FetchedUrl:
        "An absolute `https` or `http` URL without user information and fragment.",
        r#"^https?://[!$-.0-;=?-\[\]-~][!$-;=?-\[\]-~]*$"#,
        ["https://idp.example.com/.well-known/jwks.json"];
    HeaderName:
        "The name of a header in lower case.",
        r"^[a-z0-9!#$%&'*+.^_`|~-]+$",
        ["x-agent-run-id", "traceparent"];
    HeaderPrefix:
        "The start of header names: `x-`, lower-case letters, digits and hyphens, and a hyphen at the end, 5 to 32 characters in total.",
        r"^x-[a-z0-9-]{2,29}-$",
        ["x-callgate-", "x-gate-"];
    Host:
        "A host in lower case: a name, an IPv4 address, or an IPv6 address in brackets, with the port if it is neither 80 nor 443. \
         Hosts are compared exactly, so `*` is not accepted.",
        r"^([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$",
        ["api.example.com", "api.example.com:8443", "10.0.0.1", "[2001:db8::1]:8443"];
    IssuerUrl:
        "An absolute URL without query and fragment (RFC 8414), exactly as in the `iss` claim. One path segment may be a variable, the \
         name of the claim with the tenant in braces.",
        r"^https?://[!$-.0-;=@-\[\]_a-z~][!$-;=@-\[\]_a-z~]*(/\{[A-Za-z0-9_-]+\}(/[!$-;=@-\[\]_a-z~]*)?)?$",
        ["https://idp.example.com", "https://idp.example.com/realms/agents", "https://login.microsoftonline.com/{tid}/v2.0"];
    JsonPointer:
        "A JSON pointer (RFC 6901) in printable ASCII, with at most 16 names.",
        r"^(/([ -.0-}]|~[01])*)+$",
        ["/region", "/order/items/0", "/a~1b"];
    KeyPrefix:
        "The start of every API key: 2 to 16 letters, digits, `-` or `_`, with `-` or `_` at the end.",
        r"^[A-Za-z0-9_-]{1,15}[_-]$",
        ["cgk_", "acme-live_"];
    McpParameter:
        "What follows `Mcp-Param-` in the name of a header: letters, digits and the other characters of a token (RFC 9110).",
        r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        ["Region", "Project-Id"];
    Method:
        "An exact method (RFC 9110) in capitals. `*` is not accepted.",
        r"^[A-Z0-9!#$%&'+.^_`|~-]+$",
        ["GET", "POST", "M-SEARCH"];
    Name:
        "A name of 1 to 64 letters, digits, `-`, `_` or `.`.",
        r"^[A-Za-z0-9._-]{1,64}$",
        ["order-agent", "orders.create", "team_7"];
    Network:
        "An IP network with its prefix length. Bits after the prefix are zero.",
        r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
        ["203.0.113.7/32", "198.51.100.0/24", "2001:db8::/48"];
    OperationBindingKey:
        "A part of an operation: `argument.` and a JSON pointer into the arguments of a tool or prompt, `params.` and one into the \
         parameters of a method, or `uri.` and a variable of the resource's URI.",
        r"^((argument|params)\.(/([ -.0-}]|~[01])*)+|uri\.[A-Za-z_][A-Za-z0-9_-]*)$",
        ["argument./owner", "params./message/contextId", "uri.team"];
    PageUrl:
        "An absolute `https` URL.",
        r#"^https://[!$-.0-\[\]-~][!#-\[\]-~]*$"#,
        ["https://developer.example.com/agents"];
    ParameterName:
        "The name of a query parameter, decoded and in lower case, at most 128 bytes long.",
        r"^[^A-Z]{1,128}$",
        ["format", "callback"];
    PathTemplate:
        "A path with variables, without a query. The policy reference lists the types of variables under \"Path values\".",
        r"^/([!->@-z|~]|\{[A-Za-z_][A-Za-z0-9_-]*(:(int|slug|text|uuid)|\.\.\.)?\})*$",
        ["/health", "/repos/{owner}/{repo}/pulls/{number:int}", "/models/{model}:generate", "/files/{file...}"];
    PlainHeaderName:
        "The name of a header with lower-case letters, digits and hyphens.",
        r"^[a-z0-9][a-z0-9-]*$",
        ["x-forwarded-prefix"];
    PrintableText:
        "Printable ASCII that is not empty, as in a parameter of a signature.",
        r"^[ -~]+$",
        ["build-agent-1", "artifacts"];
    ProtocolPrefix:
        "The beginning of a WebSocket subprotocol: at most 64 characters of a token (RFC 9110), the last of which is neither a letter \
         nor a digit.",
        r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{0,63}[!#$%&'*+.^_`|~-]$",
        ["bearer.", "token-"];
    ResourceUri:
        "An absolute URI with its scheme in lower case, or a template of such URIs.",
        r"^[a-z][a-z0-9+.-]*:[!-~]+$",
        ["file:///reports/{team}/{file...}", "greeting://{name}", "urn:example:catalog"];
    Scope:
        "A scope (RFC 6749): visible ASCII without quotes, backslashes and `*`. Scopes are compared exactly.",
        r"^[!#-)+-\[\]-~]+$",
        ["orders:read", "https://api.example.com/orders.write"];
    Sha256:
        "SHA-256 in hexadecimal digits.",
        r"^[0-9A-Fa-f]{64}$",
        ["a8d95c5bd18e36b8d9f9eff99af2ad31cb0c8e4f8e6b0a6e3b6a7f4d5cbd1234"];
    SpiffeId:
        "A SPIFFE ID.",
        r"^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$",
        ["spiffe://example.org/ns/prod/agent"];
    SpiffePattern:
        "A SPIFFE ID, or the beginning of SPIFFE IDs: whole segments and `/*`.",
        r"^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*(/[A-Za-z0-9._-]+|/\*)$",
        ["spiffe://example.org/ns/prod/agent", "spiffe://example.org/ns/prod/*"];
    Tenant:
        "A tenant: 1 to 64 lower-case letters, digits, `-`, `_` or `.`, beginning with a letter or digit.",
        r"^[a-z0-9][a-z0-9._-]{0,63}$",
        ["8f2c1d34-5b6a-4e7f-9a10-2b3c4d5e6f70", "acme"];
    TrustDomain:
        "A SPIFFE trust domain: lower-case letters, digits, `.`, `-` and `_`.",
        r"^[a-z0-9._-]{1,255}$",
        ["example.org"];
    VariableName:
        "The name of an environment variable.",
        r"^[^=]+$",
        ["CALLGATE_SECRET"];
    WebOrigin:
        "The origin of a web page (RFC 6454): a scheme and a host in lower case, and the port if it is not the scheme's default.",
        r"^[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$",
        ["https://chat.example.com", "http://localhost:6274"];
}

/// A mapping whose names have a form. `schemars` does not describe the names of a map on its own.
pub(super) struct Map<K, V>(PhantomData<(K, V)>);

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Map<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Map_from_{}_to_{}", K::schema_name(), V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names = generator.subschema_for::<K>();
        let values = generator.subschema_for::<V>();
        json_schema!({ "type": "object", "propertyNames": names, "additionalProperties": values })
    }
}
