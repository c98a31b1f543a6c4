//! Publishing: records of the broadcast log go to the responses that wait for them.
//!
//! The event loop reads the log at a cursor of its own. A message to many subscribers is sent in slices of bounded time,
//! so that requests do not wait for all of them. A subscriber whose client does not take what it was sent, or has asked
//! for earlier messages, reads the log at its own place: nothing is queued for it in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_observe::HeldEnd;
use lockgate_push::{Channels, Message, Subscribers};
use lockgate_shm::{Cursor, Log, Read};

use super::EventLoop;
use crate::connection::Protocol;
use crate::connection::turn::Turn;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscriber::Subscriber;

/// Time for deliveries per poll: as for other bulk work.
const PUBLISH_WITHIN: Duration = Duration::from_millis(2);

/// Records that are read at once for a subscriber that is behind, and bytes of them.
const RECORDS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 64 << 10;

/// The time is looked at after this many deliveries.
const DELIVERIES_AT_ONCE: usize = 16;

/// See the module documentation.
pub(super) struct Publishing {
    log: Log,
    /// What the event loop reads next.
    cursor: Cursor,
    channels: Channels<Subscriber>,
    /// Number of responses.
    held: usize,
    /// The channels of each response, by the token of its connection.
    subscriptions: HashMap<u64, Vec<(u32, Names)>>,
    /// The message that is being delivered.
    current: Option<Current>,
    /// Subscribers for which records are to be read.
    behind: VecDeque<Subscriber>,
    /// A subscriber that is behind comes next, before the current message continues.
    is_turn_of_behind: bool,
    record: Vec<u8>,
    /// The log has been written to since the event loop read it last.
    has_news: bool,
    /// Where the event loop was when it was too slow last.
    overrun_from: Option<Cursor>,
    /// Messages that were written to responses since they were counted.
    delivered: u64,
}

/// The names of the channels of one response.
type Names = Box<[Arc<str>]>;

/// A message that is being delivered.
struct Current {
    publication: Arc<Publication>,
    subscribers: Subscribers<Subscriber>,
    /// How many of them have it.
    delivered: usize,
}

/// What is to be done next.
enum Task {
    Deliver(Arc<Publication>),
    CatchUp(Subscriber),
    /// The event loop was too slow: records from this place on have been overwritten.
    Overrun(Cursor),
}

impl Publishing {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            cursor: log.head(),
            channels: Channels::new(),
            held: 0,
            subscriptions: HashMap::new(),
            current: None,
            behind: VecDeque::new(),
            is_turn_of_behind: false,
            record: Vec::new(),
            has_news: false,
            overrun_from: None,
            delivered: 0,
        }
    }

    fn subscribe(&mut self, subscriber: Subscriber, channels: Names) {
        for channel in &channels {
            self.channels.subscribe(channel, subscriber);
        }
        let of_connection = self.subscriptions.entry(subscriber.token).or_default();
        of_connection.push((subscriber.stream, channels));
        self.held += 1;
    }

    fn unsubscribe(&mut self, subscriber: Subscriber) {
        let Some(of_connection) = self.subscriptions.get_mut(&subscriber.token) else {
            return;
        };
        let mut streams = of_connection.iter();
        if let Some(position) = streams.position(|(stream, _)| *stream == subscriber.stream) {
            let (_, channels) = of_connection.swap_remove(position);
            self.held -= 1;
            for channel in &channels {
                self.channels.unsubscribe(channel, subscriber);
            }
        }
        if of_connection.is_empty() {
            self.subscriptions.remove(&subscriber.token);
        }
    }

    /// The connection is closed.
    pub(super) fn remove_connection(&mut self, token: u64) {
        for (stream, channels) in self.subscriptions.remove(&token).unwrap_or_default() {
            self.held -= 1;
            for channel in &channels {
                self.channels
                    .unsubscribe(channel, Subscriber { token, stream });
            }
        }
    }

    /// Whether anything is left to do that no event will announce.
    fn has_work(&self) -> bool {
        self.has_news || self.current.is_some() || !self.behind.is_empty()
    }

    fn next_task(&mut self) -> Option<Task> {
        self.is_turn_of_behind = !self.is_turn_of_behind;
        if (self.is_turn_of_behind || self.current.is_none())
            && let Some(subscriber) = self.behind.pop_front()
        {
            return Some(Task::CatchUp(subscriber));
        }
        if self.current.is_none()
            && let Some(overrun) = self.read_next()
        {
            return Some(Task::Overrun(overrun));
        }
        let current = self.current.as_ref()?;
        Some(Task::Deliver(Arc::clone(&current.publication)))
    }

    /// Makes the next record that has subscribers here the current one. Returns the place of records that were lost.
    fn read_next(&mut self) -> Option<Cursor> {
        loop {
            let starts_at = self.cursor;
            match self.log.read(&mut self.cursor, &mut self.record) {
                Read::Record { .. } => {}
                Read::UpToDate => {
                    self.has_news = false;
                    return None;
                }
                Read::Overrun => return Some(starts_at),
            }
            // A record that this version of the program does not know has no subscriber.
            let Some(message) = Message::decode(&self.record) else {
                continue;
            };
            if let Some(subscribers) = self.channels.subscribers(&message.channel) {
                let publication = Publication::new(message, starts_at, self.cursor);
                self.current = Some(Current {
                    publication: Arc::new(publication),
                    subscribers,
                    delivered: 0,
                });
                return None;
            }
        }
    }

    /// The next subscriber of the current message.
    fn next_subscriber(&mut self) -> Option<Subscriber> {
        let current = self.current.as_mut()?;
        let next = current.subscribers.get(current.delivered).copied();
        current.delivered += 1;
        if next.is_none() {
            self.current = None;
        }
        next
    }
}

