//! The output queue of a connection: copied bytes, borrowed bytes, ranges of files.
//!
//! Invariant: pieces are sent in order, each byte once; `len` is what is left.

mod file_part;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use self::file_part::FilePart;
use crate::transport::Transport;
use crate::transport::page_cache::FileRead;
use lockgate_files::SharedFile;

/// `writev` accepts up to IOV_MAX buffers (1,024); beyond a few of them the cost is all in the kernel's copy.
const PIECES_AT_ONCE: usize = 16;

/// The head of a larger file is a packet of its own: with MSG_MORE the kernel holds back parts of what follows, and 1 MiB
/// costs 1.5 times as much (bench/edge.py: 145 µs instead of 93).
const SMALL_FILE: u64 = 16 << 10;

/// Bytes with another owner (a Python `bytes`), sent without a copy and dropped on any thread.
pub trait SharedBytes: Send + Sync {
    /// The bytes; they neither move nor change while the owner lives.
    fn bytes(&self) -> &[u8];
}

enum Piece {
    Copied(Vec<u8>),
    Shared(Box<dyn SharedBytes>),
    File(FilePart),
}

/// The result of sending a part of a file.
enum FileStep {
    Sent,
    /// It has to be read first.
    NotResident,
}

/// The result of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left.
    All,
    /// The socket is full.
    Blocked,
    /// There is more to send and room for it, but other connections come first.
    Bounded,
    /// There is more to send and room for it, but it is not in memory: see [`Outbox::take_read`].
    Reading,
}

/// Maximum bytes per flush, about 0.2 ms of copying: neither a fast reader of a large file nor a thousand clients that
/// read nothing (the kernel buffers 2.5 MB for each) block the event loop. A MiB with its head is not cut.
const BYTES_AT_ONCE: u64 = (1 << 20) + (64 << 10);

/// Bytes of a file that are in memory at a time where the transport has to see them.
const FILE_PART: usize = 64 * 1024;

/// A queue of output. When empty, it holds no heap memory except the buffer that [`Outbox::take_spare`] would return.
#[derive(Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been sent already.
    sent: usize,
    len: u64,
    /// Bytes that have been sent.
    departed: u64,
    /// How many of them [`Outbox::take_departed`] has returned.
    counted: u64,
    spare: Vec<u8>,
}

