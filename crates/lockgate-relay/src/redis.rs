//! The stream in Redis: its commands, and the names of its keys.
//!
//! Needs Redis 5 (streams) and no scripts.

use lockgate_config::RedisAddress;

use crate::connection::{Commands, Connection, TimeLimits};
use crate::failure::Failure;
use crate::resp::Reply;
use crate::server::{Entry, EntryId, Server, StreamState};

/// Entries that the stream keeps, about: Redis removes whole nodes of the stream.
const LENGTH: i64 = 10_000;
/// How long Redis keeps what it knows of a server that has gone.
const KEPT: &[u8] = b"604800";
/// How long a read waits, in milliseconds.
const WAIT: &[u8] = b"5000";
/// Entries of one read.
const ENTRIES: &[u8] = b"128";
/// Names of the fields of an entry.
const ORIGIN: &str = "origin";
const RECORD: &str = "record";

/// See the module.
pub(crate) struct Redis {
    connection: Connection,
    keys: Keys,
}

/// What belongs to one server.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    origin: String,
    stream: Vec<u8>,
    sent: Vec<u8>,
    read: Vec<u8>,
}

impl Keys {
    /// `tag` is one hash tag, and so all keys have one place in a cluster.
    pub(crate) fn new(tag: &str, origin: String) -> Self {
        let key = |what: &str| format!("lockgate:{{{tag}}}:{what}:{origin}").into_bytes();
        Self {
            stream: format!("lockgate:{{{tag}}}:stream").into_bytes(),
            sent: key("sent"),
            read: key("read"),
            origin,
        }
    }
}

impl Redis {
    pub(crate) fn connect(address: &RedisAddress, keys: &Keys) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::open(address, TimeLimits::STREAMS)?,
            keys: keys.clone(),
        })
    }

    /// The answers to this number of commands.
    fn ask<const COUNT: usize>(&mut self, commands: &Commands) -> Result<[Reply; COUNT], Failure> {
        let replies = self.connection.ask(commands)?;
        replies
            .try_into()
            .map_err(|_| Failure::unusable("a command"))
    }
}

impl Server for Redis {
    fn sent(&mut self) -> Result<Option<u64>, Failure> {
        let mut commands = Commands::default();
        commands.add(&[b"WATCH", &self.keys.sent]);
        commands.add(&[b"GET", &self.keys.sent]);
        // Another type of key would make XADD fail inside of the transaction, which does not undo the rest.
        commands.add(&[b"XLEN", &self.keys.stream]);
        let [_, sent, _] = self.ask(&commands)?;
        Ok(sent.into_text().and_then(|text| text.parse().ok()))
    }

    fn send(&mut self, records: &[Vec<u8>], last: u64) -> Result<bool, Failure> {
        let length = LENGTH.to_string();
        let mut commands = Commands::default();
        commands.add(&[b"MULTI"]);
        for record in records {
            commands.add(&[
                b"XADD",
                &self.keys.stream,
                b"MAXLEN",
                b"~",
                length.as_bytes(),
                b"*",
                ORIGIN.as_bytes(),
                self.keys.origin.as_bytes(),
                RECORD.as_bytes(),
                record,
            ]);
        }
        let last = last.to_string();
        commands.add(&[b"SET", &self.keys.sent, last.as_bytes(), b"EX", KEPT]);
        commands.add(&[b"EXEC"]);
        // For the next transaction; the end of this one has ended the watch.
        commands.add(&[b"WATCH", &self.keys.sent]);
        let mut replies = self.connection.ask(&commands)?;
        let _watch = replies.pop();
        match replies.pop() {
            Some(Reply::Nil) => Ok(false),
            Some(Reply::List(results)) => {
                let error = results.iter().find_map(|result| match result {
                    Reply::Error(error) => Some(Failure::refused("XADD", error)),
                    _ => None,
                });
                error.map_or(Ok(true), Err)
            }
            _ => Err(Failure::unusable("EXEC")),
        }
    }

