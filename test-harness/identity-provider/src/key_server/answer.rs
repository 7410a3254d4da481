//! One connection, and the answers to its requests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use callgate_testbed::upstream::Seen;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::behavior::Behavior;
use super::{State, lock};

/// Where the documents are after a redirect.
const MOVED: &str = "/moved";
/// Long enough for the beginning of a body to be sent before its connection ends.
const FLUSH: Duration = Duration::from_millis(50);
/// How often a held request looks for another behavior.
const POLL: Duration = Duration::from_millis(5);
/// Looks like the error page of a proxy.
const PAGE: &str =
    "<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head><body>Please try again.</body></html>\n";

type Body = BoxBody<Bytes, io::Error>;

/// Serves a connection until it ends.
pub(super) async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let resets = Arc::new(AtomicBool::new(false));
    let service = {
        let resets = Arc::clone(&resets);
        service_fn(move |request| answer(request, Arc::clone(&state), Arc::clone(&resets)))
    };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is what some behaviors are for.
    let _ = (&mut connection).await;
    if resets.load(Ordering::Relaxed) {
        // Closing then sends a reset instead of the end of the stream.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// Answers a request. Sets `resets` if the connection has to end with a reset.
async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    resets: Arc<AtomicBool>,
) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    lock(&state).record(&path, Seen::new(&request));
    let (behavior, text) = loop {
        let served = serve_path(&state, &path);
        if !matches!(served, (Behavior::Held, Some(_))) {
            break served;
        }
        tokio::time::sleep(POLL).await;
    };
    let Some(text) = text else { return Ok(whole(StatusCode::NOT_FOUND, String::new())) };
    Ok(match behavior {
        Behavior::SlowHead(wait) => {
            tokio::time::sleep(wait).await;
            whole(StatusCode::OK, text)
        }
        Behavior::SlowBody(wait) => in_halves(text, move |mut sender, rest| async move {
            tokio::time::sleep(wait).await;
            // A client that does not wait does not need the rest.
            let _ = sender.send_data(rest).await;
        }),
        Behavior::Truncated => in_halves(text, |sender, _| async move {
            tokio::time::sleep(FLUSH).await;
            drop(sender);
        }),
        Behavior::Reset => in_halves(text, move |sender, _| async move {
            tokio::time::sleep(FLUSH).await;
            resets.store(true, Ordering::Relaxed);
            sender.abort(io::ErrorKind::ConnectionReset.into());
        }),
        Behavior::Padded { content_length: false, .. } => {
            let (mut sender, body) = Channel::new(1);
            tokio::spawn(async move {
                let _ = sender.send_data(Bytes::from(text)).await;
            });
            json(StatusCode::OK, body.boxed())
        }
        Behavior::Redirect => {
            let mut response = whole(StatusCode::FOUND, text);
            let location = HeaderValue::from_str(&format!("{MOVED}{path}")).map_err(io::Error::other)?;
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Behavior::Tagged(_) => tagged(&state, &path, request.headers().get(IF_NONE_MATCH), text)?,
        Behavior::NotModified => not_modified(&state, &path),
        Behavior::Status(status) => whole(StatusCode::from_u16(status).map_err(io::Error::other)?, text),
        Behavior::HtmlError => {
            let mut response = whole(StatusCode::OK, PAGE.to_owned());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            response
        }
        _ => whole(StatusCode::OK, text),
    })
}

/// Returns how the document at a path is served now, and its text; no text if there is no document.
fn serve_path(state: &Mutex<State>, path: &str) -> (Behavior, Option<String>) {
    let state = lock(state);
    match path.strip_prefix(MOVED) {
        Some(moved) => (Behavior::Correct, state.correct(moved)),
        None => state.serve(path),
    }
}

fn whole(status: StatusCode, text: String) -> Response<Body> {
    json(status, Full::from(text).map_err(|never| match never {}).boxed())
}

/// Answers with the text and its tag, or confirms that the client has this text.
fn tagged(
    state: &Mutex<State>,
    path: &str,
    condition: Option<&HeaderValue>,
    text: String,
) -> io::Result<Response<Body>> {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish())).map_err(io::Error::other)?;
    let mut response = if condition == Some(&tag) { not_modified(state, path) } else { whole(StatusCode::OK, text) };
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

fn not_modified(state: &Mutex<State>, path: &str) -> Response<Body> {
    lock(state).confirm(path);
    whole(StatusCode::NOT_MODIFIED, String::new())
}

/// Announces the whole text, sends its first half, and leaves the rest to `finish`.
fn in_halves<F: Future<Output = ()> + Send + 'static>(
    text: String,
    finish: impl FnOnce(Sender<Bytes, io::Error>, Bytes) -> F + Send + 'static,
) -> Response<Body> {
    let mut first = Bytes::from(text);
    let length = first.len();
    let rest = first.split_off(length / 2);
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        if sender.send_data(first).await.is_ok() {
            finish(sender, rest).await;
        }
    });
    let mut response = json(StatusCode::OK, body.boxed());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn json(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
