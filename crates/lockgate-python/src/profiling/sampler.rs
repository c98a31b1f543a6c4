//! Samples: where each thread is, what it does there, and for which request.
//!
//! A thread that has used no CPU time since its last sample has not moved: its stack is not read again. So threads that
//! wait cost a system call each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use lockgate_observe::{Running, ThreadEntry};
use lockgate_profile::{Activity, Frame, FrameId, MOST_FRAMES, StackId, Stacks};

use super::code_cache::CodeCache;
use super::frames::{FrameReader, RawFrame, RawStack, Unreadable};
use super::layout::{CurrentFrame, Layout};
use super::memory::{Memory, Presence, Threads};
use super::threads::{ThreadList, ThreadState};

/// How often a stack is read until it is one, and until its request is the same before and after.
const ATTEMPTS: u32 = 3;
/// Most stacks that share their callers: an encoded profile of that many stays within an answer.
const MOST_STACKS: usize = 60_000;
/// Most bytes of all names and paths.
const MOST_TEXT: usize = 2 << 20;
/// Most frames whose number is known by their code. Code that is made again and again has new ones.
const MOST_FRAME_IDS: usize = 100_000;
/// What stands for the callers of a stack that is too deep.
const CUT: &str = "…";

/// How often all code of a stack is looked at: callers that are where they were in the sample before are in one of this
/// number of rounds.
const LOOKED_AT_EVERY: u64 = 16;

/// The files of code that no program has: Python calls `__init__` by it, in 3.12 from the first one, later from the
/// second one.
const SHIMS: [&str; 2] = ["<shim>", "__init__"];

/// A thread that waits for the GIL wakes in less time than that: each switch interval, by default 5 ms.
const GIL_WAIT: Duration = Duration::from_millis(15);

/// What does not change while a process lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) layout: Layout,
    /// The address of `_PyRuntime`.
    pub(super) runtime: u64,
    /// The address of the class of code objects.
    pub(super) code_class: u64,
    /// Where the control block of a thread has its TID.
    pub(super) tid_offset: u64,
}

/// A thread in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) tid: u64,
    /// When its request was complete; 0: it runs none.
    pub(super) began: u64,
    pub(super) stack: StackId,
    pub(super) activity: Activity,
    /// The CPU time that it has used since the sample before.
    pub(super) cpu: Duration,
}

/// A round: a sample of each thread that has a frame or a request.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) threads: Vec<Observation>,
    /// The requests that threads have begun since the round before, by TID. They are read with the stack: a short one
    /// has ended before the round is over.
    pub(super) requests: HashMap<u64, Running>,
    /// Threads whose stack could not be read, or found no place, and those beyond the most that are sampled.
    pub(super) failed: u64,
}

/// What a thread was doing in the round before.
struct Seen {
    state: ThreadState,
    cpu: Duration,
    began: u64,
    /// Whether its request was read.
    is_named: bool,
    stack: StackId,
    /// Its outermost callers.
    callers: Callers,
    activity: Activity,
    round: u64,
    /// For how long it has not run since.
    unmoved: Duration,
    /// Whether its activity was looked at again after that time.
    is_settled: bool,
}

/// The outermost frames of a stack, up to the first one of short-lived code, and the stacks that end with them.
type Callers = Vec<(RawFrame, StackId)>;

/// See the module.
pub(super) struct Sampler<M, T> {
    memory: M,
    threads: T,
    layout: Layout,
    list: ThreadList,
    reader: FrameReader,
    raw: RawStack,
    codes: CodeCache,
    seen: HashMap<u64, Seen>,
    frames: HashMap<(u32, u32), FrameId>,
    text: usize,
    round: u64,
}

impl<M: Memory, T: Threads> Sampler<M, T> {
    pub(super) fn new(memory: M, threads: T, target: Target) -> Self {
        let Target { layout, .. } = target;
        Self {
            memory,
            threads,
            layout,
            list: ThreadList::new(layout, target.runtime, target.tid_offset),
            reader: FrameReader::default(),
            raw: RawStack::default(),
            codes: CodeCache::new(layout, target.code_class),
            seen: HashMap::new(),
            frames: HashMap::new(),
            text: 0,
            round: 0,
        }
    }

