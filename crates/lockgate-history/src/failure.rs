//! Failed requests: those whose response says so (5xx), and those whose application has raised an exception.
//!
//! A worker appends a record when a request fails and never otherwise. Failures that are alike share a record a second,
//! so a storm of them fills no log.

use std::cmp::Reverse;
use std::collections::HashMap;

use lockgate_observe::without_middle;
use lockgate_profile::Frame;
use lockgate_profile::render::is_own_code;

use crate::bytes::{Reader, Writer};
use crate::paths::OTHER_REQUESTS;
use crate::point::Moment;

/// Frames of a traceback that are kept: the most recent ones.
pub const MOST_FAILURE_FRAMES: usize = 20;
/// Bytes of the text of an exception.
const MOST_MESSAGE: usize = 500;
/// Kinds of failures that a worker distinguishes; further ones count as one.
const MOST_KINDS: usize = 200;
/// Kinds of a report: the most frequent ones.
const MOST_REPORTED: usize = 100;
/// Nanoseconds between two records of a kind.
const INTERVAL: u64 = 1_000_000_000;
/// Nanoseconds for which a kind is remembered.
const REMEMBERED: u64 = 60_000_000_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Moment,
    /// The slot of its worker.
    pub worker: usize,
    /// The method and the shape of the path.
    pub label: String,
    /// The status of the response; 0: it was complete before the application has raised.
    pub status: u16,
    /// The id of the request; empty if requests have none.
    pub request_id: Vec<u8>,
    /// What was raised.
    pub cause: Cause,
    /// How many failures of this kind the record stands for; the others have happened since the record before.
    pub count: u64,
}

/// Why a request has failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// The class of the exception, with its module if that is not `builtins`; empty: none was seen.
    pub exception: String,
    /// Its text, or what the application has done wrong.
    pub message: String,
    /// Its traceback, the most recent frame first.
    pub frames: Vec<Frame>,
}

/// What failures of a kind have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    label: String,
    status: u16,
    exception: String,
    /// The file and the function: a line moves with each version.
    place: (String, String),
}

impl Cause {
    /// The most recent frame of the application's own code, or of any.
    fn place(&self) -> Option<&Frame> {
        let own = self.frames.iter().find(|frame| is_own_code(&frame.file));
        own.or(self.frames.first())
    }
}

impl Failure {
    fn kind(&self) -> Kind {
        let place = self.cause.place();
        Kind {
            label: self.label.clone(),
            status: self.status,
            exception: self.cause.exception.clone(),
            place: place.map_or_else(Default::default, |frame| {
                (frame.file.clone(), frame.function.clone())
            }),
        }
    }

    /// The same without what the exception says of the request.
    #[must_use]
    pub fn without_message(mut self) -> Self {
        self.cause.message.clear();
        self
    }

    /// The record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.numbers(&[
            self.at.monotonic,
            self.at.unix,
            self.worker as u64,
            self.status.into(),
            self.count,
        ]);
        writer.bytes(self.label.as_bytes());
        writer.bytes(&self.request_id);
        writer.bytes(self.cause.exception.as_bytes());
        let message = without_middle(self.cause.message.as_bytes(), MOST_MESSAGE);
        writer.bytes(&message);
        let frames = self.cause.frames.iter().take(MOST_FAILURE_FRAMES);
        writer.number(frames.len() as u64);
        for frame in frames {
            writer.bytes(frame.file.as_bytes());
            writer.bytes(frame.function.as_bytes());
            writer.number(frame.line.into());
        }
        writer.finish()
    }

    /// `None` if the record is none of a failure.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [monotonic, unix, worker, status, count] = reader.numbers()?;
        let (label, request_id) = (reader.text()?, reader.bytes()?.to_vec());
        let (exception, message) = (reader.text()?, reader.text()?);
        let mut frames = Vec::new();
        for _ in 0..reader.number()? {
            frames.push(Frame {
                file: reader.text()?,
                function: reader.text()?,
                line: u32::try_from(reader.number()?).ok()?,
            });
        }
        let cause = Cause {
            exception,
            message,
            frames,
        };
        let failure = Self {
            at: Moment { monotonic, unix },
            worker: usize::try_from(worker).ok()?,
            label,
            status: u16::try_from(status).ok()?,
            request_id,
            cause,
            count,
        };
        reader.is_empty().then_some(failure)
    }
}