    fn state(&mut self) -> Result<StreamState, Failure> {
        let mut commands = Commands::default();
        commands.add(&[b"XRANGE", &self.keys.stream, b"-", b"+", b"COUNT", b"1"]);
        commands.add(&[b"XREVRANGE", &self.keys.stream, b"+", b"-", b"COUNT", b"1"]);
        commands.add(&[b"XLEN", &self.keys.stream]);
        commands.add(&[b"GET", &self.keys.read]);
        commands.add(&[b"TIME"]);
        let [first, last, length, read, time] = self.ask(&commands)?;
        let id = |reply: Reply| {
            let entries = entries(reply)?;
            Some(entries.first().map(|entry| entry.id).unwrap_or_default())
        };
        Ok(StreamState {
            first: id(first).ok_or_else(|| Failure::unusable("XRANGE"))?,
            last: id(last).ok_or_else(|| Failure::unusable("XREVRANGE"))?,
            is_full: matches!(length, Reply::Number(length) if length >= LENGTH),
            read: read.into_text().and_then(|text| EntryId::parse(&text)),
            milliseconds: milliseconds(time).ok_or_else(|| Failure::unusable("TIME"))?,
        })
    }

    fn read(&mut self, after: EntryId) -> Result<Vec<Entry>, Failure> {
        let mut commands = Commands::default();
        commands.add(&[
            b"XREAD",
            b"COUNT",
            ENTRIES,
            b"BLOCK",
            WAIT,
            b"STREAMS",
            &self.keys.stream,
            after.to_string().as_bytes(),
        ]);
        let [reply] = self.ask(&commands)?;
        entries_read(reply).ok_or_else(|| Failure::unusable("XREAD"))
    }

    fn remember(&mut self, position: EntryId) -> Result<(), Failure> {
        let mut commands = Commands::default();
        let position = position.to_string();
        commands.add(&[b"SET", &self.keys.read, position.as_bytes(), b"EX", KEPT]);
        self.connection.ask(&commands).map(drop)
    }
}

/// The answer to XREAD: for each stream, of which there is one, its name and its entries.
fn entries_read(reply: Reply) -> Option<Vec<Entry>> {
    match reply.into_list()?.pop() {
        None => Some(Vec::new()),
        Some(stream) => entries(stream.into_list()?.pop()?),
    }
}

fn entries(reply: Reply) -> Option<Vec<Entry>> {
    reply.into_list()?.into_iter().map(entry).collect()
}

/// An id, and a list of names and values.
fn entry(reply: Reply) -> Option<Entry> {
    let [id, fields] = reply.into_list()?.try_into().ok()?;
    let mut entry = Entry {
        id: EntryId::parse(&id.into_text()?)?,
        origin: String::new(),
        record: Vec::new(),
    };
    let mut fields = fields.into_list()?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name.into_text().as_deref() {
            Some(ORIGIN) => entry.origin = value.into_text().unwrap_or_default(),
            Some(RECORD) => entry.record = value.into_bytes()?,
            _ => {}
        }
    }
    Some(entry)
}

/// Seconds and microseconds, as strings.
fn milliseconds(time: Reply) -> Option<u64> {
    let [seconds, microseconds] = time.into_list()?.try_into().ok()?;
    let number = |reply: Reply| reply.into_text()?.parse::<u64>().ok();
    Some(number(seconds)?.saturating_mul(1000) + number(microseconds)? / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::read_reply;

    #[test]
    fn the_answers_to_xread_are_read() {
        let id = EntryId {
            milliseconds: 7,
            number: 1,
        };
        let entry = |origin: &str, record: &[u8]| Entry {
            id,
            origin: origin.to_owned(),
            record: record.to_vec(),
        };
        let with =
            |fields: &str| format!("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n7-1\r\n{fields}");
        for (bytes, expected) in [
            ("*-1\r\n".to_owned(), Some(Vec::new())),
            (
                with("*4\r\n$6\r\norigin\r\n$1\r\na\r\n$6\r\nrecord\r\n$2\r\nbc\r\n"),
                Some(vec![entry("a", b"bc")]),
            ),
            (
                with("*2\r\n$1\r\nx\r\n$1\r\ny\r\n"),
                Some(vec![entry("", b"")]),
            ),
            (with("*-1\r\n"), Some(vec![entry("", b"")])),
            (with(":7\r\n"), None),
            ("+OK\r\n".to_owned(), None),
            ("*1\r\n:7\r\n".to_owned(), None),
        ] {
            let reply = read_reply(&mut bytes.as_bytes()).unwrap();
            assert_eq!(entries_read(reply), expected, "{bytes}");
        }
    }

    #[test]
    fn the_keys_of_a_server_have_the_hash_tag_of_the_stream() {
        let keys = Keys::new("push", "1f".to_owned());
        assert_eq!(keys.stream, b"lockgate:{push}:stream");
        assert_eq!(keys.sent, b"lockgate:{push}:sent:1f");
        assert_eq!(keys.read, b"lockgate:{push}:read:1f");
    }
}
