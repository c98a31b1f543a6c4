//! The stack board: shared memory through which the admin process asks workers for the stacks of their threads and
//! reads their answers.
//!
//! A request sends no signal: a dedicated thread of each worker sleeps on a futex word until the admin process
//! increments it, and writes the answer into the worker's part of a memory file. So a request interrupts nothing in a
//! worker, all workers are asked at once, and their answers cannot mix.
//!
//! A worker has two places, each with its thread: dumps and samples are answered while a profile is made.

mod request;

pub use request::{LONGEST_PROFILE, StackRequest};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::Scoreboard;
use rustix::io::{Errno, pread, pwrite};

use crate::os::{free, memory_file, shared_futexes, sleep_while, wake};

// The words of a worker's place.
const REQUESTED: usize = 0;
const ANSWERED: usize = 1;
const LENGTH: usize = 2;
const KIND: usize = 3;
const REQUEST: usize = 4;
/// Words per place: a cache line of its own.
const PLACE: usize = 16;

// Kinds of answers.
const TEXT: u32 = 0;
const PROBLEM: u32 = 1;

/// Bytes per answer: a profile of tens of thousands of stacks, or a dump of a hundred threads of a hundred frames, with
/// long names.
pub const ANSWER_SIZE: usize = 4 << 20;
/// How often the asking process finds out whether the answers are still wanted, and who can give them.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// How often it is tried to ask while others do.
const LOCK_INTERVAL: Duration = Duration::from_millis(1);
/// Why there is no answer of a worker that has ended.
const ENDED: &str = "it has ended";

/// Places per worker.
const LANES: usize = 2;
/// The lane of profiles.
const PROFILES: usize = 1;

/// A worker's answer: a text, an encoded sample or profile, or why there is none.
pub type StackAnswer = Result<Vec<u8>, String>;

/// What is found out a few times a second while workers are asked.
#[derive(Debug)]
pub struct Watch<W, E> {
    /// Whether the answers are still wanted.
    pub is_wanted: W,
    /// Whether the worker that was asked is no longer in this slot.
    pub has_ended: E,
}

