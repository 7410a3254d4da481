//! A real gRPC client interprets the gate's responses.

use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::Stream;
use hyper::http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::envoy::fixture::{Gate, HOST, policy, token};

/// A gRPC client whose messages are bytes, so it needs no compiled schema.
pub(crate) struct Client(Grpc<Channel>);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let origin = format!("http://{HOST}").parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().origin(origin);
        Self(Grpc::new(endpoint.connect().await.unwrap()))
    }

    pub(crate) async fn unary(
        &mut self,
        path: &'static str,
        token: Option<&str>,
        message: &'static str,
    ) -> Result<Bytes, Status> {
        self.0.ready().await.unwrap();
        let request = authorized(Request::new(Bytes::from(message)), token);
        self.0.unary(request, PathAndQuery::from_static(path), Messages).await.map(Response::into_inner)
    }

    pub(crate) async fn streaming(
        &mut self,
        path: &'static str,
        token: Option<&str>,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.0.ready().await.unwrap();
        let request = authorized(Request::new(messages), token);
        self.0.streaming(request, PathAndQuery::from_static(path), Messages).await.map(Response::into_inner)
    }
}

impl Client {
    /// Starts a streaming call with these headers.
    pub(crate) async fn streaming_with(
        &mut self,
        path: &'static str,
        lines: &[(String, String)],
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.0.ready().await.unwrap();
        let mut request = Request::new(messages);
        for (name, value) in lines.iter().filter(|(name, _)| name != "content-type") {
            let name: tonic::metadata::MetadataKey<tonic::metadata::Ascii> = name.parse().unwrap();
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        self.0.streaming(request, PathAndQuery::from_static(path), Messages).await.map(Response::into_inner)
    }
}

fn authorized<T>(mut request: Request<T>, token: Option<&str>) -> Request<T> {
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

#[derive(Clone, Copy)]
struct Messages;

impl Codec for Messages {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Messages {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Messages {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_get_responses_and_readable_denials() {
    let gate = Gate::start(&policy());
    let mut client = Client::connect(gate.envoy.api().unwrap()).await;
    let chat = token("chat");
    assert_eq!(client.unary("/echo.Echo/Say", Some(&chat), "hello").await.unwrap(), "hello");
    let seen = gate.upstream.seen();
    assert_eq!(seen[0].header("x-callgate-endpoint"), Some("chat"));

    for (path, token, code, message) in [
        ("/echo.Echo/Say", None, Code::Unauthenticated, "credentials_missing: the request has no access token"),
        (
            "/echo.Echo/Say",
            Some(token("items:read")),
            Code::PermissionDenied,
            "insufficient_scope: the access token lacks a required scope",
        ),
        (
            "/echo.Other/Say",
            Some(chat),
            Code::PermissionDenied,
            "endpoint_not_allowed: no endpoint in the policy matches this method and path",
        ),
    ] {
        let status = client.unary(path, token.as_deref(), "hello").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    }
    assert_eq!(gate.upstream.count(), 1);
}
