//! Targets, hosts and header lines.

use callgate::document::HEADER_PREFIX;

use super::kinds::{Kind, PATH, free, request};
use crate::client::Request;
use crate::quickstart::HOST;

/// Close to Envoy's limit for a request's head, in bytes.
const MOST: usize = 55 << 10;

pub(super) fn kinds() -> Vec<Kind> {
    let query = |query: &str| Request::get(format!("{PATH}?{query}")).host(HOST);
    let path = |path: &str| Request::get(path).host(HOST);
    let of = |part: &str| part.repeat(MOST / part.len());
    let mut kinds = vec![
        free("a query of 55 KiB: parameters without a name", "credentials_missing", &query(&of("&"))),
        free("a query of 55 KiB: question marks", "credentials_missing", &query(&of("?"))),
        free("a query of 55 KiB: short parameters", "credentials_missing", &query(&of("a&"))),
        free("a query of 55 KiB: names as long as a refused one", "credentials_missing", &query(&of("_metho=1&"))),
        free("a query of 55 KiB: escaped names", "credentials_missing", &query(&of("%5Fmethoc&"))),
        free("a query of 55 KiB: escapes", "credentials_missing", &query(&format!("a={}", of("%C3%A9")))),
        free("a query of 55 KiB: one name", "credentials_missing", &query(&of("a"))),
        free("a path of 55 KiB: short segments", "credentials_missing", &path(&of("/a"))),
        free("a path of 55 KiB: one segment", "credentials_missing", &path(&format!("/{}", of("a")))),
        free("a path of 55 KiB: escapes", "credentials_missing", &path(&format!("/pages/{}", of("%C3%A9")))),
        free(
            "a path of 55 KiB: slashes that are escaped",
            "credentials_missing",
            &path(&format!("/pages/{}", of("%2F"))),
        ),
        free("a path of 55 KiB: parameters", "credentials_missing", &path(&format!("/pages/{}", of(";a")))),
        free("a path of 55 KiB: dots", "path_dot_segment", &path(&format!("/pages{}/..", of("/a")))),
        free("a path of 55 KiB: empty segments", "path_empty_segment", &path(&of("/"))),
        free("a host of 55 KiB", "host_malformed", &Request::get(PATH).host(of("a."))),
        free("a host of 55 KiB: an address", "host_malformed", &Request::get(PATH).host(format!("[{}]", of("1:")))),
        free(
            "another scheme of 55 KiB",
            "credentials_scheme",
            &request().header("Authorization", format!("Basic {}", of("x"))),
        ),
        free(
            "an authorization of 55 KiB: spaces",
            "token_malformed",
            &request().header("Authorization", format!("Bearer {}x", of(" "))),
        ),
        free("a cookie of 55 KiB", "credentials_missing", &request().header("Cookie", of("a=b; "))),
        free(
            "a preflight of 55 KiB",
            "credentials_missing",
            &Request::new("OPTIONS", PATH)
                .host(HOST)
                .header("Origin", "https://app.example.com")
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", of("x-a,")),
        ),
    ];
    let lines = |name: &dyn Fn(usize) -> String| {
        // Six bytes for the two length prefixes and the two terminators of each line.
        let count = MOST / (name(0).len() + 6);
        (0..count).fold(request(), |request, number| request.header(name(number), "1"))
    };
    kinds.extend([
        free("5,000 lines with short names", "credentials_missing", &lines(&|number| format!("x{number:04}"))),
        free("lines of one name", "credentials_missing", &lines(&|_| "x-a".to_owned())),
        free(
            "lines whose names are as long as `authorization`",
            "credentials_missing",
            &lines(&|number| format!("xauthor{number:06}")),
        ),
        free(
            "lines whose names are as long as `signature-input`",
            "credentials_missing",
            &lines(&|number| format!("xsignatur{number:06}")),
        ),
        free(
            "lines that pose as the gate's",
            "credentials_missing",
            &lines(&|number| format!("{HEADER_PREFIX}{number:04}")),
        ),
        free(
            "lines that are read as the gate's",
            "credentials_missing",
            &lines(&|number| format!("x!callgate~{number:04}")),
        ),
        free("lines that override the method", "method_override", &lines(&|_| "x-http-method-override".to_owned())),
        free(
            "lines that some servers read as `content-length`",
            "header_lookalike",
            &lines(&|_| "content!length".to_owned()),
        ),
        free("lines with a credential each", "credentials_scheme", &lines(&|_| "authorization".to_owned())),
    ]);
    kinds
}
