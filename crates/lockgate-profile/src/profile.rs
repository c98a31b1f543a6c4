//! A profile: how often each stack was seen, for which request and doing what, and the CPU time that it used.

use std::collections::HashMap;
use std::time::Duration;

use crate::{Activity, StackId, Stacks};

/// What was seen, without the time that it took.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The request, as `GET /cart/*`; empty for a thread without one.
    pub label: String,
    /// Where the thread was.
    pub stack: StackId,
    /// What it did.
    pub activity: Activity,
}

/// How much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// How often it was seen.
    pub samples: u64,
    /// The CPU time of the thread up to these samples, each since the one before.
    pub cpu: Duration,
}

impl Weight {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.cpu += other.cpu;
    }
}

/// The samples of one slow request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSamples {
    /// The request, as in [`Row::label`], but with its own path.
    pub label: String,
    /// Its id; empty if requests have none.
    pub request_id: String,
    /// How long it had run when it was last seen.
    pub duration: Duration,
    /// Its samples: stacks of the profile, in the order in which they were first seen.
    pub samples: Vec<(StackId, Activity, Weight)>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// All stacks.
    pub stacks: Stacks,
    /// How often each was seen.
    pub rows: HashMap<Row, Weight>,
    /// The slow requests, the slowest first.
    pub requests: Vec<RequestSamples>,
    /// The interval of the samples.
    pub interval: Duration,
    /// How long it was sampled.
    pub duration: Duration,
    /// How often threads were sampled.
    pub rounds: u64,
    /// Rounds that were left out because an earlier one took too long.
    pub missed: u64,
    /// Samples whose stack could not be read, or that found no place.
    pub failed: u64,
}

impl Profile {
    /// Counts one sample.
    pub fn record(&mut self, row: Row, weight: Weight) {
        self.rows.entry(row).or_default().add(weight);
    }

    /// The rows that count: of threads with a request, and of others while they run or wait for the GIL. Other threads
    /// are idle: what they wait for is no time that a request takes.
    pub fn counted_rows(&self) -> impl Iterator<Item = (&Row, &Weight)> {
        (self.rows.iter()).filter(|(row, _)| {
            !row.label.is_empty() || matches!(row.activity, Activity::Running | Activity::Gil)
        })
    }

    /// The time that this number of samples stands for: the interval for each, and more if rounds were left out.
    pub fn time_of(&self, samples: u64) -> Duration {
        let rounds = self.rounds.max(1);
        let interval = self.interval.as_secs_f64() * (1.0 + self.missed as f64 / rounds as f64);
        Duration::try_from_secs_f64(interval * samples as f64).unwrap_or(Duration::MAX)
    }
}
