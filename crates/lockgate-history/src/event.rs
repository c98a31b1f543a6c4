//! Events: what has happened to a server that its operator should know when something is wrong.

use lockgate_observe::{Level, without_middle};

use crate::bytes::{Reader, Writer};
use crate::point::Moment;

/// Bytes of the text of an event: a traceback is cut in the middle.
pub const MOST_TEXT: usize = 4096;

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The server has started.
    Start,
    /// A reload has begun.
    ReloadBegun,
    /// New workers have taken over.
    ReloadDone,
    /// A reload has failed, and the old workers serve.
    ReloadFailed,
    /// The canary period has caught a bad version.
    RolledBack,
    /// An upgrade in place: its beginning, its end, its failure.
    Upgrade,
    /// A worker has exited without having been asked to.
    WorkerDied,
    /// A worker is replaced, for one of the `max_` settings.
    WorkerRecycled,
    /// A worker makes no progress.
    WorkerNotAnswering,
    /// The number of workers has changed.
    Resized,
    /// A certificate is in use from now on.
    CertificateRenewed,
    /// The server has been asked to stop.
    Stop,
    /// Maintenance was switched.
    Maintenance,
    /// Any other warning or error of the supervisor.
    Log,
    /// Requests are refused or expire in the queue.
    OverloadBegun,
    /// None has been for a while.
    OverloadEnded,
    /// A rate limit has begun to refuse.
    RateLimited,
    /// Entries of the cache were purged.
    CachePurged,
    /// The clock was set, or the machine was suspended.
    ClockChanged,
}

impl EventKind {
    /// Every kind, in the order of their numbers in records.
    pub const ALL: [Self; 19] = [
        Self::Start,
        Self::ReloadBegun,
        Self::ReloadDone,
        Self::ReloadFailed,
        Self::RolledBack,
        Self::Upgrade,
        Self::WorkerDied,
        Self::WorkerRecycled,
        Self::WorkerNotAnswering,
        Self::Resized,
        Self::CertificateRenewed,
        Self::Stop,
        Self::Maintenance,
        Self::Log,
        Self::OverloadBegun,
        Self::OverloadEnded,
        Self::RateLimited,
        Self::CachePurged,
        Self::ClockChanged,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::ReloadBegun => "reload_begun",
            Self::ReloadDone => "reload_done",
            Self::ReloadFailed => "reload_failed",
            Self::RolledBack => "rolled_back",
            Self::Upgrade => "upgrade",
            Self::WorkerDied => "worker_died",
            Self::WorkerRecycled => "worker_recycled",
            Self::WorkerNotAnswering => "worker_not_answering",
            Self::Resized => "resized",
            Self::CertificateRenewed => "certificate_renewed",
            Self::Stop => "stop",
            Self::Maintenance => "maintenance",
            Self::Log => "log",
            Self::OverloadBegun => "overload_begun",
            Self::OverloadEnded => "overload_ended",
            Self::RateLimited => "rate_limited",
            Self::CachePurged => "cache_purged",
            Self::ClockChanged => "clock_changed",
        }
    }
}

/// What a log message is about, if it is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSubject {
    /// Its kind.
    pub kind: EventKind,
    /// The slot of the worker that it is about.
    pub worker: Option<usize>,
}

impl From<EventKind> for EventSubject {
    /// About no single worker.
    fn from(kind: EventKind) -> Self {
        Self { kind, worker: None }
    }
}

impl EventSubject {
    /// About the worker in this slot.
    pub fn of_worker(kind: EventKind, slot: usize) -> Self {
        Self {
            kind,
            worker: Some(slot),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// Its kind.
    pub kind: EventKind,
    /// Its level in the error log.
    pub level: Level,
    /// The slot of the worker that it is about.
    pub worker: Option<usize>,
    /// The generation that served, or that it is about.
    pub generation: u64,
    /// What the error log says, without query strings.
    pub text: String,
}

const LEVELS: [Level; 5] = [
    Level::Debug,
    Level::Info,
    Level::Warning,
    Level::Error,
    Level::Critical,
];

impl Event {
    /// Its id: later events of a server have a higher one, however its clock is set. Microseconds of the monotonic clock.
    pub fn id(&self) -> u64 {
        self.at.monotonic / 1000
    }

    /// The record of the event. Its text loses query strings, and the middle if it is very long.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.finish()
    }

    /// The event of a record; `None` if it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Self::read(&mut reader).filter(|_| reader.is_empty())
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        let kind = EventKind::ALL.iter().position(|kind| *kind == self.kind);
        let level = LEVELS.iter().position(|level| *level == self.level);
        writer.numbers(&[
            self.at.monotonic,
            self.at.unix,
            kind.unwrap_or_default() as u64,
            level.unwrap_or_default() as u64,
            self.worker.map_or(0, |slot| slot as u64 + 1),
            self.generation,
        ]);
        let text = without_queries(&self.text);
        writer.bytes(&without_middle(text.as_bytes(), MOST_TEXT));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [monotonic, unix, kind, level, worker, generation] = reader.numbers()?;
        let index = |number: u64| usize::try_from(number).ok();
        Some(Self {
            at: Moment { monotonic, unix },
            kind: *EventKind::ALL.get(index(kind)?)?,
            level: *LEVELS.get(index(level)?)?,
            worker: worker.checked_sub(1).and_then(index),
            generation,
            text: reader.text()?,
        })
    }
}

