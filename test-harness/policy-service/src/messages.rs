//! The messages of `envoy.service.auth.v3.Authorization/Check`, with the fields that this service reads or sets.
//!
//! Field numbers are those of Envoy's `attribute_context.proto`, `external_auth.proto` and `base.proto`.

use std::collections::HashMap;

use prost::{Message, Oneof};

/// `HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: i32 = 2;
/// `google.rpc.Code.PERMISSION_DENIED`.
const PERMISSION_DENIED: i32 = 7;

#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) attributes: Option<AttributeContext>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeContext {
    #[prost(message, optional, tag = "4")]
    pub(super) request: Option<Request>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, optional, tag = "2")]
    pub(super) http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpRequest {
    #[prost(string, tag = "2")]
    pub(super) method: String,
    /// Names are in lower case. Envoy joins headers of the same name with commas.
    #[prost(map = "string, string", tag = "3")]
    pub(super) headers: HashMap<String, String>,
    /// Includes the query.
    #[prost(string, tag = "4")]
    pub(super) path: String,
    #[prost(string, tag = "5")]
    pub(super) host: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    http_response: Option<HttpResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Oneof)]
enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

#[derive(Clone, PartialEq, Message)]
struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    header: Option<HeaderValue>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl CheckResponse {
    /// Forwards the request with these headers and without its token.
    pub(super) fn allowed<const N: usize>(headers: [(&str, &str); N]) -> Self {
        let set = |(name, value): (&str, &str)| HeaderValueOption {
            header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned() }),
            append_action: OVERWRITE,
        };
        let ok = OkHttpResponse {
            headers: headers.into_iter().map(set).collect(),
            headers_to_remove: vec!["authorization".to_owned()],
        };
        Self { status: Some(Status::default()), http_response: Some(HttpResponse::Ok(ok)) }
    }

    /// Responds to the request with this HTTP status.
    pub(super) fn denied(status: u16) -> Self {
        let denied = DeniedHttpResponse { status: Some(HttpStatus { code: status.into() }) };
        Self { status: Some(Status { code: PERMISSION_DENIED }), http_response: Some(HttpResponse::Denied(denied)) }
    }
}
