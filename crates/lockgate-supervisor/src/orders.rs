//! What the supervisor tells a worker that no signal says: to begin to serve, that others go before it, and that others
//! serve in its place.
//! Knows the words, not what follows from them. One byte a word, over a pipe of the worker's own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

const OPEN: u8 = b'O';
const RETIRE: u8 = b'R';
const GIVE_WAY: u8 = b'G';

/// One word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Open,
    Retire,
    GiveWay,
}

/// A new pair of ends, closed by `exec`; neither ever blocks.
pub(crate) fn orders() -> io::Result<(Ear, Mouth)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((Ear { pipe: reader }, Mouth { pipe: writer }))
}

/// The supervisor's end.
pub(crate) struct Mouth {
    pipe: OwnedFd,
}

impl Mouth {
    /// The end that the program before this one has spoken into.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// What the next program of this process will speak into.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Says a word; false when the worker has gone, or takes nothing in any more.
    pub(crate) fn say(&self, word: Word) -> bool {
        let byte = match word {
            Word::Open => OPEN,
            Word::Retire => RETIRE,
            Word::GiveWay => GIVE_WAY,
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

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Word(Word),
    /// Nothing new.
    Silence,
    /// The supervisor has gone, or nothing that it says makes sense.
    Nobody,
}

impl Ear {
    /// The end that another process has made for this one.
    pub(crate) fn from_pipe(pipe: OwnedFd) -> Self {
        Self { pipe }
    }

    /// Readable when there is something to hear, if only that nobody speaks any more.
    pub(crate) fn poll_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The next word.
    pub(crate) fn hear(&self) -> Heard {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.pipe, &mut byte) {
                Ok(1) if byte == [OPEN] => return Heard::Word(Word::Open),
                Ok(1) if byte == [RETIRE] => return Heard::Word(Word::Retire),
                Ok(1) if byte == [GIVE_WAY] => return Heard::Word(Word::GiveWay),
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
        let words = [Word::Open, Word::GiveWay, Word::Retire];
        assert!(words.iter().all(|word| mouth.say(*word)));
        for word in words {
            assert_eq!(ear.hear(), Heard::Word(word));
        }
        drop(mouth);
        assert_eq!(ear.hear(), Heard::Nobody);
    }

    #[test]
    fn a_worker_that_has_gone_is_noticed() {
        let (ear, mouth) = orders().unwrap();
        drop(ear);
        assert!(!mouth.say(Word::Open));
    }
}
