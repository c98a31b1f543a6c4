//! Flights: responses that one process fetches while others wait for them (request collapsing, singleflight).
//!
//! A flight is in a set of slots that its key chooses. It has a generation, which changes when another flight takes its
//! slot, and counts from the one store of its state. Beginning one is exclusive: the caller holds the lock of the
//! flights. Ending one and looking at it is not.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request does about a response that is not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flight {
    /// It fetches the response, and ends the flight.
    Leader(FlightToken),
    /// Another request fetches it.
    Wait(FlightToken),
}

/// Names one flight. A copy names the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightToken {
    /// `usize::MAX`: all slots are taken, no other request waits for this flight.
    place: usize,
    generation: u64,
    began: u64,
}

impl FlightToken {
    /// Whether other requests can wait for it; false: there were too many flights.
    pub fn is_shared(self) -> bool {
        self.place != usize::MAX
    }
}

/// The state of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlightState {
    /// Its leader fetches the response.
    Running,
    /// It has ended like this.
    Ended(FlightOutcome),
}

/// How a flight has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlightOutcome {
    /// The response is in the store.
    Stored,
    /// The response is for its own request only: those that wait fetch their own.
    NotStored,
    /// The leader has no response, or its process has died, or another request leads: those that wait begin again.
    Failed,
}

const SETS: usize = 256;
const WAYS: usize = 8;
/// A slot has a cache line of its own.
const SLOT_WORDS: usize = 8;
pub(super) const FLIGHT_WORDS: usize = SETS * WAYS * SLOT_WORDS;

/// The words of a slot.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// The generation, [`WAITED`] and one of the states below.
    State,
    /// The key: 128 bits of a hash with a secret.
    Hash,
    Hash2,
    /// Process id of the leader.
    Owner,
    Began,
}

const RUNNING: u64 = 1;
const STORED: u64 = 2;
const NOT_STORED: u64 = 3;
const FAILED: u64 = 4;
const STATES: u64 = 7;
/// A request waits for the flight.
const WAITED: u64 = 8;
const GENERATION: u64 = 16;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flights {
    words: &'static [AtomicU64],
}

impl Flights {
    #[cfg(not(all(test, loom)))]
    pub(super) fn new(words: &'static [AtomicU64]) -> Option<Self> {
        let words = words.get(..FLIGHT_WORDS)?;
        Some(Self { words })
    }

    /// The flight of this key, or a new one of this process. A flight whose leader is not alive ends; the second value
    /// says whether a request waits for one that has ended so.
    pub(super) fn begin(
        &self,
        (hash, hash2): (u64, u64),
        owner: u32,
        now: u64,
        is_alive: impl Fn(u32) -> bool,
    ) -> (Flight, bool) {
        let is_alive = |process: u64| {
            let process = u32::try_from(process).unwrap_or(0);
            process == owner || is_alive(process)
        };
        let start = usize::try_from(hash % SETS as u64).unwrap_or(0) * WAYS;
        let set = start..start + WAYS;
        let mut has_left_waiters = false;
        let mut end_if_dead = |place: usize| {
            let is_dead = !is_alive(self.get(place, Field::Owner));
            has_left_waiters |= is_dead && self.finish(place, None, FAILED);
            is_dead
        };
        let same = (set.clone()).find(|place| {
            self.is_running(*place)
                && (
                    self.get(*place, Field::Hash),
                    self.get(*place, Field::Hash2),
                ) == (hash, hash2)
        });
        if let Some(place) = same
            && !end_if_dead(place)
            && let Some(token) = self.wait_for(place)
        {
            return (Flight::Wait(token), has_left_waiters);
        }
        if set.clone().all(|place| self.is_running(place)) {
            for place in set.clone() {
                end_if_dead(place);
            }
        }
        // The slot that has ended for the longest time: requests may still have to see how.
        let ended = set.filter(|place| !self.is_running(*place));
        let oldest = ended.min_by_key(|place| self.get(*place, Field::Began));
        let token = match oldest {
            Some(place) => {
                self.set(place, Field::Hash, hash);
                self.set(place, Field::Hash2, hash2);
                self.lead(place, owner, now)
            }
            None => FlightToken {
                place: usize::MAX,
                generation: 0,
                began: now,
            },
        };
        (Flight::Leader(token), has_left_waiters)
    }

