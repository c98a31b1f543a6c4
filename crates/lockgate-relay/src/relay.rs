//! The two threads of the relay: connect, pass messages on, and connect again after a failure.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use lockgate_config::{CacheConfig, PushConfig, RedisAddress};
use lockgate_observe::Level;
use lockgate_shm::Log;

use crate::failure::Failure;
use crate::link::{Change, Half, Link};
use crate::receiver::{Dropped, Receiver};
use crate::redis::{Keys, Redis};
use crate::sender::{Sender, Sent};
use crate::traffic::{CachePurges, Messages, Purges, Traffic, Words};

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
    log: Log,
    traffic: Arc<dyn Traffic>,
    words: Words,
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
    /// The relay of the messages in the broadcast log; `None` if the settings name no Redis server.
    pub fn of_messages(config: &PushConfig, log: Log, host: &dyn Host) -> Option<Self> {
        let limit = config.message_limit;
        let traffic = Arc::new(Messages { log, limit });
        Some(Self::new(config.redis.clone()?, log, traffic, host))
    }

    /// The relay of the purges in `log`; `None` if the settings name no Redis server.
    pub fn of_purges(
        config: &CacheConfig,
        log: Log,
        purges: impl Purges + 'static,
        host: &dyn Host,
    ) -> Option<Self> {
        let traffic = Arc::new(CachePurges(purges));
        Some(Self::new(config.redis.clone()?, log, traffic, host))
    }

    fn new(address: RedisAddress, log: Log, traffic: Arc<dyn Traffic>, host: &dyn Host) -> Self {
        let origin = format!("{:016x}", log.identity());
        let words = traffic.words();
        Self {
            address,
            log,
            traffic,
            words,
            keys: Keys::new(words.key, origin.clone()),
            origin,
            started: host.monotonic_nanos(),
            link: Mutex::default(),
        }
    }

    /// Sends this server's records until the process ends.
    pub fn send(&self, host: &dyn Host) -> ! {
        let mut sender = Sender::new(self.log, Arc::clone(&self.traffic), self.started);
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
                self.report_overwritten(sent, host);
                sender.wait(TICK);
            }
        })
    }

    /// Receives the records of other servers until the process ends.
    pub fn receive(&self, host: &dyn Host) -> ! {
        let traffic = Arc::clone(&self.traffic);
        let mut receiver = Receiver::new(traffic, self.origin.clone(), self.started);
        self.repeat(host, |delay| {
            let mut redis = Redis::connect(&self.address, &self.keys)?;
            if !receiver.begin(&mut redis, host.monotonic_nanos())? {
                let Words {
                    records,
                    when_missed,
                    ..
                } = self.words;
                let message = format!(
                    "Redis has removed {records} that this server had not read: {when_missed}"
                );
                host.write(Level::Warning, &message);
                self.traffic.on_missed();
            }
            loop {
                self.on_connected(Half::Receiver, host, delay);
                let dropped = receiver.step(&mut redis, host.monotonic_nanos())?;
                self.report_dropped(&dropped, host);
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
        let records = self.words.records;
        let change = self.link().on_connected(half, now(host));
        match change {
            Some(Change::Works) => {
                let message = format!("{records} are relayed through {address}");
                host.write(Level::Info, &message);
            }
            Some(Change::WorksAgain(after)) => {
                let message = format!(
                    "{records} are relayed through {address} again, after {:.1} s",
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
            let (address, Words { records, alone, .. }) = (&self.address, self.words);
            let message = format!(
                "cannot relay {records} through {address}: {failure}; until it works again, {alone}"
            );
            host.write(Level::Error, &message);
        }
    }

    fn report_overwritten(&self, sent: Sent, host: &dyn Host) {
        let count = sent.overwritten;
        let Words {
            records,
            log,
            when_overwritten,
            ..
        } = self.words;
        if count > 0 {
            let message = format!(
                "{log} has overwritten up to {count} {records} before Redis could get them: {when_overwritten}"
            );
            host.write(Level::Warning, &message);
            self.traffic.on_overwritten();
        }
    }

    fn report_dropped(&self, dropped: &Dropped, host: &dyn Host) {
        let (Dropped { count, problem }, records) = (dropped, self.words.records);
        if *count > 0 {
            let message = format!("dropped {count} {records} from Redis: {problem}");
            host.write(Level::Warning, &message);
        }
    }
}

fn now(host: &dyn Host) -> Duration {
    Duration::from_nanos(host.monotonic_nanos())
}
