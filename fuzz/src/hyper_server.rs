//! hyper's HTTP/1 server over bytes in memory: which requests it finds in them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};

/// One request as hyper understood it.
#[derive(Debug, Default)]
pub struct HyperRequest {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Vec<u8>,
    /// Whether the body is complete.
    pub is_whole: bool,
    /// Whether the request asks for `close`.
    pub is_last: bool,
}

/// Why hyper stopped reading.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// All input was read, or a request asked for `close`.
    Clean,
    /// The bytes end inside a request.
    Truncated,
    /// hyper refused a request.
    Refused,
}

/// The requests that hyper finds in `bytes`; the client closes its sending side after them.
pub fn read(bytes: &[u8]) -> (Vec<HyperRequest>, End) {
    let seen = Seen::default();
    let mut builder = http1::Builder::new();
    let connection = builder.half_close(true).serve_connection(
        Client(bytes.to_vec(), 0),
        Recorder {
            seen: Arc::clone(&seen),
        },
    );
    let mut connection = pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    // The input is in memory, so each poll makes progress; an endless loop becomes a finding.
    let outcome = (0..10_000).find_map(|_| match connection.as_mut().poll(&mut context) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    });
    let end = match outcome {
        None => panic!("hyper does not end"),
        Some(Ok(())) => End::Clean,
        Some(Err(error)) if error.is_incomplete_message() => End::Truncated,
        Some(Err(_)) => End::Refused,
    };
    let requests = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    (requests, end)
}

type Seen = Arc<Mutex<Vec<HyperRequest>>>;

/// Sends its bytes, then closes its sending side; accepts every response.
struct Client(Vec<u8>, usize);

impl Read for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.0[self.1..];
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..taken]);
        self.1 += taken;
        Poll::Ready(Ok(()))
    }
}

impl Write for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An application that reads every body to its end and responds without a body.
struct Recorder {
    seen: Seen,
}

impl Service<Request<Incoming>> for Recorder {
    type Response = Response<NoBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let seen = Arc::clone(&self.seen);
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let path = match parts.uri.path() {
                "" if parts.uri.authority().is_some() => "/",
                path => path,
            };
            let index = {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(HyperRequest {
                    method: parts.method.to_string(),
                    path: path.to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    is_last: parts.headers.contains_key("upgrade"),
                    ..HyperRequest::default()
                });
                seen.len() - 1
            };
            loop {
                let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
                let frame = frame.await;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let request = &mut seen[index];
                match frame {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            request.body.extend_from_slice(data);
                        }
                    }
                    Some(Err(_)) => break,
                    None => {
                        request.is_whole = true;
                        break;
                    }
                }
            }
            Ok(Response::new(NoBody))
        })
    }
}

/// An empty body.
struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