/// A text without the query strings of the targets in it: an exit report lists the requests that were in flight.
fn without_queries(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some(found) = rest.find('?') {
        let (before, after) = rest.split_at(found);
        kept.push_str(before);
        // Whitespace may be longer than a byte: an exception's text is in any language.
        let word = (before.rsplit(char::is_whitespace).next()).unwrap_or_default();
        // Without anything after it, it asks, or the query string is empty.
        let is_last = (after[1..].chars().next()).is_none_or(char::is_whitespace);
        if is_last || !word.contains('/') {
            kept.push('?');
            rest = &after[1..];
            continue;
        }
        let is_quoted = word.starts_with('"');
        let end = after.char_indices().find(|&(at, letter)| match letter {
            // Targets are escaped.
            '"' => is_quoted && !after[..at].ends_with('\\'),
            letter => letter.is_whitespace(),
        });
        rest = end.map_or("", |(at, _)| &after[at..]);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn event(text: &str) -> Event {
        Event {
            at: Moment {
                monotonic: 7_000_999,
                unix: 1_790_000_000_000,
            },
            kind: EventKind::WorkerDied,
            level: Level::Error,
            worker: Some(0),
            generation: 4,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_event_survives_its_record() {
        for kind in EventKind::ALL {
            for level in LEVELS {
                for worker in [None, Some(0), Some(255)] {
                    let event = Event {
                        kind,
                        level,
                        worker,
                        ..event("käse\n  \"x\"")
                    };
                    assert_eq!(Event::decode(&event.encode()), Some(event));
                }
            }
        }
        let names: HashSet<_> = EventKind::ALL.map(EventKind::name).into();
        assert_eq!(names.len(), EventKind::ALL.len());
        assert_eq!(event("").id(), 7000);
        let bytes = event("text").encode();
        for length in 0..bytes.len() {
            assert_eq!(Event::decode(&bytes[..length]), None);
        }
        assert_eq!(Event::decode(&[&bytes[..], b"x"].concat()), None);
    }

    #[test]
    fn no_text_has_a_query_string() {
        for (text, expected) in [
            ("why? because", "why? because"),
            ("is it /a/b? yes", "is it /a/b? yes"),
            ("is it /a/b?", "is it /a/b?"),
            ("is it /a/b?\n/c?d", "is it /a/b?\n/c"),
            (
                "GET /a?token=1&b=/c?d of ::1\n  GET /b?x",
                "GET /a of ::1\n  GET /b",
            ),
            ("GET /a?token=1... of ::1", "GET /a of ::1"),
            ("\"/a?b\"?", "\"/a\"?"),
            ("\"/a?b\\\"c\" fails", "\"/a\" fails"),
            ("GET /a\\\"b?token=1 of ::1", "GET /a\\\"b of ::1"),
            ("GET /a?x=\\\"token\\\" of ::1", "GET /a of ::1"),
            ("GET /a?x=\"token\" of ::1", "GET /a of ::1"),
            ("who? GET /a\u{a0}/b?token", "who? GET /a\u{a0}/b"),
            (
                "何\u{3000}か?\u{2028}/a?b\u{85}c",
                "何\u{3000}か?\u{2028}/a\u{85}c",
            ),
            ("GET /größe?token=ß\n/b?c", "GET /größe\n/b"),
            ("https://shop.example?t=1", "https://shop.example"),
            ("?", "?"),
            ("", ""),
        ] {
            let read = Event::decode(&event(text).encode()).unwrap();
            assert_eq!(read.text, expected);
        }
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        for letter in ["x", "é", "日"] {
            let long = format!("first {}{} last", letter.repeat(3000), letter.repeat(3000));
            let text = Event::decode(&event(&long).encode()).unwrap().text;
            assert!(text.len() <= MOST_TEXT, "{}", text.len());
            assert!(text.starts_with("first ") && text.ends_with(" last"));
            assert!(text.contains("\n[...]\n"));
        }
        let fits = "x".repeat(MOST_TEXT);
        assert_eq!(Event::decode(&event(&fits).encode()).unwrap().text, fits);
    }
}
