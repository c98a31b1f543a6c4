//! A profile: how often each stack was seen, for which request and doing what, and the CPU time that it used.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::wire::{DecodeError, Reader, Writer};
use crate::{Activity, StackId, Stacks};

const FORMAT: [u8; 4] = *b"LGP1";

/// Most labels of a profile. Further ones are counted as [`OTHER_REQUESTS`].
pub const MOST_LABELS: usize = 200;
/// The label of requests whose own label found no place.
pub const OTHER_REQUESTS: &str = "other requests";
/// Most slow requests of a profile: the slowest are kept.
pub const MOST_REQUESTS: usize = 50;

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
    /// The CPU time of the thread up to these samples, each since the last one in which it ran.
    pub cpu: Duration,
}

impl Weight {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.cpu = self.cpu.saturating_add(other.cpu);
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
    /// How often threads were sampled; of several workers the sum, as with the next two.
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

    /// Adds the profile of another worker, which was made at the same time and with the same interval.
    pub fn merge(&mut self, other: &Self) {
        let ids = self.stacks.take(&other.stacks);
        let here = |stack: StackId| ids.get(stack.index()).copied().unwrap_or(StackId::EMPTY);
        let mut labels: HashSet<String> = self.rows.keys().map(|row| row.label.clone()).collect();
        for (row, weight) in &other.rows {
            let is_known = row.label.is_empty() || labels.contains(&row.label);
            let label = match is_known || labels.len() < MOST_LABELS {
                true => row.label.clone(),
                false => OTHER_REQUESTS.to_owned(),
            };
            labels.insert(label.clone());
            let row = Row {
                label,
                stack: here(row.stack),
                activity: row.activity.clone(),
            };
            self.record(row, *weight);
        }
        self.requests.extend(other.requests.iter().map(|request| {
            let samples = request.samples.iter();
            let samples =
                samples.map(|(stack, activity, weight)| (here(*stack), activity.clone(), *weight));
            RequestSamples {
                samples: samples.collect(),
                ..request.clone()
            }
        }));
        self.requests
            .sort_by_key(|request| std::cmp::Reverse(request.duration));
        self.requests.truncate(MOST_REQUESTS);
        self.interval = self.interval.max(other.interval);
        self.duration = self.duration.max(other.duration);
        self.rounds = self.rounds.saturating_add(other.rounds);
        self.missed = self.missed.saturating_add(other.missed);
        self.failed = self.failed.saturating_add(other.failed);
    }

