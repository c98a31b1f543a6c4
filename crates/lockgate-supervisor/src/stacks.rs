//! The stack board: shared memory through which the admin process asks workers for thread dumps and reads their
//! answers.
//!
//! A request sends no signal: a dedicated thread of each worker sleeps on a futex word until the admin process
//! increments it, and writes the answer into the worker's part of a memory file. So a request interrupts nothing in a
//! worker, all workers are asked at once, and their answers cannot mix.

mod system;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::Scoreboard;
use rustix::fs::ftruncate;
use rustix::io::{Errno, pread, pwrite};

use crate::os::shared_futexes;

// The words of a worker's place.
const REQUESTED: usize = 0;
const ANSWERED: usize = 1;
const LENGTH: usize = 2;
const KIND: usize = 3;
/// Words per place: a cache line of its own.
const PLACE: usize = 16;

// Kinds of answers.
const TEXT: u32 = 0;
const PROBLEM: u32 = 1;

/// Bytes per answer: a hundred threads of a hundred frames, with long names.
const ANSWER_SIZE: usize = 1 << 20;
/// How often the asking process checks for answers.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A worker's answer: a text, or why there is none.
pub type StackAnswer = Result<Vec<u8>, String>;

/// The board, with a place for each worker. Made before the first fork, so that every process shares it.
#[derive(Debug)]
pub struct StackBoard {
    file: OwnedFd,
    words: &'static [AtomicU32],
}

impl StackBoard {
    /// # Errors
    /// Where the system has no memory files or futexes: they need Linux.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            file: system::file()?,
            words: shared_futexes(PLACE * Scoreboard::MOST_WORKERS)?,
        })
    }

    /// The place of the worker in this slot; `None` beyond the last one.
    pub fn place(self, slot: usize) -> Option<StackPlace> {
        let words = place(self.words, slot)?;
        Some(StackPlace {
            file: self.file,
            slot,
            words,
            seen: words[REQUESTED].load(Ordering::Relaxed),
        })
    }

    /// The memory of the answers.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Asks the workers in these slots; `None` for each without an answer in time. One caller at a time.
    pub fn ask(&self, slots: &[usize], timeout: Duration) -> Vec<Option<StackAnswer>> {
        let places: Vec<Option<(usize, &Words, u32)>> = slots
            .iter()
            .map(|&slot| {
                let words = place(self.words, slot)?;
                let round = words[REQUESTED]
                    .fetch_add(1, Ordering::AcqRel)
                    .wrapping_add(1);
                system::wake(&words[REQUESTED]);
                Some((slot, words, round))
            })
            .collect();
        let has_answered = |&(_, words, round): &(usize, &Words, u32)| {
            words[ANSWERED].load(Ordering::Acquire) == round
        };
        let until = Instant::now() + timeout;
        while !places.iter().flatten().all(has_answered) && Instant::now() < until {
            thread::sleep(POLL_INTERVAL);
        }
        let answers = places
            .iter()
            .map(|asked| {
                let (slot, words, _) = asked.as_ref().filter(|asked| has_answered(asked))?;
                Some(self.read(*slot, words))
            })
            .collect();
        // Frees the memory. Later answers are not read.
        let _kept_until_next_time = ftruncate(&self.file, 0);
        answers
    }

    fn read(&self, slot: usize, words: &Words) -> StackAnswer {
        let length = words[LENGTH].load(Ordering::Relaxed) as usize;
        let mut text = vec![0; length.min(ANSWER_SIZE)];
        let mut done = 0;
        while done < text.len() {
            match pread(
                &self.file,
                &mut text[done..],
                (slot * ANSWER_SIZE + done) as u64,
            ) {
                Ok(0) => text.truncate(done),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(format!("cannot read its answer: {error}")),
            }
        }
        match words[KIND].load(Ordering::Relaxed) {
            TEXT => Ok(text),
            _ => Err(String::from_utf8_lossy(&text).into_owned()),
        }
    }
}

/// One worker's place on the board.
#[derive(Debug)]
pub struct StackPlace {
    file: OwnedFd,
    slot: usize,
    words: &'static Words,
    seen: u32,
}