    /// Must be called before the first round with other `stacks`.
    pub(super) fn begin(&mut self) {
        self.seen.clear();
        self.frames.clear();
        self.text = 0;
    }

    /// Frees the memory and the descriptors.
    pub(super) fn end(&mut self) {
        self.begin();
        self.codes.clear();
        self.threads.end();
    }

    /// Samples all threads. `entries` are those of the scoreboard; a thread that has used more CPU time than `busy`
    /// runs.
    pub(super) fn round(
        &mut self,
        stacks: &mut Stacks,
        entries: &HashMap<u64, ThreadEntry>,
        busy: Duration,
    ) -> Round {
        self.round += 1;
        let mut round = Round::default();
        let Some(states) = self.list.read(&self.memory).map(<[_]>::to_vec) else {
            round.failed = 1;
            return round;
        };
        round.failed = self.list.left_out();
        for state in self.one_per_thread(states) {
            let entry = entries.get(&state.tid).copied();
            match self.thread(stacks, state, entry, busy, &mut round.requests) {
                Ok(observation) => round.threads.extend(observation),
                Err(_) => round.failed += 1,
            }
        }
        let now = self.round;
        self.seen.retain(|_, seen| seen.round == now);
        round
    }

    /// One state of each thread. A thread that has entered another interpreter has a state in each: the one with frames
    /// counts, and the last one if several have some: the main interpreter is the first, and calls others.
    fn one_per_thread(&self, states: Vec<ThreadState>) -> Vec<ThreadState> {
        let mut places: HashMap<u64, usize> = HashMap::with_capacity(states.len());
        let mut chosen: Vec<ThreadState> = Vec::with_capacity(states.len());
        for state in states {
            match places.entry(state.tid) {
                Entry::Vacant(place) => {
                    place.insert(chosen.len());
                    chosen.push(state);
                }
                Entry::Occupied(place) if self.has_frames(&state) => chosen[*place.get()] = state,
                Entry::Occupied(_) => {}
            }
        }
        chosen
    }

    fn has_frames(&self, state: &ThreadState) -> bool {
        let frame = match self.layout.thread.current {
            CurrentFrame::Direct(_) => Some(state.current),
            CurrentFrame::Indirect { frame, .. } => {
                (self.memory).word(state.current.wrapping_add(frame as u64))
            }
        };
        frame.is_some_and(|frame| frame != 0)
    }

    fn thread(
        &mut self,
        stacks: &mut Stacks,
        state: ThreadState,
        entry: Option<ThreadEntry>,
        busy: Duration,
        requests: &mut HashMap<u64, Running>,
    ) -> Result<Option<Observation>, Unreadable> {
        let tid = state.tid;
        // A thread that has ended is no failure.
        let Some(cpu) = self.threads.cpu_time(tid) else {
            return Ok(None);
        };
        let began = || entry.and_then(ThreadEntry::current).unwrap_or_default();
        let mut before = began();
        let last = self.seen.get_mut(&tid);
        // It may have entered another interpreter meanwhile.
        let last = last.filter(|seen| seen.state.ident == state.ident);
        let used = last
            .as_ref()
            .map_or(Duration::ZERO, |seen| cpu.saturating_sub(seen.cpu));
        let last_stack = last.as_ref().map(|seen| seen.stack);
        let named = (last.as_ref())
            .filter(|seen| seen.is_named)
            .map(|seen| seen.began);
        let has_not_moved = |seen: &&mut Seen| {
            seen.cpu == cpu && seen.state == state && seen.began == before.1 && seen.is_named
        };
        if let Some(seen) = last.filter(has_not_moved) {
            seen.round = self.round;
            seen.unmoved += busy;
            if seen.activity == Activity::Waiting && seen.unmoved > GIL_WAIT && !seen.is_settled {
                seen.activity = self.threads.activity(tid, Presence::Unmoved);
                seen.is_settled = true;
            }
            return Ok(observation(tid, seen, used));
        }
        let mut callers = (self.seen.get_mut(&tid))
            .map(|seen| std::mem::take(&mut seen.callers))
            .unwrap_or_default();
        let mut attempt = 1;
        let (stack, began, request) = loop {
            let request = entry.filter(|_| before.1 != 0 && named != Some(before.1));
            let request = request.and_then(|entry| running(entry, before.1));
            let stack = self.stack(stacks, state, &mut callers);
            let after = began();
            let is_same = before == after && stack.is_ok();
            if is_same || attempt == ATTEMPTS {
                break match before == after {
                    true => (stack?, before.1, request),
                    false => (stack?, 0, None),
                };
            }
            before = after;
            attempt += 1;
        };
        let activity = if stack == StackId::EMPTY && began == 0 {
            Activity::Waiting
        } else if used > busy {
            Activity::Running
        } else {
            let presence = match last_stack == Some(stack) {
                true => Presence::Back,
                false => Presence::New,
            };
            self.threads.activity(tid, presence)
        };
        let seen = Seen {
            state,
            cpu,
            began,
            is_named: began == 0 || named == Some(began) || request.is_some(),
            stack,
            callers,
            activity,
            round: self.round,
            unmoved: Duration::ZERO,
            is_settled: stack == StackId::EMPTY,
        };
        requests.extend(request.map(|request| (tid, request)));
        let observed = observation(tid, &seen, used);
        self.seen.insert(tid, seen);
        Ok(observed)
    }

