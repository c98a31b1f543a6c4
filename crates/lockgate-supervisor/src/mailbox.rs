//! The status channel: messages from a worker or template to the supervisor, over a pipe of its own.
//!
//! A message is one byte; some are followed by two numbers (four bytes each, little endian), of which the second may be
//! the length of a text that follows. Short messages are atomic on a pipe, so a template and its children can share
//! one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::supervisor::Request;

/// Longest boot failure text that is sent, in bytes. The end of a traceback matters most, so the start is cut.
const LONGEST_TEXT: usize = 64 * 1024;
/// How long a worker waits for a supervisor that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

const READY: u8 = b'R';
const HEARTBEAT: u8 = b'H';
const STUCK: u8 = b'S';
const SERVING: u8 = b'A';
const STUCK_THREAD: u8 = b'T';
const EXITING: u8 = b'X';
const BOOT_FAILED: u8 = b'F';
const BORN: u8 = b'B';
const NOT_BORN: u8 = b'N';
const REQUESTED: u8 = b'Q';
/// The kind byte and two numbers.
const HEAD: usize = 9;

/// One message from a worker or a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Ready,
    /// The worker accepts connections.
    Serving,
    Heartbeat,
    Stuck,
    /// A thread is lost to a request that does not end: the worker should be replaced.
    StuckThread,
    /// The worker serves no more, and its exit takes long.
    Exiting,
    BootFailed {
        code: i32,
        text: String,
    },
    /// From a template: this process is the worker of this slot.
    Born {
        slot: usize,
        pid: u32,
    },
    /// From a template: the fork for this slot failed.
    NotBorn {
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
pub(crate) fn mailbox() -> io::Result<(Receiver, Sender)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((Receiver::from_pipe(reader), Sender { pipe: writer }))
}

/// The worker's end.
pub(crate) struct Sender {
    pipe: OwnedFd,
}

impl Sender {
    /// A sender on a pipe that another process has made.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// The descriptor to pass to the process that will use it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Sends a message. Errors are ignored: the supervisor has died or has not read for two seconds, and the worker
    /// goes on.
    pub(crate) fn send(&self, message: &Message) {
        let bytes = encode(message);
        let mut rest = bytes.as_slice();
        let give_up_at = Instant::now() + PATIENCE;
        while !rest.is_empty() && Instant::now() < give_up_at {
            match rustix::io::write(&self.pipe, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                // Losing a heartbeat is harmless: the pipe is full of others.
                Err(Errno::AGAIN) if *message == Message::Heartbeat => return,
                Err(Errno::AGAIN) => self.wait_for_room(),
                Err(_) => return,
            }
        }
    }

    /// Sends a message that fits into the pipe at once.
    ///
    /// # Errors
    /// When the supervisor has died, or has not read for too long.
    pub(crate) fn try_send(&self, message: &Message) -> io::Result<()> {
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
        // Whatever poll returns, the caller tries again and checks the time.
        let _woken = poll(&mut waiting, Some(&tick));
    }
}

/// The supervisor's end.
pub(crate) struct Receiver {
    pipe: OwnedFd,
    letters: Letters,
    is_open: bool,
}

