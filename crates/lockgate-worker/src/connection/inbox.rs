//! The inbox of the event loop: what other threads return to it, and how the worker is to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Protocol;
use super::hand_back::HandBack;
#[cfg(test)]
use crate::event_loop::EventLoop;
use crate::exchange::Exchange;
use crate::exchange::handler::Resume;
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscriber::Subscriber;
use crate::poller::Waker;
use crate::transport::descriptors::TrackedFd;

/// How a worker was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    Serve,
    /// Other workers serve: finish what was accepted, give clients time to notice, then end.
    Retire,
    /// Finish what was accepted, then end.
    Drain,
    /// End now.
    Stop,
}

/// An item for the event loop.
pub enum Returned {
    /// A connection with something to do: input, a full socket, a timer.
    Connection(Box<dyn Protocol>),
    /// The application has taken this connection over; the descriptor of its side has to be watched, too.
    Upgraded(Box<dyn Protocol>, Arc<TrackedFd>),
    /// A response that is on its connection again waits for messages from now on.
    Subscribed(Subscriber),
    /// The application has answered the request of this number, which the server has made for a subscriber; `None`: it
    /// has not.
    Answered(Subscriber, u64, Option<StoredResponse>),
    /// A handler that has taken this request passes it on.
    Resumed(Exchange),
    /// There are new records in the broadcast log.
    Published,
    /// A connection was closed; its slot is free.
    Closed(u64),
    /// The connection with this token has something to do: the application has finished with its last request and the
    /// next one may be called, or another thread has queued output of a multiplexed connection.
    Released(u64),
    /// A client has given up a request and keeps its connection: requests that wait may have lost their client.
    Abandoned,
    /// This many bytes were received by a thread that reads a streamed body.
    Received(u64),
    /// The worker may accept connections.
    Opening,
    /// Other workers should accept connections before this one does.
    GivingWay,
    /// A test wants to see the event loop.
    #[cfg(test)]
    Visit(Box<dyn FnOnce(&mut EventLoop) + Send>),
}

/// See the module documentation.
#[repr(align(64))]
pub struct Inbox {
    returns: HandBack<Returned>,
    waker: Waker,
    stop: AtomicU8,
}

impl Inbox {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            returns: HandBack::new(),
            waker: Waker::new()?,
            stop: AtomicU8::new(0),
        })
    }

    /// Returns an item to the event loop. If `wakes` is false, the leader finds it the next time it checks.
    pub fn push(&self, returned: Returned, wakes: bool) {
        if self.returns.push(returned) && wakes {
            self.waker.wake();
        }
    }

    /// A connection was closed by the thread that owned it. Only the worker's end waits for that: otherwise no thread
    /// is woken.
    pub fn push_closed(&self, token: u64) {
        let wakes = self.stop_mode() != StopMode::Serve;
        self.push(Returned::Closed(token), wakes);
    }

    /// Whether there is an item, as far as this thread can know without a lock.
    #[inline]
    pub fn has_items(&self) -> bool {
        self.returns.has_items()
    }

    /// Takes all items into a vector that is empty.
    pub fn take_all(&self, into: &mut Vec<Returned>) {
        self.returns.take_all(into);
    }

    /// The leader is about to wait in the poller. False: an item is there, and the leader must not wait.
    #[must_use]
    pub fn begin_polling(&self) -> bool {
        self.returns.begin_polling()
    }

    /// The leader checks the inbox next.
    pub fn end_polling(&self) {
        self.returns.end_polling();
    }

    /// Wakes the leader.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// For the poller.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// How the worker is to stop.
    pub fn stop_mode(&self) -> StopMode {
        match self.stop.load(Ordering::SeqCst) {
            0 => StopMode::Serve,
            1 => StopMode::Retire,
            2 => StopMode::Drain,
            _ => StopMode::Stop,
        }
    }

    /// Asks for this mode of stopping, unless a harsher one was asked for before.
    pub fn ask_to_stop(&self, mode: StopMode) {
        self.stop.fetch_max(mode as u8, Ordering::SeqCst);
        self.waker.wake();
    }
}

impl Resume for Inbox {
    fn resume(&self, exchange: Exchange) {
        self.push(Returned::Resumed(exchange), true);
    }
}
