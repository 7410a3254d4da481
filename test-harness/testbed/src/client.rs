//! An HTTP/1.1 client that sends arbitrary bytes. Tests of the gate need requests that a well-behaved client cannot send.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Longer than the 20 s for which the tests keep streams silent.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_HEADERS: usize = 256;
const MOST_BYTES: usize = 64 << 20;

/// A request that is built line by line and sent unchanged.
#[derive(Clone, Debug)]
pub struct Request {
    start: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// Creates a request with this method and target, and without headers. Neither is validated.
    pub fn new(method: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let start = [method.as_ref(), b" ", target.as_ref(), b" HTTP/1.1"].concat();
        Self { start, headers: Vec::new(), body: Vec::new() }
    }

    /// Creates a `GET` request for this target.
    pub fn get(target: impl AsRef<[u8]>) -> Self {
        Self::new("GET", target)
    }

    /// Creates a `POST` request for this target.
    pub fn post(target: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target)
    }

    /// Adds a `Host` line.
    #[must_use]
    pub fn host(self, host: impl AsRef<[u8]>) -> Self {
        self.header("Host", host)
    }

    /// Adds an `Authorization` line with a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Adds a header line. The name and value may be any bytes, and the name may repeat.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds a body with its `Content-Length`.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Length", length)
    }

    /// Adds a body in the chunked transfer coding, one chunk for each item.
    #[must_use]
    pub fn chunked(mut self, chunks: &[&[u8]]) -> Self {
        for chunk in chunks {
            self.body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            self.body.extend_from_slice(chunk);
            self.body.extend(b"\r\n");
        }
        self.body.extend(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked")
    }

    /// Adds trailers to a body in the chunked transfer coding. Neither names nor values are validated.
    #[must_use]
    pub fn trailers(mut self, lines: &[(&str, &str)]) -> Self {
        // They are before the empty line at the end.
        self.body.truncate(self.body.len().saturating_sub(b"\r\n".len()));
        for (name, value) in lines {
            self.body.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        self.body.extend(b"\r\n");
        self
    }

    /// Returns the bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.start.as_slice(), b"\r\n"].concat();
        for (name, value) in &self.headers {
            bytes.extend([name.as_slice(), b": ", value.as_slice(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }

    fn is_head(&self) -> bool {
        self.start.starts_with(b"HEAD ")
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines in order, with names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, decoded if it was chunked.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON, or `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    /// Returns the code that the gate's denial reports to the client.
    pub fn code(&self) -> Option<String> {
        Some(self.json().get("code")?.as_str()?.to_owned())
    }
}

/// The transport of a connection.
pub trait Transport: Read + Write + Debug + Send {}

impl<T: Read + Write + Debug + Send> Transport for T {}

/// A connection that stays open between requests.
#[derive(Debug)]
pub struct Connection {
    stream: Box<dyn Transport>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// When nothing listens at the address.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        stream.set_nodelay(true).context("cannot set an option of the socket")?;
        Ok(Self::over(stream))
    }

    /// Creates a connection over an open transport.
    pub fn over(stream: impl Transport + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends a request and reads the whole response.
    ///
    /// A server may respond and close while the request is still being sent (RFC 9112 section 9.5): that response counts.
    ///
    /// # Errors
    /// When the connection breaks before a response, or the response is not HTTP.
    pub fn call(&mut self, request: &Request) -> Result<Response> {
        let sent = self.send(&request.to_bytes());
        let response = self.read(request);
        if response.is_err() {
            sent?;
        }
        response
    }

    /// Reads the whole response to a request that was sent.
    ///
    /// # Errors
    /// When the connection breaks or the response is not HTTP.
    pub fn read(&mut self, request: &Request) -> Result<Response> {
        let mut response = self.read_head()?;
        if !request.is_head() && response.status >= 200 && response.status != 204 && response.status != 304 {
            response.body = self.read_body(&response)?;
        }
        Ok(response)
    }

    /// Sends bytes unchanged.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    /// Reads status and headers, and leaves the body on the connection.
    ///
    /// # Errors
    /// When the connection breaks or the response is not HTTP.
    pub fn read_head(&mut self) -> Result<Response> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) =
                parsed.parse(&self.buffer).context("the response is not HTTP")?
            {
                let status = parsed.code.context("the response has no status")?;
                let headers = parsed
                    .headers
                    .iter()
                    .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
                    .collect();
                self.buffer.drain(..length);
                return Ok(Response { status, headers, body: Vec::new() });
            }
            ensure!(self.fill()?, "the connection ended before a response");
        }
    }

    /// Reads until this text arrives, and returns everything up to its end.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn read_until(&mut self, wanted: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(wanted.len()).position(|window| window == wanted) {
                return Ok(self.buffer.drain(..at + wanted.len()).collect());
            }
            ensure!(self.fill()?, "the connection ended before the expected data");
        }
    }

    /// Reads the next part of a response's body as soon as it arrives: a chunk, or bytes of a body that ends with the connection. A body with
    /// `Content-Length` is one part. Returns an empty part at the end of the body, after which there is nothing to read.
    ///
    /// # Errors
    /// When the connection ends inside the body.
    pub fn read_part(&mut self, head: &Response) -> Result<Vec<u8>> {
        if head.is_chunked() {
            return self.read_chunk();
        }
        if head.header("content-length").is_some() {
            return self.read_body(head);
        }
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    fn read_body(&mut self, head: &Response) -> Result<Vec<u8>> {
        if head.is_chunked() {
            return self.read_chunks();
        }
        match head.header("content-length") {
            Some(length) => self.take(length.parse().context("Content-Length is not a number")?),
            None => {
                while self.fill()? {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.read_chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            body.extend(chunk);
        }
    }

    /// Reads one chunk. An empty one is the end of the body.
    fn read_chunk(&mut self) -> Result<Vec<u8>> {
        let line = self.read_until(b"\r\n")?;
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.trim(), 16).context("a chunk has no size")?;
        let chunk = self.take(size)?;
        self.read_until(b"\r\n")?;
        Ok(chunk)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            ensure!(self.fill()?, "the connection ended inside the body");
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Reads more bytes. Returns false at the end of the connection.
    fn fill(&mut self) -> Result<bool> {
        ensure!(self.buffer.len() < MOST_BYTES, "the response does not end");
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.buffer.extend(chunk.get(..length).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!("no response within {} s", PATIENCE.as_secs())
                }
                Err(error) => return Err(error).context("cannot receive"),
            }
        }
    }
}

/// Sends one request on a new connection.
///
/// # Errors
/// See [`Connection::call`].
pub fn call(address: SocketAddr, request: &Request) -> Result<Response> {
    Connection::open(address)?.call(request)
}