impl EventLoop {
    /// A response waits for messages from now on, or the channels of a subscriber may be others. It is in its slot, unless
    /// its client has gone already.
    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        self.take_news_of_subscribers();
        let Some(publishing) = &mut self.publishing else {
            return;
        };
        let cursor = publishing.cursor;
        let Some(slot) = self.slots.get(subscriber.token) else {
            return;
        };
        let mut state = slot.lock();
        let Some(connection) = state.connection.as_mut() else {
            return;
        };
        let Some(channels) = connection.channels(subscriber.stream) else {
            return;
        };
        if !channels.take_change() {
            return;
        }
        // Records that the event loop has read since the channels looked at the log would be missing.
        if channels.joins_at(cursor) {
            publishing.behind.push_back(subscriber);
        }
        publishing.unsubscribe(subscriber);
        publishing.subscribe(subscriber, channels.names().map(Arc::clone).collect());
    }

    /// The application has answered a request that was made for a subscriber.
    pub(super) fn take_answer(
        &mut self,
        subscriber: Subscriber,
        number: u64,
        answer: Option<StoredResponse>,
    ) {
        let Some(mut connection) = self.slots.take(subscriber.token) else {
            return;
        };
        connection.take_answer(subscriber.stream, number, answer, &mut self.turn);
        self.drive(connection);
        self.subscribe(subscriber);
    }

    fn take_news_of_subscribers(&mut self) {
        if let Some(publishing) = &mut self.publishing {
            for subscriber in self.turn.unsubscribed.drain(..) {
                publishing.unsubscribe(subscriber);
            }
            publishing.behind.extend(self.turn.behind.drain(..));
        }
    }

    /// The log has new records.
    pub(super) fn on_published(&mut self) {
        if let Some(publishing) = &mut self.publishing {
            publishing.has_news = true;
        }
    }

    /// Publishes the number of responses that wait for messages to the other processes.
    pub(super) fn record_held(&self) {
        if let (Some(publishing), Some(counters)) =
            (&self.publishing, self.context.metrics.counted())
        {
            counters.record_held(publishing.held as u64);
        }
    }

    /// Number of responses that wait for messages.
    #[cfg(test)]
    pub fn subscribers(&mut self) -> usize {
        self.take_news_of_subscribers();
        let publishing = self.publishing.as_ref();
        publishing.map_or(0, |publishing| publishing.held)
    }

    /// Whether the event loop has messages to deliver.
    pub(super) fn has_publications(&self) -> bool {
        let publishing = self.publishing.as_ref();
        publishing.is_some_and(|publishing| publishing.has_work()) || !self.turn.behind.is_empty()
    }

    /// Delivers messages for a bounded time.
    pub(super) fn deliver_messages(&mut self) {
        if self.publishing.is_none() {
            return;
        }
        self.take_news_of_subscribers();
        let began = Instant::now();
        loop {
            let publishing = self.publishing.as_mut();
            match publishing.and_then(|publishing| publishing.next_task()) {
                None => break,
                Some(Task::CatchUp(subscriber)) => self.read_for(subscriber),
                Some(Task::Overrun(from)) => self.on_overrun(from),
                Some(Task::Deliver(publication)) => self.deliver(&publication),
            }
            if began.elapsed() >= PUBLISH_WITHIN {
                break;
            }
        }
        self.count_messages();
    }

    fn count_messages(&mut self) {
        if let (Some(publishing), Some(counters)) =
            (&mut self.publishing, self.context.metrics.counted())
        {
            counters.record_delivered(std::mem::take(&mut publishing.delivered));
        }
    }

    /// Delivers a message to some of its subscribers. Those of one connection follow each other, as a rule: their output
    /// is sent together.
    fn deliver(&mut self, publication: &Publication) {
        let mut present: Option<Box<dyn Protocol>> = None;
        for _ in 0..DELIVERIES_AT_ONCE {
            let publishing = self.publishing.as_mut();
            let Some(subscriber) = publishing.and_then(|publishing| publishing.next_subscriber())
            else {
                break;
            };
            let is_same = |connection: &mut Box<dyn Protocol>| {
                connection.link().slot.token() == subscriber.token
            };
            if let Some(last) = present.take_if(|connection| !is_same(connection)) {
                self.drive(last);
            }
            if present.is_none() {
                present = self.slots.take(subscriber.token);
            }
            if let Some(connection) = &mut present {
                let stream = subscriber.stream;
                let delivery = deliver_to(connection, stream, publication, &mut self.turn);
                if let Some(publishing) = &mut self.publishing {
                    publishing.delivered += u64::from(delivery == Delivery::Written);
                }
            }
        }
        if let Some(last) = present {
            self.drive(last);
        }
    }

    /// Reads some records for a subscriber that is behind.
    fn read_for(&mut self, subscriber: Subscriber) {
        let Some(mut connection) = self.slots.take(subscriber.token) else {
            return;
        };
        let Some(publishing) = &mut self.publishing else {
            return self.put_back(connection);
        };
        let stream = subscriber.stream;
        let reads_from = connection
            .channels(stream)
            .and_then(|channels| channels.reads_from());
        let Some(reads_from) = reads_from else {
            return self.put_back(connection);
        };
        let mut cursor = reads_from;
        let mut bytes = 0;
        let mut is_lost = false;
        for _ in 0..RECORDS_AT_ONCE {
            if cursor >= publishing.cursor || bytes >= BYTES_AT_ONCE {
                break;
            }
            let starts_at = cursor;
            match publishing.log.read(&mut cursor, &mut publishing.record) {
                Read::Record { .. } => {}
                Read::UpToDate => break,
                Read::Overrun => {
                    is_lost = true;
                    break;
                }
            }
            let Some(message) = Message::decode(&publishing.record) else {
                continue;
            };
            // The response may be complete by now.
            let Some(channels) = connection.channels(stream) else {
                break;
            };
            if channels.has(&message.channel) {
                bytes += publishing.record.len();
                let publication = Publication::new(message, starts_at, cursor);
                match connection.publish(stream, &publication, &mut self.turn) {
                    Delivery::Nothing => {}
                    Delivery::Written => publishing.delivered += 1,
                    Delivery::Postponed => return self.drive(connection),
                }
            }
        }
        let is_live = cursor >= publishing.cursor;
        let now = self.turn.now;
        if let Some(channels) = connection.channels(stream) {
            if is_lost {
                channels.lose_records();
            } else if is_live {
                channels.go_live();
            } else {
                channels.continue_from(cursor);
            }
        }
        if is_lost {
            let reason = match publishing.overrun_from == Some(reads_from) {
                true => HeldEnd::Overrun,
                false => HeldEnd::ClientTooSlow,
            };
            if let Some(counters) = self.context.metrics.counted() {
                counters.record_held_end(reason);
            }
            self.context
                .report_lost_records(&connection.link().client, now);
        }
        self.drive(connection);
    }

    /// Records have been overwritten before the event loop has read them: each subscriber finds out whether it needs
    /// them.
    fn on_overrun(&mut self, from: Cursor) {
        let Some(publishing) = &mut self.publishing else {
            return;
        };
        publishing.overrun_from = Some(from);
        for (token, streams) in &publishing.subscriptions {
            let Some(slot) = self.slots.get(*token) else {
                continue;
            };
            let mut state = slot.lock();
            let Some(connection) = state.connection.as_mut() else {
                continue;
            };
            for (stream, _) in streams {
                if let Some(channels) = connection.channels(*stream)
                    && channels.reads_from().is_none()
                {
                    channels.continue_from(from);
                    channels.asks_for_records();
                    let (token, stream) = (*token, *stream);
                    publishing.behind.push_back(Subscriber { token, stream });
                }
            }
        }
    }
}

/// Delivers a message to a subscriber that gets messages as they come.
fn deliver_to(
    connection: &mut Box<dyn Protocol>,
    stream: u32,
    publication: &Publication,
    turn: &mut Turn,
) -> Delivery {
    let takes_messages = connection.takes_messages(stream);
    let Some(channels) = connection.channels(stream) else {
        return Delivery::Nothing;
    };
    if channels.reads_from().is_some() {
        return Delivery::Nothing;
    }
    if !takes_messages {
        channels.continue_from(publication.starts_at());
        return Delivery::Nothing;
    }
    connection.publish(stream, publication, turn)
}
