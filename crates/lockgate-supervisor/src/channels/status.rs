//! The status channel: a pipe over which one child process reports to the supervisor.
//!
//! A message is one byte. Some are followed by two numbers (four bytes each, little endian), of which the second may be
//! the length of a text. Short messages are atomic on a pipe, so the fork server and its children share one.
//!
//! After an upgrade the other end belongs to another version: no message may get another meaning, and a new one is a
//! lower-case letter, which other versions ignore.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::os::nonblocking_pipe;
use crate::supervisor::Request;

/// Longest boot failure text that is sent, in bytes. The end of a traceback matters most, so the start is cut.
const LONGEST_TEXT: usize = 64 * 1024;
/// How long a child waits for a supervisor that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

const READY: u8 = b'R';
const HEARTBEAT: u8 = b'H';
const STUCK: u8 = b'S';
const SERVING: u8 = b'A';
const STUCK_THREAD: u8 = b'T';
const RETIRING: u8 = b'E';
const EXITING: u8 = b'X';
const BOOT_FAILED: u8 = b'F';
const FORKED: u8 = b'B';
const FORK_FAILED: u8 = b'N';
const REQUESTED: u8 = b'Q';
/// The kind byte and two numbers.
const HEAD: usize = 9;

/// One message from a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StatusMessage {
    Ready,
    /// The worker accepts connections.
    Serving,
    Heartbeat,
    Stuck,
    /// A request that does not end occupies a thread: the worker should be replaced.
    StuckThread,
    /// The application wants the worker to be replaced.
    Retiring,
    /// The worker serves no requests any more, and its exit is slow.
    Exiting,
    BootFailed {
        code: i32,
        text: String,
    },
    /// From the fork server: this process is the worker of this slot.
    Forked {
        slot: usize,
        pid: u32,
    },
    /// From the fork server: the fork for this slot failed.
    ForkFailed {
        slot: usize,
        text: String,
    },
    /// From the admin process: an operator's request, to be done N times.
    Requested {
        request: Request,
        times: u32,
    },
}

/// Operators' requests; the index is the number in a message.
const REQUESTS: [Request; 6] = [
    Request::Reload,
    Request::ReopenLogs,
    Request::Upgrade,
    Request::MoreWorkers,
    Request::FewerWorkers,
    Request::Terminate,
];
/// Highest repeat count in one message.
const MOST_TIMES: u32 = 256;

/// A new pipe, close-on-exec and non-blocking at both ends.
pub(crate) fn status_channel() -> io::Result<(StatusReceiver, StatusSender)> {
    let (reader, writer) = nonblocking_pipe()?;
    Ok((
        StatusReceiver::from_pipe(reader),
        StatusSender { pipe: writer },
    ))
}

/// The child's end.
pub(crate) struct StatusSender {
    pipe: OwnedFd,
}

impl StatusSender {
    /// A sender on a pipe that another process has made.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// The descriptor to pass to the process that will use it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Sends a message. Errors are ignored: the supervisor has exited or has not read for two seconds, and the child
    /// continues.
    pub(crate) fn send(&self, message: &StatusMessage) {
        let bytes = encode(message);
        let mut rest = bytes.as_slice();
        let give_up_at = Instant::now() + PATIENCE;
        while !rest.is_empty() && Instant::now() < give_up_at {
            match rustix::io::write(&self.pipe, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                // Losing a heartbeat is harmless: the pipe is full of others.
                Err(Errno::AGAIN) if *message == StatusMessage::Heartbeat => return,
                Err(Errno::AGAIN) => self.wait_for_room(),
                Err(_) => return,
            }
        }
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// When the supervisor has exited, or the pipe is full.
    pub(crate) fn try_send(&self, message: &StatusMessage) -> io::Result<()> {
        let bytes = encode(message);
        loop {
            match rustix::io::write(&self.pipe, &bytes) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(count) if count == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
    }

    fn wait_for_room(&self) {
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let mut waiting = [PollFd::new(&self.pipe, PollFlags::OUT)];
        // The result of poll does not matter: the caller tries again and checks the time.
        let _woken = poll(&mut waiting, Some(&tick));
    }
}

/// The supervisor's end.
pub(crate) struct StatusReceiver {
    pipe: OwnedFd,
    decoder: FrameDecoder,
    is_open: bool,
}

impl StatusReceiver {
    /// A receiver on a pipe that the previous program in this process has read up to the end of a message.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self {
            pipe,
            decoder: FrameDecoder::default(),
            is_open: true,
        }
    }

