//! The sending half of a session: encryption, and what waits for the socket.

use std::io::{self, IoSlice};

use rustls::server::ServerConnectionData;
use rustls::unbuffered::{ConnectionState, WriteTraffic};

use super::super::failure::HandshakeFailure;
use super::super::pieces::{Pieces, Record};
use super::super::scratch::{BATCH, SLACK, with_scratch};
use super::{Session, Stage};
use crate::os::NO_SIGNAL;
use crate::transport::descriptors::TrackedFd;

impl Session {
    /// Encrypts up to [`BATCH`] bytes and sends them.
    pub(in super::super) fn write(
        &mut self,
        socket: &TrackedFd,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if self.is_write_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if matches!(self.stage, Stage::Plain) {
            return write_plain(socket, pieces);
        }
        self.settle()?;
        if !self.is_patient || self.outgoing.len() > SLACK / 2 {
            self.push(socket)?;
        }
        with_scratch(|scratch| {
            let waiting = self.outgoing.len() - self.sent;
            scratch.sealed[..waiting].copy_from_slice(&self.outgoing[self.sent..]);
            self.outgoing = Vec::new();
            self.sent = 0;
            self.is_patient = false;
            let mut sealed = Sealed {
                bytes: &mut scratch.sealed,
                length: waiting,
            };
            let mut count = 0;
            self.seal(&mut sealed, |writer, sealed| {
                let mut rest = Pieces::new(pieces);
                while count < BATCH
                    && let Some(record) = rest.next_record(&mut scratch.plain, BATCH - count)
                {
                    let record = match record {
                        Record::Borrowed(bytes) => bytes,
                        Record::Gathered(size) => &scratch.plain[..size],
                    };
                    let written = writer.encrypt(record, sealed.rest());
                    sealed.length += written.map_err(io::Error::other)?;
                    count += record.len();
                }
                Ok(())
            })?;
            self.send(socket, &sealed.bytes[..sealed.length])?;
            Ok(count)
        })
    }

    /// Decrypts the records that the reader had no room for: rustls has to be passed all input in order, also by a
    /// write.
    fn settle(&mut self) -> io::Result<()> {
        if !self.incoming.is_empty() {
            let mut input = std::mem::take(&mut self.incoming);
            let passed = self.pass(&mut input, &mut [])?;
            input.drain(..passed.consumed);
            self.incoming = input;
        }
        Ok(())
    }

    /// Lets `write` append records, after those that the protocol itself has to send.
    fn seal(
        &mut self,
        sealed: &mut Sealed<'_>,
        write: impl FnOnce(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut Sealed<'_>,
        ) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let Stage::Open(connection) = &mut self.stage else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            // What is left of the input is a part of a record, or of a message in several records.
            match connection.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::WriteTraffic(mut writer)) => return write(&mut writer, sealed),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let written = data.encode(sealed.rest());
                    sealed.length += written.map_err(io::Error::other)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_ended = true,
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(HandshakeFailure::from(&error).into()),
            }
        }
    }

    /// Sends records, and keeps what the socket does not take.
    fn send(&mut self, socket: &TrackedFd, records: &[u8]) -> io::Result<()> {
        let count = match rustix::net::send(socket, records, NO_SIGNAL) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.outgoing.extend_from_slice(&records[count..]);
        Ok(())
    }

    #[cfg(test)]
    pub(in super::super) fn outgoing_len(&self) -> usize {
        self.outgoing.len()
    }

    pub(in super::super) fn has_pending_output(&self) -> bool {
        !self.outgoing.is_empty() && !self.is_patient
    }

    /// Moves pending output to the socket.
    pub(in super::super) fn push(&mut self, socket: &TrackedFd) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            let records = &self.outgoing[self.sent..];
            match rustix::net::send(socket, records, NO_SIGNAL) {
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        self.is_patient = false;
        Ok(())
    }

    /// Moves what the socket takes; an error shows at the next operation.
    pub(super) fn push_at_once(&mut self, socket: &TrackedFd) {
        if !self.outgoing.is_empty() && self.push(socket).is_err() {
            self.is_patient = false;
        }
    }

    /// Tells the peer that nothing more follows, unless that would complete something incomplete.
    pub(in super::super) fn close_notify(&mut self, socket: &TrackedFd) {
        if self.is_write_closed {
            return;
        }
        let is_open =
            matches!(&self.stage, Stage::Open(connection) if !connection.is_handshaking());
        let mut sealed = Sealed {
            bytes: &mut [0; 128],
            length: 0,
        };
        if is_open && self.settle().is_ok() && self.push(socket).is_ok() {
            let queued = self.seal(&mut sealed, |writer, sealed| {
                let written = writer.queue_close_notify(sealed.rest());
                sealed.length += written.map_err(io::Error::other)?;
                Ok(())
            });
            if queued.is_ok() && sealed.length > 0 {
                let records = &sealed.bytes[..sealed.length];
                // A peer that takes nothing more has no use for it.
                let _ = rustix::net::send(socket, records, NO_SIGNAL);
            }
        }
        self.is_write_closed = true;
    }

    /// What was sent so far is not to look complete.
    pub(in super::super) fn forbid_close_notify(&mut self) {
        self.is_write_closed = true;
    }

    /// Nothing more may be written, and what waits is dropped.
    pub(in super::super) fn end_writes(&mut self) {
        self.outgoing = Vec::new();
        self.sent = 0;
        self.is_write_closed = true;
    }
}

/// Records to send.
struct Sealed<'b> {
    bytes: &'b mut [u8],
    length: usize,
}

impl Sealed<'_> {
    fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.length..]
    }
}

fn write_plain(socket: &TrackedFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = rustix::net::SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(
        socket,
        pieces,
        &mut control,
        NO_SIGNAL,
    )?)
}
