//! The thread states of all interpreters.
//!
//! Their list changes seldom, so all states of the last time are read in one call; if they are no longer one list, it is
//! followed again.

use std::collections::HashSet;

use super::layout::{CurrentFrame, Layout};
use super::memory::{Memory, Part, word_at};

/// Most threads that are sampled; the others are counted.
pub(super) const MOST_THREADS: usize = 1000;
/// Most threads and interpreters that are counted.
const MOST_FOLLOWED: usize = 20_000;
/// How often the list is followed while threads start and end.
const ATTEMPTS: u32 = 4;

/// A thread state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadState {
    pub(super) address: u64,
    /// What pthread_self(3) returns.
    pub(super) ident: u64,
    /// Its TID; 0: its thread has ended, or has not started yet.
    pub(super) tid: u64,
    /// What [`CurrentFrame`] says: the most recent frame, or what has its address.
    pub(super) current: u64,
    /// The chunk with the most recent frames, and the end of these frames.
    pub(super) chunk: (u64, u64),
    next: u64,
}

/// See the module.
pub(super) struct ThreadList {
    layout: Layout,
    /// The address of `_PyRuntime`.
    runtime: u64,
    /// Where the control block of a thread has its TID.
    tid_offset: u64,
    /// The first state of each interpreter, and where its address is.
    heads: Vec<(u64, u64)>,
    states: Vec<ThreadState>,
    left_out: u64,
    bytes: Vec<u8>,
}

impl ThreadList {
    pub(super) fn new(layout: Layout, runtime: u64, tid_offset: u64) -> Self {
        Self {
            layout,
            runtime,
            tid_offset,
            heads: Vec::new(),
            states: Vec::new(),
            left_out: 0,
            bytes: Vec::new(),
        }
    }

    /// The states now; `None` when the list changes all the time.
    pub(super) fn read(&mut self, memory: &impl Memory) -> Option<&[ThreadState]> {
        let is_read = (!self.states.is_empty() && self.read_again(memory))
            || (0..ATTEMPTS).any(|_| self.follow(memory).is_some());
        if !is_read {
            self.states.clear();
        }
        is_read.then_some(&self.states[..])
    }

    /// How many threads there are besides those that [`ThreadList::read`] has returned.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Reads the states of the last time; whether they are still all.
    fn read_again(&mut self, memory: &impl Memory) -> bool {
        let size = self.layout.thread.size;
        let count = self.states.len();
        self.bytes.resize(count * size, 0);
        let mut heads = vec![[0; 8]; self.heads.len()];
        let mut tids = vec![[0; 4]; count];
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(2 * count + heads.len());
        for ((place, _), bytes) in self.heads.iter().zip(&mut heads) {
            parts.push(Part::new(*place, bytes));
        }
        for (state, bytes) in self.states.iter().zip(self.bytes.chunks_exact_mut(size)) {
            parts.push(Part::new(state.address, bytes));
        }
        let must_be_read = parts.len();
        for (state, bytes) in self.states.iter().zip(&mut tids) {
            parts.push(Part::new(state.ident.wrapping_add(self.tid_offset), bytes));
        }
        memory.read_parts(&mut parts);
        let all_read = parts.iter().take(must_be_read).all(|part| part.is_read);
        let same_heads = (self.heads.iter().zip(&heads))
            .all(|((_, first), bytes)| u64::from_ne_bytes(*bytes) == *first);
        if !all_read || !same_heads {
            return false;
        }
        let states = self.states.iter_mut().zip(self.bytes.chunks_exact(size));
        for ((state, bytes), tid) in states.zip(&tids) {
            let now = self.layout.state(state.address, bytes);
            if (now.next, now.ident) != (state.next, state.ident) {
                return false;
            }
            *state = ThreadState {
                tid: u32::from_ne_bytes(*tid).into(),
                ..now
            };
        }
        true
    }

    /// Follows the lists: the main interpreter first, which runs the application.
    fn follow(&mut self, memory: &impl Memory) -> Option<()> {
        self.heads.clear();
        self.states.clear();
        self.left_out = 0;
        let mut visited = HashSet::new();
        let mut interpreters = Vec::new();
        let mut place = (self.runtime).wrapping_add(self.layout.interpreters as u64);
        loop {
            let interpreter = memory.word(place)?;
            self.heads.push((place, interpreter));
            if interpreter == 0 {
                break;
            }
            if !visited.insert(interpreter) || visited.len() >= MOST_FOLLOWED {
                return None;
            }
            interpreters.push(interpreter);
            place = interpreter.wrapping_add(self.layout.next_interpreter as u64);
        }
        // The youngest is at the begin, so the main one is at the end.
        if !interpreters.is_empty() {
            interpreters.rotate_right(1);
        }
        for interpreter in interpreters {
            self.follow_threads(memory, interpreter, &mut visited)?;
        }
        (!self.states.is_empty()).then_some(())
    }

    fn follow_threads(
        &mut self,
        memory: &impl Memory,
        interpreter: u64,
        visited: &mut HashSet<u64>,
    ) -> Option<()> {
        let layout = self.layout;
        let threads = interpreter.wrapping_add(layout.threads as u64);
        let mut address = memory.word(threads)?;
        self.heads.push((threads, address));
        while address != 0 && self.states.len() < MOST_THREADS {
            if !visited.insert(address) {
                return None;
            }
            let mut bytes = vec![0; layout.thread.size];
            if !memory.read(address, &mut bytes) {
                return None;
            }
            let mut state = layout.state(address, &bytes);
            state.tid = self.tid(memory, state.ident);
            self.states.push(state);
            address = state.next;
        }
        // The others are only counted, as far as their list can be followed.
        while address != 0 && visited.len() < MOST_FOLLOWED && visited.insert(address) {
            self.left_out += 1;
            let next = address.wrapping_add(layout.thread.next as u64);
            address = memory.word(next).unwrap_or(0);
        }
        Some(())
    }

    fn tid(&self, memory: &impl Memory, ident: u64) -> u64 {
        let mut bytes = [0; 4];
        match memory.read(ident.wrapping_add(self.tid_offset), &mut bytes) {
            true => u32::from_ne_bytes(bytes).into(),
            false => 0,
        }
    }
}

impl Layout {
    /// A thread state whose bytes were read, without its TID.
    pub(super) fn state(&self, address: u64, bytes: &[u8]) -> ThreadState {
        let thread = &self.thread;
        let (CurrentFrame::Direct(current) | CurrentFrame::Indirect { at: current, .. }) =
            thread.current;
        ThreadState {
            address,
            ident: word_at(bytes, thread.ident),
            tid: 0,
            current: word_at(bytes, current),
            chunk: match thread.chunk {
                Some(chunk) => (word_at(bytes, chunk), word_at(bytes, chunk + 8)),
                None => (0, 0),
            },
            next: word_at(bytes, thread.next),
        }
    }
}