impl StackPlace {
    /// Sleeps until a request arrives.
    ///
    /// # Errors
    /// When the system does not support it.
    pub fn wait(&mut self) -> io::Result<()> {
        loop {
            let requested = self.words[REQUESTED].load(Ordering::Acquire);
            if requested != self.seen {
                self.seen = requested;
                return Ok(());
            }
            system::sleep_while(&self.words[REQUESTED], requested)?;
        }
    }

    /// A memory file of the worker's own, to collect an answer in.
    ///
    /// # Errors
    /// When no descriptor can be created.
    pub fn scratch_file(&self) -> io::Result<OwnedFd> {
        system::file()
    }

    /// Answers the request that [`StackPlace::wait`] has seen. A long text is cut at the end.
    pub fn answer(&self, answer: &StackAnswer) {
        let (kind, text) = match answer {
            Ok(text) => (TEXT, &text[..]),
            Err(problem) => (PROBLEM, problem.as_bytes()),
        };
        let text = &text[..text.len().min(ANSWER_SIZE)];
        let (kind, length) = match self.write(text) {
            Ok(()) => (kind, text.len()),
            // There is no memory left for an error text.
            Err(_) => (PROBLEM, 0),
        };
        self.words[KIND].store(kind, Ordering::Relaxed);
        // At most ANSWER_SIZE.
        self.words[LENGTH].store(length as u32, Ordering::Relaxed);
        self.words[ANSWERED].store(self.seen, Ordering::Release);
    }

    fn write(&self, text: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < text.len() {
            match pwrite(
                &self.file,
                &text[done..],
                (self.slot * ANSWER_SIZE + done) as u64,
            ) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

type Words = [AtomicU32; PLACE];

fn place(words: &'static [AtomicU32], slot: usize) -> Option<&'static Words> {
    let start = slot.checked_mul(PLACE)?;
    words.get(start..)?.first_chunk()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The board in another process after a fork.
    fn inherited(board: &StackBoard) -> StackBoard {
        StackBoard {
            file: board.file.try_clone().unwrap(),
            words: board.words,
        }
    }

    fn answerer(board: &StackBoard, slot: usize, answers: Vec<StackAnswer>) {
        let mut place = inherited(board).place(slot).unwrap();
        thread::spawn(move || {
            for answer in answers {
                place.wait().unwrap();
                place.answer(&answer);
            }
        });
    }

    #[test]
    fn each_worker_answers_repeated_requests() {
        let board = StackBoard::new().unwrap();
        let texts: Vec<StackAnswer> = vec![Ok(b"a".repeat(9000)), Err("asleep".into()), Ok(vec![])];
        answerer(&board, 0, texts.clone());
        answerer(&board, 3, texts.iter().rev().cloned().collect());
        for (first, second) in texts.iter().zip(texts.iter().rev()) {
            let answers = board.ask(&[0, 3], PATIENCE);
            assert_eq!(answers, [Some(first.clone()), Some(second.clone())]);
        }
    }

    #[test]
    fn a_worker_without_an_answer_does_not_affect_the_others() {
        let board = StackBoard::new().unwrap();
        let _silent = inherited(&board).place(0).unwrap();
        answerer(&board, 1, vec![Ok(b"here".to_vec())]);
        let answers = board.ask(&[0, 1, usize::MAX], Duration::from_millis(200));
        assert_eq!(answers[0], None);
        assert_eq!(answers[2], None);
        assert!(matches!(&answers[1], None | Some(Ok(_))), "however slow");
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_ignored() {
        let board = StackBoard::new().unwrap();
        let mut place = inherited(&board).place(0).unwrap();
        assert_eq!(board.ask(&[0], Duration::ZERO), [None]);
        place.wait().unwrap();
        place.words[REQUESTED].fetch_add(1, Ordering::Relaxed);
        place.answer(&Ok(b"late".to_vec()));
        assert_eq!(board.ask(&[0], Duration::ZERO), [None]);
    }

    #[test]
    fn a_long_answer_is_cut() {
        let board = StackBoard::new().unwrap();
        answerer(&board, 0, vec![Ok(vec![b'x'; ANSWER_SIZE + 1])]);
        let answers = board.ask(&[0], PATIENCE);
        assert_eq!(
            answers[0].as_ref().unwrap().as_ref().unwrap().len(),
            ANSWER_SIZE
        );
    }
}