/// A worker that was asked: the number of its place, its words, and the number of the request.
type Asked = (usize, &'static Words, u32);

/// The board, with places for each worker. Made before the first fork, so that every process shares it.
#[derive(Debug)]
pub struct StackBoard {
    file: OwnedFd,
    words: &'static [AtomicU32],
    /// Locked while workers are asked.
    asking: [Mutex<()>; LANES],
}

/// The places of one worker.
#[derive(Debug)]
pub struct StackPlaces {
    /// Where it is asked for dumps and samples.
    pub stacks: StackPlace,
    /// Where it is asked for profiles.
    pub profiles: StackPlace,
}

impl StackBoard {
    /// # Errors
    /// When the system has no memory or descriptor for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            file: memory_file(c"lockgate-stacks")?,
            words: shared_futexes(PLACE * PLACES)?,
            asking: Default::default(),
        })
    }

    /// The places of the worker in this slot.
    ///
    /// # Errors
    /// When the slot is beyond the last one.
    pub fn places(self, slot: usize) -> io::Result<StackPlaces> {
        // One descriptor, whose number is known to what closes it in children of the application.
        let file = Arc::new(self.file);
        Ok(StackPlaces {
            stacks: StackPlace::new(Arc::clone(&file), self.words, 0, slot)?,
            profiles: StackPlace::new(file, self.words, PROFILES, slot)?,
        })
    }

    /// The memory of the answers.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Ends the profiles of all workers: those that an admin process has begun that is no more.
    pub fn cancel_profiles(&self) {
        let numbers = (0..SLOTS).filter_map(|slot| place_number(PROFILES, slot));
        numbers
            .filter_map(|number| words_of(self.words, number))
            .for_each(end);
        self.free(PROFILES);
    }

    /// Asks the workers in these slots; `None` for each without an answer in time. That is also the time to wait while
    /// others ask for the same: for profiles, or for dumps and samples.
    pub fn ask(
        &self,
        slots: &[usize],
        request: StackRequest,
        timeout: Duration,
    ) -> Vec<Option<StackAnswer>> {
        let watch = Watch {
            is_wanted: || true,
            has_ended: |_| false,
        };
        self.ask_while(slots, request, timeout, watch)
    }

    /// As [`StackBoard::ask`], until answers are no longer wanted. Then profiles end, and have no answer: they would cost
    /// the workers CPU time for nothing. A worker that has ended without an answer is not waited for.
    pub fn ask_while(
        &self,
        slots: &[usize],
        request: StackRequest,
        timeout: Duration,
        mut watch: Watch<impl FnMut() -> bool, impl Fn(usize) -> bool>,
    ) -> Vec<Option<StackAnswer>> {
        let lane = request.lane();
        let until = Instant::now() + timeout;
        let Some(_others_wait) = self.lock(lane, until) else {
            return vec![None; slots.len()];
        };
        let places: Vec<Option<Asked>> = slots
            .iter()
            .map(|&slot| {
                let number = place_number(lane, slot)?;
                let words = words_of(self.words, number)?;
                words[REQUEST].store(request.word(), Ordering::Relaxed);
                let round = words[REQUESTED]
                    .fetch_add(1, Ordering::AcqRel)
                    .wrapping_add(1);
                wake(&words[REQUESTED]);
                Some((number, words, round))
            })
            .collect();
        let has_answered =
            |&(_, words, round): &Asked| words[ANSWERED].load(Ordering::Acquire) == round;
        let mut ended = vec![false; slots.len()];
        let is_awaited = |(asked, ended): (&Option<Asked>, &bool)| {
            !ended && asked.as_ref().is_some_and(|asked| !has_answered(asked))
        };
        let begin = Instant::now();
        let mut watched_at = begin;
        while places.iter().zip(&ended).any(is_awaited) && Instant::now() < until {
            thread::sleep(request.check_after(begin.elapsed()));
            if watched_at.elapsed() < WATCH_INTERVAL {
                continue;
            }
            watched_at = Instant::now();
            if !(watch.is_wanted)() {
                end_profiles(request, places.iter().flatten());
                self.free(lane);
                return vec![None; slots.len()];
            }
            for (ended, slot) in ended.iter_mut().zip(slots) {
                *ended = (watch.has_ended)(*slot);
            }
        }
        let answers = places
            .iter()
            .zip(ended)
            .map(
                |(asked, ended)| match asked.as_ref().filter(|asked| has_answered(asked)) {
                    Some((number, words, _)) => Some(self.read(*number, words)),
                    None => ended.then(|| Err(ENDED.to_owned())),
                },
            )
            .collect();
        // Profiles that are late would be encoded, written and kept for nothing.
        end_profiles(
            request,
            places.iter().flatten().filter(|asked| !has_answered(asked)),
        );
        self.free(lane);
        answers
    }

    /// Frees the memory of answers. Later ones are not read.
    fn free(&self, lane: usize) {
        let start = lane * SLOTS * ANSWER_SIZE;
        let _kept_until_next_time = free(&self.file, start, SLOTS * ANSWER_SIZE);
    }

    /// `None` if others ask until then.
    fn lock(&self, lane: usize, until: Instant) -> Option<MutexGuard<'_, ()>> {
        loop {
            match self.asking[lane].try_lock() {
                Ok(lock) => return Some(lock),
                // The lock guards no data.
                Err(TryLockError::Poisoned(lock)) => return Some(lock.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_INTERVAL),
            }
        }
    }

    fn read(&self, number: usize, words: &Words) -> StackAnswer {
        let length = words[LENGTH].load(Ordering::Relaxed) as usize;
        let mut text = vec![0; length.min(ANSWER_SIZE)];
        let mut done = 0;
        while done < text.len() {
            match pread(
                &self.file,
                &mut text[done..],
                (number * ANSWER_SIZE + done) as u64,
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

fn end_profiles<'a>(request: StackRequest, places: impl Iterator<Item = &'a Asked>) {
    if let StackRequest::Profile { .. } = request {
        places.for_each(|(_, words, _)| end(words));
    }
}

/// Ends a profile: a request that is none supersedes it.
fn end(words: &Words) {
    words[REQUEST].store(StackRequest::Dump.word(), Ordering::Relaxed);
    words[REQUESTED].fetch_add(1, Ordering::AcqRel);
    wake(&words[REQUESTED]);
}

/// A place of a worker on the board.
#[derive(Debug)]
pub struct StackPlace {
    file: Arc<OwnedFd>,
    number: usize,
    words: &'static Words,
    seen: u32,
}

impl StackPlace {
    fn new(
        file: Arc<OwnedFd>,
        words: &'static [AtomicU32],
        lane: usize,
        slot: usize,
    ) -> io::Result<Self> {
        let number = place_number(lane, slot);
        let place = number.and_then(|number| Some((number, words_of(words, number)?)));
        let (number, words) = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            file,
            number,
            words,
            seen: words[REQUESTED].load(Ordering::Relaxed),
        })
    }

    /// Sleeps until a request arrives.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self) -> io::Result<StackRequest> {
        loop {
            let requested = self.words[REQUESTED].load(Ordering::Acquire);
            if requested != self.seen {
                self.seen = requested;
                // It may already be the next one: then it is answered twice, and the first answer is ignored.
                let request = self.words[REQUEST].load(Ordering::Relaxed);
                return Ok(StackRequest::from_word(request));
            }
            sleep_while(&self.words[REQUESTED], requested)?;
        }
    }

    /// Whether another request has arrived since [`StackPlace::wait`]: an answer would be ignored.
    pub fn is_superseded(&self) -> bool {
        self.words[REQUESTED].load(Ordering::Relaxed) != self.seen
    }

    /// A memory file of the worker's own, to collect an answer in.
    ///
    /// # Errors
    /// When no descriptor can be created.
    pub fn scratch_file(&self) -> io::Result<OwnedFd> {
        memory_file(c"lockgate-stacks")
    }

    /// Answers the request that [`StackPlace::wait`] has seen, unless it is superseded. A long text is cut at the end.
    pub fn answer(&self, answer: &StackAnswer) {
        if self.is_superseded() {
            return;
        }
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
        if self.is_superseded() {
            // It is not read any more. Without the memory, the next answer is written to new memory.
            let _kept_until_next_time = free(&self.file, self.number * ANSWER_SIZE, ANSWER_SIZE);
        }
    }

    fn write(&self, text: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < text.len() {
            match pwrite(
                &self.file,
                &text[done..],
                (self.number * ANSWER_SIZE + done) as u64,
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

/// Workers with places.
const SLOTS: usize = Scoreboard::MOST_WORKERS;
const PLACES: usize = LANES * SLOTS;

/// The number of a place; `None` beyond the last slot.
fn place_number(lane: usize, slot: usize) -> Option<usize> {
    (slot < SLOTS).then_some(lane * SLOTS + slot)
}

fn words_of(words: &'static [AtomicU32], number: usize) -> Option<&'static Words> {
    let start = number.checked_mul(PLACE)?;
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
            asking: Default::default(),
        }
    }

    fn watch<W: FnMut() -> bool, E: Fn(usize) -> bool>(is_wanted: W, has_ended: E) -> Watch<W, E> {
        Watch {
            is_wanted,
            has_ended,
        }
    }

    /// The memory of answers.
    fn used(board: &StackBoard) -> i64 {
        rustix::fs::fstat(&board.file).unwrap().st_blocks
    }

    fn answerer(board: &StackBoard, slot: usize, answers: Vec<StackAnswer>) {
        let mut place = inherited(board).places(slot).unwrap().stacks;
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
            let answers = board.ask(&[0, 3], StackRequest::Dump, PATIENCE);
            assert_eq!(answers, [Some(first.clone()), Some(second.clone())]);
        }
    }

    #[test]
    fn a_worker_without_an_answer_does_not_affect_the_others() {
        let board = StackBoard::new().unwrap();
        let _silent = inherited(&board).places(0).unwrap();
        answerer(&board, 1, vec![Ok(b"here".to_vec())]);
        let answers = board.ask(
            &[0, 1, usize::MAX],
            StackRequest::Sample,
            Duration::from_millis(200),
        );
        assert_eq!(answers[0], None);
        assert_eq!(answers[2], None);
        assert!(matches!(&answers[1], None | Some(Ok(_))), "however slow");
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_ignored() {
        let board = StackBoard::new().unwrap();
        let mut place = inherited(&board).places(0).unwrap().stacks;
        assert_eq!(board.ask(&[0], StackRequest::Dump, Duration::ZERO), [None]);
        place.wait().unwrap();
        assert!(!place.is_superseded());
        place.words[REQUESTED].fetch_add(1, Ordering::Relaxed);
        assert!(place.is_superseded());
        place.answer(&Ok(b"late".to_vec()));
        assert_eq!(board.ask(&[0], StackRequest::Dump, Duration::ZERO), [None]);
    }

    #[test]
    fn a_long_answer_is_cut() {
        let board = StackBoard::new().unwrap();
        answerer(&board, 0, vec![Ok(vec![b'x'; ANSWER_SIZE + 1])]);
        let answers = board.ask(&[0], StackRequest::Dump, PATIENCE);
        assert_eq!(
            answers[0].as_ref().unwrap().as_ref().unwrap().len(),
            ANSWER_SIZE
        );
    }

    #[test]
    fn a_profile_that_is_no_longer_wanted_ends() {
        let board = StackBoard::new().unwrap();
        let mut profiles = inherited(&board).places(5).unwrap().profiles;
        let profile = StackRequest::Profile {
            duration: Duration::from_secs(600),
            rate: 1000,
        };
        thread::scope(|scope| {
            let asked = scope
                .spawn(|| board.ask_while(&[5], profile, PATIENCE, watch(|| false, |_| false)));
            assert_eq!(profiles.wait().unwrap(), profile);
            assert_eq!(asked.join().unwrap(), [None]);
        });
        assert!(profiles.is_superseded());
        profiles.answer(&Ok(b"early".to_vec()));
        assert_ne!(
            profiles.words[ANSWERED].load(Ordering::Relaxed),
            profiles.seen
        );
        assert_eq!(used(&board), 0, "blocks of memory");
        assert_eq!(
            profiles.wait().unwrap(),
            StackRequest::Dump,
            "it is no profile"
        );
    }

    #[test]
    fn late_profiles_end_and_their_memory_is_free() {
        let board = StackBoard::new().unwrap();
        let mut late = inherited(&board).places(4).unwrap().profiles;
        let mut early = inherited(&board).places(5).unwrap().profiles;
        let profile = StackRequest::Profile {
            duration: Duration::from_millis(1),
            rate: 1000,
        };
        thread::scope(|scope| {
            let asked = || board.ask(&[4, 5], profile, Duration::from_secs(2));
            let asked = scope.spawn(asked);
            assert_eq!(early.wait().unwrap(), profile);
            early.answer(&Ok(b"early".to_vec()));
            assert_eq!(late.wait().unwrap(), profile);
            assert_eq!(asked.join().unwrap()[0], None);
        });
        assert_eq!((late.is_superseded(), early.is_superseded()), (true, false));
        late.answer(&Ok(b"late".to_vec()));
        assert_eq!(used(&board), 0, "blocks of memory");
    }

    #[test]
    fn workers_that_have_ended_are_not_waited_for() {
        const LONG: Duration = Duration::from_secs(3600);
        let board = StackBoard::new().unwrap();
        let _gone = [1, 2].map(|slot| inherited(&board).places(slot).unwrap());
        answerer(&board, 0, vec![Ok(b"here".to_vec())]);
        // Worker 2 ends after the first one has.
        let rounds = AtomicU32::new(0);
        let has_ended = |slot| slot == 1 || slot == 2 && rounds.fetch_add(1, Ordering::Relaxed) > 1;
        let watch = watch(|| true, has_ended);
        let answers = board.ask_while(&[0, 1, 2], StackRequest::Dump, LONG, watch);
        let ended = || Some(Err("it has ended".to_owned()));
        assert_eq!(answers, [Some(Ok(b"here".to_vec())), ended(), ended()]);
    }

    #[test]
    fn a_new_admin_process_ends_the_profiles_of_the_one_before() {
        let board = StackBoard::new().unwrap();
        let places = [0, SLOTS - 1].map(|slot| inherited(&board).places(slot).unwrap());
        inherited(&board).cancel_profiles();
        for place in places {
            assert!(place.profiles.is_superseded());
            assert!(!place.stacks.is_superseded());
        }
    }

    #[test]
    fn a_sample_does_not_wait_for_a_dump_longer_than_for_its_answer() {
        let board = StackBoard::new().unwrap();
        let _silent = inherited(&board).places(2).unwrap();
        let is_over = AtomicU32::new(0);
        thread::scope(|scope| {
            let is_wanted = || is_over.load(Ordering::Relaxed) == 0;
            let watch = watch(is_wanted, |_| false);
            let dump = || board.ask_while(&[2], StackRequest::Dump, PATIENCE, watch);
            let dump = scope.spawn(dump);
            while board.asking[0].try_lock().is_ok() {
                thread::yield_now();
            }
            let begin = Instant::now();
            let answers = board.ask(&[2], StackRequest::Sample, Duration::from_millis(50));
            assert_eq!(answers, [None]);
            assert!(begin.elapsed() < PATIENCE / 2);
            is_over.store(1, Ordering::Relaxed);
            assert_eq!(dump.join().unwrap(), [None]);
        });
    }

    #[test]
    fn a_dump_is_answered_while_a_profile_is_made() {
        let board = StackBoard::new().unwrap();
        let StackPlaces {
            mut stacks,
            mut profiles,
        } = inherited(&board).places(7).unwrap();
        let profile = StackRequest::Profile {
            duration: Duration::from_secs(30),
            rate: 250,
        };
        thread::scope(|scope| {
            let asked = scope.spawn(|| board.ask(&[7], profile, PATIENCE));
            assert_eq!(profiles.wait().unwrap(), profile);
            let dump = scope.spawn(|| board.ask(&[7], StackRequest::Sample, PATIENCE));
            assert_eq!(stacks.wait().unwrap(), StackRequest::Sample);
            stacks.answer(&Ok(b"sample".to_vec()));
            assert_eq!(dump.join().unwrap(), [Some(Ok(b"sample".to_vec()))]);
            profiles.answer(&Ok(b"profile".to_vec()));
            assert_eq!(asked.join().unwrap(), [Some(Ok(b"profile".to_vec()))]);
        });
    }
}
