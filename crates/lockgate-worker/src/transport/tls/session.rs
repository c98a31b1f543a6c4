//! A TLS session: records between a socket and its owner.
//!
//! Invariant: after a read nothing is forgotten in here: what is buffered makes `is_drained` false, because the poller
//! reports each edge of the socket once.

mod sending;

use std::io;
use std::sync::Arc;

use lockgate_tls::{Acceptor, TlsInfo, has_expired_peer, take_server_name};
use rustix::net::RecvFlags;
use rustix::time::clock_gettime;
use rustls::HandshakeKind;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};

use super::super::{Handshake, Received};
use super::failure::HandshakeFailure;
use super::scratch::{Scratch, with_scratch};
use crate::os::COARSE_REALTIME;
use crate::transport::descriptors::TrackedFd;

/// No handshake is longer, even with a chain of client certificates (64 KiB at most).
const LONGEST_HANDSHAKE: usize = 80 * 1024;

/// The state of a session.
enum Stage {
    /// Nothing has arrived. The configuration is taken when the handshake begins.
    Waiting(Arc<Acceptor>),
    Open(Box<UnbufferedServerConnection>),
    /// The client does not speak TLS.
    Plain,
}

/// See the module documentation.
pub(super) struct Session {
    stage: Stage,
    /// Read from the socket and not decrypted: a part of a record, or records that the reader had no room for.
    incoming: Vec<u8>,
    /// The rest of a record that the reader had no room for.
    plain: Vec<u8>,
    /// How much of it has been read.
    plain_read: usize,
    /// Accepted and not taken by the socket.
    outgoing: Vec<u8>,
    /// How much of it the socket has taken.
    sent: usize,
    /// The output is tickets only: it leaves with the first response, or when the client sends nothing.
    is_patient: bool,
    server_name: Option<String>,
    /// The last read during the handshake has emptied the socket.
    is_socket_empty: bool,
    /// The peer has ended its stream, with close_notify or without.
    is_ended: bool,
    /// No more records may be sent: after close_notify, a fatal error, or a deadline.
    is_write_closed: bool,
}

/// What a pass over received records has yielded.
#[derive(Default)]
struct Passed {
    /// Bytes of the input that are used up.
    consumed: usize,
    /// Bytes of plaintext in the reader's buffer.
    count: usize,
}

impl Session {
    pub(super) fn new(acceptor: Arc<Acceptor>) -> Self {
        Self {
            stage: Stage::Waiting(acceptor),
            incoming: Vec::new(),
            plain: Vec::new(),
            plain_read: 0,
            outgoing: Vec::new(),
            sent: 0,
            is_patient: false,
            server_name: None,
            is_socket_empty: false,
            is_ended: false,
            is_write_closed: false,
        }
    }

    pub(super) fn info(&self) -> Option<TlsInfo> {
        match &self.stage {
            Stage::Open(connection) => Some(TlsInfo::new(connection, self.server_name.as_deref())),
            _ => None,
        }
    }

    /// Whether the handshake is still to come or in progress.
    pub(super) fn is_handshaking(&self) -> bool {
        match &self.stage {
            Stage::Waiting(_) => true,
            Stage::Open(connection) => connection.is_handshaking(),
            Stage::Plain => false,
        }
    }

    /// Begins or continues the handshake.
    pub(super) fn handshake(&mut self, socket: &TrackedFd) -> io::Result<Handshake> {
        let outcome = self.try_handshake(socket);
        if outcome.is_err() && !matches!(self.stage, Stage::Plain) {
            // An alert says why.
            self.push_at_once(socket);
            self.is_write_closed = true;
        }
        outcome
    }

