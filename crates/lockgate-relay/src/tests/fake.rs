//! A stream in memory in place of Redis, with several connections to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use lockgate_push::{Content, Message};
use lockgate_shm::{Log, LogPlan};

use crate::failure::Failure;
use crate::server::{Entry, EntryId, Server, StreamState};
use crate::traffic::{Messages, Traffic};

/// Of a clock in nanoseconds.
pub(super) const MILLISECOND: u64 = 1_000_000;

/// Bytes of the largest message.
pub(super) const LIMIT: usize = 200;

/// Messages in this log are relayed.
pub(super) fn messages(log: Log) -> Arc<dyn Traffic> {
    Arc::new(Messages { log, limit: LIMIT })
}

/// A connection of one server to the stream.
pub(super) struct FakeServer {
    origin: &'static str,
    data: Arc<Mutex<Data>>,
    watched: Option<u64>,
    /// What is lost at the next transaction.
    pub(super) broken: Option<Broken>,
    /// Entries that the stream keeps.
    pub(super) length: usize,
}

/// What a connection that breaks loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Request,
    Answer,
}

#[derive(Default)]
struct Data {
    milliseconds: u64,
    entries: Vec<Entry>,
    sent: HashMap<&'static str, u64>,
    /// Counts the changes of `sent`.
    version: u64,
    read: HashMap<&'static str, EntryId>,
}

impl FakeServer {
    pub(super) fn new(origin: &'static str) -> Self {
        let data = Data {
            milliseconds: 1_000_000,
            ..Data::default()
        };
        Self {
            origin,
            data: Arc::new(Mutex::new(data)),
            watched: None,
            broken: None,
            length: usize::MAX,
        }
    }

    pub(super) fn another_connection(&self) -> Self {
        self.connect(self.origin)
    }

    /// A connection of another server to the same stream.
    pub(super) fn connect(&self, origin: &'static str) -> Self {
        Self {
            data: Arc::clone(&self.data),
            ..Self::new(origin)
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.data().entries.clone()
    }

    pub(super) fn add(&self, origin: &str, record: Vec<u8>) {
        let mut data = self.data();
        let last = data
            .entries
            .last()
            .map(|entry| entry.id)
            .unwrap_or_default();
        let id = match data.milliseconds > last.milliseconds {
            true => EntryId {
                milliseconds: data.milliseconds,
                number: 0,
            },
            false => EntryId {
                number: last.number + 1,
                ..last
            },
        };
        data.entries.push(Entry {
            id,
            origin: origin.to_owned(),
            record,
        });
        let excess = data.entries.len().saturating_sub(self.length);
        data.entries.drain(..excess);
    }

    pub(super) fn pass_milliseconds(&self, milliseconds: u64) {
        self.data().milliseconds += milliseconds;
    }

    pub(super) fn set_clock(&self, milliseconds: u64) {
        self.data().milliseconds = milliseconds;
    }

    pub(super) fn lose_data(&self) {
        let mut data = self.data();
        *data = Data {
            milliseconds: data.milliseconds,
            ..Data::default()
        };
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap()
    }
}

impl Server for FakeServer {
    fn sent(&mut self) -> Result<Option<u64>, Failure> {
        let version = self.data().version;
        self.watched = Some(version);
        Ok(self.data().sent.get(self.origin).copied())
    }

    fn send(&mut self, records: &[Vec<u8>], last: u64) -> Result<bool, Failure> {
        let failure = Failure::Unreachable("broken".to_owned());
        let broken = self.broken.take();
        if broken == Some(Broken::Request) {
            return Err(failure);
        }
        let is_watched = self.watched == Some(self.data().version);
        if is_watched {
            for record in records {
                self.add(self.origin, record.clone());
            }
            let mut data = self.data();
            data.sent.insert(self.origin, last);
            data.version += 1;
        }
        let version = self.data().version;
        self.watched = Some(version);
        match broken {
            Some(_) => Err(failure),
            None => Ok(is_watched),
        }
    }

    fn state(&mut self) -> Result<StreamState, Failure> {
        let data = self.data();
        let id = |entry: Option<&Entry>| entry.map(|entry| entry.id).unwrap_or_default();
        Ok(StreamState {
            first: id(data.entries.first()),
            last: id(data.entries.last()),
            is_full: data.entries.len() >= self.length,
            read: data.read.get(self.origin).copied(),
            milliseconds: data.milliseconds,
        })
    }

    fn read(&mut self, after: EntryId) -> Result<Vec<Entry>, Failure> {
        let entries = self.entries().into_iter();
        Ok(entries.filter(|entry| entry.id > after).take(4).collect())
    }

    fn remember(&mut self, position: EntryId) -> Result<(), Failure> {
        self.data().read.insert(self.origin, position);
        Ok(())
    }
}

/// A new log of this size.
pub(super) fn log(size: usize) -> Log {
    let plan = LogPlan { size, channels: 4 };
    let lock_words = (0..plan.lock_words()).map(|_| Default::default()).collect();
    let words = (0..plan.words()).map(|_| Default::default()).collect();
    Log::new(Vec::leak(lock_words), Vec::leak(words), plan, (1, 2)).unwrap()
}

pub(super) fn encoded(content: &str, relayed: Option<&str>) -> Vec<u8> {
    let message = Message {
        channel: "news".to_owned(),
        content: Some(Content::Text(content.to_owned())),
        relayed: relayed.map(str::to_owned),
        ..Message::default()
    };
    let mut record = Vec::new();
    message.encode(&mut record);
    record
}

/// Appends a message with this text.
pub(super) fn publish(log: &Log, content: &str, now: u64, relayed: Option<&str>) {
    log.append(b"news", b"", &encoded(content, relayed), now)
        .unwrap();
}

/// The text of a record.
pub(super) fn message(record: &[u8]) -> String {
    match Message::decode(record).unwrap().content {
        Some(Content::Text(text)) => text,
        content => panic!("{content:?}"),
    }
}
