//! How a client's connection, or its stream, ends at the request's deadline, from a thread that does not own it: 504 or
//! a reset. The call slot's lock must be held.

use std::sync::Weak;

use lockgate_http::http2::StreamId;
use lockgate_http::{LocalResponse, ResponseContext};

use crate::date::with_date;
use crate::exchange::request_id::RequestId;
use crate::transport::AbortHandle;
use crate::transport::descriptors::TrackedFd;

/// What the client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was sent 504, with a body of this many bytes, and then the end of the stream.
    Answered { body_bytes: u64 },
    /// Its connection was reset.
    Aborted,
}

/// The status of a request whose deadline has passed (RFC 9110 §15.6.5).
pub const STATUS: u16 = 504;

/// The client of a call, for a thread that does not own the connection.
pub struct ClientSocket {
    pub handle: Handle,
    pub is_head_request: bool,
    /// No earlier output is pending, so an answer may be written to the socket.
    pub is_output_empty: bool,
    /// The id of its request, if requests have one.
    pub request_id: Option<RequestId>,
}

/// What ends at the deadline.
pub enum Handle {
    /// The whole connection.
    Connection(Weak<dyn AbortHandle>),
    /// One stream of a multiplexed connection.
    Stream(Weak<dyn StreamHandle>, StreamId),
}

/// Ends single streams of a connection from a thread that does not own them.
pub trait StreamHandle: Send + Sync {
    /// Sends a whole response; false if the stream is over.
    fn answer(&self, stream: StreamId, response: &LocalResponse, is_head_request: bool) -> bool;

    /// Ends the stream so that the peer does not take what it received for complete.
    fn reset(&self, stream: StreamId);

    /// Whether the connection is closed, and all that its place waits for are `calls` calls.
    fn waits_for(&self, calls: usize) -> bool;
}

impl Default for ClientSocket {
    /// A connection that is closed.
    fn default() -> Self {
        Self {
            handle: Handle::Connection(Weak::<TrackedFd>::new()),
            is_head_request: false,
            is_output_empty: false,
            request_id: None,
        }
    }
}

impl ClientSocket {
    /// Sends 504 and ends the stream. If the socket does not take all of it at once, the connection is reset.
    pub fn answer_or_abort(&self, server: Option<&[u8]>) -> Ending {
        let mut response = LocalResponse::text(STATUS, "the request took too long").closing();
        if let Some(id) = &self.request_id {
            response = id.added_to(response);
        }
        let is_answered = match &self.handle {
            Handle::Connection(handle) => (handle.upgrade())
                .filter(|_| self.is_output_empty)
                .is_some_and(|handle| {
                    let mut answer = Vec::new();
                    with_date(|date| {
                        let context = ResponseContext::closing(self.is_head_request, date, server);
                        response.encode(&mut answer, &context)
                    });
                    handle.answer(&answer)
                }),
            Handle::Stream(handle, stream) => (handle.upgrade())
                .is_some_and(|handle| handle.answer(*stream, &response, self.is_head_request)),
        };
        if !is_answered {
            return self.abort();
        }
        let body_bytes = match self.is_head_request {
            true => 0,
            false => response.body.len() as u64,
        };
        Ending::Answered { body_bytes }
    }

    /// Ends the connection so that its client does not take a part of a response for the whole.
    pub fn abort(&self) -> Ending {
        match &self.handle {
            Handle::Connection(handle) => {
                if let Some(handle) = handle.upgrade() {
                    handle.abort();
                }
            }
            Handle::Stream(handle, stream) => {
                if let Some(handle) = handle.upgrade() {
                    handle.reset(*stream);
                }
            }
        }
        Ending::Aborted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    fn pair() -> (Arc<TrackedFd>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (Arc::new(TrackedFd::new(server.into())), client)
    }

    fn client_socket(socket: &Arc<TrackedFd>) -> ClientSocket {
        let handle: Weak<TrackedFd> = Arc::downgrade(socket);
        ClientSocket {
            handle: Handle::Connection(handle),
            is_head_request: false,
            is_output_empty: true,
            request_id: None,
        }
    }

    #[test]
    fn a_client_without_a_response_gets_504() {
        for (is_head_request, body) in [
            (false, "504 Gateway Timeout: the request took too long\n"),
            (true, ""),
        ] {
            let (server, mut client) = pair();
            let client_socket = ClientSocket {
                is_head_request,
                ..client_socket(&server)
            };
            let body_bytes = body.len() as u64;
            assert_eq!(
                client_socket.answer_or_abort(None),
                Ending::Answered { body_bytes }
            );
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
                "{answer}"
            );
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body);
        }
    }

    #[test]
    fn a_connection_with_pending_output_is_reset() {
        let (server, mut client) = pair();
        let client_socket = ClientSocket {
            is_output_empty: false,
            ..client_socket(&server)
        };
        assert_eq!(client_socket.answer_or_abort(None), Ending::Aborted);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn an_aborted_unix_socket_is_shut_down() {
        let (server, mut client) = UnixStream::pair().unwrap();
        let server = Arc::new(TrackedFd::new(server.into()));
        assert_eq!(client_socket(&server).abort(), Ending::Aborted);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_closed_connection_is_not_answered() {
        let client_socket = ClientSocket {
            is_output_empty: true,
            ..ClientSocket::default()
        };
        assert_eq!(client_socket.answer_or_abort(None), Ending::Aborted);
    }
}
