//! Requests that wait for the response to an equal one, which another thread or process is making.
//!
//! A thread of the worker waits at the store. When a response has come, or the time of a request is over, it gives the
//! requests back to the event loop, where the cache sees them again.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockgate_shm::responses::{FlightState, FlightToken, ResponseStore};

use crate::exchange::Exchange;
use crate::exchange::handler::Resume;
use crate::exchange::writer::{DropReason, Presence, PresenceCheck};
use crate::helper_thread::PanicGuard;

const NAME: &str = "lockgate-cache";

/// How often the thread looks whether the worker has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a flight that has ended may stay unseen which ended while the thread was about to wait.
const FLIGHTS_EVERY: Duration = Duration::from_millis(20);

/// How often the client of a request that waits is looked at.
const CLIENTS_EVERY: Duration = Duration::from_millis(250);

/// See the module documentation.
pub(super) struct Waiting {
    store: ResponseStore,
    waiters: Mutex<Vec<Waiter>>,
    has_waiters: Condvar,
    resume: Arc<dyn Resume>,
}

struct Waiter {
    exchange: Exchange,
    flight: FlightToken,
    until: Instant,
    /// When its client is looked at next.
    next_look: Instant,
}

impl Waiting {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's error when it cannot start a thread.
    pub(super) fn start(
        store: ResponseStore,
        resume: Arc<dyn Resume>,
        guard: &PanicGuard,
    ) -> io::Result<Arc<Self>> {
        let waiting = Arc::new(Self {
            store,
            waiters: Mutex::default(),
            has_waiters: Condvar::new(),
            resume,
        });
        let of_thread = Arc::downgrade(&waiting);
        guard.spawn(NAME, move || run(&of_thread))?;
        Ok(waiting)
    }

    /// The cache sees the request again when the flight has ended, or at `until`.
    pub(super) fn add(&self, exchange: Exchange, flight: FlightToken, until: Instant) {
        self.lock().push(Waiter {
            exchange,
            flight,
            until,
            next_look: Instant::now() + CLIENTS_EVERY,
        });
        self.has_waiters.notify_one();
    }

    fn is_over(&self, waiter: &Waiter, now: Instant) -> bool {
        waiter.until <= now || self.store.flight_state(waiter.flight) != FlightState::Running
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are waiters, at most for [`LOOK_EVERY`].
    fn wait_for_waiters(&self) {
        let waiters = self.lock();
        let _waited = (self.has_waiters)
            .wait_timeout_while(waiters, LOOK_EVERY, |waiters| waiters.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Gives back the requests that need not wait any longer. Returns until when the others wait; `None`: there are no
    /// others.
    fn resume_ready(&self, now: Instant) -> Option<Instant> {
        let mut waiters = self.lock();
        let ready: Vec<Waiter> = waiters
            .extract_if(.., |waiter| self.is_over(waiter, now))
            .collect();
        let left: Vec<(Waiter, DropReason)> = drop_left(&mut waiters, now);
        let next = waiters.iter().map(|waiter| waiter.until).min();
        drop(waiters);
        for waiter in ready {
            self.resume.resume(waiter.exchange);
        }
        for (waiter, why) in left {
            waiter.exchange.writer.drop_request(why, now);
        }
        next
    }
}

/// Takes out the requests whose clients have gone, as the queue does (docs/decisions/0010).
fn drop_left(waiters: &mut Vec<Waiter>, now: Instant) -> Vec<(Waiter, DropReason)> {
    let mut left = Vec::new();
    let mut index = 0;
    while let Some(waiter) = waiters.get_mut(index) {
        index += 1;
        if waiter.next_look > now {
            continue;
        }
        waiter.next_look = now + CLIENTS_EVERY;
        let client = waiter.exchange.writer.client();
        let why = match client.presence(PresenceCheck::Socket) {
            Presence::Connected => continue,
            Presence::HalfClosed => DropReason::HalfClosed,
            Presence::Gone => DropReason::Gone,
        };
        index -= 1;
        left.push((waiters.swap_remove(index), why));
    }
    left
}

fn run(waiting: &Weak<Waiting>) {
    loop {
        let Some(waiting) = waiting.upgrade() else {
            return;
        };
        waiting.wait_for_waiters();
        // Read before the flights are looked at: an end that comes later ends the wait below.
        let seen = waiting.store.events();
        let now = Instant::now();
        if let Some(until) = waiting.resume_ready(now) {
            let timeout = until.saturating_duration_since(now).min(FLIGHTS_EVERY);
            let _events = waiting.store.wait(seen, timeout);
        }
    }
}