/// The failures of a worker that have no record yet.
#[derive(Debug, Default)]
pub struct PendingFailures {
    kinds: HashMap<Kind, Pending>,
}

#[derive(Debug)]
struct Pending {
    /// Nanoseconds of the monotonic clock of the last record.
    recorded: u64,
    /// The last failure since then; its count is that of all since then.
    last: Option<Failure>,
}

impl PendingFailures {
    /// Counts a failure; returns it if its record is due.
    pub fn add(&mut self, mut failure: Failure) -> Option<Failure> {
        let mut kind = failure.kind();
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&kind) {
            OTHER_REQUESTS.clone_into(&mut failure.label);
            failure.cause = Cause::default();
            kind = failure.kind();
        }
        let now = failure.at.monotonic;
        match self.kinds.get_mut(&kind) {
            Some(known) if now.saturating_sub(known.recorded) < INTERVAL => {
                let before = known.last.as_ref().map_or(0, |last| last.count);
                failure.count += before;
                known.last = Some(failure);
                None
            }
            Some(known) => {
                let before = known.last.take().map_or(0, |last| last.count);
                failure.count += before;
                known.recorded = now;
                Some(failure)
            }
            None => {
                let recorded = now;
                self.kinds.insert(
                    kind,
                    Pending {
                        recorded,
                        last: None,
                    },
                );
                Some(failure)
            }
        }
    }

    /// Keeps a failure whose record could not be appended, until the next one is due.
    pub fn put_back(&mut self, failure: &Failure) {
        if let Some(known) = self.kinds.get_mut(&failure.kind()) {
            let last = known.last.get_or_insert_with(|| Failure {
                count: 0,
                ..failure.clone()
            });
            last.count += failure.count;
        }
    }

    /// The failures whose records are due at `now`, in nanoseconds of the monotonic clock.
    pub fn due(&mut self, now: u64) -> Vec<Failure> {
        let mut due = Vec::new();
        for known in self.kinds.values_mut() {
            if now.saturating_sub(known.recorded) >= INTERVAL
                && let Some(failure) = known.last.take()
            {
                known.recorded = now;
                due.push(failure);
            }
        }
        (self.kinds).retain(|_, known| {
            known.last.is_some() || now.saturating_sub(known.recorded) < REMEMBERED
        });
        due
    }

    /// Whether no failure waits for its record.
    pub fn is_empty(&self) -> bool {
        self.kinds.values().all(|known| known.last.is_none())
    }
}

/// Failures of a kind in a range of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailureGroup {
    pub(crate) count: u64,
    /// When the first one was recorded: milliseconds since 1970.
    pub(crate) first: u64,
    pub(crate) last: Failure,
}

