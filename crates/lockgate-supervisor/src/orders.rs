//! The control channel: orders from the supervisor to a worker, one byte each, over the worker's own pipe.
//!
//! Orders are not signals, because an application may install its own handler for any signal. After an upgrade, workers
//! of the previous version read these bytes, so a change here also changes the format version of `handover`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

const OPEN: u8 = b'O';
const RETIRE: u8 = b'R';
const GIVE_WAY: u8 = b'G';
const DRAIN: u8 = b'D';
const STOP: u8 = b'S';
const REOPEN_LOGS: u8 = b'L';

/// One order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Accept connections.
    Open,
    /// Other workers have taken over: finish without haste, then leave.
    Retire,
    /// Let other workers accept new connections first.
    GiveWay,
    /// Finish what has begun, then leave.
    Drain,
    /// Leave now.
    Stop,
    /// Reopen the log files.
    ReopenLogs,
}

impl Word {
    const ALL: [(Self, u8); 6] = [
        (Self::Open, OPEN),
        (Self::Retire, RETIRE),
        (Self::GiveWay, GIVE_WAY),
        (Self::Drain, DRAIN),
        (Self::Stop, STOP),
        (Self::ReopenLogs, REOPEN_LOGS),
    ];
}

/// A new pipe, close-on-exec and non-blocking at both ends.
pub(crate) fn orders() -> io::Result<(Ear, Mouth)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((Ear { pipe: reader }, Mouth { pipe: writer }))
}

/// The supervisor's end.
pub(crate) struct Mouth {
    pipe: OwnedFd,
}

impl Mouth {
    /// A sender on a pipe that the previous program in this process has used.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// The descriptor to hand over to the next program in this process.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Sends an order; false when the worker has died, or when the pipe is full (64 KiB: it has read nothing for long).
    pub(crate) fn say(&self, word: Word) -> bool {
        let known = Word::ALL.iter().find(|(known, _)| *known == word);
        let Some(&(_, byte)) = known else {
            return false;
        };
        loop {
            match rustix::io::write(&self.pipe, &[byte]) {
                Err(Errno::INTR) => {}
                outcome => return outcome == Ok(1),
            }
        }
    }
}

/// The worker's end.
pub(crate) struct Ear {
    pipe: OwnedFd,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Word(Word),
    /// No order.
    Silence,
    /// The supervisor has died, or has sent an unknown byte.
    Nobody,
}

impl Ear {
    /// A receiver on a pipe that another process has made.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// Readable when there is an order or the supervisor has died.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The next order.
    pub(crate) fn hear(&self) -> Heard {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.pipe, &mut byte) {
                Ok(1) => {
                    let known = Word::ALL.iter().find(|(_, known)| byte == [*known]);
                    return known.map_or(Heard::Nobody, |(word, _)| Heard::Word(*word));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Heard::Silence,
                Ok(_) | Err(_) => return Heard::Nobody,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_in_order_and_the_end_is_heard() {
        let (ear, mouth) = orders().unwrap();
        assert_eq!(ear.hear(), Heard::Silence);
        let words = Word::ALL.map(|(word, _)| word);
        assert!(words.iter().all(|word| mouth.say(*word)));
        for word in words {
            assert_eq!(ear.hear(), Heard::Word(word));
        }
        drop(mouth);
        assert_eq!(ear.hear(), Heard::Nobody);
    }

    #[test]
    fn a_full_pipe_is_noticed_and_holds_the_orders_that_came_first() {
        let (ear, mouth) = orders().unwrap();
        assert!(mouth.say(Word::Drain));
        let count = (0..1 << 20)
            .take_while(|_| mouth.say(Word::ReopenLogs))
            .count();
        assert!(count < 1 << 20, "{count}");
        assert_eq!(ear.hear(), Heard::Word(Word::Drain));
        assert_eq!(ear.hear(), Heard::Word(Word::ReopenLogs));
    }

    #[test]
    fn a_worker_that_has_gone_is_noticed() {
        let (ear, mouth) = orders().unwrap();
        drop(ear);
        assert!(!mouth.say(Word::Open));
    }
}
