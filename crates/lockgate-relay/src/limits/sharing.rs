//! The thread that exchanges what rate limits have counted, and connects again after a failure.

use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use lockgate_config::RedisAddress;
use lockgate_observe::Level;
use lockgate_shm::Rates;

use crate::connection::TimeLimits;
use crate::failure::Failure;
use crate::limits::exchange::Exchange;
use crate::limits::outage::Outage;
use crate::limits::script::Redis;
use crate::link::Change;
use crate::relay::Host;

/// Between two exchanges.
const PERIOD: Duration = Duration::from_millis(100);
/// Answers that come later are of little use.
const LIMITS: TimeLimits = TimeLimits {
    connect: Duration::from_secs(1),
    step: Duration::from_secs(1),
    whole: Some(Duration::from_secs(1)),
};
/// The delay after the first failure; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// See the module.
pub struct SharedLimits {
    address: RedisAddress,
    rates: Rates,
}

impl SharedLimits {
    /// Shares what this table counts through the Redis server at this address.
    pub fn new(address: RedisAddress, rates: Rates) -> Self {
        Self { address, rates }
    }

    /// Exchanges counts until the process ends.
    pub fn run(&self, host: &dyn Host) -> ! {
        // A process that has died has left what it knew.
        self.rates.set_connected(false, host.monotonic_nanos());
        let mut outage = Outage::default();
        let mut delay = FIRST_DELAY;
        loop {
            let Err(failure) = self.exchange(&mut outage, &mut delay, host);
            let now = host.monotonic_nanos();
            self.rates.set_connected(false, now);
            let change = outage.on_failed(&failure, Duration::from_nanos(now));
            if change.is_some() {
                let address = &self.address;
                let message = format!(
                    "cannot share rate limits through {address}: {failure}; until it works again, this server limits alone"
                );
                host.write(Level::Warning, &message);
            }
            thread::sleep(delay);
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    /// Exchanges counts over one connection until it fails.
    fn exchange(
        &self,
        outage: &mut Outage,
        delay: &mut Duration,
        host: &dyn Host,
    ) -> Result<Infallible, Failure> {
        let mut redis = Redis::connect(&self.address, LIMITS)?;
        let mut exchange = Exchange::begin(self.rates, &mut redis, host.monotonic_nanos())?;
        self.rates.set_connected(true, host.monotonic_nanos());
        *delay = FIRST_DELAY;
        loop {
            let has_more = exchange.step(&mut redis, host.monotonic_nanos())?;
            self.on_exchanged(outage, host);
            if !has_more {
                thread::sleep(PERIOD);
            }
        }
    }

    fn on_exchanged(&self, outage: &mut Outage, host: &dyn Host) {
        let change = outage.on_exchanged(Duration::from_nanos(host.monotonic_nanos()));
        let address = &self.address;
        match change {
            Some(Change::Works) => {
                let message = format!("rate limits are shared through {address}");
                host.write(Level::Info, &message);
            }
            Some(Change::WorksAgain(after)) => {
                let message = format!(
                    "rate limits are shared through {address} again, after {:.1} s",
                    after.as_secs_f64()
                );
                host.write(Level::Info, &message);
            }
            Some(Change::Fails) | None => {}
        }
    }
}
