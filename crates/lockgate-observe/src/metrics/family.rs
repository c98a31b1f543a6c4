//! Families of metrics: what a server counts at one moment, before it is written.

use std::fmt;

use crate::scoreboard::WorkerView;

/// The label of what each worker has for itself.
pub(crate) const WORKER: &str = "worker";

/// Families in the order in which they are shown.
#[derive(Debug, Default)]
pub struct Families(Vec<Family>);

/// All points of one name.
#[derive(Debug)]
pub(crate) struct Family {
    /// By the rules of Prometheus: `lockgate_`, then the unit, then `_total` for counters.
    pub(crate) name: &'static str,
    /// A sentence.
    pub(crate) help: &'static str,
    pub(crate) points: Points,
}

#[derive(Debug)]
pub(crate) enum Points {
    Samples(Kind, Vec<Sample>),
    Histogram(Histogram),
}

/// What a value may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It rises and falls.
    Gauge,
    /// It never falls while the server lives.
    Counter,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: Value,
}

/// Durations by the bounds of the scoreboard.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// How many are in each bucket; each duration is in one.
    pub(crate) counts: Vec<u64>,
    /// Of all durations, in nanoseconds.
    pub(crate) sum: u64,
    /// The index of the first bound that is shown.
    pub(crate) first: usize,
}

/// The value of a sample, in the unit of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Whole(u64),
    Signed(i64),
    /// Of a family in seconds.
    Nanoseconds(u64),
    Thousandths(u64),
}

impl Families {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Family> {
        self.0.iter()
    }

    /// Begins a family, to which samples are added.
    pub(crate) fn add(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        self.0.push(Family {
            name,
            help,
            points: Points::Samples(kind, Vec::new()),
        });
    }

    /// Adds a sample to the family that was begun last.
    pub(crate) fn sample(&mut self, labels: &[(&'static str, &str)], value: Value) {
        if let Some(Points::Samples(_, samples)) = self.0.last_mut().map(|last| &mut last.points) {
            let labels = labels
                .iter()
                .map(|(name, text)| (*name, (*text).to_owned()));
            samples.push(Sample {
                labels: labels.collect(),
                value,
            });
        }
    }

    /// The same for the value of one worker.
    pub(crate) fn worker_sample(&mut self, worker: &WorkerView, value: u64) {
        let slot = worker.slot.to_string();
        self.sample(&[(WORKER, &slot)], Value::Whole(value));
    }

    pub(crate) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        (counts, sum): (&[u64], u64),
        first: usize,
    ) {
        self.0.push(Family {
            name,
            help,
            points: Points::Histogram(Histogram {
                counts: counts.to_vec(),
                sum,
                first,
            }),
        });
    }
}

impl Value {
    /// The sum of two values of a family.
    pub(crate) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => Self::Whole(one.saturating_add(two)),
            (Self::Signed(one), Self::Signed(two)) => Self::Signed(one.saturating_add(two)),
            (Self::Nanoseconds(one), Self::Nanoseconds(two)) => {
                Self::Nanoseconds(one.saturating_add(two))
            }
            (Self::Thousandths(one), Self::Thousandths(two)) => {
                Self::Thousandths(one.saturating_add(two))
            }
            // A family has values of one kind.
            (one, _) => one,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Nanoseconds(value) => {
                let (seconds, rest) = (value / 1_000_000_000, value % 1_000_000_000);
                write!(f, "{seconds}.{rest:09}")
            }
            Self::Thousandths(value) => write!(f, "{}.{:03}", value / 1000, value % 1000),
        }
    }
}