impl Outbox {
    /// Bytes still to be sent.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffer that copied bytes are appended to; call [`Outbox::record_appended`] afterwards.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Copied(_))) {
            self.pieces
                .push_back(Piece::Copied(std::mem::take(&mut self.spare)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Copied(bytes)) => bytes,
            // Unreachable: the arm above has just pushed a copied piece. The spare buffer is harmless.
            _ => &mut self.spare,
        }
    }

    /// Appends a copy.
    pub fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.tail().extend_from_slice(bytes);
            self.len += bytes.len() as u64;
        }
    }

    /// Appends the content of a buffer and leaves it empty; without a copy if nothing else is queued.
    pub fn append_buffer(&mut self, buffer: &mut Vec<u8>) {
        self.len += buffer.len() as u64;
        let tail = self.tail();
        if tail.is_empty() {
            std::mem::swap(tail, buffer);
        } else {
            tail.append(buffer);
        }
    }

    /// Accounts for bytes that were written through [`Outbox::tail`].
    pub fn record_appended(&mut self, count: usize) {
        self.len += count as u64;
    }

    pub fn push_shared(&mut self, bytes: Box<dyn SharedBytes>, length: usize) {
        debug_assert!(length <= bytes.bytes().len());
        if length > 0 {
            self.len += length as u64;
            if length < bytes.bytes().len() {
                // A body longer than its Content-Length, cut: rare enough for a copy.
                let cut = bytes.bytes()[..length].to_vec();
                self.pieces.push_back(Piece::Copied(cut));
            } else {
                self.pieces.push_back(Piece::Shared(bytes));
            }
        }
    }

    pub fn push_file(&mut self, file: Arc<SharedFile>, offset: u64, length: u64) {
        if length > 0 {
            self.len += length;
            self.pieces
                .push_back(Piece::File(FilePart::new(file, offset, length)));
        }
    }

    /// After [`Flushed::Reading`]: what has to be read before the next flush, unless another thread reads it already.
    pub fn take_read(&mut self) -> Option<FileRead> {
        match self.pieces.front_mut() {
            Some(Piece::File(part)) => part.take_read(),
            _ => None,
        }
    }

    /// Drops what was queued after the first `len` bytes; none of it may have been sent.
    pub fn truncate(&mut self, len: u64) {
        while self.len > len {
            let surplus = self.len - len;
            match self.pieces.back_mut() {
                Some(Piece::Copied(bytes)) if bytes.len() as u64 > surplus => {
                    bytes.truncate(bytes.len() - usize::try_from(surplus).unwrap_or(bytes.len()));
                    self.len = len;
                }
                Some(_) => {
                    let piece = self.pieces.pop_back();
                    self.len -= match &piece {
                        Some(Piece::Copied(bytes)) => bytes.len() as u64,
                        Some(Piece::Shared(bytes)) => bytes.bytes().len() as u64,
                        Some(Piece::File(part)) => part.length,
                        None => 0,
                    };
                    if let Some(piece) = piece {
                        self.keep_spare(piece);
                    }
                }
                None => self.len = 0,
            }
        }
    }

    /// Drops everything that is queued.
    pub fn clear(&mut self) {
        while let Some(piece) = self.pieces.pop_front() {
            self.keep_spare(piece);
        }
        self.sent = 0;
        self.len = 0;
    }

    /// Takes the reusable buffer out, so that an idle connection holds none.
    pub fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Bytes that have been sent so far.
    pub fn departed(&self) -> u64 {
        self.departed
    }

    /// Bytes that have been sent since the last call.
    pub fn take_departed(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.counted, self.departed);
        self.departed - before
    }

    /// Gives back a buffer for the next head.
    pub fn give_spare(&mut self, spare: Vec<u8>) {
        if self.spare.capacity() == 0 {
            self.spare = spare;
        }
    }

    /// Writes until nothing is left or the socket is full.
    ///
    /// # Errors
    /// The transport's error, or `UnexpectedEof` when a file became shorter than announced.
    pub fn flush(&mut self, transport: &mut dyn Transport) -> io::Result<Flushed> {
        let enough = self.len.saturating_sub(BYTES_AT_ONCE);
        while let Some(first) = self.pieces.front() {
            let room = usize::try_from(self.len - enough).unwrap_or(usize::MAX);
            if room == 0 {
                return Ok(Flushed::Bounded);
            }
            let outcome = match first {
                Piece::File(_) => self.flush_file(transport, room),
                _ => self.flush_memory(transport, room),
            };
            match outcome {
                Ok(FileStep::Sent) => {}
                Ok(FileStep::NotResident) => return Ok(Flushed::Reading),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flushed::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match transport.push() {
            Ok(()) => Ok(Flushed::All),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Flushed::Blocked),
            Err(error) => Err(error),
        }
    }

    fn flush_memory(
        &mut self,
        transport: &mut dyn Transport,
        mut room: usize,
    ) -> io::Result<FileStep> {
        let is_file_next = self.is_file_ready(room);
        let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE];
        let mut count = 0;
        for piece in self.pieces.iter().take(PIECES_AT_ONCE) {
            let bytes = match piece {
                Piece::Copied(bytes) => bytes.as_slice(),
                Piece::Shared(bytes) => bytes.bytes(),
                Piece::File(_) => break,
            };
            let unsent = if count == 0 {
                &bytes[self.sent..]
            } else {
                bytes
            };
            let taken = &unsent[..unsent.len().min(room)];
            slices[count] = IoSlice::new(taken);
            room -= taken.len();
            count += 1;
            if room == 0 {
                break;
            }
        }
        let written = match is_file_next {
            true => transport.write_before_file(&slices[..count])?,
            false => transport.write(&slices[..count])?,
        };
        self.advance(written);
        Ok(FileStep::Sent)
    }

    /// Whether the second piece is a part of a file, which the next step can send: the first, a head, need not be a
    /// packet of its own.
    fn is_file_ready(&mut self, room: usize) -> bool {
        let room = room as u64;
        match self.pieces.get_mut(1) {
            Some(Piece::File(part)) if part.length <= SMALL_FILE => {
                part.resident(part.length.min(room)) > 0
            }
            Some(_) | None => false,
        }
    }

    fn flush_file(&mut self, transport: &mut dyn Transport, room: usize) -> io::Result<FileStep> {
        let Some(Piece::File(part)) = self.pieces.front_mut() else {
            return Ok(FileStep::Sent);
        };
        let wanted = part.length.min(room as u64);
        let ready = part.resident(wanted);
        if ready == 0 {
            return Ok(FileStep::NotResident);
        }
        part.check_version(ready)?;
        let sent = match transport.send_file(&part.file, part.offset, ready) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            outcome => Some(outcome?),
        };
        let (count, copy) = match sent {
            Some(count) => (count, None),
            None => {
                let copy = read_part(&part.file, part.offset, ready)?;
                (copy.len(), Some(copy))
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.advance(count as u64);
        if part.length == 0 {
            self.pieces.pop_front();
        }
        match copy {
            // Queued until all of it has left, so that no part of the file is read twice.
            Some(copy) => self.pieces.push_front(Piece::Copied(copy)),
            None => {
                self.len -= count as u64;
                self.departed += count as u64;
            }
        }
        Ok(FileStep::Sent)
    }

    fn advance(&mut self, written: usize) {
        self.len -= written as u64;
        self.departed += written as u64;
        let mut left = written;
        while let Some(piece) = self.pieces.front() {
            let rest = match piece {
                Piece::Copied(bytes) => bytes.len() - self.sent,
                Piece::Shared(bytes) => bytes.bytes().len() - self.sent,
                Piece::File(_) => return,
            };
            if left < rest {
                self.sent += left;
                return;
            }
            left -= rest;
            self.sent = 0;
            if let Some(done) = self.pieces.pop_front() {
                self.keep_spare(done);
            }
        }
    }

    fn keep_spare(&mut self, piece: Piece) {
        // One small buffer is worth keeping for the next head; larger ones would stay in idle connections.
        if let Piece::Copied(mut bytes) = piece
            && self.spare.capacity() == 0
            && bytes.capacity() <= 16 * 1024
        {
            bytes.clear();
            self.spare = bytes;
        }
    }
}

