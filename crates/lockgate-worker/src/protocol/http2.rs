//! One HTTP/2 connection (RFC 9113). The event loop keeps it and reads its frames; each stream has a writer of its own,
//! on the thread that runs its request.
//!
//! Invariant: what the streams share is in [`Shared`], behind one lock, which no thread holds while it waits.

mod ending;
mod frames;
mod sending;
mod shutdown;
mod subscribed;

mod body_source;
mod request_reader;
mod unsent;
mod writer;

mod incoming;
mod open_response;
mod outgoing;
mod record;
mod shared;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::http2::{Connection, Http2Settings};

use self::open_response::SubscribedStream;
use self::record::Unsent;
use self::request_reader::RequestReader;
use self::shared::Shared;
use self::shutdown::Shutdown;
use crate::connection::link::{Link, Read};
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::event_loop::context::Context;
use crate::event_loop::handle::SharedEventLoop;
use crate::exchange::body::minimum_rate::ClientRate;
use crate::exchange::client_identity::ClientIdentity;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscribed_channels::SubscribedChannels;

use crate::transport::outbox::Flushed;

/// Reads from one connection per turn: 16 × 64 KiB, as in HTTP/1.
const READS_AT_ONCE: usize = 16;

/// When a turn has lasted this long, a connection with more input waits for the others: frames that cost work, such as
/// those of a rapid reset, are small.
const READS_WITHIN: Duration = Duration::from_millis(1);

/// Nothing more is read from a client that does not take this much.
const OUTPUT_LIMIT: u64 = 256 << 10;

/// A connection with requests is looked at this often, or less: the event loop may not see that the last one has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A streamed body may fill its window without being read; the windows of all streams fit into that of the connection.
const STREAMED_WINDOW: u32 = 64 << 10;
const STORED_WINDOW: u32 = 256 << 10;

/// An idle connection keeps this many entries of its lists: so its next request needs no allocation for them.
const SPARE_ENTRIES: usize = 4;

/// What the connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Frames are read and sent.
    Open,
    /// All streams are over: what is queued is sent, and then the sending side is closed.
    Ending,
    /// The sending side is closed; the client may still be sending.
    Lingering { until: Instant },
}

/// What the event loop has to do next.
enum Next {
    Wait,
    Again,
    Close,
}

/// See the module documentation.
pub struct Http2 {
    link: Link,
    shared: Arc<Shared>,
    reader: RequestReader,
    /// Responses that are complete and wait for the socket.
    unsent: Unsent,
    phase: Phase,
    going: Shutdown,
    /// How fast the client takes output, and until when it has to take some.
    rate: ClientRate,
    write_deadline: Option<Instant>,
    /// When the first of the bodies that wait for their windows is too late.
    window_deadline: Option<Instant>,
    /// Streams were reset while their requests ran or waited.
    has_abandoned: bool,
    open_streams: usize,
    /// Requests that are with the application.
    running: usize,
    /// A part of a file is being read for one of the responses.
    awaits_file: bool,
    /// Since when there is no request.
    idle_since: Option<Instant>,
    /// Responses that wait for messages.
    subscribed: Vec<Box<SubscribedStream>>,
}

impl Http2 {
    /// `unread`: input that was received already.
    pub fn new(
        context: Arc<Context>,
        event_loop: Arc<SharedEventLoop>,
        link: Link,
        identity: ClientIdentity,
        unread: Vec<u8>,
        now: Instant,
    ) -> Self {
        let mut output = Vec::new();
        let connection = Connection::new(
            settings(&context),
            Arc::clone(&context.limits),
            link.transport.is_encrypted(),
            now,
            &mut output,
        );
        Self {
            shared: Arc::new(Shared::new(context, event_loop, &link, connection, output)),
            link,
            reader: RequestReader::new(identity, unread),
            unsent: Unsent::default(),
            phase: Phase::Open,
            going: Shutdown::default(),
            rate: ClientRate::default(),
            write_deadline: None,
            window_deadline: None,
            has_abandoned: false,
            open_streams: 0,
            running: 0,
            awaits_file: false,
            idle_since: None,
            subscribed: Vec::new(),
        }
    }