impl Receiver {
    /// A receiver on a pipe that the previous program in this process has read up to the end of a message.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self {
            pipe,
            letters: Letters::default(),
            is_open: true,
        }
    }

    /// The descriptor to hand over to the next program in this process.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The descriptor to poll; `None` after the worker has closed its end.
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.is_open.then(|| self.pipe.as_fd())
    }

    /// All messages that have arrived completely.
    pub(crate) fn read(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut bytes = [0_u8; 4096];
        while self.is_open {
            match rustix::io::read(&self.pipe, &mut bytes) {
                Ok(0) => self.is_open = false,
                Ok(count) => {
                    let sane = self
                        .letters
                        .take(bytes.get(..count).unwrap_or_default(), &mut messages);
                    self.is_open = sane;
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
struct Letters {
    pending: Vec<u8>,
}

impl Letters {
    /// Appends complete messages to `messages`; false when the stream is invalid (another writer used the pipe).
    fn take(&mut self, bytes: &[u8], messages: &mut Vec<Message>) -> bool {
        self.pending.extend_from_slice(bytes);
        let mut used = 0;
        let sane = loop {
            let rest = self.pending.get(used..).unwrap_or_default();
            match rest.first() {
                None => break true,
                Some(&READY) => messages.push(Message::Ready),
                Some(&HEARTBEAT) => messages.push(Message::Heartbeat),
                Some(&STUCK) => messages.push(Message::Stuck),
                Some(&SERVING) => messages.push(Message::Serving),
                Some(&STUCK_THREAD) => messages.push(Message::StuckThread),
                Some(&EXITING) => messages.push(Message::Exiting),
                Some(&kind @ (BOOT_FAILED | BORN | NOT_BORN | REQUESTED)) => {
                    match decode(kind, rest) {
                        Decoded::Incomplete => break true,
                        Decoded::Senseless => break false,
                        Decoded::Complete { message, length } => {
                            messages.push(message);
                            used += length;
                            continue;
                        }
                    }
                }
                Some(_) => break false,
            }
            used += 1;
        };
        self.pending.drain(..used);
        sane
    }
}

enum Decoded {
    Incomplete,
    Senseless,
    Complete { message: Message, length: usize },
}

/// Decodes a message with numbers, including its kind byte.
fn decode(kind: u8, bytes: &[u8]) -> Decoded {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Decoded::Incomplete;
    };
    let [_, a0, a1, a2, a3, b0, b1, b2, b3] = *head;
    let (first, second) = ([a0, a1, a2, a3], u32::from_le_bytes([b0, b1, b2, b3]));
    let slot = u32::from_le_bytes(first) as usize;
    if kind == BORN {
        let message = Message::Born { slot, pid: second };
        return Decoded::Complete {
            message,
            length: HEAD,
        };
    }
    if kind == REQUESTED {
        let request = REQUESTS
            .get(slot)
            .filter(|_| (1..=MOST_TIMES).contains(&second));
        return request.map_or(Decoded::Senseless, |&request| Decoded::Complete {
            message: Message::Requested {
                request,
                times: second,
            },
            length: HEAD,
        });
    }
    let length = second as usize;
    if length > LONGEST_TEXT {
        return Decoded::Senseless;
    }
    let Some(text) = rest.get(..length) else {
        return Decoded::Incomplete;
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let message = match kind {
        NOT_BORN => Message::NotBorn { slot, text },
        _ => Message::BootFailed {
            code: i32::from_le_bytes(first),
            text,
        },
    };
    Decoded::Complete {
        message,
        length: HEAD + length,
    }
}

fn encode(message: &Message) -> Vec<u8> {
    let number = |slot: &usize| u32::try_from(*slot).unwrap_or(u32::MAX).to_le_bytes();
    match message {
        Message::Ready => vec![READY],
        Message::Heartbeat => vec![HEARTBEAT],
        Message::Stuck => vec![STUCK],
        Message::Serving => vec![SERVING],
        Message::StuckThread => vec![STUCK_THREAD],
        Message::Exiting => vec![EXITING],
        Message::BootFailed { code, text } => with_text(BOOT_FAILED, code.to_le_bytes(), text),
        Message::NotBorn { slot, text } => with_text(NOT_BORN, number(slot), text),
        Message::Requested { request, times } => {
            let index = REQUESTS.iter().position(|known| known == request);
            let index = index.unwrap_or(usize::MAX);
            [&[REQUESTED][..], &number(&index), &times.to_le_bytes()].concat()
        }
        Message::Born { slot, pid } => [&[BORN][..], &number(slot), &pid.to_le_bytes()].concat(),
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

    fn failure(text: &str) -> Message {
        Message::BootFailed {
            code: 3,
            text: text.to_owned(),
        }
    }

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let sent = [
            Message::Ready,
            failure("Tracebäck\n  line"),
            Message::Heartbeat,
            failure(""),
            Message::Stuck,
            Message::Serving,
            Message::StuckThread,
            Message::Exiting,
            Message::Born {
                slot: 3,
                pid: 70_000,
            },
            Message::NotBorn {
                slot: 258,
                text: "too many".to_owned(),
            },
            Message::Requested {
                request: Request::Terminate,
                times: 1,
            },
            Message::Requested {
                request: Request::MoreWorkers,
                times: MOST_TIMES,
            },
        ];
        let stream: Vec<u8> = sent.iter().flat_map(encode).collect();
        for size in 1..=stream.len() {
            let mut letters = Letters::default();
            let mut messages = Vec::new();
            for piece in stream.chunks(size) {
                assert!(letters.take(piece, &mut messages));
            }
            assert_eq!(messages, sent, "pieces of {size} bytes");
            assert!(letters.pending.is_empty());
        }
    }

    #[test]
    fn a_stream_that_makes_no_sense_is_given_up() {
        let too_long = [&[BOOT_FAILED, 3, 0, 0, 0][..], &u32::MAX.to_le_bytes()].concat();
        let no_request = [&[REQUESTED, 6, 0, 0, 0][..], &1_u32.to_le_bytes()].concat();
        let too_often = [
            &[REQUESTED, 0, 0, 0, 0][..],
            &(MOST_TIMES + 1).to_le_bytes(),
        ]
        .concat();
        let never = [&[REQUESTED, 0, 0, 0, 0][..], &0_u32.to_le_bytes()].concat();
        for bytes in [
            &b"?"[..],
            &b"H?"[..],
            &too_long,
            &no_request,
            &too_often,
            &never,
        ] {
            assert!(
                !Letters::default().take(bytes, &mut Vec::new()),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_long_text_keeps_its_end_and_whole_characters() {
        let text = format!("{}the end", "ä".repeat(LONGEST_TEXT));
        let mut messages = Vec::new();
        assert!(Letters::default().take(&encode(&failure(&text)), &mut messages));
        let [Message::BootFailed { text: received, .. }] = messages.as_slice() else {
            panic!("{messages:?}")
        };
        assert!(received.len() <= LONGEST_TEXT && received.len() > LONGEST_TEXT - 4);
        assert!(received.starts_with('ä') && received.ends_with("the end"));
    }

    #[test]
    fn a_pipe_carries_messages_and_tells_when_the_worker_has_closed_it() {
        let (mut receiver, sender) = mailbox().unwrap();
        sender.send(&Message::Ready);
        sender.send(&failure("no module named app"));
        assert_eq!(
            receiver.read(),
            [Message::Ready, failure("no module named app")]
        );
        assert!(receiver.poll_fd().is_some());
        drop(sender);
        assert_eq!(receiver.read(), []);
        assert!(receiver.poll_fd().is_none());
    }

    #[test]
    fn a_supervisor_that_is_gone_does_not_hurt_the_worker() {
        let (receiver, sender) = mailbox().unwrap();
        drop(receiver);
        sender.send(&Message::Heartbeat);
        sender.send(&failure("nobody reads this"));
    }
}