    /// The descriptor to hand over to the next program in this process.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The descriptor to poll; `None` after the child has closed its end.
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.is_open.then(|| self.pipe.as_fd())
    }

    /// The complete messages that have arrived.
    pub(crate) fn read(&mut self) -> Vec<StatusMessage> {
        let mut messages = Vec::new();
        let mut bytes = [0_u8; 4096];
        while self.is_open {
            match rustix::io::read(&self.pipe, &mut bytes) {
                Ok(0) => self.is_open = false,
                Ok(count) => {
                    let is_valid = self
                        .decoder
                        .feed(bytes.get(..count).unwrap_or_default(), &mut messages);
                    self.is_open = is_valid;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.is_open = false,
            }
        }
        messages
    }
}

/// Splits the byte stream into messages.
#[derive(Default)]
struct FrameDecoder {
    pending: Vec<u8>,
}

impl FrameDecoder {
    /// Appends complete messages to `messages`; false when the stream is invalid (another writer used the pipe).
    fn feed(&mut self, bytes: &[u8], messages: &mut Vec<StatusMessage>) -> bool {
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        let is_valid = loop {
            let rest = self.pending.get(used..).unwrap_or_default();
            match rest.first() {
                None => break true,
                Some(&READY) => messages.push(StatusMessage::Ready),
                Some(&HEARTBEAT) => messages.push(StatusMessage::Heartbeat),
                Some(&STUCK) => messages.push(StatusMessage::Stuck),
                Some(&SERVING) => messages.push(StatusMessage::Serving),
                Some(&STUCK_THREAD) => messages.push(StatusMessage::StuckThread),
                Some(&RETIRING) => messages.push(StatusMessage::Retiring),
                Some(&EXITING) => messages.push(StatusMessage::Exiting),
                Some(&kind @ (BOOT_FAILED | FORKED | FORK_FAILED | REQUESTED)) => {
                    match decode(kind, rest) {
                        Decoded::Incomplete => break true,
                        Decoded::Invalid => break false,
                        Decoded::Complete { message, length } => {
                            messages.push(message);
                            used += length;
                            continue;
                        }
                    }
                }
                Some(byte) if byte.is_ascii_lowercase() => {}
                Some(_) => break false,
            }
            used += 1;
        };
        self.pending.drain(..used);
        is_valid
    }
}

enum Decoded {
    Incomplete,
    Invalid,
    Complete {
        message: StatusMessage,
        length: usize,
    },
}

/// Decodes a message with numbers, including its kind byte.
fn decode(kind: u8, bytes: &[u8]) -> Decoded {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Decoded::Incomplete;
    };
    let [_, a0, a1, a2, a3, b0, b1, b2, b3] = *head;
    let (first, second) = ([a0, a1, a2, a3], u32::from_le_bytes([b0, b1, b2, b3]));
    let slot = u32::from_le_bytes(first) as usize;
    if kind == FORKED {
        let message = StatusMessage::Forked { slot, pid: second };
        return Decoded::Complete {
            message,
            length: HEAD,
        };
    }
    if kind == REQUESTED {
        let request = REQUESTS
            .get(slot)
            .filter(|_| (1..=MOST_TIMES).contains(&second));
        return request.map_or(Decoded::Invalid, |&request| Decoded::Complete {
            message: StatusMessage::Requested {
                request,
                times: second,
            },
            length: HEAD,
        });
    }
    let length = second as usize;
    if length > LONGEST_TEXT {
        return Decoded::Invalid;
    }
    let Some(text) = rest.get(..length) else {
        return Decoded::Incomplete;
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let message = match kind {
        FORK_FAILED => StatusMessage::ForkFailed { slot, text },
        _ => StatusMessage::BootFailed {
            code: i32::from_le_bytes(first),
            text,
        },
    };
    Decoded::Complete {
        message,
        length: HEAD + length,
    }
}

