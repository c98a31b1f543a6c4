//! Samples of this worker's threads, without the GIL and without a signal: a thread reads the memory of its own process
//! by process_vm_readv(2), which fails where it would fault, and finds the frames of the others in it
//! ([decision 72](../../../docs/decisions/0072-threads-are-sampled-without-the-gil.md)).
//!
//! Reading order: `layout` says where CPython keeps what; `threads`, `frames` and `code_cache` read it; `sampler` makes
//! rounds of samples and `recorder` a profile of them. Everything that is read may change meanwhile, so it is bounded
//! and checked.

mod code_cache;
mod descriptors;
mod frames;
mod layout;
mod line_table;
mod memory;
mod own_process;
mod recorder;
mod sampler;
mod text;
mod threads;
mod waiting;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::{Scoreboard, ThreadEntry};
use lockgate_profile::{Sample, ThreadSample};
use lockgate_supervisor::{ANSWER_SIZE, StackAnswer};
use lockgate_worker::monotonic_nanos;
use pyo3::prelude::*;
use rustix::time::{ClockId, clock_gettime};

use descriptors::OwnDescriptors;
use memory::{OwnMemory, OwnThreads};
use own_process::Refusal;
use recorder::Recorder;
use sampler::{Sampler, Target};
use waiting::Waits;

/// Without `slow_request`, a request is slow after this time.
const SLOW: Duration = Duration::from_secs(1);
/// How much of an interval a thread uses that surely runs.
const BUSY: f64 = 0.9;

/// What profiles of a worker need besides its memory.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    /// Where its requests are.
    pub(crate) scoreboard: Option<Scoreboard>,
    pub(crate) slot: usize,
    /// The ports that it listens at.
    pub(crate) ports: Vec<u16>,
    /// `slow_request`.
    pub(crate) slow: Option<Duration>,
}

/// See the module.
pub(crate) struct Profiler {
    sampler: Sampler<OwnMemory, OwnThreads>,
    requests: Requests,
}

/// What profilers of this process need to know of Python.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked {
    memory: OwnMemory,
    target: Target,
}

/// Compares what would be sampled with what Python says.
///
/// # Errors
/// Why threads cannot be sampled here.
pub(crate) fn check(py: Python<'_>) -> Result<Checked, Refusal> {
    own_process::target(py).map(|(memory, target)| Checked { memory, target })
}

/// A profiler that is made when threads can be sampled.
pub(crate) struct LateProfiler {
    made: Result<Profiler, Refusal>,
    requests: Requests,
}

impl LateProfiler {
    pub(crate) fn new(checked: &Result<Checked, Refusal>, requests: &Requests) -> Self {
        let made = checked.clone();
        Self {
            made: made.map(|checked| Profiler::new(checked, requests.clone())),
            requests: requests.clone(),
        }
    }

    /// The profiler. If its check has failed because of the number of threads, it waits for the GIL and checks again.
    pub(crate) fn get(&mut self) -> Result<&mut Profiler, String> {
        let Self { made, requests } = self;
        Refusal::retry(made, || {
            Python::attach(check).map(|checked| Profiler::new(checked, requests.clone()))
        })
    }
}

impl Profiler {
    fn new(checked: Checked, requests: Requests) -> Self {
        let Checked { memory, target } = checked;
        let start = target.runtime;
        let gil = start..start + target.layout.runtime_size;
        let descriptors = OwnDescriptors {
            ports: requests.ports.clone(),
        };
        let threads = OwnThreads {
            waits: Waits::new(memory, descriptors, gil),
        };
        Self {
            sampler: Sampler::new(memory, threads, target),
            requests,
        }
    }

