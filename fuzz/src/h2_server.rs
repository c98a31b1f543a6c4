//! The server of the `h2` crate over bytes in memory: which requests it finds in them.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::{RecvStream, server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One request as h2 understood it.
#[derive(Debug, Default)]
pub struct H2Request {
    pub method: String,
    pub target: String,
    pub authority: Option<String>,
    /// In their order for each name; cookies joined.
    pub fields: BTreeMap<String, Vec<Vec<u8>>>,
    pub body: Vec<u8>,
    /// Whether the body is complete.
    pub is_whole: bool,
}

/// The requests that h2 finds in `bytes`, by stream.
pub fn read(bytes: &[u8], max_concurrent_streams: u32) -> BTreeMap<u32, H2Request> {
    let mut context = Context::from_waker(Waker::noop());
    let mut requests = BTreeMap::new();
    let mut bodies: Vec<(u32, RecvStream)> = Vec::new();
    // An answer that is dropped resets its stream.
    let mut responses = Vec::new();
    let mut handshake = pin!(
        server::Builder::new()
            .max_concurrent_streams(max_concurrent_streams)
            .handshake::<_, Bytes>(Client(bytes.to_vec(), 0))
    );
    let mut connection = loop {
        match handshake.as_mut().poll(&mut context) {
            Poll::Ready(Ok(connection)) => break connection,
            Poll::Ready(Err(_)) => return requests,
            Poll::Pending => {}
        }
    };
    for _ in 0..10_000 {
        let accepted = connection.poll_accept(&mut context);
        let mut has_progress = accepted.is_ready();
        let is_over = match accepted {
            Poll::Ready(Some(Ok((request, response)))) => {
                let stream = u32::from(response.stream_id());
                responses.push(response);
                let (parts, body) = request.into_parts();
                let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
                for (name, value) in &parts.headers {
                    let values = fields.entry(name.to_string()).or_default();
                    values.push(value.as_bytes().to_vec());
                }
                let target = parts.uri.path_and_query();
                let request = H2Request {
                    method: parts.method.to_string(),
                    target: target.map(ToString::to_string).unwrap_or_default(),
                    authority: parts.uri.authority().map(ToString::to_string),
                    fields,
                    ..H2Request::default()
                };
                requests.insert(stream, request);
                bodies.push((stream, body));
                false
            }
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        bodies.retain_mut(|(stream, body)| {
            let request = requests.entry(*stream).or_default();
            loop {
                match body.poll_data(&mut context) {
                    Poll::Ready(Some(Ok(data))) => {
                        has_progress = true;
                        request.body.extend_from_slice(&data);
                        let _ = body.flow_control().release_capacity(data.len());
                    }
                    Poll::Ready(Some(Err(_))) => return false,
                    Poll::Ready(None) => {
                        request.is_whole =
                            matches!(body.poll_trailers(&mut context), Poll::Ready(Ok(_)));
                        return false;
                    }
                    Poll::Pending => return true,
                }
            }
        });
        if is_over || !has_progress {
            return requests;
        }
    }
    panic!("h2 does not end");
}

/// Sends its bytes and then nothing; accepts every answer.
struct Client(Vec<u8>, usize);

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.0[self.1..];
        if rest.is_empty() {
            return Poll::Pending;
        }
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..taken]);
        self.1 += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
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