fn encode(message: &StatusMessage) -> Vec<u8> {
    let number = |slot: &usize| u32::try_from(*slot).unwrap_or(u32::MAX).to_le_bytes();
    match message {
        StatusMessage::Ready => vec![READY],
        StatusMessage::Heartbeat => vec![HEARTBEAT],
        StatusMessage::Stuck => vec![STUCK],
        StatusMessage::Serving => vec![SERVING],
        StatusMessage::StuckThread => vec![STUCK_THREAD],
        StatusMessage::Retiring => vec![RETIRING],
        StatusMessage::Exiting => vec![EXITING],
        StatusMessage::BootFailed { code, text } => {
            with_text(BOOT_FAILED, code.to_le_bytes(), text)
        }
        StatusMessage::ForkFailed { slot, text } => with_text(FORK_FAILED, number(slot), text),
        StatusMessage::Requested { request, times } => {
            let index = REQUESTS.iter().position(|known| known == request);
            let index = index.unwrap_or(usize::MAX);
            [&[REQUESTED][..], &number(&index), &times.to_le_bytes()].concat()
        }
        StatusMessage::Forked { slot, pid } => {
            [&[FORKED][..], &number(slot), &pid.to_le_bytes()].concat()
        }
    }
}

fn with_text(kind: u8, number: [u8; 4], text: &str) -> Vec<u8> {
    let text = tail(text, LONGEST_TEXT);
    let length = (text.len() as u32).to_le_bytes();
    [&[kind][..], &number, &length, text.as_bytes()].concat()
}

