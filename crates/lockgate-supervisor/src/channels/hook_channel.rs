//! The hook channel: a socket pair over which the supervisor sends events to the hook process. An event is one JSON
//! object in one datagram; some come with the writing end of a pipe.
//!
//! The supervisor never waits for the hook process: events that it does not read are kept up to a limit.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};

use crate::os::{NO_SIGNAL, packet_sockets};

/// At most this many events wait for a hook process that does not read, beside those in the socket.
const MOST_WAITING: usize = 1000;

/// At most this many of them keep their pipe: descriptors of the supervisor. Workers of later ones do not wait.
const MOST_PIPES: usize = 64;

/// Buffer size for the descriptor of an event, as the kernel expects it.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(1));

/// An event for the hook process.
#[derive(Debug)]
pub(crate) struct HookMessage {
    pub(crate) text: String,
    /// The hook process closes it when the hook has returned.
    pub(crate) pipe: Option<OwnedFd>,
}

/// The supervisor's end, and the events that have not been sent.
#[derive(Default)]
pub(crate) struct HookSender {
    /// `None` while there is no process.
    socket: Option<OwnedFd>,
    waiting: VecDeque<HookMessage>,
    dropped: u64,
}

/// A new socket pair, close-on-exec; the supervisor's end does not block.
pub(crate) fn hook_channel() -> io::Result<(OwnedFd, OwnedFd)> {
    packet_sockets()
}

impl HookSender {
    /// A process reads from the other end of this socket: it gets `first`, and then what was kept for it.
    pub(crate) fn connect(&mut self, socket: OwnedFd, first: Vec<HookMessage>) {
        self.socket = Some(socket);
        for message in first.into_iter().rev() {
            self.waiting.push_front(message);
        }
        self.flush();
    }

    /// The process has exited. Nothing waits for hooks that another process will run.
    pub(crate) fn disconnect(&mut self) {
        self.socket = None;
        for message in &mut self.waiting {
            message.pipe = None;
        }
    }

    /// Sends an event, or keeps it.
    pub(crate) fn send(&mut self, mut message: HookMessage) {
        if self.waiting.len() >= MOST_WAITING {
            self.dropped += 1;
            return;
        }
        let waiting = self.waiting.iter();
        if waiting.filter(|message| message.pipe.is_some()).count() >= MOST_PIPES {
            message.pipe = None;
        }
        self.waiting.push_back(message);
        self.flush();
    }

    /// Sends what the socket accepts.
    pub(crate) fn flush(&mut self) {
        while let (Some(socket), Some(message)) = (&self.socket, self.waiting.front()) {
            match send_now(socket, message) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                // It has exited, which is noticed when it is reaped.
                Err(Errno::PIPE | Errno::CONNRESET) => return self.disconnect(),
                Ok(()) => {}
                Err(_) => self.dropped += 1,
            }
            self.waiting.pop_front();
        }
    }

    /// Writable when more can be sent; `None` when nothing waits.
    pub(crate) fn write_fd(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref()?;
        (!self.waiting.is_empty()).then(|| socket.as_fd())
    }

    /// How many events were lost since the last call, once the process reads again or there is none.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        if self.waiting.is_empty() || self.socket.is_none() {
            std::mem::take(&mut self.dropped)
        } else {
            0
        }
    }
}

fn send_now(socket: &OwnedFd, message: &HookMessage) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let pipe = message.pipe.as_ref().map(|pipe| [pipe.as_fd()]);
    if let Some(pipe) = &pipe {
        // The buffer has exactly this size.
        let _fits = ancillary.push(SendAncillaryMessage::ScmRights(pipe));
    }
    let pieces = [IoSlice::new(message.text.as_bytes())];
    sendmsg(socket, &pieces, &mut ancillary, NO_SIGNAL).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::nonblocking_pipe;

    fn message(text: impl Into<String>) -> HookMessage {
        HookMessage {
            text: text.into(),
            pipe: None,
        }
    }

    /// What can be read now.
    fn received(socket: &OwnedFd) -> Vec<String> {
        let mut bytes = [0; 100];
        let mut texts = Vec::new();
        while let Ok(count) = rustix::io::read(socket, &mut bytes) {
            texts.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
        texts
    }

    #[test]
    fn events_that_are_not_read_are_kept_up_to_a_limit_and_their_order_stays() {
        let (own, other) = hook_channel().unwrap();
        let mut sender = HookSender::default();
        sender.send(message("kept"));
        assert!(sender.write_fd().is_none());
        sender.connect(own, vec![message("first"), message("second")]);
        for number in 0..5000 {
            sender.send(message(format!("{number}")));
        }
        assert!(sender.write_fd().is_some());
        assert_eq!(sender.take_dropped(), 0, "it is still waiting");
        let mut texts = received(&other);
        while sender.write_fd().is_some() {
            sender.flush();
            texts.extend(received(&other));
        }
        let dropped = sender.take_dropped();
        assert!(dropped > 0);
        assert_eq!(texts[..3], ["first", "second", "kept"]);
        assert_eq!(texts.len() as u64 + dropped, 5003);
        let sent: Vec<u32> = texts[3..]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert!(sent.is_sorted());
    }

    #[test]
    fn a_worker_does_not_wait_for_a_process_that_has_exited() {
        let (own, other) = hook_channel().unwrap();
        let (reader, writer) = nonblocking_pipe().unwrap();
        let mut sender = HookSender::default();
        sender.connect(own, Vec::new());
        drop(other);
        sender.send(HookMessage {
            text: "pre_fork".to_owned(),
            pipe: Some(writer),
        });
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        // The next process gets the event.
        let (own, other) = hook_channel().unwrap();
        sender.connect(own, vec![message("start")]);
        assert_eq!(received(&other), ["start", "pre_fork"]);
    }

    #[test]
    fn events_that_are_not_read_keep_few_descriptors() {
        let mut sender = HookSender::default();
        let readers: Vec<OwnedFd> = (0..200)
            .map(|_| {
                let (reader, writer) = nonblocking_pipe().unwrap();
                sender.send(HookMessage {
                    text: "pre_fork".to_owned(),
                    pipe: Some(writer),
                });
                reader
            })
            .collect();
        let is_open = |reader: &OwnedFd| rustix::io::read(reader, &mut [0; 1]) == Err(Errno::AGAIN);
        let open = readers.iter().take_while(|reader| is_open(reader)).count();
        assert_eq!(open, MOST_PIPES);
        assert!(!readers[open..].iter().any(is_open));
        let (own, other) = hook_channel().unwrap();
        sender.connect(own, Vec::new());
        assert_eq!(received(&other).len(), 200, "every event is sent");
    }

    #[test]
    fn an_event_that_is_too_long_is_lost_alone() {
        let (own, other) = hook_channel().unwrap();
        let mut sender = HookSender::default();
        sender.connect(own, Vec::new());
        sender.send(message("x".repeat(16 << 20)));
        sender.send(message("next"));
        assert_eq!(received(&other), ["next"]);
        assert_eq!(sender.take_dropped(), 1);
    }
}
