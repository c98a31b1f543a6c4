//! Sampling: reads the request counts and memory of workers, at intervals that follow from the settings.

use std::time::{Duration, Instant};

use lockgate_config::MemoryMeasure;
use lockgate_observe::{Loss, Scoreboard};

use crate::processes::memory::{process_memory, proportional_memory};
use crate::supervisor::{Event, Responses, Rules};

/// Request count interval: a worker may exceed its limit for this long, plus the boot of its replacement.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);
/// Memory interval: one file is read per worker.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
/// For the proportional set size the kernel walks every page of the process: 21 ms for 400 MB, measured.
const PSS_INTERVAL: Duration = Duration::from_secs(5);

/// The sampling schedule.
#[derive(Debug)]
pub(crate) struct Sampler {
    every: Option<Duration>,
    /// The memory interval; `None`: never.
    memory_every: Option<Duration>,
    memory: MemorySampler,
    next: Option<Instant>,
    memory_at: Option<Instant>,
}

impl Sampler {
    pub(crate) fn new(rules: &Rules, measure: MemoryMeasure) -> Self {
        let bounds = [rules.max_worker_memory, rules.max_worker_memory_hard];
        let least = bounds.into_iter().filter(|bound| *bound > 0).min();
        let memory_every = least.map(|_| match measure {
            MemoryMeasure::Rss => MEMORY_INTERVAL,
            MemoryMeasure::Pss => PSS_INTERVAL,
        });
        let every = match rules.max_requests {
            0 => memory_every,
            _ => Some(COUNT_INTERVAL),
        };
        Self {
            every,
            memory_every,
            memory: MemorySampler {
                measure,
                least: least.unwrap_or(0),
                warning: None,
            },
            next: every.map(|_| Instant::now()),
            memory_at: None,
        }
    }

    /// The time of the next sample.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A warning for the operator, returned once.
    pub(crate) fn take_warning(&mut self) -> Option<String> {
        self.memory.warning.take()
    }

    /// Takes the samples that are due.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        children: impl Iterator<Item = (u32, usize)>,
        scoreboard: Option<Scoreboard>,
    ) -> Vec<Event> {
        let (Some(every), Some(at)) = (self.every, self.next) else {
            return Vec::new();
        };
        if now < at {
            return Vec::new();
        }
        self.next = Some(now + every);
        let samples_memory = self
            .memory_every
            .filter(|_| self.memory_at.is_none_or(|at| at <= now));
        if let Some(every) = samples_memory {
            self.memory_at = Some(now + every);
        }
        children
            .filter_map(|(pid, slot)| {
                Some(Event::Sampled {
                    pid,
                    requests: scoreboard?.requests_of(slot)?,
                    memory: samples_memory.map_or(0, |_| self.memory.sample(pid)),
                })
            })
            .collect()
    }
}

/// The response counts of the workers so far.
pub(crate) fn responses(
    children: impl Iterator<Item = (u32, usize)>,
    scoreboard: Option<Scoreboard>,
) -> Vec<Responses> {
    let of = |(pid, slot)| {
        let totals = scoreboard?.totals_of(slot)?;
        // Aborted responses are not among those that were sent in full.
        let aborted = totals.losses[Loss::Aborted as usize];
        Some(Responses {
            pid,
            all: totals.responses().wrapping_add(aborted),
            failed: totals.classes[4].wrapping_add(aborted),
        })
    };
    children.filter_map(of).collect()
}

/// Reads the memory of a worker.
#[derive(Debug)]
struct MemorySampler {
    measure: MemoryMeasure,
    /// Below this resident set size the proportional one is not read.
    least: u64,
    warning: Option<String>,
}

impl MemorySampler {
    /// Bytes held by a process; 0 when unknown.
    fn sample(&mut self, pid: u32) -> u64 {
        let resident = process_memory(pid.into()).resident;
        // The proportional set is never larger, so most samples cost only a read of the resident set size.
        if self.measure == MemoryMeasure::Rss || resident <= self.least {
            return resident;
        }
        match proportional_memory(pid) {
            Ok(bytes) => bytes,
            Err(error) => {
                // It also fails for a process that has just exited, which needs no warning.
                if process_memory(pid.into()).resident > 0 {
                    self.measure = MemoryMeasure::Rss;
                    self.warning = Some(format!(
                        "worker_memory_measure = \"pss\": cannot read /proc/{pid}/smaps_rollup: {error}; using rss instead"
                    ));
                }
                resident
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn requests_of_all_event_loops_of_a_worker_count() {
        let words = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect();
        let scoreboard = Scoreboard::new(Vec::leak(words));
        let first = scoreboard.worker_slot(3).unwrap();
        let second = first.event_loop(1).unwrap();
        for (event_loop, requests) in [(&first, 5), (&second, 7)] {
            event_loop.enter();
            event_loop.publish(1, requests);
        }
        let now = Instant::now();
        let mut sampler = Sampler {
            every: Some(COUNT_INTERVAL),
            memory_every: None,
            memory: MemorySampler {
                measure: MemoryMeasure::Rss,
                least: 0,
                warning: None,
            },
            next: Some(now),
            memory_at: None,
        };
        let workers = [(77, 3), (88, 4)].into_iter();
        let expected = Event::Sampled {
            pid: 77,
            requests: 12,
            memory: 0,
        };
        assert_eq!(sampler.take(now, workers, Some(scoreboard)), [expected]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_proportional_set_is_read_only_above_the_limit() {
        let own = std::process::id();
        let mut memory = MemorySampler {
            measure: MemoryMeasure::Pss,
            least: u64::MAX,
            warning: None,
        };
        let light = memory.sample(own);
        memory.least = 1;
        assert!(memory.sample(own) < light);
        // A process that does not exist has no memory figures, which is no reason to warn.
        assert_eq!(memory.sample(u32::MAX), 0);
        assert_eq!(memory.warning, None);
    }
}