    /// The stack of a thread now. `callers` are those of its stack before.
    fn stack(
        &mut self,
        stacks: &mut Stacks,
        state: ThreadState,
        callers: &mut Callers,
    ) -> Result<StackId, Unreadable> {
        self.reader
            .read(&self.memory, &self.layout, &state, &mut self.raw)?;
        let frames = &self.raw.frames;
        let is_looked_at = self.raw.is_cut || self.round.is_multiple_of(LOOKED_AT_EVERY);
        let same = match is_looked_at {
            true => 0,
            false => (callers.iter().zip(frames.iter().rev()))
                .take_while(|((before, _), now)| before == *now)
                .count(),
        };
        callers.truncate(same);
        self.codes
            .learn(&self.memory, &frames[..frames.len() - same])?;
        if stacks.len() + frames.len() >= MOST_STACKS || self.text >= MOST_TEXT {
            return Err(Unreadable::NoPlace);
        }
        let mut stack = callers.last().map_or(StackId::EMPTY, |(_, stack)| *stack);
        let mut shown = frames.len() - same;
        if self.raw.is_cut {
            shown = shown.min(MOST_FRAMES - 1);
            let frame = Frame {
                function: CUT.to_owned(),
                file: String::new(),
                line: 0,
            };
            stack = stacks.push(stack, &frame);
        }
        let mut is_lasting = !self.raw.is_cut;
        for raw in frames.iter().take(shown).rev() {
            let (code, unit) = self.codes.of(raw).ok_or(Unreadable::NotCode)?;
            if SHIMS.contains(&code.file.as_str()) {
                is_lasting = false;
                continue;
            }
            let key = (code.number, u32::try_from(unit).unwrap_or(u32::MAX));
            let frame = match self.frames.get(&key) {
                Some(frame) => *frame,
                None => {
                    let frame = Frame {
                        function: code.function.clone(),
                        file: code.file.clone(),
                        line: self.codes.line(code, unit),
                    };
                    let (known, length) = (stacks.frame_count(), frame.function.len());
                    let number = stacks.intern(&frame);
                    if stacks.frame_count() > known {
                        // Shared names are counted each time: more than what is encoded.
                        self.text += 16 + length;
                    }
                    if self.frames.len() >= MOST_FRAME_IDS {
                        self.frames.clear();
                    }
                    self.frames.insert(key, number);
                    number
                }
            };
            stack = stacks.push_interned(stack, frame);
            is_lasting &= !code.is_short_lived();
            if is_lasting {
                callers.push((*raw, stack));
            }
        }
        Ok(stack)
    }
}

/// The request that began at this time, if it still runs.
fn running(entry: ThreadEntry, began: u64) -> Option<Running> {
    let request = entry.read()?.request?;
    (request.began == began).then_some(request)
}

/// What is reported of a thread: nothing of one that is parked outside of Python.
fn observation(tid: u64, seen: &Seen, cpu: Duration) -> Option<Observation> {
    let is_shown = seen.stack != StackId::EMPTY || seen.began != 0;
    is_shown.then(|| Observation {
        tid,
        began: seen.began,
        stack: seen.stack,
        activity: seen.activity.clone(),
        cpu,
    })
}

#[cfg(test)]
mod tests;