    /// Does what is possible now.
    fn step(&mut self, turn: &mut Turn) -> Next {
        if self.link.hung_up {
            return self.lose(turn.now);
        }
        if !self.subscribed.is_empty() {
            self.serve_subscriptions(turn);
        }
        for _ in 0..READS_AT_ONCE {
            if matches!(self.phase, Phase::Lingering { .. }) {
                return self.linger(turn);
            }
            let mut has_output = true;
            if self.may_take_input() {
                match self.read(turn) {
                    Ok(has_news) => has_output = has_news || self.awaits_file,
                    Err(next) => return next,
                }
            }
            if has_output {
                match self.send(turn) {
                    Ok(Flushed::All) if self.phase == Phase::Ending => {
                        self.begin_lingering(turn.now);
                        if turn.now.elapsed() >= READS_WITHIN {
                            // What is read now is dropped: other connections come first.
                            return self.again(turn.now);
                        }
                        continue;
                    }
                    Ok(Flushed::All | Flushed::Blocked | Flushed::Reading) => {}
                    Ok(Flushed::Bounded) => {
                        self.shared.lock().is_marked = true;
                        return self.again(turn.now);
                    }
                    Err(_) => return self.lose(turn.now),
                }
                if self.continue_shutdown(turn.now) {
                    continue;
                }
            }
            if !self.may_take_input() {
                return self.wait(turn);
            }
            if turn.now.elapsed() >= READS_WITHIN {
                break;
            }
        }
        self.again(turn.now)
    }

    /// Whether there is input, and room for what it may cause.
    fn may_take_input(&self) -> bool {
        let has_input = self.link.readable || self.reader.is_paused;
        has_input && self.phase == Phase::Open && self.link.out.len() < OUTPUT_LIMIT
    }

    /// Reads once and takes the frames. Returns whether output may be due.
    fn read(&mut self, turn: &mut Turn) -> Result<bool, Next> {
        let buffer = std::mem::take(&mut turn.buffer);
        let (mut buffer, outcome) = match self.reader.is_paused {
            true => {
                let outcome = self.receive(b"", turn);
                (buffer, outcome)
            }
            false => {
                let mut buffer = buffer;
                let read = self.link.read(&mut buffer);
                let outcome = match read {
                    Read::Bytes(count) => {
                        turn.received += count as u64;
                        self.receive(&buffer[..count], turn)
                    }
                    Read::Blocked | Read::Interrupted => Ok(true),
                    Read::End | Read::Dead => {
                        turn.buffer = buffer;
                        return Err(self.lose(turn.now));
                    }
                };
                (buffer, outcome)
            }
        };
        std::mem::swap(&mut turn.buffer, &mut buffer);
        match outcome {
            Ok(has_output) => Ok(has_output),
            Err(error) => {
                self.fail(error, turn.now);
                Ok(true)
            }
        }
    }

    /// An event or the deadline continues the connection.
    fn wait(&mut self, turn: &mut Turn) -> Next {
        if !self.subscribed.is_empty() {
            self.look_after_subscriptions(turn);
        }
        self.set_deadline(turn.now);
        Next::Wait
    }

    /// There is more to do, but other connections come first.
    fn again(&mut self, now: Instant) -> Next {
        self.set_deadline(now);
        Next::Again
    }

    fn is_idle(&self) -> bool {
        self.open_streams == 0 && self.running == 0
    }