    /// For another process, which calls [`Profile::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.stacks(&self.stacks);
        writer.number(self.rows.len() as u64);
        for (row, weight) in &self.rows {
            writer.text(&row.label);
            writer.stack(row.stack);
            writer.activity(&row.activity);
            writer.weight(*weight);
        }
        writer.number(self.requests.len() as u64);
        for request in &self.requests {
            writer.text(&request.label);
            writer.text(&request.request_id);
            writer.duration(request.duration);
            writer.number(request.samples.len() as u64);
            for (stack, activity, weight) in &request.samples {
                writer.stack(*stack);
                writer.activity(activity);
                writer.weight(*weight);
            }
        }
        writer.duration(self.interval);
        writer.duration(self.duration);
        writer.number(self.rounds);
        writer.number(self.missed);
        writer.number(self.failed);
        writer.finish(FORMAT)
    }

    /// # Errors
    /// When the bytes are not what [`Profile::encode`] of this version writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, FORMAT)?;
        let (stacks, ids) = reader.stacks()?;
        let mut profile = Self {
            stacks,
            ..Self::default()
        };
        for _ in 0..reader.count()? {
            let row = Row {
                label: reader.text()?,
                stack: reader.stack(&ids)?,
                activity: reader.activity()?,
            };
            let weight = reader.weight()?;
            profile.record(row, weight);
        }
        for _ in 0..reader.count()? {
            let mut request = RequestSamples {
                label: reader.text()?,
                request_id: reader.text()?,
                duration: reader.duration()?,
                samples: Vec::new(),
            };
            for _ in 0..reader.count()? {
                let stack = reader.stack(&ids)?;
                let sample = (stack, reader.activity()?, reader.weight()?);
                request.samples.push(sample);
            }
            profile.requests.push(request);
        }
        profile.interval = reader.duration()?;
        profile.duration = reader.duration()?;
        profile.rounds = reader.number()?;
        profile.missed = reader.number()?;
        profile.failed = reader.number()?;
        reader.finish()?;
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;

    fn frame(function: &str) -> Frame {
        Frame {
            function: function.to_owned(),
            file: "/srv/app.py".to_owned(),
            line: 3,
        }
    }

    fn weight(samples: u64) -> Weight {
        Weight {
            samples,
            cpu: Duration::from_micros(samples),
        }
    }

    /// Of one request below this label, in `functions`, seen `samples` times in each.
    fn profile(label: &str, functions: &[&str], samples: u64) -> Profile {
        let mut profile = Profile {
            interval: Duration::from_millis(10),
            duration: Duration::from_secs(1),
            rounds: 100,
            missed: 2,
            failed: 1,
            ..Profile::default()
        };
        let mut stack = StackId::EMPTY;
        let mut seen = Vec::new();
        for function in functions {
            stack = profile.stacks.push(stack, &frame(function));
            let activity = Activity::Network("db:5432".to_owned());
            let row = Row {
                label: label.to_owned(),
                stack,
                activity: activity.clone(),
            };
            profile.record(row, weight(samples));
            seen.push((stack, activity, weight(samples)));
        }
        profile.requests.push(RequestSamples {
            label: label.to_owned(),
            request_id: "4bf9".to_owned(),
            duration: Duration::from_secs(samples),
            samples: seen,
        });
        profile
    }

    /// Label, functions and weight of each row, sorted.
    fn rows(profile: &Profile) -> Vec<(String, Vec<String>, Weight)> {
        let rows = profile.rows.iter();
        let mut rows: Vec<_> = rows
            .map(|(row, weight)| {
                let frames = profile.stacks.frames(row.stack);
                let functions = frames.map(|frame| frame.function.clone()).collect();
                (row.label.clone(), functions, *weight)
            })
            .collect();
        rows.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        rows
    }

    fn numbers(profile: &Profile) -> (Duration, Duration, u64, u64, u64) {
        let Profile {
            interval,
            duration,
            rounds,
            missed,
            failed,
            ..
        } = profile;
        (*interval, *duration, *rounds, *missed, *failed)
    }

    #[test]
    fn a_profile_survives_its_encoding() {
        for profile in [
            Profile::default(),
            profile("GET /cart", &["main", "view"], 7),
        ] {
            let read = Profile::decode(&profile.encode()).unwrap();
            assert_eq!(rows(&read), rows(&profile));
            assert_eq!(read.requests, profile.requests);
            assert_eq!(numbers(&read), numbers(&profile));
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_of_a_profile_is_survived() {
        let bytes = profile("GET /cart", &["main", "view"], 7).encode();
        for length in 0..bytes.len() {
            assert!(Profile::decode(&bytes[..length]).is_err(), "{length}");
        }
        for index in 0..bytes.len() {
            for value in [0, 1, 8, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[index] = value;
                if let Ok(profile) = Profile::decode(&changed) {
                    assert!(profile.rows.len() <= 2);
                }
            }
        }
        let long = [&bytes[..], &[0]].concat();
        assert_eq!(Profile::decode(&long).err(), Some(DecodeError::TooLong));
    }

    #[test]
    fn profiles_of_two_workers_are_one() {
        let mut merged = profile("GET /cart", &["main", "view"], 7);
        merged.merge(&profile("GET /cart", &["main", "other"], 9));
        let row = |functions: &[&str], samples| {
            let functions = functions.iter().map(|&function| function.to_owned());
            ("GET /cart".to_owned(), functions.collect(), weight(samples))
        };
        let expected: [(String, Vec<String>, Weight); 3] = [
            row(&["main"], 16),
            row(&["other", "main"], 9),
            row(&["view", "main"], 7),
        ];
        assert_eq!(rows(&merged), expected);
        let (interval, duration) = (Duration::from_millis(10), Duration::from_secs(1));
        assert_eq!(numbers(&merged), (interval, duration, 200, 4, 2));
        let slowest: Vec<u64> = (merged.requests.iter())
            .map(|request| request.duration.as_secs())
            .collect();
        assert_eq!(slowest, [9, 7]);
        let (stack, ..) = merged.requests[0].samples[1];
        let innermost = merged.stacks.frames(stack).next();
        assert_eq!(innermost, Some(&frame("other")));
    }

    #[test]
    fn labels_and_slow_requests_stay_bounded() {
        let mut merged = Profile::default();
        for number in 0..MOST_LABELS as u64 + 3 {
            merged.merge(&profile(&format!("GET /{number}"), &["main"], number + 1));
        }
        merged.merge(&profile("", &["idle"], 1));
        let labels: HashSet<&str> = merged.rows.keys().map(|row| row.label.as_str()).collect();
        assert_eq!(labels.len(), MOST_LABELS + 2);
        let others: u64 = (merged.rows.iter())
            .filter(|(row, _)| row.label == OTHER_REQUESTS)
            .map(|(_, weight)| weight.samples)
            .sum();
        assert_eq!(others, 201 + 202 + 203);
        assert_eq!(merged.requests.len(), MOST_REQUESTS);
        assert_eq!(merged.requests[0].duration, Duration::from_secs(203));
    }
}
