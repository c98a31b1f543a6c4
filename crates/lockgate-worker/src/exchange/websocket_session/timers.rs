//! The moments of a session: what is due, and when to look next.

use std::time::{Duration, Instant};

use lockgate_push::KeepAliveMode;
use lockgate_push::websocket_control::ControlKeepAlive;

use crate::exchange::body::minimum_rate::MinimumRate;
use crate::exchange::subscriber::Subscriber;

/// The time without input after which the client gets a Ping; proxies close a silent connection after 60 s as a rule.
const PING_AFTER: Duration = Duration::from_secs(45);

/// The time without input after a Ping: then the client has gone.
const PONG_WITHIN: Duration = Duration::from_secs(30);

/// How long the client's Close frame is waited for after the server's.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A session without any deadline is looked at this often, so that closed connections leave no timer entries for longer.
pub const LOOK_EVERY: Duration = Duration::from_secs(600);

/// See the module documentation.
#[derive(Debug)]
pub struct Timers {
    /// The client has sent something.
    heard_at: Instant,
    pinged_at: Option<Instant>,
    /// When the message that the client has begun is to be complete.
    message_by: Option<Instant>,
    keep_alive: Option<Box<ControlKeepAlive>>,
    keep_alive_at: Instant,
    /// How often the application wants a request.
    check_every: Option<Duration>,
    /// The last request.
    asked_at: Instant,
    /// The worker ends: when the session does.
    ends_at: Option<Instant>,
    /// The server has sent a Close frame: when the client's is there at the latest.
    close_by: Option<Instant>,
}

/// What a moment means.
#[derive(Debug, PartialEq, Eq)]
pub enum Due<'a> {
    Nothing,
    Ping,
    KeepAlive(&'a ControlKeepAlive),
    /// The worker ends.
    End,
    /// The client has begun a message and does not complete it.
    SlowMessage,
    /// The client has gone without a sign, or does not answer the server's Close frame.
    Silence,
}

impl Timers {
    pub fn new(now: Instant) -> Self {
        Self {
            heard_at: now,
            pinged_at: None,
            message_by: None,
            keep_alive: None,
            keep_alive_at: now,
            check_every: None,
            asked_at: now,
            ends_at: None,
            close_by: None,
        }
    }

    /// `count` bytes of the client have arrived, which may end within a message.
    pub fn on_heard(
        &mut self,
        count: usize,
        is_in_message: bool,
        rate: &MinimumRate,
        now: Instant,
    ) {
        self.heard_at = now;
        self.pinged_at = None;
        self.message_by = is_in_message.then(|| match self.message_by {
            Some(deadline) => rate.extend(deadline, count as u64, now),
            None => rate.begin(now),
        });
    }

    /// The client is not read for now: it is not its fault that nothing arrives.
    pub fn pause(&mut self, rate: &MinimumRate, now: Instant) {
        self.heard_at = now;
        self.pinged_at = None;
        if self.message_by.is_some() {
            self.message_by = Some(rate.begin(now));
        }
    }

    /// A message was sent to the client.
    pub fn on_sent(&mut self, now: Instant) {
        let is_idle = |one: &ControlKeepAlive| one.mode == KeepAliveMode::Idle;
        if self.keep_alive.as_deref().is_some_and(is_idle) {
            self.restart_keep_alive(now);
        }
    }

    pub fn set_keep_alive(&mut self, keep_alive: Option<ControlKeepAlive>, now: Instant) {
        self.keep_alive = keep_alive.map(Box::new);
        self.restart_keep_alive(now);
    }

    fn restart_keep_alive(&mut self, now: Instant) {
        if let Some(keep_alive) = &self.keep_alive {
            self.keep_alive_at = now + keep_alive.timeout;
        }
    }

    /// The application wants a request this often.
    pub fn set_check(&mut self, every: Option<Duration>) {
        self.check_every = every;
    }

    /// A request is made.
    pub fn on_asked(&mut self, now: Instant) {
        self.asked_at = now;
    }

    fn check_at(&self) -> Option<Instant> {
        self.check_every.map(|every| self.asked_at + every)
    }

    /// Whether the application wants a request now.
    pub fn is_check_due(&self, now: Instant) -> bool {
        self.check_at().is_some_and(|at| at <= now)
    }

    /// The server has sent its Close frame.
    pub fn await_close(&mut self, now: Instant) {
        self.close_by = Some(now + CLOSE_WITHIN);
    }

    /// The worker ends.
    pub fn end_by(&mut self, subscriber: Subscriber, by: Instant, now: Instant) {
        subscriber.end_by(&mut self.ends_at, by, now);
    }

    fn ping_at(&self) -> Instant {
        match self.pinged_at {
            Some(pinged_at) => pinged_at + PONG_WITHIN,
            None => self.heard_at + PING_AFTER,
        }
    }

    /// What is due; to be called until that is nothing.
    pub fn take_due(&mut self, now: Instant) -> Due<'_> {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(close_by) = self.close_by {
            return match close_by <= now {
                true => Due::Silence,
                false => Due::Nothing,
            };
        }
        if is_over(self.ends_at) {
            self.ends_at = None;
            return Due::End;
        }
        if is_over(self.message_by) {
            self.message_by = None;
            return Due::SlowMessage;
        }
        if self.ping_at() <= now {
            return match self.pinged_at.replace(now) {
                None => Due::Ping,
                Some(_) => Due::Silence,
            };
        }
        if self.keep_alive.is_some() && self.keep_alive_at <= now {
            self.restart_keep_alive(now);
            if let Some(keep_alive) = &self.keep_alive {
                return Due::KeepAlive(keep_alive);
            }
        }
        Due::Nothing
    }

    /// When to look next. `may_ask`: a request may be made.
    pub fn next(&self, may_ask: bool, now: Instant) -> Instant {
        let times = match self.close_by {
            Some(_) => [self.close_by, None, None, None, None],
            None => [
                self.ends_at,
                self.message_by,
                Some(self.ping_at()),
                self.keep_alive.as_ref().map(|_| self.keep_alive_at),
                self.check_at().filter(|_| may_ask),
            ],
        };
        let times = times.into_iter().flatten();
        times.fold(now + LOOK_EVERY, Instant::min)
    }
}
