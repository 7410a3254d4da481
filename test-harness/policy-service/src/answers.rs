//! The answers to Envoy's checks.

use envoy_types::ext_authz::v3::CheckResponseExt as _;
use envoy_types::ext_authz::v3::pb::{
    CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus,
    HttpStatusCode, OkHttpResponse,
};
use tonic::Status;

/// Forwards the request with these headers and without its token.
pub(super) fn allowed<const N: usize>(headers: [(&str, &str); N]) -> CheckResponse {
    let set = |(name, value): (&str, &str)| HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    };
    let ok = OkHttpResponse {
        headers: headers.into_iter().map(set).collect(),
        headers_to_remove: vec!["authorization".to_owned()],
        ..OkHttpResponse::default()
    };
    answer(Status::ok(""), HttpResponse::OkResponse(ok))
}

/// Responds to the request with this status.
pub(super) fn denied(status: HttpStatusCode) -> CheckResponse {
    let denied =
        DeniedHttpResponse { status: Some(HttpStatus { code: status.into() }), ..DeniedHttpResponse::default() };
    answer(Status::permission_denied(""), HttpResponse::DeniedResponse(denied))
}

fn answer(status: Status, response: HttpResponse) -> CheckResponse {
    let mut answer = CheckResponse::with_status(status);
    answer.http_response = Some(response);
    answer
}
