//! What the ACME process does in the world: clocks, waiting, requests, random numbers, log lines.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use lockgate_observe::Level;

use crate::https::Https;
use crate::protocol::failure::Failure;
use crate::protocol::{NoAnswer, Request, Response};
use crate::renewal::Renewal;
use crate::settings::Settings;

/// Where messages go.
pub trait Log {
    /// Writes one message.
    fn write(&self, level: Level, message: &str);
}

/// The world as the renewal needs it, and tests replace it.
pub(crate) trait World {
    /// Prepares for requests to CAs.
    fn connect(&mut self, settings: &Settings) -> Result<(), Failure>;
    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer>;
    /// Seconds since 1970.
    fn unix_now(&self) -> u64;
    fn monotonic_now(&self) -> Instant;
    fn sleep(&mut self, duration: Duration);
    fn random(&mut self) -> u64;
}

/// Obtains and renews certificates until the process ends.
pub fn run(settings: &Settings, log: &dyn Log) -> ! {
    let mut system = System { https: None };
    let mut renewal = Renewal::new(settings, log, &mut system);
    loop {
        renewal.turn();
    }
}

struct System {
    https: Option<Https>,
}

impl World for System {
    fn connect(&mut self, settings: &Settings) -> Result<(), Failure> {
        // Read at each attempt: a process that runs for years sees new CA certificates.
        self.https = Some(Https::new(settings.ca_certs.as_deref())?);
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer> {
        match &self.https {
            Some(https) => https.send(request),
            None => Err(NoAnswer::Unreachable("not connected".to_owned())),
        }
    }

    fn unix_now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    }

    fn monotonic_now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&mut self, duration: Duration) {
        thread::sleep(duration);
    }

    fn random(&mut self) -> u64 {
        let mut bytes = [0; 8];
        // Without random numbers the delays are the same for all hosts.
        let _fixed = SystemRandom::new().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