/// The kinds of failures, the most frequent first.
pub(crate) fn grouped(failures: impl Iterator<Item = Failure>) -> Vec<FailureGroup> {
    let mut groups: HashMap<Kind, FailureGroup> = HashMap::new();
    for failure in failures {
        let group = groups
            .entry(failure.kind())
            .or_insert_with(|| FailureGroup {
                count: 0,
                first: failure.at.unix,
                last: failure.clone(),
            });
        group.count += failure.count;
        group.first = group.first.min(failure.at.unix);
        if failure.at.unix >= group.last.at.unix {
            group.last = failure;
        }
    }
    let mut groups: Vec<FailureGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| (Reverse(group.count), Reverse(group.last.at.monotonic)));
    groups.truncate(MOST_REPORTED);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn failure(label: &str, at: u64) -> Failure {
        let frame = |file: &str, line| Frame {
            function: "view".to_owned(),
            file: file.to_owned(),
            line,
        };
        Failure {
            at: Moment {
                monotonic: at,
                unix: at / 1_000_000,
            },
            worker: 3,
            label: label.to_owned(),
            status: 500,
            request_id: b"4bf9".to_vec(),
            cause: Cause {
                exception: "sqlite3.OperationalError".to_owned(),
                message: "no such table: käse".to_owned(),
                frames: vec![
                    frame("/usr/lib/python3.12/site-packages/flask/app.py", 7),
                    frame("/srv/shop/orders.py", 9),
                ],
            },
            count: 1,
        }
    }

    #[test]
    fn a_failure_survives_its_record() {
        for failure in [
            failure("GET /orders/*", 7),
            Failure {
                status: 0,
                cause: Cause::default(),
                ..failure("", 0)
            },
        ] {
            let bytes = failure.encode();
            assert_eq!(Failure::decode(&bytes), Some(failure));
            for length in 0..bytes.len() {
                assert_eq!(Failure::decode(&bytes[..length]), None);
            }
            assert_eq!(Failure::decode(&[&bytes[..], b"x"].concat()), None);
        }
    }

    #[test]
    fn a_long_traceback_and_a_long_message_are_cut() {
        let mut long = failure("GET /", 1);
        long.cause.message = "x".repeat(10_000);
        long.cause.frames = vec![long.cause.frames[1].clone(); 500];
        let read = Failure::decode(&long.encode()).unwrap();
        assert_eq!(read.cause.frames.len(), MOST_FAILURE_FRAMES);
        assert!(read.cause.message.len() <= MOST_MESSAGE);
    }

    #[test]
    fn failures_that_are_alike_share_a_record_a_second_and_all_are_counted() {
        let mut pending = PendingFailures::default();
        let mut recorded: Vec<(u64, u64)> = Vec::new();
        for tenth in 0..35 {
            let at = SECOND + tenth * SECOND / 10;
            let due = pending.due(at);
            let added = pending.add(failure("GET /", at));
            let records = due.into_iter().chain(added);
            recorded.extend(records.map(|record| (tenth, record.count)));
        }
        assert_eq!(recorded, [(0, 1), (10, 9), (20, 10), (30, 10)]);
        assert!(!pending.is_empty());
        assert_eq!(pending.due(9 * SECOND)[0].count, 5);
        assert!(pending.is_empty());
        // Without anything that makes it due in between.
        pending.put_back(&failure("GET /", 9 * SECOND));
        pending.add(failure("GET /", 9 * SECOND + 1));
        let late = pending.add(failure("GET /", 11 * SECOND)).unwrap();
        assert_eq!(late.count, 3);
        assert_eq!(
            pending
                .add(failure("GET /other", 11 * SECOND))
                .unwrap()
                .count,
            1
        );
    }

    #[test]
    fn kinds_are_bounded_and_forgotten() {
        let mut pending = PendingFailures::default();
        let label = |number: usize| format!("GET /{number}");
        for number in 0..MOST_KINDS {
            assert!(pending.add(failure(&label(number), 1)).is_some());
        }
        let other = pending.add(failure(&label(MOST_KINDS), 1)).unwrap();
        assert_eq!(
            (&*other.label, other.cause),
            (OTHER_REQUESTS, Cause::default())
        );
        assert!(pending.add(failure(&label(MOST_KINDS + 1), 1)).is_none());
        assert_eq!(pending.kinds.len(), MOST_KINDS + 1);
        assert_eq!(pending.due(2 * SECOND).len(), 1);
        pending.due(2 * SECOND + REMEMBERED);
        assert_eq!(pending.kinds.len(), 0);
    }

    #[test]
    fn failures_are_grouped_by_what_they_have_in_common() {
        let counted = |label: &str, at, count| Failure {
            count,
            ..failure(label, at)
        };
        let mut moved = counted("GET /a", 3 * SECOND, 4);
        // Another version of the file, in which the line is another one.
        moved.cause.frames[1].line = 11;
        let mut elsewhere = counted("GET /a", 4 * SECOND, 1);
        elsewhere.cause.frames[1].function = "other".to_owned();
        let failures = [
            counted("GET /a", SECOND, 1),
            counted("GET /b", 2 * SECOND, 9),
            moved.clone(),
            elsewhere.clone(),
        ];
        let groups = grouped(failures.into_iter());
        let found: Vec<_> = (groups.iter())
            .map(|group| (group.count, group.first, group.last.at.unix))
            .collect();
        assert_eq!(found, [(9, 2000, 2000), (5, 1000, 3000), (1, 4000, 4000)]);
        assert_eq!(groups[1].last, moved);
    }
}