/// The last `limit` bytes of `text`, without a character that the cut would split.
fn tail(text: &str, limit: usize) -> &str {
    let earliest = text.len().saturating_sub(limit);
    let start = (earliest..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> StatusMessage {
        StatusMessage::BootFailed {
            code: 3,
            text: text.to_owned(),
        }
    }

    #[test]
    fn messages_are_decoded_wherever_the_stream_is_cut() {
        let sent = [
            StatusMessage::Ready,
            failure("Tracebäck\n  line"),
            StatusMessage::Heartbeat,
            failure(""),
            StatusMessage::Stuck,
            StatusMessage::Serving,
            StatusMessage::StuckThread,
            StatusMessage::Retiring,
            StatusMessage::Exiting,
            StatusMessage::Forked {
                slot: 3,
                pid: 70_000,
            },
            StatusMessage::ForkFailed {
                slot: 258,
                text: "no memory".to_owned(),
            },
            StatusMessage::Requested {
                request: Request::Terminate,
                times: 1,
            },
            StatusMessage::Requested {
                request: Request::MoreWorkers,
                times: MOST_TIMES,
            },
        ];
        let stream: Vec<u8> = sent.iter().flat_map(encode).collect();
        for size in 1..=stream.len() {
            let mut decoder = FrameDecoder::default();
            let mut messages = Vec::new();
            for piece in stream.chunks(size) {
                assert!(decoder.feed(piece, &mut messages));
            }
            assert_eq!(messages, sent, "pieces of {size} bytes");
            assert!(decoder.pending.is_empty());
        }
    }

    #[test]
    fn a_message_of_a_later_version_is_ignored() {
        let (mut decoder, mut messages) = (FrameDecoder::default(), Vec::new());
        assert!(decoder.feed(b"HzR", &mut messages));
        assert_eq!(messages, [StatusMessage::Heartbeat, StatusMessage::Ready]);
    }

    #[test]
    fn workers_and_supervisors_of_all_versions_share_these_bytes() {
        let request = |request, times| StatusMessage::Requested { request, times };
        let forked = StatusMessage::Forked {
            slot: 3,
            pid: 70_000,
        };
        let not_forked = StatusMessage::ForkFailed {
            slot: 2,
            text: "no".to_owned(),
        };
        for (message, bytes) in [
            (StatusMessage::Ready, &b"R"[..]),
            (StatusMessage::Heartbeat, b"H"),
            (StatusMessage::Stuck, b"S"),
            (StatusMessage::Serving, b"A"),
            (StatusMessage::StuckThread, b"T"),
            (StatusMessage::Retiring, b"E"),
            (StatusMessage::Exiting, b"X"),
            (failure("ab"), b"F\x03\0\0\0\x02\0\0\0ab"),
            (forked, b"B\x03\0\0\0\x70\x11\x01\0"),
            (not_forked, b"N\x02\0\0\0\x02\0\0\0no"),
            (request(Request::Reload, 1), b"Q\0\0\0\0\x01\0\0\0"),
            (request(Request::ReopenLogs, 1), b"Q\x01\0\0\0\x01\0\0\0"),
            (request(Request::Upgrade, 1), b"Q\x02\0\0\0\x01\0\0\0"),
            (request(Request::MoreWorkers, 2), b"Q\x03\0\0\0\x02\0\0\0"),
            (request(Request::FewerWorkers, 1), b"Q\x04\0\0\0\x01\0\0\0"),
            (request(Request::Terminate, 1), b"Q\x05\0\0\0\x01\0\0\0"),
        ] {
            assert_eq!(encode(&message), bytes, "{message:?}");
        }
    }

    #[test]
    fn an_invalid_stream_is_rejected() {
        let too_long = [&[BOOT_FAILED, 3, 0, 0, 0][..], &u32::MAX.to_le_bytes()].concat();
        let unknown_request = [&[REQUESTED, 6, 0, 0, 0][..], &1_u32.to_le_bytes()].concat();
        let too_many = [
            &[REQUESTED, 0, 0, 0, 0][..],
            &(MOST_TIMES + 1).to_le_bytes(),
        ]
        .concat();
        let zero_times = [&[REQUESTED, 0, 0, 0, 0][..], &0_u32.to_le_bytes()].concat();
        for bytes in [
            &b"?"[..],
            &b"H?"[..],
            &too_long,
            &unknown_request,
            &too_many,
            &zero_times,
        ] {
            assert!(
                !FrameDecoder::default().feed(bytes, &mut Vec::new()),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_long_text_is_cut_at_its_start_between_characters() {
        let text = format!("{}the end", "ä".repeat(LONGEST_TEXT));
        let mut messages = Vec::new();
        assert!(FrameDecoder::default().feed(&encode(&failure(&text)), &mut messages));
        let [StatusMessage::BootFailed { text: received, .. }] = messages.as_slice() else {
            panic!("{messages:?}")
        };
        assert!(received.len() <= LONGEST_TEXT && received.len() > LONGEST_TEXT - 4);
        assert!(received.starts_with('ä') && received.ends_with("the end"));
    }

    #[test]
    fn a_pipe_carries_messages_and_reports_that_the_child_has_closed_it() {
        let (mut receiver, sender) = status_channel().unwrap();
        sender.send(&StatusMessage::Ready);
        sender.send(&failure("no module named app"));
        assert_eq!(
            receiver.read(),
            [StatusMessage::Ready, failure("no module named app")]
        );
        assert!(receiver.poll_fd().is_some());
        drop(sender);
        assert_eq!(receiver.read(), []);
        assert!(receiver.poll_fd().is_none());
    }

    #[test]
    fn sending_to_a_supervisor_that_has_exited_does_nothing() {
        let (receiver, sender) = status_channel().unwrap();
        drop(receiver);
        sender.send(&StatusMessage::Heartbeat);
        sender.send(&failure("unread"));
    }
}