    /// Makes a process the leader of a flight that still runs, for those that wait a new flight. The second value says
    /// whether a request waits.
    pub(super) fn take_over(
        &self,
        token: FlightToken,
        owner: u32,
        now: u64,
    ) -> Option<(FlightToken, bool)> {
        if self.state(token) != FlightState::Running {
            return None;
        }
        let has_waiters = self.finish(token.place, Some(token.generation), FAILED);
        Some((self.lead(token.place, owner, now), has_waiters))
    }

    /// Ends a flight; returns whether a request waits for it. Nothing if it has ended.
    pub(super) fn end(&self, token: FlightToken, outcome: FlightOutcome) -> bool {
        let state = match outcome {
            FlightOutcome::Stored => STORED,
            FlightOutcome::NotStored => NOT_STORED,
            FlightOutcome::Failed => FAILED,
        };
        self.finish(token.place, Some(token.generation), state)
    }

    /// Ends all flights of a process; returns whether a request waits for one.
    pub(super) fn end_all_of(&self, owner: u32) -> bool {
        let mut has_waiters = false;
        for place in 0..SETS * WAYS {
            if self.is_running(place) && self.get(place, Field::Owner) == u64::from(owner) {
                has_waiters |= self.finish(place, None, FAILED);
            }
        }
        has_waiters
    }

    pub(super) fn state(&self, token: FlightToken) -> FlightState {
        let word = self.get(token.place, Field::State);
        let is_same = word / GENERATION == token.generation;
        match word & STATES {
            RUNNING if is_same => FlightState::Running,
            STORED if is_same => FlightState::Ended(FlightOutcome::Stored),
            NOT_STORED if is_same => FlightState::Ended(FlightOutcome::NotStored),
            _ => FlightState::Ended(FlightOutcome::Failed),
        }
    }

    /// Whether a request waits for this flight.
    pub(super) fn has_waiters(&self, token: FlightToken) -> bool {
        let word = self.get(token.place, Field::State);
        word / GENERATION == token.generation && word & WAITED != 0
    }

    fn is_running(&self, place: usize) -> bool {
        self.get(place, Field::State) & STATES == RUNNING
    }

    /// Notes that a request waits, unless the flight has just ended.
    fn wait_for(&self, place: usize) -> Option<FlightToken> {
        let word = self.word(place, Field::State)?;
        let next = |state: u64| (state & STATES == RUNNING).then_some(state | WAITED);
        let state = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        Some(FlightToken {
            place,
            generation: state.ok()? / GENERATION,
            began: self.get(place, Field::Began),
        })
    }

    /// Starts a flight in a slot that has none.
    fn lead(&self, place: usize, owner: u32, now: u64) -> FlightToken {
        let generation = self.get(place, Field::State) / GENERATION + 1;
        self.set(place, Field::Owner, u64::from(owner));
        self.set(place, Field::Began, now);
        self.set(place, Field::State, (generation * GENERATION) | RUNNING);
        FlightToken {
            place,
            generation,
            began: now,
        }
    }

    /// Ends the flight in a slot, if it still has this generation; returns whether a request waits for it.
    fn finish(&self, place: usize, generation: Option<u64>, state: u64) -> bool {
        let Some(word) = self.word(place, Field::State) else {
            return false;
        };
        let next = |word: u64| {
            let is_meant = generation.is_none_or(|generation| word / GENERATION == generation);
            let is_running = word & STATES == RUNNING;
            (is_meant && is_running).then_some(word & !(STATES | WAITED) | state)
        };
        let before = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        before.is_ok_and(|before| before & WAITED != 0)
    }

    fn word(&self, place: usize, name: Field) -> Option<&'static AtomicU64> {
        let index = place.checked_mul(SLOT_WORDS)?.checked_add(name as usize)?;
        self.words.get(index)
    }

    fn get(&self, place: usize, name: Field) -> u64 {
        let word = self.word(place, name);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn set(&self, place: usize, name: Field, value: u64) {
        if let Some(word) = self.word(place, name) {
            word.store(value, Ordering::Release);
        }
    }
}

impl FlightToken {
    /// The moment at which its leader has begun.
    pub fn began(&self) -> u64 {
        self.began
    }
}