/// The next part of a file, for transports that have to see the bytes. Empty where the file has become shorter.
fn read_part(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut part =
        vec![0; usize::try_from(length).map_or(FILE_PART, |length| length.min(FILE_PART))];
    let count = file.read_at(&mut part, offset)?;
    part.truncate(count);
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::Weak;

    use crate::transport::descriptors::TrackedFd;
    use crate::transport::{AbortHandle, Received, SharedTransport};

    /// Takes at most `appetite` bytes a call and `WouldBlock` every other time.
    struct Picky {
        appetite: usize,
        is_full: bool,
        taken: Vec<u8>,
        anchor: std::os::unix::net::UnixStream,
    }

    impl Picky {
        fn new(appetite: usize) -> Self {
            let (anchor, _) = std::os::unix::net::UnixStream::pair().unwrap();
            Self {
                appetite,
                is_full: false,
                taken: Vec::new(),
                anchor,
            }
        }
    }

    impl Transport for Picky {
        fn read(&mut self, _: &mut [u8]) -> io::Result<Received> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn abort_handle(&self) -> Weak<dyn AbortHandle> {
            Weak::<TrackedFd>::new()
        }
        fn share(&self) -> Weak<dyn SharedTransport> {
            Weak::<TrackedFd>::new()
        }
        fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            self.is_full = !self.is_full;
            if self.is_full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.iter().copied())
                .collect();
            let count = all.len().min(self.appetite);
            self.taken.extend_from_slice(&all[..count]);
            Ok(count)
        }
        fn send_file(&mut self, _: &File, _: u64, _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn reset_on_close(&mut self) {}

        fn descriptor(&self) -> BorrowedFd<'_> {
            self.anchor.as_fd()
        }
    }

    struct Fixed(Vec<u8>);
    impl SharedBytes for Fixed {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn each_byte_is_sent_once_and_in_order_with_any_partial_writes() {
        for appetite in [1, 2, 3, 7, 100, 100_000] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"0123456789").unwrap();
            file.rewind().unwrap();
            let mut outbox = Outbox::default();
            outbox.append(b"head:");
            outbox.push_shared(Box::new(Fixed(b"shared".to_vec())), 6);
            outbox.push_shared(Box::new(Fixed(b"cut here".to_vec())), 3);
            outbox.push_file(Arc::new(SharedFile::new(file)), 2, 5);
            outbox.append(b":tail");
            assert_eq!(outbox.len(), 5 + 6 + 3 + 5 + 5);
            let mut transport = Picky::new(appetite);
            let mut turns = 0;
            while outbox.flush(&mut transport).unwrap() == Flushed::Blocked {
                turns += 1;
                assert!(turns < 1000);
            }
            assert_eq!(
                transport.taken, b"head:sharedcut23456:tail",
                "appetite {appetite}"
            );
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn a_discarded_response_keeps_earlier_output() {
        let mut outbox = Outbox::default();
        outbox.append(b"first");
        let mark = outbox.len();
        outbox.append(b" second");
        outbox.push_shared(Box::new(Fixed(b"third".to_vec())), 5);
        outbox.append(b"fourth");
        outbox.truncate(mark);
        let mut transport = Picky::new(100);
        while outbox.flush(&mut transport).unwrap() == Flushed::Blocked {}
        assert_eq!(transport.taken, b"first");
    }

    #[test]
    fn one_flush_sends_a_bounded_amount() {
        let mut outbox = Outbox::default();
        let long: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        outbox.append(b"head");
        outbox.push_shared(Box::new(Fixed(long.clone())), long.len());
        let mut transport = Picky::new(usize::MAX);
        let mut flushes = Vec::new();
        while !outbox.is_empty() {
            let before = outbox.len();
            let flushed = outbox.flush(&mut transport).unwrap();
            if flushed != Flushed::Blocked {
                flushes.push((flushed, before - outbox.len()));
            }
        }
        let (last, bounded) = flushes.split_last().unwrap();
        assert_eq!(last.0, Flushed::All);
        assert_eq!(bounded, [(Flushed::Bounded, BYTES_AT_ONCE); 4]);
        assert_eq!(&transport.taken[..4], b"head");
        assert!(transport.taken[4..] == long);
    }

    #[test]
    fn a_file_that_is_not_in_memory_waits_for_a_read() {
        use rustix::fs::{Advice, fadvise};
        let content: Vec<u8> = (0..900_000_u32).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let mut outbox = Outbox::default();
        outbox.append(b"head");
        outbox.push_file(Arc::new(SharedFile::new(file)), 0, content.len() as u64);
        let mut transport = Picky::new(usize::MAX);
        let mut reads = 0;
        loop {
            match outbox.flush(&mut transport).unwrap() {
                Flushed::All => break,
                Flushed::Reading => {
                    let read = outbox.take_read().unwrap();
                    assert!(outbox.take_read().is_none(), "one thread reads");
                    assert_eq!(outbox.flush(&mut transport).unwrap(), Flushed::Reading);
                    read.run();
                    reads += 1;
                }
                Flushed::Blocked | Flushed::Bounded => {}
            }
        }
        // A file system in memory has nothing to wait for.
        assert!(reads <= 4, "{reads}");
        assert!(transport.taken[..4] == *b"head" && transport.taken[4..] == content);
    }

    #[test]
    fn a_file_that_is_written_to_while_it_is_sent_is_an_error() {
        for (change, is_error) in [
            (0, true),
            // Something is appended.
            (3_000_000, false),
        ] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(3_000_000).unwrap();
            let mut outbox = Outbox::default();
            outbox.push_file(
                Arc::new(SharedFile::new(file.try_clone().unwrap())),
                0,
                3_000_000,
            );
            let mut transport = Picky::new(usize::MAX);
            while outbox.departed() == 0 {
                outbox.flush(&mut transport).unwrap();
            }
            file.write_at(b"new", change).unwrap();
            // Another time stamp, whatever the step of the clock is.
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
            let outcome = loop {
                match outbox.flush(&mut transport) {
                    Ok(Flushed::All) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error.kind()),
                }
            };
            let expected = if is_error {
                Err(io::ErrorKind::UnexpectedEof)
            } else {
                Ok(())
            };
            assert_eq!(outcome, expected, "{change}");
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error_and_not_a_silent_short_body() {
        let mut outbox = Outbox::default();
        outbox.push_file(
            Arc::new(SharedFile::new(tempfile::tempfile().unwrap())),
            0,
            10,
        );
        let error = outbox.flush(&mut Picky::new(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