    fn try_handshake(&mut self, socket: &TrackedFd) -> io::Result<Handshake> {
        self.is_socket_empty = false;
        loop {
            if !self.is_handshaking() {
                return self.finish_handshake(socket);
            }
            match self.push(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Handshake::WantWrite);
                }
                other => other?,
            }
            if self.is_socket_empty {
                return Ok(Handshake::WantRead);
            }
            match with_scratch(|scratch| self.step_handshake(socket, scratch)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Handshake::WantRead);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
        }
    }

    /// Reads once and answers.
    fn step_handshake(&mut self, socket: &TrackedFd, scratch: &mut Scratch) -> io::Result<()> {
        if self.incoming.len() > LONGEST_HANDSHAKE {
            return Err(HandshakeFailure::TooLong.into());
        }
        let (count, _) = rustix::net::recv(socket, &mut *scratch.received, RecvFlags::empty())?;
        if count == 0 {
            self.is_ended = true;
            return Err(HandshakeFailure::Closed.into());
        }
        // A short read has emptied the socket (epoll(7), "for stream-oriented files").
        self.is_socket_empty = count < scratch.received.len();
        let mut input = std::mem::take(&mut self.incoming);
        input.extend_from_slice(&scratch.received[..count]);
        if !self.begin_handshake(&input)? {
            self.incoming = input;
            return Ok(());
        }
        let passed = self.pass(&mut input, &mut []);
        if self.server_name.is_none() {
            self.server_name = take_server_name();
        }
        input.drain(..passed?.consumed);
        if !input.is_empty() {
            self.incoming = input;
        }
        Ok(())
    }

    /// Takes the configuration when the first bytes have arrived. False: more of them are needed.
    fn begin_handshake(&mut self, first: &[u8]) -> io::Result<bool> {
        let Stage::Waiting(acceptor) = &self.stage else {
            return Ok(true);
        };
        match first.first() {
            // A record of the type handshake (RFC 8446 §5.1).
            Some(0x16) => {}
            // The beginning of a method.
            Some(b'A'..=b'Z') => {
                self.stage = Stage::Plain;
                return Err(HandshakeFailure::PlainHttp(first.to_vec()).into());
            }
            _ => {
                self.stage = Stage::Plain;
                return Err(HandshakeFailure::NotTls.into());
            }
        }
        let Some(config) = acceptor.config_for(first) else {
            return Ok(false);
        };
        // Of an earlier handshake on this thread.
        take_server_name();
        let connection = UnbufferedServerConnection::new(config)
            .map_err(|error| HandshakeFailure::from(&error))?;
        self.stage = Stage::Open(Box::new(connection));
        Ok(true)
    }

    fn finish_handshake(&mut self, socket: &TrackedFd) -> io::Result<Handshake> {
        let (mut alpn, mut is_resumed) = (None, false);
        if let Stage::Open(connection) = &self.stage {
            alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
            is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
            let now = clock_gettime(COARSE_REALTIME).tv_sec;
            if is_resumed && has_expired_peer(connection, now) {
                // Tickets with which the client would try again.
                self.end_writes();
                return Err(HandshakeFailure::PeerExpired.into());
            }
        }
        let is_drained = self.is_socket_empty && self.plain.is_empty() && !self.is_ended;
        // What is left are tickets of TLS 1.3, which the client does not wait for.
        if is_drained {
            self.push_at_once(socket);
        } else {
            self.is_patient = true;
        }
        Ok(Handshake::Done {
            alpn,
            is_drained,
            is_resumed,
        })
    }

    /// Reads what has arrived.
    pub(super) fn read(&mut self, socket: &TrackedFd, buffer: &mut [u8]) -> io::Result<Received> {
        let count = self.take_plain(buffer);
        if count > 0 {
            let is_drained = false;
            return Ok(Received { count, is_drained });
        }
        if self.is_ended {
            return Ok(Received {
                count: 0,
                is_drained: true,
            });
        }
        let outcome = with_scratch(|scratch| self.receive(socket, scratch, buffer));
        // The answer to an update of keys, an alert, or tickets of a client that sends nothing: with a full socket they
        // wait for the next write.
        if !self.outgoing.is_empty() && outcome.is_err() {
            self.push_at_once(socket);
        }
        outcome
    }

    fn take_plain(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.plain[self.plain_read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.plain_read += count;
        if self.plain_read == self.plain.len() && count > 0 {
            self.plain = Vec::new();
            self.plain_read = 0;
        }
        count
    }

    fn receive(
        &mut self,
        socket: &TrackedFd,
        scratch: &mut Scratch,
        buffer: &mut [u8],
    ) -> io::Result<Received> {
        let input = &mut *scratch.received;
        let mut filled = self.incoming.len();
        input[..filled].copy_from_slice(&self.incoming);
        self.incoming.clear();
        // Records that an earlier read had no room for come first.
        let mut passed = self.pass(&mut input[..filled], buffer)?;
        let mut is_socket_empty = false;
        while passed.count == 0 && !self.is_ended && !is_socket_empty {
            input.copy_within(passed.consumed..filled, 0);
            filled -= passed.consumed;
            if filled == input.len() {
                self.is_write_closed = true;
                return Err(io::ErrorKind::InvalidData.into());
            }
            match rustix::net::recv(socket, &mut input[filled..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    // Without close_notify: the framing of HTTP says whether the request is complete.
                    self.is_ended = true;
                    passed.consumed = 0;
                    break;
                }
                Ok((count, _)) => {
                    // A short read has emptied the socket (epoll(7), "for stream-oriented files").
                    is_socket_empty = count < input.len() - filled;
                    filled += count;
                }
                Err(error) => {
                    self.keep(&input[..filled]);
                    return Err(error.into());
                }
            }
            passed = self.pass(&mut input[..filled], buffer)?;
        }
        self.keep(&input[passed.consumed..filled]);
        let count = passed.count;
        if count == 0 && !self.is_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let has_more = !self.plain.is_empty() || self.is_ended || count == buffer.len();
        Ok(Received {
            count,
            is_drained: is_socket_empty && !has_more,
        })
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            // An idle connection holds no buffer.
            self.incoming = Vec::new();
        } else {
            self.incoming.extend_from_slice(rest);
        }
    }

    /// Decrypts the records of `input` into `buffer` until one of them is used up. What the protocol answers is
    /// queued.
    fn pass(&mut self, input: &mut [u8], buffer: &mut [u8]) -> io::Result<Passed> {
        let mut passed = Passed::default();
        loop {
            if passed.count == buffer.len() && passed.count > 0 && passed.consumed < input.len() {
                return Ok(passed);
            }
            let Stage::Open(connection) = &mut self.stage else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            let status = connection.process_tls_records(&mut input[passed.consumed..]);
            let mut discard = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        let room = &mut buffer[passed.count..];
                        let count = record.payload.len().min(room.len());
                        room[..count].copy_from_slice(&record.payload[..count]);
                        passed.count += count;
                        self.plain.extend_from_slice(&record.payload[count..]);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.outgoing);
                    self.is_patient = false;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.is_ended = true;
                    passed.consumed = input.len();
                    return Ok(passed);
                }
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                    passed.consumed += discard;
                    return Ok(passed);
                }
                // Early data is never accepted.
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => {
                    self.fail();
                    return Err(HandshakeFailure::from(&error).into());
                }
            }
            passed.consumed += discard;
        }
    }

    /// The session is over; queues the alert that tells the peer why.
    fn fail(&mut self) {
        self.is_ended = true;
        self.is_write_closed = true;
        // What is queued comes before any input; input must not be read again.
        while let Stage::Open(connection) = &mut self.stage
            && connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                connection.process_tls_records(&mut []).state
        {
            encode(&mut data, &mut self.outgoing);
        }
    }
}

/// Appends a message of the protocol.
fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) {
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        let start = outgoing.len();
        outgoing.resize(start + size.required_size, 0);
        // There is room, so this succeeds.
        let _ = data.encode(&mut outgoing[start..]);
    }
}
