//! The two threads of the relay: connect, pass messages on, and connect again after a failure.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use lockgate_config::{PushConfig, RedisAddress};
use lockgate_observe::Level;
use lockgate_shm::Log;

use crate::failure::Failure;
use crate::link::{Change, Half, Link};
use crate::receiver::{Dropped, Receiver};
use crate::redis::{Keys, Redis};
use crate::sender::{Sender, Sent};

/// What the process that runs the relay provides.
pub trait Host: Send + Sync {
    /// Writes one message to the error log.
    fn write(&self, level: Level, message: &str);

    /// Nanoseconds of the monotonic clock, as records of the broadcast log have them.
    fn monotonic_nanos(&self) -> u64;
}

/// See the module.
pub struct Relay {
    address: RedisAddress,
    limit: usize,
    log: Log,
    keys: Keys,
    origin: String,
    started: u64,
    link: Mutex<Link>,
}

/// The delay after the first failure; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How often Redis gets again what it would forget.
const REFRESH: Duration = Duration::from_secs(3600);
/// How long the sender waits for a message before it looks at the link.
const TICK: Duration = Duration::from_secs(1);

impl Relay {
    /// The relay of these settings; `None` if they name no Redis server.
    pub fn new(config: &PushConfig, log: Log, host: &dyn Host) -> Option<Self> {
        let origin = format!("{:016x}", log.identity());
        Some(Self {
            address: config.redis.clone()?,
            limit: config.message_limit,
            log,
            keys: Keys::new(origin.clone()),
            origin,
            started: host.monotonic_nanos(),
            link: Mutex::default(),
        })
    }

    /// Sends this server's messages until the process ends.
    pub fn send(&self, host: &dyn Host) -> ! {
        let mut sender = Sender::new(self.log, self.started);
        self.repeat(host, |delay| {
            let mut redis = Redis::connect(&self.address, &self.keys)?;
            let mut begun = None;
            loop {
                let is_fresh = begun.is_some_and(|begun| now(host) < begun + REFRESH);
                // The receiver has noticed a failure: this connection may have failed, too.
                if !is_fresh || !self.link().is_connected(Half::Sender) {
                    sender.begin(&mut redis)?;
                    begun = Some(now(host));
                    self.on_connected(Half::Sender, host, delay);
                }
                let sent = sender.step(&mut redis)?;
                report_overwritten(sent, host);
                sender.wait(TICK);
            }
        })
    }

    /// Receives the messages of other servers until the process ends.
    pub fn receive(&self, host: &dyn Host) -> ! {
        let mut receiver = Receiver::new(self.log, self.origin.clone(), self.limit, self.started);
        self.repeat(host, |delay| {
            let mut redis = Redis::connect(&self.address, &self.keys)?;
            if !receiver.begin(&mut redis, host.monotonic_nanos())? {
                host.write(
                    Level::Warning,
                    "Redis has removed messages that this server had not read: its connections do not get them",
                );
            }
            loop {
                self.on_connected(Half::Receiver, host, delay);
                let dropped = receiver.step(&mut redis, host.monotonic_nanos())?;
                report_dropped(&dropped, host);
            }
        })
    }

    /// Repeats an attempt that ends with a failure. It sets the delay back when it has connected.
    fn repeat(
        &self,
        host: &dyn Host,
        mut attempt: impl FnMut(&mut Duration) -> Result<Infallible, Failure>,
    ) -> ! {
        let mut delay = FIRST_DELAY;
        loop {
            let Err(failure) = attempt(&mut delay);
            self.on_failed(&failure, host);
            thread::sleep(delay);
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_connected(&self, half: Half, host: &dyn Host, delay: &mut Duration) {
        *delay = FIRST_DELAY;
        let address = &self.address;
        let change = self.link().on_connected(half, now(host));
        match change {
            Some(Change::Works) => {
                let message = format!("messages are relayed through {address}");
                host.write(Level::Info, &message);
            }
            Some(Change::WorksAgain(after)) => {
                let message = format!(
                    "messages are relayed through {address} again, after {:.1} s",
                    after.as_secs_f64()
                );
                host.write(Level::Info, &message);
            }
            Some(Change::Fails) | None => {}
        }
    }

    fn on_failed(&self, failure: &Failure, host: &dyn Host) {
        let change = self.link().on_failed(failure, now(host));
        if change.is_some() {
            let message = format!(
                "cannot relay messages through {}: {failure}; until it works again, they reach only this server's connections",
                self.address
            );
            host.write(Level::Error, &message);
        }
    }
}

fn now(host: &dyn Host) -> Duration {
    Duration::from_nanos(host.monotonic_nanos())
}

fn report_overwritten(sent: Sent, host: &dyn Host) {
    if sent.overwritten > 0 {
        let message = format!(
            "the broadcast log has overwritten up to {} messages before Redis could get them: other servers do not get them",
            sent.overwritten
        );
        host.write(Level::Warning, &message);
    }
}

fn report_dropped(dropped: &Dropped, host: &dyn Host) {
    let Dropped { count, problem } = dropped;
    if *count > 0 {
        let message = format!("dropped {count} messages from Redis: {problem}");
        host.write(Level::Warning, &message);
    }
}
