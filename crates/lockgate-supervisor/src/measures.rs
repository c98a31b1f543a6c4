//! Looks at what workers count and hold, as often as the settings make worth while. Judges nothing.

use std::time::{Duration, Instant};

use lockgate_observe::Page;

use crate::supervisor::{Event, Rules};

/// How often requests are looked at: a worker goes so far beyond its number at most, and its replacement has to boot.
const COUNTING: Duration = Duration::from_millis(100);
/// How often memory is looked at: a read of a file for each worker.
const WEIGHING: Duration = Duration::from_secs(1);

/// When to look at what.
#[derive(Debug)]
pub(crate) struct Measures {
    every: Option<Duration>,
    weighs: bool,
    next: Option<Instant>,
    weighs_at: Option<Instant>,
}

impl Measures {
    pub(crate) fn new(rules: &Rules) -> Self {
        let every = match (rules.max_requests, rules.max_worker_memory) {
            (0, 0) => None,
            (0, _) => Some(WEIGHING),
            _ => Some(COUNTING),
        };
        Self {
            every,
            weighs: rules.max_worker_memory > 0,
            next: every.map(|_| Instant::now()),
            weighs_at: None,
        }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// What is found now, if it is time to look.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        children: impl Iterator<Item = (u32, usize)>,
        page: Option<Page>,
    ) -> Vec<Event> {
        let (Some(every), Some(at)) = (self.every, self.next) else {
            return Vec::new();
        };
        if now < at {
            return Vec::new();
        }
        self.next = Some(now + every);
        let weighs = self.weighs && self.weighs_at.is_none_or(|at| at <= now);
        if weighs {
            self.weighs_at = Some(now + WEIGHING);
        }
        let counts: Vec<_> = page.into_iter().flat_map(Page::serving).collect();
        children
            .filter_map(|(pid, slot)| {
                let (_, counts) = counts.iter().find(|(counted, _)| *counted == slot)?;
                Some(Event::Measured {
                    pid,
                    requests: counts.requests,
                    memory: if weighs { resident(pid) } else { 0 },
                })
            })
            .collect()
    }
}

/// Bytes that a process holds in memory; 0 when nobody says. Pages that it shares with others count in full.
fn resident(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_holds_some_memory_and_one_that_is_not_there_none() {
        assert!(resident(std::process::id()) > 100_000);
        assert_eq!(resident(u32::MAX), 0);
    }
}
