//! The callbacks of an HTTP stream in proxy-wasm. They call the phases that all gateways share.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::host::ProxyWasm;
use crate::host::stream::{HttpStream, StreamAction};

/// One HTTP stream.
pub(super) struct Http(pub(super) HttpStream<ProxyWasm>);

impl From<StreamAction> for Action {
    fn from(action: StreamAction) -> Self {
        match action {
            StreamAction::Continue => Self::Continue,
            StreamAction::Pause => Self::Pause,
        }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.0.on_request_headers(end_of_stream).into()
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.on_request_body(size, end_of_stream).into()
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.0.on_request_trailers().into()
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.0.on_response_headers(end_of_stream).into()
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.on_response_body(size, end_of_stream).into()
    }

    fn on_log(&mut self) {
        self.0.on_log();
    }
}