    /// One sample of all threads, encoded.
    pub(crate) fn sample(&mut self) -> StackAnswer {
        let mut sample = Sample::default();
        self.sampler.begin();
        let entries = self.requests.entries();
        let round = (self.sampler).round(&mut sample.stacks, &entries, Duration::MAX);
        let threads = round.threads.into_iter();
        sample.threads = threads
            .map(|thread| ThreadSample {
                thread: thread.tid,
                began: thread.began,
                activity: thread.activity,
                stack: thread.stack,
            })
            .collect();
        // The next sample may be long in coming.
        self.sampler.end();
        fitting(sample.encode())
    }

    /// A profile, encoded. Ends early, with `None`, when `is_superseded`.
    pub(crate) fn profile(
        &mut self,
        duration: Duration,
        rate: u32,
        is_superseded: impl Fn() -> bool,
    ) -> Option<StackAnswer> {
        let interval = Duration::from_secs(1) / rate.max(1);
        let mut recorder = Recorder::new(self.requests.slow.unwrap_or(SLOW));
        self.sampler.begin();
        let mut cadence = Cadence::new(Instant::now(), interval);
        let mut used = own_cpu_time();
        loop {
            let entries = self.requests.entries();
            let stacks = &mut recorder.profile().stacks;
            let mut round = (self.sampler).round(stacks, &entries, interval.mul_f64(BUSY));
            let requests = std::mem::take(&mut round.requests);
            let request = |tid| requests.get(&tid).cloned();
            recorder.add(round, monotonic_nanos(), request);
            let now = Instant::now();
            if cadence.elapsed(now) >= duration || is_superseded() {
                break;
            }
            // At most a third of a CPU, however many threads there are and whatever rate is asked for.
            let before = std::mem::replace(&mut used, own_cpu_time());
            let rested = now + 2 * used.saturating_sub(before);
            thread::sleep(cadence.next(rested).saturating_duration_since(now));
        }
        let mut profile = recorder.into_profile();
        profile.interval = interval;
        profile.duration = cadence.elapsed(Instant::now());
        profile.missed = cadence.missed;
        self.sampler.end();
        (!is_superseded()).then(|| fitting(profile.encode()))
    }
}

impl Requests {
    /// The entries of the worker's threads, by TID.
    fn entries(&self) -> HashMap<u64, ThreadEntry> {
        let entries = (self.scoreboard.iter()).flat_map(|board| board.entries(self.slot));
        entries
            .filter_map(|entry| Some((entry.current()?.0, entry)))
            .collect()
    }
}

/// The CPU time of this thread.
fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// An answer that is not cut: half a profile cannot be read.
fn fitting(answer: Vec<u8>) -> StackAnswer {
    match answer.len() > ANSWER_SIZE {
        true => Err(format!(
            "its {} bytes do not fit into an answer of {ANSWER_SIZE}: sample for a shorter time",
            answer.len()
        )),
        false => Ok(answer),
    }
}

/// The moments of samples: multiples of the interval. Those that have passed are left out, and never made up for.
struct Cadence {
    start: Instant,
    interval: Duration,
    /// How many moments have passed.
    passed: u32,
    missed: u64,
}

impl Cadence {
    fn new(start: Instant, interval: Duration) -> Self {
        Self {
            start,
            interval,
            passed: 0,
            missed: 0,
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// The next moment after `now`.
    fn next(&mut self, now: Instant) -> Instant {
        let passed = self.elapsed(now).div_duration_f64(self.interval) as u32;
        let late = passed.saturating_sub(self.passed);
        self.missed += u64::from(late);
        self.passed = passed.max(self.passed) + 1;
        self.start + self.interval.saturating_mul(self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_at_multiples_of_the_interval_and_late_ones_are_left_out() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut cadence = Cadence::new(start, Duration::from_millis(10));
        for (now, next, missed) in [
            (1, 10, 0),
            (11, 20, 0),
            (29, 30, 0),
            (31, 40, 0),
            // The rounds of 50, 60 and 70 milliseconds are left out.
            (75, 80, 3),
            (81, 90, 3),
        ] {
            assert_eq!(cadence.next(at(now)), at(next), "{now}");
            assert_eq!(cadence.missed, missed, "{now}");
        }
    }
}
