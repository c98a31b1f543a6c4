//! What every connection has, in any protocol: the transport, the output queue, the deadline, and what the poller
//! has reported.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::inbox::{Inbox, Returned};
use super::slot::Slot;
use crate::blocking_pool::BlockingPool;
use crate::client::{Client, Local};
use crate::exchange::body::minimum_rate::{ClientRate, MinimumRate};
use crate::exchange::writer::{Presence, PresenceCheck};
use crate::os::{PEER_END, peer_end};
use crate::poller::Readiness;
use crate::transport::outbox::{Flushed, Outbox};
use crate::transport::{Received, Transport};

/// See the module documentation.
pub struct Link {
    pub slot: Arc<Slot>,
    pub transport: Box<dyn Transport>,
    pub out: Outbox,
    /// The deadline of what the protocol is doing.
    pub deadline: Instant,
    /// The edge was reported, and the socket has not been read until it was empty.
    pub readable: bool,
    /// The peer has announced the end of its stream; reads continue until they return it.
    pub read_closing: bool,
    pub read_closed: bool,
    pub hung_up: bool,
    /// How fast the client takes the current response.
    pub read_rate: ClientRate,
    pub client: Arc<Client>,
    pub local: Arc<Local>,
}

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// This many bytes, at least one.
    Bytes(usize),
    /// The peer has ended its stream.
    End,
    /// Nothing is there; an event reports when to read again.
    Blocked,
    /// Try again.
    Interrupted,
    /// The connection is dead.
    Dead,
}

impl Link {
    pub fn new(
        slot: Arc<Slot>,
        transport: Box<dyn Transport>,
        client: Arc<Client>,
        local: Arc<Local>,
        deadline: Instant,
    ) -> Self {
        Self {
            slot,
            transport,
            out: Outbox::default(),
            deadline,
            readable: true,
            read_closing: false,
            read_closed: false,
            hung_up: false,
            read_rate: ClientRate::default(),
            client,
            local,
        }
    }

    /// Records what the poller has reported.
    pub fn record(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable || readiness.read_closed;
        self.read_closing |= readiness.read_closed;
        self.hung_up |= readiness.hung_up;
    }

    /// Records what the poller has reported since the connection left its slot.
    pub fn record_pending(&mut self) {
        let pending = std::mem::take(&mut self.slot.lock().pending);
        self.record(pending);
    }

    /// Whether output is pending, here or in the transport.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || self.transport.has_pending_output()
    }

    /// Whether the client can neither send nor, as far as is known, receive.
    pub fn is_over(&self) -> bool {
        self.hung_up || self.read_closed
    }

    /// Reads what has arrived.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        let outcome = self.transport.read(buffer);
        self.on_read(outcome)
    }

    /// Accounts for a read that went past [`Link::read`], into a buffer that belongs to the same connection.
    #[inline]
    pub fn on_read(&mut self, outcome: io::Result<Received>) -> Read {
        match outcome {
            Ok(Received { count: 0, .. }) => {
                self.readable = false;
                self.read_closed = true;
                Read::End
            }
            Ok(Received { count, is_drained }) => {
                // The end of the stream carries no bytes: once it is announced, reading continues until a read returns
                // it.
                self.readable = !is_drained || self.read_closing;
                Read::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Read::Blocked
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Interrupted,
            Err(_) => Read::Dead,
        }
    }

    /// Moves queued output to the socket. A client that does not take it at `rate` runs into the deadline.
    ///
    /// # Errors
    /// When the peer can receive nothing more.
    #[inline]
    pub fn flush(&mut self, rate: impl FnOnce() -> MinimumRate) -> io::Result<Flushed> {
        let before = self.out.len();
        let flushed = self.out.flush(&mut *self.transport)?;
        // Also for a bounded flush: what is left has the deadline of a response, not that of an earlier phase.
        // A disk that is slow is no fault of the client.
        let is_blocked = !matches!(flushed, Flushed::All | Flushed::Reading);
        if is_blocked || self.read_rate.is_behind() {
            self.record_read_rate(&rate(), before - self.out.len(), is_blocked);
        }
        Ok(flushed)
    }

    /// After [`Flushed::Reading`]: has a thread that may wait read what is to be sent next. The event loop then resumes
    /// the connection.
    #[cold]
    pub fn read_ahead(&mut self, blocking: &BlockingPool, inbox: &Arc<Inbox>) {
        let Some(read) = self.out.take_read() else {
            return;
        };
        let resume = {
            let (inbox, token) = (Arc::clone(inbox), self.slot.token());
            move || inbox.push(Returned::Released(token), true)
        };
        let job = {
            let (read, resume) = (read.clone(), resume.clone());
            move || {
                read.run();
                resume();
            }
        };
        if blocking.spawn(job).is_err() {
            // Without a thread the event loop waits for the disk.
            read.skip();
            resume();
        }
    }

    #[cold]
    fn record_read_rate(&mut self, rate: &MinimumRate, bytes: u64, is_blocked: bool) {
        let now = Instant::now();
        if is_blocked {
            self.deadline = self
                .read_rate
                .record_blocked(rate, self.deadline, bytes, now);
        } else {
            self.read_rate.record_clear(rate, self.deadline, bytes, now);
        }
    }

    /// Whether the client is still connected, as far as can be known without sending anything.
    pub fn presence(&mut self, check: PresenceCheck) -> Presence {
        self.record_pending();
        if check == PresenceCheck::Socket && !self.hung_up {
            let seen = self.look_at_socket();
            self.record(seen);
        }
        if self.hung_up {
            Presence::Gone
        } else if self.read_closing || self.read_closed {
            Presence::HalfClosed
        } else {
            Presence::Connected
        }
    }

    /// Whether the peer has ended its stream or hung up, as the kernel knows now.
    pub fn look_at_socket(&self) -> Readiness {
        // If nothing was learnt, an error of the socket shows when the response is sent.
        self.poll_at_once(PEER_END)
            .map_or_else(Readiness::default, peer_end)
    }

    /// Whether the kernel holds no input that has not been read.
    pub fn is_silent(&self) -> bool {
        self.poll_at_once(PollFlags::IN)
            .is_some_and(|seen| seen.is_empty())
    }

    fn poll_at_once(&self, flags: PollFlags) -> Option<PollFlags> {
        let mut watched = [PollFd::from_borrowed_fd(self.transport.descriptor(), flags)];
        poll(&mut watched, Some(&Timespec::default())).ok()?;
        Some(watched[0].revents())
    }
}
