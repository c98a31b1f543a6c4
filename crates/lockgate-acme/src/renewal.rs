//! The renewal of certificates: attempts that are due, under the lock of their name, with the CAs that the schedule names.
//!
//! Invariant: a stored certificate is replaced by a checked one or not at all, whatever fails.

mod attempt;

use std::time::{Duration, UNIX_EPOCH};

use lockgate_observe::{Level, imf_fixdate};

use crate::certificate::Validity;
use crate::protocol::failure::Failure;
use crate::schedule::{due_at, renewal_time, retry_delay};
use crate::settings::Settings;
use crate::storage::Storage;
use crate::storage::lock::{Lock, Observed};
use crate::storage::state::State;
use crate::world::{Log, World};

/// The longest time between two looks: another host may have renewed, or a clock may have been set.
const LONGEST_SLEEP: u64 = 600;
/// The pause of all names after a state that could not be stored: its attempt is due at once.
const UNSTORED: u64 = 60;
/// The time until the next look at a lock that another host holds.
const LOCKED: u64 = 10;

/// See the module.
pub(crate) struct Renewal<'a> {
    settings: &'a Settings,
    log: &'a dyn Log,
    world: &'a mut dyn World,
    storage: Storage,
    locks: Observed,
    started: u64,
    is_swept: bool,
    /// In this turn a state could not be stored.
    is_unstored: bool,
}

/// The outcome of an attempt.
enum Attempt {
    /// With the directory of the CA.
    Renewed(String),
    /// Another host attempts it, or has just done so.
    NotNeeded,
    Failed(String, Failure),
}

impl<'a> Renewal<'a> {
    pub(crate) fn new(settings: &'a Settings, log: &'a dyn Log, world: &'a mut dyn World) -> Self {
        let started = world.unix_now();
        Self {
            settings,
            log,
            world,
            storage: Storage::new(&settings.dir),
            locks: Observed::default(),
            started,
            is_swept: false,
            is_unstored: false,
        }
    }

    /// Attempts what is due, then sleeps until something may be.
    pub(crate) fn turn(&mut self) {
        let mut sleep = LONGEST_SLEEP;
        self.is_unstored = false;
        for name in &self.settings.names {
            if self.is_unstored {
                break;
            }
            if self.due_at(name) > self.world.unix_now() {
                continue;
            }
            match self.attempt(name) {
                Attempt::Renewed(directory) => self.on_success(name, directory),
                Attempt::Failed(directory, failure) => self.on_failure(name, directory, &failure),
                Attempt::NotNeeded => sleep = sleep.min(LOCKED),
            }
        }
        let now = self.world.unix_now();
        for name in &self.settings.names {
            // What is due now is locked by another host.
            let left = self.due_at(name).saturating_sub(now);
            sleep = sleep.min(left.max(1));
        }
        if self.is_unstored {
            sleep = UNSTORED;
        }
        self.world.sleep(Duration::from_secs(sleep));
    }

    fn due_at(&self, name: &str) -> u64 {
        let mut state = self.storage.state(name);
        // A CA that the settings do not name any more has no say in when another one is asked.
        state.must_wait &= self.settings.asks(&state.directory);
        let (validity, now) = (self.storage.certificate(name), self.world.unix_now());
        due_at(name, validity, &state, self.started, now)
    }

    /// One attempt, if it is still due under the lock.
    fn attempt(&mut self, name: &str) -> Attempt {
        let directory = self.settings.directory.clone();
        if let Err(failure) = self.storage.check() {
            return Attempt::Failed(directory, failure);
        }
        if !self.is_swept {
            let now = UNIX_EPOCH + Duration::from_secs(self.started);
            self.storage.sweep(now);
            self.is_swept = true;
        }
        match self.lock(name) {
            Err(failure) => Attempt::Failed(directory, failure),
            Ok(None) => Attempt::NotNeeded,
            // Another host may have renewed while this one waited.
            Ok(Some(_)) if self.due_at(name) > self.world.unix_now() => Attempt::NotNeeded,
            Ok(Some(lock)) => self.ask(name, lock),
        }
    }

    fn lock(&mut self, name: &str) -> Result<Option<Lock>, Failure> {
        let path = self.storage.lock_path(name);
        let now = self.world.monotonic_now();
        self.locks.take(&path, &self.settings.owner, now)
    }

    fn on_success(&mut self, name: &str, directory: String) {
        let now = self.world.unix_now();
        let validity = self.storage.certificate(name);
        let validity = validity.unwrap_or(Validity {
            not_before: now,
            not_after: now,
        });
        let renewal = renewal_time(name, validity);
        let message = format!(
            "certificate for {name} obtained from {directory}: valid until {}, to be renewed on {}",
            date(validity.not_after),
            date(renewal)
        );
        self.log.write(Level::Info, &message);
        let state = self.storage.state(name);
        self.store(&State {
            directory,
            last_success: now,
            next_attempt: renewal,
            failures: 0,
            last_error: String::new(),
            not_after: validity.not_after,
            must_wait: false,
            ..state
        });
    }

    fn on_failure(&mut self, name: &str, directory: String, failure: &Failure) {
        let now = self.world.unix_now();
        let state = self.failed(name, directory.clone(), failure);
        // The others would meet the same failure, and each attempt may take minutes.
        let mut others = 0;
        if failure.is_of_the_ca() {
            for other in &self.settings.names {
                if other != name && self.due_at(other) <= now {
                    self.failed(other, directory.clone(), failure);
                    others += 1;
                }
            }
        }
        let others = match others {
            0 => String::new(),
            count => format!(" and {count} other names"),
        };
        let left = Duration::from_secs(state.next_attempt.saturating_sub(now));
        let advice = failure.advice();
        match self.storage.certificate(name) {
            Some(validity) if validity.not_after > now => {
                let message = format!(
                    "no new certificate for {name}{others}: {failure}; {advice}; next attempt in {}; the present \
                     certificate is valid until {}",
                    rounded(left),
                    date(validity.not_after)
                );
                self.log.write(Level::Warning, &message);
            }
            _ => {
                let message = format!(
                    "no certificate for {name}{others}: {failure}; {advice}; next attempt in {}",
                    rounded(left)
                );
                self.log.write(Level::Error, &message);
            }
        }
    }

    /// Counts a failure.
    fn failed(&mut self, name: &str, directory: String, failure: &Failure) -> State {
        let now = self.world.unix_now();
        let random = self.world.random();
        let validity = self.storage.certificate(name);
        let state = self.storage.state(name);
        let failures = state.failures.saturating_add(1);
        let delay = retry_delay(failures, failure, validity, now, random);
        let state = State {
            directory,
            last_attempt: now,
            next_attempt: now + delay,
            failures,
            last_error: format!("{failure}; {}", failure.advice()),
            not_after: validity.map_or(0, |validity| validity.not_after),
            must_wait: failure.retry_after().is_some(),
            ..state
        };
        self.store(&state);
        state
    }

    fn store(&mut self, state: &State) {
        if let Err(failure) = self.storage.store_state(state)
            && !self.is_unstored
        {
            self.is_unstored = true;
            let message = format!("the state of {} is not stored: {failure}", state.name);
            self.log.write(Level::Error, &message);
        }
    }
}

fn date(seconds: u64) -> String {
    let text = imf_fixdate(i64::try_from(seconds).unwrap_or(0));
    String::from_utf8_lossy(&text).into_owned()
}

/// `40 s`, `5 min`, `20 h`
fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..100 => format!("{seconds} s"),
        seconds @ ..6000 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