    /// The deadline of the link is the first of those of the connection and its streams.
    fn set_deadline(&mut self, now: Instant) {
        if let Phase::Lingering { .. } = self.phase {
            return;
        }
        if !self.is_idle() {
            self.idle_since = None;
        } else if self.idle_since.is_none() && self.reader.served > 0 {
            self.idle_since = Some(now);
            self.release_memory();
        }
        let config = &self.shared.context.config;
        let mut deadline = match self.idle_since {
            Some(since) => since + config.keep_alive,
            None if self.reader.served > 0 => now + config.keep_alive.max(LOOK_EVERY),
            // No request has come: the time for the first head continues.
            None => self.link.deadline,
        };
        let of_bodies = self.reader.receiving.iter().map(|one| one.deadline).min();
        let of_head = (self.reader.head_began).map(|began| began + config.head_timeout);
        for other in [
            self.write_deadline,
            self.window_deadline,
            self.next_of_subscriptions(now),
            self.going.deadline(),
            of_bodies,
            of_head,
        ] {
            deadline = other.map_or(deadline, |other| deadline.min(other));
        }
        self.link.deadline = deadline;
    }

    /// A connection that becomes idle keeps no memory of the streams that it had before.
    fn release_memory(&mut self) {
        self.reader.receiving.shrink_to(SPARE_ENTRIES);
        self.unsent.shrink(SPARE_ENTRIES);
        self.shared.lock().shrink(SPARE_ENTRIES);
    }

    fn drive_on(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        match self.step(turn) {
            Next::Wait => Driven::Wait(self),
            Next::Again => Driven::Again(self),
            Next::Close => self.close(),
        }
    }
}

impl Protocol for Http2 {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn drive(self: Box<Self>, turn: &mut Turn) -> Driven {
        self.drive_on(turn)
    }

    fn expire(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        match self.time_out(turn) {
            Some(Next::Close) => self.close(),
            _ => self.drive_on(turn),
        }
    }

    fn channels(&mut self, stream: u32) -> Option<&mut SubscribedChannels> {
        Some(self.find_subscription(stream)?.channels())
    }

    fn takes_messages(&self, stream: u32) -> bool {
        self.has_room(stream)
    }

    fn take_answer(
        &mut self,
        stream: u32,
        number: u64,
        answer: Option<StoredResponse>,
        turn: &mut Turn,
    ) {
        self.take_page(stream, number, answer.as_ref(), turn);
    }

    fn publish(&mut self, stream: u32, publication: &Publication, turn: &mut Turn) -> Delivery {
        self.take_publication(stream, publication, turn)
    }

    fn activity(&self) -> Activity {
        if matches!(self.phase, Phase::Lingering { .. }) {
            Activity::Lingering
        } else if !self.reader.receiving.is_empty() {
            Activity::ReceivingBody
        } else if self.link.has_output() {
            Activity::Sending
        } else if self.reader.served > 0
            && self.is_idle()
            && !self.reader.has_unread()
            && !self.link.read_closing
            && self.shared.lock().is_quiet()
        {
            Activity::KeepAlive
        } else {
            Activity::Receiving
        }
    }

    fn is_bulk(&self) -> bool {
        !self.reader.receiving.is_empty() || matches!(self.phase, Phase::Lingering { .. })
    }

    /// The first call begins the announcement, which the event loop continues when it drives the connection.
    fn shorten_waiting(&mut self, by: Instant) {
        if let Phase::Lingering { until } = &mut self.phase {
            *until = by.min(*until);
            self.link.deadline = self.link.deadline.min(by);
            return;
        }
        self.end_subscriptions_by(by);
        if self.going.want() {
            self.shared.notify_event_loop();
        }
        if self.is_idle() {
            self.link.deadline = self.link.deadline.min(by);
        }
    }
}

/// What the server allows a client.
fn settings(context: &Context) -> Http2Settings {
    let config = &context.config;
    let max_concurrent_streams = config.http2.max_concurrent_streams;
    let stream_window = match config.stream_request_body.is_empty() {
        true => STORED_WINDOW,
        false => STREAMED_WINDOW,
    };
    Http2Settings {
        max_concurrent_streams,
        stream_window,
        connection_window: stream_window.saturating_mul(max_concurrent_streams),
    }
}
